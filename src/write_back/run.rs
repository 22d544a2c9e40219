//! Start and end of the write-back: one watch of Rollouts, one of its `ConfigMap`, and passes over what was aborted.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use backon::{BackoffBuilder, ExponentialBuilder};
use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::controller::{Action, Config as Concurrency, ReconcileRequest, applier};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config as KubeConfig, Resource as _, ResourceExt};
use serde_json::json;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::clones::Clones;
use super::cluster::Cluster;
use super::pass::{Configured, WriteBack};
use crate::api::Rollout;
use crate::controller::{
    Announcer, Clock, RequestLimits, Stop, connect, metrics_router, serve, shard_selector, stopped,
};
use crate::gitops::abort::Abort;
use crate::gitops::config::{Config, KEY};
use crate::metrics::Metrics;
use crate::providers::{ProviderOptions, Providers};

/// Rollouts that are worked on at once.
const AT_ONCE: u16 = 8;
/// First and longest wait before a Rollout is tried again.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));

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
    let (configured, config) = watch::channel(unread(&options.config));
    let ready = watch::channel(false);
    let mut tasks = JoinSet::new();
    listen(&options, &metrics, ready.1, &stop, &mut tasks).await?;
    tasks.spawn(follow(client.clone(), options.config.clone(), configured));
    let announcer = Announcer::start(&client, &metrics, &mut tasks);
    let write_back = Arc::new(WriteBack {
        cluster: Cluster { client: client.clone(), argocd_namespace: options.argocd_namespace.clone() },
        config: config.clone(),
        clones: Clones::new().map_err(RunError::Scratch)?,
        providers: Providers::new(ProviderOptions::default()),
        announcer,
        metrics,
        clock: Clock,
    });
    let passes = passes(client, &options, Arc::clone(&write_back), config, stop, ready.0);
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
    client: Client,
    options: &Options,
    write_back: Arc<WriteBack>,
    config: watch::Receiver<Configured>,
    mut stop: Stop,
    ready: watch::Sender<bool>,
) {
    let kind = ApiResource::erase::<Rollout>(&());
    let api: Api<DynamicObject> = match &options.namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &kind),
        None => Api::all_with(client, &kind),
    };
    let writer = Writer::<DynamicObject>::new(kind.clone());
    let store = writer.as_reader();
    let selected = watcher::Config::default().labels(&shard_selector(&options.instance_id));
    let told = tell_watch("rollouts");
    let seen =
        watcher(api, selected).modify(slim).inspect(told).default_backoff().reflect(writer).touched_objects();
    let of = kind.clone();
    let seen = seen.map_ok(move |object| ObjectRef::from_obj_with(&object, of.clone()));
    let again = changes(config, store.clone(), kind).map(Ok);
    let queue = futures::stream::select(seen, again).map_ok(ReconcileRequest::from);
    let queue = queue.take_until(Box::pin(async move { stopped(&mut stop).await }));
    let tries = Arc::new(Tries { write_back, waiting: Mutex::default() });
    let reader = store.clone();
    let loaded = async move {
        // An error means that there will never be one, which a readiness probe should show.
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
                tries.waiting().remove(&(gone.namespace.clone().unwrap_or_default(), gone.name));
            }
        });
    tokio::join!(passes, loaded);
}

/// What of a Rollout is looked at: neither its spec nor who has written what.
fn slim(object: &mut DynamicObject) {
    object.metadata.managed_fields = None;
    if let Some(data) = object.data.as_object_mut() {
        data.insert("spec".to_owned(), json!({}));
    }
}

/// Says once what is in the way of a watch.
fn tell_watch<K>(what: &'static str) -> impl FnMut(&Result<watcher::Event<K>, watcher::Error>) {
    let mut is_told = false;
    move |event| match event {
        Ok(_) => is_told = false,
        Err(error) if !is_told => {
            is_told = true;
            warn!(%error, what, "cannot watch, trying again");
        }
        Err(error) => debug!(%error, what, "cannot watch, trying again"),
    }
}

/// All Rollouts, each time the configuration changes.
fn changes(
    config: watch::Receiver<Configured>,
    store: Store<DynamicObject>,
    kind: ApiResource,
) -> impl Stream<Item = ObjectRef<DynamicObject>> + Send + 'static {
    let changed = futures::stream::unfold(config, async |mut config| {
        config.changed().await.ok()?;
        Some(((), config))
    });
    changed.flat_map(move |()| {
        let all = store.state().into_iter().map(|object| ObjectRef::from_obj_with(&*object, kind.clone()));
        futures::stream::iter(all.collect::<Vec<_>>())
    })
}

/// The passes, and which Rollouts wait for another one.
struct Tries {
    write_back: Arc<WriteBack>,
    waiting: Mutex<HashMap<(String, String), Waiting>>,
}

/// A Rollout that could not be written back.
struct Waiting {
    /// The abort, and the configuration with which it was tried: of others, nothing is known.
    of: (String, Configured),
    delays: backon::ExponentialBackoff,
    until: Instant,
}

/// Why a Rollout is tried again.
#[derive(Debug, Error)]
#[error("{0}")]
struct TryAgain(String);

