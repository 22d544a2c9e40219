//! Goes through the small worlds of `tests/worlds` further than a test has time for.
//!
//! `cargo bench --bench exploration -- [BUDGET [MOST_STATES [WORLD…]]]`: up to so many faults and actions (2) and so many
//! states of each world (1,000,000). It fails on the first thing that should not have happened, with the way there.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serin::sim::explore::{World, explore};

const WORLDS: [&str; 4] = ["by_pods", "routed", "dynamic", "bluegreen"];

fn manifest(name: &str) -> Option<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)).ok()
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let number = |at: usize, default: usize| args.get(at).map_or(Ok(default), |arg| arg.parse());
    let (budget, most_states) = (u8::try_from(number(0, 2)?)?, number(1, 1_000_000)?);
    let chosen: Vec<&str> = args.iter().skip(2).map(String::as_str).collect();
    for name in if chosen.is_empty() { &WORLDS[..] } else { &chosen } {
        let world = manifest(&format!("worlds/{name}.txt")).with_context(|| format!("no world {name}"))?;
        let (begins, actions) = world.split_once("----\n").context("a world has no actions")?;
        let since = Instant::now();
        let found = explore(&World { begins, actions, budget, most_states }, &manifest)?;
        println!(
            "{name}: {} states, {} moves, {} at rest, up to {budget} faults and actions{}, {:.0} s",
            found.states,
            found.moves,
            found.rests,
            if found.is_complete { ", all of them" } else { ", and there are more" },
            since.elapsed().as_secs_f64()
        );
        if let Some(violation) = found.violation {
            bail!("{name}: {violation}");
        }
    }
    Ok(())
}
