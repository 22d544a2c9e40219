//! The lines of a difference, file by file, of a bounded number.

use std::cell::RefCell;

use git2::Diff;

use super::repository::Failure;
use crate::gitops::suspect::{Change, Hunk, Needles};

/// Lines of one commit that are looked at; one that changes more brought more than a version.
const MOST: usize = 10_000;
/// Longest line, in bytes.
const LONGEST_LINE: usize = 10_000;

/// Those that matter, of a bounded number.
pub(super) fn of(diff: &Diff<'_>, needles: &Needles) -> Result<Lines, Failure> {
    let lines = RefCell::new(Lines::default());
    let mut file = |delta: git2::DiffDelta<'_>, _: f32| {
        let path = delta.new_file().path().or_else(|| delta.old_file().path());
        let path = path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        lines.borrow_mut().changes.push(Change { path, hunks: vec![] });
        true
    };
    let mut hunk = |_: git2::DiffDelta<'_>, _: git2::DiffHunk<'_>| {
        if let Some(change) = lines.borrow_mut().changes.last_mut() {
            change.hunks.push(Hunk::default());
        }
        true
    };
    let mut line = |_: git2::DiffDelta<'_>, _: Option<git2::DiffHunk<'_>>, line: git2::DiffLine<'_>| {
        lines.borrow_mut().take(&line, needles);
        true
    };
    diff.foreach(&mut file, None, Some(&mut hunk), Some(&mut line))?;
    Ok(lines.into_inner())
}

/// The lines of a difference, file by file.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) changes: Vec<Change>,
    /// How many are kept.
    pub(super) count: usize,
    /// Whether some were left out that matter.
    pub(super) is_cut: bool,
}

impl Lines {
    fn take(&mut self, line: &git2::DiffLine<'_>, needles: &Needles) {
        let content = line.content();
        let text = String::from_utf8_lossy(content);
        let text = text.trim_end_matches(['\n', '\r']);
        if !needles.are_in(text) {
            return;
        }
        if content.len() > LONGEST_LINE || self.count >= MOST {
            self.is_cut = true;
            return;
        }
        self.count += 1;
        let Some(hunk) = self.changes.last_mut().and_then(|change| change.hunks.last_mut()) else { return };
        match line.origin() {
            '+' => hunk.added.push(text.to_owned()),
            '-' => hunk.removed.push(text.to_owned()),
            _ => hunk.around.push(text.to_owned()),
        }
    }
}
