//! What a new Experiment of a step looks like.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::super::progress::Progress;
use super::super::revision::object_under;
use super::super::runs::owner;
use super::super::world::World;
use super::{StepExperiment, StepTemplate, Version, has_ended, is_stopped, step_hash};
use crate::api::canary_step::ExperimentService;
use crate::api::experiment::ExperimentTemplate;
use crate::api::labels::{EXPERIMENT_STEP, INSTANCE_ID, POD_TEMPLATE_HASH, REVISION, STEP_INDEX};
use crate::api::{Experiment, ExperimentSpec};

/// The Experiment of a step; `None` while a pod template that it takes is not known.
pub(super) fn experiment(
    world: &World,
    progress: &Progress,
    step: &StepExperiment,
    name: &str,
) -> Option<Experiment> {
    let rollout = &world.snapshot.rollout.metadata;
    let mut labels: BTreeMap<String, String> = rollout.labels.clone().unwrap_or_default();
    labels.extend(progress.hash.iter().map(|hash| (POD_TEMPLATE_HASH.to_owned(), hash.to_string())));
    labels.insert(STEP_INDEX.to_owned(), progress.index.to_string());
    labels.extend(world.snapshot.settings.instance_id.iter().map(|id| (INSTANCE_ID.to_owned(), id.clone())));
    let mut annotations = BTreeMap::from([(REVISION.to_owned(), world.number(progress).to_string())]);
    annotations.extend(step_hash(world, progress).map(|hash| (EXPERIMENT_STEP.to_owned(), hash)));
    let templates: Option<Vec<_>> = step.templates.iter().map(|found| template(world, found)).collect();
    let seconds = i32::try_from(world.spec.progress_deadline.as_secs()).unwrap_or(i32::MAX);
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: rollout.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations),
        owner_references: Some(vec![owner(world)]),
        ..ObjectMeta::default()
    };
    let spec = ExperimentSpec {
        templates: Some(templates?),
        duration: step.duration.clone(),
        progress_deadline_seconds: Some(seconds),
        terminate: None,
        analyses: Some(step.analyses.clone()).filter(|analyses| !analyses.is_empty()),
        scale_down_delay_seconds: step.scale_down_delay_seconds,
        dry_run: step.dry_run.clone(),
        measurement_retention: None,
        analysis_run_metadata: step.run_metadata.clone(),
    };
    Some(Experiment { metadata, spec, status: None })
}

fn template(world: &World, step: &StepTemplate) -> Option<ExperimentTemplate> {
    let taken = match step.from {
        Version::Canary => world.spec.template.clone(),
        Version::Stable => world.snapshot.stable_template.clone()?,
    };
    let mut selector = step.selector.clone().unwrap_or_else(|| world.spec.selector.clone());
    let labels = step.metadata.labels.clone().unwrap_or_default();
    if !labels.is_empty() {
        selector.match_labels.get_or_insert_default().extend(labels);
    }
    Some(ExperimentTemplate {
        name: step.name.clone(),
        replicas: step.replicas,
        min_ready_seconds: Some(world.spec.min_ready_seconds).filter(|seconds| *seconds > 0),
        selector: Some(selector),
        template: Some(overlaid(taken, step)),
        service: step.service.clone().or_else(|| step.weight.map(|_| ExperimentService::default())),
    })
}

/// A pod template with the step's labels and annotations laid over it.
fn overlaid(mut template: Value, step: &StepTemplate) -> Value {
    let parts = [("labels", &step.metadata.labels), ("annotations", &step.metadata.annotations)];
    for (part, values) in parts {
        let Some(values) = values.as_ref().filter(|values| !values.is_empty()) else { continue };
        let metadata = template.as_object_mut().and_then(|template| object_under(template, "metadata"));
        if let Some(found) = metadata.and_then(|metadata| object_under(metadata, part)) {
            found.extend(values.iter().map(|(key, value)| (key.clone(), json!(value))));
        }
    }
    template
}

/// A name that no Experiment of the Rollout has: `<rollout>-<hash>-<revision>-<step>`, then `-1`, `-2` and so on.
///
/// One by that name that nobody has stopped and that has not ended was made before a crash and never recorded: its name is
/// taken again, so that it is found and not repeated.
pub(super) fn free_name(world: &World, progress: &Progress) -> String {
    let rollout = world.snapshot.rollout.metadata.name.as_deref().unwrap_or_default();
    let hash = progress.hash.as_ref().map(ToString::to_string).unwrap_or_default();
    let base = format!("{rollout}-{hash}-{}-{}", world.number(progress), progress.index);
    let others = world.snapshot.experiments.iter();
    let over = others.filter(|found| {
        is_stopped(found) || has_ended(found) || super::belongs_elsewhere(world, progress, found)
    });
    let taken: BTreeSet<&str> = over
        .filter_map(|found| found.metadata.name.as_deref())
        .chain(world.snapshot.taken_names.iter().map(String::as_str))
        .collect();
    let numbered = (1..=taken.len()).map(|number| format!("{base}-{number}"));
    std::iter::once(base.clone()).chain(numbered).find(|name| !taken.contains(name.as_str())).unwrap_or(base)
}
