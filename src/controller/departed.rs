//! Rollouts that are gone, for as long as their routes are not in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::caches::Caches;
use super::records::{Readable, RolloutRecord};
use super::store::{Identity, Key};
use crate::traffic::{Need, RouteKind};

/// Rollouts with a router that are gone, until their routes are left in order.
pub(super) type Departed = Mutex<BTreeMap<Key, Arc<(Identity, RolloutRecord)>>>;

impl Caches {
    /// Remembers a Rollout that is gone for what is left to do for its route; `None` where that is nothing.
    pub(super) fn departs(&self, identity: Identity, record: &RolloutRecord) -> Option<Key> {
        // The last state that is shown has no finalizers any more, which tell whether its pods stay; the one before has.
        let known = self.rollouts.get(&identity.key).filter(|known| known.identity.uid == identity.uid);
        let record = known.as_ref().map_or(record, |known| &known.value).departed(&identity)?;
        let key = identity.key.clone();
        let mut departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        departed.insert(key.clone(), Arc::new((identity, record)));
        Some(key)
    }

    /// A Rollout that is gone and whose route is not in order yet.
    pub(crate) fn departed(&self, key: &Key) -> Option<Arc<(Identity, RolloutRecord)>> {
        self.departed.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// The route of a Rollout that is gone is in order.
    pub(crate) fn forget_departed(&self, gone: &Identity) {
        let mut departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        // Another one of its name may have gone since.
        if departed.get(&gone.key).is_some_and(|known| known.0.uid == gone.uid) {
            departed.remove(&gone.key);
        }
        drop(departed);
        self.review_routes();
        self.queue_experiments_of(gone);
    }

    /// Kinds of objects that the routes of Rollouts consist of that are gone.
    pub(super) fn departed_kinds(&self) -> BTreeSet<RouteKind> {
        let departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        let readable = departed.values().filter_map(|gone| gone.1.content.as_ref().ok());
        readable.flat_map(Readable::routes).map(Need::kind).collect()
    }
}
