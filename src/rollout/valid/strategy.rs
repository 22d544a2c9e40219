//! The canary strategy: bounds, steps, analyses, Services.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{Background, Services, SpecError, Step, template_labels, unsupported};
use crate::api::canary_step::{CanaryStep, RolloutPause};
use crate::api::labels::POD_TEMPLATE_HASH;
use crate::api::rollout::{CanaryStrategy, Strategy};
use crate::events::RunKind;
use crate::rollout::replicas::{Bounds, Share};
use crate::rollout::runs;
use crate::rollout::snapshot::Snapshot;
use crate::units::{ReplicaCount, Weight, parse_duration};
use std::time::Duration;

/// What the strategy says.
pub(super) struct Canary {
    pub(super) bounds: Bounds,
    pub(super) steps: Vec<Step>,
    pub(super) background: Option<Background>,
    pub(super) services: Services,
}

const DEFAULT_SHARE: Share = Share::Percent(25);

/// Parses the strategy; with none, a rolling update stands in beside the problem.
pub(super) fn parse(
    snapshot: &Snapshot,
    replicas: ReplicaCount,
    template: &Value,
    problems: &mut Vec<SpecError>,
) -> Canary {
    let canary = chosen(snapshot.rollout.spec.strategy.as_ref(), problems);
    unsupported::check_canary(&canary, problems);
    Canary {
        bounds: bounds(&canary, replicas, problems),
        steps: steps(snapshot, &canary, problems),
        background: background(snapshot, &canary, problems),
        services: services(snapshot, &canary, template, problems),
    }
}

fn chosen(strategy: Option<&Strategy>, problems: &mut Vec<SpecError>) -> CanaryStrategy {
    let field = "spec.strategy";
    let (canary, blue_green) = strategy.map_or((None, None), |s| (s.canary.clone(), s.blue_green.as_ref()));
    match (&canary, blue_green) {
        (None, None) => {
            let message = "Rollout has missing field '.spec.strategy.canary or .spec.strategy.blueGreen'";
            problems.push(SpecError::new(field, message));
        }
        (Some(_), Some(_)) => problems.push(SpecError::new(field, "Multiple Strategies can not be listed")),
        (Some(_), None) | (None, Some(_)) => {}
    }
    canary.unwrap_or_default()
}

fn bounds(canary: &CanaryStrategy, replicas: ReplicaCount, problems: &mut Vec<SpecError>) -> Bounds {
    let surge = share("maxSurge", canary.max_surge.as_ref(), problems);
    let unavailable = share("maxUnavailable", canary.max_unavailable.as_ref(), problems);
    let zero = |share| matches!(share, Share::Pods(0) | Share::Percent(0));
    if zero(surge) && zero(unavailable) {
        let message = "MaxSurge and MaxUnavailable both can not be zero";
        problems.push(SpecError::new("spec.strategy.canary.maxSurge", message));
    }
    let max_surge = surge.ceil(replicas);
    let max_unavailable = match unavailable.floor(replicas) {
        // Both rounded to zero would forbid any change.
        0 if max_surge == 0 => 1,
        pods => pods,
    };
    Bounds { replicas: replicas.get(), max_surge, max_unavailable: max_unavailable.min(replicas.get()) }
}

/// Text is a percent with or without its sign, as in the public API; a number is pods.
fn share(name: &str, value: Option<&IntOrString>, problems: &mut Vec<SpecError>) -> Share {
    let parsed = match value {
        None => return DEFAULT_SHARE,
        Some(IntOrString::Int(pods)) => u32::try_from(*pods).ok().map(Share::Pods),
        Some(IntOrString::String(text)) => text.trim_end_matches('%').parse().ok().map(Share::Percent),
    };
    parsed.unwrap_or_else(|| {
        let message = "must be a number of pods, or a percent such as \"25%\"";
        problems.push(SpecError::new(format!("spec.strategy.canary.{name}"), message));
        DEFAULT_SHARE
    })
}

fn steps(snapshot: &Snapshot, canary: &CanaryStrategy, problems: &mut Vec<SpecError>) -> Vec<Step> {
    let steps = canary.steps.iter().flatten().enumerate();
    steps.map(|(index, step)| parse_step(snapshot, index, step, problems)).collect()
}

