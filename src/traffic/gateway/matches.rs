//! Which requests a match of a rule is for: those of two matches, and which of two is preferred.
//!
//! Gateways prefer, over all rules of a route, an exact path, then the longer prefix, a method, more headers, and more query
//! parameters; in a `GRPCRoute` the longer service, the longer method, and more headers. Among equals the rule that comes
//! first is preferred. Where a path is a regular expression gateways differ.

use serde_json::{Map, Value, json};

use crate::traffic::route::{at, items, set, text};

/// Why it cannot be said which requests are of two matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unclear {
    /// A regular expression of a path, and another path.
    Path,
    /// A regular expression of this header, and another one.
    Header(String),
}

/// How much a match is preferred: kind and length of its path, of its service and its method, headers, query parameters.
pub(super) type Rank = [usize; 6];

/// A kind of comparison and what is compared with.
type Comparison<'a> = (&'a str, &'a str);

/// The requests of both; `None` where there are none.
pub(super) fn both(one: &Value, other: &Value) -> Result<Option<Value>, Unclear> {
    let mut met = one.clone();
    let Some(path) = both_paths(one, other)? else { return Ok(None) };
    if !at(other, &["path"]).is_null() {
        set(&mut met, &["path"], Some(json!({"type": path.0, "value": path.1})));
    }
    match (at(one, &["method"]), at(other, &["method"])) {
        (_, Value::Null) => {}
        (Value::Null, method) => set(&mut met, &["method"], Some(method.clone())),
        (one, other) if one == other => {}
        _ => return Ok(None),
    }
    let mut headers = items(one, &["headers"]).to_vec();
    for header in items(other, &["headers"]) {
        match headers.iter().find(|known| is_same_header(known, header)) {
            None => headers.push(header.clone()),
            Some(known) if compared(known) == compared(header) => {}
            Some(known) if exclude_each_other(known, header) => return Ok(None),
            Some(_) => return Err(Unclear::Header(text(header, &["name"]).to_owned())),
        }
    }
    if !headers.is_empty() {
        set(&mut met, &["headers"], Some(Value::Array(headers)));
    }
    Ok(Some(met))
}

/// A match for requests of `one` only, and for all that `later` has, too, that is preferred to `later` wherever it comes
/// first; `None` where there is none.
pub(super) fn refined(one: &Value, later: &Value) -> Option<Value> {
    let is_new = |header: &&Value| {
        let known = items(one, &["headers"]).iter().find(|known| is_same_header(known, header));
        // What `one` asks of a header is asked already.
        known.is_none_or(|known| exclude_each_other(known, header))
    };
    let headers = items(later, &["headers"]).iter().filter(is_new).cloned().collect();
    let mut later = later.clone();
    set(&mut later, &["headers"], Some(Value::Array(headers)));
    both(one, &later).ok().flatten()
}

/// How much a match is preferred.
pub(super) fn rank(found: &Value) -> Rank {
    let (kind, path) = path_of(found);
    let kind = match kind {
        "Exact" => 2,
        "PathPrefix" => 0,
        _ => 1,
    };
    let method = at(found, &["method"]);
    let [service, method] = match method {
        Value::Object(_) => ["service", "method"].map(|field| text(method, &[field]).len()),
        method => [0, usize::from(!method.is_null())],
    };
    let count = |field: &str| items(found, &[field]).len();
    [kind, path.len(), service, method, count("headers"), count("queryParams")]
}

/// Whether every request of `one` is one of `other`, too, as far as it can be seen.
pub(super) fn is_within(one: &Value, other: &Value) -> bool {
    let path = both_paths(one, other) == Ok(Some(path_of(one)));
    let asked = at(other, &["method"]);
    let method = match (at(one, &["method"]), asked) {
        (Value::Object(one), Value::Object(other)) => is_part(other, one),
        (one, other) => other.is_null() || one == other,
    };
    let header = |asked: &Value| {
        let mut known = items(one, &["headers"]).iter();
        known.any(|known| is_same_header(known, asked) && compared(known) == compared(asked))
    };
    let query = |asked: &Value| {
        let mut known = items(one, &["queryParams"]).iter();
        known.any(|known| {
            text(known, &["name"]) == text(asked, &["name"]) && compared(known) == compared(asked)
        })
    };
    path && method
        && items(other, &["headers"]).iter().all(header)
        && items(other, &["queryParams"]).iter().all(query)
}

fn is_part(part: &Map<String, Value>, whole: &Map<String, Value>) -> bool {
    part.iter().all(|(field, value)| whole.get(field) == Some(value))
}

fn path_of(found: &Value) -> Comparison<'_> {
    let path = at(found, &["path"]);
    let given = |field: &str, default| at(path, &[field]).as_str().unwrap_or(default);
    (given("type", "PathPrefix"), given("value", "/"))
}

