//! One abort in one repository: look, decide, write; and begin again where the branch has moved on meanwhile.
//!
//! Whatever ends this process in between, the next attempt finds in Git what was written: the commit by its trailer, the
//! branch by its name. What it makes is the same commit, so that two replicas write one.

use std::collections::{BTreeMap, BTreeSet};

use git2::Oid;

use super::repository::{Failure, Pushed, Repository};
use crate::gitops::abort::Rejected;
use crate::gitops::application::Source;
use crate::gitops::config::{self, Author};
use crate::gitops::decide::{Attempt, Facts, Step, decide};
use crate::gitops::evidence::{Evidence, Measured};
use crate::gitops::forge::Proposal;
use crate::gitops::paths;
use crate::gitops::suspect::{self, Finding, Log, Needles, Suspect};

/// How often it begins again when the branch moves on.
const ATTEMPTS: usize = 5;
/// Digits of a commit's hash in the name of a branch.
const ABBREVIATED: usize = 12;

/// What is to be written, and how.
pub(crate) struct Order {
    /// What was rejected.
    pub(crate) rejected: Rejected,
    /// Where it comes from.
    pub(crate) source: Source,
    /// Whether the version may come from other repositories, too.
    pub(crate) is_one_of_several: bool,
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
        let (mut refused, mut moved_from): (Option<String>, Option<Oid>) = (None, None);
        for _ in 0..ATTEMPTS {
            let view = match self.look(repository)? {
                Ok(view) => view,
                Err(written) => return Ok(written),
            };
            if moved_from == Some(view.tip) {
                // It did not move: the server cannot write it, whatever it said.
                refused = Some("it says that it moved on, and has not".to_owned());
            }
            match self.decide(repository, &view, refused.as_deref())? {
                Step::Nothing => return Ok(Written::NotNeeded),
                Step::Propose(why) => return self.propose(repository, &view, why),
                Step::Unclear(why) => return Ok(Written::Unknown(why)),
                Step::Commit => {}
            }
            let commit = self.commit(repository, &view)?;
            if !(self.stands)() {
                return Ok(Written::Withdrawn);
            }
            match repository.push(commit, &view.branch, Some(view.tip))? {
                Pushed::Taken => return Ok(Written::Commit(commit.to_string())),
                Pushed::Moved => moved_from = Some(view.tip),
                Pushed::Refused(why) => refused = Some(why),
            }
        }
        Err(Failure::new(format!("the branch moved on {ATTEMPTS} times while the revert was made")))
    }

    fn decide(&self, repository: &Repository, view: &View, refused: Option<&str>) -> Result<Step, Failure> {
        let says = |tree: Oid| repository.says(tree, &view.paths, &view.suspect);
        let facts = Facts {
            rejected: &self.rejected,
            suspect: &view.suspect,
            extent: &repository.extent(&view.suspect)?,
            is_there: says(repository.tree(view.tip)?)?,
            attempt: view.attempt,
            stays: view.tree.map_or(Ok(true), says)?,
            is_one_of_several: self.is_one_of_several,
            mode: self.mode,
            refused,
        };
        Ok(decide(&facts))
    }

    /// What the repository says now; `Err` with the end where nothing is to be decided.
    fn look(&self, repository: &Repository) -> Result<Result<View, Written>, Failure> {
        let branches = repository.branches()?;
        let target = self.source.target.strip_prefix("refs/heads/").unwrap_or(&self.source.target);
        let branch = if target == "HEAD" { branches.default.as_ref() } else { branches.names.get(target) };
        let Some(branch) = branch else {
            return Ok(Err(Written::Unknown(format!(
                "{target} is followed, which is no branch: nobody can commit to it"
            ))));
        };
        let tip = repository.fetch(branch)?;
        let mut read = |path: &str| repository.file(tip, path);
        let paths = paths::with_references(self.source.paths.clone(), &mut read);
        let log = repository.log(tip, &paths, &Needles::of(&self.rejected))?;
        let log = Log { synced: self.source.synced.clone(), before: self.source.before.clone(), ..log };
        match suspect::find(&self.rejected, &log) {
            Finding::Answered(commit) => Ok(Err(Written::Commit(commit))),
            Finding::Unknown(why) => Ok(Err(Written::Unknown(why))),
            Finding::Suspect(suspect) => {
                let (attempt, tree) = repository.attempt(&suspect, tip)?;
                let is_pushed = branches.names.contains(&head(&suspect, branch));
                Ok(Ok(View { branch: branch.clone(), tip, paths, suspect, attempt, tree, is_pushed }))
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
            head: head(&view.suspect, &view.branch),
            base: view.branch.clone(),
            title: evidence.title(),
            body: evidence.body(&why),
        };
        if view.is_pushed {
            let there = repository.fetch(&proposal.head)?;
            if !repository.has_revert(there, &view.suspect)? {
                let head = proposal.head;
                return Err(Failure::new(format!(
                    "the branch {head} is somebody else's: remove or rename it"
                )));
            }
        }
        let commit = self.commit(repository, view)?;
        Ok(Written::Proposal(Box::new(Proposed { commit, proposal, why, is_pushed: view.is_pushed })))
    }

    fn evidence<'a>(&'a self, suspect: &'a Suspect) -> Evidence<'a> {
        Evidence { rejected: &self.rejected, suspect, measured: &self.measured, links: &self.links }
    }
}

/// The branch of the pull request: one for each commit that is taken back from a branch, whichever Rollouts it has brought and
/// however often they were tried.
fn head(suspect: &Suspect, base: &str) -> String {
    let commit: String = suspect.id.chars().take(ABBREVIATED).collect();
    let base: String = base.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("serin/revert-{commit}-{base}")
}

/// What a repository says.
struct View {
    branch: String,
    tip: Oid,
    /// What the Application is made of.
    paths: BTreeSet<String>,
    suspect: Suspect,
    attempt: Attempt,
    tree: Option<Oid>,
    is_pushed: bool,
}
