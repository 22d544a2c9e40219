//! A question to Graphite's render API: `address`, and the targets and times as a query string, as it is documented.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::access;
use super::http::{HttpQuery, HttpRequest, Reading, json};
use crate::analysis::metric::FieldError;
use crate::analysis::value::Value;
use crate::api::metric_provider::GraphiteMetric;

/// How long a query may take.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Series {
    datapoints: Vec<(Option<f64>, i64)>,
}

/// Reads a question whose arguments are put in.
pub(super) fn parse(wire: &GraphiteMetric) -> Result<HttpQuery, Vec<FieldError>> {
    let mut problems = Vec::new();
    let address = access::required("address", wire.address.as_ref(), &mut problems);
    let query = access::required("query", wire.query.as_ref(), &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let url = access::url("address", &address, "render").map_err(|problem| vec![problem])?;
    let request = HttpRequest::get(with_query(url, &query).into(), TIMEOUT);
    Ok(HttpQuery { server: "Graphite", request, reading: Reading::Graphite, is_secret_address: false })
}

/// Adds `target=…&from=…`; without a name, the text is a target. The form of the answer is not the metric's to choose.
fn with_query(mut url: Url, query: &str) -> Url {
    let mut pairs = url.query_pairs_mut();
    let query = query.trim();
    if has_name(query) {
        let all = split(query).into_iter().filter_map(|pair| pair.split_once('='));
        for (name, value) in all.filter(|(name, _)| *name != "format") {
            pairs.append_pair(name, value.trim());
        }
    } else {
        pairs.append_pair("target", query);
    }
    pairs.append_pair("format", "json");
    drop(pairs);
    url
}

/// Whether a text begins with a name and `=`.
fn has_name(text: &str) -> bool {
    text.split_once('=')
        .is_some_and(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic()))
}

/// The pairs of a query string that was written by hand, unencoded: an `&` in brackets or quotes is a part of a target.
fn split(query: &str) -> Vec<&str> {
    let (mut pairs, mut from, mut depth, mut quote) = (Vec::new(), 0, 0_usize, None);
    for (at, character) in query.char_indices() {
        match (character, quote) {
            (_, Some(open)) if character == open => quote = None,
            ('\'' | '"', None) => quote = Some(character),
            ('(', None) => depth += 1,
            (')', None) => depth = depth.saturating_sub(1),
            ('&', None) if depth == 0 => {
                pairs.extend(query.get(from..at));
                from = at + 1;
            }
            _ => {}
        }
    }
    pairs.extend(query.get(from..));
    pairs.into_iter().map(str::trim).collect()
}

/// The points of the first series, from the oldest on, without those that have no value (yet).
pub(super) fn read(body: &[u8]) -> Result<Value, String> {
    let series: Vec<Series> = json(body, "a list of series")?;
    let points = series.into_iter().next().map(|first| first.datapoints).unwrap_or_default();
    Ok(Value::Numbers(points.into_iter().filter_map(|(value, _)| value).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(query: &str) -> String {
        let wire = GraphiteMetric {
            address: Some("http://graphite:8080/prefix/".to_owned()),
            query: Some(query.to_owned()),
        };
        parse(&wire).unwrap().request.url
    }

    #[test]
    fn a_query_is_one_target_or_a_query_string_as_it_is_documented() {
        assert_eq!(
            url("sumSeries(a.{b,c}.*)"),
            "http://graphite:8080/prefix/render?target=sumSeries%28a.%7Bb%2Cc%7D.*%29&format=json"
        );
        assert!(
            url("target=sum(a.{b&c})&from=-1h")
                .ends_with("?target=sum%28a.%7Bb%26c%7D%29&from=-1h&format=json")
        );
        assert!(
            url("target=a&noNullPoints=true&tz=UTC")
                .ends_with("target=a&noNullPoints=true&tz=UTC&format=json")
        );
        assert_eq!(
            url("target=alias(a.b, 'x=1&y')\n&from=-5min&format=csv&until=now"),
            "http://graphite:8080/prefix/render?target=alias%28a.b%2C+%27x%3D1%26y%27%29&from=-5min&until=now&format=json"
        );
    }

    #[test]
    fn the_points_of_the_first_series_are_the_value() {
        let read = |text: &str| read(text.as_bytes());
        let two = r#"[{"target": "a", "datapoints": [[1.5, 60], [null, 120], [2, 180]]}, {"datapoints": [[9, 1]]}]"#;
        assert_eq!(read(two), Ok(Value::Numbers(vec![1.5, 2.0])));
        assert_eq!(read("[]"), Ok(Value::Numbers(vec![])));
        assert!(read("<html>").unwrap_err().contains("is the address right?"));
        assert!(read("{}").unwrap_err().starts_with("its answer is not a list of series: "));
    }
}
