//! Requests of users that the sandbox' generator splits by the objects of each router, to pods that really serve. Not one may
//! fail, whatever happens to a Rollout, though its pods are slow to start and slow to stop; and versions have their share.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use futures::future::join_all;
use kube::{Client, Config};
use serde_json::{Value, json};
use serin::api::Rollout;
use serin::sandbox::cluster::define;
use serin::sandbox::control_plane::ControlPlane;
use serin::sandbox::node::VirtualNode;
use serin::sandbox::traffic::{Counts, Traffic, TrafficOptions};
use serin::sandbox::workload::Applications;
use tokio::time::{sleep, timeout};

use crate::controller_process::ControllerProcess;
use crate::rollouts::{is_in, merge};
use crate::routers::definitions::install_file;
use crate::routers::{Kind, create};
use crate::shared::{DEADLINE, namespace, options};
use crate::shop::{LAST_STEP, Shop, Users, deploy, expose};

const VIRTUAL_SERVICE: Kind = ("networking.istio.io", "v1", "VirtualService", "virtualservices");
const DESTINATION_RULE: Kind = ("networking.istio.io", "v1", "DestinationRule", "destinationrules");
const INGRESS: Kind = ("networking.k8s.io", "v1", "Ingress", "ingresses");
const TRAEFIK_SERVICE: Kind = ("traefik.io", "v1alpha1", "TraefikService", "traefikservices");
const DEFINITIONS: [&str; 4] = [
    "istio/crds.yaml#VirtualService",
    "istio/crds.yaml#DestinationRule",
    "traefik/traefikservices.yaml",
    "smi/trafficsplits.yaml",
];
/// Requests per second.
const RATE: u32 = 60;
/// How often counts are asked for, which cannot be watched.
const POLL: Duration = Duration::from_millis(50);

/// A control plane whose pods really serve, on a thread of its own for the reason that [`crate::shared`] gives.
fn control_plane() -> &'static (Config, String) {
    static ACCESS: OnceLock<(Config, String)> = OnceLock::new();
    ACCESS.get_or_init(run_forever)
}

fn run_forever() -> (Config, String) {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let control_plane =
                ControlPlane::start(options()).await.unwrap_or_else(|error| panic!("{error}"));
            let client = control_plane.client();
            define(&client).await.unwrap();
            for file in DEFINITIONS {
                install_file(&client, file).await;
            }
            let _node = VirtualNode::start(client, Arc::new(Applications::default())).await.unwrap();
            sender.send((control_plane.config(), control_plane.kubeconfig().to_owned())).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().expect("the control plane did not start; the reason is above")
}

/// What stands between the users and the pods of a Rollout.
struct Edge {
    /// Prefix of the namespace.
    name: &'static str,
    /// Kind of the route `shop` that requests are sent to.
    route: &'static str,
    objects: Vec<(Kind, Value)>,
    /// Fields of the canary strategy.
    canary: Value,
}

fn virtual_service(stable: Value, canary: Value) -> (Kind, Value) {
    let service = json!({
        "metadata": {"name": "shop"},
        "spec": {"hosts": ["shop.example"], "http": [
            {"name": "docs", "match": [{"uri": {"prefix": "/docs"}}], "route": [{"destination": {"host": "docs"}}]},
            {"name": "primary", "route": [
                {"destination": stable, "weight": 100}, {"destination": canary, "weight": 0},
            ]},
        ]},
    });
    (VIRTUAL_SERVICE, service)
}

fn istio(name: &'static str, canary: Value) -> Edge {
    let objects = vec![virtual_service(json!({"host": "stable"}), json!({"host": "canary"}))];
    let routing = json!({"istio": {"virtualService": {"name": "shop", "routes": ["primary"]}}});
    Edge { name, route: "virtualservice", objects, canary: with_routing(routing, canary) }
}

