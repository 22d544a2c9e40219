//! A real data plane: requests of users go through a real Envoy, which a real Contour leads by the routes that Serin writes,
//! to pods that really serve. Not one request may fail, whatever happens to a Rollout: pods are slow to start and slow to
//! stop, and endpoints are published late, as where the controller of endpoints has much to do.

mod load;
mod own_network;
mod plane;

use futures::future::{join, join_all};
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use serin::api::labels::SESSION_COOKIE;

use self::load::{Answer, Load, ask_once};
use self::own_network::in_own_network;
use self::plane::{DataPlane, GATEWAY, NAMESPACE};
use crate::controller_process::ControllerProcess;
use crate::rollouts::{Subject, is_in, merge};
use crate::routers::{Kind, api, create};
use crate::shared::{namespace, wait_for};
use crate::shop::{LAST_STEP, SAMPLE, Shop, Users as _, deploy, expose};

const HTTP_ROUTE: Kind = ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes");
const HTTP_PROXY: Kind = ("projectcontour.io", "v1", "HTTPProxy", "httpproxies");

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

async fn open(plane: &DataPlane, edge: Edge) -> Shop<Load> {
    let client = plane.client();
    let namespace = namespace(&client, edge.name).await;
    for name in ["stable", "canary"] {
        expose(&client, &namespace, name).await;
    }
    create(&client, &namespace, edge.kind, edge.object).await;
    let controller = ControllerProcess::start(plane.kubeconfig(), &namespace, &[]);
    let subject = deploy(&client, &namespace, edge.canary).await;
    let users = Load::start(&host(edge.name)).await;
    Shop { subject, users, controller }
}

/// Waits until the route leads to stable's Service alone, as its owner has written it.
async fn until_given_back(subject: &Subject, kind: Kind) {
    let weights = match kind {
        HTTP_ROUTE => "/spec/rules/0/backendRefs",
        _ => "/spec/routes/0/services",
    };
    let is_given_back = |object: Option<&DynamicObject>| {
        let object = object.map(|object| serde_json::to_value(object).unwrap());
        let weight = |index: usize| object.as_ref()?.pointer(&format!("{weights}/{index}/weight"))?.as_u64();
        [weight(0), weight(1)] == [Some(100), Some(0)]
    };
    let objects = api(&subject.client, &subject.namespace, kind);
    Box::pin(wait_for(&objects, "shop", is_given_back)).await;
}

/// An update to the end, with endpoints that stay as they are for a while once it is promoted; and others that are taken back.
async fn walk(plane: &DataPlane, edge: Edge) {
    let kind = edge.kind;
    let shop = open(plane, edge).await;
    shop.release("v2").await;
    shop.go_to(LAST_STEP).await;
    plane.freeze_controllers();
    shop.resume().await;
    shop.subject.until(is_in("Healthy")).await;
    shop.users.next(SAMPLE).await;
    plane.thaw_controllers();
    until_given_back(&shop.subject, kind).await;
    shop.until_only("v2").await;
    shop.try_and_go_back().await;
}

/// A user who came to the canary stays there, and not a moment longer than the update.
async fn keep_users(plane: &DataPlane) {
    let name = "session";
    let shop = open(plane, http_route(name, json!({"scaleDownDelaySeconds": 1}))).await;
    let cookie = json!({"metadata": {"annotations": {(SESSION_COOKIE): "shop-version; Max-Age=60"}}});
    let patch = Patch::Merge(cookie);
    shop.subject.rollouts.patch(shop.subject.name, &PatchParams::default(), &patch).await.unwrap();
    shop.release("v2").await;
    shop.go_to(1).await;
    let cookie = loop {
        let answer = ask_once(&host(name), "").await.unwrap();
        assert_eq!(answer.cookie.is_some(), answer.version == "v2", "{answer:?}");
        if let Some(cookie) = answer.cookie {
            break cookie;
        }
    };
    let cookies = format!("theme=dark; {cookie}");
    for _ in 0..40 {
        assert_eq!(ask_once(&host(name), &cookies).await.unwrap().version, "v2");
    }
    shop.subject.change_status(json!({"abort": true})).await;
    shop.subject.until(is_in("Degraded")).await;
    shop.until_only("v1").await;
    for _ in 0..40 {
        let stable = Answer { version: "v1".to_owned(), cookie: None };
        assert_eq!(ask_once(&host(name), &cookies).await.unwrap(), stable);
    }
    shop.users.assert_unfailing("with sessions");
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
        join(join_all(edges.map(|edge| walk(&plane, edge))), keep_users(&plane)).await;
    });
}
