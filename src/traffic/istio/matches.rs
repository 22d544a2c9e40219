//! Which requests a copy of a route is for: those of the route that a step asks for.
//!
//! All that a match asks for has to hold, so that what the step asks for is added to it. Where both ask for something of the
//! same text, the one that lets fewer pass is kept; where nobody can say which that is, there is no copy.

use serde_json::{Map, Value, json};

use crate::api::canary_step::RouteMatch;
use crate::api::traffic_routing::StringMatch;
use crate::traffic::Rule;
use crate::traffic::route::{at, items, set};

/// What Istio does not compare as headers, having fields for it.
const NO_HEADERS: [&str; 4] = ["authority", "method", "scheme", "uri"];

/// What a text has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text<'a> {
    Any,
    Exact(&'a str),
    Prefix(&'a str),
    /// A regular expression, or whatever else.
    Other(&'a Value),
}

/// Which of two asks for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Narrower {
    Base,
    Asked,
}

/// Nobody can say which texts are of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unclear;

/// The matches that a step asks for, any of them; the error says what no route can ask for.
pub(super) fn asked(rule: &Rule) -> Result<Vec<Value>, String> {
    match rule {
        Rule::Header(headers) => {
            let named = headers
                .iter()
                .filter_map(|found| Some((found.header_name.as_ref()?, found.header_value.as_ref()?)));
            Ok(vec![with_headers(json!({}), named)?])
        }
        Rule::Session(session) => asked(&Rule::Header(vec![session.asked()])),
        Rule::Mirror { matches, .. } => {
            let of_one = |found: &RouteMatch| {
                let mut one = json!({});
                for (field, text) in [("method", &found.method), ("uri", &found.path)] {
                    set(&mut one, &[field], text.as_ref().map(text_of));
                }
                with_headers(one, found.headers.iter().flatten())
            };
            matches.iter().map(of_one).collect()
        }
    }
}

/// What a copy of a route matches; none where no request is of both.
pub(super) fn narrowed(base: &Value, asked: &[Value]) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for met in pairs(base, asked).filter_map(|(base, asked)| both(base, asked).ok().flatten()) {
        if !all.contains(&met) {
            all.push(met);
        }
    }
    all
}

/// The field of which a route and a step ask for something, and nobody can say what is of both.
pub(super) fn unclear(base: &Value, asked: &[Value]) -> Option<String> {
    pairs(base, asked).find_map(|(base, asked)| both(base, asked).err())
}

/// Each match of a route with each that a step asks for. Without a match a route is for all requests.
fn pairs<'v>(base: &'v Value, asked: &'v [Value]) -> impl Iterator<Item = (&'v Value, &'v Value)> {
    let bases = Some(items(base, &["match"])).filter(|bases| !bases.is_empty());
    let bases = bases.unwrap_or(const { &[Value::Null] });
    bases.iter().flat_map(move |base| asked.iter().map(move |asked| (base, asked)))
}

/// The requests of both; `None` where there are none. The error is the field of which that cannot be said.
fn both(base: &Value, asked: &Value) -> Result<Option<Value>, String> {
    let mut met = if base.is_null() { json!({}) } else { base.clone() };
    let mut unclear = None;
    for (path, text) in texts(base, asked) {
        match narrower_at(base, &path, text) {
            Ok(None) => return Ok(None),
            Ok(Some(Narrower::Base)) => {}
            Ok(Some(Narrower::Asked)) => {
                set(&mut met, &path, Some(text.clone()));
                if path == ["uri"] {
                    set(&mut met, &["ignoreUriCase"], None);
                }
            }
            Err(Unclear) => unclear = unclear.or_else(|| Some(path.join("."))),
        }
    }
    unclear.map_or(Ok(Some(met)), Err)
}

/// The texts that a step asks for, and where `base` asks for something of the same. Headers are the same in whatever case.
fn texts<'v>(base: &'v Value, asked: &'v Value) -> impl Iterator<Item = (Vec<&'v str>, &'v Value)> {
    fn headers(found: &Value) -> impl Iterator<Item = (&String, &Value)> {
        at(found, &["headers"]).as_object().into_iter().flat_map(Map::iter)
    }
    let own = ["uri", "method"].into_iter().map(|field| (vec![field], at(asked, &[field])));
    let named = headers(asked).map(|(name, text)| {
        let known = headers(base).map(|(known, _)| known).find(|known| known.eq_ignore_ascii_case(name));
        (vec!["headers", known.unwrap_or(name)], text)
    });
    own.chain(named).filter(|(_, text)| !text.is_null())
}

