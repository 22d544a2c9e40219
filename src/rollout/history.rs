//! What is deleted: empty ReplicaSets, and finished AnalysisRuns and Experiments, beyond the limits of the spec.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::effect::Effect;
use super::progress::Progress;
use super::world::World;
use super::{experiments, runs};
use crate::api::{AnalysisPhase, AnalysisRun};
use crate::units::ReplicaCount;

/// Everything that is deleted.
#[must_use]
pub(super) fn beyond_limits(world: &World, progress: &Progress) -> Vec<Effect> {
    let mut all = old_replica_sets(world, progress);
    all.extend(old_runs(world, progress));
    all.extend(old_experiments(world, progress));
    all
}

/// Deletions of empty ReplicaSets beyond `revisionHistoryLimit`, oldest revision first.
fn old_replica_sets(world: &World, progress: &Progress) -> Vec<Effect> {
    let others = world.other_sets(progress);
    let surplus = others.into_iter().skip(world.spec.revision_history_limit);
    let empty = surplus
        .filter(|set| set.observed && set.size == ReplicaCount::ZERO && set.replicas == ReplicaCount::ZERO);
    empty.map(|set| Effect::DeleteReplicaSet { name: set.name.clone() }).collect()
}

/// Deletions of finished runs beyond the limits, oldest first; the current ones are never among them.
fn old_runs(world: &World, progress: &Progress) -> Vec<Effect> {
    let mut current = runs::current_names(progress);
    // What the status still names decides once more, should this pass fail before the status is written.
    let stored = world.snapshot.rollout.status.as_ref();
    let stored = stored.map(|status| Progress::read(status, world.spec.steps.len()));
    current.extend(stored.iter().flat_map(runs::current_names));
    let ended: Vec<(&ObjectMeta, bool)> = world
        .snapshot
        .analysis_runs
        .iter()
        .filter(|run| phase(run).is_some_and(AnalysisPhase::is_completed))
        .filter(|run| run.metadata.name.as_ref().is_some_and(|name| !current.contains(name)))
        .map(|run| (&run.metadata, phase(run) == Some(AnalysisPhase::Successful)))
        .collect();
    surplus(world, ended).map(|name| Effect::DeleteAnalysisRun { name }).collect()
}

/// Deletions of Experiments that have ended and let go of their pods beyond the limits, which are those of runs.
fn old_experiments(world: &World, progress: &Progress) -> Vec<Effect> {
    let stored = world.snapshot.rollout.status.as_ref().and_then(|status| status.canary.as_ref());
    let stored = stored.and_then(|canary| canary.current_experiment.as_ref());
    let current: BTreeSet<&String> = progress.experiment.iter().chain(stored).collect();
    let ended: Vec<(&ObjectMeta, bool)> = world
        .snapshot
        .experiments
        .iter()
        .filter(|found| experiments::has_ended(found) && !experiments::has_pods(found))
        .filter(|found| !experiments::is_led_to(world.snapshot, found))
        .filter(|found| found.metadata.name.as_ref().is_some_and(|name| !current.contains(name)))
        .map(|found| (&found.metadata, experiments::phase(found) == Some(AnalysisPhase::Successful)))
        .collect();
    surplus(world, ended).map(|name| Effect::DeleteExperiment { name }).collect()
}

/// Names of those beyond the limits, of the successful and of the others; the newest are kept.
fn surplus(world: &World, mut ended: Vec<(&ObjectMeta, bool)>) -> impl Iterator<Item = String> {
    ended.sort_by(|(a, _), (b, _)| (&b.creation_timestamp, &b.name).cmp(&(&a.creation_timestamp, &a.name)));
    let (successful, unsuccessful): (Vec<_>, Vec<_>) = ended.into_iter().partition(|(_, well)| *well);
    let limits = world.spec.run_history;
    let surplus = successful
        .into_iter()
        .skip(limits.successful)
        .chain(unsuccessful.into_iter().skip(limits.unsuccessful));
    surplus.filter_map(|(metadata, _)| metadata.name.clone())
}

fn phase(run: &AnalysisRun) -> Option<AnalysisPhase> {
    run.status.as_ref().and_then(|status| status.phase)
}
