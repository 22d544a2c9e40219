//! Requests to the Services of the sandbox, spread over their ready pods as a cluster spreads them.
//!
//! The API server refuses loopback addresses as endpoints, so the generator watches Services and pods and picks a
//! ready pod by the Service's selector itself, each with the same chance. Which pod is picked for the n-th request
//! depends on the seed alone. It counts what users see, by revision: the truth that a chart shows beside the metrics.
//! Pointed at objects that routers are configured by, it splits requests by their weights as these are at that moment.

mod following;
pub mod routes;
pub mod splits;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, StatusCode};
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::routes::{Endpoint, Route, routes};
use self::splits::{RouteReference, Split};

/// Time after which users give up.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Requests under way at once; more are not sent, as from users who wait for their answers.
const MOST_UNANSWERED: usize = 256;
/// Bytes of an answer that are read; the demo application sends less.
const MOST_BYTES: usize = 64 * 1024;
/// The highest rate; a timer of milliseconds does no more.
pub const HIGHEST_RATE: u32 = 1000;
/// Idle connections kept per pod.
const IDLE_CONNECTIONS: usize = 2;

/// A client for plain HTTP.
pub(super) type HttpClient = legacy::Client<HttpConnector, Body>;

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficOptions {
    /// Requests per second over all Services together, from 1 to [`HIGHEST_RATE`].
    pub rate: u32,
    /// Decides which pods are picked.
    pub seed: u64,
    /// The namespace whose Services get requests; `None` for all namespaces.
    pub namespace: Option<String>,
    /// The routes that requests go to in place of every Service. A request fails where one leads to no ready pod.
    pub routes: Vec<RouteReference>,
    /// Time after which a request counts as unanswered.
    pub patience: Duration,
}

impl Default for TrafficOptions {
    /// A hundred requests a second to every Service, from users who wait two seconds.
    fn default() -> Self {
        Self { rate: 100, seed: 1, namespace: None, routes: Vec::new(), patience: PATIENCE }
    }
}

/// Where requests went.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// `<namespace>/<name>` of the Service; the route where that leads nowhere.
    pub service: String,
    /// The pod hash of the pod; empty when it has none, and when no pod was ready.
    pub revision: String,
}

/// How requests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// With a status from 200 to 299.
    pub succeeded: u64,
    /// With another status.
    pub failed: u64,
    /// Without an answer: no ready pod, refused, or too late.
    pub unanswered: u64,
}

impl Counts {
    /// All requests.
    #[must_use]
    pub fn total(self) -> u64 {
        self.succeeded + self.failed + self.unanswered
    }

    /// The share of requests that succeeded, from 0 to 1; `None` of none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of a sandbox are far below 2^52")]
    pub fn success_rate(self) -> Option<f64> {
        (self.total() > 0).then(|| self.succeeded as f64 / self.total() as f64)
    }

    /// The requests since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            succeeded: self.succeeded.saturating_sub(earlier.succeeded),
            failed: self.failed.saturating_sub(earlier.failed),
            unanswered: self.unanswered.saturating_sub(earlier.unanswered),
        }
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, next| Self {
            succeeded: sum.succeeded + next.succeeded,
            failed: sum.failed + next.failed,
            unanswered: sum.unanswered + next.unanswered,
        })
    }
}

/// The counts of every destination since the start.
pub type Tally = BTreeMap<Destination, Counts>;

/// A running generator. Dropping it ends the requests.
#[derive(Debug)]
pub struct Traffic {
    tally: Arc<Mutex<Tally>>,
    routes: watch::Receiver<Vec<Route>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Sends requests to every Service with a selector, or to every route that is named, picked by chance, from when the
    /// first is known.
    #[must_use]
    pub fn start(client: Client, options: TrafficOptions) -> Self {
        let (publish, routes) = watch::channel(Vec::new());
        let tally = Arc::new(Mutex::new(Tally::new()));
        let (publish_splits, splits) = watch::channel(Vec::new());
        let is_split = !options.routes.is_empty();
        let generator = Generator {
            routes: routes.clone(),
            splits: is_split.then_some(splits),
            tally: Arc::clone(&tally),
            http: http_client(),
            patience: options.patience,
            unanswered: Arc::new(Semaphore::new(MOST_UNANSWERED)),
            dice: Dice::new(options.seed),
        };
        let mut tasks = vec![tokio::spawn(follow(client.clone(), options.namespace, publish))];
        tasks.extend(
            is_split.then(|| tokio::spawn(following::follow(client, options.routes, publish_splits))),
        );
        tasks.push(tokio::spawn(generator.send_at(options.rate)));
        Self { tally, routes, tasks }
    }

