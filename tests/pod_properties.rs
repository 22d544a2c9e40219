//! What holds for single pods whatever users do and whatever fails: random scripts, played in the simulator.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and its functions are part of it"
)]

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use serin::rollout::pods::Pod;
use serin::sim::{self, Moment, Played, Simulation};

/// Everything works again, and nobody does anything for long enough.
const QUIET: &str = "lag all 0s\nevents once\nbudget none\nquota none\nwait 4h\n";

fn manifest(name: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)).ok()
}

fn play(script: &str, observer: &mut dyn FnMut(&Moment<'_>, &Simulation)) -> Played {
    sim::watch(script, &manifest, observer).unwrap()
}

fn actions(texts: &[&str]) -> BoxedStrategy<Vec<String>> {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let fault = prop_oneof![
        (0_u32..12).prop_map(|writes| format!("crash after {writes} writes")),
        (1_u32..6).prop_map(|writes| format!("conflict {writes} writes")),
        (1_u32..6).prop_map(|writes| format!("refuse {writes} writes")),
        (1_u32..6).prop_map(|answers| format!("lose {answers} answers")),
        Just("lag all 0s".to_owned()),
        Just("lag ReplicaSets 3s".to_owned()),
        Just("lag pods 8s".to_owned()),
        Just("lag all 5s".to_owned()),
        Just("watches down for 1m".to_owned()),
        Just("events twice".to_owned()),
        Just("crash".to_owned()),
    ];
    let time =
        prop::sample::select(vec!["wait 10ms", "wait 100ms", "wait 1s", "wait 4s", "wait 30s", "wait 5m"]);
    let action = prop_oneof![
        3 => prop::sample::select(texts),
        3 => time.prop_map(str::to_owned),
        2 => fault,
    ];
    prop::collection::vec(action, 1..24).boxed()
}

fn hold(actions: &BoxedStrategy<Vec<String>>, number: u32, check: impl Fn(&str) -> (Played, Option<String>)) {
    let config =
        Config { cases: number, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(actions, |actions| {
        let script = actions.join("\n") + "\n";
        let (played, wrong) = check(&script);
        let transcript = &played.transcript;
        let error = transcript.lines().find(|line| line.split_whitespace().nth(1) == Some("error"));
        let wrong = wrong.or_else(|| error.map(str::to_owned));
        wrong.map_or(Ok(()), |wrong| {
            Err(TestCaseError::fail(format!("{wrong}\n--- script\n{script}--- transcript\n{transcript}")))
        })
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// What the label `role` of a pod should be.
fn expected(simulation: &Simulation, pod: &Pod) -> String {
    let rollout = simulation.cluster.rollout().unwrap();
    let status = rollout.status.clone().unwrap();
    let spec = serde_json::to_value(&rollout.spec).unwrap();
    let hash = pod.labels.get("rollouts-pod-template-hash");
    let role = match () {
        () if hash == status.stable_rs.as_ref() => "stableMetadata",
        () if hash == status.current_pod_hash.as_ref() => "canaryMetadata",
        () => return "none".to_owned(),
    };
    let given = spec.pointer(&format!("/strategy/canary/{role}/labels/role")).and_then(Value::as_str);
    given.unwrap_or("none").to_owned()
}

fn wrong_at_rest(simulation: &Simulation) -> Option<String> {
    let rollout = simulation.cluster.rollout().unwrap();
    if simulation.next_event().is_some() {
        return Some("something is still due".to_owned());
    }
    let snapshot = simulation.cluster.snapshot(simulation.controller.memory()).unwrap();
    if let Some(set) = snapshot.replica_sets.iter().find(|set| set.injected.pending.is_some()) {
        return Some(format!("{} is not settled", set.name));
    }
    let restarted = rollout.status.as_ref().and_then(|status| status.restarted_at);
    if rollout.spec.restart_at != restarted {
        return Some("the restart is not over".to_owned());
    }
    let pods = simulation.cluster.stored_pods();
    let wrong = pods.iter().find(|pod| pod.labels["role"] != expected(simulation, pod));
    wrong.map(|pod| format!("{} carries {:?}", pod.name, pod.labels))
}

#[test]
fn left_alone_every_pod_carries_what_its_role_says_and_every_restart_is_over() {
    let users = [
        "set image v2",
        "set image v3",
        "set image v1",
        "restart",
        "restart in 1m",
        "promote full",
        "promote",
        "abort",
        "retry",
        "scale 6",
        "scale 2",
        "delete 1 pods of v2",
        "budget 3",
        "budget 4",
        "budget none",
        "patch spec\n  strategy: {canary: {canaryMetadata: {labels: {role: trial}}}}",
        "patch spec\n  strategy: {canary: {stableMetadata: null}}",
        "patch spec\n  strategy: {canary: {stableMetadata: {labels: {role: main}, annotations: {a: b}}}}",
    ];
    let start = "deployed scenarios/manifests/web.yaml\n  spec:\n    template: {metadata: {labels: {app: web, role: none}}}\n    \
                 strategy: {canary: {canaryMetadata: {labels: {role: canary}}, stableMetadata: {labels: {role: stable}}}}\n";
    hold(&actions(&users), 160, |actions| {
        let played = play(&format!("{start}{actions}{QUIET}"), &mut |_, _| {});
        let wrong = wrong_at_rest(&played.simulation);
        (played, wrong)
    });
}

#[test]
fn a_restart_makes_no_more_pods_missing_than_may_be_and_replaces_them_all() {
    let users = ["restart", "restart", "restart in 1m", "budget 3", "budget 4", "budget 5", "budget none"];
    let start = "deployed scenarios/manifests/web.yaml\n  spec: {replicas: 5, strategy: {canary: {maxUnavailable: 2}}}\nwait 1m\n";
    hold(&actions(&users), 160, |actions| {
        let mut wrong = None;
        let mut begun = false;
        let played = play(&format!("{start}{actions}{QUIET}"), &mut |moment, simulation| {
            begun |= matches!(moment, Moment::Statement(_));
            let ready =
                simulation.cluster.stored_pods().iter().filter(|pod| pod.ready_since.is_some()).count();
            if begun && ready < 3 {
                wrong.get_or_insert(format!("{ready} pods are ready at {}", simulation.now()));
            }
        });
        let rollout = played.simulation.cluster.rollout().unwrap();
        let at = rollout.spec.restart_at;
        let old = played
            .simulation
            .cluster
            .stored_pods()
            .into_iter()
            .find(|pod| at.is_some_and(|at| pod.created_at < at));
        let wrong = wrong.or_else(|| old.map(|pod| format!("{} was not replaced", pod.name)));
        (played, wrong)
    });
}