fn narrower_at(base: &Value, path: &[&str], asked: &Value) -> Result<Option<Narrower>, Unclear> {
    let base_text = at(base, path);
    if path != ["uri"] || at(base, &["ignoreUriCase"]) != true {
        return narrower(base_text, asked);
    }
    match narrower(&in_small_letters(base_text), &in_small_letters(asked))? {
        // What passes the base in another case may not be what the step asks for.
        Some(Narrower::Base) if has_letters(asked) => Err(Unclear),
        found => Ok(found),
    }
}

fn has_letters(found: &Value) -> bool {
    match read(found) {
        Text::Any => false,
        Text::Exact(text) | Text::Prefix(text) => text.contains(|letter: char| letter.is_ascii_alphabetic()),
        Text::Other(_) => true,
    }
}

/// Which of two lets fewer texts pass, the second of equal ones; `None` where none passes both.
fn narrower(base: &Value, asked: &Value) -> Result<Option<Narrower>, Unclear> {
    use Text::{Any, Exact, Other, Prefix};
    let when = |is_so: bool, side| Ok(is_so.then_some(side));
    match (read(base), read(asked)) {
        (base, asked) if base == asked => Ok(Some(Narrower::Asked)),
        (Any, _) => Ok(Some(Narrower::Asked)),
        (_, Any) => Ok(Some(Narrower::Base)),
        (Other(_), _) | (_, Other(_)) => Err(Unclear),
        (Exact(_), Exact(_)) => Ok(None),
        (Exact(base), Prefix(asked)) => when(base.starts_with(asked), Narrower::Base),
        (Prefix(base), Prefix(asked)) if base.starts_with(asked) => Ok(Some(Narrower::Base)),
        (Prefix(base), Exact(asked) | Prefix(asked)) => when(asked.starts_with(base), Narrower::Asked),
    }
}

/// What a text has to be. A header without a value has to be there, and one with a value is there, too.
fn read(found: &Value) -> Text<'_> {
    let Some(fields) = found.as_object() else {
        return if found.is_null() { Text::Any } else { Text::Other(found) };
    };
    let mut fields = fields.iter().map(|(kind, text)| (kind.as_str(), text.as_str().unwrap_or_default()));
    match (fields.next(), fields.next()) {
        (None, _) | (Some(("regex", ".*")), None) => Text::Any,
        (Some(("exact", text)), None) if !text.is_empty() => Text::Exact(text),
        (Some(("prefix", text)), None) => Text::Prefix(text),
        _ => Text::Other(found),
    }
}

/// A text for a comparison that ignores the case of its letters. Regular expressions are compared as they are.
fn in_small_letters(found: &Value) -> Value {
    let mut found = found.clone();
    for field in ["exact", "prefix"] {
        let small = at(&found, &[field]).as_str().map(str::to_ascii_lowercase);
        if let Some(small) = small {
            set(&mut found, &[field], Some(json!(small)));
        }
    }
    found
}

/// Istio knows headers by their names in small letters.
fn with_headers<'a>(
    mut one: Value,
    headers: impl IntoIterator<Item = (&'a String, &'a StringMatch)>,
) -> Result<Value, String> {
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        if NO_HEADERS.contains(&name.as_str()) {
            return Err(format!("Istio compares no header {name:?}: use another one"));
        }
        let mut header = json!({});
        set(&mut header, &["headers", &name], Some(text_of(value)));
        let met = both(&one, &header).ok().flatten();
        one = met.ok_or_else(|| format!("header {name:?} is there twice, with different values"))?;
    }
    Ok(one)
}

