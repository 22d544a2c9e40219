//! `undo`: the pod template of an earlier revision becomes the template again.

use kube::ResourceExt;
use kube::core::DynamicObject;
use serde_json::{Map, Value, json};

use super::{Answer, Body, Part, Patch, Target, is_observed, status};
use crate::api::Rollout;
use crate::api::labels::{DEPLOYMENT_HASH, POD_TEMPLATE_HASH, REVISION};
use crate::rollout::injection;
use crate::units::Revision;

/// Fields whose default depends on other fields, so that leaving them out may mean another value.
const DEPENDENT_DEFAULTS: [&str; 2] = ["resources", "hostPort"];

/// Which revision to go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToRevision {
    /// The newest one before the current one.
    Previous,
    /// The one with this number.
    Number(Revision),
}

/// Goes back to an earlier revision: its template is written over the current one, whatever its way in will be.
///
/// `replica_sets` are the Rollout's own, undecoded, so that no field of a template is lost. The pod hash, what the
/// revision's role put on its pods, the anti-affinity to another version, and the defaults that the API server filled in are taken out again, so that the
/// template is the one that was once written and the revision's own ReplicaSet is found again by its hash.
///
/// `written` is the pod template as it stands: the Rollout's own, or that of the workload it refers to, which keeps the
/// label that its own selector asks for.
#[must_use]
pub fn undo(rollout: &Rollout, written: &Value, replica_sets: &[DynamicObject], to: ToRevision) -> Answer {
    let name = rollout.name_any();
    let current = current_of(rollout, replica_sets);
    let chosen = match to {
        ToRevision::Previous => previous(replica_sets, current),
        ToRevision::Number(number) => replica_sets.iter().find(|rs| revision(rs) == number),
    };
    let Some(chosen) = chosen else { return Answer::Refused { why: missing(&name, replica_sets, to) } };
    let number = revision(chosen);
    let same_set = current.is_some_and(|current| current.name_any() == chosen.name_any());
    let template = restored(rollout, written, chosen, current);
    // Whether the controller has seen the workload as it is cannot be told.
    let is_current = same_set && is_observed(rollout) && rollout.spec.workload_ref.is_none();
    if is_current || *written == template {
        let why = format!("skipped rollback (current template already matches revision {number})");
        return Answer::Nothing { why };
    }
    let (target, root) = template_owner(rollout);
    let body = Body::Json(vec![json!({"op": "replace", "path": root, "value": template})]);
    let patch = Patch { target, part: Part::Object, body, only_at: None };
    Answer::Write { patches: vec![patch], done: format!("rollout '{name}' undone to revision {number}") }
}

/// Who holds the pod template, and the JSON pointer of it there: the Rollout, or the workload it refers to.
#[must_use]
pub fn template_owner(rollout: &Rollout) -> (Target, &'static str) {
    let Some(workload) = &rollout.spec.workload_ref else { return (Target::Rollout, "/spec/template") };
    let kind = workload.kind.clone().unwrap_or_default();
    let root = if kind == "PodTemplate" { "/template" } else { "/spec/template" };
    let api_version = workload.api_version.clone().unwrap_or_default();
    (Target::Workload { api_version, kind, name: workload.name.clone().unwrap_or_default() }, root)
}

fn revision(replica_set: &DynamicObject) -> Revision {
    Revision::parse(replica_set.annotations().get(REVISION).map(String::as_str))
}

/// The ReplicaSet of the current revision.
fn current_of<'a>(rollout: &Rollout, replica_sets: &'a [DynamicObject]) -> Option<&'a DynamicObject> {
    let hash = status(rollout).current_pod_hash?;
    replica_sets.iter().find(|rs| rs.labels().get(POD_TEMPLATE_HASH) == Some(&hash))
}

/// The newest revision that is not the current one.
fn previous<'a>(
    replica_sets: &'a [DynamicObject],
    current: Option<&DynamicObject>,
) -> Option<&'a DynamicObject> {
    let newest = replica_sets.iter().max_by_key(|rs| revision(rs))?;
    let current = current.unwrap_or(newest).name_any();
    let others =
        replica_sets.iter().filter(|rs| rs.name_any() != current && revision(rs) > Revision::default());
    others.max_by_key(|rs| revision(rs))
}

fn missing(name: &str, replica_sets: &[DynamicObject], to: ToRevision) -> String {
    let ToRevision::Number(number) = to else {
        return format!("rollout '{name}' has no earlier revision to go back to");
    };
    let mut kept: Vec<Revision> = replica_sets.iter().map(revision).filter(|r| r.get() > 0).collect();
    kept.sort_unstable();
    let kept = kept.iter().map(Revision::to_string).collect::<Vec<_>>().join(", ");
    let kept = if kept.is_empty() { "none".to_owned() } else { kept };
    format!("rollout '{name}' has no revision {number}; kept are: {kept}")
}

