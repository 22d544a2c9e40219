//! The annotation by which the write-back to Git tells what became of an abort there.
//!
//! An annotation, because the status has one writer: the controller, which tells it as the condition `WrittenBack`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::labels::GIT_WRITE_BACK;
use crate::units::Timestamp;

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// A commit on the branch takes the version back.
    Reverted,
    /// A pull request, or at least its branch, waits for people.
    Proposed,
    /// The branch did not have the version any more.
    NotNeeded,
    /// It could not be written; tried again.
    Failed,
}

impl State {
    /// The reason of its Event.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Reverted => "GitReverted",
            Self::Proposed => "GitPullRequest",
            Self::NotNeeded => "GitUpToDate",
            Self::Failed => "GitWriteBackFailed",
        }
    }
}

/// What became of one abort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The identity of the abort.
    pub abort: String,
    /// What became of it.
    pub state: State,
    /// For people, on one line.
    pub message: String,
    /// The commit that takes it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The page of the pull request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<String>,
    /// Since when it stands like this.
    pub at: Timestamp,
}

/// What tells an abort from all others: `<uid of the Rollout>/<pod hash>/<time>`.
#[must_use]
pub fn identity(uid: &str, pod_hash: &str, aborted_at: Timestamp) -> String {
    format!("{uid}/{pod_hash}/{aborted_at}")
}

impl Record {
    /// Reads it from the annotations of a Rollout; `None` where there is none, or one that makes no sense.
    #[must_use]
    pub fn of(annotations: Option<&BTreeMap<String, String>>) -> Option<Self> {
        serde_json::from_str(annotations?.get(GIT_WRITE_BACK)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record {
            abort: "u/h/t".into(),
            state: State::Reverted,
            message: "why".into(),
            commit: Some("abc".into()),
            pull_request: None,
            at: Timestamp::from_millis(0),
        };
        let text = serde_json::to_string(&record).unwrap();
        let expected = r#"{"abort":"u/h/t","state":"Reverted","message":"why","commit":"abc","at":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(text, expected);
        let annotations = |text: &str| Some(BTreeMap::from([(GIT_WRITE_BACK.to_owned(), text.to_owned())]));
        assert_eq!(Record::of(annotations(&text).as_ref()), Some(record));
        assert_eq!(Record::of(annotations("{").as_ref()), None);
        assert_eq!(Record::of(None), None);
    }
}
