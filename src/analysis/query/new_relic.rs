//! A question to New Relic: an NRQL query through `NerdGraph`. Account, region and key are in a Secret of the controller's.

use std::time::Duration;

use serde_json::json;

use super::access;
use super::http::{self, HttpQuery, HttpRequest, Reading};
use super::profile::Profile;
use crate::analysis::metric::FieldError;
use crate::analysis::secrets::Keyring;
use crate::analysis::value::Value;
use crate::api::metric_provider::NewRelicMetric;

/// How long a query may take when it does not say.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What the way there and back may take besides.
const MARGIN: Duration = Duration::from_secs(5);
/// The Secret when `profile` names none.
const PROFILE: &str = "newrelic";
/// What is asked.
const QUESTION: &str = "query($account: Int!, $nrql: Nrql!, $timeout: Seconds) { actor { account(id: $account) \
                        { nrql(query: $nrql, timeout: $timeout) { results } } } }";

/// Reads a question whose arguments are put in.
pub(super) fn parse(wire: &NewRelicMetric, keys: &mut Keyring<'_>) -> Result<HttpQuery, Vec<FieldError>> {
    let mut problems = Vec::new();
    let query = access::required("query", wire.query.as_ref(), &mut problems);
    let timeout = access::timeout("timeout", wire.timeout.as_ref(), TIMEOUT, &mut problems);
    let name = access::text(wire.profile.as_ref()).unwrap_or_else(|| PROFILE.to_owned());
    let mut profile = Profile::of_controller("profile", name, keys);
    let key = profile.secret("personal-api-key");
    let account = profile.open("account-id", "0");
    let region = profile.optional("region");
    let base = profile.optional("base-url-nerdgraph");
    problems.extend(profile.into_problems());
    let account: i64 = account.parse().unwrap_or_else(|_| {
        problems.push(FieldError::new("profile", "has an account-id that is not a number"));
        0
    });
    let url = address(base, region.as_deref(), &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let variables = json!({"account": account, "nrql": query, "timeout": timeout.as_secs()});
    let body = json!({"query": QUESTION, "variables": variables});
    let request = HttpRequest::post(url, &body, timeout.saturating_add(MARGIN)).with_header("API-Key", key);
    Ok(HttpQuery { server: "New Relic", request, reading: Reading::NewRelic, is_secret_address: true })
}

fn address(base: Option<String>, region: Option<&str>, problems: &mut Vec<FieldError>) -> String {
    let region = region.unwrap_or("us").to_ascii_lowercase();
    match (base, region.as_str()) {
        (Some(base), _) => match access::url("profile", &base, "") {
            Ok(url) => url.as_str().trim_end_matches('/').to_owned(),
            Err(problem) => {
                problems.push(problem);
                base
            }
        },
        (None, "us") => "https://api.newrelic.com/graphql".to_owned(),
        (None, "eu") => "https://api.eu.newrelic.com/graphql".to_owned(),
        (None, _) => {
            problems.push(FieldError::new("profile", "has a region that is neither us nor eu"));
            String::new()
        }
    }
}

/// The rows that were found: one by itself.
pub(super) fn read(body: &[u8]) -> Result<Value, String> {
    let mut data = http::graphql(body)?;
    let rows = data.pointer_mut("/actor/account/nrql/results").map(serde_json::Value::take);
    let Some(serde_json::Value::Array(mut rows)) = rows else {
        return Err("its answer has no results; may the key read this account?".to_owned());
    };
    match rows.len() {
        0 => {
            Err("the query found nothing; is there data for this version in the time it looks at?".to_owned())
        }
        1 => Ok(Value::Json(rows.swap_remove(0))),
        _ => Ok(Value::Json(rows.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::secrets::{Home, Secret, SecretKey, SecretSource, Secrets};

    #[test]
    fn a_query_goes_to_the_account_and_region_of_its_profile() {
        let key =
            |key: &str| SecretKey { home: Home::Controller, name: PROFILE.to_owned(), key: key.to_owned() };
        let ask = |region: &str| {
            let secrets = Secrets::from([
                (key("personal-api-key"), Ok(Some(Secret::new("k")))),
                (key("account-id"), Ok(Some(Secret::new("42")))),
                (key("region"), Ok(Some(Secret::new(region)))),
                (key("base-url-nerdgraph"), Ok(None)),
            ]);
            let wire = NewRelicMetric { query: Some("SELECT 1".to_owned()), ..NewRelicMetric::default() };
            parse(&wire, &mut Keyring::new(SecretSource::Read(&secrets))).map(|query| query.request)
        };
        let request = ask("EU").unwrap();
        assert_eq!(request.url, "https://api.eu.newrelic.com/graphql");
        assert_eq!((request.headers[0].0.as_str(), request.headers[0].1.reveal()), ("API-Key", "k"));
        let body: serde_json::Value = serde_json::from_str(request.body.unwrap().1.reveal()).unwrap();
        assert_eq!(body["variables"], json!({"account": 42, "nrql": "SELECT 1", "timeout": 5}));
        assert_eq!(request.timeout, Duration::from_secs(10));
        assert_eq!(ask("us").unwrap().url, "https://api.newrelic.com/graphql");
        assert_eq!(
            ask("s3cret").unwrap_err()[0].to_string(),
            "profile has a region that is neither us nor eu"
        );
    }

    #[test]
    fn one_row_is_a_map_and_several_are_a_list() {
        let answer = |rows: serde_json::Value| {
            json!({"data": {"actor": {"account": {"nrql": {"results": rows}}}}}).to_string()
        };
        let read = |text: &str| read(text.as_bytes());
        assert_eq!(
            read(&answer(json!([{"average.duration": 0.5}]))),
            Ok(Value::Json(json!({"average.duration": 0.5})))
        );
        assert_eq!(read(&answer(json!([{"a": 1}, {"a": 2}]))), Ok(Value::Json(json!([{"a": 1}, {"a": 2}]))));
        assert!(read(&answer(json!([]))).unwrap_err().starts_with("the query found nothing"));
        let refused = r#"{"errors": [{"message": "NRQL Syntax Error", "path": []}], "data": null}"#;
        assert_eq!(read(refused).unwrap_err(), "it refused the query: NRQL Syntax Error");
        assert!(read(r#"{"data": {"actor": {"account": null}}}"#).unwrap_err().contains("may the key read"));
    }
}
