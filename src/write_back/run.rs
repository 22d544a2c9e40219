//! Start and end of the write-back: one watch of Rollouts, one of its `ConfigMap`, and passes over what was aborted.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use futures::{Stream, StreamExt, TryStreamExt};
use kube::api::DynamicObject;
use kube::runtime::controller::{Config as Concurrency, ReconcileRequest, applier};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config as KubeConfig};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use super::clones::Clones;
use super::cluster::Cluster;
use super::configured::{Configured, follow, tell_watch};
use super::pass::WriteBack;
use super::rollouts::{self, Rollouts};
use super::tries::{Tries, TryAgain, later, reconcile};
use crate::controller::{
    Announcer, Clock, RequestLimits, Stop, connect, metrics_router, serve, shard_selector, stopped,
};
use crate::metrics::Metrics;
use crate::providers::{ProviderOptions, Providers};

/// Rollouts that are worked on at once; one whose Git server is silent holds its place for long.
const AT_ONCE: u16 = 64;

/// What a write-back is told when it starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespace that is looked at; `None` for all.
    pub namespace: Option<String>,
    /// The value of the label that the Rollouts have which it takes care of; empty for those without the label.
    pub instance_id: String,
    /// Where Argo CD is.
    pub argocd_namespace: String,
    /// The name of the `ConfigMap`, which is in the own namespace.
    pub config: String,
    /// Where `/healthz` and `/readyz` are; `None` for nowhere.
    pub health_address: Option<SocketAddr>,
    /// Where `/metrics` is; `None` for nowhere.
    pub metrics_address: Option<SocketAddr>,
}

/// Why a write-back ended on its own.
#[derive(Debug, Error)]
pub enum RunError {
    /// The API server's address or certificates cannot be used.
    #[error("cannot set up the connection to the API server")]
    Connect(#[source] Box<kube::Error>),
    /// There is no place for clones.
    #[error("cannot make a folder for clones")]
    Scratch(#[source] std::io::Error),
    /// A port is taken.
    #[error("cannot listen on {address} for {what}")]
    Listen {
        /// `health` or `metrics`.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Too many Git servers keep connections open and say nothing.
    #[error("too many calls to Git servers did not end")]
    Exhausted,
}

/// Runs it until `shutdown` resolves.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub async fn run(
    config: KubeConfig,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let (end, stop) = watch::channel(false);
    let metrics = Arc::new(Metrics::default());
    let client = connect(config, RequestLimits::default(), &metrics);
    let client = client.map_err(|error| RunError::Connect(Box::new(error)))?;
    let (configured, config) = watch::channel(None);
    let ready = watch::channel(false);
    let mut tasks = JoinSet::new();
    listen(&options, &metrics, ready.1, &stop, &mut tasks).await?;
    tasks.spawn(follow(client.clone(), options.config.clone(), configured));
    let announcer = Announcer::start(&client, &metrics, &mut tasks);
    let (seen, store) = watch_rollouts(client.clone(), &options);
    let write_back = Arc::new(WriteBack {
        rollouts: Rollouts(store.clone()),
        cluster: Cluster { client, argocd_namespace: options.argocd_namespace.clone() },
        config: config.clone(),
        clones: Clones::new().map_err(RunError::Scratch)?,
        providers: Providers::new(ProviderOptions::default()),
        announcer,
        metrics,
        clock: Clock,
    });
    let passes = passes(seen, store, Arc::clone(&write_back), config, stop, ready.0);
    let outcome = tokio::select! {
        () = passes => Ok(()),
        () = shutdown => { info!("ending: no new work is taken up"); Ok(()) }
        () = write_back.clones.exhausted.notified() => Err(RunError::Exhausted),
    };
    end.send_replace(true);
    outcome
}

/// Answers probes and scrapes.
async fn listen(
    options: &Options,
    metrics: &Arc<Metrics>,
    ready: watch::Receiver<bool>,
    stop: &Stop,
    tasks: &mut JoinSet<()>,
) -> Result<(), RunError> {
    let readyz = async move || if *ready.borrow() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let health = Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(readyz));
    let metrics = metrics_router(metrics.registry_of_write_backs());
    let ports = [("health", options.health_address, health), ("metrics", options.metrics_address, metrics)];
    for (what, address, router) in ports {
        let Some(address) = address else { continue };
        let bound = serve(what, address, router, stop.clone(), tasks).await;
        bound.map_err(|source| RunError::Listen { what, address, source })?;
    }
    Ok(())
}

/// Makes passes over Rollouts that change, over all when the configuration does, and again over those that failed.
async fn passes(
    seen: impl Stream<Item = Result<ObjectRef<DynamicObject>, watcher::Error>> + Send + 'static,
    store: Store<DynamicObject>,
    write_back: Arc<WriteBack>,
    mut config: watch::Receiver<Option<Configured>>,
    mut stop: Stop,
    ready: watch::Sender<bool>,
) {
    // An error means that there will never be one, which a readiness probe shows.
    if config.wait_for(Option::is_some).await.is_err() {
        return;
    }
    let again = changes(config, store.clone()).map(Ok);
    let queue = futures::stream::select(seen, again).map_ok(ReconcileRequest::from);
    let queue = queue.take_until(Box::pin(async move { stopped(&mut stop).await }));
    let tries = Arc::new(Tries::new(write_back));
    let reader = store.clone();
    let loaded = async move {
        if reader.wait_until_ready().await.is_ok() {
            ready.send_replace(true);
        }
    };
    let pass = |object, tries| Box::pin(reconcile(object, tries));
    let policy = |object: Arc<DynamicObject>, _: &TryAgain, tries: Arc<Tries>| later(&object, &tries);
    let concurrency = Concurrency::default().concurrency(AT_ONCE);
    let passes =
        applier(pass, policy, Arc::clone(&tries), store, queue, concurrency).for_each(async |done| {
            if let Err(kube::runtime::controller::Error::ObjectNotFound(gone)) = done {
                tries.forget(gone.namespace.as_deref().unwrap_or_default(), &gone.name);
            }
        });
    tokio::join!(passes, loaded);
}

/// Watches Rollouts: what has changed, and how all of them are.
fn watch_rollouts(
    client: Client,
    options: &Options,
) -> (
    impl Stream<Item = Result<ObjectRef<DynamicObject>, watcher::Error>> + Send + 'static,
    Store<DynamicObject>,
) {
    let kind = rollouts::kind();
    let api: Api<DynamicObject> = match &options.namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &kind),
        None => Api::all_with(client, &kind),
    };
    let writer = Writer::<DynamicObject>::new(kind.clone());
    let store = writer.as_reader();
    let selected = watcher::Config::default().labels(&shard_selector(&options.instance_id));
    let seen = watcher(api, selected).modify(rollouts::slim).inspect(tell_watch("rollouts"));
    let seen = seen.default_backoff().reflect(writer).touched_objects();
    (seen.map_ok(move |object| ObjectRef::from_obj_with(&object, kind.clone())), store)
}

/// All Rollouts, each time the configuration changes.
fn changes(
    config: watch::Receiver<Option<Configured>>,
    store: Store<DynamicObject>,
) -> impl Stream<Item = ObjectRef<DynamicObject>> + Send + 'static {
    let changed = futures::stream::unfold(config, async |mut config| {
        config.changed().await.ok()?;
        Some(((), config))
    });
    changed.flat_map(move |()| {
        let all =
            store.state().into_iter().map(|object| ObjectRef::from_obj_with(&*object, rollouts::kind()));
        futures::stream::iter(all.collect::<Vec<_>>())
    })
}
