//! All that a decision may look at. A decision that needs another fact gets it by a new field here, never by a read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::endpoints::Endpoints;
use super::injection::Injected;
use super::pods::Pods;
use super::workload::Referenced;
use crate::api::analysis_template::AnalysisTemplateRef;
use crate::api::{AnalysisRun, AnalysisTemplateSpec, Experiment, Rollout};
use crate::traffic::{self, ObservedTraffic, TrafficTarget};
use crate::units::{PodHash, ReplicaCount, Revision, Timestamp};

/// The world as it was seen when a pass began.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The time of the pass.
    pub now: Timestamp,
    /// The Rollout: metadata, spec, and the status that was last seen.
    pub rollout: Rollout,
    /// Whether the Rollout is shown with the route that its canary's share goes through, in place of the one that its spec
    /// names by now.
    pub leaves_route: bool,
    /// What the spec's `workloadRef` leads to.
    pub workload: Referenced,
    /// The ReplicaSets that the Rollout owns, by name.
    pub replica_sets: Vec<ReplicaSet>,
    /// The AnalysisRuns that the Rollout owns, by name.
    pub analysis_runs: Vec<AnalysisRun>,
    /// The Experiments that the Rollout owns, by name.
    pub experiments: Vec<Experiment>,
    /// The pod template of stable as its author wrote it, as far as it was looked at.
    pub stable_template: Option<Value>,
    /// Every template that the spec names, and those that they name; one that does not exist is absent.
    pub templates: BTreeMap<AnalysisTemplateRef, AnalysisTemplateSpec>,
    /// The Services that the spec names; one that does not exist is absent.
    pub services: BTreeMap<String, Service>,
    /// What the router does; `None` when there is none, or when it cannot be read.
    pub traffic: Option<ObservedTraffic>,
    /// What the router was last told; `None` when that is not remembered.
    pub told: Option<Told>,
    /// What is wrong with the objects that configure the router.
    pub route_problems: Vec<traffic::Problem>,
    /// What the API server said when it last refused what the router is to be told; `None` when it has not since that was
    /// accepted.
    pub route_refusal: Option<String>,
    /// What the API server said when it last refused to create this Rollout's ReplicaSet as illegal (422) or forbidden
    /// (403); `None` when it has not, or when the Rollout has changed since.
    pub refusal: Option<Refusal>,
    /// Names that the Rollout would give to an object of its own, and that belong to somebody else's.
    pub taken_names: BTreeSet<String>,
    /// The pods, as far as they were looked at.
    pub pods: Pods,
    /// The pods behind the Services, as far as they were looked at.
    pub endpoints: Endpoints,
    /// Since when a change of counts has been waiting to be written; `None` when none waits.
    pub counts_pending_since: Option<Timestamp>,
    /// Settings of the controller that show in what it writes.
    pub settings: Settings,
}

/// What a router was told, and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The split.
    pub target: TrafficTarget,
    /// When.
    pub at: Timestamp,
    /// When it may be told the same again, should somebody else have told it something different.
    pub again_at: Timestamp,
    /// How often it was told the same again.
    corrections: u32,
}

/// Longest wait before a split that somebody takes back again and again is set once more.
const LONGEST_CORRECTION: Duration = Duration::from_mins(1);

impl Told {
    /// What is remembered once the router was told something. The first time that it is taken back it may be set right at
    /// once, then each time later.
    #[must_use]
    pub fn next(before: Option<&Self>, target: TrafficTarget, now: Timestamp) -> Self {
        let same = before.filter(|before| before.target == target);
        // Whoever has left it alone for long does not fight.
        let same = same.filter(|before| now.since(before.again_at) < LONGEST_CORRECTION * 2);
        let corrections = same.map_or(0, |before| before.corrections.saturating_add(1));
        let wait = match corrections {
            0 => Duration::ZERO,
            corrections => Duration::from_secs(1 << (corrections - 1).min(6)).min(LONGEST_CORRECTION),
        };
        Self { target, at: now, again_at: now.plus(wait), corrections }
    }
}

/// A ReplicaSet that the API server does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it said.
    pub message: String,
    /// Whether to try again now.
    pub is_due: bool,
}

/// A ReplicaSet, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSet {
    /// Its name.
    pub name: String,
    /// Its revision's identity, from the label; an owned ReplicaSet without the label is not part of a snapshot.
    pub hash: PodHash,
    /// The hash of its template as it is computed now, from the annotation `rollout.argoproj.io/template-hash`; `None` when
    /// that is its identity, or not known.
    pub template_hash: Option<PodHash>,
    /// Its revision's number.
    pub revision: Revision,
    /// Earlier numbers of the same revision, as the annotation holds them.
    pub revision_history: Option<String>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// `spec.replicas` of the Rollout when it was last sized.
    pub desired_annotation: Option<u32>,
    /// Pods asked for.
    pub size: ReplicaCount,
    /// Pods that exist.
    pub replicas: ReplicaCount,
    /// Pods that are ready.
    pub ready: ReplicaCount,
    /// Pods that have been ready for long enough.
    pub available: ReplicaCount,
    /// Whether its controller has seen its spec.
    pub observed: bool,
    /// Why its pods cannot be created, from its condition `ReplicaFailure`.
    pub failure: Option<String>,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: i32,
    /// When it is to be scaled to zero, from the annotation `scale-down-deadline`.
    pub scale_down_deadline: Option<Timestamp>,
    /// What became of the last update to it, from the annotation `rollout.argoproj.io/outcome`.
    pub outcome: Option<Outcome>,
    /// What the controller has put into its pod template.
    pub injected: Injected,
}

impl ReplicaSet {
    /// Available pods that stay when it has its size: what is counted may lag behind what was asked for.
    #[must_use]
    pub fn lasting(&self) -> ReplicaCount {
        self.available.min(self.size)
    }
}

/// What became of the last update to a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It became stable.
    Promoted,
    /// It was taken back.
    Aborted,
}

impl Outcome {
    /// The annotation's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "promoted",
            Self::Aborted => "aborted",
        }
    }

    /// Reads the annotation's value; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Promoted, Self::Aborted].into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// A Service, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its selector.
    pub selector: BTreeMap<String, String>,
    /// Name of the Rollout that adopted it, from its annotation `managed-by-rollouts`.
    pub managed_by: Option<String>,
    /// Its ports.
    pub ports: Vec<i32>,
}

/// How `status.observedGeneration` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GenerationFormat {
    /// As an integer, which is what generic clients read.
    #[default]
    Integer,
    /// As a string, which is what older clients of this API read.
    Text,
}

/// Settings of the controller that show in what it writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How the observed generation is written.
    pub generation_format: GenerationFormat,
    /// The shard label's value, copied to generated objects; `None` without sharding.
    pub instance_id: Option<String>,
    /// Names of the router plugins that this process can drive.
    pub router_plugins: BTreeSet<String>,
}
