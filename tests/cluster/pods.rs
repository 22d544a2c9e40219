//! What concerns single pods: restarts within disruption budgets, labels and annotations by role, anti-affinity.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use serin::api::Rollout;

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, canary, is_in, message_of, template};
use crate::shared::{apply, client, kubeconfig, namespace, pods, wait_for};

const EPHEMERAL: &str = "rollout.argoproj.io/ephemeral-metadata";
const PENDING: &str = "rollout.argoproj.io/ephemeral-metadata-pending";

async fn setup(prefix: &str, spec: Value) -> (Client, Subject, ControllerProcess) {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, prefix).await;
    let controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let subject = Subject::create(&client, &namespace, "v1", spec).await;
    subject.until_phase("Healthy").await;
    (client, subject, controller)
}

/// A budget that wants `least` pods of the Rollout.
async fn budget(subject: &Subject, least: i32) -> Api<PodDisruptionBudget> {
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(subject.client.clone(), &subject.namespace);
    let budget = json!({
        "metadata": {"name": "web"},
        "spec": {"minAvailable": least, "selector": {"matchLabels": {"app": "web"}}},
    });
    budgets.create(&PostParams::default(), &serde_json::from_value(budget).unwrap()).await.unwrap();
    let is_counted = |budget: Option<&PodDisruptionBudget>| {
        let status = budget.and_then(|budget| budget.status.as_ref());
        status.is_some_and(|status| status.current_healthy == Some(3))
    };
    wait_for(&budgets, "web", is_counted).await;
    budgets
}

fn uids(pods: &BTreeMap<String, Pod>) -> BTreeSet<String> {
    pods.values().filter_map(ResourceExt::uid).collect()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready" && condition.status == "True");
    pod.metadata.deletion_timestamp.is_none() && ready.next().is_some()
}

