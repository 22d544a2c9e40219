//! Skipper: weights in `RouteGroup` objects that users have.

use serde_json::{Value, json};

use super::{Case, Kind, Routed, create, leave_in_order, survive_a_second_writer, walk};
use crate::rollouts::{is_in, message_of};

const GROUP: Kind = ("zalando.org", "v1", "RouteGroup", "routegroups");

fn group() -> Value {
    let backend =
        |name: &str| json!({"name": name, "type": "service", "serviceName": name, "servicePort": 80});
    json!({
        "metadata": {"name": "shop"},
        "spec": {
            "hosts": ["shop.example"],
            "backends": [backend("stable"), backend("canary"), {"name": "docs", "type": "shunt"}],
            "defaultBackends": [{"backendName": "stable", "weight": 100}, {"backendName": "canary", "weight": 0}],
            "routes": [{"pathSubtree": "/"}, {"pathSubtree": "/docs", "backends": [{"backendName": "docs"}]}],
        },
    })
}

fn case() -> Case {
    Case {
        name: "skipper",
        definitions: &["skipper-routegroups.yaml"],
        objects: vec![(GROUP, group())],
        routing: json!({"plugins": {"zalando/skipper": {"routeGroups": ["shop"]}}}),
        weight: (GROUP, "shop", "/spec/defaultBackends/1/weight"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_group_follows_every_step_and_goes_back_from_each() {
    Box::pin(walk(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_group_survives_a_second_writer() {
    Box::pin(survive_a_second_writer(Case { name: "skipper-sync", ..case() })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_group_is_left_in_order() {
    Box::pin(leave_in_order(Case { name: "skipper-left", ..case() })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_group_that_is_missing_is_named_and_the_rollout_heals_once_it_is_there() {
    let without = Case { name: "skipper-missing", objects: vec![], ..case() };
    let routed = Box::pin(Routed::create(without, json!({}))).await;
    let subject = &routed.subject;
    let refused = subject.until(is_in("Degraded")).await;
    let message = message_of(&refused);
    let expected = "plugins.zalando/skipper.routeGroups[0]: RouteGroup \"shop\" not found";
    assert!(message.contains(expected), "{message}");
    create(&subject.client, &subject.namespace, GROUP, group()).await;
    subject.until_phase("Healthy").await;
}
