//! A question to Dynatrace: a metric selector, through version 2 of its metrics API. Address and token are in a Secret of
//! the controller's.

use std::time::Duration;

use serde::Deserialize;

use super::access;
use super::http::{self, HttpQuery, HttpRequest, Reading};
use super::profile::Profile;
use crate::analysis::metric::FieldError;
use crate::analysis::secrets::Keyring;
use crate::analysis::value::Value;
use crate::api::metric_provider::DynatraceMetric;
use crate::units::Timestamp;

/// How long a query may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How far back it looks when it does not say.
const INTERVAL: Duration = Duration::from_mins(5);
/// The Secret when `profile` names none.
const PROFILE: &str = "dynatrace";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    result: Vec<Collection>,
    next_page_key: Option<String>,
}

/// What one part of the selector gave.
#[derive(Deserialize)]
struct Collection {
    data: Option<Vec<Series>>,
    warnings: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Series {
    values: Option<Vec<Option<f64>>>,
}

/// Reads a question whose arguments are put in.
pub(super) fn parse(
    wire: &DynatraceMetric,
    now: Timestamp,
    keys: &mut Keyring<'_>,
) -> Result<HttpQuery, Vec<FieldError>> {
    let mut problems = Vec::new();
    let query = access::required("query", wire.query.as_ref(), &mut problems);
    let interval = access::interval(wire.interval.as_ref(), INTERVAL, &mut problems);
    let name = access::text(wire.profile.as_ref()).unwrap_or_else(|| PROFILE.to_owned());
    let mut profile = Profile::of_controller("profile", name, keys);
    let token = profile.secret("api-token");
    let address = profile.open("address", "https://unread");
    problems.extend(profile.into_problems());
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut url =
        access::url("profile", &address, "api/v2/metrics/query").map_err(|problem| vec![problem])?;
    url.query_pairs_mut()
        .append_pair("metricSelector", &query)
        .append_pair("from", &now.minus(interval).as_millis().to_string())
        .append_pair("to", &now.as_millis().to_string())
        // One point of the whole interval: the last of several would be of a minute that is not over.
        .append_pair("resolution", "Inf");
    let request =
        HttpRequest::get(url.into(), TIMEOUT).with_header("Authorization", format!("Api-Token {token}"));
    Ok(HttpQuery { server: "Dynatrace", request, reading: Reading::Dynatrace, is_secret_address: true })
}

/// The point of each series; of one series, by itself; nil when there is none.
pub(super) fn read(body: &[u8]) -> Result<Value, String> {
    let answer: Answer = http::json(body, "a result of metrics")?;
    if answer.next_page_key.is_some_and(|key| !key.is_empty()) {
        return Err(http::SEVERAL_PAGES.to_owned());
    }
    let series = answer.result.iter().flat_map(|collection| collection.data.iter().flatten());
    let newest = series.filter_map(|series| series.values.iter().flatten().rev().find_map(|value| *value));
    let numbers: Vec<f64> = newest.collect();
    let warning = answer.result.iter().flat_map(|collection| collection.warnings.iter().flatten()).next();
    match (numbers.is_empty(), warning) {
        (true, Some(warning)) => Err(format!("it found nothing: {warning}")),
        (true, None) | (false, _) => Ok(Value::newest(numbers)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::secrets::{Home, Secret, SecretKey, SecretSource, Secrets};

    #[test]
    fn a_selector_is_asked_for_the_time_that_it_looks_at() {
        let key =
            |key: &str| SecretKey { home: Home::Controller, name: PROFILE.to_owned(), key: key.to_owned() };
        let secrets = Secrets::from([
            (key("api-token"), Ok(Some(Secret::new("t")))),
            (key("address"), Ok(Some(Secret::new("https://shop.live.dynatrace.com/")))),
        ]);
        let wire = DynatraceMetric {
            query: Some("builtin:service.errors.total.rate:avg".to_owned()),
            interval: Some("1m".to_owned()),
            ..DynatraceMetric::default()
        };
        let now = Timestamp::from_millis(1_700_000_000_000);
        let asked = parse(&wire, now, &mut Keyring::new(SecretSource::Read(&secrets))).unwrap();
        assert_eq!(
            asked.request.url,
            "https://shop.live.dynatrace.com/api/v2/metrics/query?\
             metricSelector=builtin%3Aservice.errors.total.rate%3Aavg&from=1699999940000&to=1700000000000&resolution=Inf"
        );
        assert_eq!(asked.request.headers[0].1.reveal(), "Api-Token t");
    }

    #[test]
    fn the_newest_points_are_the_value_and_a_warning_explains_why_there_are_none() {
        let read = |text: &str| read(text.as_bytes());
        let one = r#"{"result": [{"data": [{"timestamps": [1, 2, 3], "values": [1, 0.5, null]}]}]}"#;
        assert_eq!(read(one), Ok(Value::Number(0.5)));
        let two = r#"{"result": [{"data": [{"values": [1]}, {"values": []}]}, {"data": [{"values": [3]}]}]}"#;
        assert_eq!(read(two), Ok(Value::Numbers(vec![1.0, 3.0])));
        assert_eq!(read(r#"{"result": [], "nextPageKey": "2"}"#).unwrap_err(), http::SEVERAL_PAGES);
        assert_eq!(read(r#"{"result": [{"data": null}]}"#), Ok(Value::Json(serde_json::Value::Null)));
        let warned = r#"{"result": [{"data": [], "warnings": ["The metric is unknown"]}]}"#;
        assert_eq!(read(warned).unwrap_err(), "it found nothing: The metric is unknown");
    }
}
