//! Start, leadership, and an orderly end.

use std::collections::HashMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::{Client, Config};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::analysis::{DecideRun, Runs};
use super::announce::Announcer;
use super::apply::Writer;
use super::balancers::Balancers;
use super::caches::{Caches, Watched};
use super::clock::Clock;
use super::dispatch::{Stop, stopped};
use super::experiments::{DecideExperiment, Experiments};
use super::leader::{Candidate, Fence, LeadershipLost};
use super::measure::Measurements;
use super::notices::{self, Notifier};
use super::options::{Controllers, Options};
use super::reconcile::{Decide, Rollouts};
use super::specs::Specs;
use super::traces::{Traces, TracesError};
use super::unanswered::Unanswered;
use super::{client, dispatch, http, routes, scrape, watch as watches, workloads};
use crate::metrics::Metrics;
use crate::providers::{Cluster, ProviderOptions, Providers};
use crate::{analysis, experiment, rollout};

/// Rollouts for which notifications are sent at once; of one service, far fewer are.
const NOTICES_AT_ONCE: usize = 100;
/// How long the configuration of notifications may keep everything else waiting.
const CONFIG_PATIENCE: Duration = Duration::from_secs(10);
/// How long what is under way may take at the end, besides passes: Events, the Lease.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// How long spans may take that are on their way then: the next leader waits for it.
const SPANS_END_PATIENCE: Duration = Duration::from_secs(1);

