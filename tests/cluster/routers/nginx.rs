//! NGINX: a canary Ingress beside the stable one.

use serde_json::{Value, json};

use super::{Case, Kind, Routed, change, create, walk};
use crate::rollouts::{is_in, message_of};

const INGRESS: Kind = ("networking.k8s.io", "v1", "Ingress", "ingresses");
const CANARY: &str = "web-shop-canary";
const WEIGHT: &str = "/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight";

fn path(path: &str, service: &str) -> Value {
    let backend = json!({"service": {"name": service, "port": {"number": 80}}});
    json!({"path": path, "pathType": "Prefix", "backend": backend})
}

fn ingress() -> Value {
    let paths = [path("/", "stable"), path("/docs", "docs")];
    json!({
        "metadata": {"name": "shop"},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": "shop.example", "http": {"paths": paths}}]},
    })
}

fn case() -> Case {
    Case {
        name: "nginx",
        definitions: &[],
        objects: vec![(INGRESS, ingress())],
        routing: json!({"nginx": {"stableIngress": "shop"}}),
        weight: (INGRESS, CANARY, WEIGHT),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_follows_every_step_and_goes_back_from_each() {
    Box::pin(walk(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_that_is_missing_is_named_and_the_rollout_heals_once_it_is_there() {
    let without = Case { objects: vec![], ..case() };
    let routed = Box::pin(Routed::create(without, json!({}))).await;
    let subject = &routed.subject;
    let refused = subject.until(is_in("Degraded")).await;
    let message = message_of(&refused);
    assert!(message.contains("trafficRouting.nginx.stableIngress: Ingress \"shop\" not found"), "{message}");
    create(&subject.client, &subject.namespace, INGRESS, ingress()).await;
    subject.until_phase("Healthy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_takes_the_weight_back_is_corrected_at_once_and_then_ever_later() {
    let routed = Box::pin(Routed::deploy(case(), json!({}))).await;
    let subject = &routed.subject;
    subject.release("v2").await;
    routed.until_at_step(1).await;
    let take_back = async || {
        let patch = json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/canary-weight": "0"}}});
        change(&subject.client, &subject.namespace, INGRESS, CANARY, patch).await;
        subject.until_told("TrafficWeightReverted", "to 0, setting it back to 20").await;
        routed.until_weight(20).await;
    };
    take_back().await;
    // The second time it waits, and still comes back.
    take_back().await;
    routed.resume().await;
    routed.until_at_step(3).await;
    routed.until_weight(50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_does_not_accept_is_told_on_the_rollout_and_heals() {
    let routing = |value: Value| json!({"nginx": {"stableIngress": "shop", "canaryIngressAnnotations": {"no annotation!": value}}});
    let case = Case { name: "nginx-refused", routing: routing(json!("x")), ..case() };
    let routed = Box::pin(Routed::deploy(case, json!({}))).await;
    let subject = &routed.subject;
    subject.release("v2").await;
    let tells = |rollout: Option<&serin::api::Rollout>| {
        rollout.is_some_and(|rollout| {
            let message = message_of(rollout);
            message.contains("the router cannot be told: cannot create Ingress")
                && message.contains("no annotation!")
        })
    };
    subject.until(tells).await;
    subject.change(json!({"strategy": {"canary": {"trafficRouting": routing(Value::Null)}}})).await;
    routed.until_at_step(1).await;
    routed.until_weight(20).await;
    subject.change_status(json!({"abort": true})).await;
    routed.until_weight(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_that_the_spec_names_no_longer_is_left_without_a_share() {
    let mut other = ingress();
    other["metadata"]["name"] = json!("other");
    other["spec"]["rules"][0]["host"] = json!("other.example");
    let objects = vec![(INGRESS, ingress()), (INGRESS, other)];
    let routed = Box::pin(Routed::deploy(Case { name: "nginx-left", objects, ..case() }, json!({}))).await;
    let subject = &routed.subject;
    subject.release("v2").await;
    routed.until_at_step(1).await;
    routed.until_weight(20).await;
    let routing = json!({"nginx": {"stableIngress": "other"}});
    subject.change(json!({"strategy": {"canary": {"trafficRouting": routing}}})).await;
    routed.until((INGRESS, "web-other-canary", WEIGHT), |weight| weight == "20").await;
    let left = super::api(&subject.client, &subject.namespace, INGRESS).get(CANARY).await.unwrap();
    let left = serde_json::to_value(left).unwrap();
    assert_eq!(left.pointer(WEIGHT), Some(&json!("0")), "the one before had to be let go first");
    routed.until_at_step(1).await;
}
