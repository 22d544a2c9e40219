//! When a metric is measured next.

use std::time::Duration;

use super::metric::MetricRules;
use crate::api::AnalysisPhase;
use crate::api::analysis_run::{Measurement, MetricResult};
use crate::units::Timestamp;

/// After an error the next attempt comes this soon, whatever the interval: the fault may be over.
const RETRY_AFTER_ERROR: Duration = Duration::from_secs(10);
/// Least distance of two measurements of one metric: a status stores whole seconds, and tells measurements apart by them.
const LEAST_DISTANCE: Duration = Duration::from_secs(1);

/// Runs measure at different times of a second, within this first part of it: those that began together would otherwise wait
/// for each other, again and again.
const OFFSETS: u64 = 500;

/// Where in a second a run measures, from its second measurement on.
#[must_use]
pub fn offset(uid: &str) -> Duration {
    // FNV-1a: uids that differ in one digit are as far apart as others.
    let hash = uid.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    if uid.is_empty() { Duration::ZERO } else { Duration::from_millis(hash % OFFSETS) }
}

/// When a metric is measured next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Next {
    /// Now.
    Now,
    /// At this time, which is to come.
    At(Timestamp),
    /// Not any more.
    Never,
}

/// When the metric is measured next; `result` is what it has found, `started_at` when its run began, and `offset` where in a
/// second it measures.
#[must_use]
pub fn next(
    rules: &MetricRules,
    result: Option<&MetricResult>,
    started_at: Timestamp,
    offset: Duration,
    now: Timestamp,
) -> Next {
    if result.is_some_and(|result| result.phase.is_completed()) {
        return Next::Never;
    }
    let last = result.and_then(|result| result.measurements.as_ref()?.last());
    let due = match last {
        None => started_at.plus(rules.initial_delay),
        Some(last) => after(rules, last, offset, now),
    };
    if due <= now { Next::Now } else { Next::At(due) }
}

/// When to look again for data that was not there at `now`.
#[must_use]
pub fn again(rules: &MetricRules, now: Timestamp) -> Timestamp {
    now.plus(rules.interval.unwrap_or(RETRY_AFTER_ERROR).max(LEAST_DISTANCE))
}

/// When to measure after `last`.
fn after(rules: &MetricRules, last: &Measurement, offset: Duration, now: Timestamp) -> Timestamp {
    let Some(finished_at) = last.finished_at else { return last.resume_at.unwrap_or(now) };
    let distance = match last.phase {
        AnalysisPhase::Error => RETRY_AFTER_ERROR,
        AnalysisPhase::Successful
        | AnalysisPhase::Running
        | AnalysisPhase::Pending
        | AnalysisPhase::Inconclusive
        | AnalysisPhase::Failed => rules.interval.unwrap_or_default(),
    };
    let apart = last.started_at.unwrap_or(finished_at).plus(LEAST_DISTANCE);
    finished_at.plus(distance).max(apart).plus(offset)
}

#[cfg(test)]
mod tests {
    use super::super::verdict::tests::{measurement, result, rules};
    use super::*;
    use serde_json::json;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn the_first_measurement_waits_for_the_initial_delay() {
        assert_eq!(next(&rules(&json!({})), None, at(100), Duration::ZERO, at(100)), Next::Now);
        let delayed = rules(&json!({"initialDelay": "30s"}));
        assert_eq!(next(&delayed, None, at(100), Duration::ZERO, at(129)), Next::At(at(130)));
        assert_eq!(next(&delayed, None, at(100), Duration::ZERO, at(130)), Next::Now);
    }

    #[test]
    fn an_interval_runs_from_the_end_of_the_last_measurement() {
        let rules = rules(&json!({"interval": "2m"}));
        let found = result(vec![measurement(AnalysisPhase::Successful, 100, 103)]);
        assert_eq!(next(&rules, Some(&found), at(0), Duration::ZERO, at(104)), Next::At(at(223)));
        assert_eq!(next(&rules, Some(&found), at(0), Duration::ZERO, at(223)), Next::Now);
    }

    #[test]
    fn runs_that_begin_together_measure_at_different_times_of_a_second() {
        let rules = rules(&json!({"interval": "1s"}));
        let found = result(vec![measurement(AnalysisPhase::Successful, 100, 100)]);
        let offset = Duration::from_millis(250);
        assert_eq!(
            next(&rules, Some(&found), at(100), offset, at(101)),
            Next::At(Timestamp::from_millis(101_250))
        );
        assert_eq!(
            next(&rules, None, at(100), offset, at(100)),
            Next::Now,
            "the first one waits for nothing"
        );
        let uids = (0..200).map(|n| format!("00000000-0000-0000-0000-0000000{n:05}"));
        let offsets: std::collections::BTreeSet<_> = uids.map(|uid| super::offset(&uid)).collect();
        assert!(offsets.len() > 120 && offsets.iter().all(|offset| *offset < Duration::from_millis(OFFSETS)));
    }

    #[test]
    fn an_error_is_retried_after_ten_seconds_whatever_the_interval() {
        let found = result(vec![measurement(AnalysisPhase::Error, 100, 103)]);
        for interval in [json!({"interval": "2m"}), json!({"interval": "1s"}), json!({})] {
            assert_eq!(
                next(&rules(&interval), Some(&found), at(0), Duration::ZERO, at(104)),
                Next::At(at(113))
            );
        }
    }

    #[test]
    fn an_unfinished_measurement_is_looked_at_when_it_says() {
        let mut open = measurement(AnalysisPhase::Running, 100, 0);
        open.finished_at = None;
        assert_eq!(
            next(&rules(&json!({})), Some(&result(vec![open.clone()])), at(0), Duration::ZERO, at(104)),
            Next::Now
        );
        open.resume_at = Some(at(115));
        assert_eq!(
            next(&rules(&json!({})), Some(&result(vec![open])), at(0), Duration::ZERO, at(104)),
            Next::At(at(115))
        );
    }

    #[test]
    fn a_completed_metric_is_not_measured_again() {
        let mut found = result(vec![measurement(AnalysisPhase::Successful, 100, 103)]);
        found.phase = AnalysisPhase::Successful;
        assert_eq!(
            next(&rules(&json!({"interval": "1s"})), Some(&found), at(0), Duration::ZERO, at(900)),
            Next::Never
        );
    }

    #[test]
    fn two_measurements_never_start_within_one_second() {
        let rules = rules(&json!({"interval": "10ms"}));
        let found = result(vec![measurement(AnalysisPhase::Successful, 100, 100)]);
        let now = Timestamp::from_millis(100_500);
        assert_eq!(next(&rules, Some(&found), at(0), Duration::ZERO, now), Next::At(at(101)));
    }
}
