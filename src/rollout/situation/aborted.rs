//! What happens on abort: stable goes back to its full size, then the canary goes, and nothing more happens until the
//! update is retried or the spec changes. Nobody has to touch anything, and nothing here waits for a person, an
//! analysis or a valid spec.

use super::super::progress::Progress;
use super::super::targets::Targets;
use super::super::world::World;
use super::Outcome;
use crate::events::Event;
use crate::units::Weight;

/// Takes the update back. `why` is empty when a user asked for it.
pub(in super::super) fn enter(world: &World, progress: &Progress, why: String) -> Outcome {
    let mut next = progress.clone();
    next.begin_abort(world.now());
    Outcome::Move(next, vec![Event::Aborted { revision: world.number(progress), why }])
}

/// Weight 0: stable grows first, and canary pods go as stable ones become available. Every AnalysisRun is stopped, all
/// Services select stable, and a canary that has no ReplicaSet yet gets none.
pub(super) fn act(world: &World, progress: &Progress) -> Outcome {
    let targets = Targets::at_weight(world, progress, Weight::ZERO);
    let targets = Targets { create: None, ..targets };
    Outcome::Stay(targets.with_services_on_stable(world, progress.stable.as_ref()))
}
