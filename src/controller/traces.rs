//! Sends the spans of deliveries to a collector, never in the way of a pass.
//!
//! Nothing of it exists unless a collector is named. Spans that the collector does not take, or that find no room while it
//! is silent, are counted and dropped; the log tells of it once per outage.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use thiserror::Error;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use super::caches::Caches;
use super::clock::Clock;
use super::store::Key;
use crate::api::{AnalysisRun, AnalysisRunStatus, Rollout, RolloutStatus};
use crate::events::Event;
use crate::metrics::Metrics;
use crate::providers;
use crate::trace::{self, Entered};
use crate::units::Timestamp;

/// Spans that may wait: what 1,000 Rollouts tell in two steps, and a few megabytes.
const QUEUE: usize = 2048;
/// Spans in one request.
const BATCH: usize = 256;
/// How long a request may take, its retries included.
const PATIENCE: Duration = Duration::from_secs(10);
/// The name of the service, where the environment gives no other one.
const SERVICE: &str = "serin";

/// Why spans cannot be sent.
#[derive(Debug, Error)]
pub enum TracesError {
    /// Nobody can be reached at the collector's address.
    #[error("cannot use the address of the collector: {0}")]
    Address(String),
    /// What the environment says of the exporter cannot be used.
    #[error("cannot set up the exporter of traces")]
    Exporter(#[from] ExporterBuildError),
}

/// Where passes leave what they tell of deliveries.
pub(crate) struct Traces {
    queue: Sender<SpanData>,
    metrics: Arc<Metrics>,
    clock: Clock,
    watched_since: Timestamp,
    /// The steps that updates are in.
    entered: Mutex<BTreeMap<Key, Entered>>,
}

impl Traces {
    /// Sends to `endpoint`, a full URL, as one of `tasks`, until this is dropped and all is sent.
    ///
    /// # Errors
    /// When the endpoint or the environment cannot be used.
    pub(crate) fn start(
        endpoint: &str,
        metrics: &Arc<Metrics>,
        clock: Clock,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, TracesError> {
        let mut exporter = exporter(endpoint)?;
        // The attributes and the name that the environment gives come first.
        let resource = Resource::builder().build();
        let resource = if names_service(&resource) {
            resource
        } else {
            Resource::builder().with_service_name(SERVICE).build()
        };
        exporter.set_resource(&resource);
        let (queue, spans) = mpsc::channel(QUEUE);
        tasks.spawn(send(exporter, spans, Arc::clone(metrics)));
        Ok(Self {
            queue,
            metrics: Arc::clone(metrics),
            clock,
            watched_since: clock.now(),
            entered: Mutex::default(),
        })
    }

    /// Tells what ended in a pass over a Rollout that wrote `next`.
    pub(crate) fn rollout(&self, key: &Key, rollout: &Rollout, next: &RolloutStatus, events: &[Event]) {
        let pass =
            trace::Pass { rollout, next, events, now: self.clock.now(), watched_since: self.watched_since };
        let before = self.entered().remove(key);
        let (spans, entered) = trace::ended(&pass, before);
        if let Some(entered) = entered {
            self.entered().insert(key.clone(), entered);
        }
        self.tell(spans);
    }

    /// Tells which measurements ended in a pass over an AnalysisRun of a Rollout that wrote `next`.
    pub(crate) fn run(&self, caches: &Caches, run: &AnalysisRun, next: &AnalysisRunStatus) {
        let owners = run.metadata.owner_references.iter().flatten();
        let Some(owner) = owners.into_iter().find(|owner| owner.kind == "Rollout") else { return };
        let key = Key::new(run.metadata.namespace.as_deref().unwrap_or_default(), &owner.name);
        let Some(known) = caches.rollouts.get(&key).filter(|known| *known.identity.uid == *owner.uid) else {
            return;
        };
        let readable = known.value.content.as_ref().ok();
        if let Some(rollout) = readable.and_then(|readable| readable.rollout(&known.identity).ok()) {
            self.tell(trace::measured(run, next, &rollout));
        }
    }

    /// The Rollout is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.entered().remove(key);
    }

    fn tell(&self, spans: Vec<SpanData>) {
        for span in spans {
            if self.queue.try_send(span).is_err() {
                self.metrics.spans_dropped(1);
            }
        }
    }

