//! The step `experiment`: its templates, its analyses, and whether a router can do what it asks for.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::{
    SpecError, Strategy, check_name, check_selector, check_service_name, not_negative, selects, services,
    template_labels,
};
use crate::analysis::group::{self, GroupError, Member, Shared};
use crate::analysis::template::Advice;
use crate::api::analysis_template::AnalysisTemplateRef;
use crate::api::canary_step::{ExperimentStep, ExperimentStepTemplate};
use crate::api::experiment::ExperimentAnalysis;
use crate::api::rollout::AnalysisRunArgument;
use crate::events::RunKind;
use crate::rollout::experiments::variables::Variables;
use crate::rollout::experiments::{StepExperiment, StepTemplate, Version};
use crate::rollout::runs::arguments;
use crate::rollout::snapshot::Snapshot;
use crate::rollout::{revision, role_labels};
use crate::traffic::{Routers, container_ports};
use crate::units::{PodHash, Weight, parse_duration};

/// What of the Rollout an experiment step builds on.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) strategy: &'a Strategy,
    pub(super) selector: &'a LabelSelector,
    pub(super) template: &'a Value,
    /// The canary's share by the steps before.
    pub(super) reached: Weight,
}

/// Parses the step at `field`.
pub(super) fn parse(
    ground: Ground,
    field: &str,
    step: &ExperimentStep,
    problems: &mut Vec<SpecError>,
) -> StepExperiment {
    let given = step.templates.as_deref().unwrap_or_default();
    if given.is_empty() {
        problems.push(SpecError::new(format!("{field}.templates"), "is empty: name at least one template"));
    }
    let duration = step.duration.clone().filter(|text| !text.is_empty());
    check_duration(&format!("{field}.duration"), duration.as_deref(), problems);
    let delay = format!("{field}.scaleDownDelaySeconds");
    not_negative(&delay, step.scale_down_delay_seconds, 0, problems);
    let mut names = BTreeSet::new();
    let templates = given.iter().enumerate().map(|(index, template)| {
        let field = format!("{field}.templates[{index}]");
        check_name(&field, &template.name, &mut names, problems);
        parse_template(ground, &field, template, problems)
    });
    let templates: Vec<_> = templates.collect();
    check_services(ground, field, &templates, problems);
    check_delay(ground, field, step, problems);
    check_weights(ground, field, step, problems);
    let (analyses, advice) = analyses(ground, field, step, problems);
    StepExperiment {
        templates,
        duration,
        analyses,
        dry_run: step.dry_run.clone(),
        run_metadata: step.analysis_run_metadata.clone(),
        scale_down_delay_seconds: step.scale_down_delay_seconds,
        advice,
    }
}

/// How long an Experiment runs; one that would end at once judges nothing.
pub(crate) fn check_duration(
    field: &str,
    text: Option<&str>,
    problems: &mut Vec<SpecError>,
) -> Option<Duration> {
    let text = text.filter(|text| !text.is_empty())?;
    let parsed = parse_duration(text);
    let message = match parsed {
        None => format!("'{text}' is not a time: write it as \"5m\" or \"1h30m\""),
        Some(Duration::ZERO) => {
            "must be more than 0: leave it out for an Experiment without end by time".to_owned()
        }
        Some(_) => return parsed,
    };
    problems.push(SpecError::new(field, message));
    parsed
}

/// Each template has a Service of its own, which is none of the Rollout's.
fn check_services(ground: Ground, field: &str, templates: &[StepTemplate], problems: &mut Vec<SpecError>) {
    let rollout = ground.snapshot.rollout.metadata.name.as_deref().unwrap_or_default();
    let hash = revision::wanted_hash(ground.snapshot);
    let mut names = BTreeSet::new();
    for (index, template) in templates.iter().enumerate() {
        if template.service.is_none() && template.weight.is_none() {
            continue;
        }
        let field = format!("{field}.templates[{index}]");
        let given = services::named(template.service.as_ref().and_then(|service| service.name.as_ref()));
        // The Experiment's name has room for revisions, steps and tries to come.
        let name = given.unwrap_or_else(|| format!("{rollout}-{hash}-999-99-9-{}", template.name));
        check_service_name(&field, &name, &mut names, problems);
        if ground.snapshot.services.contains_key(&name) {
            let message = format!("'{name}' is a Service that this Rollout names itself: name another one");
            problems.push(SpecError::new(format!("{field}.service.name"), message));
        }
    }
}

