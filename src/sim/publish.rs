//! What is stored is announced to the caches: at once to who wrote it, and to all by the watch.

use super::caches::{CONFIG, ROLLOUT, ROUTE, Writer};
use super::cluster::Cluster;
use super::watched::{Change, Watched};
use crate::rollout::workload::Workload;
use crate::units::Timestamp;

impl Cluster {
    /// Announces the stored Rollout.
    pub(super) fn publish_rollout(&mut self, writer: Writer) {
        let Some(rollout) = self.rollout.clone() else { return };
        let change = Change { name: ROLLOUT.to_owned(), version: self.version(), object: Some(rollout) };
        let now = self.now();
        announce(&mut self.caches.rollout, now, change, writer);
    }

    /// Announces a ReplicaSet as it is stored, or that it is gone.
    pub(super) fn publish_replica_set(&mut self, name: &str, writer: Writer) {
        let owner = self.replica_sets.get(name).and_then(|set| set.owner.clone());
        self.publish_set_of(name, owner, writer);
    }

    /// The same of one that this owner has, or had.
    pub(super) fn publish_set_of(&mut self, name: &str, owner: Option<String>, writer: Writer) {
        let (now, version) = (self.now(), self.next_version());
        let set = self.replica_sets.get(name).and_then(|set| set.observe(name));
        let name = name.to_owned();
        match owner {
            None => {
                let change = Change { name, version, object: set };
                announce(&mut self.caches.replica_sets, now, change, writer);
            }
            Some(owner) => {
                let object = set.map(|set| (owner, set));
                let change = Change { name, version, object };
                announce(&mut self.caches.sets_of_experiments, now, change, writer);
            }
        }
    }

    /// Announces an AnalysisRun as it is stored, or that it is gone.
    pub(super) fn publish_run(&mut self, name: &str, writer: Writer) {
        let version = self.next_version();
        if let Some(run) = self.runs.get_mut(name) {
            run.metadata.resource_version = Some(version.to_string());
        }
        let change = Change { name: name.to_owned(), version, object: self.runs.get(name).cloned() };
        let now = self.now();
        announce(&mut self.caches.runs, now, change, writer);
    }

    /// Announces an Experiment as it is stored, or that it is gone.
    pub(super) fn publish_experiment(&mut self, name: &str, writer: Writer) {
        let version = self.next_version();
        if let Some(found) = self.experiments.get_mut(name) {
            found.metadata.resource_version = Some(version.to_string());
        }
        let object = self.experiments.get(name).cloned();
        let change = Change { name: name.to_owned(), version, object };
        let now = self.now();
        announce(&mut self.caches.experiments, now, change, writer);
    }

    /// Announces what the router does, or that it cannot be read.
    pub(super) fn publish_router(&mut self, writer: Writer) {
        let version = self.next_version();
        let change = Change { name: ROUTE.to_owned(), version, object: self.router.observe() };
        let now = self.now();
        announce(&mut self.caches.traffic, now, change, writer);
    }

    /// Announces the state of the workload at a place.
    pub(super) fn publish_state_of_workload(
        &mut self,
        name: String,
        object: Option<Workload>,
        writer: Writer,
    ) {
        let change = Change { name, version: self.next_version(), object };
        let now = self.now();
        announce(&mut self.caches.workload, now, change, writer);
    }

    /// Announces templates and Services.
    pub(super) fn publish_config(&mut self, writer: Writer) {
        let version = self.next_version();
        let change = Change { name: CONFIG.to_owned(), version, object: Some(self.config.clone()) };
        let now = self.now();
        announce(&mut self.caches.config, now, change, writer);
    }
}

fn announce<T: Clone>(cache: &mut Watched<T>, now: Timestamp, change: Change<T>, writer: Writer) {
    cache.publish(now, change.clone());
    match writer {
        Writer::Controller => cache.answer(now, change),
        Writer::Other => {}
    }
}
