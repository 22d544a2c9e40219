//! An API server for tests: a function that answers requests, or does not.

use std::future::pending;

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::{BoxError, service_fn};

/// A request as the function sees it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    /// Null without a body.
    pub(super) body: Value,
}

/// Code and body of an answer; `None` for none at all.
pub(super) type Answer = Option<(u16, Value)>;

/// A client whose requests `answer` answers. Watches are left open without an event.
pub(super) fn client(answer: impl Fn(Asked) -> Answer + Clone + Send + 'static) -> Client {
    let service = service_fn(move |request: Request<Body>| {
        let answer = answer.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = serde_json::from_slice(&body.collect_bytes().await?).unwrap_or_default();
            let is_watch = parts.uri.query().is_some_and(|query| query.contains("watch=true"));
            let asked = Asked { method: parts.method, path: parts.uri.path().to_owned(), body };
            let answered = if is_watch { None } else { answer(asked) };
            let Some((code, body)) = answered else { return pending().await };
            let body = Body::from(body.to_string().into_bytes());
            Ok::<_, BoxError>(Response::builder().status(code).body(body)?)
        }
    });
    Client::new(service, "default")
}

/// A refusal that names the object `name`.
#[expect(clippy::unnecessary_wraps, reason = "it stands where an answer does")]
pub(super) fn refused(code: u16, name: &str) -> Answer {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        _ => "InternalError",
    };
    let body = json!({
        "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason,
        "details": {"name": name},
    });
    Some((code, body))
}
