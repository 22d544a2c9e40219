//! Labels and annotations that pods carry for their role: those of stable (or active) pods, those of the wanted version
//! (canary or preview) until it is stable, and none for all others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::super::effect::{Annotations, Effect, NewReplicaSet, TemplateChange};
use super::super::pods::Pod;
use super::super::progress::Progress;
use super::super::role_labels;
use super::super::services::Selection;
use super::super::snapshot::ReplicaSet;
use super::super::valid::text_map;
use super::super::world::World;
use super::{Injected, has_pods};
use crate::api::labels::{EPHEMERAL_METADATA, EPHEMERAL_METADATA_HIDDEN, EPHEMERAL_METADATA_PENDING};
use crate::units::PodHash;

type Values = BTreeMap<String, String>;

/// Labels and annotations. Written as JSON as Argo Rollouts writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Marks {
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Values,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Values,
}

/// Changes of labels and annotations; `None` removes one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Changes {
    /// Of labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Annotations,
    /// Of annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Annotations,
}

impl Marks {
    fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }
}

/// What the annotations of a ReplicaSet tell: what is in its template, what that hides, and what pods may still carry.
pub(super) fn read(annotations: &Values) -> (Marks, Marks, Option<Changes>) {
    (
        note(annotations, EPHEMERAL_METADATA).unwrap_or_default(),
        note(annotations, EPHEMERAL_METADATA_HIDDEN).unwrap_or_default(),
        // One that cannot be read still says that pods must be looked at.
        annotations
            .contains_key(EPHEMERAL_METADATA_PENDING)
            .then(|| note(annotations, EPHEMERAL_METADATA_PENDING).unwrap_or_default()),
    )
}

fn note<T: DeserializeOwned>(annotations: &Values, key: &str) -> Option<T> {
    serde_json::from_str(annotations.get(key)?).ok()
}

/// What pods of a ReplicaSet should carry.
pub(super) fn wanted(
    world: &World,
    progress: &Progress,
    selections: &[Selection],
    set: &ReplicaSet,
) -> Marks {
    of_revision(world, progress, selections, &set.hash, Some(set))
}

fn of_revision(
    world: &World,
    progress: &Progress,
    selections: &[Selection],
    hash: &PodHash,
    set: Option<&ReplicaSet>,
) -> Marks {
    let spec = &world.spec.on_pods;
    // The first version ever is going to be stable, without a step in between.
    let stable = progress.stable.as_ref().or(progress.hash.as_ref());
    let mut marks = match Some(hash) {
        hash if hash == stable => spec.stable.clone(),
        hash if hash == progress.hash.as_ref() => spec.new.clone(),
        _ => Marks::default(),
    };
    marks.labels.extend(role_labels::wanted(world, selections, hash, set));
    marks
}

/// Puts the role's labels and annotations into a ReplicaSet that is about to be created.
pub(super) fn into_new(
    world: &World,
    progress: &Progress,
    selections: &[Selection],
    set: &mut NewReplicaSet,
) {
    let Some(hash) = &progress.hash else { return };
    let marks = &of_revision(world, progress, selections, hash, None);
    if marks.is_empty() {
        return;
    }
    let hidden = Marks {
        labels: hides(&marks.labels, &template_values(&set.template, "labels")),
        annotations: hides(&marks.annotations, &template_values(&set.template, "annotations")),
    };
    fill(&mut set.template, "labels", &marks.labels);
    fill(&mut set.template, "annotations", &marks.annotations);
    for (key, value) in noted(marks, &hidden) {
        set.annotations.extend(value.map(|value| (key, value)));
    }
}

fn fill(template: &mut Value, part: &str, values: &Values) {
    let metadata = template.get_mut("metadata").and_then(Value::as_object_mut);
    let Some(metadata) = metadata.filter(|_| !values.is_empty()) else { return };
    let target = metadata.entry(part).or_insert(Value::Null);
    if target.is_null() {
        *target = Value::Object(Map::new());
    }
    if let Some(target) = target.as_object_mut() {
        target.extend(values.iter().map(|(key, value)| (key.clone(), json!(value))));
    }
}

