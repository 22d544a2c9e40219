//! All that a decision about one Experiment may look at.

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::template::Templates;
use crate::api::{AnalysisPhase, AnalysisRun, Experiment};
use crate::rollout::snapshot::{ReplicaSet, Service};
use crate::units::Timestamp;

/// The world as it was seen when a pass began.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The time of the pass.
    pub now: Timestamp,
    /// The Experiment: metadata, spec, and the status that was last seen.
    pub experiment: Experiment,
    /// The ReplicaSets that it owns, by name.
    pub replica_sets: Vec<ReplicaSet>,
    /// The Services that it owns, by name.
    pub services: BTreeMap<String, Service>,
    /// Where the route of the Rollout that it is a step of leads.
    pub route: Route,
    /// The AnalysisRuns that it owns, by name.
    pub analysis_runs: Vec<AnalysisRun>,
    /// Every template that its analyses name, and those that they name; one that does not exist is absent.
    pub templates: Templates,
    /// What could not be made, by kind and name.
    pub obstacles: BTreeMap<(ObjectKind, String), Obstacle>,
    /// The shard label's value, copied to AnalysisRuns; `None` without sharding.
    pub instance_id: Option<String>,
}

/// Which Services of an Experiment get traffic through the route of its Rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// These may; none where there is no Rollout.
    LeadsTo(BTreeSet<String>),
    /// The Rollout is there and cannot be read: each of them may.
    Unknown,
}

/// A kind of object that an Experiment makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// The pods of a template.
    ReplicaSet,
    /// The way to them.
    Service,
    /// An analysis.
    AnalysisRun,
}

impl ObjectKind {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReplicaSet => "ReplicaSet",
            Self::Service => "Service",
            Self::AnalysisRun => "AnalysisRun",
        }
    }
}

/// Why an object could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Why.
    pub why: Why,
    /// When to try again.
    pub retry_at: Timestamp,
}

/// What is in the way of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// An object of the name is somebody else's.
    Taken,
    /// The API server said this against it.
    Refused(String),
}

impl Snapshot {
    /// The Experiment's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.experiment.metadata.name.as_deref().unwrap_or_default()
    }

    /// The ReplicaSet of a name.
    #[must_use]
    pub fn replica_set(&self, name: &str) -> Option<&ReplicaSet> {
        self.replica_sets.iter().find(|set| set.name == name)
    }

    /// The AnalysisRun of a name.
    #[must_use]
    pub fn run(&self, name: &str) -> Option<&AnalysisRun> {
        self.analysis_runs.iter().find(|run| run.metadata.name.as_deref() == Some(name))
    }

    /// Whether requests may reach a Service through the route of a Rollout. Its pods and the Service stay for as long.
    #[must_use]
    pub fn is_led_to(&self, service: &str) -> bool {
        match &self.route {
            Route::LeadsTo(services) => services.contains(service),
            Route::Unknown => true,
        }
    }

    /// What is in the way of making an object.
    #[must_use]
    pub fn obstacle(&self, kind: ObjectKind, name: &str) -> Option<&Obstacle> {
        self.obstacles.get(&(kind, name.to_owned()))
    }

    /// Whether an object of the name was somebody else's a short time ago.
    #[must_use]
    pub fn is_taken(&self, kind: ObjectKind, name: &str) -> bool {
        let obstacle = self.obstacle(kind, name).filter(|obstacle| obstacle.why == Why::Taken);
        obstacle.is_some_and(|obstacle| obstacle.retry_at > self.now)
    }
}

/// The phase of a run; `None` before its first pass.
pub(super) fn phase_of(run: &AnalysisRun) -> Option<AnalysisPhase> {
    run.status.as_ref().and_then(|status| status.phase)
}
