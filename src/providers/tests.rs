//! Providers against servers on loopback that answer what a test says.

use std::collections::BTreeMap;
use std::future::pending;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};

use super::*;
use crate::analysis::secrets::{Home, Keyring, SecretKey, SecretSource, Secrets};
use crate::units::Timestamp;

/// An answer and the message it leads to.
type Case = (fn() -> Response, &'static str);

/// One request as a server saw it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// What the body says, or the query of a request without one.
    pub(super) form: BTreeMap<String, String>,
}

/// A server on loopback.
pub(super) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Answers every request with what `answer` makes of it.
    pub(super) async fn start<R: IntoResponse>(
        answer: impl Fn(&Seen) -> R + Clone + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let handler = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let (answer, log) = (answer.clone(), Arc::clone(&log));
            async move {
                let query = uri.query().unwrap_or_default().to_owned();
                let told = if method == Method::GET { query.as_bytes() } else { &body };
                let form = url::form_urlencoded::parse(told).into_owned().collect();
                let seen = Seen { method, path: uri.path().to_owned(), query, headers, body, form };
                log.lock().unwrap().push(seen.clone());
                answer(&seen).into_response()
            }
        };
        Self::serve(Router::new().fallback(handler), seen).await
    }

    pub(super) async fn serve(router: Router, seen: Arc<Mutex<Vec<Seen>>>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, seen }
    }

    async fn result(result: Json) -> Self {
        Self::start(move |_| success(&result)).await
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

pub(super) fn answered(status: StatusCode, body: &Json) -> Response {
    (status, [("content-type", "application/json")], body.to_string()).into_response()
}

pub(super) fn success(data: &Json) -> Response {
    answered(StatusCode::OK, &json!({"status": "success", "data": data}))
}

pub(super) fn vector(values: &[&str]) -> Json {
    let series: Vec<Json> =
        values.iter().map(|value| json!({"metric": {}, "value": [1_700_000_000.1, value]})).collect();
    json!({"resultType": "vector", "result": series})
}

pub(super) fn at() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

pub(super) fn request(config: &Json, secrets: &[&str]) -> MeasureRequest {
    request_to("prometheus", config, secrets)
}

pub(super) fn request_to(provider: &str, config: &Json, secrets: &[&str]) -> MeasureRequest {
    let provider = serde_json::from_value(json!({provider: config})).unwrap();
    MeasureRequest {
        metric: "m".to_owned(),
        at: at(),
        query: Query::parse(&provider, at(), &mut Keyring::new(SecretSource::Placeholder)).unwrap(),
        secrets: secrets.iter().map(|secret| crate::analysis::Secret::new(*secret)).collect(),
    }
}

async fn ask(config: Json) -> Sample {
    Providers::new(ProviderOptions::default()).measure(&request(&config, &[])).await
}

/// The message of a query to `address` that finds no value.
async fn failure(address: &str) -> String {
    ask(json!({"address": address, "query": "up"})).await.result.unwrap_err()
}

#[tokio::test]
async fn scalars_vectors_and_matrices_become_numbers() {
    for (data, expected) in [
        (json!({"resultType": "scalar", "result": [1_700_000_000, "0.95"]}), Value::Number(0.95)),
        (vector(&["0.95", "1"]), Value::Numbers(vec![0.95, 1.0])),
        (vector(&[]), Value::Numbers(vec![])),
        (vector(&["+Inf"]), Value::Numbers(vec![f64::INFINITY])),
        (
            json!({"resultType": "matrix", "result": [
                {"metric": {"a": "1"}, "values": [[1, "1"], [2, "2"]]}, {"metric": {"a": "2"}, "values": [[1, "3"]]}
            ]}),
            Value::Numbers(vec![1.0, 2.0, 3.0]),
        ),
    ] {
        let server = Server::result(data).await;
        assert_eq!(ask(json!({"address": server.url(), "query": "up"})).await.result, Ok(expected));
    }
    let server = Server::result(vector(&["NaN"])).await;
    let value = ask(json!({"address": server.url(), "query": "up"})).await.result.unwrap();
    assert!(value.has_nan());
}

#[tokio::test]
async fn a_query_is_posted_and_the_sample_says_what_was_asked() {
    let server = Server::result(vector(&["1"])).await;
    let sample =
        ask(json!({"address": format!("{}/prom/", server.url()), "query": "sum(up)\n", "timeout": 7})).await;
    let seen = server.seen().remove(0);
    assert_eq!((seen.method, seen.path.as_str()), (Method::POST, "/prom/api/v1/query"));
    assert_eq!(seen.form["query"], "sum(up)");
    assert_eq!(seen.form["timeout"], "7000ms");
    assert!(!seen.form.contains_key("time"));
    assert_eq!(sample.metadata["ResolvedPrometheusQuery"], "sum(up)");
    assert_eq!((sample.metric.as_str(), sample.started_at), ("m", at()));
    assert!(sample.finished_at >= sample.started_at);
}

#[tokio::test]
async fn a_range_query_asks_for_the_range_that_the_request_reckoned() {
    let server = Server::result(json!({"resultType": "matrix", "result": []})).await;
    let range = json!({"start": "now() - duration('5m')", "end": "now()", "step": "90s"});
    let sample = ask(json!({"address": server.url(), "query": "up", "rangeQuery": range})).await;
    assert_eq!(sample.result, Ok(Value::Numbers(vec![])));
    let seen = server.seen().remove(0);
    assert_eq!(seen.path, "/api/v1/query_range");
    assert_eq!(
        [&seen.form["start"], &seen.form["end"], &seen.form["step"]],
        ["1699999700", "1700000000", "90"]
    );
}

#[tokio::test]
async fn a_server_that_takes_no_forms_is_asked_by_url() {
    let server = Server::start(|seen| match seen.method {
        Method::GET => success(&vector(&["1"])),
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    })
    .await;
    assert!(ask(json!({"address": server.url(), "query": "a + b"})).await.result.is_ok());
    assert_eq!(server.seen()[1].form["query"], "a + b");
}

#[tokio::test]
async fn warnings_of_the_query_are_kept_with_the_measurement() {
    let server = Server::start(|_| {
        answered(
            StatusCode::OK,
            &json!({"status": "success", "data": vector(&["1"]), "warnings": ["one", "two"]}),
        )
    })
    .await;
    let sample = ask(json!({"address": server.url(), "query": "up"})).await;
    assert_eq!(sample.metadata["warnings"], "one; two");
}

#[tokio::test]
async fn every_unusable_answer_is_told_in_one_clear_sentence() {
    let html = || {
        (StatusCode::OK, [("content-type", "text/html; charset=utf-8")], "<html>Login</html>").into_response()
    };
    let cases: Vec<Case> = vec![
        (html, ": it answered text/html in place of JSON; is this the address of a Prometheus?"),
        (
            || (StatusCode::INTERNAL_SERVER_ERROR, "out of\n memory").into_response(),
            ": it answered 500 Internal Server Error: out of memory",
        ),
        (|| StatusCode::BAD_GATEWAY.into_response(), ": it answered 502 Bad Gateway"),
        (|| StatusCode::UNAUTHORIZED.into_response(), ": it refused the credentials (401 Unauthorized)"),
        (
            || StatusCode::NOT_FOUND.into_response(),
            ": there is no query API under this address (404 Not Found); is the path right?",
        ),
        (|| answered(StatusCode::OK, &json!({"hello": 1})), ": it answered no query result: {\"hello\":1}"),
        (
            || {
                answered(
                    StatusCode::BAD_REQUEST,
                    &json!({"status": "error", "errorType": "bad_data", "error": "1:4: parse error"}),
                )
            },
            ": it refused the query (bad_data): 1:4: parse error",
        ),
        (
            || success(&json!({"resultType": "string", "result": [1, "x"]})),
            ": the query gives a string, which is not a number",
        ),
        (
            || success(&json!({"resultType": "vector", "result": [{"metric": {}, "histogram": [1, {}]}]})),
            ": its vector cannot be read; native histograms are not supported",
        ),
        (|| vec![b'x'; 5 << 20].into_response(), ": the answer is larger than 4 MiB"),
    ];
    for (answer, message) in cases {
        let server = Server::start(move |_| answer()).await;
        assert_eq!(failure(&server.url()).await, format!("Prometheus at {}{message}", server.url()));
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_or_does_not_answer_is_named() {
    // Bound, so that nobody else gets the port, but not listening, so that connections are refused.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    assert_eq!(
        failure(&format!("http://{address}")).await,
        format!("Prometheus at http://{address}: connection refused")
    );
    let silent = Server::serve(Router::new().fallback(async || pending::<()>().await), Arc::default()).await;
    let mut request = request(&json!({"address": silent.url(), "query": "up"}), &[]);
    let Query::Prometheus(query) = &mut request.query else { panic!("{request:?}") };
    query.timeout = Duration::from_millis(50);
    let sample = Providers::new(ProviderOptions::default()).measure(&request).await;
    assert_eq!(
        sample.result.unwrap_err(),
        format!("Prometheus at {} did not answer within 50ms", silent.url())
    );
}

#[tokio::test(start_paused = true)]
async fn a_measurement_ends_after_the_longest_time_that_a_query_may_ask_for() {
    let slow = Server::serve(Router::new().fallback(async || pending::<()>().await), Arc::default()).await;
    let config = json!({"address": slow.url(), "query": "up", "timeout": 600});
    let message = ask(config).await.result.unwrap_err();
    assert_eq!(message, format!("Prometheus at {} did not answer within 10m", slow.url()));
}

#[test]
fn measurements_that_wait_for_the_same_servers_are_known() {
    let options = ProviderOptions {
        default_prometheus_address: Some(Secret::new("http://p")),
        ..ProviderOptions::default()
    };
    let providers = Providers::new(options);
    let server = |config: Json| providers.server(&request(&config, &[])).unwrap();
    let default = server(json!({"query": "up"}));
    assert_eq!(default, server(json!({"query": "down", "address": "http://me:secret@P:80/tenant"})));
    assert_ne!(default, server(json!({"query": "up", "address": "https://p"})));
    let oauth2 = json!({"tokenUrl": "http://issuer/token", "clientId": "id", "clientSecret": "x"});
    assert_eq!(server(json!({"query": "up", "authentication": {"oauth2": oauth2}})), "p:80 issuer:80");
}

#[tokio::test]
async fn an_address_is_required_unless_there_is_a_default() {
    let message = ask(json!({"query": "up"})).await.result.unwrap_err();
    assert!(message.starts_with("no Prometheus address: set provider.prometheus.address"), "{message}");
    let server = Server::result(vector(&["1"])).await;
    let options = ProviderOptions {
        default_prometheus_address: Some(Secret::new(server.url())),
        ..ProviderOptions::default()
    };
    assert!(Providers::new(options).measure(&request(&json!({"query": "up"}), &[])).await.result.is_ok());
    assert_eq!(
        failure("prometheus:9090").await,
        "Prometheus cannot be asked: the address begins with 'prometheus:', not with http:// or https://"
    );
}

#[tokio::test]
async fn a_cluster_name_can_be_reached_at_another_address_and_port() {
    let server = Server::result(vector(&["1"])).await;
    let rule = format!("prometheus.monitoring.svc.cluster.local:9090:{}", server.address);
    let options = ProviderOptions { resolve: vec![rule.parse().unwrap()], ..ProviderOptions::default() };
    let config = json!({"address": "http://prometheus.monitoring.svc.cluster.local:9090", "query": "up"});
    let sample = Providers::new(options).measure(&request(&config, &[])).await;
    assert_eq!(sample.result, Ok(Value::Numbers(vec![1.0])));
}

#[tokio::test]
async fn headers_and_basic_authentication_are_sent() {
    let server = Server::result(vector(&["1"])).await;
    ask(json!({
        "address": server.url(), "query": "up",
        "headers": [{"key": "X-Scope-OrgID", "value": "tenant"}],
        "authentication": {"basicAuth": {"username": "aladdin", "password": "opensesame"}}
    }))
    .await
    .result
    .unwrap();
    let headers = &server.seen()[0].headers;
    assert_eq!(headers["x-scope-orgid"], "tenant");
    assert_eq!(headers["authorization"], "Basic YWxhZGRpbjpvcGVuc2VzYW1l");
    for (key, value, message) in [
        ("bad name", "x", "'bad name' is not a header name"),
        ("x", "a\nb", "the value of header 'x' has characters that a header cannot have"),
    ] {
        let config =
            json!({"address": server.url(), "query": "up", "headers": [{"key": key, "value": value}]});
        assert!(ask(config).await.result.unwrap_err().ends_with(message));
    }
}

#[tokio::test]
async fn no_secret_shows_in_a_sample() {
    let server = Server::start(|seen| {
        let error = format!("unknown label {}", seen.form["query"]);
        answered(
            StatusCode::BAD_REQUEST,
            &json!({"status": "error", "errorType": "bad_data", "error": error}),
        )
    })
    .await;
    let address = server.url().replace("http://", "http://me:s3cret@");
    let config = json!({"address": address, "query": "up{token='s3cret'}"});
    let sample = Providers::new(ProviderOptions::default()).measure(&request(&config, &["s3cret"])).await;
    assert!(!format!("{sample:?}").contains("s3cret"), "{sample:?}");
    assert_eq!(sample.metadata["ResolvedPrometheusQuery"], "up{token='*****'}");
}

#[tokio::test]
async fn no_part_of_a_secret_shows_where_a_text_is_cut() {
    // The secret ends beyond what is kept of the query, and of the answer.
    let server = Server::start(|seen| {
        let secret = seen.form["query"].trim_start_matches('x');
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{} {secret}", "y".repeat(195)))
    })
    .await;
    let secret = "s3cret-longer-than-what-is-left\n";
    let query = format!("{}{secret}", "x".repeat(2_040));
    let config = json!({"address": server.url(), "query": query});
    let sample = Providers::new(ProviderOptions::default()).measure(&request(&config, &[secret])).await;
    assert!(!format!("{sample:?}").contains("s3"), "{sample:?}");
}

#[tokio::test]
async fn a_secret_in_the_address_does_not_show() {
    let server = Server::start(|_| StatusCode::BAD_GATEWAY.into_response()).await;
    let config = json!({"address": format!("{}/to ken?x/prom", server.url()), "query": "up"});
    let sample = Providers::new(ProviderOptions::default()).measure(&request(&config, &["to ken?x"])).await;
    assert_eq!(
        sample.result.unwrap_err(),
        format!("Prometheus at {}: it answered 502 Bad Gateway", server.url())
    );
}

#[tokio::test]
async fn settings_show_no_password() {
    let address = Some(Secret::new("http://me:s3cret@p"));
    let options = ProviderOptions { default_prometheus_address: address, ..ProviderOptions::default() };
    assert!(!format!("{options:?}{:?}", Providers::new(options.clone())).contains("s3cret"));
}

/// An issuer of tokens `t1`, `t2`, … that takes credentials only where `accept` finds them.
async fn issuer(accept: fn(&Seen) -> bool) -> Server {
    let issued = Arc::new(Mutex::new(0));
    Server::start(move |seen| {
        if !accept(seen) {
            return answered(
                StatusCode::UNAUTHORIZED,
                &json!({"error": "invalid_client", "error_description": "who?"}),
            );
        }
        let mut issued = issued.lock().unwrap();
        *issued += 1;
        answered(
            StatusCode::OK,
            &json!({"access_token": format!("t{issued}"), "token_type": "Bearer", "expires_in": 3600}),
        )
    })
    .await
}

fn oauth2(server: &Server, issuer: &Server) -> MeasureRequest {
    let oauth2 = json!({"tokenUrl": format!("{}/token", issuer.url()), "clientId": "id", "clientSecret": "s3cret", "scopes": ["a", "b"]});
    request(
        &json!({"address": server.url(), "query": "up", "authentication": {"oauth2": oauth2}}),
        &["s3cret"],
    )
}

#[tokio::test]
async fn an_oauth2_token_is_asked_for_once_and_renewed_when_it_is_refused() {
    let issuer = issuer(|seen| seen.headers.contains_key("authorization")).await;
    let server = Server::start(|seen| match seen.headers["authorization"].to_str().unwrap() {
        "Bearer t1" if seen.form["query"] == "late" => StatusCode::UNAUTHORIZED.into_response(),
        _ => success(&vector(&["1"])),
    })
    .await;
    let providers = Providers::new(ProviderOptions::default());
    let mut request = oauth2(&server, &issuer);
    for _ in 0..3 {
        providers.measure(&request).await.result.unwrap();
    }
    let asked = issuer.seen();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (asked[0].form["grant_type"].as_str(), asked[0].form["scope"].as_str()),
        ("client_credentials", "a b")
    );
    assert_eq!(asked[0].headers["authorization"], "Basic aWQ6czNjcmV0");
    let Query::Prometheus(query) = &mut request.query else { panic!("{request:?}") };
    query.promql = "late".to_owned();
    providers.measure(&request).await.result.unwrap();
    assert_eq!(server.seen().last().unwrap().headers["authorization"], "Bearer t2");
}

#[tokio::test]
async fn an_issuer_that_wants_credentials_in_the_form_gets_them_there() {
    let issuer = issuer(|seen| seen.form.get("client_secret").is_some_and(|secret| secret == "s3cret")).await;
    let server = Server::result(vector(&["1"])).await;
    let request = oauth2(&server, &issuer);
    assert!(Providers::new(ProviderOptions::default()).measure(&request).await.result.is_ok());
}

#[tokio::test]
async fn a_refused_client_is_told_without_its_secret() {
    let issuer = issuer(|_| false).await;
    let server = Server::result(vector(&["1"])).await;
    let sample = Providers::new(ProviderOptions::default()).measure(&oauth2(&server, &issuer)).await;
    assert_eq!(
        sample.result.unwrap_err(),
        format!(
            "Prometheus at {}: no OAuth2 token from {}/token: it answered 401 Unauthorized: invalid_client: who?",
            server.url(),
            issuer.url()
        )
    );
}

/// A server with a certificate that nobody trusts; it answers one query per connection.
fn tls_server() -> SocketAddr {
    install_tls();
    let certificate = rcgen::generate_simple_self_signed(vec!["prometheus.test".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream);
            let mut head = [0; 4096];
            let body = json!({"status": "success", "data": vector(&["1"])}).to_string();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            if tls.read(&mut head).is_ok_and(|length| length > 0) {
                let _ = tls.write_all(answer.as_bytes());
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        }
    });
    address
}

