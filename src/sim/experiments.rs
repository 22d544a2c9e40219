//! Experiments of the simulated cluster, and what they own: ReplicaSets, Services and AnalysisRuns, which go with them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::Value;

use super::caches::Writer;
use super::cluster::{ApiError, Cluster};
use super::live_pods::change;
use super::replica_sets::ReplicaSet;
use crate::api::conditions::tell;
use crate::api::labels::POD_TEMPLATE_HASH;
use crate::api::{AnalysisPhase, AnalysisRun, Experiment, ExperimentStatus};
use crate::experiment::effect::NewService;
use crate::rollout::Snapshot;
use crate::rollout::effect::{Annotations, NewReplicaSet};
use crate::rollout::experiments::is_stable_template_needed;
use crate::rollout::snapshot::Service;
use crate::units::{ReplicaCount, Timestamp};

/// The kind of what owns the pods of an Experiment.
const KIND: &str = "Experiment";

/// The Service of an Experiment's template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnedService {
    /// Name of the Experiment.
    pub(super) owner: String,
    /// What else is known of it.
    pub(super) service: Service,
}

/// What users get of a Service of an Experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// The Service's share of the traffic.
    pub share: u32,
    /// Pods that the ReplicaSet behind it should have.
    pub size: u32,
    /// Pods that are ready.
    pub ready: u32,
    /// Pods that requests to the Service reach.
    pub reached: u32,
}

/// The Experiment that owns an object; `None` for one that belongs to the Rollout.
pub(super) fn owner(metadata: &ObjectMeta) -> Option<&str> {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.find(|owner| owner.kind == KIND).map(|owner| owner.name.as_str())
}

impl Cluster {
    /// Creates an Experiment.
    ///
    /// # Errors
    /// [`ApiError::AlreadyExists`]; [`ApiError::Invalid`] without a name.
    pub fn create_experiment(&mut self, made: &Experiment, writer: Writer) -> Result<(), ApiError> {
        let mut made = made.clone();
        let name = made.metadata.name.clone().ok_or_else(|| ApiError::Invalid("no name".to_owned()))?;
        if self.experiments.contains_key(&name) {
            return Err(ApiError::AlreadyExists);
        }
        self.stamp(&mut made.metadata);
        self.experiments.insert(name.clone(), made);
        self.publish_experiment(&name, writer);
        Ok(())
    }

