//! A repository on a Git server, through a bare clone that lives as long as the process and is made again where it is gone.
//!
//! Everything here blocks. Nothing is ever forced: a branch that moved on refuses what was made for the commit before.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use git2::{
    AutotagOption, Diff, DiffOptions, Direction, ErrorClass, ErrorCode, FetchOptions, ObjectType, Oid,
    ProxyOptions, PushOptions, Signature, Time, Tree, TreeWalkMode, TreeWalkResult,
};

use super::credentials::{Credentials, GivenUp, callbacks};
use super::lines::{self, Lines};
use crate::gitops::config::{Author, Location};
use crate::gitops::decide::{Attempt, ChangedFile, Extent};
use crate::gitops::paths;
use crate::gitops::suspect::{Change, Commit, Log, Needles, Suspect};
use crate::gitops::trailers;
use crate::units::Timestamp;

/// Commits of a branch that are looked at, the newest.
const MOST_COMMITS: usize = 500;
/// Commits of people on the branch of a pull request of ours.
const MOST_ON_TOP: usize = 50;
/// Lines that are kept of all commits together.
const MOST_KEPT: usize = 100_000;
/// Files of an Application that are looked through for a version.
const MOST_FILES: usize = 5000;
/// Largest file, in bytes.
const LARGEST_FILE: i64 = 1024 * 1024;
/// Largest repository, in bytes received at once.
const LARGEST_REPOSITORY: usize = 1024 * 1024 * 1024;
/// Lines around a change that tell what it is about.
const AROUND: u32 = 3;
/// The one reference of the clone: branches of a server may be called like folders of others.
const TIP: &str = "refs/serin/tip";

/// Why a repository could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// For people.
    pub(crate) why: String,
    /// Whether the clone is in the way, and not the server.
    pub(crate) is_of_clone: bool,
    /// Whether somebody else works on the clone.
    pub(crate) is_busy: bool,
}

impl Failure {
    /// One for which the clone is not to blame.
    pub(crate) const fn new(why: String) -> Self {
        Self { why, is_of_clone: false, is_busy: false }
    }

    /// One of the clone.
    pub(crate) fn of_clone(why: &str) -> Self {
        Self { why: format!("the clone cannot be worked on: {why}"), is_of_clone: true, is_busy: false }
    }

    /// One that passes once others are done.
    pub(crate) fn busy() -> Self {
        Self { why: "others work on the same repository".to_owned(), is_of_clone: false, is_busy: true }
    }
}

/// What became of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It is on the server.
    Taken,
    /// The branch has moved on since it was read.
    Moved,
    /// The server does not take it; what it said.
    Refused(String),
}

/// The branches of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Branches {
    /// Their names.
    pub(crate) names: BTreeSet<String>,
    /// What `HEAD` stands for.
    pub(crate) default: Option<String>,
}

/// A bare clone, and how its server is reached.
pub(crate) struct Repository {
    clone: git2::Repository,
    url: String,
    location: Option<Location>,
    credentials: Credentials,
}

impl Repository {
    /// Opens the clone in `folder`, or begins it there.
    pub(crate) fn open(folder: &Path, url: &str, credentials: Credentials) -> Result<Self, Failure> {
        let clone = git2::Repository::open_bare(folder).or_else(|_| git2::Repository::init_bare(folder));
        let clone = clone.map_err(|error| Failure::of_clone(error.message()))?;
        Ok(Self { clone, url: url.to_owned(), location: Location::parse(url).ok(), credentials })
    }

    /// The branches that the server has now.
    pub(crate) fn branches(&self) -> Result<Branches, Failure> {
        let given_up = GivenUp::default();
        let failed = |error: &git2::Error| self.failure("read", error, &given_up);
        let mut remote = self.clone.remote_anonymous(&self.url).map_err(|error| failed(&error))?;
        let callbacks = callbacks(&self.credentials, self.location.as_ref(), &given_up);
        let connection = remote.connect_auth(Direction::Fetch, Some(callbacks), Some(proxy()));
        let connection = connection.map_err(|error| failed(&error))?;
        let heads = connection.list().map_err(|error| failed(&error))?;
        let names = heads.iter().filter_map(|head| Some(head.name().strip_prefix("refs/heads/")?.to_owned()));
        let default = connection.default_branch().ok();
        let default = default.as_ref().and_then(|name| name.as_str().ok()?.strip_prefix("refs/heads/"));
        Ok(Branches { names: names.collect(), default: default.map(str::to_owned) })
    }

