//! When a kind is watched, and who looks again when a workload changes.

use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::caches::{Caches, Watched};
use super::super::queue::Next;
use super::super::store::Key;
use super::{DeploymentObject, PodTemplateObject};
use crate::api::{Rollout, RolloutSpec};
use crate::controller::wire::RolloutObject;
use crate::rollout::workload::{Note, Referenced, WorkloadKind};
use crate::units::ReplicaCount;

fn object<T: DeserializeOwned>(name: &str, version: u32, rest: &Value) -> T {
    let mut object = json!({"metadata": {
        "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": version.to_string(),
        "generation": 1,
    }});
    let fields = object.as_object_mut().unwrap();
    fields.extend(rest.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

fn spec(kind: &str) -> Value {
    let version = if kind == "PodTemplate" { "v1" } else { "apps/v1" };
    json!({"spec": {"workloadRef": {"apiVersion": version, "kind": kind, "name": "d"}}})
}

fn rollout(name: &str, kind: &str) -> RolloutObject {
    object(name, 1, &spec(kind))
}

fn deployment(version: u32, replicas: u32, image: &str) -> DeploymentObject {
    object(
        "d",
        version,
        &json!({
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "d"}},
                "template": {"spec": {"containers": [{"name": "c", "image": image}]}},
            },
            "status": {"replicas": version},
        }),
    )
}

fn wanted(caches: &Caches) -> Vec<WorkloadKind> {
    caches.workloads.demand.wanted()
}

fn drain(caches: &Caches) -> Vec<String> {
    let mut names = Vec::new();
    while caches.rollout_queue.len() > 0 {
        let key = futures::FutureExt::now_or_never(caches.rollout_queue.next()).expect("a key is due");
        names.push(key.name.to_string());
        caches.rollout_queue.done(&key, Next::Forget);
    }
    names
}

fn referenced(caches: &Caches) -> Referenced {
    let rollout: Rollout = object("web", 1, &spec("Deployment"));
    caches.referenced(&rollout.spec, "shop")
}

/// Caches of one Rollout that refers to a Deployment.
fn caches() -> Caches {
    let caches = Caches::new([Watched::Rollouts]);
    caches.rollout_event(Event::Apply(rollout("web", "Deployment")));
    drain(&caches);
    caches
}

#[tokio::test]
async fn a_kind_is_wanted_only_while_some_rollout_refers_to_it() {
    let caches = Caches::new([Watched::Rollouts]);
    caches.rollout_event(Event::Apply(object("plain", 1, &json!({"spec": {}}))));
    assert!(wanted(&caches).is_empty());
    caches.rollout_event(Event::Apply(rollout("a", "Deployment")));
    caches.rollout_event(Event::Apply(rollout("b", "Deployment")));
    caches.rollout_event(Event::Apply(rollout("c", "PodTemplate")));
    assert_eq!(wanted(&caches), [WorkloadKind::Deployment, WorkloadKind::PodTemplate]);
    caches.rollout_event(Event::Delete(rollout("a", "Deployment")));
    assert_eq!(wanted(&caches).len(), 2);
    caches.rollout_event(Event::Delete(rollout("b", "Deployment")));
    assert_eq!(wanted(&caches), [WorkloadKind::PodTemplate]);
    caches.rollout_event(Event::Apply(object("c", 2, &json!({"spec": {}}))));
    assert!(wanted(&caches).is_empty());
    assert!(caches.missing().iter().all(|(kind, _)| *kind == Watched::Rollouts), "nobody waits for them");
}

#[tokio::test]
async fn a_workload_is_awaited_until_its_kind_was_listed_and_then_found_or_missing() {
    let caches = caches();
    assert_eq!(referenced(&caches), Referenced::Awaited);
    caches.set_problem(Watched::Workloads(WorkloadKind::Deployment), Some("forbidden"));
    assert_eq!(drain(&caches), ["web"], "it says so");
    assert_eq!(referenced(&caches), Referenced::Unreadable("forbidden".to_owned()));
    caches.deployment_event(Event::Init);
    caches.deployment_event(Event::InitDone);
    assert_eq!(drain(&caches), ["web"]);
    assert_eq!(referenced(&caches), Referenced::Missing);
    caches.deployment_event(Event::Apply(deployment(2, 3, "app:v1")));
    assert_eq!(drain(&caches), ["web"], "it appeared");
    let Referenced::Found(found) = referenced(&caches) else { panic!("it is there") };
    assert_eq!((found.size, found.note), (Some(ReplicaCount::new(3)), None));
    assert_eq!(found.template.pointer("/spec/containers/0/image"), Some(&json!("app:v1")));
}

