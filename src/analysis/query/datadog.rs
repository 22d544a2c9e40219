//! A question to Datadog, through version 1 or 2 of its API. Address and keys are in a Secret.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::access;
use super::http::{self, HttpQuery, HttpRequest, Reading};
use super::profile::Profile;
use crate::analysis::metric::FieldError;
use crate::analysis::secrets::Keyring;
use crate::analysis::value::Value;
use crate::api::metric_provider::DatadogMetric;
use crate::units::Timestamp;

/// How long a query may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How far back it looks when it does not say.
const INTERVAL: Duration = Duration::from_mins(5);
/// The Secret when `secretRef` names none.
const SECRET: &str = "datadog";
/// Where Datadog is when the Secret does not say.
const ADDRESS: &str = "https://api.datadoghq.com";
/// How version 2 makes one number of a series.
const AGGREGATORS: [&str; 9] = ["avg", "min", "max", "sum", "last", "percentile", "mean", "l2norm", "area"];

/// Reads a question whose arguments are put in.
pub(super) fn parse(
    wire: &DatadogMetric,
    now: Timestamp,
    keys: &mut Keyring<'_>,
) -> Result<HttpQuery, Vec<FieldError>> {
    let mut problems = Vec::new();
    let interval = access::interval(wire.interval.as_ref(), INTERVAL, &mut problems);
    let question = Question::parse(wire, &mut problems);
    let mut profile = profile(wire, keys);
    let (account, application) = (profile.secret("api-key"), profile.secret("app-key"));
    let address = profile.optional("address").unwrap_or_else(|| ADDRESS.to_owned());
    problems.extend(profile.into_problems());
    if !problems.is_empty() {
        return Err(problems);
    }
    let (request, reading) =
        question.ask(&address, now.minus(interval), now).map_err(|problem| vec![problem])?;
    let request = request.with_header("DD-API-KEY", account).with_header("DD-APPLICATION-KEY", application);
    Ok(HttpQuery { server: "Datadog", request, reading, is_secret_address: true })
}

fn profile<'a, 'b>(wire: &DatadogMetric, keys: &'a mut Keyring<'b>) -> Profile<'a, 'b> {
    let named = wire.secret_ref.as_ref();
    let name = named.and_then(|named| access::text(named.name.as_ref())).unwrap_or_else(|| SECRET.to_owned());
    let profile = Profile::of_controller("secretRef", name, keys);
    if named.is_some_and(|named| named.namespaced == Some(true)) { profile.of_run() } else { profile }
}

enum Question {
    /// Version 1: one query.
    Series(String),
    /// Version 2: queries by name, and what is reckoned from them.
    Scalar { queries: Vec<(String, String)>, formula: Option<String>, aggregator: String },
}

impl Question {
    fn parse(wire: &DatadogMetric, problems: &mut Vec<FieldError>) -> Self {
        let query = access::text(wire.query.as_ref());
        let queries = wire.queries.clone().unwrap_or_default();
        let formula = access::text(wire.formula.as_ref());
        let aggregator = access::text(wire.aggregator.as_ref());
        let version = access::text(wire.api_version.as_ref()).unwrap_or_else(|| "v1".to_owned());
        let mut refuse = |name: &str, problem: &str| problems.push(FieldError::new(name, problem));
        match (&query, queries.is_empty()) {
            (None, true) => refuse("query", "is missing, and so is queries"),
            (Some(_), false) => refuse("queries", "stands beside query; one is allowed"),
            (None, false) | (Some(_), true) => {}
        }
        if queries.len() > 1 && formula.is_none() {
            refuse("formula", "is missing; several queries need one, for example a / b");
        }
        if queries.is_empty() && formula.is_some() {
            refuse("formula", "is reckoned from queries, and there are none");
        }
        if aggregator.as_ref().is_some_and(|name| !AGGREGATORS.contains(&name.as_str())) {
            refuse("aggregator", &format!("is none of {}", AGGREGATORS.join(", ")));
        }
        match version.as_str() {
            "v2" => {
                let one = query.map(|query| ("query".to_owned(), query));
                let queries = queries.into_iter().chain(one).collect();
                Self::Scalar { queries, formula, aggregator: aggregator.unwrap_or_else(|| "last".to_owned()) }
            }
            "v1" => {
                // An object that was stored with the definition of Argo Rollouts has the default in it.
                let aggregates = aggregator.is_some_and(|name| name != "last");
                if aggregates || !queries.is_empty() {
                    refuse("apiVersion", "is v1; queries and aggregator belong to v2");
                }
                Self::Series(query.unwrap_or_default())
            }
            _ => {
                refuse("apiVersion", "is neither v1 nor v2");
                Self::Series(String::new())
            }
        }
    }

