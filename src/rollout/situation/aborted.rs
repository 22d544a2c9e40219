//! What happens on abort: stable goes back to its full size and gets all traffic, then the version that was taken back goes,
//! and nothing more happens until the update is retried or the spec changes. Nobody has to touch anything, and nothing
//! here waits for a person, an analysis or a valid spec.
//!
//! | traffic is split by | what happens |
//! |---|---|
//! | pods | stable grows first, and canary pods go as stable ones become available |
//! | a router | the share goes to zero at once, or as fast as a smaller stable can take it up; once it was observed to be gone and stable is whole, the canary is kept for `abortScaleDownDelaySeconds` and then goes |
//! | one switch | the active Service goes back to stable as soon as stable is as good, even when the new pods are all dead; then the same delay |

use super::super::progress::Progress;
use super::super::scale_down;
use super::super::targets::Targets;
use super::super::valid::Strategy;
use super::super::world::World;
use super::Outcome;
use crate::events::{AbortReason, Event};
use crate::units::Weight;

/// Takes the update back.
pub(in super::super) fn enter(world: &World, progress: &Progress, why: AbortReason) -> Outcome {
    let mut next = progress.clone();
    next.begin_abort(world.now());
    Outcome::Move(next, vec![Event::Aborted { revision: world.number(progress), why }])
}

/// Weight 0. Every AnalysisRun is stopped, all Services select stable, and a canary that has no ReplicaSet yet gets none.
pub(super) fn act(world: &World, progress: &Progress) -> Outcome {
    let mut targets = Targets::at_weight(world, progress, Weight::ZERO);
    targets.create = None;
    match world.spec.strategy {
        Strategy::ByPods => {}
        Strategy::Routed(_) | Strategy::BlueGreen(_) => {
            scale_down::of_aborted(world, progress, &mut targets);
        }
    }
    Outcome::Stay(targets.with_services_on_stable(world, progress))
}
