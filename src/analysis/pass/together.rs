//! Measurements that follow each other within seconds are written together: many runs that measure every second would
//! otherwise keep the API server busy, and each other waiting.

use std::time::Duration;

use super::super::verdict;
use super::{Pass, RunPlan};
use crate::api::AnalysisRunStatus;
use crate::api::analysis_run::MetricResult;
use crate::units::Timestamp;

/// How old what is stored may get while it is a few measurements behind.
const TOGETHER: Duration = Duration::from_secs(4);
/// Most samples that wait: each is kept in memory, and judged in every pass until it is written.
const MAX_WAITING: usize = 64;
/// Largest value that waits, in values of which it is made.
const MAX_SIZE: usize = 1_000;
/// Runs differ by up to so many seconds, so that those which began together do not write together.
const SPREAD: u64 = 3;

impl Pass<'_> {
    /// The plan, with the status if it is to be written.
    pub(super) fn with_status(mut self) -> RunPlan {
        if self.snapshot.run.status.as_ref() == Some(&self.status) {
            return self.plan;
        }
        if let Some(until) = self.can_wait() {
            self.plan.keep_samples = true;
            self.wake_at(until);
        } else {
            self.plan.status = Some(Box::new(self.status));
        }
        self.plan
    }

    /// Until when what this pass has found waits for the measurements that come before then; `None` where it is written now,
    /// because something was decided, or nothing comes.
    fn can_wait(&self) -> Option<Timestamp> {
        let (snapshot, plan) = (self.snapshot, &self.plan);
        let stored = snapshot.run.status.as_ref()?;
        let until = newest(stored)?.plus(TOGETHER).plus(self.spread());
        let more_comes = !plan.measure.is_empty()
            || !snapshot.in_flight.is_empty()
            || plan.wake_at.is_some_and(|at| at < until);
        // Each pass over samples that wait would read the Secrets again.
        let is_quiet = plan.events.is_empty() && plan.delete_jobs.is_empty() && snapshot.secrets.is_empty();
        let is_small = snapshot.samples.len() <= MAX_WAITING
            && snapshot.samples.iter().flat_map(|sample| &sample.result).all(|value| value.len() <= MAX_SIZE);
        let is_quiet = is_quiet && is_small && newest(stored) <= Some(snapshot.now);
        let waits = is_quiet && more_comes && snapshot.now < until && self.has_only_measured(stored);
        waits.then_some(until)
    }

    fn spread(&self) -> Duration {
        let uid = self.snapshot.run.metadata.uid.as_deref().unwrap_or_default();
        let sum = uid.bytes().fold(0_u64, |sum, byte| sum.wrapping_add(byte.into()));
        Duration::from_secs(sum % SPREAD)
    }

    /// Whether the next status differs from the stored one by successful measurements alone. What speaks against a version
    /// is never in memory alone: a controller that ends would forget it.
    fn has_only_measured(&self, stored: &AnalysisRunStatus) -> bool {
        let next = &self.status;
        let (results, known) =
            (|| next.metric_results.iter().flatten(), || stored.metric_results.iter().flatten());
        let is_as_stored = results().all(|result| {
            let before = known().find(|known| known.name == result.name);
            before.is_some_and(|before| bad(before) == bad(result))
        });
        (next.phase, &next.message) == (stored.phase, &stored.message)
            && is_as_stored
            && results().chain(known()).all(|result| verdict::unfinished(result).is_none())
    }
}

/// What a metric has found but for successes.
fn bad(result: &MetricResult) -> impl PartialEq {
    (result.phase, result.message.clone(), result.failed, result.inconclusive, result.error)
}

/// The newest time that is stored.
fn newest(stored: &AnalysisRunStatus) -> Option<Timestamp> {
    let measurements =
        stored.metric_results.iter().flatten().flat_map(|result| result.measurements.iter().flatten());
    measurements.filter_map(|one| one.finished_at).chain(stored.started_at).max()
}
