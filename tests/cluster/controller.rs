//! The controller in process: who leads, what it waits for, and whose objects it leaves alone.

use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Config};
use serde_json::json;
use serin::api::Rollout;
use serin::controller::{self, LeaderElection, Options, RunError};
use serin::sandbox::cluster::define;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::controller_process::definitions_on_shared;
use crate::rights;
use crate::rollouts::{Subject, canary};
use crate::shared::{
    DEADLINE, client, config, namespace, options as control_plane_options, own_addresses, wait_for,
};

const LEASE: &str = "argo-rollouts-controller-lock";

/// A controller of this process.
struct Running {
    namespace: String,
    end: oneshot::Sender<()>,
    outcome: JoinHandle<Result<(), RunError>>,
}

impl Running {
    /// Starts one for the namespace of the options. `config` is an administrator's, for whom it acts as its service account.
    fn start(config: Config, options: Options) -> Self {
        let namespace = options.namespace.clone().unwrap();
        let config = rights::config(config, &namespace);
        let (end, ended) = oneshot::channel();
        let shutdown = async move { drop(ended.await) };
        Self { namespace, end, outcome: tokio::spawn(controller::run(config, options, shutdown)) }
    }

    /// Asks it to end, and waits until it has.
    async fn stop(self) {
        self.end.send(()).unwrap();
        timeout(DEADLINE, self.outcome).await.expect("it does not end").unwrap().unwrap();
        rights::assert_sufficed(&self.namespace);
    }

    /// Why it ended by itself.
    async fn error(self) -> RunError {
        timeout(DEADLINE, self.outcome).await.expect("it does not end").unwrap().unwrap_err()
    }
}

fn in_namespace(namespace: &str) -> Options {
    Options { namespace: Some(namespace.to_owned()), ..Options::default() }
}

/// Like [`in_namespace`], with a Lease that lasts longer than any test.
fn elected(namespace: &str) -> Options {
    let election = LeaderElection {
        lease_duration: Duration::from_hours(1),
        renew_deadline: Duration::from_mins(50),
        retry_period: Duration::from_millis(200),
        namespace: namespace.to_owned(),
    };
    Options { leader_election: Some(election), ..in_namespace(namespace) }
}

fn holder(lease: &Lease) -> &str {
    let spec = lease.spec.as_ref().unwrap();
    spec.holder_identity.as_deref().unwrap_or_default()
}

fn is_held(lease: Option<&Lease>) -> bool {
    lease.is_some_and(|lease| !holder(lease).is_empty())
}

async fn setup(prefix: &str) -> (Client, String, Api<Lease>) {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, prefix).await;
    let leases = Api::namespaced(client.clone(), &namespace);
    (client, namespace, leases)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_ends_gives_its_lease_back_and_the_next_one_goes_on() {
    let (client, namespace, leases) = setup("handover").await;
    let first = Running::start(config(), elected(&namespace));
    let held = wait_for(&leases, LEASE, is_held).await.unwrap();
    let second = Running::start(config(), elected(&namespace));
    let subject = Subject::create(&client, &namespace, "v1", canary(json!([{"pause": {}}]))).await;
    subject.until_phase("Healthy").await;
    subject.release("v2").await;
    subject.until_phase("Paused").await;

    first.stop().await;
    let by_another =
        |lease: Option<&Lease>| is_held(lease) && lease.is_some_and(|lease| holder(lease) != holder(&held));
    wait_for(&leases, LEASE, by_another).await;
    subject.resume().await;
    subject.until_phase("Healthy").await;
    second.stop().await;
    assert_eq!(holder(&leases.get(LEASE).await.unwrap()), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_lease_was_taken_ends() {
    let (_, namespace, leases) = setup("taken").await;
    let leader = Running::start(config(), elected(&namespace));
    wait_for(&leases, LEASE, is_held).await;
    let taken = Patch::Merge(json!({"spec": {"holderIdentity": "another"}}));
    leases.patch(LEASE, &PatchParams::default(), &taken).await.unwrap();
    let error = leader.error().await;
    assert!(matches!(error, RunError::LeadershipLost(_)), "{error}");
    assert_eq!(error.to_string(), "leadership lost: another leads");
    assert_eq!(holder(&leases.get(LEASE).await.unwrap()), "another", "a lost lease is not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_of_another_shard_are_left_alone() {
    let (client, namespace, _) = setup("shards").await;
    let rollouts: Api<Rollout> = Api::namespaced(client.clone(), &namespace);
    let label = json!({"argo-rollouts.argoproj.io/controller-instance-id": "blue"});
    let foreign = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "foreign", "labels": label},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "foreign"}}},
    });
    rollouts.patch("foreign", &PatchParams::apply("test"), &Patch::Apply(foreign)).await.unwrap();
    let controller = Running::start(config(), in_namespace(&namespace));
    let subject = Subject::create(&client, &namespace, "v1", canary(json!([]))).await;
    subject.until_phase("Healthy").await;
    assert_eq!(rollouts.get("foreign").await.unwrap().status, None);
    controller.stop().await;

    let blue = Options { instance_id: "blue".to_owned(), ..in_namespace(&namespace) };
    let controller = Running::start(config(), blue);
    let has_status = |rollout: Option<&Rollout>| rollout.is_some_and(|rollout| rollout.status.is_some());
    wait_for(&rollouts, "foreign", has_status).await;
    controller.stop().await;
}

