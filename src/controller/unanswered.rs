//! Status writes of which nobody knows whether they happened, and what was to be announced with them.
//!
//! A status says for the next pass what was announced already. When the answer to its write is lost, the next pass finds
//! it in place and has nothing to announce; so what belongs to such a write waits here until the stored status proves
//! that it happened, or another write shows that it does not matter. Lost with the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::announce::Note;
use super::store::Key;
use crate::metrics::Subject;

/// Writes kept for one object: attempts in a row of a pass whose cache is stale.
const ATTEMPTS: usize = 4;

/// A write that may have happened.
struct Attempt {
    /// The status as it was to be stored.
    status: Value,
    notes: Vec<Note>,
}

/// All writes that may have happened.
#[derive(Default)]
pub(crate) struct Unanswered(Mutex<BTreeMap<(Subject, Key), Vec<Attempt>>>);

impl Unanswered {
    /// A write of `status` may have happened.
    pub(crate) fn keep(&self, subject: Subject, key: &Key, status: Value, notes: Vec<Note>) {
        let mut all = self.lock();
        let attempts = all.entry((subject, key.clone())).or_default();
        if attempts.len() >= ATTEMPTS {
            attempts.remove(0);
        }
        attempts.push(Attempt { status, notes });
    }

    /// What is to be announced because the stored status shows that a write happened, now that this is known.
    pub(crate) fn settle(&self, subject: Subject, key: &Key, stored: impl FnOnce() -> Value) -> Vec<Note> {
        let mut all = self.lock();
        let of = (subject, key.clone());
        let Some(attempts) = all.get_mut(&of) else { return Vec::new() };
        let stored = stored();
        let Some(happened) = attempts.iter().position(|attempt| attempt.status == stored) else {
            return Vec::new();
        };
        let notes = attempts.swap_remove(happened).notes;
        all.remove(&of);
        notes
    }

    /// The object is gone, or has a status that was written later.
    pub(crate) fn forget(&self, subject: Subject, key: &Key) {
        self.lock().remove(&(subject, key.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Subject, Key), Vec<Attempt>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::events::Event;

    fn settled(unanswered: &Unanswered, subject: Subject, stored: &Value) -> usize {
        unanswered.settle(subject, &Key::new("shop", "web"), || stored.clone()).len()
    }

    #[test]
    fn what_belongs_to_a_write_is_announced_once_the_write_shows() {
        let unanswered = Unanswered::default();
        let key = Key::new("shop", "web");
        for attempt in 1..=2 {
            unanswered.keep(Subject::Rollout, &key, json!({"at": attempt}), vec![Event::Paused.into()]);
        }
        assert_eq!(settled(&unanswered, Subject::Rollout, &json!({"at": 0})), 0, "a stale cache");
        assert_eq!(settled(&unanswered, Subject::AnalysisRun, &json!({"at": 1})), 0, "another kind");
        assert_eq!(settled(&unanswered, Subject::Rollout, &json!({"at": 1})), 1);
        assert_eq!(settled(&unanswered, Subject::Rollout, &json!({"at": 2})), 0, "told already");
        assert!(unanswered.lock().is_empty());
    }

    #[test]
    fn attempts_that_never_show_do_not_pile_up() {
        let unanswered = Unanswered::default();
        let key = Key::new("shop", "web");
        (0..100).for_each(|attempt| {
            unanswered.keep(Subject::Rollout, &key, json!(attempt), vec![Event::Paused.into()]);
        });
        assert_eq!(settled(&unanswered, Subject::Rollout, &json!(95)), 0);
        assert_eq!(settled(&unanswered, Subject::Rollout, &json!(96)), 1);
    }
}
