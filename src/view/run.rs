//! AnalysisRuns and their measurements.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::text::Sign;
use crate::api::analysis_run::{Measurement, MetricResult};
use crate::api::analysis_template::Metric;
use crate::api::labels::{POD_TEMPLATE_HASH, ROLLOUT_TYPE, STEP_INDEX};
use crate::api::{AnalysisPhase, AnalysisRun};
use crate::units::{Timestamp, parse_duration};

/// How long after an error the next measurement is taken, whatever the interval.
const AFTER_ERROR: Duration = Duration::from_secs(10);

/// Characters of a measured value that are shown; a provider may answer with a whole document.
const VALUE_LENGTH: usize = 24;

/// An AnalysisRun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunView {
    /// Its name.
    pub name: String,
    /// `Step`, `Background`, `PrePromotion` or `PostPromotion`; empty when it does not say.
    pub kind: String,
    /// Index of the step it belongs to.
    pub step: Option<usize>,
    /// The pod hash of the revision it judges.
    pub hash: Option<String>,
    /// Its phase; `Pending` before its first pass.
    pub phase: AnalysisPhase,
    /// Why it has that phase.
    pub message: Option<String>,
    /// Its measurements by verdict.
    pub tally: RunTally,
    /// Its metrics, in the order of the spec.
    pub metrics: Vec<MetricView>,
    /// When it was created.
    pub created: Option<Timestamp>,
}

/// Measurements by verdict, over all metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunTally {
    /// Successful ones.
    pub successful: i32,
    /// Failed ones.
    pub failed: i32,
    /// Inconclusive ones.
    pub inconclusive: i32,
    /// Those that were errors.
    pub error: i32,
}

/// A metric of a run, and what it has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricView {
    /// Its name.
    pub name: String,
    /// Its phase; `Pending` before its first measurement.
    pub phase: AnalysisPhase,
    /// Why it has that phase.
    pub message: Option<String>,
    /// Whether it does not decide.
    pub dry_run: bool,
    /// The measurements that are kept, oldest first: verdict and value.
    pub measurements: Vec<(AnalysisPhase, String)>,
    /// Message of the latest measurement, when it has one.
    pub last_message: Option<String>,
    /// Measurements taken that were not errors.
    pub taken: i32,
    /// Measurements to take; `None` when there is no end.
    pub wanted: Option<i64>,
    /// Its measurements by verdict.
    pub tally: RunTally,
    /// Failed measurements tolerated; `None` for any number.
    pub failure_limit: Option<i64>,
    /// When the next measurement is due; `None` when there is none to come or it cannot be told.
    pub next: Option<Timestamp>,
}

/// Reads a run.
pub(super) fn view(run: &AnalysisRun) -> RunView {
    let status = run.status.clone().unwrap_or_default();
    let results: BTreeMap<&str, &MetricResult> =
        status.metric_results.iter().flatten().map(|result| (result.name.as_str(), result)).collect();
    let is_over = status.phase.is_some_and(AnalysisPhase::is_completed) || run.spec.terminate == Some(true);
    let metrics = run.spec.metrics.iter().flatten();
    let metrics: Vec<MetricView> = metrics
        .map(|metric| {
            let result = results.get(metric.name.as_str()).copied();
            let next = if is_over { None } else { next(metric, result, status.started_at) };
            metric_view(metric, result, next)
        })
        .collect();
    RunView {
        name: run.name_any(),
        kind: run.labels().get(ROLLOUT_TYPE).cloned().unwrap_or_default(),
        step: run.labels().get(STEP_INDEX).and_then(|index| index.parse().ok()),
        hash: run.labels().get(POD_TEMPLATE_HASH).cloned(),
        phase: status.phase.unwrap_or(AnalysisPhase::Pending),
        message: status.message.clone().filter(|message| !message.is_empty()),
        tally: metrics.iter().fold(RunTally::default(), |sum, metric| sum.plus(metric.tally)),
        metrics,
        created: run.creation_timestamp().as_ref().map(Timestamp::from),
    }
}

/// The icon of a phase.
pub(super) fn sign(phase: AnalysisPhase) -> Sign {
    match phase {
        AnalysisPhase::Successful => Sign::Good,
        AnalysisPhase::Running => Sign::Moving,
        AnalysisPhase::Pending => Sign::Waiting,
        AnalysisPhase::Inconclusive => Sign::Unknown,
        AnalysisPhase::Error => Sign::Warning,
        AnalysisPhase::Failed => Sign::Bad,
    }
}

