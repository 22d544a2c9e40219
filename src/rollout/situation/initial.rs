//! The first deploy, and the beginning of every update.
//!
//! A first deploy runs no steps: there is nothing to compare with and nothing to fall back to.

use super::super::progress::Progress;
use super::super::targets::Targets;
use super::super::world::World;
use super::{Outcome, complete};
use crate::events::Event;
use crate::units::StepIndex;

/// The spec asks for another version, or for other steps: the update begins at its first step. Going back to stable,
/// and a first deploy, have no steps to go through.
pub(super) fn revise(world: &World, progress: &Progress) -> Outcome {
    let mut next = progress.clone();
    let is_new_version = progress.hash.as_ref() != Some(&world.wanted);
    let is_stable = progress.stable.as_ref() == Some(&world.wanted);
    let skips = is_stable || progress.stable.is_none();
    let index = if skips { StepIndex::from(world.spec.steps.len()) } else { StepIndex::FIRST };
    next.begin(world.wanted.clone(), world.wanted_steps.clone(), index);
    let mut events = Vec::new();
    if is_new_version {
        let revision = world.number(&next);
        events.push(Event::Updated { revision });
        if is_stable {
            events.push(Event::SkipSteps { why: "Rollback to stable ReplicaSets" });
        } else {
            events.push(Event::NotCompleted { revision, hash: world.wanted.clone() });
        }
    }
    Outcome::Move(next, events)
}

/// Brings up the first version; once all of its pods are available it is stable.
pub(super) fn act(world: &World, progress: &Progress) -> Outcome {
    if world.is_new_available(progress) {
        return complete::enter(world, progress, "Initial deploy".to_owned());
    }
    if world.spec.paused {
        return Outcome::Stay(Targets::hold());
    }
    Outcome::Stay(Targets::at_weight(world, progress, world.weight(progress)))
}
