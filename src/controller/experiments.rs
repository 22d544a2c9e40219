//! One pass over one Experiment: snapshot, decide, apply, and when to look again.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::announce::Note;
use super::apply::{MadeForExperiment, Writer};
use super::caches::Caches;
use super::clock::Clock;
use super::difference::status_patch;
use super::dispatch::Work;
use super::error::{DEFECT, PassError, code};
use super::queue::{Next, Queue};
use super::reconcile::next_after;
use super::records::owned_by;
use super::references;
use super::snapshot::templates;
use super::store::{Identity, Key, OwnerKind};
use crate::api::{AnalysisPhase, Experiment, ExperimentSpec, ExperimentStatus};
use crate::experiment::{ObjectKind, Obstacle, Plan, Route, Snapshot, Why};
use crate::metrics::{Metrics, Subject};

/// How long what could not be made is not tried again.
const OBSTACLE_PATIENCE: Duration = Duration::from_mins(1);
/// Obstacles remembered of one Experiment; with more, something else is wrong.
const OBSTACLES: usize = 64;

/// Decides about an Experiment.
pub type DecideExperiment = fn(&Snapshot) -> Plan;

/// What could not be made for an Experiment. Losing it costs an attempt, never a decision.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// The spec that it was for.
    spec: u64,
    obstacles: BTreeMap<(ObjectKind, String), Obstacle>,
}

/// Makes passes over Experiments.
pub(crate) struct Experiments {
    pub(crate) caches: Arc<Caches>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    pub(crate) instance_id: Option<String>,
    pub(crate) resync: Duration,
    pub(crate) decide: DecideExperiment,
    pub(crate) memories: Mutex<HashMap<Key, Memory>>,
}

impl Work for Experiments {
    fn queue(&self) -> &Queue<Key> {
        &self.caches.experiment_queue
    }

    fn met_defect(&self, key: &Key) {
        self.metrics.pass_failed(Subject::Experiment, &key.namespace, &key.name, DEFECT);
    }
}

impl Experiments {
    /// Looks at one Experiment and does what is due.
    pub(crate) async fn pass(&self, key: &Key) -> Next {
        let Some(known) = self.caches.experiments.get(key) else {
            self.writer.unanswered.forget(Subject::Experiment, key);
            self.metrics.forget(Subject::Experiment, &key.namespace, &key.name);
            self.remember(key, Memory::default());
            return Next::Forget;
        };
        let begun = Instant::now();
        let encoding = |source| PassError::Encoding { object: key.clone(), source };
        let outcome = match known.value.experiment(&known.identity).map_err(encoding) {
            Ok(experiment) => {
                let route = self.caches.route_to(&known.value);
                self.work(&known.identity, experiment, route).await
            }
            Err(defect) => Err(defect),
        };
        self.metrics.pass(Subject::Experiment, &key.namespace, &key.name, begun.elapsed());
        outcome.unwrap_or_else(|error| {
            self.metrics.pass_failed(Subject::Experiment, &key.namespace, &key.name, error.category());
            next_after(key, &error)
        })
    }

    async fn work(
        &self,
        identity: &Identity,
        experiment: Experiment,
        route: Route,
    ) -> Result<Next, PassError> {
        let key = &identity.key;
        self.settle(identity, &experiment);
        let memory = self.memory(key, &experiment.spec);
        let snapshot = self.snapshot(identity, experiment, route, &memory);
        let plan = (self.decide)(&snapshot);
        let next = self.next(&snapshot, &plan);
        let notes: Vec<_> = plan.events.into_iter().map(Note::from).collect();
        if let Some(status) = plan.status {
            let written = self.write_status(identity, &snapshot, &status).await;
            self.keep_unless_answered(key, &status, &notes, &written);
            written?;
        }
        self.writer.announce_experiment(identity, notes);
        let made = self.writer.make_for_experiment(identity, &plan.stages).await;
        self.learn(key, memory, made).map(|soon| soon.unwrap_or(next))
    }

    fn snapshot(
        &self,
        identity: &Identity,
        experiment: Experiment,
        route: Route,
        memory: &Memory,
    ) -> Snapshot {
        let owned = owned_by(OwnerKind::Experiment, identity);
        let sets = self.caches.replica_sets.linked(&owned);
        let runs = self.caches.runs.linked(&owned);
        let services = self.caches.services.linked(&owned);
        let references = references::templates_of_experiment(&experiment.spec);
        Snapshot {
            now: self.clock.now(),
            replica_sets: sets.into_iter().filter_map(|found| found.value.view.clone()).collect(),
            services: services
                .into_iter()
                .map(|found| (found.identity.key.name.to_string(), found.value.view.clone()))
                .collect(),
            route,
            analysis_runs: runs.into_iter().map(|found| found.value.run(&found.identity)).collect(),
            templates: templates(&self.caches, references, &identity.key.namespace),
            obstacles: memory.obstacles.clone(),
            instance_id: self.instance_id.clone(),
            experiment,
        }
    }

