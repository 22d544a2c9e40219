//! Blue-green on the real control plane: the preview, the switch, the way back.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, analysis_template, is_in, is_restored, message_of, says};
use crate::shared::{client, kubeconfig, namespace, wait_for};
use crate::stub_prometheus::{Answer, StubPrometheus};

const HASH: &str = "rollouts-pod-template-hash";

/// A blue-green Rollout whose first version is active; `changes` are merged into its strategy.
async fn deployed(prefix: &str, changes: Value) -> (Subject, ControllerProcess) {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, prefix).await;
    for name in ["web-active", "web-preview"] {
        create_service(&client, &namespace, name).await;
    }
    let controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let mut strategy = json!({"activeService": "web-active", "previewService": "web-preview"});
    strategy.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let spec = json!({"strategy": {"blueGreen": strategy}});
    let subject = Subject::create(&client, &namespace, "v1", spec).await;
    subject.until_phase("Healthy").await;
    (subject, controller)
}

async fn create_service(client: &kube::Client, namespace: &str, name: &str) {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    services.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(service)).await.unwrap();
}

/// Waits until a Service selects the pods of the Rollout's current, or stable, version.
async fn until_selected(subject: &Subject, service: &str, hash: String) {
    let services: Api<Service> = Api::namespaced(subject.client.clone(), &subject.namespace);
    let selects = move |found: Option<&Service>| {
        let selector = found.and_then(|service| service.spec.as_ref()?.selector.as_ref());
        selector.and_then(|selector| selector.get(HASH)) == Some(&hash)
    };
    wait_for(&services, service, selects).await;
}

async fn hashes(subject: &Subject) -> (String, String) {
    let status = subject.rollouts.get(subject.name).await.unwrap().status.unwrap();
    (status.stable_rs.unwrap(), status.current_pod_hash.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_version_waits_in_preview_and_the_old_one_stays_for_its_delay_after_the_switch() {
    let changes =
        json!({"autoPromotionEnabled": false, "previewReplicaCount": 1, "scaleDownDelaySeconds": 2});
    let (subject, _controller) = deployed("blue", changes).await;
    subject.release("v2").await;
    subject.until_phase("Paused").await;
    assert_eq!(subject.sizes().await, [("1".to_owned(), 4), ("2".to_owned(), 1)]);
    let (stable, new) = hashes(&subject).await;
    until_selected(&subject, "web-preview", new.clone()).await;
    until_selected(&subject, "web-active", stable).await;

    subject.resume().await;
    let healthy = subject.until_phase("Healthy").await;
    until_selected(&subject, "web-active", new.clone()).await;
    let status = healthy.status.unwrap();
    assert!(
        status.selector.unwrap().ends_with(&format!("{HASH}={new}")),
        "an autoscaler sees active pods only"
    );
    assert_eq!((status.hpa_replicas, status.available_replicas), (Some(4), Some(4)));
    let alone = |rollout: Option<&serin::api::Rollout>| {
        let status = rollout.and_then(|rollout| rollout.status.as_ref());
        status.is_some_and(|status| status.replicas == Some(4))
    };
    subject.until(alone).await;
    assert_eq!(subject.sizes().await, [("2".to_owned(), 4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_after_the_switch_goes_back_even_when_the_new_pods_are_all_dead() {
    let prometheus = StubPrometheus::start(Answer::Value(1.0));
    let analysis = json!({"templates": [{"templateName": "success-rate"}]});
    let changes = json!({"postPromotionAnalysis": analysis, "abortScaleDownDelaySeconds": 1});
    let client = client();
    let (subject, _controller) = deployed("blue-dead", json!({})).await;
    let endless = json!({"count": 1000});
    analysis_template(&client, &subject.namespace, "success-rate", &prometheus.url(), endless).await;
    subject.change(json!({"strategy": {"blueGreen": changes}})).await;
    subject.until(is_in("Healthy")).await;
    subject.release("v2").await;
    subject.until(says("waiting for analysis to complete")).await;
    let (stable, new) = hashes(&subject).await;
    until_selected(&subject, "web-active", new.clone()).await;

    let pods: Api<Pod> = Api::namespaced(client.clone(), &subject.namespace);
    let dead = json!({"status": {"conditions": [
        {"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "False"},
    ]}});
    for pod in pods.list(&ListParams::default().labels(&format!("{HASH}={new}"))).await.unwrap() {
        pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Strategic(&dead)).await.unwrap();
    }
    let none = |rollout: Option<&serin::api::Rollout>| {
        rollout
            .and_then(|rollout| rollout.status.as_ref())
            .is_some_and(|status| status.available_replicas == Some(0))
    };
    subject.until(none).await;
    subject.change_status(json!({"abort": true})).await;
    until_selected(&subject, "web-active", stable).await;
    subject.until(is_restored(4)).await;
    assert_eq!(subject.sizes().await, [("1".to_owned(), 4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_its_analysis_before_the_switch_never_gets_users() {
    let prometheus = StubPrometheus::start(Answer::Value(0.5));
    let changes = json!({
        "prePromotionAnalysis": {"templates": [{"templateName": "success-rate"}]}, "abortScaleDownDelaySeconds": 1,
    });
    let client = client();
    let (subject, _controller) = deployed("blue-bad", json!({})).await;
    analysis_template(&client, &subject.namespace, "success-rate", &prometheus.url(), json!({})).await;
    subject.change(json!({"strategy": {"blueGreen": changes}})).await;
    subject.until(is_in("Healthy")).await;
    let (stable, _) = hashes(&subject).await;
    subject.release("v2").await;
    let aborted = subject.until(says("RolloutAborted")).await;
    assert!(message_of(&aborted).contains("pre-promotion analysis"), "{}", message_of(&aborted));
    until_selected(&subject, "web-active", stable).await;
    subject.until(is_restored(4)).await;
    let announced = subject.until_announced("AnalysisRunFailed").await;
    assert!(announced.starts_with("PrePromotion Analysis Run"), "{announced}");
    let seen: BTreeMap<_, _> = subject.sizes().await.into_iter().collect();
    assert_eq!(seen.get("1"), Some(&4));
}
