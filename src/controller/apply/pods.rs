//! Changes of single pods.

use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions, Status};
use kube::api::{Patch, PostParams};
use serde_json::json;
use tracing::debug;

use super::{Target, Writer, is_code, patch_parameters};
use crate::controller::error::PassError;
use crate::controller::wire::PodObject;
use crate::rollout::effect::Annotations;
use crate::rollout::pods::Refused;
use crate::units::Timestamp;

/// What became of the evictions of a pass.
#[derive(Debug, Default)]
pub(crate) struct Evictions {
    allowed: AtomicUsize,
    refused: AtomicUsize,
}

impl Evictions {
    /// What is remembered of refusals, given what was `before`.
    pub(crate) fn remembered(&self, before: Option<Refused>, now: Timestamp) -> Option<Refused> {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Refused::after(before, count(&self.refused), count(&self.allowed), now)
    }
}

impl Writer {
    /// Evicts a pod. That its disruption budgets do not allow it now is an answer, not a failure.
    pub(super) async fn evict_pod(&self, target: &Target, name: &str, uid: &str) -> Result<(), PassError> {
        let key = target.key(name);
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let eviction = Eviction {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            delete_options: Some(DeleteOptions {
                preconditions: Some(preconditions),
                ..DeleteOptions::default()
            }),
        };
        let (api, parameters) = (self.api::<Pod>(target.namespace()), PostParams::default());
        // `Api::evict` sends its delete options under a name that the API server does not know.
        let evicted = self.call(|| format!("evict pod {key}"), async {
            api.create_subresource::<_, Status>("eviction", name, &parameters, &eviction).await
        });
        match evicted.await {
            Err(error) if is_code(&error, 429) => {
                debug!(pod = %key, "its disruption budget keeps the pod for now");
                target.evictions.refused.fetch_add(1, Ordering::Relaxed);
            }
            // It is gone, or another pod has its name.
            Err(error) if is_code(&error, 404) || is_code(&error, 409) => {
                target.evictions.allowed.fetch_add(1, Ordering::Relaxed);
            }
            outcome => {
                outcome?;
                target.evictions.allowed.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Changes labels and annotations of a pod. One that is gone needs no change.
    pub(super) async fn mark_pod(
        &self,
        target: &Target,
        name: &str,
        labels: &Annotations,
        annotations: &Annotations,
    ) -> Result<(), PassError> {
        let key = target.key(name);
        let patch = Patch::Merge(json!({"metadata": {"labels": labels, "annotations": annotations}}));
        let (api, parameters) = (self.api::<PodObject>(target.namespace()), patch_parameters());
        let action = || format!("change the metadata of pod {key}");
        match self.call(action, async { api.patch(name, &parameters, &patch).await }).await {
            Err(error) if is_code(&error, 404) => {}
            outcome => drop(outcome?),
        }
        Ok(())
    }
}
