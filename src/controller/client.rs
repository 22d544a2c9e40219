//! The way to the API server: every request counted, in time, and as many at once as it can take.
//!
//! The API server's own fairness decides who waits: its 429 and 503 are obeyed, with `Retry-After`. There is no throttle
//! on this side unless one is asked for.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::client::{Body, ClientBuilder, retry::RetryPolicy};
use kube::{Client, Config};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
use tower::buffer::BufferLayer;
use tower::layer::layer_fn;
use tower::retry::RetryLayer;
use tower::{BoxError, Service, ServiceExt as _};

use super::options::{RequestLimits, RequestRate};
use super::repeat::Repeat;
use crate::metrics::{Metrics, Verb};
use crate::traffic::RouteKind;

/// How long the API server may take to begin its answer. Its own limit on a request is 60 s, most take milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Shortest and longest wait before a request is repeated when the API server names no time.
const REPEAT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Times a request is repeated; afterwards the pass is, with a backoff of its own.
const REPEATS: u32 = 5;
/// Requests between two layers; more wait outside.
const BUFFER: usize = 1024;

/// A client for `config` with limits, retries and counters.
///
/// # Errors
/// When the configuration cannot be used, for example a certificate that cannot be read.
pub(crate) fn connect(
    mut config: Config,
    limits: RequestLimits,
    metrics: &Arc<Metrics>,
) -> kube::Result<Client> {
    config.default_retry = false;
    let policy = RetryPolicy::new(REPEAT.0, REPEAT.1, REPEATS, true);
    let policy = policy.map_err(|error| kube::Error::Service(error.into()))?;
    let metrics = Arc::clone(metrics);
    let gate = Arc::new(Gate::new(limits));
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&layer_fn(move |inner| Counted { inner, metrics: Arc::clone(&metrics) }))
        .with_layer(&BufferLayer::new(BUFFER))
        .with_layer(&RetryLayer::new(Repeat::new(policy)))
        .with_layer(&layer_fn(move |inner| Limited { inner, gate: Arc::clone(&gate) }))
        .build())
}

/// Counts each attempt of a request, and bounds the wait for its answer.
struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (verb, kind) = purpose(request.method(), request.uri().path(), request.uri().query());
        let metrics = Arc::clone(&self.metrics);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|late| Err(late.into()));
            let status = answer.as_ref().ok().map(|response| response.status().as_u16());
            metrics.request(verb, kind, status);
            answer
        })
    }
}

/// Lets a request through when there is room for it.
struct Limited<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S, B> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Readiness is waited for in the call, once there is room.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (inner, gate) = (self.inner.clone(), Arc::clone(&self.gate));
        let (verb, kind) = purpose(request.method(), request.uri().path(), request.uri().query());
        Box::pin(async move {
            if verb == Verb::Watch || kind == "leases" {
                return inner.oneshot(request).await;
            }
            let _room = gate.room.acquire().await?;
            if let Some(at) = gate.turn(Instant::now()) {
                sleep_until(at).await;
            }
            inner.oneshot(request).await
        })
    }
}

struct Gate {
    room: Semaphore,
    rate: Option<RequestRate>,
    /// When the requests let through so far would be over at the steady rate.
    paid_until: Mutex<Option<Instant>>,
}

impl Gate {
    fn new(limits: RequestLimits) -> Self {
        Self {
            room: Semaphore::new(limits.in_flight.max(1)),
            rate: limits.rate,
            paid_until: Mutex::new(None),
        }
    }

    /// When the next request may go; `None` for now.
    fn turn(&self, now: Instant) -> Option<Instant> {
        let rate = self.rate?;
        let each = Duration::from_secs(1) / rate.per_second.max(1);
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = paid_until.map_or(now, |until| until.max(now));
        *paid_until = Some(begin + each);
        let at = begin.checked_sub(each * rate.burst.saturating_sub(1)).filter(|at| *at > now);
        drop(paid_until);
        at
    }
}

/// Verb and resource of a request, as far as they can be told from its address.
fn purpose(method: &Method, path: &str, query: Option<&str>) -> (Verb, &'static str) {
    let mut segments =
        path.trim_start_matches('/').split('/').skip_while(|part| *part != "api" && *part != "apis");
    let skipped = if segments.next() == Some("api") { 1 } else { 2 };
    let mut rest = segments.skip(skipped).peekable();
    if rest.peek() == Some(&"namespaces") {
        rest.next();
        rest.next();
    }
    let kind = rest.next().and_then(known_resource).unwrap_or("other");
    let named = rest.next().is_some();
    let watched = query.is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
    let verb = match *method {
        Method::GET if watched => Verb::Watch,
        Method::GET if named => Verb::Get,
        Method::GET => Verb::List,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE => Verb::Delete,
        _ => Verb::Unknown,
    };
    (verb, kind)
}

/// The resources that this program touches: a closed set, because it is a metric's label.
fn known_resource(name: &str) -> Option<&'static str> {
    const KNOWN: [&str; 14] = [
        "rollouts",
        "analysisruns",
        "analysistemplates",
        "clusteranalysistemplates",
        "replicasets",
        "deployments",
        "podtemplates",
        "services",
        "pods",
        "endpointslices",
        "events",
        "leases",
        "secrets",
        "experiments",
    ];
    let of_routes = || RouteKind::ALL.into_iter().map(RouteKind::plural).find(|known| *known == name);
    KNOWN.into_iter().find(|known| *known == name).or_else(of_routes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_verb_and_resource() {
        for (method, path, query, expected) in [
            (
                Method::GET,
                "/apis/argoproj.io/v1alpha1/rollouts",
                Some("watch=true&x=1"),
                (Verb::Watch, "rollouts"),
            ),
            (
                Method::PATCH,
                "/apis/networking.istio.io/v1/namespaces/a/virtualservices/b",
                None,
                (Verb::Patch, "virtualservices"),
            ),
            (Method::GET, "/api/v1/services", None, (Verb::List, "services")),
            (
                Method::PATCH,
                "/apis/argoproj.io/v1alpha1/namespaces/a/rollouts/b/status",
                None,
                (Verb::Patch, "rollouts"),
            ),
            (Method::POST, "/api/v1/namespaces/a/events", None, (Verb::Create, "events")),
            (Method::GET, "/prefix/api/v1/namespaces/a/secrets/b", None, (Verb::Get, "secrets")),
            (Method::DELETE, "/apis/batch/v1/namespaces/a/jobs/b", None, (Verb::Delete, "other")),
        ] {
            assert_eq!(purpose(&method, path, query), expected, "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_lets_a_burst_through_and_then_paces() {
        let rate = RequestRate { per_second: 10, burst: 3 };
        let gate = Gate::new(RequestLimits { in_flight: 1, rate: Some(rate) });
        let now = Instant::now();
        let waits: Vec<_> = (0..5).map(|_| gate.turn(now).map_or(0, |at| (at - now).as_millis())).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_is_paced() {
        let gate = Gate::new(RequestLimits::default());
        assert!((0..1000).all(|_| gate.turn(Instant::now()).is_none()));
    }
}