#[tokio::test]
async fn a_rollout_is_due_when_its_workload_changes_in_what_is_taken_from_it() {
    let caches = caches();
    caches.deployment_event(Event::Apply(deployment(2, 3, "app:v1")));
    drain(&caches);
    caches.deployment_event(Event::Apply(deployment(3, 3, "app:v1")));
    assert!(drain(&caches).is_empty(), "only its status has changed");
    caches.deployment_event(Event::Apply(deployment(4, 3, "app:v2")));
    assert_eq!(drain(&caches), ["web"]);
    let other: PodTemplateObject = object("d", 5, &json!({"template": {}}));
    caches.pod_template_event(Event::Apply(other));
    assert!(drain(&caches).is_empty(), "another kind of the same name");
}

#[tokio::test]
async fn a_write_of_ours_is_known_at_once_with_its_note() {
    let caches = caches();
    caches.deployment_event(Event::Init);
    caches.deployment_event(Event::InitDone);
    let mut scaled: Value = json!({"spec": {"replicas": 1, "template": {}}});
    scaled["metadata"] = json!({
        "name": "d", "namespace": "shop", "uid": "uid-d", "resourceVersion": "9", "generation": 2,
        "annotations": {"rollout.argoproj.io/workload-scaled-down": "1"},
    });
    caches.wrote_deployment(serde_json::from_value(scaled).unwrap());
    let Referenced::Found(found) = referenced(&caches) else { panic!("it is there") };
    assert_eq!(found.note, Some(Note::To(ReplicaCount::new(1))));
}

#[tokio::test]
async fn what_nobody_refers_to_any_more_is_forgotten_and_found_again_later() {
    let caches = caches();
    let list = |caches: &Caches| {
        caches.deployment_event(Event::Init);
        caches.deployment_event(Event::InitApply(deployment(2, 3, "app:v1")));
        caches.deployment_event(Event::InitDone);
    };
    list(&caches);
    caches.workloads.forget(WorkloadKind::Deployment);
    assert!(caches.workloads.of(WorkloadKind::Deployment).get(&Key::new("shop", "d")).is_none());
    assert_eq!(referenced(&caches), Referenced::Awaited);
    list(&caches);
    assert!(referenced(&caches).found().is_some());
}

#[test]
fn a_reference_that_cannot_be_followed_is_no_link() {
    for reference in [
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "d"}),
        json!({"apiVersion": "v1", "kind": "Deployment", "name": "d"}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": ""}),
        json!({}),
    ] {
        let spec: RolloutSpec = serde_json::from_value(json!({"workloadRef": reference})).unwrap();
        assert_eq!(super::link(&spec, "shop"), None);
    }
}

#[tokio::test]
async fn a_rollout_of_argo_rollouts_is_taken_over_without_a_change_to_pods_or_workload() {
    use crate::controller::records::Readable;
    use crate::controller::snapshot::{self, Memory};
    use crate::controller::wire::ReplicaSetObject;
    use crate::rollout::snapshot::Settings;
    use crate::units::Timestamp;

    let documents: Vec<Value> =
        serde_saphyr::from_multiple(include_str!("../../../tests/cli/workload.yaml")).unwrap();
    let of =
        |kind: &str| documents.iter().filter(|object| object["kind"] == kind).cloned().collect::<Vec<_>>();
    let caches = Caches::new([Watched::Rollouts]);
    let rollout: RolloutObject = serde_json::from_value(of("Rollout").remove(0)).unwrap();
    caches.rollout_event(Event::Apply(rollout));
    for set in of("ReplicaSet") {
        let set: ReplicaSetObject = serde_json::from_value(set).unwrap();
        caches.replica_set_event(Event::Apply(set));
    }
    caches.deployment_event(Event::Init);
    caches.deployment_event(Event::InitApply(serde_json::from_value(of("Deployment").remove(0)).unwrap()));
    caches.deployment_event(Event::InitDone);
    let known = caches.rollouts.get(&Key::new("default", "r")).unwrap();
    let readable: &Readable = known.value.content.as_ref().unwrap();
    let now = Timestamp::parse("2026-11-21T08:21:00Z").unwrap();
    let memory = Memory::default();
    let snapshot =
        snapshot::rollout(&caches, &known.identity, readable, &memory, now, &Settings::default()).unwrap();
    assert_eq!(snapshot.replica_sets.len(), 2, "those of the Deployment are its own");
    let plan = crate::rollout::decide(&snapshot);
    assert!(plan.stages.is_empty(), "{:?}", plan.stages);
    let before = snapshot.rollout.status.unwrap();
    let after = plan.status.unwrap();
    assert_eq!((&after.phase, &after.current_pod_hash), (&before.phase, &before.current_pod_hash));
    assert_eq!((&after.duration, &after.stable_rs), (&before.duration, &before.stable_rs));
    assert_eq!(after.selector, before.selector);
}
