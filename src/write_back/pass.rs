//! One look at one Rollout: whether it was aborted, what became of that in Git, and what is to be done about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use tokio::sync::watch;

use super::clones::Clones;
use super::cluster::Cluster;
use super::configured::Configured;
use super::credentials::Credentials;
use super::origin::Origin;
use super::repository::Failure;
use super::rollouts::Rollouts;
use super::write::{Order, Written};
use crate::analysis::Secret;
use crate::api::Rollout;
use crate::controller::{Announcer, Clock, Identity, Note, about};
use crate::events::Severity;
use crate::gitops::abort::{Abort, Rejected};
use crate::gitops::application::Source;
use crate::gitops::config::{Config, Location, Repository};
use crate::gitops::evidence::measured;
use crate::gitops::record::{self, Record, State};
use crate::metrics::Metrics;
use crate::providers::Providers;

/// Why an abort is not in Git yet.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Others work on the same repository.
    Busy,
    /// People took the abort back meanwhile: nothing is left to be done.
    Withdrawn,
    /// It may pass by itself.
    Passing(String),
    /// It stays until people change something.
    Lasting(String),
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self::Passing(why)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        if failure.is_busy { Self::Busy } else { Self::Passing(failure.why) }
    }
}

/// What passes are made with.
pub(crate) struct WriteBack {
    pub(crate) cluster: Cluster,
    pub(crate) rollouts: Rollouts,
    pub(crate) config: watch::Receiver<Option<Configured>>,
    pub(crate) clones: Clones,
    pub(crate) providers: Providers,
    pub(crate) announcer: Announcer,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
}

/// What became of an abort, before it is told.
pub(super) struct Outcome {
    pub(super) state: State,
    pub(super) message: String,
    pub(super) commit: Option<String>,
    pub(super) pull_request: Option<String>,
}

impl Outcome {
    pub(super) const fn of(state: State) -> Self {
        Self { state, message: String::new(), commit: None, pull_request: None }
    }
}

/// A repository that is written to, with what it takes to do so.
pub(super) struct Target<'a> {
    pub(super) repository: &'a Repository,
    pub(super) credentials: Credentials,
    /// Shown to the forge.
    pub(super) token: Option<Secret>,
}

impl WriteBack {
    /// The configuration as it is now.
    pub(crate) fn configured(&self) -> Configured {
        let known = self.config.borrow().clone();
        known.unwrap_or_else(|| Arc::new(Err("the configuration was not read yet".to_owned())))
    }

    /// Looks at a Rollout and does what is to be done.
    ///
    /// # Errors
    /// Why it has to be tried again.
    pub(crate) async fn pass(&self, rollout: &Rollout) -> Result<(), Trouble> {
        let Some(abort) = Abort::of(rollout) else { return Ok(()) };
        let annotations = rollout.metadata.annotations.as_ref();
        let told = Record::of(annotations);
        let Some(origin) = Origin::of(rollout) else { return Ok(()) };
        if told.as_ref().is_some_and(|told| record::settles(told, &abort.identity())) {
            return Ok(());
        }
        let mut images = None;
        let outcome = self.write_back(&abort, &origin, &mut images).await;
        // What was written is told also after the sync of it; what is in the way of what nobody waits for is not.
        let is_written = outcome.as_ref().is_ok_and(|outcome| outcome.state != State::NotNeeded);
        if !is_written && !self.rollouts.stands(&abort) {
            return Ok(());
        }
        let record = match &outcome {
            Ok(outcome) => self.record(&abort, outcome),
            Err(Trouble::Passing(why) | Trouble::Lasting(why)) => self.failed(&abort, why),
            Err(Trouble::Withdrawn) => return Ok(()),
            Err(Trouble::Busy) => return Err(Trouble::Busy),
        };
        if told.is_none_or(|told| !record::say_the_same(&told, &record)) {
            self.cluster.tell(&abort, &record, images.filter(|images| !images.is_empty()).as_deref()).await?;
            self.announce(rollout, &record);
        }
        outcome.map(drop)
    }

    fn record(&self, abort: &Abort, outcome: &Outcome) -> Record {
        let at = self.clock.now().whole_seconds();
        let record = record::record(abort.identity(), outcome.state, &outcome.message, at);
        Record { commit: outcome.commit.clone(), pull_request: outcome.pull_request.clone(), ..record }
    }

    fn failed(&self, abort: &Abort, why: &str) -> Record {
        record::record(abort.identity(), State::Failed, why, self.clock.now().whole_seconds())
    }

    fn announce(&self, rollout: &Rollout, record: &Record) {
        let severity = if record.state == State::Failed { Severity::Warning } else { Severity::Normal };
        self.metrics.written_back(record.state.reason());
        let note =
            Note { reason: record.state.reason(), message: record.message.clone(), severity, abort: None };
        let object: ObjectReference = about::<Rollout>(&Identity::of(rollout.meta()));
        self.announcer.announce(object, vec![note], self.clock);
    }

