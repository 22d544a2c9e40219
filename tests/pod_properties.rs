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
