//! What is taken from a workload.

use serde_json::{Value, json};

use super::super::{decide, revision, valid};
use super::{Referenced, Workload};
use crate::api::Rollout;
use crate::rollout::snapshot::{Settings, Snapshot};
use crate::units::{ReplicaCount, Timestamp};

/// A Rollout whose spec refers to a workload, with `changes` merged over its spec.
fn snapshot(workload: Referenced, changes: &Value) -> Snapshot {
    let mut spec = json!({
        "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
        "strategy": {"canary": {}},
    });
    let fields = spec.as_object_mut().unwrap();
    fields.extend(changes.as_object().unwrap().clone());
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "r", "generation": 1},
        "spec": spec,
    });
    Snapshot {
        leaves_route: false,
        now: Timestamp::from_millis(1_000_000),
        rollout: serde_json::from_value::<Rollout>(rollout).unwrap(),
        workload,
        replica_sets: vec![],
        analysis_runs: vec![],
        experiments: vec![],
        stable_template: None,
        templates: [].into(),
        services: [].into(),
        traffic: None,
        route_problems: Vec::new(),
        told: None,
        refusal: None,
        taken_names: [].into(),
        route_refusal: None,
        pods: crate::rollout::pods::Pods::default(),
        endpoints: crate::rollout::endpoints::Endpoints::default(),
        counts_pending_since: None,
        settings: Settings::default(),
    }
}

fn workload(labels: &Value, selector: Option<&Value>) -> Referenced {
    Referenced::Found(Box::new(Workload {
        template: json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "app:v1"}]}}),
        selector: selector.map(|labels| serde_json::from_value(json!({"matchLabels": labels})).unwrap()),
        generation: 1,
        size: Some(ReplicaCount::new(2)),
        note: None,
    }))
}

fn plain() -> Referenced {
    workload(&json!({"app": "r"}), Some(&json!({"app": "r"})))
}

fn problems(workload: Referenced, changes: &Value) -> Vec<String> {
    let parsed = valid::parse(&snapshot(workload, changes));
    parsed.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn template_and_selector_are_those_of_the_workload() {
    let snapshot = snapshot(plain(), &json!({}));
    let parsed = valid::parse(&snapshot);
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    assert_eq!(parsed.spec.template.pointer("/spec/containers/0/image"), Some(&json!("app:v1")));
    assert_eq!(parsed.spec.selector.match_labels.unwrap()["app"], "r");
}

#[test]
fn a_selector_of_its_own_goes_before_that_of_the_workload() {
    let own = json!({"selector": {"matchLabels": {"tier": "web"}}});
    let labels = json!({"app": "r", "tier": "web"});
    let found = snapshot(workload(&labels, Some(&json!({"app": "r"}))), &own);
    assert!(valid::parse(&found).problems.is_empty());
    assert_eq!(found.selector().unwrap().match_labels.unwrap().into_keys().collect::<Vec<_>>(), ["tier"]);
}

#[test]
fn the_hash_of_a_deployment_is_part_of_the_identity_and_not_of_the_pods() {
    let labels = json!({"app": "r", "pod-template-hash": "5b8c897659"});
    let found = snapshot(workload(&labels, Some(&labels)), &json!({}));
    let parsed = valid::parse(&found);
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    assert_eq!(parsed.spec.template.pointer("/metadata/labels"), Some(&json!({"app": "r"})));
    assert_eq!(parsed.spec.selector.match_labels.unwrap().len(), 1);
    assert_ne!(revision::wanted_hash(&found), revision::wanted_hash(&snapshot(plain(), &json!({}))));
    let wanted = json!({"selector": {"matchLabels": labels.clone()}});
    let kept = valid::parse(&snapshot(workload(&labels, None), &wanted));
    assert!(kept.problems.is_empty(), "a selector that asks for it gets it: {:?}", kept.problems);
}

#[test]
fn a_captured_deployment_has_the_identity_that_its_replica_sets_carry() {
    let takeover: Value =
        serde_json::from_str(include_str!("../../../tests/pod_hash/takeover.json")).unwrap();
    let rows = takeover["templates"].as_array().unwrap().iter();
    let rows: Vec<_> =
        rows.filter(|row| row["situation"].as_str().unwrap().starts_with("workload-ref")).collect();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let Referenced::Found(mut found) = plain() else { unreachable!() };
        found.template = row["template"].clone();
        let found = snapshot(Referenced::Found(found), &json!({}));
        assert_eq!(revision::wanted_hash(&found).as_str(), row["hash"].as_str().unwrap());
    }
}

