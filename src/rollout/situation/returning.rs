//! The wanted version is stable again (or for the first time) and other versions still have pods: stable takes its full
//! size, and the others go as fast as availability allows.

use super::super::progress::Progress;
use super::super::targets::Targets;
use super::super::world::World;
use super::Outcome;

/// Fills stable up and drains the others; all Services select stable.
pub(super) fn act(world: &World, progress: &Progress) -> Outcome {
    let targets = Targets::at_weight(world, progress, world.weight(progress));
    Outcome::Stay(targets.with_services_on_stable(world, progress.stable.as_ref()))
}
