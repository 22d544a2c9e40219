//! Which ReplicaSet is which revision, how revisions are numbered, and what the ReplicaSet of a new one looks like.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value, json};

use super::effect::{Effect, NewReplicaSet};
use super::snapshot::{ReplicaSet, Snapshot};
use super::valid::{ValidSpec, template_labels};
use super::{pod_hash, status};
use crate::api::canary_step::CanaryStep;
use crate::api::labels::{
    DESIRED_REPLICAS, LAST_APPLIED, NOTIFIED_PREFIX, POD_TEMPLATE_HASH, REVISION, REVISION_HISTORY,
    TEMPLATE_HASH, WORKLOAD_GENERATION,
};
use crate::units::{PodHash, ReplicaCount, Revision, StepIndex};

/// The identity of the template that the spec asks for.
///
/// It is the hash of the template, unless a ReplicaSet of that template got another one: from an older way to compute it, or
/// from another controller. Such a ReplicaSet is known by a note, or because the status, which was computed from this very
/// spec, names it. Nothing is created anew because hashes are computed otherwise than before.
#[must_use]
pub fn wanted_hash(snapshot: &Snapshot) -> PodHash {
    let computed = template_hash(snapshot);
    let sets = &snapshot.replica_sets;
    if sets.iter().any(|set| set.hash == computed) {
        return computed;
    }
    let noted = sets.iter().find(|set| set.template_hash.as_ref() == Some(&computed));
    noted.or_else(|| named_by_status(snapshot)).map_or(computed, |set| set.hash.clone())
}

/// The hash of the template that the spec asks for, as it is computed now.
#[must_use]
pub fn template_hash(snapshot: &Snapshot) -> PodHash {
    salted_hash(snapshot, collisions(snapshot))
}

/// The ReplicaSet of the spec as it is, by the word of the status; `None` where the status belongs to another spec, or to
/// one that could not be worked with.
fn named_by_status(snapshot: &Snapshot) -> Option<&ReplicaSet> {
    let status = snapshot.rollout.status.as_ref()?;
    let observed = match status.observed_generation.as_ref()? {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(text) => text.parse().ok()?,
    };
    // The template of a workload changes without the spec: there the status tells of nothing but itself.
    let is_own = snapshot.rollout.spec.workload_ref.is_none();
    let is_current = is_own && Some(observed) == snapshot.rollout.metadata.generation;
    let is_invalid = status::condition(status, "InvalidSpec").is_some();
    let named = snapshot
        .replica_sets
        .iter()
        .find(|set| Some(set.hash.as_str()) == status.current_pod_hash.as_deref());
    named.filter(|set| is_current && !is_invalid && set.template_hash.is_none())
}

/// How many names of the template's ReplicaSet belong to somebody else: the salt of its identity. `None` for none.
#[must_use]
pub fn collisions(snapshot: &Snapshot) -> Option<i32> {
    let known = snapshot.rollout.status.as_ref().and_then(|status| status.collision_count);
    let is_taken = |count: Option<i32>| {
        snapshot.taken_names.contains(&replica_set_name(snapshot, &salted_hash(snapshot, count)))
    };
    // No more names are taken than are known to be.
    (0..snapshot.taken_names.len()).fold(known, |count, _| {
        if is_taken(count) { Some(count.unwrap_or_default().saturating_add(1)) } else { count }
    })
}

fn salted_hash(snapshot: &Snapshot, collisions: Option<i32>) -> PodHash {
    let template = snapshot.template().unwrap_or(&Value::Null);
    let hash = pod_hash::pod_template_hash(template, collisions);
    // The hash is never empty; its own text stands in so that no panic is possible.
    PodHash::new(hash).unwrap_or_else(PodHash::unknown)
}

/// Whether the ReplicaSet of the wanted revision exists.
#[must_use]
pub fn exists(snapshot: &Snapshot) -> bool {
    Revisions::of(&snapshot.replica_sets).find(Some(&wanted_hash(snapshot))).is_some()
}

/// The identity of the steps that the spec asks for; `None` for blue-green, which has none. An empty list counts as no list, as
/// for Argo Rollouts.
#[must_use]
pub fn wanted_step_hash(snapshot: &Snapshot) -> Option<String> {
    let strategy = snapshot.rollout.spec.strategy.as_ref();
    if strategy.is_some_and(|strategy| strategy.canary.is_none() && strategy.blue_green.is_some()) {
        return None;
    }
    let steps = steps(snapshot).filter(|steps| !steps.is_empty());
    let steps = steps.and_then(|steps| serde_json::to_value(steps).ok());
    Some(pod_hash::steps_hash(steps.as_ref()))
}

/// The identity of the steps before a position; `None` before the first one and where there are none.
#[must_use]
pub fn passed_steps_hash(snapshot: &Snapshot, index: StepIndex) -> Option<String> {
    let passed = steps(snapshot)?.get(..index.get()).filter(|passed| !passed.is_empty())?;
    let passed = serde_json::to_value(passed).ok()?;
    Some(pod_hash::steps_hash(Some(&passed)))
}

fn steps(snapshot: &Snapshot) -> Option<&Vec<CanaryStep>> {
    snapshot.rollout.spec.strategy.as_ref()?.canary.as_ref()?.steps.as_ref()
}

/// The revisions of a Rollout, told apart.
#[derive(Clone, Copy, Debug)]
pub struct Revisions<'a> {
    all: &'a [ReplicaSet],
}

