//! The caches through which the controller sees the cluster, one per kind of object.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::cluster::{ApiError, Cluster};
use super::experiments::{OwnedService, owner};
use super::router::known_experiments;
use super::watched::Watched;
use super::workload::place;
use crate::api::analysis_template::AnalysisTemplateRef;
use crate::api::{AnalysisRun, AnalysisTemplateSpec, Experiment, Rollout};
use crate::rollout::endpoints::{self, Endpoints, Failing, Missing, Reading};
use crate::rollout::pods::{self, Pods, Refused};
use crate::rollout::snapshot::{self, Settings, Told};
use crate::rollout::workload::{Generations, Referenced, Workload, WorkloadKind};
use crate::rollout::{Effect, Snapshot};
use crate::traffic::{self, ObservedTraffic};
use crate::units::{ReplicaCount, Timestamp};

/// The Rollout's place in its cache; there is only one.
pub(super) const ROLLOUT: &str = "rollout";
/// The place of templates and Services in their cache.
pub(super) const CONFIG: &str = "config";

/// The place of the route in its cache.
pub(super) const ROUTE: &str = "route";
/// The plugin that stands for the simulated router.
pub const ROUTER: &str = "simulated";

/// Templates and Services.
#[derive(Clone, Debug, Default)]
pub(super) struct Config {
    pub(super) templates: BTreeMap<AnalysisTemplateRef, AnalysisTemplateSpec>,
    pub(super) services: BTreeMap<String, snapshot::Service>,
    /// The Services that Experiments own.
    pub(super) of_experiments: BTreeMap<String, OwnedService>,
}

/// A kind of object that a cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The Rollout.
    Rollout,
    /// Its ReplicaSets.
    ReplicaSets,
    /// Its AnalysisRuns.
    AnalysisRuns,
    /// Its Experiments.
    Experiments,
    /// Services and templates.
    Services,
    /// The route.
    Route,
    /// The Rollout's pods, which are listed when they are needed.
    Pods,
    /// The workload that the Rollout refers to.
    Workload,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Rollout,
        Self::ReplicaSets,
        Self::AnalysisRuns,
        Self::Experiments,
        Self::Services,
        Self::Route,
        Self::Pods,
        Self::Workload,
    ];
}

/// What the controller sees of each kind of object.
#[derive(Clone, Debug, Default)]
pub(super) struct Caches {
    pub(super) rollout: Watched<Rollout>,
    pub(super) replica_sets: Watched<snapshot::ReplicaSet>,
    /// ReplicaSets that Experiments own, with the name of each owner.
    pub(super) sets_of_experiments: Watched<(String, snapshot::ReplicaSet)>,
    pub(super) runs: Watched<AnalysisRun>,
    pub(super) experiments: Watched<Experiment>,
    pub(super) config: Watched<Config>,
    pub(super) traffic: Watched<ObservedTraffic>,
    pub(super) workload: Watched<Workload>,
}

/// Who made a change, and so whether the controller knows of it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The controller, which got an answer.
    Controller,
    /// The controller, which got no answer; or somebody else.
    Other,
}

/// What the controller remembers of a Rollout between two passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Since when a change of counts has been waiting to be written.
    pub counts_pending_since: Option<Timestamp>,
    /// What the API server said against the ReplicaSet.
    pub refusal: Option<Refusal>,
    /// ReplicaSets whose size may be another one than the cache says, until it is read.
    pub doubtful: BTreeSet<String>,
    /// What the router was last told.
    pub told: Option<Told>,
    /// Evictions that disruption budgets did not allow.
    pub refused_evictions: Option<Refused>,
    /// Since when endpoints could not be read.
    pub endpoints_failing: Option<Failing>,
    /// Pods that were not published as endpoints.
    pub missing_endpoints: Option<Missing>,
}

/// A ReplicaSet that the API server does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it says.
    pub message: String,
    /// What it was about.
    pub generations: Generations,
    /// When to try again.
    pub until: Timestamp,
}

impl Memory {
    /// Remembers that a change of a ReplicaSet's size got no answer, or met another state than the cache shows.
    pub(super) fn keep_doubt(&mut self, effect: &Effect, failed: &ApiError) {
        if matches!(failed, ApiError::Unavailable | ApiError::Conflict) {
            self.doubtful.extend(effect.sized_replica_set().map(str::to_owned));
        }
    }

    /// Remembers what the router was told.
    pub(super) fn keep_told(&mut self, made: &[&Effect], now: Timestamp) {
        for effect in made {
            if let Effect::SetTraffic(target) = effect {
                self.told = Some(Told::next(self.told.as_ref(), (**target).clone(), now));
            }
        }
    }

    /// Remembers how the look at the endpoints went.
    pub(super) fn keep_endpoints(&mut self, seen: &Snapshot, missing: ReplicaCount) {
        let failing = self.endpoints_failing.take();
        self.endpoints_failing = match seen.endpoints.reading {
            Reading::Unreadable { .. } => Some(Failing::again(failing, &seen.rollout, seen.now)),
            Reading::Unknown | Reading::Found(_) => None,
        };
        self.missing_endpoints = Missing::after(seen.endpoints.missing, missing, seen.now);
    }

