//! When a recipient that could not be reached is tried again, and when not any more.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::store::Key;
use crate::api::rollout_status::PendingNotification;
use crate::notify::outbox;
use crate::units::Timestamp;

/// First and longest wait after a failure; in between, each is twice the one before.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(2));
/// Fewest failures after which one is given up, however old it is.
const LEAST_TRIES: u32 = 5;

/// A service and a recipient.
type To = (String, String);

/// What went wrong until now, by Rollout.
#[derive(Default)]
pub(super) struct Tries(Mutex<HashMap<Key, BTreeMap<To, Failures>>>);

/// Failures in a row.
struct Failures {
    count: u32,
    wait: Duration,
    next: Timestamp,
}

impl Tries {
    /// How long to leave a recipient alone; `None` when it can be tried.
    pub(super) fn wait(&self, rollout: &Key, to: &To, now: Timestamp) -> Option<Duration> {
        let next = self.lock().get(rollout)?.get(to)?.next;
        (next > now).then(|| next.since(now))
    }

    /// It could not be reached; when to try again.
    pub(super) fn failed(&self, rollout: &Key, to: &To, now: Timestamp) -> Duration {
        let mut all = self.lock();
        let known = all.entry(rollout.clone()).or_default();
        let before = known.get(to);
        let wait = before.map_or(WAITS.0, |before| before.wait.saturating_mul(2).min(WAITS.1));
        let count = before.map_or(0, |before| before.count).saturating_add(1);
        known.insert(to.clone(), Failures { count, wait, next: now.plus(wait) });
        wait
    }

    /// How often it could not be reached, in a row.
    pub(super) fn count(&self, rollout: &Key, to: &To) -> u32 {
        self.lock().get(rollout).and_then(|known| known.get(to)).map_or(0, |failures| failures.count)
    }

    /// It was reached.
    pub(super) fn succeeded(&self, rollout: &Key, to: &To) {
        if let Some(known) = self.lock().get_mut(rollout) {
            known.remove(to);
        }
    }

    /// Nothing is pending any more.
    pub(super) fn forget(&self, rollout: &Key) {
        self.lock().remove(rollout);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, BTreeMap<To, Failures>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a notification has waited for too long: not before this process has tried some times to send it. `failures` is
/// `None` for one that cannot even be made.
pub(super) fn is_given_up(one: &PendingNotification, failures: Option<u32>, now: Timestamp) -> bool {
    now >= one.at.plus(outbox::PATIENCE) && failures.is_none_or(|count| count >= LEAST_TRIES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_longer_than_the_one_before_and_ends_with_a_success() {
        let (tries, key) = (Tries::default(), Key::new("shop", "api"));
        let (to, other) = (("slack".to_owned(), "ops".to_owned()), ("slack".to_owned(), "web".to_owned()));
        let now = Timestamp::from_millis(0);
        let waits: Vec<_> = (0..9).map(|_| tries.failed(&key, &to, now).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
        assert_eq!(tries.wait(&key, &to, now.plus(Duration::from_secs(20))), Some(Duration::from_secs(100)));
        assert_eq!((tries.wait(&key, &other, now), tries.count(&key, &to)), (None, 9));
        assert_eq!(tries.wait(&key, &to, now.plus(Duration::from_mins(2))), None);
        tries.succeeded(&key, &to);
        assert_eq!(tries.failed(&key, &to, now).as_secs(), 1);
        tries.forget(&key);
        assert!(tries.lock().is_empty());
    }
}
