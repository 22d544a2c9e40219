//! Pods: from creation to ready, to crashed, to gone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::images::{Image, Readiness};
use crate::units::Timestamp;

/// Pods of one ReplicaSet become ready one after the other, this far apart at most five times.
const SPREAD: Duration = Duration::from_millis(100);
/// First delay before a crashed container starts again; doubles with each crash.
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
/// Longest delay before a crashed container starts again.
const MAX_BACKOFF: Duration = Duration::from_mins(5);

/// One pod.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    /// Name of its ReplicaSet.
    pub(super) replica_set: String,
    /// Its image.
    pub(super) image: String,
    /// Since when it is ready; `None` while it is not.
    pub(super) ready_since: Option<Timestamp>,
    /// When its readiness changes next; `None` when it stays as it is.
    pub(super) next_change: Option<Timestamp>,
    crashes: u32,
    pub(super) created_at: Timestamp,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

impl Pod {
    /// A pod that was created at `now`. `number` is the running number of pods in the cluster.
    pub(super) fn new(replica_set: &str, name: &str, image: Image, number: u64, now: Timestamp) -> Self {
        let spread = SPREAD.saturating_mul(u32::try_from(number % 5).unwrap_or_default());
        let starts = match image.readiness {
            Readiness::Lasting | Readiness::CrashesAfter(_) => Some(now.plus(image.start).plus(spread)),
            Readiness::Never | Readiness::PullFails => None,
        };
        Self {
            replica_set: replica_set.to_owned(),
            image: name.to_owned(),
            ready_since: None,
            next_change: starts,
            crashes: 0,
            created_at: now.whole_seconds(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// Does what is due; whether anything was.
    pub(super) fn advance(&mut self, image: Image, now: Timestamp) -> bool {
        let Some(at) = self.next_change.filter(|at| *at <= now) else { return false };
        if self.ready_since.take().is_some() {
            let backoff = FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(self.crashes)).min(MAX_BACKOFF);
            self.crashes = self.crashes.saturating_add(1);
            self.next_change = Some(at.plus(backoff));
        } else {
            self.ready_since = Some(at);
            self.next_change = match image.readiness {
                Readiness::CrashesAfter(after) => Some(at.plus(after)),
                Readiness::Lasting | Readiness::Never | Readiness::PullFails => None,
            };
        }
        true
    }

    /// Stops being ready, for good or until [`Pod::recover`].
    pub(super) const fn fail(&mut self) {
        self.ready_since = None;
        self.next_change = None;
    }

    /// Becomes ready now.
    pub(super) const fn recover(&mut self, now: Timestamp) {
        if self.ready_since.is_none() {
            self.ready_since = Some(now);
            self.next_change = None;
        }
    }

    /// When it has been ready for `min_ready`; `None` while it is not ready.
    pub(super) fn available_at(&self, min_ready: Duration) -> Option<Timestamp> {
        self.ready_since.map(|since| since.plus(min_ready))
    }
}
