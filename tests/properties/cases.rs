//! Random rollouts and what is done to them, as scripts of the simulator.

use std::fmt::Write as _;

use proptest::prelude::*;

use crate::specs::{Spec, Split, by_pods, specs};

/// A rollout and what is done to it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) spec: Spec,
    pub(crate) actions: Vec<String>,
}

impl Case {
    /// The script, with `ending` after what is done.
    pub(crate) fn script(&self, ending: &str) -> String {
        let mut script = String::from("image v3 never ready\nimage v4 error rate 0.9\n");
        script.push_str(&self.spec.deployed());
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
    /// The same, and the number of replicas changes, and pods, ReplicaSets, runs, routes and clocks are meddled with.
    Everything,
    /// The controller sees what there is, but dies, and its writes fail; pods die, and others write the route.
    Seeing,
    /// Caches fall far behind, and writes fail with an answer; nobody else writes the route.
    Lagging,
    /// Pods are published behind their Services late, or what is published cannot be read; caches fall behind, and writes fail
    /// with an answer; nobody else writes the route.
    Publishing,
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

/// Writes that fail, each with an answer, and a controller that dies.
fn failing_writes() -> BoxedStrategy<String> {
    prop_oneof![
        (0_u32..12).prop_map(|writes| format!("crash after {writes} writes")),
        (1_u32..6).prop_map(|writes| format!("conflict {writes} writes")),
        (1_u32..6).prop_map(|writes| format!("refuse {writes} writes")),
        fixed(&["crash", "server down for 20s", "events twice", "events once"]),
    ]
    .boxed()
}

/// The same, and other servers that fail, and clocks.
fn answered() -> BoxedStrategy<String> {
    prop_oneof![
        4 => failing_writes(),
        1 => fixed(&["clock forward 3m", "clock back 3m", "router down", "router up"]),
        1 => fixed(&[
            "prometheus down",
            "prometheus up",
            "metric success-rate 0.9",
            "metric success-rate traffic"
        ]),
    ]
    .boxed()
}

fn lost() -> BoxedStrategy<String> {
    (1_u32..6).prop_map(|answers| format!("lose {answers} answers")).boxed()
}

fn lag() -> BoxedStrategy<String> {
    prop_oneof![5 => late_caches(), 1 => fixed(&["lag all 0s"]), 2 => fixed(&["lag all 9s"])].boxed()
}

/// Caches that fall behind, but for lists of pods.
fn late_caches() -> BoxedStrategy<String> {
    fixed(&[
        "lag rollout 2s",
        "lag ReplicaSets 2s",
        "lag AnalysisRuns 5s",
        "lag Services 3s",
        "lag route 3s",
        "watches down for 1m",
    ])
}

fn endpoints() -> BoxedStrategy<String> {
    fixed(&[
        "endpoints late 2s",
        "endpoints late 20s",
        "endpoints prompt",
        "endpoints unreadable",
        "endpoints unreadable\nwait 20s\nendpoints readable",
        "endpoints readable",
    ])
}

/// What happens to pods, and what others do to the route.
fn world() -> BoxedStrategy<String> {
    fixed(&[
        "scale 1",
        "scale 3",
        "scale 7",
        "scale 0\nwait 1m\nscale 4",
        "delete 2 pods of v1",
        "delete 2 pods of v2",
        "break 9 pods of v2",
        "break 9 pods of v5",
        "break 1 pods of v1",
        "heal 9 pods of v1",
        "heal 9 pods of v2",
        "route web-canary 50 web-stable 50",
        "route web-canary 100 web-stable 0",
        "router slow 5s",
        "router slow 40s",
        "router prompt",
    ])
}

fn meddling() -> BoxedStrategy<String> {
    fixed(&[
        "resize ReplicaSet of v1 to 2",
        "resize ReplicaSet of v2 to 6",
        "resize ReplicaSet of v5 to 0",
        "delete ReplicaSet of v2",
        "delete ReplicaSet of v4",
        "delete runs",
        "quota 6",
        "quota none",
    ])
}

/// Steps in mid-update: others, or the same with another end; or another route.
fn edits() -> BoxedStrategy<String> {
    fixed(&[
        "patch spec\n  strategy: {canary: {steps: [{setWeight: 30}, {pause: {duration: 1m}}]}}",
        "patch spec\n  strategy: {canary: {steps: [{setWeight: 30}, {pause: {duration: 1m}}, {setWeight: 70}, {pause: {}}]}}",
        // Another route: here, the same by another name.
        "patch spec\n  strategy: {canary: {trafficRouting: {plugins: {simulated: {route: another}}}}}",
        "patch spec\n  strategy: {canary: {trafficRouting: {plugins: {simulated: {route: null}}}}}",
    ])
}

/// Random cases with any way of splitting the traffic.
pub(crate) fn cases(actions: Actions) -> impl Strategy<Value = Case> {
    (specs(), prop::collection::vec(action(actions), 1..32)).prop_map(|(spec, mut actions)| {
        if spec.split == Split::BlueGreen {
            // It has no steps to edit; a second strategy would make it illegal.
            actions.retain(|action| !action.starts_with("patch spec"));
        }
        if spec.split != Split::Router {
            actions.retain(|action| !action.contains("trafficRouting"));
        }
        Case { spec, actions }
    })
}

/// Random cases whose pods split the traffic by their number, with the Services' names left out or given.
pub(crate) fn cases_by_pods(actions: Actions) -> impl Strategy<Value = Case> {
    (by_pods(), prop::collection::vec(action(actions), 1..32))
        .prop_map(|(spec, actions)| Case { spec, actions })
}

fn action(actions: Actions) -> BoxedStrategy<String> {
    match actions {
        Actions::Rollouts => prop_oneof![4 => user(), 4 => time(), 2 => answered(), 1 => lost(), 1 => lag()].boxed(),
        Actions::Everything => prop_oneof![
            8 => user(), 8 => time(), 3 => answered(), 1 => lost(), 3 => lag(), 3 => world(), 2 => meddling(), 1 => edits()
        ]
        .boxed(),
        Actions::Seeing => {
            prop_oneof![8 => user(), 8 => time(), 4 => answered(), 1 => lost(), 5 => world(), 1 => edits()].boxed()
        }
        Actions::Publishing => {
            prop_oneof![5 => user(), 5 => time(), 3 => endpoints(), 1 => late_caches(), 1 => failing_writes()].boxed()
        }
        Actions::Lagging => {
            prop_oneof![8 => user(), 8 => time(), 4 => answered(), 6 => lag(), 1 => edits()].boxed()
        },
    }
}