/// The paths of both; `None` where there are none.
fn both_paths<'a>(one: &'a Value, other: &'a Value) -> Result<Option<Comparison<'a>>, Unclear> {
    let (one, other) = (path_of(one), path_of(other));
    Ok(match (one, other) {
        _ if one == other || other == ("PathPrefix", "/") => Some(one),
        (("PathPrefix", "/"), _) => Some(other),
        (("RegularExpression", _), _) | (_, ("RegularExpression", _)) => return Err(Unclear::Path),
        (_, ("PathPrefix", prefix)) if starts_with(one.1, prefix) => Some(one),
        (("PathPrefix", prefix), _) if starts_with(other.1, prefix) => Some(other),
        _ => None,
    })
}

/// Whether a path begins with the elements of another one.
fn starts_with(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_same_header(one: &Value, other: &Value) -> bool {
    text(one, &["name"]).eq_ignore_ascii_case(text(other, &["name"]))
}

fn compared(header: &Value) -> Comparison<'_> {
    (at(header, &["type"]).as_str().unwrap_or("Exact"), text(header, &["value"]))
}

fn exclude_each_other(one: &Value, other: &Value) -> bool {
    let (one, other) = (compared(one), compared(other));
    (one.0, other.0) == ("Exact", "Exact") && one.1 != other.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(path: &str) -> Value {
        json!({"path": {"type": "Exact", "value": path}})
    }

    fn prefix(path: &str) -> Value {
        json!({"path": {"type": "PathPrefix", "value": path}})
    }

    fn regex(path: &str) -> Value {
        json!({"path": {"type": "RegularExpression", "value": path}})
    }

    fn header(name: &str, kind: &str, value: &str) -> Value {
        json!({"headers": [{"name": name, "type": kind, "value": value}]})
    }

    #[test]
    fn the_requests_of_two_matches_are_told_by_path_method_and_headers() {
        let check = |one: &Value, other: &Value, expected: Result<Option<Value>, Unclear>| {
            assert_eq!(both(one, other), expected, "{one} and {other}");
        };
        check(&prefix("/shop"), &prefix("/shop/api"), Ok(Some(prefix("/shop/api"))));
        check(&prefix("/shop/api"), &prefix("/shop/"), Ok(Some(prefix("/shop/api"))));
        check(&prefix("/shop"), &exact("/shop/api"), Ok(Some(exact("/shop/api"))));
        check(&exact("/shop"), &prefix("/shop"), Ok(Some(exact("/shop"))));
        check(&prefix("/shop"), &prefix("/shopping"), Ok(None));
        check(&exact("/shop"), &exact("/shop/api"), Ok(None));
        check(&prefix("/"), &regex("/v[0-9]"), Ok(Some(regex("/v[0-9]"))));
        check(&regex("/v[0-9]"), &json!({}), Ok(Some(regex("/v[0-9]"))));
        check(&regex("/v[0-9]"), &prefix("/v1"), Err(Unclear::Path));
        check(&json!({"method": "GET"}), &json!({"method": "POST"}), Ok(None));
        let one = header("X-Test", "Exact", "a");
        check(&one, &header("x-test", "Exact", "a"), Ok(Some(one.clone())));
        check(&one, &header("x-test", "Exact", "b"), Ok(None));
        check(&one, &header("x-test", "RegularExpression", "b"), Err(Unclear::Header("x-test".to_owned())));
    }

    #[test]
    fn gateways_prefer_paths_to_methods_to_headers_to_parameters() {
        let query = json!({"queryParams": [{"name": "a", "value": "b"}, {"name": "c", "value": "d"}]});
        let one = header("a", "Exact", "b");
        let ascending =
            [json!({}), query, one, json!({"method": "GET"}), prefix("/a"), prefix("/a/b"), exact("/")];
        assert!(ascending.iter().map(rank).is_sorted_by(|one, next| one < next));
        let calls = |service: &str, method: &str| json!({"method": {"service": service, "method": method}});
        assert!(rank(&calls("longer", "")) > rank(&calls("short", "method")));
    }

    #[test]
    fn a_match_is_within_another_when_that_one_asks_for_nothing_else() {
        let check = |one: &Value, other: &Value, expected: bool| {
            assert_eq!(is_within(one, other), expected, "{one} in {other}");
        };
        check(&prefix("/docs/new"), &prefix("/docs"), true);
        check(&prefix("/docs"), &prefix("/docs/new"), false);
        check(&header("a", "Exact", "b"), &prefix("/"), true);
        check(&prefix("/"), &header("a", "Exact", "b"), false);
        check(
            &json!({"method": {"service": "s", "method": "m"}}),
            &json!({"method": {"service": "s"}}),
            true,
        );
        check(&json!({"method": "GET"}), &json!({"method": "POST"}), false);
    }
}
