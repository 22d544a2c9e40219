//! Which commit brought a rejected version.
//!
//! Two rules, in this order. One: looking back from the sync that brought the version, the first commit that put a rejected
//! image into a file of the Application: by its reference or digest, or by its tag in the place of the stable one's. Two:
//! where the version has no image of its own, the only commit that changed the Application's files between the sync before
//! and the one that brought it. Where neither tells one commit, nothing is guessed.

use std::collections::BTreeSet;

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

/// What a line must have to matter: a tag, a digest, or the last part of a repository's name. `None`: nothing.
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
        self.0.as_ref().is_none_or(has_one)
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
    /// The lines with which it put the image in, each with its file.
    pub marks: Vec<Mark>,
    /// Whether a newer commit changed one of its files.
    pub is_built_on: bool,
}

/// A line that put a version in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The file, from the root of the repository.
    pub path: String,
    /// The line.
    pub line: String,
}

/// What a commit is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// It put this image in.
    Image(String),
    /// It exchanged the tag of this image for a rejected one, and nothing near the line says of which image.
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
    if rejected.images.is_empty() { by_change(log) } else { by_image(rejected, log) }
}

fn by_image(rejected: &Rejected, log: &Log) -> Finding {
    // What was pushed later did not bring it.
    let newest =
        log.synced.as_ref().and_then(|synced| log.commits.iter().position(|commit| commit.id == *synced));
    let mut by_tag = Vec::new();
    for (at, commit) in log.commits.iter().enumerate().skip(newest.unwrap_or_default()) {
        for image in &rejected.images {
            match brought(rejected, image, commit) {
                Some((By::Tag(image), marks)) => by_tag.push((at, commit, By::Tag(image), marks)),
                Some((by, marks)) => return Finding::Suspect(suspect(log, at, commit, by, marks)),
                None => {}
            }
        }
    }
    let images = rejected.images.join(" or ");
    let mut by_tag = by_tag.into_iter();
    match (by_tag.next(), by_tag.next()) {
        (Some((at, commit, by, marks)), None) => Finding::Suspect(suspect(log, at, commit, by, marks)),
        (Some(_), Some(_)) => Finding::Unknown(format!(
            "several commits put the tag of {images} in, and none says of which image"
        )),
        (None, _) => {
            Finding::Unknown(format!("no commit was found that puts {images} into the Rollout's files"))
        }
    }
}

/// How and with which lines a commit brought an image; `None` if it did not.
fn brought(rejected: &Rejected, image: &str, commit: &Commit) -> Option<(By, Vec<Mark>)> {
    let parsed = Image::parse(image);
    let removed = commit.changes.iter().flat_map(|change| &change.hunks).flat_map(|hunk| &hunk.removed);
    // A line that only moved, to another file or in another form, has brought nothing.
    if commit.is_root || removed.into_iter().any(|line| parsed.is_named_by(line)) {
        return None;
    }
    let marks = |is_mark: &dyn Fn(&Hunk, &str) -> bool| -> Vec<Mark> {
        let mut marks = Vec::new();
        for change in &commit.changes {
            for hunk in &change.hunks {
                let added = hunk.added.iter().filter(|line| is_mark(hunk, line));
                marks.extend(added.map(|line| Mark { path: change.path.clone(), line: line.clone() }));
            }
        }
        marks
    };
    let named = marks(&|_, line| parsed.is_named_by(line));
    if !named.is_empty() {
        return Some((By::Image(image.to_owned()), named));
    }
    let exchanged = |hunk: &Hunk, line: &str| exchanges_tag(rejected, &parsed, hunk, line);
    let near = marks(&|hunk, line| exchanged(hunk, line) && parsed.is_mentioned_in(&hunk.around));
    if !near.is_empty() {
        return Some((By::Image(image.to_owned()), near));
    }
    let anywhere = marks(&exchanged);
    (!anywhere.is_empty()).then(|| (By::Tag(image.to_owned()), anywhere))
}

/// Whether a line is one that was there before, with the tag that stable runs exchanged for the rejected one.
fn exchanges_tag(rejected: &Rejected, image: &Image<'_>, hunk: &Hunk, line: &str) -> bool {
    let Some(new) = image.tag.filter(|_| image.is_tag_in(line) && is_version(line)) else { return false };
    let before = rejected.replaced.iter().map(|replaced| Image::parse(replaced));
    let old = before.filter(|before| before.repository == image.repository).filter_map(|before| before.tag);
    let exchanged: Vec<String> = old.map(|old| line.replace(new, old)).collect();
    hunk.removed.iter().any(|removed| exchanged.contains(removed))
}

/// Whether a line of YAML or JSON says a version: by its key, as `newTag`, `image.tag`, `appVersion` or `digest`.
#[must_use]
pub fn is_version(line: &str) -> bool {
    let key = line.split_once([':', '=']).map_or("", |(key, _)| key);
    let key = key.trim().trim_start_matches("- ").trim_matches(['"', '\'', ' ']).to_lowercase();
    ["tag", "version", "digest", "image"].iter().any(|end| key.ends_with(end))
}

fn by_change(log: &Log) -> Finding {
    let unknown =
        |why: &str| Finding::Unknown(format!("the rejected version has no image of its own, and {why}"));
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
        (Some((offset, commit)), None) if !commit.is_root => {
            Finding::Suspect(suspect(log, newest.saturating_add(offset), commit, By::OnlyChange, vec![]))
        }
        (Some(_), _) => unknown("several commits between its syncs changed the Rollout's files"),
        (None, _) => unknown("no commit between its syncs changed the Rollout's files"),
    }
}

fn suspect(log: &Log, at: usize, commit: &Commit, by: By, marks: Vec<Mark>) -> Suspect {
    let paths: BTreeSet<&String> = commit.changes.iter().map(|change| &change.path).collect();
    let newer = log.commits.iter().take(at);
    let is_built_on = newer.flat_map(|commit| &commit.changes).any(|change| paths.contains(&change.path));
    let subject = commit.message.lines().next().unwrap_or_default().trim().to_owned();
    Suspect { id: commit.id.clone(), subject, by, marks, is_built_on }
}

impl Suspect {
    /// Whether a file still says the rejected version.
    #[must_use]
    pub fn is_said_in(&self, text: &str) -> bool {
        let is_mark = |line: &str| self.marks.iter().any(|mark| mark.line == line);
        match &self.by {
            By::Image(image) => {
                let image = Image::parse(image);
                text.lines().any(|line| image.is_named_by(line) || is_mark(line))
            }
            By::Tag(_) => text.lines().any(is_mark),
            By::OnlyChange => false,
        }
    }
}

#[cfg(test)]
#[path = "suspect_tests.rs"]
mod tests;