/// The status code and the body of an answer over plain HTTP; `None` when there is none.
async fn get(address: SocketAddr, path: &str) -> Option<(String, String)> {
    let mut connection = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.to_owned(), body.to_owned()))
}

/// Asks until the answer is as wanted.
async fn until(address: SocketAddr, path: &str, is_wanted: impl Fn(&str, &str) -> bool) {
    let mut last = None;
    let ask = async {
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        loop {
            pause.tick().await;
            last = get(address, path).await;
            if last.as_ref().is_some_and(|(code, body)| is_wanted(code, body)) {
                return;
            }
        }
    };
    let outcome = timeout(DEADLINE, ask).await;
    outcome.unwrap_or_else(|_| panic!("{path} does not answer as wanted: {last:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_definitions_are_named_and_waited_for_and_metrics_follow_the_objects() {
    use serin::sandbox::control_plane::ControlPlane;
    let control_plane = ControlPlane::start(control_plane_options()).await.unwrap();
    let client = control_plane.client();
    rights::grant(&client, "default").await;
    let [health, metrics] = own_addresses();
    let options =
        Options { health_address: Some(health), metrics_address: Some(metrics), ..in_namespace("default") };
    let controller = Running::start(control_plane.config(), options);
    let problem = "the CustomResourceDefinition rollouts.argoproj.io is not installed";
    until(health, "/readyz", |code, body| code == "503" && body.contains(problem)).await;
    until(health, "/healthz", |code, _| code == "200").await;

    define(&client).await.unwrap();
    until(health, "/readyz", |code, _| code == "200").await;
    let subject = Subject::create(&client, "default", "v1", canary(json!([]))).await;
    subject.until_phase("Progressing").await;
    let info = "rollout_info{namespace=\"default\",name=\"web\",strategy=\"canary\",traffic_router=\"\",phase=\"Progressing\"} 1";
    let written =
        "controller_clientset_k8s_request_total{kind=\"rollouts\",verb=\"Patch\",status_code=\"200\"}";
    until(metrics, "/metrics", |_, body| body.contains(info) && body.contains(written)).await;
    subject.rollouts.delete("web", &kube::api::DeleteParams::default()).await.unwrap();
    until(metrics, "/metrics", |_, body| !body.contains("name=\"web\"")).await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routers_definition_that_goes_is_named_and_found_again_when_it_comes_back() {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    use serin::sandbox::control_plane::ControlPlane;

    use crate::rollouts::message_of;
    use crate::routers::{create, create_service, definitions};

    const DEFINITION: &str = "traefik/traefikservices.yaml";
    const SERVICE: crate::routers::Kind = ("traefik.io", "v1alpha1", "TraefikService", "traefikservices");
    let control_plane = ControlPlane::start(control_plane_options()).await.unwrap();
    let client = control_plane.client();
    define(&client).await.unwrap();
    definitions::install_file(&client, DEFINITION).await;
    rights::grant(&client, "default").await;
    for name in ["stable", "canary"] {
        create_service(&client, "default", name).await;
    }
    let service = json!({"metadata": {"name": "shop"}, "spec": {"weighted": {"services": [
        {"name": "stable", "port": 80}, {"name": "canary", "port": 80},
    ]}}});
    create(&client, "default", SERVICE, service.clone()).await;
    let controller = Running::start(control_plane.config(), in_namespace("default"));
    let spec = json!({"replicas": 0, "strategy": {"canary": {
        "canaryService": "canary", "stableService": "stable",
        "trafficRouting": {"traefik": {"weightedTraefikServiceName": "shop"}},
    }}});
    let subject = Subject::create(&client, "default", "v1", spec).await;
    subject.until_phase("Healthy").await;

    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let delete = kube::api::DeleteParams::default();
    definitions.delete("traefikservices.traefik.io", &delete).await.unwrap();
    let says = |text: &'static str| {
        move |rollout: Option<&Rollout>| rollout.is_some_and(|rollout| message_of(rollout).contains(text))
    };
    subject.until(says("CustomResourceDefinition traefikservices.traefik.io is not installed")).await;
    definitions::install_file(&client, DEFINITION).await;
    subject.until(says("TraefikService \"shop\" not found")).await;
    create(&client, "default", SERVICE, service).await;
    subject.until_phase("Healthy").await;
    controller.stop().await;
}
