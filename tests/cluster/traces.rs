//! Traces of updates, as a collector gets them from a real controller.

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, canary};
use crate::shared::{DEADLINE, client, kubeconfig, namespace};

/// The status of a span that tells of an error, in OTLP.
const ERROR: i32 = 2;

/// A collector; its base URL, and the spans that it gets.
async fn collector() -> (String, mpsc::UnboundedReceiver<Span>) {
    let (sent, received) = mpsc::unbounded_channel();
    let take = move |body: Bytes| async move {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|of| of.scope_spans);
        scopes.flat_map(|of| of.spans).for_each(|span| sent.send(span).unwrap());
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = axum::serve(listener, Router::new().route("/v1/traces", post(take)));
    tokio::spawn(async move { server.await });
    (url, received)
}

/// The spans up to the next root.
async fn until_root(spans: &mut mpsc::UnboundedReceiver<Span>) -> (Vec<Span>, Span) {
    let mut below = Vec::new();
    loop {
        let span = timeout(DEADLINE, spans.recv()).await.expect("no root came").unwrap();
        if span.parent_span_id.is_empty() {
            return (below, span);
        }
        below.push(span);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_and_an_aborted_update_are_a_trace_each() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "traces").await;
    let (url, mut spans) = collector().await;
    let steps = json!([{"setWeight": 25}, {"pause": {}}]);
    let subject = Subject::create(&client, &namespace, "v1", canary(steps)).await;
    let endpoint = format!("--otlp-endpoint={url}");
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[&endpoint]);
    subject.until_phase("Healthy").await;
    until_root(&mut spans).await;

    subject.release("v2").await;
    subject.until_phase("Paused").await;
    subject.resume().await;
    let (below, good) = until_root(&mut spans).await;
    let names: Vec<_> = below.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["step 1: setWeight 25", "step 2: pause"]);
    assert!(below.iter().all(|span| span.trace_id == good.trace_id && span.parent_span_id == good.span_id));
    assert_eq!(good.name, format!("rollout {namespace}/web"));
    assert_ne!(good.status.unwrap_or_default().code, ERROR);

    subject.until_phase("Healthy").await;
    subject.release("v3").await;
    subject.until_phase("Paused").await;
    subject.change_status(json!({"abort": true})).await;
    let (_, aborted) = until_root(&mut spans).await;
    assert_ne!(aborted.trace_id, good.trace_id);
    assert_eq!(aborted.status.unwrap_or_default().code, ERROR);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_keeps_no_update_waiting() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "silent-traces").await;
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("--otlp-endpoint=http://{}", silent.local_addr().unwrap());
    let subject = Subject::create(&client, &namespace, "v1", canary(json!([{"setWeight": 25}]))).await;
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[&endpoint]);
    subject.until_phase("Healthy").await;
    subject.release("v2").await;
    subject.until_phase("Healthy").await;
}
