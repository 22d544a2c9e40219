//! Contour: weights in `HTTPProxy` objects that users have.

use serde_json::{Value, json};

use super::{Case, Kind, Routed, create, walk};
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
