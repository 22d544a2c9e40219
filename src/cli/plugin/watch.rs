//! Pictures that follow the cluster: watches feed stores, and a change redraws what the stores hold.
//!
//! Nothing polls. Changes that come close together are drawn together, so that a busy rollout does not flicker; on a
//! terminal the picture is also redrawn as ages grow.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use futures::stream::{BoxStream, select_all};
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::{Store, store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until};

use super::connection::Connection;
use super::error::PluginError;
use super::screen::Picture;
use super::{now, objects};
use crate::api::labels::POD_TEMPLATE_HASH;
use crate::api::{AnalysisRun, Experiment, Rollout};
use crate::view::{self, Columns, Observed, Paint};

/// Least time between two pictures: at most five a second.
const FRAME: Duration = Duration::from_millis(200);

/// How often a picture on a terminal is redrawn without a change, for its ages.
const AGEING: Duration = Duration::from_secs(1);

/// Tells that a store has changed.
pub(super) type Signals = BoxStream<'static, watcher::Result<()>>;

/// Follows objects: a store that the signals keep up to date while they are awaited.
pub(super) fn follow<K>(api: Api<K>, config: watcher::Config) -> (Store<K>, Signals)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Default + Clone + Eq + Hash + Send + Sync,
{
    let (reader, writer) = store();
    let events = watcher(api, config).default_backoff().modify(|object| object.managed_fields_mut().clear());
    (reader, events.reflect(writer).map(|event| event.map(|_| ())).boxed())
}

/// The watch of one rollout.
pub(super) fn follow_rollout(connection: &Connection, name: &str) -> (Store<Rollout>, Signals) {
    follow(connection.api(), watcher::Config::default().fields(&format!("metadata.name={name}")))
}

/// The objects of a store, once it has been filled.
pub(super) fn state<K>(store: &Store<K>) -> Option<Vec<K>>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Clone + Eq + Hash,
{
    store.wait_until_ready().now_or_never()?.ok()?;
    Some(store.state().iter().map(|object| K::clone(object)).collect())
}

/// Waits for the next change.
///
/// # Errors
///
/// Those that no repetition can mend, such as a missing permission; all others are tried again, ever more slowly.
pub(super) async fn changed(connection: &Connection, signals: &mut Signals) -> Result<(), PluginError> {
    loop {
        match signals.next().await {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => lasting(connection, error)?,
            None => std::future::pending().await,
        }
    }
}

/// Draws the tree of a rollout at each change, for as long as `limit` says.
pub(super) async fn tree(
    connection: &Connection,
    name: &str,
    paint: Paint,
    limit: Option<Duration>,
) -> Result<(), PluginError> {
    let rollout = connection.rollout(name).await?;
    let of_rollout = watcher::Config::default().labels(&objects::selector(&rollout));
    let (rollouts, rollout_signals) = follow_rollout(connection, name);
    let (sets, set_signals) = follow::<ReplicaSet>(connection.api(), of_rollout.clone());
    let (pods, pod_signals) = follow::<Pod>(connection.api(), of_rollout);
    let (runs, run_signals) = follow::<AnalysisRun>(connection.api(), watcher::Config::default());
    let (experiments, experiment_signals) =
        follow::<Experiment>(connection.api(), watcher::Config::default());
    let signals = [rollout_signals, set_signals, pod_signals, run_signals, experiment_signals];
    let signals = select_all(signals).boxed();
    let mut picture = Picture::new(paint);
    let draw = || {
        let (Some(rollouts), Some(replica_sets), Some(pods), Some(analysis_runs), Some(experiments)) =
            (state(&rollouts), state(&sets), state(&pods), state(&runs), state(&experiments))
        else {
            return Ok(());
        };
        let Some(rollout) = rollouts.into_iter().next() else {
            return Err(PluginError::Deleted(name.to_owned()));
        };
        let observed = Observed { rollout, replica_sets, pods, analysis_runs, experiments };
        let tree = view::tree(&observed);
        picture.draw(|detail| view::render(&tree, now(), detail))
    };
    let drawing = redraw(connection, signals, draw);
    match limit {
        Some(limit) => tokio::time::timeout(limit, drawing).await.unwrap_or(Ok(())),
        None => drawing.await,
    }
}

/// Draws the tree of an Experiment at each change, for as long as `limit` says.
pub(super) async fn experiment(
    connection: &Connection,
    name: &str,
    paint: Paint,
    limit: Option<Duration>,
) -> Result<(), PluginError> {
    connection.find::<Experiment>(name).await?;
    let of_pods = watcher::Config::default().labels(POD_TEMPLATE_HASH);
    let named = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let (experiments, experiment_signals) = follow::<Experiment>(connection.api(), named);
    let (sets, set_signals) = follow::<ReplicaSet>(connection.api(), of_pods.clone());
    let (pods, pod_signals) = follow::<Pod>(connection.api(), of_pods);
    let (runs, run_signals) = follow::<AnalysisRun>(connection.api(), watcher::Config::default());
    let signals = select_all([experiment_signals, set_signals, pod_signals, run_signals]).boxed();
    let mut picture = Picture::new(paint);
    let draw = || {
        let (Some(experiments), Some(sets), Some(pods), Some(runs)) =
            (state(&experiments), state(&sets), state(&pods), state(&runs))
        else {
            return Ok(());
        };
        let Some(experiment) = experiments.first() else {
            return Err(PluginError::Refused(format!("Experiment '{name}' was deleted")));
        };
        let tree = view::experiment(experiment, &sets, &pods, &runs);
        picture.draw(|detail| view::render_experiment(&tree, now(), detail))
    };
    let drawing = redraw(connection, signals, draw);
    match limit {
        Some(limit) => tokio::time::timeout(limit, drawing).await.unwrap_or(Ok(())),
        None => drawing.await,
    }
}

/// Draws the table of rollouts at each change.
pub(super) async fn table(
    connection: &Connection,
    api: Api<Rollout>,
    columns: Columns,
    fields: Option<&str>,
    paint: Paint,
) -> Result<(), PluginError> {
    let config = fields.iter().fold(watcher::Config::default(), |config, fields| config.fields(fields));
    let (rollouts, signals) = follow(api, config);
    let mut picture = Picture::new(paint);
    redraw(connection, signals, || match state(&rollouts) {
        Some(rollouts) => picture.draw(|_| view::list(&rollouts, columns)),
        None => Ok(()),
    })
    .await
}

/// Draws when something has changed, not more often than [`FRAME`] allows.
async fn redraw(
    connection: &Connection,
    mut signals: Signals,
    mut draw: impl FnMut() -> Result<(), PluginError>,
) -> Result<(), PluginError> {
    let mut earliest = Instant::now();
    let mut due = None;
    loop {
        let ageing = Picture::is_live().then(|| earliest + AGEING);
        let wake = due.or(ageing);
        tokio::select! {
            change = changed(connection, &mut signals) => {
                change?;
                due = due.or(Some(earliest.max(Instant::now())));
            }
            () = sleep_until(wake.unwrap_or(earliest)), if wake.is_some() => {
                draw()?;
                earliest = Instant::now() + FRAME;
                due = None;
            }
        }
    }
}

/// Turns an error of a watch that will not go away by itself into that of the command.
fn lasting(connection: &Connection, error: watcher::Error) -> Result<(), PluginError> {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else {
        return Ok(());
    };
    match &error {
        kube::Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 404 | 405) => {
            Err(connection.failure(error, "watch rollouts and what belongs to them", None))
        }
        _ => Ok(()),
    }
}
