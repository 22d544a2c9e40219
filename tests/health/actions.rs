//! The actions that Argo CD offers, and what becomes of each.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use serin::sim::caches::Writer;
use serin::sim::cluster::Part;
use serin::sim::{Cluster, Simulation};

use crate::histories::{Versions, object, play, play_all, scenarios};
use crate::lua;
use crate::moments::is_reported_pause;

/// How long the world goes on after an action.
const PATIENCE: Duration = Duration::from_mins(10);

/// Does an action as Argo CD does: a merge patch of the status, then one of the rest.
fn act(cluster: &mut Cluster, action: &str) {
    let rollout = object(cluster.rollout().unwrap());
    let now = cluster.now().as_millis() / 1000;
    let patch = lua::action(&rollout, action, now).unwrap().unwrap();
    let mut rest = patch.clone();
    if rest.as_object_mut().unwrap().remove("status").is_some() {
        cluster.patch_rollout(&patch, Part::Status, None, Writer::Other).unwrap();
    }
    if rest != json!({}) {
        cluster.patch_rollout(&rest, Part::Main, None, Writer::Other).unwrap();
    }
}

/// Lets time pass, and returns what Argo CD shows of the Rollout, each time it changes.
fn go_on(simulation: &mut Simulation) -> Vec<String> {
    let end = simulation.now().plus(PATIENCE);
    let mut shown = Vec::new();
    let mut versions = Versions::default();
    versions.changed(&simulation.cluster);
    while simulation.turn(end).is_some() {
        for object in versions.changed(&simulation.cluster) {
            let health = lua::health(&object);
            let text = format!("{} {}", health.status, health.message).trim().to_owned();
            if object["kind"] == "Rollout" && shown.last() != Some(&text) {
                shown.push(text);
            }
        }
    }
    shown
}

/// Plays a script, compares what is offered then, does an action, and compares what comes of it.
fn check(script: &str, offered: &str, action: &str, expected: &[&str]) {
    let mut simulation = play(script, &mut |_, _| {});
    let rollout = object(simulation.cluster.rollout().unwrap());
    let found: Vec<String> = lua::offered(&rollout).unwrap().into_iter().collect();
    assert_eq!(found.join(" "), offered, "{script}");
    act(&mut simulation.cluster, action);
    assert_eq!(go_on(&mut simulation), expected, "{action} after\n{script}");
}

const CANARY: &str = "deployed scenarios/manifests/web.yaml\nset image v2\n";
const BLUE_GREEN: &str = "deployed scenarios/manifests/bluegreen.yaml\nset image v2\n";
const ABORTED: &str = "Degraded RolloutAborted: Rollout aborted update to revision 2";
const MORE: &str = "Progressing more replicas need to be updated";
const COMING: &str = "Progressing updated replicas are still becoming available";
const OLD: &str = "Progressing old replicas are pending termination";
const SWITCHING: &str = "Progressing active service cutover pending";
const STEP: &str = "Suspended CanaryPauseStep";
const HELD: &str = "Suspended manually paused";
/// From the second half of a canary on, all old pods are replaced.
const TO_THE_END: [&str; 5] = [MORE, COMING, OLD, COMING, "Healthy"];

#[test]
fn a_settled_rollout_can_be_restarted_alone() {
    let restarted = ["Progressing rollout is restarting", COMING, "Healthy"];
    check("deployed scenarios/manifests/web.yaml\n", "restart", "restart", &restarted);
    check("deployed scenarios/manifests/bluegreen.yaml\n", "restart", "restart", &restarted);
}

#[test]
fn a_canary_under_way_is_aborted_held_and_promoted() {
    let script = format!("{CANARY}wait 1s\n");
    let offered = "abort pause promote-full restart skip-current-step";
    check(&script, offered, "abort", &[ABORTED]);
    check(&script, offered, "pause", &[HELD]);
    check(&script, offered, "promote-full", &TO_THE_END);
    check(&script, offered, "skip-current-step", &[STEP]);
    check(&script, offered, "restart", &["Progressing rollout is restarting", STEP]);
}

#[test]
fn a_canary_at_a_pause_is_resumed_and_skipped_on_with_the_same_end() {
    let script = format!("{CANARY}until Paused\n");
    let offered = "abort pause promote-full restart resume skip-current-step";
    let on = [&[MORE, STEP], &TO_THE_END[..]].concat();
    check(&script, offered, "resume", &on);
    check(&script, offered, "skip-current-step", &on);
    check(&script, offered, "promote-full", &TO_THE_END);
    check(&script, offered, "abort", &[ABORTED]);
    check(&script, offered, "pause", &[HELD]);
    check(&script, offered, "restart", &[STEP]);
}

#[test]
fn a_canary_that_a_person_holds_is_moved_by_resume_and_abort_alone() {
    let script = format!("{CANARY}wait 1s\npause\nuntil Paused\n");
    let offered = "abort promote-full restart resume skip-current-step";
    check(&script, offered, "resume", &[MORE, STEP]);
    check(&script, offered, "abort", &[ABORTED]);
    check(&script, offered, "promote-full", &[HELD]);
    check(&script, offered, "skip-current-step", &[HELD]);
}

