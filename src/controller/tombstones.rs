//! Deleted objects, so that a late answer to a write does not bring one back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::store::{Identity, Source};

/// Deleted objects remembered, so that a late answer does not bring one back. More than the writes ever in flight.
const TOMBSTONES: usize = 1024;

/// Objects that are gone, by uid, with the version up to which that is known; the oldest are forgotten first.
#[derive(Default)]
pub(super) struct Tombstones {
    up_to: HashMap<Arc<str>, u64>,
    order: VecDeque<Arc<str>>,
}

impl Tombstones {
    /// The object is gone, as far as states up to this version tell.
    pub(super) fn bury(&mut self, uid: &Arc<str>, up_to: u64) {
        match self.up_to.insert(Arc::clone(uid), up_to) {
            Some(known) => drop(self.up_to.insert(Arc::clone(uid), known.max(up_to))),
            None => self.order.push_back(Arc::clone(uid)),
        }
        if self.order.len() > TOMBSTONES
            && let Some(oldest) = self.order.pop_front()
        {
            self.up_to.remove(&oldest);
        }
    }

    /// Whether this state must stay out of sight. A newer one that the watch shows lifts the tombstone.
    pub(super) fn hide(&mut self, state: &Identity, source: Source) -> bool {
        let Some(up_to) = self.up_to.get(&state.uid) else { return false };
        if source == Source::Write || state.version <= *up_to {
            return true;
        }
        self.up_to.remove(&state.uid);
        self.order.retain(|uid| *uid != state.uid);
        false
    }
}