    fn entered(&self) -> MutexGuard<'_, BTreeMap<Key, Entered>> {
        self.entered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn exporter(endpoint: &str) -> Result<SpanExporter, TracesError> {
    let client = providers::client_for(endpoint).map_err(TracesError::Address)?;
    let http = SpanExporter::builder().with_http().with_http_client(client);
    Ok(http.with_protocol(Protocol::HttpBinary).with_endpoint(endpoint).build()?)
}

/// Whether spans can be sent to `endpoint`, a full URL, as far as that is known before anything is sent: a controller that
/// cannot must not become the one that leads.
///
/// # Errors
/// When the endpoint or the environment cannot be used.
pub fn check_collector(endpoint: &str) -> Result<(), TracesError> {
    exporter(endpoint).map(drop)
}

/// Whether a name was given, rather than the one that the SDK makes up.
fn names_service(resource: &Resource) -> bool {
    let name = resource.get(&"service.name".into()).map(|name| name.to_string());
    name.is_some_and(|name| !name.starts_with("unknown_service"))
}

/// Sends what waits, batch by batch.
async fn send(exporter: SpanExporter, mut spans: Receiver<SpanData>, metrics: Arc<Metrics>) {
    let mut is_out = false;
    loop {
        let mut batch = Vec::new();
        let count = spans.recv_many(&mut batch, BATCH).await;
        if count == 0 {
            return;
        }
        let problem = match timeout(PATIENCE, exporter.export(batch)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        match problem {
            Some(error) => {
                metrics.spans_dropped(u64::try_from(count).unwrap_or(u64::MAX));
                if !is_out {
                    warn!(%error, "the collector does not take spans: they are dropped until it does");
                }
                is_out = true;
            }
            None if is_out => {
                info!("the collector takes spans again");
                is_out = false;
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Bytes;
    use axum::http::StatusCode;
    use axum::routing::post;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prometheus_client::encoding::text::encode;
    use prost::Message;
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;
    use crate::controller::store::Identity;

    /// A collector whose answers have this status; what it is sent.
    async fn collector(status: StatusCode) -> (String, Receiver<ExportTraceServiceRequest>) {
        let (sent, received) = mpsc::channel(16);
        let take = move |body: Bytes| async move {
            sent.send(ExportTraceServiceRequest::decode(body).unwrap()).await.unwrap();
            status
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (endpoint, received)
    }

    fn rollout(uid: &str) -> Rollout {
        let metadata = json!({"name": "web", "namespace": "shop", "uid": uid});
        let duration = json!({"rolloutStartedAt": "2026-11-21T08:20:00Z"});
        let status =
            json!({"currentPodHash": "b", "stableRS": "a", "currentStepIndex": 0, "duration": duration});
        let strategy = json!({"canary": {"steps": [{"setWeight": 20}]}});
        serde_json::from_value(
            json!({"metadata": metadata, "spec": {"strategy": strategy}, "status": status}),
        )
        .unwrap()
    }

    /// Tells that the update of a Rollout became stable: a step and the whole.
    fn promote(traces: &Traces, uid: &str) {
        let rollout = rollout(uid);
        let mut next = rollout.status.clone().unwrap();
        next.current_step_index = Some(1);
        let duration = next.duration.as_mut().unwrap();
        duration.finished_at = Timestamp::parse("2026-11-21T08:21:00Z");
        duration.completion_status = Some("Promoted".to_owned());
        traces.rollout(&Key::new("shop", "web"), &rollout, &next, &[]);
    }

    fn dropped(metrics: &Arc<Metrics>) -> u64 {
        let mut text = String::new();
        encode(&mut text, &Arc::clone(metrics).registry(vec![])).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("controller_spans_dropped_total "));
        line.unwrap().parse().unwrap()
    }

    fn spans(request: &ExportTraceServiceRequest) -> Vec<Span> {
        let scopes = request.resource_spans.iter().flat_map(|of| &of.scope_spans);
        scopes.flat_map(|of| of.spans.clone()).collect()
    }

    #[tokio::test]
    async fn a_collector_gets_the_trace_of_an_update_and_the_name_of_the_service() {
        let (endpoint, mut received) = collector(StatusCode::OK).await;
        let (metrics, mut tasks) = (Arc::default(), JoinSet::new());
        let traces = Traces::start(&endpoint, &metrics, Clock, &mut tasks).unwrap();
        promote(&traces, "1");
        drop(traces);
        tasks.join_all().await;
        let request = received.recv().await.unwrap();
        let service = &request.resource_spans.first().unwrap().resource.as_ref().unwrap().attributes;
        assert!(service.iter().any(|of| of.key == "service.name" && format!("{of:?}").contains("serin")));
        let spans = spans(&request);
        let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["step 1: setWeight 20", "rollout shop/web"]);
        let [step, root] = spans.try_into().unwrap();
        assert_eq!((&step.parent_span_id, &step.trace_id), (&root.span_id, &root.trace_id));
        assert_eq!((root.span_id.len(), root.trace_id.len(), root.parent_span_id.len()), (8, 16, 0));
        assert_eq!(root.end_time_unix_nano - root.start_time_unix_nano, 60_000_000_000);
        assert_eq!(dropped(&metrics), 0);
    }

    #[tokio::test]
    async fn spans_that_a_collector_refuses_are_counted() {
        let (endpoint, mut received) = collector(StatusCode::BAD_REQUEST).await;
        let (metrics, mut tasks) = (Arc::default(), JoinSet::new());
        let traces = Traces::start(&endpoint, &metrics, Clock, &mut tasks).unwrap();
        promote(&traces, "1");
        drop(traces);
        tasks.join_all().await;
        assert_eq!((spans(&received.recv().await.unwrap()).len(), dropped(&metrics)), (2, 2));
    }

    #[tokio::test]
    async fn a_collector_that_never_answers_keeps_nobody_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let (metrics, mut tasks) = (Arc::default(), JoinSet::new());
        let traces = Traces::start(&endpoint, &metrics, Clock, &mut tasks).unwrap();
        // Nothing here waits, so that the task has no turn: what has no room is dropped at once.
        (0..QUEUE).for_each(|uid| promote(&traces, &uid.to_string()));
        assert_eq!(dropped(&metrics), u64::try_from(QUEUE).unwrap());
    }

    #[tokio::test]
    async fn what_is_remembered_of_a_rollout_goes_with_it() {
        let (metrics, mut tasks) = (Arc::default(), JoinSet::new());
        let traces = Traces::start("http://127.0.0.1:1/v1/traces", &metrics, Clock, &mut tasks).unwrap();
        let (key, rollout) = (Key::new("shop", "web"), rollout("1"));
        let mut next = rollout.status.clone().unwrap();
        next.current_step_index = Some(1);
        traces.rollout(&key, &rollout, &next, &[]);
        assert_eq!(traces.entered().len(), 1);
        traces.forget(&key);
        assert_eq!(traces.entered().len(), 0);
    }

    #[tokio::test]
    async fn a_measurement_belongs_to_the_rollout_that_owns_its_run() {
        let (endpoint, mut received) = collector(StatusCode::OK).await;
        let (metrics, mut tasks) = (Arc::default(), JoinSet::new());
        let traces = Traces::start(&endpoint, &metrics, Clock, &mut tasks).unwrap();
        let caches = Caches::new([]);
        let mut stored = serde_json::to_value(rollout("1")).unwrap();
        stored["metadata"]["resourceVersion"] = json!("1");
        caches.rollout_event(kube::runtime::watcher::Event::Apply(serde_json::from_value(stored).unwrap()));
        assert_eq!(Identity::of(&rollout("1").metadata).uid.as_ref(), "1");
        let owner =
            json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": "1"});
        let labels = json!({"rollouts-pod-template-hash": "b", "step-index": "0"});
        let metadata = json!({"name": "web-b", "namespace": "shop", "uid": "2", "labels": labels, "ownerReferences": [owner]});
        let run: AnalysisRun = serde_json::from_value(json!({"metadata": metadata, "spec": {}})).unwrap();
        let measured = json!({"phase": "Failed", "value": "0.5", "startedAt": "2026-11-21T08:20:10Z",
            "finishedAt": "2026-11-21T08:20:11Z"});
        let result = json!({"name": "rate", "phase": "Running", "measurements": [measured]});
        let next = serde_json::from_value(json!({"metricResults": [result]})).unwrap();
        traces.run(&caches, &run, &next);
        promote(&traces, "1");
        drop(traces);
        tasks.join_all().await;
        let [measured, step, root] = spans(&received.recv().await.unwrap()).try_into().unwrap();
        assert_eq!(measured.name, "measurement rate");
        assert_eq!((&measured.parent_span_id, &measured.trace_id), (&step.span_id, &root.trace_id));
    }
}
