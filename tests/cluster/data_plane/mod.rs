//! A real data plane: requests of users go through a real Envoy, which a real Contour leads by the routes that Serin writes,
//! to pods that really serve. Not one request may fail, whatever happens to a Rollout: pods are slow to start and slow to
//! stop, and endpoints are published late, as where the controller of endpoints has much to do.

mod load;
mod own_network;
mod plane;

use std::collections::BTreeMap;

use futures::future::join_all;
use kube::api::DynamicObject;
use kube::runtime::wait::Condition;
use serde_json::{Value, json};
use serin::api::Rollout;

use self::load::Load;
use self::own_network::in_own_network;
use self::plane::{DataPlane, GATEWAY, NAMESPACE};
use crate::controller_process::ControllerProcess;
use crate::rollouts::{Subject, is_in, merge, says};
use crate::routers::{Kind, api, create, create_service};
use crate::shared::{namespace, wait_for};

const HTTP_ROUTE: Kind = ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes");
const HTTP_PROXY: Kind = ("projectcontour.io", "v1", "HTTPProxy", "httpproxies");
/// Requests that a share is measured by.
const SAMPLE: u64 = 300;
/// Samples after the first in which a share may still be another.
const FURTHER_SAMPLES: usize = 3;
/// The last step, a pause at full weight.
const LAST_STEP: i32 = 5;

/// What stands between the users and the pods of a Rollout.
struct Edge {
    /// Name of the host, and prefix of the namespace.
    name: &'static str,
    kind: Kind,
    object: Value,
    /// Fields of the canary strategy.
    canary: Value,
}

