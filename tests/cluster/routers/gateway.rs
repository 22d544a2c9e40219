//! Gateway API: weights in routes that users have, by name and by label.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{Case, Kind, Routed, api, create, leave_in_order, survive_a_second_writer, walk};
use crate::rollouts::{is_in, merge, message_of};
use crate::shared::wait_for;

const HTTP: Kind = ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes");
const GRPC: Kind = ("gateway.networking.k8s.io", "v1", "GRPCRoute", "grpcroutes");
const TCP: Kind = ("gateway.networking.k8s.io", "v1", "TCPRoute", "tcproutes");
const TLS: Kind = ("gateway.networking.k8s.io", "v1", "TLSRoute", "tlsroutes");
const WEIGHT: &str = "/spec/rules/0/backendRefs/1/weight";
const LABEL: &str = "/metadata/labels/rollouts.argoproj.io~1gatewayapi-canary";

fn route() -> Value {
    json!({
        "metadata": {"name": "shop", "labels": {"app": "shop"}},
        "spec": {"parentRefs": [{"name": "edge"}], "rules": [
            {"backendRefs": [
                {"name": "stable", "port": 80, "weight": 100}, {"name": "canary", "port": 80, "weight": 0},
            ]},
            {"backendRefs": [{"name": "docs", "port": 80}]},
        ]},
    })
}

/// A route of connections: these have a single rule.
fn route_of_connections(more: Value) -> Value {
    let mut route = route();
    route["spec"]["rules"].as_array_mut().unwrap().truncate(1);
    merge(&mut route, json!({"spec": more}));
    route
}

fn tcp() -> Case {
    Case {
        name: "tcp",
        definitions: &["gateway-api/tcproutes.yaml"],
        objects: vec![(TCP, route_of_connections(json!({})))],
        routing: routing(json!({"tcpRoute": "shop"})),
        weight: (TCP, "shop", WEIGHT),
    }
}

fn tls() -> Case {
    Case {
        name: "tls",
        definitions: &["gateway-api/tlsroutes.yaml"],
        objects: vec![(TLS, route_of_connections(json!({"hostnames": ["shop.example"]})))],
        routing: routing(json!({"tlsRoutes": [{"name": "shop"}]})),
        weight: (TLS, "shop", WEIGHT),
    }
}

fn routing(config: Value) -> Value {
    json!({"plugins": {"argoproj-labs/gatewayAPI": config}})
}

fn case() -> Case {
    Case {
        name: "gateway",
        definitions: &["gateway-api/httproutes.yaml"],
        objects: vec![(HTTP, route())],
        routing: routing(json!({"httpRoute": "shop"})),
        weight: (HTTP, "shop", WEIGHT),
    }
}

