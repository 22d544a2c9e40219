//! What concerns single pods: restarts within disruption budgets.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use serin::api::Rollout;

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, message_of};
use crate::shared::{client, kubeconfig, namespace, pods, wait_for};

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
