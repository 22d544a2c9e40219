//! Istio: weights in VirtualServices, and subsets of a DestinationRule, that users have.

use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use serin::api::labels::SESSION_COOKIE;

use super::{
    Case, Kind, Routed, api, leave_in_order, survive_a_second_writer, template_with_port, walk,
    with_an_experiment,
};
use crate::rollouts::{is_in, message_of};
use crate::shared::wait_for;

const SERVICE: Kind = ("networking.istio.io", "v1", "VirtualService", "virtualservices");
const RULE: Kind = ("networking.istio.io", "v1", "DestinationRule", "destinationrules");
const HASH: &str = "/labels/rollouts-pod-template-hash";

fn service(stable: Value, canary: Value) -> Value {
    json!({
        "metadata": {"name": "shop"},
        "spec": {"hosts": ["shop.example"], "http": [
            {"name": "docs", "match": [{"uri": {"prefix": "/docs"}}], "route": [{"destination": {"host": "docs"}}]},
            {"name": "primary", "route": [
                {"destination": stable, "weight": 100}, {"destination": canary, "weight": 0},
            ]},
        ]},
    })
}

fn case() -> Case {
    Case {
        name: "istio",
        definitions: &["istio/crds.yaml#VirtualService"],
        objects: vec![(SERVICE, service(json!({"host": "stable"}), json!({"host": "canary"})))],
        routing: json!({"istio": {"virtualService": {"name": "shop", "routes": ["primary"]}}}),
        weight: (SERVICE, "shop", "/spec/http/1/route/1/weight"),
    }
}

fn by_subset() -> Case {
    let subset = |name: &str| json!({"host": "web", "subset": name});
    let rule = json!({
        "metadata": {"name": "shop"},
        "spec": {"host": "web", "subsets": [
            {"name": "stable", "labels": {"app": "web"}}, {"name": "canary", "labels": {"app": "web"}},
            {"name": "debug", "labels": {"debug": "true"}},
        ]},
    });
    Case {
        name: "istio-subsets",
        definitions: &["istio/crds.yaml#VirtualService", "istio/crds.yaml#DestinationRule"],
        objects: vec![(SERVICE, service(subset("stable"), subset("canary"))), (RULE, rule)],
        routing: json!({"istio": {
            "virtualService": {"name": "shop", "routes": ["primary"]},
            "destinationRule": {"name": "shop", "canarySubsetName": "canary", "stableSubsetName": "stable"},
        }}),
        weight: case().weight,
    }
}

