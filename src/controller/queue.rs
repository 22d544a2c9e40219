//! Which objects to look at, and when: each once at a time, the earliest first, retries with a growing, jittered delay.
//!
//! Why not `kube_runtime::Controller`: it looks objects up in a reflector of its own, which knows neither our writes nor
//! our trimmed form, and starts with the process, where this queue fills while another replica leads.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// First delay after a failure; long enough for a watch event that is on its way.
const FIRST_DELAY: Duration = Duration::from_millis(50);
/// Longest delay after failures in a row.
const LONGEST_DELAY: Duration = Duration::from_mins(1);

/// What to do with an object after a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Look again after this time, or at the next change.
    After(Duration),
    /// Look again soon, later each time.
    Backoff,
    /// Look again no earlier than this, later each time.
    BackoffFrom(Duration),
    /// It is gone.
    Forget,
}

struct Entry {
    /// Where the key stands in the timeline; `None` while a pass runs or nothing is due.
    slot: Option<(Instant, u64)>,
    running: bool,
    /// Due time that came up during the pass.
    again: Option<Instant>,
    backoff: Option<ExponentialBackoff>,
}

struct State<K> {
    entries: HashMap<K, Entry>,
    timeline: BTreeMap<(Instant, u64), K>,
    sequence: u64,
}

/// Keys with due times. One consumer takes them; anybody adds.
pub(crate) struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