async fn reconcile(object: Arc<DynamicObject>, tries: Arc<Tries>) -> Result<Action, TryAgain> {
    let value = json!({"apiVersion": Rollout::api_version(&()), "kind": Rollout::kind(&()),
        "metadata": object.metadata, "spec": {}, "status": object.data.get("status")});
    let rollout = match serde_json::from_value::<Rollout>(value) {
        Ok(rollout) => rollout,
        // Whoever cannot read its status was not told of an abort by it either.
        Err(error) => {
            debug!(%error, rollout = object.name_any(), "a status that cannot be read");
            return Ok(Action::await_change());
        }
    };
    let abort = Abort::of(&rollout).map(|abort| abort.identity()).unwrap_or_default();
    let of = (abort, tries.write_back.configured());
    // What a pass itself has written is no reason for the next one.
    if let Some(left) = tries.left(&key(&object), &of) {
        return Ok(Action::requeue(left));
    }
    match tries.write_back.pass(&rollout).await {
        Ok(()) => {
            tries.waiting().remove(&key(&object));
            Ok(Action::await_change())
        }
        Err(why) => {
            warn!(
                namespace = object.namespace(),
                rollout = object.name_any(),
                why,
                "not written back, trying again"
            );
            tries.wait(key(&object), of);
            Err(TryAgain(why))
        }
    }
}

impl Tries {
    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a Rollout still waits to be tried again.
    fn left(&self, key: &(String, String), of: &(String, Configured)) -> Option<Duration> {
        let waiting = self.waiting();
        let waiting = waiting.get(key).filter(|waiting| is_same(&waiting.of, of))?;
        waiting.until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Lets a Rollout wait, longer each time.
    fn wait(&self, key: (String, String), of: (String, Configured)) {
        let mut all = self.waiting();
        let before =
            all.remove(&key).filter(|waiting| is_same(&waiting.of, &of)).map(|waiting| waiting.delays);
        let mut delays = before.unwrap_or_else(|| {
            let delays =
                ExponentialBuilder::default().with_jitter().with_min_delay(RETRY.0).with_max_delay(RETRY.1);
            delays.without_max_times().build()
        });
        let until = Instant::now() + delays.next().unwrap_or(RETRY.1);
        all.insert(key, Waiting { of, delays, until });
    }
}

fn is_same(one: &(String, Configured), other: &(String, Configured)) -> bool {
    one.0 == other.0 && Arc::ptr_eq(&one.1, &other.1)
}

/// After which time a Rollout that could not be written back is tried again.
fn later(object: &DynamicObject, tries: &Tries) -> Action {
    let waiting = tries.waiting();
    let until = waiting.get(&key(object)).map(|waiting| waiting.until);
    Action::requeue(until.map_or(RETRY.0, |until| until.saturating_duration_since(Instant::now())))
}

fn key(object: &DynamicObject) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn unread(name: &str) -> Configured {
    Arc::new(Err(format!("the ConfigMap {name} was not read yet")))
}

/// Keeps the configuration as the `ConfigMap` has it.
async fn follow(client: Client, name: String, configured: watch::Sender<Configured>) {
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let of_one = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events =
        std::pin::pin!(watcher(api, of_one).inspect(tell_watch("the ConfigMap")).default_backoff());
    let missing = || Err(format!("the ConfigMap {name} is missing"));
    let mut listed = None;
    while let Some(event) = events.next().await {
        let now = match event {
            Ok(watcher::Event::Init) => {
                listed = None;
                continue;
            }
            Ok(watcher::Event::InitApply(map)) => {
                listed = Some(read(&map));
                continue;
            }
            Ok(watcher::Event::InitDone) => listed.take().unwrap_or_else(missing),
            Ok(watcher::Event::Apply(map)) => read(&map),
            Ok(watcher::Event::Delete(_)) => missing(),
            Err(_) => continue,
        };
        match &now {
            Ok(config) => info!(config_map = name, repositories = config.repositories.len(), "configured"),
            Err(why) => warn!(config_map = name, why, "nothing can be written back"),
        }
        configured.send_if_modified(|known| {
            let is_news = **known != now;
            *known = Arc::new(now);
            is_news
        });
    }
}

fn read(map: &ConfigMap) -> Result<Config, String> {
    let name = map.metadata.name.as_deref().unwrap_or_default();
    let yaml = map.data.as_ref().and_then(|data| data.get(KEY));
    let yaml = yaml.ok_or_else(|| format!("the ConfigMap {name} has no {KEY}"))?;
    Config::parse(yaml).map_err(|why| format!("ConfigMap {name}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_looked_at_is_not_kept() {
        let mut object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "web", "managedFields": [{"manager": "any"}]},
            "spec": {"replicas": 3}, "status": {"abort": true},
        }))
        .unwrap();
        slim(&mut object);
        assert_eq!(object.metadata.managed_fields, None);
        assert_eq!((&object.data["spec"], &object.data["status"]["abort"]), (&json!({}), &json!(true)));
    }

    #[test]
    fn a_config_map_without_the_key_says_so() {
        let map: ConfigMap =
            serde_json::from_value(json!({"metadata": {"name": "serin-gitops"}, "data": {"x": ""}})).unwrap();
        assert_eq!(read(&map).unwrap_err(), "the ConfigMap serin-gitops has no config.yaml");
    }
}
