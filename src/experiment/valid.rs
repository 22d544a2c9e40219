//! Parses the spec of an Experiment. Every problem is found at once.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::Snapshot;
use crate::api::canary_step::ExperimentService;
use crate::api::experiment::ExperimentTemplate;
use crate::rollout::valid::{
    NO_PORT, SpecError, check_duration, check_name, check_selector, check_service_name, check_template,
    deadline, not_negative, service_ports,
};
use crate::units::ReplicaCount;

/// Seconds that pods are kept after the end when the spec does not say.
const DEFAULT_SCALE_DOWN_DELAY_SECONDS: i32 = 30;

/// A spec with its defaults applied. What its analyses say is read when their runs are made.
#[derive(Clone, Debug)]
pub(super) struct ValidSpec {
    /// What runs side by side.
    pub(super) templates: Vec<Template>,
    /// How long, once all are available; `None` for no end by time.
    pub(super) duration: Option<Duration>,
    /// How long a template may take to become available.
    pub(super) progress_deadline: Duration,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// Its name within the Experiment.
    pub(super) name: String,
    /// Pods wanted.
    pub(super) replicas: ReplicaCount,
    /// Seconds a pod must have been ready to count as available.
    pub(super) min_ready_seconds: i32,
    /// Which pods belong to it.
    pub(super) selector: LabelSelector,
    /// The pod template as it was written.
    pub(super) template: Value,
    /// The Service in front of its pods.
    pub(super) service: Option<Service>,
}

/// The Service in front of a template's pods.
#[derive(Clone, Debug)]
pub(super) struct Service {
    /// Its name; that of the ReplicaSet when `None`.
    pub(super) name: Option<String>,
    /// Its ports: those of the containers.
    pub(super) ports: Vec<Value>,
}

/// Parses the spec but for its analyses.
pub(super) fn parse(snapshot: &Snapshot, problems: &mut Vec<SpecError>) -> ValidSpec {
    let spec = &snapshot.experiment.spec;
    let templates = spec.templates.as_deref().unwrap_or_default();
    if templates.is_empty() {
        problems.push(SpecError::new("spec.templates", "is empty: name at least one template"));
    }
    let mut names = BTreeSet::new();
    let templates: Vec<Template> = templates
        .iter()
        .enumerate()
        .map(|(index, template)| {
            let field = format!("spec.templates[{index}]");
            check_name(&field, &template.name, &mut names, problems);
            parse_template(&field, template, problems)
        })
        .collect();
    check_services(snapshot.name(), &templates, problems);
    let longest = templates.iter().map(|template| template.min_ready_seconds).max().unwrap_or_default();
    not_negative("spec.scaleDownDelaySeconds", spec.scale_down_delay_seconds, 0, problems);
    ValidSpec {
        duration: check_duration("spec.duration", spec.duration.as_deref(), problems),
        progress_deadline: deadline(spec.progress_deadline_seconds, longest, problems),
        templates,
    }
}

/// Each template has a Service of its own, by a name that one can have.
fn check_services(experiment: &str, templates: &[Template], problems: &mut Vec<SpecError>) {
    let mut names = BTreeSet::new();
    for (index, template) in templates.iter().enumerate() {
        let Some(service) = &template.service else { continue };
        let name = service.name.clone().unwrap_or_else(|| format!("{experiment}-{}", template.name));
        check_service_name(&format!("spec.templates[{index}]"), &name, &mut names, problems);
    }
}

/// How long pods are kept after the end. A negative number, which is a problem while the Experiment runs, counts as none.
pub(super) fn scale_down_delay(snapshot: &Snapshot) -> Duration {
    let seconds = snapshot.experiment.spec.scale_down_delay_seconds;
    let seconds = seconds.unwrap_or(DEFAULT_SCALE_DOWN_DELAY_SECONDS);
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn parse_template(field: &str, found: &ExperimentTemplate, problems: &mut Vec<SpecError>) -> Template {
    let template = found.template.clone().unwrap_or_default();
    let selector = found.selector.clone().unwrap_or_default();
    check_selector(&format!("{field}.selector"), &selector, problems);
    if template.is_null() {
        problems.push(SpecError::new(format!("{field}.template"), "is missing: name a pod template"));
    } else {
        check_template(&format!("{field}.template"), &selector, &template, problems);
    }
    let replicas = not_negative(&format!("{field}.replicas"), found.replicas, 1, problems);
    let ready = format!("{field}.minReadySeconds");
    Template {
        name: found.name.clone(),
        replicas: ReplicaCount::from_status(replicas),
        min_ready_seconds: not_negative(&ready, found.min_ready_seconds, 0, problems),
        service: found.service.as_ref().map(|service| parse_service(field, service, &template, problems)),
        selector,
        template,
    }
}

fn parse_service(
    field: &str,
    service: &ExperimentService,
    template: &Value,
    problems: &mut Vec<SpecError>,
) -> Service {
    let ports = service_ports(template);
    if ports.is_empty() {
        problems.push(SpecError::new(format!("{field}.service"), NO_PORT));
    }
    Service { name: service.name.clone().filter(|name| !name.is_empty()), ports }
}