    /// The newest commit of a branch, with all before it in the clone.
    pub(crate) fn fetch(&self, branch: &str) -> Result<Oid, Failure> {
        let given_up = GivenUp::default();
        let failed = |error: &git2::Error| self.failure("read", error, &given_up);
        let mut remote = self.clone.remote_anonymous(&self.url).map_err(|error| failed(&error))?;
        let mut options = FetchOptions::new();
        let mut callbacks = callbacks(&self.credentials, self.location.as_ref(), &given_up);
        callbacks.transfer_progress(|progress| progress.received_bytes() <= LARGEST_REPOSITORY);
        options.remote_callbacks(callbacks);
        options.proxy_options(proxy()).download_tags(AutotagOption::None).update_fetchhead(false);
        let refspec = format!("+refs/heads/{branch}:{TIP}");
        remote.fetch(&[refspec], Some(&mut options), None).map_err(|error| failed(&error))?;
        self.clone.refname_to_id(TIP).map_err(|error| failed(&error))
    }

    /// The text of a file in a commit; `None` where there is no such file, or it is no text.
    pub(crate) fn file(&self, commit: Oid, path: &str) -> Option<String> {
        let tree = self.clone.find_commit(commit).ok()?.tree().ok()?;
        let blob = tree.get_path(Path::new(path)).ok()?.to_object(&self.clone).ok()?.into_blob().ok()?;
        let is_small = i64::try_from(blob.size()).is_ok_and(|size| size <= LARGEST_FILE);
        is_small.then(|| String::from_utf8_lossy(blob.content()).into_owned())
    }

    /// Whether one of the newest commits of a branch is ours and takes the suspect back; people may have gone on from it.
    pub(crate) fn has_revert(&self, head: Oid, suspect: &Suspect) -> Result<bool, Failure> {
        let mut next = Some(self.clone.find_commit(head)?);
        for _ in 0..MOST_ON_TOP {
            let Some(commit) = next.take() else { break };
            if trailers::reverts(&String::from_utf8_lossy(commit.message_bytes()), &suspect.id) {
                return Ok(true);
            }
            next = commit.parent(0).ok();
        }
        Ok(false)
    }

    /// The log from `tip` back by first parents, as far as it touches `paths`, with the lines that matter.
    pub(crate) fn log(&self, tip: Oid, paths: &BTreeSet<String>, needles: &Needles) -> Result<Log, Failure> {
        let mut commits = Vec::new();
        let mut kept = 0;
        let mut next = Some(self.clone.find_commit(tip)?);
        while let Some(commit) = next.take().filter(|_| commits.len() < MOST_COMMITS && kept < MOST_KEPT) {
            next = commit.parent(0).ok();
            let before = next.as_ref().map(git2::Commit::tree).transpose()?;
            let diff = self.diff(before.as_ref(), &commit.tree()?, Some(paths))?;
            let Lines { changes, count, .. } = lines::of(&diff, needles)?;
            kept += count;
            let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
            commits.push(Commit { id: commit.id().to_string(), message, changes, is_root: next.is_none() });
        }
        Ok(Log { commits, ..Log::default() })
    }

    /// All that a commit changed.
    pub(crate) fn extent(&self, suspect: &Suspect) -> Result<Extent, Failure> {
        let commit = self.find(&suspect.id)?;
        let diff = self.diff(Some(&commit.parent(0)?.tree()?), &commit.tree()?, None)?;
        let changes_tree = diff.deltas().any(|delta| delta.status() != git2::Delta::Modified);
        let Lines { changes, is_cut, .. } = lines::of(&diff, &Needles::all())?;
        let file = |change: Change| {
            let (added, removed) = change.hunks.into_iter().map(|hunk| (hunk.added, hunk.removed)).unzip();
            let [added, removed]: [Vec<Vec<String>>; 2] = [added, removed];
            ChangedFile { path: change.path, added: added.concat(), removed: removed.concat() }
        };
        let files = changes.into_iter().map(file).collect();
        Ok(Extent { files, changes_tree, is_cut })
    }

