//! The first deploy, and the beginning of every update.
//!
//! A first deploy runs no steps: there is nothing to compare with and nothing to fall back to.

use super::super::progress::{PAUSE_STEP, Progress};
use super::super::services;
use super::super::snapshot;
use super::super::status::{Direction, Milestone};
use super::super::targets::Targets;
use super::super::valid::{Step, Strategy};
use super::super::world::World;
use super::super::{restart, revision, runs};
use super::{Outcome, complete};
use crate::events::Event;
use crate::units::{StepIndex, Weight};

/// The spec asks for another version, or for other steps: the update begins at its first step. Going back to stable,
/// and a first deploy, have no steps to go through.
pub(super) fn revise(world: &World, progress: &Progress) -> Outcome {
    let is_new_version = progress.hash.as_ref() != Some(&world.wanted);
    if !is_new_version && let Some(next) = continued(world, progress) {
        return Outcome::Move(next, vec![]);
    }
    let mut next = progress.clone();
    next.begin(world.wanted.clone(), world.wanted_steps.clone(), StepIndex::FIRST);
    // Its pods are new: a restart that was asked for before is cancelled.
    next.restarted_at = restart::asked(world.snapshot);
    let shortcut = shortcut(world, &next);
    if shortcut.is_some() || progress.stable.is_none() {
        next.go_to(StepIndex::from(world.spec.steps.len()));
    }
    next.promote_full = shortcut == Some(Shortcut::Delay);
    if is_new_version || progress.stable.is_some() {
        next.milestones.push(Milestone::Began(direction(world, &next, shortcut)));
    }
    let events = if is_new_version { announced(world, &next, shortcut) } else { vec![] };
    Outcome::Move(next, events)
}

/// Where the update goes on when only steps that are still to come were edited, or the current one; `None` when a step
/// that is done was, or nothing is on its way.
fn continued(world: &World, progress: &Progress) -> Option<Progress> {
    let passed = revision::passed_steps_hash(world.snapshot, progress.index);
    let is_kept = progress.passed_steps == passed && passed.is_some();
    if !is_kept || progress.abort || progress.is_settled() || progress.stable.is_none() {
        return None;
    }
    let mut next = progress.clone();
    next.step_hash.clone_from(&world.wanted_steps);
    let step = world.step(progress);
    if !matches!(step, Some(Step::Pause(_))) && progress.pause(PAUSE_STEP).is_some() {
        next.end_pauses();
    }
    let is_same_analysis = match step {
        Some(Step::Analysis(analysis)) => runs::is_of(world.snapshot, progress, analysis),
        _ => false,
    };
    if !is_same_analysis {
        next.step_run = None;
    }
    Some(next)
}

/// Why a version need not prove itself again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortcut {
    /// It is stable.
    Stable,
    /// It was stable a few revisions ago.
    Window,
    /// It was active a moment ago, and its pods are still kept.
    Delay,
}

fn shortcut(world: &World, next: &Progress) -> Option<Shortcut> {
    let is_blue_green = matches!(world.spec.strategy, Strategy::BlueGreen(_));
    let is_kept = || {
        world.new_set(next).is_some_and(|set| {
            set.scale_down_deadline.is_some_and(|at| at > world.now())
                && set.outcome != Some(snapshot::Outcome::Aborted)
        })
    };
    match () {
        () if next.is_settled() => Some(Shortcut::Stable),
        () if world.is_within_window(next) => Some(Shortcut::Window),
        () if is_blue_green && next.stable.is_some() && is_kept() => Some(Shortcut::Delay),
        () => None,
    }
}

/// Where the update leads to, as far as its duration tells.
fn direction(world: &World, next: &Progress, shortcut: Option<Shortcut>) -> Direction {
    let created = |set: Option<&snapshot::ReplicaSet>| set.and_then(|set| set.created_at);
    let (new, stable) = (created(world.new_set(next)), created(world.stable_set(next)));
    match shortcut {
        Some(Shortcut::Stable) => Direction::ToStable,
        Some(Shortcut::Window | Shortcut::Delay) => Direction::StraightBack,
        None if new.is_some() && new < stable => Direction::Back,
        None => Direction::Forward,
    }
}

fn announced(world: &World, next: &Progress, shortcut: Option<Shortcut>) -> Vec<Event> {
    let revision = world.number(next);
    let is_first_blue_green = next.stable.is_none() && matches!(world.spec.strategy, Strategy::BlueGreen(_));
    let mut events = vec![Event::Updated { revision }];
    if shortcut != Some(Shortcut::Stable) && !is_first_blue_green {
        events.push(Event::NotCompleted { revision, hash: world.wanted.clone() });
    }
    events.extend(shortcut.map(|shortcut| Event::SkipSteps {
        why: match shortcut {
            Shortcut::Stable => "Rollback to stable ReplicaSets",
            Shortcut::Window => "Rollback to active ReplicaSets within RollbackWindow",
            Shortcut::Delay => "Rollback to active ReplicaSets within their scale-down delay",
        },
    }));
    events
}

/// Brings up the first version; once all of its pods are available it is stable.
pub(super) fn act(world: &World, progress: &Progress) -> Outcome {
    if world.is_new_available(progress) {
        return complete::enter_first(world, progress);
    }
    if world.spec.paused {
        return Outcome::Stay(Targets::hold());
    }
    let targets = Targets::at_weight(world, progress, Weight::ZERO);
    Outcome::Stay(Targets { services: services::of_first(world, progress), ..targets })
}
