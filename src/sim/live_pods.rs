//! Single pods as the API server shows and changes them: lists, evictions within a disruption budget, and metadata.

use std::collections::BTreeMap;

use super::caches::Writer;
use super::cluster::{ApiError, Cluster};
use super::merge_patch::merge;
use crate::rollout::Snapshot;
use crate::rollout::effect::{Annotations, TemplateChange};
use crate::rollout::pods::{Pod, Refused};
use crate::units::Timestamp;

/// What became of an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// The pod of this name goes, or was gone already.
    Allowed(String),
    /// The budget does not allow it for the pod of this name.
    Refused(String),
}

/// What is remembered of refusals after a pass with these evictions.
pub(super) fn remembered(snapshot: &Snapshot, evictions: &[Eviction]) -> Option<Refused> {
    let refused = evictions.iter().filter(|eviction| matches!(eviction, Eviction::Refused(_))).count();
    let before = snapshot.pods.refused.filter(|_| snapshot.pods.listed.is_some());
    Refused::after(before, refused, evictions.len() - refused, snapshot.now)
}

impl Cluster {
    /// The pods as a list shows them.
    pub(super) fn list_pods(&self) -> Vec<Pod> {
        self.listing.shown(self.now()).cloned().unwrap_or_else(|| self.stored_pods())
    }

    /// The pods as they are stored.
    #[must_use]
    pub fn stored_pods(&self) -> Vec<Pod> {
        let pods = self.pods.iter().map(|(number, pod)| Pod {
            name: name_of(*number),
            uid: format!("uid-of-{}", name_of(*number)),
            replica_set: pod.replica_set.clone(),
            created_at: pod.created_at,
            ready_since: pod.ready_since.map(Timestamp::whole_seconds),
            is_active: true,
            labels: pod.labels.clone(),
            annotations: pod.annotations.clone(),
        });
        pods.collect()
    }

    /// How many pods a disruption budget over all of them wants to be ready; `None` for no budget.
    pub fn set_budget(&mut self, least: Option<usize>) {
        self.budget = least;
    }

    /// Evicts a pod, if the budget allows it.
    pub(super) fn evict_pod(&mut self, name: &str, uid: &str) -> Eviction {
        let number = self.pods.keys().copied().find(|number| name_of(*number) == name);
        let Some(number) = number.filter(|_| uid == format!("uid-of-{name}")) else {
            return Eviction::Allowed(name.to_owned());
        };
        let ready = self.pods.values().filter(|pod| pod.ready_since.is_some()).count();
        if self.budget.is_some_and(|least| ready <= least) {
            return Eviction::Refused(name.to_owned());
        }
        let gone = self.pods.remove(&number);
        self.pods_changed(gone.map(|pod| pod.replica_set));
        Eviction::Allowed(name.to_owned())
    }

    /// Changes labels and annotations of a pod, if it is still there.
    pub(super) fn mark_pod(&mut self, name: &str, labels: &Annotations, annotations: &Annotations) {
        let mut pods = self.pods.iter_mut();
        if let Some((_, pod)) = pods.find(|(number, _)| name_of(**number) == name) {
            change(&mut pod.labels, labels);
            change(&mut pod.annotations, annotations);
        }
    }

    /// Changes the template of a ReplicaSet; its pods keep what they have.
    pub(super) fn adjust_template(
        &mut self,
        wanted: &TemplateChange,
        writer: Writer,
    ) -> Result<(), ApiError> {
        let now = self.now();
        let set = self.replica_sets.get_mut(&wanted.name).ok_or(ApiError::NotFound)?;
        merge(&mut set.template, &wanted.template_patch());
        set.annotate(&wanted.noted);
        set.touch(now);
        self.publish_replica_set(&wanted.name, writer);
        Ok(())
    }
}

/// Sets some of these values, and takes others away.
pub(super) fn change(values: &mut BTreeMap<String, String>, changes: &Annotations) {
    for (key, value) in changes {
        match value {
            Some(value) => values.insert(key.clone(), value.clone()),
            None => values.remove(key),
        };
    }
}

/// The name of the pod of this number.
pub(super) fn name_of(number: u64) -> String {
    format!("pod-{number}")
}
