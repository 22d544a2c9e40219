//! What the answers to our own writes say: the caches take it in at once.

use kube::Resource;

use super::super::records::{ExperimentRecord, ReplicaSetRecord, RolloutRecord, RunRecord, ServiceRecord};
use super::super::store::{Identity, Source};
use super::super::wire::{ReplicaSetObject, RolloutObject, ServiceObject};
use super::Caches;
use crate::api::{AnalysisRun, Experiment};

impl Caches {
    /// A Rollout as the answer to a write shows it; its version.
    pub(crate) fn wrote_rollout(&self, object: RolloutObject) -> u64 {
        let identity = Identity::of(object.meta());
        let version = identity.version;
        if self.rollouts.knows(&identity, Source::Write) {
            return version;
        }
        let (identity, record) = RolloutRecord::new(object);
        self.rollouts
            .put(identity, record, Source::Write)
            .iter()
            .for_each(|change| self.rollout_changed(change));
        version
    }

    /// A run as the answer to a write shows it.
    pub(crate) fn wrote_run(&self, run: AnalysisRun) {
        let (identity, record) = RunRecord::new(run);
        self.runs.put(identity, record, Source::Write).iter().for_each(|change| self.run_changed(change));
    }

    /// An Experiment as the answer to a write shows it.
    pub(crate) fn wrote_experiment(&self, experiment: Experiment) {
        let (identity, record) = ExperimentRecord::new(experiment);
        if let Some(change) = self.experiments.put(identity, record, Source::Write) {
            self.experiment_changed(&change);
        }
    }

    /// A ReplicaSet as the answer to a write shows it.
    pub(crate) fn wrote_replica_set(&self, object: &ReplicaSetObject) {
        let (identity, record) = ReplicaSetRecord::new(object);
        if let Some(change) = self.replica_sets.put(identity, record, Source::Write) {
            self.owned_changed(&change);
        }
    }

    /// A Service as the answer to a write shows it.
    pub(crate) fn wrote_service(&self, object: ServiceObject) {
        let (identity, record) = ServiceRecord::new(object);
        self.services
            .put(identity, record, Source::Write)
            .iter()
            .for_each(|change| self.service_changed(change));
    }

    /// A Rollout that the API server says is gone.
    pub(crate) fn lost_rollout(&self, identity: &Identity) {
        self.rollouts.remove(identity).iter().for_each(|change| self.rollout_changed(change));
    }

    /// A run that the API server says is gone.
    pub(crate) fn lost_run(&self, identity: &Identity) {
        self.runs.remove(identity).iter().for_each(|change| self.run_changed(change));
    }

    /// An Experiment that the API server says is gone.
    pub(crate) fn lost_experiment(&self, identity: &Identity) {
        self.experiments.remove(identity).iter().for_each(|change| self.experiment_changed(change));
    }

    /// A Service that the API server says is gone.
    pub(crate) fn lost_service(&self, identity: &Identity) {
        self.services.remove(identity).iter().for_each(|change| self.service_changed(change));
    }

    /// A ReplicaSet that the API server says is gone.
    pub(crate) fn lost_replica_set(&self, identity: &Identity) {
        self.replica_sets.remove(identity).iter().for_each(|change| self.owned_changed(change));
    }
}
