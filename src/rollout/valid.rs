//! Parses a spec. Every problem is found at once; what comes out cannot be illegal.
//!
//! Behaviour that does not exist yet is a problem too, by the name of its field: nothing is ignored silently.

mod blue_green;
mod canary;
mod experiment;
mod managed;
mod names;
mod on_pods;
mod role_labels;
mod routing;
mod services;
mod spec;
mod strategy;
mod unsupported;
mod workload;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::revision;
use super::snapshot::Snapshot;
use crate::api::RolloutSpec;
use crate::api::labels::HEALTH_AT_PAUSES;
use crate::units::ReplicaCount;

pub(crate) use experiment::check_duration;
pub(crate) use names::{check_name, check_service_name};
pub(crate) use services::{NO_PORT, ports as service_ports};
pub use spec::{
    Background, BlueGreen, CanaryScale, Destinations, OnDeadline, Promotion, Routing, RunHistory, ScaleDown,
    Services, StableScale, Step, Strategy, ValidSpec,
};
pub use workload::WorkloadScaling;

/// One problem of a spec.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpecError {
    /// Path of the field, for example `spec.strategy.canary.steps[1].setWeight`.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// Whether it goes away by itself once another object is as the spec says, which may be on its way.
    pub may_pass: bool,
}

impl SpecError {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), may_pass: false }
    }

    /// About an object that the spec refers to, and not about the spec.
    pub(crate) fn of_reference(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { may_pass: true, ..Self::new(field, message) }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// What parsing gives: a spec that can be worked with as far as it is legal, and everything that is wrong with it.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The spec; where it is illegal, a harmless value stands in, good enough to bring stable back.
    pub spec: ValidSpec,
    /// The problems, in the order of the fields. With any, nothing new may be begun.
    pub problems: Vec<SpecError>,
    /// Whether the only problem is a ReplicaSet that was refused, and it is time to try again.
    pub retries: bool,
    /// Whether the only problems are those of the objects that configure the router.
    pub lacks_only_routes: bool,
}

const DEFAULT_HISTORY: usize = 10;
const DEFAULT_RUN_HISTORY: usize = 5;
const DEFAULT_PROGRESS_DEADLINE_SECONDS: i32 = 600;

/// Parses the spec in the light of the templates and Services it refers to.
#[must_use]
pub fn parse(snapshot: &Snapshot) -> Parsed {
    let spec = &snapshot.rollout.spec;
    let mut problems = Vec::new();
    let replicas = replicas(snapshot, &mut problems);
    let workload_scaling = workload::check(snapshot, &mut problems);
    let selector = selector(snapshot, &mut problems);
    let template = template(snapshot, &selector, &mut problems);
    let min_ready_seconds = not_negative("spec.minReadySeconds", spec.min_ready_seconds, 0, &mut problems);
    let on_pods = on_pods::parse(spec, &selector, &mut problems);
    let chosen = strategy::parse(snapshot, replicas, (&selector, &template), &mut problems);
    if !matches!(chosen.strategy, Strategy::Routed(_)) {
        routing::refuse_cookie(snapshot, &mut problems);
    }
    let has_role_labels = role_labels::parse(snapshot, &chosen.strategy, &template, &mut problems);
    let refusal = snapshot.refusal.as_ref().filter(|_| !revision::exists(snapshot));
    let retries = problems.is_empty() && refusal.is_some_and(|refusal| refusal.is_due);
    let field = || workload::template_field(spec);
    problems.extend(refusal.map(|refusal| SpecError::new(field(), refusal.message.clone())));
    let spec = ValidSpec {
        replicas,
        bounds: chosen.bounds,
        selector,
        template,
        min_ready_seconds,
        revision_history_limit: limit(
            "spec.revisionHistoryLimit",
            spec.revision_history_limit,
            DEFAULT_HISTORY,
            &mut problems,
        ),
        run_history: run_history(spec, &mut problems),
        paused: spec.paused.unwrap_or_default(),
        progress_deadline: progress_deadline(spec, min_ready_seconds, &mut problems),
        on_deadline: if spec.progress_deadline_abort == Some(true) {
            OnDeadline::Abort
        } else {
            OnDeadline::Report
        },
        strategy: chosen.strategy,
        steps: chosen.steps,
        background: chosen.background,
        services: chosen.services,
        scale_down: chosen.scale_down,
        threshold: chosen.threshold,
        rollback_window: rollback_window(spec, &mut problems),
        on_pods,
        has_role_labels,
        workload_scaling,
        pauses_are_healthy: pauses_are_healthy(snapshot, &mut problems),
    };
    let lacks_only_routes = !problems.is_empty() && problems.len() == snapshot.route_problems.len();
    Parsed { spec, problems, retries, lacks_only_routes }
}

