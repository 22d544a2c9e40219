//! One demo application: an HTTP server with the latency and the error rate of its [`Behaviour`], and `/metrics`.
//!
//! Errors are spread evenly instead of by chance: of any hundred requests in a row exactly `error_percent` fail, so that
//! a demonstration shows the same twice.

use std::convert::Infallible;
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::FutureExt;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::behaviour::Behaviour;

/// How long answers that are under way may take once a server is to end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// A pod without a request for this many looks in a row gets none any more. Looks are counted rather than time, so that a
/// pause of the whole process does not pass for silence.
const SILENT_LOOKS: u32 = 10;
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Media type that Prometheus knows the exposition by.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Buckets of the latency histogram: 1 ms, doubled up to 16 s.
const BUCKETS: (f64, f64, u16) = (0.001, 2.0, 15);

/// A running server. Dropping it lets answers under way be given, takes no more connections, and ends it.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    arrivals: Arrivals,
    stops_after: Duration,
    _stop: oneshot::Sender<Infallible>,
}

impl Server {
    /// Serves on `listener` until it is dropped.
    pub(super) fn start(
        listener: TcpListener,
        address: SocketAddr,
        name: &str,
        behaviour: Behaviour,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let application = Application::new(name, behaviour);
        let arrivals = application.arrivals.clone();
        tokio::spawn(serve(listener, router(Arc::new(application)), stopped));
        Self { address, arrivals, stops_after: behaviour.stops_after, _stop: stop }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns when it may end after the deletion of its pod; it may be dropped meanwhile.
    pub(super) fn drain(&self) -> impl Future<Output = ()> + use<> {
        let (arrivals, stops_after) = (self.arrivals.clone(), self.stops_after);
        async move {
            sleep(stops_after).await;
            arrivals.ceased().await;
        }
    }
}

/// How many requests have come so far, those for metrics left out.
#[derive(Clone, Debug, Default)]
struct Arrivals(Arc<AtomicU64>);

impl Arrivals {
    fn came(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns when no request has come for a while.
    async fn ceased(&self) {
        let (mut before, mut silent) = (self.0.load(Ordering::Relaxed), 0);
        while silent < SILENT_LOOKS {
            sleep(LOOK).await;
            let now = self.0.load(Ordering::Relaxed);
            silent = if now == before { silent + 1 } else { 0 };
            before = now;
        }
    }
}

/// Serves until the sender of `stopped` is dropped; then answers under way have [`LAST_ANSWERS`].
async fn serve(listener: TcpListener, router: Router, stopped: oneshot::Receiver<Infallible>) {
    // Nothing is ever sent; the only news is that the sender is gone.
    let stopped = stopped.map(drop).shared();
    let finished = axum::serve(listener, router).with_graceful_shutdown(stopped.clone()).into_future();
    let patience = async {
        stopped.await;
        sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        outcome = finished => if let Err(error) = outcome {
            tracing::warn!(%error, "a demo application ended by itself");
        },
        () = patience => tracing::debug!("a demo application ended with requests open"),
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    status: u16,
}

struct Application {
    greeting: String,
    behaviour: Behaviour,
    arrivals: Arrivals,
    served: AtomicU64,
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Histogram,
    backlog: Gauge,
    /// Since when work of its queue piles up.
    since: Instant,
}

impl Application {
    fn new(name: &str, behaviour: Behaviour) -> Self {
        let requests = Family::<RequestLabels, Counter>::default();
        // Present from the start: a rate over a counter that appears later misses its first increments.
        for status in [StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR] {
            drop(requests.get_or_create(&labels(&Method::GET, status)));
        }
        let (first, factor, length) = BUCKETS;
        let durations = Histogram::new(exponential_buckets(first, factor, length));
        let mut registry = Registry::default();
        registry.register("http_requests", "HTTP requests answered", requests.clone());
        registry.register("http_request_duration_seconds", "Time to answer a request", durations.clone());
        let backlog = Gauge::default();
        registry.register("queue_backlog_messages", "Messages that wait for this worker", backlog.clone());
        Self {
            greeting: format!("{name}\n"),
            behaviour,
            arrivals: Arrivals::default(),
            served: AtomicU64::new(0),
            registry,
            requests,
            durations,
            backlog,
            since: Instant::now(),
        }
    }

    /// Messages that wait by now.
    fn waiting(&self) -> i64 {
        let waiting = self.since.elapsed().as_millis() * u128::from(self.behaviour.backlog_rate) / 1000;
        i64::try_from(waiting).unwrap_or(i64::MAX)
    }

    /// Whether the next request fails: the n-th one does when `n · error_percent` passes a multiple of 100.
    fn next_fails(&self) -> bool {
        let percent = u64::from(self.behaviour.error_percent);
        let before = self.served.fetch_add(1, Ordering::Relaxed);
        (before + 1).wrapping_mul(percent) / 100 > before.wrapping_mul(percent) / 100
    }
}

fn labels(method: &Method, status: StatusCode) -> RequestLabels {
    RequestLabels { method: method.as_str().to_owned(), status: status.as_u16() }
}

fn router(application: Arc<Application>) -> Router {
    Router::new().route("/metrics", get(metrics)).fallback(answer).with_state(application)
}

async fn answer(State(application): State<Arc<Application>>, method: Method) -> Response {
    application.arrivals.came();
    let started = Instant::now();
    sleep(application.behaviour.latency).await;
    let status = if application.next_fails() { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    application.requests.get_or_create(&labels(&method, status)).inc();
    application.durations.observe(started.elapsed().as_secs_f64());
    (status, application.greeting.clone()).into_response()
}

async fn metrics(State(application): State<Arc<Application>>) -> Response {
    let mut exposition = String::new();
    application.backlog.set(application.waiting());
    match text::encode(&mut exposition, &application.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], exposition).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures_of(error_percent: u8, requests: usize) -> usize {
        let application = Application::new("x", Behaviour { error_percent, ..Behaviour::default() });
        (0..requests).filter(|_| application.next_fails()).count()
    }

    #[test]
    fn of_a_hundred_requests_exactly_the_named_share_fails() {
        for percent in [0, 1, 5, 30, 50, 99, 100] {
            assert_eq!(failures_of(percent, 100), usize::from(percent));
            assert_eq!(failures_of(percent, 1000), usize::from(percent) * 10);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_falls_behind_has_more_and_more_messages_waiting() {
        let application = Application::new("x", Behaviour { backlog_rate: 50, ..Behaviour::default() });
        assert_eq!(application.waiting(), 0);
        sleep(Duration::from_millis(1500)).await;
        assert_eq!(application.waiting(), 75);
        assert_eq!(Application::new("x", Behaviour::default()).waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn arrivals_have_ceased_once_no_request_comes_for_a_while() {
        let (arrivals, start) = (Arrivals::default(), Instant::now());
        let requests = async {
            for _ in 0..20 {
                sleep(LOOK * 5).await;
                arrivals.came();
            }
        };
        let ((), ()) = tokio::join!(requests, arrivals.ceased());
        assert!(start.elapsed() >= LOOK * (20 * 5 + SILENT_LOOKS), "{:?}", start.elapsed());
    }

    #[test]
    fn failures_are_spread_and_not_in_a_row() {
        assert_eq!(failures_of(50, 10), 5);
        assert_eq!(failures_of(10, 20), 2);
    }
}