/// A Service that a step names is there again for the next Experiment once the one before has let go of it.
fn check_delay(ground: Ground, field: &str, step: &ExperimentStep, problems: &mut Vec<SpecError>) {
    let services = step.templates.iter().flatten().filter_map(|template| template.service.as_ref());
    let is_named = services.into_iter().any(|service| services::named(service.name.as_ref()).is_some());
    let deadline = ground.snapshot.rollout.spec.progress_deadline_seconds;
    let deadline = deadline.unwrap_or(super::DEFAULT_PROGRESS_DEADLINE_SECONDS);
    if is_named && step.scale_down_delay_seconds.is_some_and(|delay| delay >= deadline) {
        let message = format!(
            "must be less than progressDeadlineSeconds ({deadline}) where a Service has a name: the next Experiment waits for it"
        );
        problems.push(SpecError::new(format!("{field}.scaleDownDelaySeconds"), message));
    }
}

fn parse_template(
    ground: Ground,
    field: &str,
    given: &ExperimentStepTemplate,
    problems: &mut Vec<SpecError>,
) -> StepTemplate {
    let from = given.spec_ref.as_deref().unwrap_or_default();
    let from = Version::parse(from).unwrap_or_else(|| {
        let message = format!("is canary or stable, not '{from}'");
        problems.push(SpecError::new(format!("{field}.specRef"), message));
        Version::Canary
    });
    let replicas = not_negative(&format!("{field}.replicas"), given.replicas, 1, problems);
    if replicas == 0 && given.weight.is_some_and(|weight| weight > 0) {
        let message = "must be more than 0 beside a weight: requests need a pod";
        problems.push(SpecError::new(format!("{field}.replicas"), message));
    }
    let weight = parse_weight(ground, field, given, problems);
    let metadata = given.metadata.clone().unwrap_or_default();
    if let Some(selector) = &given.selector {
        let field = format!("{field}.selector");
        check_selector(&field, selector, problems);
        let mut labels = template_labels(ground.template);
        labels.extend(metadata.labels.clone().unwrap_or_default());
        if from == Version::Canary && !selects(selector, &labels) {
            let message = "matches none of the template's labels: name labels of the template or of metadata";
            problems.push(SpecError::new(field, message));
        }
    } else if let Some(key) = overlaid(ground.selector, metadata.labels.iter().flatten().map(|(key, _)| key))
    {
        let message =
            "this label is part of a matchExpressions of spec.selector: give this template a selector";
        problems.push(SpecError::new(format!("{field}.metadata.labels['{key}']"), message));
    }
    if let Some(key) =
        metadata.labels.iter().flatten().map(|(key, _)| key).find(|key| role_labels::is_key(key))
    {
        let message = "pods of the Rollout carry this label for their role: name another one";
        problems.push(SpecError::new(format!("{field}.metadata.labels['{key}']"), message));
    }
    let has_service = given.service.is_some() || given.weight.is_some();
    if has_service && from == Version::Canary && services::ports(ground.template).is_empty() {
        problems.push(SpecError::new(format!("{field}.service"), services::NO_PORT));
    }
    StepTemplate {
        name: given.name.clone(),
        from,
        replicas: given.replicas,
        metadata,
        selector: given.selector.clone(),
        service: given.service.clone(),
        weight,
    }
}

/// The first of these labels that an expression of the selector is about.
fn overlaid<'a>(selector: &LabelSelector, mut keys: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    keys.find(|key| expressions.iter().any(|expression| expression.key == **key))
}

/// The share of a template, which a router must be able to give it.
fn parse_weight(
    ground: Ground,
    field: &str,
    given: &ExperimentStepTemplate,
    problems: &mut Vec<SpecError>,
) -> Option<Weight> {
    let given = given.weight?;
    let field = format!("{field}.weight");
    let Strategy::Routed(routing) = ground.strategy else {
        let message = "Experiment template weight cannot be set unless TrafficRouting is enabled";
        problems.push(SpecError::new(field, message));
        return None;
    };
    if !Routers::of(&ground.snapshot.rollout).serve_experiments() {
        let message =
            "Experiment template weight is only available for TrafficRouting with SMI, ALB and Istio";
        problems.push(SpecError::new(&field, message));
    }
    let weight = Weight::new(i64::from(given), routing.scale);
    if weight.is_none() {
        let message = format!("needs to be between 0 and {}, not {given}", routing.scale);
        problems.push(SpecError::new(field, message));
    }
    weight
}

/// Checks what all templates get together beside the canary.
fn check_weights(ground: Ground, field: &str, step: &ExperimentStep, problems: &mut Vec<SpecError>) {
    let reached = ground.reached;
    let Strategy::Routed(routing) = ground.strategy else { return };
    let weights = || step.templates.iter().flatten().filter_map(|template| template.weight);
    let all = weights().map(i64::from).fold(i64::from(reached.get()), i64::saturating_add);
    if weights().count() == 0 {
        return;
    }
    if all > i64::from(routing.scale.get()) {
        let message = format!(
            "have weights that come to {all} with the canary's {reached}: at most {} are there",
            routing.scale
        );
        problems.push(SpecError::new(format!("{field}.templates"), message));
    }
    if let Some(port) = lost_port(ground) {
        let message = format!(
            "have weights, but SMI sends requests by the ports of the stable Service, and Services of Experiments have the \
             containerPorts of the pod template: add containerPort {port}, or leave the weights out"
        );
        problems.push(SpecError::new(format!("{field}.templates"), message));
    }
    if step.scale_down_delay_seconds == Some(0) {
        let message = "must be more than 0 where a template has a weight: requests reach its pods until the router follows";
        problems.push(SpecError::new(format!("{field}.scaleDownDelaySeconds"), message));
    }
}

