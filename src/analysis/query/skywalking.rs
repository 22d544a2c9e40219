//! A question to Apache `SkyWalking`: a GraphQL query, which gets the time it looks at as its variable `$duration`.

use std::time::Duration;

use serde_json::json;

use super::access;
use super::http::{self, HttpQuery, HttpRequest, Reading};
use crate::analysis::metric::FieldError;
use crate::analysis::value::Value;
use crate::api::metric_provider::SkywalkingMetric;
use crate::units::Timestamp;

/// How long a query may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How far back it looks when it does not say.
const INTERVAL: Duration = Duration::from_mins(5);

/// Reads a question whose arguments are put in.
pub(super) fn parse(wire: &SkywalkingMetric, now: Timestamp) -> Result<HttpQuery, Vec<FieldError>> {
    let mut problems = Vec::new();
    let address = access::required("address", wire.address.as_ref(), &mut problems);
    let query = access::required("query", wire.query.as_ref(), &mut problems);
    let interval = access::interval(wire.interval.as_ref(), INTERVAL, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let url = access::url("address", &address, "graphql").map_err(|problem| vec![problem])?;
    let duration = json!({"start": minute(now.minus(interval)), "end": minute(now), "step": "MINUTE"});
    let body = json!({"query": query, "variables": {"duration": duration}});
    let request = HttpRequest::post(url.into(), &body, TIMEOUT);
    Ok(HttpQuery { server: "SkyWalking", request, reading: Reading::SkyWalking, is_secret_address: false })
}

/// A time as `SkyWalking` writes minutes. It reads them in its own time zone, which is UTC unless it was told otherwise.
fn minute(time: Timestamp) -> String {
    chrono::DateTime::from_timestamp_millis(time.as_millis())
        .unwrap_or_default()
        .format("%Y-%m-%d %H%M")
        .to_string()
}

/// What was asked for, by its names.
pub(super) fn read(body: &[u8]) -> Result<Value, String> {
    http::graphql(body).map(Value::Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_looks_at_the_minutes_before_it() {
        let wire = SkywalkingMetric {
            address: Some("http://oap:12800".to_owned()),
            query: Some("query q($duration: Duration!) { x }".to_owned()),
            interval: Some("3m".to_owned()),
        };
        let query = parse(&wire, Timestamp::from_millis(1_700_000_000_000)).unwrap();
        assert_eq!(query.request.url, "http://oap:12800/graphql");
        let (_, body) = query.request.body.unwrap();
        let body: serde_json::Value = serde_json::from_str(body.reveal()).unwrap();
        let duration = json!({"start": "2023-11-14 2210", "end": "2023-11-14 2213", "step": "MINUTE"});
        assert_eq!(body["variables"], json!({"duration": duration}));
    }

    #[test]
    fn the_data_is_the_value() {
        let good = json!({"data": {"apdex": {"values": {"values": [{"value": 9900}]}}}});
        assert_eq!(read(good.to_string().as_bytes()), Ok(Value::Json(good["data"].clone())));
        let bad = br#"{"errors": [{"message": "Unknown field 'x'"}]}"#;
        assert_eq!(read(bad).unwrap_err(), "it refused the query: Unknown field 'x'");
        assert_eq!(read(br#"{"data": null}"#).unwrap_err(), "its answer has no data");
    }
}