#[tokio::test]
async fn a_certificate_is_checked_unless_the_metric_says_otherwise() {
    let address = tls_server();
    let rule = format!("prometheus.test:443:{address}");
    let options = ProviderOptions { resolve: vec![rule.parse().unwrap()], ..ProviderOptions::default() };
    let providers = Providers::new(options);
    let mut config = json!({"address": "https://prometheus.test", "query": "up"});
    let message = providers.measure(&request(&config, &[])).await.result.unwrap_err();
    assert!(message.starts_with("Prometheus at https://prometheus.test: "), "{message}");
    assert!(message.contains("certificate"), "{message}");
    config["insecure"] = json!(true);
    assert_eq!(providers.measure(&request(&config, &[])).await.result, Ok(Value::Numbers(vec![1.0])));
}

async fn web(config: Json, secrets: &[&str]) -> Sample {
    Providers::new(ProviderOptions::default()).measure(&request_to("web", &config, secrets)).await
}

#[tokio::test]
async fn a_web_answer_is_json_or_text_and_one_thing_stands_by_itself() {
    let body = json!({"ok": true, "rate": 0.5, "list": [{"n": 1}, {"n": 2}]});
    let server = Server::start(move |seen| match seen.path.as_str() {
        "/text" => "all well\n".into_response(),
        "/empty" => "".into_response(),
        _ => answered(StatusCode::OK, &body),
    })
    .await;
    for (path, json_path, expected) in [
        ("/", "{$.ok}", Value::Json(json!(true))),
        ("/", "{$.rate}", Value::Number(0.5)),
        ("/", "{$.list[*].n}", Value::Json(json!([1, 2]))),
        ("/", "{$.list}", Value::Json(json!([{"n": 1}, {"n": 2}]))),
        ("/text", "{$}", Value::Json(json!("all well\n"))),
    ] {
        let config = json!({"url": format!("{}{path}", server.url()), "jsonPath": json_path});
        assert_eq!(web(config, &[]).await.result, Ok(expected), "{path} {json_path}");
    }
    let config = json!({"url": server.url(), "jsonPath": "{$.no}"});
    let message = format!("the web server at {}: its answer has nothing at {{$.no}}", server.url());
    assert_eq!(web(config, &[]).await.result, Err(message));
    for (path, json_path, part) in [
        ("/text", "{$.ok}", "its answer is not JSON, in which jsonPath could be looked up: expected value"),
        ("/empty", "{$.ok}", "its answer is empty"),
        ("/empty", "{$}", "its answer is empty"),
    ] {
        let url = format!("{}{path}", server.url());
        let message = web(json!({"url": url, "jsonPath": json_path}), &[]).await.result.unwrap_err();
        assert!(message.starts_with(&format!("the web server at {url}: {part}")), "{message}");
    }
}

