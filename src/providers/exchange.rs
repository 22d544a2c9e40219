//! One HTTP request and its answer: how every provider but Prometheus is asked.

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::{Finding, Hidden, Shared, headers, http};
use crate::analysis::Value;
use crate::analysis::query::access::Credentials;
use crate::analysis::query::{HttpMethod, HttpQuery, HttpRequest};
use crate::units::format_duration;

/// Takes one measurement.
pub(super) async fn measure(
    shared: &Shared,
    query: &HttpQuery,
    finding: &mut Finding,
) -> Result<Value, String> {
    let HttpQuery { server, request, reading, is_secret_address } = query;
    let url = http::parse_url(&request.url).map_err(|why| format!("{server} cannot be asked: {why}"))?;
    let shown = if *is_secret_address {
        url.origin().ascii_serialization()
    } else {
        http::shown_unless_hidden(&url, &request.url, &finding.hidden)
    };
    let place = format!("{server} at {shown}");
    let answer = async {
        let body = ask(shared, request, url, &mut finding.hidden).await?;
        let reading = reading.clone();
        // Megabytes of JSON would keep every other measurement of this thread waiting.
        let read = tokio::task::spawn_blocking(move || reading.read(&body)).await;
        read.unwrap_or_else(|_| Err("its answer cannot be read".to_owned()))
    };
    match tokio::time::timeout(request.timeout, answer).await {
        Err(_) => Err(format!("{place} did not answer within {}", format_duration(request.timeout))),
        Ok(answer) => answer.map_err(|why| format!("{place}: {why}")),
    }
}

/// Asks, and once more with a new token when the kept one is refused; gives the body of a good answer.
pub(super) async fn ask(
    shared: &Shared,
    request: &HttpRequest,
    url: Url,
    hidden: &mut Hidden,
) -> Result<Vec<u8>, String> {
    let (client, url) = shared.clients.for_metric(url, request.certificate)?;
    ask_with(shared, request, &client, url, hidden).await
}

/// The same by a client that may ask there.
pub(super) async fn ask_with(
    shared: &Shared,
    request: &HttpRequest,
    client: &reqwest::Client,
    url: Url,
    hidden: &mut Hidden,
) -> Result<Vec<u8>, String> {
    headers::hide_userinfo(client, &url, hidden);
    let mut response = send(shared, request, client, url.clone(), hidden).await?;
    if response.status() == StatusCode::UNAUTHORIZED && forget_token(shared, request) {
        response = send(shared, request, client, url, hidden).await?;
    }
    let status = response.status();
    let later = http::aside(&response);
    let body = http::read(response).await?;
    if status.is_success() {
        return Ok(body);
    }
    Err(format!("it answered {status}{later}{}", http::quote(&body, hidden)))
}

/// Forgets the token that a request was sent with; false when there was none.
fn forget_token(shared: &Shared, request: &HttpRequest) -> bool {
    match &request.credentials {
        Some(Credentials::OAuth2(oauth2)) => shared.tokens.forget(oauth2),
        Some(Credentials::Google { key }) => shared.google.forget(key.as_ref()),
        Some(Credentials::Basic { .. } | Credentials::SigV4(_)) | None => return false,
    }
    true
}

pub(super) async fn send(
    shared: &Shared,
    request: &HttpRequest,
    client: &reqwest::Client,
    url: Url,
    hidden: &mut Hidden,
) -> Result<Response, String> {
    let wanted = headers::Wanted {
        headers: &request.headers,
        credentials: request.credentials.as_ref(),
        certificate: request.certificate,
    };
    let mut headers = wanted.make(shared, client, hidden).await?;
    let method = match request.method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
    };
    let mut sending = client.request(method, url);
    if let Some((content, body)) = &request.body {
        if let Some(content) = content {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(content));
        }
        sending = sending.body(body.reveal().to_owned());
    }
    sending.headers(headers).send().await.map_err(|error| http::cause(&error))
}
