//! A question to Wavefront. The tokens of all its servers are in one Secret of the controller's, by their host names.

use std::time::Duration;

use serde::Deserialize;

use super::access;
use super::http::{self, HttpQuery, HttpRequest, Reading};
use super::profile::Profile;
use crate::analysis::metric::FieldError;
use crate::analysis::secrets::Keyring;
use crate::analysis::value::Value;
use crate::api::metric_provider::WavefrontMetric;
use crate::units::Timestamp;

/// How long a query may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The Secret with the tokens.
const TOKENS: &str = "wavefront-api-tokens";
/// How far back is looked for the newest point.
const WINDOW: Duration = Duration::from_mins(5);

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "errorMessage")]
    error: Option<String>,
    #[serde(default)]
    timeseries: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    data: Vec<(f64, f64)>,
}

/// Reads a question whose arguments are put in.
pub(super) fn parse(
    wire: &WavefrontMetric,
    now: Timestamp,
    keys: &mut Keyring<'_>,
) -> Result<HttpQuery, Vec<FieldError>> {
    let mut problems = Vec::new();
    let address = access::required("address", wire.address.as_ref(), &mut problems);
    let query = access::required("query", wire.query.as_ref(), &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    // The address is a host; with a scheme before it, the rest is the key.
    let (base, host) = match address.split_once("://") {
        Some((_, host)) => (address.clone(), host.trim_end_matches('/')),
        None => (format!("https://{address}"), address.as_str()),
    };
    let mut profile = Profile::of_controller("address", TOKENS.to_owned(), keys);
    let token = profile.secret(host);
    problems.extend(profile.into_problems());
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut url = access::url("address", &base, "api/v2/chart/api").map_err(|problem| vec![problem])?;
    url.query_pairs_mut()
        .append_pair("q", &query)
        .append_pair("s", &now.minus(WINDOW).as_millis().to_string())
        .append_pair("e", &now.as_millis().to_string())
        .append_pair("g", "s")
        .append_pair("strict", "true");
    let request =
        HttpRequest::get(url.into(), TIMEOUT).with_header("Authorization", format!("Bearer {token}"));
    Ok(HttpQuery { server: "Wavefront", request, reading: Reading::Wavefront })
}

/// The newest point of each series; of one series, by itself.
pub(super) fn read(body: &[u8]) -> Result<Value, String> {
    let answer: Answer = http::json(body, "a chart")?;
    if let Some(why) = answer.error {
        return Err(format!("it refused the query: {why}"));
    }
    let newest = answer.timeseries.iter().filter_map(|series| series.data.last().map(|(_, value)| *value));
    let numbers: Vec<f64> = newest.collect();
    Ok(if let [one] = numbers[..] { Value::Number(one) } else { Value::Numbers(numbers) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_points_are_the_value() {
        let read = |text: &str| read(text.as_bytes());
        assert_eq!(read(r#"{"timeseries": [{"data": [[1, 0.5], [2, 0.75]]}]}"#), Ok(Value::Number(0.75)));
        let two = r#"{"timeseries": [{"data": [[1, 1]]}, {"data": []}, {"data": [[1, 3]]}]}"#;
        assert_eq!(read(two), Ok(Value::Numbers(vec![1.0, 3.0])));
        assert_eq!(read(r#"{"name": "q"}"#), Ok(Value::Numbers(vec![])));
        let refused = r#"{"errorType": "QuerySyntaxError", "errorMessage": "unexpected ("}"#;
        assert_eq!(read(refused).unwrap_err(), "it refused the query: unexpected (");
    }
}