/// Notes in `change` how the template comes to what is wanted; whether anything does.
pub(super) fn adjust(wanted: &Marks, world: &World, set: &ReplicaSet, change: &mut TemplateChange) -> bool {
    let found = &set.injected;
    if found.marks == *wanted {
        return false;
    }
    // What a template says that is not the spec's is not known; what was hidden there is noted.
    let template = (set.hash == world.wanted).then_some(&world.spec.template);
    let written = |part| template.map(|template| template_values(template, part)).unwrap_or_default();
    let labels = Part::new(&found.marks.labels, &found.hidden.labels, &wanted.labels, &written("labels"));
    let annotations = Part::new(
        &found.marks.annotations,
        &found.hidden.annotations,
        &wanted.annotations,
        &written("annotations"),
    );
    let before = found.pending.clone().unwrap_or_default();
    let coming = coming(found, wanted, &before);
    let mut pending = Changes {
        labels: pending(before.labels, &labels.undone, &wanted.labels),
        annotations: pending(before.annotations, &annotations.undone, &wanted.annotations),
    };
    pending.labels.extend(coming);
    change.noted = noted(wanted, &Marks { labels: labels.hidden, annotations: annotations.hidden });
    let pending = has_pods(set).then(|| json!(pending).to_string());
    change.noted.insert(EPHEMERAL_METADATA_PENDING.to_owned(), pending);
    change.labels = labels.undone.into_iter().chain(set_all(&wanted.labels)).collect();
    change.annotations = annotations.undone.into_iter().chain(set_all(&wanted.annotations)).collect();
    true
}

/// The change that a pod needs; `None` when it carries what it should.
pub(super) fn mark(marks: &Marks, pending: &Changes, pod: &Pod) -> Option<Effect> {
    let change = |wanted: &Values, pending: &Annotations, found: &Values| -> Annotations {
        let undone = pending.iter().filter(|(key, _)| !wanted.contains_key(*key));
        let undone = undone.map(|(key, value)| (key.clone(), value.clone()));
        undone.chain(set_all(wanted)).filter(|(key, value)| found.get(key) != value.as_ref()).collect()
    };
    let labels = change(&marks.labels, &pending.labels, &pod.labels);
    let annotations = change(&marks.annotations, &pending.annotations, &pod.annotations);
    let is_right = labels.is_empty() && annotations.is_empty();
    (!is_right).then(|| Effect::MarkPod { name: pod.name.clone(), labels, annotations })
}

/// How labels, or annotations, of a template change.
struct Part {
    /// Those that go; in their place comes back what they hid.
    undone: Annotations,
    /// What those that come hide.
    hidden: Values,
}

impl Part {
    fn new(found: &Values, hidden: &Values, wanted: &Values, written: &Values) -> Self {
        let gone = found.keys().filter(|key| !wanted.contains_key(*key));
        let undone = gone.map(|key| (key.clone(), hidden.get(key).cloned())).collect();
        let come: Values = wanted.clone().into_iter().filter(|(key, _)| !found.contains_key(key)).collect();
        let kept = hides(wanted, hidden).into_iter().filter(|(key, _)| found.contains_key(key));
        Self { undone, hidden: kept.chain(hides(&come, written)).collect() }
    }
}

/// What `values` hide of what is there.
fn hides(values: &Values, there: &Values) -> Values {
    there.clone().into_iter().filter(|(key, _)| values.contains_key(key)).collect()
}

/// What pods may still carry, after another change.
fn pending(before: Annotations, undone: &Annotations, wanted: &Values) -> Annotations {
    let all = before.into_iter().chain(undone.clone());
    all.filter(|(key, _)| !wanted.contains_key(key)).collect()
}

/// The labels of roles that some pods may still lack: Services select by them.
fn coming(found: &Injected, wanted: &Marks, before: &Changes) -> Annotations {
    let may_lack = |key: &String| !found.marks.labels.contains_key(key) || before.labels.contains_key(key);
    set_all(&wanted.labels).filter(|(key, _)| role_labels::is_key(key) && may_lack(key)).collect()
}

fn set_all(values: &Values) -> impl Iterator<Item = (String, Option<String>)> {
    values.iter().map(|(key, value)| (key.clone(), Some(value.clone())))
}

/// The annotations that tell what is in a template.
fn noted(marks: &Marks, hidden: &Marks) -> Annotations {
    let text = |marks: &Marks| (!marks.is_empty()).then(|| json!(marks).to_string());
    Annotations::from([
        (EPHEMERAL_METADATA.to_owned(), text(marks)),
        (EPHEMERAL_METADATA_HIDDEN.to_owned(), text(hidden)),
    ])
}

fn template_values(template: &Value, part: &str) -> Values {
    text_map(template.pointer(&format!("/metadata/{part}")))
}
