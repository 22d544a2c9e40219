//! A real data plane: requests of users go through a real Envoy, which a real Contour leads by the routes that Serin writes,
//! to pods that really serve. Not one request may fail, whatever happens to a Rollout; pods are slow to start and to stop.

mod load;
mod own_network;
mod plane;

use std::collections::BTreeMap;

use kube::runtime::wait::Condition;
use serde_json::{Value, json};

use self::load::Load;
use self::own_network::in_own_network;
use self::plane::{DataPlane, GATEWAY, NAMESPACE};
use crate::controller_process::ControllerProcess;
use crate::rollouts::{Subject, is_in, merge, says};
use crate::routers::{Kind, create, create_service};
use crate::shared::namespace;

const HTTP_ROUTE: Kind = ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes");
const HTTP_PROXY: Kind = ("projectcontour.io", "v1", "HTTPProxy", "httpproxies");
/// Requests that a share is measured by.
const SAMPLE: u64 = 500;

/// A router's objects as users write them.
struct Edge {
    name: &'static str,
    kind: Kind,
    object: Value,
    routing: Value,
}

fn http_route() -> Edge {
    Edge {
        name: "route",
        kind: HTTP_ROUTE,
        object: json!({
            "metadata": {"name": "shop"},
            "spec": {
                "parentRefs": [{"name": GATEWAY, "namespace": NAMESPACE}], "hostnames": [],
                "rules": [{"backendRefs": [
                    {"name": "stable", "port": 80, "weight": 100}, {"name": "canary", "port": 80, "weight": 0},
                ]}],
            },
        }),
        routing: json!({"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "shop"}}}),
    }
}

fn http_proxy() -> Edge {
    Edge {
        name: "proxy",
        kind: HTTP_PROXY,
        object: json!({
            "metadata": {"name": "shop"},
            "spec": {"virtualhost": {"fqdn": "proxy.example"}, "routes": [{"services": [
                {"name": "stable", "port": 80, "weight": 100}, {"name": "canary", "port": 80, "weight": 0},
            ]}]},
        }),
        routing: json!({"plugins": {"argoproj-labs/contour": {"httpProxies": ["shop"]}}}),
    }
}

/// A pod template whose pods are slow to start and slow to stop.
fn template(version: &str) -> Value {
    let image = format!("app:{version}-slow-start1s-slow-stop2s-lat5ms");
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"terminationGracePeriodSeconds": 30, "containers": [
            {"name": "main", "image": image, "ports": [{"containerPort": 80}]},
        ]},
    })
}

/// A Rollout behind the proxy, and the users of its first version.
struct Shop {
    subject: Subject,
    load: Load,
    _controller: ControllerProcess,
}

impl Shop {
    async fn open(plane: &DataPlane, edge: Edge, canary: Value) -> Self {
        let client = plane.client();
        let namespace = namespace(&client, edge.name).await;
        for name in ["stable", "canary"] {
            create_service(&client, &namespace, name).await;
        }
        let mut object = edge.object;
        if edge.kind == HTTP_ROUTE {
            object["spec"]["hostnames"] = json!([format!("{}.example", edge.name)]);
        }
        create(&client, &namespace, edge.kind, object).await;
        let controller = ControllerProcess::start(plane.kubeconfig(), &namespace, &[]);
        let steps = json!([{"setWeight": 10}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
        let mut whole = json!({"template": template("v1"), "strategy": {"canary": {
            "canaryService": "canary", "stableService": "stable", "steps": steps,
            "scaleDownDelaySeconds": 1, "abortScaleDownDelaySeconds": 1, "trafficRouting": edge.routing,
        }}});
        merge(&mut whole["strategy"]["canary"], canary);
        let subject = Subject::create(&client, &namespace, "v1", whole).await;
        subject.until_phase("Healthy").await;
        let load = Load::start(&format!("{}.example", edge.name)).await;
        Self { subject, load, _controller: controller }
    }

    async fn release(&self, version: &str) {
        self.subject.change(json!({"template": template(version)})).await;
    }

    /// Waits for the pause at a step, and then until the proxy gives the new version its share.
    async fn until_paused(&self, step: i32, version: &str, percent: u64) {
        let at = move |rollout: Option<&serin::api::Rollout>| {
            let status = rollout.and_then(|rollout| rollout.status.as_ref());
            status.is_some_and(|status| status.current_step_index == Some(step))
                && says("CanaryPauseStep").matches_object(rollout)
        };
        self.subject.until(at).await;
        let found = self.load.next(SAMPLE).await;
        println!("{} step {step}: {found:?}", self.subject.namespace);
        assert_share(&found, version, percent);
    }

    async fn resume(&self) {
        self.subject.change_status(json!({"pauseConditions": null})).await;
    }

    async fn abort(&self) {
        self.subject.change_status(json!({"abort": true})).await;
    }

    async fn retry(&self) {
        self.subject.change_status(json!({"abort": false, "abortedAt": null})).await;
    }

    /// Waits until no other version answers any more.
    async fn until_only(&self, version: &str) {
        loop {
            let found = self.load.next(SAMPLE).await;
            if found.keys().eq([version]) {
                return;
            }
        }
    }
}

/// The share of a version among these answers is its weight, within five standard deviations.
fn assert_share(found: &BTreeMap<String, u64>, version: &str, percent: u64) {
    let (all, of_version) = (found.values().sum::<u64>(), found.get(version).copied().unwrap_or_default());
    let variance = all * percent * (100 - percent);
    let difference = (of_version * 100).abs_diff(all * percent);
    assert!(difference.pow(2) <= 25 * variance, "{version} should have {percent} %: {found:?}");
}

/// An update to the end, and one that is aborted at each of its steps.
async fn walk(shop: &Shop) {
    let subject = &shop.subject;
    shop.release("v2").await;
    shop.until_paused(1, "v2", 10).await;
    shop.resume().await;
    shop.until_paused(3, "v2", 50).await;
    shop.resume().await;
    subject.until(is_in("Healthy")).await;
    shop.until_only("v2").await;

    shop.release("v3").await;
    shop.until_paused(1, "v3", 10).await;
    shop.abort().await;
    subject.until(is_in("Degraded")).await;
    shop.until_only("v2").await;
    subject.until_sizes(&[("2", 4)]).await;

    shop.retry().await;
    shop.until_paused(1, "v3", 10).await;
    shop.resume().await;
    shop.until_paused(3, "v3", 50).await;
    shop.abort().await;
    subject.until(is_in("Degraded")).await;
    shop.until_only("v2").await;
    subject.until_sizes(&[("2", 4)]).await;
    shop.load.assert_unfailing();
}

#[test]
fn no_request_fails_and_shares_follow_the_weights() {
    in_own_network("data_plane::no_request_fails_and_shares_follow_the_weights", async || {
        let plane = DataPlane::start().await;
        let dynamic = Edge { name: "dynamic", ..http_route() };
        let scenarios = [
            (http_route(), json!({})),
            (http_proxy(), json!({})),
            (dynamic, json!({"dynamicStableScale": true, "scaleDownDelaySeconds": null})),
        ];
        let walks = scenarios.map(|(edge, canary)| async {
            let shop = Shop::open(&plane, edge, canary).await;
            walk(&shop).await;
        });
        futures::future::join_all(walks).await;
    });
}
