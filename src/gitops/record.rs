//! What became of an abort in Git, as an annotation of its Rollout.
//!
//! An annotation, and no condition of its own making: the status has one writer, the controller, which tells it as the
//! condition `WrittenBack`. The annotation only saves looking at Git again: Git itself is the record of what was written.

use serde::{Deserialize, Serialize};

use crate::units::Timestamp;

/// The annotation that tells what became of the newest abort in Git, as JSON.
pub const GIT_WRITE_BACK: &str = crate::api::labels::GIT_WRITE_BACK;
/// The annotation that lists the images of the newest rejected version, separated by commas: what CI asks before it
/// offers an image again.
pub const REJECTED_IMAGES: &str = "rollout.argoproj.io/rejected-images";
/// Longest message, in characters.
const LONGEST: usize = 500;

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

impl Record {
    /// A record of an abort, with a message on one line of bounded length.
    #[must_use]
    pub fn new(abort: String, state: State, message: &str, at: Timestamp) -> Self {
        let message = super::forge::cut(&super::forge::visible(message), LONGEST);
        Self { abort, state, message, commit: None, pull_request: None, at }
    }

    /// Reads the annotation; `None` where there is none, or one that makes no sense.
    #[must_use]
    pub fn read(annotation: Option<&String>) -> Option<Self> {
        serde_json::from_str(annotation?).ok()
    }

    /// Whether nothing more is to be done for this abort.
    #[must_use]
    pub fn settles(&self, abort: &str) -> bool {
        self.abort == abort && self.state != State::Failed
    }

    /// Whether it says the same as another one, whenever that was.
    #[must_use]
    pub fn says_as(&self, other: &Self) -> bool {
        *other == Self { at: other.at, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(state: State) -> Record {
        Record::new("u/h/t".into(), state, "why\nnot", Timestamp::from_millis(0))
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut record = record(State::Reverted);
        record.commit = Some("abc".into());
        let text = serde_json::to_string(&record).unwrap();
        let expected = r#"{"abort":"u/h/t","state":"Reverted","message":"why not","commit":"abc","at":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(text, expected);
        assert_eq!(Record::read(Some(&text)), Some(record));
        assert_eq!(Record::read(Some(&"{".to_owned())), None);
    }

    #[test]
    fn only_an_end_of_the_same_abort_settles_it() {
        assert!(record(State::Proposed).settles("u/h/t"));
        assert!(!record(State::Failed).settles("u/h/t"));
        assert!(!record(State::Reverted).settles("u/h/later"));
    }

    #[test]
    fn the_time_alone_is_nothing_new() {
        let later = Record { at: Timestamp::from_millis(5000), ..record(State::Failed) };
        assert!(record(State::Failed).says_as(&later));
        assert!(!record(State::Failed).says_as(&Record { message: "other".into(), ..later }));
    }
}
