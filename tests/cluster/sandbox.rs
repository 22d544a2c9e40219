//! The sandbox as a whole: pods that really serve, requests that reach them as in a cluster, Prometheus that sees both.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use serin::sandbox::cluster::{ClusterOptions, LocalCluster};
use serin::sandbox::tools::{Tool, ToolPlaces, Tools};
use serin::sandbox::traffic::routes::Route;
use serin::sandbox::traffic::{Counts, Destination, Tally, Traffic, TrafficOptions};
use tokio::time::{sleep, timeout};

use crate::shared::{DEADLINE, deploy, is_pod_ready, is_ready, namespace, pods, wait_for};

/// How often something is asked for that cannot be watched.
const POLL: Duration = Duration::from_millis(50);

/// How many times faster than written the demo runs here: pauses of 6 s.
const DEMO_PACE: &str = "50";
/// The demo takes a minute at this pace; it has deadlines of its own, which explain more than this one.
const DEMO_DEADLINE: Duration = Duration::from_mins(10);

/// One sandbox for all tests that need pods which serve, on a thread of its own for the reason that [`crate::shared`] gives.
#[derive(Clone)]
pub(crate) struct Sandbox {
    config: Config,
    pub(crate) kubeconfig: String,
    pub(crate) prometheus: String,
    /// The controller's option that leads to this Prometheus.
    pub(crate) resolve: String,
}

pub(crate) fn sandbox() -> Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(run_forever).clone()
}

fn run_forever() -> Sandbox {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let options = ClusterOptions { tools: tools(), traffic: None };
            let cluster =
                LocalCluster::start(options, |_| ()).await.unwrap_or_else(|error| panic!("{error}"));
            let (control_plane, prometheus) = (cluster.control_plane(), cluster.prometheus());
            let sandbox = Sandbox {
                config: control_plane.config(),
                kubeconfig: control_plane.kubeconfig().to_owned(),
                prometheus: prometheus.url(),
                resolve: prometheus.resolve(),
            };
            sender.send(sandbox).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().expect("the sandbox did not start; the reason is above")
}

pub(crate) fn tools() -> Tools {
    let needed = [Tool::Etcd, Tool::ApiServer, Tool::ControllerManager, Tool::Prometheus];
    Tools::locate(&ToolPlaces::from_environment(), &needed).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) async fn client_and_namespace(prefix: &str) -> (Client, String) {
    let client = Client::try_from(sandbox().config).unwrap();
    let namespace = namespace(&client, prefix).await;
    (client, namespace)
}

/// A Service that selects the pods with the label `app=<name>`.
pub(crate) async fn expose(client: &Client, namespace: &str, name: &str) {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let service = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    }));
    services.create(&PostParams::default(), &service.unwrap()).await.unwrap();
}

/// A pod with the label `app=shop`, whose revision is its tag.
async fn run(client: &Client, namespace: &str, name: &str, tag: &str) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": "shop", "rollouts-pod-template-hash": tag}},
        "spec": {"containers": [{"name": "main", "image": format!("any/thing:{tag}")}]},
    }));
    pods.create(&PostParams::default(), &pod.unwrap()).await.unwrap();
}

/// Waits until `fact` is something.
async fn eventually<T>(what: &str, mut fact: impl AsyncFnMut() -> Option<T>) -> T {
    let holds = async {
        loop {
            if let Some(value) = fact().await {
                return value;
            }
            sleep(POLL).await;
        }
    };
    timeout(DEADLINE, holds).await.unwrap_or_else(|_| panic!("not after {DEADLINE:?}: {what}"))
}

/// Waits until a Service of the namespace has `ready` pods to send requests to.
pub(crate) async fn routed(traffic: &Traffic, service: &str, ready: usize) -> Route {
    let mut routes = traffic.routes();
    let found = |routes: &Vec<Route>| {
        routes.iter().any(|route| route.service == service && route.endpoints.len() == ready)
    };
    let routes = timeout(DEADLINE, routes.wait_for(found)).await.expect("no such route in time").unwrap();
    routes.iter().find(|route| route.service == service).cloned().unwrap()
}

