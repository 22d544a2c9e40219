//! SMI: a `TrafficSplit` that belongs to the Rollout.

use kube::Api;
use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::runtime::wait::Condition;
use serde_json::{Value, json};
use serin::api::{Experiment, Rollout};

use super::{
    Case, Kind, Routed, api, change, create, create_service, template_with_port, walk, with_an_experiment,
};
use crate::rollouts::{is_in, message_of};
use crate::shared::{follow, next, wait_for};

const SPLIT: Kind = ("split.smi-spec.io", "v1alpha4", "TrafficSplit", "trafficsplits");

fn case() -> Case {
    Case {
        name: "smi",
        definitions: &["smi/trafficsplits.yaml"],
        objects: vec![],
        routing: json!({"smi": {"trafficSplitName": "shop"}}),
        weight: (SPLIT, "shop", "/spec/backends/0/weight"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_follows_every_step_and_goes_back_from_each() {
    Box::pin(walk(case())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_that_is_deleted_or_changed_is_made_again() {
    let routed = Box::pin(Routed::deploy(case(), json!({}))).await;
    let subject = &routed.subject;
    subject.release("v2").await;
    routed.until_at_step(1).await;
    routed.until_weight(20).await;
    api(&subject.client, &subject.namespace, SPLIT).delete("shop", &DeleteParams::default()).await.unwrap();
    subject.until_told("TrafficWeightReverted", "to 0, setting it back to 20").await;
    routed.until_weight(20).await;
    let other = json!({"spec": {"backends": [{"service": "other", "weight": 1}]}});
    change(&subject.client, &subject.namespace, SPLIT, "shop", other).await;
    routed.until_weight(20).await;
    routed.resume().await;
    routed.until_at_step(3).await;
    routed.until_weight(50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_root_is_split_once_it_is_there_and_the_split_goes_with_the_rollout() {
    let routing = json!({"smi": {"trafficSplitName": "shop", "rootService": "root"}});
    let routed = Box::pin(Routed::create(Case { name: "smi-root", routing, ..case() }, json!({}))).await;
    let subject = &routed.subject;
    let message = message_of(&subject.until(is_in("Degraded")).await);
    assert!(message.contains("trafficRouting.smi.rootService: Service \"root\" not found"), "{message}");
    create_service(&subject.client, &subject.namespace, "root").await;
    subject.until_phase("Healthy").await;
    routed.until_weight(0).await;

    let splits = api(&subject.client, &subject.namespace, SPLIT);
    let first = splits.get("shop").await.unwrap().uid();
    let mut states = follow(&splits).await;
    // The Rollout stays until everything that belongs to it is gone.
    subject.rollouts.delete(subject.name, &DeleteParams::foreground()).await.unwrap();
    wait_for(&subject.rollouts, subject.name, |found: Option<&Rollout>| found.is_none()).await;
    wait_for(&splits, "shop", |found: Option<&DynamicObject>| found.is_none()).await;
    let last = json!({"metadata": {"name": "last"}, "spec": {"service": "stable", "backends": []}});
    create(&subject.client, &subject.namespace, SPLIT, last).await;
    loop {
        let state = next(&mut states).await;
        if state.name_any() == "last" {
            break;
        }
        assert_eq!(state.uid(), first, "it was made again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_of_somebody_else_is_named_and_the_rollout_heals_once_it_is_gone() {
    let backends = json!([{"service": "stable", "weight": 1}]);
    let split = json!({"metadata": {"name": "shop"}, "spec": {"service": "stable", "backends": backends}});
    let case = Case { name: "smi-taken", objects: vec![(SPLIT, split)], ..case() };
    let routed = Box::pin(Routed::create(case, json!({}))).await;
    let subject = &routed.subject;
    let refused = subject.until(is_in("Degraded")).await;
    let message = message_of(&refused);
    let expected = "trafficRouting.smi.trafficSplitName: TrafficSplit \"shop\" exists and does not belong";
    assert!(message.contains(expected), "{message}");
    let splits = api(&subject.client, &subject.namespace, SPLIT);
    let found: Value = serde_json::to_value(splits.get("shop").await.unwrap()).unwrap();
    assert_eq!(found["spec"]["backends"], backends);
    splits.delete("shop", &DeleteParams::default()).await.unwrap();
    subject.until_phase("Healthy").await;
}

/// The names and weights of a split's backends.
fn backends(split: &Value) -> Vec<(String, u64)> {
    let backends = split.as_array().unwrap().iter();
    backends
        .map(|backend| (backend["service"].as_str().unwrap().to_owned(), backend["weight"].as_u64().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_has_its_part_of_the_traffic_while_it_runs_and_none_afterwards() {
    let case = Case { name: "smi-experiment", ..case() };
    let routed = Box::pin(Routed::deploy(case, with_an_experiment())).await;
    let subject = &routed.subject;
    subject.change(json!({"template": template_with_port("v2")})).await;
    let four = |split: Value| {
        let found = backends(&split);
        let weights: Vec<u64> = found.iter().map(|(_, weight)| *weight).collect();
        weights == [20, 65, 10, 5] && found[2].0.ends_with("-1-baseline")
    };
    routed.until((SPLIT, "shop", "/spec/backends"), four).await;
    let additional = |rollout: Option<&Rollout>| {
        let canary = rollout.and_then(|rollout| rollout.status.clone()?.canary);
        canary.and_then(|canary| canary.weights?.additional).map(|shares| shares.len())
    };
    let told = subject.until(move |rollout: Option<&Rollout>| additional(rollout) == Some(2)).await;
    subject.until_told("TrafficWeightUpdated", "-1-candidate: 5").await;
    let name = told.status.unwrap().canary.unwrap().current_experiment.unwrap();
    let experiments: Api<Experiment> = Api::namespaced(subject.client.clone(), &subject.namespace);
    let end = Patch::Merge(json!({"spec": {"terminate": true}}));
    experiments.patch(&name, &PatchParams::default(), &end).await.unwrap();
    let two = |split: Value| backends(&split) == [("canary".to_owned(), 0), ("stable".to_owned(), 100)];
    routed.until((SPLIT, "shop", "/spec/backends"), two).await;
    let ended = subject.until(move |rollout: Option<&Rollout>| {
        is_in("Healthy").matches_object(rollout) && additional(rollout).is_none()
    });
    ended.await;
    // Nothing leads to its pods any more, so they go.
    let emptied = |found: Option<&Experiment>| {
        let status = found.and_then(|found| found.status.clone()).unwrap_or_default();
        status.template_statuses.iter().flatten().all(|template| template.replicas == Some(0))
    };
    wait_for(&experiments, &name, emptied).await;
}
