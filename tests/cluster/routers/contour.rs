//! Contour: weights in `HTTPProxy` objects that users have.

use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::{Case, Kind, Routed, api, create, walk};
use crate::rollouts::{is_in, message_of};

const PROXY: Kind = ("projectcontour.io", "v1", "HTTPProxy", "httpproxies");

fn proxy() -> Value {
    json!({
        "metadata": {"name": "shop"},
        "spec": {"virtualhost": {"fqdn": "shop.example"}, "routes": [
            {"conditions": [{"prefix": "/"}], "services": [{"name": "stable", "port": 80}, {"name": "canary", "port": 80}]},
            {"conditions": [{"prefix": "/docs"}], "services": [{"name": "docs", "port": 80}]},
        ]},
    })
}

fn case() -> Case {
    Case {
        name: "contour",
        definitions: &["contour/crds.yaml#HTTPProxy"],
        objects: vec![(PROXY, proxy())],
        routing: json!({"plugins": {"argoproj-labs/contour": {"httpProxies": ["shop"]}}}),
        weight: (PROXY, "shop", "/spec/routes/0/services/1/weight"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_follows_every_step_and_goes_back_from_each() {
    Box::pin(walk(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_missing_is_named_and_the_rollout_heals_once_it_is_there() {
    let routed = Box::pin(Routed::create(Case { objects: vec![], ..case() }, json!({}))).await;
    let subject = &routed.subject;
    let refused = subject.until(is_in("Degraded")).await;
    let message = message_of(&refused);
    let expected = "plugins.argoproj-labs/contour.httpProxies[0]: HTTPProxy \"shop\" not found";
    assert!(message.contains(expected), "{message}");
    create(&subject.client, &subject.namespace, PROXY, proxy()).await;
    subject.until_phase("Healthy").await;
}

/// A Rollout of two proxies in mid-update, of which one is deleted then.
async fn with_one_of_two_left(name: &'static str) -> Routed {
    let mut other = proxy();
    other["metadata"]["name"] = json!("admin");
    let objects = vec![(PROXY, proxy()), (PROXY, other)];
    let routing = json!({"plugins": {"argoproj-labs/contour": {"httpProxies": ["shop", "admin"]}}});
    let routed = Box::pin(Routed::deploy(Case { name, objects, routing, ..case() }, json!({}))).await;
    let subject = &routed.subject;
    subject.release("v2").await;
    routed.until_at_step(1).await;
    routed.until_weight(20).await;
    let proxies = api(&subject.client, &subject.namespace, PROXY);
    proxies.delete("admin", &DeleteParams::default()).await.unwrap();
    subject.until(is_in("Degraded")).await;
    routed
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_route_is_let_go_when_the_spec_names_it_no_longer() {
    let routed = Box::pin(with_one_of_two_left("contour-unnamed")).await;
    routed.subject.change(json!({"strategy": {"canary": {"trafficRouting": null}}})).await;
    routed.until_weight(0).await;
    routed.until_given_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_route_is_left_in_order_when_the_rollout_goes() {
    let routed = Box::pin(with_one_of_two_left("contour-deleted")).await;
    routed.subject.rollouts.delete(routed.subject.name, &DeleteParams::default()).await.unwrap();
    routed.until_weight(0).await;
    routed.until_given_back().await;
}
