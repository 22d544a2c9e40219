//! Requests of users that the sandbox' generator splits by the objects of each router, to pods that really serve. Not one may
//! fail, whatever happens to a Rollout, though its pods are slow to start and slow to stop; and versions have their share.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::PostParams;
use kube::runtime::wait::Condition;
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use serin::api::Rollout;
use serin::sandbox::cluster::define;
use serin::sandbox::control_plane::ControlPlane;
use serin::sandbox::node::{PodPlan, VirtualNode, Workload};
use serin::sandbox::traffic::{Counts, Traffic, TrafficOptions};
use serin::sandbox::workload::Applications;
use tokio::time::{sleep, timeout};

use crate::controller_process::ControllerProcess;
use crate::rollouts::{Subject, is_in, merge, says};
use crate::routers::definitions::install_file;
use crate::routers::{Kind, create};
use crate::shared::{DEADLINE, namespace, options};

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
/// Requests that a share is measured by.
const SAMPLE: u64 = 240;
/// Samples after the first in which a share may still be another.
const FURTHER_SAMPLES: usize = 3;
/// The last step, a pause at full weight.
const LAST_STEP: i32 = 5;
/// How long pods go on after their deletion before they look whether requests still come.
const STOPS_AFTER: Duration = Duration::from_secs(2);
/// How often counts are asked for, which cannot be watched.
const POLL: Duration = Duration::from_millis(50);

/// Applications that are slow to stop; the tags of their images make them slow to start.
struct SlowToStop(Applications);

impl Workload for SlowToStop {
    async fn start(&self, pod: &Pod) -> PodPlan {
        self.0.start(pod).await
    }

    async fn drained(&self, uid: &str) {
        sleep(STOPS_AFTER).await;
        self.0.drained(uid).await;
    }

    fn stop(&self, uid: &str) {
        self.0.stop(uid);
    }
}

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
            let workload = Arc::new(SlowToStop(Applications::default()));
            let _node = VirtualNode::start(client, workload).await.unwrap();
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

fn template(version: &str) -> Value {
    let image = format!("app:{version}-slow-start500ms-lat5ms");
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"terminationGracePeriodSeconds": 30, "containers": [{"name": "main", "image": image}]},
    })
}

/// A Rollout behind a router, and the users of its first version.
struct Shop {
    subject: Subject,
    traffic: Traffic,
    controller: ControllerProcess,
}

impl Shop {
    async fn open(edge: Edge) -> Self {
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
        let route = format!("{}/{namespace}/shop", edge.route).parse().unwrap();
        let options = TrafficOptions {
            rate: RATE,
            namespace: Some(namespace),
            routes: vec![route],
            patience: DEADLINE,
            ..TrafficOptions::default()
        };
        let shop = Self { subject, traffic: Traffic::start(client, options), controller };
        shop.next(1).await;
        shop
    }

    async fn release(&self, version: &str) {
        self.subject.change(json!({"template": template(version)})).await;
    }

    async fn resume(&self) {
        self.subject.change_status(json!({"pauseConditions": null})).await;
    }

    /// All requests so far, by revision; those that reached no pod are of none.
    fn counts(&self) -> BTreeMap<String, Counts> {
        let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
        for (destination, of) in self.traffic.tally() {
            let sum = counts.entry(destination.revision).or_default();
            *sum = [*sum, of].into_iter().sum();
        }
        counts
    }

    /// How many of the next `count` requests each revision gets.
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

    /// Waits for the pause at a step.
    async fn until_at(&self, step: i32) -> Rollout {
        let at = move |rollout: Option<&Rollout>| {
            let status = rollout.and_then(|rollout| rollout.status.as_ref());
            status.is_some_and(|status| status.current_step_index == Some(step))
                && says("CanaryPauseStep").matches_object(rollout)
        };
        self.subject.until(at).await
    }

    /// Waits for the pause at a step, and for the share that the route gives the new version then.
    async fn until_paused(&self, step: i32, percent: u64) {
        let paused = self.until_at(step).await;
        let revision = paused.status.unwrap().current_pod_hash.unwrap();
        let mut found = BTreeMap::new();
        // The first sample may hold requests that were under way.
        for _ in 0..=FURTHER_SAMPLES {
            found = self.next(SAMPLE).await;
            if has_share(&found, &revision, percent) {
                return;
            }
        }
        panic!("{revision} should have {percent} % at step {step}, not {found:?}");
    }