#[tokio::test]
async fn a_redirect_leads_to_the_same_server_only() {
    let other = Server::start(|_| answered(StatusCode::OK, &json!(1))).await;
    let elsewhere = other.url();
    let server = Server::start(move |seen| {
        let to = match seen.path.as_str() {
            "/here" => "/there".to_owned(),
            "/there" => return answered(StatusCode::OK, &json!(2)),
            _ => format!("{elsewhere}/secret"),
        };
        (StatusCode::FOUND, [("location", to)]).into_response()
    })
    .await;
    let ask = |path: &str| json!({"url": format!("{}{path}", server.url()), "headers": [{"key": "x-token", "value": "s3cret"}]});
    assert_eq!(web(ask("/here"), &["s3cret"]).await.result, Ok(Value::Number(2.0)));
    let message = web(ask("/away"), &["s3cret"]).await.result.unwrap_err();
    assert!(message.ends_with(&format!("it answered 302 Found (it leads to {})", other.url())), "{message}");
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_web_request_is_sent_as_it_is_written() {
    let server = Server::start(|_| answered(StatusCode::OK, &json!(1))).await;
    for method in ["POST", "PUT"] {
        let config = json!({
            "url": format!("{}/a?b=c", server.url()), "method": method, "jsonBody": {"x": ["y"]},
            "headers": [{"key": "X-Team", "value": "shop"}],
            "authentication": {"basicAuth": {"username": "aladdin", "password": "opensesame"}}
        });
        assert_eq!(web(config, &[]).await.result, Ok(Value::Number(1.0)));
        let seen = server.seen().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.path.as_str()), (method, "/a"));
        assert_eq!(seen.form.keys().next().unwrap(), r#"{"x":["y"]}"#);
        assert_eq!(seen.headers["content-type"], "application/json");
        assert_eq!(seen.headers["x-team"], "shop");
        assert_eq!(seen.headers["authorization"], "Basic YWxhZGRpbjpvcGVuc2VzYW1l");
    }
}

