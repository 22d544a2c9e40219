//! A blue-green update: the preview comes up, is analysed, waits for its promotion, grows to full size, and is switched to;
//! then it is analysed again, and becomes stable. Until that moment stable keeps all of its pods, so that going back is
//! one switch.

use super::super::deadline::{self, Deadline, Wake};
use super::super::progress::{PAUSE_BLUE_GREEN, Progress};
use super::super::runs::{self, Analysed, Analysis, Watched};
use super::super::services::{self, Demand, Selection, selection};
use super::super::snapshot::ReplicaSet;
use super::super::targets::{ProgressClock, Targets};
use super::super::valid::{BlueGreen, Promotion};
use super::super::world::World;
use super::{Outcome, aborted, complete};
use crate::events::Event;
use crate::units::ReplicaCount;

/// What comes next on the way to the switch, or after it.
pub(super) fn act(strategy: &BlueGreen, world: &World, progress: &Progress) -> Outcome {
    if world.selected(&strategy.active_service) == progress.hash {
        return after_switch(strategy, world, progress);
    }
    let is_ready = world.has_new(progress, preview_size(world, progress, strategy).get());
    if !is_ready && let Some(why) = deadline::abort(world, progress) {
        return aborted::enter(world, progress, why);
    }
    if world.skips_analysis(progress) || progress.may_switch {
        return Outcome::Stay(switching(strategy, world, progress));
    }
    if !is_ready && progress.pre_promotion_run.is_none() {
        return Outcome::Stay(preview(world, progress, ProgressClock::Running));
    }
    match analyse(strategy.pre_promotion.as_deref(), world, progress) {
        Watched::Failed(why) => aborted::enter(world, progress, why),
        Watched::Moved(next, events) => Outcome::Move(*next, events),
        Watched::Going(analysed) if !analysed.is_successful => {
            Outcome::Stay(analysed.into_targets(preview(world, progress, ProgressClock::Stopped)))
        }
        Watched::Going(analysed) => promotion(strategy, world, progress, analysed),
    }
}

/// Pods of the wanted version: those of the preview until all that the switch waits for has happened.
pub(in super::super) fn preview_size(
    world: &World,
    progress: &Progress,
    strategy: &BlueGreen,
) -> ReplicaCount {
    let is_switched = world.selected(&strategy.active_service) == progress.hash;
    let is_whole = is_switched
        || progress.may_switch
        || progress.stable.is_none()
        || progress.is_settled()
        || world.skips_analysis(progress);
    strategy.preview_replicas.filter(|_| !is_whole).unwrap_or(world.spec.replicas)
}

/// The analysis, if there is one; none counts as passed.
fn analyse(analysis: Option<&Analysis>, world: &World, progress: &Progress) -> Watched {
    match analysis {
        Some(analysis) => runs::watch(world, progress, analysis, None),
        None => Watched::Going(Analysed::passed()),
    }
}

fn preview(world: &World, progress: &Progress, clock: ProgressClock) -> Targets {
    let targets = Targets::at_weight(world, progress, world.weight(progress));
    Targets { clock, ..targets }.with_services(world, progress)
}

/// The pause before the switch: begun, waited for, or over.
fn promotion(strategy: &BlueGreen, world: &World, progress: &Progress, analysed: Analysed) -> Outcome {
    let pause = progress.pause(PAUSE_BLUE_GREEN);
    let ends = match strategy.promotion {
        Promotion::WhenReady => return promoted(progress),
        _ if progress.was_unpaused() => return promoted(progress),
        Promotion::After(duration) => pause.map(|pause| pause.start_time.plus(duration)),
        Promotion::ByPerson => None,
    };
    if pause.is_none() {
        let mut next = progress.clone();
        next.begin_pause(PAUSE_BLUE_GREEN, world.now());
        return Outcome::Move(next, vec![Event::Paused]);
    }
    if ends.is_some_and(|ends| ends <= world.now()) {
        return promoted(progress);
    }
    let mut targets = preview(world, progress, ProgressClock::Stopped);
    targets.wakes.extend(ends.map(|at| Wake { at, why: Deadline::PauseEnds }));
    Outcome::Stay(analysed.into_targets(targets))
}

