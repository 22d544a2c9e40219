//! Requests to Prometheus with a signature, against servers that reckon it once more in the way that AWS documents.

use std::collections::BTreeMap;
use std::io::Write;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ring::{digest, hmac};
use serde_json::{Value as Json, json};

use super::super::tests::{Seen, Server, request, success, vector};
use super::super::{Provider, ProviderOptions, Providers};
use super::*;

const KEY: &str = "AKIDEXAMPLEEXAMPLE00";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const ROLE_KEY: &str = "ASIAROLEEXAMPLE00000";
const ROLE_SECRET: &str = "role/secret";
const ROLE_TOKEN: &str = "role+token==";
const ROLE: &str = "arn:aws:iam::123456789012:role/metrics";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// What an `Authorization` header says: the credential with its scope, the signed headers, the signature.
fn parts(authorization: &str) -> [String; 3] {
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 ").unwrap();
    let fields: BTreeMap<_, _> = rest.split(", ").filter_map(|field| field.split_once('=')).collect();
    ["Credential", "SignedHeaders", "Signature"].map(|name| fields[name].to_owned())
}

/// The signature that a request should have, as the documentation of AWS reckons it.
fn signature(seen: &Seen, secret: &str) -> String {
    let [credential, signed, _] = parts(seen.headers["authorization"].to_str().unwrap());
    let mut query: Vec<&str> = seen.query.split('&').filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    let query = query.join("&");
    let headers = signed.split(';').fold(String::new(), |text, name| {
        text + &format!("{name}:{}\n", seen.headers[name].to_str().unwrap().trim())
    });
    let (method, path, body) = (&seen.method, &seen.path, sha256(&seen.body));
    let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{signed}\n{body}");
    let scope = credential.split_once('/').unwrap().1;
    let date = seen.headers["x-amz-date"].to_str().unwrap();
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let sign = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| sign(&key, part));
    hex(&sign(&key, &text))
}

/// Asserts that `key` has signed for a service in a region.
fn assert_signed(seen: &Seen, key: &str, secret: &str, service: &str) {
    let [credential, signed, given] = parts(seen.headers["authorization"].to_str().unwrap());
    assert_eq!(given, signature(seen, secret), "{seen:?}");
    let date = &seen.headers["x-amz-date"].to_str().unwrap()[..8];
    assert_eq!(credential, format!("{key}/{date}/eu-central-1/{service}/aws4_request"));
    assert!(signed.contains("host") && signed.contains("x-amz-date"), "{signed}");
}

fn providers(environment: &[(&str, &str)]) -> Providers {
    let aws = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Providers::new(ProviderOptions { aws, ..ProviderOptions::default() })
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)];

async fn measure(providers: &Providers, server: &Server, sigv4: Json) -> Result<f64, String> {
    let config = json!({"address": server.url(), "query": "sum(a + b)", "authentication": {"sigv4": sigv4}});
    let sample = providers.measure(&request(&config, &[])).await;
    assert!(
        ![SECRET, ROLE_SECRET, ROLE_TOKEN].iter().any(|one| format!("{sample:?}").contains(one)),
        "{sample:?}"
    );
    sample.result.map(|_| 1.0)
}

async fn prometheus() -> Server {
    Server::start(|_| success(&vector(&["1"]))).await
}

fn region() -> Json {
    json!({"region": "eu-central-1"})
}

fn role() -> Json {
    json!({"region": "eu-central-1", "roleArn": ROLE})
}

/// An issuer of the role's credentials, in the form of STS.
async fn sts() -> Server {
    Server::start(|seen| {
        let action = &seen.form["Action"];
        (
            StatusCode::OK,
            format!(
                "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
                 <AccessKeyId>{ROLE_KEY}</AccessKeyId><SecretAccessKey>{ROLE_SECRET}</SecretAccessKey>\
                 <SessionToken>{ROLE_TOKEN}</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>\
                 </{action}Result></{action}Response>"
            ),
        )
    })
    .await
}

/// An answer of a container's endpoint, or of an instance's.
fn temporary() -> Response {
    let credentials = json!({
        "Code": "Success", "AccessKeyId": ROLE_KEY, "SecretAccessKey": ROLE_SECRET, "Token": ROLE_TOKEN,
        "Expiration": "2999-01-01T00:00:00Z",
    });
    (StatusCode::OK, credentials.to_string()).into_response()
}