fn istio_subsets(name: &'static str, canary: Value) -> Edge {
    let subset = |name: &str| json!({"host": "root", "subset": name});
    let labelled = |name: &str| json!({"name": name, "labels": {"app": "web"}});
    let rule = json!({
        "metadata": {"name": "shop"},
        "spec": {"host": "root", "subsets": [labelled("stable"), labelled("canary")]},
    });
    let routing = json!({"istio": {
        "virtualService": {"name": "shop", "routes": ["primary"]},
        "destinationRule": {"name": "shop", "canarySubsetName": "canary", "stableSubsetName": "stable"},
    }});
    let mut whole = with_routing(routing, canary);
    merge(&mut whole, json!({"canaryService": null, "stableService": null}));
    let objects = vec![virtual_service(subset("stable"), subset("canary")), (DESTINATION_RULE, rule)];
    Edge { name, route: "virtualservice", objects, canary: whole }
}

fn ingress(service: &str, port: Value) -> (Kind, Value) {
    let backend = json!({"service": {"name": service, "port": port}});
    let paths = json!([{"path": "/", "pathType": "Prefix", "backend": backend}]);
    let ingress = json!({
        "metadata": {"name": "shop"},
        "spec": {"rules": [{"host": "shop.example", "http": {"paths": paths}}]},
    });
    (INGRESS, ingress)
}

fn nginx(name: &'static str, canary: Value) -> Edge {
    let objects = vec![ingress("stable", json!({"number": 80}))];
    let routing = json!({"nginx": {"stableIngress": "shop"}});
    Edge { name, route: "ingress", objects, canary: with_routing(routing, canary) }
}

fn alb(name: &'static str, canary: Value) -> Edge {
    let objects = vec![ingress("root", json!({"name": "use-annotation"}))];
    let routing = json!({"alb": {"ingress": "shop", "servicePort": 80, "rootService": "root"}});
    Edge { name, route: "ingress", objects, canary: with_routing(routing, canary) }
}

fn traefik(name: &'static str, canary: Value) -> Edge {
    let of = |name: &str, weight: u32| json!({"name": name, "port": 80, "weight": weight});
    let services = json!([of("stable", 100), of("canary", 0)]);
    let service = json!({"metadata": {"name": "shop"}, "spec": {"weighted": {"services": services}}});
    let routing = json!({"traefik": {"weightedTraefikServiceName": "shop"}});
    let canary = with_routing(routing, canary);
    Edge { name, route: "traefikservice", objects: vec![(TRAEFIK_SERVICE, service)], canary }
}

fn smi(name: &'static str, canary: Value) -> Edge {
    let routing = json!({"smi": {"trafficSplitName": "shop", "rootService": "root"}});
    Edge { name, route: "trafficsplit", objects: vec![], canary: with_routing(routing, canary) }
}

fn with_routing(routing: Value, canary: Value) -> Value {
    let mut whole = json!({"trafficRouting": routing});
    merge(&mut whole, canary);
    whole
}

/// Pods of the old version stay for a moment after an update.
fn with_delay() -> Value {
    json!({"scaleDownDelaySeconds": 1})
}

/// Stable makes room as the canary gets its share.
fn dynamic() -> Value {
    json!({"dynamicStableScale": true})
}

fn alternating() -> Value {
    let pair = json!({"pingService": "canary", "pongService": "stable"});
    json!({"pingPong": pair, "canaryService": null, "stableService": null, "scaleDownDelaySeconds": 1})
}

async fn open(edge: Edge) -> Shop<Requests> {
    let (config, kubeconfig) = control_plane();
    let client = Client::try_from(config.clone()).unwrap();
    let namespace = namespace(&client, edge.name).await;
    for name in ["root", "stable", "canary"] {
        expose(&client, &namespace, name).await;
    }
    for (kind, object) in edge.objects {
        create(&client, &namespace, kind, object).await;
    }
    let controller = ControllerProcess::start(kubeconfig, &namespace, &[]);
    let subject = deploy(&client, &namespace, edge.canary).await;
    let route = format!("{}/{namespace}/shop", edge.route).parse().unwrap();
    let options = TrafficOptions {
        rate: RATE,
        namespace: Some(namespace),
        routes: vec![route],
        patience: DEADLINE,
        ..TrafficOptions::default()
    };
    let users = Requests { traffic: Traffic::start(client, options), of: edge.name };
    users.next(1).await;
    Shop { subject, users, controller }
}

/// Requests that the generator sends, counted by revision; those that reached no pod are of none.
struct Requests {
    traffic: Traffic,
    /// Whose users send them.
    of: &'static str,
}

