//! The only writer: carries out a plan, the status first and then stage by stage, and begins no stage after a failure.
//!
//! A write says what it was based on (a resource version, a tested value, an owner) wherever a decision made on an older
//! state could undo a newer one. What the API server answers goes into the caches at once. Patches are merge
//! patches of single fields rather than server-side apply: each is for a field that only a controller of Rollouts
//! writes, and costs the API server a fifth less.

mod experiments;
mod pods;
mod replica_sets;
mod routes;
mod runs;
mod services;
mod target;
mod workload;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::{NamespaceResourceScope, Request};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

pub(crate) use self::experiments::MadeForExperiment;
use self::pods::Evictions;
use self::target::{Target, owner_reference};
use super::announce::{Announcer, Note, about};
use super::caches::Caches;
use super::clock::Clock;
use super::difference::difference;
use super::error::{PassError, code};
use super::leader::{Fence, Permit};
use super::store::{Identity, Key};
use super::traces::Traces;
use super::unanswered::Unanswered;
use super::wire::RolloutObject;
use crate::api::Rollout;
use crate::events::Event;
use crate::metrics::{Metrics, Subject};
use crate::rollout::effect::{Annotations, Effect};
use crate::rollout::plan::Plan;
use crate::rollout::told::told;
use crate::traffic::TrafficTarget;

/// Who owns the fields that are written.
pub(crate) const FIELD_MANAGER: &str = "serin";
/// How long one request may take, retries included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Carries out plans.
pub(crate) struct Writer {
    pub(crate) client: Client,
    pub(crate) caches: Arc<Caches>,
    pub(crate) fence: Fence,
    pub(crate) announcer: Announcer,
    pub(crate) unanswered: Unanswered,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    /// `None` where no collector is named.
    pub(crate) traces: Option<Traces>,
}

/// Whose an object may be that already has a name.
#[derive(Clone, Copy, Debug)]
enum Whose {
    /// The owner's that the plan is for.
    Ours,
    /// The owner's, or nobody's, so that it can be adopted.
    OursOrNobodys,
}

/// What became of a plan whose status was written, or had none to write.
pub(crate) struct Made {
    /// What the router was told.
    pub(crate) traffic: Option<TrafficTarget>,
    /// What became of its evictions.
    pub(crate) evictions: Evictions,
    /// ReplicaSets whose size may be another one than the cache says: a change of it got no answer.
    pub(crate) doubtful: BTreeSet<String>,
    /// Why a stage failed; what follows it is left to the next pass.
    pub(crate) outcome: Result<(), PassError>,
}

impl Writer {
    /// Carries out the plan for `rollout`: status, effects, announcements.
    ///
    /// The status comes first because it is written only if nobody has written the Rollout since: a pass on a stale view
    /// ends there and has touched nothing. What a crash leaves undone, the next pass finds wanting and does.
    ///
    /// # Errors
    /// When the status cannot be written; nothing else was begun then.
    pub(crate) async fn carry_out(&self, rollout: &Rollout, plan: Plan) -> Result<Made, PassError> {
        let mut target = Target::rollout(rollout);
        let notices = &self.caches.notices;
        // What tells of an effect is true once that was made.
        let events = told(plan.events.clone(), &[]);
        let planned = plan.status.as_deref();
        let (status, problems) =
            notices.with_pending(&target.identity, rollout, planned, &events, self.clock);
        if let Some(status) = &status {
            let encode = |source| PassError::Encoding { object: target.identity.key.clone(), source };
            let stored = serde_json::to_value(rollout.status.as_ref()).map_err(encode)?;
            let next = serde_json::to_value(status).map_err(encode)?;
            target.identity.version =
                self.write_status(&target.identity, &stored, &next, &plan.events).await?;
            let Key { namespace, name } = &target.identity.key;
            plan.finished.iter().for_each(|update| self.metrics.update_finished(namespace, name, update));
            self.metrics.status(namespace, name, status, self.clock.now());
            if let Some(traces) = &self.traces {
                traces.rollout(&target.identity.key, rollout, status, &plan.events);
            }
        }
        notices.noted(&target.identity.key);
        let problems: Vec<_> =
            problems.into_iter().map(|message| Event::NotificationFailed { message }).collect();
        self.announce(&target.identity, problems);
        let (made, failed) = self.make(&mut target, &plan.stages).await;
        let traffic = made.iter().find_map(|effect| match effect {
            Effect::SetTraffic(target) => Some((**target).clone()),
            _ => None,
        });
        let events = told(plan.events, &made);
        let changes: Vec<_> = events.iter().filter(|event| event.tells_of_an_effect()).cloned().collect();
        if notices.made(&target.identity.key, rollout, changes) {
            self.caches.rollout_queue.add(&target.identity.key);
        }
        self.announce(&target.identity, events);
        let doubtful = failed.iter().filter_map(|(effect, error)| doubtful(effect, error)).collect();
        let outcome = failed.into_iter().next().map_or(Ok(()), |(_, error)| Err(error));
        Ok(Made { traffic, evictions: target.evictions, doubtful, outcome })
    }

