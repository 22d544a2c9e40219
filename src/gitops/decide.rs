//! What is written to Git: a commit, a pull request, or nothing.
//!
//! A commit is made only where it provably gives Git what stable runs: the reverted commit brought this version and nothing
//! else, right after the stable one, nothing was built on it, and afterwards no file says the version. Everything less
//! certain is put before people.

use super::config::Mode;
use super::suspect::{By, Suspect, is_version};

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

/// All that a commit changed, in the Application's files and elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The files, each with the lines that were put in.
    pub files: Vec<(String, Vec<String>)>,
    /// Whether it made, removed or renamed a file.
    pub changes_tree: bool,
    /// Whether it changed more than is looked at.
    pub is_cut: bool,
}

/// What is known once a commit was tried.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The commit that brought the version.
    pub suspect: &'a Suspect,
    /// All that it changed.
    pub extent: &'a Extent,
    /// Whether a file of the newest commit says the version.
    pub is_there: bool,
    /// What reverting gives.
    pub attempt: Attempt,
    /// Whether a file still says the version after that.
    pub stays: bool,
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
    let is_by_image = matches!(facts.suspect.by, By::Image(_) | By::Tag(_));
    if (is_by_image && !facts.is_there) || facts.attempt == Attempt::Unchanged {
        return Step::Nothing;
    }
    let doubts = [
        (facts.attempt == Attempt::Conflict, "later commits changed the same lines"),
        (facts.suspect.is_built_on, "later commits changed the same files"),
        (
            !facts.follows_stable,
            "another version was tried between the stable one and this, so that the one before it may be as bad",
        ),
        (
            facts.suspect.by == By::OnlyChange,
            "the version has no image of its own by which the commit is known",
        ),
        (matches!(facts.suspect.by, By::Tag(_)), "only a tag tells that this commit brought the version"),
        (facts.extent.changes_tree, "the commit makes or removes files"),
        (!is_this_version_alone(facts.suspect, facts.extent), "the commit changes more than this version"),
        (facts.stays, "some file would still say the version"),
        (facts.mode == Mode::PullRequest, "the configuration asks for pull requests"),
    ];
    if let Some((_, why)) = doubts.iter().find(|(applies, _)| *applies) {
        return Step::Propose((*why).to_owned());
    }
    match facts.refused {
        Some(why) => Step::Propose(format!("the branch does not take it: {why}")),
        None => Step::Commit,
    }
}

/// Whether a commit changed only files in which it put the version, and in these no other version.
fn is_this_version_alone(suspect: &Suspect, extent: &Extent) -> bool {
    let is_mark =
        |path: &str, line: &str| suspect.marks.iter().any(|mark| mark.path == path && mark.line == line);
    let is_own = |(path, added): &(String, Vec<String>)| {
        suspect.marks.iter().any(|mark| mark.path == *path)
            && added.iter().all(|line| is_mark(path, line) || !is_version(line))
    };
    !extent.is_cut && extent.files.iter().all(is_own)
}

#[cfg(test)]
mod tests {
    use super::super::suspect::Mark;
    use super::*;

    fn suspect(by: By) -> Suspect {
        let mark = Mark { path: "web/rollout.yaml".into(), line: "image: cart:2".into() };
        Suspect { id: "b".into(), subject: String::new(), by, marks: vec![mark], is_built_on: false }
    }

    fn extent(files: &[(&str, &[&str])]) -> Extent {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        let files = files.iter().map(|(path, added)| ((*path).to_owned(), lines(added))).collect();
        Extent { files, ..Extent::default() }
    }

    /// The step of a case that is certain but for what is changed.
    fn step(change: impl FnOnce(&mut Suspect, &mut Extent), more: impl FnOnce(&mut Facts<'_>)) -> Step {
        let mut suspect = suspect(By::Image("cart:2".into()));
        let mut extent = extent(&[("web/rollout.yaml", &["image: cart:2", "  value: more"])]);
        change(&mut suspect, &mut extent);
        let mut facts = Facts {
            suspect: &suspect,
            extent: &extent,
            is_there: true,
            attempt: Attempt::Clean,
            stays: false,
            follows_stable: true,
            mode: Mode::Commit,
            refused: None,
        };
        more(&mut facts);
        decide(&facts)
    }

    fn proposed(step: Step, part: &str) {
        match step {
            Step::Propose(why) => assert!(why.contains(part), "{why}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_clean_revert_of_what_came_after_stable_is_a_commit() {
        assert_eq!(step(|_, _| {}, |_| {}), Step::Commit);
    }

    #[test]
    fn what_is_not_there_any_more_is_not_written() {
        assert_eq!(
            step(|suspect, _| suspect.is_built_on = true, |facts| facts.is_there = false),
            Step::Nothing
        );
        assert_eq!(step(|_, _| {}, |facts| facts.attempt = Attempt::Unchanged), Step::Nothing);
        // Of a version without an image nothing is looked for.
        proposed(step(|suspect, _| suspect.by = By::OnlyChange, |facts| facts.is_there = false), "no image");
    }

    #[test]
    fn what_others_did_before_or_after_is_put_before_people() {
        proposed(step(|_, _| {}, |facts| facts.attempt = Attempt::Conflict), "same lines");
        proposed(step(|suspect, _| suspect.is_built_on = true, |_| {}), "same files");
        proposed(step(|_, _| {}, |facts| facts.follows_stable = false), "another version");
        proposed(step(|_, _| {}, |facts| facts.stays = true), "still say");
    }

    #[test]
    fn a_commit_that_did_more_is_put_before_people() {
        proposed(step(|_, extent| extent.changes_tree = true, |_| {}), "makes or removes files");
        proposed(step(|_, extent| extent.is_cut = true, |_| {}), "more than this version");
        proposed(
            step(|_, extent| extent.files.push(("pay/values.yaml".into(), vec![])), |_| {}),
            "more than",
        );
        let two = ["image: cart:2".to_owned(), "image: pay:8".to_owned()];
        proposed(
            step(|_, extent| extent.files = vec![("web/rollout.yaml".into(), two.to_vec())], |_| {}),
            "more than",
        );
    }

    #[test]
    fn what_is_not_certain_or_not_allowed_is_put_before_people() {
        proposed(step(|suspect, _| suspect.by = By::Tag("cart:2".into()), |_| {}), "only a tag");
        proposed(step(|_, _| {}, |facts| facts.mode = Mode::PullRequest), "configuration");
        proposed(step(|_, _| {}, |facts| facts.refused = Some("hook declined")), "hook declined");
    }
}
