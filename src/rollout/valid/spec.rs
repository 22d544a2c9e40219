//! What a legal spec says, with its defaults applied. Illegal specs cannot be expressed.

use std::fmt;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::WorkloadScaling;
use crate::rollout::experiments::StepExperiment;
use crate::rollout::injection::OnPods;
use crate::rollout::replicas::{Bounds, Threshold};
use crate::rollout::runs::Analysis;
use crate::traffic::{Cookie, Rule};
use crate::units::{ReplicaCount, Weight, format_duration};

/// A spec with its defaults applied.
#[derive(Clone, Debug)]
pub struct ValidSpec {
    /// Pods wanted.
    pub replicas: ReplicaCount,
    /// What surge and unavailability allow around them.
    pub bounds: Bounds,
    /// Which pods belong to the Rollout.
    pub selector: LabelSelector,
    /// The pod template as it was written.
    pub template: Value,
    /// Seconds a pod must have been ready to count as available.
    pub min_ready_seconds: i32,
    /// Old ReplicaSets kept.
    pub revision_history_limit: usize,
    /// Successful, and other, AnalysisRuns kept.
    pub run_history: RunHistory,
    /// Whether a person holds everything.
    pub paused: bool,
    /// Time without progress after which the update counts as stuck.
    pub progress_deadline: Duration,
    /// What happens then.
    pub on_deadline: OnDeadline,
    /// How the versions share the traffic.
    pub strategy: Strategy,
    /// The steps, in order; none for blue-green.
    pub steps: Vec<Step>,
    /// Analysis beside the steps.
    pub background: Option<Background>,
    /// Services of a canary whose selectors follow the versions.
    pub services: Services,
    /// How long versions are kept that no traffic goes to any more.
    pub scale_down: ScaleDown,
    /// How many pods must be available before a step counts as done.
    pub threshold: Threshold,
    /// Going back past fewer revisions than this skips everything; 0 never does.
    pub rollback_window: usize,
    /// What pods carry for their role, and where they may run.
    pub on_pods: OnPods,
    /// Whether pods carry labels of their roles that Services may select by.
    pub has_role_labels: bool,
    /// What becomes of the pods of the workload that is referred to.
    pub workload_scaling: WorkloadScaling,
    /// Whether planned pauses are reported as healthy while all pods that are wanted then are available.
    pub pauses_are_healthy: bool,
}

/// How the versions share the traffic.
#[derive(Clone, Debug)]
pub enum Strategy {
    /// A canary whose share is that of its pods.
    ByPods,
    /// A canary whose share a router gives it.
    Routed(Routing),
    /// A preview beside the active version, and one switch.
    BlueGreen(Box<BlueGreen>),
}

/// A canary whose share a router gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Where the router sends traffic to.
    pub destinations: Destinations,
    /// The whole of the weights.
    pub scale: Weight,
    /// What becomes of stable while the canary takes its share.
    pub stable_scale: StableScale,
    /// Least pods of a version that has any.
    pub min_pods: u32,
    /// Names of routes that steps may make, the one with precedence first.
    pub managed: Vec<String>,
    /// The cookie that keeps users on the canary; `None` where none does.
    pub cookie: Option<Cookie>,
}

/// Where a router sends traffic to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destinations {
    /// Each name stands for one role.
    ByRole {
        /// The canary's.
        canary: String,
        /// Stable's.
        stable: String,
    },
    /// Each name stands for one role, and the router itself chooses the pods behind it; Services that have roles besides
    /// follow them.
    Subsets {
        /// The canary's.
        canary: String,
        /// Stable's.
        stable: String,
    },
    /// Each name keeps its pods, and the roles alternate.
    PingPong {
        /// The one.
        ping: String,
        /// The other.
        pong: String,
    },
}

/// What becomes of stable while a routed canary takes its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StableScale {
    /// It keeps all of its pods.
    Full,
    /// It shrinks as its share does.
    Dynamic,
}

/// How long versions are kept that no traffic goes to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleDown {
    /// After they were replaced.
    pub delay: Duration,
    /// How many of those at most.
    pub revision_limit: usize,
    /// After an abort; `None` keeps the version for ever.
    pub after_abort: Option<Duration>,
}

/// A preview beside the active version, and one switch.
#[derive(Clone, Debug)]
pub struct BlueGreen {
    /// Service that users' traffic goes through.
    pub active_service: String,
    /// Service that shows the new version before the switch.
    pub preview_service: Option<String>,
    /// Pods of the preview before the switch; `None` for all.
    pub preview_replicas: Option<ReplicaCount>,
    /// What makes the switch.
    pub promotion: Promotion,
    /// Analysis that must pass before the switch.
    pub pre_promotion: Option<Box<Analysis>>,
    /// Analysis that must pass after the switch.
    pub post_promotion: Option<Box<Analysis>>,
}

/// What makes the switch of a blue-green update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// The new version being ready.
    WhenReady,
    /// That, and time.
    After(Duration),
    /// That, and a person.
    ByPerson,
}

/// How many AnalysisRuns are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunHistory {
    /// Successful ones.
    pub successful: usize,
    /// All others.
    pub unsuccessful: usize,
}

/// What happens to an update that is stuck past its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDeadline {
    /// It is reported and goes on trying.
    Report,
    /// It is aborted.
    Abort,
}

/// Services whose selectors follow the versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// Selects the stable version's pods.
    pub stable: Option<String>,
    /// Selects the canary's pods.
    pub canary: Option<String>,
}

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    /// Gives the canary a share.
    SetWeight(Weight),
    /// Sizes the canary apart from its share.
    SetCanaryScale(CanaryScale),
    /// Makes a route for some requests, or takes it away.
    SetRoute {
        /// Its name.
        name: String,
        /// What it does; `None` takes it away.
        rule: Option<Rule>,
    },
    /// Waits for a time, or for a person.
    Pause(Option<Duration>),
    /// Runs an analysis and waits for it.
    Analysis(Box<Analysis>),
    /// Runs an experiment and waits for it.
    Experiment(Box<StepExperiment>),
}

/// The size of a canary apart from its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryScale {
    /// So many percent of `replicas`.
    Percent(u32),
    /// So many pods.
    Replicas(u32),
    /// The size follows the share again.
    MatchTrafficWeight,
}

impl fmt::Display for CanaryScale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "setCanaryScale{{weight: {percent}}}"),
            Self::Replicas(replicas) => write!(f, "setCanaryScale{{replicas: {replicas}}}"),
            Self::MatchTrafficWeight => f.write_str("setCanaryScale{matchTrafficWeight: true}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetWeight(weight) => write!(f, "setWeight: {weight}"),
            Self::SetCanaryScale(scale) => scale.fmt(f),
            Self::SetRoute { name, rule: Some(Rule::Mirror { .. }) } => write!(f, "setMirrorRoute: {name}"),
            Self::SetRoute { name, rule: Some(Rule::Header(_) | Rule::Session(_)) } => {
                write!(f, "setHeaderRoute: {name}")
            }
            Self::SetRoute { name, rule: None } => write!(f, "remove route {name}"),
            Self::Pause(None) => f.write_str("pause"),
            Self::Pause(Some(duration)) => write!(f, "pause: {}", format_duration(*duration)),
            Self::Analysis(_) => f.write_str("analysis"),
            Self::Experiment(_) => f.write_str("experiment"),
        }
    }
}

/// Analysis beside the steps.
#[derive(Clone, Debug)]
pub struct Background {
    /// What is run.
    pub analysis: Box<Analysis>,
    /// Index of the step it starts at.
    pub starting_step: usize,
}
