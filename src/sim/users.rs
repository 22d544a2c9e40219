//! What users and sync engines do: manifests that are applied, and the patches that commands send.

use serde_json::{Value, json};

use super::caches::Writer;
use super::cluster::{ApiError, Cluster, Part};
use super::merge_patch::merge;
use super::script::UserAction;
use crate::api::analysis_template::AnalysisTemplateRef;
use crate::api::{AnalysisTemplateSpec, Rollout};

/// Where scenarios find their manifests: the text of a file by its name; `None` when there is none.
pub type Files<'a> = dyn Fn(&str) -> Option<String> + 'a;

impl Cluster {
    /// Does what a user does. `block` is the YAML that came with it.
    ///
    /// # Errors
    /// [`ApiError`] as the API server gives it; [`ApiError::Invalid`] for a file that cannot be read.
    pub fn act(
        &mut self,
        action: &UserAction,
        block: Option<&Value>,
        files: &Files<'_>,
    ) -> Result<(), ApiError> {
        let empty = json!({});
        let block = block.unwrap_or(&empty);
        match action {
            UserAction::Apply(names) => self.apply_files(names, block, files),
            UserAction::SetImage(tag) => self.set_container_image(tag),
            UserAction::Scale(replicas) => self.patch_main(&json!({"spec": {"replicas": replicas}})),
            UserAction::Restart(delay) => {
                let at = self.now().plus(*delay);
                self.patch_main(&json!({"spec": {"restartAt": at}}))
            }
            UserAction::Pause => self.patch_main(&json!({"spec": {"paused": true}})),
            UserAction::Unpause => self.patch_main(&json!({"spec": {"paused": false}})),
            UserAction::Abort => self.patch_status(&json!({"abort": true})),
            UserAction::Retry => self.patch_status(&json!({"abort": false})),
            UserAction::Promote => self.promote(),
            UserAction::PromoteFull => self.promote_full(),
            UserAction::PatchSpec => self.patch_main(&json!({"spec": block})),
            UserAction::PatchStatus => self.patch_status(block),
            UserAction::DeleteTemplate(name) => {
                self.delete_template(name);
                Ok(())
            }
            UserAction::ScaleWorkload(size) => self.resize_workload(*size),
            UserAction::DeleteWorkload => {
                self.delete_workload();
                Ok(())
            }
        }
    }

    fn patch_main(&mut self, patch: &Value) -> Result<(), ApiError> {
        self.patch_rollout(patch, Part::Main, None, Writer::Other).map(|_| ())
    }

    fn patch_status(&mut self, status: &Value) -> Result<(), ApiError> {
        self.patch_rollout(&json!({"status": status}), Part::Status, None, Writer::Other).map(|_| ())
    }

    fn set_container_image(&mut self, tag: &str) -> Result<(), ApiError> {
        let rollout = self.rollout().ok_or(ApiError::NotFound)?;
        if rollout.spec.workload_ref.is_some() {
            return self.set_workload_image(tag);
        }
        let mut template = rollout.spec.template.clone().unwrap_or_default();
        let image = template.pointer_mut("/spec/containers/0/image").ok_or(ApiError::NotFound)?;
        let name = image.as_str().unwrap_or_default();
        let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
        *image = json!(format!("{name}:{tag}"));
        self.patch_main(&json!({"spec": {"template": template}}))
    }

    /// As `kubectl argo rollouts promote` does it: the pause is cleared, or else the step is skipped.
    fn promote(&mut self) -> Result<(), ApiError> {
        let rollout = self.rollout().ok_or(ApiError::NotFound)?.clone();
        let status = rollout.status.clone().unwrap_or_default();
        let next = status.current_step_index.unwrap_or_default().saturating_add(1);
        let step_run =
            status.canary.as_ref().and_then(|canary| canary.current_step_analysis_run_status.as_ref());
        let paused = status.pause_conditions.as_ref().is_some_and(|conditions| !conditions.is_empty());
        if paused && step_run.and_then(|run| run.status.as_deref()) == Some("Inconclusive") {
            let skip = json!({"pauseConditions": null, "controllerPause": false, "currentStepIndex": next});
            self.patch_status(&skip)?;
        } else if paused {
            self.patch_status(&json!({"pauseConditions": null}))?;
        } else {
            self.patch_status(&json!({"currentStepIndex": next}))?;
        }
        self.unpause(&rollout)
    }

    fn promote_full(&mut self) -> Result<(), ApiError> {
        let rollout = self.rollout().ok_or(ApiError::NotFound)?.clone();
        let status = rollout.status.clone().unwrap_or_default();
        if status.current_pod_hash != status.stable_rs {
            self.patch_status(&json!({"promoteFull": true}))?;
        }
        self.unpause(&rollout)
    }

    fn unpause(&mut self, rollout: &Rollout) -> Result<(), ApiError> {
        if rollout.spec.paused == Some(true) {
            self.patch_main(&json!({"spec": {"paused": false}}))
        } else {
            Ok(())
        }
    }

    fn apply_files(&mut self, names: &[String], block: &Value, files: &Files<'_>) -> Result<(), ApiError> {
        let mut documents: Vec<Value> = Vec::new();
        for name in names {
            let text = files(name).ok_or_else(|| ApiError::Invalid(format!("there is no file {name}")))?;
            let read: Vec<Value> =
                serde_saphyr::from_multiple(&text).map_err(|error| ApiError::Invalid(error.to_string()))?;
            for document in read {
                match documents.iter_mut().find(|known| identity(known) == identity(&document)) {
                    Some(known) => merge(known, &document),
                    None => documents.push(document),
                }
            }
        }
        if let Some(first) = documents.first_mut() {
            merge(first, block);
        }
        documents.iter().try_for_each(|document| self.apply(document))
    }

    fn apply(&mut self, document: &Value) -> Result<(), ApiError> {
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let name = text("/metadata/name");
        match text("/kind") {
            "Rollout" => self.apply_rollout(document),
            kind @ ("AnalysisTemplate" | "ClusterAnalysisTemplate") => {
                let spec: AnalysisTemplateSpec = decode(document.get("spec"))?;
                let cluster_scope = (kind == "ClusterAnalysisTemplate").then_some(true);
                let reference = AnalysisTemplateRef { template_name: Some(name.to_owned()), cluster_scope };
                self.put_template(reference, spec);
                Ok(())
            }
            "Service" => {
                self.put_service(name, decode(document.pointer("/spec/selector"))?);
                Ok(())
            }
            "Deployment" | "ReplicaSet" | "PodTemplate" => self.apply_workload(document),
            kind => Err(ApiError::Invalid(format!("a {kind} has no place in a scenario"))),
        }
    }
}

fn decode<T: serde::de::DeserializeOwned>(value: Option<&Value>) -> Result<T, ApiError> {
    serde_json::from_value(value.cloned().unwrap_or_default())
        .map_err(|error| ApiError::Invalid(error.to_string()))
}

fn identity(document: &Value) -> (Option<&Value>, Option<&Value>) {
    (document.pointer("/kind"), document.pointer("/metadata/name"))
}