impl<K: Clone + Eq + Hash> Queue<K> {
    pub(crate) fn new() -> Self {
        let state = State { entries: HashMap::new(), timeline: BTreeMap::new(), sequence: 0 };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Something changed: look as soon as possible, or right after the pass that is running.
    pub(crate) fn add(&self, key: &K) {
        let now = Instant::now();
        self.lock().schedule(key, now);
        self.changed.notify_one();
    }

    /// The next key that is due; its passes do not overlap until [`Queue::done`]. Safe to cancel.
    pub(crate) async fn next(&self) -> K {
        loop {
            let due = match self.lock().take(Instant::now()) {
                Ok(key) => return key,
                Err(due) => due,
            };
            match due {
                Some(due) => {
                    tokio::select! { () = self.changed.notified() => {}, () = sleep_until(due) => {} }
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// The pass is over.
    pub(crate) fn done(&self, key: &K, next: Next) {
        self.lock().done(key, next);
        self.changed.notify_one();
    }

    /// Number of keys that are due and wait to be taken.
    pub(crate) fn due(&self) -> usize {
        self.lock().timeline.range(..=(Instant::now(), u64::MAX)).count()
    }

    /// Number of keys that are due or will be.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().timeline.len()
    }

    /// How long the key that has been due longest has waited to be taken; zero when none is due.
    pub(crate) fn wait(&self) -> Duration {
        let state = self.lock();
        let first = state.timeline.first_key_value();
        first.map_or(Duration::ZERO, |((due, _), _)| Instant::now().saturating_duration_since(*due))
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn schedule(&mut self, key: &K, at: Instant) {
        let entry = self.entries.entry(key.clone()).or_insert_with(Entry::idle);
        if entry.running {
            entry.again = Some(entry.again.map_or(at, |known| known.min(at)));
            return;
        }
        if let Some(slot) = entry.slot {
            if slot.0 <= at {
                return;
            }
            self.timeline.remove(&slot);
        }
        self.sequence = self.sequence.wrapping_add(1);
        let slot = (at, self.sequence);
        entry.slot = Some(slot);
        self.timeline.insert(slot, key.clone());
    }

    /// A key that is due, or when the first one will be.
    fn take(&mut self, now: Instant) -> Result<K, Option<Instant>> {
        let Some(first) = self.timeline.first_entry() else { return Err(None) };
        if first.key().0 > now {
            return Err(Some(first.key().0));
        }
        let key = first.remove();
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.slot = None;
            entry.running = true;
        }
        Ok(key)
    }

    fn done(&mut self, key: &K, next: Next) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.running = false;
        let again = entry.again.take();
        let now = Instant::now();
        let due = match next {
            Next::After(delay) => {
                entry.backoff = None;
                Some(now + delay)
            }
            Next::Backoff => Some(now + entry.next_delay()),
            Next::BackoffFrom(least) => Some(now + entry.next_delay().max(least)),
            Next::Forget => None,
        };
        match due.into_iter().chain(again).min() {
            Some(due) => self.schedule(key, due),
            None => drop(self.entries.remove(key)),
        }
    }
}

impl Entry {
    fn idle() -> Self {
        Self { slot: None, running: false, again: None, backoff: None }
    }

    fn next_delay(&mut self) -> Duration {
        let backoff = self.backoff.get_or_insert_with(|| {
            ExponentialBuilder::default()
                .with_jitter()
                .with_min_delay(FIRST_DELAY)
                .with_max_delay(LONGEST_DELAY)
                .without_max_times()
                .build()
        });
        backoff.next().unwrap_or(LONGEST_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_empty(queue: &Queue<&'static str>) -> bool {
        tokio::select! { biased; _ = queue.next() => false, () = std::future::ready(()) => true }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_changes_often_is_looked_at_once() {
        let queue = Queue::new();
        for key in ["a", "a", "b", "a"] {
            queue.add(&key);
        }
        assert_eq!((queue.next().await, queue.next().await), ("a", "b"));
        assert!(is_empty(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn passes_of_one_key_do_not_overlap_and_a_change_meanwhile_is_not_lost() {
        let queue = Queue::new();
        queue.add(&"a");
        assert_eq!(queue.next().await, "a");
        queue.add(&"a");
        assert!(is_empty(&queue).await);
        let start = Instant::now();
        queue.done(&"a", Next::After(Duration::from_mins(15)));
        assert_eq!((queue.next().await, start.elapsed()), ("a", Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_key_that_is_due_waits() {
        let queue = Queue::new();
        queue.add(&"a");
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!((queue.wait(), queue.due()), (Duration::from_secs(7), 1));
        queue.done(&queue.next().await, Next::After(Duration::from_secs(10)));
        assert_eq!((queue.wait(), queue.due(), queue.len()), (Duration::ZERO, 0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_comes_back_at_its_time_and_a_change_brings_it_earlier() {
        let queue = Queue::new();
        queue.add(&"a");
        let start = Instant::now();
        queue.done(&queue.next().await, Next::After(Duration::from_secs(10)));
        assert_eq!((queue.next().await, start.elapsed().as_secs()), ("a", 10));
        queue.done(&"a", Next::After(Duration::from_secs(10)));
        queue.add(&"a");
        assert_eq!((queue.next().await, start.elapsed().as_secs()), ("a", 10));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_each_time_and_a_success_starts_over() {
        let queue = Queue::new();
        queue.add(&"a");
        let mut waits = Vec::new();
        for _ in 0..16 {
            let key = queue.next().await;
            let start = Instant::now();
            queue.done(&key, Next::Backoff);
            queue.next().await;
            waits.push(start.elapsed());
            queue.done(&key, Next::Backoff);
        }
        assert!(waits[0] < Duration::from_millis(200), "{waits:?}");
        assert!(waits[15] >= LONGEST_DELAY && waits[15] <= LONGEST_DELAY * 2, "{waits:?}");
        queue.next().await;
        queue.done(&"a", Next::After(Duration::ZERO));
        queue.next().await;
        let start = Instant::now();
        queue.done(&"a", Next::Backoff);
        queue.next().await;
        assert!(start.elapsed() < Duration::from_millis(200));
    }

    #[tokio::test(start_paused = true)]
    async fn a_forgotten_key_leaves_nothing_behind() {
        let queue = Queue::new();
        queue.add(&"a");
        queue.done(&queue.next().await, Next::Forget);
        assert_eq!((queue.len(), queue.lock().entries.len()), (0, 0));
        assert!(is_empty(&queue).await);
    }
}
