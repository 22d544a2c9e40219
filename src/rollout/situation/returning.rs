//! The wanted version is stable again (or for the first time) and other versions still have pods: stable takes its full
//! size and all traffic, and the others go as fast as availability, or their delay, allows.

use super::super::progress::Progress;
use super::super::targets::Targets;
use super::super::world::World;
use super::Outcome;

/// Fills stable up and drains the others; all Services select stable.
pub(super) fn act(world: &World, progress: &Progress) -> Outcome {
    Outcome::Stay(Targets::at_rest(world, progress))
}
