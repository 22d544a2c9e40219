//! Health and metrics over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::caches::Caches;
use super::dispatch::{Stop, stopped};

/// Media type of the metrics.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `/healthz`: the process lives. `/readyz`: its caches are complete; a standby is ready, too.
pub(crate) fn health(caches: Arc<Caches>) -> Router {
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(ready)).with_state(caches)
}

/// `/metrics`.
pub(crate) fn metrics(registry: Registry) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(Arc::new(registry))
}

/// Answers requests at `address` as one of `tasks`, until the end is called.
///
/// # Errors
/// When the address is taken.
pub(crate) async fn serve(
    what: &'static str,
    address: SocketAddr,
    router: Router,
    mut stop: Stop,
    tasks: &mut JoinSet<()>,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    info!(what, address = %bound, "listening");
    tasks.spawn(async move {
        let server =
            axum::serve(listener, router).with_graceful_shutdown(async move { stopped(&mut stop).await });
        if let Err(error) = server.await {
            warn!(what, %error, "stopped listening");
        }
    });
    Ok(bound)
}

async fn ready(State(caches): State<Arc<Caches>>) -> Response {
    let missing = caches.missing();
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    let lines = missing.into_iter().map(|(kind, problem)| match problem.as_str() {
        "" => format!("{}: not listed yet\n", kind.resource()),
        problem => format!("{}: {problem}\n", kind.resource()),
    });
    (StatusCode::SERVICE_UNAVAILABLE, lines.collect::<String>()).into_response()
}

async fn scrape(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
