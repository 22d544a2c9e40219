//! Changes of Experiments, and what their plans change.

use futures::future::join_all;
use kube::api::Patch;
use serde_json::{Value, json};

use super::pods::Evictions;
use super::{
    Target, Whose, Writer, delete_parameters, is_absent, is_code, is_gone, owner_reference, patch_parameters,
};
use crate::api::Experiment;
use crate::controller::announce::{Note, about};
use crate::controller::error::PassError;
use crate::controller::store::{Identity, Key, OwnerKind};
use crate::experiment::Effect;
use crate::traffic::Routers;

/// What became of the effects for an Experiment; those in neither list were not begun.
#[derive(Default)]
pub(crate) struct MadeForExperiment<'a> {
    pub(crate) made: Vec<&'a Effect>,
    pub(crate) failed: Vec<(&'a Effect, PassError)>,
}

impl Writer {
    /// Makes the effects for an Experiment, stage by stage, and announces those that were made. No stage begins after one
    /// in which something failed.
    pub(crate) async fn make_for_experiment<'a>(
        &self,
        experiment: &Identity,
        stages: &'a [Vec<Effect>],
    ) -> MadeForExperiment<'a> {
        let target = Target {
            kind: OwnerKind::Experiment,
            identity: experiment.clone(),
            routers: Routers::default(),
            evictions: Evictions::default(),
        };
        let mut all = MadeForExperiment::default();
        for stage in stages {
            let done = join_all(stage.iter().map(|effect| self.experiment_effect(&target, effect))).await;
            let mut notes = Vec::new();
            for (effect, done) in stage.iter().zip(done) {
                match done {
                    Ok(()) => {
                        notes.extend(effect.announcement().map(Note::from));
                        all.made.push(effect);
                    }
                    Err(error) => all.failed.push((effect, error)),
                }
            }
            self.announce_experiment(experiment, notes);
            if !all.failed.is_empty() {
                return all;
            }
        }
        all
    }

    /// Announces something about an Experiment.
    pub(crate) fn announce_experiment(&self, experiment: &Identity, notes: Vec<Note>) {
        self.announcer.announce(about::<Experiment>(experiment), notes, self.clock);
    }

    async fn experiment_effect(&self, target: &Target, effect: &Effect) -> Result<(), PassError> {
        match effect {
            Effect::CreateReplicaSet(new) => self.create_replica_set(target, new).await,
            Effect::ScaleReplicaSet { name, from, to, annotations } => {
                self.scale(target, name, (*from, *to), *to, annotations).await
            }
            Effect::UpdateReplicaSet { name, annotations, min_ready_seconds } => {
                self.update(target, name, annotations, *min_ready_seconds).await
            }
            Effect::CreateService(new) => self.create_service(target, new).await,
            Effect::UpdateService { name, selector } => self.update_service(target, name, selector).await,
            Effect::DeleteService { name } => self.delete_service(target, name).await,
            Effect::CreateAnalysisRun(run) => self.create_run(target, run).await,
            Effect::TerminateAnalysisRun { name } => self.terminate_run(target, name).await,
        }
    }

    pub(super) async fn create_experiment(
        &self,
        target: &Target,
        experiment: &Experiment,
    ) -> Result<(), PassError> {
        let name = experiment.metadata.name.as_deref().unwrap_or_default();
        let action = || format!("create Experiment {}", target.key(name));
        let mut experiment = experiment.clone();
        experiment.metadata.namespace = Some(target.namespace().to_owned());
        experiment.metadata.owner_references = Some(vec![owner_reference(target)]);
        let encode = |source| PassError::Encoding { object: target.key(name), source };
        let body = serde_json::to_value(&experiment).map_err(encode)?;
        let made = match self.create::<Experiment>(target.namespace(), &body, action).await {
            Err(error) if is_code(&error, 409) => self.existing(target, name, Whose::Ours, action).await?,
            outcome => outcome?,
        };
        self.caches.wrote_experiment(made);
        Ok(())
    }

    pub(super) async fn terminate_experiment(&self, target: &Target, name: &str) -> Result<(), PassError> {
        let key = target.key(name);
        // Another one of the name, made since the decision, is not meant.
        let Some(known) = self.caches.experiments.get(&key) else { return Ok(()) };
        let patch = json!({"metadata": {"uid": &*known.identity.uid}, "spec": {"terminate": true}});
        self.patch_experiment(&key, &patch, || format!("terminate Experiment {key}")).await
    }

    /// Deletes an Experiment. One that is gone needs no deletion.
    pub(super) async fn delete_experiment(&self, key: &Key) -> Result<(), PassError> {
        let Some(known) = self.caches.experiments.get(key) else { return Ok(()) };
        let api = self.api::<Experiment>(&key.namespace);
        let parameters = delete_parameters(&known.identity, None);
        let action = || format!("delete Experiment {key}");
        let deleted = self
            .call(action, async { Ok(api.delete(&key.name, &parameters).await?.right().is_some()) })
            .await;
        if is_gone(deleted)? {
            self.caches.lost_experiment(&known.identity);
        }
        Ok(())
    }

    /// Changes parts of an Experiment. One that is gone needs no change.
    ///
    /// # Errors
    /// When the request fails.
    pub(crate) async fn patch_experiment(
        &self,
        key: &Key,
        patch: &Value,
        action: impl Fn() -> String,
    ) -> Result<(), PassError> {
        let (api, parameters) = (self.api::<Experiment>(&key.namespace), patch_parameters());
        let patched =
            self.call(action, async { api.patch(&key.name, &parameters, &Patch::Merge(patch)).await }).await;
        match patched {
            Err(error) if is_absent(&error) => {
                if let Some(known) = self.caches.experiments.get(key) {
                    self.caches.lost_experiment(&known.identity);
                }
            }
            outcome => self.caches.wrote_experiment(outcome?),
        }
        Ok(())
    }
}
