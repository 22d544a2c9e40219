//! The canary strategy: bounds, steps, analyses, Services.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::experiment::{self, Ground};
use super::strategy::{Chosen, Delays, bounds, scale_down, share};
use super::{
    Background, CanaryScale, Services, SpecError, StableScale, Step, Strategy, managed, routing, services,
    unsupported,
};
use crate::api::canary_step::{CanaryStep, RolloutPause, SetCanaryScale};
use crate::api::rollout::{CanaryStrategy, ReplicaProgressThreshold};
use crate::events::RunKind;
use crate::rollout::replicas::{Share, Threshold};
use crate::rollout::runs;
use crate::rollout::snapshot::Snapshot;
use crate::units::{ReplicaCount, Weight, parse_duration};

const PATH: &str = "spec.strategy.canary";

/// Parses the strategy.
pub(super) fn parse(
    snapshot: &Snapshot,
    canary: &CanaryStrategy,
    replicas: ReplicaCount,
    (selector, template): (&LabelSelector, &Value),
    problems: &mut Vec<SpecError>,
) -> Chosen {
    unsupported::check_canary(canary, problems);
    let surge = share(&format!("{PATH}.maxSurge"), canary.max_surge.as_ref(), problems);
    let unavailable = share(&format!("{PATH}.maxUnavailable"), canary.max_unavailable.as_ref(), problems);
    let zero = |share| matches!(share, Share::Pods(0) | Share::Percent(0));
    if zero(surge) && zero(unavailable) {
        let message = "MaxSurge and MaxUnavailable both can not be zero";
        problems.push(SpecError::new(format!("{PATH}.maxSurge"), message));
    }
    let services = services(snapshot, canary, template, problems);
    let strategy = match &canary.traffic_routing {
        Some(found) => Strategy::Routed(routing::parse(snapshot, canary, found, &services, problems)),
        None => Strategy::ByPods,
    };
    let delays = Delays {
        scale_down_delay_seconds: canary.scale_down_delay_seconds,
        scale_down_delay_revision_limit: canary.scale_down_delay_revision_limit,
        abort_scale_down_delay_seconds: canary.abort_scale_down_delay_seconds,
    };
    let mut scale_down = scale_down(PATH, &delays, problems);
    if let Strategy::Routed(routing) = &strategy
        && routing.stable_scale == StableScale::Dynamic
    {
        // Pods follow the weight down, so there is nothing to keep; unless somebody asks for it after an abort.
        scale_down.delay = Duration::ZERO;
        if canary.abort_scale_down_delay_seconds.is_none() {
            scale_down.after_abort = Some(Duration::ZERO);
        }
    }
    Chosen {
        bounds: bounds(replicas, surge, unavailable),
        steps: steps(
            canary,
            Ground { snapshot, strategy: &strategy, selector, template, reached: Weight::ZERO },
            problems,
        ),
        background: background(snapshot, canary, problems),
        services,
        scale_down,
        threshold: threshold(canary.replica_progress_threshold.as_ref(), replicas, problems),
        strategy,
    }
}

fn threshold(
    given: Option<&ReplicaProgressThreshold>,
    replicas: ReplicaCount,
    problems: &mut Vec<SpecError>,
) -> Threshold {
    let Some(given) = given else { return Threshold::All };
    let field = format!("{PATH}.replicaProgressThreshold");
    let value = u32::try_from(given.value.unwrap_or(-1)).ok();
    match (given.r#type.as_deref(), value) {
        (Some("Percent"), Some(percent)) if percent <= 100 => Threshold::Percent(percent),
        (Some("Pods"), Some(pods)) if pods <= replicas.get() => Threshold::Pods(pods),
        (Some("Pods"), Some(pods)) => {
            let message = format!("is {pods} pods, more than the {replicas} that spec.replicas asks for");
            problems.push(SpecError::new(format!("{field}.value"), message));
            Threshold::All
        }
        _ => {
            let message =
                "needs a type, Percent with a value from 0 to 100 or Pods with a value of 0 or more";
            problems.push(SpecError::new(field, message));
            Threshold::All
        }
    }
}

fn steps(canary: &CanaryStrategy, ground: Ground, problems: &mut Vec<SpecError>) -> Vec<Step> {
    let mut parsed = Vec::new();
    let mut ground = ground;
    for (index, step) in canary.steps.iter().flatten().enumerate() {
        let step = parse_step(ground, index, step, problems);
        if let Step::SetWeight(weight) = step {
            ground.reached = weight;
        }
        parsed.push(step);
    }
    parsed
}

