//! Kinds that are listed, watched and kept in memory only while some Rollout refers to an object of theirs; a cluster
//! without such Rollouts pays nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;

/// Which kinds are wanted, and which of them are complete.
pub(crate) struct Demand<K> {
    wanted: watch::Sender<BTreeSet<K>>,
    listed: Mutex<BTreeSet<K>>,
}

impl<K: Copy + Ord> Demand<K> {
    pub(crate) fn new() -> Self {
        Self { wanted: watch::Sender::new(BTreeSet::new()), listed: Mutex::default() }
    }

    /// Says which kinds are wanted from now on.
    pub(crate) fn want(&self, kinds: BTreeSet<K>) {
        self.wanted.send_if_modified(|wanted| {
            let is_news = *wanted != kinds;
            *wanted = kinds;
            is_news
        });
    }

    /// The kinds that are wanted.
    #[cfg(test)]
    pub(crate) fn wanted(&self) -> Vec<K> {
        self.wanted.borrow().iter().copied().collect()
    }

    /// Whether every object of the kind is known.
    pub(crate) fn is_listed(&self, kind: K) -> bool {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).contains(&kind)
    }

    /// The kind is complete; whether that is news.
    pub(crate) fn set_listed(&self, kind: K) -> bool {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).insert(kind)
    }

    /// The kind is not known any more.
    pub(crate) fn forget(&self, kind: K) {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).remove(&kind);
    }

    /// Keeps a watch of each kind that is wanted, for as long as it is; `end` cleans up after one.
    pub(crate) async fn follow(&self, start: impl Fn(K) -> JoinSet<()>, end: impl Fn(K)) {
        let mut wanted = self.wanted.subscribe();
        let mut running: BTreeMap<K, JoinSet<()>> = BTreeMap::new();
        loop {
            let kinds = wanted.borrow_and_update().clone();
            let over: Vec<K> = running.keys().filter(|kind| !kinds.contains(kind)).copied().collect();
            for kind in over {
                if let Some(mut watch) = running.remove(&kind) {
                    watch.shutdown().await;
                }
                end(kind);
            }
            for kind in kinds {
                running.entry(kind).or_insert_with(|| start(kind));
            }
            if wanted.changed().await.is_err() {
                return;
            }
        }
    }
}
