//! The closed list of things a Rollout's plan can do to the cluster, besides writing its status.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::workload;
use crate::api::{AnalysisRun, Experiment};
use crate::traffic::TrafficTarget;
use crate::units::{PodHash, ReplicaCount};

/// Annotations to set, by key; `None` removes one.
pub type Annotations = BTreeMap<String, Option<String>>;

/// One change of one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Creates the ReplicaSet of a new revision, at its size.
    CreateReplicaSet(Box<NewReplicaSet>),
    /// Changes the size of a ReplicaSet, only if it still is `from`.
    ScaleReplicaSet {
        /// Its name.
        name: String,
        /// Size the decision was based on.
        from: ReplicaCount,
        /// Size wanted.
        to: ReplicaCount,
        /// `spec.replicas` of the Rollout, for the annotation.
        desired: ReplicaCount,
        /// Other annotations to set with it; `None` removes one.
        annotations: Annotations,
    },
    /// Changes annotations of a ReplicaSet, leaving all others, and what else of it follows the Rollout.
    UpdateReplicaSet {
        /// Its name.
        name: String,
        /// The annotations to set; `None` removes one.
        annotations: Annotations,
        /// `spec.minReadySeconds`; `None` leaves it.
        min_ready_seconds: Option<i32>,
    },
    /// Changes what the controller puts into a ReplicaSet's pod template, and its own note of that.
    AdjustTemplate(Box<TemplateChange>),
    /// Changes labels and annotations of a pod. That it is gone counts as done.
    MarkPod {
        /// Its name.
        name: String,
        /// The labels to set; `None` removes one.
        labels: Annotations,
        /// The annotations to set; `None` removes one.
        annotations: Annotations,
    },
    /// Evicts a pod if its disruption budgets allow it; if they do not it stays, which is no failure.
    EvictPod {
        /// Its name.
        name: String,
        /// Its uid; another pod of the name is left alone.
        uid: String,
    },
    /// Deletes a ReplicaSet that is past the history limit and empty.
    DeleteReplicaSet {
        /// Its name.
        name: String,
    },
    /// Makes a Service select the pods of one revision, and marks it as managed by this Rollout.
    SwitchService {
        /// Its name.
        name: String,
        /// The revision to select.
        to: PodHash,
    },
    /// Makes the router split the traffic.
    SetTraffic(Box<TrafficTarget>),
    /// Gives the fields of the router's objects that were changed back to whoever owns the objects.
    GiveRoutesBack,
    /// Changes annotations of the Rollout, leaving all others.
    AnnotateRollout {
        /// The annotations to set; `None` removes one.
        annotations: Annotations,
    },
    /// Changes the size of the Deployment that the Rollout refers to, only if it still is `from`, and notes that there.
    ScaleWorkload {
        /// Its name.
        name: String,
        /// Size the decision was based on.
        from: ReplicaCount,
        /// Size wanted.
        to: ReplicaCount,
        /// What is noted on it.
        note: workload::Note,
    },
    /// Creates an AnalysisRun; that it exists already counts as done.
    CreateAnalysisRun(Box<AnalysisRun>),
    /// Stops an AnalysisRun.
    TerminateAnalysisRun {
        /// Its name.
        name: String,
    },
    /// Deletes an AnalysisRun that is past the history limit.
    DeleteAnalysisRun {
        /// Its name.
        name: String,
    },
    /// Creates an Experiment; that it exists already counts as done.
    CreateExperiment(Box<Experiment>),
    /// Stops an Experiment.
    TerminateExperiment {
        /// Its name.
        name: String,
    },
    /// Deletes an Experiment that is past the history limit, and with it what it made.
    DeleteExperiment {
        /// Its name.
        name: String,
    },
}

impl Effect {
    /// The ReplicaSet that it gives a size.
    #[must_use]
    pub fn sized_replica_set(&self) -> Option<&str> {
        match self {
            Self::CreateReplicaSet(new) => Some(&new.name),
            Self::ScaleReplicaSet { name, .. } => Some(name),
            _ => None,
        }
    }
}

/// What changes in a ReplicaSet's pod template; its pods keep what they have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TemplateChange {
    /// The ReplicaSet's name.
    pub name: String,
    /// Labels of the template to set; `None` removes one.
    pub labels: Annotations,
    /// Annotations of the template to set; `None` removes one.
    pub annotations: Annotations,
    /// A merge patch of the template's `spec.affinity`; `None` leaves it.
    pub affinity: Option<Value>,
    /// Annotations of the ReplicaSet that tell of it; `None` removes one.
    pub noted: Annotations,
}

impl TemplateChange {
    /// The merge patch of the ReplicaSet's pod template.
    #[must_use]
    pub fn template_patch(&self) -> Value {
        let metadata = json!({"labels": self.labels, "annotations": self.annotations});
        match &self.affinity {
            Some(affinity) => json!({"metadata": metadata, "spec": {"affinity": affinity}}),
            None => json!({ "metadata": metadata }),
        }
    }
}

/// The ReplicaSet of a new revision. Owner and namespace are the Rollout's.
#[derive(Clone, Debug, PartialEq)]
pub struct NewReplicaSet {
    /// Its name.
    pub name: String,
    /// Its labels: the template's, with the pod hash.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// The Rollout's selector, with the pod hash.
    pub selector: LabelSelector,
    /// The pod template as it was written, with the pod hash among its labels.
    pub template: Value,
    /// Its size.
    pub replicas: ReplicaCount,
    /// Seconds a pod must have been ready to count as available.
    pub min_ready_seconds: i32,
}