impl RunTally {
    fn plus(self, other: Self) -> Self {
        Self {
            successful: self.successful.saturating_add(other.successful),
            failed: self.failed.saturating_add(other.failed),
            inconclusive: self.inconclusive.saturating_add(other.inconclusive),
            error: self.error.saturating_add(other.error),
        }
    }

    /// The counts that are not zero, with their icons.
    pub(super) fn signs(self) -> Vec<(Sign, i32)> {
        let all = [
            (Sign::Good, self.successful),
            (Sign::Bad, self.failed),
            (Sign::Unknown, self.inconclusive),
            (Sign::Warning, self.error),
        ];
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

fn metric_view(metric: &Metric, result: Option<&MetricResult>, next: Option<Timestamp>) -> MetricView {
    let measurements = result.and_then(|result| result.measurements.as_deref()).unwrap_or_default();
    let count = |field: fn(&MetricResult) -> Option<i32>| result.and_then(field).unwrap_or_default();
    let failure_limit = number(metric.failure_limit.as_ref()).unwrap_or_default();
    MetricView {
        name: metric.name.clone(),
        phase: result.map_or(AnalysisPhase::Pending, |result| result.phase),
        message: result.and_then(|result| result.message.clone()).filter(|message| !message.is_empty()),
        dry_run: result.is_some_and(|result| result.dry_run == Some(true)),
        measurements: measurements.iter().map(|one| (one.phase, value(one))).collect(),
        last_message: measurements.last().and_then(|one| one.message.clone()).filter(|text| !text.is_empty()),
        taken: count(|result| result.count),
        wanted: wanted(metric),
        tally: RunTally {
            successful: count(|result| result.successful),
            failed: count(|result| result.failed),
            inconclusive: count(|result| result.inconclusive),
            error: count(|result| result.error),
        },
        failure_limit: (failure_limit >= 0).then_some(failure_limit),
        next,
    }
}

fn wanted(metric: &Metric) -> Option<i64> {
    let count = number(metric.count.as_ref()).filter(|count| *count > 0);
    if metric.interval.is_none() { count.or(Some(1)) } else { count }
}

/// When the next measurement is due.
fn next(metric: &Metric, result: Option<&MetricResult>, started: Option<Timestamp>) -> Option<Timestamp> {
    if result.is_some_and(|result| result.phase.is_completed()) {
        return None;
    }
    let last = result.and_then(|result| result.measurements.as_deref()?.last());
    let Some(last) = last else {
        let delay = metric.initial_delay.as_deref().and_then(parse_duration).unwrap_or_default();
        return started.map(|started| started.plus(delay));
    };
    let Some(finished) = last.finished_at else { return last.resume_at };
    let pause = match last.phase {
        AnalysisPhase::Error => AFTER_ERROR,
        _ => metric.interval.as_deref().and_then(parse_duration)?,
    };
    Some(finished.plus(pause))
}

/// A measured value, short: a list of one number is shown as that number, with four digits after the point.
fn value(measurement: &Measurement) -> String {
    let text = measurement.value.as_deref().unwrap_or_default().trim();
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(number) = text.parse::<f64>() {
        return plain_number(number);
    }
    if text.chars().count() <= VALUE_LENGTH {
        return text.to_owned();
    }
    let start: String = text.chars().take(VALUE_LENGTH - 1).collect();
    format!("{start}…")
}

fn plain_number(number: f64) -> String {
    if !number.is_finite() || (number != 0.0 && number.abs() < 0.0001) || number.abs() >= 1e15 {
        return number.to_string();
    }
    let text = format!("{number:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn number(value: Option<&IntOrString>) -> Option<i64> {
    match value? {
        IntOrString::Int(number) => Some(i64::from(*number)),
        IntOrString::String(text) => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value_text: &str, expected: &str) {
        let value_text = Some(value_text.to_owned());
        let measurement = Measurement {
            phase: AnalysisPhase::Successful,
            message: None,
            started_at: None,
            finished_at: None,
            value: value_text,
            metadata: None,
            resume_at: None,
        };
        assert_eq!(value(&measurement), expected);
    }

    #[test]
    fn measured_values_are_shown_short() {
        check("[0.9731999]", "0.9732");
        check("1", "1");
        check("[0.5,0.25]", "0.5,0.25");
        check("[NaN]", "NaN");
        check("0.00001", "0.00001");
        check("a long answer of a provider", "a long answer of a prov…");
    }
}
