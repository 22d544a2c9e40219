//! The controller's passes over the Rollout: snapshot, decide, apply, sleep. What the real shell does, on virtual time.

mod effects;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::caches::{Memory, Refusal, Writer};
use super::cluster::{ApiError, Cluster, Part};
use super::experimenting::ExperimentAgenda;
use super::faults::{Fate, Faults};
use super::live_pods::{self, Eviction};
use super::merge_patch::status_patch;
use super::runs::RunAgenda;
pub use super::writes::Write;
use crate::api::Rollout;
use crate::events::Event;
use crate::rollout::told::told;
use crate::rollout::{self, Effect, Plan, Snapshot};
use crate::units::Timestamp;

/// First delay after a failed write; doubles with each failure in a row.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
/// Longest delay after failed writes in a row.
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);
/// How long a ReplicaSet that was refused is not tried again.
const REFUSAL_PATIENCE: Duration = Duration::from_mins(1);
/// From a crash until the controller is back.
const RESTART: Duration = Duration::from_secs(5);

/// Why a pass ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The controller died.
    Crashed,
    /// A write failed.
    Failed(ApiError),
}

/// What a pass did.
#[derive(Clone, Debug)]
pub struct Pass {
    /// What was decided.
    pub plan: Plan,
    /// The announcements that were made.
    pub announced: Vec<Event>,
    /// The evictions that were tried.
    pub evictions: Vec<Eviction>,
    /// Why it ended early; `None` when everything was done.
    pub stop: Option<Stop>,
}

/// The controller's memory between passes, all of which a crash takes away.
#[derive(Clone, Debug, Default)]
struct Agenda {
    due: Option<Timestamp>,
    duplicate: Option<Timestamp>,
    failures: u32,
    rollout: Memory,
    /// What became of the evictions of the pass.
    evictions: Vec<Eviction>,
    runs: BTreeMap<String, RunAgenda>,
    experiments: BTreeMap<String, ExperimentAgenda>,
}

/// The controller.
#[derive(Clone, Debug, Default)]
pub struct Controller {
    agenda: Agenda,
    down_until: Option<Timestamp>,
    /// What goes wrong with its next writes.
    pub faults: Faults,
    writes: BTreeMap<Write, u64>,
    passes: u64,
}

impl Controller {
    /// Writes so far, by what they change. A write that is refused counts, too.
    #[must_use]
    pub const fn writes(&self) -> &BTreeMap<Write, u64> {
        &self.writes
    }

