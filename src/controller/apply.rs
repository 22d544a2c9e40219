//! The only writer: carries out a plan, the status first and then stage by stage, and stops at the first failure.
//!
//! Every write says what it was based on (a resource version, a tested value, an owner), so that a decision made on an
//! older state cannot undo a newer one. What the API server answers goes into the caches at once. Patches are merge
//! patches of single fields rather than server-side apply: each is for a field that only a controller of Rollouts
//! writes, and costs the API server a fifth less.

mod replica_sets;
mod runs;
mod workload;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::{NamespaceResourceScope, Request};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::announce::{Announcer, Note};
use super::caches::Caches;
use super::clock::Clock;
use super::difference::difference;
use super::error::{PassError, code};
use super::leader::{Fence, Permit};
use super::store::{Identity, Key};
use super::wire::{RolloutObject, ServiceObject};
use crate::api::{Rollout, labels};
use crate::events::Event;
use crate::metrics::Metrics;
use crate::rollout::effect::{Annotations, Effect};
use crate::rollout::plan::Plan;

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
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
}

/// Whose an object may be that already has a name.
#[derive(Clone, Copy, Debug)]
enum Whose {
    /// This Rollout's.
    Ours,
    /// This Rollout's, or nobody's, so that it can be adopted.
    OursOrNobodys,
}

/// The Rollout that a plan is for.
struct Target {
    identity: Identity,
}

impl Target {
    fn namespace(&self) -> &str {
        &self.identity.key.namespace
    }

    fn key(&self, name: &str) -> Key {
        Key { namespace: Arc::clone(&self.identity.key.namespace), name: name.into() }
    }
}

impl Writer {
    /// Carries out the plan for `rollout`: status, effects, announcements.
    ///
    /// The status comes first because it is written only if nobody has written the Rollout since: a pass on a stale view
    /// ends there and has touched nothing. What a crash leaves undone, the next pass finds wanting and does.
    ///
    /// # Errors
    /// At the first write or stage that fails; what follows is left to the next pass.
    pub(crate) async fn carry_out(&self, rollout: &Rollout, plan: Plan) -> Result<(), PassError> {
        let mut target = Target { identity: Identity::of(&rollout.metadata) };
        if let Some(status) = &plan.status {
            let encode = |source| PassError::Encoding { object: target.identity.key.clone(), source };
            let stored = serde_json::to_value(rollout.status.as_ref()).map_err(encode)?;
            let next = serde_json::to_value(status).map_err(encode)?;
            target.identity.version = self.write_status(&target.identity, &stored, &next).await?;
            plan.finished.iter().for_each(|update| self.metrics.update_finished(update));
        }
        let done = self.make(&mut target, &plan.stages).await;
        let mut told = plan.events;
        if done.is_err() {
            // The next pass makes these effects, and tells of them.
            told.retain(|event| !event.tells_of_an_effect());
        }
        self.announce(&target.identity, told);
        done
    }

    /// Makes the effects, stage by stage.
    async fn make(&self, target: &mut Target, stages: &[Vec<Effect>]) -> Result<(), PassError> {
        for stage in stages {
            let done = join_all(stage.iter().map(|effect| self.effect(target, effect))).await;
            for version in done.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
                target.identity.version = version;
            }
        }
        Ok(())
    }

    /// Writes what differs between the stored and the next status; nothing when nothing does. Gives the version that the
    /// Rollout has then.
    ///
    /// # Errors
    /// When the object has changed since, or the request fails.
    pub(crate) async fn write_status(
        &self,
        of: &Identity,
        stored: &Value,
        next: &Value,
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
        Ok(self.caches.wrote_rollout(written.await?))
    }

    /// Announces events about a Rollout.
    pub(crate) fn announce(&self, rollout: &Identity, events: Vec<Event>) {
        let about = ObjectReference {
            api_version: Some(Rollout::api_version(&()).into_owned()),
            kind: Some(Rollout::kind(&()).into_owned()),
            namespace: Some(rollout.key.namespace.to_string()),
            name: Some(rollout.key.name.to_string()),
            uid: Some(rollout.uid.to_string()),
            resource_version: Some(rollout.version.to_string()),
            ..ObjectReference::default()
        };
        self.announcer.announce(about, events.into_iter().map(Note::from).collect(), self.clock);
    }

    /// Makes one change. Returns the Rollout's version if it was the Rollout that changed.
    async fn effect(&self, target: &Target, effect: &Effect) -> Result<Option<u64>, PassError> {
        debug!(rollout = %target.identity.key, ?effect, "effect");
        match effect {
            Effect::CreateReplicaSet(new) => self.create_replica_set(target, new).await?,
            Effect::ScaleReplicaSet { name, from, to, desired, annotations } => {
                self.scale(target, name, (*from, *to), *desired, annotations).await?;
            }
            Effect::SetTraffic(wanted) => {
                // The spec is refused where no router can carry this out.
                return Err(PassError::NoRouter { name: wanted.canary.name.clone() });
            }
            Effect::UpdateReplicaSet { name, annotations, min_ready_seconds } => {
                self.update(target, name, annotations, *min_ready_seconds).await?;
            }
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
        }
        Ok(None)
    }

    async fn switch_service(&self, target: &Target, name: &str, hash: &str) -> Result<(), PassError> {
        let key = target.key(name);
        let patch = json!({
            "metadata": {"annotations": {(labels::MANAGED_BY): &*target.identity.key.name}},
            "spec": {"selector": {(labels::POD_TEMPLATE_HASH): hash}},
        });
        let (api, parameters) = (self.api::<ServiceObject>(&key.namespace), patch_parameters());
        let action = || format!("switch Service {key} to {hash}");
        let patched =
            self.call(action, async { api.patch(&key.name, &parameters, &Patch::Merge(&patch)).await });
        self.caches.wrote_service(patched.await?);
        Ok(())
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

/// Whether a deletion is over: the object is gone, rather than waiting for a finalizer.
fn is_gone(deleted: Result<bool, PassError>) -> Result<bool, PassError> {
    match deleted {
        Err(error) if is_code(&error, 404) => Ok(true),
        outcome => outcome,
    }
}

fn owner_reference(target: &Target) -> OwnerReference {
    OwnerReference {
        api_version: Rollout::api_version(&()).into_owned(),
        kind: Rollout::kind(&()).into_owned(),
        name: target.identity.key.name.to_string(),
        uid: target.identity.uid.to_string(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
