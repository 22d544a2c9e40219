//! Watches that never end: each fills one cache, survives whatever the API server answers, and says what is in its way.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::StreamExt;
use kube::api::{Api, ApiResource, GroupVersionKind};
use kube::core::Status;
use kube::discovery::pinned_kind;
use kube::error::DiscoveryError;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::caches::{Caches, Watched};
use super::options::Options;
use crate::api::labels;
use crate::traffic::RouteKind;

/// First and longest wait after a failed request of a watch.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// Starts the watches of every kind that the caches hold.
pub(crate) fn start(client: &Client, options: &Options, caches: &Arc<Caches>, tasks: &mut JoinSet<()>) {
    let shard = watcher::Config::default().labels(&shard_selector(&options.instance_id));
    let revisions = watcher::Config::default().labels(labels::POD_TEMPLATE_HASH);
    let everything = watcher::Config::default();
    for kind in caches.watched() {
        let watch = Watch { kind, caches: Arc::clone(caches) };
        match kind {
            Watched::Rollouts => {
                let api = namespaced(client, options);
                tasks.spawn(watch.run(api, shard.clone(), Caches::rollout_event));
            }
            Watched::AnalysisRuns => {
                let api = namespaced(client, options);
                tasks.spawn(watch.run(api, shard.clone(), Caches::run_event));
            }
            Watched::AnalysisTemplates => {
                let api = namespaced(client, options);
                tasks.spawn(watch.run(api, everything.clone(), Caches::template_event));
            }
            Watched::ClusterAnalysisTemplates => {
                let api = Api::all(client.clone());
                tasks.spawn(watch.run(api, everything.clone(), Caches::cluster_template_event));
            }
            Watched::ReplicaSets => {
                let api = namespaced(client, options);
                tasks.spawn(watch.run(api, revisions.clone(), Caches::replica_set_event));
            }
            Watched::Services => {
                let api = namespaced(client, options);
                tasks.spawn(watch.run(api, everything.clone(), Caches::service_event));
            }
            // Never among them: `workloads::follow` and `routes::follow` watch these as they are needed.
            Watched::Workloads(_) | Watched::Routes(_) => {}
        }
    }
}

pub(super) fn namespaced<K>(client: &Client, options: &Options) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    match &options.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Objects of this shard; those without the label belong to the shard without a name.
fn shard_selector(instance_id: &str) -> String {
    if instance_id.is_empty() {
        format!("!{}", labels::INSTANCE_ID)
    } else {
        format!("{}={instance_id}", labels::INSTANCE_ID)
    }
}

pub(super) struct Watch {
    pub(super) kind: Watched,
    pub(super) caches: Arc<Caches>,
}

impl Watch {
    pub(super) async fn run<K>(
        self,
        api: Api<K>,
        config: watcher::Config,
        feed: impl Fn(&Caches, Event<K>) + Send,
    ) where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
        K::DynamicType: Clone,
    {
        let mut listing = config.clone().streaming_lists();
        loop {
            let mut events = std::pin::pin!(watcher(api.clone(), listing.clone()));
            let mut delays = delays();
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        delays = self::delays();
                        if matches!(event, Event::Apply(_) | Event::Delete(_) | Event::InitDone) {
                            self.healthy();
                        }
                        feed(&self.caches, event);
                    }
                    Err(error) if listing != config && is_streaming_refused(&error) => {
                        debug!(kind = self.kind.resource(), %error, "no streaming lists here, listing in pages");
                        listing.clone_from(&config);
                        break;
                    }
                    Err(error) => {
                        self.failed(&error);
                        sleep(delays.next().unwrap_or(RETRY.1)).await;
                    }
                }
            }
        }
    }

    /// In which version a kind is served here; waits for as long as it is served in none.
    pub(super) async fn discover(&self, client: &Client, kind: RouteKind) -> ApiResource {
        let mut delays = delays();
        loop {
            let mut failure = None;
            for version in kind.versions() {
                let kind = GroupVersionKind::gvk(kind.group(), version, kind.as_str());
                match pinned_kind(client, &kind).await {
                    Ok((resource, _)) => return resource,
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
            if let Some(error) = failure {
                self.failed(&watcher::Error::WatchStartFailed(missing(error)));
            }
            sleep(delays.next().unwrap_or(RETRY.1)).await;
        }
    }

    fn healthy(&self) {
        if self.caches.set_problem(self.kind, None) {
            info!(kind = self.kind.resource(), "watch works again");
        }
    }

    fn failed(&self, error: &watcher::Error) {
        let kind = self.kind.resource();
        let (problem, remedy) = explain(kind, error);
        if self.caches.set_problem(self.kind, Some(&problem)) {
            warn!(kind, problem, remedy, "cannot watch, trying again");
        }
    }
}

/// A group that does not know a kind says so in another way than a server that does not know the group.
fn missing(error: kube::Error) -> kube::Error {
    match error {
        kube::Error::Discovery(DiscoveryError::MissingKind(_) | DiscoveryError::MissingApiGroup(_)) => {
            kube::Error::Api(Status::failure("not served", "NotFound").with_code(404).boxed())
        }
        other => other,
    }
}

fn delays() -> ExponentialBackoff {
    let delays = ExponentialBuilder::default().with_jitter().with_min_delay(RETRY.0).with_max_delay(RETRY.1);
    delays.without_max_times().build()
}

/// The API server's answer, when there is one.
fn answer(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// Whether a server without the feature `WatchList` was asked for a streaming list.
fn is_streaming_refused(error: &watcher::Error) -> bool {
    let started = matches!(error, watcher::Error::WatchStartFailed(_));
    started && answer(error).is_some_and(|status| matches!(status.code, 400 | 405 | 422))
}

/// What is wrong, and what a person can do about it.
fn explain(kind: &str, error: &watcher::Error) -> (String, &'static str) {
    match answer(error).map(|status| status.code) {
        Some(404) => (
            format!("the CustomResourceDefinition {kind} is not installed"),
            "install the definitions: kubectl apply -f crds/",
        ),
        Some(403) => (
            answer(error).map(|status| status.message.clone()).unwrap_or_default(),
            "grant get, list and watch on it to the controller's service account",
        ),
        _ => (chain(error), "none needed when the API server comes back"),
    }
}

/// An error with its causes, without repeating what a cause says already.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16) -> watcher::Error {
        let status = Status::failure("no", "Reason").with_code(code).boxed();
        watcher::Error::WatchStartFailed(kube::Error::Api(status))
    }

    #[test]
    fn a_server_without_streaming_lists_is_listed_in_pages() {
        assert!(is_streaming_refused(&refused(422)));
        assert!(!is_streaming_refused(&refused(404)) && !is_streaming_refused(&refused(403)));
    }

    #[test]
    fn a_missing_definition_is_named_with_its_remedy() {
        let (problem, remedy) = explain("rollouts.argoproj.io", &refused(404));
        assert_eq!(problem, "the CustomResourceDefinition rollouts.argoproj.io is not installed");
        assert_eq!(remedy, "install the definitions: kubectl apply -f crds/");
    }

    #[test]
    fn objects_without_the_label_belong_to_the_shard_without_a_name() {
        assert_eq!(shard_selector(""), "!argo-rollouts.argoproj.io/controller-instance-id");
        assert_eq!(shard_selector("blue"), "argo-rollouts.argoproj.io/controller-instance-id=blue");
    }
}
