//! What is deleted: empty ReplicaSets and finished AnalysisRuns beyond the limits of the spec.

use super::effect::Effect;
use super::progress::Progress;
use super::runs;
use super::world::World;
use crate::api::{AnalysisPhase, AnalysisRun};
use crate::units::ReplicaCount;

/// Deletions of empty ReplicaSets beyond `revisionHistoryLimit`, oldest revision first.
#[must_use]
pub(super) fn old_replica_sets(world: &World, progress: &Progress) -> Vec<Effect> {
    let others = world.other_sets(progress);
    let surplus = others.into_iter().skip(world.spec.revision_history_limit);
    let empty = surplus
        .filter(|set| set.observed && set.size == ReplicaCount::ZERO && set.replicas == ReplicaCount::ZERO);
    empty.map(|set| Effect::DeleteReplicaSet { name: set.name.clone() }).collect()
}

/// Deletions of finished runs beyond the limits, oldest first; the current ones are never among them.
#[must_use]
pub(super) fn old_runs(world: &World, progress: &Progress) -> Vec<Effect> {
    let mut current = runs::current_names(progress);
    // What the status still names decides once more, should this pass fail before the status is written.
    let stored = world.snapshot.rollout.status.as_ref();
    let stored = stored.map(|status| Progress::read(status, world.spec.steps.len()));
    current.extend(stored.iter().flat_map(runs::current_names));
    let mut finished: Vec<&AnalysisRun> = world
        .snapshot
        .analysis_runs
        .iter()
        .filter(|run| phase(run).is_some_and(AnalysisPhase::is_completed))
        .filter(|run| run.metadata.name.as_ref().is_some_and(|name| !current.contains(name)))
        .collect();
    finished.sort_by(|a, b| {
        let (a, b) = (&a.metadata, &b.metadata);
        (&b.creation_timestamp, &b.name).cmp(&(&a.creation_timestamp, &a.name))
    });
    let (successful, unsuccessful): (Vec<_>, Vec<_>) =
        finished.into_iter().partition(|run| phase(run) == Some(AnalysisPhase::Successful));
    let limits = world.spec.run_history;
    let surplus = successful
        .into_iter()
        .skip(limits.successful)
        .chain(unsuccessful.into_iter().skip(limits.unsuccessful));
    surplus.filter_map(|run| Some(Effect::DeleteAnalysisRun { name: run.metadata.name.clone()? })).collect()
}

fn phase(run: &AnalysisRun) -> Option<AnalysisPhase> {
    run.status.as_ref().and_then(|status| status.phase)
}
