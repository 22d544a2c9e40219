//! How many measurements are on their way at once: to one server, for one run, and in all.
//!
//! A server that does not answer holds what is asked of it until the time limit. So measurements of one server wait for
//! each other, and those of other servers go on; of one server, a single run holds a share only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Measurements for one run at once: a third of what one server takes by default, so that a run whose queries hang
/// leaves room for others.
const OF_ONE_RUN: usize = 10;
/// Measurements at once in all, for the sake of sockets and memory: with the usual bound, 34 dead servers fill it.
const IN_ALL: usize = 1024;

/// Slots for measurements.
pub(super) struct Slots {
    per_server: usize,
    servers: Mutex<HashMap<String, Weak<Semaphore>>>,
    all: Arc<Semaphore>,
}

/// The slots of one run.
#[derive(Clone)]
pub(super) struct RunSlots(Arc<Semaphore>);

/// A measurement may be asked for; others wait until this is dropped.
pub(super) struct Slot {
    _server: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl RunSlots {
    /// All slots of a run, free.
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(OF_ONE_RUN)))
    }

    /// Waits for a slot of the run. It comes before the server's, which is needed by others, too.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

impl Slots {
    /// `per_server` measurements of one server at once, from 1.
    pub(super) fn new(per_server: usize) -> Self {
        Self {
            per_server: per_server.max(1),
            servers: Mutex::default(),
            all: Arc::new(Semaphore::new(IN_ALL)),
        }
    }

    /// A slot of a server, if one is free at once.
    pub(super) fn try_take(&self, server: &str) -> Option<Slot> {
        let server = self.server(server).try_acquire_owned().ok()?;
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Slot { _server: Some(server), _all: Some(all) })
    }

    /// Waits for a slot of a server. The narrower bound comes first: who waits there holds nothing that others need.
    pub(super) async fn take(&self, server: &str) -> Slot {
        // An error would mean that a semaphore was closed, which none of these ever is.
        let server = self.server(server).acquire_owned().await.ok();
        let all = Arc::clone(&self.all).acquire_owned().await.ok();
        Slot { _server: server, _all: all }
    }

    /// The slots of a server; they are kept as long as somebody holds or awaits one.
    fn server(&self, name: &str) -> Arc<Semaphore> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = servers.get(name).and_then(Weak::upgrade) {
            return known;
        }
        servers.retain(|_, slots| slots.strong_count() > 0);
        let slots = Arc::new(Semaphore::new(self.per_server));
        servers.insert(name.to_owned(), Arc::downgrade(&slots));
        slots
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// The slots of a run and of a server, if there are some now.
    fn now(slots: &Slots, run: &RunSlots, server: &str) -> Option<(OwnedSemaphorePermit, Slot)> {
        let run = run.take().now_or_never().flatten()?;
        Some((run, slots.take(server).now_or_never()?))
    }

    #[test]
    fn a_server_that_does_not_answer_delays_its_own_measurements_only() {
        let slots = Slots::new(2);
        let runs = [(); 4].map(|()| RunSlots::new());
        let held: Vec<_> = runs.iter().map(|run| now(&slots, run, "dead")).collect();
        assert_eq!(held.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, false]);
        assert!(now(&slots, &runs[0], "alive").is_some());
        drop(held);
        assert!(now(&slots, &runs[0], "dead").is_some());
    }

    #[test]
    fn one_run_does_not_hold_all_slots_of_a_server() {
        let slots = Slots::new(OF_ONE_RUN + 1);
        let (greedy, other) = (RunSlots::new(), RunSlots::new());
        let held: Vec<_> = std::iter::repeat_with(|| now(&slots, &greedy, "shared")).take(20).collect();
        assert_eq!(held.iter().flatten().count(), OF_ONE_RUN);
        assert!(now(&slots, &other, "shared").is_some());
    }

    #[test]
    fn servers_that_nobody_asks_any_more_are_forgotten() {
        let slots = Slots::new(1);
        for index in 0..100 {
            drop(now(&slots, &RunSlots::new(), &format!("server-{index}")));
        }
        assert_eq!(slots.servers.lock().unwrap().len(), 1);
    }
}
