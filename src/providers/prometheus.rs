//! Prometheus: instant and range queries.
//!
//! A scalar is one number; a vector is the values of its series; a matrix is all points of all its series, series by
//! series. The time of an instant query is the server's own, so that clocks need not agree.

use prometheus_http_query::Client;
use prometheus_http_query::response::{Data, PromqlResult, RangeVector, Sample};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde::Deserialize;
use url::Url;

use super::{Finding, Hidden, Shared, headers, http};
use crate::analysis::query::PrometheusQuery;
use crate::analysis::query::access::Credentials;
use crate::analysis::{Secret, Value};
use crate::units::format_duration;

/// An answer of the query API.
#[derive(Deserialize)]
struct Answer {
    status: String,
    data: Option<serde_json::Value>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    warnings: Option<Vec<String>>,
}

/// How a question is put.
#[derive(Clone, Copy)]
enum Method {
    /// In a form, which may be long.
    Post,
    /// In the URL, for servers and proxies that take nothing else.
    Get,
}

/// Takes one measurement.
pub(super) async fn measure(
    shared: &Shared,
    query: &PrometheusQuery,
    finding: &mut Finding,
) -> Result<Value, String> {
    finding.note("ResolvedPrometheusQuery", &query.promql);
    let address = address(shared, query).ok_or(
        "no Prometheus address: set provider.prometheus.address in the metric, or a default address for the controller",
    )?;
    let url = http::parse_url(address).map_err(|why| format!("Prometheus cannot be asked: {why}"))?;
    let place = format!("Prometheus at {}", http::shown_unless_hidden(&url, address, &finding.hidden));
    let patience = query.timeout;
    match tokio::time::timeout(patience, ask(shared, query, url, &mut finding.hidden)).await {
        Err(_) => Err(format!("{place} did not answer within {}", format_duration(patience))),
        Ok(Err(why)) => Err(format!("{place}: {why}")),
        Ok(Ok(answer)) => {
            let warnings = answer.warnings.unwrap_or_default();
            if !warnings.is_empty() {
                finding.note("warnings", &warnings.join("; "));
            }
            value(answer.data).map_err(|why| format!("{place}: {why}"))
        }
    }
}

/// Where the query goes; `None` when neither it nor the controller's settings say.
pub(super) fn address<'a>(shared: &'a Shared, query: &'a PrometheusQuery) -> Option<&'a str> {
    query.address.as_deref().or(shared.default_prometheus_address.as_ref().map(Secret::reveal))
}

/// Asks, and once more with a new token when the kept one is refused.
async fn ask(
    shared: &Shared,
    query: &PrometheusQuery,
    mut url: Url,
    hidden: &mut Hidden,
) -> Result<Answer, String> {
    // The query API is appended to the path with a slash of its own.
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    let (http_client, url) = shared.clients.for_url(url, query.certificate)?;
    let client = Client::from(http_client, url.as_str()).map_err(|error| http::cause(&error))?;
    let sent = || headers::Wanted {
        headers: &query.headers,
        credentials: query.credentials.as_ref(),
        certificate: query.certificate,
    };
    let headers = sent().make(shared, client.inner(), hidden).await?;
    let (mut status, mut content, mut body) = send(&client, query, headers).await?;
    if let (StatusCode::UNAUTHORIZED, Some(Credentials::OAuth2(oauth2))) = (status, &query.credentials) {
        shared.tokens.forget(oauth2);
        let headers = sent().make(shared, client.inner(), hidden).await?;
        (status, content, body) = send(&client, query, headers).await?;
    }
    understand(status, &content, &body, hidden)
}

async fn send(
    client: &Client,
    query: &PrometheusQuery,
    headers: HeaderMap,
) -> Result<(StatusCode, String, Vec<u8>), String> {
    let mut response = request(client, query, &headers, Method::Post).await?;
    if matches!(response.status(), StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) {
        response = request(client, query, &headers, Method::Get).await?;
    }
    let status = response.status();
    let content = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content = content.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
    Ok((status, content, http::read(response).await?))
}

async fn request(
    client: &Client,
    query: &PrometheusQuery,
    headers: &HeaderMap,
    method: Method,
) -> Result<reqwest::Response, String> {
    let timeout = i64::try_from(query.timeout.as_millis()).unwrap_or(i64::MAX);
    let sent = match query.range {
        None => {
            let instant = client.query(&query.promql).timeout(timeout);
            let instant =
                headers.iter().fold(instant, |all, (name, value)| all.header(name.clone(), value.clone()));
            match method {
                Method::Post => instant.post_raw().await,
                Method::Get => instant.get_raw().await,
            }
        }
        Some(range) => {
            let (start, end) =
                (range.start.as_millis().div_euclid(1000), range.end.as_millis().div_euclid(1000));
            let all =
                client.query_range(&query.promql, start, end, range.step.as_secs_f64()).timeout(timeout);
            let all = headers.iter().fold(all, |all, (name, value)| all.header(name.clone(), value.clone()));
            match method {
                Method::Post => all.post_raw().await,
                Method::Get => all.get_raw().await,
            }
        }
    };
    sent.map_err(|error| http::cause(&error))
}

/// What the server's answer means; everything but a result is a sentence.
fn understand(status: StatusCode, content: &str, body: &[u8], hidden: &Hidden) -> Result<Answer, String> {
    let answer = serde_json::from_slice::<Answer>(body).ok();
    match answer {
        Some(answer) if answer.status == "success" && status.is_success() => Ok(answer),
        Some(Answer { error: Some(error), error_type, .. }) => {
            let kind = error_type.unwrap_or_else(|| status.to_string());
            Err(format!("it refused the query ({kind}): {error}"))
        }
        _ if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN => {
            Err(format!("it refused the credentials ({status})"))
        }
        _ if status == StatusCode::NOT_FOUND => {
            Err(format!("there is no query API under this address ({status}); is the path right?"))
        }
        _ if !status.is_success() => Err(format!("it answered {status}{}", http::quote(body, hidden))),
        _ if content == "application/json" => {
            Err(format!("it answered no query result{}", http::quote(body, hidden)))
        }
        _ => {
            let content = if content.is_empty() { "something without a content type" } else { content };
            Err(format!("it answered {content} in place of JSON; is this the address of a Prometheus?"))
        }
    }
}

fn value(data: Option<serde_json::Value>) -> Result<Value, String> {
    let data = data.unwrap_or_default();
    let kind = data.get("resultType").and_then(serde_json::Value::as_str).unwrap_or("nothing").to_owned();
    let result: PromqlResult = serde_json::from_value(data).map_err(|_| match kind.as_str() {
        "vector" | "matrix" | "scalar" => {
            format!("its {kind} cannot be read; native histograms are not supported")
        }
        _ => format!("the query gives a {kind}, which is not a number"),
    })?;
    Ok(match result.data() {
        Data::Scalar(sample) => Value::Number(sample.value()),
        Data::Vector(series) => Value::Numbers(series.iter().map(|one| one.sample().value()).collect()),
        Data::Matrix(series) => {
            Value::Numbers(series.iter().flat_map(RangeVector::samples).map(Sample::value).collect())
        }
    })
}