#[test]
fn a_canary_that_was_taken_back_is_retried_and_promoted_but_not_skipped_on() {
    let script = format!("{CANARY}until Paused\nabort\nwait 1m\n");
    let offered = "promote-full restart retry skip-current-step";
    check(&script, offered, "retry", &[MORE, STEP]);
    check(&script, offered, "promote-full", &TO_THE_END);
    check(&script, offered, "skip-current-step", &[ABORTED]);
    check(&script, offered, "restart", &[ABORTED]);
}

#[test]
fn a_blue_green_update_obeys_before_it_switches() {
    let script = format!("{BLUE_GREEN}wait 1s\n");
    let offered = "abort pause promote-full restart";
    check(&script, offered, "abort", &[ABORTED]);
    check(&script, offered, "pause", &[HELD]);
    check(&script, offered, "promote-full", &[SWITCHING, "Healthy"]);
    let script = format!("{BLUE_GREEN}until Paused\n");
    let offered = "abort pause promote-full restart resume";
    check(&script, offered, "resume", &[SWITCHING, "Healthy"]);
    check(&script, offered, "promote-full", &[SWITCHING, "Healthy"]);
    check(&script, offered, "abort", &[ABORTED]);
    let script = format!("{BLUE_GREEN}until Paused\nabort\nwait 1m\n");
    let offered = "promote-full restart retry";
    check(&script, offered, "retry", &[MORE, COMING, "Suspended BlueGreenPause"]);
    check(&script, offered, "promote-full", &[MORE, COMING, SWITCHING, "Healthy"]);
}

#[test]
fn a_first_version_is_held_and_has_no_steps_to_skip() {
    let script = "apply scenarios/manifests/web.yaml\nwait 1s\n";
    let offered = "abort pause promote-full restart";
    check(script, offered, "pause", &[HELD]);
    check(script, offered, "promote-full", &[COMING, "Healthy"]);
    // There is nothing to go back to.
    check(script, offered, "abort", &[COMING, "Healthy"]);
}

#[test]
fn a_run_that_goes_on_is_terminated() {
    let script = &scenarios()["abort_while_analysis_runs"];
    let mut terminated = 0;
    play(script, &mut |simulation, seen| {
        let is_running = seen["kind"] == "AnalysisRun" && seen["status"]["phase"] == "Running";
        if !is_running || seen["spec"]["terminate"] == true {
            return;
        }
        terminated += 1;
        let patch = lua::action(seen, "terminate", 0).unwrap();
        assert_eq!(patch, Some(json!({"spec": {"terminate": true}})));
        let mut simulation = simulation.clone();
        let name = seen["metadata"]["name"].as_str().unwrap();
        simulation.cluster.terminate_run(name, Writer::Other).unwrap();
        go_on(&mut simulation);
        let run = object(&simulation.cluster.runs()[name]);
        assert_eq!(lua::health(&run).status, "Healthy", "it was stopped, not failed: {run:#}");
        assert_eq!(run["status"]["message"], "Run Terminated");
    });
    assert!(terminated > 0);
}

/// Whether the controller has said anything of an object that has actions.
fn has_actions(object: &Value) -> bool {
    object.pointer("/status/phase").is_some() && object["kind"] != "Experiment"
}

#[test]
fn what_is_offered_can_be_done_at_every_moment() {
    play_all(&mut |name, _, object| {
        if !has_actions(object) {
            return;
        }
        let offered = lua::offered(object);
        for action in offered.as_ref().unwrap_or_else(|error| panic!("{name}: {error} of {object:#}")) {
            let patch = lua::action(object, action, 0)
                .unwrap_or_else(|error| panic!("{name}: {action}: {error} of {object:#}"));
            // What was asked for already is offered all the same, and so are steps that were taken out of a spec by mistake.
            let is_idle = ["promote-full", "skip-current-step"].contains(&action.as_str());
            assert!(patch.is_some() || is_idle, "{name}: {action} of {object:#}");
        }
    });
}

/// The actions that are right for a Rollout, but for `skip-current-step`.
fn right(rollout: &Value) -> BTreeSet<String> {
    let status = &rollout["status"];
    let has_pauses = status["pauseConditions"].as_array().is_some_and(|pauses| !pauses.is_empty());
    let is_under_way = status["currentPodHash"] != status["stableRS"];
    let is_aborted = status["abort"] == true;
    let is_held = rollout["spec"]["paused"] == true;
    let right = [
        ("restart", true),
        ("resume", has_pauses || is_held),
        ("pause", is_under_way && !is_aborted && !is_held),
        ("abort", is_under_way && !is_aborted),
        ("retry", is_under_way && is_aborted),
        ("promote-full", is_under_way),
    ];
    right.into_iter().filter(|(_, is_right)| *is_right).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn the_right_actions_are_offered_at_every_moment() {
    play_all(&mut |name, _, object| {
        if !has_actions(object) {
            return;
        }
        let mut offered = lua::offered(object).unwrap();
        if object["kind"] == "AnalysisRun" {
            let is_running = object["status"]["phase"] == "Running" && object["spec"]["terminate"] != true;
            assert_eq!(offered.contains("terminate"), is_running, "{name}: {object:#}");
            return;
        }
        let status = &object["status"];
        let is_seen = status["observedGeneration"] == object["metadata"]["generation"];
        if is_seen && status["phase"] == "Healthy" && !is_reported_pause(object) {
            assert_eq!(offered, BTreeSet::from(["restart".to_owned()]), "{name}: {object:#}");
        }
        offered.remove("skip-current-step");
        assert_eq!(offered, right(object), "{name}: {object:#}");
    });
}
