//! What is said of an abort on its Rollout. It only saves looking at Git again: Git itself is the record of what was written.

use super::forge::{cut, visible};
pub use crate::api::git_write_back::{Record, State};
use crate::units::Timestamp;

/// The annotation that lists the images of the newest rejected version, separated by commas: what CI asks before it
/// offers an image again.
pub const REJECTED_IMAGES: &str = "rollout.argoproj.io/rejected-images";
/// Longest message, in characters.
const LONGEST: usize = 500;

/// A record of an abort, with a message on one line of bounded length.
#[must_use]
pub fn record(abort: String, state: State, message: &str, at: Timestamp) -> Record {
    let message = cut(&visible(message), LONGEST);
    Record { abort, state, message, commit: None, pull_request: None, at }
}

/// Whether nothing more is to be done for this abort.
#[must_use]
pub fn settles(record: &Record, abort: &str) -> bool {
    record.abort == abort && record.state != State::Failed
}

/// Whether two records say the same, whenever that was.
#[must_use]
pub fn say_the_same(one: &Record, other: &Record) -> bool {
    *other == Record { at: other.at, ..one.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(state: State) -> Record {
        record("u/h/t".into(), state, "why\nnot", Timestamp::from_millis(0))
    }

    #[test]
    fn a_message_is_one_line_of_bounded_length() {
        assert_eq!(of(State::Failed).message, "why not");
        let long = record(String::new(), State::Failed, &"x".repeat(9000), Timestamp::from_millis(0));
        assert_eq!(long.message.chars().count(), LONGEST);
    }

    #[test]
    fn only_an_end_of_the_same_abort_settles_it() {
        assert!(settles(&of(State::Proposed), "u/h/t"));
        assert!(!settles(&of(State::Failed), "u/h/t"));
        assert!(!settles(&of(State::Reverted), "u/h/later"));
    }

    #[test]
    fn the_time_alone_is_nothing_new() {
        let later = Record { at: Timestamp::from_millis(5000), ..of(State::Failed) };
        assert!(say_the_same(&of(State::Failed), &later));
        assert!(!say_the_same(&of(State::Failed), &Record { message: "other".into(), ..later }));
    }
}