#[test]
fn a_missing_workload_is_the_only_thing_that_is_missed() {
    let missing =
        "spec.workloadRef.name: Deployment \"d\" not found: create it in this namespace, or correct the name";
    assert_eq!(problems(Referenced::Missing, &json!({})), [missing]);
    let why = "deployments.apps is forbidden".to_owned();
    let unreadable = problems(Referenced::Unreadable(why), &json!({}));
    assert_eq!(
        unreadable,
        ["spec.workloadRef.name: Deployment \"d\" cannot be read: deployments.apps is forbidden"]
    );
}

#[test]
fn nothing_is_decided_before_the_kind_was_listed() {
    let plan = decide(&snapshot(Referenced::Awaited, &json!({})));
    assert!(plan.is_idle() && plan.wake.is_none());
}

#[test]
fn a_template_beside_a_workload_is_refused_unless_it_says_nothing() {
    let with = |template: Value| problems(plain(), &json!({"template": template}));
    assert!(with(json!({"metadata": {"creationTimestamp": null}, "spec": {"containers": []}})).is_empty());
    for template in [
        json!({"metadata": {"labels": {"app": "r"}}}),
        json!({"metadata": {"annotations": {"a": "b"}}}),
        json!({"spec": {"containers": [{"name": "c", "image": "i"}]}}),
    ] {
        let problems = with(template);
        assert!(
            problems[0].starts_with("spec.template: template must be empty for workload reference rollout")
        );
    }
}

#[test]
fn every_problem_of_a_reference_names_its_field_and_the_mend() {
    let with = |reference: Value| problems(Referenced::Nothing, &json!({"workloadRef": reference}));
    let set = with(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "d"}));
    assert!(
        set[0]
            .starts_with("spec.workloadRef.kind: workload of type apps/v1/StatefulSet is not supported: use")
    );
    let unnamed = with(json!({"apiVersion": "apps/v1", "kind": "Deployment"}));
    assert_eq!(
        unnamed,
        ["spec.workloadRef.name: is missing: name the Deployment to take the pod template from"]
    );
    let scaling = |kind: &str, version: &str, scale: &str| {
        let reference = json!({"apiVersion": version, "kind": kind, "name": "d", "scaleDown": scale});
        problems(plain(), &json!({"workloadRef": reference}))
    };
    assert_eq!(
        scaling("Deployment", "apps/v1", "sometimes"),
        ["spec.workloadRef.scaleDown: must be never, onsuccess or progressively, not \"sometimes\""]
    );
    assert_eq!(
        scaling("ReplicaSet", "apps/v1", "onsuccess"),
        [
            "spec.workloadRef.scaleDown: only a Deployment can be scaled down, not a ReplicaSet: remove it, or set it to never"
        ]
    );
    assert!(scaling("ReplicaSet", "apps/v1", "never").is_empty());
    assert!(scaling("Deployment", "apps/v1", "progressively").is_empty());
}

#[test]
fn a_pod_template_has_no_selector_to_take() {
    let reference = json!({"apiVersion": "v1", "kind": "PodTemplate", "name": "t"});
    let without = workload(&json!({"app": "r"}), None);
    let problems = problems(without.clone(), &json!({"workloadRef": reference}));
    assert_eq!(problems, ["spec.selector: Rollout has missing field '.spec.selector'"]);
    let own = json!({"workloadRef": reference, "selector": {"matchLabels": {"app": "r"}}});
    assert!(valid::parse(&snapshot(without, &own)).problems.is_empty());
}
