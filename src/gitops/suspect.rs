//! Which commit brought a rejected version.
//!
//! Two rules, in this order. One: the newest commit that put a rejected image into a file of the Application: by its
//! reference or digest, or by its tag in the place of the stable one's. Two: where no image is to blame, the only commit
//! that changed the Application's files between the sync before and the one that brought the version. Where neither
//! tells one commit, nothing is guessed.

use super::abort::Rejected;
use super::image::Image;
use super::trailers;

/// A commit of the branch, as far as it touches what the Application is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Its full hash.
    pub id: String,
    /// Its message.
    pub message: String,
    /// What it changed against its first parent.
    pub changes: Vec<Change>,
}

/// A file that a commit changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The file, from the root of the repository.
    pub path: String,
    /// Lines that it put in.
    pub added: Vec<String>,
    /// Lines that it took out.
    pub removed: Vec<String>,
}

/// What the log of the branch says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The first parents from the branch's newest commit back, newest first.
    pub commits: Vec<Commit>,
    /// The commit whose sync brought the version; `None` where the Application does not say.
    pub synced: Option<String>,
    /// The commit of the sync before; `None` where there was none, or it is not known any more.
    pub before: Option<String>,
}

/// The commit that brought a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Its full hash.
    pub id: String,
    /// The first line of its message; text of others.
    pub subject: String,
    /// What it is known by.
    pub by: By,
    /// The files that it changed.
    pub paths: Vec<String>,
    /// The lines by which one sees whether the version is still there: those with the image, or all that it put in.
    pub marks: Vec<(String, String)>,
    /// Whether a newer commit changed one of those files.
    pub is_built_on: bool,
}

/// What a commit is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// It put this image in.
    Image(String),
    /// No other commit changed the Application's files between two syncs.
    OnlyChange,
}

/// What the log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// This abort was answered by this commit.
    Answered(String),
    /// This commit brought the version.
    Suspect(Suspect),
    /// It cannot be told; what was looked for, for people.
    Unknown(String),
}

/// Which commit brought what was rejected.
#[must_use]
pub fn find(rejected: &Rejected, log: &Log) -> Finding {
    let is_answer = |commit: &&Commit| trailers::is_answered_by(&rejected.abort, &commit.message);
    if let Some(answer) = log.commits.iter().find(is_answer) {
        return Finding::Answered(answer.id.clone());
    }
    if let Some(found) = by_image(rejected, log) {
        return Finding::Suspect(found);
    }
    by_change(rejected, log)
}

fn by_image(rejected: &Rejected, log: &Log) -> Option<Suspect> {
    log.commits.iter().enumerate().find_map(|(at, commit)| {
        let (image, marks) =
            rejected.images.iter().find_map(|image| Some((image, brought(rejected, image, commit)?)))?;
        Some(suspect(log, at, commit, By::Image(image.clone()), marks))
    })
}

/// The lines with which a commit brought an image; `None` if it did not.
fn brought(rejected: &Rejected, image: &str, commit: &Commit) -> Option<Vec<(String, String)>> {
    let image = Image::parse(image);
    let marks: Vec<_> = commit
        .changes
        .iter()
        .flat_map(|change| {
            let replaces = replaces_tag(rejected, &image, change);
            // A line that was there before and only moved has brought nothing.
            let is_new = |line: &&String| !change.removed.contains(line);
            let names = move |line: &&String| image.is_named_by(line) || (replaces && image.is_tag_in(line));
            change.added.iter().filter(is_new).filter(names).map(|line| (change.path.clone(), line.clone()))
        })
        .collect();
    (!marks.is_empty()).then_some(marks)
}

/// Whether a file lost the tag of an image that stable runs of the same repository.
fn replaces_tag(rejected: &Rejected, image: &Image<'_>, change: &Change) -> bool {
    let before = rejected.replaced.iter().map(|replaced| Image::parse(replaced));
    before
        .filter(|before| before.repository == image.repository)
        .any(|before| change.removed.iter().any(|line| before.is_tag_in(line)))
}

fn by_change(rejected: &Rejected, log: &Log) -> Finding {
    let looked_for = if rejected.images.is_empty() {
        "the rejected version has no image of its own".to_owned()
    } else {
        format!("no commit was found that puts {} into its files", rejected.images.join(" or "))
    };
    let unknown = |why: &str| Finding::Unknown(format!("{looked_for}, and {why}"));
    let (Some(synced), Some(before)) = (&log.synced, &log.before) else {
        return unknown("the Application's history does not tell which syncs it came between");
    };
    let at = |id: &String| log.commits.iter().position(|commit| commit.id == *id);
    let (Some(newest), Some(oldest)) = (at(synced), at(before)) else {
        return unknown("the commits of its syncs are not among the newest of the branch");
    };
    let between = log.commits.get(newest..oldest).unwrap_or_default();
    let mut changing = between.iter().enumerate().filter(|(_, commit)| !commit.changes.is_empty());
    match (changing.next(), changing.next()) {
        (Some((offset, commit)), None) => {
            let marks = commit
                .changes
                .iter()
                .flat_map(|change| change.added.iter().map(|line| (change.path.clone(), line.clone())));
            let marks = marks.collect();
            Finding::Suspect(suspect(log, newest.saturating_add(offset), commit, By::OnlyChange, marks))
        }
        (None, _) => unknown("no commit between its syncs changed them"),
        (Some(_), Some(_)) => unknown("several commits between its syncs changed them"),
    }
}

