//! Takes keys from a queue and makes passes: a bounded number at once, and a defect in one stays with its object.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, warn};

use super::queue::{Next, Queue};
use super::store::Key;

/// How long passes may go on after the end was called.
const FINISH_PATIENCE: Duration = Duration::from_secs(10);
/// How soon an object whose pass met a defect is looked at again.
const DEFECT_PATIENCE: Duration = Duration::from_mins(1);

/// Whether the process is to end. Cheap to clone; once true it stays true.
pub(crate) type Stop = watch::Receiver<bool>;

/// Resolves when the process is to end.
pub(crate) async fn stopped(stop: &mut Stop) {
    // An error means that whoever could call the end is gone, which is the end, too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What passes are made with.
pub(crate) trait Work: Send + Sync + 'static {
    /// The objects that wait for a pass.
    fn queue(&self) -> &Queue<Key>;

    /// Counts a pass over this object that met a defect.
    fn met_defect(&self, key: &Key);
}

/// Makes passes until the end is called; then lets the passes that run finish, within limits.
pub(crate) async fn run<O, F, P>(owner: Arc<O>, slots: usize, mut stop: Stop, pass: F)
where
    O: Work,
    F: Fn(Arc<O>, Key) -> P + Send + Sync + 'static,
    P: Future<Output = Next> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(slots.max(1)));
    let mut running = JoinSet::new();
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, owner.queue().next().await))
        };
        let Some((slot, key)) =
            (tokio::select! { biased; () = stopped(&mut stop) => None, next = next => next })
        else {
            break;
        };
        let (owner, pass) = (Arc::clone(&owner), pass(Arc::clone(&owner), key.clone()));
        running.spawn(async move {
            let next = AssertUnwindSafe(pass).catch_unwind().await.unwrap_or_else(|_| {
                error!(object = %key, "a pass met a defect and was given up; other objects are not concerned");
                owner.met_defect(&key);
                Next::BackoffFrom(DEFECT_PATIENCE)
            });
            owner.queue().done(&key, next);
            drop(slot);
        });
        while running.try_join_next().is_some() {}
    }
    let finish = async { while running.join_next().await.is_some() {} };
    if timeout(FINISH_PATIENCE, finish).await.is_err() {
        warn!("some passes did not finish in time; the next leader takes them up");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Counted {
        queue: Queue<Key>,
        passes: AtomicUsize,
        defects: AtomicUsize,
    }

    impl Work for Counted {
        fn queue(&self) -> &Queue<Key> {
            &self.queue
        }

        fn met_defect(&self, key: &Key) {
            assert_eq!(&*key.name, "broken");
            self.defects.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_defect_in_one_pass_is_counted_and_does_not_stop_the_others() {
        let [passes, defects] = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let work = Arc::new(Counted { queue: Queue::new(), passes, defects });
        let (end, stop) = watch::channel(false);
        work.queue.add(&Key::new("ns", "broken"));
        work.queue.add(&Key::new("ns", "fine"));
        let end = Arc::new(end);
        let pass = move |work: Arc<Counted>, key: Key| {
            let end = Arc::clone(&end);
            async move {
                assert!(&*key.name != "broken", "this pass is meant to fail");
                work.passes.fetch_add(1, Ordering::Relaxed);
                end.send_replace(true);
                Next::Forget
            }
        };
        run(Arc::clone(&work), 1, stop, pass).await;
        assert_eq!([&work.passes, &work.defects].map(|count| count.load(Ordering::Relaxed)), [1, 1]);
        assert_eq!(work.queue.len(), 1);
    }
}