/// The route as a gateway's controller leaves it that has seen the generation `observed`, and found its backends or not.
async fn report(routed: &Routed, observed: i64, resolved: &str) {
    let condition = |name: &str, status: &str| {
        json!({
            "type": name, "status": status, "reason": name, "message": "as it is", "observedGeneration": observed,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let parent = json!({
        "parentRef": {"group": HTTP.0, "kind": "Gateway", "name": "edge"},
        "controllerName": "example.com/gateway",
        "conditions": [condition("Accepted", "True"), condition("ResolvedRefs", resolved)],
    });
    let patch = Patch::Merge(json!({"status": {"parents": [parent]}}));
    let objects = api(&routed.subject.client, &routed.subject.namespace, HTTP);
    objects.patch_status("shop", &PatchParams::default(), &patch).await.unwrap();
}

async fn generation(routed: &Routed) -> i64 {
    let objects = api(&routed.subject.client, &routed.subject.namespace, HTTP);
    objects.get("shop").await.unwrap().metadata.generation.unwrap()
}

/// Waits until the route carries the label of an update, or does not.
async fn until_labelled(routed: &Routed, expected: Option<&'static str>) {
    let objects = api(&routed.subject.client, &routed.subject.namespace, HTTP);
    let is_labelled = move |object: Option<&kube::api::DynamicObject>| {
        let object = serde_json::to_value(object).unwrap();
        object.pointer(LABEL).and_then(Value::as_str) == expected
    };
    Box::pin(wait_for(&objects, "shop", is_labelled)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_route_follows_every_step_and_goes_back_from_each() {
    Box::pin(walk(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_route_that_is_found_by_its_labels_follows_every_step() {
    let selector = json!({"httpRouteSelector": {"matchLabels": {"app": "shop"}}});
    Box::pin(walk(Case { name: "selected", routing: routing(selector), ..case() })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_route_follows_every_step_and_goes_back_from_each() {
    let case = Case {
        name: "grpc",
        definitions: &["gateway-api/grpcroutes.yaml"],
        objects: vec![(GRPC, route())],
        routing: routing(json!({"grpcRoutes": [{"name": "shop"}]})),
        weight: (GRPC, "shop", WEIGHT),
    };
    Box::pin(walk(case)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_route_follows_every_step_and_goes_back_from_each() {
    Box::pin(walk(tcp())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tls_route_follows_every_step_and_goes_back_from_each() {
    Box::pin(walk(tls())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_of_connections_are_left_in_order() {
    Box::pin(leave_in_order(Case { name: "tcp-left", ..tcp() })).await;
    Box::pin(leave_in_order(Case { name: "tls-left", ..tls() })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_route_survives_a_second_writer() {
    Box::pin(survive_a_second_writer(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_route_is_left_in_order() {
    Box::pin(leave_in_order(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_route_that_the_spec_names_no_longer_is_left_and_given_back() {
    let routed = Box::pin(Routed::deploy(Case { name: "gateway-left", ..case() }, json!({}))).await;
    let subject = &routed.subject;
    subject.release("v2").await;
    routed.until_at_step(1).await;
    routed.until_weight(20).await;
    subject.change(json!({"strategy": {"canary": {"trafficRouting": null}}})).await;
    routed.until_weight(0).await;
    routed.until_given_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_is_missing_is_named_and_the_rollout_heals_once_it_is_there() {
    let routed = Box::pin(Routed::create(Case { objects: vec![], ..case() }, json!({}))).await;
    let subject = &routed.subject;
    let refused = subject.until(is_in("Degraded")).await;
    let message = message_of(&refused);
    let expected = "trafficRouting.plugins.argoproj-labs/gatewayAPI.httpRoute: HTTPRoute \"shop\" not found";
    assert!(message.contains(expected), "{message}");
    create(&subject.client, &subject.namespace, HTTP, route()).await;
    subject.until_phase("Healthy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_waits_until_the_gateway_has_seen_its_weight() {
    let routed = Box::pin(Routed::deploy(case(), json!({}))).await;
    let subject = &routed.subject;
    let before = generation(&routed).await;
    report(&routed, before, "True").await;
    subject.release("v2").await;
    routed.until_weight(20).await;
    until_labelled(&routed, Some("in-progress")).await;

    // A pass that has seen this change has seen the lagging status, too.
    subject.change(json!({"progressDeadlineSeconds": 601})).await;
    let seen = subject.until_phase("Progressing").await;
    let after = generation(&routed).await;
    assert!(after > before, "the weights are part of the generation: {before}, {after}");
    assert_eq!(seen.status.unwrap().current_step_index, Some(0));

    report(&routed, after, "False").await;
    let why = "Gateway edge reports ResolvedRefs=False on HTTPRoute shop: ResolvedRefs: as it is";
    subject
        .until(move |rollout: Option<&serin::api::Rollout>| message_of(rollout.unwrap()).contains(why))
        .await;
    report(&routed, after, "True").await;
    routed.until_at_step(1).await;
    subject.change_status(json!({"abort": true})).await;
    routed.until_weight(0).await;
    until_labelled(&routed, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_alternate_keep_their_weights_and_lose_the_label_at_the_end() {
    let spec = json!({"strategy": {"canary": {
        "canaryService": null, "stableService": null,
        "pingPong": {"pingService": "canary", "pongService": "stable"},
    }}});
    let routed = Box::pin(Routed::deploy(Case { name: "ping-pong", ..case() }, spec)).await;
    let subject = &routed.subject;
    // The first version is behind the first of them, whose weight this is.
    for (tag, weights) in [("v2", [80, 50, 0]), ("v3", [20, 50, 100])] {
        let [first, second, end] = weights;
        subject.release(tag).await;
        routed.until_at_step(1).await;
        routed.until_weight(first).await;
        until_labelled(&routed, Some("in-progress")).await;
        routed.resume().await;
        routed.until_at_step(3).await;
        routed.until_weight(second).await;
        routed.resume().await;
        subject.until(is_in("Healthy")).await;
        routed.until_weight(end).await;
        until_labelled(&routed, None).await;
    }
}

const TESTERS: &str = "testers";
const SHADOW: &str = "shadow";

/// A route with rules that the API server completes: nothing that it may leave out is there.
fn bare() -> Value {
    json!({
        "metadata": {"name": "shop"},
        "spec": {"parentRefs": [{"name": "edge"}], "rules": [
            {"matches": [{"path": {"value": "/docs"}}], "backendRefs": [{"name": "docs", "port": 80}]},
            {"backendRefs": [{"name": "stable", "port": 80}, {"name": "canary", "port": 80, "weight": 0}]},
            {
                "matches": [{"path": {"value": "/cart"}, "headers": [{"name": "x-shop", "value": "1"}]}],
                "timeouts": {"request": "10s"},
                "backendRefs": [{"name": "stable", "port": 80}, {"name": "canary", "port": 80, "weight": 0}],
            },
        ]},
    })
}

fn for_some_requests() -> Value {
    json!([
        {"setCanaryScale": {"replicas": 1}},
        {"setMirrorRoute": {
            "name": SHADOW, "percentage": 20, "match": [{"method": {"regex": "GET|HEAD"}}],
        }},
        {"setHeaderRoute": {
            "name": TESTERS, "match": [{"headerName": "x-tester", "headerValue": {"prefix": "qa."}}],
        }},
        {"pause": {}},
        {"setMirrorRoute": {"name": SHADOW}},
        {"setCanaryScale": {"matchTrafficWeight": true}},
        {"setWeight": 50},
        {"pause": {}},
    ])
}

/// The route, and the names of its rules.
async fn rules(routed: &Routed, kind: Kind) -> (Value, Vec<String>) {
    let objects = api(&routed.subject.client, &routed.subject.namespace, kind);
    let route = serde_json::to_value(objects.get("shop").await.unwrap()).unwrap();
    let rules = route["spec"]["rules"].as_array().unwrap();
    let names = rules.iter().map(|rule| rule["name"].as_str().unwrap_or_default().to_owned());
    let names = names.collect();
    (route, names)
}

/// A pass over the whole Rollout changes nothing in the route.
async fn stay(routed: &Routed, kind: Kind, deadline: i32) {
    let (before, _) = rules(routed, kind).await;
    let is_written = move |rollout: Option<&serin::api::Rollout>| {
        let rollout = rollout.unwrap();
        let observed = rollout.status.as_ref().and_then(|status| status.observed_generation.clone());
        serde_json::to_value(observed).unwrap() == json!(rollout.metadata.generation)
    };
    routed.subject.change(json!({"progressDeadlineSeconds": deadline})).await;
    routed.subject.until(is_written).await;
    let (after, _) = rules(routed, kind).await;
    assert_eq!(before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"], "{after:#}");
}

/// An update with routes for some requests goes through all its steps, and the next one is taken back.
async fn walk_with_routes(case: Case, kind: Kind, steps: Value) {
    let routing =
        merged(case.routing.clone(), json!({"managedRoutes": [{"name": TESTERS}, {"name": SHADOW}]}));
    let spec = json!({"strategy": {"canary": {"steps": steps}}});
    let routed = Box::pin(Routed::deploy(Case { routing, ..case }, spec)).await;
    let subject = &routed.subject;
    let (untouched, _) = rules(&routed, kind).await;
    subject.release("v2").await;
    routed.until_at_step(3).await;
    let (route, names) = rules(&routed, kind).await;
    let expected = ["testers", "testers-1", "shadow", "shadow-1", "", "", ""];
    assert_eq!(names, expected, "{route:#}");
    assert_eq!(route.pointer(LABEL), Some(&json!("in-progress")));
    stay(&routed, kind, 601).await;

    routed.resume().await;
    routed.until_at_step(7).await;
    let (route, names) = rules(&routed, kind).await;
    assert_eq!(names, ["testers", "testers-1", "", "", ""], "{route:#}");
    stay(&routed, kind, 602).await;
    routed.resume().await;
    subject.until(is_in("Healthy")).await;
    routed.until_weight(0).await;
    let (route, _) = rules(&routed, kind).await;
    assert_eq!(route.pointer(LABEL), None);
    routed.until_given_back().await;
    let same = |pointer: &str| assert_eq!(route.pointer(pointer), untouched.pointer(pointer), "{route:#}");
    same("/spec/rules/0");
    same("/spec/rules/2/matches");
    same("/spec/rules/2/timeouts");
    stay(&routed, kind, 603).await;

    subject.release("v3").await;
    routed.until_at_step(3).await;
    let (route, names) = rules(&routed, kind).await;
    assert_eq!(names, expected, "{route:#}");
    subject.change_status(json!({"abort": true})).await;
    subject.until(is_in("Degraded")).await;
    subject.until_sizes(&[("2", 4)]).await;
    let (route, names) = rules(&routed, kind).await;
    assert_eq!(names, ["", "", ""], "{route:#}");
}

fn merged(mut whole: Value, part: Value) -> Value {
    merge(&mut whole, part);
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn some_requests_have_rules_of_their_own_and_lose_them_at_the_end() {
    let case = Case {
        objects: vec![(HTTP, bare())],
        weight: (HTTP, "shop", "/spec/rules/1/backendRefs/1/weight"),
        ..case()
    };
    Box::pin(walk_with_routes(case, HTTP, for_some_requests())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn some_calls_have_rules_of_their_own_and_lose_them_at_the_end() {
    let mut route = bare();
    let rules = route["spec"]["rules"].as_array_mut().unwrap();
    rules[0]["matches"] = json!([{"method": {"service": "shop.Docs"}}]);
    rules[2] = json!({
        "matches": [{"method": {"service": "shop.Cart", "method": "Add"}, "headers": [{"name": "x-shop", "value": "1"}]}],
        "backendRefs": rules[1]["backendRefs"],
    });
    let mut steps = for_some_requests();
    steps[1]["setMirrorRoute"]["match"] = json!([{"headers": {"x-copy": {"regex": "a|b"}}}]);
    let case = Case {
        name: "grpc-some",
        definitions: &["gateway-api/grpcroutes.yaml"],
        objects: vec![(GRPC, route)],
        routing: routing(json!({"grpcRoute": "shop"})),
        weight: (GRPC, "shop", "/spec/rules/1/backendRefs/1/weight"),
    };
    Box::pin(walk_with_routes(case, GRPC, steps)).await;
}
