//! Prometheus: instant and range queries.
//!
//! A scalar is one number; a vector is the values of its series; a matrix is all points of all its series, series by
//! series. The time of an instant query is the server's own, so that clocks need not agree.

use prometheus_http_query::response::{Data, PromqlResult, RangeVector, Sample};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Request, StatusCode};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use super::{Finding, Hidden, Shared, headers, http};
use crate::analysis::query::access::Credentials;
use crate::analysis::query::{PrometheusQuery, QueryRange};
use crate::analysis::{Secret, Value};
use crate::units::{Timestamp, format_duration};

/// The service that a signature for Amazon Managed Service for Prometheus names.
const AWS_SERVICE: &str = "aps";

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
    url: Url,
    hidden: &mut Hidden,
) -> Result<Answer, String> {
    let (client, url) = shared.clients.for_metric(url, query.certificate)?;
    let mut answer = send(shared, query, &client, &url, hidden).await?;
    match (&query.credentials, answer.0) {
        (Some(Credentials::OAuth2(oauth2)), StatusCode::UNAUTHORIZED) => {
            shared.tokens.forget(oauth2);
            answer = send(shared, query, &client, &url, hidden).await?;
        }
        (Some(Credentials::SigV4(who)), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            shared.aws.forget(who);
        }
        _ => {}
    }
    let (status, content, body) = answer;
    understand(status, &content, &body, hidden)
}

async fn send(
    shared: &Shared,
    query: &PrometheusQuery,
    client: &reqwest::Client,
    url: &Url,
    hidden: &mut Hidden,
) -> Result<(StatusCode, String, Vec<u8>), String> {
    let wanted = headers::Wanted {
        headers: &query.headers,
        credentials: query.credentials.as_ref(),
        certificate: query.certificate,
    };
    let headers = wanted.make(shared, client, hidden).await?;
    let mut response = None;
    for method in [Method::Post, Method::Get] {
        let mut request = request(client, query, url, method, headers.clone())?;
        if let Some(Credentials::SigV4(who)) = &query.credentials {
            shared.aws.sign(&mut request, AWS_SERVICE, who, hidden).await?;
        }
        let answer = client.execute(request).await.map_err(|error| http::cause(&error))?;
        let takes_it =
            !matches!(answer.status(), StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED);
        response = Some(answer);
        if takes_it {
            break;
        }
    }
    let response = response.ok_or("it was not asked")?;
    let status = response.status();
    let content = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content = content.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
    Ok((status, content, http::read(response).await?))
}

fn request(
    client: &reqwest::Client,
    query: &PrometheusQuery,
    url: &Url,
    method: Method,
    headers: HeaderMap,
) -> Result<Request, String> {
    let mut url = url.clone();
    let mut form =
        vec![("query", query.promql.clone()), ("timeout", format!("{}ms", query.timeout.as_millis()))];
    let name = match query.range {
        None => "query",
        Some(QueryRange { start, end, step }) => {
            let second = |at: Timestamp| at.as_millis().div_euclid(1000).to_string();
            form.extend([
                ("start", second(start)),
                ("end", second(end)),
                ("step", step.as_secs_f64().to_string()),
            ]);
            "query_range"
        }
    };
    // The query API is appended to the path with a slash of its own.
    url.set_path(&format!("{}/api/v1/{name}", url.path().trim_end_matches('/')));
    let request = match method {
        Method::Post => client.post(url).form(&form),
        Method::Get => {
            let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&form).finish();
            // In a URL, not all readers take a plus for a space, and signatures do not.
            url.set_query(Some(&query.replace('+', "%20")));
            client.get(url)
        }
    };
    request.headers(headers).build().map_err(|error| http::cause(&error))
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
            Err(format!("it refused the credentials ({status}){}", http::quote(body, hidden)))
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
