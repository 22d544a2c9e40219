//! Faults: whatever dies, the rollout ends where it should, with no step skipped and none repeated.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use serin::api::Rollout;
use serin::sandbox::control_plane::ControlPlane;
use serin::sandbox::node::{QuickWorkload, VirtualNode};

use crate::controller_process::{ControllerProcess, definitions_on_shared, install_definitions};
use crate::rollouts::{Subject, analysis_template, canary, is_in, is_restored, message_of, phase_of, says};
use crate::shared::{DEADLINE, client, kubeconfig, namespace, options};
use crate::stub_prometheus::{Answer, StubPrometheus};

/// Where a rollout stands, as far as its users can tell steps apart.
fn standing(rollout: &Rollout) -> Option<(i32, String)> {
    let status = rollout.status.as_ref()?;
    Some((status.current_step_index?, status.phase.clone()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_at_every_step_skips_none_and_repeats_none() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "killed").await;
    let prometheus = StubPrometheus::start(Answer::Value(1.0));
    analysis_template(&client, &namespace, "success-rate", &prometheus.url(), json!({})).await;
    let mut controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let steps = json!([
        {"setWeight": 25}, {"pause": {"duration": 1}},
        {"analysis": {"templates": [{"templateName": "success-rate"}]}},
        {"setWeight": 50}, {"pause": {"duration": 1}}, {"setWeight": 100},
    ]);
    let subject = Subject::create(&client, &namespace, "v1", canary(steps)).await;
    subject.until_phase("Healthy").await;

    let config = watcher::Config::default();
    let mut changes = Box::pin(watcher(subject.rollouts.clone(), config).applied_objects());
    subject.release("v2").await;
    let (mut seen, mut kills) = (Vec::new(), 0);
    let walk = async {
        while let Some(rollout) = changes.try_next().await.unwrap() {
            let Some(now) = standing(&rollout) else { continue };
            let is_old = rollout.metadata.generation < Some(2) || seen.last() == Some(&now);
            if is_old || (seen.is_empty() && now.1 == "Healthy") {
                continue;
            }
            let is_done = now == (6, "Healthy".to_owned());
            seen.push(now);
            if is_done {
                break;
            }
            controller.kill_and_restart().await;
            kills += 1;
        }
    };
    tokio::time::timeout(DEADLINE, walk).await.expect("the rollout does not end");

    let mut indices: Vec<_> = seen.iter().map(|(index, _)| *index).collect();
    indices.dedup();
    assert!(indices.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seen:?}");
    assert_eq!((indices.first(), indices.last()), (Some(&0), Some(&6)), "{seen:?}");
    assert!(kills >= 6, "{seen:?}");
    assert_eq!(subject.sizes().await, [("2".to_owned(), 4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_goes_away_and_comes_back_costs_no_rollout() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "metrics-gone").await;
    let mut prometheus = StubPrometheus::start(Answer::Value(1.0));
    analysis_template(&client, &namespace, "success-rate", &prometheus.url(), json!({})).await;
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let steps = json!([{"setWeight": 50}, {"analysis": {"templates": [{"templateName": "success-rate"}]}}]);
    let subject = Subject::create(&client, &namespace, "v1", canary(steps)).await;
    subject.until_phase("Healthy").await;

    prometheus.go_away().await;
    subject.release("v2").await;
    let runs: kube::Api<serin::api::AnalysisRun> = kube::Api::namespaced(client.clone(), &namespace);
    let has_error = |run: &serin::api::AnalysisRun| {
        let results =
            run.status.as_ref().and_then(|status| status.metric_results.clone()).unwrap_or_default();
        results.iter().any(|result| result.error.unwrap_or_default() > 0)
    };
    let mut changes = Box::pin(watcher(runs, watcher::Config::default()).applied_objects());
    let error = async {
        while let Some(run) = changes.try_next().await.unwrap() {
            if has_error(&run) {
                return run;
            }
        }
        unreachable!("a watch does not end");
    };
    let run = tokio::time::timeout(DEADLINE, error).await.expect("no error was recorded");
    assert!(!run.status.unwrap().phase.unwrap().is_completed(), "one error is no verdict");
    prometheus.come_back();
    subject.until_phase("Healthy").await;
    assert_eq!(subject.sizes().await, [("2".to_owned(), 4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_api_server_delays_a_rollout_and_nothing_else() {
    let mut control_plane = ControlPlane::start(options()).await.unwrap();
    let client = control_plane.client();
    install_definitions(&client).await;
    let workload = Arc::new(QuickWorkload::ready_after(Duration::from_millis(50)));
    let _node = VirtualNode::start(client.clone(), workload).await.unwrap();
    let _controller = ControllerProcess::start(control_plane.kubeconfig(), "default", &[]);
    let steps = json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {"duration": 1}}]);
    let subject = Subject::create(&client, "default", "v1", canary(steps)).await;
    subject.until_phase("Healthy").await;
    subject.release("v2").await;
    subject.until_phase("Paused").await;

    control_plane.restart_api_server().await.unwrap();

    subject.change_status(json!({"pauseConditions": null})).await;
    let healthy = subject.until(is_in("Healthy")).await;
    assert_eq!(phase_of(&healthy), "Healthy");
    assert_eq!(subject.sizes().await, [("2".to_owned(), 4)]);
    control_plane.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_never_becomes_ready_is_reported_and_leaves_stable_serving() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "never-ready").await;
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let mut spec = canary(json!([{"setWeight": 50}]));
    spec["progressDeadlineSeconds"] = json!(2);
    let subject = Subject::create(&client, &namespace, "v1", spec).await;
    subject.until_phase("Healthy").await;
    subject.release("never").await;
    let stuck = subject.until(says("ProgressDeadlineExceeded")).await;
    assert_eq!(phase_of(&stuck), "Degraded", "{}", message_of(&stuck));
    assert!(stuck.status.unwrap().available_replicas.unwrap() >= 3);
    assert!(subject.until_announced("ProgressDeadlineExceeded").await.contains("timed out"));

    subject.release("v3").await;
    subject.until_phase("Healthy").await;
    assert_eq!(subject.sizes().await, [("3".to_owned(), 4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_never_becomes_ready_is_taken_back_where_the_spec_says_so() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "never-abort").await;
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let mut spec = canary(json!([{"setWeight": 50}]));
    spec["progressDeadlineSeconds"] = json!(2);
    spec["progressDeadlineAbort"] = json!(true);
    let subject = Subject::create(&client, &namespace, "v1", spec).await;
    subject.until_phase("Healthy").await;
    subject.release("never").await;
    subject.until(says("RolloutAborted")).await;
    subject.until(is_restored(4)).await;
    assert_eq!(subject.sizes().await, [("1".to_owned(), 4)]);
}
