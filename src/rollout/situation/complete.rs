//! The wanted version is stable and alone: its size follows the spec, and history is kept within its limits.

use super::super::progress::Progress;
use super::super::targets::Targets;
use super::super::world::World;
use super::Outcome;
use crate::events::Event;
use crate::units::StepIndex;

/// Makes the wanted version the stable one.
pub(super) fn enter(world: &World, progress: &Progress, why: String) -> Outcome {
    let mut next = progress.clone();
    next.stable.clone_from(&progress.hash);
    next.index = StepIndex::from(world.spec.steps.len());
    next.promote_full = false;
    next.step_run = None;
    next.background_run = None;
    next.end_abort();
    next.end_pauses();
    let hash = progress.hash.clone();
    let completed = hash.map(|hash| Event::Completed { revision: world.number(progress), hash, why });
    Outcome::Move(next, completed.into_iter().collect())
}

/// Keeps the stable version at its size.
pub(super) fn act(world: &World, progress: &Progress) -> Outcome {
    let targets = Targets::at_weight(world, progress, world.weight(progress));
    Outcome::Stay(targets.with_services_on_stable(world, progress.stable.as_ref()))
}
