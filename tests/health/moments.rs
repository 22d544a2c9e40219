//! The health that sync engines see, against what the objects themselves say, at every moment of every scenario.

use std::collections::BTreeMap;

use serde_json::Value;
use serin::api::Rollout;
use serin::sim::Simulation;

use crate::histories::{play, play_all, scenarios};
use crate::kstatus::{self, Status};
use crate::lua::{self, Health};

/// What the script says until it sees that the newest spec was looked at.
const UNSEEN: &str = "Waiting for rollout spec update to be observed";

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Whether the controller has said anything yet: a status may hold nothing but what users wrote into it.
fn has_phase(object: &Value) -> bool {
    object.pointer("/status/phase").is_some()
}

/// What a Rollout itself says: its phase, if it is that of the spec and the workload as they are stored.
fn said_by(rollout: &Value) -> Health {
    let workload = rollout.pointer("/metadata/annotations/rollout.argoproj.io~1workload-generation");
    let number = |value: Option<&Value>| value.map(|value| value.to_string().replace('"', ""));
    let seen = number(rollout.pointer("/status/workloadObservedGeneration"));
    let is_seen = rollout.pointer("/status/observedGeneration") == rollout.pointer("/metadata/generation")
        && (rollout.pointer("/spec/workloadRef").is_none() || number(workload) == seen);
    if !is_seen {
        return Health { status: "Progressing".to_owned(), message: UNSEEN.to_owned() };
    }
    let status = match text(rollout, "/status/phase") {
        "Paused" => "Suspended",
        phase => phase,
    };
    Health { status: status.to_owned(), message: text(rollout, "/status/message").to_owned() }
}

#[test]
fn argo_cd_says_of_a_rollout_what_its_phase_says() {
    let mut words = BTreeMap::<String, usize>::new();
    play_all(&mut |name, _, object| {
        if text(object, "/kind") == "Rollout" && has_phase(object) {
            let health = lua::health(object);
            assert_eq!(health, said_by(object), "{name}: {object:#}");
            *words.entry(health.status).or_default() += 1;
        }
    });
    let seen: Vec<&str> = words.keys().map(String::as_str).collect();
    assert_eq!(seen, ["Degraded", "Healthy", "Progressing", "Suspended"], "every word was seen");
}

#[test]
fn argo_cd_says_of_a_run_and_of_an_experiment_what_its_phase_says() {
    let mut words = BTreeMap::<(String, String), String>::new();
    play_all(&mut |name, _, object| {
        let kind = text(object, "/kind");
        if kind == "Rollout" {
            return;
        }
        let health = lua::health(object);
        let phase = text(object, "/status/phase");
        let message = text(object, "/status/message");
        if kind == "AnalysisRun" && ["Failed", "Error", "Inconclusive"].contains(&phase) {
            assert_eq!(health.message, message, "{name}: {object:#}");
        }
        let known = words.insert((kind.to_owned(), phase.to_owned()), health.status.clone());
        assert!(known.is_none_or(|known| known == health.status), "{name}: {object:#}");
    });
    let words: Vec<String> =
        words.iter().map(|((kind, phase), word)| format!("{kind} {phase}: {word}")).collect();
    assert_eq!(
        words,
        [
            "AnalysisRun : Progressing",
            "AnalysisRun Error: Degraded",
            "AnalysisRun Failed: Degraded",
            "AnalysisRun Inconclusive: Unknown",
            "AnalysisRun Running: Progressing",
            "AnalysisRun Successful: Healthy",
            "Experiment : Progressing",
            "Experiment Error: Degraded",
            "Experiment Failed: Degraded",
            "Experiment Inconclusive: Unknown",
            "Experiment Pending: Progressing",
            "Experiment Running: Progressing",
            "Experiment Successful: Healthy",
        ]
    );
}

/// Whether it pauses as planned, and its owner wants that to be told as health.
pub(crate) fn is_reported_pause(object: &Value) -> bool {
    let wanted = object["metadata"]["annotations"]["rollout.argoproj.io/health-at-pauses"] == "Healthy";
    let pauses = object["status"]["pauseConditions"].as_array();
    let is_planned = pauses.is_some_and(|all| all.len() == 1);
    let message = object["status"]["message"].as_str();
    wanted && is_planned && matches!(message, Some("CanaryPauseStep" | "BlueGreenPause"))
}

