//! What the demo sees: one Rollout and all that belongs to it, from watches.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::stream::{self, BoxStream, StreamExt};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::news::Picture;
use crate::api::labels::POD_TEMPLATE_HASH;
use crate::api::{AnalysisRun, Rollout};
use crate::sandbox::traffic::routes::takes_requests;
use crate::view::{Observed, RolloutView, tree};

/// One Rollout and all that belongs to it, as the watches show it. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Watching {
    rollouts: Store<Rollout>,
    replica_sets: Store<ReplicaSet>,
    pods: Store<Pod>,
    analysis_runs: Store<AnalysisRun>,
    changes: watch::Receiver<()>,
    task: JoinHandle<()>,
}

/// What is seen at one time.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) observed: Observed,
    pub(super) view: RolloutView,
    /// Ready pods by pod hash.
    pub(super) ready: BTreeMap<String, usize>,
}

impl Watching {
    /// Watches everything in `namespace`.
    pub(super) fn start(client: &Client, namespace: &str) -> Self {
        let (rollouts, rollout_events) = follow::<Rollout>(client, namespace);
        let (replica_sets, replica_set_events) = follow::<ReplicaSet>(client, namespace);
        let (pods, pod_events) = follow::<Pod>(client, namespace);
        let (analysis_runs, run_events) = follow::<AnalysisRun>(client, namespace);
        let mut events = stream::select_all([rollout_events, replica_set_events, pod_events, run_events]);
        let (sender, changes) = watch::channel(());
        let task = tokio::spawn(async move {
            while events.next().await.is_some() {
                sender.send_replace(());
            }
        });
        Self { rollouts, replica_sets, pods, analysis_runs, changes, task }
    }

    /// Waits for the next change. After the end of all watches, which does not happen, waits for ever.
    pub(super) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The Rollout of this name and what belongs to it; `None` until all of it is known.
    pub(super) fn scene(&self, name: &str) -> Option<Scene> {
        let rollout = self.rollouts.find(|rollout| rollout.metadata.name.as_deref() == Some(name))?;
        let observed = Observed {
            rollout: Rollout::clone(&rollout),
            replica_sets: all(&self.replica_sets)?,
            pods: all(&self.pods)?,
            analysis_runs: all(&self.analysis_runs)?,
            experiments: vec![],
        };
        let mut ready = BTreeMap::new();
        for pod in observed.pods.iter().filter(|pod| takes_requests(pod)) {
            if let Some(hash) = pod.metadata.labels.as_ref().and_then(|labels| labels.get(POD_TEMPLATE_HASH))
            {
                *ready.entry(hash.clone()).or_insert(0) += 1;
            }
        }
        Some(Scene { view: tree(&observed), observed, ready })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scene {
    /// The rollout for the news.
    pub(super) fn picture(&self) -> Picture<'_> {
        Picture { rollout: &self.observed.rollout, view: &self.view }
    }

    /// The pod hash of the newest revision, once the controller has seen the spec.
    pub(super) fn newest(&self) -> Option<&str> {
        self.observed.rollout.status.as_ref()?.current_pod_hash.as_deref()
    }

    /// The pod hash of the stable revision.
    pub(super) fn stable(&self) -> Option<&str> {
        self.observed.rollout.status.as_ref()?.stable_rs.as_deref()
    }

    /// Whether the update is aborted.
    pub(super) fn is_aborted(&self) -> bool {
        self.observed.rollout.status.as_ref().is_some_and(|status| status.abort == Some(true))
    }

    /// Ready pods of a revision.
    pub(super) fn ready_pods(&self, hash: &str) -> usize {
        self.ready.get(hash).copied().unwrap_or_default()
    }

    /// The share of ready pods that are of the revision, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a few pods")]
    pub(super) fn share(&self, hash: &str) -> f64 {
        let all: usize = self.ready.values().sum();
        if all == 0 { 0.0 } else { self.ready_pods(hash) as f64 / all as f64 }
    }

    /// Whether there is no pod besides those that the spec asks for.
    pub(super) fn is_tidy(&self) -> bool {
        self.observed.pods.len() <= self.wanted_pods()
    }

    /// Pods that the spec asks for.
    pub(super) fn wanted_pods(&self) -> usize {
        usize::try_from(self.view.replicas.desired).unwrap_or_default()
    }
}

type Changes = BoxStream<'static, ()>;

/// A store, and the stream that fills it.
fn follow<K>(client: &Client, namespace: &str) -> (Store<K>, Changes)
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let events = watcher(api, watcher::Config::default().streaming_lists())
        .modify(|object| object.meta_mut().managed_fields = None)
        .default_backoff()
        .reflect(writer)
        .map(drop);
    (store, events.boxed())
}

/// Everything in a store; `None` until it was filled.
fn all<K>(store: &Store<K>) -> Option<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.wait_until_ready().now_or_never()?.ok()?;
    Some(store.state().iter().map(|object| K::clone(object)).collect())
}
