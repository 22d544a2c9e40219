//! Any web server: one request, and a part of its answer.

use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::{Finding, Hidden, Shared, headers, http};
use crate::analysis::Value;
use crate::analysis::query::access::Credentials;
use crate::analysis::query::{WebMethod, WebQuery};
use crate::units::format_duration;

/// Takes one measurement.
pub(super) async fn measure(
    shared: &Shared,
    query: &WebQuery,
    finding: &mut Finding,
) -> Result<Value, String> {
    let url = http::parse_url(&query.url).map_err(|why| format!("the web server cannot be asked: {why}"))?;
    let place = format!("the web server at {}", http::shown_unless_hidden(&url, &query.url, &finding.hidden));
    match tokio::time::timeout(query.timeout, ask(shared, query, url, &mut finding.hidden)).await {
        Err(_) => Err(format!("{place} did not answer within {}", format_duration(query.timeout))),
        Ok(Err(why)) => Err(format!("{place}: {why}")),
        Ok(Ok(body)) => value(query, &body).map_err(|why| format!("{place}: {why}")),
    }
}

/// Asks, and once more with a new token when the kept one is refused; gives the body of a good answer.
async fn ask(shared: &Shared, query: &WebQuery, url: Url, hidden: &mut Hidden) -> Result<Vec<u8>, String> {
    let (client, url) = shared.clients.for_url(url, query.certificate)?;
    let mut response = send(shared, query, &client, url.clone(), hidden).await?;
    if let (StatusCode::UNAUTHORIZED, Some(Credentials::OAuth2(oauth2))) =
        (response.status(), &query.credentials)
    {
        shared.tokens.forget(oauth2);
        response = send(shared, query, &client, url, hidden).await?;
    }
    let status = response.status();
    let patience =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = http::read(response).await?;
    if status.is_success() {
        return Ok(body);
    }
    let later = patience.map(|when| format!(" (Retry-After: {when})")).unwrap_or_default();
    Err(format!("it answered {status}{later}{}", http::quote(&body, hidden)))
}

async fn send(
    shared: &Shared,
    query: &WebQuery,
    client: &reqwest::Client,
    url: Url,
    hidden: &mut Hidden,
) -> Result<Response, String> {
    let wanted = headers::Wanted {
        headers: &query.headers,
        credentials: query.credentials.as_ref(),
        certificate: query.certificate,
    };
    let mut headers = wanted.make(shared, client, hidden).await?;
    let method = match query.method {
        WebMethod::Get => Method::GET,
        WebMethod::Post => Method::POST,
        WebMethod::Put => Method::PUT,
    };
    let mut request = client.request(method, url);
    if let Some((content, body)) = &query.body {
        if let Some(content) = content {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(content));
        }
        request = request.body(body.reveal().to_owned());
    }
    request.headers(headers).send().await.map_err(|error| http::cause(&error))
}

/// The value in an answer: the chosen part of JSON, or all of a text.
fn value(query: &WebQuery, body: &[u8]) -> Result<Value, String> {
    let Ok(json) = serde_json::from_slice(body) else {
        return Ok(Value::Json(String::from_utf8_lossy(body).into_owned().into()));
    };
    let chosen = query.path.select(json)?;
    Ok(chosen.as_f64().map_or_else(|| Value::Json(chosen), Value::Number))
}