    /// The refusal as long as it counts: not for another generation.
    fn refusal(&self, generations: Generations, now: Timestamp) -> Option<snapshot::Refusal> {
        let refusal = self.refusal.as_ref().filter(|refusal| refusal.generations == generations)?;
        Some(snapshot::Refusal { message: refusal.message.clone(), is_due: now >= refusal.until })
    }
}

/// Which caches have changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Changed {
    /// Whether anything has that a pass over the Rollout looks at.
    pub(super) rollout: bool,
    /// Whether anything has that a pass over an Experiment looks at.
    pub(super) experiments: bool,
    /// Names of the AnalysisRuns that have.
    pub(super) runs: BTreeSet<String>,
}

impl Cluster {
    /// The controller reads a ReplicaSet of the Rollout, and sees it as it is stored.
    pub(super) fn read_replica_set(&mut self, name: &str) {
        self.publish_replica_set(name, Writer::Controller);
    }

    /// How much later than it is stored an object of this kind is seen, from now on.
    pub fn set_lag(&mut self, kind: Kind, lag: Duration) {
        match kind {
            Kind::Rollout => self.caches.rollout.set_lag(lag),
            Kind::ReplicaSets => {
                self.caches.replica_sets.set_lag(lag);
                self.caches.sets_of_experiments.set_lag(lag);
            }
            Kind::AnalysisRuns => self.caches.runs.set_lag(lag),
            Kind::Experiments => self.caches.experiments.set_lag(lag),
            Kind::Services => self.caches.config.set_lag(lag),
            Kind::Route => self.caches.traffic.set_lag(lag),
            Kind::Pods => self.listing.set_lag(lag),
            Kind::Workload => self.caches.workload.set_lag(lag),
        }
    }

    /// The watches of all kinds are broken until `until`; then everything is listed again.
    pub fn break_watches(&mut self, until: Timestamp) {
        self.caches.rollout.break_until(until);
        self.caches.replica_sets.break_until(until);
        self.caches.sets_of_experiments.break_until(until);
        self.caches.runs.break_until(until);
        self.caches.experiments.break_until(until);
        self.caches.config.break_until(until);
        self.caches.traffic.break_until(until);
        self.caches.workload.break_until(until);
        // Lists are answered by the API server, whose own cache does not break.
    }

    /// All caches show what is stored, as after a restart.
    pub fn relist(&mut self) {
        self.caches.rollout.relist();
        self.caches.replica_sets.relist();
        self.caches.sets_of_experiments.relist();
        self.caches.runs.relist();
        self.caches.experiments.relist();
        self.caches.config.relist();
        self.caches.traffic.relist();
        self.caches.workload.relist();
    }

    /// The Rollout that the controller sees; `None` before it sees one.
    #[must_use]
    pub fn seen_rollout(&self) -> Option<&Rollout> {
        self.caches.rollout.shown().values().next()
    }

    /// The AnalysisRuns that the controller sees.
    #[must_use]
    pub fn seen_runs(&self) -> &BTreeMap<String, AnalysisRun> {
        self.caches.runs.shown()
    }

    /// The Experiments that the controller sees.
    #[must_use]
    pub const fn seen_experiments(&self) -> &BTreeMap<String, Experiment> {
        self.caches.experiments.shown()
    }

    /// The templates and Services that the controller sees.
    pub(super) fn seen_config(&self) -> Config {
        self.caches.config.shown().get(CONFIG).cloned().unwrap_or_default()
    }

    /// The ReplicaSets of an Experiment that the controller sees.
    pub(super) fn seen_sets_of_experiment(&self, name: &str) -> Vec<snapshot::ReplicaSet> {
        let sets = self.caches.sets_of_experiments.shown().values();
        sets.filter(|(owner, _)| owner == name).map(|(_, set)| set.clone()).collect()
    }

    /// What the controller sees of the route: Services of Experiments by what the status tells of them alone.
    fn seen_traffic(&self, rollout: &Rollout) -> Option<ObservedTraffic> {
        let mut seen = self.caches.traffic.shown().get(ROUTE).filter(|_| names_router(rollout)).cloned()?;
        let known = known_experiments(rollout);
        seen.experiments.retain(|name, _| known.contains(name));
        Some(seen)
    }

