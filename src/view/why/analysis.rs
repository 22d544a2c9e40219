//! What an analysis has found and when it says more.

use super::super::age;
use super::super::run::{MetricView, RunView};
use super::trimmed;
use crate::api::AnalysisPhase;
use crate::units::Timestamp;

/// Values of measurements that a sentence tells.
const VALUES_TOLD: usize = 5;

/// A run that a step waits for.
pub(super) fn waiting(run: &RunView, now: Timestamp) -> String {
    format!("It waits for AnalysisRun '{}': {}.", run.name, metrics(run, now))
}

/// A run beside the steps.
pub(super) fn beside(run: &RunView, now: Timestamp) -> String {
    format!("Meanwhile AnalysisRun '{}' can take the update back: {}.", run.name, metrics(run, now))
}

/// How a run ended, and why.
pub(super) fn verdict(run: &RunView) -> String {
    let why = run.message.as_deref().map_or_else(String::new, |message| format!(": {}", trimmed(message)));
    format!("AnalysisRun '{}' is {}{why}", run.name, run.phase)
}

/// The measurements behind a bad verdict.
pub(super) fn evidence(run: &RunView) -> String {
    let bad =
        run.metrics.iter().filter(|metric| !metric.dry_run && metric.phase != AnalysisPhase::Successful);
    let told: Vec<String> = bad.filter(|metric| metric.phase.is_completed()).map(found).collect();
    if told.is_empty() {
        String::new()
    } else {
        format!("In AnalysisRun '{}', {}.", run.name, told.join("; "))
    }
}

fn metrics(run: &RunView, now: Timestamp) -> String {
    let open = run.metrics.iter().filter(|metric| !metric.phase.is_completed());
    let open: Vec<String> = open.map(|metric| progress(metric, now)).collect();
    if open.is_empty() { "its verdict is due now".to_owned() } else { open.join("; ") }
}

/// Where an unfinished metric stands.
fn progress(metric: &MetricView, now: Timestamp) -> String {
    let next = metric.next.map_or_else(String::new, |next| {
        if next > now {
            format!(", the next is due {}", age::when(next, now))
        } else {
            ", the next is due now".to_owned()
        }
    });
    let error = match metric.measurements.last() {
        Some((AnalysisPhase::Error, _)) => metric.last_message.as_deref(),
        _ => None,
    };
    let error =
        error.map_or_else(String::new, |error| format!(" (the last was an error: {})", trimmed(error)));
    let role = if metric.dry_run { " in a dry run" } else { "" };
    format!("metric '{}'{role} has {}{error}{}{next}", metric.name, count(metric), limit(metric))
}

fn count(metric: &MetricView) -> String {
    let values = values(metric);
    let values = if values.is_empty() { values } else { format!(" ({values})") };
    match (metric.taken, metric.wanted) {
        (0, _) => "no measurement yet".to_owned(),
        (1, None) => format!("1 measurement so far{values}"),
        (taken, None) => format!("{taken} measurements so far{values}"),
        (taken, Some(wanted)) => format!("{taken} of {wanted} measurements{values}"),
    }
}

fn values(metric: &MetricView) -> String {
    let hidden = metric.measurements.len().saturating_sub(VALUES_TOLD);
    let values = metric.measurements.iter().skip(hidden).map(|(_, value)| value.as_str());
    let values: Vec<&str> = values.filter(|value| !value.is_empty()).collect();
    let latest = if hidden > 0 && !values.is_empty() { "latest " } else { "" };
    format!("{latest}{}", values.join(", "))
}

fn limit(metric: &MetricView) -> String {
    match (metric.tally.failed, metric.failure_limit) {
        (failed, Some(limit)) => format!(", {failed} failed where {limit} are tolerated"),
        (0, None) => String::new(),
        (failed, None) => format!(", {failed} failed, which is tolerated"),
    }
}

/// What a finished metric found.
fn found(metric: &MetricView) -> String {
    let last = metric.last_message.as_deref().filter(|_| metric.phase == AnalysisPhase::Error);
    let last =
        last.map_or_else(String::new, |message| format!(", the last one because of: {}", trimmed(message)));
    let values = values(metric);
    let values = if values.is_empty() { "nothing".to_owned() } else { values };
    let errors = if metric.tally.error > 0 {
        format!(" and {} were errors{last}", metric.tally.error)
    } else {
        String::new()
    };
    let tolerated =
        metric.failure_limit.map_or_else(String::new, |limit| format!(" where {limit} are tolerated"));
    format!("metric '{}' measured {values}: {} failed{errors}{tolerated}", metric.name, metric.tally.failed)
}