impl Requests {
    /// All so far.
    fn counts(&self) -> BTreeMap<String, Counts> {
        let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
        for (destination, of) in self.traffic.tally() {
            let sum = counts.entry(destination.revision).or_default();
            *sum = [*sum, of].into_iter().sum();
        }
        counts
    }
}

impl Users for Requests {
    async fn next(&self, count: u64) -> BTreeMap<String, u64> {
        let before = self.counts();
        let of = |revision: &String| before.get(revision).copied().unwrap_or_default();
        let enough = async {
            loop {
                let counts = self.counts();
                let since =
                    counts.iter().map(|(revision, now)| (revision.clone(), now.since(of(revision)).total()));
                let since: BTreeMap<_, _> = since.filter(|(_, count)| *count > 0).collect();
                if since.values().sum::<u64>() >= count {
                    return since;
                }
                sleep(POLL).await;
            }
        };
        timeout(DEADLINE, enough).await.expect("requests do not go on")
    }

    fn wanted(&self, rollout: &Rollout) -> String {
        rollout.status.as_ref().unwrap().current_pod_hash.clone().unwrap()
    }

    fn stable(&self, rollout: &Rollout) -> String {
        rollout.status.as_ref().unwrap().stable_rs.clone().unwrap()
    }

    fn assert_unfailing(&self, when: &str) {
        let tally = self.traffic.tally();
        let is_failing = |counts: &Counts| counts.failed + counts.unanswered > 0;
        let failing: Vec<_> = tally.iter().filter(|(_, counts)| is_failing(counts)).collect();
        assert!(failing.is_empty(), "{} {when}: requests failed: {failing:#?}", self.of);
    }
}

/// Takes updates back and tries them again while pods still start and stop and weights still change, and replaces one by the
/// next, with a controller that dies in the middle.
async fn hurry(shop: &mut Shop<Requests>) {
    shop.release("v5").await;
    for step in [1, 3] {
        shop.until_at(step).await;
        shop.resume().await;
        shop.subject.change_status(json!({"abort": true})).await;
        shop.subject.until(is_in("Degraded")).await;
        shop.retry().await;
        shop.until_at(1).await;
        shop.resume().await;
    }
    shop.until_at(3).await;
    shop.resume().await;
    shop.release("v6").await;
    shop.controller.kill_and_restart().await;
    for step in [1, 3, LAST_STEP] {
        shop.until_at(step).await;
        shop.resume().await;
    }
    shop.subject.until(is_in("Healthy")).await;
    shop.release("v7").await;
    shop.until_at(1).await;
    shop.release("v6").await;
    shop.until_healthy().await;
    shop.users.assert_unfailing("in haste");
}

/// An update to the end; others that are taken back; and those of somebody in haste.
async fn walk(edge: Edge) {
    let mut shop = Box::pin(open(edge)).await;
    shop.release("v2").await;
    shop.go_to(LAST_STEP).await;
    shop.resume().await;
    shop.until_healthy().await;
    shop.subject.until_sizes(&[("2", 4)]).await;
    shop.users.assert_unfailing("after the promotion");
    Box::pin(shop.try_and_go_back()).await;
    Box::pin(hurry(&mut shop)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_and_shares_follow_the_weights_of_every_router() {
    let edges = [
        istio("split-istio", with_delay()),
        istio("split-istio-dynamic", dynamic()),
        istio_subsets("split-subsets", with_delay()),
        istio_subsets("split-subsets-dynamic", dynamic()),
        nginx("split-nginx", with_delay()),
        nginx("split-nginx-dynamic", dynamic()),
        alb("split-alb", alternating()),
        traefik("split-traefik", alternating()),
        traefik("split-traefik-dynamic", dynamic()),
        smi("split-smi", with_delay()),
    ];
    // Each on its own, so that what goes wrong with one is told beside the others.
    let walks = join_all(edges.map(|edge| tokio::spawn(walk(edge)))).await;
    let failed = walks.iter().filter(|walk| walk.is_err()).count();
    assert_eq!(
        failed, 0,
        "routers through which requests failed, or did not follow the weights; the reasons are above"
    );
}
