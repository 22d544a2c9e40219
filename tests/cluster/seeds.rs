//! The manifests that the product is for, on the real control plane: verbatim, with their durations shortened.

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use serin::api::{AnalysisTemplate, Rollout};

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, is_in, is_restored, says};
use crate::shared::{client, kubeconfig, namespace};
use crate::stub_prometheus::{Answer, StubPrometheus};

const PAYMENT_SERVICE: &str = include_str!("../seeds/payment-service.yaml");
const SUCCESS_RATE: &str = include_str!("../seeds/success-rate.yaml");

/// The manifest as JSON.
fn manifest(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap()
}

/// Every duration in a manifest, cut to one second.
fn shortened(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "duration" | "interval" => *value = json!("1s"),
                    _ => shortened(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shortened),
        _ => {}
    }
}

fn template(tag: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "payment-service"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": format!("app:{tag}")}]},
    })
}

/// The seeds of the payment service, applied, with a controller that finds Prometheus under its name in the cluster.
async fn payment_service(prometheus: &StubPrometheus) -> (Subject, ControllerProcess) {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "seeds").await;
    let host = format!("prometheus.monitoring.svc.cluster.local:9090:{}", prometheus.address());
    let controller = ControllerProcess::start(&kubeconfig(), &namespace, &["--resolve", &host]);
    let apply = PatchParams::apply("test").force();

    let mut success_rate = manifest(SUCCESS_RATE);
    shortened(&mut success_rate);
    let templates: Api<AnalysisTemplate> = Api::namespaced(client.clone(), &namespace);
    templates.patch("success-rate", &apply, &Patch::Apply(success_rate)).await.unwrap();

    let mut rollout = manifest(PAYMENT_SERVICE);
    shortened(&mut rollout);
    rollout["spec"]["selector"] = json!({"matchLabels": {"app": "payment-service"}});
    rollout["spec"]["template"] = template("v1");
    let rollouts: Api<Rollout> = Api::namespaced(client.clone(), &namespace);
    rollouts.patch("payment-service", &apply, &Patch::Apply(rollout)).await.unwrap();
    let subject = Subject { client, namespace, rollouts, name: "payment-service" };
    subject.until_phase("Healthy").await;
    (subject, controller)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_payment_service_goes_through_its_steps_beside_its_analysis() {
    let prometheus = StubPrometheus::start(Answer::Value(0.99));
    let (subject, _controller) = payment_service(&prometheus).await;
    subject.change(json!({"template": template("v2")})).await;
    subject.until(is_in("Healthy")).await;
    subject.until_sizes(&[("2", 1)]).await;
    let advice = subject.until_announced("AnalysisArgUnknown").await;
    assert!(advice.contains("service-name"), "{advice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_payment_service_is_taken_back_with_nobody_touching_it() {
    let prometheus = StubPrometheus::start(Answer::Value(0.5));
    let (subject, _controller) = payment_service(&prometheus).await;
    // Long enough for the four measurements that the seed's failureLimit of 3 takes.
    let steps = json!([{"setWeight": 10}, {"pause": {"duration": "5m"}}]);
    subject.change(json!({"template": template("v2"), "strategy": {"canary": {"steps": steps}}})).await;
    subject.until(says("RolloutAborted")).await;
    subject.until(is_restored(1)).await;
    subject.until_sizes(&[("1", 1)]).await;
    assert!(subject.until_announced("RolloutAborted").await.contains("failed (4) > failureLimit (3)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn announcements_of_an_update_come_in_their_order() {
    let prometheus = StubPrometheus::start(Answer::Value(0.99));
    let (subject, _controller) = payment_service(&prometheus).await;
    subject.until_announced("RolloutCompleted").await;
    let events: Api<Event> = Api::namespaced(subject.client.clone(), &subject.namespace);
    let mut listed = events.list(&ListParams::default()).await.unwrap().items;
    listed.retain(|event| event.involved_object.kind.as_deref() == Some("Rollout"));
    listed.sort_by_key(|event| event.metadata.resource_version.clone().unwrap().parse::<u64>().unwrap());
    let reasons: Vec<_> = listed.iter().filter_map(|event| event.reason.as_deref()).collect();
    assert_eq!(
        reasons,
        [
            "RolloutAddedToInformer",
            "RolloutUpdated",
            "NewReplicaSetCreated",
            "RolloutNotCompleted",
            "ScalingReplicaSet",
            "RolloutCompleted"
        ]
    );
}
