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
    query: Option<String>,
    timeseries: Option<Vec<Series>>,
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
    let base = if address.contains("://") { address } else { format!("https://{address}") };
    let mut url = access::url("address", &base, "api/v2/chart/api").map_err(|problem| vec![problem])?;
    if url.scheme() == "http" && !access::is_loopback(&url) {
        return Err(vec![FieldError::new(
            "address",
            "has no TLS; the token would go there for everyone to read",
        )]);
    }
    let mut profile = Profile::of_controller("address", TOKENS.to_owned(), keys);
    let token = profile.secret(url.host_str().unwrap_or_default());
    problems.extend(profile.into_problems());
    if !problems.is_empty() {
        return Err(problems);
    }
    url.query_pairs_mut()
        .append_pair("q", &query)
        .append_pair("s", &now.minus(WINDOW).as_millis().to_string())
        .append_pair("e", &now.as_millis().to_string())
        .append_pair("g", "s")
        .append_pair("strict", "true");
    let request =
        HttpRequest::get(url.into(), TIMEOUT).with_header("Authorization", format!("Bearer {token}"));
    Ok(HttpQuery { server: "Wavefront", request, reading: Reading::Wavefront, is_secret_address: false })
}

/// The newest point of each series; of one series, by itself; nil when there is none.
pub(super) fn read(body: &[u8]) -> Result<Value, String> {
    let answer: Answer = http::json(body, "a chart")?;
    if let Some(why) = answer.error.filter(|why| !why.is_empty()) {
        return Err(format!("it refused the query: {why}"));
    }
    if answer.timeseries.is_none() && answer.query.is_none() {
        return Err("its answer is no chart".to_owned());
    }
    let series = answer.timeseries.unwrap_or_default();
    let newest = series.iter().filter_map(|series| series.data.last().map(|(_, value)| *value));
    Ok(Value::newest(newest.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::secrets::{Home, Secret, SecretKey, SecretSource, Secrets};

    #[test]
    fn a_token_goes_to_its_own_host_and_only_with_tls() {
        let ask = |address: &str| {
            let key = |host: &str| SecretKey {
                home: Home::Controller,
                name: TOKENS.to_owned(),
                key: host.to_owned(),
            };
            let secrets = Secrets::from([
                (key("shop.wavefront.com"), Ok(Some(Secret::new("t")))),
                (key("other"), Ok(None)),
            ]);
            let wire = WavefrontMetric { address: Some(address.to_owned()), query: Some("ts(a)".to_owned()) };
            let now = Timestamp::from_millis(1_700_000_000_000);
            parse(&wire, now, &mut Keyring::new(SecretSource::Read(&secrets))).map(|query| query.request)
        };
        let request = ask("shop.wavefront.com").unwrap();
        assert_eq!(
            request.url,
            "https://shop.wavefront.com/api/v2/chart/api?q=ts%28a%29&s=1699999700000&e=1700000000000&g=s&strict=true"
        );
        assert_eq!(request.headers[0].1.reveal(), "Bearer t");
        let refused = |address: &str| ask(address).unwrap_err()[0].to_string();
        assert!(refused("http://shop.wavefront.com").starts_with("address has no TLS"));
        assert!(refused("other").ends_with("has no key 'other'"));
    }

    #[test]
    fn the_newest_points_are_the_value() {
        let read = |text: &str| read(text.as_bytes());
        assert_eq!(read(r#"{"timeseries": [{"data": [[1, 0.5], [2, 0.75]]}]}"#), Ok(Value::Number(0.75)));
        let two = r#"{"timeseries": [{"data": [[1, 1]]}, {"data": []}, {"data": [[1, 3]]}]}"#;
        assert_eq!(read(two), Ok(Value::Numbers(vec![1.0, 3.0])));
        assert_eq!(read(r#"{"query": "ts(a)"}"#), Ok(Value::Json(serde_json::Value::Null)));
        let refused = r#"{"errorType": "QuerySyntaxError", "errorMessage": "unexpected ("}"#;
        assert_eq!(read(refused).unwrap_err(), "it refused the query: unexpected (");
    }
}
