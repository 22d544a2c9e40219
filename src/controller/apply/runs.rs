//! Changes of AnalysisRuns.

use k8s_openapi::api::batch::v1::Job;
use kube::api::{DeleteParams, Patch};
use serde_json::{Value, json};

use super::{
    Target, Whose, Writer, delete_parameters, is_absent, is_code, is_gone, owner_reference, patch_parameters,
};
use crate::api::AnalysisRun;
use crate::controller::error::PassError;
use crate::controller::store::Key;

impl Writer {
    pub(super) async fn create_run(&self, target: &Target, run: &AnalysisRun) -> Result<(), PassError> {
        let name = run.metadata.name.as_deref().unwrap_or_default();
        let action = || format!("create AnalysisRun {}", target.key(name));
        let mut run = run.clone();
        run.metadata.namespace = Some(target.namespace().to_owned());
        run.metadata.owner_references = Some(vec![owner_reference(target)]);
        let encode = |source| PassError::Encoding { object: target.key(name), source };
        let body = serde_json::to_value(&run).map_err(encode)?;
        let run = match self.create::<AnalysisRun>(target.namespace(), &body, action).await {
            Err(error) if is_code(&error, 409) => self.existing(target, name, Whose::Ours, action).await?,
            outcome => outcome?,
        };
        self.caches.wrote_run(run);
        Ok(())
    }

    pub(super) async fn terminate_run(&self, target: &Target, name: &str) -> Result<(), PassError> {
        let key = target.key(name);
        // Another one of the name, made since the decision, is not meant.
        let Some(known) = self.caches.runs.get(&key) else { return Ok(()) };
        let patch = json!({"metadata": {"uid": &*known.identity.uid}, "spec": {"terminate": true}});
        self.patch_run(&key, &patch, || format!("terminate AnalysisRun {key}")).await
    }

    /// Changes parts of an AnalysisRun. One that is gone needs no change.
    ///
    /// # Errors
    /// When the request fails.
    pub(crate) async fn patch_run(
        &self,
        key: &Key,
        patch: &Value,
        action: impl Fn() -> String,
    ) -> Result<(), PassError> {
        let (api, parameters) = (self.api::<AnalysisRun>(&key.namespace), patch_parameters());
        let patched =
            self.call(action, async { api.patch(&key.name, &parameters, &Patch::Merge(patch)).await }).await;
        match patched {
            Err(error) if is_absent(&error) => {
                self.caches.runs.get(key).iter().for_each(|known| self.caches.lost_run(&known.identity));
            }
            outcome => self.caches.wrote_run(outcome?),
        }
        Ok(())
    }

    /// Deletes an AnalysisRun. One that is gone needs no deletion.
    ///
    /// # Errors
    /// When the request fails.
    pub(crate) async fn delete_run(&self, key: &Key) -> Result<(), PassError> {
        let Some(known) = self.caches.runs.get(key) else { return Ok(()) };
        let api = self.api::<AnalysisRun>(&key.namespace);
        let parameters = delete_parameters(&known.identity, None);
        let action = || format!("delete AnalysisRun {key}");
        let deleted = self
            .call(action, async { Ok(api.delete(&key.name, &parameters).await?.right().is_some()) })
            .await;
        if is_gone(deleted)? {
            self.caches.lost_run(&known.identity);
        }
        Ok(())
    }
    /// Deletes a Job of a run, and its pods.
    pub(crate) async fn delete_job(&self, namespace: &str, name: &str) -> Result<(), PassError> {
        let api = self.api::<Job>(namespace);
        let action = || format!("delete Job {namespace}/{name}");
        let deleted = self
            .call(action, async {
                Ok(api.delete(name, &DeleteParams::foreground()).await?.right().is_some())
            })
            .await;
        is_gone(deleted).map(drop)
    }
}