    fn diff(
        &self,
        before: Option<&Tree<'_>>,
        after: &Tree<'_>,
        paths: Option<&BTreeSet<String>>,
    ) -> Result<Diff<'_>, Failure> {
        let mut options = DiffOptions::new();
        options.context_lines(AROUND).max_size(LARGEST_FILE).disable_pathspec_match(true);
        for path in paths.into_iter().filter(|paths| !paths.contains("")).flatten() {
            options.pathspec(path);
        }
        Ok(self.clone.diff_tree_to_tree(before, Some(after), Some(&mut options))?)
    }

    /// Whether a file of the Application says the rejected version, in the files of a tree.
    pub(crate) fn says(
        &self,
        tree: Oid,
        paths: &BTreeSet<String>,
        suspect: &Suspect,
    ) -> Result<bool, Failure> {
        let (mut says, mut looked_at) = (false, 0);
        let tree = self.clone.find_tree(tree)?;
        let walked = tree.walk(TreeWalkMode::PreOrder, |folder, entry| {
            if entry.kind() != Some(ObjectType::Blob) {
                return TreeWalkResult::Ok;
            }
            let path = format!("{folder}{}", String::from_utf8_lossy(entry.name_bytes()));
            if paths::holds(paths, &path) {
                looked_at += 1;
                let blob = self.clone.find_blob(entry.id()).ok();
                let text = blob.as_ref().map(|blob| String::from_utf8_lossy(blob.content()));
                // Of more than can be looked at, nobody knows.
                says |= looked_at > MOST_FILES || text.is_some_and(|text| suspect.is_said_in(&text));
            }
            if says { TreeWalkResult::Abort } else { TreeWalkResult::Ok }
        });
        match walked {
            Err(error) if !says => Err(error.into()),
            _ => Ok(says),
        }
    }

    /// The files of a commit.
    pub(crate) fn tree(&self, commit: Oid) -> Result<Oid, Failure> {
        Ok(self.clone.find_commit(commit)?.tree_id())
    }

    /// What reverting a commit onto `tip` gives, and the files that it gives where it gives some.
    pub(crate) fn attempt(&self, suspect: &Suspect, tip: Oid) -> Result<(Attempt, Option<Oid>), Failure> {
        let (commit, tip) = (self.find(&suspect.id)?, self.clone.find_commit(tip)?);
        let mainline = u32::from(commit.parent_count() > 1);
        let mut index = self.clone.revert_commit(&commit, &tip, mainline, None)?;
        if index.has_conflicts() {
            return Ok((Attempt::Conflict, None));
        }
        let tree = index.write_tree_to(&self.clone)?;
        let attempt = if tree == tip.tree_id() { Attempt::Unchanged } else { Attempt::Clean };
        Ok((attempt, Some(tree)))
    }

    /// A commit with these files on `parent`. The same arguments give the same commit, whoever makes it and when.
    pub(crate) fn commit(
        &self,
        tree: Oid,
        parent: Oid,
        message: &str,
        author: &Author,
        at: Timestamp,
    ) -> Result<Oid, Failure> {
        let time = Time::new(at.as_millis().div_euclid(1000), 0);
        let author = Signature::new(&author.name, &author.email, &time)?;
        let (tree, parent) = (self.clone.find_tree(tree)?, self.clone.find_commit(parent)?);
        Ok(self.clone.commit(None, &author, &author, message, &tree, &[&parent])?)
    }

    /// A commit on the suspect itself with the files as they were before it, for people who have to resolve a conflict.
    pub(crate) fn commit_before(
        &self,
        suspect: &Suspect,
        message: &str,
        author: &Author,
        at: Timestamp,
    ) -> Result<Oid, Failure> {
        let commit = self.find(&suspect.id)?;
        let before = commit.parent(0)?.tree_id();
        self.commit(before, commit.id(), message, author, at)
    }

    /// Puts a commit onto a branch of the server, which has to stand at `expected`; `None`: not to be there.
    pub(crate) fn push(&self, commit: Oid, branch: &str, expected: Option<Oid>) -> Result<Pushed, Failure> {
        let given_up = GivenUp::default();
        let said: Rc<RefCell<Option<String>>> = Rc::default();
        let is_moved = Rc::new(Cell::new(false));
        let mut callbacks = callbacks(&self.credentials, self.location.as_ref(), &given_up);
        callbacks.push_negotiation({
            let is_moved = Rc::clone(&is_moved);
            // A branch that was set back would take the commit, too, and get what was removed from it.
            move |updates| {
                let stands = updates.iter().all(|update| update.src() == expected.unwrap_or(Oid::ZERO_SHA1));
                is_moved.set(!stands);
                if stands { Ok(()) } else { Err(git2::Error::from_str("the branch moved")) }
            }
        });
        callbacks.push_update_reference({
            let said = Rc::clone(&said);
            move |_, status| {
                *said.borrow_mut() = status.map(str::to_owned);
                Ok(())
            }
        });
        let mut options = PushOptions::new();
        options.remote_callbacks(callbacks).proxy_options(proxy());
        let failed = |error: &git2::Error| self.failure("written to", error, &given_up);
        let mut remote = self.clone.remote_anonymous(&self.url).map_err(|error| failed(&error))?;
        let outcome = remote.push(&[format!("{commit}:refs/heads/{branch}")], Some(&mut options));
        drop(remote);
        match outcome {
            Err(_) if is_moved.get() => Ok(Pushed::Moved),
            Err(error) if error.code() == ErrorCode::NotFastForward => Ok(Pushed::Moved),
            // Some forges say so for branches with rules.
            Err(error) if error.message().contains("status code: 403") => {
                Ok(Pushed::Refused(failed(&error).why))
            }
            Err(error) => Err(failed(&error)),
            Ok(()) => Ok(said.take().map_or(Pushed::Taken, |said| judge(&said))),
        }
    }

    fn find(&self, id: &str) -> Result<git2::Commit<'_>, Failure> {
        Ok(self.clone.find_commit(Oid::from_str(id)?)?)
    }

    /// What is wrong, for people.
    fn failure(&self, what: &str, error: &git2::Error, given_up: &GivenUp) -> Failure {
        let said = error.message();
        let is_forbidden = said.contains("status code: 403") || said.contains("status code: 401");
        let why = if let Some(why) = given_up.why() {
            why.to_owned()
        } else if is_forbidden {
            format!("its credentials have no right to do that ({said})")
        } else if error.class() == ErrorClass::Ssl || error.code() == ErrorCode::Certificate {
            format!("its certificate is not trusted ({said})")
        } else {
            said.to_owned()
        };
        let is_of_clone = matches!(
            error.class(),
            ErrorClass::Odb
                | ErrorClass::Reference
                | ErrorClass::Zlib
                | ErrorClass::Indexer
                | ErrorClass::Filesystem
        );
        Failure { is_of_clone, ..Failure::new(format!("{} cannot be {what}: {why}", self.url)) }
    }
}

impl From<git2::Error> for Failure {
    fn from(error: git2::Error) -> Self {
        // Anything else is a question that makes no sense for this repository, and would not in a new clone.
        let is_of_clone = matches!(
            error.class(),
            ErrorClass::Odb
                | ErrorClass::Os
                | ErrorClass::Filesystem
                | ErrorClass::Zlib
                | ErrorClass::Repository
        );
        Self { is_of_clone, ..Self::of_clone(error.message()) }
    }
}

/// Whether a server's word on a push is that the branch was another one than expected.
fn judge(said: &str) -> Pushed {
    const MOVED: [&str; 5] =
        ["non-fast-forward", "fetch first", "stale info", "failed to update ref", "cannot lock ref"];
    let lower = said.to_lowercase();
    if MOVED.iter().any(|moved| lower.contains(moved)) {
        Pushed::Moved
    } else {
        Pushed::Refused(said.to_owned())
    }
}

/// The proxy of the environment, where there is one.
fn proxy() -> ProxyOptions<'static> {
    let mut options = ProxyOptions::new();
    options.auto();
    options
}

#[cfg(test)]
#[path = "repository_tests.rs"]
mod tests;
