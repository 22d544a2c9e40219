//! What holds whatever users do and whatever fails: random scripts, played in the simulator and looked at all the way.
//!
//! A failing case is shrunk to a short script and printed with its transcript; once understood it becomes a scenario.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and its functions are part of it"
)]

mod cases;
mod specs;
mod steps;
mod traffic;

use std::fs;
use std::path::Path;

use cases::{Actions, Case, cases, cases_by_pods};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serin::api::RolloutStatus;
use serin::rollout::{self, Snapshot};
use serin::sim::cluster::RevisionPods;
use serin::sim::controller::Write;
use serin::sim::script::{Statement, UserAction};
use serin::sim::simulation::Happening;
use serin::sim::{self, Moment, Played, Simulation};
use steps::Steps;
use traffic::{Traffic, shares};

/// Everything works again, and nobody does anything for long enough.
const QUIET: &str = "lag all 0s\nevents once\nprometheus up\nmetric success-rate traffic\nquota none\nrouter up\nrouter slow 1s\n\
     endpoints prompt\nendpoints readable\n\
     heal 99 pods of v1\nheal 99 pods of v2\nheal 99 pods of v4\nheal 99 pods of v5\nwait 4h\n";

/// Tries to make a failing case shorter; each plays a whole script.
const SHRINKING: u32 = 1000;

fn manifest(name: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)).ok()
}