/// Why a controller ended on its own.
#[derive(Debug, Error)]
pub enum RunError {
    /// The API server's address or certificates cannot be used.
    #[error("cannot set up the connection to the API server")]
    Connect(#[source] Box<kube::Error>),
    /// A port is taken.
    #[error("cannot listen on {address} for {what}")]
    Listen {
        /// `health` or `metrics`.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Traces are wanted, and cannot be sent.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// A task that lives as long as the process has ended. Its watch would be silent for ever, and the caches stale.
    #[error("a task of the process ended: {0}")]
    TaskEnded(String),
    /// Another replica leads, or the Lease could not be renewed: this process must not write any more.
    #[error(transparent)]
    LeadershipLost(#[from] LeadershipLost),
}

/// What decides.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// About Rollouts.
    pub rollout: Decide,
    /// About AnalysisRuns.
    pub analysis: DecideRun,
    /// About Experiments.
    pub experiment: DecideExperiment,
}

impl Default for Cores {
    fn default() -> Self {
        Self { rollout: rollout::decide, analysis: analysis::decide, experiment: experiment::decide }
    }
}

/// Runs a controller until `shutdown` resolves: waits for its caches, for leadership, and then works.
///
/// # Errors
/// When it cannot start, or loses its leadership.
pub async fn run(
    config: Config,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    run_with(config, options, Cores::default(), shutdown).await
}

/// Like [`run`], with other cores.
///
/// # Errors
/// When it cannot start, or loses its leadership.
pub async fn run_with(
    config: Config,
    options: Options,
    cores: Cores,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let (end, stop) = watch::channel(false);
    let (process, background) = Box::pin(Process::start(config, options, stop)).await?;
    // On the heap: all of a controller's states are too much for the stack of whoever runs it.
    supervise(Box::pin(process.work(cores)), background, shutdown, &end).await
}

/// Lets the process work until it ends by itself, is asked to, or lacks a task; then it ends in order.
async fn supervise(
    mut work: impl Future<Output = Result<(), RunError>> + Unpin,
    mut background: JoinSet<()>,
    shutdown: impl Future<Output = ()>,
    end: &watch::Sender<bool>,
) -> Result<(), RunError> {
    let reason = tokio::select! {
        outcome = &mut work => return outcome,
        ended = first_end(&mut background) => Err(ended),
        () = shutdown => Ok(()),
    };
    match &reason {
        Ok(()) => info!("ending: no new work is taken up"),
        Err(defect) => error!(error = %defect, "ending: no new work is taken up"),
    }
    end.send_replace(true);
    work.await.and(reason)
}

/// Whether all tasks end by themselves in this time.
async fn all_end(tasks: &mut JoinSet<()>, patience: Duration) -> bool {
    timeout(patience, async { while tasks.join_next().await.is_some() {} }).await.is_ok()
}

/// The end of the first task, none of which is meant to end.
async fn first_end(tasks: &mut JoinSet<()>) -> RunError {
    match tasks.join_next().await {
        Some(Err(defect)) => RunError::TaskEnded(defect.to_string()),
        Some(Ok(())) => RunError::TaskEnded("it had nothing more to do".to_owned()),
        None => pending().await,
    }
}

/// A process that watches, but does not write yet.
struct Process {
    options: Options,
    client: Client,
    caches: Arc<Caches>,
    metrics: Arc<Metrics>,
    clock: Clock,
    stop: Stop,
}

impl Process {
    /// The process, and its watches and ports, which end when they are dropped.
    async fn start(config: Config, options: Options, stop: Stop) -> Result<(Self, JoinSet<()>), RunError> {
        let metrics = Arc::new(Metrics::default());
        let client = client::connect(config, options.limits, &metrics);
        let client = client.map_err(|error| RunError::Connect(Box::new(error)))?;
        let caches = Arc::new(Caches::new(watched(&options)));
        let mut background = JoinSet::new();
        if let Some(address) = options.health_address {
            let router = http::health(Arc::clone(&caches));
            let bound = http::serve("health", address, router, stop.clone(), &mut background).await;
            bound.map_err(|source| RunError::Listen { what: "health", address, source })?;
        }
        if let Some(address) = options.metrics_address {
            let objects = Box::new(scrape::Objects(Arc::clone(&caches)));
            let router = http::metrics(Arc::clone(&metrics).registry(vec![objects]));
            let bound = http::serve("metrics", address, router, stop.clone(), &mut background).await;
            bound.map_err(|source| RunError::Listen { what: "metrics", address, source })?;
        }
        watches::start(&client, &options, &caches, &mut background);
        background.spawn(workloads::follow(client.clone(), options.clone(), Arc::clone(&caches)));
        background.spawn(routes::follow(client.clone(), options.clone(), Arc::clone(&caches)));
        if options.controllers == Controllers::All {
            background.spawn(notices::follow(client.clone(), Arc::clone(&caches)));
        }
        Ok((Self { options, client, caches, metrics, clock: Clock, stop }, background))
    }

    /// Waits for caches and leadership, works, and gives the leadership back.
    async fn work(mut self, cores: Cores) -> Result<(), RunError> {
        tokio::select! {
            () = complete(&self.caches, self.options.controllers) => info!("caches are complete"),
            () = stopped(&mut self.stop) => return Ok(()),
        }
        let fence = Fence::closed();
        let Some(election) = self.options.leader_election.clone() else {
            fence.open();
            return self.lead(cores, fence, pending()).await;
        };
        let (client, instance_id) = (self.client.clone(), self.options.instance_id.clone());
        let mut candidate = Candidate::new(client, election, &instance_id, fence.clone(), self.clock);
        tokio::select! {
            () = candidate.win() => {}
            () = stopped(&mut self.stop) => {
                // A request that was on its way may have won.
                release(&mut candidate).await;
                return Ok(());
            }
        }
        let led = self.lead(cores, fence, candidate.keep()).await;
        if !matches!(led, Err(RunError::LeadershipLost(_))) {
            release(&mut candidate).await;
        }
        led
    }

    /// Works until the end is called, or leadership or a task is lost: then every pass is dropped where it stands.
    async fn lead(
        &mut self,
        cores: Cores,
        fence: Fence,
        lost: impl Future<Output = LeadershipLost>,
    ) -> Result<(), RunError> {
        self.metrics.leads();
        let mut announcements = JoinSet::new();
        let announcer = Announcer::start(&self.client, &self.metrics, &mut announcements);
        let endpoint = self.options.traces_endpoint.as_deref();
        let mut spans = JoinSet::new();
        let traces = endpoint
            .map(|endpoint| Traces::start(endpoint, &self.metrics, self.clock, &mut spans))
            .transpose()?;
        let writer = Arc::new(Writer {
            client: self.client.clone(),
            caches: Arc::clone(&self.caches),
            fence,
            announcer,
            unanswered: Unanswered::default(),
            metrics: Arc::clone(&self.metrics),
            clock: self.clock,
            traces,
        });
        let passes = self.passes(cores, writer);
        tokio::select! {
            lost = lost => return Err(lost.into()),
            ended = first_end(&mut announcements) => return Err(ended),
            () = passes => {}
        }
        if !all_end(&mut announcements, END_PATIENCE).await {
            warn!("some events could not be created in time");
        }
        if !all_end(&mut spans, SPANS_END_PATIENCE).await {
            warn!("some spans could not be sent in time");
        }
        Ok(())
    }

    /// Makes passes over all kinds until the end is called.
    async fn passes(&self, cores: Cores, writer: Arc<Writer>) {
        let providers = self.providers();
        let rollouts = async {
            let rollouts = Arc::new(self.rollouts(cores.rollout, &writer, &providers));
            let pass = |rollouts: Arc<Rollouts>, key| async move { rollouts.pass(&key).await };
            let slots = self.options.rollout_passes;
            dispatch::run(rollouts, slots, self.stop.clone(), pass).await;
        };
        let runs = async {
            let runs = Arc::new(self.runs(cores.analysis, &writer, providers.clone()));
            let pass = |runs: Arc<Runs>, key| async move { runs.pass(&key).await };
            let slots = self.options.analysis_passes;
            dispatch::run(runs, slots, self.stop.clone(), pass).await;
        };
        let experiments = async {
            let experiments = Arc::new(self.experiments(cores.experiment, &writer));
            let pass = |experiments: Arc<Experiments>, key| async move { experiments.pass(&key).await };
            let slots = self.options.experiment_passes;
            dispatch::run(experiments, slots, self.stop.clone(), pass).await;
        };
        let notices = async {
            let told = notices::tell_problems(Arc::clone(&self.caches), Arc::clone(&writer), self.clock);
            let (client, caches) = (self.client.clone(), Arc::clone(&self.caches));
            let notifier = Arc::new(Notifier::new(client, caches, Arc::clone(&writer), providers.clone()));
            let pass = |notifier: Arc<Notifier>, key| async move { notifier.pass(&key).await };
            let sent = dispatch::run(notifier, NOTICES_AT_ONCE, self.stop.clone(), pass);
            let mut stop = self.stop.clone();
            // What is on its way stands in a status still: the next leader need not wait for it.
            tokio::select! { () = sent => {} () = told => {} () = stopped(&mut stop) => {} }
        };
        match self.options.controllers {
            Controllers::All => drop(tokio::join!(rollouts, runs, experiments, notices)),
            Controllers::Analysis => runs.await,
        }
    }

    fn experiments(&self, decide: DecideExperiment, writer: &Arc<Writer>) -> Experiments {
        Experiments {
            caches: Arc::clone(&self.caches),
            writer: Arc::clone(writer),
            metrics: Arc::clone(&self.metrics),
            clock: self.clock,
            instance_id: self.options.settings().instance_id,
            resync: self.options.resync,
            decide,
            memories: Mutex::new(HashMap::new()),
        }
    }

    fn rollouts(&self, decide: Decide, writer: &Arc<Writer>, providers: &Providers) -> Rollouts {
        Rollouts {
            caches: Arc::clone(&self.caches),
            writer: Arc::clone(writer),
            metrics: Arc::clone(&self.metrics),
            clock: self.clock,
            settings: self.options.settings(),
            resync: self.options.resync,
            decide,
            memories: Mutex::new(HashMap::new()),
            balancers: self.options.verified_by_tag.clone().map(|tag| {
                let balancers = providers.load_balancers();
                Arc::new(Balancers::new(balancers, tag, self.client.clone(), Arc::clone(&self.caches)))
            }),
        }
    }

    fn providers(&self) -> Providers {
        Providers::new(ProviderOptions {
            default_prometheus_address: self.options.prometheus_address.clone(),
            resolve: self.options.resolve.clone(),
            allowed: self.options.allowed.clone(),
            aws: self.options.aws.clone(),
            cluster: Some(Cluster(self.client.clone())),
        })
    }

    fn runs(&self, decide: DecideRun, writer: &Arc<Writer>, providers: Providers) -> Runs {
        Runs {
            client: self.client.clone(),
            caches: Arc::clone(&self.caches),
            writer: Arc::clone(writer),
            metrics: Arc::clone(&self.metrics),
            measurements: Arc::new(Measurements::new(providers, self.options.analysis_passes, self.clock)),
            specs: Specs::default(),
            clock: self.clock,
            resync: self.options.resync,
            decide,
        }
    }
}

/// Waits for everything that the first pass looks at.
async fn complete(caches: &Caches, controllers: Controllers) {
    caches.synced().await;
    let is_for_rollouts = controllers == Controllers::All;
    if is_for_rollouts && timeout(CONFIG_PATIENCE, caches.notices.loaded()).await.is_err() {
        warn!("the ConfigMap of notifications is not known yet, beginning without it");
    }
}

async fn release(candidate: &mut Candidate) {
    if timeout(END_PATIENCE, candidate.release()).await.is_err() {
        warn!("the leader lease could not be given back in time, it will expire");
    }
}

/// The kinds that the options call for.
fn watched(options: &Options) -> Vec<Watched> {
    let rollouts = [Watched::Rollouts, Watched::ReplicaSets, Watched::Services, Watched::AnalysisTemplates];
    let cluster = options.namespace.is_none().then_some(Watched::ClusterAnalysisTemplates);
    match options.controllers {
        Controllers::All => {
            rollouts.into_iter().chain(cluster).chain([Watched::AnalysisRuns, Watched::Experiments]).collect()
        }
        Controllers::Analysis => vec![Watched::AnalysisRuns],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_controller_that_lacks_a_task_ends_in_order() {
        let (end, mut stop) = watch::channel(false);
        let mut background = JoinSet::new();
        background.spawn(pending());
        background.spawn(async { panic!("this task is meant to fail") });
        let work = Box::pin(async {
            stopped(&mut stop).await;
            Ok(())
        });
        let ended = supervise(work, background, pending(), &end).await.unwrap_err();
        assert!(ended.to_string().contains("this task is meant to fail"), "{ended}");
    }
}
