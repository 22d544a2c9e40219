use super::*;
use crate::analysis::secrets::{Home, Secret, SecretKey, SecretSource, Secrets};

const NOW: i64 = 1_700_000_000_000;

fn parse(wire: Json, home: Home, name: &str) -> Result<HttpQuery, Vec<String>> {
    let key = |key: &str| SecretKey { home, name: name.to_owned(), key: key.to_owned() };
    let value = |text: &str| Ok(Some(Secret::new(text)));
    let secrets = Secrets::from([
        (key("api-key"), value("a")),
        (key("app-key"), value("b")),
        (key("address"), value("https://api.datadoghq.eu/")),
    ]);
    let wire: DatadogMetric = serde_json::from_value(wire).unwrap();
    let query =
        super::parse(&wire, Timestamp::from_millis(NOW), &mut Keyring::new(SecretSource::Read(&secrets)));
    query.map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[test]
fn version_1_asks_for_the_time_before_now() {
    let query = parse(json!({"query": "avg:errors{service:shop}"}), Home::Controller, "datadog").unwrap();
    assert_eq!(
        query.request.url,
        "https://api.datadoghq.eu/api/v1/query?query=avg%3Aerrors%7Bservice%3Ashop%7D&from=1699999700&to=1700000000"
    );
    let headers: Vec<_> =
        query.request.headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    assert_eq!(headers, [("DD-API-KEY", "a"), ("DD-APPLICATION-KEY", "b")]);
}

#[test]
fn version_2_reckons_with_several_queries() {
    let wire = json!({
        "apiVersion": "v2", "interval": "10m", "queries": {"bad": "sum:bad{*}", "all": "sum:all{*}"},
        "formula": "bad / all", "aggregator": "sum", "secretRef": {"name": "mine", "namespaced": true}
    });
    let query = parse(wire, Home::Run, "mine").unwrap();
    assert_eq!(query.request.url, "https://api.datadoghq.eu/api/v2/query/scalar");
    let (_, body) = query.request.body.unwrap();
    let attributes = serde_json::from_str::<Json>(body.reveal()).unwrap()["data"]["attributes"].take();
    assert_eq!(attributes["from"], json!(1_699_999_400_000_i64));
    assert_eq!(attributes["formulas"], json!([{"formula": "bad / all"}]));
    assert_eq!(
        attributes["queries"][1],
        json!({"data_source": "metrics", "name": "bad", "query": "sum:bad{*}", "aggregator": "sum"})
    );
}

#[test]
fn what_makes_no_sense_is_refused_with_its_field() {
    for (wire, problem) in [
        (json!({}), "query is missing, and so is queries"),
        (json!({"query": "q", "apiVersion": "v3"}), "apiVersion is neither v1 nor v2"),
        (json!({"query": "q", "aggregator": "sum"}), "apiVersion is v1; queries and aggregator belong to v2"),
        (
            json!({"queries": {"a": "q", "b": "r"}, "apiVersion": "v2"}),
            "formula is missing; several queries need one, for example a / b",
        ),
        (json!({"query": "q", "formula": "a"}), "formula is reckoned from queries, and there are none"),
        (json!({"query": "q", "interval": "soon"}), "interval 'soon' is not a duration such as 30s or 5m"),
    ] {
        assert_eq!(parse(wire.clone(), Home::Controller, "datadog").unwrap_err(), [problem], "{wire}");
    }
    let stored = json!({"query": "q", "apiVersion": "v1", "interval": "5m", "aggregator": "last"});
    assert!(parse(stored, Home::Controller, "datadog").is_ok());
    let elsewhere = parse(json!({"query": "q", "secretRef": {"name": "none"}}), Home::Run, "datadog");
    assert!(elsewhere.is_ok(), "an unread Secret is asked for");
}

#[test]
fn the_newest_point_or_the_first_number_is_the_value() {
    let series = |text: &str| read_series(text.as_bytes());
    assert_eq!(
        series(r#"{"series": [{"pointlist": [[1, 0.5], [2, 0.25]]}, {"pointlist": [[1, 9]]}]}"#),
        Ok(Value::Number(0.25))
    );
    assert_eq!(series(r#"{"series": []}"#), Ok(Value::Json(Json::Null)));
    assert_eq!(series(r#"{"series": [{"pointlist": [[1, null]]}]}"#), Ok(Value::Json(Json::Null)));
    assert_eq!(series(r#"{"error": "no such metric"}"#).unwrap_err(), "it refused the query: no such metric");
    let scalar = |text: &str| read_scalar(text.as_bytes());
    let columns = r#"{"data": {"attributes": {"columns": [
        {"name": "host", "type": "group", "values": [["a"]]}, {"name": "q", "type": "number", "values": [0.5]}
    ]}}}"#;
    assert_eq!(scalar(columns), Ok(Value::Number(0.5)));
    assert_eq!(scalar(r#"{"data": {"attributes": {"columns": []}}}"#), Ok(Value::Json(Json::Null)));
    for answer in ["{}", r#"{"data": null}"#, r#"{"message": "hi"}"#] {
        assert_eq!(scalar(answer).unwrap_err(), "its answer has no columns");
        assert_eq!(series(answer).unwrap_err(), "its answer has no series");
    }
    assert_eq!(scalar(r#"{"errors": ["bad formula"]}"#).unwrap_err(), "it refused the query: bad formula");
}
