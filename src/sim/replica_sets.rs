//! What Kubernetes does for ReplicaSets: pods are created and deleted until their number is right, and then counted.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::caches::Writer;
use super::cluster::Cluster;
use super::images::tag;
use super::pods::Pod;
use crate::api::labels;
use crate::rollout::effect::{Annotations, NewReplicaSet};
use crate::rollout::injection::Injected;
use crate::rollout::snapshot;
use crate::rollout::valid::text_map;
use crate::units::{PodHash, ReplicaCount, Revision, Timestamp};

/// From a change to the pass over the ReplicaSet that sees it.
const REACTION: Duration = Duration::from_millis(20);

/// A stored ReplicaSet.
#[derive(Clone, Debug)]
pub(super) struct ReplicaSet {
    labels: BTreeMap<String, String>,
    /// The Experiment that owns it; `None` where the Rollout does.
    pub(super) owner: Option<String>,
    pub(super) annotations: BTreeMap<String, String>,
    created_at: Timestamp,
    pub(super) template: Value,
    pub(super) image: String,
    pub(super) size: ReplicaCount,
    pub(super) min_ready: Duration,
    replicas: ReplicaCount,
    ready: ReplicaCount,
    pub(super) available: ReplicaCount,
    observed: bool,
    failure: Option<String>,
    /// When it is looked at next; `None` when nothing has changed.
    due: Option<Timestamp>,
}

impl ReplicaSet {
    /// A ReplicaSet that was created at `now`.
    pub(super) fn new(wanted: &NewReplicaSet, now: Timestamp) -> Self {
        Self {
            labels: wanted.labels.clone(),
            owner: None,
            annotations: wanted.annotations.clone(),
            created_at: now.whole_seconds(),
            image: image_of(&wanted.template),
            template: wanted.template.clone(),
            size: wanted.replicas,
            min_ready: Duration::from_secs(u64::try_from(wanted.min_ready_seconds).unwrap_or_default()),
            replicas: ReplicaCount::ZERO,
            ready: ReplicaCount::ZERO,
            available: ReplicaCount::ZERO,
            observed: false,
            failure: None,
            due: Some(now.plus(REACTION)),
        }
    }

    /// Some of its annotations are changed.
    pub(super) fn annotate(&mut self, annotations: &Annotations) {
        for (key, value) in annotations {
            match value {
                Some(value) => self.annotations.insert(key.clone(), value.clone()),
                None => self.annotations.remove(key),
            };
        }
    }

    /// Its spec was changed at `now`.
    pub(super) fn touch(&mut self, now: Timestamp) {
        self.observed = false;
        self.look_at(now.plus(REACTION));
    }

    /// One of its pods changed at `now`.
    pub(super) fn pods_changed(&mut self, now: Timestamp) {
        self.look_at(now.plus(REACTION));
    }

    fn look_at(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When it is looked at next; `None` when nothing has changed.
    pub(super) const fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// What a cache holds of it; `None` when it has no pod hash.
    pub(super) fn observe(&self, name: &str) -> Option<snapshot::ReplicaSet> {
        let annotation = |key: &str| self.annotations.get(key).map(String::as_str);
        Some(snapshot::ReplicaSet {
            name: name.to_owned(),
            hash: self.hash()?,
            template_hash: annotation(labels::TEMPLATE_HASH).and_then(PodHash::new),
            revision: Revision::parse(annotation(labels::REVISION)),
            revision_history: annotation(labels::REVISION_HISTORY).map(str::to_owned),
            created_at: Some(self.created_at),
            desired_annotation: annotation(labels::DESIRED_REPLICAS).and_then(|text| text.parse().ok()),
            size: self.size,
            replicas: self.replicas,
            ready: self.ready,
            available: self.available,
            observed: self.observed,
            failure: self.failure.clone(),
            min_ready_seconds: i32::try_from(self.min_ready.as_secs()).unwrap_or(i32::MAX),
            scale_down_deadline: annotation(labels::SCALE_DOWN_DEADLINE).and_then(Timestamp::parse),
            outcome: annotation(labels::OUTCOME).and_then(snapshot::Outcome::parse),
            injected: Injected::read(
                &self.annotations,
                self.template.pointer("/spec/affinity/podAntiAffinity"),
            ),
        })
    }

    /// Its revision's identity.
    pub(super) fn hash(&self) -> Option<PodHash> {
        self.labels.get(labels::POD_TEMPLATE_HASH).and_then(PodHash::new)
    }
}

/// The image of a pod template's first container.
pub(super) fn image_of(template: &Value) -> String {
    let image = template.pointer("/spec/containers/0/image").and_then(Value::as_str);
    image.unwrap_or("none").to_owned()
}

impl Cluster {
    /// When a ReplicaSet or a pod changes next by itself.
    pub(super) fn next_pod_change(&self) -> Option<Timestamp> {
        let pods = self.pods.values().filter_map(|pod| pod.next_change);
        let sets = self.replica_sets.values().filter_map(ReplicaSet::due);
        pods.chain(sets).min()
    }