    /// Makes the effects, stage by stage; those that were made, and those that failed. Those of a stage are independent of
    /// each other: all that succeeded count as made, also beside one that failed; then no further stage begins.
    async fn make<'a>(
        &self,
        target: &mut Target,
        stages: &'a [Vec<Effect>],
    ) -> (Vec<&'a Effect>, Vec<(&'a Effect, PassError)>) {
        let (mut made, mut failed) = (Vec::new(), Vec::new());
        for stage in stages {
            let done = join_all(stage.iter().map(|effect| self.effect(target, effect))).await;
            for (effect, done) in stage.iter().zip(done) {
                match done {
                    Ok(version) => {
                        made.push(effect);
                        target.identity.version = version.unwrap_or(target.identity.version);
                    }
                    Err(error) => failed.push((effect, error)),
                }
            }
            if !failed.is_empty() {
                break;
            }
        }
        (made, failed)
    }

    /// Writes what differs between the stored and the next status; nothing when nothing does. Gives the version that the
    /// Rollout has then. `events` is what will be announced with it; should the answer be lost, [`Writer::settle`] makes up
    /// for it.
    ///
    /// # Errors
    /// When the object has changed since, or the request fails.
    pub(crate) async fn write_status(
        &self,
        of: &Identity,
        stored: &Value,
        next: &Value,
        events: &[Event],
    ) -> Result<u64, PassError> {
        let nothing = json!({});
        let Some(patch) = difference(if stored.is_null() { &nothing } else { stored }, next) else {
            return Ok(of.version);
        };
        debug!(rollout = %of.key, %patch, "status");
        let patch = json!({"metadata": {"resourceVersion": of.version.to_string()}, "status": patch});
        let (api, parameters) = (self.api::<RolloutObject>(&of.key.namespace), patch_parameters());
        let written = self.call(|| format!("write the status of rollout {}", of.key), async {
            api.patch_status(&of.key.name, &parameters, &Patch::Merge(&patch)).await
        });
        let written = written.await.inspect_err(|error| self.not_written(of, error, next, events));
        let version = self.caches.wrote_rollout(written?);
        self.unanswered.forget(Subject::Rollout, &of.key);
        Ok(version)
    }

    /// Keeps what belongs to a write that may have happened. Effects are not part of it: the pass that makes them tells of
    /// them. A Rollout that the API server says is gone is forgotten, even should the watch have missed its deletion.
    fn not_written(&self, rollout: &Identity, error: &PassError, next: &Value, events: &[Event]) {
        if is_absent(error) {
            self.caches.lost_rollout(rollout);
        }
        if error.may_have_happened() {
            let notes = told(events.to_vec(), &[]).into_iter().map(Note::from);
            self.unanswered.keep(Subject::Rollout, &rollout.key, next.clone(), notes.collect());
        }
    }

    /// Announces what belongs to an earlier status write if the stored status shows that it happened after all.
    pub(crate) fn settle(&self, rollout: &Identity, stored: impl FnOnce() -> Value) {
        self.announce(rollout, self.unanswered.settle(Subject::Rollout, &rollout.key, stored));
    }

    /// Announces something about a Rollout.
    pub(crate) fn announce(&self, rollout: &Identity, notes: Vec<impl Into<Note>>) {
        self.announcer.announce(
            about::<Rollout>(rollout),
            notes.into_iter().map(Into::into).collect(),
            self.clock,
        );
    }

    /// Makes one change. Returns the Rollout's version if it was the Rollout that changed.
    async fn effect(&self, target: &Target, effect: &Effect) -> Result<Option<u64>, PassError> {
        debug!(rollout = %target.identity.key, ?effect, "effect");
        match effect {
            Effect::CreateReplicaSet(new) => self.create_replica_set(target, new).await?,
            Effect::ScaleReplicaSet { name, from, to, desired, annotations } => {
                self.scale(target, name, (*from, *to), *desired, annotations).await?;
            }
            Effect::SetTraffic(wanted) => self.set_traffic(target, wanted).await?,
            Effect::GiveRoutesBack => self.give_routes_back(target).await?,
            Effect::UpdateReplicaSet { name, annotations, min_ready_seconds } => {
                self.update(target, name, annotations, *min_ready_seconds).await?;
            }
            Effect::AdjustTemplate(change) => self.adjust_template(target, change).await?,
            Effect::MarkPod { name, labels, annotations } => {
                self.mark_pod(target, name, labels, annotations).await?;
            }
            Effect::EvictPod { name, uid } => self.evict_pod(target, name, uid).await?,
            Effect::DeleteReplicaSet { name } => self.delete_replica_set(target, name).await?,
            Effect::SwitchService { name, to } => self.switch_service(target, name, to.as_str()).await?,
            Effect::AnnotateRollout { annotations } => {
                return self.annotate(target, annotations).await.map(Some);
            }
            Effect::ScaleWorkload { name, from, to, note } => {
                self.scale_workload(target, name, (*from, *to), *note).await?;
            }
            Effect::CreateAnalysisRun(run) => self.create_run(target, run).await?,
            Effect::TerminateAnalysisRun { name } => self.terminate_run(target, name).await?,
            Effect::DeleteAnalysisRun { name } => self.delete_run(&target.key(name)).await?,
            Effect::CreateExperiment(experiment) => self.create_experiment(target, experiment).await?,
            Effect::TerminateExperiment { name } => self.terminate_experiment(target, name).await?,
            Effect::DeleteExperiment { name } => self.delete_experiment(&target.key(name)).await?,
        }
        Ok(None)
    }

    async fn annotate(&self, target: &Target, annotations: &Annotations) -> Result<u64, PassError> {
        let key = &target.identity.key;
        let version = target.identity.version.to_string();
        let patch = json!({"metadata": {"resourceVersion": version, "annotations": annotations}});
        let (api, parameters) = (self.api::<RolloutObject>(&key.namespace), patch_parameters());
        let action = || format!("annotate rollout {key}");
        let patched =
            self.call(action, async { api.patch(&key.name, &parameters, &Patch::Merge(&patch)).await });
        let patched = patched.await?;
        let version = Identity::of(patched.meta()).version;
        self.caches.wrote_rollout(patched);
        Ok(version)
    }

    /// What already has the name, if it is whose it may be.
    async fn existing<K>(
        &self,
        target: &Target,
        name: &str,
        whose: Whose,
        action: impl Fn() -> String,
    ) -> Result<K, PassError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api = self.api::<K>(target.namespace());
        let found = self.call(&action, async { api.get(name).await }).await?;
        let owners = found.meta().owner_references.iter().flatten();
        let ours = owners
            .filter(|owner| owner.controller == Some(true))
            .any(|owner| *owner.uid == *target.identity.uid);
        let nobodys = matches!(whose, Whose::OursOrNobodys) && is_orphan(found.meta());
        if (ours || nobodys) && found.meta().deletion_timestamp.is_none() {
            Ok(found)
        } else {
            Err(PassError::NameTaken { action: action(), name: name.to_owned() })
        }
    }

    async fn create<K>(
        &self,
        namespace: &str,
        body: &Value,
        action: impl Fn() -> String,
    ) -> Result<K, PassError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let request = Request::new(K::url_path(&(), Some(namespace)));
        self.call(action, async {
            let body = serde_json::to_vec(body).map_err(kube::Error::SerdeError)?;
            let request = request.create(&parameters, body).map_err(kube::Error::BuildRequest)?;
            self.client.request(request).await
        })
        .await
    }

    /// Sends one request: only while leading, and never waiting past the end of leadership.
    async fn call<T>(
        &self,
        action: impl Fn() -> String,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, PassError> {
        let limit = match self.fence.permit() {
            Permit::Denied => return Err(PassError::NotLeading { action: action() }),
            Permit::Granted => None,
            Permit::GrantedUntil(over) => Some(over),
        };
        let begun = Instant::now();
        let latest = begun + REQUEST_TIMEOUT;
        let deadline = limit.map_or(latest, |limit| limit.min(latest));
        match timeout_at(deadline, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(PassError::Api { action: action(), source: Box::new(source) }),
            Err(_) => Err(PassError::Timeout { action: action(), seconds: begun.elapsed().as_secs() }),
        }
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// The ReplicaSet whose size is in doubt after this failure.
fn doubtful(effect: &Effect, error: &PassError) -> Option<String> {
    effect.sized_replica_set().filter(|_| error.may_have_happened()).map(str::to_owned)
}

/// Whether nothing controls an object.
fn is_orphan(meta: &ObjectMeta) -> bool {
    !meta.owner_references.iter().flatten().any(|owner| owner.controller == Some(true))
}

fn patch_parameters() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

fn delete_parameters(identity: &Identity, version: Option<u64>) -> DeleteParams {
    let preconditions = Preconditions {
        uid: Some(identity.uid.to_string()),
        resource_version: version.map(|version| version.to_string()),
    };
    DeleteParams {
        preconditions: Some(preconditions),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    }
}

fn is_code(error: &PassError, expected: u16) -> bool {
    matches!(error, PassError::Api { source, .. } if code(source) == Some(expected))
}

/// Whether the API server says that this very object is gone. A 404 that names no object comes from a kind that is not
/// served, for a moment or for good, and says nothing about the object.
fn is_absent(error: &PassError) -> bool {
    is_code(error, 404) && matches!(error, PassError::Api { source, .. } if names_object(source))
}

/// Whether the API server's answer is about an object that it has looked at.
fn names_object(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

/// Whether a deletion is over: the object is gone, rather than waiting for a finalizer.
fn is_gone(deleted: Result<bool, PassError>) -> Result<bool, PassError> {
    match deleted {
        Err(error) if is_absent(&error) => Ok(true),
        outcome => outcome,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Mutex;

    use http::Method;
    use kube::core::Status;
    use tokio::task::JoinSet;

    use super::*;
    use crate::api::RolloutStatus;
    use crate::controller::stub;
    use crate::rollout::effect::Annotations;
    use crate::units::{ReplicaCount, Revision};

    pub(super) fn refused(code: u16, name: &str) -> PassError {
        let status = json!({"status": "Failure", "code": code, "details": {"name": name}});
        let status: Status = serde_json::from_value(status).unwrap();
        PassError::Api { action: "write".to_owned(), source: Box::new(kube::Error::Api(status.boxed())) }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_status_write_without_an_answer_says_is_announced_once_it_shows() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        let client = stub::client(move |asked| {
            if asked.method == Method::PATCH {
                return None;
            }
            log.lock().unwrap().push(asked.body["reason"].clone());
            Some((201, asked.body))
        });
        let mut tasks = JoinSet::new();
        let writer = writer(client, &mut tasks);
        let rollout: Rollout = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "resourceVersion": "1"}, "spec": {},
        }))
        .unwrap();
        let status = RolloutStatus { phase: Some("Paused".to_owned()), ..RolloutStatus::default() };
        let stored = serde_json::to_value(&status).unwrap();
        let plan = Plan { status: Some(Box::new(status)), events: vec![Event::Paused], ..Plan::default() };
        assert!(writer.carry_out(&rollout, plan).await.is_err_and(|error| error.may_have_happened()));
        let identity = Identity::of(&rollout.metadata);
        writer.settle(&identity, || Value::Null);
        writer.settle(&identity, || stored.clone());
        writer.settle(&identity, || stored);
        drop(writer);
        tasks.join_all().await;
        assert_eq!(*told.lock().unwrap(), ["RolloutPaused"]);
    }

    #[tokio::test]
    async fn an_effect_that_was_made_is_told_of_although_its_sibling_failed() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        let client = stub::client(move |asked| match asked.path.rsplit('/').next() {
            Some("events") => {
                log.lock().unwrap().push(asked.body["message"].to_string());
                Some((201, asked.body))
            }
            Some("failing") => stub::refused(500, "failing"),
            name => Some((200, json!({"metadata": {"name": name, "namespace": "shop"}}))),
        });
        let mut tasks = JoinSet::new();
        let writer = writer(client, &mut tasks);
        let (from, to) = (ReplicaCount::ZERO, ReplicaCount::from_status(2));
        let scale = |name: &str| Effect::ScaleReplicaSet {
            name: name.to_owned(),
            from,
            to,
            desired: to,
            annotations: Annotations::new(),
        };
        let event = |name: &str| {
            let (name, revision) = (name.to_owned(), Revision::parse(Some("1")));
            Event::Scaling { name, revision, from, to }
        };
        let stages = vec![vec![scale("failing"), scale("good")], vec![scale("later")]];
        let events = vec![event("failing"), event("good"), event("later")];
        let plan = Plan { stages, events, ..Plan::default() };
        let rollout: Rollout =
            serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {}}))
                .unwrap();
        let made = writer.carry_out(&rollout, plan).await.unwrap();
        assert!(made.outcome.is_err());
        assert_eq!(made.doubtful, ["failing".to_owned()].into(), "it may have been scaled");
        drop(writer);
        tasks.join_all().await;
        let told = told.lock().unwrap();
        assert!(matches!(&told[..], [only] if only.contains("good")), "{told:?}");
    }

    #[tokio::test]
    async fn a_change_is_no_notification_before_it_was_made() {
        for (code, is_told) in [(500, false), (200, true)] {
            let asked = Arc::new(Mutex::new(Vec::new()));
            let log = Arc::clone(&asked);
            let client = stub::client(move |asked| {
                log.lock().unwrap().push(asked.path.clone());
                Some((code, json!({"metadata": {"name": "web-1", "namespace": "shop"}, "code": code})))
            });
            let mut tasks = JoinSet::new();
            let writer = writer(client, &mut tasks);
            writer.caches.notices.configure("on-scaling-replica-set");
            let annotations =
                json!({"notifications.argoproj.io/subscribe.on-scaling-replica-set.slack": "ops"});
            let rollout: Rollout = serde_json::from_value(json!({
                "metadata": {"name": "web", "namespace": "shop", "uid": "1", "resourceVersion": "1", "annotations": annotations},
                "spec": {}, "status": {"phase": "Progressing"},
            }))
            .unwrap();
            let (from, to) = (ReplicaCount::ZERO, ReplicaCount::from_status(2));
            let (name, annotations) = ("web-1".to_owned(), Annotations::new());
            let revision = Revision::parse(Some("1"));
            let events = vec![Event::Scaling { name: name.clone(), revision, from, to }];
            let stages = vec![vec![Effect::ScaleReplicaSet { name, from, to, desired: to, annotations }]];
            writer.carry_out(&rollout, Plan { stages, events, ..Plan::default() }).await.unwrap();
            assert_eq!(writer.caches.notices.has_news(&Identity::of(&rollout.metadata).key), is_told);
            let asked = asked.lock().unwrap();
            assert!(asked.iter().all(|path| !path.ends_with("/status")), "the status comes first: {asked:?}");
        }
    }

    pub(in crate::controller) fn writer(client: Client, tasks: &mut JoinSet<()>) -> Writer {
        let fence = Fence::closed();
        fence.open();
        Writer {
            announcer: Announcer::start(&client, &Arc::default(), tasks),
            client,
            caches: Arc::new(Caches::new([])),
            fence,
            unanswered: Unanswered::default(),
            metrics: Arc::default(),
            clock: Clock,
            traces: None,
        }
    }

    #[test]
    fn an_object_is_absent_only_when_the_answer_names_it() {
        assert!(is_absent(&refused(404, "web")));
        assert!(!is_absent(&refused(404, "")), "the kind is not served");
        assert!(!is_absent(&refused(409, "web")));
    }
}