fn http_route(name: &'static str, canary: Value) -> Edge {
    let object = json!({
        "metadata": {"name": "shop"},
        "spec": {
            "parentRefs": [{"name": GATEWAY, "namespace": NAMESPACE}], "hostnames": [host(name)],
            "rules": [{"backendRefs": [
                {"name": "stable", "port": 80, "weight": 100}, {"name": "canary", "port": 80, "weight": 0},
            ]}],
        },
    });
    let mut whole =
        json!({"trafficRouting": {"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "shop"}}}});
    merge(&mut whole, canary);
    Edge { name, kind: HTTP_ROUTE, object, canary: whole }
}

fn http_proxy(name: &'static str) -> Edge {
    let object = json!({
        "metadata": {"name": "shop"},
        "spec": {"virtualhost": {"fqdn": host(name)}, "routes": [{"services": [
            {"name": "stable", "port": 80, "weight": 100}, {"name": "canary", "port": 80, "weight": 0},
        ]}]},
    });
    let canary = json!({
        "trafficRouting": {"plugins": {"argoproj-labs/contour": {"httpProxies": ["shop"]}}},
        "scaleDownDelaySeconds": 1,
    });
    Edge { name, kind: HTTP_PROXY, object, canary }
}

fn host(name: &str) -> String {
    format!("{name}.example")
}

/// A pod template whose pods are slow to start and slow to stop.
fn template(version: &str) -> Value {
    let image = format!("app:{version}-slow-start500ms-slow-stop2s-lat5ms");
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
    kind: Kind,
    load: Load,
    _controller: ControllerProcess,
}

impl Shop {
    async fn open(plane: &DataPlane, edge: Edge) -> Self {
        let client = plane.client();
        let namespace = namespace(&client, edge.name).await;
        for name in ["stable", "canary"] {
            create_service(&client, &namespace, name).await;
        }
        create(&client, &namespace, edge.kind, edge.object).await;
        let controller = ControllerProcess::start(plane.kubeconfig(), &namespace, &[]);
        let pause = || json!({"pause": {}});
        let steps = json!([
            {"setWeight": 10}, pause(), {"setWeight": 50}, pause(), {"setWeight": 100}, pause(),
        ]);
        let mut canary = json!({
            "canaryService": "canary", "stableService": "stable", "steps": steps, "abortScaleDownDelaySeconds": 1,
        });
        merge(&mut canary, edge.canary);
        let spec = json!({"template": template("v1"), "strategy": {"canary": canary}});
        let subject = Subject::create(&client, &namespace, "v1", spec).await;
        subject.until_phase("Healthy").await;
        let load = Load::start(&host(edge.name)).await;
        Self { subject, kind: edge.kind, load, _controller: controller }
    }

    async fn release(&self, version: &str) {
        self.subject.change(json!({"template": template(version)})).await;
    }

    /// Waits for the pause at a step, and for the share that the proxy gives the version then.
    async fn until_paused(&self, step: i32, version: &str, percent: u64) {
        let at = move |rollout: Option<&Rollout>| {
            let status = rollout.and_then(|rollout| rollout.status.as_ref());
            status.is_some_and(|status| status.current_step_index == Some(step))
                && says("CanaryPauseStep").matches_object(rollout)
        };
        self.subject.until(at).await;
        // The first sample may hold requests that were under way.
        let mut found = self.load.next(SAMPLE).await;
        for _ in 0..FURTHER_SAMPLES {
            if has_share(&found, version, percent) {
                return;
            }
            println!("{} at step {step}: {found:?}", self.subject.namespace);
            found = self.load.next(SAMPLE).await;
        }
        panic!("{version} should have {percent} % at step {step}, not {found:?}");
    }

    async fn resume(&self) {
        self.subject.change_status(json!({"pauseConditions": null})).await;
    }

    /// Goes on until the pause at `step`, the share measured at each pause on the way.
    async fn go_to(&self, step: i32, version: &str) {
        for (pause, percent) in [(1, 10), (3, 50), (LAST_STEP, 100)] {
            self.until_paused(pause, version, percent).await;
            if pause == step {
                return;
            }
            self.resume().await;
        }
    }

    /// Takes the update back, and waits until nobody gets it and none of its pods is left.
    async fn abort(&self, stable: (&str, &str)) {
        let (version, revision) = stable;
        self.subject.change_status(json!({"abort": true})).await;
        self.subject.until(is_in("Degraded")).await;
        self.until_only(version).await;
        self.subject.until_sizes(&[(revision, 4)]).await;
    }

    async fn retry(&self) {
        self.subject.change_status(json!({"abort": false, "abortedAt": null})).await;
    }

    /// Waits until no other version answers any more.
    async fn until_only(&self, version: &str) {
        while !self.load.next(SAMPLE / 5).await.keys().eq([version]) {}
    }

    /// Waits until the route leads to stable's Service alone, as its owner has written it.
    async fn until_given_back(&self) {
        let weights = match self.kind {
            HTTP_ROUTE => "/spec/rules/0/backendRefs",
            _ => "/spec/routes/0/services",
        };
        let is_given_back = |object: Option<&DynamicObject>| {
            let object = object.map(|object| serde_json::to_value(object).unwrap());
            let weight =
                |index: usize| object.as_ref()?.pointer(&format!("{weights}/{index}/weight"))?.as_u64();
            [weight(0), weight(1)] == [Some(100), Some(0)]
        };
        let objects = api(&self.subject.client, &self.subject.namespace, self.kind);
        Box::pin(wait_for(&objects, "shop", is_given_back)).await;
    }
}

/// Whether the share of a version among these answers is its weight, within five standard deviations.
fn has_share(found: &BTreeMap<String, u64>, version: &str, percent: u64) -> bool {
    let (all, of_version) = (found.values().sum::<u64>(), found.get(version).copied().unwrap_or_default());
    let variance = all * percent * (100 - percent);
    let difference = (of_version * 100).abs_diff(all * percent);
    difference.pow(2) <= 25 * variance
}

/// An update to the end, with endpoints that stay as they are for a while once it is promoted; one that is taken back from
/// each of its steps, and then replaced by another; and one that is left for stable's own version.
async fn walk(plane: &DataPlane, edge: Edge) {
    let shop = Shop::open(plane, edge).await;
    shop.release("v2").await;
    shop.go_to(LAST_STEP, "v2").await;
    plane.freeze_controllers();
    shop.resume().await;
    shop.subject.until(is_in("Healthy")).await;
    shop.load.next(SAMPLE).await;
    plane.thaw_controllers();
    shop.until_given_back().await;
    shop.until_only("v2").await;

    shop.release("v3").await;
    for step in [1, 3, LAST_STEP] {
        shop.go_to(step, "v3").await;
        shop.abort(("v2", "2")).await;
        shop.retry().await;
    }
    shop.go_to(3, "v3").await;
    shop.release("v4").await;
    shop.go_to(3, "v4").await;
    shop.release("v2").await;
    shop.subject.until(is_in("Healthy")).await;
    shop.until_only("v2").await;
    shop.load.assert_unfailing();
}

#[test]
fn no_request_fails_and_shares_follow_the_weights() {
    in_own_network("data_plane::no_request_fails_and_shares_follow_the_weights", async || {
        let plane = DataPlane::start().await;
        let pair = json!({"pingService": "canary", "pongService": "stable"});
        let edges = [
            http_route("route", json!({"scaleDownDelaySeconds": 1})),
            http_route("dynamic", json!({"dynamicStableScale": true})),
            http_route(
                "alternating",
                json!({"pingPong": pair, "canaryService": null, "stableService": null}),
            ),
            http_proxy("proxy"),
        ];
        join_all(edges.map(|edge| walk(&plane, edge))).await;
    });
}