fn parse_step(snapshot: &Snapshot, index: usize, step: &CanaryStep, problems: &mut Vec<SpecError>) -> Step {
    let field = format!("spec.strategy.canary.steps[{index}]");
    unsupported::check_step(&field, step, problems);
    let others = [
        step.set_canary_scale.is_some(),
        step.experiment.is_some(),
        step.plugin.is_some(),
        step.set_header_route.is_some(),
        step.set_mirror_route.is_some(),
    ];
    let set = others.iter().filter(|set| **set).count();
    let known = [step.set_weight.is_some(), step.pause.is_some(), step.analysis.is_some()];
    match set + known.iter().filter(|set| **set).count() {
        0 => problems.push(SpecError::new(&field, "is empty: set one of setWeight, pause or analysis")),
        1 => {}
        _ => problems
            .push(SpecError::new(&field, "sets several fields: a step does one thing; make a step of each")),
    }
    match (step.set_weight, &step.pause, &step.analysis) {
        (Some(weight), _, _) => Step::SetWeight(parse_weight(&field, weight, problems)),
        (None, Some(pause), _) => Step::Pause(parse_pause(&field, pause, problems)),
        (None, None, Some(analysis)) => {
            let field = format!("{field}.analysis");
            Step::Analysis(Box::new(runs::parse(snapshot, &field, analysis, RunKind::Step, problems)))
        }
        // A problem was reported: a pause without end is the stand-in that promotes nothing.
        (None, None, None) => Step::Pause(None),
    }
}

fn parse_weight(field: &str, weight: i32, problems: &mut Vec<SpecError>) -> Weight {
    Weight::new(i64::from(weight), Weight::FULL).unwrap_or_else(|| {
        let message = format!("SetWeight needs to be between 0 and 100, not {weight}");
        problems.push(SpecError::new(format!("{field}.setWeight"), message));
        Weight::ZERO
    })
}

fn parse_pause(field: &str, pause: &RolloutPause, problems: &mut Vec<SpecError>) -> Option<Duration> {
    let parsed = match pause.duration.as_ref()? {
        IntOrString::Int(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        IntOrString::String(text) => parse_duration(text),
    };
    if parsed.is_none() {
        let message =
            "Duration needs to be greater than 0: a number of seconds, or text such as \"5m\" or \"1h30m\"";
        problems.push(SpecError::new(format!("{field}.pause.duration"), message));
    }
    parsed
}

fn background(
    snapshot: &Snapshot,
    canary: &CanaryStrategy,
    problems: &mut Vec<SpecError>,
) -> Option<Background> {
    let background = canary.analysis.as_ref()?;
    let field = "spec.strategy.canary.analysis";
    let starting_step = usize::try_from(background.starting_step.unwrap_or_default()).unwrap_or_else(|_| {
        problems.push(SpecError::new(format!("{field}.startingStep"), "must be 0 or more"));
        0
    });
    let analysis =
        runs::parse(snapshot, field, &runs::of_background(background), RunKind::Background, problems);
    Some(Background { analysis: Box::new(analysis), starting_step })
}

fn services(
    snapshot: &Snapshot,
    canary: &CanaryStrategy,
    template: &Value,
    problems: &mut Vec<SpecError>,
) -> Services {
    // Charts render a Service that is not used as an empty name.
    let named = |service: &Option<String>| service.clone().filter(|name| !name.is_empty());
    let services = Services { stable: named(&canary.stable_service), canary: named(&canary.canary_service) };
    if services.stable.is_some() && services.stable == services.canary {
        let message = "This rollout uses the same service for the stable and canary services, \
                       but two different services are required.";
        problems.push(SpecError::new("spec.strategy.canary.stableService", message));
    }
    let labels = template_labels(template);
    let named = [("stableService", &services.stable), ("canaryService", &services.canary)];
    for (name, service) in named.into_iter().filter_map(|(name, service)| Some((name, service.as_ref()?))) {
        check_service(snapshot, name, service, &labels, problems);
    }
    services
}

fn check_service(
    snapshot: &Snapshot,
    name: &str,
    service: &str,
    labels: &BTreeMap<String, String>,
    problems: &mut Vec<SpecError>,
) {
    let field = format!("spec.strategy.canary.{name}");
    let Some(found) = snapshot.services.get(service) else {
        let message =
            format!("Service \"{service}\" not found: create it in this namespace, or correct the name");
        problems.push(SpecError::new(field, message));
        return;
    };
    let strangers = found
        .selector
        .iter()
        .filter(|(key, value)| *key != POD_TEMPLATE_HASH && labels.get(*key) != Some(value));
    for (key, _) in strangers {
        let message = format!(
            "Service \"{service}\" has unmatch label \"{key}\" in rollout: its selector finds no pod of the template"
        );
        problems.push(SpecError::new(&field, message));
    }
    let owner =
        found.managed_by.as_deref().filter(|owner| Some(*owner) != snapshot.rollout.metadata.name.as_deref());
    if let Some(owner) = owner {
        let message = format!("Service \"{service}\" is managed by another Rollout, \"{owner}\"");
        problems.push(SpecError::new(field, message));
    }
}
