//! The condition of a status, and how a list of them changes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::units::Timestamp;

/// One observed aspect of an object's state.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the condition is about, for example `Progressing`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When any part of the condition last changed.
    pub last_update_time: Option<Timestamp>,
    /// When `status` last changed.
    pub last_transition_time: Option<Timestamp>,
    /// One word for why the condition has its status.
    pub reason: Option<String>,
    /// A sentence for people.
    pub message: Option<String>,
}

/// What a condition says.
pub(crate) struct Says {
    /// `True`, `False` or `Unknown`.
    pub(crate) status: &'static str,
    /// One word for why.
    pub(crate) reason: String,
    /// A sentence for people.
    pub(crate) message: String,
}

/// What a condition says: `True`, `False` or `Unknown`, one word for why, and a sentence.
pub(crate) fn says(status: &'static str, reason: &str, message: impl Into<String>) -> Says {
    Says { status, reason: reason.to_owned(), message: message.into() }
}

/// Sets, keeps or removes a condition. Its stamps change only with what it says.
pub(crate) fn set(list: &mut Vec<Condition>, kind: &str, said: Option<Says>, now: Timestamp) {
    let Some(said) = said else {
        list.retain(|condition| condition.r#type != kind);
        return;
    };
    let now = now.whole_seconds();
    let old = list.iter().find(|condition| condition.r#type == kind);
    let same_status = old.filter(|old| old.status == said.status);
    let same = same_status.filter(|old| {
        old.reason.as_deref() == Some(&said.reason) && old.message.as_deref() == Some(&said.message)
    });
    let next = Condition {
        r#type: kind.to_owned(),
        status: said.status.to_owned(),
        last_update_time: same.and_then(|old| old.last_update_time).or(Some(now)),
        last_transition_time: same_status.and_then(|old| old.last_transition_time).or(Some(now)),
        reason: Some(said.reason),
        message: Some(said.message),
    };
    match list.iter_mut().find(|condition| condition.r#type == kind) {
        Some(condition) => *condition = next,
        None => list.push(next),
    }
}

/// What tools that know none of our kinds (kstatus, and with it Flux and `helm --wait`) are to make of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// Something goes on or waits; it may still end either way.
    InProgress,
    /// It does not get any better by itself.
    Failed,
    /// It is as it should be.
    Current,
}

/// Sets the conditions that such tools read: Reconciling, Stalled and Ready, of which one is true.
pub(crate) fn tell(list: &mut Vec<Condition>, outlook: Outlook, why: (&str, &str), now: Timestamp) {
    let (reason, message) = why;
    for (kind, of) in
        [("Reconciling", Outlook::InProgress), ("Stalled", Outlook::Failed), ("Ready", Outlook::Current)]
    {
        let status = if outlook == of { "True" } else { "False" };
        set(list, kind, Some(says(status, reason, message)), now);
    }
}
