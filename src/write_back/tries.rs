//! Which Rollouts wait to be looked at again, and how long.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::runtime::controller::Action;
use thiserror::Error;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::configured::Configured;
use super::origin::Origin;
use super::pass::{Trouble, WriteBack};
use super::rollouts;
use crate::gitops::abort::Abort;

/// How soon a Rollout is looked at again whose repository is busy.
const BUSY: Duration = Duration::from_secs(3);
/// How soon one is looked at again that waits for people; a change of the configuration or another abort comes first.
const LASTING: Duration = Duration::from_mins(10);
/// First and longest wait before a Rollout is tried again.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));

/// The passes, and which Rollouts wait for another one.
pub(super) struct Tries {
    write_back: Arc<WriteBack>,
    waiting: Mutex<HashMap<(String, String), Waiting>>,
}

/// The abort, where the Rollout came from, and the configuration with which it was tried: of others, nothing is known.
type Tried = (String, Option<Origin>, Configured);

/// A Rollout that could not be written back.
struct Waiting {
    of: Tried,
    delays: backon::ExponentialBackoff,
    until: Instant,
}

/// Why a Rollout is tried again.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct TryAgain(String);

pub(super) async fn reconcile(object: Arc<DynamicObject>, tries: Arc<Tries>) -> Result<Action, TryAgain> {
    let rollout = match rollouts::read(&object) {
        Ok(rollout) => rollout,
        // Whoever cannot read its status was not told of an abort by it either.
        Err(error) => {
            debug!(%error, rollout = object.name_any(), "a status that cannot be read");
            return Ok(Action::await_change());
        }
    };
    let abort = Abort::of(&rollout).map(|abort| abort.identity()).unwrap_or_default();
    let of = (abort, Origin::of(&rollout), tries.write_back.configured());
    // What a pass itself has written is no reason for the next one.
    if let Some(left) = tries.left(&key(&object), &of) {
        return Ok(Action::requeue(left));
    }
    match tries.write_back.pass(&rollout).await {
        Ok(()) => {
            tries.waiting().remove(&key(&object));
            Ok(Action::await_change())
        }
        Err(Trouble::Busy) => Ok(Action::requeue(BUSY)),
        Err(Trouble::Withdrawn) => Ok(Action::await_change()),
        Err(Trouble::Passing(why)) => Err(tries.put_off(&object, of, &why, None)),
        Err(Trouble::Lasting(why)) => Err(tries.put_off(&object, of, &why, Some(LASTING))),
    }
}

impl Tries {
    pub(super) fn new(write_back: Arc<WriteBack>) -> Self {
        Self { write_back, waiting: Mutex::default() }
    }

    /// A Rollout is gone.
    pub(super) fn forget(&self, namespace: &str, name: &str) {
        self.waiting().remove(&(namespace.to_owned(), name.to_owned()));
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a Rollout still waits to be tried again.
    fn left(&self, key: &(String, String), of: &Tried) -> Option<Duration> {
        let waiting = self.waiting();
        let waiting = waiting.get(key).filter(|waiting| is_same(&waiting.of, of))?;
        waiting.until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Lets a Rollout wait: for this long, or longer each time.
    fn put_off(&self, object: &DynamicObject, of: Tried, why: &str, wait: Option<Duration>) -> TryAgain {
        warn!(
            namespace = object.namespace(),
            rollout = object.name_any(),
            why,
            "not written back, trying again"
        );
        let mut all = self.waiting();
        let before = all
            .remove(&key(object))
            .filter(|waiting| is_same(&waiting.of, &of))
            .map(|waiting| waiting.delays);
        let mut delays = before.unwrap_or_else(|| {
            let delays =
                ExponentialBuilder::default().with_jitter().with_min_delay(RETRY.0).with_max_delay(RETRY.1);
            delays.without_max_times().build()
        });
        let until = Instant::now() + wait.or_else(|| delays.next()).unwrap_or(RETRY.1);
        all.insert(key(object), Waiting { of, delays, until });
        TryAgain(why.to_owned())
    }
}

fn is_same(one: &Tried, other: &Tried) -> bool {
    (&one.0, &one.1) == (&other.0, &other.1) && Arc::ptr_eq(&one.2, &other.2)
}

/// After which time a Rollout that could not be written back is tried again.
pub(super) fn later(object: &DynamicObject, tries: &Tries) -> Action {
    let waiting = tries.waiting();
    let until = waiting.get(&key(object)).map(|waiting| waiting.until);
    Action::requeue(until.map_or(RETRY.0, |until| until.saturating_duration_since(Instant::now())))
}

fn key(object: &DynamicObject) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}
