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
/// Answers in a row after which what they say is taken to last. An API server that has just come up refuses what it allows
/// a moment later.
const LASTING: u32 = 4;

/// Starts the watches of every kind that the caches hold.
pub(crate) fn start(client: &Client, options: &Options, caches: &Arc<Caches>, tasks: &mut JoinSet<()>) {
    let shard = watcher::Config::default().labels(&shard_selector(&options.instance_id));
    let revisions = watcher::Config::default().labels(labels::POD_TEMPLATE_HASH);
    let everything = watcher::Config::default();
    for kind in caches.watched() {
        let watch = Watch::new(kind, caches);
        match kind {
            Watched::Rollouts => {
                let api = namespaced(client, options);
                tasks.spawn(watch.run(api, shard.clone(), Caches::rollout_event));
            }
            Watched::AnalysisRuns => {
                let api = namespaced(client, options);
                tasks.spawn(watch.run(api, shard.clone(), Caches::run_event));
            }
            Watched::Experiments => {
                let api = namespaced(client, options);
                tasks.spawn(watch.run(api, shard.clone(), Caches::experiment_event));
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
pub(crate) fn shard_selector(instance_id: &str) -> String {
    if instance_id.is_empty() {
        format!("!{}", labels::INSTANCE_ID)
    } else {
        format!("{}={instance_id}", labels::INSTANCE_ID)
    }
}

pub(super) struct Watch {
    kind: Watched,
    caches: Arc<Caches>,
    delays: ExponentialBackoff,
    /// Failures in a row.
    failures: u32,
    /// Failures in a row by which the API server itself said that there is nothing to watch, or that it is not allowed.
    refusals: u32,
}

impl Watch {
    pub(super) fn new(kind: Watched, caches: &Arc<Caches>) -> Self {
        Self { kind, caches: Arc::clone(caches), delays: delays(), failures: 0, refusals: 0 }
    }

    pub(super) async fn run<K>(
        mut self,
        api: Api<K>,
        config: watcher::Config,
        feed: impl Fn(&Caches, Event<K>) + Send,
    ) where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
        K::DynamicType: Clone,
    {
        loop {
            self.until_refused(&api, &config, &feed).await;
        }
    }

    /// Fills the cache until the API server refuses the watch, and not just for a moment.
    pub(super) async fn until_refused<K>(
        &mut self,
        api: &Api<K>,
        config: &watcher::Config,
        feed: &(impl Fn(&Caches, Event<K>) + Send),
    ) where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
        K::DynamicType: Clone,
    {
        let mut listing = config.clone().streaming_lists();
        loop {
            let mut events = std::pin::pin!(watcher(api.clone(), listing.clone()));
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        if matches!(event, Event::Apply(_) | Event::Delete(_) | Event::InitDone) {
                            self.healthy();
                        }
                        feed(&self.caches, event);
                    }
                    Err(error) if listing != *config && is_streaming_refused(&error) => {
                        debug!(kind = self.kind.resource(), %error, "no streaming lists here, listing in pages");
                        listing.clone_from(config);
                        break;
                    }
                    Err(error) => {
                        self.failed(&error).await;
                        if self.refusals >= LASTING {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// In which version a kind is served here; waits for as long as it is served in none.
    pub(super) async fn discover(&mut self, client: &Client, kind: RouteKind) -> ApiResource {
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
                self.failed(&watcher::Error::WatchStartFailed(missing(error))).await;
            }
        }
    }

    fn healthy(&mut self) {
        *self = Self::new(self.kind, &self.caches);
        if self.caches.set_problem(self.kind, None) {
            info!(kind = self.kind.resource(), "watch works again");
        }
    }

    /// Says what is in the way, and waits before the next attempt.
    async fn failed(&mut self, error: &watcher::Error) {
        let is_refused = answer(error).is_some_and(|status| matches!(status.code, 403 | 404));
        self.failures = self.failures.saturating_add(1);
        self.refusals = if is_refused { self.refusals.saturating_add(1) } else { 0 };
        // Whoever needs a router's objects does not work without them; what passes by itself is not worth that.
        let is_worth_telling = self.failures >= LASTING || !matches!(self.kind, Watched::Routes(_));
        let (problem, remedy) = explain(self.kind, error);
        if is_worth_telling && self.caches.set_problem(self.kind, Some(&problem)) {
            warn!(kind = self.kind.resource(), problem, remedy, "cannot watch, trying again");
        }
        sleep(self.delays.next().unwrap_or(RETRY.1)).await;
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
fn explain(kind: Watched, error: &watcher::Error) -> (String, &'static str) {
    match answer(error).map(|status| status.code) {
        Some(404) => (
            format!("the CustomResourceDefinition {} is not installed", kind.resource()),
            match kind {
                Watched::Routes(_) => "install the router's definitions",
                _ => "install the definitions: kubectl apply -f crds/",
            },
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
        let (problem, remedy) = explain(Watched::Rollouts, &refused(404));
        assert_eq!(problem, "the CustomResourceDefinition rollouts.argoproj.io is not installed");
        assert_eq!(remedy, "install the definitions: kubectl apply -f crds/");
    }

    #[test]
    fn objects_without_the_label_belong_to_the_shard_without_a_name() {
        assert_eq!(shard_selector(""), "!argo-rollouts.argoproj.io/controller-instance-id");
        assert_eq!(shard_selector("blue"), "argo-rollouts.argoproj.io/controller-instance-id=blue");
    }
}