    /// What it remembers of the Rollout.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.agenda.rollout
    }

    /// Passes over the Rollout so far.
    #[must_use]
    pub const fn passes(&self) -> u64 {
        self.passes
    }

    /// When it does something next by itself; `None` when it waits for a change.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let agenda = &self.agenda;
        let due = agenda.runs.values().filter_map(|run| run.due).chain(agenda.due).chain(agenda.duplicate);
        let due = due.chain(agenda.experiments.values().filter_map(|experiment| experiment.due));
        self.down_until.or_else(|| due.min())
    }

    /// Adds what it remembers and what goes wrong with its next writes.
    pub(super) fn describe(&self, text: &mut String) {
        let _ = writeln!(text, "{:?} {:?} {:?}", self.agenda, self.down_until, self.faults);
    }

    /// When the next pass over the Rollout is due.
    #[must_use]
    pub const fn due(&self) -> Option<Timestamp> {
        self.agenda.due
    }

    /// Whether it is dead at the moment.
    #[must_use]
    pub const fn is_down(&self) -> bool {
        self.down_until.is_some()
    }

    /// The Rollout is looked at no later than `at`.
    pub fn look_at(&mut self, at: Timestamp) {
        self.agenda.due = Some(self.agenda.due.map_or(at, |due| due.min(at)));
    }

    /// The Rollout is looked at once more at `at`.
    pub(super) const fn duplicate_at(&mut self, at: Timestamp) {
        self.agenda.duplicate = Some(at);
    }

    /// The Rollout is not looked at before `at`.
    pub(super) const fn stall(&mut self, at: Timestamp) {
        self.agenda.due = Some(at);
    }

    /// What is remembered of AnalysisRuns.
    pub(super) const fn runs(&mut self) -> &mut BTreeMap<String, RunAgenda> {
        &mut self.agenda.runs
    }

    /// What is remembered of Experiments.
    pub(super) const fn experiments(&mut self) -> &mut BTreeMap<String, ExperimentAgenda> {
        &mut self.agenda.experiments
    }

    /// Comes back with empty hands when it is time; whether it did.
    pub(super) fn restart_if_due(&mut self, cluster: &mut Cluster) -> bool {
        if self.down_until.is_none_or(|until| until > cluster.now()) {
            return false;
        }
        self.down_until = None;
        cluster.relist();
        self.look_at(cluster.now());
        let names: Vec<String> = cluster.seen_runs().keys().cloned().collect();
        for name in names {
            self.look_at_run(&name, cluster.now());
        }
        for name in cluster.seen_experiments().keys() {
            self.look_at_experiment(name, cluster.now());
        }
        true
    }

    /// Dies now.
    pub fn crash(&mut self, now: Timestamp) {
        self.agenda = Agenda::default();
        self.down_until = Some(now.plus(RESTART));
    }

    /// A pass over the Rollout, if one is due.
    pub(super) fn pass_if_due(&mut self, cluster: &mut Cluster) -> Option<Pass> {
        let now = cluster.now();
        if self.agenda.duplicate.is_some_and(|at| at <= now) {
            self.agenda.duplicate = None;
            self.look_at(now);
        }
        self.agenda.due.filter(|due| *due <= now)?;
        self.agenda.due = None;
        if !self.settle_sizes(cluster) {
            return None;
        }
        let snapshot = cluster.snapshot(&self.agenda.rollout)?;
        let plan = rollout::decide(&snapshot);
        self.passes += 1;
        let mut announced = Vec::new();
        let stop = self.apply(cluster, &snapshot.rollout, &plan, &mut announced).err();
        let evictions = std::mem::take(&mut self.agenda.evictions);
        self.agenda.rollout.refused_evictions = live_pods::remembered(&snapshot, &evictions);
        self.after(cluster, &snapshot, &plan, stop.as_ref());
        Some(Pass { plan, announced, evictions, stop })
    }

    /// Reads the ReplicaSets whose sizes are in doubt; whether the server answers.
    fn settle_sizes(&mut self, cluster: &mut Cluster) -> bool {
        if self.agenda.rollout.doubtful.is_empty() {
            return true;
        }
        if self.faults.is_down(cluster.now()) {
            self.try_again(cluster.now());
            return false;
        }
        for name in std::mem::take(&mut self.agenda.rollout.doubtful) {
            cluster.read_replica_set(&name);
        }
        true
    }

    /// The Rollout is looked at later with each failure.
    fn try_again(&mut self, now: Timestamp) {
        let delay = backoff(self.agenda.failures);
        self.agenda.failures += 1;
        self.look_at(now.plus(delay));
    }

    /// What is remembered of a pass, and when the next one is due. The controller sleeps by time that passes, not by its
    /// clock: a step of the clock does not wake it.
    fn after(&mut self, cluster: &Cluster, snapshot: &Snapshot, plan: &Plan, stop: Option<&Stop>) {
        let now = snapshot.now;
        let memory = &mut self.agenda.rollout;
        let since = memory.counts_pending_since;
        let waiting = plan.counts_pending && plan.status.is_none();
        memory.counts_pending_since = waiting.then(|| since.unwrap_or(now));
        memory.keep_endpoints(snapshot, plan.missing_endpoints);
        match stop {
            Some(Stop::Crashed) => self.crash(cluster.now()),
            Some(Stop::Failed(ApiError::Forbidden(message))) => {
                let generations = snapshot.generations();
                let until = now.plus(REFUSAL_PATIENCE);
                memory.refusal = Some(Refusal { message: message.clone(), generations, until });
                self.look_at(cluster.now());
            }
            Some(Stop::Failed(_)) => self.try_again(cluster.now()),
            None => {
                if plan.creates_replica_set() {
                    memory.refusal = None;
                }
                let retry = memory.refusal.as_ref().map(|refusal| refusal.until).filter(|until| *until > now);
                self.agenda.failures = 0;
                for at in plan.wake.map(|wake| wake.at.max(now)).into_iter().chain(retry) {
                    self.look_at(cluster.real(at));
                }
            }
        }
    }

    /// Does what was decided: the status, then stage by stage until one fails, then the announcements.
    fn apply(
        &mut self,
        cluster: &mut Cluster,
        seen: &Rollout,
        plan: &Plan,
        announced: &mut Vec<Event>,
    ) -> Result<(), Stop> {
        let mut version = seen.metadata.resource_version.clone().unwrap_or_default();
        if let Some(status) = &plan.status {
            let patch = status_patch(seen.status.as_ref(), status);
            let mut written = None;
            self.write(cluster, Write::Status, |cluster, writer| {
                written = Some(cluster.patch_rollout(&patch, Part::Status, Some(&version), writer)?);
                Ok(())
            })?;
            version = written.unwrap_or(version);
        }
        let (made, done) = self.make(cluster, seen, &plan.stages, version);
        if matches!(done, Err(Stop::Crashed)) {
            return done;
        }
        self.agenda.rollout.keep_told(&made, cluster.controller_now());
        for event in told(plan.events.clone(), &made) {
            match self.write(cluster, Write::Event, |_, _| Ok(())) {
                Ok(()) => announced.push(event),
                Err(Stop::Crashed) => return Err(Stop::Crashed),
                // An announcement that cannot be made is lost.
                Err(Stop::Failed(_)) => {}
            }
        }
        done
    }

    /// Makes the effects, stage by stage; those that were made.
    fn make<'a>(
        &mut self,
        cluster: &mut Cluster,
        seen: &Rollout,
        stages: &'a [Vec<Effect>],
        mut version: String,
    ) -> (Vec<&'a Effect>, Result<(), Stop>) {
        let mut made = Vec::new();
        for stage in stages {
            let mut failure = None;
            for effect in stage {
                match self.effect(cluster, effect, seen, &version) {
                    Ok(written) => {
                        made.push(effect);
                        version = written.unwrap_or(version);
                    }
                    Err(Stop::Crashed) => return (made, Err(Stop::Crashed)),
                    Err(Stop::Failed(error)) => {
                        self.agenda.rollout.keep_doubt(effect, &error);
                        failure = Some(Stop::Failed(error));
                    }
                }
            }
            if let Some(failed) = failure {
                return (made, Err(failed));
            }
        }
        (made, Ok(()))
    }

    /// One write, as far as the armed faults let it.
    pub(super) fn write(
        &mut self,
        cluster: &mut Cluster,
        kind: Write,
        write: impl FnOnce(&mut Cluster, Writer) -> Result<(), ApiError>,
    ) -> Result<(), Stop> {
        let fate = self.faults.next(cluster.now());
        if fate == Fate::Crash {
            return Err(Stop::Crashed);
        }
        *self.writes.entry(kind).or_default() += 1;
        match fate {
            Fate::Done => write(cluster, Writer::Controller).map_err(Stop::Failed),
            Fate::AnswerLost => {
                let _ = write(cluster, Writer::Other);
                Err(Stop::Failed(ApiError::Unavailable))
            }
            Fate::Refused(error) => Err(Stop::Failed(error)),
            Fate::Crash => Err(Stop::Crashed),
        }
    }
}

/// The delay after this many failures in a row.
pub(super) fn backoff(failures: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_BACKOFF)
}

pub(super) fn done_when(error: &ApiError, result: Result<(), ApiError>) -> Result<(), ApiError> {
    if result.as_ref().err() == Some(error) { Ok(()) } else { result }
}
