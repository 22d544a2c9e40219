//! What a new AnalysisRun looks like.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::super::progress::Progress;
use super::super::world::World;
use super::Analysis;
use crate::api::AnalysisRun;
use crate::api::labels::{INSTANCE_ID, POD_TEMPLATE_HASH, REVISION, ROLLOUT_TYPE};
use crate::events::RunKind;

/// The run of an analysis. `label` tells the step it belongs to.
pub(super) fn run(
    world: &World,
    progress: &Progress,
    analysis: &Analysis,
    name: &str,
    label: Option<(&str, String)>,
) -> AnalysisRun {
    let mut labels: BTreeMap<String, String> = world.spec.selector.match_labels.clone().unwrap_or_default();
    labels.extend(analysis.metadata.labels.clone().unwrap_or_default());
    labels.insert(ROLLOUT_TYPE.to_owned(), analysis.kind.as_str().to_owned());
    labels.extend(progress.hash.iter().map(|hash| (POD_TEMPLATE_HASH.to_owned(), hash.to_string())));
    labels.extend(label.map(|(key, value)| (key.to_owned(), value)));
    labels.extend(world.snapshot.settings.instance_id.iter().map(|id| (INSTANCE_ID.to_owned(), id.clone())));
    let mut annotations = analysis.metadata.annotations.clone().unwrap_or_default();
    annotations.insert(REVISION.to_owned(), world.number(progress).to_string());
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: world.snapshot.rollout.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: Some(annotations),
        owner_references: Some(vec![owner(world)]),
        ..ObjectMeta::default()
    };
    AnalysisRun { metadata, spec: analysis.spec.clone(), status: None }
}

/// The Rollout, as the owner of what it makes.
pub(in super::super) fn owner(world: &World) -> OwnerReference {
    let metadata = &world.snapshot.rollout.metadata;
    OwnerReference {
        api_version: "argoproj.io/v1alpha1".to_owned(),
        kind: "Rollout".to_owned(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// A name that no run of the Rollout has: `<rollout>-<hash>-<revision>[-<step>]`, then `.1`, `.2` and so on.
///
/// A run by that name that nobody has stopped and that has not ended is one that was created before a crash and never
/// recorded: its name is taken again, so that it is found and not repeated.
pub(super) fn free_name(world: &World, progress: &Progress, kind: RunKind) -> String {
    let rollout = world.snapshot.rollout.metadata.name.as_deref().unwrap_or_default();
    let hash = progress.hash.as_ref().map(ToString::to_string).unwrap_or_default();
    let base = format!("{rollout}-{hash}-{}", world.number(progress));
    let base = match kind {
        RunKind::Step => format!("{base}-{}", progress.index),
        RunKind::Background => base,
        RunKind::PrePromotion => format!("{base}-pre"),
        RunKind::PostPromotion => format!("{base}-post"),
    };
    let taken: BTreeSet<&str> = world
        .snapshot
        .analysis_runs
        .iter()
        .filter(|run| run.spec.terminate == Some(true) || has_ended(run))
        .filter_map(|run| run.metadata.name.as_deref())
        .chain(world.snapshot.taken_names.iter().map(String::as_str))
        .collect();
    let numbered = (1..=taken.len()).map(|number| format!("{base}.{number}"));
    std::iter::once(base.clone()).chain(numbered).find(|name| !taken.contains(name.as_str())).unwrap_or(base)
}

fn has_ended(run: &AnalysisRun) -> bool {
    run.status.as_ref().and_then(|status| status.phase).is_some_and(crate::api::AnalysisPhase::is_completed)
}