impl<'a> Revisions<'a> {
    /// The revisions among the Rollout's ReplicaSets.
    #[must_use]
    pub const fn of(all: &'a [ReplicaSet]) -> Self {
        Self { all }
    }

    /// The ReplicaSet of a revision.
    #[must_use]
    pub fn find(self, hash: Option<&PodHash>) -> Option<&'a ReplicaSet> {
        let hash = hash?;
        self.all.iter().find(|set| set.hash == *hash)
    }

    /// The ReplicaSets of neither revision, newest first.
    #[must_use]
    pub fn others(self, new: Option<&PodHash>, stable: Option<&PodHash>) -> Vec<&'a ReplicaSet> {
        let mut others: Vec<_> =
            self.all.iter().filter(|set| Some(&set.hash) != new && Some(&set.hash) != stable).collect();
        others.sort_by(|a, b| b.revision.cmp(&a.revision).then_with(|| a.name.cmp(&b.name)));
        others
    }

    /// The number of the revision `hash`: its own when it is the newest, otherwise the one after the newest.
    #[must_use]
    pub fn number(self, hash: &PodHash) -> Revision {
        let newest_other = self.all.iter().filter(|set| set.hash != *hash).map(|set| set.revision).max();
        let own = self.find(Some(hash)).map(|set| set.revision).unwrap_or_default();
        if own > newest_other.unwrap_or_default() { own } else { newest_other.unwrap_or_default().next() }
    }
}

/// The number on an existing ReplicaSet, brought up to date; `None` when it is right.
#[must_use]
pub fn renumbered(set: &ReplicaSet, number: Revision) -> Option<Effect> {
    if set.revision == number {
        return None;
    }
    let history = match set.revision_history.as_deref() {
        None | Some("") => set.revision.to_string(),
        Some(earlier) => format!("{earlier},{}", set.revision),
    };
    let annotations = BTreeMap::from([
        (REVISION.to_owned(), Some(number.to_string())),
        (REVISION_HISTORY.to_owned(), Some(history)),
    ]);
    Some(Effect::UpdateReplicaSet { name: set.name.clone(), annotations, min_ready_seconds: None })
}

/// A note on a ReplicaSet whose identity is another one than its template's hash, so that it is found again.
#[must_use]
pub fn recognised(set: &ReplicaSet, template_hash: &PodHash) -> Option<Effect> {
    let is_known = set.hash == *template_hash || set.template_hash.as_ref() == Some(template_hash);
    let annotations = BTreeMap::from([(TEMPLATE_HASH.to_owned(), Some(template_hash.to_string()))]);
    (!is_known).then(|| Effect::UpdateReplicaSet {
        name: set.name.clone(),
        annotations,
        min_ready_seconds: None,
    })
}

/// The ReplicaSet of a revision that has none yet.
#[must_use]
pub fn new_replica_set(
    snapshot: &Snapshot,
    spec: &ValidSpec,
    hash: &PodHash,
    number: Revision,
    replicas: ReplicaCount,
) -> NewReplicaSet {
    let metadata = &snapshot.rollout.metadata;
    let mut labels = template_labels(&spec.template);
    labels.insert(POD_TEMPLATE_HASH.to_owned(), hash.to_string());
    let mut annotations: BTreeMap<String, String> = metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !is_private(key));
    annotations.insert(REVISION.to_owned(), number.to_string());
    if let Some(workload) = snapshot.workload.found() {
        annotations.insert(WORKLOAD_GENERATION.to_owned(), workload.generation.to_string());
    }
    annotations.insert(DESIRED_REPLICAS.to_owned(), spec.replicas.to_string());
    NewReplicaSet {
        name: replica_set_name(snapshot, hash),
        annotations,
        selector: with_hash(&spec.selector, hash),
        template: labelled(&spec.template, hash),
        labels,
        replicas,
        min_ready_seconds: spec.min_ready_seconds,
    }
}

/// The name of a revision's ReplicaSet.
#[must_use]
pub fn replica_set_name(snapshot: &Snapshot, hash: &PodHash) -> String {
    format!("{}-{hash}", snapshot.rollout.metadata.name.as_deref().unwrap_or_default())
}

/// Whether an annotation of a Rollout speaks of the Rollout alone.
fn is_private(key: &str) -> bool {
    [LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED_REPLICAS].contains(&key)
        || key.starts_with(NOTIFIED_PREFIX)
}

/// The selector, for the pods of one hash only.
pub(crate) fn with_hash(selector: &LabelSelector, hash: &PodHash) -> LabelSelector {
    let mut selector = selector.clone();
    selector.match_labels.get_or_insert_default().insert(POD_TEMPLATE_HASH.to_owned(), hash.to_string());
    selector
}

/// The object under a key, made where there is none, or a null that a template engine left.
pub(crate) fn object_under<'a>(
    object: &'a mut Map<String, Value>,
    key: &str,
) -> Option<&'a mut Map<String, Value>> {
    let value = object.entry(key).or_insert(Value::Null);
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

/// The template with the pod hash among its labels; everything else stays as it was written.
pub(crate) fn labelled(template: &Value, hash: &PodHash) -> Value {
    let mut template = template.clone();
    if let Some(template) = template.as_object_mut() {
        let metadata = object_under(template, "metadata");
        if let Some(labels) = metadata.and_then(|metadata| object_under(metadata, "labels")) {
            labels.insert(POD_TEMPLATE_HASH.to_owned(), json!(hash.as_str()));
        }
    }
    template
}
