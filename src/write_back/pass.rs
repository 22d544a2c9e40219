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
use super::repository::Pushed;
use super::rollouts::Rollouts;
use super::write::{Order, Proposed, Written};
use crate::analysis::Secret;
use crate::api::Rollout;
use crate::controller::{Announcer, Clock, Identity, Note, about};
use crate::events::Severity;
use crate::gitops::abort::{Abort, Rejected};
use crate::gitops::application::{self, Application, ApplicationName, Source, TRACKING_ID};
use crate::gitops::config::{Config, Repository};
use crate::gitops::evidence::measured;
use crate::gitops::forge::{Answer, Created, Forge, Opened};
use crate::gitops::image_updater;
use crate::gitops::record::{self, Record, State};
use crate::metrics::Metrics;
use crate::providers::Providers;

/// What is said of an abort that was taken back while it was looked into, to nobody.
const WITHDRAWN: &str = "the Rollout does not stand in this abort any more";

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
struct Outcome {
    state: State,
    message: String,
    commit: Option<String>,
    pull_request: Option<String>,
}

/// A repository that is written to, with what it takes to do so.
struct Target<'a> {
    repository: &'a Repository,
    credentials: Credentials,
    /// Shown to the forge.
    token: Option<Secret>,
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
    pub(crate) async fn pass(&self, rollout: &Rollout) -> Result<(), String> {
        let Some(abort) = Abort::of(rollout) else { return Ok(()) };
        let annotations = rollout.metadata.annotations.as_ref();
        let annotation = |key: &str| annotations.and_then(|all| all.get(key));
        let told = Record::of(annotations);
        // One that no Application of Argo CD brought is nobody's in Git.
        let Some(tracking_id) = annotation(TRACKING_ID) else { return Ok(()) };
        if told.as_ref().is_some_and(|told| record::settles(told, &abort.identity())) {
            return Ok(());
        }
        let mut images = None;
        let outcome = self.write_back(&abort, tracking_id, &mut images).await;
        let failure = outcome.as_ref().err().cloned();
        if !self.rollouts.stands(&abort) {
            // Nothing is said of what nobody waits for any more.
            return Ok(());
        }
        let record = self.record(&abort, outcome);
        if told.is_none_or(|told| !record::say_the_same(&told, &record)) {
            self.cluster.tell(&abort, &record, images.as_deref()).await?;
            self.announce(rollout, &record);
        }
        failure.map_or(Ok(()), Err)
    }

    fn record(&self, abort: &Abort, outcome: Result<Outcome, String>) -> Record {
        let outcome = outcome.unwrap_or_else(|message| Outcome {
            state: State::Failed,
            message,
            commit: None,
            pull_request: None,
        });
        let record = record::record(
            abort.identity(),
            outcome.state,
            &outcome.message,
            self.clock.now().whole_seconds(),
        );
        Record { commit: outcome.commit, pull_request: outcome.pull_request, ..record }
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
        tracking_id: &str,
        images: &mut Option<Vec<String>>,
    ) -> Result<Outcome, String> {
        let rejected = Rejected::new(abort.clone(), &self.cluster.replica_sets(abort).await?);
        *images = Some(rejected.images.clone());
        let config = self.configured();
        let config = config.as_ref().as_ref().map_err(Clone::clone)?;
        let name = application::owner(tracking_id, &abort.namespace, &abort.name)
            .ok_or_else(|| format!("the annotation {TRACKING_ID} names no Application of this Rollout"))?;
        let application = self.cluster.application(&name).await?;
        if !application.manages(&abort.namespace, &abort.name) {
            return Err(format!(
                "the Application {} does not manage this Rollout, whatever its annotation says",
                name.name
            ));
        }
        if config.image_updater {
            self.ignore_tags(&name, &application, &rejected).await?;
        }
        self.write_to_sources(config, &application, &rejected).await
    }

    async fn ignore_tags(
        &self,
        name: &ApplicationName,
        application: &Application,
        rejected: &Rejected,
    ) -> Result<(), String> {
        let ignored = image_updater::ignored(application.annotations(), &rejected.images);
        if ignored.is_empty() {
            return Ok(());
        }
        self.cluster.annotate_application(name, &ignored).await
    }

    /// Writes to the first of the Application's repositories in which the version is found.
    async fn write_to_sources(
        &self,
        config: &Config,
        application: &Application,
        rejected: &Rejected,
    ) -> Result<Outcome, String> {
        let mut in_the_way = Vec::new();
        for source in application.sources(rejected.begun_at) {
            let Some(repository) = config.repository(&source.url) else {
                in_the_way.push(format!("{} is not among the repositories of the configuration", source.url));
                continue;
            };
            match self.write_to(config, repository, source, rejected).await? {
                Ok(outcome) => return Ok(outcome),
                Err(why) => in_the_way.push(why),
            }
        }
        if in_the_way.is_empty() {
            return Err("the Application comes from no repository of Git".to_owned());
        }
        Err(in_the_way.join("; "))
    }

    /// `Ok(Err(why))`: the version did not come from there.
    async fn write_to(
        &self,
        config: &Config,
        repository: &Repository,
        source: Source,
        rejected: &Rejected,
    ) -> Result<Result<Outcome, String>, String> {
        let target = self.target(repository).await?;
        let url = source.url.clone();
        let order = Order {
            rejected: rejected.clone(),
            source,
            mode: repository.mode,
            author: repository.author.clone(),
            measured: measured(&self.cluster.runs(&rejected.abort).await?),
            links: config.links.clone(),
            stands: self.stands(&rejected.abort),
        };
        let written =
            self.clones.with(&url, target.credentials.clone(), move |clone| order.carry_out(clone)).await;
        match written.map_err(|failure| failure.why)? {
            Written::Commit(commit) => Ok(Ok(Outcome {
                state: State::Reverted,
                message: format!("{url}: commit {commit} takes the version back"),
                commit: Some(commit),
                pull_request: None,
            })),
            Written::Withdrawn => Err(WITHDRAWN.to_owned()),
            Written::NotNeeded => Ok(Ok(Outcome {
                state: State::NotNeeded,
                message: format!("{url} does not have the version any more"),
                commit: None,
                pull_request: None,
            })),
            Written::Unknown(why) => {
                Ok(Err(format!("{url}: cannot tell which commit brought the version: {why}")))
            }
            Written::Proposal(proposed) => {
                self.propose(&target, &url, &rejected.abort, *proposed).await.map(Ok)
            }
        }
    }

    /// Whether a Rollout still stands in an abort, asked as late as can be.
    fn stands(&self, abort: &Abort) -> Box<dyn Fn() -> bool + Send> {
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

    /// A pull request, unless there was one before: people who closed it have decided.
    async fn propose(
        &self,
        target: &Target<'_>,
        url: &str,
        abort: &Abort,
        proposed: Proposed,
    ) -> Result<Outcome, String> {
        let (head, why) = (proposed.proposal.head.clone(), proposed.why.clone());
        let outcome = |opened: Option<&Opened>| Outcome {
            state: State::Proposed,
            message: match opened {
                Some(opened) => format!("{} proposes to take the version back: {why}", opened.url),
                None => format!(
                    "{url}: the branch {head} takes the version back and waits for people ({why}); no forge is configured"
                ),
            },
            commit: None,
            pull_request: opened.map(|opened| opened.url.to_string()),
        };
        let Some(known) = &target.repository.forge else {
            self.push(target, url, &proposed).await?;
            return Ok(outcome(None));
        };
        let forge = Forge::new(known.kind, url, known.api.as_ref())?;
        let token =
            target.token.clone().ok_or("the forge needs a token: put it as `token` into the Secret")?;
        if let Some(opened) = self.found(&forge, &token, &proposed).await? {
            return Ok(outcome(Some(&opened)));
        }
        if !self.rollouts.stands(abort) {
            return Err(WITHDRAWN.to_owned());
        }
        self.push(target, url, &proposed).await?;
        let (status, body) = self
            .providers
            .answer(&forge.create(&token, &proposed.proposal), std::slice::from_ref(&token))
            .await?;
        let opened = match forge.created(Answer { status, body: &body })? {
            Created::New(opened) => Some(opened),
            Created::Exists => self.found(&forge, &token, &proposed).await?,
        };
        let opened = opened.ok_or("the forge says that there is a pull request, and lists none")?;
        Ok(outcome(Some(&opened)))
    }

    async fn found(
        &self,
        forge: &Forge,
        token: &Secret,
        proposed: &Proposed,
    ) -> Result<Option<Opened>, String> {
        let request = forge.find(token, &proposed.proposal);
        let (status, body) = self.providers.answer(&request, std::slice::from_ref(token)).await?;
        forge.found(Answer { status, body: &body }, &proposed.proposal)
    }

    async fn push(&self, target: &Target<'_>, url: &str, proposed: &Proposed) -> Result<(), String> {
        if proposed.is_pushed {
            return Ok(());
        }
        let (commit, head) = (proposed.commit, proposed.proposal.head.clone());
        let pushed =
            self.clones.with(url, target.credentials.clone(), move |clone| clone.push(commit, &head)).await;
        match pushed.map_err(|failure| failure.why)? {
            // Another replica was faster: its branch says the same.
            Pushed::Taken | Pushed::Moved => Ok(()),
            Pushed::Refused(why) => {
                Err(format!("{url} does not take the branch {}: {why}", proposed.proposal.head))
            }
        }
    }
}
