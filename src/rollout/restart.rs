//! `spec.restartAt`: pods that were created before it are evicted, a few at a time, until none is left. Its ReplicaSet makes
//! a new pod for each; the version stays what it is.
//!
//! Pods go through the Eviction API, so that disruption budgets are kept. Beside that no more than `maxUnavailable` pods,
//! and one at least, are missing at once; a pod that is not available is replaced without counting, because it takes
//! nothing away. None is evicted in a pass in which ReplicaSets change their sizes. A new revision cancels a restart.

use std::time::Duration;

use super::deadline::{Deadline, Wake};
use super::effect::Effect;
use super::pods::{self, Pod, Refused};
use super::progress::Progress;
use super::snapshot::{ReplicaSet, Snapshot};
use super::world::World;
use crate::events::Event;
use crate::units::{ReplicaCount, Timestamp};

/// How soon pods are looked at again while some go.
const CHECK: Duration = Duration::from_secs(5);
/// How soon they are looked at again while nothing moves, and how long disruption budgets may refuse evictions before they
/// are asked no more often than that.
const BLOCKED: Duration = Duration::from_secs(30);

/// What people are told then.
const BLOCKED_MESSAGE: &str =
    "a disruption budget keeps pods that are to be restarted; they go when it allows it";

/// The time that is asked for, as far as a status can tell it.
#[must_use]
pub(super) fn asked(snapshot: &Snapshot) -> Option<Timestamp> {
    snapshot.rollout.spec.restart_at.map(Timestamp::whole_seconds)
}

/// Whether a restart is asked for, its time has come, and it is not over.
#[must_use]
pub(super) fn is_due(snapshot: &Snapshot) -> bool {
    let asked = asked(snapshot).filter(|at| *at <= snapshot.now);
    asked.is_some() && asked != snapshot.rollout.status.as_ref().and_then(|status| status.restarted_at)
}

/// The time that a restart is asked for which is not over.
fn pending(world: &World, progress: &Progress) -> Option<Timestamp> {
    asked(world.snapshot).filter(|at| Some(*at) != progress.restarted_at)
}

/// Whether a restart is going on.
pub(super) fn is_going_on(world: &World, progress: &Progress) -> bool {
    pending(world, progress).is_some_and(|at| at <= world.now())
}

/// Notes that a restart is over, once no pod is left that was created before it.
#[must_use]
pub(super) fn noted(world: &World, progress: &Progress) -> Progress {
    let mut next = progress.clone();
    if world.problems.is_empty()
        && is_going_on(world, progress)
        && let Some(at) = pending(world, progress)
        && left(world, progress, at).is_some_and(|left| left.is_empty())
    {
        next.restarted_at = Some(at);
    }
    next
}

/// Evictions, and when to look again.
#[derive(Debug, Default)]
pub(super) struct Restart {
    pub(super) evictions: Vec<Effect>,
    /// What is announced once disruption budgets have refused them for a while.
    pub(super) blocked: Option<Event>,
    pub(super) wake: Option<Wake>,
}

/// Whether ReplicaSets change their sizes in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sizes {
    /// None does.
    Kept,
    /// Some do.
    Changed,
}

