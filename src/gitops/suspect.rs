//! Which commit brought a rejected version.
//!
//! Two rules, in this order. One: looking back from the sync that brought the version, the first commit that put a rejected
//! image into a file of the Application: by its reference or digest, or by its tag in the place of the stable one's. Two:
//! where the version has no image of its own, the only commit that changed the Application's files between the sync before
//! and the one that brought it. Where neither tells one commit, nothing is guessed.

use std::collections::BTreeSet;

use super::abort::Rejected;
use super::image::{Image, Version, is_name};
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
    /// Whether it has no parent: it changed everything.
    pub is_root: bool,
}

/// A file that a commit changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The file, from the root of the repository.
    pub path: String,
    /// The parts of it that changed. Only lines that may matter are kept ([`Needles`]).
    pub hunks: Vec<Hunk>,
}

/// A part of a file that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hunk {
    /// Lines that were put in.
    pub added: Vec<String>,
    /// Lines that were taken out.
    pub removed: Vec<String>,
    /// Lines around them.
    pub around: Vec<String>,
}

/// What a line must have to matter, unless it says of which image others are: a tag, a digest, or the last part of a
/// repository's name. `None`: nothing.
#[derive(Clone, Debug, Default)]
pub struct Needles(Option<BTreeSet<String>>);

impl Needles {
    /// Those of a rejected version.
    #[must_use]
    pub fn of(rejected: &Rejected) -> Self {
        let images = rejected.images.iter().chain(&rejected.replaced).map(|image| Image::parse(image));
        let parts = images.flat_map(|image| [Some(image.short_name()), image.tag, image.digest]);
        Self(Some(parts.flatten().filter(|part| !part.is_empty()).map(str::to_owned).collect()))
    }

    /// Every line matters.
    #[must_use]
    pub const fn all() -> Self {
        Self(None)
    }

    /// Whether a line matters.
    #[must_use]
    pub fn are_in(&self, line: &str) -> bool {
        let has_one =
            |needles: &BTreeSet<String>| needles.iter().any(|needle| line.contains(needle.as_str()));
        is_name(line) || self.0.as_ref().is_none_or(has_one)
    }
}

/// What the log of the branch says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The first parents from the branch's newest commit back, newest first.
    pub commits: Vec<Commit>,
    /// The commit whose sync brought the version; `None` where the Application does not say.
    pub synced: Option<String>,
    /// The commit of the sync before; `None` where there was none, or it is not known.
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
    /// The files in which it put the image; none where it is known otherwise.
    pub paths: BTreeSet<String>,
    /// Whether a newer commit changed one of its files.
    pub is_built_on: bool,
    /// Whether the commit that was synced is not in the log, so that a later one may be blamed.
    pub is_sync_missing: bool,
    /// Whether other commits came with the same sync: without this one, the files are not what stable ran.
    pub has_company: bool,
}

/// What a commit is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// It put this image in.
    Image(String),
    /// It alone exchanged the tag of this image for the rejected one, and the lines around say that it is this image's.
    NearTag(String),
    /// It exchanged a tag for the one of this image, and so did others, or nothing says of which image it is.
    Tag(String),
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
    if rejected.images.is_empty() {
        return by_change(log, "it is not known which image of the rejected version is new, if one is");
    }
    by_image(rejected, log)
}

fn by_image(rejected: &Rejected, log: &Log) -> Finding {
    // What was pushed later did not bring it.
    let synced = log.synced.as_ref().map(|synced| log.commits.iter().position(|commit| commit.id == *synced));
    let until_then: Vec<_> =
        log.commits.iter().enumerate().skip(synced.flatten().unwrap_or_default()).collect();
    let found = |at: usize, commit: &Commit, by: By, paths: BTreeSet<String>| {
        Finding::Suspect(Suspect {
            is_sync_missing: synced == Some(None),
            ..suspect(log, at, commit, by, paths)
        })
    };
    for &(at, commit) in &until_then {
        for image in &rejected.images {
            let paths = named(image, commit);
            if !paths.is_empty() {
                return found(at, commit, By::Image(image.clone()), paths);
            }
        }
    }
    let mut by_tag = Vec::new();
    for &(at, commit) in &until_then {
        for image in &rejected.images {
            let (paths, is_near) = exchanged(rejected, image, commit);
            if !paths.is_empty() {
                by_tag.push((at, commit, image, paths, is_near));
            }
        }
    }
    let near = by_tag.iter().filter(|(.., is_near)| *is_near).count();
    let best = by_tag.into_iter().find(|(.., is_near)| *is_near || near == 0);
    let Some((at, commit, image, paths, _)) = best else {
        let images = rejected.images.join(" or ");
        return by_change(
            log,
            &format!("no commit was found that puts {images} into the files that were synced"),
        );
    };
    let by = if near == 1 { By::NearTag(image.clone()) } else { By::Tag(image.clone()) };
    found(at, commit, by, paths)
}

/// The files in which a commit put an image by its reference or digest. A line that only moved, to another file or in
/// another form, has brought nothing.
fn named(image: &str, commit: &Commit) -> BTreeSet<String> {
    let image = Image::parse(image);
    let mut removed = hunks(commit).flat_map(|(_, hunk)| &hunk.removed);
    if commit.is_root || removed.any(|line| image.is_named_by(line)) {
        return BTreeSet::new();
    }
    let added = hunks(commit).flat_map(|(path, hunk)| hunk.added.iter().map(move |line| (path, line)));
    added.filter(|(_, line)| image.is_named_by(line)).map(|(path, _)| path.to_owned()).collect()
}

