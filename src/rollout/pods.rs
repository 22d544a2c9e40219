//! Pods as facts. Nothing but a restart and a change of their metadata is about single pods, so they are looked at only
//! while one of these is under way.

use std::collections::BTreeMap;
use std::time::Duration;

use super::snapshot::{ReplicaSet, Snapshot};
use super::world::World;
use super::{injection, restart};
use crate::units::{ReplicaCount, Timestamp};

/// The pods, as far as they were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// The pods of the Rollout's ReplicaSets, by name; `None` when nobody looked, or they cannot be read.
    pub listed: Option<Vec<Pod>>,
    /// Evictions that disruption budgets did not allow; `None` when the last one was allowed.
    pub refused: Option<Refused>,
}

/// Evictions that disruption budgets did not allow, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When the first was.
    pub since: Timestamp,
    /// When the last was.
    pub last: Timestamp,
}

impl Refused {
    /// Takes in what became of the evictions of a pass.
    #[must_use]
    pub fn after(before: Option<Self>, refused: usize, allowed: usize, now: Timestamp) -> Option<Self> {
        match (refused, allowed) {
            (0, 0) => before,
            (0, _) => None,
            (_, 0) => Some(Self { since: before.map_or(now, |before| before.since), last: now }),
            (_, _) => Some(Self { since: now, last: now }),
        }
    }
}

/// A pod, as far as decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Name of its ReplicaSet.
    pub replica_set: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Since when it is ready; `None` while it is not.
    pub ready_since: Option<Timestamp>,
    /// Whether it runs, or is going to: neither over nor being deleted.
    pub is_active: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Pod {
    /// Whether it counts as available.
    #[must_use]
    pub fn is_available(&self, min_ready_seconds: i32, now: Timestamp) -> bool {
        let min_ready = Duration::from_secs(u64::try_from(min_ready_seconds).unwrap_or_default());
        self.ready_since.is_some_and(|since| since.plus(min_ready) <= now)
    }
}

/// Whether a pass has to look at pods.
#[must_use]
pub fn are_needed(snapshot: &Snapshot) -> bool {
    restart::is_due(snapshot) || snapshot.replica_sets.iter().any(injection::is_unsettled)
}

/// The active pods of a ReplicaSet; `None` when they are not known, or when fewer are than its controller has counted, so
/// that the list must be an old one.
pub(super) fn of<'a>(world: &World<'a>, set: &ReplicaSet) -> Option<Vec<&'a Pod>> {
    let listed = world.snapshot.pods.listed.as_ref()?.iter();
    if set.size == ReplicaCount::ZERO && set.replicas == ReplicaCount::ZERO {
        // Of many that are kept for going back: none has to be looked for.
        return Some(vec![]);
    }
    let pods: Vec<&Pod> = listed.filter(|pod| pod.is_active && pod.replica_set == set.name).collect();
    (count(pods.len()) >= set.replicas).then_some(pods)
}

/// A number of pods.
pub(super) fn count(pods: usize) -> ReplicaCount {
    ReplicaCount::new(u32::try_from(pods).unwrap_or(u32::MAX))
}
