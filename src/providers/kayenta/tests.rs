//! Against a stub that speaks as Kayenta does.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value as Json, json};

use super::super::tests::{Seen, Server, answered, request_to};
use super::super::{Provider, ProviderOptions, Providers};
use super::*;
use crate::analysis::Sample;

/// How the server answers, and what the message says then.
type Case = (fn(&Seen) -> Response, &'static str);

async fn measure(url: &str) -> Sample {
    let side = json!({"scope": "app=shop", "step": 60, "start": "2026-01-31T12:00:00Z", "end": "2026-01-31T13:00:00Z"});
    let config = json!({
        "address": url, "application": "shop", "canaryConfigName": "golden",
        "metricsAccountName": "prometheus", "configurationAccountName": "store",
        "storageAccountName": "store", "threshold": {"pass": 90, "marginal": 75},
        "scopes": [{"name": "default", "controlScope": side, "experimentScope": side}]
    });
    Providers::new(ProviderOptions::default()).measure(&request_to("kayenta", &config, &[])).await
}

/// The answers up to a judgement that has begun; what comes after that is `judgement`'s.
fn kayenta(seen: &Seen, judgement: impl FnOnce() -> Response) -> Response {
    match seen.path.as_str() {
        "/canaryConfig" => answered(StatusCode::OK, &json!([{"id": "c1", "name": "golden"}])),
        "/canary/c1" => answered(StatusCode::OK, &json!({"canaryExecutionId": "e1"})),
        _ => judgement(),
    }
}

fn complete(score: f64) -> Json {
    json!({"complete": true, "status": "succeeded", "result": {"judgeResult": {"score": {"score": score}}}})
}

#[tokio::test(start_paused = true)]
async fn a_judgement_is_begun_once_and_looked_at_until_it_has_a_score() {
    let looks = Arc::new(AtomicUsize::new(0));
    let server = Server::start(move |seen: &Seen| {
        kayenta(seen, || match looks.fetch_add(1, Ordering::SeqCst) {
            0 => answered(StatusCode::OK, &json!({"complete": false, "status": "running"})),
            1 => answered(StatusCode::BAD_GATEWAY, &json!({})),
            _ => answered(StatusCode::OK, &complete(87.5)),
        })
    })
    .await;
    let sample = measure(&server.url()).await;
    assert_eq!(sample.result, Ok(Value::Number(87.5)));
    assert_eq!(sample.metadata.get(EXECUTION).map(String::as_str), Some("e1"));
    let paths: Vec<String> = server.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/canaryConfig", "/canary/c1", "/canary/e1", "/canary/e1", "/canary/e1"]);
}

#[tokio::test(start_paused = true)]
async fn every_judgement_without_a_score_is_told_in_one_clear_sentence() {
    let cases: [Case; 6] = [
        (|_| answered(StatusCode::UNAUTHORIZED, &json!("who?")), r#"it answered 401 Unauthorized: "who?""#),
        (
            |_| answered(StatusCode::OK, &json!([])),
            "it has no canary configuration 'golden' for application 'shop'",
        ),
        (|_| answered(StatusCode::OK, &json!({})), "its answer is not a list of canary configurations"),
        (
            |seen| kayenta(seen, || answered(StatusCode::INTERNAL_SERVER_ERROR, &json!("redis"))),
            r#"it answered 500 Internal Server Error: "redis""#,
        ),
        (
            |seen| {
                kayenta(seen, || answered(StatusCode::OK, &json!({"complete": true, "status": "terminal"})))
            },
            "the judgement ended as terminal, without a score",
        ),
        (
            |seen| {
                kayenta(seen, || answered(StatusCode::OK, &json!({"complete": false, "status": "running"})))
            },
            "did not end its judgement within 1h",
        ),
    ];
    for (answer, expected) in cases {
        let server = Server::start(answer).await;
        let message = measure(&server.url()).await.result.unwrap_err();
        assert!(message.starts_with(&format!("Kayenta at {}", server.url())), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    let slow = Server::serve(Router::new().fallback(async || pending::<()>().await), Arc::default()).await;
    let message = measure(&slow.url()).await.result.unwrap_err();
    assert!(message.ends_with("it did not answer within 30s"), "{message}");
}
