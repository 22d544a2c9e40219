//! Everything the product announces, as one closed set: Kubernetes Events, and from them notifications and counters.
//!
//! The reasons are the public API's; people and tools match on them. The order of variants is the order in which the
//! announcements of one pass are made.

mod abort;

use std::fmt;

pub use self::abort::{AbortCause, AbortReason};
use crate::api::AnalysisPhase;
use crate::units::{PodHash, ReplicaCount, Revision, StepIndex, Weight};

/// Whether an announcement is news or a warning, as Kubernetes Events know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// News.
    Normal,
    /// Somebody should look.
    Warning,
}

impl Severity {
    /// The type of the Kubernetes Event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Which analysis of a rollout a run belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunKind {
    /// Of an analysis step.
    Step,
    /// Beside the steps.
    Background,
    /// Before the switch of a blue-green update.
    PrePromotion,
    /// After the switch of a blue-green update.
    PostPromotion,
}

impl RunKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Step, Self::Background, Self::PrePromotion, Self::PostPromotion];

    /// The value of the label `rollout-type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Step => "Step",
            Self::Background => "Background",
            Self::PrePromotion => "PrePromotion",
            Self::PostPromotion => "PostPromotion",
        }
    }
}

/// One announcement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// The controller has seen the Rollout for the first time.
    AddedToInformer,
    /// The spec cannot be worked with.
    InvalidSpec {
        /// All problems, in one sentence each.
        message: String,
    },
    /// Something works differently from what its author may expect.
    Advice {
        /// One word for what it is about, in the form of an event reason.
        topic: &'static str,
        /// The sentence.
        message: String,
    },
    /// A new revision was accepted.
    Updated {
        /// Its number.
        revision: Revision,
    },
    /// The ReplicaSet of a new revision was created.
    NewReplicaSetCreated {
        /// Its name.
        name: String,
        /// Its number.
        revision: Revision,
    },
    /// An update began.
    NotCompleted {
        /// Its number.
        revision: Revision,
        /// Its identity.
        hash: PodHash,
    },
    /// Steps are skipped because the version is known already.
    SkipSteps {
        /// Why.
        why: &'static str,
    },
    /// An AnalysisRun changed its phase.
    AnalysisRun {
        /// Which analysis of the rollout.
        kind: RunKind,
        /// Its name.
        name: String,
        /// Its phase until now; `None` when it is new.
        previous: Option<AnalysisPhase>,
        /// Its phase from now on.
        phase: AnalysisPhase,
    },
    /// A step is done.
    StepCompleted {
        /// Its index.
        index: StepIndex,
        /// How many steps there are.
        of: usize,
        /// The step in words, for example `setWeight: 20`.
        step: String,
    },
    /// A pause is over.
    Resumed,
    /// A ReplicaSet changes its size.
    Scaling {
        /// Its name.
        name: String,
        /// Its number.
        revision: Revision,
        /// Pods until now.
        from: ReplicaCount,
        /// Pods from now on.
        to: ReplicaCount,
    },
    /// The Deployment that the Rollout refers to changes its size.
    WorkloadScaling {
        /// Its name.
        name: String,
        /// Pods until now.
        from: ReplicaCount,
        /// Pods from now on.
        to: ReplicaCount,
    },
    /// The first revision ever is stable now.
    Deployed {
        /// Its number.
        revision: Revision,
        /// Its identity.
        hash: PodHash,
    },
    /// A Service selects another revision.
    SwitchService {
        /// Its name.
        name: String,
        /// The revision until now; `None` when it selected all.
        from: Option<PodHash>,
        /// The revision from now on.
        to: PodHash,
    },
    /// The router gets another split.
    WeightUpdated {
        /// The canary's share until now; `None` when it is not known.
        from: Option<Weight>,
        /// The canary's share from now on.
        to: Weight,
    },
    /// Experiments get another part of the traffic.
    ExperimentsWeighted {
        /// Their Services and shares from now on.
        shares: Vec<(String, Weight)>,
    },
    /// Other requests than before have a route of their own to the canary.
    RoutesUpdated {
        /// Names of the routes from now on, the one with precedence first.
        names: Vec<String>,
    },
    /// Somebody else had changed the router's split; it gets the one that it should have again.
    WeightReverted {
        /// The canary's share as it was found; `None` when it is not known.
        from: Option<Weight>,
        /// The canary's share from now on.
        to: Weight,
    },
    /// Somebody else had changed something of the route besides its split; it leads to both versions as it should again.
    RouteRestored,
    /// The router's objects cannot be written.
    RouterRefused {
        /// What the API server said.
        message: String,
    },
    /// A notification could not be delivered for long.
    NotificationFailed {
        /// Which one, and why.
        message: String,
    },
    /// The rollout waits.
    Paused,
    /// The update was taken back.
    Aborted {
        /// Its number.
        revision: Revision,
        /// Why.
        why: AbortReason,
    },
    /// An aborted update starts again.
    Retried,
    /// The update made no progress for too long.
    DeadlineExceeded {
        /// Name of its ReplicaSet.
        name: String,
    },
    /// The new revision is stable now.
    Completed {
        /// Its number.
        revision: Revision,
        /// Its identity.
        hash: PodHash,
        /// Why it counts as complete.
        why: String,
    },
}

