//! The pod template of stable, read for a pass that makes an Experiment of it: the caches keep no pod templates.

use std::time::Duration;

use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use serde_json::Value;
use tokio::time::timeout;
use tracing::warn;

use super::reconcile::Rollouts;
use super::store::Identity;
use crate::rollout::{Snapshot, injection};

/// How long reading it may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

impl Rollouts {
    /// The pod template of stable as its author wrote it; `None` when it cannot be read.
    pub(crate) async fn read_stable_template(
        &self,
        rollout: &Identity,
        snapshot: &Snapshot,
    ) -> Option<Value> {
        let stable = snapshot.rollout.status.as_ref()?.stable_rs.clone()?;
        let set = snapshot.replica_sets.iter().find(|set| set.hash.as_str() == stable)?;
        // Undecoded, so that no field of the template is lost.
        let kind = ApiResource::erase::<k8s_openapi::api::apps::v1::ReplicaSet>(&());
        let namespace = &rollout.key.namespace;
        let api: Api<DynamicObject> = Api::namespaced_with(self.writer.client.clone(), namespace, &kind);
        let found = match timeout(READ_TIMEOUT, api.get(&set.name)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                warn!(rollout = %rollout.key, set = set.name, %error, "cannot read the pod template of stable");
                return None;
            }
            Err(_) => {
                warn!(rollout = %rollout.key, set = set.name, "no pod template of stable in time");
                return None;
            }
        };
        let mut template = found.data.pointer("/spec/template")?.clone();
        injection::take_out(&mut template, &found.metadata.annotations.unwrap_or_default());
        Some(template)
    }
}
