//! The steps of a canary, for people: where it stands, in words, and which weight that means.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::Rollout;
use crate::api::canary_step::{CanaryStep, RolloutPause};
use crate::api::rollout::CanaryStrategy;
use crate::units::{StepIndex, Weight, format_duration, parse_duration};

/// The canary strategy, if it is one.
pub(super) fn canary(rollout: &Rollout) -> Option<&CanaryStrategy> {
    rollout.spec.strategy.as_ref()?.canary.as_ref()
}

/// The steps; none for other strategies.
pub(super) fn steps(rollout: &Rollout) -> &[CanaryStep] {
    canary(rollout).and_then(|canary| canary.steps.as_deref()).unwrap_or_default()
}

/// The position in the steps; `None` without steps, or before the controller has set one.
pub(super) fn position(rollout: &Rollout) -> Option<StepIndex> {
    let steps = steps(rollout);
    let stored = rollout.status.as_ref()?.current_step_index?;
    (!steps.is_empty()).then(|| StepIndex::from_status(stored, steps.len()))
}

/// The step at the position; `None` once all are done.
pub(super) fn current(rollout: &Rollout) -> Option<(StepIndex, &CanaryStep)> {
    let index = position(rollout)?;
    Some((index, steps(rollout).get(index.get())?))
}

/// The whole of the weight's scale.
pub(super) fn full_weight(rollout: &Rollout) -> i32 {
    let routing = canary(rollout).and_then(|canary| canary.traffic_routing.as_ref());
    routing
        .and_then(|routing| routing.max_traffic_weight)
        .unwrap_or(Weight::FULL.get().try_into().unwrap_or(100))
}

/// The weight that the steps ask for: that of the last `setWeight` up to the position, nothing once aborted.
pub(super) fn set_weight(rollout: &Rollout) -> i32 {
    if rollout.status.as_ref().is_some_and(|status| status.abort == Some(true)) {
        return 0;
    }
    match position(rollout) {
        Some(index) if index.get() < steps(rollout).len() => {
            let done = steps(rollout).iter().take(index.next().get());
            done.filter_map(|step| step.set_weight).next_back().unwrap_or(0)
        }
        _ => full_weight(rollout),
    }
}

/// How long a pause lasts; `None` when it waits for a person.
pub(super) fn pause_duration(pause: &RolloutPause) -> Option<Duration> {
    match pause.duration.as_ref()? {
        IntOrString::Int(seconds) => Some(Duration::from_secs(u64::try_from(*seconds).unwrap_or_default())),
        IntOrString::String(text) => parse_duration(text),
    }
}

/// The position in words: `step 2 of 6 (pause 5m)`.
pub(super) fn place(rollout: &Rollout, index: StepIndex, step: &CanaryStep) -> String {
    format!("step {} of {} ({})", index.get() + 1, steps(rollout).len(), words(step))
}

/// A step in words.
fn words(step: &CanaryStep) -> String {
    if let Some(weight) = step.set_weight {
        return format!("setWeight {weight}");
    }
    if let Some(pause) = &step.pause {
        return pause_duration(pause)
            .map_or_else(|| "pause".to_owned(), |duration| format!("pause {}", format_duration(duration)));
    }
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    if let Some(plugin) = &step.plugin {
        return format!("plugin {}", name(&plugin.name));
    }
    if let Some(route) = &step.set_header_route {
        return format!("setHeaderRoute {}", name(&route.name));
    }
    if let Some(route) = &step.set_mirror_route {
        return format!("setMirrorRoute {}", name(&route.name));
    }
    let kinds = [
        (step.analysis.is_some(), "analysis"),
        (step.experiment.is_some(), "experiment"),
        (step.set_canary_scale.is_some(), "setCanaryScale"),
    ];
    kinds.iter().find(|(is, _)| *is).map_or("unknown", |(_, kind)| kind).to_owned()
}
