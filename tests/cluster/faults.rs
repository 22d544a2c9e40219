//! Faults: whatever dies, the rollout ends where it should, with no step skipped and none repeated.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use kube::Api;
use kube::runtime::wait::Condition;
use serde_json::json;
use serin::api::{AnalysisRun, Rollout};
use serin::sandbox::cluster::define;
use serin::sandbox::control_plane::ControlPlane;
use serin::sandbox::node::{QuickWorkload, VirtualNode};

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rights;
use crate::rollouts::{
    Subject, analysis_template, canary, is_in, is_observed, is_restored, message_of, phase_of, says, template,
};
use crate::shared::{client, follow, kubeconfig, namespace, next, options, wait_for_all};
use crate::stub_prometheus::{Answer, StubPrometheus};

/// Where a rollout stands, as far as its users can tell.
#[derive(Clone, Debug, PartialEq)]
struct Standing {
    is_observed: bool,
    step: Option<i32>,
    phase: Option<String>,
    updated: Option<i32>,
    available: Option<i32>,
}

impl Standing {
    fn of(rollout: &Rollout) -> Self {
        let is_observed = is_observed(rollout);
        let status = rollout.status.clone().unwrap_or_default();
        Self {
            is_observed,
            step: status.current_step_index,
            phase: status.phase,
            updated: status.updated_replicas,
            available: status.available_replicas,
        }
    }
}

/// Kills the controller whenever users see a change, which is between its writes, until the end. Returns what they saw.
async fn killed_at_every_change(
    controller: &mut ControllerProcess,
    states: &mut (impl Stream<Item = Rollout> + Unpin),
    is_over: impl Condition<Rollout>,
) -> Vec<Standing> {
    let mut seen: Vec<Standing> = Vec::new();
    loop {
        let rollout = next(states).await;
        let standing = Standing::of(&rollout);
        let is_news = seen.last() != Some(&standing);
        if is_news {
            seen.push(standing);
        }
        if is_over.matches_object(Some(&rollout)) {
            return seen;
        }
        if is_news {
            controller.kill_and_restart().await;
        }
    }
}

