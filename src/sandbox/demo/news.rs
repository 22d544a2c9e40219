//! What there is to say when one picture of a rollout follows another. Pure.

use crate::api::canary_step::CanaryStep;
use crate::api::{AnalysisPhase, Rollout};
use crate::view::{Line, MetricView, Phase, RolloutView, RunView, StrategyView, Tone};

/// A rollout at one time.
#[derive(Clone, Copy)]
pub(super) struct Picture<'a> {
    pub(super) rollout: &'a Rollout,
    pub(super) view: &'a RolloutView,
}

impl Picture<'_> {
    fn newest(&self) -> Option<&str> {
        self.rollout.status.as_ref()?.current_pod_hash.as_deref()
    }

    fn is_aborted(&self) -> bool {
        self.rollout.status.as_ref().is_some_and(|status| status.abort == Some(true))
    }

    /// Steps done, of how many.
    fn step(&self) -> Option<(usize, usize)> {
        match self.view.strategy {
            StrategyView::Canary { step, .. } => step,
            StrategyView::BlueGreen | StrategyView::Unset => None,
        }
    }
}

/// Everything that is new in `after`, in the order in which it is told.
pub(super) fn news(before: Picture<'_>, after: Picture<'_>) -> Vec<Line> {
    let mut lines = steps(before, after);
    lines.extend(runs(after.view).flat_map(|run| run_news(earlier(before.view, run), run)));
    let standing = &after.view.standing;
    if before.view.standing != *standing && tells(standing.phase) {
        let sign = standing.phase.sign();
        let line = Line::default().with(sign.tone(), format!("{} {}", sign.glyph(), standing.phase.as_str()));
        let message = headline(&standing.message);
        lines.push(if message.is_empty() { line } else { line.with(Tone::Plain, format!(": {message}")) });
    }
    lines
}

/// Progress and pauses are told by the steps.
fn tells(phase: Phase) -> bool {
    matches!(phase, Phase::Healthy | Phase::Degraded)
}

/// A message without its last details, which the tree shows.
fn headline(message: &str) -> String {
    message.split(": ").take(2).collect::<Vec<_>>().join(": ")
}

/// The steps that began in between; a step may have come and gone.
fn steps(before: Picture<'_>, after: Picture<'_>) -> Vec<Line> {
    // An abort resets the position, which is not a step that begins.
    let Some((current, of)) = after.step().filter(|_| !after.is_aborted()) else { return Vec::new() };
    let same = before.newest() == after.newest() && !before.is_aborted();
    let first = before.step().filter(|_| same).map_or(0, |(told, _)| told + 1);
    if first == 0 && current == of {
        // A first deploy, or whatever else goes past all steps.
        return Vec::new();
    }
    let strategy = after.rollout.spec.strategy.as_ref();
    let all = strategy.and_then(|strategy| strategy.canary.as_ref()?.steps.as_deref()).unwrap_or_default();
    let begun = all.iter().enumerate().take(current + 1).skip(first);
    let line = |(index, step): (usize, &CanaryStep)| {
        let number = Line::default().with(Tone::Faint, format!("step {}/{of}  ", index + 1));
        number.with(Tone::Plain, in_words(step))
    };
    begun.map(line).collect()
}

/// A step as its author would say it.
fn in_words(step: &CanaryStep) -> String {
    if let Some(weight) = step.set_weight {
        return format!("setWeight: {weight}");
    }
    if let Some(pause) = &step.pause {
        let duration = pause.duration.as_ref().and_then(|duration| serde_json::to_value(duration).ok());
        return match duration {
            Some(serde_json::Value::String(text)) => format!("pause: {text}"),
            Some(seconds) => format!("pause: {seconds}s"),
            None => "pause until a person promotes".to_owned(),
        };
    }
    if let Some(analysis) = &step.analysis {
        let templates = analysis.templates.iter().flatten();
        let names: Vec<&str> = templates.filter_map(|template| template.template_name.as_deref()).collect();
        return format!("analysis: {}", names.join(", "));
    }
    "a step of another kind".to_owned()
}

fn runs(view: &RolloutView) -> impl Iterator<Item = &RunView> {
    view.revisions.iter().flat_map(|revision| &revision.runs)
}

fn earlier<'a>(before: &'a RolloutView, run: &RunView) -> Option<&'a RunView> {
    runs(before).find(|earlier| earlier.name == run.name)
}

fn run_news(before: Option<&RunView>, after: &RunView) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for metric in &after.metrics {
        let earlier = before.and_then(|run| run.metrics.iter().find(|earlier| earlier.name == metric.name));
        if taken(Some(metric)) > taken(earlier) {
            lines.extend(measurement(metric));
        }
    }
    let phase = before.map_or(AnalysisPhase::Pending, |run| run.phase);
    if phase != after.phase && after.phase.is_completed() {
        let line = Line::default().with(tone(after.phase), format!("AnalysisRun {}", after.phase));
        let message = after.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
        lines.push(line.with(Tone::Plain, message));
    }
    lines
}

fn taken(metric: Option<&MetricView>) -> i32 {
    metric.map_or(0, |metric| metric.taken + metric.tally.error)
}

/// The latest measurement of a metric.
fn measurement(metric: &MetricView) -> Option<Line> {
    let (phase, value) = metric.measurements.last()?;
    let line = Line::plain(format!("measures {} = ", metric.name));
    let line = line.with(tone(*phase), format!("{} {phase}", short(value)));
    let limit = metric.failure_limit.filter(|_| *phase == AnalysisPhase::Failed);
    Some(match limit {
        Some(limit) => {
            line.with(Tone::Faint, format!("  ({} failed, {limit} tolerated)", metric.tally.failed))
        }
        None => line,
    })
}