/// The fewest pods that are ready at once until `done`.
async fn fewest_ready(subject: &Subject, done: impl Future<Output = Rollout>) -> usize {
    let api: Api<Pod> = Api::namespaced(subject.client.clone(), &subject.namespace);
    let mut events = Box::pin(watcher(api, watcher::Config::default()));
    let (mut ready, mut fewest, mut is_listed) = (BTreeSet::new(), usize::MAX, false);
    let look = async {
        while let Some(event) = events.try_next().await.unwrap() {
            match event {
                Event::Apply(pod) | Event::InitApply(pod) if is_ready(&pod) => {
                    ready.insert(pod.name_any());
                }
                Event::Apply(pod) | Event::InitApply(pod) | Event::Delete(pod) => {
                    ready.remove(&pod.name_any());
                }
                Event::Init => {}
                Event::InitDone => is_listed = true,
            }
            if is_listed {
                fewest = fewest.min(ready.len());
            }
        }
    };
    tokio::select! { () = look => panic!("a watch ended"), _ = done => {} }
    fewest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_replaces_every_pod_one_at_a_time_and_waits_for_the_disruption_budget() {
    let (client, subject, _controller) =
        setup("restart", json!({"replicas": 3, "strategy": {"canary": {}}})).await;
    let budgets = budget(&subject, 3).await;
    let before = pods(&client, &subject.namespace, "web").await;
    let newest = before.values().filter_map(ResourceExt::creation_timestamp).max().unwrap().0.as_second();
    let at = k8s_openapi::jiff::Timestamp::from_second(newest + 1).unwrap().to_string();
    subject.change(json!({"restartAt": at})).await;
    let asked = subject.until_phase("Progressing").await;
    assert_eq!(message_of(&asked), "rollout is restarting");
    subject.until_announced("RestartBlocked").await;
    assert_eq!(uids(&pods(&client, &subject.namespace, "web").await), uids(&before), "the budget is kept");

    let allow = Patch::Merge(json!({"spec": {"minAvailable": 2}}));
    budgets.patch("web", &PatchParams::default(), &allow).await.unwrap();
    let fewest = fewest_ready(&subject, subject.until_phase("Healthy")).await;
    assert_eq!(fewest, 2);
    let after = pods(&client, &subject.namespace, "web").await;
    assert_eq!((after.len(), uids(&after).intersection(&uids(&before)).count()), (3, 0));
    let rollout = subject.rollouts.get("web").await.unwrap();
    assert_eq!(rollout.status.unwrap().restarted_at, rollout.spec.restart_at);
}

/// The label `role` of each pod by its uid.
async fn roles(subject: &Subject) -> BTreeMap<String, Option<String>> {
    let pods = pods(&subject.client, &subject.namespace, "web").await;
    pods.into_values().map(|pod| (pod.uid().unwrap(), pod.labels().get("role").cloned())).collect()
}

fn count(roles: &BTreeMap<String, Option<String>>, role: &str) -> usize {
    roles.values().filter(|found| found.as_deref() == Some(role)).count()
}

async fn replica_sets(subject: &Subject) -> (Api<ReplicaSet>, BTreeMap<String, ReplicaSet>) {
    let api: Api<ReplicaSet> = Api::namespaced(subject.client.clone(), &subject.namespace);
    let listed = api.list(&ListParams::default()).await.unwrap();
    let revision = |set: &ReplicaSet| set.annotations()["rollout.argoproj.io/revision"].clone();
    let by_revision = listed.items.into_iter().map(|set| (revision(&set), set)).collect();
    (api, by_revision)
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_run_take_on_the_labels_of_their_new_role() {
    let spec = json!({"replicas": 3, "strategy": {"canary": {
        "steps": [{"setWeight": 34}, {"pause": {}}],
        "canaryMetadata": {"labels": {"role": "canary"}, "annotations": {"note": "on trial"}},
        "stableMetadata": {"labels": {"role": "stable"}},
    }}});
    let (_, subject, _controller) = setup("roles", spec).await;
    assert_eq!(count(&roles(&subject).await, "stable"), 3);
    subject.release("v2").await;
    subject.until_phase("Paused").await;
    let paused = roles(&subject).await;
    assert_eq!((count(&paused, "stable"), count(&paused, "canary")), (2, 1));

    subject.change_status(json!({"promoteFull": true})).await;
    subject.until_phase("Healthy").await;
    let (api, sets) = replica_sets(&subject).await;
    let is_settled = |set: Option<&ReplicaSet>| {
        set.is_some_and(|set| {
            set.annotations().get(EPHEMERAL).map(String::as_str) == Some(r#"{"labels":{"role":"stable"}}"#)
                && !set.annotations().contains_key(PENDING)
        })
    };
    let settled = wait_for(&api, &sets["2"].name_any(), is_settled).await.unwrap();
    let template = settled.spec.unwrap().template.unwrap().metadata.unwrap();
    assert_eq!((template.labels.unwrap()["role"].as_str(), template.annotations), ("stable", None));
    let after = roles(&subject).await;
    assert_eq!((after.len(), count(&after, "stable")), (3, 3));
    let canary = paused.iter().find(|(_, role)| role.as_deref() == Some("canary")).unwrap().0;
    assert!(after.contains_key(canary), "the canary's pod was changed, not replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn anti_affinity_is_in_the_template_until_the_version_is_stable() {
    let mut spec = canary(json!([{"setWeight": 50}, {"pause": {}}]));
    spec["strategy"]["canary"]["antiAffinity"] =
        json!({"requiredDuringSchedulingIgnoredDuringExecution": {}});
    let (_, subject, _controller) = setup("apart", spec).await;
    subject.release("v2").await;
    subject.until_phase("Paused").await;
    let (api, sets) = replica_sets(&subject).await;
    let affinity = |set: &ReplicaSet| {
        let template = set.spec.clone().unwrap().template.unwrap().spec.unwrap();
        serde_json::to_value(template.affinity).unwrap()
    };
    let stable = sets["1"].labels()["rollouts-pod-template-hash"].clone();
    assert_eq!(affinity(&sets["1"]), Value::Null);
    let term = json!({
        "labelSelector": {"matchExpressions": [
            {"key": "rollouts-pod-template-hash", "operator": "In", "values": [stable]},
        ]},
        "topologyKey": "kubernetes.io/hostname", "namespaces": [subject.namespace],
    });
    let expected = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    assert_eq!(affinity(&sets["2"]), expected);

    let before = uids(&pods(&subject.client, &subject.namespace, "web").await);
    subject.resume().await;
    subject.until(is_in("Healthy")).await;
    let is_free = |set: Option<&ReplicaSet>| set.is_some_and(|set| affinity(set) == Value::Null);
    wait_for(&api, &sets["2"].name_any(), is_free).await;
    let after = uids(&pods(&subject.client, &subject.namespace, "web").await);
    assert_eq!(after.intersection(&before).count(), 2, "pods of the version stay");
}

/// A Service that selects pods by the label of their role, as a sync engine applies it.
async fn select_by_role(client: &Client, namespace: &str, role: &str) {
    let key = format!("rollout.argoproj.io/{role}");
    let spec = json!({"selector": {"app": "web", key: "web"}, "ports": [{"port": 80}]});
    apply::<Service>(client, namespace, role, json!({"spec": spec})).await;
}

/// The names of the ready pods that a Service selects.
async fn behind(client: &Client, namespace: &str, service: &str) -> BTreeSet<String> {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let selector = services.get(service).await.unwrap().spec.unwrap().selector.unwrap();
    let selector: Vec<_> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = api.list(&ListParams::default().labels(&selector.join(","))).await.unwrap();
    pods.items.iter().filter(|pod| is_ready(pod)).map(ResourceExt::name_any).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_select_by_role_follow_an_update_and_are_never_written() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "role-labels").await;
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    for role in ["stable", "canary"] {
        select_by_role(&client, &namespace, role).await;
    }
    let backend = json!({"service": {"name": "stable", "port": {"number": 80}}});
    let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
    let rules = json!([{"host": "shop.example", "http": {"paths": [path]}}]);
    let ingress = json!({"spec": {"ingressClassName": "nginx", "rules": rules}});
    apply::<Ingress>(&client, &namespace, "web", ingress).await;
    let subject = Subject::named("web", &client, &namespace);
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "annotations": {"rollout.argoproj.io/role-labels": "true"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template("v1"),
            "strategy": {"canary": {"canaryService": "canary", "stableService": "stable", "scaleDownDelaySeconds": 1,
                "trafficRouting": {"nginx": {"stableIngress": "web"}},
                "steps": [{"setWeight": 50}, {"pause": {}}]}}},
    });
    let rollout = serde_json::from_value(rollout).unwrap();
    subject.rollouts.create(&PostParams::default(), &rollout).await.unwrap();
    subject.until_phase("Healthy").await;
    let stable: BTreeSet<_> = pods(&client, &namespace, "web").await.into_keys().collect();

    subject.release("v2").await;
    subject.until_phase("Paused").await;
    let new: BTreeSet<_> =
        pods(&client, &namespace, "web").await.into_keys().filter(|name| !stable.contains(name)).collect();
    assert_eq!(new.len(), 1);
    assert_eq!(behind(&client, &namespace, "canary").await, new);
    assert_eq!(behind(&client, &namespace, "stable").await, stable);
    subject.resume().await;
    subject.until_phase("Healthy").await;
    let (api, sets) = replica_sets(&subject).await;
    let is_gone =
        |set: Option<&ReplicaSet>| set.is_some_and(|set| set.spec.as_ref().unwrap().replicas == Some(0));
    wait_for(&api, &sets["1"].name_any(), is_gone).await;
    let left = behind(&client, &namespace, "stable").await;
    assert!(left.len() == 2 && left.is_disjoint(&stable) && left.is_superset(&new), "{left:?}");

    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    for service in services.list(&ListParams::default()).await.unwrap() {
        assert_eq!((service.annotations().len(), service.managed_fields().len()), (0, 1), "{service:?}");
        assert_eq!(service.spec.unwrap().selector.unwrap().len(), 2);
    }
}
