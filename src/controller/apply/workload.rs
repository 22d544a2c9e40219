//! Changes of the Deployment that a Rollout refers to.

use kube::api::Patch;
use serde_json::json;

use super::{Target, Writer, patch_parameters};
use crate::api::labels::WORKLOAD_SCALED_DOWN;
use crate::controller::error::PassError;
use crate::controller::workloads::DeploymentObject;
use crate::rollout::workload::{Note, WorkloadKind};
use crate::units::ReplicaCount;

impl Writer {
    /// Scales it in the state that the decision saw, or not at all, and notes that on it in the same write.
    pub(super) async fn scale_workload(
        &self,
        target: &Target,
        name: &str,
        (from, to): (ReplicaCount, ReplicaCount),
        note: Note,
    ) -> Result<(), PassError> {
        let key = target.key(name);
        let action = || format!("scale Deployment {key} from {from} to {to}");
        let known = self.caches.workloads.of(WorkloadKind::Deployment).get(&key);
        let known = known.filter(|known| known.value.size == Some(from));
        let Some(known) = known else { return Err(PassError::Outdated { action: action() }) };
        let patch = json!({
            "metadata": {
                "resourceVersion": known.identity.version.to_string(),
                "annotations": {(WORKLOAD_SCALED_DOWN): note.to_string()},
            },
            "spec": {"replicas": to.get()},
        });
        let (api, parameters) = (self.api::<DeploymentObject>(&key.namespace), patch_parameters());
        let patched = self
            .call(action, async { api.patch(&key.name, &parameters, &Patch::Merge(&patch)).await })
            .await?;
        self.caches.wrote_deployment(patched);
        Ok(())
    }
}
