//! What is put into templates, what comes of it on pods, and what is taken out again.

use serde_json::{Value, json};

use super::super::effect::TemplateChange;
use super::super::pods::{Pod, are_needed};
use super::super::tests::{Bench, steps};
use super::super::{Effect, decide};
use super::*;
use crate::api::labels::{EPHEMERAL_METADATA, EPHEMERAL_METADATA_HIDDEN};

fn values(value: &Value) -> BTreeMap<String, String> {
    serde_json::from_value(value.clone()).unwrap()
}

fn marks(labels: &Value) -> Marks {
    Marks { labels: values(labels), ..Marks::default() }
}

/// A Rollout of two versions, paused in the middle, whose strategy has these fields as well.
fn canary(fields: &Value) -> Bench {
    let mut bench = Bench::new(4, &steps());
    bench.settle();
    bench.release("v2");
    bench.settle();
    let mut strategy = serde_json::to_value(&bench.snapshot.rollout.spec.strategy).unwrap();
    strategy["canary"].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    bench.snapshot.rollout.spec.strategy = serde_json::from_value(strategy).unwrap();
    bench
}

/// The changes of templates in the next pass, by the number of the revision.
fn changes(bench: &Bench) -> BTreeMap<String, TemplateChange> {
    let plan = decide(&bench.snapshot);
    let first = plan.stages.first().cloned().unwrap_or_default();
    let changes = first.into_iter().filter_map(|effect| match effect {
        Effect::AdjustTemplate(change) => {
            let set = bench.snapshot.replica_sets.iter().find(|set| set.name == change.name).unwrap();
            Some((set.revision.to_string(), *change))
        }
        _ => None,
    });
    changes.collect()
}

fn text(annotations: &Annotations, key: &str) -> Option<Value> {
    annotations.get(key)?.as_ref().map(|text| serde_json::from_str(text).unwrap())
}

#[test]
fn each_role_gets_its_own_and_the_note_says_what_pods_may_still_carry() {
    let mut bench = canary(&json!({
        "canaryMetadata": {"labels": {"role": "canary"}, "annotations": {"note": "new"}},
        "stableMetadata": {"labels": {"role": "stable"}},
    }));
    bench.snapshot.replica_sets[0].injected.marks = marks(&json!({"track": "main"}));
    let found = changes(&bench);
    let (stable, canary) = (&found["1"], &found["2"]);
    assert_eq!(json!(stable.labels), json!({"role": "stable", "track": null}));
    assert_eq!(text(&stable.noted, EPHEMERAL_METADATA), Some(json!({"labels": {"role": "stable"}})));
    assert_eq!(text(&stable.noted, EPHEMERAL_METADATA_PENDING), Some(json!({"labels": {"track": null}})));
    assert_eq!(
        (json!(canary.labels), json!(canary.annotations)),
        (json!({"role": "canary"}), json!({"note": "new"}))
    );
    assert_eq!(text(&canary.noted, EPHEMERAL_METADATA_PENDING), Some(json!({})));
}

