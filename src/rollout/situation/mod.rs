//! The one place that asks what is going on. One file per situation holds the whole answer.
//!
//! Some situations are passed through in the same pass: they move the bookkeeping (`Outcome::Move`) and the question is
//! asked again. Where a pass comes to rest, the situation says all that it wants of the cluster (`Outcome::Stay`).

pub mod aborted;
pub(super) mod bluegreen;
mod complete;
mod holding;
mod initial;
pub mod invalid;
mod promoting;
mod requested;
pub(super) mod rerouting;
mod returning;
mod stepping;

use super::progress::{PAUSE_EXPERIMENT, PAUSE_INCONCLUSIVE, Progress};
use super::targets::Targets;
use super::valid::{BlueGreen, Step, Strategy};
use super::world::World;
use crate::events::Event;
use crate::units::ReplicaCount;
use stepping::Goal;

/// What is going on.
#[derive(Clone, Copy, Debug)]
pub enum Situation<'a> {
    /// The spec names another route than the one that has the canary's share.
    Rerouting,
    /// The spec cannot be worked with.
    Invalid,
    /// Somebody asked for something through the status: abort, retry, promotion.
    Requested(requested::Request),
    /// The spec asks for another version, or for other steps.
    Revised,
    /// No version has ever been complete.
    Initial,
    /// The update was taken back.
    Aborted,
    /// The wanted version is stable, and others are still being removed.
    Returning,
    /// The wanted version is stable, and alone.
    Complete,
    /// All steps are done, or were skipped.
    Promoting,
    /// Something or somebody is waited for.
    Holding(holding::Reason<'a>),
    /// The canary is brought to a weight or a size.
    Stepping(Goal),
    /// The preview is on its way to users, or with them and not stable yet.
    BlueGreen(&'a BlueGreen),
}

/// What a situation leads to.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a pass has one at a time, and never keeps it")]
pub enum Outcome {
    /// The bookkeeping moved; the question is asked again.
    Move(Progress, Vec<Event>),
    /// This is where the pass comes to rest.
    Stay(Targets),
}

/// Tells what is going on. The order of the questions is the order of their importance.
#[must_use]
pub fn classify<'a>(world: &World<'a>, progress: &Progress) -> Situation<'a> {
    if world.snapshot.leaves_route {
        return Situation::Rerouting;
    }
    let can_go_back = progress.abort && progress.stable.is_some() && world.knows_the_split();
    if !world.problems.is_empty() && !can_go_back {
        return Situation::Invalid;
    }
    if let Some(request) = requested::find(world, progress) {
        return Situation::Requested(request);
    }
    let revised = progress.hash.as_ref() != Some(&world.wanted) || progress.step_hash != world.wanted_steps;
    if world.problems.is_empty() && revised {
        return Situation::Revised;
    }
    match () {
        () if progress.stable.is_none() => Situation::Initial,
        () if progress.is_settled() && has_others(world, progress) && world.spec.paused => {
            Situation::Holding(holding::Reason::SpecPaused)
        }
        () if progress.is_settled() && has_others(world, progress) => Situation::Returning,
        () if progress.is_settled() => Situation::Complete,
        () if progress.abort => Situation::Aborted,
        () => updating(world, progress),
    }
}

/// What is going on while an update is on its way.
fn updating<'a>(world: &World<'a>, progress: &Progress) -> Situation<'a> {
    use holding::Reason;
    if world.spec.paused {
        return Situation::Holding(Reason::SpecPaused);
    }
    if progress.pause(PAUSE_INCONCLUSIVE).or(progress.pause(PAUSE_EXPERIMENT)).is_some() {
        return Situation::Holding(Reason::Inconclusive);
    }
    if let Strategy::BlueGreen(strategy) = &world.spec.strategy {
        return Situation::BlueGreen(strategy);
    }
    match world.step(progress).filter(|_| !progress.promote_full) {
        None => Situation::Promoting,
        Some(Step::SetWeight(weight)) => Situation::Stepping(Goal::Weight(*weight)),
        Some(Step::SetCanaryScale(_) | Step::SetRoute { .. }) => Situation::Stepping(Goal::Kept),
        Some(Step::Pause(duration)) => Situation::Holding(Reason::PauseStep(*duration)),
        Some(Step::Experiment(step)) => Situation::Holding(Reason::ExperimentStep(step)),
        Some(Step::Analysis(analysis)) => Situation::Holding(Reason::AnalysisStep(analysis)),
    }
}

fn has_others(world: &World, progress: &Progress) -> bool {
    world
        .other_sets(progress)
        .iter()
        .any(|set| set.size > ReplicaCount::ZERO || set.replicas > ReplicaCount::ZERO)
}

/// What the situation leads to.
#[must_use]
pub fn act(situation: Situation, world: &World, progress: &Progress) -> Outcome {
    match situation {
        Situation::Rerouting => rerouting::act(world, progress),
        Situation::Invalid => invalid::act(world, progress),
        Situation::Requested(request) => requested::act(request, world, progress),
        Situation::Revised => initial::revise(world, progress),
        Situation::Initial => initial::act(world, progress),
        Situation::Aborted => aborted::act(world, progress),
        Situation::Returning => returning::act(world, progress),
        Situation::Complete => complete::act(world, progress),
        Situation::Promoting => promoting::act(world, progress),
        Situation::Holding(reason) => holding::act(reason, world, progress),
        Situation::Stepping(goal) => stepping::act(goal, world, progress),
        Situation::BlueGreen(strategy) => bluegreen::act(strategy, world, progress),
    }
}