    fn ask(
        self,
        address: &str,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<(HttpRequest, Reading), FieldError> {
        match self {
            Self::Series(query) => {
                let mut url = access::url("secretRef", address, "api/v1/query")?;
                url.query_pairs_mut()
                    .append_pair("query", &query)
                    .append_pair("from", &(from.as_millis() / 1000).to_string())
                    .append_pair("to", &(to.as_millis() / 1000).to_string());
                Ok((HttpRequest::get(url.into(), TIMEOUT), Reading::DatadogSeries))
            }
            Self::Scalar { queries, formula, aggregator } => {
                let url = access::url("secretRef", address, "api/v2/query/scalar")?;
                let queries: Vec<Json> = queries
                    .into_iter()
                    .map(|(name, query)| {
                        json!({"data_source": "metrics", "name": name, "query": query, "aggregator": aggregator})
                    })
                    .collect();
                let first = queries.first().and_then(|query| query.get("name")).cloned();
                let formula = formula.map_or_else(|| first.unwrap_or_default(), Json::from);
                let attributes = json!({
                    "from": from.as_millis(), "to": to.as_millis(), "queries": queries,
                    "formulas": [{"formula": formula}]
                });
                let body = json!({"data": {"type": "scalar_request", "attributes": attributes}});
                Ok((HttpRequest::post(url.into(), &body, TIMEOUT), Reading::DatadogScalar))
            }
        }
    }
}

#[derive(Deserialize)]
struct SeriesAnswer {
    error: Option<String>,
    series: Option<Vec<Series>>,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    pointlist: Vec<(f64, Option<f64>)>,
}

/// The newest point of the first series; nil when there is none, which a condition may allow for.
pub(super) fn read_series(body: &[u8]) -> Result<Value, String> {
    let answer: SeriesAnswer = http::json(body, "a list of series")?;
    if let Some(why) = answer.error.filter(|why| !why.is_empty()) {
        return Err(format!("it refused the query: {why}"));
    }
    let series = answer.series.ok_or("its answer has no series")?;
    let points = series.first().map(|series| series.pointlist.as_slice()).unwrap_or_default();
    Ok(points.last().and_then(|(_, value)| *value).map_or(Value::Json(Json::Null), Value::Number))
}

#[derive(Deserialize)]
struct ScalarAnswer {
    errors: Option<Json>,
    data: Option<ScalarData>,
}

#[derive(Deserialize)]
struct ScalarData {
    attributes: Option<ScalarAttributes>,
}

#[derive(Deserialize)]
struct ScalarAttributes {
    columns: Option<Vec<Column>>,
}

#[derive(Deserialize)]
struct Column {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    values: Vec<Json>,
}

/// The number in the first column of numbers; nil when there is none.
pub(super) fn read_scalar(body: &[u8]) -> Result<Value, String> {
    let answer: ScalarAnswer = http::json(body, "a table of numbers")?;
    let errors = answer.errors.unwrap_or_default();
    let first = errors.get(0).unwrap_or(&errors);
    let why = first.as_str().map_or_else(|| first.to_string(), str::to_owned);
    if !matches!(why.as_str(), "" | "null" | "[]") {
        return Err(format!("it refused the query: {why}"));
    }
    let attributes = answer.data.and_then(|data| data.attributes);
    let columns = attributes.and_then(|all| all.columns).ok_or("its answer has no columns")?;
    let numbers = columns.into_iter().find(|column| column.kind == "number");
    let number = numbers.and_then(|column| column.values.into_iter().next()).and_then(|value| value.as_f64());
    Ok(number.map_or(Value::Json(Json::Null), Value::Number))
}

#[cfg(test)]
#[path = "datadog_tests.rs"]
mod tests;