    /// The counts up to now.
    #[must_use]
    pub fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// The routes as they are now, and as they change.
    #[must_use]
    pub fn routes(&self) -> watch::Receiver<Vec<Route>> {
        self.routes.clone()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    // The map is whole after every statement that changes it.
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client that keeps connections open.
pub(super) fn http_client() -> HttpClient {
    legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(IDLE_CONNECTIONS).build_http()
}

/// Keeps the routes in step with Services and pods until nobody looks at them.
async fn follow(client: Client, namespace: Option<String>, publish: watch::Sender<Vec<Route>>) {
    let (services, services_writer) = reflector::store::<Service>();
    let (pods, pods_writer) = reflector::store::<Pod>();
    let config = watcher::Config::default().streaming_lists();
    let service_events = watcher(within::<Service>(&client, namespace.as_deref()), config.clone())
        .default_backoff()
        .reflect(services_writer)
        .map(|event| event.map(drop));
    let pod_events = watcher(within::<Pod>(&client, namespace.as_deref()), config)
        .modify(|pod| pod.metadata.managed_fields = None)
        .default_backoff()
        .reflect(pods_writer)
        .map(|event| event.map(drop));
    let mut events = stream::select(service_events.boxed(), pod_events.boxed());
    while let Some(event) = events.next().await {
        match event {
            // Until both lists are there, pods would only seem to be missing.
            Ok(()) if is_filled(&services) && is_filled(&pods) => publish_routes(&publish, &services, &pods),
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "watching Services and pods; trying again"),
        }
    }
}

/// The objects of one namespace, or of all.
fn within<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn is_filled<K>(store: &Store<K>) -> bool
where
    K: reflector::Lookup<DynamicType: Clone + Eq + std::hash::Hash> + Clone + 'static,
{
    store.wait_until_ready().now_or_never().is_some()
}

fn publish_routes(publish: &watch::Sender<Vec<Route>>, services: &Store<Service>, pods: &Store<Pod>) {
    let (services, pods) = (services.state(), pods.state());
    let next = routes(services.iter().map(AsRef::as_ref), pods.iter().map(AsRef::as_ref));
    publish.send_if_modified(|current| {
        let changed = *current != next;
        *current = next;
        changed
    });
}

struct Generator {
    routes: watch::Receiver<Vec<Route>>,
    /// How requests are split; `None` where they go to every Service.
    splits: Option<watch::Receiver<Vec<Split>>>,
    tally: Arc<Mutex<Tally>>,
    http: HttpClient,
    patience: Duration,
    unanswered: Arc<Semaphore>,
    dice: Dice,
}

impl Generator {
    async fn send_at(mut self, rate: u32) {
        let rate = rate.clamp(1, HIGHEST_RATE);
        let mut ticks = interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.send_next();
        }
    }

    fn pick(&mut self) -> Option<(String, Option<Endpoint>)> {
        match &self.splits {
            Some(splits) => pick_split(&splits.borrow(), &self.routes.borrow(), &mut self.dice),
            None => pick(&self.routes.borrow(), &mut self.dice),
        }
    }

    /// Sends one request and does not wait for the answer.
    fn send_next(&mut self) {
        let Ok(permit) = Arc::clone(&self.unanswered).try_acquire_owned() else { return };
        let Some((service, endpoint)) = self.pick() else { return };
        let revision = endpoint.as_ref().map(|endpoint| endpoint.revision.clone()).unwrap_or_default();
        let destination = Destination { service, revision };
        let (http, patience, tally) = (self.http.clone(), self.patience, Arc::clone(&self.tally));
        tokio::spawn(async move {
            let answer = match endpoint {
                Some(Endpoint { address, .. }) => get(&http, &format!("http://{address}/"), patience).await,
                None => None,
            };
            let answer = answer.map(|(status, _)| status);
            count(lock(&tally).entry(destination).or_default(), answer);
            drop(permit);
        });
    }
}

