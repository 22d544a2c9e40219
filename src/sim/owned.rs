//! The objects that a Rollout owns or adopts, and how they are changed through the API server.

use std::time::Duration;

use super::caches::Writer;
use super::cluster::{ApiError, Cluster};
use super::replica_sets::ReplicaSet;
use super::router::known_experiments;
use crate::api::{AnalysisRun, AnalysisRunStatus, Rollout, labels};
use crate::rollout::effect::{Annotations, NewReplicaSet};
use crate::traffic::TrafficTarget;
use crate::units::{PodHash, ReplicaCount};

impl Cluster {
    // ---- ReplicaSets ------------------------------------------------------------------------------------------

    /// Creates a ReplicaSet.
    ///
    /// # Errors
    /// [`ApiError::AlreadyExists`], also when that was not known; [`ApiError::Forbidden`].
    pub fn create_replica_set(&mut self, wanted: &NewReplicaSet, writer: Writer) -> Result<(), ApiError> {
        self.add_replica_set(&wanted.name, ReplicaSet::new(wanted, self.now()), writer)
    }

    /// Adds a ReplicaSet, whoever owns it.
    pub(super) fn add_replica_set(
        &mut self,
        name: &str,
        set: ReplicaSet,
        writer: Writer,
    ) -> Result<(), ApiError> {
        if let Some(why) = &self.forbidden {
            return Err(ApiError::Forbidden(why.clone()));
        }
        if self.replica_sets.contains_key(name) {
            self.publish_replica_set(name, writer);
            return Err(ApiError::AlreadyExists);
        }
        self.replica_sets.insert(name.to_owned(), set);
        self.publish_replica_set(name, writer);
        Ok(())
    }

    /// Changes the size of a ReplicaSet that has size `from`.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when it has another size; [`ApiError::NotFound`].
    pub fn scale_replica_set(
        &mut self,
        name: &str,
        (from, to): (ReplicaCount, ReplicaCount),
        desired: ReplicaCount,
        annotations: &Annotations,
        writer: Writer,
    ) -> Result<(), ApiError> {
        let now = self.now();
        let set = self.replica_sets.get_mut(name).ok_or(ApiError::NotFound)?;
        if set.size != from {
            return Err(ApiError::Conflict);
        }
        set.size = to;
        set.annotations.insert(labels::DESIRED_REPLICAS.to_owned(), desired.to_string());
        set.annotate(annotations);
        set.touch(now);
        self.publish_replica_set(name, writer);
        Ok(())
    }

    /// Sets annotations of a ReplicaSet, and its `minReadySeconds` unless that is `None`.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn update_replica_set(
        &mut self,
        name: &str,
        annotations: &Annotations,
        min_ready_seconds: Option<i32>,
        writer: Writer,
    ) -> Result<(), ApiError> {
        let now = self.now();
        let set = self.replica_sets.get_mut(name).ok_or(ApiError::NotFound)?;
        set.annotate(annotations);
        if let Some(seconds) = min_ready_seconds {
            set.min_ready = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
            set.touch(now);
        }
        self.publish_replica_set(name, writer);
        Ok(())
    }

    /// Deletes a ReplicaSet with its pods.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn delete_replica_set(&mut self, name: &str, writer: Writer) -> Result<(), ApiError> {
        let gone = self.replica_sets.remove(name).ok_or(ApiError::NotFound)?;
        self.pods.retain(|_, pod| pod.replica_set != name);
        self.retry_refused_pods();
        self.publish_set_of(name, gone.owner, writer);
        Ok(())
    }

    // ---- AnalysisRuns -----------------------------------------------------------------------------------------

    /// Creates an AnalysisRun.
    ///
    /// # Errors
    /// [`ApiError::AlreadyExists`]; [`ApiError::Invalid`] without a name.
    pub fn create_run(&mut self, run: &AnalysisRun, writer: Writer) -> Result<(), ApiError> {
        let mut run = run.clone();
        let name = run.metadata.name.clone().ok_or_else(|| ApiError::Invalid("no name".to_owned()))?;
        if self.runs.contains_key(&name) {
            return Err(ApiError::AlreadyExists);
        }
        self.stamp(&mut run.metadata);
        self.runs.insert(name.clone(), run);
        self.publish_run(&name, writer);
        Ok(())
    }

    /// Sets `spec.terminate` of an AnalysisRun.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn terminate_run(&mut self, name: &str, writer: Writer) -> Result<(), ApiError> {
        self.change_run(name, writer, |run| run.spec.terminate = Some(true))
    }

    /// Stores the status of an AnalysisRun.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn set_run_status(
        &mut self,
        name: &str,
        status: &AnalysisRunStatus,
        writer: Writer,
    ) -> Result<(), ApiError> {
        self.change_run(name, writer, |run| run.status = Some(status.clone()))
    }

    fn change_run(
        &mut self,
        name: &str,
        writer: Writer,
        change: impl FnOnce(&mut AnalysisRun),
    ) -> Result<(), ApiError> {
        change(self.runs.get_mut(name).ok_or(ApiError::NotFound)?);
        self.publish_run(name, writer);
        Ok(())
    }

    /// Deletes an AnalysisRun.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn delete_run(&mut self, name: &str, writer: Writer) -> Result<(), ApiError> {
        self.runs.remove(name).ok_or(ApiError::NotFound)?;
        self.publish_run(name, writer);
        Ok(())
    }

    // ---- Services ---------------------------------------------------------------------------------------------

    /// Makes a Service select the pods of one revision, for the Rollout `owner`.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn switch_service(
        &mut self,
        name: &str,
        hash: &PodHash,
        owner: &str,
        writer: Writer,
    ) -> Result<(), ApiError> {
        let service = self.config.services.get_mut(name).ok_or(ApiError::NotFound)?;
        service.selector.insert(labels::POD_TEMPLATE_HASH.to_owned(), hash.as_str().to_owned());
        service.managed_by = Some(owner.to_owned());
        self.publish_config(writer);
        Ok(())
    }

    // ---- The router -------------------------------------------------------------------------------------------

    /// Makes the router split the traffic for a Rollout; it follows after its delay. What the status does not tell of stays.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] while it cannot be read.
    pub fn set_traffic(
        &mut self,
        target: &TrafficTarget,
        seen: &Rollout,
        writer: Writer,
    ) -> Result<(), ApiError> {
        let now = self.now();
        let experiments = target.experiments.iter().map(|share| (share.to.name.clone(), share.weight.get()));
        let shares = [
            (target.canary.name.clone(), target.weight.get()),
            (target.stable.name.clone(), target.weight.rest_of(target.scale).get()),
        ];
        self.router.route(shares.into(), now)?;
        self.router.serve(&known_experiments(seen), experiments.collect());
        self.router.manage(&target.managed);
        self.publish_router(writer);
        Ok(())
    }

    /// Whoever owns the route has its fields alone again.
    pub fn give_route_back(&mut self, writer: Writer) {
        self.router.give_back();
        self.publish_router(writer);
    }
}
