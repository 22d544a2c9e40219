//! The closed list of reasons to wake up without a change, and the progress deadline; a pass sleeps until the earliest.

use super::progress::Progress;
use super::status::{self, Counts};
use super::targets::ProgressClock;
use super::valid::OnDeadline;
use super::world::{self, World};
use crate::events::{AbortCause, AbortReason};
use crate::units::Timestamp;

/// Why a pass looks again although nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deadline {
    /// A pause with a duration ends.
    PauseEnds,
    /// The update counts as stuck.
    ProgressDeadline,
    /// Pods that no traffic goes to any more have been kept long enough.
    ScaleDown,
    /// A restart begins, or pods are left that it is about.
    Restart,
    /// Pods do not all carry yet what their role puts on them.
    PodMetadata,
    /// The router was told something else by somebody, and may be told the same as before again.
    RouteReverted,
    /// Pods are available and not published as endpoints yet.
    Endpoints,
    /// The pod template that an Experiment takes could not be read, and may be by now.
    ExperimentTemplate,
    /// An Experiment says that its spec cannot be worked with, and may take that back.
    ExperimentInvalid,
    /// What a new Rollout refers to has not come.
    References,
    /// Changed counts have waited long enough for company.
    CountsSettled,
}

/// A time to wake up at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wake {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: Deadline,
}

/// The earliest of several wake-ups; `None` of none.
#[must_use]
pub fn earliest(wakes: impl IntoIterator<Item = Wake>) -> Option<Wake> {
    wakes.into_iter().min()
}

/// When the update counts as stuck if nothing more happens; `None` while somebody else is waited for.
#[must_use]
pub fn stuck_at(world: &World) -> Option<Timestamp> {
    let before = world.snapshot.rollout.status.as_ref()?;
    let progressing = status::condition(before, "Progressing")?;
    let waits = ["RolloutPaused", "RolloutAborted"].contains(&progressing.reason.as_deref()?);
    let since = progressing.last_update_time.filter(|_| !waits)?;
    Some(since.plus(world.spec.progress_deadline))
}

/// Whether the update is past its deadline with nothing gained since the last status.
#[must_use]
pub fn is_exceeded(world: &World, progress: &Progress) -> bool {
    let past = stuck_at(world).is_some_and(|at| at <= world.now());
    past && !has_progressed(world, progress)
}

/// Whether an update that waits for pods is to be reported as stuck.
#[must_use]
pub fn is_stuck(world: &World, progress: &Progress, clock: ProgressClock) -> bool {
    clock == ProgressClock::Running
        && !progress.abort
        && !progress.is_settled()
        && is_exceeded(world, progress)
}

/// Why the update must be aborted for its deadline; `None` while it need not be.
#[must_use]
pub fn abort(world: &World, progress: &Progress) -> Option<AbortReason> {
    let aborts = world.spec.on_deadline == OnDeadline::Abort && is_exceeded(world, progress);
    aborts.then(|| AbortReason { cause: AbortCause::Deadline, text: stuck_message(world, progress) })
}

/// What is said of an update past its deadline.
#[must_use]
pub fn stuck_message(world: &World, progress: &Progress) -> String {
    let name = world.new_set(progress).map_or("", |set| &set.name);
    let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
    match world.router_trouble() {
        Some(trouble) => format!("{message} Its pods may be fine: {}.", trouble.text()),
        None => message,
    }
}

/// Whether anything was gained since the last status: a step, a revision, new pods, fewer old ones, or a legal spec, as
/// nothing could be gained without.
#[must_use]
pub fn has_progressed(world: &World, progress: &Progress) -> bool {
    let Some(before) = world.snapshot.rollout.status.as_ref() else { return true };
    let then = Progress::read(before, world.spec.steps.len());
    if (&then.hash, &then.stable, then.index, &then.step_hash)
        != (&progress.hash, &progress.stable, progress.index, &progress.step_hash)
    {
        return true;
    }
    let was_judged = |progress: &Progress| progress.step_run.is_some() || progress.experiment.is_some();
    if was_judged(&then) && !was_judged(progress) {
        // An analysis or an experiment that was waited for is over, or a person went past it.
        return true;
    }
    if world.selections() != world::stored_selections(before) {
        return true;
    }
    if status::condition(before, "InvalidSpec").is_some() && world.problems.is_empty() {
        return true;
    }
    let (now, then) = (Counts::observe(world, progress), Counts::read(before));
    now.updated != then.updated
        || now.old() < then.old()
        || now.ready > then.ready
        || now.available > then.available
}
