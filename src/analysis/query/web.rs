//! A question to any web server: a request, and the part of its answer that is the value.

use std::time::Duration;

use super::access::{self, CertificateCheck, Credentials};
use super::http::{HttpMethod, HttpQuery, HttpRequest, Reading};
use super::json_path::JsonPath;
use crate::analysis::metric::FieldError;
use crate::analysis::secrets::Secret;
use crate::analysis::value::Value;
use crate::api::metric_provider::WebMetric;

/// How long a request may take when it does not say.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a request whose arguments are put in.
pub(super) fn parse(wire: &WebMetric) -> Result<HttpQuery, Vec<FieldError>> {
    let mut problems = Vec::new();
    let method = method(wire, &mut problems);
    let request = HttpRequest {
        url: access::required("url", wire.url.as_ref(), &mut problems),
        method,
        headers: access::headers(wire.headers.as_ref()),
        body: body(wire, method, &mut problems),
        timeout: access::timeout("timeoutSeconds", wire.timeout_seconds.as_ref(), TIMEOUT, &mut problems),
        certificate: CertificateCheck::unless(wire.insecure),
        credentials: Credentials::unsigned(wire.authentication.as_ref(), &mut problems),
    };
    let path = access::text(wire.json_path.as_ref());
    let path = JsonPath::parse(path.as_deref().unwrap_or("{$}")).unwrap_or_else(|why| {
        problems.push(FieldError::new("jsonPath", why));
        JsonPath::default()
    });
    let query = HttpQuery {
        server: "the web server",
        request,
        reading: Reading::Web(path),
        is_secret_address: false,
    };
    if problems.is_empty() { Ok(query) } else { Err(problems) }
}

fn method(wire: &WebMetric, problems: &mut Vec<FieldError>) -> HttpMethod {
    match access::text(wire.method.as_ref()).unwrap_or_default().as_str() {
        "" | "GET" => HttpMethod::Get,
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        other => {
            problems.push(FieldError::new("method", format!("'{other}' is not GET, POST or PUT")));
            HttpMethod::Post
        }
    }
}

fn body(
    wire: &WebMetric,
    method: HttpMethod,
    problems: &mut Vec<FieldError>,
) -> Option<(Option<&'static str>, Secret)> {
    let text = wire.body.as_ref().filter(|text| !text.is_empty());
    let (name, body) = match (text, &wire.json_body) {
        (Some(_), Some(_)) => {
            problems.push(FieldError::new("jsonBody", "stands beside body; one is allowed"));
            return None;
        }
        (Some(text), None) => ("body", (None, Secret::new(text.clone()))),
        (None, Some(json)) => ("jsonBody", (Some("application/json"), Secret::new(json.to_string()))),
        (None, None) => return None,
    };
    if method == HttpMethod::Get {
        problems.push(FieldError::new(name, "is sent with method POST or PUT only"));
    }
    Some(body)
}

/// The value in an answer: the chosen part of JSON, or all of a text.
pub(super) fn read(path: &JsonPath, body: &[u8]) -> Result<Value, String> {
    let json = match serde_json::from_slice(body) {
        Ok(json) => json,
        Err(_) if path.is_whole() => {
            return Ok(Value::Json(String::from_utf8_lossy(body).into_owned().into()));
        }
        Err(why) => {
            return Err(format!("its answer is not JSON, in which jsonPath could be looked up: {why}"));
        }
    };
    let chosen = path.select(json)?;
    Ok(chosen.as_f64().map_or_else(|| Value::Json(chosen), Value::Number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(wire: serde_json::Value) -> Result<HttpRequest, Vec<String>> {
        super::parse(&serde_json::from_value(wire).unwrap())
            .map(|query| query.request)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_request_without_more_has_the_public_defaults() {
        let query = parse(json!({"url": " http://host/healthy\n"})).unwrap();
        assert_eq!(
            (query.url.as_str(), query.method, query.timeout),
            ("http://host/healthy", HttpMethod::Get, TIMEOUT)
        );
        assert_eq!((query.certificate, query.body), (CertificateCheck::On, None));
    }

    #[test]
    fn a_body_in_json_says_that_it_is_json() {
        let query =
            parse(json!({"url": "http://host", "method": "POST", "jsonBody": {"a": [1, "x"]}})).unwrap();
        assert_eq!(query.body, Some((Some("application/json"), Secret::new(r#"{"a":[1,"x"]}"#))));
        let query = parse(json!({"url": "http://host", "method": "PUT", "body": "a=1"})).unwrap();
        assert_eq!(query.body, Some((None, Secret::new("a=1"))));
    }

    #[test]
    fn every_problem_of_a_request_is_reported_at_once() {
        let wire = json!({
            "method": "DELETE", "body": "x", "jsonBody": {}, "timeoutSeconds": "soon", "jsonPath": "$.ok",
            "authentication": {"sigv4": {"region": "eu-central-1"}, "basicAuth": {"username": "u"}, "oauth2": {"clientId": "c"}}
        });
        let problems = parse(wire).unwrap_err();
        let fields: Vec<_> = problems.iter().filter_map(|problem| problem.split(' ').next()).collect();
        assert_eq!(fields, ["method", "url", "jsonBody", "timeoutSeconds", "authentication", "jsonPath"]);
        assert_eq!(problems[0], "method 'DELETE' is not GET, POST or PUT");
        let signed = json!({"url": "http://host", "authentication": {"sigv4": {"region": "eu-central-1"}}});
        assert_eq!(
            parse(signed).unwrap_err(),
            [
                "authentication.sigv4 is supported for prometheus only; basicAuth and oauth2 are supported here"
            ]
        );
        assert_eq!(
            parse(json!({"url": "http://host", "body": "x"})).unwrap_err(),
            ["body is sent with method POST or PUT only"]
        );
    }

    #[test]
    fn a_request_shows_nothing_that_may_be_a_secret() {
        let query = parse(json!({
            "url": "http://host/s3cret", "method": "POST", "body": "s3cret",
            "headers": [{"key": "Authorization", "value": "s3cret"}]
        }))
        .unwrap();
        assert!(!format!("{query:?}").contains("s3cret"), "{query:?}");
    }
}
