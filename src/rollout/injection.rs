//! What the controller puts into a ReplicaSet's pod template beside what its author wrote: the labels and annotations of
//! its role, and the demand to keep off the nodes of stable pods. The pod hash knows of neither.
//!
//! Labels and annotations go to the pods that run, too. That takes more than one write, so it is noted on the ReplicaSet:
//! one write changes the template, tells what is in it, and says that pods may still be otherwise; pods are changed; and
//! only when all were seen to be right is that last note taken away. Whatever fails on the way, the next pass finds the
//! note and goes on. A ReplicaSet without it needs no look at pods.

mod apart;
mod marks;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::deadline::{Deadline, Wake};
use super::effect::{Annotations, Effect, NewReplicaSet, TemplateChange};
use super::pods;
use super::progress::Progress;
use super::role_labels;
use super::services::Selection;
use super::snapshot::ReplicaSet;
use super::world::World;
use crate::api::labels::{EPHEMERAL_METADATA_PENDING, POD_TEMPLATE_HASH};
use crate::units::ReplicaCount;

pub use apart::{Apart, Strength};
pub use marks::{Changes, Marks};

/// Pods whose metadata is changed in one pass: as many requests as an API server answers at once.
const MOST_AT_ONCE: usize = 50;
/// How soon pods are looked at again that were changed, or not all seen.
const CHECK: Duration = Duration::from_secs(1);

/// What a spec asks for beside its template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnPods {
    /// What pods of the wanted version carry until it is stable.
    pub new: Marks,
    /// What pods of the stable version carry.
    pub stable: Marks,
    /// How strictly pods of the wanted version keep off the nodes of stable pods; `None` for not at all.
    pub apart: Option<Strength>,
}

/// What is found in a ReplicaSet beside what its author wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Labels and annotations of its template, from the annotation `rollout.argoproj.io/ephemeral-metadata`.
    pub marks: Marks,
    /// Values of the template that they hide.
    pub hidden: Marks,
    /// What becomes on pods of what they may still carry of an earlier role; `None` once all are as the template is.
    pub pending: Option<Changes>,
    /// The versions whose nodes its pods keep off.
    pub apart: Vec<Apart>,
}

impl Injected {
    /// Reads it from a ReplicaSet's annotations and the `podAntiAffinity` of its template. A note that cannot be read
    /// counts as absent.
    #[must_use]
    pub fn read(annotations: &BTreeMap<String, String>, pod_anti_affinity: Option<&Value>) -> Self {
        let (marks, hidden, pending) = marks::read(annotations);
        Self { marks, hidden, pending, apart: pod_anti_affinity.map(apart::found).unwrap_or_default() }
    }
}

/// Takes out of a ReplicaSet's pod template what is beside what its author wrote, and the pod hash.
pub fn take_out(template: &mut Value, annotations: &BTreeMap<String, String>) {
    apart::strip(template);
    let Injected { marks, hidden, .. } = Injected::read(annotations, None);
    if let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut) {
        take_back(metadata, "labels", marks.labels.keys(), &hidden.labels);
        take_back(metadata, "annotations", marks.annotations.keys(), &hidden.annotations);
    }
}

/// Removes what was put there, and the pod hash; what was hidden comes back.
fn take_back<'a>(
    metadata: &mut Map<String, Value>,
    part: &str,
    keys: impl Iterator<Item = &'a String>,
    hidden: &BTreeMap<String, String>,
) {
    let Some(Value::Object(values)) = metadata.get_mut(part) else { return };
    values.remove(POD_TEMPLATE_HASH);
    for key in keys {
        match hidden.get(key) {
            Some(value) => values.insert(key.clone(), json!(value)),
            None => values.remove(key),
        };
    }
    if values.is_empty() {
        metadata.remove(part);
    }
}

/// Puts into a ReplicaSet that is about to be created what belongs there.
pub(super) fn into_new(
    world: &World,
    progress: &Progress,
    selections: &[Selection],
    set: &mut NewReplicaSet,
) {
    marks::into_new(world, progress, selections, set);
    apart::into_new(world, progress, set);
}

/// Changes of the templates of ReplicaSets that exist.
pub(super) fn adjustments(world: &World, progress: &Progress, selections: &[Selection]) -> Vec<Effect> {
    if is_held(world) {
        return vec![];
    }
    let changes = world.snapshot.replica_sets.iter().filter_map(|set| {
        let mut change = TemplateChange { name: set.name.clone(), ..TemplateChange::default() };
        let is_marked = marks::adjust(&wanted(world, progress, selections, set), world, set, &mut change);
        change.affinity = if world.problems.is_empty() { apart::adjust(world, progress, set) } else { None };
        (is_marked || change.affinity.is_some()).then(|| Effect::AdjustTemplate(Box::new(change)))
    });
    changes.collect()
}

/// Whether pods stay as they are, as the spec is invalid and no Service may wait for their labels.
fn is_held(world: &World) -> bool {
    !world.problems.is_empty() && !world.spec.has_role_labels
}

/// What pods of a ReplicaSet should carry. While the spec is invalid nothing is taken from them, but a Service that selects by
/// their role gets its pods: it would be empty until somebody mends the spec.
fn wanted(world: &World, progress: &Progress, selections: &[Selection], set: &ReplicaSet) -> Marks {
    if world.problems.is_empty() {
        return marks::wanted(world, progress, selections, set);
    }
    let mut marks = set.injected.marks.clone();
    marks.labels.extend(role_labels::wanted(world, selections, &set.hash, Some(set)));
    marks
}

/// What there is to do about the metadata of pods that run, and when to look at them again.
#[derive(Debug, Default)]
pub(super) struct OnRunning {
    pub(super) effects: Vec<Effect>,
    pub(super) wake: Option<Wake>,
}

/// Brings pods to what their template says, and takes the note away where all are.
pub(super) fn on_running(world: &World, progress: &Progress, selections: &[Selection]) -> OnRunning {
    let mut next = OnRunning::default();
    if is_held(world) {
        return next;
    }
    for set in &world.snapshot.replica_sets {
        let Some(pending) = &set.injected.pending else { continue };
        if set.injected.marks != wanted(world, progress, selections, set) {
            // Its template comes first.
            continue;
        }
        let pods = if has_pods(set) { pods::of(world, set) } else { Some(vec![]) };
        let is_complete = pods.is_some() && set.observed;
        let wrong: Vec<Effect> =
            pods.iter().flatten().filter_map(|pod| marks::mark(&set.injected.marks, pending, pod)).collect();
        if is_complete && wrong.is_empty() {
            next.effects.push(settled(set));
        } else {
            next.effects.extend(wrong);
            next.wake = Some(Wake { at: world.now().plus(CHECK), why: Deadline::PodMetadata });
        }
    }
    next.effects.truncate(MOST_AT_ONCE);
    next
}

/// Whether pods of a ReplicaSet may carry what they should not, or lack what they should.
pub(super) fn is_unsettled(set: &ReplicaSet) -> bool {
    set.injected.pending.is_some() && has_pods(set)
}

/// Whether a ReplicaSet has pods, or is about to.
pub(super) fn has_pods(set: &ReplicaSet) -> bool {
    set.size > ReplicaCount::ZERO || set.replicas > ReplicaCount::ZERO
}

fn settled(set: &ReplicaSet) -> Effect {
    let annotations = Annotations::from([(EPHEMERAL_METADATA_PENDING.to_owned(), None)]);
    Effect::UpdateReplicaSet { name: set.name.clone(), annotations, min_ready_seconds: None }
}

#[cfg(test)]
mod tests;