/// The addresses that a route leads to.
fn reached(route: &Route) -> BTreeSet<String> {
    route.endpoints.iter().map(|end| end.address.ip().to_string()).collect()
}

/// The addresses of the pods of the shop that are ready.
async fn addresses(client: &Client, namespace: &str) -> BTreeSet<String> {
    let pods = pods(client, namespace, "shop").await;
    let ready = pods.into_values().filter(|pod| is_pod_ready(Some(pod)));
    ready.filter_map(|pod| pod.status?.pod_ip).collect()
}

pub(crate) fn counts(tally: &Tally, service: &str) -> Counts {
    tally.iter().filter(|(to, _)| to.service == service).map(|(_, counts)| *counts).sum()
}

/// Requests to the Services of one namespace alone, from users who wait for as long as a loaded machine may take.
pub(crate) fn traffic(client: &Client, namespace: &str, rate: u32) -> Traffic {
    let namespace = Some(namespace.to_owned());
    let options = TrafficOptions { rate, namespace, patience: DEADLINE, ..TrafficOptions::default() };
    Traffic::start(client.clone(), options)
}

/// Waits until this Service has had `requests`.
pub(crate) async fn sent(traffic: &Traffic, service: &str, requests: u64) -> Counts {
    eventually("requests", async || {
        let counts = counts(&traffic.tally(), service);
        (counts.total() >= requests).then_some(counts)
    })
    .await
}

/// The value of an instant query; `None` when there is none.
async fn query(query: &str) -> Option<f64> {
    let client = prometheus_http_query::Client::try_from(sandbox().prometheus.as_str()).unwrap();
    let answer = client.query(query).get().await.ok()?;
    let samples = answer.data().as_vector()?;
    samples.first().map(|sample| sample.sample().value()).filter(|value| value.is_finite())
}

#[tokio::test]
async fn requests_fail_at_the_rate_that_the_image_tag_names_and_prometheus_sees_the_same() {
    let (client, namespace) = client_and_namespace("rates").await;
    let deployments = deploy(&client, &namespace, "shop", "v2-err50-lat5ms", 2).await;
    expose(&client, &namespace, "shop").await;
    wait_for(&deployments, "shop", is_ready(2)).await;

    let traffic = traffic(&client, &namespace, 200);
    let service = format!("{namespace}/shop");
    let route = routed(&traffic, &service, 2).await;
    assert!(route.endpoints.iter().all(|end| end.address.ip().is_loopback()), "{route:?}");
    assert_ne!(route.endpoints[0].address, route.endpoints[1].address);
    let counts = sent(&traffic, &service, 200).await;
    let rate = counts.success_rate().unwrap();
    assert!((0.45..=0.55).contains(&rate) && counts.unanswered == 0, "{counts:?}");

    let total = format!("sum(http_requests_total{{namespace=\"{namespace}\",job=\"shop\"}})");
    let share = format!(
        "sum(http_requests_total{{namespace=\"{namespace}\",job=\"shop\",status=~\"2..\"}}) / {total}"
    );
    eventually("scraped requests", async || query(&total).await.filter(|total| *total >= 200.0)).await;
    let seen = eventually("a share", async || query(&share).await).await;
    assert!((0.45..=0.55).contains(&seen), "{seen}");
    let slow = format!(
        "sum(http_request_duration_seconds_bucket{{namespace=\"{namespace}\",le=\"0.004\"}}) or vector(0)"
    );
    let fast = eventually("buckets", async || query(&slow).await).await;
    assert!(fast.abs() < 0.5, "{fast} answers came before the latency that the tag names");
}

