//! Random rollouts and what is done to them, as scripts of the simulator.

use std::fmt::Write as _;

use proptest::prelude::*;

/// A rollout and what is done to it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) replicas: u32,
    pub(crate) surge: u32,
    pub(crate) unavailable: u32,
    pub(crate) steps: Vec<&'static str>,
    pub(crate) actions: Vec<String>,
}

impl Case {
    /// The script, with `ending` after what is done.
    pub(crate) fn script(&self, ending: &str) -> String {
        let mut script = String::from("image v3 never ready\nimage v4 error rate 0.9\n");
        script.push_str("deployed scenarios/manifests/web.yaml scenarios/manifests/errors.yaml\n");
        let _ =
            writeln!(script, "  spec:\n    replicas: {}\n    progressDeadlineSeconds: 300", self.replicas);
        let _ = writeln!(script, "    strategy:\n      canary:\n        steps: [{}]", self.steps.join(", "));
        let _ = writeln!(
            script,
            "        maxSurge: {}\n        maxUnavailable: {}",
            self.surge, self.unavailable
        );
        for action in &self.actions {
            let _ = writeln!(script, "{action}");
        }
        script + ending
    }
}

/// Which actions may be part of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actions {
    /// Users update, abort, retry, promote and pause; writes, watches and the controller fail.
    Rollouts,
    /// The same, and the number of replicas changes, and pods, ReplicaSets and runs are meddled with.
    Everything,
}

fn fixed(texts: &[&str]) -> BoxedStrategy<String> {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    prop::sample::select(texts).boxed()
}

fn user() -> BoxedStrategy<String> {
    fixed(&[
        "set image v1",
        "set image v2",
        "set image v2\nwait 10s",
        "set image v5\nwait 10s",
        "set image v3",
        "set image v4",
        "set image v5",
        "abort",
        "retry",
        "promote",
        "promote",
        "promote\npromote",
        "promote full",
        "promote full\nwait 1s\nabort",
        "abort\nretry",
        "pause",
        "unpause",
    ])
}

fn time() -> BoxedStrategy<String> {
    fixed(&["wait 10ms", "wait 100ms", "wait 1s", "wait 4s", "wait 30s", "wait 2m", "wait 15m"])
}

fn fault() -> BoxedStrategy<String> {
    prop_oneof![
        (0_u32..12).prop_map(|writes| format!("crash after {writes} writes")),
        (1_u32..6).prop_map(|writes| format!("conflict {writes} writes")),
        (1_u32..6).prop_map(|writes| format!("refuse {writes} writes")),
        (1_u32..6).prop_map(|answers| format!("lose {answers} answers")),
        fixed(&["lag all 0s", "lag rollout 2s", "lag ReplicaSets 2s", "lag AnalysisRuns 5s", "lag all 9s"]),
        fixed(&["crash", "watches down for 1m", "server down for 20s", "events twice", "events once"]),
        fixed(&[
            "prometheus down",
            "prometheus up",
            "metric success-rate 0.9",
            "metric success-rate traffic"
        ]),
    ]
    .boxed()
}

fn meddling() -> BoxedStrategy<String> {
    fixed(&[
        "scale 1",
        "scale 3",
        "scale 7",
        "delete 2 pods of v1",
        "delete 2 pods of v2",
        "resize ReplicaSet of v1 to 2",
        "resize ReplicaSet of v2 to 6",
        "resize ReplicaSet of v5 to 0",
        "delete ReplicaSet of v2",
        "delete ReplicaSet of v4",
        "delete runs",
        "quota 6",
        "quota none",
        "patch spec\n  strategy: {canary: {steps: [{setWeight: 30}, {pause: {duration: 1m}}]}}",
    ])
}

fn step() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{setWeight: 0}",
        "{setWeight: 10}",
        "{setWeight: 25}",
        "{setWeight: 50}",
        "{setWeight: 80}",
        "{setWeight: 100}",
        "{pause: {}}",
        "{pause: {duration: 1m}}",
        "{pause: {duration: 10m}}",
        "{analysis: {templates: [{templateName: errors}]}}",
    ])
}

/// Random cases.
pub(crate) fn cases(actions: Actions) -> impl Strategy<Value = Case> {
    let action = match actions {
        Actions::Rollouts => prop_oneof![4 => user(), 4 => time(), 3 => fault()].boxed(),
        Actions::Everything => prop_oneof![4 => user(), 4 => time(), 3 => fault(), 2 => meddling()].boxed(),
    };
    let budget = (0_u32..4, 0_u32..4);
    (1_u32..9, budget, prop::collection::vec(step(), 0..6), prop::collection::vec(action, 1..32)).prop_map(
        |(replicas, (surge, unavailable), steps, actions)| {
            let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
            Case { replicas, surge, unavailable, steps, actions }
        },
    )
}