impl Event {
    /// The reason of the Kubernetes Event.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::AddedToInformer => "RolloutAddedToInformer",
            Self::InvalidSpec { .. } => "InvalidSpec",
            Self::Advice { topic, .. } => topic,
            Self::Updated { .. } => "RolloutUpdated",
            Self::NewReplicaSetCreated { .. } => "NewReplicaSetCreated",
            Self::NotCompleted { .. } => "RolloutNotCompleted",
            Self::SkipSteps { .. } => "SkipSteps",
            Self::StepCompleted { .. } => "RolloutStepCompleted",
            Self::Resumed => "RolloutResumed",
            Self::Scaling { .. } => "ScalingReplicaSet",
            Self::WorkloadScaling { .. } => "ScalingWorkload",
            Self::SwitchService { .. } => "SwitchService",
            Self::WeightUpdated { .. } | Self::ExperimentsWeighted { .. } => "TrafficWeightUpdated",
            Self::RoutesUpdated { .. } => "TrafficRoutesUpdated",
            Self::WeightReverted { .. } => "TrafficWeightReverted",
            Self::RouteRestored => "TrafficRouteRestored",
            Self::RouterRefused { .. } => "TrafficRoutingError",
            Self::AnalysisRun { phase, .. } => analysis_run_reason(*phase),
            Self::NotificationFailed { .. } => "NotificationFailed",
            Self::Paused => "RolloutPaused",
            Self::Aborted { .. } => "RolloutAborted",
            Self::Retried => "RolloutRetry",
            Self::DeadlineExceeded { .. } => "ProgressDeadlineExceeded",
            Self::Deployed { .. } | Self::Completed { .. } => "RolloutCompleted",
        }
    }

    /// Whether it tells of a change to another object, which a later pass makes and tells of should this one fail.
    #[must_use]
    pub const fn tells_of_an_effect(&self) -> bool {
        matches!(
            self,
            Self::NewReplicaSetCreated { .. }
                | Self::Scaling { .. }
                | Self::WorkloadScaling { .. }
                | Self::SwitchService { .. }
                | Self::WeightUpdated { .. }
                | Self::ExperimentsWeighted { .. }
                | Self::RoutesUpdated { .. }
                | Self::WeightReverted { .. }
                | Self::RouteRestored
        )
    }

    /// Whether somebody should look.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::InvalidSpec { .. }
            | Self::Advice { .. }
            | Self::WeightReverted { .. }
            | Self::RouterRefused { .. }
            | Self::NotificationFailed { .. }
            | Self::Aborted { .. }
            | Self::DeadlineExceeded { .. } => Severity::Warning,
            Self::AnalysisRun { phase: AnalysisPhase::Failed | AnalysisPhase::Error, .. } => {
                Severity::Warning
            }
            _ => Severity::Normal,
        }
    }
}

