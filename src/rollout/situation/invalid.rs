//! The spec cannot be worked with: nothing is begun, nothing is taken away, and everything heals when the cause goes.
//!
//! An analysis that is already running still counts: a bad version is taken back even while the spec is broken.

use super::super::progress::Progress;
use super::super::runs;
use super::super::targets::Targets;
use super::super::world::World;
use super::{Outcome, aborted};
use crate::units::ReplicaCount;

/// Holds everything as it is, and keeps the runs that go on.
pub(super) fn act(world: &World, progress: &Progress) -> Outcome {
    match runs::failures(world, progress) {
        runs::Watched::Failed(why) => return aborted::enter(world, progress, why),
        runs::Watched::Moved(next, events) => return Outcome::Move(*next, events),
        runs::Watched::Going(_) => {}
    }
    // A ReplicaSet that was refused is tried again, empty, while everything else still says so.
    let create = world.retries.then_some(ReplicaCount::ZERO);
    Outcome::Stay(Targets { create, keep_runs: runs::current_names(progress), ..Targets::default() })
}