    /// Does everything that pods and ReplicaSets do by themselves until now.
    pub(super) fn advance_pods(&mut self) {
        let now = self.now();
        let mut changed = Vec::new();
        for pod in self.pods.values_mut() {
            let image = self.images.get(tag(&pod.image)).copied().unwrap_or_default();
            if pod.advance(image, now) {
                changed.push(pod.replica_set.clone());
            }
        }
        self.pods_changed(changed);
        let seen = self.listing.is_late().then(|| self.stored_pods());
        self.listing.note(now, seen);
        self.note_endpoints();
        let due = |set: &ReplicaSet| set.due().is_some_and(|at| at <= now);
        let names: Vec<String> =
            self.replica_sets.iter().filter(|(_, set)| due(set)).map(|(name, _)| name.clone()).collect();
        let existing = self.pods.len();
        for name in &names {
            let before = self.replica_sets.get(name).and_then(|set| set.observe(name));
            self.sync_replica_set(name);
            if self.replica_sets.get(name).and_then(|set| set.observe(name)) != before {
                self.publish_replica_set(name, Writer::Other);
            }
        }
        if self.pods.len() < existing {
            self.retry_refused_pods();
        }
    }

    /// Pods that were refused are tried again, as there may be room for them now.
    pub(super) fn retry_refused_pods(&mut self) {
        let refused = self.replica_sets.iter().filter(|(_, set)| set.failure.is_some());
        let names: Vec<String> = refused.map(|(name, _)| name.clone()).collect();
        self.pods_changed(names);
    }

    /// Notes that pods of these ReplicaSets changed.
    pub(super) fn pods_changed(&mut self, sets: impl IntoIterator<Item = String>) {
        let now = self.now();
        for name in sets {
            if let Some(set) = self.replica_sets.get_mut(&name) {
                set.pods_changed(now);
            }
        }
    }

    fn sync_replica_set(&mut self, name: &str) {
        let Some(set) = self.replica_sets.get(name) else { return };
        let (size, template) = (usize::try_from(set.size.get()).unwrap_or(usize::MAX), set.template.clone());
        let existing = self.pods_of(name).count();
        let failure = if existing < size {
            self.create_pods(name, &template, size - existing)
        } else {
            self.delete_pods(name, existing - size);
            None
        };
        self.count_pods(name, failure);
    }

    /// Creates `count` pods; the reason why not all of them could be created.
    fn create_pods(&mut self, set: &str, template: &Value, count: usize) -> Option<String> {
        let (now, image) = (self.now(), image_of(template));
        for _ in 0..count {
            if let Some(quota) = self.quota.filter(|quota| self.pods.len() >= *quota) {
                return Some(format!("pods of {set} are forbidden: exceeded quota: pods={quota}"));
            }
            let number = self.next_pod;
            self.next_pod += 1;
            let behaviour = self.images.get(tag(&image)).copied().unwrap_or_default();
            let mut pod = Pod::new(set, &image, behaviour, number, now);
            pod.labels = text_map(template.pointer("/metadata/labels"));
            pod.annotations = text_map(template.pointer("/metadata/annotations"));
            self.pods.insert(number, pod);
        }
        None
    }

    /// Deletes `count` pods: those that are not ready first, then those that became ready last, newest first.
    fn delete_pods(&mut self, set: &str, count: usize) {
        let mut candidates: Vec<(Option<Timestamp>, u64)> =
            self.pods_of(set).map(|(number, pod)| (pod.ready_since, number)).collect();
        candidates.sort_by_key(|(ready_since, number)| {
            let readiness = ready_since.map(std::cmp::Reverse);
            (readiness.is_some(), readiness, std::cmp::Reverse(*number))
        });
        for (_, number) in candidates.into_iter().take(count) {
            self.pods.remove(&number);
        }
    }

    fn count_pods(&mut self, name: &str, failure: Option<String>) {
        let now = self.now();
        let Some(min_ready) = self.replica_sets.get(name).map(|set| set.min_ready) else { return };
        let pods: Vec<Option<Timestamp>> =
            self.pods_of(name).map(|(_, pod)| pod.available_at(min_ready)).collect();
        let count = |matching: usize| ReplicaCount::new(u32::try_from(matching).unwrap_or(u32::MAX));
        let Some(set) = self.replica_sets.get_mut(name) else { return };
        set.replicas = count(pods.len());
        set.ready = count(pods.iter().flatten().count());
        set.available = count(pods.iter().flatten().filter(|at| **at <= now).count());
        set.observed = true;
        set.failure = failure;
        set.due = pods.iter().flatten().filter(|at| **at > now).min().copied();
    }

    /// The pods of a ReplicaSet with their numbers, oldest first.
    pub(super) fn pods_of<'a>(&'a self, set: &'a str) -> impl Iterator<Item = (u64, &'a Pod)> {
        self.pods.iter().filter(move |(_, pod)| pod.replica_set == set).map(|(number, pod)| (*number, pod))
    }
}
