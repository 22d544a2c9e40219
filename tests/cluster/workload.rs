//! Rollouts whose pod template comes from a Deployment, a ReplicaSet or a `PodTemplate`, with a real API server that gives
//! templates their defaults and a real Deployment controller beside ours.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplate;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serin::api::Rollout;
use serin::controller::{self, Options};
use serin::rollout::pod_hash::pod_template_hash;

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::plugin::Plugin;
use crate::rights;
use crate::rollouts::{Subject, says};
use crate::shared::{DEADLINE, client, config, kubeconfig, namespace, pods, wait_for};

const OLD: &str = "old";
const GENERATION: &str = "rollout.argoproj.io/workload-generation";
const SCALED_DOWN: &str = "rollout.argoproj.io/workload-scaled-down";
const HASH: &str = "rollouts-pod-template-hash";

/// A template of pods that go at once, with labels that a selector finds.
fn template(tag: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": OLD}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": format!("app:{tag}")}]},
    })
}

fn workload(replicas: i32) -> Value {
    json!({
        "metadata": {"name": OLD},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": OLD}}, "template": template("v1")},
    })
}

/// A controller and a namespace with one workload in it.
struct Place<K> {
    client: Client,
    namespace: String,
    workloads: Api<K>,
    _controller: ControllerProcess,
}

impl<K> Place<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + DeserializeOwned,
{
    async fn with(workload: Value) -> Self {
        let client = client();
        definitions_on_shared(&client).await;
        let namespace = namespace(&client, "workload").await;
        let workloads: Api<K> = Api::namespaced(client.clone(), &namespace);
        let workload = serde_json::from_value(workload).unwrap();
        workloads.create(&PostParams::default(), &workload).await.unwrap();
        let controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
        Self { client, namespace, workloads, _controller: controller }
    }

    /// Creates a Rollout that refers to the workload.
    async fn refer(&self, changes: Value) -> Subject {
        refer(&self.client, &self.namespace, K::kind(&()).as_ref(), changes).await
    }

    async fn patch(&self, change: Value) {
        self.workloads.patch(OLD, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }

    async fn release(&self, tag: &str) {
        self.patch(json!({"spec": {"template": template(tag)}})).await;
    }
}

impl Place<Deployment> {
    /// Creates a Deployment of four pods, and waits until they are ready.
    async fn with_deployment() -> Self {
        let place = Self::with(workload(4)).await;
        wait_for(&place.workloads, OLD, crate::shared::is_ready(4)).await;
        place
    }

    async fn size(&self) -> i32 {
        self.workloads.get(OLD).await.unwrap().spec.unwrap().replicas.unwrap()
    }