/// The template of `chosen` as its author wrote it.
fn restored(
    rollout: &Rollout,
    written: &Value,
    chosen: &DynamicObject,
    current: Option<&DynamicObject>,
) -> Value {
    let mut template = template_of(chosen);
    if rollout.spec.workload_ref.is_some() {
        // It is stored with its defaults, as the ReplicaSet's is.
        keep_own_hash(&mut template, written);
        return template;
    }
    // On an unobserved spec the current ReplicaSet is not that of the written template: nothing can be learnt from it.
    if let (Some(current), true) = (current, is_observed(rollout)) {
        leave_out_filled_in(&mut template, &template_of(current), written);
    }
    template
}

/// A ReplicaSet that belongs to a Deployment must keep the Deployment's hash, by which it finds its pods.
fn keep_own_hash(template: &mut Value, written: &Value) {
    let own = written.pointer("/metadata/labels").and_then(|labels| labels.get(DEPLOYMENT_HASH));
    if let (Some(own), Some(template)) = (own, template.as_object_mut()) {
        let metadata = template.entry("metadata").or_insert_with(|| json!({}));
        let labels =
            metadata.as_object_mut().map(|fields| fields.entry("labels").or_insert_with(|| json!({})));
        let labels = labels.and_then(Value::as_object_mut);
        labels.map(|labels| labels.insert(DEPLOYMENT_HASH.to_owned(), own.clone()));
    }
}

/// A ReplicaSet's template without what the controller put into it.
fn template_of(replica_set: &DynamicObject) -> Value {
    let mut template = replica_set.data.pointer("/spec/template").cloned().unwrap_or(Value::Null);
    injection::take_out(&mut template, replica_set.annotations());
    template
}

/// Removes from `target` each field that the current revision has, with the same value, without its author having
/// written it: a default, which comes back by itself.
fn leave_out_filled_in(target: &mut Value, current: &Value, written: &Value) {
    match (target, current, written) {
        (Value::Object(target), Value::Object(current), Value::Object(written)) => {
            let same_pull_default = pulls_always(target) == pulls_always(current);
            target.retain(|key, value| {
                let fixed = match key.as_str() {
                    "imagePullPolicy" => same_pull_default,
                    key => !DEPENDENT_DEFAULTS.contains(&key) || is_empty(value),
                };
                !fixed || written.contains_key(key) || current.get(key) != Some(value)
            });
            for (key, value) in target.iter_mut() {
                if let (Some(current), Some(written)) = (current.get(key), written.get(key)) {
                    leave_out_filled_in(value, current, written);
                }
            }
        }
        (Value::Array(target), Value::Array(current), Value::Array(written)) => {
            for (index, value) in target.iter_mut().enumerate() {
                let (current, written) =
                    (counterpart(current, value, index), counterpart(written, value, index));
                if let (Some(current), Some(written)) = (current, written) {
                    leave_out_filled_in(value, current, written);
                }
            }
        }
        _ => {}
    }
}

/// The element that stands for the same thing: that of the same name, or, without names, that at the same place.
fn counterpart<'a>(list: &'a [Value], item: &Value, index: usize) -> Option<&'a Value> {
    match item.get("name") {
        Some(name) => list.iter().find(|other| other.get("name") == Some(name)),
        None => list.get(index),
    }
}

/// Whether a field says nothing, so that nothing can depend on it.
fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

/// Whether a container's image is pulled each time by default; `None` when this is no container.
fn pulls_always(container: &Map<String, Value>) -> Option<bool> {
    let image = container.get("image")?.as_str()?;
    let name = image.rsplit('/').next().unwrap_or(image);
    let tag = name.split_once(':').map(|(_, tag)| tag);
    Some(!name.contains('@') && matches!(tag, None | Some("latest")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_controller_put_into_a_template_is_not_written_back() {
        let set: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": "web-abc", "annotations": {
                "rollout.argoproj.io/ephemeral-metadata": r#"{"labels":{"role":"stable","tier":"x"},"annotations":{"note":"n"}}"#,
                "rollout.argoproj.io/ephemeral-metadata-hidden": r#"{"labels":{"tier":"web"}}"#,
            }},
            "spec": {"template": {
                "metadata": {
                    "labels": {"app": "web", "role": "stable", "tier": "x", "rollouts-pod-template-hash": "abc"},
                    "annotations": {"note": "n"},
                },
                "spec": {
                    "containers": [],
                    "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
                        "labelSelector": {"matchExpressions": [
                            {"key": "rollouts-pod-template-hash", "operator": "In", "values": ["def"]},
                        ]},
                        "topologyKey": "kubernetes.io/hostname", "namespaces": ["shop"],
                    }]}},
                },
            }},
        }))
        .unwrap();
        let written =
            json!({"metadata": {"labels": {"app": "web", "tier": "web"}}, "spec": {"containers": []}});
        assert_eq!(template_of(&set), written);
    }
}