    /// Tells an Experiment to stop.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn terminate_experiment(&mut self, name: &str, writer: Writer) -> Result<(), ApiError> {
        self.experiments.get_mut(name).ok_or(ApiError::NotFound)?.spec.terminate = Some(true);
        self.publish_experiment(name, writer);
        Ok(())
    }

    /// Stores the status of an Experiment that has this version.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when it has another one; [`ApiError::NotFound`].
    pub(super) fn set_experiment_status(
        &mut self,
        name: &str,
        status: &ExperimentStatus,
        expected: Option<&String>,
        writer: Writer,
    ) -> Result<(), ApiError> {
        let found = self.experiments.get_mut(name).ok_or(ApiError::NotFound)?;
        if found.metadata.resource_version.as_ref() != expected {
            return Err(ApiError::Conflict);
        }
        found.status = Some(status.clone());
        self.publish_experiment(name, writer);
        Ok(())
    }

    /// Deletes an Experiment, and everything that it owns.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub fn delete_experiment(&mut self, name: &str, writer: Writer) -> Result<(), ApiError> {
        self.experiments.remove(name).ok_or(ApiError::NotFound)?;
        self.publish_experiment(name, writer);
        let sets = self.replica_sets.iter().filter(|(_, set)| set.owner.as_deref() == Some(name));
        for set in sets.map(|(set, _)| set.clone()).collect::<Vec<_>>() {
            self.delete_replica_set(&set, Writer::Other)?;
        }
        let runs = self.runs.iter().filter(|(_, run)| owner(&run.metadata) == Some(name));
        for run in runs.map(|(run, _)| run.clone()).collect::<Vec<_>>() {
            self.delete_run(&run, Writer::Other)?;
        }
        self.config.of_experiments.retain(|_, service| service.owner != name);
        self.publish_config(Writer::Other);
        Ok(())
    }

    /// Ends all Experiments that go on.
    pub fn end_experiments(&mut self, phase: AnalysisPhase, message: Option<&str>) {
        let now = self.controller_now();
        let names: Vec<String> = self.experiments.keys().cloned().collect();
        for name in names {
            if let Some(found) = self.experiments.get_mut(&name) {
                end(found, phase, message, now);
            }
            self.publish_experiment(&name, Writer::Other);
        }
    }

    /// Creates the ReplicaSet of an Experiment's template.
    ///
    /// # Errors
    /// [`ApiError::AlreadyExists`] when it is another one's; [`ApiError::Forbidden`].
    pub(super) fn create_set_of_experiment(
        &mut self,
        experiment: &str,
        wanted: &NewReplicaSet,
        writer: Writer,
    ) -> Result<(), ApiError> {
        let known = self.replica_sets.get(&wanted.name);
        if known.is_some_and(|known| known.owner.as_deref() == Some(experiment)) {
            self.publish_replica_set(&wanted.name, writer);
            return Ok(());
        }
        let mut set = ReplicaSet::new(wanted, self.now());
        set.owner = Some(experiment.to_owned());
        self.add_replica_set(&wanted.name, set, writer)
    }

    /// Creates the Service of an Experiment's template.
    ///
    /// # Errors
    /// [`ApiError::AlreadyExists`] when it is another one's.
    pub(super) fn create_service_of_experiment(
        &mut self,
        experiment: &str,
        wanted: &NewService,
        writer: Writer,
    ) -> Result<(), ApiError> {
        let is_others = |service: &OwnedService| service.owner != experiment;
        let is_taken = self.config.services.contains_key(&wanted.name)
            || self.config.of_experiments.get(&wanted.name).is_some_and(is_others);
        if is_taken {
            return Err(ApiError::AlreadyExists);
        }
        let service = Service { selector: wanted.selector.clone(), managed_by: None, ports: vec![] };
        let owned = OwnedService { owner: experiment.to_owned(), service };
        self.config.of_experiments.insert(wanted.name.clone(), owned);
        self.publish_config(writer);
        Ok(())
    }

    /// Changes what the Service of an Experiment's template selects.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub(super) fn update_service_of_experiment(
        &mut self,
        name: &str,
        selector: &Annotations,
        writer: Writer,
    ) -> Result<(), ApiError> {
        let owned = self.config.of_experiments.get_mut(name).ok_or(ApiError::NotFound)?;
        change(&mut owned.service.selector, selector);
        self.publish_config(writer);
        Ok(())
    }

    /// Deletes the Service of an Experiment's template.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub(super) fn delete_service_of_experiment(
        &mut self,
        name: &str,
        writer: Writer,
    ) -> Result<(), ApiError> {
        self.config.of_experiments.remove(name).ok_or(ApiError::NotFound)?;
        self.publish_config(writer);
        Ok(())
    }

    /// Creates an AnalysisRun of an Experiment.
    ///
    /// # Errors
    /// [`ApiError::AlreadyExists`]; [`ApiError::Invalid`] without a name.
    pub(super) fn create_run_of_experiment(
        &mut self,
        experiment: &str,
        run: &AnalysisRun,
        writer: Writer,
    ) -> Result<(), ApiError> {
        let mut run = run.clone();
        let owner = OwnerReference {
            kind: KIND.to_owned(),
            name: experiment.to_owned(),
            ..OwnerReference::default()
        };
        run.metadata.owner_references = Some(vec![owner]);
        self.create_run(&run, writer)
    }

    /// What users get of each Service of an Experiment that exists or has a share, by name.
    #[must_use]
    pub fn served_by_experiments(&self) -> BTreeMap<String, Served> {
        let mut all: BTreeMap<String, Served> = BTreeMap::new();
        let reached = self.reached();
        for (name, owned) in &self.config.of_experiments {
            let served = all.entry(name.clone()).or_default();
            let hash = owned.service.selector.get(POD_TEMPLATE_HASH);
            let behind = reached.get(name).into_iter().flat_map(BTreeMap::values).copied();
            served.reached = behind.sum::<ReplicaCount>().get();
            for (name, set) in &self.replica_sets {
                if hash.is_some_and(|hash| set.hash().is_some_and(|of| of.as_str() == hash)) {
                    served.size += set.size.get();
                    let ready = self.pods_of(name).filter(|(_, pod)| pod.ready_since.is_some()).count();
                    served.ready += u32::try_from(ready).unwrap_or(u32::MAX);
                }
            }
        }
        for (name, share) in self.shares_of_experiments() {
            all.entry(name.clone()).or_default().share = *share;
        }
        all
    }

    /// Pods of an Experiment by template: available ones, and those that should be there.
    pub(super) fn pods_of_experiment(&self, name: &str) -> BTreeMap<String, (u32, u32)> {
        let prefix = format!("{name}-");
        let sets = self.replica_sets.iter().filter(|(_, set)| set.owner.as_deref() == Some(name));
        let counts = sets.map(|(set, found)| {
            let template = set.strip_prefix(&prefix).unwrap_or(set).to_owned();
            (template, (found.available.get(), found.size.get()))
        });
        counts.collect()
    }

    /// The pod template of stable for a pass that makes an Experiment of it.
    pub(super) fn stable_template(&self, snapshot: &Snapshot) -> Option<Value> {
        let status = snapshot.rollout.status.as_ref().filter(|_| is_stable_template_needed(snapshot))?;
        let stable = status.stable_rs.as_deref()?;
        let set = self
            .replica_sets
            .values()
            .find(|set| set.observe("").is_some_and(|seen| seen.hash.as_str() == stable))?;
        let mut template = snapshot.rollout.spec.template.clone()?;
        *template.pointer_mut("/spec/containers/0/image")? = Value::String(set.image.clone());
        Some(template)
    }
}

fn end(found: &mut Experiment, phase: AnalysisPhase, message: Option<&str>, now: Timestamp) {
    let status = found.status.get_or_insert_default();
    if !status.phase.is_some_and(AnalysisPhase::is_completed) {
        status.phase = Some(phase);
        status.message = message.map(str::to_owned);
        for template in status.template_statuses.iter_mut().flatten() {
            template.status = Some("Successful".to_owned());
            template.last_transition_time = Some(now.whole_seconds());
        }
        let conditions = status.conditions.get_or_insert_default();
        tell(conditions, phase.outlook(), (phase.as_str(), message.unwrap_or_default()), now);
    }
}
