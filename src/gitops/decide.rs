//! What is written to Git: a commit, a pull request, or nothing.
//!
//! A commit is made only where it provably gives Git what stable runs: the reverted commit came right after it, nothing
//! was built on it, and its revert changes nothing else. Everything less certain is put before people.

use super::config::Mode;
use super::suspect::Suspect;

/// What reverting a commit onto the branch's newest one gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Files that are as they were before.
    Clean,
    /// What is there already.
    Unchanged,
    /// Nothing: the same lines were changed again.
    Conflict,
}

/// What is known once a commit was tried.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The commit that brought the version.
    pub suspect: &'a Suspect,
    /// Whether the newest commit still has the version: a line by which it is known.
    pub is_there: bool,
    /// What reverting gives.
    pub attempt: Attempt,
    /// Whether the rejected version came right after the stable one.
    pub follows_stable: bool,
    /// How the repository is written to.
    pub mode: Mode,
    /// Why the branch refused a push of ours, if it did.
    pub refused: Option<&'a str>,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: the branch does not have the version any more.
    Nothing,
    /// A commit on the branch.
    Commit,
    /// A branch and a pull request; why it is no commit.
    Propose(String),
}

/// What is to be written.
#[must_use]
pub fn decide(facts: &Facts<'_>) -> Step {
    if !facts.is_there || facts.attempt == Attempt::Unchanged {
        return Step::Nothing;
    }
    let propose = |why: &str| Step::Propose(why.to_owned());
    match facts {
        Facts { attempt: Attempt::Conflict, .. } => propose("later commits changed the same lines"),
        Facts { suspect: Suspect { is_built_on: true, .. }, .. } => {
            propose("later commits changed the same files")
        }
        Facts { follows_stable: false, .. } => propose(
            "another version was tried between the stable one and this, so that the one before it may be as bad",
        ),
        Facts { mode: Mode::PullRequest, .. } => propose("the configuration asks for pull requests"),
        Facts { refused: Some(why), .. } => propose(&format!("the branch does not take it: {why}")),
        _ => Step::Commit,
    }
}

#[cfg(test)]
mod tests {
    use super::super::suspect::By;
    use super::*;

    fn suspect(is_built_on: bool) -> Suspect {
        Suspect {
            id: "b".into(),
            subject: String::new(),
            by: By::OnlyChange,
            paths: vec![],
            marks: vec![],
            is_built_on,
        }
    }

    fn step(is_built_on: bool, change: impl FnOnce(&mut Facts<'_>)) -> Step {
        let suspect = suspect(is_built_on);
        let mut facts = Facts {
            suspect: &suspect,
            is_there: true,
            attempt: Attempt::Clean,
            follows_stable: true,
            mode: Mode::Commit,
            refused: None,
        };
        change(&mut facts);
        decide(&facts)
    }

    #[test]
    fn a_clean_revert_of_what_came_after_stable_is_a_commit() {
        assert_eq!(step(false, |_| {}), Step::Commit);
    }

    #[test]
    fn what_is_not_there_any_more_is_not_written() {
        assert_eq!(step(true, |facts| facts.is_there = false), Step::Nothing);
        assert_eq!(step(false, |facts| facts.attempt = Attempt::Unchanged), Step::Nothing);
    }

    #[test]
    fn whatever_is_less_certain_is_put_before_people() {
        let proposed = |step: Step, part: &str| match step {
            Step::Propose(why) => assert!(why.contains(part), "{why}"),
            other => panic!("{other:?}"),
        };
        proposed(step(false, |facts| facts.attempt = Attempt::Conflict), "same lines");
        proposed(step(true, |_| {}), "same files");
        proposed(step(false, |facts| facts.follows_stable = false), "another version");
        proposed(step(false, |facts| facts.mode = Mode::PullRequest), "configuration");
        proposed(step(false, |facts| facts.refused = Some("hook declined")), "hook declined");
    }
}
