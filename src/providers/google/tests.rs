//! Against a stub of Google Cloud Monitoring, and of the issuer that a service account's key names.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value as Json, json};

use super::super::tests::{Seen, Server, answered, at};
use super::super::{Provider, ProviderOptions, Providers};
use crate::analysis::secrets::{Home, Keyring, Secret, SecretKey, SecretSource, Secrets};
use crate::analysis::{MeasureRequest, Query, Value};

/// How the server answers, and what the message says then.
type Case = (fn(&Seen) -> Response, &'static str);

/// Made for this test; no account has it.
const KEY: &str = include_str!("test_key.pem");

/// A key file whose issuer is at `url`.
fn account(url: &str) -> String {
    json!({
        "type": "service_account", "project_id": "shop", "private_key_id": "1", "private_key": KEY,
        "client_email": "serin@shop.iam.gserviceaccount.com", "client_id": "1",
        "auth_uri": format!("{url}/auth"), "token_uri": format!("{url}/token"),
        "auth_provider_x509_cert_url": "", "client_x509_cert_url": ""
    })
    .to_string()
}

fn request(url: &str) -> MeasureRequest {
    let key = |name: &str, value: String| {
        let key = SecretKey { home: Home::Controller, name: "stackdriver".to_owned(), key: name.to_owned() };
        (key, Ok(Some(Secret::new(value))))
    };
    let secrets = Secrets::from([
        key("project", "shop".to_owned()),
        key("serviceAccountKey", account(url)),
        key("address", url.to_owned()),
    ]);
    let provider = json!({"stackdriver": {"query": "fetch k8s_container | every 1m"}});
    let mut keys = Keyring::new(SecretSource::Read(&secrets));
    let query = Query::parse(&serde_json::from_value(provider).unwrap(), at(), &mut keys).unwrap();
    MeasureRequest { metric: "m".to_owned(), at: at(), query, secrets: keys.used.into_iter().collect() }
}

fn token(number: usize) -> Response {
    let token = json!({"access_token": format!("t0ken{number}"), "token_type": "Bearer", "expires_in": 3600});
    answered(StatusCode::OK, &token)
}

fn series() -> Json {
    let point = json!({"values": [{"doubleValue": 0.5}]});
    json!({"timeSeriesDescriptor": {}, "timeSeriesData": [{"pointData": [point]}]})
}

#[tokio::test]
async fn a_service_account_gets_a_token_once_and_a_new_one_when_it_is_refused() {
    let issued = Arc::new(AtomicUsize::new(0));
    let server = Server::start(move |seen: &Seen| {
        if seen.path == "/token" {
            return token(issued.fetch_add(1, Ordering::SeqCst));
        }
        let header = seen.headers.get("authorization").map(|value| value.to_str().unwrap());
        match header {
            Some("Bearer t0ken1") => answered(StatusCode::OK, &series()),
            _ => answered(StatusCode::UNAUTHORIZED, &json!({"error": {"message": "who is t0ken0?"}})),
        }
    })
    .await;
    let providers = Providers::new(ProviderOptions::default());
    for _ in 0..2 {
        let sample = providers.measure(&request(&server.url())).await;
        assert_eq!(sample.result, Ok(Value::Number(0.5)));
    }
    let paths: Vec<String> = server.seen().into_iter().map(|seen| seen.path).collect();
    let query = "/v3/projects/shop/timeSeries:query";
    assert_eq!(paths, ["/token", query, "/token", query, query]);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_without_its_text() {
    for (key, expected) in [
        ("s3cret", "is not the key of a service account"),
        (r#"{"token_uri": "s3cret"}"#, "has a token_uri that cannot be asked"),
    ] {
        let message = super::Google::default().token(Some(&Secret::new(key))).await.unwrap_err();
        assert!(message.contains(expected) && !message.contains("s3cret"), "{message}");
    }
}

#[tokio::test]
async fn whatever_is_wrong_is_told_without_key_and_token() {
    let cases: [Case; 3] = [
        (|_| answered(StatusCode::BAD_REQUEST, &json!({"error": "invalid_grant"})), "no Google token: "),
        (
            |seen| match seen.path.as_str() {
                "/token" => token(7),
                _ => answered(StatusCode::FORBIDDEN, &json!({"error": {"message": "t0ken7 may not"}})),
            },
            "it answered 403 Forbidden",
        ),
        (
            |seen| match seen.path.as_str() {
                "/token" => token(7),
                _ => answered(StatusCode::OK, &json!("<html>")),
            },
            "its answer is not a list of time series",
        ),
    ];
    for (answer, expected) in cases {
        let server = Server::start(answer).await;
        let sample = Providers::new(ProviderOptions::default()).measure(&request(&server.url())).await;
        let message = sample.result.unwrap_err();
        assert!(message.starts_with(&format!("Google Cloud Monitoring at {}: ", server.url())), "{message}");
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains("t0ken7") && !message.contains("PRIVATE"), "{message}");
    }
}
