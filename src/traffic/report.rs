//! What a router reports on an object of its: whether it follows, and in its own words why it will not.

use serde_json::Value;

use super::RouteName;
use super::route::text;

/// How much of a router's message is passed on.
const LONGEST: usize = 256;

/// A report, the better ones first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Report {
    /// The router does what the object says.
    Follows,
    /// It has not looked at the object as it is now.
    Lags,
    /// It will not do what the object says.
    Refuses(String),
}

impl Report {
    /// `who` refuses the object of this name by a condition.
    pub(super) fn refuses(who: &str, name: &RouteName, condition: &Value) -> Self {
        let field = |field: &str| text(condition, &[field]);
        let (kind, status, reason) = (field("type"), field("status"), field("reason"));
        let message = field("message").split_whitespace().collect::<Vec<_>>().join(" ");
        let message: String = message.chars().take(LONGEST).collect();
        let reason = [reason, message.as_str()].into_iter().filter(|part| !part.is_empty());
        let reason = reason.collect::<Vec<_>>();
        let colon = if reason.is_empty() { "" } else { ": " };
        let (object, name) = (name.kind.as_str(), &name.name);
        Self::Refuses(format!("{who} reports {kind}={status} on {object} {name}{colon}{}", reason.join(": ")))
    }
}