    /// `images` is set to the rejected ones as soon as they are known.
    async fn write_back(
        &self,
        abort: &Abort,
        origin: &Origin,
        images: &mut Option<Vec<String>>,
    ) -> Result<Outcome, Trouble> {
        let rejected = Rejected::new(abort.clone(), &self.cluster.replica_sets(abort).await?);
        *images = Some(rejected.images.clone());
        let config = self.configured();
        let config = config.as_ref().as_ref().map_err(|why| Trouble::Lasting(why.clone()))?;
        let sources = origin.sources(&self.cluster, &rejected).await?;
        let written = self.write_to_sources(config, sources, &rejected).await;
        let mut ignored = Ok(());
        if config.image_updater && !matches!(written, Err(Trouble::Busy | Trouble::Withdrawn)) {
            ignored = origin.ignore_tags(&self.cluster, &rejected).await;
        }
        let mut outcome = written?;
        if let Err(why) = ignored {
            // Git is right, which is what counts.
            outcome.message = format!("{}; Image Updater may offer the tag again: {why}", outcome.message);
        }
        Ok(outcome)
    }

    /// Writes to the first of the repositories in which the version is found.
    async fn write_to_sources(
        &self,
        config: &Config,
        sources: Vec<Source>,
        rejected: &Rejected,
    ) -> Result<Outcome, Trouble> {
        let (mut in_the_way, mut not_needed) = (Vec::new(), None);
        let is_one_of_several = sources.len() > 1;
        for source in sources {
            let location =
                Location::parse(&source.url).map_err(|why| format!("the repository's address: {why}"));
            let found = location.and_then(|location| {
                config.repository(&location, &rejected.abort.namespace).map(|known| (location, known))
            });
            match found {
                Ok((location, repository)) => {
                    match self
                        .write_to(
                            config,
                            repository,
                            (location.address(), source, is_one_of_several),
                            rejected,
                        )
                        .await?
                    {
                        // Another one may have it still.
                        Ok(outcome) if outcome.state == State::NotNeeded => not_needed = Some(outcome),
                        Ok(outcome) => return Ok(outcome),
                        Err(why) => in_the_way.push(why),
                    }
                }
                Err(why) => in_the_way.push(why),
            }
        }
        // What could not be looked at may have it.
        not_needed.filter(|_| in_the_way.is_empty()).ok_or_else(|| Trouble::Lasting(in_the_way.join("; ")))
    }

    /// `Ok(Err(why))`: the version did not come from there.
    async fn write_to(
        &self,
        config: &Config,
        repository: &Repository,
        (url, source, is_one_of_several): (String, Source, bool),
        rejected: &Rejected,
    ) -> Result<Result<Outcome, String>, Trouble> {
        let target = self.target(repository).await?;
        let order = Order {
            rejected: rejected.clone(),
            source,
            is_one_of_several,
            mode: repository.mode,
            author: repository.author.clone(),
            measured: measured(&self.cluster.runs(&rejected.abort).await?),
            links: config.links.clone(),
            stands: self.stands(&rejected.abort),
        };
        let credentials = target.credentials.clone();
        let written = self.clones.with(&url, credentials, move |clone| order.carry_out(clone)).await?;
        match written {
            Written::Commit(commit) => Ok(Ok(Outcome {
                message: format!("{url}: commit {commit} takes the version back"),
                commit: Some(commit),
                ..Outcome::of(State::Reverted)
            })),
            Written::Withdrawn => Err(Trouble::Withdrawn),
            Written::NotNeeded => Ok(Ok(Outcome {
                message: format!("{url} does not have the version any more"),
                ..Outcome::of(State::NotNeeded)
            })),
            Written::Unknown(why) => Ok(Err(format!("{url}: it cannot be told what to take back: {why}"))),
            Written::Proposal(proposed) => {
                self.propose(&target, &url, &rejected.abort, *proposed).await.map(Ok)
            }
        }
    }

    /// Whether a Rollout still stands in an abort, asked as late as can be.
    pub(super) fn stands(&self, abort: &Abort) -> Box<dyn Fn() -> bool + Send> {
        let (rollouts, abort) = (self.rollouts.clone(), abort.clone());
        Box::new(move || rollouts.stands(&abort))
    }

    async fn target<'a>(&self, repository: &'a Repository) -> Result<Target<'a>, String> {
        let data = match &repository.secret {
            Some(name) => self.cluster.secret(name).await?,
            None => BTreeMap::new(),
        };
        let credentials = match &repository.secret {
            Some(name) => Credentials::read(&data).map_err(|why| format!("the Secret {name}: {why}"))?,
            None => Credentials::None,
        };
        let token = data.get("token").or_else(|| data.get("password")).cloned();
        Ok(Target { repository, credentials, token })
    }
}
