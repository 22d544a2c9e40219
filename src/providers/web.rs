//! Any web server: one request, and a part of its answer.

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use super::{Finding, Hidden, Shared, headers, http};
use crate::analysis::Value;
use crate::analysis::query::access::Credentials;
use crate::analysis::query::json_path::JsonPath;
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
    let answer = async {
        let body = ask(shared, query, url, &mut finding.hidden).await?;
        let path = query.path.clone();
        // Megabytes of JSON would keep every other measurement of this thread waiting.
        let read = tokio::task::spawn_blocking(move || value(&path, &body)).await;
        read.unwrap_or_else(|_| Err("its answer cannot be read".to_owned()))
    };
    match tokio::time::timeout(query.timeout, answer).await {
        Err(_) => Err(format!("{place} did not answer within {}", format_duration(query.timeout))),
        Ok(answer) => answer.map_err(|why| format!("{place}: {why}")),
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
    let later = http::aside(&response);
    let body = http::read(response).await?;
    if status.is_success() {
        return Ok(body);
    }
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
fn value(path: &JsonPath, body: &[u8]) -> Result<Value, String> {
    if body.trim_ascii().is_empty() {
        return Err("its answer is empty".to_owned());
    }
    let json = match serde_json::from_slice(body) {
        Ok(json) => json,
        Err(_) if path.is_whole() => {
            return Ok(Value::Json(String::from_utf8_lossy(body).into_owned().into()));
        }
        Err(why) => {
            return Err(format!("its answer is not JSON, in which jsonPath could be looked up: {why}"));
        }
    };
    let chosen = path.select(json)?;
    Ok(chosen.as_f64().map_or_else(|| Value::Json(chosen), Value::Number))
}