/// Whether the pauses of steps are reported as healthy.
fn pauses_are_healthy(snapshot: &Snapshot, problems: &mut Vec<SpecError>) -> bool {
    let annotations = snapshot.rollout.metadata.annotations.as_ref();
    match annotations.and_then(|all| all.get(HEALTH_AT_PAUSES)).map(String::as_str) {
        None | Some("Suspended") => false,
        Some("Healthy") => true,
        Some(other) => {
            let message = format!("must be Healthy or Suspended, not \"{other}\"");
            problems.push(SpecError::new(format!("metadata.annotations[{HEALTH_AT_PAUSES}]"), message));
            false
        }
    }
}

fn rollback_window(spec: &RolloutSpec, problems: &mut Vec<SpecError>) -> usize {
    let revisions = spec.rollback_window.as_ref().and_then(|window| window.revisions);
    limit("spec.rollbackWindow.revisions", revisions, 0, problems)
}

/// Pods wanted. For a negative number the one that was wanted last stands in, so that an abort brings stable back to it.
fn replicas(snapshot: &Snapshot, problems: &mut Vec<SpecError>) -> ReplicaCount {
    let wanted = snapshot.rollout.spec.replicas;
    let parsed = ReplicaCount::from_status(not_negative("spec.replicas", wanted, 1, problems));
    if wanted.is_none_or(|wanted| wanted >= 0) {
        return parsed;
    }
    let serving = snapshot.replica_sets.iter().filter(|set| set.size > ReplicaCount::ZERO);
    let last = serving.filter_map(|set| set.desired_annotation).max();
    last.map_or_else(|| snapshot.replica_sets.iter().map(|set| set.size).sum(), ReplicaCount::new)
}

/// A number, or its default; a negative one is reported, and 0 stands in.
pub(crate) fn not_negative(
    field: &str,
    value: Option<i32>,
    default: i32,
    problems: &mut Vec<SpecError>,
) -> i32 {
    let value = value.unwrap_or(default);
    if value < 0 {
        problems.push(SpecError::new(field, format!("must be 0 or more, not {value}")));
    }
    value.max(0)
}

fn limit(field: &str, value: Option<i32>, default: usize, problems: &mut Vec<SpecError>) -> usize {
    let default_number = i32::try_from(default).unwrap_or(i32::MAX);
    usize::try_from(not_negative(field, value, default_number, problems)).unwrap_or(default)
}

fn run_history(spec: &RolloutSpec, problems: &mut Vec<SpecError>) -> RunHistory {
    let kept = spec.analysis.clone().unwrap_or_default();
    let field = |name| format!("spec.analysis.{name}");
    RunHistory {
        successful: limit(
            &field("successfulRunHistoryLimit"),
            kept.successful_run_history_limit,
            DEFAULT_RUN_HISTORY,
            problems,
        ),
        unsuccessful: limit(
            &field("unsuccessfulRunHistoryLimit"),
            kept.unsuccessful_run_history_limit,
            DEFAULT_RUN_HISTORY,
            problems,
        ),
    }
}

fn progress_deadline(spec: &RolloutSpec, min_ready_seconds: i32, problems: &mut Vec<SpecError>) -> Duration {
    deadline(spec.progress_deadline_seconds, min_ready_seconds, problems)
}

