use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::analysis::query::access::CertificateCheck;
use crate::notify::service::{Encryption, Kind, Mail};
use crate::providers::ProviderOptions;
use crate::providers::tests::Server;

/// Of nobody.
const KEY: &str = include_str!("../google/test_key.pem");
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

async fn deliver(delivery: &Delivery) -> Result<(), String> {
    let providers = Providers::new(ProviderOptions::default());
    let now = Timestamp::from_millis(1_700_000_000_500);
    providers.deliver(delivery, &[Secret::new("s3cret")], now).await
}

fn slack(server: &Server) -> Delivery {
    let request = HttpRequest::post(format!("{}/hook", server.url()), &json!({"token": "s3cret"}), PATIENCE);
    Delivery::Http { request, kind: Kind::Slack }
}

#[tokio::test]
async fn what_a_service_does_not_take_is_told_without_secrets() {
    for (answer, expected) in [
        ((StatusCode::OK, r#"{"ok": true}"#).into_response(), Ok(())),
        (
            (StatusCode::OK, r#"{"ok": false, "error": "not_in_channel"}"#).into_response(),
            Err("it says not_in_channel"),
        ),
        ((StatusCode::OK, Html("<p>hello</p>")).into_response(), Err("its answer is no JSON")),
        (
            (StatusCode::UNAUTHORIZED, "no s3cret of mine").into_response(),
            Err("it answered 401 Unauthorized: no ***** of mine"),
        ),
        (
            (StatusCode::TOO_MANY_REQUESTS, [("Retry-After", "30")]).into_response(),
            Err("it answered 429 Too Many Requests (Retry-After: 30)"),
        ),
        (
            (StatusCode::INTERNAL_SERVER_ERROR, "").into_response(),
            Err("it answered 500 Internal Server Error"),
        ),
    ] {
        let answer = Arc::new(Mutex::new(Some(answer)));
        let server = Server::start(move |_| answer.lock().unwrap().take().unwrap()).await;
        let expected = expected.map_err(|why| format!("{}/hook: {why}", server.url()));
        assert_eq!(deliver(&slack(&server)).await, expected);
        assert_eq!(server.seen().len(), 1, "who tries again is not said here");
    }
}

#[tokio::test]
async fn a_commit_gets_its_status_by_a_token_that_the_app_has_signed_for() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/token" => (StatusCode::CREATED, r#"{"token": "t0ken"}"#),
        _ => (StatusCode::CREATED, "{}"),
    })
    .await;
    let request = |path: &str| {
        HttpRequest::post(format!("{}/{path}", server.url()), &json!({"state": "success"}), PATIENCE)
    };
    let wanted = |key: &str| {
        let (key, app) = (Secret::new(key), "12".to_owned());
        Delivery::CommitStatus(Box::new(CommitStatus {
            app,
            key,
            token: request("token"),
            status: request("status"),
        }))
    };
    assert_eq!(deliver(&wanted(KEY)).await, Ok(()));
    let [asked, set] = &server.seen()[..] else { panic!("two requests") };
    let bearer = asked.headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let (signed, signature) = bearer.rsplit_once('.').unwrap();
    let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims, json!({"iat": 1_699_999_940, "exp": 1_700_000_300, "iss": "12"}));
    let key = match PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap() {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap(),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).unwrap(),
        other => panic!("{other:?}"),
    };
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public());
    public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    assert_eq!(
        (set.path.as_str(), set.headers["authorization"].to_str().unwrap()),
        ("/status", "Bearer t0ken")
    );
    assert_eq!(deliver(&wanted("no key")).await, Err("privateKey is no RSA key in PEM".to_owned()));
}

/// A mail server that takes one mail, and what it was told.
async fn mail_server(refuses: Option<&'static str>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let told = Arc::new(Mutex::new(vec![]));
    let log = Arc::clone(&told);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (reader, mut writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        writer.write_all(b"220 mail\r\n").await.unwrap();
        let mut is_data = false;
        while let Ok(Some(line)) = lines.next_line().await {
            log.lock().unwrap().push(line.clone());
            let answer = match line.split([' ', ':']).next().unwrap() {
                _ if is_data && line != "." => continue,
                _ if is_data => "250 taken",
                "EHLO" => "250-mail\r\n250 AUTH PLAIN",
                "AUTH" => "235 welcome",
                "RCPT" => refuses.unwrap_or("250 fine"),
                "DATA" => "354 go on",
                _ => "250 fine",
            };
            is_data = answer.starts_with("354");
            writer.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
        }
    });
    (port, told)
}

fn mail(port: u16, to: &str) -> Delivery {
    Delivery::Mail(Mail {
        host: "127.0.0.1".to_owned(),
        port,
        encryption: Encryption::WhenOffered,
        certificate: CertificateCheck::On,
        login: Some(("me".to_owned(), Secret::new("s3cret"))),
        from: "Serin <serin@shop.example>".to_owned(),
        to: to.to_owned(),
        subject: "api\r\nBcc: all@shop.example".to_owned(),
        body: "it failed".to_owned(),
        is_html: false,
        id: "7-0-0-0".to_owned(),
    })
}

#[tokio::test]
async fn a_mail_is_sent_once_with_its_id() {
    let (port, told) = mail_server(None).await;
    assert_eq!(deliver(&mail(port, "ops@shop.example")).await, Ok(()));
    let told = told.lock().unwrap().clone();
    for line in [
        "MAIL FROM:<serin@shop.example>",
        "RCPT TO:<ops@shop.example>",
        "Message-ID: <7-0-0-0@shop.example>",
        "it failed",
    ] {
        assert!(told.iter().any(|known| known == line), "{line} is not in {told:#?}");
    }
    assert!(!told.iter().any(|line| line.starts_with("Bcc")), "{told:#?}");
    assert!(
        told.iter().any(|line| line.starts_with("AUTH PLAIN ")),
        "on this machine nobody listens: {told:#?}"
    );
}

#[tokio::test]
async fn a_mail_that_is_not_taken_is_told_with_the_server_s_reason() {
    let (port, _) = mail_server(Some("550 no such mailbox of s3cret")).await;
    let why = deliver(&mail(port, "nobody@shop.example")).await.unwrap_err();
    assert!(
        why.starts_with(&format!("127.0.0.1:{port}: ")) && why.contains("no such mailbox of *****"),
        "{why}"
    );
    let why = deliver(&mail(port, "nobody")).await.unwrap_err();
    assert!(why.contains("'nobody' is no address"), "{why}");
}