/// What the subsets of stable and of the canary select.
async fn behind(routed: &Routed) -> [Option<String>; 2] {
    let rule = api(&routed.subject.client, &routed.subject.namespace, RULE).get("shop").await.unwrap();
    let subsets = rule.data["spec"]["subsets"].clone();
    assert_eq!(subsets[2], json!({"name": "debug", "labels": {"debug": "true"}}));
    [0, 1].map(|index| subsets[index].pointer(HASH).and_then(Value::as_str).map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_service_follows_every_step_and_goes_back_from_each() {
    Box::pin(walk(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_service_survives_a_second_writer() {
    Box::pin(survive_a_second_writer(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subsets_survive_a_second_writer_who_takes_their_labels_away() {
    Box::pin(survive_a_second_writer(Case { name: "istio-subsets-writer", ..by_subset() })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_service_is_left_in_order() {
    Box::pin(leave_in_order(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_by_steps_come_before_their_route_and_go_with_the_update() {
    let steps = json!([
        {"setCanaryScale": {"replicas": 1}},
        {"setHeaderRoute": {
            "name": "testers", "match": [{"headerName": "X-Tester", "headerValue": {"exact": "yes", "prefix": ""}}],
        }},
        {"setMirrorRoute": {"name": "shadow", "percentage": 5, "match": [{}]}},
        {"pause": {}},
    ]);
    let routing = json!({"managedRoutes": [{"name": "testers"}, {"name": "shadow"}]});
    let mut service = service(json!({"host": "stable"}), json!({"host": "canary"}));
    service["spec"]["http"][1]["mirrorPercent"] = json!(7);
    let case = Case { name: "istio-steps", objects: vec![(SERVICE, service)], ..case() };
    let spec = json!({"strategy": {"canary": {"steps": steps, "trafficRouting": routing}}});
    let routed = Box::pin(Routed::deploy(case, spec)).await;
    let subject = &routed.subject;
    let services = api(&subject.client, &subject.namespace, SERVICE);
    let before = services.get("shop").await.unwrap().data;
    subject.release("v2").await;
    routed.until_at_step(3).await;
    let during = services.get("shop").await.unwrap().data;
    let http = during["spec"]["http"].as_array().unwrap();
    let names: Vec<_> = http.iter().map(|route| &route["name"]).collect();
    assert_eq!(names, ["docs", "testers", "shadow", "primary"], "{during:#}");
    assert_eq!(http[1]["match"], json!([{"headers": {"x-tester": {"exact": "yes"}}}]));
    assert_eq!(http[1]["route"], json!([{"destination": {"host": "canary"}, "weight": 100}]));
    assert_eq!(http[2]["match"], json!(null));
    assert_eq!(http[2]["mirrorPercent"], json!(null));
    assert_eq!(http[2]["mirrorPercentage"], json!({"value": 5}));
    routed.resume().await;
    subject.until_phase("Healthy").await;
    // Stable takes over after it was seen to lead to the new pods, so the last write comes after the status.
    let is_as_before =
        move |object: Option<&DynamicObject>| object.is_some_and(|object| object.data == before);
    Box::pin(wait_for(&services, "shop", is_as_before)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subsets_lead_to_the_pods_of_their_roles() {
    let spec = json!({"strategy": {"canary": {"canaryService": null, "stableService": null}}});
    let routed = Box::pin(Routed::deploy(by_subset(), spec)).await;
    let subject = &routed.subject;
    let both_lead = |rule: Option<&DynamicObject>| {
        let subsets = rule.map(|rule| rule.data["spec"]["subsets"].clone()).unwrap_or_default();
        [0, 1].into_iter().all(|index| subsets[index].pointer(HASH).is_some())
    };
    let rules = api(&subject.client, &subject.namespace, RULE);
    Box::pin(wait_for(&rules, "shop", both_lead)).await;
    let [first, idle] = behind(&routed).await;
    assert_eq!(first, idle);

    subject.release("v2").await;
    routed.until_at_step(1).await;
    routed.until_weight(20).await;
    let [stable, canary] = behind(&routed).await;
    assert_eq!(stable, first);
    assert_ne!(canary, first);
    subject.change_status(json!({"abort": true})).await;
    routed.until_weight(0).await;
    subject.until(is_in("Degraded")).await;
    subject.until_sizes(&[("1", 4)]).await;

    routed.retry().await;
    routed.resume().await;
    subject.until(is_in("Healthy")).await;
    routed.until_weight(0).await;
    let [stable, _] = behind(&routed).await;
    assert_eq!(stable, canary);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_is_missing_is_named_and_the_rollout_heals_once_it_is_there() {
    let routing = json!({"istio": {"virtualService": {"name": "shop", "routes": ["other"]}}});
    let routed = Box::pin(Routed::create(Case { name: "istio-missing", routing, ..case() }, json!({}))).await;
    let subject = &routed.subject;
    let refused = subject.until(is_in("Degraded")).await;
    let message = message_of(&refused);
    let expected = "trafficRouting.istio.virtualService: Istio VirtualService has invalid HTTP routes. Error: \"shop\" has no \
                    route \"other\"";
    assert!(message.contains(expected), "{message}");
    let chosen = json!({"strategy": {"canary": {"trafficRouting": {"istio": {"virtualService": {"routes": ["primary"]}}}}}});
    subject.change(chosen).await;
    subject.until_phase("Healthy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_who_were_on_the_canary_have_a_route_there_until_it_ends() {
    let routed = Box::pin(Routed::deploy(Case { name: "istio-session", ..case() }, json!({}))).await;
    let subject = &routed.subject;
    let cookie = json!({"metadata": {"annotations": {(SESSION_COOKIE): "shop-version; Max-Age=60"}}});
    let (name, patch) = (subject.name, Patch::Merge(cookie));
    subject.rollouts.patch(name, &PatchParams::default(), &patch).await.unwrap();
    subject.release("v2").await;
    routed.until_at_step(1).await;
    let during = api(&subject.client, &subject.namespace, SERVICE).get("shop").await.unwrap().data;
    let http = during["spec"]["http"].as_array().unwrap();
    let names: Vec<_> = http.iter().map(|route| &route["name"]).collect();
    assert_eq!(names, ["docs", &*format!("{name}-session-affinity"), "primary"]);
    let sets = &http[2]["route"][1]["headers"]["response"]["add"]["Set-Cookie"];
    let sets = sets.as_str().unwrap().strip_prefix("shop-version=").unwrap();
    let (hash, rest) = sets.split_once(';').unwrap();
    assert_eq!(rest, " Path=/; HttpOnly; Max-Age=60");
    let asked = format!(r"^(.*;\s*)?shop-version={hash}(;.*)?$");
    assert_eq!(http[1]["match"], json!([{"headers": {"cookie": {"regex": asked}}}]));
    subject.change_status(json!({"abort": true})).await;
    subject.until(is_in("Degraded")).await;
    routed.until_weight(0).await;
    let after = api(&subject.client, &subject.namespace, SERVICE).get("shop").await.unwrap().data;
    assert_eq!(after["spec"], service(json!({"host": "stable"}), json!({"host": "canary"}))["spec"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_beside_subsets_has_its_part_by_its_services_until_an_abort() {
    let case = Case { name: "istio-experiment", ..by_subset() };
    let routed = Box::pin(Routed::deploy(case, with_an_experiment())).await;
    let subject = &routed.subject;
    subject.change(json!({"template": template_with_port("v2")})).await;
    let weights = |route: &Value| {
        let weights = route.as_array().unwrap().iter().map(|entry| entry["weight"].as_u64());
        weights.collect::<Vec<_>>()
    };
    let route = (SERVICE, "shop", "/spec/http/1/route");
    let four = move |route: Value| {
        let host = route.pointer("/2/destination/host").and_then(Value::as_str).unwrap_or_default();
        weights(&route) == [Some(65), Some(20), Some(10), Some(5)] && host.ends_with("-1-baseline")
    };
    routed.until(route, four).await;
    subject.change_status(json!({"abort": true})).await;
    routed.until(route, move |route| weights(&route) == [Some(100), Some(0)]).await;
    let aborted = subject.until(is_in("Degraded")).await;
    let [stable, _] = behind(&routed).await;
    assert_eq!(stable, aborted.status.unwrap().stable_rs);
}
