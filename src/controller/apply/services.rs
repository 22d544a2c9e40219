//! Writes to Services.

use std::collections::BTreeMap;

use kube::api::Patch;
use serde_json::{Value, json};

use super::{Target, Whose, Writer, delete_parameters, is_code, is_gone, owner_reference, patch_parameters};
use crate::api::labels;
use crate::controller::error::PassError;
use crate::controller::store::Key;
use crate::controller::wire::ServiceObject;
use crate::experiment::effect::NewService;

impl Writer {
    /// Creates the Service of an Experiment's template.
    pub(super) async fn create_service(&self, target: &Target, new: &NewService) -> Result<(), PassError> {
        let action = || format!("create Service {}", target.key(&new.name));
        let body = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": new.name,
                "namespace": target.namespace(),
                "annotations": new.annotations,
                "ownerReferences": [owner_reference(target)],
            },
            "spec": {"selector": new.selector, "ports": new.ports},
        });
        let service = match self.create::<ServiceObject>(target.namespace(), &body, action).await {
            Err(error) if is_code(&error, 409) => {
                self.existing(target, &new.name, Whose::Ours, action).await?
            }
            outcome => outcome?,
        };
        self.caches.wrote_service(service);
        Ok(())
    }

    /// Changes labels that a Service selects; `None` takes one out.
    pub(super) async fn update_service(
        &self,
        target: &Target,
        name: &str,
        selector: &BTreeMap<String, Option<String>>,
    ) -> Result<(), PassError> {
        let key = target.key(name);
        let patch = json!({"spec": {"selector": selector}});
        self.patch_service(&key, &patch, || format!("change what Service {key} selects")).await
    }

    /// Deletes a Service. One that is gone needs no deletion.
    pub(super) async fn delete_service(&self, target: &Target, name: &str) -> Result<(), PassError> {
        let key = target.key(name);
        let Some(known) = self.caches.services.get(&key) else { return Ok(()) };
        let api = self.api::<ServiceObject>(&key.namespace);
        let parameters = delete_parameters(&known.identity, None);
        let action = || format!("delete Service {key}");
        let deleted = self
            .call(action, async { Ok(api.delete(&key.name, &parameters).await?.right().is_some()) })
            .await;
        if is_gone(deleted)? {
            self.caches.lost_service(&known.identity);
        }
        Ok(())
    }

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
        self.patch_service(&key, &patch, || format!("switch Service {key} to {hash}")).await
    }

    async fn patch_service(
        &self,
        key: &Key,
        patch: &Value,
        action: impl Fn() -> String,
    ) -> Result<(), PassError> {
        let (api, parameters) = (self.api::<ServiceObject>(&key.namespace), patch_parameters());
        let patched =
            self.call(action, async { api.patch(&key.name, &parameters, &Patch::Merge(patch)).await });
        self.caches.wrote_service(patched.await?);
        Ok(())
    }
}
