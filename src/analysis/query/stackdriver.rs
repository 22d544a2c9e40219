//! A question to Google Cloud Monitoring: a query in its Monitoring Query Language. The project, and the key of a service
//! account where the controller is not to ask as itself, are in a Secret of the controller's.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::access::{self, Credentials};
use super::http::{self, HttpQuery, HttpRequest, Reading};
use super::profile::Profile;
use crate::analysis::metric::FieldError;
use crate::analysis::secrets::{Keyring, Secret};
use crate::analysis::value::Value;
use crate::api::metric_provider::StackdriverMetric;

/// How long a query may take, with the token that it needs.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The Secret when `profile` names none.
const PROFILE: &str = "stackdriver";
/// Where it is when the Secret does not say.
const ADDRESS: &str = "https://monitoring.googleapis.com";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    time_series_data: Option<Vec<Series>>,
    partial_errors: Option<Vec<PartialError>>,
    time_series_descriptor: Option<serde_json::Value>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct PartialError {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Series {
    /// From the newest on.
    point_data: Option<Vec<Point>>,
}

#[derive(Deserialize)]
struct Point {
    values: Option<Vec<Typed>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    /// A number, or `NaN`, `Infinity` and `-Infinity` as text.
    double_value: Option<serde_json::Value>,
    /// As text: JSON's numbers are too small for it.
    int64_value: Option<String>,
}

/// Reads a question whose arguments are put in.
pub(super) fn parse(wire: &StackdriverMetric, keys: &mut Keyring<'_>) -> Result<HttpQuery, Vec<FieldError>> {
    let mut problems = Vec::new();
    let query = access::required("query", wire.query.as_ref(), &mut problems);
    let name = access::text(wire.profile.as_ref()).unwrap_or_else(|| PROFILE.to_owned());
    let mut profile = Profile::of_controller("profile", name, keys);
    let project = profile.open("project", "unread");
    let key = profile.hidden("serviceAccountKey");
    let address = profile.optional("address").unwrap_or_else(|| ADDRESS.to_owned());
    problems.extend(profile.into_problems());
    if !project.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte)) {
        problems.push(FieldError::new("profile", "has a project that is not the id of one"));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let path = format!("v3/projects/{project}/timeSeries:query");
    let url = access::url("profile", &address, &path).map_err(|problem| vec![problem])?;
    let mut request = HttpRequest::post(url.into(), &json!({"query": query}), TIMEOUT);
    request.credentials = Some(Credentials::Google { key: key.map(Secret::new) });
    Ok(HttpQuery {
        server: "Google Cloud Monitoring",
        request,
        reading: Reading::Stackdriver,
        is_secret_address: true,
    })
}

/// The newest point of each series; of one series, by itself; nil when there is none.
pub(super) fn read(body: &[u8]) -> Result<Value, String> {
    let answer: Answer = http::json(body, "a list of time series")?;
    if let Some(error) = answer.partial_errors.iter().flatten().next() {
        return Err(format!("its answer is not complete: {}", error.message));
    }
    if answer.next_page_token.is_some_and(|token| !token.is_empty()) {
        return Err(http::SEVERAL_PAGES.to_owned());
    }
    let series = answer.time_series_data.unwrap_or_default();
    if answer.time_series_descriptor.is_none() && series.is_empty() {
        return Err("its answer has no time series".to_owned());
    }
    let newest = series.iter().filter_map(|series| series.point_data.as_ref()?.first());
    let numbers: Option<Vec<f64>> = newest.map(|point| number(point.values.as_ref()?.first()?)).collect();
    numbers.map(Value::newest).ok_or_else(|| "a point of its answer is not a number".to_owned())
}

fn number(value: &Typed) -> Option<f64> {
    match &value.double_value {
        Some(serde_json::Value::String(text)) => text.parse().ok(),
        Some(number) => number.as_f64(),
        None => value.int64_value.as_ref()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::secrets::{Home, SecretKey, SecretSource, Secrets};

    #[test]
    fn a_query_goes_to_its_project_as_the_service_account_or_as_the_controller() {
        let key =
            |key: &str| SecretKey { home: Home::Controller, name: PROFILE.to_owned(), key: key.to_owned() };
        let ask = |project: &str, account: Option<&str>| {
            let secrets = Secrets::from([
                (key("project"), Ok(Some(Secret::new(project)))),
                (key("serviceAccountKey"), Ok(account.map(Secret::new))),
                (key("address"), Ok(None)),
            ]);
            let wire = StackdriverMetric { query: Some("fetch a".to_owned()), profile: None };
            let mut keys = Keyring::new(SecretSource::Read(&secrets));
            let asked = parse(&wire, &mut keys).map(|query| query.request);
            (asked, keys.used.into_iter().collect::<Vec<_>>())
        };
        let (request, hidden) = ask("shop-1", Some("{}"));
        let request = request.unwrap();
        assert_eq!(request.url, "https://monitoring.googleapis.com/v3/projects/shop-1/timeSeries:query");
        assert_eq!(request.credentials, Some(Credentials::Google { key: Some(Secret::new("{}")) }));
        assert_eq!(hidden, [Secret::new("{}")]);
        assert_eq!(request.body.unwrap().1.reveal(), r#"{"query":"fetch a"}"#);
        let (request, _) = ask("shop-1", None);
        assert_eq!(request.unwrap().credentials, Some(Credentials::Google { key: None }));
        let (refused, _) = ask("../other", None);
        assert_eq!(refused.unwrap_err()[0].to_string(), "profile has a project that is not the id of one");
    }

    #[test]
    fn the_newest_points_are_the_value() {
        let read = |text: &str| read(text.as_bytes());
        let point = |value: &str| {
            format!(r#"{{"pointData": [{{"values": [{value}]}}, {{"values": [{{"doubleValue": 9}}]}}]}}"#)
        };
        let answer = |series: &[String]| {
            format!(r#"{{"timeSeriesDescriptor": {{}}, "timeSeriesData": [{}]}}"#, series.join(","))
        };
        let (double, whole) = (point(r#"{"doubleValue": 0.5}"#), point(r#"{"int64Value": "3"}"#));
        assert_eq!(read(&answer(std::slice::from_ref(&double))), Ok(Value::Number(0.5)));
        assert_eq!(read(&answer(&[double, whole])), Ok(Value::Numbers(vec![0.5, 3.0])));
        assert_eq!(read(&answer(&[])), Ok(Value::Json(serde_json::Value::Null)));
        let nan = point(r#"{"doubleValue": "NaN"}"#);
        assert!(matches!(read(&answer(&[nan])), Ok(Value::Number(number)) if number.is_nan()));
        let more = r#"{"timeSeriesDescriptor": {}, "nextPageToken": "2"}"#;
        assert_eq!(read(more).unwrap_err(), http::SEVERAL_PAGES);
        let text = point(r#"{"stringValue": "x"}"#);
        assert_eq!(read(&answer(&[text])).unwrap_err(), "a point of its answer is not a number");
        let partial =
            r#"{"timeSeriesDescriptor": {}, "partialErrors": [{"code": 8, "message": "too much"}]}"#;
        assert_eq!(read(partial).unwrap_err(), "its answer is not complete: too much");
        assert_eq!(read("{}").unwrap_err(), "its answer has no time series");
    }
}
