//! Writes of the controller, by what they change.

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
    /// An AnalysisRun's status.
    RunStatus,
    /// An Event.
    Event,
}

impl Write {
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
            Self::RunStatus => "run status",
            Self::Event => "Event",
        }
    }
}