    /// Follows its sizes, with what is noted on it, until it is done with.
    async fn sizes_until_done(&self) -> Vec<(i32, Option<String>)> {
        let config = watcher::Config::default().fields(&format!("metadata.name={OLD}"));
        let mut changes = Box::pin(watcher(self.workloads.clone(), config).applied_objects());
        let mut sizes = Vec::new();
        let follow = async {
            while let Some(deployment) = changes.try_next().await.unwrap() {
                let note = deployment.annotations().get(SCALED_DOWN).cloned();
                let size = (deployment.spec.unwrap().replicas.unwrap(), note.clone());
                if sizes.last() != Some(&size) {
                    sizes.push(size);
                }
                if note.as_deref() == Some("done") {
                    return;
                }
            }
        };
        let followed = tokio::time::timeout(DEADLINE, follow).await;
        assert!(followed.is_ok(), "it is not done with: {sizes:?}");
        sizes
    }
}

async fn refer(client: &Client, namespace: &str, kind: &str, changes: Value) -> Subject {
    let version = if kind == "PodTemplate" { "v1" } else { "apps/v1" };
    let mut spec = json!({
        "template": null, "selector": null,
        "workloadRef": {"apiVersion": version, "kind": kind, "name": OLD},
        "strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}},
    });
    for (key, value) in changes.as_object().unwrap() {
        match spec[key].as_object_mut() {
            Some(fields) => fields.extend(value.as_object().unwrap().clone()),
            None => spec[key] = value.clone(),
        }
    }
    Subject::create(client, namespace, "none", spec).await
}

/// Holds once the status tells this generation of the workload, and the annotation does, too.
fn has_seen(generation: i64) -> impl Fn(Option<&Rollout>) -> bool {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    move |rollout| {
        rollout.is_some_and(|rollout| {
            let status = rollout.status.as_ref();
            let told = status.and_then(|status| status.workload_observed_generation.clone());
            let wanted = i32::try_from(generation).unwrap();
            told == Some(IntOrString::Int(wanted))
                && rollout.annotations().get(GENERATION) == Some(&generation.to_string())
        })
    }
}

/// The ReplicaSets of Rollouts.
async fn own_sets(client: &Client, namespace: &str) -> Vec<ReplicaSet> {
    let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
    sets.list(&ListParams::default().labels(HASH)).await.unwrap().items
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_makes_room_pod_by_pod_and_is_left_alone_once_the_rollout_is_healthy() {
    let place = Place::with_deployment().await;
    // Pods that are ready make room, and are available only once somebody says so.
    let scales = json!({"scaleDown": "progressively"});
    let wanted = json!({"minReadySeconds": 3600, "progressDeadlineSeconds": 7200, "workloadRef": scales});
    let subject = place.refer(wanted).await;
    let is_empty = |deployment: Option<&Deployment>| {
        deployment.is_some_and(|found| found.annotations().get(SCALED_DOWN).map(String::as_str) == Some("0"))
    };
    let end = async {
        wait_for(&place.workloads, OLD, is_empty).await;
        subject.change(json!({"minReadySeconds": 0})).await;
    };
    let (sizes, ()) = tokio::join!(place.sizes_until_done(), end);
    assert!(sizes.windows(2).all(|pair| pair[1].0 <= pair[0].0), "never more again: {sizes:?}");
    assert_eq!(sizes.first().unwrap(), &(4, None));
    assert_eq!(sizes.last().unwrap(), &(0, Some("done".to_owned())));
    assert!(sizes.contains(&(0, Some("0".to_owned()))), "before the pods are available: {sizes:?}");
    let healthy = subject.until_phase("Healthy").await;
    assert_eq!(healthy.status.unwrap().available_replicas, Some(4));

    place.patch(json!({"spec": {"replicas": 2}})).await;
    subject.change(json!({"replicas": 5})).await;
    subject.until_phase("Healthy").await;
    assert_eq!(place.size().await, 2, "whoever scaled it knows why");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_goes_at_once_when_the_rollout_is_healthy_and_not_before() {
    let place = Place::with_deployment().await;
    let wanted = json!({"minReadySeconds": 2, "workloadRef": {"scaleDown": "onsuccess"}});
    let subject = place.refer(wanted).await;
    assert_eq!(place.sizes_until_done().await, [(4, None), (0, Some("done".to_owned()))]);
    let healthy = subject.rollouts.get("web").await.unwrap().status.unwrap();
    assert_eq!(healthy.phase.as_deref(), Some("Healthy"));
    wait_for(&place.workloads, OLD, |deployment: Option<&Deployment>| {
        deployment.is_some_and(|found| found.status.as_ref().is_some_and(|status| status.replicas.is_none()))
    })
    .await;
    let left = pods(&place.client, &place.namespace, OLD).await;
    assert!(left.values().all(|pod| pod.labels().contains_key(HASH)), "only pods of the Rollout are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_keeps_its_pods_unless_told_otherwise_and_its_template_is_the_version() {
    let place = Place::with_deployment().await;
    let subject = place.refer(json!({})).await;
    subject.until_phase("Healthy").await;
    let plugin = Plugin::new(&place.namespace);
    assert_eq!(plugin.say("set image web main=app:v2").await, "rollout 'web' image updated\n");
    let paused = subject.until_phase("Paused").await;
    assert_eq!(place.size().await, 4);
    assert_eq!((&paused.spec.template, &paused.spec.selector), (&None, &None), "nothing is written back");

    let deployment = place.workloads.get(OLD).await.unwrap();
    subject.until(has_seen(deployment.metadata.generation.unwrap())).await;
    let stored = serde_json::to_value(&deployment).unwrap()["spec"]["template"].clone();
    let status = paused.status.unwrap();
    assert_eq!(status.current_pod_hash, Some(pod_template_hash(&stored, None)));
    assert_eq!(status.selector.as_deref(), Some("app=old"));
    for set in own_sets(&place.client, &place.namespace).await {
        let revision = set.annotations()["rollout.argoproj.io/revision"].clone();
        assert_eq!(set.annotations()[GENERATION], revision, "each is of the generation of its own template");
    }
    let tree = plugin.say("get rollout web").await;
    assert!(tree.contains("Workload:        Deployment old\n"), "{tree}");

    assert_eq!(plugin.say("undo web").await, "rollout 'web' undone to revision 1\n");
    subject.until_phase("Healthy").await;
    assert_eq!(own_sets(&place.client, &place.namespace).await.len(), 2, "the old ReplicaSet is found again");
    assert!(plugin.say("undo web --to-revision 3").await.starts_with("skipped rollback"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_deployment_is_named_and_waited_for() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "workload").await;
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let subject = refer(&client, &namespace, "Deployment", json!({})).await;
    subject.until(says("spec.workloadRef.name: Deployment \"old\" not found")).await;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let deployment = serde_json::from_value(workload(0)).unwrap();
    deployments.create(&PostParams::default(), &deployment).await.unwrap();
    subject.until_phase("Healthy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_set_can_stand_in_and_a_new_template_of_it_is_a_new_version() {
    let place = Place::<ReplicaSet>::with(workload(0)).await;
    let subject = place.refer(json!({})).await;
    subject.until_phase("Healthy").await;
    place.release("v2").await;
    subject.until_phase("Paused").await;
    subject.until(has_seen(2)).await;
    let refused = json!({"workloadRef": {"scaleDown": "onsuccess"}});
    subject.change(refused).await;
    subject.until(says("spec.workloadRef.scaleDown: only a Deployment can be scaled down")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_set_of_a_deployment_lends_its_template_without_the_deployments_hash() {
    let place = Place::<Deployment>::with(workload(0)).await;
    let of_deployment = "pod-template-hash";
    let sets: Api<ReplicaSet> = Api::namespaced(place.client.clone(), &place.namespace);
    let config = watcher::Config::default().labels(of_deployment);
    let mut found = Box::pin(watcher(sets, config).applied_objects());
    let set = tokio::time::timeout(DEADLINE, found.try_next()).await.unwrap().unwrap().unwrap();
    let reference = json!({"workloadRef": {"kind": "ReplicaSet", "name": set.name_any()}});
    let subject = place.refer(reference).await;
    let healthy = subject.until_phase("Healthy").await;
    assert_eq!(healthy.status.unwrap().selector.as_deref(), Some("app=old"));
    let own = own_sets(&place.client, &place.namespace).await;
    assert_eq!(own.len(), 1);
    let spec = own[0].spec.as_ref().unwrap();
    let labels = spec.template.as_ref().unwrap().metadata.as_ref().unwrap().labels.as_ref().unwrap();
    assert_eq!(labels.keys().collect::<Vec<_>>(), ["app", HASH]);
    assert!(!spec.selector.match_labels.as_ref().unwrap().contains_key(of_deployment));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_template_can_stand_in_and_a_change_of_it_is_a_new_version() {
    let place =
        Place::<PodTemplate>::with(json!({"metadata": {"name": OLD}, "template": template("v1")})).await;
    let subject = place.refer(json!({})).await;
    subject.until(says("Rollout has missing field '.spec.selector'")).await;
    subject.change(json!({"selector": {"matchLabels": {"app": OLD}}})).await;
    subject.until_phase("Healthy").await;
    let plugin = Plugin::new(&place.namespace);
    assert_eq!(plugin.say("set image web main=app:v2").await, "rollout 'web' image updated\n");
    subject.until_phase("Paused").await;
    assert_eq!(plugin.say("undo web").await, "rollout 'web' undone to revision 1\n");
    subject.until_phase("Healthy").await;
    assert_eq!(own_sets(&place.client, &place.namespace).await.len(), 2);
}

/// The metrics of a controller, once they are as wanted.
async fn metrics(address: std::net::SocketAddr, is_wanted: impl Fn(&str) -> bool) -> String {
    let ask = async {
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        loop {
            pause.tick().await;
            let Ok(answer) = reqwest::get(format!("http://{address}/metrics")).await else { continue };
            let text = answer.text().await.unwrap();
            if is_wanted(&text) {
                return text;
            }
        }
    };
    tokio::time::timeout(DEADLINE, ask).await.expect("the metrics are not as wanted")
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_are_watched_only_while_a_rollout_refers_to_one_and_an_update_is_timed() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "workload").await;
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let options =
        Options { namespace: Some(namespace.clone()), metrics_address: Some(address), ..Options::default() };
    let config = rights::config(config(), &namespace);
    let controller = tokio::spawn(controller::run(config, options, std::future::pending::<()>()));
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let deployment = serde_json::from_value(workload(0)).unwrap();
    deployments.create(&PostParams::default(), &deployment).await.unwrap();

    let own =
        json!({"workloadRef": null, "selector": {"matchLabels": {"app": OLD}}, "template": template("v1")});
    let subject = Subject::create(&client, &namespace, "v1", own).await;
    subject.change(json!({"strategy": {"canary": {}}})).await;
    subject.until_phase("Healthy").await;
    let promoted = |text: &str| text.contains("rollout_duration_seconds_count{status=\"Promoted\"} 1");
    let before = metrics(address, promoted).await;
    assert!(!before.contains("kind=\"deployments\""), "nobody refers to a Deployment: {before}");

    let reference = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": OLD});
    subject.change(json!({"template": null, "workloadRef": reference})).await;
    metrics(address, |text| text.contains("kind=\"deployments\",verb=\"Watch\"")).await;
    subject.until(has_seen(1)).await;
    controller.abort();
    rights::assert_sufficed(&namespace);
}
