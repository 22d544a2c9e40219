//! Any HTTP server: method, path and body are the template's. What is sent again has the same `Idempotency-Key`.

use serde::Deserialize;

use super::{Notice, PATIENCE};
use crate::analysis::Secret;
use crate::analysis::query::access::{CertificateCheck, Credentials};
use crate::analysis::query::{HttpMethod, HttpRequest};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Settings {
    url: String,
    #[serde(default)]
    headers: Vec<Header>,
    basic_auth: Option<BasicAuth>,
    #[serde(default)]
    insecure_skip_verify: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BasicAuth {
    username: String,
    password: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    method: Option<Method>,
    path: Option<String>,
    body: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    Get,
    Post,
    Put,
    Patch,
}

pub(super) fn request(settings: Settings, notice: &Notice<'_>, part: Part) -> Result<HttpRequest, String> {
    let path = part.path.unwrap_or_default();
    // What is rendered into it may be a tenant's, and the headers are not.
    if path.split('/').any(|element| element == "..") {
        return Err("webhook path leads out of the service's address".to_owned());
    }
    let url = match path.trim_start_matches('/') {
        "" => settings.url,
        path => format!("{}/{path}", settings.url.trim_end_matches('/')),
    };
    let method = match part.method.unwrap_or(Method::Get) {
        Method::Get => HttpMethod::Get,
        Method::Post => HttpMethod::Post,
        Method::Put => HttpMethod::Put,
        Method::Patch => HttpMethod::Patch,
    };
    let headers = settings.headers.into_iter().map(|header| (header.name, Secret::new(header.value)));
    let body = part.body.filter(|body| !body.is_empty());
    let certificate =
        if settings.insecure_skip_verify { CertificateCheck::Off } else { CertificateCheck::On };
    let request = HttpRequest {
        method,
        headers: headers.collect(),
        body: body.map(|body| (None, Secret::new(body))),
        certificate,
        credentials: settings
            .basic_auth
            .map(|user| Credentials::Basic { username: user.username, password: Secret::new(user.password) }),
        ..HttpRequest::get(url, PATIENCE)
    };
    Ok(request.with_header("Idempotency-Key", notice.id.clone()))
}
