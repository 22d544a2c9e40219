//! Writes to Services.

use kube::api::Patch;
use serde_json::json;

use super::{Target, Writer, patch_parameters};
use crate::api::labels;
use crate::controller::error::PassError;
use crate::controller::wire::ServiceObject;

impl Writer {
    /// Lets a Service select a revision, and notes whose it is.
    pub(super) async fn switch_service(
        &self,
        target: &Target,
        name: &str,
        hash: &str,
    ) -> Result<(), PassError> {
        let key = target.key(name);
        let patch = json!({
            "metadata": {"annotations": {(labels::MANAGED_BY): &*target.identity.key.name}},
            "spec": {"selector": {(labels::POD_TEMPLATE_HASH): hash}},
        });
        let (api, parameters) = (self.api::<ServiceObject>(&key.namespace), patch_parameters());
        let action = || format!("switch Service {key} to {hash}");
        let patched =
            self.call(action, async { api.patch(&key.name, &parameters, &Patch::Merge(&patch)).await });
        self.caches.wrote_service(patched.await?);
        Ok(())
    }
}