fn play(script: &str, observer: &mut dyn FnMut(&Moment<'_>, &Simulation)) -> Played {
    sim::watch(script, &manifest, observer).unwrap()
}

/// Plays `number` random cases; `check` gives the script that was played, and what was wrong with it if anything was.
fn hold(
    cases: impl Strategy<Value = Case>,
    number: u32,
    check: impl Fn(&Case) -> (Played, String, Option<String>),
) {
    let config =
        Config { cases: number, failure_persistence: None, max_shrink_iters: SHRINKING, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&cases, |case| {
        let (played, script, wrong) = check(&case);
        wrong.map_or(Ok(()), |wrong| {
            let transcript = played.transcript;
            Err(TestCaseError::fail(format!("{wrong}\n--- script\n{script}--- transcript\n{transcript}")))
        })
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

fn status(simulation: &Simulation) -> RolloutStatus {
    simulation.cluster.rollout().and_then(|rollout| rollout.status.clone()).unwrap_or_default()
}

/// Pods that stable has, and pods that all others have.
fn sizes(simulation: &Simulation) -> (u32, u32) {
    let stable = status(simulation).stable_rs;
    let revisions = simulation.cluster.revisions();
    let (stable, others): (Vec<_>, Vec<_>) =
        revisions.iter().partition(|pods| Some(&pods.hash) == stable.as_ref());
    let sum = |sets: Vec<&RevisionPods>| sets.iter().map(|pods| pods.size.get()).sum();
    (sum(stable), sum(others))
}

/// Available pods of a version.
fn available(simulation: &Simulation, hash: Option<&String>) -> u32 {
    let revisions = simulation.cluster.revisions();
    revisions.iter().find(|pods| Some(&pods.hash) == hash).map_or(0, |pods| pods.available.get())
}

/// Whether the ReplicaSet of the stable version exists.
fn has_stable(simulation: &Simulation) -> bool {
    let stable = status(simulation).stable_rs;
    simulation.cluster.revisions().iter().any(|pods| Some(&pods.hash) == stable.as_ref())
}

fn replicas(simulation: &Simulation) -> u32 {
    let rollout = simulation.cluster.rollout().unwrap();
    u32::try_from(rollout.spec.replicas.unwrap()).unwrap()
}

/// Whether the controller has seen the spec as it is.
fn is_observed(simulation: &Simulation) -> bool {
    let generation = simulation.cluster.rollout().unwrap().metadata.generation;
    let observed =
        status(simulation).observed_generation.map(|observed| serde_json::to_value(observed).unwrap());
    observed.and_then(|observed| observed.as_i64()) == generation
}

/// Something the simulator itself found wrong: a livelock, or a pass at rest that would write.
fn error_line(played: &Played) -> Option<String> {
    let line = played.transcript.lines().find(|line| line.split_whitespace().nth(1) == Some("error"));
    line.map(|line| format!("an error: {line}"))
}

/// Whether stable has all pods and all traffic, and nothing else has any but what is kept for ever after an abort.
fn is_back(case: &Case, simulation: &Simulation) -> bool {
    let stable = status(simulation).stable_rs;
    let experiments = simulation.cluster.served_by_experiments();
    let is_served = experiments.values().any(|served| served.share > 0);
    let elsewhere = is_served || shares(&case.spec, simulation).into_keys().any(|hash| Some(hash) != stable);
    let (stable, others) = sizes(simulation);
    let is_kept = case.spec.keeps_aborted && status(simulation).abort == Some(true);
    stable == replicas(simulation) && (others == 0 || is_kept) && !elsewhere
}

/// What is wrong with a rollout that has been left alone.
fn unsettled(case: &Case, simulation: &Simulation) -> Option<String> {
    let status = status(simulation);
    let (stable, others) = sizes(simulation);
    let pauses = status.pause_conditions.as_deref().unwrap_or_default();
    let is_held = simulation.cluster.rollout().unwrap().spec.paused == Some(true) || !pauses.is_empty();
    if !has_stable(simulation) {
        // Somebody deleted it: there is nothing to go back to, nor a template that an Experiment could take from it.
        return None;
    }
    if simulation.next_event().is_some() {
        return Some(format!("something is still due at {}", simulation.next_event().unwrap()));
    }
    let right = match status.phase.as_deref() {
        Some("Healthy") => is_back(case, simulation) && status.stable_rs == status.current_pod_hash,
        Some("Paused") => is_held,
        // One that never comes up cannot take the pods of another version back.
        Some("Degraded") if status.abort == Some(true) => {
            is_back(case, simulation) || available(simulation, status.stable_rs.as_ref()) < stable
        }
        Some("Degraded") => {
            status.message.is_some_and(|message| message.starts_with("ProgressDeadlineExceeded"))
        }
        // A version that never comes up can become stable where no pods are wanted.
        Some("Progressing") => {
            let available: u32 = simulation.cluster.revisions().iter().map(|pods| pods.available.get()).sum();
            (stable, others) == (replicas(simulation), 0) && available < stable
        }
        _ => false,
    };
    (!right).then(|| {
        let shares = shares(&case.spec, simulation);
        let phase = status.phase.unwrap_or_default();
        format!(
            "left alone, it is {phase} with {stable} stable and {others} other pods, and shares {shares:?}"
        )
    })
}

#[test]
fn left_alone_every_rollout_comes_to_rest_in_a_phase_that_is_true() {
    hold(cases(Actions::Everything), 96, |case| {
        let script = case.script(QUIET);
        let played = play(&script, &mut |_, _| {});
        let wrong = error_line(&played).or_else(|| unsettled(case, &played.simulation));
        (played, script, wrong)
    });
}

#[test]
fn an_abort_ends_with_stable_at_full_size_from_any_state_and_whatever_fails_on_the_way() {
    hold(cases(Actions::Everything), 96, |case| {
        let script = case.script("unpause\nabort\n") + QUIET;
        let mut seen = false;
        let played = play(&script, &mut |moment, simulation| {
            if matches!(moment, Moment::Statement(Statement::User(UserAction::Abort, _))) {
                seen = is_observed(simulation);
            }
        });
        let simulation = &played.simulation;
        let updating = status(simulation).stable_rs != status(simulation).current_pod_hash;
        let (stable, others) = sizes(simulation);
        // One that never comes up cannot take the pods of another version back.
        let comes_up = available(simulation, status(simulation).stable_rs.as_ref()) >= stable;
        let back = is_back(case, simulation) || !comes_up;
        // What the controller had not begun yet, nobody could have meant.
        let wrong = (seen && updating && !back && has_stable(simulation))
            .then(|| format!("after the abort there are {stable} stable and {others} other pods"));
        (played, script, wrong)
    });
}

#[test]
fn from_any_state_a_new_version_can_be_promoted_in_full() {
    hold(cases(Actions::Everything), 64, |case| {
        let script = case.script(QUIET) + "unpause\nset image v9\nwait 1m\npromote full\nwait 1h\n";
        let played = play(&script, &mut |_, _| {});
        let simulation = &played.simulation;
        let stable = simulation.cluster.revisions().into_iter().find(|pods| pods.tag == "v9");
        let done = stable.is_some_and(|pods| pods.available.get() == replicas(simulation));
        let healthy = status(simulation).phase.as_deref() == Some("Healthy");
        let wrong = (!done || !healthy).then(|| "the new version is not everywhere".to_owned());
        (played, script, wrong)
    });
}

#[test]
fn there_are_never_too_few_available_pods_nor_too_many_pods() {
    hold(cases_by_pods(Actions::Rollouts), 96, |case| {
        let script = case.script(QUIET);
        let spec = &case.spec;
        let (least, most) = (spec.replicas.saturating_sub(spec.unavailable), spec.replicas + spec.surge);
        let mut begun = false;
        let mut wrong = None;
        let played = play(&script, &mut |moment, simulation| {
            begun = begun || matches!(moment, Moment::Statement(statement) if !is_preparation(statement));
            let revisions = simulation.cluster.revisions();
            let ready: usize = revisions.iter().map(|pods| pods.ready).sum();
            let sizes: u32 = revisions.iter().map(|pods| pods.size.get()).sum();
            if begun && u32::try_from(ready).unwrap() < least {
                wrong.get_or_insert(format!(
                    "{ready} pods are ready at {}, less than {least}",
                    simulation.now()
                ));
            }
            if sizes > most {
                wrong.get_or_insert(format!(
                    "{sizes} pods are wanted at {}, more than {most}",
                    simulation.now()
                ));
            }
        });
        (played, script, wrong)
    });
}

fn is_preparation(statement: &Statement) -> bool {
    matches!(statement, Statement::Image(..))
}

#[test]
fn a_step_is_left_when_it_is_done_and_never_skipped_but_by_a_user() {
    hold(cases(Actions::Rollouts), 320, |case| {
        let script = case.script(QUIET);
        let mut steps = Steps::new(&case.spec);
        let played = play(&script, &mut |moment, simulation| steps.observe(moment, simulation));
        (played, script, steps.violation)
    });
}

#[test]
fn the_same_snapshot_gives_the_same_plan_and_a_plan_is_made_once() {
    hold(cases(Actions::Everything), 48, |case| {
        let script = case.script(QUIET);
        let mut wrong = None;
        let played = play(&script, &mut |moment, simulation| {
            let Moment::Happening(Happening::Pass(_)) = moment else { return };
            let Some(snapshot) = simulation.cluster.snapshot(simulation.controller.memory()) else { return };
            if described(&snapshot) != described(&snapshot) {
                wrong = Some(format!("two plans for one snapshot at {}", simulation.now()));
            }
        });
        (played, script, wrong)
    });
}

#[test]
fn no_pod_goes_while_requests_are_sent_to_it_and_no_request_is_sent_to_dead_pods() {
    hold(cases(Actions::Seeing), 256, |case| follow_traffic(case, false));
}

#[test]
fn no_pod_goes_with_requests_and_no_share_rises_without_pods_however_late_things_are_seen() {
    hold(cases(Actions::Lagging), 128, |case| follow_traffic(case, true));
}

#[test]
fn no_service_gets_its_first_share_before_its_pods_are_published() {
    hold(cases(Actions::Publishing), 192, |case| follow_traffic(case, true));
}

fn follow_traffic(case: &Case, is_calm: bool) -> (Played, String, Option<String>) {
    let script = case.script(QUIET);
    let mut traffic = Traffic::new(&case.spec, is_calm);
    let played = play(&script, &mut |moment, simulation| traffic.observe(moment, simulation));
    let wrong = traffic.violation.or_else(|| error_line(&played));
    (played, script, wrong)
}

fn described(snapshot: &Snapshot) -> String {
    format!("{:?}", rollout::decide(snapshot))
}

#[test]
fn at_rest_nothing_is_written_even_when_the_controller_restarts() {
    hold(cases(Actions::Everything), 48, |case| {
        let script = case.script(QUIET) + "crash\nwait 4h\n";
        let mut writes = std::collections::BTreeMap::default();
        // One that remembers nothing puts a split of somebody else's right once.
        let (mut is_anothers, mut was_anothers) = (false, false);
        let played = play(&script, &mut |moment, simulation| {
            if matches!(moment, Moment::Statement(Statement::Crash(None))) {
                writes = simulation.controller.writes().clone();
                was_anothers = is_anothers;
            } else if let Some(told) = &simulation.controller.memory().told {
                let share = simulation.cluster.shares().get(&told.target.canary.name).copied();
                is_anothers = share.unwrap_or_default() != told.target.weight.get();
            }
        });
        let mut after = played.simulation.controller.writes().clone();
        if was_anothers {
            // The route is given back after that.
            for (write, number) in [(Write::Route, 2), (Write::Status, 1), (Write::Event, 1)] {
                let before = writes.get(&write).copied().unwrap_or_default();
                if let Some(after) = after.get_mut(&write).filter(|after| **after == before + number) {
                    *after = before;
                }
            }
        }
        let wrong = (after != writes).then(|| format!("writes went from {writes:?} to {after:?}"));
        (played, script, wrong)
    });
}