/// Whether the version that users want is the one that serves them, and nothing of an update is left to do.
fn is_finished(rollout: &Rollout, simulation: &Simulation) -> bool {
    let status = rollout.status.clone().unwrap_or_default();
    let canary = rollout.spec.strategy.as_ref().and_then(|strategy| strategy.canary.as_ref());
    let steps = canary.and_then(|canary| canary.steps.as_ref());
    let are_done = steps.is_none_or(|steps| i32::try_from(steps.len()).ok() == status.current_step_index);
    let is_held =
        rollout.spec.paused == Some(true) || status.pause_conditions.is_some_and(|pauses| !pauses.is_empty());
    let image =
        rollout.spec.template.as_ref().and_then(|template| template.pointer("/spec/containers/0/image"));
    let wanted = image.and_then(Value::as_str).and_then(|image| image.rsplit(':').next());
    let serves =
        simulation.cluster.revisions().into_iter().find(|pods| Some(&pods.hash) == status.stable_rs.as_ref());
    let serves_wanted = serves.is_some_and(|pods| wanted.is_none_or(|wanted| pods.tag == wanted));
    are_done && !is_held && serves_wanted && status.stable_rs == status.current_pod_hash
}

#[test]
fn nobody_is_told_of_health_while_an_update_is_unfinished() {
    let mut healthy = 0;
    play_all(&mut |name, simulation, object| {
        if text(object, "/kind") != "Rollout" || !has_phase(object) {
            return;
        }
        let is_current = kstatus::compute(object) == Ok(Status::Current);
        if lua::health(object).status == "Healthy" || is_current {
            let rollout = simulation.cluster.rollout().unwrap();
            healthy += 1;
            assert!(is_reported_pause(object) || is_finished(rollout, simulation), "{name}: {object:#}");
        }
    });
    assert!(healthy > 0);
}

/// What kstatus is to make of a phase.
fn expected(kind: &str, phase: &str) -> Status {
    match (kind, phase) {
        ("Rollout", "Healthy") | (_, "Successful") => Status::Current,
        ("Rollout", "Degraded") | (_, "Failed" | "Error" | "Inconclusive") => Status::Failed,
        ("Rollout", "Progressing" | "Paused") | (_, "Pending" | "Running") => Status::InProgress,
        _ => panic!("{kind} {phase}"),
    }
}

#[test]
fn kstatus_follows_the_phase_from_the_first_status_on() {
    play_all(&mut |name, _, object| {
        if !has_phase(object) {
            return;
        }
        let (kind, phase) = (text(object, "/kind"), text(object, "/status/phase"));
        let wanted = object.pointer("/metadata/generation");
        let is_seen = kind != "Rollout" || object.pointer("/status/observedGeneration") == wanted;
        let is_invalid = text(object, "/status/message").starts_with("InvalidSpec");
        let expected = match () {
            () if !is_seen => Status::InProgress,
            // An Experiment has no phase for it.
            () if is_invalid && kind != "Rollout" => Status::Failed,
            () => expected(kind, phase),
        };
        assert_eq!(kstatus::compute(object), Ok(expected), "{name}: {object:#}");
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array).unwrap();
        for kind in ["Reconciling", "Stalled", "Ready"] {
            let found = conditions.iter().filter(|condition| condition["type"] == kind).count();
            assert_eq!(found, 1, "{name}: {kind} of {object:#}");
        }
    });
}

#[test]
fn a_generation_as_text_is_read_by_argo_cd_and_is_an_error_to_kstatus() {
    play(&scenarios()["pause_and_promote"], &mut |_, object| {
        let mut older = object.clone();
        let observed = older["status"]["observedGeneration"].to_string();
        older["status"]["observedGeneration"] = observed.into();
        assert_eq!(lua::health(&older), lua::health(object));
        assert!(kstatus::compute(&older).unwrap_err().contains("not an integer"));
    });
}
