//! Anti-affinity: pods of the wanted version keep off the nodes of stable pods while it is not stable itself. One term in
//! the template, told from what its author wrote by the label that it looks at.

use serde_json::{Map, Value, json};

use super::super::effect::NewReplicaSet;
use super::super::progress::Progress;
use super::super::snapshot::ReplicaSet;
use super::super::world::World;
use crate::api::labels::POD_TEMPLATE_HASH;
use crate::units::PodHash;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
/// Label of a node whose value no other node has.
const NODE: &str = "kubernetes.io/hostname";

/// How strictly pods keep off nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// Where they can; from 1 to 100.
    Preferred(i32),
    /// Always.
    Required,
}

/// A version whose nodes pods keep off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apart {
    /// The version.
    pub from: PodHash,
    /// How strictly.
    pub strength: Strength,
}

/// What a template's `podAntiAffinity` holds of it.
pub(super) fn found(pod_anti_affinity: &Value) -> Vec<Apart> {
    let terms = |list: &str| pod_anti_affinity.get(list).and_then(Value::as_array).into_iter().flatten();
    let preferred = terms(PREFERRED).filter_map(|weighted| {
        let weight = weighted.get("weight").and_then(Value::as_i64).unwrap_or_default();
        let strength = Strength::Preferred(i32::try_from(weight).unwrap_or_default());
        Some(Apart { from: version(weighted.get("podAffinityTerm")?)?, strength })
    });
    let required =
        terms(REQUIRED).filter_map(|term| Some(Apart { from: version(term)?, strength: Strength::Required }));
    preferred.chain(required).collect()
}

/// The version that a term is about; `None` for a term of the template's author.
fn version(term: &Value) -> Option<PodHash> {
    let expressions = term.pointer("/labelSelector/matchExpressions")?.as_array()?;
    let [expression] = expressions.as_slice() else { return None };
    let is_ours = expression.get("key")?.as_str()? == POD_TEMPLATE_HASH;
    let hash = expression.pointer("/values/0")?.as_str()?;
    is_ours.then(|| PodHash::new(hash))?
}

/// Takes it out of a pod template, with what is empty then.
pub(super) fn strip(template: &mut Value) {
    let Some(affinity) = template.pointer_mut("/spec/affinity") else { return };
    let Some(anti) = affinity.get_mut("podAntiAffinity").filter(|anti| !found(anti).is_empty()) else {
        return;
    };
    retain(anti, REQUIRED, |term| version(term).is_none());
    retain(anti, PREFERRED, |weighted| {
        weighted.get("podAffinityTerm").is_none_or(|term| version(term).is_none())
    });
    drop_if_empty(affinity, "podAntiAffinity");
    if let Some(spec) = template.get_mut("spec") {
        drop_if_empty(spec, "affinity");
    }
}

fn retain(anti: &mut Value, list: &str, keep: impl Fn(&Value) -> bool) {
    if let Some(terms) = anti.get_mut(list).and_then(Value::as_array_mut) {
        terms.retain(keep);
        if terms.is_empty()
            && let Some(anti) = anti.as_object_mut()
        {
            anti.remove(list);
        }
    }
}

fn drop_if_empty(parent: &mut Value, key: &str) {
    if let Some(parent) = parent.as_object_mut()
        && parent.get(key).and_then(Value::as_object).is_some_and(Map::is_empty)
    {
        parent.remove(key);
    }
}

/// What the template of the wanted version should hold.
fn wanted(world: &World, progress: &Progress) -> Option<Apart> {
    let strength = world.spec.on_pods.apart?;
    let from = progress.stable.clone().filter(|_| !progress.is_settled())?;
    Some(Apart { from, strength })
}

/// Puts it into a ReplicaSet that is about to be created.
pub(super) fn into_new(world: &World, progress: &Progress, set: &mut NewReplicaSet) {
    if let Some(apart) = wanted(world, progress) {
        inject(&mut set.template, &apart, namespace(world));
    }
}

/// The merge patch of the affinity in the wanted version's template; `None` when it is right, and for every other
/// version, whose pods are not created any more.
pub(super) fn adjust(world: &World, progress: &Progress, set: &ReplicaSet) -> Option<Value> {
    let wanted = wanted(world, progress);
    let is_right = set.injected.apart == Vec::from_iter(wanted.clone());
    if is_right || set.hash != world.wanted || progress.hash.as_ref() != Some(&set.hash) {
        return None;
    }
    let mut template = world.spec.template.clone();
    if let Some(apart) = &wanted {
        inject(&mut template, apart, namespace(world));
    }
    let Some(affinity) = template.pointer("/spec/affinity").filter(|affinity| affinity.is_object()) else {
        return Some(Value::Null);
    };
    let anti = affinity.get("podAntiAffinity").filter(|anti| anti.is_object());
    // A list that is not there any more has to be named to go.
    let lists = |anti: &Value| json!({REQUIRED: anti.get(REQUIRED), PREFERRED: anti.get(PREFERRED)});
    Some(json!({"podAntiAffinity": anti.map_or(Value::Null, lists)}))
}

fn namespace<'a>(world: &World<'a>) -> &'a str {
    world.snapshot.rollout.metadata.namespace.as_deref().unwrap_or_default()
}

fn inject(template: &mut Value, apart: &Apart, namespace: &str) {
    let term = json!({
        "labelSelector": {"matchExpressions": [
            {"key": POD_TEMPLATE_HASH, "operator": "In", "values": [apart.from.as_str()]},
        ]},
        "topologyKey": NODE,
        "namespaces": [namespace],
    });
    let (list, entry) = match apart.strength {
        Strength::Preferred(weight) => (PREFERRED, json!({"weight": weight, "podAffinityTerm": term})),
        Strength::Required => (REQUIRED, term),
    };
    let mut place = template;
    for key in ["spec", "affinity", "podAntiAffinity"] {
        let Some(object) = place.as_object_mut() else { return };
        let next = object.entry(key).or_insert(Value::Null);
        if next.is_null() {
            *next = json!({});
        }
        place = next;
    }
    let Some(anti) = place.as_object_mut() else { return };
    match anti.get_mut(list).and_then(Value::as_array_mut) {
        Some(terms) => terms.push(entry),
        None => drop(anti.insert(list.to_owned(), json!([entry]))),
    }
}