/// A measured value with three digits, without the brackets of a vector of one.
fn short(value: &str) -> String {
    let bare = value.trim_matches(['[', ']']);
    bare.parse::<f64>().map_or_else(|_| value.to_owned(), |number| format!("{number:.3}"))
}

fn tone(phase: AnalysisPhase) -> Tone {
    match phase {
        AnalysisPhase::Successful => Tone::Good,
        AnalysisPhase::Failed | AnalysisPhase::Error => Tone::Bad,
        AnalysisPhase::Inconclusive => Tone::Warning,
        AnalysisPhase::Running | AnalysisPhase::Pending => Tone::Active,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::view::{Limits, Observed, Paint, Text, tree};

    fn observed(status: &Value, results: Option<Value>) -> Observed {
        let owner = json!([{"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "shop", "uid": "u",
            "controller": true}]);
        let steps = json!([{"setWeight": 10}, {"pause": {"duration": "15s"}},
            {"analysis": {"templates": [{"templateName": "success-rate"}]}}]);
        let rollout = json!({
            "metadata": {"name": "shop", "namespace": "n", "uid": "u", "generation": 2},
            "spec": {"replicas": 10, "strategy": {"canary": {"steps": steps}}},
            "status": status,
        });
        let set = json!({
            "metadata": {"name": "shop-abc", "namespace": "n", "uid": "r", "ownerReferences": owner,
                "labels": {"rollouts-pod-template-hash": "abc"},
                "annotations": {"rollout.argoproj.io/revision": "2"}},
            "spec": {"replicas": 1, "selector": {}},
        });
        let run = results.map(|status| {
            json!({
                "metadata": {"name": "shop-abc-2-2", "namespace": "n", "uid": "a", "ownerReferences": owner,
                    "labels": {"rollouts-pod-template-hash": "abc", "rollout-type": "Step", "step-index": "2"},
                    "annotations": {"rollout.argoproj.io/revision": "2"}},
                "spec": {"metrics": [{"name": "success-rate", "interval": "6s", "failureLimit": 3, "provider": {}}]},
                "status": status,
            })
        });
        Observed {
            rollout: serde_json::from_value(rollout).unwrap(),
            replica_sets: vec![serde_json::from_value(set).unwrap()],
            pods: Vec::new(),
            analysis_runs: run.into_iter().map(|run| serde_json::from_value(run).unwrap()).collect(),
            experiments: Vec::new(),
        }
    }

    fn status(step: i32, phase: &str, message: &str) -> Value {
        json!({"observedGeneration": 2, "currentPodHash": "abc", "stableRS": "old", "currentStepIndex": step,
            "phase": phase, "message": message})
    }

    fn results(phase: &str, values: &[(&str, &str)]) -> Value {
        let failed = values.iter().filter(|(phase, _)| *phase == "Failed").count();
        let measurements: Vec<Value> =
            values.iter().map(|(phase, value)| json!({"phase": phase, "value": value})).collect();
        json!({"phase": phase, "metricResults": [{"name": "success-rate", "phase": phase,
            "measurements": measurements, "count": values.len(), "failed": failed}]})
    }

    fn check(before: &Observed, after: &Observed, expected: &[&str]) {
        let (old, new) = (tree(before), tree(after));
        let before = Picture { rollout: &before.rollout, view: &old };
        let lines = news(before, Picture { rollout: &after.rollout, view: &new });
        assert_eq!(Text { lines }.paint(Paint::Plain, Limits::NONE), expected);
    }

    #[test]
    fn a_step_is_told_when_it_begins() {
        let (first, second) = (status(0, "Progressing", ""), status(1, "Paused", "CanaryPauseStep"));
        check(&observed(&first, None), &observed(&second, None), &["step 2/3  pause: 15s"]);
        check(&observed(&second, None), &observed(&second, None), &[]);
    }

    #[test]
    fn a_new_version_after_an_abort_is_told_from_its_first_step() {
        let mut aborted = status(0, "Degraded", "RolloutAborted: why: how: when");
        aborted["abort"] = json!(true);
        let retried = status(1, "Paused", "CanaryPauseStep");
        check(
            &observed(&aborted, None),
            &observed(&retried, None),
            &["step 1/3  setWeight: 10", "step 2/3  pause: 15s"],
        );
        let healthy = status(3, "Healthy", "");
        check(&observed(&json!({}), None), &observed(&healthy, None), &["✔ Healthy"]);
        check(&observed(&healthy, None), &observed(&aborted, None), &["✖ Degraded: RolloutAborted: why"]);
    }

    #[test]
    fn a_measurement_is_told_with_what_is_tolerated() {
        let status = status(2, "Progressing", "");
        let one = results("Running", &[("Failed", "[0.8561]")]);
        check(
            &observed(&status, None),
            &observed(&status, Some(one)),
            &["measures success-rate = 0.856 Failed  (1 failed, 3 tolerated)"],
        );
    }

    #[test]
    fn the_end_of_an_analysis_and_of_the_rollout_are_told() {
        let going = results("Running", &[("Successful", "[1]")]);
        let over = results("Failed", &[("Successful", "[1]")]);
        let mut aborted = status(0, "Degraded", "RolloutAborted");
        aborted["abort"] = json!(true);
        check(
            &observed(&status(2, "Progressing", ""), Some(going)),
            &observed(&aborted, Some(over)),
            &["AnalysisRun Failed", "✖ Degraded: RolloutAborted"],
        );
    }
}
