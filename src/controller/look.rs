//! What a pass lists before it decides, because no cache holds it: pods, endpoints and the pod template of stable, while they matter.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;
use tracing::warn;

use super::endpoints::Found;
use super::error::PassError;
use super::pods::Whose;
use super::reconcile::Rollouts;
use super::records::Readable;
use super::snapshot::{self, Memory};
use super::store::Identity;
use crate::rollout::pods::Pod;
use crate::rollout::{Snapshot, endpoints, experiments, pods};

/// How long a list may take. The decision waits for it, and an abort with it.
const LIST_TIMEOUT: Duration = Duration::from_secs(2);

/// What was listed for a pass; absent what it does not need.
#[derive(Debug)]
pub(super) struct Looked {
    /// The pods; `None` when they are not needed, or cannot be read.
    pods: Option<Vec<Pod>>,
    /// The endpoints; `None` when they are not needed.
    endpoints: Option<Found>,
    /// The pod template of stable; `None` when it is not needed, or cannot be read.
    stable_template: Option<Value>,
}

impl Rollouts {
    /// What a pass decides on: a snapshot of the caches, with what they do not hold as far as it matters.
    ///
    /// # Errors
    /// When the cached Rollout cannot be read.
    pub(super) async fn seen(
        &self,
        identity: &Identity,
        readable: &Readable,
        memory: &mut Memory,
    ) -> Result<Snapshot, PassError> {
        let snapshot = self.snapshot(identity, readable, memory)?;
        let Some(looked) = self.look(identity, &snapshot).await else {
            memory.endpoints = memory.endpoints.unasked();
            return Ok(snapshot);
        };
        // That took its time, and what has changed meanwhile counts.
        let mut snapshot = self.snapshot_now(identity, readable, memory)?;
        looked.put_into(&mut snapshot, memory);
        Ok(snapshot)
    }

    fn snapshot(
        &self,
        identity: &Identity,
        readable: &Readable,
        memory: &Memory,
    ) -> Result<Snapshot, PassError> {
        let now = self.clock.now();
        let snapshot = snapshot::rollout(&self.caches, identity, readable, memory, now, &self.settings);
        snapshot.map_err(|source| PassError::Encoding { object: identity.key.clone(), source })
    }

    /// A snapshot with the Rollout as it is known now; as it was, when it is gone or cannot be read any more.
    fn snapshot_now(
        &self,
        identity: &Identity,
        readable: &Readable,
        memory: &Memory,
    ) -> Result<Snapshot, PassError> {
        let known =
            self.caches.rollouts.get(&identity.key).filter(|known| known.identity.uid == identity.uid);
        match known.as_ref().map(|known| (&known.identity, &known.value.content)) {
            Some((identity, Ok(readable))) => self.snapshot(identity, readable, memory),
            Some((_, Err(_))) | None => self.snapshot(identity, readable, memory),
        }
    }

    /// Lists what a decision on this snapshot needs besides the caches; `None` when that is nothing.
    async fn look(&self, rollout: &Identity, snapshot: &Snapshot) -> Option<Looked> {
        let needs_pods = pods::are_needed(snapshot);
        let needs_endpoints = endpoints::are_needed(snapshot);
        let needs_template = experiments::is_stable_template_needed(snapshot);
        let stable_template =
            if needs_template { self.read_stable_template(rollout, snapshot).await } else { None };
        if !needs_pods && !needs_endpoints {
            return needs_template.then_some(Looked { pods: None, endpoints: None, stable_template });
        }
        let slices = async {
            if !needs_endpoints {
                return None;
            }
            Some(self.list_endpoints(rollout, &endpoints::services(snapshot)).await)
        };
        // Endpoints are told apart by their pods.
        let whose = if needs_endpoints { Whose::OwnAndExperiments } else { Whose::Own };
        let (pods, slices) = tokio::join!(self.list_pods(rollout, whose), slices);
        let endpoints = slices.map(|slices| Found::new(slices, &pods));
        let pods = pods.inspect_err(|error| {
            if needs_pods {
                warn!(rollout = %rollout.key, %error, "single pods wait; everything else goes on");
            }
        });
        Some(Looked { pods: pods.ok().filter(|_| needs_pods), endpoints, stable_template })
    }

    /// Lists objects of the Rollout's namespace out of the API server's own watch cache.
    pub(super) async fn list<K>(
        &self,
        rollout: &Identity,
        what: &str,
        selector: &str,
    ) -> Result<Vec<K>, PassError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let action = || format!("list {what} of rollout {}", rollout.key);
        list(&self.writer.client, &rollout.key.namespace, action, selector).await
    }
}

