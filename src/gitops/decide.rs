//! What is written to Git: a commit, a pull request, or nothing.
//!
//! A commit is made only where it provably gives Git what stable runs: the reverted commit brought the one new image and
//! nothing else, alone, right after the stable version, nothing was built on it, and afterwards no file says the version.
//! Everything less certain is put before people.

use super::abort::Rejected;
use super::config::Mode;
use super::image::{Image, Version};
use super::suspect::{By, Suspect};

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

/// All that a commit changed, in the files that were synced and elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The files.
    pub files: Vec<ChangedFile>,
    /// Whether it made, removed or renamed a file.
    pub changes_tree: bool,
    /// Whether it changed more than is looked at.
    pub is_cut: bool,
}

/// All that a commit changed in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedFile {
    /// The file, from the root of the repository.
    pub path: String,
    /// Lines that were put in.
    pub added: Vec<String>,
    /// Lines that were taken out.
    pub removed: Vec<String>,
}

/// What is known once a commit was tried.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What was rejected.
    pub rejected: &'a Rejected,
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
    /// Whether the version may come from other repositories, too.
    pub is_one_of_several: bool,
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
    /// Nothing, as nothing would be right; why, for people.
    Unclear(String),
}

/// What is to be written.
#[must_use]
pub fn decide(facts: &Facts<'_>) -> Step {
    let has_image = facts.suspect.by != By::OnlyChange;
    if (has_image && !facts.is_there) || (!has_image && facts.attempt == Attempt::Unchanged) {
        return Step::Nothing;
    }
    if facts.attempt == Attempt::Unchanged {
        return Step::Unclear(
            "its commit is taken back already, and some file still says the version".to_owned(),
        );
    }
    let doubts = [
        (facts.attempt == Attempt::Conflict, "later commits changed the same lines"),
        (facts.suspect.is_built_on, "later commits changed the same files"),
        (
            !facts.rejected.follows_stable,
            "another version was tried between the stable one and this, so that the one before it may be as bad",
        ),
        (facts.suspect.by == By::OnlyChange, "the commit is known only as the one change between two syncs"),
        (matches!(facts.suspect.by, By::Tag(_)), "only a tag tells that this commit brought the version"),
        (facts.is_one_of_several, "it is one of several repositories that the version comes from"),
        (has_image && facts.rejected.images.len() != 1, "several images of the version are new"),
        (facts.suspect.has_company, "other commits came with the same sync"),
        (facts.suspect.is_sync_missing, "the commit that was synced is not among the newest of the branch"),
        (facts.extent.changes_tree, "the commit makes or removes files"),
        (!is_this_version_alone(facts), "the commit changes more than this version"),
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

/// Whether a commit changed only files in which it put the version, and in these nothing else: each line has its counterpart,
/// with the stable version in the place of the rejected one.
fn is_this_version_alone(facts: &Facts<'_>) -> bool {
    let Facts { suspect, extent, .. } = facts;
    let (By::Image(image) | By::NearTag(image)) = &suspect.by else { return false };
    let image = Image::parse(image);
    let replaced = facts.rejected.replaced.iter().map(|replaced| Image::parse(replaced));
    let stable: Vec<_> = replaced.filter(|replaced| replaced.repository == image.repository).collect();
    let is_alone =
        |file: &ChangedFile| suspect.paths.contains(&file.path) && is_alone_in(file, &image, &stable);
    !extent.is_cut && extent.files.iter().all(is_alone)
}

fn is_alone_in(file: &ChangedFile, image: &Image<'_>, stable: &[Image<'_>]) -> bool {
    let matters = |line: &&String| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let mut old: Vec<&String> = file.removed.iter().filter(matters).collect();
    let (mut references, mut tags) = (0_usize, 0_usize);
    for new in file.added.iter().filter(matters) {
        let Some(at) = old.iter().position(|old| is_pair(new, old, image, stable)) else { return false };
        old.remove(at);
        let count = if image.is_named_by(new) { &mut references } else { &mut tags };
        // The label of a version belongs to whatever is beside it.
        *count = count.saturating_add(usize::from(!new.contains("app.kubernetes.io/version")));
    }
    // A tag may be another service's: it counts where it is the only one.
    old.is_empty() && if references > 0 { tags == 0 } else { tags == 1 }
}

/// Whether two lines differ in the version alone.
fn is_pair(new: &str, old: &str, image: &Image<'_>, stable: &[Image<'_>]) -> bool {
    let version = image.tag.and_then(|tag| Version::of(new, tag));
    let replaced = version.and_then(|version| version.replaced(old));
    let exchanged =
        |by: &str, for_it: &str| new != old && image.is_named_by(new) && new.replace(by, for_it) == old;
    stable.iter().any(|stable| {
        let is_digest = image.digest.zip(stable.digest).is_some_and(|(new, old)| exchanged(new, old));
        let is_tag = replaced.is_some() && replaced.as_deref() == stable.tag;
        exchanged(image.whole, stable.whole) || is_digest || is_tag
    })
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
