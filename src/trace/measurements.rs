//! The spans of measurements.

use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::SpanData;

use super::span::{Told, Trace};
use crate::api::analysis_run::{Measurement, MetricResult};
use crate::api::{AnalysisPhase, AnalysisRun, AnalysisRunStatus, Rollout, labels};

/// The spans of the measurements of `run` that ended in a pass which wrote `next`. None where the Rollout is at another
/// version by now: the update that the run belongs to cannot be told then.
#[must_use]
pub fn measured(run: &AnalysisRun, next: &AnalysisRunStatus, rollout: &Rollout) -> Vec<SpanData> {
    let label = |key: &str| run.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let status = rollout.status.as_ref();
    let began = status.and_then(|status| status.duration.as_ref()?.rollout_started_at);
    let hash = status.and_then(|status| status.current_pod_hash.as_ref());
    let (Some(began), Some(hash)) = (began, hash) else { return Vec::new() };
    if label(labels::POD_TEMPLATE_HASH) != Some(hash) {
        return Vec::new();
    }
    let trace = Trace::new(rollout.metadata.uid.as_deref().unwrap_or_default(), began);
    let steps = status.and_then(|status| status.current_step_hash.as_deref()).unwrap_or_default();
    let step = label(labels::STEP_INDEX).and_then(|index| index.parse().ok());
    let parent = step.map_or_else(|| trace.root(), |index| trace.step(hash, steps, index));
    let known: Vec<_> = all(run.status.as_ref()).filter(|(_, known)| known.finished_at.is_some()).collect();
    let is_new = |metric: &MetricResult, found: &Measurement| {
        !known.iter().any(|(of, known)| of.name == metric.name && known.started_at == found.started_at)
    };
    all(Some(next))
        .filter(|(metric, found)| found.finished_at.is_some() && is_new(metric, found))
        .filter_map(|(metric, found)| {
            let started = found.started_at?.as_millis().to_string();
            let uid = run.metadata.uid.as_deref().unwrap_or_default();
            let id = trace.span(&["measurement", uid, &metric.name, &started]);
            Some(trace.data(id, parent, told(run, metric, found)?))
        })
        .collect()
}

fn all(status: Option<&AnalysisRunStatus>) -> impl Iterator<Item = (&MetricResult, &Measurement)> {
    let results = status.and_then(|status| status.metric_results.as_ref()).into_iter().flatten();
    results.flat_map(|result| result.measurements.iter().flatten().map(move |found| (result, found)))
}

fn told(run: &AnalysisRun, metric: &MetricResult, found: &Measurement) -> Option<Told> {
    let message = found.message.clone().filter(|message| !message.is_empty());
    let mut attributes = vec![
        KeyValue::new("analysis.run", run.metadata.name.clone().unwrap_or_default()),
        KeyValue::new("analysis.metric", metric.name.clone()),
        KeyValue::new("analysis.phase", format!("{:?}", found.phase)),
    ];
    attributes.extend(found.value.clone().map(|value| KeyValue::new("analysis.value", value)));
    attributes.extend(message.clone().map(|message| KeyValue::new("analysis.message", message)));
    let failed = matches!(found.phase, AnalysisPhase::Failed | AnalysisPhase::Error);
    Some(Told {
        name: format!("measurement {}", metric.name),
        start: found.started_at?,
        end: found.finished_at?,
        attributes,
        error: failed.then(|| message.unwrap_or_default()),
    })
}
