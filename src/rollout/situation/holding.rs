//! Why a rollout stays at a step: a pause, a person, an analysis or an experiment. Each reason says what ends the wait.

use std::time::Duration;

use super::super::deadline::{Deadline, Wake};
use super::super::experiments::{self, StepExperiment};
use super::super::progress::{PAUSE_EXPERIMENT, PAUSE_STEP, Progress};
use super::super::runs::{self, Analysed, Analysis};
use super::super::targets::{ProgressClock, Targets};
use super::super::valid::Strategy;
use super::super::weights;
use super::super::world::World;
use super::{Outcome, aborted, bluegreen, stepping};
use crate::api::labels;
use crate::events::Event;
use crate::units::Weight;

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub enum Reason<'a> {
    /// `spec.paused`; ends when it is false.
    SpecPaused,
    /// An analysis or an Experiment came to no verdict; ends when a person promotes, retries or aborts.
    Inconclusive,
    /// A pause step; ends after its duration or, without one, when a person promotes.
    PauseStep(Option<Duration>),
    /// An analysis step; ends when its run does.
    AnalysisStep(&'a Analysis),
    /// An experiment step; ends when its Experiment does.
    ExperimentStep(&'a StepExperiment),
}

/// Waits, unless an analysis has failed.
pub(super) fn act(reason: Reason, world: &World, progress: &Progress) -> Outcome {
    if matches!(reason, Reason::Inconclusive) && experiments::is_retried(world, progress) {
        return resume(progress);
    }
    if let Reason::SpecPaused | Reason::Inconclusive = reason {
        return freeze(&reason, world, progress);
    }
    let analysed = match runs::background(world, progress) {
        runs::Watched::Failed(why) => return aborted::enter(world, progress, why),
        runs::Watched::Moved(next, events) => return Outcome::Move(*next, events),
        runs::Watched::Going(analysed) => analysed,
    };
    match reason {
        Reason::SpecPaused | Reason::Inconclusive => freeze(&reason, world, progress),
        Reason::PauseStep(duration) => pause(duration, world, progress, analysed),
        Reason::AnalysisStep(analysis) => analysis_step(analysis, world, progress, analysed),
        Reason::ExperimentStep(step) => experiment_step(step, world, progress, analysed),
    }
}

/// Who runs an Experiment again wants what comes after it, and traffic for it.
fn resume(progress: &Progress) -> Outcome {
    let mut next = progress.clone();
    next.end_pause(PAUSE_EXPERIMENT);
    Outcome::Move(next, vec![])
}

/// Nothing moves until a person says so; runs that go on go on, and one that fails takes the update back.
fn freeze(reason: &Reason, world: &World, progress: &Progress) -> Outcome {
    match runs::failures(world, progress) {
        runs::Watched::Failed(why) => aborted::enter(world, progress, why),
        runs::Watched::Moved(next, events) => Outcome::Move(*next, events),
        runs::Watched::Going(_) => {
            let targets = frozen(world, progress);
            let targets = match reason {
                Reason::SpecPaused => targets.with_experiments(world, progress),
                // Nobody knows whether the new version is well.
                _ => targets.relieved(world, progress),
            };
            Outcome::Stay(targets.keeping(progress))
        }
    }
}

/// Everything stays, but a change of `spec.replicas` is followed: it is not part of the update. The share is the one that
/// was reached.
fn frozen(world: &World, progress: &Progress) -> Targets {
    let mut targets = if was_resized(world, progress) {
        Targets::at_weight(world, progress, reached(world, progress))
    } else {
        rescued_at(world, progress, reached(world, progress)).unwrap_or_else(Targets::hold)
    };
    targets.clock = ProgressClock::Stopped;
    targets
}

/// A hold never leaves users on dead pods while stable could serve them: their share goes to stable, and comes back to
/// `weight` with the pods. Nothing is scaled down for it. `None` where users are served.
pub(super) fn rescued_at(world: &World, progress: &Progress, weight: Weight) -> Option<Targets> {
    match &world.spec.strategy {
        Strategy::ByPods => None,
        Strategy::Routed(routing) => {
            let told = weights::told(world, progress, routing)?;
            let was_taken = told == Weight::ZERO && weight > Weight::ZERO && !progress.is_settled();
            if !was_taken && !weights::is_wasted(world, progress, routing) {
                return None;
            }
            let mut targets = Targets::at_weight(world, progress, weight);
            let sets = &world.snapshot.replica_sets;
            targets.sizes.retain(|name, size| sets.iter().any(|set| set.name == *name && set.size < *size));
            Some(targets)
        }
        Strategy::BlueGreen(strategy) => {
            let services = bluegreen::rescue(strategy, world, progress)?;
            Some(Targets { services: vec![services], ..Targets::hold() })
        }
    }
}

/// The weight of the steps that are done, and of the current one if it was reached.
fn reached(world: &World, progress: &Progress) -> Weight {
    if progress.is_settled() && matches!(world.spec.strategy, Strategy::Routed(_)) {
        return Weight::ZERO;
    }
    let current = world.weight(progress);
    if world.is_at(progress, current) { current } else { world.last_weight(progress.index.get()) }
}

/// Whether `spec.replicas` has changed since pods were last counted out.
fn was_resized(world: &World, progress: &Progress) -> bool {
    let sets = [world.new_set(progress), world.stable_set(progress)];
    sets.into_iter().flatten().any(|set| {
        set.size.get() > 0
            && set.desired_annotation.is_some_and(|desired| desired != world.spec.replicas.get())
    })
}

/// At the weight of the steps before, waiting for a time or a person.
fn waiting(world: &World, progress: &Progress) -> Targets {
    let targets = Targets::at_weight(world, progress, world.weight(progress));
    Targets { clock: ProgressClock::Stopped, ..targets }.with_services(world, progress)
}

fn pause(duration: Option<Duration>, world: &World, progress: &Progress, analysed: Analysed) -> Outcome {
    let Some(pause) = progress.pause(PAUSE_STEP) else {
        return if progress.was_unpaused() {
            end_pause(world, progress)
        } else {
            begin_pause(world, progress)
        };
    };
    let ends = duration.map(|duration| pause.start_time.plus(duration));
    if ends.is_some_and(|ends| ends <= world.now()) {
        return end_pause(world, progress);
    }
    let mut targets = waiting(world, progress);
    targets.wakes.extend(ends.map(|at| Wake { at, why: Deadline::PauseEnds }));
    Outcome::Stay(analysed.into_targets(targets))
}

fn begin_pause(world: &World, progress: &Progress) -> Outcome {
    let mut next = progress.clone();
    next.begin_pause(PAUSE_STEP, world.now());
    Outcome::Move(next, vec![Event::Paused])
}

fn end_pause(world: &World, progress: &Progress) -> Outcome {
    let mut resumed = progress.clone();
    resumed.end_pauses();
    match stepping::finish(world, &resumed) {
        Outcome::Move(next, mut events) => {
            events.push(Event::Resumed);
            Outcome::Move(next, events)
        }
        stay @ Outcome::Stay(_) => stay,
    }
}

fn analysis_step(analysis: &Analysis, world: &World, progress: &Progress, background: Analysed) -> Outcome {
    let is_left_over =
        progress.pause(PAUSE_STEP).is_some() || (progress.step_run.is_none() && progress.was_unpaused());
    if is_left_over && let Some(resumed) = stepping::forget_wait(progress) {
        return resumed;
    }
    let step_label = (labels::STEP_INDEX, progress.index.to_string());
    match runs::watch(world, progress, analysis, Some(step_label)) {
        runs::Watched::Failed(why) => aborted::enter(world, progress, why),
        runs::Watched::Moved(next, events) => Outcome::Move(*next, events),
        runs::Watched::Going(step) if step.is_successful => stepping::finish(world, progress),
        runs::Watched::Going(step) => {
            Outcome::Stay(background.into_targets(step.into_targets(waiting(world, progress))))
        }
    }
}

fn experiment_step(
    step: &StepExperiment,
    world: &World,
    progress: &Progress,
    background: Analysed,
) -> Outcome {
    if progress.pause(PAUSE_STEP).is_some()
        && let Some(resumed) = stepping::forget_wait(progress)
    {
        return resumed;
    }
    // Who was unpaused for something else than the recorded Experiment was not for what comes after this one.
    if progress.was_unpaused() && !experiments::is_undecided(world, progress) {
        let mut next = progress.clone();
        next.end_pauses();
        return Outcome::Move(next, vec![]);
    }
    match experiments::watch(world, progress, step) {
        experiments::Watched::Failed(why) => aborted::enter(world, progress, why),
        experiments::Watched::Moved(next, events) => Outcome::Move(*next, events),
        experiments::Watched::Passed => stepping::finish(world, progress),
        experiments::Watched::Going(going) => {
            Outcome::Stay(background.into_targets(going.into_targets(waiting(world, progress))))
        }
    }
}
