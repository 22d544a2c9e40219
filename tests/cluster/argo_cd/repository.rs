//! A Git repository on this machine, as a team has one.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::git::git;

/// Its working tree.
pub(crate) struct Repository {
    folder: TempDir,
}

impl Repository {
    pub(crate) fn new() -> Self {
        let repository = Self { folder: TempDir::new().unwrap() };
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// What Argo CD finds it by.
    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.folder.path().display())
    }

    /// Commits files as they are to be, each by its path; returns the commit's name.
    pub(crate) fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        for (path, content) in files {
            let path = self.folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
        self.head()
    }

    /// Copies a folder into it, links as what they lead to; the next commit has it.
    pub(crate) fn copy(&self, from: &Path, to: &str) {
        let to = self.folder.path().join(to);
        let copied = Command::new("cp").arg("-RL").args([from, &to]).status().unwrap();
        assert!(copied.success(), "{} cannot be copied", from.display());
    }

    /// Takes the newest commit back with another one, whose name it returns.
    pub(crate) fn revert(&self) -> String {
        self.git(&["revert", "--no-edit", "HEAD"]);
        self.head()
    }

    fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs Git on it.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(self.folder.path(), arguments)
    }
}
