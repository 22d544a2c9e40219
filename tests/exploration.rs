//! Small worlds, gone through in every interleaving of a few faults and actions. `cargo bench --bench exploration` goes
//! further.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and its functions are part of it"
)]

use std::fs;
use std::path::Path;

use serin::sim::explore::{World, explore};

/// More states than any of the worlds has for what a test asks of it.
const MOST_STATES: usize = 20_000;

fn manifest(name: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)).ok()
}

/// Goes through a world, and prints how far.
fn go_through(name: &str, budget: u8) {
    let world = manifest(&format!("worlds/{name}.txt")).unwrap();
    let (begins, actions) = world.split_once("----\n").unwrap();
    let world = World { begins, actions, budget, most_states: MOST_STATES };
    let found = explore(&world, &manifest).unwrap();
    println!(
        "{name}: {} states, {} moves, {} at rest, up to {budget} faults and actions",
        found.states, found.moves, found.rests
    );
    assert!(found.violation.is_none(), "{name}: {}", found.violation.unwrap());
    assert!(found.is_complete, "{name} has more than {MOST_STATES} states");
}

#[test]
fn pods_by_their_number() {
    go_through("by_pods", 1);
}

#[test]
fn a_router() {
    go_through("routed", 1);
}

#[test]
fn a_router_and_services_that_select_by_role() {
    go_through("role_labels", 1);
}

#[test]
fn a_router_and_a_stable_that_shrinks() {
    go_through("dynamic", 1);
}

#[test]
fn one_switch() {
    go_through("bluegreen", 1);
}