    /// Goes on until the pause at `step`, the share measured at each pause on the way.
    async fn go_to(&self, step: i32) {
        for (pause, percent) in [(1, 10), (3, 50), (LAST_STEP, 100)] {
            self.until_paused(pause, percent).await;
            self.assert_unfailing(&format!("on the way to step {pause}"));
            if pause == step {
                return;
            }
            self.resume().await;
        }
    }

    /// Waits for the end of an update, and until nobody gets another version than the stable one.
    async fn until_healthy(&self) {
        let healthy = self.subject.until(is_in("Healthy")).await;
        self.until_only(&healthy.status.unwrap().stable_rs.unwrap()).await;
    }

    /// Takes the update back, and waits until nobody gets it and none of its pods is left.
    async fn abort(&self, revision: &str) {
        self.subject.change_status(json!({"abort": true})).await;
        let degraded = self.subject.until(is_in("Degraded")).await;
        self.until_only(&degraded.status.unwrap().stable_rs.unwrap()).await;
        self.subject.until_sizes(&[(revision, 4)]).await;
    }

    async fn retry(&self) {
        self.subject.change_status(json!({"abort": false, "abortedAt": null})).await;
    }

    /// Takes updates back and tries them again while pods still start and stop and weights still change, and replaces one by
    /// the next, with a controller that dies in the middle.
    async fn hurry(&mut self) {
        self.release("v5").await;
        for step in [1, 3] {
            self.until_at(step).await;
            self.resume().await;
            self.subject.change_status(json!({"abort": true})).await;
            self.subject.until(is_in("Degraded")).await;
            self.retry().await;
            self.until_at(1).await;
            self.resume().await;
        }
        self.until_at(3).await;
        self.resume().await;
        self.release("v6").await;
        self.controller.kill_and_restart().await;
        for step in [1, 3, LAST_STEP] {
            self.until_at(step).await;
            self.resume().await;
        }
        self.subject.until(is_in("Healthy")).await;
        self.release("v7").await;
        self.until_at(1).await;
        self.release("v6").await;
        self.until_healthy().await;
        self.assert_unfailing("in haste");
    }

    async fn until_only(&self, revision: &str) {
        let only = async { while !self.next(SAMPLE / 5).await.keys().eq([revision]) {} };
        timeout(DEADLINE, only).await.unwrap_or_else(|_| panic!("others than {revision} still get requests"));
    }

    /// Panics when a single request has failed.
    fn assert_unfailing(&self, when: &str) {
        let tally = self.traffic.tally();
        let is_failing = |counts: &Counts| counts.failed + counts.unanswered > 0;
        let failing: Vec<_> = tally.iter().filter(|(_, counts)| is_failing(counts)).collect();
        assert!(failing.is_empty(), "{} {when}: requests failed: {failing:#?}", self.subject.namespace);
    }
}

/// A Service of all pods.
async fn expose(client: &Client, namespace: &str, name: &str) {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let service = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }));
    services.create(&PostParams::default(), &service.unwrap()).await.unwrap();
}

/// Whether the share of a revision among these requests is its weight, within five standard deviations.
fn has_share(found: &BTreeMap<String, u64>, revision: &str, percent: u64) -> bool {
    let (all, of_revision) = (found.values().sum::<u64>(), found.get(revision).copied().unwrap_or_default());
    let variance = all * percent * (100 - percent);
    let difference = (of_revision * 100).abs_diff(all * percent);
    difference.pow(2) <= 25 * variance
}

/// An update to the end; one that is taken back from each of its steps, and then replaced by another; one that is left for
/// stable's own version; and one of somebody in haste.
async fn walk(edge: Edge) {
    let mut shop = Box::pin(Shop::open(edge)).await;
    shop.release("v2").await;
    shop.go_to(LAST_STEP).await;
    shop.resume().await;
    shop.until_healthy().await;
    shop.subject.until_sizes(&[("2", 4)]).await;
    shop.assert_unfailing("after the promotion");

    shop.release("v3").await;
    for step in [1, 3, LAST_STEP] {
        shop.go_to(step).await;
        shop.abort("2").await;
        shop.assert_unfailing(&format!("after the abort at step {step}"));
        shop.retry().await;
    }
    shop.go_to(3).await;
    shop.release("v4").await;
    shop.go_to(3).await;
    shop.release("v2").await;
    shop.until_healthy().await;
    shop.assert_unfailing("after the way back");

    Box::pin(shop.hurry()).await;
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