/// Objects of a namespace, from the API server's watch cache.
///
/// # Errors
/// When they cannot be listed now.
pub(super) async fn list<K>(
    client: &Client,
    namespace: &str,
    action: impl Fn() -> String,
    selector: &str,
) -> Result<Vec<K>, PassError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let parameters = ListParams::default().labels(selector).match_any();
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    match timeout(LIST_TIMEOUT, api.list(&parameters)).await {
        Ok(Ok(found)) => Ok(found.items),
        Ok(Err(source)) => Err(PassError::Api { action: action(), source: Box::new(source) }),
        Err(_) => Err(PassError::Timeout { action: action(), seconds: LIST_TIMEOUT.as_secs() }),
    }
}

impl Looked {
    /// Adds what was found to a snapshot, and to what is remembered.
    pub(super) fn put_into(self, snapshot: &mut Snapshot, memory: &mut Memory) {
        snapshot.pods.listed = self.pods;
        snapshot.stable_template = self.stable_template;
        if let Some(found) = self.endpoints {
            snapshot.endpoints.reading = memory.endpoints.see(found, &snapshot.rollout, snapshot.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};
    use tokio::task::JoinSet;
    use tokio::time::Instant;

    use super::*;
    use crate::controller::caches::{Caches, Watched};
    use crate::controller::reconcile::tests::rollouts;
    use crate::controller::store::Key;
    use crate::controller::stub::{self, Answer};

    /// A Rollout whose pods are to be restarted.
    fn rollout(version: u32, replicas: u32) -> Event<crate::controller::wire::RolloutObject> {
        let object = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": version.to_string()},
            "spec": {"replicas": replicas, "restartAt": "2020-01-01T00:00:00Z", "strategy": {"canary": {}}},
        });
        Event::Apply(serde_json::from_value(object).unwrap())
    }

    fn caches() -> Arc<Caches> {
        let caches = Caches::new([Watched::Rollouts]);
        caches.rollout_event(rollout(1, 1));
        let owner = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": "u", "controller": true,
        });
        let set = json!({
            "metadata": {
                "name": "web-abc", "namespace": "shop", "uid": "s", "resourceVersion": "1",
                "labels": {"rollouts-pod-template-hash": "abc"}, "ownerReferences": [owner],
            },
            "spec": {"replicas": 1},
        });
        caches.replica_set_event(Event::Apply(serde_json::from_value(set).unwrap()));
        Arc::new(caches)
    }

    /// What a pass decides on while this happens as it lists pods.
    async fn seen(caches: &Arc<Caches>, answer: impl Fn() -> Answer + Clone + Send + 'static) -> Snapshot {
        let mut tasks = JoinSet::new();
        let rollouts = rollouts(caches, stub::client(move |_| answer()), &mut tasks);
        let known = caches.rollouts.get(&Key::new("shop", "web")).unwrap();
        let readable = known.value.content.as_ref().unwrap();
        rollouts.seen(&known.identity, readable, &mut Memory::default()).await.unwrap()
    }

    fn no_pods() -> Value {
        json!({"metadata": {"resourceVersion": "1"}, "items": []})
    }

    #[tokio::test]
    async fn a_pass_sees_the_rollout_as_it_is_once_everything_is_listed() {
        let caches = caches();
        let busy = Arc::clone(&caches);
        let snapshot = seen(&caches, move || {
            busy.rollout_event(rollout(2, 7));
            Some((200, no_pods()))
        });
        let snapshot = snapshot.await;
        assert_eq!(snapshot.rollout.spec.replicas, Some(7));
        assert_eq!(snapshot.pods.listed, Some(vec![]));
    }

    #[tokio::test]
    async fn a_pass_looks_at_what_is_left_of_a_rollout_that_went_meanwhile() {
        let caches = caches();
        let busy = Arc::clone(&caches);
        let snapshot = seen(&caches, move || {
            let Event::Apply(gone) = rollout(2, 1) else { unreachable!() };
            busy.rollout_event(Event::Delete(gone));
            Some((200, no_pods()))
        });
        assert_eq!(snapshot.await.rollout.spec.replicas, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_decision_does_not_wait_long_for_lists_without_an_answer() {
        let begun = Instant::now();
        let snapshot = seen(&caches(), || None).await;
        assert_eq!((snapshot.pods.listed, begun.elapsed().as_secs()), (None, LIST_TIMEOUT.as_secs()));
        assert!(LIST_TIMEOUT <= Duration::from_secs(2));
    }
}