/// The files in which a commit exchanged the tag that stable runs for the rejected one, and whether what is around tells that
/// they are of this image. Where other versions were tried in between, any tag may have been there.
fn exchanged(rejected: &Rejected, image: &str, commit: &Commit) -> (BTreeSet<String>, bool) {
    let parsed = Image::parse(image);
    let Some(tag) = parsed.tag.filter(|_| !commit.is_root) else { return (BTreeSet::new(), false) };
    let old = old_tags(rejected, &parsed);
    let is_exchange =
        |before: &str| if rejected.follows_stable { old.contains(&before) } else { before != tag };
    let (mut near, mut anywhere) = (BTreeSet::new(), BTreeSet::new());
    for (path, hunk) in hunks(commit) {
        for line in &hunk.added {
            let version = Version::of(line, tag);
            let replaced = version
                .iter()
                .flat_map(|version| hunk.removed.iter().filter_map(|old| version.replaced(old)));
            if !replaced.into_iter().any(|before| is_exchange(&before)) {
                continue;
            }
            let paths = if is_near(&parsed, hunk, line) { &mut near } else { &mut anywhere };
            paths.insert(path.to_owned());
        }
    }
    if near.is_empty() { (anywhere, false) } else { (near, true) }
}

fn old_tags<'a>(rejected: &'a Rejected, image: &Image<'_>) -> Vec<&'a str> {
    let before = rejected.replaced.iter().map(|replaced| Image::parse(replaced));
    before.filter(|before| before.repository == image.repository).filter_map(|before| before.tag).collect()
}

/// Whether the line, or those around it, say that a version is this image's, and no other one's.
fn is_near(image: &Image<'_>, hunk: &Hunk, line: &str) -> bool {
    let all = hunk.around.iter().chain(&hunk.added).chain(&hunk.removed);
    let mut names = all.filter(|line| is_name(line)).peekable();
    let are_names = names.peek().is_some() && names.all(|line| image.is_mentioned_in(line));
    image.is_mentioned_in(line) || are_names
}

fn hunks(commit: &Commit) -> impl Iterator<Item = (&str, &Hunk)> {
    commit.changes.iter().flat_map(|change| change.hunks.iter().map(|hunk| (change.path.as_str(), hunk)))
}

fn by_change(log: &Log, looked_for: &str) -> Finding {
    let unknown = |why: &str| Finding::Unknown(format!("{looked_for}, and {why}"));
    let (Some(synced), Some(before)) = (&log.synced, &log.before) else {
        return unknown("the history does not tell which syncs it came between");
    };
    if synced == before {
        return unknown("Git did not change when it came: the Application did, or somebody synced it again");
    }
    let at = |id: &String| log.commits.iter().position(|commit| commit.id == *id);
    let (Some(newest), Some(oldest)) = (at(synced), at(before)) else {
        return unknown("the commits of its syncs are not among the newest of the branch");
    };
    let between = log.commits.get(newest..oldest).unwrap_or_default();
    let mut changing = between.iter().enumerate().filter(|(_, commit)| !commit.changes.is_empty());
    match (changing.next(), changing.next()) {
        (Some((_, commit)), None) if trailers::is_ours(&commit.message) => {
            unknown("the only change between its syncs took another one back")
        }
        (Some((offset, commit)), None) if !commit.is_root => Finding::Suspect(suspect(
            log,
            newest.saturating_add(offset),
            commit,
            By::OnlyChange,
            BTreeSet::new(),
        )),
        (Some(_), _) => unknown("several commits between its syncs changed the Rollout's files"),
        (None, _) => unknown("no commit between its syncs changed the Rollout's files"),
    }
}

/// Whether other commits than that at a place changed the files between the two syncs.
fn has_company(log: &Log, at: usize) -> bool {
    let place = |id: &Option<String>| log.commits.iter().position(|commit| Some(&commit.id) == id.as_ref());
    let (Some(newest), Some(oldest)) = (place(&log.synced), place(&log.before)) else { return false };
    let between = log.commits.iter().enumerate().take(oldest).skip(newest);
    between.into_iter().any(|(place, commit)| place != at && !commit.changes.is_empty())
}

fn suspect(log: &Log, at: usize, commit: &Commit, by: By, paths: BTreeSet<String>) -> Suspect {
    let changed: BTreeSet<&String> = commit.changes.iter().map(|change| &change.path).collect();
    let newer = log.commits.iter().take(at);
    let is_built_on = newer.flat_map(|commit| &commit.changes).any(|change| changed.contains(&change.path));
    let subject = commit.message.lines().next().unwrap_or_default().trim().to_owned();
    let has_company = has_company(log, at);
    Suspect { id: commit.id.clone(), subject, by, paths, is_built_on, is_sync_missing: false, has_company }
}

impl Suspect {
    /// Whether a file says the rejected version. Of a tag, another service may have the same: then its file does, too.
    #[must_use]
    pub fn is_said_in(&self, text: &str) -> bool {
        match &self.by {
            By::Image(image) => {
                let image = Image::parse(image);
                let is_tag = |line: &str| image.tag.is_some_and(|tag| Version::of(line, tag).is_some());
                text.lines().any(|line| image.is_named_by(line) || is_tag(line))
            }
            By::NearTag(image) | By::Tag(image) => {
                let tag = Image::parse(image).tag.unwrap_or_default();
                text.lines().any(|line| Version::of(line, tag).is_some())
            }
            By::OnlyChange => false,
        }
    }
}

#[cfg(test)]
#[path = "suspect_tests.rs"]
mod tests;
