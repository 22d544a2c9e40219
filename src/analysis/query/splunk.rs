//! A question to Splunk Observability Cloud: the points of some metric time series, each rolled up as its kind of metric is.
//! Token and realm are in a Secret of the controller's. Deliberately absent: programs in `SignalFlow`, which only a stream runs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::access;
use super::http::{self, HttpQuery, HttpRequest, Reading};
use super::profile::Profile;
use crate::analysis::metric::FieldError;
use crate::analysis::secrets::Keyring;
use crate::analysis::value::Value;
use crate::api::metric_provider::SplunkMetric;
use crate::units::Timestamp;

/// How long a query may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How far back it looks when it does not say.
const INTERVAL: Duration = Duration::from_mins(5);
/// The Secret when `profile` names none.
const PROFILE: &str = "splunk";
/// Distance of points in milliseconds, of those that it has: the finest.
const RESOLUTION: &str = "1000";

/// A time and the value there.
type Point = (f64, Option<f64>);

#[derive(Deserialize)]
struct Answer {
    data: Option<BTreeMap<String, Vec<Point>>>,
    errors: Option<Vec<serde_json::Value>>,
}

/// Reads a question whose arguments are put in.
pub(super) fn parse(
    wire: &SplunkMetric,
    now: Timestamp,
    keys: &mut Keyring<'_>,
) -> Result<HttpQuery, Vec<FieldError>> {
    let mut problems = Vec::new();
    let query = access::required("query", wire.query.as_ref(), &mut problems);
    let interval = access::interval(wire.interval.as_ref(), INTERVAL, &mut problems);
    let name = access::text(wire.profile.as_ref()).unwrap_or_else(|| PROFILE.to_owned());
    let mut profile = Profile::of_controller("profile", name, keys);
    let token = profile.secret("access-token");
    let address = profile.optional("address");
    let address = address.unwrap_or_else(|| {
        let realm = profile.open("realm", "us0");
        format!("https://api.{realm}.signalfx.com")
    });
    problems.extend(profile.into_problems());
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut url = access::url("profile", &address, "v1/timeserieswindow").map_err(|problem| vec![problem])?;
    url.query_pairs_mut()
        .append_pair("query", &query)
        .append_pair("startMS", &now.minus(interval).as_millis().to_string())
        .append_pair("endMS", &now.as_millis().to_string())
        .append_pair("resolution", RESOLUTION);
    let request = HttpRequest::get(url.into(), TIMEOUT).with_header("X-SF-Token", token);
    Ok(HttpQuery {
        server: "Splunk Observability Cloud",
        request,
        reading: Reading::Splunk,
        is_secret_address: true,
    })
}

/// The newest point of each series; of one series, by itself; nil when there is none.
pub(super) fn read(body: &[u8]) -> Result<Value, String> {
    let answer: Answer = http::json(body, "time series")?;
    if let Some(error) = answer.errors.iter().flatten().next() {
        return Err(format!("it refused the query: {}", error.as_str().unwrap_or(&error.to_string())));
    }
    let series = answer.data.ok_or_else(|| "its answer has no time series".to_owned())?;
    let newest = series.values().filter_map(|points| points.iter().rev().find_map(|(_, value)| *value));
    Ok(Value::newest(newest.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::secrets::{Home, Secret, SecretKey, SecretSource, Secrets};

    fn ask(address: Option<&str>, realm: Option<&str>) -> Result<HttpRequest, Vec<FieldError>> {
        let key =
            |key: &str| SecretKey { home: Home::Controller, name: PROFILE.to_owned(), key: key.to_owned() };
        let secrets = Secrets::from([
            (key("access-token"), Ok(Some(Secret::new("t")))),
            (key("address"), Ok(address.map(Secret::new))),
            (key("realm"), Ok(realm.map(Secret::new))),
        ]);
        let wire = SplunkMetric { query: Some("sf_metric:errors".to_owned()), ..SplunkMetric::default() };
        let now = Timestamp::from_millis(1_700_000_000_000);
        parse(&wire, now, &mut Keyring::new(SecretSource::Read(&secrets))).map(|query| query.request)
    }

    #[test]
    fn a_realm_has_an_address_of_its_own() {
        let request = ask(None, Some("eu0")).unwrap();
        assert_eq!(
            request.url,
            "https://api.eu0.signalfx.com/v1/timeserieswindow?query=sf_metric%3Aerrors&startMS=1699999700000&\
             endMS=1700000000000&resolution=1000"
        );
        assert_eq!((request.headers[0].0.as_str(), request.headers[0].1.reveal()), ("X-SF-Token", "t"));
        assert!(ask(Some("https://proxy.shop"), None).unwrap().url.starts_with("https://proxy.shop/v1/"));
        assert_eq!(
            ask(None, None).unwrap_err()[0].to_string(),
            "profile names Secret 'splunk', which has no key 'realm'"
        );
    }

    #[test]
    fn the_newest_points_are_the_value() {
        let read = |text: &str| read(text.as_bytes());
        assert_eq!(read(r#"{"data": {"A": [[1, 2.0], [2, 0.5], [3, null]]}}"#), Ok(Value::Number(0.5)));
        let two = r#"{"data": {"A": [[1, 1]], "B": [], "C": [[1, 3]]}, "errors": []}"#;
        assert_eq!(read(two), Ok(Value::Numbers(vec![1.0, 3.0])));
        assert_eq!(read(r#"{"data": {}}"#), Ok(Value::Json(serde_json::Value::Null)));
        let refused = r#"{"data": {}, "errors": ["too many time series"]}"#;
        assert_eq!(read(refused).unwrap_err(), "it refused the query: too many time series");
        assert_eq!(read("{}").unwrap_err(), "its answer has no time series");
    }
}