/// A port of the stable Service that requests come by and that Services of Experiments do not have, where the router goes by
/// it.
fn lost_port(ground: Ground) -> Option<i32> {
    let canary = ground.snapshot.rollout.spec.strategy.as_ref()?.canary.as_ref()?;
    canary.traffic_routing.as_ref()?.smi.as_ref()?;
    let service = ground.snapshot.services.get(canary.stable_service.as_ref()?)?;
    let ports = container_ports(ground.template);
    service.ports.iter().copied().find(|port| !ports.contains(&i64::from(*port)))
}

fn analyses(
    ground: Ground,
    field: &str,
    step: &ExperimentStep,
    problems: &mut Vec<SpecError>,
) -> (Vec<ExperimentAnalysis>, Vec<Advice>) {
    let given = step.analyses.as_deref().unwrap_or_default();
    let has_end = step.duration.as_deref().is_some_and(|text| !text.is_empty());
    let mut names = BTreeSet::new();
    let variables = variables(ground, step);
    let mut hints = Vec::new();
    let (mut analyses, mut members) = (Vec::new(), Vec::new());
    for (index, analysis) in given.iter().enumerate() {
        let field = format!("{field}.analyses[{index}]");
        check_name(&field, &analysis.name, &mut names, problems);
        let args = analysis.args.as_deref().unwrap_or_default();
        check_arguments(&variables, &field, args, &mut hints, problems);
        let args = arguments::resolve(ground.snapshot, &field, args, problems);
        let is_waited_for = analysis.required_for_completion == Some(true) && !has_end;
        members.push(Member {
            kind: if is_waited_for { RunKind::Step } else { RunKind::Background },
            template: AnalysisTemplateRef {
                template_name: analysis.template_name.clone(),
                cluster_scope: analysis.cluster_scope,
            },
            args: args.clone(),
        });
        analyses.push(ExperimentAnalysis {
            name: analysis.name.clone(),
            template_name: analysis.template_name.clone(),
            cluster_scope: analysis.cluster_scope,
            args: Some(args).filter(|args| !args.is_empty()),
            required_for_completion: analysis.required_for_completion,
        });
    }
    let shared = Shared { dry_run: step.dry_run.as_deref().unwrap_or_default(), ..Shared::default() };
    let (merged, errors) = group::merge(&members, &shared, &ground.snapshot.templates);
    problems.extend(errors.into_iter().map(|error| match error {
        GroupError::Member(index, error) => {
            SpecError::new(format!("{field}.analyses[{index}]"), error.to_string())
        }
        GroupError::Rule(error) => SpecError::new(format!("{field}.{}", error.path), error.problem),
    }));
    let advice = merged.into_iter().flatten().flat_map(|merged| merged.advice);
    (analyses, advice.chain(hints).collect())
}

/// What the Experiment's own controller will put in place of its tags; the values do not matter here.
fn variables(ground: Ground, step: &ExperimentStep) -> Variables {
    let duration = step.duration.as_deref().filter(|text| !text.is_empty());
    let duration = duration.map(|text| parse_duration(text).unwrap_or_default());
    let mut variables = Variables::new(ground.snapshot.now, duration);
    for template in step.templates.iter().flatten() {
        variables.add(&template.name, &template.name, &PodHash::unknown());
    }
    variables
}

/// Tags that will stand for nothing are refused now, and who asks for the hash of a version is told which pods have it.
fn check_arguments(
    variables: &Variables,
    field: &str,
    args: &[AnalysisRunArgument],
    hints: &mut Vec<Advice>,
    problems: &mut Vec<SpecError>,
) {
    for (index, arg) in args.iter().enumerate() {
        let field = format!("{field}.args[{index}]");
        if let Some(why) = arg.value.as_deref().and_then(|text| variables.fill_text(text).err()) {
            problems.push(SpecError::new(format!("{field}.value"), why));
        }
        let from = arg.value_from.as_ref();
        if from.is_some_and(|from| from.pod_template_hash_value.is_some()) {
            hints.push(Advice {
                topic: "ExperimentArgOfRollout",
                message: format!(
                    "{field}: podTemplateHashValue is the hash of the Rollout's own pods; those of the Experiment have \
                     {{{{templates.NAME.podTemplateHash}}}}"
                ),
            });
        }
    }
}