fn suspect(log: &Log, at: usize, commit: &Commit, by: By, marks: Vec<(String, String)>) -> Suspect {
    let paths: Vec<String> = commit.changes.iter().map(|change| change.path.clone()).collect();
    let newer = log.commits.iter().take(at);
    let is_built_on = newer.flat_map(|commit| &commit.changes).any(|change| paths.contains(&change.path));
    let subject = commit.message.lines().next().unwrap_or_default().trim().to_owned();
    Suspect { id: commit.id.clone(), subject, by, paths, marks, is_built_on }
}

#[cfg(test)]
mod tests {
    use super::super::abort::tests::rejected;
    use super::*;

    fn change(path: &str, removed: &[&str], added: &[&str]) -> Change {
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        Change { path: path.to_owned(), added: lines(added), removed: lines(removed) }
    }

    fn commit(id: &str, changes: &[Change]) -> Commit {
        Commit { id: id.to_owned(), message: format!("change {id}\n\nmore\n"), changes: changes.to_vec() }
    }

    fn log(commits: &[Commit]) -> Log {
        Log { commits: commits.to_vec(), synced: None, before: None }
    }

    fn found(rejected: &Rejected, log: &Log) -> Suspect {
        match find(rejected, log) {
            Finding::Suspect(suspect) => suspect,
            other => panic!("{other:?}"),
        }
    }

    fn unknown(rejected: &Rejected, log: &Log) -> String {
        match find(rejected, log) {
            Finding::Unknown(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_newest_commit_that_put_the_image_in_brought_it() {
        let bad = change("web/rollout.yaml", &["image: registry/cart:1"], &["image: registry/cart:2"]);
        let other = change("web/service.yaml", &[], &["port: 81"]);
        let all = log(&[commit("c", &[other]), commit("b", std::slice::from_ref(&bad)), commit("a", &[bad])]);
        let suspect = found(&rejected(), &all);
        assert_eq!((suspect.id.as_str(), suspect.subject.as_str()), ("b", "change b"));
        assert_eq!(suspect.by, By::Image("registry/cart:2".into()));
        assert_eq!(suspect.marks, [("web/rollout.yaml".into(), "image: registry/cart:2".into())]);
        assert!(!suspect.is_built_on);
    }

    #[test]
    fn a_tag_counts_only_in_the_place_of_the_stable_one() {
        let tag = change("web/kustomization.yaml", &["  newTag: \"1\""], &["  newTag: \"2\""]);
        assert_eq!(found(&rejected(), &log(&[commit("b", &[tag])])).id, "b");
        // Two replicas are no version 2.
        let replicas = change("web/values.yaml", &["replicas: 4"], &["replicas: 2"]);
        let why = unknown(&rejected(), &log(&[commit("b", &[replicas])]));
        assert!(why.contains("no commit was found that puts registry/cart:2 into its files"), "{why}");
    }

    #[test]
    fn a_line_that_only_moved_brought_nothing() {
        let moved = change("web/rollout.yaml", &["image: registry/cart:2"], &["image: registry/cart:2"]);
        let bad = change("web/rollout.yaml", &["image: registry/cart:1"], &["image: registry/cart:2"]);
        let suspect = found(&rejected(), &log(&[commit("b", &[moved]), commit("a", &[bad])]));
        assert_eq!((suspect.id.as_str(), suspect.is_built_on), ("a", true));
    }

    #[test]
    fn without_an_image_the_only_change_between_two_syncs_is_it() {
        let rejected = Rejected { images: vec![], replaced: vec![], ..rejected() };
        let env = change("web/rollout.yaml", &[], &["value: bad"]);
        let mut all = log(&[
            commit("d", &[]),
            commit("c", &[]),
            commit("b", std::slice::from_ref(&env)),
            commit("a", &[env]),
        ]);
        assert!(unknown(&rejected, &all).contains("history does not tell"));
        (all.synced, all.before) = (Some("c".into()), Some("a".into()));
        let suspect = found(&rejected, &all);
        assert_eq!((suspect.id.as_str(), suspect.by), ("b", By::OnlyChange));
        assert_eq!(suspect.marks, [("web/rollout.yaml".into(), "value: bad".into())]);
    }

    #[test]
    fn of_several_changes_or_none_nothing_is_guessed() {
        let rejected = Rejected { images: vec![], replaced: vec![], ..rejected() };
        let env = change("web/rollout.yaml", &[], &["value: bad"]);
        let commits = [commit("c", std::slice::from_ref(&env)), commit("b", &[env]), commit("a", &[])];
        let between = |synced: &str, before: &str| Log {
            synced: Some(synced.into()),
            before: Some(before.into()),
            ..log(&commits)
        };
        assert!(unknown(&rejected, &between("c", "a")).contains("several commits"));
        assert!(unknown(&rejected, &between("a", "a")).contains("no commit between"));
        assert!(unknown(&rejected, &between("x", "a")).contains("not among the newest"));
        assert!(unknown(&rejected, &between("a", "c")).contains("no commit between"));
    }

    #[test]
    fn an_abort_that_was_answered_is_not_looked_into_again() {
        let mut answer = commit("c", &[]);
        answer.message = format!("Revert\n\n{}", trailers::trailers(&rejected(), "b"));
        let bad = change("web/rollout.yaml", &["image: registry/cart:1"], &["image: registry/cart:2"]);
        let finding = find(&rejected(), &log(&[answer, commit("b", &[bad])]));
        assert_eq!(finding, Finding::Answered("c".into()));
    }
}