#[tokio::test]
async fn no_request_is_lost_when_pods_go_away() {
    let (client, namespace) = client_and_namespace("drain").await;
    let deployments = deploy(&client, &namespace, "shop", "good-lat20ms", 4).await;
    expose(&client, &namespace, "shop").await;
    wait_for(&deployments, "shop", is_ready(4)).await;
    let traffic = traffic(&client, &namespace, 200);
    let service = format!("{namespace}/shop");
    routed(&traffic, &service, 4).await;
    sent(&traffic, &service, 50).await;

    for name in pods(&client, &namespace, "shop").await.into_keys() {
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        api.delete(&name, &DeleteParams::default()).await.unwrap();
        // Its successor serves before the next one goes.
        wait_for(&api, &name, |pod: Option<&Pod>| pod.is_none()).await;
        eventually("four others that serve", async || {
            let others = addresses(&client, &namespace).await;
            (others.len() == 4 && others == reached(&routed(&traffic, &service, 4).await)).then_some(())
        })
        .await;
    }
    let before = counts(&traffic.tally(), &service).total();
    let counts = sent(&traffic, &service, before + 50).await;
    assert_eq!((counts.failed, counts.unanswered), (0, 0), "{counts:?}");
}

#[tokio::test]
async fn pods_that_are_not_ready_get_no_request() {
    let (client, namespace) = client_and_namespace("unready").await;
    expose(&client, &namespace, "shop").await;
    for tag in ["never", "badimage", "v2-crash", "v1-err", "slow-start300ms"] {
        run(&client, &namespace, &format!("shop-{tag}"), tag).await;
    }
    eventually("waiting reasons", async || {
        let pods = pods(&client, &namespace, "shop").await;
        let reason = |name: &str| -> Option<Value> {
            let pod = serde_json::to_value(pods.get(name)?).unwrap();
            pod.pointer("/status/containerStatuses/0/state/waiting/reason").cloned()
        };
        (reason("shop-badimage")? == "ImagePullBackOff" && reason("shop-v2-crash")? == "CrashLoopBackOff")
            .then_some(())
    })
    .await;
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    for name in ["shop-slow-start300ms", "shop-v1-err"] {
        wait_for(&api, name, is_pod_ready).await;
    }
    let traffic = traffic(&client, &namespace, 100);
    let service = format!("{namespace}/shop");
    let route = routed(&traffic, &service, 2).await;
    sent(&traffic, &service, 20).await;
    assert_eq!(reached(&route), addresses(&client, &namespace).await);
    let counts = counts(&traffic.tally(), &service);
    assert_eq!((counts.failed, counts.unanswered), (0, 0), "{counts:?}");
}

#[tokio::test]
async fn requests_are_counted_by_revision() {
    let (client, namespace) = client_and_namespace("revisions").await;
    expose(&client, &namespace, "shop").await;
    run(&client, &namespace, "stable", "v1").await;
    run(&client, &namespace, "canary", "v2-err100").await;

    let traffic = traffic(&client, &namespace, 200);
    let service = format!("{namespace}/shop");
    routed(&traffic, &service, 2).await;
    let before = counts(&traffic.tally(), &service).total();
    sent(&traffic, &service, before + 100).await;
    let tally = traffic.tally();
    let of = |revision: &str| tally[&Destination { service: service.clone(), revision: revision.to_owned() }];
    assert_eq!(of("v2-err100").success_rate(), Some(0.0));
    assert_eq!(of("v1").success_rate(), Some(1.0));
}

#[tokio::test]
async fn the_demo_takes_a_bad_version_back_and_promotes_a_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("demo.svg");
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(["demo", "--pace", DEMO_PACE, "--svg"])
        .arg(&picture)
        .env("TMPDIR", folder.path())
        .kill_on_drop(true)
        .output();
    let output = timeout(DEMO_DEADLINE, output).await.expect("the demo does not end").unwrap();
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{errors}");
    for fact in [
        "(4 failed, 3 tolerated)",
        "Degraded: RolloutAborted",
        "from the first bad measurement over the limit to stable at full size:",
        "step 6/6  setWeight: 100",
    ] {
        assert!(told.contains(fact), "{fact}\n{told}");
    }
    assert!(std::fs::read_to_string(&picture).unwrap().contains("v3 promoted"));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [picture], "the demo leaves files behind");
}
