//! The pure core for Rollouts: `decide` turns a snapshot of the world into a plan.
//!
//! | situation | what happens | file |
//! |---|---|---|
//! | `Rerouting` | the route that the spec named before is let go | `situation/rerouting.rs` |
//! | `Invalid` | hold; say what is wrong | `situation/invalid.rs` |
//! | `Requested` | abort, retry or promotion asked for through the status | `situation/requested.rs` |
//! | `Revised` | another version or other steps: begin at the first step | `situation/initial.rs` |
//! | `Initial` | the first deploy | `situation/initial.rs` |
//! | `Stepping` | bring the canary to a weight or a size | `situation/stepping.rs` |
//! | `BlueGreen` | preview, analysis, promotion, switch | `situation/bluegreen.rs` |
//! | `Holding` | wait for a time, a person or an analysis | `situation/holding.rs` |
//! | `Promoting` | the new version takes over | `situation/promoting.rs` |
//! | `Aborted` | stable takes everything back | `situation/aborted.rs` |
//! | `Returning` | stable is wanted; others drain | `situation/returning.rs` |
//! | `Complete` | stable is alone | `situation/complete.rs` |

mod annotations;
pub mod deadline;
pub mod effect;
pub mod endpoints;
pub mod experiments;
mod history;
pub mod injection;
mod leaving;
pub mod plan;
pub mod pod_hash;
pub mod pods;
pub mod progress;
mod references;
pub mod replicas;
mod restart;
pub mod revision;
pub mod role_labels;
mod routes;
pub mod runs;
mod scale_down;
mod services;
pub mod situation;
pub mod snapshot;
pub mod status;
mod targets;
pub mod told;
pub mod valid;
pub mod verified;
mod weights;
pub mod workload;
mod world;

pub use effect::Effect;
pub use plan::Plan;
pub use snapshot::Snapshot;

use crate::api::RolloutStatus;
use progress::Progress;
use situation::{Outcome, Situation, act, classify};
use targets::Targets;
use workload::Referenced;
use world::World;

/// Situations passed through in one pass besides the steps themselves: a request, a revision, an abort, a promotion,
/// and the runs and pauses on the way.
const MOVES_BESIDES_STEPS: usize = 16;

/// Decides what a pass does: the same snapshot gives the same plan, byte for byte.
#[must_use]
pub fn decide(snapshot: &Snapshot) -> Plan {
    if snapshot.rollout.metadata.deletion_timestamp.is_some() {
        return leaving::plan(snapshot);
    }
    if snapshot.workload == Referenced::Awaited {
        return Plan::default();
    }
    let parsed = valid::parse(snapshot);
    let world = World {
        snapshot,
        spec: &parsed.spec,
        problems: &parsed.problems,
        retries: parsed.retries,
        lacks_only_routes: parsed.lacks_only_routes,
        template_hash: revision::template_hash(snapshot),
        wanted: revision::wanted_hash(snapshot),
        wanted_steps: revision::wanted_step_hash(snapshot),
    };
    let unseen = RolloutStatus::default();
    let mut progress =
        Progress::read(snapshot.rollout.status.as_ref().unwrap_or(&unseen), parsed.spec.steps.len());
    let mut events = Vec::new();
    // Each step moves at most three times (run recorded, pause begun, step left).
    for _ in 0..parsed.spec.steps.len().saturating_mul(3).saturating_add(MOVES_BESIDES_STEPS) {
        let situation = classify(&world, &progress);
        match act(situation, &world, &progress) {
            Outcome::Move(next, announced) => {
                progress = next;
                events.extend(announced);
            }
            Outcome::Stay(targets) => {
                let progress = restart::noted(&world, &progress);
                return plan::build(&world, situation, &progress, targets, events);
            }
        }
    }
    // No chain of moves is that long; should one be, the pass changes no pod and the next one goes on from here.
    let hold = Targets::default().keeping(&progress);
    plan::build(&world, Situation::Invalid, &progress, hold, events)
}

#[cfg(test)]
mod tests;
