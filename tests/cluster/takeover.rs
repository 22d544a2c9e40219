//! Rollouts that Argo Rollouts left behind, on the real control plane: taken over without a pod created or deleted.

use std::collections::BTreeSet;
use std::path::Path;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use serin::api::Rollout;

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::Subject;
use crate::shared::{client, kubeconfig, namespace, wait_for};

/// The captured objects of a situation.
fn captured(situation: &str) -> Vec<Value> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/takeover").join(situation).with_extension("yaml");
    serde_saphyr::from_multiple(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Makes the objects as they were captured, without a controller of Rollouts, and waits until their pods are available.
async fn restored(client: &Client, namespace: &str, objects: &[Value]) -> Subject {
    let rollouts: Api<Rollout> = Api::namespaced(client.clone(), namespace);
    let mut rollout = objects.iter().find(|object| object["kind"] == "Rollout").unwrap().clone();
    let mut status = rollout["status"].take();
    clean(&mut rollout, namespace);
    let created: Rollout = serde_json::from_value(rollout).unwrap();
    let created = rollouts.create(&PostParams::default(), &created).await.unwrap();
    for object in objects {
        match object["kind"].as_str().unwrap() {
            "ReplicaSet" => restore_replica_set(client, namespace, object, &created).await,
            "Service" => restore_service(client, namespace, object).await,
            _ => {}
        }
    }
    status["observedGeneration"] = json!(created.metadata.generation.unwrap().to_string());
    let patch = Patch::Merge(json!({ "status": status }));
    rollouts.patch_status("r", &PatchParams::default(), &patch).await.unwrap();
    Subject { client: client.clone(), namespace: namespace.to_owned(), rollouts, name: "r" }
}

fn clean(object: &mut Value, namespace: &str) {
    object["metadata"]["namespace"] = json!(namespace);
    for field in ["uid", "resourceVersion", "creationTimestamp", "generation"] {
        object["metadata"].as_object_mut().unwrap().remove(field);
    }
    object.as_object_mut().unwrap().remove("status");
}

async fn restore_replica_set(client: &Client, namespace: &str, object: &Value, owner: &Rollout) {
    let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
    let mut set = object.clone();
    clean(&mut set, namespace);
    set["metadata"]["ownerReferences"][0]["uid"] = json!(owner.uid().unwrap());
    let set: ReplicaSet = serde_json::from_value(set).unwrap();
    let (name, size) = (set.name_any(), set.spec.as_ref().unwrap().replicas.unwrap());
    sets.create(&PostParams::default(), &set).await.unwrap();
    let is_available = move |set: Option<&ReplicaSet>| {
        let status = set.and_then(|set| set.status.as_ref());
        status.is_some_and(|status| {
            status.available_replicas.unwrap_or_default() == size && status.observed_generation.is_some()
        })
    };
    wait_for(&sets, &name, is_available).await;
}

async fn restore_service(client: &Client, namespace: &str, object: &Value) {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let mut service = object.clone();
    clean(&mut service, namespace);
    for field in ["clusterIP", "clusterIPs"] {
        service["spec"].as_object_mut().unwrap().remove(field);
    }
    services.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();
}

async fn pods(subject: &Subject) -> BTreeSet<String> {
    let pods: Api<Pod> = Api::namespaced(subject.client.clone(), &subject.namespace);
    pods.list(&ListParams::default()).await.unwrap().into_iter().map(|pod| pod.uid().unwrap()).collect()
}

/// Holds once this controller has written the status: only it writes the generic conditions.
fn is_taken(rollout: Option<&Rollout>) -> bool {
    let status = rollout.and_then(|rollout| rollout.status.as_ref());
    status.is_some_and(|status| status.conditions.iter().flatten().any(|found| found.r#type == "Ready"))
}

/// Takes a situation over; nothing moves, and the phase is still `phase`.
async fn taken_over(situation: &'static str, phase: &str) -> (Subject, ControllerProcess) {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, &format!("takeover-{situation}")).await;
    let subject = Box::pin(restored(&client, &namespace, &captured(situation))).await;
    let before = pods(&subject).await;
    let sizes = subject.sizes().await;
    let controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let taken = subject.until(is_taken).await;
    assert_eq!(taken.status.unwrap().phase.as_deref(), Some(phase));
    // What the controller wanted to move it would have moved by its next decision, which this change asks for.
    subject.change(json!({"revisionHistoryLimit": 9})).await;
    subject.until(crate::rollouts::is_observed_now()).await;
    assert_eq!((pods(&subject).await, subject.sizes().await), (before, sizes), "something moved");
    (subject, controller)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_rollout_is_taken_over_at_rest() {
    let (subject, _controller) = Box::pin(taken_over("healthy", "Healthy")).await;
    assert_eq!(subject.sizes().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_canary_is_taken_over_and_promoted_to_its_end() {
    let (subject, _controller) = Box::pin(taken_over("paused-basic", "Paused")).await;
    subject.resume().await;
    subject.until_phase("Healthy").await;
    let sizes = subject.sizes().await;
    assert_eq!((sizes.len(), sizes[0].0.as_str()), (1, "2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_canary_is_taken_over_and_retried() {
    let (subject, _controller) = Box::pin(taken_over("aborted-basic", "Degraded")).await;
    subject.change_status(json!({"abort": null})).await;
    subject.until_phase("Paused").await;
    assert_eq!(subject.sizes().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_taken_over_and_switched_to() {
    let (subject, _controller) = Box::pin(taken_over("bluegreen-before-switch", "Paused")).await;
    subject.resume().await;
    let healthy = subject.until_phase("Healthy").await;
    let status = healthy.status.unwrap();
    assert_eq!(status.blue_green.unwrap().active_selector, status.current_pod_hash);
}