const fn analysis_run_reason(phase: AnalysisPhase) -> &'static str {
    match phase {
        AnalysisPhase::Successful => "AnalysisRunSuccessful",
        AnalysisPhase::Running => "AnalysisRunRunning",
        AnalysisPhase::Pending => "AnalysisRunPending",
        AnalysisPhase::Inconclusive => "AnalysisRunInconclusive",
        AnalysisPhase::Error => "AnalysisRunError",
        AnalysisPhase::Failed => "AnalysisRunFailed",
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddedToInformer => f.write_str("Rollout is watched from now on"),
            Self::InvalidSpec { message }
            | Self::Advice { message, .. }
            | Self::NotificationFailed { message } => f.write_str(message),
            Self::Updated { revision } => write!(f, "Rollout updated to revision {revision}"),
            Self::NewReplicaSetCreated { name, revision } => {
                write!(f, "Created ReplicaSet {name} (revision {revision})")
            }
            Self::NotCompleted { revision, hash } => {
                write!(f, "Rollout not completed, started update to revision {revision} ({hash})")
            }
            Self::SkipSteps { why } => f.write_str(why),
            Self::StepCompleted { index, of, step } => {
                write!(f, "Rollout step {}/{of} completed ({step})", index.get() + 1)
            }
            Self::Resumed => f.write_str("Rollout is resumed"),
            Self::Scaling { name, revision, from, to } => {
                let verb = if to > from { "up" } else { "down" };
                write!(f, "Scaled {verb} ReplicaSet {name} (revision {revision}) from {from} to {to}")
            }
            Self::WorkloadScaling { name, from, to } => {
                let verb = if to > from { "up" } else { "down" };
                write!(f, "Scaled {verb} Deployment {name} from {from} to {to}")
            }
            Self::SwitchService { name, from, to } => {
                let from = from.as_ref().map_or("", PodHash::as_str);
                write!(f, "Switched selector for service '{name}' from '{from}' to '{to}'")
            }
            Self::AnalysisRun { kind, name, previous, phase } => {
                let previous = previous.map_or("", AnalysisPhase::as_str);
                let kind = kind.as_str();
                write!(f, "{kind} Analysis Run '{name}' Status New: '{phase}' Previous: '{previous}'")
            }
            Self::WeightUpdated { from, to } => match from {
                Some(from) => write!(f, "Traffic weight updated from {from} to {to}"),
                None => write!(f, "Traffic weight updated to {to}"),
            },
            Self::ExperimentsWeighted { shares } => write_shares(shares, f),
            Self::RoutesUpdated { names } if names.is_empty() => {
                f.write_str("No requests have a route of their own to the canary any more")
            }
            Self::RoutesUpdated { names } => {
                write!(f, "Requests have a route of their own to the canary: {}", names.join(", "))
            }
            Self::WeightReverted { from, to } => {
                f.write_str("Somebody else has changed the traffic weight")?;
                from.map_or(Ok(()), |from| write!(f, " to {from}"))?;
                write!(f, ", setting it back to {to}")
            }
            Self::RouteRestored => {
                f.write_str("The route has been changed and leads to both versions as it should again")
            }
            Self::RouterRefused { message } => write!(f, "The router cannot be told: {message}"),
            Self::Paused => f.write_str("Rollout is paused"),
            Self::Aborted { revision, why } => {
                write!(f, "Rollout aborted update to revision {revision}")?;
                if why.text.is_empty() { Ok(()) } else { write!(f, ": {}", why.text) }
            }
            Self::Retried => f.write_str("Retrying Rollout after abort"),
            Self::DeadlineExceeded { name } => write!(f, "ReplicaSet \"{name}\" has timed out progressing."),
            Self::Deployed { revision, hash } => {
                write!(f, "Rollout completed update to revision {revision} ({hash}): Initial deploy")
            }
            Self::Completed { revision, hash, why } => {
                write!(f, "Rollout completed update to revision {revision} ({hash}): {why}")
            }
        }
    }
}

fn write_shares(shares: &[(String, Weight)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if shares.is_empty() {
        return f.write_str("No traffic goes to an experiment any more");
    }
    let shares: Vec<String> = shares.iter().map(|(name, weight)| format!("{name}: {weight}")).collect();
    write!(f, "Traffic weight of experiments updated: {}", shares.join(", "))
}
