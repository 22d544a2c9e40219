//! Measures how a bad version is taken back.

use std::time::Duration;

use super::watching::Scene;
use crate::view::{MetricView, RunView};

/// When the stages of an abort were seen, counted from the start of the chart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Restore {
    /// The first failed measurement.
    pub(super) first_bad: Option<Duration>,
    /// The measurement with which more had failed than is tolerated.
    pub(super) over_limit: Option<Duration>,
    /// The rollout was aborted.
    pub(super) aborted: Option<Duration>,
    /// Stable had all its pods ready, and the bad version had none.
    pub(super) full: Option<Duration>,
}

impl Restore {
    /// Takes note of what `scene` shows of the version `bad` at `now`.
    pub(super) fn see(&mut self, scene: &Scene, bad: &str, now: Duration) {
        let metrics = || runs(scene, bad).flat_map(|run| &run.metrics);
        if metrics().any(|metric| metric.tally.failed > 0) {
            self.first_bad.get_or_insert(now);
        }
        if metrics().any(is_over_limit) {
            self.over_limit.get_or_insert(now);
        }
        if scene.is_aborted() {
            self.aborted.get_or_insert(now);
            // The watches are not in step: an abort is always preceded by the verdict that caused it.
            self.over_limit.get_or_insert(now);
            self.first_bad.get_or_insert(now);
        }
        let stable = scene.stable().map_or(0, |hash| scene.ready_pods(hash));
        if self.aborted.is_some() && stable >= scene.wanted_pods() && scene.ready_pods(bad) == 0 {
            self.full.get_or_insert(now);
        }
    }

    /// From the measurement that was one too many until stable was at full size.
    pub(super) fn since_over_limit(&self) -> Option<Duration> {
        Some(self.full?.saturating_sub(self.over_limit?))
    }

    /// From the first bad measurement until stable was at full size.
    pub(super) fn since_first_bad(&self) -> Option<Duration> {
        Some(self.full?.saturating_sub(self.first_bad?))
    }
}

fn runs<'a>(scene: &'a Scene, hash: &'a str) -> impl Iterator<Item = &'a RunView> {
    let runs = scene.view.revisions.iter().flat_map(|revision| &revision.runs);
    runs.filter(move |run| run.hash.as_deref() == Some(hash))
}

fn is_over_limit(metric: &MetricView) -> bool {
    metric.failure_limit.is_some_and(|limit| i64::from(metric.tally.failed) > limit)
}