#[test]
fn what_argo_rollouts_noted_is_right_as_it_is() {
    let mut bench = canary(&json!({
        "canaryMetadata": {"labels": {"role": "canary"}}, "stableMetadata": {"annotations": {"a": "b"}},
    }));
    let notes = [r#"{"annotations":{"a":"b"}}"#, r#"{"labels":{"role":"canary"}}"#];
    for (set, note) in bench.snapshot.replica_sets.iter_mut().zip(notes) {
        set.injected = Injected::read(&values(&json!({(EPHEMERAL_METADATA): note})), None);
    }
    assert_eq!(changes(&bench), BTreeMap::new());
    assert!(!are_needed(&bench.snapshot));
}

#[test]
fn a_value_of_the_template_comes_back_when_nothing_hides_it_any_more() {
    let mut bench = canary(&json!({"canaryMetadata": {"labels": {"role": "canary"}}}));
    let set = &mut bench.snapshot.replica_sets[1];
    set.injected.marks = marks(&json!({"role": "canary", "app-version": "x"}));
    set.injected.hidden = marks(&json!({"role": "none", "app-version": "y"}));
    let change = &changes(&bench)["2"];
    assert_eq!(json!(change.labels), json!({"role": "canary", "app-version": "y"}));
    assert_eq!(text(&change.noted, EPHEMERAL_METADATA_HIDDEN), Some(json!({"labels": {"role": "none"}})));
    assert_eq!(
        text(&change.noted, EPHEMERAL_METADATA_PENDING),
        Some(json!({"labels": {"app-version": "y"}}))
    );
}

#[test]
fn nothing_changes_while_the_spec_is_invalid() {
    let mut bench = canary(&json!({"canaryMetadata": {"labels": {"app": "x"}}}));
    bench.snapshot.replica_sets[0].injected.marks = marks(&json!({"track": "main"}));
    assert_eq!(changes(&bench), BTreeMap::new());
}

/// Pods of the wanted version in the middle of a change of their role, with these labels.
fn running(labels: &[Value]) -> Bench {
    let mut bench = canary(&json!({"canaryMetadata": {"labels": {"role": "canary"}}}));
    let set = &mut bench.snapshot.replica_sets[1];
    set.injected.marks = marks(&json!({"role": "canary"}));
    let pending = json!({"track": null, "tier": "web"});
    set.injected.pending =
        Some(Changes { labels: serde_json::from_value(pending).unwrap(), ..Changes::default() });
    let pods = labels.iter().enumerate().map(|(number, labels)| Pod {
        name: number.to_string(),
        uid: number.to_string(),
        replica_set: set.name.clone(),
        created_at: bench.snapshot.now,
        ready_since: None,
        is_active: true,
        labels: values(labels),
        annotations: BTreeMap::new(),
    });
    bench.snapshot.pods.listed = Some(pods.collect());
    bench
}

/// What a pass does to pods, and whether it takes the note away.
fn on_pods(bench: &Bench) -> (Vec<(String, Value)>, bool) {
    let plan = decide(&bench.snapshot);
    let mut marked = Vec::new();
    let mut is_settled = false;
    for effect in plan.stages.into_iter().flatten() {
        match effect {
            Effect::MarkPod { name, labels, .. } => marked.push((name, json!(labels))),
            Effect::UpdateReplicaSet { annotations, .. } => {
                is_settled |= annotations.get(EPHEMERAL_METADATA_PENDING) == Some(&None);
            }
            _ => {}
        }
    }
    (marked, is_settled)
}

#[test]
fn pods_get_what_they_lack_and_lose_what_is_not_theirs_any_more() {
    let bench = running(&[json!({"app": "api", "track": "main", "role": "canary", "tier": "x"})]);
    assert!(are_needed(&bench.snapshot));
    assert_eq!(on_pods(&bench), (vec![("0".to_owned(), json!({"track": null, "tier": "web"}))], false));
}

#[test]
fn the_note_goes_only_when_all_pods_were_seen_to_be_right() {
    let right = json!({"role": "canary", "tier": "web"});
    let mut bench = running(std::slice::from_ref(&right));
    assert_eq!(on_pods(&bench), (vec![], true));
    bench.snapshot.replica_sets[1].observed = false;
    assert_eq!(on_pods(&bench), (vec![], false), "pods may still be made from the old template");
    bench.snapshot.replica_sets[1].observed = true;
    bench.snapshot.pods.listed = Some(vec![]);
    assert_eq!(on_pods(&bench), (vec![], false), "the list is an old one");
    bench.snapshot.pods.listed = None;
    assert_eq!(on_pods(&bench), (vec![], false), "pods cannot be read");
}

fn anti_affinity(template_affinity: Option<&Value>, found: &[&str]) -> Option<Value> {
    let mut bench = canary(&json!({
        "antiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": {"weight": 7}},
    }));
    if let Some(affinity) = template_affinity {
        bench.snapshot.rollout.spec.template.as_mut().unwrap()["spec"]["affinity"] = affinity.clone();
        // The same version with another template: told by its hash alone.
        let wanted = super::super::revision::wanted_hash(&bench.snapshot);
        bench.status().current_pod_hash = Some(wanted.to_string());
        bench.snapshot.replica_sets[1].hash = wanted;
    }
    let apart = |from: &&str| Apart {
        from: crate::units::PodHash::new(*from).unwrap(),
        strength: Strength::Preferred(7),
    };
    bench.snapshot.replica_sets[1].injected.apart = found.iter().map(apart).collect();
    changes(&bench).remove("2").and_then(|change| change.affinity)
}

#[test]
fn anti_affinity_joins_what_the_template_says_itself() {
    let own = json!({"topologyKey": "zone"});
    let template = json!({
        "nodeAffinity": {},
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [own]},
    });
    let mut first = Bench::new(4, &steps());
    first.settle();
    let stable = first.status().stable_rs.clone().unwrap();
    let patch = anti_affinity(Some(&template), &["earlier"]).unwrap();
    let term = json!({
        "labelSelector": {"matchExpressions": [
            {"key": "rollouts-pod-template-hash", "operator": "In", "values": [stable]},
        ]},
        "topologyKey": "kubernetes.io/hostname", "namespaces": ["shop"],
    });
    let expected = json!({"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [own],
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 7, "podAffinityTerm": term}],
    }});
    assert_eq!(patch, expected);
    assert_eq!(anti_affinity(None, &[stable.as_str()]), None, "it is right already");
}

#[test]
fn what_is_stripped_is_what_was_put_there() {
    let own = json!({"topologyKey": "zone", "labelSelector": {"matchExpressions": [{"key": "app", "values": ["x"]}]}});
    let term = json!({"labelSelector": {"matchExpressions": [
        {"key": "rollouts-pod-template-hash", "operator": "In", "values": ["abc"]},
    ]}});
    let mut template = json!({"spec": {"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [term, own],
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}],
    }}}});
    apart::strip(&mut template);
    let left = json!({"requiredDuringSchedulingIgnoredDuringExecution": [own]});
    assert_eq!(template, json!({"spec": {"affinity": {"podAntiAffinity": left}}}));

    let injected = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
    let mut template = json!({"spec": {"affinity": {"podAntiAffinity": injected}, "containers": []}});
    apart::strip(&mut template);
    assert_eq!(template, json!({"spec": {"containers": []}}));

    let mut template = json!({"spec": {"affinity": {"podAntiAffinity": {}}}});
    apart::strip(&mut template);
    assert_eq!(template, json!({"spec": {"affinity": {"podAntiAffinity": {}}}}), "its author wrote that");
}
