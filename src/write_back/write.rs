//! One abort in one repository: look, decide, write; and begin again where the branch has moved on meanwhile.
//!
//! Whatever ends this process in between, the next attempt finds in Git what was written: the commit by its trailer, the
//! branch by its name. What it makes is the same commit, so that two replicas write one.

use std::collections::BTreeMap;

use git2::Oid;

use super::repository::{Failure, Pushed, Repository};
use crate::gitops::abort::Rejected;
use crate::gitops::application::Source;
use crate::gitops::config::{self, Author};
use crate::gitops::decide::{Attempt, Facts, Step, decide};
use crate::gitops::evidence::{Evidence, Measured};
use crate::gitops::forge::Proposal;
use crate::gitops::paths;
use crate::gitops::suspect::{self, Finding, Log, Suspect};

/// How often it begins again when the branch moves on.
const ATTEMPTS: usize = 5;
/// Longest part of a branch's name that is a Rollout's, in characters.
const LONGEST_NAME: usize = 60;

/// What is to be written, and how.
pub(crate) struct Order {
    /// What was rejected.
    pub(crate) rejected: Rejected,
    /// Where it comes from.
    pub(crate) source: Source,
    /// How the repository is written to.
    pub(crate) mode: config::Mode,
    /// Who writes.
    pub(crate) author: Author,
    /// What was measured.
    pub(crate) measured: Vec<Measured>,
    /// Links under the evidence.
    pub(crate) links: BTreeMap<String, String>,
    /// Whether the Rollout still stands in this abort.
    pub(crate) stands: Box<dyn Fn() -> bool + Send>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// This commit answers the abort: made now, or before.
    Commit(String),
    /// The branch does not have the version any more.
    NotNeeded,
    /// People have taken the abort back meanwhile.
    Withdrawn,
    /// People are to decide: a commit that waits to be pushed to a branch of its own.
    Proposal(Box<Proposed>),
    /// Which commit brought the version cannot be told; why, for people.
    Unknown(String),
}

/// What people are to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposed {
    /// The commit.
    pub(crate) commit: Oid,
    /// The pull request.
    pub(crate) proposal: Proposal,
    /// Why it is one.
    pub(crate) why: String,
    /// Whether its branch is on the server.
    pub(crate) is_pushed: bool,
}

impl Order {
    /// Writes what is certain; gives back what people are to decide.
    pub(crate) fn carry_out(&self, repository: &Repository) -> Result<Written, Failure> {
        let mut refused: Option<String> = None;
        for _ in 0..ATTEMPTS {
            let view = match self.look(repository)? {
                Ok(view) => view,
                Err(written) => return Ok(written),
            };
            let facts = Facts {
                suspect: &view.suspect,
                is_there: repository.has(view.tip, &view.suspect),
                attempt: view.attempt,
                follows_stable: self.rejected.follows_stable,
                mode: self.mode,
                refused: refused.as_deref(),
            };
            match decide(&facts) {
                Step::Nothing => return Ok(Written::NotNeeded),
                Step::Propose(why) => return self.propose(repository, &view, why),
                Step::Commit => {}
            }
            let commit = self.commit(repository, &view)?;
            if !(self.stands)() {
                return Ok(Written::Withdrawn);
            }
            match repository.push(commit, &view.branch)? {
                Pushed::Taken => return Ok(Written::Commit(commit.to_string())),
                Pushed::Moved => {}
                Pushed::Refused(why) => refused = Some(why),
            }
        }
        Err(Failure::new(format!("the branch moved on {ATTEMPTS} times while the revert was made")))
    }

    /// What the repository says now; `Err` with the end where nothing is to be decided.
    fn look(&self, repository: &Repository) -> Result<Result<View, Written>, Failure> {
        let branches = repository.branches()?;
        let target = &self.source.target;
        let branch = if target == "HEAD" { branches.default.as_ref() } else { branches.names.get(target) };
        let Some(branch) = branch else {
            return Ok(Err(Written::Unknown(format!(
                "the Application follows {target}, which is no branch: nobody can commit to it"
            ))));
        };
        let tip = repository.fetch(branch)?;
        let mut read = |path: &str| repository.file(tip, path);
        let paths = paths::with_references(self.source.paths.clone(), &mut read);
        let log = repository.log(tip, &paths)?;
        let log = Log { synced: self.source.synced.clone(), before: self.source.before.clone(), ..log };
        match suspect::find(&self.rejected, &log) {
            Finding::Answered(commit) => Ok(Err(Written::Commit(commit))),
            Finding::Unknown(why) => Ok(Err(Written::Unknown(why))),
            Finding::Suspect(suspect) => {
                let (attempt, tree) = repository.attempt(&suspect, tip)?;
                let is_pushed = branches.names.contains(&self.branch());
                Ok(Ok(View { branch: branch.clone(), tip, suspect, attempt, tree, is_pushed }))
            }
        }
    }

    fn commit(&self, repository: &Repository, view: &View) -> Result<Oid, Failure> {
        let message = self.evidence(&view.suspect).message();
        let at = self.rejected.abort.aborted_at;
        match view.tree.filter(|_| view.attempt == Attempt::Clean) {
            Some(tree) => repository.commit(tree, view.tip, &message, &self.author, at),
            None => repository.commit_before(&view.suspect, &message, &self.author, at),
        }
    }

    fn propose(&self, repository: &Repository, view: &View, why: String) -> Result<Written, Failure> {
        let evidence = self.evidence(&view.suspect);
        let proposal = Proposal {
            head: self.branch(),
            base: view.branch.clone(),
            title: evidence.title(),
            body: evidence.body(&why),
        };
        let commit = self.commit(repository, view)?;
        Ok(Written::Proposal(Box::new(Proposed { commit, proposal, why, is_pushed: view.is_pushed })))
    }

    /// The branch of the pull request: one for each abort.
    fn branch(&self) -> String {
        let abort = &self.rejected.abort;
        let name: String = format!("{}-{}", abort.namespace, abort.name).chars().take(LONGEST_NAME).collect();
        let at = abort.aborted_at.to_string().replace(['-', ':'], "");
        format!("serin/revert-{name}-{}-{at}", abort.pod_hash)
    }

    fn evidence<'a>(&'a self, suspect: &'a Suspect) -> Evidence<'a> {
        Evidence { rejected: &self.rejected, suspect, measured: &self.measured, links: &self.links }
    }
}

/// What a repository says.
struct View {
    branch: String,
    tip: Oid,
    suspect: Suspect,
    attempt: Attempt,
    tree: Option<Oid>,
    is_pushed: bool,
}
