//! Ambassador: a canary `Mapping` beside the stable one.

use kube::api::{DeleteParams, PropagationPolicy};
use serde_json::{Value, json};

use super::{Case, Kind, Routed, api, change, create, walk};
use crate::rollouts::{is_in, message_of, says};

const MAPPING: Kind = ("getambassador.io", "v3alpha1", "Mapping", "mappings");
const CANARY: &str = "shop-canary";

fn mapping() -> Value {
    json!({
        "metadata": {"name": "shop", "labels": {"host": "shop"}},
        "spec": {"hostname": "shop.example", "prefix": "/", "service": "stable:80", "timeout_ms": 3000},
    })
}

fn case() -> Case {
    Case {
        name: "ambassador",
        definitions: &["ambassador-mappings.yaml"],
        objects: vec![(MAPPING, mapping())],
        routing: json!({"ambassador": {"mappings": ["shop"]}}),
        weight: (MAPPING, CANARY, "/spec/weight"),
    }
}

/// A Mapping as it is.
async fn found(routed: &Routed, name: &str) -> Value {
    let mapping = api(&routed.subject.client, &routed.subject.namespace, MAPPING).get(name).await.unwrap();
    serde_json::to_value(mapping).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_mapping_follows_every_step_and_goes_back_from_each() {
    Box::pin(walk(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_mapping_follows_its_original_and_is_made_again() {
    let routed = Box::pin(Routed::deploy(case(), json!({}))).await;
    let subject = &routed.subject;
    subject.release("v2").await;
    routed.until_at_step(1).await;
    routed.until_weight(20).await;
    let before = found(&routed, "shop").await;
    assert_eq!(before["spec"], mapping()["spec"], "the original stays as it is");
    let canary = found(&routed, CANARY).await;
    let expected = json!({
        "hostname": "shop.example", "prefix": "/", "service": "canary:80", "timeout_ms": 3000, "weight": 20,
    });
    assert_eq!(canary["spec"], expected);
    assert_eq!(canary["metadata"]["labels"], mapping()["metadata"]["labels"]);
    assert_eq!(canary["metadata"]["ownerReferences"][0]["name"], subject.name);

    let prefix = json!({"spec": {"prefix": "/shop/"}});
    change(&subject.client, &subject.namespace, MAPPING, "shop", prefix).await;
    routed.until((MAPPING, CANARY, "/spec/prefix"), |prefix| prefix == "/shop/").await;
    routed.until_weight(20).await;
    api(&subject.client, &subject.namespace, MAPPING).delete(CANARY, &DeleteParams::default()).await.unwrap();
    subject.until_told("TrafficWeightReverted", "to 0, setting it back to 20").await;
    routed.until_weight(20).await;
    routed.resume().await;
    routed.until_at_step(3).await;
    routed.until_weight(50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_mapping_is_left_on_stable_where_it_is_not_taken_away() {
    let routed = Box::pin(Routed::deploy(case(), json!({}))).await;
    let subject = &routed.subject;
    subject.release("v2").await;
    routed.until_at_step(1).await;
    routed.until_weight(20).await;
    let orphan =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    subject.rollouts.delete(subject.name, &orphan).await.unwrap();
    routed.until_weight(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_that_is_missing_or_has_a_weight_is_named_and_the_rollout_heals() {
    let routed = Box::pin(Routed::create(Case { objects: vec![], ..case() }, json!({}))).await;
    let subject = &routed.subject;
    let message = message_of(&subject.until(is_in("Degraded")).await);
    assert!(
        message.contains("trafficRouting.ambassador.mappings[0]: Mapping \"shop\" not found"),
        "{message}"
    );
    let mut weighted = mapping();
    weighted["spec"]["weight"] = json!(50);
    create(&subject.client, &subject.namespace, MAPPING, weighted).await;
    subject.until(says("Ambassador mapping \"shop\" can not define weight")).await;
    let without = json!({"spec": {"weight": null}});
    change(&subject.client, &subject.namespace, MAPPING, "shop", without).await;
    subject.until_phase("Healthy").await;
}