    /// Remembers what could not be made; when to look again because of it. What was made is no obstacle any more.
    fn learn(
        &self,
        key: &Key,
        mut memory: Memory,
        made: MadeForExperiment,
    ) -> Result<Option<Next>, PassError> {
        for (kind, name) in made.made.iter().filter_map(|effect| effect.makes()) {
            memory.obstacles.remove(&(kind, name.to_owned()));
        }
        let mut other = None;
        let mut is_news = false;
        for (effect, error) in made.failed {
            match (effect.makes(), refusal(&error)) {
                (Some((kind, name)), Some(why)) if memory.obstacles.len() < OBSTACLES => {
                    warn!(experiment = %key, kind = kind.as_str(), name, %error, "cannot be made, trying again later");
                    let retry_at = self.clock.now().plus(OBSTACLE_PATIENCE);
                    memory.obstacles.insert((kind, name.to_owned()), Obstacle { why, retry_at });
                    is_news = true;
                }
                _ => other = other.or(Some(error)),
            }
        }
        self.remember(key, memory);
        match other {
            Some(error) => Err(error),
            None => Ok(is_news.then_some(Next::After(Duration::ZERO))),
        }
    }

    async fn write_status(
        &self,
        identity: &Identity,
        snapshot: &Snapshot,
        next: &ExperimentStatus,
    ) -> Result<(), PassError> {
        let encode = |source| PassError::Encoding { object: identity.key.clone(), source };
        let stored = snapshot.experiment.status.as_ref();
        let Some(patch) = status_patch(identity.version, stored, next).map_err(encode)? else {
            return Ok(());
        };
        debug!(experiment = %identity.key, %patch, "status");
        let action = || format!("write the status of Experiment {}", identity.key);
        self.writer.patch_experiment(&identity.key, &patch, action).await
    }

    /// Keeps what belongs to a status write that may have happened.
    fn keep_unless_answered(
        &self,
        key: &Key,
        status: &ExperimentStatus,
        notes: &[Note],
        written: &Result<(), PassError>,
    ) {
        let unanswered = &self.writer.unanswered;
        match written {
            Ok(()) => unanswered.forget(Subject::Experiment, key),
            Err(error) if error.may_have_happened() => {
                let status = serde_json::to_value(status).unwrap_or_default();
                unanswered.keep(Subject::Experiment, key, status, notes.to_vec());
            }
            Err(_) => {}
        }
    }

    /// Announces what belongs to an earlier status write if the stored status shows that it happened after all.
    fn settle(&self, identity: &Identity, experiment: &Experiment) {
        let stored = || serde_json::to_value(&experiment.status).unwrap_or_default();
        let notes = self.writer.unanswered.settle(Subject::Experiment, &identity.key, stored);
        self.writer.announce_experiment(identity, notes);
    }

    fn next(&self, snapshot: &Snapshot, plan: &Plan) -> Next {
        let phase = snapshot.experiment.status.as_ref().and_then(|status| status.phase);
        match plan.wake_at {
            // Nothing but a change can make an Experiment that has ended and let go of its pods interesting again.
            None if plan.is_idle() && phase.is_some_and(AnalysisPhase::is_completed) => Next::Forget,
            None => Next::After(self.resync),
            Some(at) => Next::After((at.since(snapshot.now) + Duration::from_millis(1)).min(self.resync)),
        }
    }

    /// What is remembered for this very spec.
    fn memory(&self, key: &Key, spec: &ExperimentSpec) -> Memory {
        let mut hasher = DefaultHasher::new();
        serde_json::to_vec(spec).unwrap_or_default().hash(&mut hasher);
        let spec = hasher.finish();
        let memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        let known = memories.get(key).filter(|memory| memory.spec == spec).cloned();
        known.unwrap_or_else(|| Memory { spec, ..Memory::default() })
    }

    fn remember(&self, key: &Key, memory: Memory) {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.obstacles.is_empty() {
            memories.remove(key);
        } else {
            memories.insert(key.clone(), memory);
        }
    }
}

/// What is in the way of an object for as long as nobody changes something; `None` for what passes by itself.
fn refusal(error: &PassError) -> Option<Why> {
    match error {
        PassError::NameTaken { .. } => Some(Why::Taken),
        PassError::Refused { message } => Some(Why::Refused(message.clone())),
        PassError::Api { source, .. } if matches!(code(source), Some(400 | 403 | 422)) => {
            Some(Why::Refused(error.to_string()))
        }
        _ => None,
    }
}