/// `spec.progressDeadlineSeconds`, which pods that must stay ready for `min_ready_seconds` can meet.
pub(crate) fn deadline(
    seconds: Option<i32>,
    min_ready_seconds: i32,
    problems: &mut Vec<SpecError>,
) -> Duration {
    let field = "spec.progressDeadlineSeconds";
    let seconds = not_negative(field, seconds, DEFAULT_PROGRESS_DEADLINE_SECONDS, problems);
    if seconds <= min_ready_seconds {
        let message = format!("must be greater than minReadySeconds ({min_ready_seconds}), not {seconds}");
        problems.push(SpecError::new(field, message));
    }
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn selector(snapshot: &Snapshot, problems: &mut Vec<SpecError>) -> LabelSelector {
    let field = "spec.selector";
    let Some(selector) = snapshot.selector() else {
        if snapshot.rollout.spec.workload_ref.is_some() && snapshot.workload.found().is_none() {
            // It may come from the workload, which is missed already.
            return LabelSelector::default();
        }
        problems.push(SpecError::new(field, "Rollout has missing field '.spec.selector'"));
        return LabelSelector::default();
    };
    check_selector(field, &selector, problems);
    selector
}

/// Adds what is wrong with a selector of pods.
pub(crate) fn check_selector(field: &str, selector: &LabelSelector, problems: &mut Vec<SpecError>) {
    let labels = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty);
    let expressions = selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    if labels && expressions {
        problems
            .push(SpecError::new(field, "is empty: name at least one label of the pods under matchLabels"));
    }
    for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let has_values = expression.values.as_ref().is_some_and(|values| !values.is_empty());
        let legal = match expression.operator.as_str() {
            "In" | "NotIn" => has_values,
            "Exists" | "DoesNotExist" => !has_values,
            _ => false,
        };
        if !legal {
            let field = format!("{field}.matchExpressions[{index}]");
            let message = "needs an operator In or NotIn with values, or Exists or DoesNotExist without";
            problems.push(SpecError::new(field, message));
        }
    }
}

fn template(snapshot: &Snapshot, selector: &LabelSelector, problems: &mut Vec<SpecError>) -> Value {
    let field = workload::template_field(&snapshot.rollout.spec);
    let Some(template) = snapshot.pod_template() else {
        if snapshot.rollout.spec.workload_ref.is_none() {
            problems.push(SpecError::new(field, "is missing: a Rollout needs a pod template"));
        }
        return Value::Null;
    };
    check_template(&field, selector, &template, problems);
    template
}

/// Adds what is wrong with a pod template whose pods `selector` is to find.
pub(crate) fn check_template(
    field: &str,
    selector: &LabelSelector,
    template: &Value,
    problems: &mut Vec<SpecError>,
) {
    let labels = template_labels(template);
    if !selects(selector, &labels) {
        let field = format!("{field}.metadata.labels");
        problems.push(SpecError::new(
            field,
            "`selector` does not match template `labels`: add the selector's labels here",
        ));
    }
    let containers =
        template.pointer("/spec/containers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if containers.is_empty() {
        problems.push(SpecError::new(
            format!("{field}.spec.containers"),
            "is missing: name at least one container",
        ));
    }
    for (index, container) in containers.iter().enumerate() {
        for key in ["name", "image"] {
            if container.get(key).and_then(Value::as_str).is_none_or(str::is_empty) {
                let field = format!("{field}.spec.containers[{index}].{key}");
                problems.push(SpecError::new(field, "is missing or not text"));
            }
        }
    }
}

/// The labels of a pod template.
#[must_use]
pub fn template_labels(template: &Value) -> BTreeMap<String, String> {
    text_map(template.pointer("/metadata/labels"))
}

/// The text values of a JSON object; anything else is left out.
#[must_use]
pub fn text_map(value: Option<&Value>) -> BTreeMap<String, String> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Whether `selector` matches `labels`.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let by_labels = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key).is_some_and(|found| found == value));
    let by_expressions = selector.match_expressions.iter().flatten().all(|expression| {
        let found = labels.get(&expression.key);
        let listed =
            found.is_some_and(|found| expression.values.iter().flatten().any(|value| value == found));
        match expression.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => found.is_some(),
            "DoesNotExist" => found.is_none(),
            // Reported by `selector` already.
            _ => true,
        }
    });
    by_labels && by_expressions
}

#[cfg(test)]
mod tests;