#[test]
fn signatures_are_reckoned_as_the_example_of_aws_says() {
    // "get-vanilla" of the test suite of Signature Version 4.
    let headers = [
        ("host", "example.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=x",
        ),
    ];
    let seen = Seen {
        method: axum::http::Method::GET,
        path: "/".to_owned(),
        query: String::new(),
        headers: headers
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect(),
        body: axum::body::Bytes::new(),
        form: BTreeMap::new(),
    };
    assert_eq!(
        signature(&seen, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    );
}

#[tokio::test]
async fn a_query_is_signed_with_the_keys_of_the_environment() {
    let server = prometheus().await;
    measure(&providers(&KEYS), &server, region()).await.unwrap();
    assert_signed(&server.seen()[0], KEY, SECRET, "aps");
}

#[tokio::test]
async fn a_query_by_url_has_a_signature_of_its_own() {
    let server = Server::start(|seen| match seen.method {
        axum::http::Method::GET => success(&vector(&["1"])),
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    })
    .await;
    measure(&providers(&KEYS), &server, region()).await.unwrap();
    for seen in server.seen() {
        assert_signed(&seen, KEY, SECRET, "aps");
    }
}

#[tokio::test]
async fn a_region_is_found_in_the_environment_and_in_the_name_of_the_host() {
    let server = prometheus().await;
    let why = measure(&providers(&KEYS), &server, json!({"roleArn": ROLE})).await.unwrap_err();
    assert!(
        why.contains(
            "no AWS region is known: set AWS_REGION for the controller, or sigv4.region in the metric"
        ),
        "{why}"
    );
    let sts = sts().await;
    let providers =
        providers(&[KEYS[0], KEYS[1], ("AWS_REGION", "eu-central-1"), ("AWS_ENDPOINT_URL_STS", &sts.url())]);
    measure(&providers, &server, json!({"roleArn": ROLE})).await.unwrap();
    assert_signed(&server.seen()[0], ROLE_KEY, ROLE_SECRET, "aps");
    assert_eq!(of_host("aps-workspaces.eu-central-1.amazonaws.com"), Some("eu-central-1"));
    assert_eq!(of_host("monitoring.cn-north-1.amazonaws.com.cn"), Some("cn-north-1"));
    assert_eq!(of_host("sts.amazonaws.com"), None);
    assert_eq!(of_host("prometheus.example.com"), None);
}

#[tokio::test]
async fn a_role_is_assumed_once_and_signs() {
    let (server, sts) = (prometheus().await, sts().await);
    let providers = providers(&[KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL_STS", &sts.url())]);
    for _ in 0..2 {
        measure(&providers, &server, role()).await.unwrap();
    }
    let asked = sts.seen();
    assert_eq!(asked.len(), 1);
    assert_signed(&asked[0], KEY, SECRET, "sts");
    assert_eq!(asked[0].headers["host"], "sts.eu-central-1.amazonaws.com");
    assert_eq!([&asked[0].form["RoleArn"], &asked[0].form["RoleSessionName"]], [ROLE, "serin"]);
    let seen = server.seen();
    assert_signed(&seen[1], ROLE_KEY, ROLE_SECRET, "aps");
    assert_eq!(seen[1].headers["x-amz-security-token"], ROLE_TOKEN);
}

#[tokio::test]
async fn credentials_that_are_refused_are_asked_for_again() {
    let sts = sts().await;
    let server =
        Server::start(|_| (StatusCode::FORBIDDEN, r#"{"message":"The security token is expired"}"#)).await;
    let providers = providers(&[KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL_STS", &sts.url())]);
    for asked in 1..=2 {
        let why = measure(&providers, &server, role()).await.unwrap_err();
        assert!(
            why.contains("refused the credentials (403 Forbidden): {\"message\":\"The security token"),
            "{why}"
        );
        assert_eq!(sts.seen().len(), asked);
    }
}

#[tokio::test]
async fn a_role_that_may_not_be_assumed_is_told_in_the_words_of_aws() {
    let server = prometheus().await;
    let sts = Server::start(|_| {
        let message = "User: me is not authorized to perform: sts:AssumeRole";
        (
            StatusCode::FORBIDDEN,
            format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{message}</Message></Error>\
                 <RequestId>1</RequestId></ErrorResponse>"
            ),
        )
    })
    .await;
    let providers = providers(&[KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL_STS", &sts.url())]);
    let why = measure(&providers, &server, role()).await.unwrap_err();
    let expected = "no AWS credentials: AccessDenied: User: me is not authorized to perform: sts:AssumeRole";
    assert!(why.ends_with(expected), "{why}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn the_identity_of_a_service_account_becomes_its_role() {
    let (server, sts) = (prometheus().await, sts().await);
    let mut token = tempfile::NamedTempFile::new().unwrap();
    writeln!(token, "signed-by-the-cluster").unwrap();
    let path = token.path().display().to_string();
    let providers = providers(&[
        ("AWS_ENDPOINT_URL_STS", &sts.url()),
        ("AWS_ROLE_ARN", ROLE),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &path),
    ]);
    measure(&providers, &server, region()).await.unwrap();
    let asked = sts.seen().remove(0);
    assert_eq!(asked.form["WebIdentityToken"], "signed-by-the-cluster");
    assert_eq!(asked.form["RoleArn"], ROLE);
    assert_signed(&server.seen()[0], ROLE_KEY, ROLE_SECRET, "aps");
}

#[tokio::test]
async fn a_pod_identity_is_asked_of_the_endpoint_that_the_pod_was_given() {
    let server = prometheus().await;
    let endpoint = Server::start(|_| temporary()).await;
    let mut token = tempfile::NamedTempFile::new().unwrap();
    write!(token, "signed-by-the-cluster").unwrap();
    let (url, path) = (format!("{}/v1/credentials", endpoint.url()), token.path().display().to_string());
    let providers = providers(&[
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &path),
    ]);
    measure(&providers, &server, region()).await.unwrap();
    assert_eq!(endpoint.seen()[0].headers["authorization"], "signed-by-the-cluster");
    assert_signed(&server.seen()[0], ROLE_KEY, ROLE_SECRET, "aps");
}

#[tokio::test]
async fn a_profile_is_read_from_the_shared_configuration() {
    let server = prometheus().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "[other]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}").unwrap();
    let path = file.path().display().to_string();
    let providers = providers(&[("AWS_SHARED_CREDENTIALS_FILE", &path)]);
    let with = |profile: &str| json!({"region": "eu-central-1", "profile": profile});
    measure(&providers, &server, with("other")).await.unwrap();
    assert_signed(&server.seen()[0], KEY, SECRET, "aps");
    let why = measure(&providers, &server, with("absent")).await.unwrap_err();
    assert!(why.contains("the shared configuration has no profile 'absent' with aws_access_key_id"), "{why}");
}

async fn instance() -> Server {
    Server::start(|seen| match seen.path.as_str() {
        "/latest/api/token" => "token".into_response(),
        "/latest/meta-data/iam/security-credentials/" => "node".into_response(),
        _ => temporary(),
    })
    .await
}

#[tokio::test]
async fn the_instance_is_asked_where_nothing_nearer_is_set_up() {
    let (server, instance) = (prometheus().await, instance().await);
    let node = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", instance.url())];
    let node = node.each_ref().map(|(name, value)| (*name, value.as_str()));
    measure(&providers(&node), &server, region()).await.unwrap();
    assert_signed(&server.seen()[0], ROLE_KEY, ROLE_SECRET, "aps");
    assert_eq!(instance.seen().len(), 3);
}

#[tokio::test]
async fn a_source_that_fails_is_told_and_not_followed_by_the_next() {
    let (server, instance) = (prometheus().await, instance().await);
    let broken = Server::start(|_| StatusCode::INTERNAL_SERVER_ERROR).await;
    let providers = providers(&[
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &broken.url()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &instance.url()),
    ]);
    let why = measure(&providers, &server, region()).await.unwrap_err();
    assert!(why.contains("no AWS credentials: ECS metadata service error"), "{why}");
    assert!(instance.seen().is_empty() && server.seen().is_empty());
}

#[tokio::test]
async fn without_any_credentials_it_is_told_what_to_set_up() {
    let server = prometheus().await;
    let why =
        measure(&providers(&[("AWS_EC2_METADATA_DISABLED", "true")]), &server, region()).await.unwrap_err();
    assert!(why.contains("give the controller's service account a role (IRSA or EKS Pod Identity)"), "{why}");
}

#[tokio::test]
async fn a_refusal_that_repeats_the_request_shows_no_token() {
    let sts = sts().await;
    let server = Server::start(|seen| {
        let (token, signature) = (&seen.headers["x-amz-security-token"], &seen.headers["authorization"]);
        let message = format!("the canonical string should have been {token:?} {signature:?}");
        (StatusCode::BAD_REQUEST, message.replace('"', ""))
    })
    .await;
    let providers = providers(&[KEYS[0], KEYS[1], ("AWS_ENDPOINT_URL", &sts.url())]);
    let why = measure(&providers, &server, role()).await.unwrap_err();
    assert!(why.contains("should have been *****"), "{why}");
    assert!(!why.contains(ROLE_TOKEN) && !why.contains("Signature="), "{why}");
}

#[test]
fn the_environment_shows_no_secret() {
    let environment: AwsEnvironment = [("AWS_SECRET_ACCESS_KEY", SECRET), ("PATH", "/bin")]
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .into_iter()
        .collect();
    assert_eq!(format!("{environment:?}"), r#"{"AWS_SECRET_ACCESS_KEY"}"#);
}