#[tokio::test]
async fn every_bad_web_answer_is_told_in_one_clear_sentence() {
    let cases: Vec<Case> = vec![
        (|| StatusCode::UNAUTHORIZED.into_response(), "it answered 401 Unauthorized"),
        (
            || (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "30")], "slow\n down").into_response(),
            "it answered 429 Too Many Requests (Retry-After: 30): slow down",
        ),
        (
            || (StatusCode::INTERNAL_SERVER_ERROR, "<html>oops</html>").into_response(),
            "it answered 500 Internal Server Error: <html>oops</html>",
        ),
        (|| vec![b'x'; 5 << 20].into_response(), "the answer is larger than 4 MiB"),
    ];
    for (answer, message) in cases {
        let server = Server::start(move |_| answer()).await;
        let found = web(json!({"url": server.url()}), &[]).await.result;
        assert_eq!(found, Err(format!("the web server at {}: {message}", server.url())));
    }
    let message = web(json!({"url": "host/path"}), &[]).await.result.unwrap_err();
    assert!(message.starts_with("the web server cannot be asked: the address is not a URL"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_web_server_that_does_not_answer_is_left_after_ten_seconds() {
    let slow = Server::serve(Router::new().fallback(async || pending::<()>().await), Arc::default()).await;
    let message = web(json!({"url": slow.url()}), &[]).await.result.unwrap_err();
    assert_eq!(message, format!("the web server at {} did not answer within 10s", slow.url()));
}

#[tokio::test]
async fn credentials_do_not_come_back_as_they_were_sent() {
    let server = Server::start(|seen| seen.headers["authorization"].to_str().unwrap().to_owned()).await;
    let basic = json!({"basicAuth": {"username": "aladdin", "password": "opensesame"}});
    let found = web(json!({"url": server.url(), "authentication": basic}), &["opensesame"]).await.result;
    assert_eq!(found, Ok(Value::Json(json!("Basic *****"))));
    let url = server.url().replace("//", "//aladdin:opensesame@");
    assert_eq!(web(json!({"url": url}), &[]).await.result, Ok(Value::Json(json!("Basic *****"))));
}

#[tokio::test]
async fn no_secret_comes_back_in_a_web_answer() {
    let server = Server::start(|seen| {
        let token = seen.headers["x-token"].to_str().unwrap().to_owned();
        let status = if seen.path == "/bad" { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
        answered(status, &json!({token.clone(): [token]}))
    })
    .await;
    for path in ["/good", "/bad"] {
        let url = format!("{}{path}", server.url());
        let config = json!({"url": url, "headers": [{"key": "x-token", "value": "s3cret"}]});
        let sample = web(config, &["s3cret"]).await;
        assert!(!format!("{sample:?}").contains("s3cret"), "{sample:?}");
        assert!(format!("{sample:?}").contains("*****"), "{sample:?}");
    }
}

/// Each provider that is asked with one HTTP request, its configuration with the stub's address, a good answer, and the
/// value in it.
fn http_providers(url: &str) -> Vec<(&'static str, &'static str, Json, String, Value)> {
    let graphql = json!({"data": {"apdex": [9900]}});
    let rows = json!({"data": {"actor": {"account": {"nrql": {"results": [{"rate": 0.5}]}}}}});
    let column = json!({"name": "q", "type": "number", "values": [0.5]});
    let scalar = json!({"data": {"attributes": {"columns": [column]}}});
    let v2 = json!({"apiVersion": "v2", "query": "avg:errors{*}"});
    let half = Value::Number(0.5);
    vec![
        (
            "Graphite",
            "graphite",
            json!({"address": url, "query": "target=a.b"}),
            r#"[{"target": "a.b", "datapoints": [[0.5, 60], [null, 120]]}]"#.to_owned(),
            Value::Numbers(vec![0.5]),
        ),
        (
            "InfluxDB",
            "influxdb",
            json!({"query": "from(bucket: \"b\")"}),
            ",result,table,_value\r\n,_result,0,0.5\r\n".to_owned(),
            Value::Numbers(vec![0.5]),
        ),
        (
            "Datadog",
            "datadog",
            json!({"query": "avg:errors{*}"}),
            r#"{"status": "ok", "series": [{"pointlist": [[1, 0.25], [2, 0.5]]}]}"#.to_owned(),
            half.clone(),
        ),
        ("Datadog", "datadog", v2, scalar.to_string(), half.clone()),
        (
            "New Relic",
            "newRelic",
            json!({"query": "FROM Transaction SELECT 1"}),
            rows.to_string(),
            Value::Json(json!({"rate": 0.5})),
        ),
        (
            "Wavefront",
            "wavefront",
            json!({"address": url, "query": "ts(a)"}),
            r#"{"timeseries": [{"data": [[1, 0.25], [2, 0.5]]}]}"#.to_owned(),
            half.clone(),
        ),
        (
            "SkyWalking",
            "skywalking",
            json!({"address": url, "query": "query q($duration: Duration!) { apdex }"}),
            graphql.to_string(),
            Value::Json(graphql["data"].clone()),
        ),
        (
            "Dynatrace",
            "dynatrace",
            json!({"query": "builtin:service.errors"}),
            r#"{"result": [{"data": [{"timestamps": [1, 2], "values": [0.25, 0.5]}]}]}"#.to_owned(),
            half.clone(),
        ),
        (
            "Splunk Observability Cloud",
            "splunk",
            json!({"query": "sf_metric:errors"}),
            r#"{"data": {"A": [[1, 0.25], [2, 0.5]]}, "errors": []}"#.to_owned(),
            half,
        ),
    ]
}

/// A request with the keys of every provider's Secret, each with the same token.
fn request_with_keys(provider: &str, config: &Json, url: &str) -> MeasureRequest {
    let key = |name: &str, key: &str, value: &str| {
        let key = SecretKey { home: Home::Controller, name: name.to_owned(), key: key.to_owned() };
        (key, Ok(Some(Secret::new(value))))
    };
    let secrets = Secrets::from([
        key("influxdb", "address", url),
        key("influxdb", "authToken", "t0ken"),
        key("influxdb", "org", "shop"),
        key("datadog", "address", url),
        key("datadog", "api-key", "t0ken"),
        key("datadog", "app-key", "t0ken"),
        key("newrelic", "personal-api-key", "t0ken"),
        key("newrelic", "account-id", "7"),
        (SecretKey { home: Home::Controller, name: "newrelic".into(), key: "region".into() }, Ok(None)),
        key("newrelic", "base-url-nerdgraph", &format!("{url}/graphql")),
        key("wavefront-api-tokens", "127.0.0.1", "t0ken"),
        key("dynatrace", "address", url),
        key("dynatrace", "api-token", "t0ken"),
        key("splunk", "address", url),
        key("splunk", "access-token", "t0ken"),
    ]);
    let provider = serde_json::from_value(json!({provider: config})).unwrap();
    let mut keys = Keyring::new(SecretSource::Read(&secrets));
    let query = Query::parse(&provider, at(), &mut keys).unwrap();
    assert!(keys.wanted.is_empty(), "{:?}", keys.wanted);
    MeasureRequest { metric: "m".to_owned(), at: at(), query, secrets: keys.used.into_iter().collect() }
}

#[tokio::test]
async fn each_provider_speaks_its_servers_language() {
    for index in 0..http_providers("").len() {
        let answer = http_providers("").swap_remove(index).3;
        let server = Server::start(move |_| answer.clone()).await;
        let (_, provider, config, _, value) = http_providers(&server.url()).swap_remove(index);
        let request = request_with_keys(provider, &config, &server.url());
        let sample = Providers::new(ProviderOptions::default()).measure(&request).await;
        assert_eq!(sample.result, Ok(value), "{provider}");
        let seen = server.seen().remove(0);
        let token = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let (path, credentials) = match provider {
            "graphite" => ("/render", None),
            "influxdb" => ("/api/v2/query", token("authorization").filter(|it| it == "Token t0ken")),
            "datadog" if config.get("apiVersion").is_some() => ("/api/v2/query/scalar", token("dd-api-key")),
            "datadog" => ("/api/v1/query", token("dd-application-key")),
            "newRelic" => ("/graphql", token("api-key")),
            "wavefront" => ("/api/v2/chart/api", token("authorization").filter(|it| it == "Bearer t0ken")),
            "dynatrace" => {
                ("/api/v2/metrics/query", token("authorization").filter(|it| it == "Api-Token t0ken"))
            }
            "splunk" => ("/v1/timeserieswindow", token("x-sf-token")),
            _ => ("/graphql", None),
        };
        assert_eq!(seen.path, path, "{provider}");
        let is_open = matches!(provider, "graphite" | "skywalking");
        assert_eq!(credentials.is_none(), is_open, "{provider}: {:?}", seen.headers);
    }
}

#[tokio::test]
async fn each_bad_answer_of_each_provider_is_told_in_one_clear_sentence() {
    let cases: Vec<Case> = vec![
        (|| (StatusCode::UNAUTHORIZED, "bad t0ken").into_response(), "it answered 401 Unauthorized: bad "),
        (|| (StatusCode::FORBIDDEN, "no").into_response(), "it answered 403 Forbidden: no"),
        (
            || (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")], "").into_response(),
            "it answered 429 Too Many Requests (Retry-After: 7)",
        ),
        (|| (StatusCode::INTERNAL_SERVER_ERROR, "t0ken").into_response(), "it answered 500 Internal"),
        (|| "<html><body>Sign in</body></html>".into_response(), "is the address"),
        (|| "{}".into_response(), ": "),
        (|| r#"{"unexpected": "#.into_response(), "its answer "),
        (|| vec![b'['; 5 << 20].into_response(), "the answer is larger than 4 MiB"),
        (|| "[[[[[[[[[[".repeat(50).into_response(), "its answer "),
    ];
    for (answer, begin) in cases {
        for index in 0..http_providers("").len() {
            let server = Server::start(move |_| answer()).await;
            let (name, provider, config, ..) = http_providers(&server.url()).swap_remove(index);
            let request = request_with_keys(provider, &config, &server.url());
            let sample = Providers::new(ProviderOptions::default()).measure(&request).await;
            let is_shown = format!("{sample:?}").contains("t0ken");
            assert!(request.secrets.is_empty() || !is_shown, "{sample:?}");
            let message = sample.result.unwrap_err();
            let place = format!("{name} at {}", server.url());
            let rest = message.strip_prefix(&place).unwrap_or_else(|| panic!("{provider}: {message}"));
            assert!(rest.contains(begin), "{provider}: {message}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_provider_waits_for_ever() {
    let slow = Server::serve(Router::new().fallback(async || pending::<()>().await), Arc::default()).await;
    for (name, provider, config, ..) in http_providers(&slow.url()) {
        let request = request_with_keys(provider, &config, &slow.url());
        let sample = Providers::new(ProviderOptions::default()).measure(&request).await;
        let message = sample.result.unwrap_err();
        assert!(message.starts_with(&format!("{name} at {}", slow.url())), "{message}");
        assert!(message.contains("did not answer within "), "{message}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_on_the_list_is_never_asked() {
    let (listed, other) = (Server::result(vector(&["1"])).await, Server::result(vector(&["1"])).await);
    let host = |server: &Server| server.url().trim_start_matches("http://").to_owned();
    let options = ProviderOptions {
        allowed: vec![host(&listed).parse().unwrap()],
        default_prometheus_address: None,
        ..ProviderOptions::default()
    };
    let providers = Providers::new(options);
    let prometheus = |server: &Server| request(&json!({"address": server.url(), "query": "up"}), &[]);
    assert_eq!(providers.measure(&prometheus(&listed)).await.result, Ok(Value::Numbers(vec![1.0])));
    let elsewhere = request_to("web", &json!({"url": other.url()}), &[]);
    let by_token = oauth2(&listed, &other);
    for request in [prometheus(&other), elsewhere, by_token] {
        let message = providers.measure(&request).await.result.unwrap_err();
        assert!(message.contains("metrics may not ask this server"), "{message}");
    }
    assert!(other.seen().is_empty());
}
