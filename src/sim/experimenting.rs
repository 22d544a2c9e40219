//! The controller's passes over Experiments: snapshot, decide, apply, sleep, as over the Rollout.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cluster::ApiError;
use super::controller::{Controller, Stop, Write, backoff, done_when};
use super::experiments::owner;
use super::router::known_experiments;
use super::simulation::Simulation;
use crate::api::Experiment;
use crate::experiment::{self, Effect, ObjectKind, Obstacle, Plan, Route, Snapshot, Why};
use crate::units::Timestamp;

/// How long what could not be made is not tried again.
const OBSTACLE_PATIENCE: Duration = Duration::from_mins(1);
/// How much later than it is due a pass is made, so that nothing is due a moment later.
const MOMENT: Duration = Duration::from_millis(1);

/// What the controller remembers of one Experiment between passes; a crash takes it away.
#[derive(Clone, Debug, Default)]
pub(super) struct ExperimentAgenda {
    /// When the next pass is due.
    pub(super) due: Option<Timestamp>,
    failures: u32,
    obstacles: BTreeMap<(ObjectKind, String), Obstacle>,
}

impl ExperimentAgenda {
    /// A pass is due no later than `at`.
    pub(super) fn look_at(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

/// What a pass over an Experiment did.
#[derive(Clone, Debug)]
pub struct ExperimentPass {
    /// The Experiment's name.
    pub name: String,
    /// What was decided.
    pub plan: Plan,
    /// Why it ended early; `None` when everything was done.
    pub stop: Option<Stop>,
}

impl Simulation {
    /// A pass over the Experiment that is due first; `None` when none is.
    pub(super) fn pass_over_due_experiment(&mut self) -> Option<ExperimentPass> {
        let now = self.now();
        let name = self.controller.due_experiment(now)?;
        let mut agenda = self.controller.take_experiment(&name);
        agenda.due = None;
        // One that is not there any more is forgotten.
        let found = self.cluster.seen_experiments().get(&name)?.clone();
        let snapshot = self.snapshot_of_experiment(&name, found, &agenda);
        let plan = experiment::decide(&snapshot);
        let stop = self.apply_experiment(&name, &snapshot, &plan, &mut agenda).err();
        match &stop {
            Some(Stop::Crashed) => {
                self.controller.crash(now);
                return Some(ExperimentPass { name, plan, stop });
            }
            Some(Stop::Failed(_)) => {
                agenda.look_at(now.plus(backoff(agenda.failures)));
                agenda.failures += 1;
            }
            None => {
                agenda.failures = 0;
                if let Some(at) = plan.wake_at {
                    agenda.look_at(self.cluster.real(at).max(now).plus(MOMENT));
                }
            }
        }
        self.controller.put_experiment(&name, agenda);
        Some(ExperimentPass { name, plan, stop })
    }

    fn snapshot_of_experiment(&self, name: &str, found: Experiment, agenda: &ExperimentAgenda) -> Snapshot {
        let cluster = &self.cluster;
        let config = cluster.seen_config();
        let services = config.of_experiments.iter().filter(|(_, service)| service.owner == name);
        let runs = cluster.seen_runs().values().filter(|run| owner(&run.metadata) == Some(name));
        Snapshot {
            now: cluster.controller_now(),
            experiment: found,
            replica_sets: cluster.seen_sets_of_experiment(name),
            services: services.map(|(name, owned)| (name.clone(), owned.service.clone())).collect(),
            route: Route::LeadsTo(cluster.seen_rollout().map(known_experiments).unwrap_or_default()),
            analysis_runs: runs.cloned().collect(),
            templates: config.templates,
            obstacles: agenda.obstacles.clone(),
            instance_id: None,
        }
    }

    /// Does what was decided: the status, the announcements, then stage by stage until one fails.
    fn apply_experiment(
        &mut self,
        name: &str,
        snapshot: &Snapshot,
        plan: &Plan,
        agenda: &mut ExperimentAgenda,
    ) -> Result<(), Stop> {
        let (controller, cluster) = (&mut self.controller, &mut self.cluster);
        if let Some(status) = &plan.status {
            let version = snapshot.experiment.metadata.resource_version.as_ref();
            controller.write(cluster, Write::ExperimentStatus, |cluster, writer| {
                cluster.set_experiment_status(name, status, version, writer)
            })?;
        }
        for _ in &plan.events {
            match controller.write(cluster, Write::Event, |_, _| Ok(())) {
                Err(Stop::Crashed) => return Err(Stop::Crashed),
                // An announcement that cannot be made is lost.
                Ok(()) | Err(Stop::Failed(_)) => {}
            }
        }
        for stage in &plan.stages {
            let mut failure = None;
            for effect in stage {
                match self.effect_of_experiment(name, effect) {
                    Ok(()) => {
                        if let Some((kind, made)) = effect.makes() {
                            agenda.obstacles.remove(&(kind, made.to_owned()));
                        }
                    }
                    Err(Stop::Crashed) => return Err(Stop::Crashed),
                    Err(Stop::Failed(error)) => failure = failure.or(self.learn(effect, error, agenda)),
                }
            }
            if let Some(failed) = failure {
                return Err(Stop::Failed(failed));
            }
        }
        Ok(())
    }

    /// Remembers what could not be made, and looks at once at what follows from it; any other failure.
    fn learn(&self, effect: &Effect, error: ApiError, agenda: &mut ExperimentAgenda) -> Option<ApiError> {
        let why = match &error {
            ApiError::AlreadyExists => Why::Taken,
            ApiError::Forbidden(message) | ApiError::Invalid(message) => Why::Refused(message.clone()),
            ApiError::Conflict | ApiError::NotFound | ApiError::Unavailable => return Some(error),
        };
        let Some((kind, name)) = effect.makes() else { return Some(error) };
        let retry_at = self.cluster.controller_now().plus(OBSTACLE_PATIENCE);
        agenda.obstacles.insert((kind, name.to_owned()), Obstacle { why, retry_at });
        agenda.look_at(self.now().plus(MOMENT));
        None
    }

    fn effect_of_experiment(&mut self, name: &str, effect: &Effect) -> Result<(), Stop> {
        let (controller, cluster) = (&mut self.controller, &mut self.cluster);
        controller.write(cluster, write_of(effect), |cluster, writer| match effect {
            Effect::CreateReplicaSet(wanted) => cluster.create_set_of_experiment(name, wanted, writer),
            Effect::ScaleReplicaSet { name, from, to, annotations } => {
                cluster.scale_replica_set(name, (*from, *to), *to, annotations, writer)
            }
            Effect::UpdateReplicaSet { name, annotations, min_ready_seconds } => {
                cluster.update_replica_set(name, annotations, *min_ready_seconds, writer)
            }
            Effect::CreateService(wanted) => cluster.create_service_of_experiment(name, wanted, writer),
            Effect::UpdateService { name, selector } => {
                cluster.update_service_of_experiment(name, selector, writer)
            }
            Effect::DeleteService { name } => {
                done_when(&ApiError::NotFound, cluster.delete_service_of_experiment(name, writer))
            }
            Effect::CreateAnalysisRun(run) => {
                done_when(&ApiError::AlreadyExists, cluster.create_run_of_experiment(name, run, writer))
            }
            Effect::TerminateAnalysisRun { name } => {
                done_when(&ApiError::NotFound, cluster.terminate_run(name, writer))
            }
        })
    }
}

/// What an effect writes.
const fn write_of(effect: &Effect) -> Write {
    match effect {
        Effect::CreateReplicaSet(_) | Effect::ScaleReplicaSet { .. } | Effect::UpdateReplicaSet { .. } => {
            Write::ReplicaSet
        }
        Effect::CreateService(_) | Effect::UpdateService { .. } | Effect::DeleteService { .. } => {
            Write::Service
        }
        Effect::CreateAnalysisRun(_) | Effect::TerminateAnalysisRun { .. } => Write::AnalysisRun,
    }
}

impl Controller {
    /// An Experiment is looked at no later than `at`.
    pub(super) fn look_at_experiment(&mut self, name: &str, at: Timestamp) {
        self.experiments().entry(name.to_owned()).or_default().look_at(at);
    }

    /// The first Experiment by name whose pass is due.
    fn due_experiment(&mut self, now: Timestamp) -> Option<String> {
        let due = |agenda: &ExperimentAgenda| agenda.due.is_some_and(|at| at <= now);
        self.experiments().iter().find(|(_, agenda)| due(agenda)).map(|(name, _)| name.clone())
    }

    /// Takes what is remembered of an Experiment.
    fn take_experiment(&mut self, name: &str) -> ExperimentAgenda {
        self.experiments().remove(name).unwrap_or_default()
    }

    /// Remembers an Experiment.
    fn put_experiment(&mut self, name: &str, agenda: ExperimentAgenda) {
        self.experiments().insert(name.to_owned(), agenda);
    }
}