/// The Service and the pod of the next request; no pod when there is none that is ready, nothing while nothing is known.
fn pick_split(splits: &[Split], routes: &[Route], dice: &mut Dice) -> Option<(String, Option<Endpoint>)> {
    let split = splits.get(dice.below(splits.len())).filter(|_| !routes.is_empty())?;
    let whole = usize::try_from(split.whole()).unwrap_or(usize::MAX);
    let number = u64::try_from(dice.below(whole)).unwrap_or_default();
    let Some(backend) = split.at(number) else { return Some((split.route.clone(), None)) };
    let route = routes.iter().find(|route| route.service == backend.service);
    let endpoints = route.into_iter().flat_map(|route| &route.endpoints);
    let endpoints: Vec<_> = endpoints.filter(|endpoint| backend.takes(endpoint)).collect();
    let endpoint = endpoints.get(dice.below(endpoints.len())).copied();
    Some((backend.service.clone(), endpoint.cloned()))
}

/// The Service and the pod of the next request; no pod when the Service has none that is ready, nothing when there is no
/// Service. A Service that never had a ready pod is not told apart: it gets requests too, as from users.
fn pick(routes: &[Route], dice: &mut Dice) -> Option<(String, Option<Endpoint>)> {
    let route = routes.get(dice.below(routes.len()))?;
    let endpoint = route.endpoints.get(dice.below(route.endpoints.len()));
    Some((route.service.clone(), endpoint.cloned()))
}

fn count(counts: &mut Counts, answer: Option<StatusCode>) {
    match answer {
        Some(status) if status.is_success() => counts.succeeded += 1,
        Some(_) => counts.failed += 1,
        None => counts.unanswered += 1,
    }
}

/// The answer to a GET; `None` when there is none within `patience`.
pub(super) async fn get(http: &HttpClient, url: &str, patience: Duration) -> Option<(StatusCode, Bytes)> {
    let request = Request::get(url).body(Body::empty()).ok()?;
    let exchange = async {
        let answer = http.request(request).await.ok()?;
        let status = answer.status();
        // A connection is used again only after its answer was read to the end.
        let body = to_bytes(Body::new(answer.into_body()), MOST_BYTES).await.ok()?;
        Some((status, body))
    };
    timeout(patience, exchange).await.ok().flatten()
}

/// Marsaglia's xorshift64*: reproducible, and even enough to pick pods.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        // A state of 0 would stay 0; the constant also moves small seeds apart.
        Self((seed ^ 0x9e37_79b9_7f4a_7c15).max(1))
    }

    /// A number from 0 to below `limit`; 0 when `limit` is 0.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(number).unwrap_or_default().checked_rem(limit).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn ten_pods() -> Vec<Route> {
        let endpoint = |pod: u8| Endpoint {
            address: SocketAddr::from(([127, 20, 0, pod], 8080)),
            revision: if pod < 3 { "canary" } else { "stable" }.to_owned(),
            labels: BTreeMap::new(),
        };
        vec![Route { service: "n/s".to_owned(), endpoints: (0..10).map(endpoint).collect() }]
    }

    fn picks(seed: u64, requests: usize) -> Vec<String> {
        let (routes, mut dice) = (ten_pods(), Dice::new(seed));
        (0..requests).filter_map(|_| pick(&routes, &mut dice)?.1).map(|end| end.address.to_string()).collect()
    }

    #[test]
    fn every_pod_is_picked_with_the_same_chance() {
        let mut counts = BTreeMap::new();
        for address in picks(7, 10_000) {
            *counts.entry(address).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 10);
        assert!(counts.values().all(|count| (900..1100).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_same_seed_picks_the_same_pods() {
        assert_eq!(picks(7, 50), picks(7, 50));
        assert_ne!(picks(7, 50), picks(8, 50));
        assert_ne!(picks(0, 50), picks(1, 50));
    }

    #[test]
    fn without_a_ready_pod_there_is_a_request_and_no_pod() {
        let mut dice = Dice::new(1);
        let routes = [Route { service: "n/s".to_owned(), endpoints: Vec::new() }];
        assert_eq!(pick(&routes, &mut dice), Some(("n/s".to_owned(), None)));
        assert_eq!(pick(&[], &mut dice), None);
    }

    #[test]
    fn a_success_rate_counts_what_was_not_answered() {
        let mut counts = Counts::default();
        assert_eq!(counts.success_rate(), None);
        for answer in
            [Some(StatusCode::OK), Some(StatusCode::NO_CONTENT), Some(StatusCode::BAD_GATEWAY), None]
        {
            count(&mut counts, answer);
        }
        assert_eq!(counts, Counts { succeeded: 2, failed: 1, unanswered: 1 });
        assert_eq!(counts.success_rate(), Some(0.5));
        assert_eq!(counts.since(Counts { succeeded: 1, ..Counts::default() }).total(), 3);
    }
}
