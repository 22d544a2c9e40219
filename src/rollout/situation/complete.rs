//! The wanted version is stable and alone: its size follows the spec, and history is kept within its limits.

use super::super::progress::Progress;
use super::super::status::Milestone;
use super::super::targets::Targets;
use super::super::valid::{Destinations, Routing, Strategy};
use super::super::world::World;
use super::Outcome;
use crate::events::Event;
use crate::units::StepIndex;

/// Makes the wanted version the stable one.
pub(super) fn enter(world: &World, progress: &Progress, why: String) -> Outcome {
    let revision = world.number(progress);
    let completed = progress.hash.clone().map(|hash| Event::Completed { revision, hash, why });
    Outcome::Move(promoted(world, progress), completed.into_iter().collect())
}

/// Makes the first version ever the stable one.
pub(super) fn enter_first(world: &World, progress: &Progress) -> Outcome {
    let revision = world.number(progress);
    let deployed = progress.hash.clone().map(|hash| Event::Deployed { revision, hash });
    Outcome::Move(promoted(world, progress), deployed.into_iter().collect())
}

fn promoted(world: &World, progress: &Progress) -> Progress {
    let mut next = progress.clone();
    next.stable.clone_from(&progress.hash);
    next.go_to(StepIndex::from(world.spec.steps.len()));
    let is_hurried = std::mem::take(&mut next.promote_full);
    next.milestones.push(if is_hurried { Milestone::FastPromoted } else { Milestone::Promoted });
    next.forget_runs();
    next.end_abort();
    next.end_pauses();
    if let Strategy::Routed(Routing { destinations: Destinations::PingPong { .. }, .. }) = world.spec.strategy
    {
        next.swap_roles();
    }
    next
}

/// Keeps the stable version at its size.
pub(super) fn act(world: &World, progress: &Progress) -> Outcome {
    Outcome::Stay(Targets::at_rest(world, progress))
}
