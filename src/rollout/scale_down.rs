//! When the pods of a version go that traffic does not go to any more: after a delay that starts once the traffic was
//! *observed* to be gone, so that whatever is on its way to them still arrives.
//!
//! The time is kept on the ReplicaSet, in the annotation `scale-down-deadline`, where people and tools look for it.

use std::time::Duration;

use super::deadline::{Deadline, Wake};
use super::progress::Progress;
use super::snapshot::ReplicaSet;
use super::targets::Targets;
use super::valid::Strategy;
use super::world::World;
use crate::units::{ReplicaCount, Timestamp};

/// What becomes of the pods of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// They are needed, or may be.
    Needed,
    /// They go at this time.
    Until(Timestamp),
    /// They stay until somebody does something.
    Kept,
    /// They go now.
    Gone,
}

/// The versions that are neither wanted nor stable: each is kept for its delay, the newest ones first.
pub(super) fn of_others(world: &World, progress: &Progress, targets: &mut Targets) {
    let mut delayed = 0;
    for set in world.other_sets(progress) {
        let fate = match fate(world, progress, set, Some(world.spec.scale_down.delay)) {
            Fate::Until(_) if delayed >= world.spec.scale_down.revision_limit => Fate::Gone,
            fate => fate,
        };
        delayed += usize::from(matches!(fate, Fate::Until(_)));
        meet(world, set, fate, targets);
    }
}

/// The version that was taken back: kept while stable is not whole again, and then for its delay. Where it must make room
/// for stable, only what its share takes is kept: otherwise each could wait for the other for ever.
pub(super) fn of_aborted(world: &World, progress: &Progress, targets: &mut Targets) {
    let Some(set) = world.new_set(progress) else { return };
    let delay = world.spec.scale_down.after_abort;
    let is_needed = world.serves_users(progress, &set.hash);
    if world.is_stable_available(progress) {
        let fate = if is_needed { Fate::Needed } else { idle_fate(world, set, delay) };
        return meet(world, set, fate, targets);
    }
    let lacks_room = world.stable_set(progress).is_some_and(|stable| stable.failure.is_some());
    if !lacks_room && delay != Some(Duration::ZERO) {
        return meet(world, set, Fate::Needed, targets);
    }
    match &world.spec.strategy {
        // The size is already that of the share.
        Strategy::Routed(_) => {}
        Strategy::ByPods | Strategy::BlueGreen(_) => {
            meet(world, set, if is_needed { Fate::Needed } else { Fate::Gone }, targets);
        }
    }
}

fn fate(world: &World, progress: &Progress, set: &ReplicaSet, delay: Option<Duration>) -> Fate {
    if world.is_served(progress, &set.hash) { Fate::Needed } else { idle_fate(world, set, delay) }
}

/// What becomes of pods that nothing goes to.
fn idle_fate(world: &World, set: &ReplicaSet, delay: Option<Duration>) -> Fate {
    let Some(delay) = delay else { return Fate::Kept };
    match set.scale_down_deadline {
        _ if set.size == ReplicaCount::ZERO || delay.is_zero() => Fate::Gone,
        Some(at) if at <= world.now() => Fate::Gone,
        Some(at) => Fate::Until(at),
        None => Fate::Until(world.now().plus(delay).whole_seconds()),
    }
}

fn meet(world: &World, set: &ReplicaSet, fate: Fate, targets: &mut Targets) {
    let (deadline, size) = match fate {
        Fate::Needed | Fate::Kept => (None, set.size),
        Fate::Until(at) => {
            targets.wakes.push(Wake { at, why: Deadline::ScaleDown });
            (Some(at), delayed_size(world, set))
        }
        Fate::Gone => (None, ReplicaCount::ZERO),
    };
    targets.sizes.insert(set.name.clone(), size);
    targets.deadlines.insert(set.name.clone(), deadline);
}

/// An environment that may be switched back to has as many pods as the other; a canary keeps what it had.
fn delayed_size(world: &World, set: &ReplicaSet) -> ReplicaCount {
    match world.spec.strategy {
        Strategy::BlueGreen(_) => set.size.min(world.spec.replicas),
        Strategy::ByPods | Strategy::Routed(_) => set.size,
    }
}
