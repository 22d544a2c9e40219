//! The first deploy, and the beginning of every update.
//!
//! A first deploy runs no steps: there is nothing to compare with and nothing to fall back to.

use super::super::progress::Progress;
use super::super::services;
use super::super::snapshot;
use super::super::targets::Targets;
use super::super::valid::Strategy;
use super::super::world::World;
use super::{Outcome, complete};
use crate::events::Event;
use crate::units::{StepIndex, Weight};

/// The spec asks for another version, or for other steps: the update begins at its first step. Going back to stable,
/// and a first deploy, have no steps to go through.
pub(super) fn revise(world: &World, progress: &Progress) -> Outcome {
    let mut next = progress.clone();
    let is_new_version = progress.hash.as_ref() != Some(&world.wanted);
    next.begin(world.wanted.clone(), world.wanted_steps.clone(), StepIndex::FIRST);
    let shortcut = shortcut(world, &next);
    if shortcut.is_some() || progress.stable.is_none() {
        next.index = StepIndex::from(world.spec.steps.len());
    }
    next.promote_full = shortcut == Some(Shortcut::Delay);
    let events = if is_new_version { announced(world, &next, shortcut) } else { vec![] };
    Outcome::Move(next, events)
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

fn announced(world: &World, next: &Progress, shortcut: Option<Shortcut>) -> Vec<Event> {
    let revision = world.number(next);
    let is_first_blue_green =
        next.stable.is_none() && matches!(world.spec.strategy, Strategy::BlueGreen(_));
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
