//! The cookie that the canary's destination sets in the routes that lead to both versions.

use serde_json::{Value, json};

use super::roles::Roles;
use crate::traffic::Session;
use crate::traffic::route::{at, items, set};
use crate::traffic::session::Setters;

/// Where a destination adds headers to answers.
const ADDED: [&str; 3] = ["headers", "response", "add"];
/// The header that sets a cookie.
const NAME: &str = "Set-Cookie";

/// The header as a destination has it, in whatever letters.
fn header(entry: &Value) -> Option<(&str, &Value)> {
    let mut added = at(entry, &ADDED).as_object().into_iter().flatten();
    added.find(|(name, _)| name.eq_ignore_ascii_case(NAME)).map(|(name, value)| (name.as_str(), value))
}

fn is_ours(session: &Session, entry: &Value) -> bool {
    header(entry).and_then(|(_, value)| value.as_str()).is_some_and(|value| session.is_set_by(value))
}

/// Lets a destination of the Rollout's set the cookie, or not any more.
pub(super) fn render(entry: &mut Value, session: &Session, is_wanted: bool) {
    let is_ours = is_ours(session, entry);
    let [headers, response, add] = ADDED;
    if is_wanted && (is_ours || header(entry).is_none()) {
        set(entry, &[headers, response, add, NAME], Some(json!(session.header())));
    } else if is_ours {
        set(entry, &[headers, response, add, NAME], None);
        for path in [&ADDED[..], &[headers, response], &[headers]] {
            let is_empty = at(entry, path).as_object().is_some_and(serde_json::Map::is_empty);
            if is_empty {
                set(entry, path, None);
            }
        }
    }
}

/// What sets the cookie in these routes.
pub(super) fn setters<'v>(
    roles: Roles<'_>,
    bases: impl Iterator<Item = &'v Value> + Clone,
    session: &Session,
    canary: &str,
) -> Setters {
    let entries = |base: &'v Value| items(base, &["route"]).iter();
    let right = json!(session.header());
    let is_right = |entry: &Value| match roles.of_entry(entry) {
        Some(name) if name == canary => header(entry).is_some_and(|(_, value)| *value == right),
        Some(_) => !is_ours(session, entry),
        None => true,
    };
    Setters {
        are_right: bases.clone().flat_map(entries).all(is_right),
        is_any: bases
            .flat_map(entries)
            .any(|entry| roles.of_entry(entry).is_some() && is_ours(session, entry)),
    }
}

/// What is in the way of the cookie in a route: another one.
pub(super) fn problem(roles: Roles<'_>, route: &Value, session: &Session) -> Option<String> {
    let is_anothers = |entry: &&Value| {
        roles.of_entry(entry).is_some() && header(entry).is_some() && !is_ours(session, entry)
    };
    items(route, &["route"]).iter().find(is_anothers)?;
    Some(format!(
        "has {} with a destination that adds a header {NAME} of its own, and the cookie of the annotation would take its place: \
         remove one",
        super::roles::shown(route)
    ))
}