/// Nothing more is waited for before the switch but pods.
fn promoted(progress: &Progress) -> Outcome {
    let mut next = progress.clone();
    next.may_switch = true;
    next.end_pauses();
    let events = if progress.controller_pause { vec![Event::Resumed] } else { vec![] };
    Outcome::Move(next, events)
}

/// All pods come up, and then the active Service is switched.
fn switching(strategy: &BlueGreen, world: &World, progress: &Progress) -> Targets {
    let mut targets = preview(world, progress, ProgressClock::Running);
    targets.services.retain(|wanted| wanted.service != strategy.active_service);
    let hash = progress.hash.as_ref();
    targets.services.extend(selection(Some(&strategy.active_service), hash, Demand::Whole));
    targets.keeping(progress)
}

/// Back to stable while the new version is dead: a switch that takes users from pods that are not there.
pub(in super::super) fn rescue(
    strategy: &BlueGreen,
    world: &World,
    progress: &Progress,
) -> Option<Selection> {
    let answers = |set: Option<&ReplicaSet>| set.is_some_and(|set| set.available > ReplicaCount::ZERO);
    let (new, stable) = (world.new_set(progress), world.stable_set(progress));
    // Where no pods are wanted, none are missed.
    let is_dead = !answers(new) && answers(stable) && world.spec.replicas > ReplicaCount::ZERO;
    let is_switched = world.selected(&strategy.active_service) == progress.hash;
    let is_needed = is_dead && is_switched && !progress.is_settled();
    let active = Some(&strategy.active_service).filter(|_| is_needed);
    selection(active, progress.stable.as_ref(), Demand::AsGood)
        .filter(|wanted| services::can_switch(world, wanted))
}

/// Users are on the new version; it becomes stable once it has proved itself.
fn after_switch(strategy: &BlueGreen, world: &World, progress: &Progress) -> Outcome {
    if let Some(back) = rescue(strategy, world, progress) {
        let mut targets = switching(strategy, world, progress);
        targets.services.retain(|wanted| wanted.service != strategy.active_service);
        targets.services.push(back);
        // What was measured does not count for the next switch, as users were not there all the time.
        let mut next = progress.clone();
        if next.post_promotion_run.take().is_some() {
            return Outcome::Move(next, vec![]);
        }
        return Outcome::Stay(targets);
    }
    let analysis = strategy.post_promotion.as_deref().filter(|_| !world.skips_analysis(progress));
    let is_whole = world.is_new_available(progress);
    if !is_whole && (analysis.is_none() || progress.post_promotion_run.is_none()) {
        if let Some(why) = deadline::abort(world, progress) {
            return aborted::enter(world, progress, why);
        }
        return Outcome::Stay(switching(strategy, world, progress));
    }
    match analyse(analysis, world, progress) {
        Watched::Failed(why) => aborted::enter(world, progress, why),
        Watched::Moved(next, events) => Outcome::Move(*next, events),
        Watched::Going(analysed) if analysed.is_successful && is_whole => {
            complete::enter(world, progress, reason(world, progress))
        }
        Watched::Going(analysed) => {
            let mut targets = switching(strategy, world, progress);
            if is_whole {
                targets.clock = ProgressClock::Stopped;
            }
            Outcome::Stay(analysed.into_targets(targets))
        }
    }
}

fn reason(world: &World, progress: &Progress) -> String {
    let created = |set: Option<&ReplicaSet>| set.and_then(|set| set.created_at);
    let (new, stable) = (created(world.new_set(progress)), created(world.stable_set(progress)));
    let reason = match () {
        () if world.is_within_window(progress) => "Rollback within window",
        // A version that was active before needs nobody to ask for its full promotion.
        () if progress.promote_full && new < stable => "Fast rollback",
        () if progress.promote_full => "Full promotion requested",
        () => "Completed blue-green update",
    };
    reason.to_owned()
}