    /// What a pass over the Rollout looks at; `None` before the controller sees one.
    #[must_use]
    pub fn snapshot(&self, memory: &Memory) -> Option<Snapshot> {
        let config = self.seen_config();
        let rollout = self.seen_rollout()?;
        let left = traffic::with_route_left(rollout);
        let leaves_route = left.is_some();
        let rollout = left.unwrap_or_else(|| rollout.clone());
        let workload = self.referenced(&rollout);
        let generations = Generations {
            rollout: rollout.metadata.generation,
            workload: workload.found().map(|workload| workload.generation),
        };
        let mut snapshot = Snapshot {
            route_problems: Vec::new(),
            told: memory.told.clone(),
            now: self.controller_now(),
            leaves_route,
            workload,
            replica_sets: self.caches.replica_sets.shown().values().cloned().collect(),
            analysis_runs: self
                .seen_runs()
                .values()
                .filter(|run| owner(&run.metadata).is_none())
                .cloned()
                .collect(),
            experiments: self.caches.experiments.shown().values().cloned().collect(),
            stable_template: None,
            templates: config.templates,
            services: config.services,
            traffic: self.seen_traffic(&rollout),
            refusal: memory.refusal(generations, self.controller_now()),
            taken_names: BTreeSet::new(),
            route_refusal: None,
            endpoints: Endpoints { reading: Reading::Unknown, missing: memory.missing_endpoints },
            counts_pending_since: memory.counts_pending_since,
            rollout,
            pods: Pods { listed: None, refused: memory.refused_evictions },
            settings: Settings { router_plugins: [ROUTER.to_owned()].into(), ..Settings::default() },
        };
        snapshot.stable_template = self.stable_template(&snapshot);
        if pods::are_needed(&snapshot) {
            snapshot.pods.listed = Some(self.list_pods());
        }
        if endpoints::are_needed(&snapshot) {
            snapshot.endpoints.reading =
                self.read_endpoints(memory.endpoints_failing.clone(), &snapshot.rollout);
        }
        Some(snapshot)
    }

    /// What the Rollout's reference to a workload leads to, as the controller sees it.
    fn referenced(&self, rollout: &Rollout) -> Referenced {
        let Some(reference) = &rollout.spec.workload_ref else { return Referenced::Nothing };
        let Some(kind) = WorkloadKind::of(reference) else { return Referenced::Nothing };
        let place = place(kind, reference.name.as_deref().unwrap_or_default());
        let found = self.caches.workload.shown().get(&place).cloned();
        found.map_or(Referenced::Missing, |workload| Referenced::Found(Box::new(workload)))
    }

    /// When a cache changes next; `None` when all are up to date.
    pub(super) fn next_cache_change(&self) -> Option<Timestamp> {
        let caches = &self.caches;
        [
            caches.rollout.next_change(),
            caches.replica_sets.next_change(),
            caches.sets_of_experiments.next_change(),
            caches.runs.next_change(),
            caches.experiments.next_change(),
            caches.config.next_change(),
            caches.traffic.next_change(),
            caches.workload.next_change(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Shows the controller what it is due to see.
    pub(super) fn advance_caches(&mut self) -> Changed {
        let now = self.now();
        let runs = self.caches.runs.advance(now);
        let experiments = self.caches.experiments.advance(now);
        let rollout = self.caches.rollout.advance(now);
        let replica_sets = self.caches.replica_sets.advance(now);
        let config = self.caches.config.advance(now);
        let traffic = self.caches.traffic.advance(now);
        let workload = self.caches.workload.advance(now);
        let sets = self.caches.sets_of_experiments.advance(now);
        let any = |news: &[&BTreeSet<String>]| news.iter().any(|news| !news.is_empty());
        Changed {
            rollout: any(&[&rollout, &replica_sets, &config, &traffic, &workload, &runs, &experiments]),
            experiments: any(&[&rollout, &sets, &config, &runs, &experiments]),
            runs,
        }
    }

    /// Adds what the controller sees of each kind of object. Of a Rollout only the status is told, and whether the spec is
    /// the stored one.
    pub(super) fn describe_caches(&self, text: &mut String) {
        let stored = self.rollout.as_ref();
        let rollout = |seen: &Rollout| {
            let is_current = stored.map(|rollout| &rollout.metadata) == Some(&seen.metadata);
            format!("{is_current} {:?}", seen.status)
        };
        self.caches.rollout.describe(text, rollout);
        self.caches.replica_sets.describe(text, |set| format!("{set:?}"));
        self.caches.sets_of_experiments.describe(text, |set| format!("{set:?}"));
        self.caches.runs.describe(text, |run| format!("{:?} {:?}", run.spec.terminate, run.status));
        self.caches
            .experiments
            .describe(text, |found| format!("{:?} {:?}", found.spec.terminate, found.status));
        self.caches
            .config
            .describe(text, |config| format!("{:?} {:?}", config.services, config.of_experiments));
        self.caches.traffic.describe(text, |traffic| format!("{traffic:?}"));
    }
}

/// Whether the Rollout splits its traffic by the simulated router.
fn names_router(rollout: &Rollout) -> bool {
    let canary = rollout.spec.strategy.as_ref().and_then(|strategy| strategy.canary.as_ref());
    let routing = canary.and_then(|canary| canary.traffic_routing.as_ref());
    routing.is_some_and(|routing| routing.plugins.iter().flatten().any(|(name, _)| name == ROUTER))
}
