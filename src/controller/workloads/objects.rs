//! Workloads as they come over the wire, and what is kept of them: the pod template, and little else.

use k8s_openapi::api::{apps, core};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::Deserialize;
use serde_json::Value;

use super::super::store::Identity;
use super::super::wire::same_resource;
use crate::api::labels::WORKLOAD_SCALED_DOWN;
use crate::rollout::workload::{Note, Workload};
use crate::units::ReplicaCount;

/// A Deployment.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct DeploymentObject {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: WorkloadSpec,
}

/// A ReplicaSet that is not a Rollout's own.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ReplicaSetTemplateObject {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: WorkloadSpec,
}

/// A PodTemplate.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PodTemplateObject {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    template: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct WorkloadSpec {
    replicas: Option<i32>,
    selector: Value,
    template: Value,
}

same_resource!(DeploymentObject, apps::v1::Deployment);
same_resource!(ReplicaSetTemplateObject, apps::v1::ReplicaSet);
same_resource!(PodTemplateObject, core::v1::PodTemplate);

/// What is kept of a workload. The template is compact JSON, a tenth of what the tree of values takes.
#[derive(Debug, PartialEq)]
pub(crate) struct WorkloadRecord {
    template: Box<[u8]>,
    selector: Option<LabelSelector>,
    pub(crate) generation: i64,
    pub(crate) size: Option<ReplicaCount>,
    note: Option<Note>,
    is_going: bool,
}

impl WorkloadRecord {
    fn new(metadata: &ObjectMeta, spec: WorkloadSpec, size: Option<ReplicaCount>) -> (Identity, Self) {
        let note = metadata.annotations.as_ref().and_then(|all| all.get(WORKLOAD_SCALED_DOWN));
        let record = Self {
            // A tree of values always has a text.
            template: serde_json::to_vec(&spec.template).unwrap_or_default().into(),
            selector: serde_json::from_value(spec.selector).ok(),
            generation: metadata.generation.unwrap_or_default(),
            size,
            note: note.map(|text| Note::parse(text)),
            is_going: metadata.deletion_timestamp.is_some(),
        };
        (Identity::of(metadata), record)
    }

    /// What a decision sees; `None` while it is being deleted.
    pub(crate) fn workload(&self) -> Option<Workload> {
        let workload = Workload {
            template: serde_json::from_slice(&self.template).ok()?,
            selector: self.selector.clone(),
            generation: self.generation,
            size: self.size,
            note: self.note,
        };
        (!self.is_going).then_some(workload)
    }
}

impl From<DeploymentObject> for (Identity, WorkloadRecord) {
    fn from(object: DeploymentObject) -> Self {
        let size = Some(size(&object.spec));
        WorkloadRecord::new(&object.metadata, object.spec, size)
    }
}

impl From<ReplicaSetTemplateObject> for (Identity, WorkloadRecord) {
    fn from(object: ReplicaSetTemplateObject) -> Self {
        let size = Some(size(&object.spec));
        WorkloadRecord::new(&object.metadata, object.spec, size)
    }
}

impl From<PodTemplateObject> for (Identity, WorkloadRecord) {
    fn from(object: PodTemplateObject) -> Self {
        let spec = WorkloadSpec { template: object.template, ..WorkloadSpec::default() };
        WorkloadRecord::new(&object.metadata, spec, None)
    }
}

fn size(spec: &WorkloadSpec) -> ReplicaCount {
    ReplicaCount::from_status(spec.replicas.unwrap_or(1))
}
