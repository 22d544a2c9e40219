//! Passes over a rollout whose step runs an Experiment.

use serde_json::{Value, json};

use super::super::progress::PAUSE_EXPERIMENT;
use super::*;
use crate::events::Event;
use crate::rollout::tests::Bench;
use crate::rollout::{Plan, decide};

/// A canary at a step that runs an Experiment of it, with `then` as the next step, and the Experiment's name.
fn at_an_experiment(then: &Value) -> (Bench, String) {
    let steps = json!([{"experiment": {"templates": [{"name": "a", "specRef": "canary"}]}}, then]);
    let mut bench = Bench::new(4, &steps);
    bench.settle();
    bench.release("v2");
    bench.settle();
    let name = recorded(&mut bench).unwrap();
    (bench, name)
}

fn recorded(bench: &mut Bench) -> Option<String> {
    bench.status().canary.clone().and_then(|canary| canary.current_experiment)
}

fn experiment<'a>(bench: &'a mut Bench, name: &str) -> &'a mut Experiment {
    let mut found = bench.snapshot.experiments.iter_mut();
    found.find(|found| found.metadata.name.as_deref() == Some(name)).unwrap()
}

/// The Experiment says this of itself.
fn say(bench: &mut Bench, name: &str, status: &Value) {
    experiment(bench, name).status = Some(serde_json::from_value(status.clone()).unwrap());
}

/// The position in the steps, and the reasons of the pauses.
fn position(bench: &mut Bench) -> (i32, Vec<String>) {
    let status = bench.status();
    let pauses = status.pause_conditions.iter().flatten().map(|pause| pause.reason.clone());
    (status.current_step_index.unwrap(), pauses.collect())
}

fn paused() -> Vec<String> {
    vec![PAUSE_EXPERIMENT.to_owned()]
}

fn stops(plan: &Plan, name: &str) -> bool {
    let stop = Effect::TerminateExperiment { name: name.to_owned() };
    plan.stages.iter().flatten().any(|effect| *effect == stop)
}

#[test]
fn a_pause_that_was_cleared_for_another_experiment_is_not_the_next_one_too() {
    let (mut bench, first) = at_an_experiment(&json!({"pause": {}}));
    say(&mut bench, &first, &json!({"phase": "Inconclusive"}));
    bench.settle();
    assert_eq!(position(&mut bench), (0, paused()));
    bench.status().pause_conditions = None;
    bench.settle();
    let second = recorded(&mut bench).unwrap();
    assert_eq!(second, format!("{first}-1"));
    // As another controller leaves it.
    bench.status().controller_pause = Some(true);
    say(&mut bench, &second, &json!({"phase": "Successful"}));
    bench.settle();
    assert_eq!(position(&mut bench), (1, vec!["CanaryPauseStep".to_owned()]));
}

#[test]
fn an_experiment_that_cannot_be_worked_with_takes_the_update_back() {
    let (mut bench, name) = at_an_experiment(&json!({"pause": {}}));
    let invalid = json!([{"type": "InvalidExperimentSpec", "status": "True"}]);
    say(&mut bench, &name, &json!({"phase": "Pending", "message": "InvalidSpec: no", "conditions": invalid}));
    bench.settle();
    assert_eq!(bench.status().abort, None, "what was missing may have come back");
    bench.pass_seconds(11);
    bench.settle();
    assert_eq!(bench.status().abort, Some(true));
    let message = bench.status().message.clone().unwrap();
    assert!(message.contains(&format!("Experiment '{name}' is Pending: InvalidSpec: no")), "{message}");
    assert_eq!(experiment(&mut bench, &name).spec.terminate, Some(true));
}

#[test]
fn an_experiment_that_a_person_runs_again_takes_the_rollout_on() {
    let (mut bench, name) = at_an_experiment(&json!({"pause": {}}));
    say(&mut bench, &name, &json!({"phase": "Inconclusive"}));
    bench.settle();
    assert_eq!(position(&mut bench), (0, paused()));
    experiment(&mut bench, &name).status = None;
    let plan = decide(&bench.snapshot);
    assert!(plan.events.contains(&Event::Resumed));
    bench.settle();
    assert_eq!(position(&mut bench), (0, vec![]));
    assert_eq!(
        (recorded(&mut bench).as_ref(), experiment(&mut bench, &name).spec.terminate),
        (Some(&name), None)
    );
    say(&mut bench, &name, &json!({"phase": "Successful"}));
    bench.settle();
    assert_eq!(position(&mut bench).0, 1);
}

#[test]
fn an_experiment_is_stopped_and_deleted_only_once_no_traffic_flows_to_it() {
    let (mut bench, name) = at_an_experiment(&json!({"pause": {}}));
    let status = json!({"phase": "Running", "templateStatuses": [{"name": "a", "serviceName": "try-a"}]});
    say(&mut bench, &name, &status);
    let weights = json!({
        "canary": {"weight": 0}, "stable": {"weight": 90}, "additional": [{"weight": 10, "serviceName": "try-a"}],
    });
    bench.status().canary.as_mut().unwrap().weights = Some(serde_json::from_value(weights).unwrap());
    bench.status().abort = Some(true);
    let plan = decide(&bench.snapshot);
    assert!(!stops(&plan, &name));
    bench.status().canary.as_mut().unwrap().weights = None;
    assert!(stops(&decide(&bench.snapshot), &name));
}

#[test]
fn an_experiment_that_is_deleted_or_edited_to_nonsense_goes_on_no_more() {
    let (mut bench, name) = at_an_experiment(&json!({"pause": {}}));
    say(&mut bench, &name, &json!({"phase": "Running"}));
    assert!(!is_stopped(experiment(&mut bench, &name)));
    let invalid = json!([{"type": "InvalidExperimentSpec", "status": "True"}]);
    say(&mut bench, &name, &json!({"phase": "Running", "conditions": invalid}));
    assert!(is_stopped(experiment(&mut bench, &name)));
    say(&mut bench, &name, &json!({"phase": "Running"}));
    experiment(&mut bench, &name).metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    assert!(is_stopped(experiment(&mut bench, &name)));
    assert!(!stops(&decide(&bench.snapshot), &name));
}