/// A Rollout of version 1, Healthy, with its controller.
async fn healthy(prefix: &str, steps: serde_json::Value) -> (Subject, ControllerProcess) {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, prefix).await;
    let controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let subject = Subject::create(&client, &namespace, "v1", canary(steps)).await;
    subject.until_phase("Healthy").await;
    (subject, controller)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_at_every_step_skips_none_and_repeats_none() {
    let prometheus = StubPrometheus::start(Answer::Value(1.0));
    let (subject, mut controller) = healthy("killed", json!([])).await;
    analysis_template(&subject.client, &subject.namespace, "success-rate", &prometheus.url(), json!({}))
        .await;
    let steps = json!([
        {"setWeight": 25}, {"pause": {"duration": 1}},
        {"analysis": {"templates": [{"templateName": "success-rate"}]}},
        {"setWeight": 50}, {"pause": {"duration": 1}}, {"setWeight": 100},
    ]);
    subject.change(canary(steps)).await;
    subject.until_phase("Healthy").await;

    let mut states = follow(&subject.rollouts).await;
    subject.release("v2").await;
    let seen = killed_at_every_change(&mut controller, &mut states, is_in("Healthy")).await;

    let mut steps: Vec<_> = seen.iter().filter(|seen| seen.is_observed).map(|seen| seen.step).collect();
    steps.dedup();
    assert_eq!(steps, (0..=6).map(Some).collect::<Vec<_>>(), "{seen:#?}");
    subject.until_sizes(&[("2", 4)]).await;
    subject.until_revisions(&["1", "2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_throughout_the_first_deploy_deploys_once() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "killed-first").await;
    let mut controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let mut states = follow(&Api::namespaced(client.clone(), &namespace)).await;
    let steps = json!([{"setWeight": 50}, {"pause": {}}]);
    let subject = Subject::create(&client, &namespace, "v1", canary(steps)).await;
    killed_at_every_change(&mut controller, &mut states, is_in("Healthy")).await;
    subject.until_sizes(&[("1", 4)]).await;
    subject.until_revisions(&["1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_throughout_an_abort_restores_stable() {
    let (subject, mut controller) = healthy("killed-abort", json!([{"setWeight": 50}, {"pause": {}}])).await;
    subject.release("v2").await;
    subject.until_phase("Paused").await;

    let mut states = follow(&subject.rollouts).await;
    subject.change_status(json!({"abort": true})).await;
    let seen = killed_at_every_change(&mut controller, &mut states, is_restored(4)).await;
    assert!(seen.iter().all(|seen| seen.available >= Some(3)), "{seen:#?}");
    let aborted = subject.until_phase("Degraded").await;
    assert!(message_of(&aborted).starts_with("RolloutAborted: "), "{}", message_of(&aborted));
    subject.until_sizes(&[("1", 4)]).await;
    subject.until_revisions(&["1", "2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_throughout_a_return_to_stable_returns() {
    let (subject, mut controller) = healthy("killed-return", json!([{"setWeight": 50}, {"pause": {}}])).await;
    subject.release("v2").await;
    subject.until_phase("Paused").await;

    let mut states = follow(&subject.rollouts).await;
    subject.change(json!({"template": template("v1")})).await;
    let seen = killed_at_every_change(&mut controller, &mut states, is_in("Healthy")).await;
    assert!(seen.iter().all(|seen| seen.available >= Some(3)), "{seen:#?}");
    subject.until_sizes(&[("3", 4)]).await;
    subject.until_revisions(&["2", "3"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_goes_away_and_comes_back_costs_no_rollout() {
    let mut prometheus = StubPrometheus::start(Answer::Value(1.0));
    let (subject, _controller) = healthy("metrics-gone", json!([])).await;
    analysis_template(&subject.client, &subject.namespace, "success-rate", &prometheus.url(), json!({}))
        .await;
    let steps = json!([{"setWeight": 50}, {"analysis": {"templates": [{"templateName": "success-rate"}]}}]);
    subject.change(canary(steps)).await;
    subject.until_phase("Healthy").await;

    prometheus.go_away().await;
    subject.release("v2").await;
    let runs: Api<AnalysisRun> = Api::namespaced(subject.client.clone(), &subject.namespace);
    let with_an_error = |runs: &[Arc<AnalysisRun>]| {
        let status = runs.first()?.status.clone()?;
        let results = status.metric_results.unwrap_or_default();
        results.iter().any(|result| result.error.unwrap_or_default() > 0).then_some(status.phase)
    };
    let phase = wait_for_all(&runs, "a measurement with an error", with_an_error).await;
    assert!(!phase.unwrap().is_completed(), "one error is no verdict");
    prometheus.come_back();
    subject.until_phase("Healthy").await;
    subject.until_sizes(&[("2", 4)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_api_server_delays_a_rollout_and_nothing_else() {
    let mut control_plane = ControlPlane::start(options()).await.unwrap();
    let client = control_plane.client();
    define(&client).await.unwrap();
    let workload = Arc::new(QuickWorkload::ready_after(Duration::from_millis(50)));
    let _node = VirtualNode::start(client.clone(), workload).await.unwrap();
    rights::grant(&client, "default").await;
    let _controller = ControllerProcess::start(control_plane.kubeconfig(), "default", &[]);
    let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {"duration": 1}}]);
    let subject = Subject::create(&client, "default", "v1", canary(steps)).await;
    subject.until_phase("Healthy").await;
    subject.release("v2").await;
    subject.until_phase("Paused").await;

    control_plane.restart_api_server().await.unwrap();

    subject.resume().await;
    let healthy = subject.until(is_in("Healthy")).await;
    assert_eq!(phase_of(&healthy), "Healthy");
    subject.until_sizes(&[("2", 4)]).await;
    control_plane.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_never_becomes_ready_is_reported_and_leaves_stable_serving() {
    let (subject, _controller) = healthy("never-ready", json!([{"setWeight": 50}])).await;
    subject.change(json!({"progressDeadlineSeconds": 2, "template": template("never")})).await;
    let stuck = subject.until(says("ProgressDeadlineExceeded")).await;
    assert_eq!(phase_of(&stuck), "Degraded", "{}", message_of(&stuck));
    assert!(stuck.status.unwrap().available_replicas.unwrap() >= 3);
    assert!(subject.until_announced("ProgressDeadlineExceeded").await.contains("timed out"));

    subject.release("v3").await;
    subject.until_phase("Healthy").await;
    subject.until_sizes(&[("3", 4)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_never_becomes_ready_is_taken_back_where_the_spec_says_so() {
    let (subject, _controller) = healthy("never-abort", json!([{"setWeight": 50}])).await;
    let never = json!({
        "progressDeadlineSeconds": 2, "progressDeadlineAbort": true, "template": template("never"),
    });
    subject.change(never).await;
    subject.until(says("RolloutAborted")).await;
    subject.until(is_restored(4)).await;
    subject.until_sizes(&[("1", 4)]).await;
}
