//! The closed list of things an Experiment's plan can do to the cluster, besides writing its status.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ObjectKind;
use crate::analysis::RunEvent;
use crate::api::AnalysisRun;
use crate::events::Severity;
use crate::rollout::effect::{Annotations, NewReplicaSet};
use crate::units::ReplicaCount;

/// One change of one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Creates the ReplicaSet of a template, at its size.
    CreateReplicaSet(Box<NewReplicaSet>),
    /// Changes the size of a ReplicaSet, only if it still is `from`.
    ScaleReplicaSet {
        /// Its name.
        name: String,
        /// Size the decision was based on.
        from: ReplicaCount,
        /// Size wanted.
        to: ReplicaCount,
        /// Annotations to set with it; `None` removes one.
        annotations: Annotations,
    },
    /// Changes annotations of a ReplicaSet, and what else of it follows the template.
    UpdateReplicaSet {
        /// Its name.
        name: String,
        /// The annotations to set; `None` removes one.
        annotations: Annotations,
        /// `spec.minReadySeconds`; `None` leaves it.
        min_ready_seconds: Option<i32>,
    },
    /// Creates the Service of a template.
    CreateService(Box<NewService>),
    /// Lets a Service select the pods that it is for.
    UpdateService {
        /// Its name.
        name: String,
        /// What it selects; `None` takes a label out.
        selector: BTreeMap<String, Option<String>>,
    },
    /// Deletes a Service.
    DeleteService {
        /// Its name.
        name: String,
    },
    /// Creates an AnalysisRun; that it exists already counts as done.
    CreateAnalysisRun(Box<AnalysisRun>),
    /// Stops an AnalysisRun.
    TerminateAnalysisRun {
        /// Its name.
        name: String,
    },
}

/// The Service of a template. Owner and namespace are the Experiment's.
#[derive(Clone, Debug, PartialEq)]
pub struct NewService {
    /// Its name.
    pub name: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// What it selects.
    pub selector: BTreeMap<String, String>,
    /// Its ports, as the API has them.
    pub ports: Vec<Value>,
}

impl Effect {
    /// What it makes, by kind and name; `None` for a change of what exists.
    #[must_use]
    pub fn makes(&self) -> Option<(ObjectKind, &str)> {
        match self {
            Self::CreateReplicaSet(new) => Some((ObjectKind::ReplicaSet, &new.name)),
            Self::CreateService(new) => Some((ObjectKind::Service, &new.name)),
            Self::CreateAnalysisRun(run) => {
                Some((ObjectKind::AnalysisRun, run.metadata.name.as_deref().unwrap_or_default()))
            }
            Self::ScaleReplicaSet { .. }
            | Self::UpdateReplicaSet { .. }
            | Self::UpdateService { .. }
            | Self::DeleteService { .. }
            | Self::TerminateAnalysisRun { .. } => None,
        }
    }

    /// What is announced once it was made.
    #[must_use]
    pub fn announcement(&self) -> Option<RunEvent> {
        let (reason, message) = match self {
            Self::CreateReplicaSet(new) => {
                let message = format!("Created ReplicaSet {} with {} pods", new.name, new.replicas);
                ("NewReplicaSetCreated", message)
            }
            Self::ScaleReplicaSet { name, from, to, .. } => {
                let verb = if to > from { "up" } else { "down" };
                ("ScalingReplicaSet", format!("Scaled {verb} ReplicaSet {name} from {from} to {to}"))
            }
            Self::CreateService(new) => ("ServiceCreated", format!("Created Service {}", new.name)),
            Self::UpdateService { name, .. } => {
                ("ServiceUpdated", format!("Service {name} selects the pods of its template again"))
            }
            Self::DeleteService { name } => ("ServiceDeleted", format!("Deleted Service {name}")),
            Self::UpdateReplicaSet { .. }
            | Self::CreateAnalysisRun(_)
            | Self::TerminateAnalysisRun { .. } => return None,
        };
        Some(RunEvent { reason, message, severity: Severity::Normal })
    }
}
