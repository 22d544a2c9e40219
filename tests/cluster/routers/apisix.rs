//! APISIX: weights in the rules of an `ApisixRoute` that users have, and routes by header beside it.

use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject};
use serde_json::{Value, json};

use super::{Case, Kind, Routed, api, create, leave_in_order, survive_a_second_writer, walk};
use crate::rollouts::{is_in, message_of};
use crate::shared::wait_for;

const ROUTE: Kind = ("apisix.apache.org", "v2", "ApisixRoute", "apisixroutes");

fn backend(service: &str, weight: u32) -> Value {
    json!({"serviceName": service, "servicePort": 80, "weight": weight})
}

fn route(backends: &Value) -> Value {
    json!({
        "metadata": {"name": "shop"},
        "spec": {"http": [
            {"name": "docs", "match": {"paths": ["/docs/*"]}, "backends": [backend("docs", 1)]},
            {"name": "shop", "match": {"paths": ["/*"]}, "backends": backends},
        ]},
    })
}

/// As Git has it: all on stable.
fn settled() -> Value {
    route(&json!([backend("stable", 100), backend("canary", 0)]))
}

fn case() -> Case {
    let unweighted = ["stable", "canary"].map(|name| json!({"serviceName": name, "servicePort": 80}));
    Case {
        name: "apisix",
        definitions: &["apisix-routes.yaml"],
        objects: vec![(ROUTE, route(&json!(unweighted)))],
        routing: json!({"apisix": {"route": {"name": "shop", "rules": ["shop"]}}}),
        weight: (ROUTE, "shop", "/spec/http/1/backends/1/weight"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_follows_every_step_and_goes_back_from_each() {
    Box::pin(walk(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_left_on_stable() {
    Box::pin(leave_in_order(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_ends_while_somebody_else_applies_the_route() {
    Box::pin(survive_a_second_writer(Case { objects: vec![(ROUTE, settled())], ..case() })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_by_header_comes_first_is_made_again_and_goes_with_the_update() {
    let header = json!({"headerName": "X-Tester", "headerValue": {"exact": "yes"}});
    let steps = json!([
        {"setWeight": 20}, {"setHeaderRoute": {"name": "testers", "match": [header]}}, {"pause": {}},
    ]);
    let routing = json!({"managedRoutes": [{"name": "testers"}]});
    let routed =
        Routed::deploy(case(), json!({"strategy": {"canary": {"steps": steps, "trafficRouting": routing}}}));
    let routed = Box::pin(routed).await;
    let subject = &routed.subject;
    let objects = api(&subject.client, &subject.namespace, ROUTE);
    subject.release("v2").await;
    routed.until_at_step(2).await;
    let made = objects.get("testers").await.unwrap();
    let expr = json!({"subject": {"scope": "Header", "name": "X-Tester"}, "op": "Equal", "value": "yes"});
    let expected = json!([{
        "name": "shop", "match": {"paths": ["/*"], "exprs": [expr]}, "priority": 1,
        "backends": [{"serviceName": "canary", "servicePort": 80}],
    }]);
    assert_eq!(made.data["spec"]["http"], expected);
    assert_eq!(made.owner_references()[0].name, subject.name);

    objects.delete("testers", &DeleteParams::default()).await.unwrap();
    let is_another =
        move |found: Option<&DynamicObject>| found.is_some_and(|found| found.uid() != made.uid());
    Box::pin(wait_for(&objects, "testers", is_another)).await;
    routed.resume().await;
    subject.until_phase("Healthy").await;
    Box::pin(wait_for(&objects, "testers", |found: Option<&DynamicObject>| found.is_none())).await;
    routed.until_weight(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_is_missing_is_named_and_the_rollout_heals_once_it_is_there() {
    let routed = Box::pin(Routed::create(Case { objects: vec![], ..case() }, json!({}))).await;
    let subject = &routed.subject;
    let message = message_of(&subject.until(is_in("Degraded")).await);
    assert!(
        message.contains("trafficRouting.apisix.route.name: ApisixRoute \"shop\" not found"),
        "{message}"
    );
    create(&subject.client, &subject.namespace, ROUTE, settled()).await;
    subject.until_phase("Healthy").await;
}
