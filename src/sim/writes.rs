//! Writes of the controller, by what they change.

use crate::rollout::Effect;

/// What a write changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Write {
    /// The Rollout's status.
    Status,
    /// The Rollout's annotations.
    Annotations,
    /// A ReplicaSet.
    ReplicaSet,
    /// A pod.
    Pod,
    /// A Service.
    Service,
    /// The route.
    Route,
    /// The workload that the Rollout refers to.
    Workload,
    /// An AnalysisRun: created, stopped or deleted.
    AnalysisRun,
    /// An Experiment: created, stopped or deleted.
    Experiment,
    /// An Experiment's status.
    ExperimentStatus,
    /// An AnalysisRun's status.
    RunStatus,
    /// An Event.
    Event,
}

impl Write {
    /// What an effect writes.
    #[must_use]
    pub const fn of(effect: &Effect) -> Self {
        match effect {
            Effect::CreateReplicaSet(_)
            | Effect::ScaleReplicaSet { .. }
            | Effect::UpdateReplicaSet { .. }
            | Effect::AdjustTemplate(_)
            | Effect::DeleteReplicaSet { .. } => Self::ReplicaSet,
            Effect::MarkPod { .. } | Effect::EvictPod { .. } => Self::Pod,
            Effect::SwitchService { .. } => Self::Service,
            Effect::SetTraffic(_) | Effect::GiveRoutesBack => Self::Route,
            Effect::AnnotateRollout { .. } => Self::Annotations,
            Effect::ScaleWorkload { .. } => Self::Workload,
            Effect::CreateAnalysisRun(_)
            | Effect::TerminateAnalysisRun { .. }
            | Effect::DeleteAnalysisRun { .. } => Self::AnalysisRun,
            Effect::CreateExperiment(_)
            | Effect::TerminateExperiment { .. }
            | Effect::DeleteExperiment { .. } => Self::Experiment,
        }
    }

    /// How the log calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Annotations => "revision",
            Self::ReplicaSet => "ReplicaSet",
            Self::Pod => "pod",
            Self::Service => "Service",
            Self::Route => "route",
            Self::Workload => "workload",
            Self::AnalysisRun => "AnalysisRun",
            Self::Experiment => "Experiment",
            Self::ExperimentStatus => "experiment status",
            Self::RunStatus => "run status",
            Self::Event => "Event",
        }
    }
}
