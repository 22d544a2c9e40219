//! What a step asks of requests, as matches of the API.
//!
//! A prefix of a path is one of whole elements, as everywhere in this API; a prefix of a header is a regular expression.
//! The API compares methods with one word only, and knows nine of them: whatever else is asked of them is counted out.

use regex::Regex;
use serde_json::{Value, json};

use super::matches::{Unclear, both};
use crate::api::canary_step::RouteMatch;
use crate::api::traffic_routing::StringMatch;
use crate::traffic::{RouteKind, Rule};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
/// What names of headers consist of, besides letters and digits.
const MARKS: &str = "!#$%&'*+-.^_`|~";

/// A way to compare text, and the text.
enum Asked<'a> {
    Exact(&'a str),
    Prefix(&'a str),
    Regex(&'a str),
}

/// The matches for all requests that a route is for; the error says what no route of this kind can ask for.
pub(super) fn matches(rule: &Rule, kind: RouteKind) -> Result<Vec<Value>, String> {
    match rule {
        Rule::Header(headers) => {
            let named = headers
                .iter()
                .filter_map(|header| Some((header.header_name.as_deref()?, header.header_value.as_ref()?)));
            Ok(vec![with_headers(json!({}), named)?])
        }
        Rule::Session(session) => self::matches(&Rule::Header(vec![session.asked()]), kind),
        Rule::Mirror { matches, .. } => {
            let found: Result<Vec<_>, _> = matches.iter().map(|found| of_requests(found, kind)).collect();
            Ok(found?.into_iter().flatten().collect())
        }
    }
}

fn of_requests(found: &RouteMatch, kind: RouteKind) -> Result<Vec<Value>, String> {
    let [method, path] = [&found.method, &found.path].map(|given| given.as_ref().and_then(asked));
    if kind != RouteKind::HttpRoute && (method.is_some() || path.is_some()) {
        return Err(format!("a {} knows neither path nor method of HTTP: match by headers", kind.as_str()));
    }
    let mut one = json!({});
    if let Some(path) = path {
        let (kind, value) = match path {
            Asked::Exact(value) => ("Exact", value),
            Asked::Prefix(value) => ("PathPrefix", value),
            Asked::Regex(value) => ("RegularExpression", value),
        };
        if kind != "RegularExpression" && !value.starts_with('/') {
            return Err(format!("path {value:?} does not begin with /"));
        }
        one = json!({"path": {"type": kind, "value": value}});
    }
    let headers = found.headers.iter().flatten().map(|(name, value)| (name.as_str(), value));
    let one = with_headers(one, headers)?;
    let Some(method) = method else { return Ok(vec![one]) };
    let methods = methods(&method)?;
    Ok(methods.into_iter().filter_map(|method| both(&one, &json!({"method": method})).ok()?).collect())
}

fn methods(asked: &Asked<'_>) -> Result<Vec<&'static str>, String> {
    let is_asked: Box<dyn Fn(&str) -> bool> = match asked {
        Asked::Exact(method) => Box::new(move |known| known == *method),
        Asked::Prefix(prefix) => Box::new(move |known| known.starts_with(prefix)),
        Asked::Regex(pattern) => {
            let whole = Regex::new(&format!("^(?:{pattern})$"));
            let whole = whole.map_err(|_| format!("method {pattern:?} is no regular expression"))?;
            Box::new(move |known| whole.is_match(known))
        }
    };
    let found: Vec<_> = METHODS.into_iter().filter(|method| is_asked(method)).collect();
    if found.is_empty() {
        let (Asked::Exact(method) | Asked::Prefix(method) | Asked::Regex(method)) = asked;
        return Err(format!("method {method:?} is none of {}", METHODS.join(", ")));
    }
    Ok(found)
}

fn with_headers<'a>(
    mut one: Value,
    headers: impl Iterator<Item = (&'a str, &'a StringMatch)>,
) -> Result<Value, String> {
    for (name, value) in headers {
        if !name.chars().all(|letter| letter.is_ascii_alphanumeric() || MARKS.contains(letter)) {
            return Err(format!("{name:?} is no name of a header"));
        }
        let Some(asked) = asked(value) else { continue };
        let (kind, value) = match asked {
            Asked::Exact(value) => ("Exact", value.to_owned()),
            Asked::Prefix(value) => ("RegularExpression", format!("^{}.*", regex::escape(value))),
            Asked::Regex(value) => ("RegularExpression", value.to_owned()),
        };
        let header = json!({"headers": [{"name": name, "type": kind, "value": value}]});
        one = match both(&one, &header) {
            Ok(Some(met)) => met,
            Ok(None) | Err(Unclear::Header(_) | Unclear::Path) => {
                return Err(format!("header {name:?} is there twice, with different values"));
            }
        };
    }
    Ok(one)
}

fn asked(found: &StringMatch) -> Option<Asked<'_>> {
    fn given(text: Option<&String>) -> Option<&str> {
        text.map(String::as_str).filter(|text| !text.is_empty())
    }
    let exact = given(found.exact.as_ref()).map(Asked::Exact);
    let prefix = given(found.prefix.as_ref()).map(Asked::Prefix);
    exact.or(prefix).or(given(found.regex.as_ref()).map(Asked::Regex))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: RouteKind, found: &Value, expected: Result<Value, &str>) {
        let matches = vec![serde_json::from_value(found.clone()).unwrap()];
        let made = self::matches(&Rule::Mirror { matches, percent: 5 }, kind);
        assert_eq!(made.map(Value::Array), expected.map_err(str::to_owned), "{found}");
    }

    #[test]
    fn what_a_step_asks_for_is_said_as_the_api_says_it() {
        let check = |found: Value, expected| check(RouteKind::HttpRoute, &found, Ok(expected));
        check(json!({}), json!([{}]));
        check(
            json!({"path": {"prefix": "/api"}}),
            json!([{"path": {"type": "PathPrefix", "value": "/api"}}]),
        );
        check(
            json!({"path": {"regex": "/v[0-9]"}}),
            json!([{"path": {"type": "RegularExpression", "value": "/v[0-9]"}}]),
        );
        check(json!({"method": {"exact": "GET"}}), json!([{"method": "GET"}]));
        check(
            json!({"method": {"regex": "GET|PATCH|COPY"}}),
            json!([{"method": "GET"}, {"method": "PATCH"}]),
        );
        check(
            json!({"method": {"prefix": "P"}}),
            json!([{"method": "POST"}, {"method": "PUT"}, {"method": "PATCH"}]),
        );
        check(
            json!({"headers": {"x-a": {"exact": "1.2"}, "x-b": {"prefix": "1.2"}, "x-c": {"regex": "1.2"}}}),
            json!([{"headers": [
                {"name": "x-a", "type": "Exact", "value": "1.2"},
                {"name": "x-b", "type": "RegularExpression", "value": "^1\\.2.*"},
                {"name": "x-c", "type": "RegularExpression", "value": "1.2"},
            ]}]),
        );
    }

    #[test]
    fn what_the_api_cannot_say_is_refused() {
        let http = |found: Value, expected| check(RouteKind::HttpRoute, &found, Err(expected));
        http(json!({"path": {"exact": "api"}}), "path \"api\" does not begin with /");
        http(json!({"method": {"regex": "("}}), "method \"(\" is no regular expression");
        http(
            json!({"method": {"exact": "COPY"}}),
            "method \"COPY\" is none of GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH",
        );
        http(json!({"headers": {"x a": {"exact": "1"}}}), "\"x a\" is no name of a header");
        http(
            json!({"headers": {"x-a": {"exact": "1"}, "X-A": {"prefix": "1"}}}),
            "header \"x-a\" is there twice, with different values",
        );
        check(
            RouteKind::GrpcRoute,
            &json!({"path": {"exact": "/api"}}),
            Err("a GRPCRoute knows neither path nor method of HTTP: match by headers"),
        );
    }
}