fn parse_step(ground: Ground, index: usize, step: &CanaryStep, problems: &mut Vec<SpecError>) -> Step {
    let Ground { snapshot, strategy, .. } = ground;
    let field = format!("{PATH}.steps[{index}]");
    unsupported::check_step(&field, step, problems);
    check_number(&field, step, problems);
    if let Some(step) = managed::parse(snapshot, &field, step, strategy, problems) {
        return step;
    }
    if let Some(found) = step.experiment.as_ref().filter(|_| step.set_weight.is_none()) {
        let found = experiment::parse(ground, &format!("{field}.experiment"), found, problems);
        return Step::Experiment(Box::new(found));
    }
    match (step.set_weight, &step.set_canary_scale, &step.pause, &step.analysis) {
        (Some(weight), ..) => Step::SetWeight(parse_weight(&field, weight, strategy, problems)),
        (None, Some(scale), ..) => parse_scale(&field, scale, strategy, problems),
        (None, None, Some(pause), _) => Step::Pause(parse_pause(&field, pause, problems)),
        (None, None, None, Some(analysis)) => {
            let field = format!("{field}.analysis");
            Step::Analysis(Box::new(runs::parse(snapshot, &field, analysis, RunKind::Step, problems)))
        }
        // A problem was reported: a pause without end is the stand-in that promotes nothing.
        (None, None, None, None) => Step::Pause(None),
    }
}

fn check_number(field: &str, step: &CanaryStep, problems: &mut Vec<SpecError>) {
    let set = [
        step.set_weight.is_some(),
        step.pause.is_some(),
        step.analysis.is_some(),
        step.set_canary_scale.is_some(),
        step.experiment.is_some(),
        step.plugin.is_some(),
        step.set_header_route.is_some(),
        step.set_mirror_route.is_some(),
    ];
    match set.iter().filter(|set| **set).count() {
        0 => {
            let message = "is empty: set one of setWeight, setCanaryScale, pause, analysis or experiment";
            problems.push(SpecError::new(field, message));
        }
        1 => {}
        _ => {
            let message = "sets several fields: a step does one thing; make a step of each";
            problems.push(SpecError::new(field, message));
        }
    }
}

fn parse_weight(field: &str, weight: i32, strategy: &Strategy, problems: &mut Vec<SpecError>) -> Weight {
    let scale = match strategy {
        Strategy::Routed(routing) => routing.scale,
        Strategy::ByPods | Strategy::BlueGreen(_) => Weight::FULL,
    };
    Weight::new(i64::from(weight), scale).unwrap_or_else(|| {
        let message = format!("SetWeight needs to be between 0 and {scale}, not {weight}");
        problems.push(SpecError::new(format!("{field}.setWeight"), message));
        Weight::ZERO
    })
}

fn parse_scale(
    field: &str,
    scale: &SetCanaryScale,
    strategy: &Strategy,
    problems: &mut Vec<SpecError>,
) -> Step {
    let field = format!("{field}.setCanaryScale");
    if !matches!(strategy, Strategy::Routed(_)) {
        problems.push(SpecError::new(&field, "SetCanaryScale requires TrafficRouting to be set"));
    }
    let number = |value: i32| u32::try_from(value).ok();
    let parsed = match (scale.weight, scale.replicas, scale.match_traffic_weight) {
        (Some(percent), None, None | Some(false)) => {
            number(percent).filter(|percent| *percent <= 100).map(CanaryScale::Percent)
        }
        (None, Some(replicas), None | Some(false)) => number(replicas).map(CanaryScale::Replicas),
        (None, None, Some(true)) => Some(CanaryScale::MatchTrafficWeight),
        _ => None,
    };
    Step::SetCanaryScale(parsed.unwrap_or_else(|| {
        let message =
            "needs exactly one of weight from 0 to 100, replicas of 0 or more, or matchTrafficWeight: true";
        problems.push(SpecError::new(field, message));
        CanaryScale::MatchTrafficWeight
    }))
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
    // Charts render an analysis that is not used as one without templates.
    let background = canary.analysis.as_ref().filter(|found| found.templates.iter().flatten().count() > 0)?;
    let field = format!("{PATH}.analysis");
    let starting_step = usize::try_from(background.starting_step.unwrap_or_default()).unwrap_or_else(|_| {
        problems.push(SpecError::new(format!("{field}.startingStep"), "must be 0 or more"));
        0
    });
    let analysis =
        runs::parse(snapshot, &field, &runs::of_background(background), RunKind::Background, problems);
    Some(Background { analysis: Box::new(analysis), starting_step })
}

fn services(
    snapshot: &Snapshot,
    canary: &CanaryStrategy,
    template: &Value,
    problems: &mut Vec<SpecError>,
) -> Services {
    let services = Services {
        stable: services::named(canary.stable_service.as_ref()),
        canary: services::named(canary.canary_service.as_ref()),
    };
    if services.stable.is_some() && services.stable == services.canary {
        let message = "This rollout uses the same service for the stable and canary services, \
                       but two different services are required.";
        problems.push(SpecError::new(format!("{PATH}.stableService"), message));
    }
    let named = [("stableService", services.stable.as_ref()), ("canaryService", services.canary.as_ref())];
    services::check(snapshot, PATH, template, &named, problems);
    services
}
