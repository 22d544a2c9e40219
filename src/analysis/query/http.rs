//! A question that is one HTTP request, and how its answer is read. Every provider but Prometheus is asked in this way.

use std::time::Duration;

use serde::Deserialize;

use super::access::{CertificateCheck, Credentials};
use super::json_path::JsonPath;
use super::{
    datadog, dynatrace, graphite, influxdb, new_relic, skywalking, splunk, stackdriver, wavefront, web,
};
use crate::analysis::secrets::Secret;
use crate::analysis::value::Value;

/// A question to a server that answers over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpQuery {
    /// What kind of server it is, for messages: `the web server`.
    pub server: &'static str,
    /// What is sent.
    pub request: HttpRequest,
    /// How the answer is read.
    pub reading: Reading,
    /// Whether the address is a Secret's, of which people see the server only.
    pub is_secret_address: bool,
}

/// How a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpMethod {
    /// Without a body.
    Get,
    /// With a body, if there is one.
    Post,
    /// With a body, if there is one.
    Put,
    /// With a body, if there is one.
    Patch,
}

/// A request. Any of its texts may hold a secret.
#[derive(Clone, PartialEq)]
pub struct HttpRequest {
    /// Where it goes.
    pub url: String,
    /// How.
    pub method: HttpMethod,
    /// Headers, by name.
    pub headers: Vec<(String, Secret)>,
    /// Content type, where it is known, and content.
    pub body: Option<(Option<&'static str>, Secret)>,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether the certificate is checked.
    pub certificate: CertificateCheck,
    /// How to authenticate.
    pub credentials: Option<Credentials>,
}

impl HttpRequest {
    /// A request without body, headers and credentials.
    pub(crate) const fn get(url: String, timeout: Duration) -> Self {
        Self {
            url,
            method: HttpMethod::Get,
            headers: Vec::new(),
            body: None,
            timeout,
            certificate: CertificateCheck::On,
            credentials: None,
        }
    }

    /// A request with JSON as its body.
    pub(crate) fn post(url: String, body: &serde_json::Value, timeout: Duration) -> Self {
        let body = Some((Some("application/json"), Secret::new(body.to_string())));
        Self { method: HttpMethod::Post, body, ..Self::get(url, timeout) }
    }

    /// The same with one more header.
    pub(crate) fn with_header(mut self, name: &str, value: String) -> Self {
        self.headers.push((name.to_owned(), Secret::new(value)));
        self
    }
}

impl std::fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpRequest").field("method", &self.method).finish_non_exhaustive()
    }
}

/// How an answer becomes a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// A part of any JSON, or a text.
    Web(JsonPath),
    /// Graphite's series.
    Graphite,
    /// `InfluxDB`'s tables.
    InfluxDb,
    /// Datadog's series of points.
    DatadogSeries,
    /// Datadog's columns of numbers.
    DatadogScalar,
    /// New Relic's rows.
    NewRelic,
    /// Wavefront's series.
    Wavefront,
    /// `SkyWalking`'s data.
    SkyWalking,
    /// Dynatrace's series.
    Dynatrace,
    /// Series of Splunk Observability Cloud.
    Splunk,
    /// Series of Google Cloud Monitoring.
    Stackdriver,
}

impl Reading {
    /// The value in the body of a good answer.
    ///
    /// # Errors
    ///
    /// One clause that says why there is none.
    pub fn read(&self, body: &[u8]) -> Result<Value, String> {
        if body.trim_ascii().is_empty() && *self != Self::InfluxDb {
            return Err("its answer is empty".to_owned());
        }
        match self {
            Self::Web(path) => web::read(path, body),
            Self::Graphite => graphite::read(body),
            Self::InfluxDb => influxdb::read(body),
            Self::DatadogSeries => datadog::read_series(body),
            Self::DatadogScalar => datadog::read_scalar(body),
            Self::NewRelic => new_relic::read(body),
            Self::Wavefront => wavefront::read(body),
            Self::SkyWalking => skywalking::read(body),
            Self::Dynatrace => dynatrace::read(body),
            Self::Splunk => splunk::read(body),
            Self::Stackdriver => stackdriver::read(body),
        }
    }
}

/// Why an answer that goes on elsewhere is not read.
pub(super) const SEVERAL_PAGES: &str =
    "its answer has several pages, and a query of so much does not measure one thing: ask for fewer series";

/// An answer of the form that a provider documents.
pub(super) fn json<'a, T: Deserialize<'a>>(body: &'a [u8], what: &str) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|why| {
        let begin = body.trim_ascii_start().first();
        if begin == Some(&b'<') {
            return format!("it answered a page in place of {what}; is the address right?");
        }
        format!("its answer is not {what}: {why}")
    })
}

#[derive(Deserialize)]
struct GraphqlAnswer {
    errors: Option<Vec<GraphqlError>>,
    data: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct GraphqlError {
    message: String,
}

/// The data of a GraphQL answer.
pub(super) fn graphql(body: &[u8]) -> Result<serde_json::Value, String> {
    let answer: GraphqlAnswer = json(body, "a GraphQL answer")?;
    if let Some(error) = answer.errors.unwrap_or_default().first() {
        return Err(format!("it refused the query: {}", error.message));
    }
    answer.data.filter(|data| !data.is_null()).ok_or_else(|| "its answer has no data".to_owned())
}