/// What is empty counts as not given, and API servers refuse it beside another.
fn text_of(value: &StringMatch) -> Value {
    let kinds = [("exact", &value.exact), ("prefix", &value.prefix), ("regex", &value.regex)];
    let given = kinds.into_iter().filter_map(|(kind, text)| Some((kind, text.as_ref()?)));
    let given = given.filter(|(_, text)| !text.is_empty());
    Value::Object(given.map(|(kind, text)| (kind.to_owned(), json!(text))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_of_both_are_taken() {
        let check = |base: Value, asked: Value, expected: Result<Option<Value>, &str>| {
            assert_eq!(both(&base, &asked), expected.map_err(str::to_owned), "{base} and {asked}");
        };
        let uri = |kind: &str, text: &str| json!({"uri": {kind: text}});
        let narrow = |base: Value, asked: Value, met: &Value| check(base, asked, Ok(Some(met.clone())));
        narrow(json!(null), uri("prefix", "/a"), &uri("prefix", "/a"));
        narrow(json!({"port": 80}), uri("prefix", "/a"), &json!({"port": 80, "uri": {"prefix": "/a"}}));
        narrow(uri("prefix", "/a"), uri("prefix", "/a/b"), &uri("prefix", "/a/b"));
        narrow(uri("prefix", "/a/b"), uri("prefix", "/a"), &uri("prefix", "/a/b"));
        narrow(uri("prefix", "/a"), uri("exact", "/a/b"), &uri("exact", "/a/b"));
        narrow(uri("exact", "/a/b"), uri("prefix", "/a"), &uri("exact", "/a/b"));
        narrow(uri("regex", ".*"), uri("prefix", "/a"), &uri("prefix", "/a"));
        narrow(uri("regex", "/[ab]"), uri("regex", "/[ab]"), &uri("regex", "/[ab]"));
        check(uri("exact", "/a"), uri("exact", "/b"), Ok(None));
        check(uri("prefix", "/a"), uri("exact", "/b"), Ok(None));
        check(uri("exact", "/a"), uri("prefix", "/b"), Ok(None));
        check(uri("prefix", "/a"), uri("prefix", "/b"), Ok(None));
        check(uri("regex", "/[ab]"), uri("exact", "/a"), Err("uri"));
        check(uri("prefix", "/a"), uri("regex", "/a.*"), Err("uri"));
        check(uri("exact", ""), uri("prefix", "/a"), Err("uri"));
    }

    #[test]
    fn what_excludes_each_other_need_not_be_clear_otherwise() {
        let base = json!({"uri": {"regex": "/[ab]"}, "method": {"exact": "GET"}});
        assert_eq!(both(&base, &json!({"uri": {"exact": "/a"}, "method": {"exact": "PUT"}})), Ok(None));
    }

    #[test]
    fn a_header_that_has_to_be_there_is_when_it_has_a_value() {
        let base = json!({"headers": {"X-A": {}, "x-b": {"regex": "1|2"}}});
        let expected = json!({"headers": {"X-A": {"prefix": "1"}, "x-b": {"regex": "1|2"}}});
        assert_eq!(both(&base, &json!({"headers": {"x-a": {"prefix": "1"}}})), Ok(Some(expected)));
        let other = json!({"headers": {"x-b": {"exact": "1"}}});
        assert_eq!(both(&base, &other), Err("headers.x-b".to_owned()));
    }

    #[test]
    fn case_is_ignored_only_where_the_step_lets_it() {
        let check = |base: Value, asked: Value, expected: Result<Option<Value>, &str>| {
            let base = json!({"uri": base, "ignoreUriCase": true});
            assert_eq!(
                both(&base, &json!({"uri": asked})),
                expected.map_err(str::to_owned),
                "{base} and {asked}"
            );
        };
        check(
            json!({"prefix": "/A"}),
            json!({"prefix": "/a/B"}),
            Ok(Some(json!({"uri": {"prefix": "/a/B"}}))),
        );
        check(json!({"exact": "/A"}), json!({"exact": "/a"}), Ok(Some(json!({"uri": {"exact": "/a"}}))));
        check(json!({"prefix": "/A"}), json!({"exact": "/b"}), Ok(None));
        check(json!({"prefix": "/A/b"}), json!({"prefix": "/a"}), Err("uri"));
        let all = json!({"uri": {"prefix": "/A"}, "ignoreUriCase": true});
        check(json!({"prefix": "/A"}), json!({"prefix": "/"}), Ok(Some(all)));
    }
}
