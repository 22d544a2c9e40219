//! The canary is brought to a weight: pods move until their ratio is as close to it as whole pods allow, and the step is
//! done once the new pods are available and the old ones gone.

use super::super::deadline;
use super::super::progress::{PAUSE_STEP, Progress};
use super::super::runs;
use super::super::targets::Targets;
use super::super::world::World;
use super::{Outcome, aborted};
use crate::events::Event;
use crate::units::Weight;

/// What a step brings the canary to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A share of the traffic, with the pods that it takes.
    Weight(Weight),
    /// A size, or a route for some requests, apart from its share, which stays as it is.
    Kept,
}

/// Goes to the goal, unless an analysis has failed or the progress deadline aborts the update.
pub(super) fn act(goal: Goal, world: &World, progress: &Progress) -> Outcome {
    let analysed = match runs::background(world, progress) {
        runs::Watched::Failed(why) => return aborted::enter(world, progress, why),
        runs::Watched::Moved(next, events) => return Outcome::Move(*next, events),
        runs::Watched::Going(analysed) => analysed,
    };
    if let Some(resumed) = forget_wait(progress) {
        return resumed;
    }
    let weight = match goal {
        Goal::Weight(weight) => weight,
        Goal::Kept => world.weight(progress),
    };
    if world.is_at(progress, weight) {
        return finish(world, progress);
    }
    if let Some(why) = deadline::abort(world, progress) {
        return aborted::enter(world, progress, why);
    }
    let targets = Targets::at_weight(world, progress, weight).with_services(world, progress);
    Outcome::Stay(analysed.into_targets(targets))
}

/// Forgets a pause, an analysis or an experiment that a user went past, with or without ending it; what it leaves would end a later one
/// at once.
pub(super) fn forget_wait(progress: &Progress) -> Option<Outcome> {
    let was_paused = progress.was_unpaused() || progress.pause(PAUSE_STEP).is_some();
    (was_paused || progress.step_run.is_some() || progress.experiment.is_some()).then(|| {
        let mut next = progress.clone();
        next.forget_step();
        let events = if was_paused { vec![Event::Resumed] } else { vec![] };
        if was_paused {
            next.end_pauses();
        }
        Outcome::Move(next, events)
    })
}

/// Leaves a step for the next one.
pub(super) fn finish(world: &World, progress: &Progress) -> Outcome {
    let mut next = progress.clone();
    next.advance();
    let step = world.step(progress).map(ToString::to_string).unwrap_or_default();
    let completed = Event::StepCompleted { index: progress.index, of: world.spec.steps.len(), step };
    Outcome::Move(next, vec![completed])
}