/// What a pass does about a restart.
pub(super) fn next(world: &World, progress: &Progress, sizes: Sizes) -> Restart {
    let Some(at) = pending(world, progress).filter(|_| world.problems.is_empty()) else {
        return Restart::default();
    };
    let now = world.now();
    let look_at = |at| Some(Wake { at, why: Deadline::Restart });
    let wait_until = |at| Restart { wake: look_at(at), ..Restart::default() };
    if at > now {
        return wait_until(at);
    }
    if world.snapshot.pods.listed.is_none() {
        return wait_until(now.plus(BLOCKED));
    }
    let refused = world.snapshot.pods.refused;
    let again = refused.map(|refused| refused.last.plus(pace(refused, refused.last)));
    if let Some(again) = again.filter(|again| *again > now) {
        return wait_until(again);
    }
    let is_at_rest =
        sizes == Sizes::Kept && world.snapshot.replica_sets.iter().all(|set| is_seen(world, set));
    let left = left(world, progress, at).filter(|_| sizes == Sizes::Kept);
    let evictions = left.map(|left| allowed(world, left)).unwrap_or_default();
    let turns_slow = |refused| pace(refused, now) == BLOCKED && pace(refused, refused.last) == CHECK;
    let is_news = !evictions.is_empty() && refused.is_some_and(turns_slow);
    let blocked =
        is_news.then(|| Event::Advice { topic: "RestartBlocked", message: BLOCKED_MESSAGE.to_owned() });
    let pace = refused.map_or(CHECK, |refused| pace(refused, now));
    // Nothing may go until a ReplicaSet changes, which is told.
    let pace = if evictions.is_empty() && is_at_rest { BLOCKED } else { pace };
    Restart { evictions, blocked, wake: look_at(now.plus(pace)) }
}

/// How long to wait after asking disruption budgets at `at`.
fn pace(refused: Refused, at: Timestamp) -> Duration {
    if at.since(refused.since) >= BLOCKED { BLOCKED } else { CHECK }
}

/// Whether a ReplicaSet's controller has acted on its spec, and has counted as available what is seen.
fn is_seen(world: &World, set: &ReplicaSet) -> bool {
    set.observed && pods::of(world, set).is_some() && available(world, set) == set.available
}

/// The pods that a restart is about which are left, those of stable first, then those of the wanted version, then all
/// others, and the oldest of each first; `None` when pods are not known.
fn left<'a>(world: &World<'a>, progress: &Progress, at: Timestamp) -> Option<Vec<(&'a ReplicaSet, &'a Pod)>> {
    let mut sets: Vec<&ReplicaSet> = world.snapshot.replica_sets.iter().collect();
    sets.sort_by_key(|set| {
        let is_stable = progress.stable.as_ref() == Some(&set.hash);
        let is_wanted = progress.hash.as_ref() == Some(&set.hash);
        (!is_stable, !is_wanted, set.created_at, &set.name)
    });
    let mut left = Vec::new();
    for set in sets {
        let mut pods = pods::of(world, set)?;
        pods.retain(|pod| pod.created_at < at);
        pods.sort_by_key(|pod| (pod.created_at, &pod.name));
        left.extend(pods.into_iter().map(|pod| (set, pod)));
    }
    Some(left)
}

/// The first of the pods that may go now.
fn allowed(world: &World, left: Vec<(&ReplicaSet, &Pod)>) -> Vec<Effect> {
    let at_once = world.spec.bounds.max_unavailable.max(1);
    let sets = &world.snapshot.replica_sets;
    let sizes: ReplicaCount = sets.iter().map(|set| set.size).sum();
    let least = sizes.max(world.spec.replicas).get().saturating_sub(at_once);
    if sets.iter().any(|set| !set.observed) {
        return vec![];
    }
    let available: ReplicaCount = sets.iter().map(|set| available(world, set)).sum();
    let mut spare = available.get().saturating_sub(least);
    let may_go = left.into_iter().filter(|(set, pod)| {
        if !pod.is_available(set.min_ready_seconds, world.now()) {
            return true;
        }
        let is_spare = spare > 0;
        spare = spare.saturating_sub(1);
        is_spare
    });
    let evict = |pod: &Pod| Effect::EvictPod { name: pod.name.clone(), uid: pod.uid.clone() };
    may_go.take(usize::try_from(at_once).unwrap_or(usize::MAX)).map(|(_, pod)| evict(pod)).collect()
}

/// Available pods of a ReplicaSet: the fewest that its controller has counted, that are seen, and that are to stay.
fn available(world: &World, set: &ReplicaSet) -> ReplicaCount {
    let pods = pods::of(world, set).unwrap_or_default();
    let seen = pods.iter().filter(|pod| pod.is_available(set.min_ready_seconds, world.now())).count();
    set.available.min(set.size).min(pods::count(seen))
}

#[cfg(test)]
mod tests;
