//! One effect of a plan, made on the simulated cluster.

use serde_json::json;

use super::{Controller, Stop, Write, done_when};
use crate::api::Rollout;
use crate::rollout::Effect;
use crate::sim::cluster::{ApiError, Cluster, Part};

impl Controller {
    /// Does one effect; the Rollout's version afterwards if that was written.
    pub(super) fn effect(
        &mut self,
        cluster: &mut Cluster,
        effect: &Effect,
        seen: &Rollout,
        version: &str,
    ) -> Result<Option<String>, Stop> {
        let (mut written, mut evicted) = (None, Vec::new());
        self.write(cluster, Write::of(effect), |cluster, writer| match effect {
            Effect::CreateReplicaSet(wanted) => {
                done_when(&ApiError::AlreadyExists, cluster.create_replica_set(wanted, writer))
            }
            Effect::ScaleReplicaSet { name, from, to, desired, annotations } => {
                cluster.scale_replica_set(name, (*from, *to), *desired, annotations, writer)
            }
            Effect::SetTraffic(target) => cluster.set_traffic(target, seen, writer),
            Effect::GiveRoutesBack => {
                cluster.give_route_back(writer);
                Ok(())
            }
            Effect::UpdateReplicaSet { name, annotations, min_ready_seconds } => {
                cluster.update_replica_set(name, annotations, *min_ready_seconds, writer)
            }
            Effect::SwitchService { name, to } => {
                let owner = seen.metadata.name.as_deref().unwrap_or_default();
                cluster.switch_service(name, to, owner, writer)
            }
            Effect::AdjustTemplate(change) => cluster.adjust_template(change, writer),
            Effect::MarkPod { name, labels, annotations } => {
                cluster.mark_pod(name, labels, annotations);
                Ok(())
            }
            Effect::EvictPod { name, uid } => {
                evicted.push(cluster.evict_pod(name, uid));
                Ok(())
            }
            Effect::DeleteReplicaSet { name } => {
                done_when(&ApiError::NotFound, cluster.delete_replica_set(name, writer))
            }
            Effect::ScaleWorkload { name, from, to, note } => {
                cluster.scale_workload(name, (*from, *to), *note, writer)
            }
            Effect::AnnotateRollout { annotations } => {
                let patch = json!({"metadata": {"annotations": annotations}});
                written = Some(cluster.patch_rollout(&patch, Part::Main, Some(version), writer)?);
                Ok(())
            }
            Effect::CreateAnalysisRun(run) => {
                done_when(&ApiError::AlreadyExists, cluster.create_run(run, writer))
            }
            Effect::TerminateAnalysisRun { name } => {
                done_when(&ApiError::NotFound, cluster.terminate_run(name, writer))
            }
            Effect::DeleteAnalysisRun { name } => {
                done_when(&ApiError::NotFound, cluster.delete_run(name, writer))
            }
            Effect::CreateExperiment(made) => {
                done_when(&ApiError::AlreadyExists, cluster.create_experiment(made, writer))
            }
            Effect::TerminateExperiment { name } => {
                done_when(&ApiError::NotFound, cluster.terminate_experiment(name, writer))
            }
            Effect::DeleteExperiment { name } => {
                done_when(&ApiError::NotFound, cluster.delete_experiment(name, writer))
            }
        })?;
        self.agenda.evictions.extend(evicted);
        Ok(written)
    }
}
