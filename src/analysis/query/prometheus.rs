//! A question to Prometheus: an instant or a range.

use std::time::Duration;

use super::access::{self, CertificateCheck, Credentials};
use crate::analysis::condition;
use crate::analysis::metric::FieldError;
use crate::analysis::secrets::Secret;
use crate::api::metric_provider::{PrometheusMetric, PrometheusRangeQuery};
use crate::units::{Timestamp, parse_duration};

/// How long a query may take when it does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A question to Prometheus. Any of its texts may hold a secret.
#[derive(Clone, PartialEq)]
pub struct PrometheusQuery {
    /// Base URL; `None` for the controller's default.
    pub address: Option<String>,
    /// The `PromQL` expression.
    pub promql: String,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether the certificate is checked.
    pub certificate: CertificateCheck,
    /// Headers, by name.
    pub headers: Vec<(String, Secret)>,
    /// The range to ask for; `None` for an instant.
    pub range: Option<QueryRange>,
    /// How to authenticate.
    pub credentials: Option<Credentials>,
}

impl std::fmt::Debug for PrometheusQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrometheusQuery").field("range", &self.range).finish_non_exhaustive()
    }
}

/// A range of time with a distance of points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryRange {
    /// First point.
    pub start: Timestamp,
    /// Last point at most.
    pub end: Timestamp,
    /// Distance of points.
    pub step: Duration,
}

impl PrometheusQuery {
    /// Reads a query whose arguments are put in; `now` is what `now()` means in a range.
    pub(super) fn parse(config: &PrometheusMetric, now: Timestamp) -> Result<Self, Vec<FieldError>> {
        let mut problems = Vec::new();
        let query = Self {
            address: access::text(config.address.as_ref()),
            promql: access::required("query", config.query.as_ref(), &mut problems),
            timeout: access::timeout("timeout", config.timeout.as_ref(), TIMEOUT, &mut problems),
            certificate: CertificateCheck::unless(config.insecure),
            headers: access::headers(config.headers.as_ref()),
            range: config.range_query.as_ref().and_then(|range| QueryRange::parse(range, now, &mut problems)),
            credentials: Credentials::parse(config.authentication.as_ref(), &mut problems),
        };
        if problems.is_empty() { Ok(query) } else { Err(problems) }
    }
}

impl QueryRange {
    fn parse(wire: &PrometheusRangeQuery, now: Timestamp, problems: &mut Vec<FieldError>) -> Option<Self> {
        let start = moment("rangeQuery.start", wire.start.as_deref(), now, problems);
        let end = moment("rangeQuery.end", wire.end.as_deref(), now, problems);
        let step = wire.step.as_deref().and_then(parse_duration).filter(|step| !step.is_zero());
        if step.is_none() {
            problems.push(FieldError::new("rangeQuery.step", "must be a duration such as 1m"));
        }
        Some(Self { start: start?, end: end?, step: step? })
    }
}

fn moment(
    name: &str,
    field: Option<&str>,
    now: Timestamp,
    problems: &mut Vec<FieldError>,
) -> Option<Timestamp> {
    let text = field.unwrap_or_default();
    if text.is_empty() {
        problems.push(FieldError::new(name, "is missing"));
        return None;
    }
    condition::time(text, now)
        .map_err(|why| problems.push(FieldError::new(name, format!("is wrong: {why}"))))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::super::Query;
    use super::super::access::SigV4;
    use super::*;
    use crate::analysis::secrets::{Keyring, SecretSource};
    use crate::api::metric_provider::MetricProvider;
    use serde_json::json;

    fn query(provider: &MetricProvider) -> Result<Query, Vec<FieldError>> {
        Query::parse(provider, Timestamp::from_millis(NOW), &mut Keyring::new(SecretSource::Placeholder))
    }

    const NOW: i64 = 1_700_000_000_000;

    fn parse(provider: serde_json::Value) -> Result<PrometheusQuery, Vec<String>> {
        let provider = serde_json::from_value(provider).unwrap();
        match query(&provider) {
            Ok(Query::Prometheus(query)) => Ok(*query),
            Ok(other) => panic!("{other:?}"),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn a_query_without_more_has_the_public_defaults() {
        let query = parse(json!({"prometheus": {"query": " up \n"}})).unwrap();
        assert_eq!((query.promql.as_str(), query.timeout), ("up", TIMEOUT));
        assert_eq!((query.certificate, query.range, query.address), (CertificateCheck::On, None, None));
    }

    #[test]
    fn a_query_cannot_take_for_ever() {
        let timeout = |seconds: i64| parse(json!({"prometheus": {"query": "up", "timeout": seconds}}));
        assert_eq!(timeout(600).unwrap().timeout, Duration::from_mins(10));
        assert_eq!(
            timeout(86_400).unwrap_err(),
            ["prometheus.timeout is 86400 seconds; at most 600 are allowed"]
        );
    }

    #[test]
    fn a_range_is_reckoned_from_the_given_now() {
        let range = json!({"start": "now() - duration('5m')", "end": "now()", "step": "1m"});
        let query = parse(json!({"prometheus": {"query": "up", "rangeQuery": range}})).unwrap();
        let expected = QueryRange {
            start: Timestamp::from_millis(NOW - 300_000),
            end: Timestamp::from_millis(NOW),
            step: Duration::from_mins(1),
        };
        assert_eq!(query.range, Some(expected));
    }

    #[test]
    fn the_order_of_a_range_is_known_when_it_is_measured() {
        let provider = |start: &str, end: &str| {
            let range = json!({"start": start, "end": end, "step": "1m"});
            serde_json::from_value(json!({"prometheus": {"query": "up", "rangeQuery": range}})).unwrap()
        };
        let since_new_year = provider("date('2023-01-01')", "now()");
        assert_eq!(Query::check(&since_new_year), Ok(()));
        assert!(query(&since_new_year).is_ok());
        let backwards = provider("now()", "now() - duration('5m')");
        assert_eq!(
            query(&backwards).unwrap_err()[0].to_string(),
            "prometheus.rangeQuery.end lies before rangeQuery.start"
        );
    }

    #[test]
    fn an_authentication_that_says_nothing_is_none() {
        let with = |authentication: serde_json::Value| {
            parse(json!({"prometheus": {"query": "up", "authentication": authentication}}))
        };
        assert_eq!(with(json!({"oauth2": {}, "sigv4": {}})).unwrap().credentials, None);
        let basic = json!({"oauth2": {}, "sigv4": {}, "basicAuth": {"username": "u", "password": "p"}});
        assert!(matches!(with(basic).unwrap().credentials, Some(Credentials::Basic { .. })));
    }

    #[test]
    fn a_signature_names_a_region_and_a_role_that_can_be() {
        let with = |sigv4: serde_json::Value| {
            parse(json!({"prometheus": {"query": "up", "authentication": {"sigv4": sigv4}}}))
        };
        let role = "arn:aws:iam::123456789012:role/team/metrics";
        let sigv4 =
            SigV4 { region: Some("eu-central-1".to_owned()), role_arn: Some(role.to_owned()), profile: None };
        let wire = json!({"region": " eu-central-1", "roleArn": role, "profile": ""});
        assert_eq!(with(wire).unwrap().credentials, Some(Credentials::SigV4(sigv4)));
        let problems = with(json!({"region": "evil.example/?", "roleArn": "metrics"})).unwrap_err();
        assert_eq!(
            problems,
            [
                "prometheus.authentication.sigv4.region 'evil.example/?' is not the name of a region, such as eu-central-1",
                "prometheus.authentication.sigv4.roleArn 'metrics' is not the ARN of a role, such as \
                 arn:aws:iam::123456789012:role/metrics"
            ]
        );
        let several = json!({"sigv4": {"region": "eu-central-1"}, "basicAuth": {"username": "u"}});
        assert_eq!(
            parse(json!({"prometheus": {"query": "up", "authentication": several}})).unwrap_err(),
            ["prometheus.authentication has basicAuth and sigv4; one is allowed"]
        );
    }

    #[test]
    fn every_problem_of_a_query_is_reported_at_once() {
        let problems = parse(json!({"prometheus": {
            "timeout": "soon",
            "rangeQuery": {"start": "5", "step": "often"},
            "authentication": {"oauth2": {"tokenUrl": "http://issuer"}}
        }}))
        .unwrap_err();
        let fields: Vec<_> = problems.iter().filter_map(|problem| problem.split(' ').next()).collect();
        assert_eq!(
            fields,
            [
                "prometheus.query",
                "prometheus.timeout",
                "prometheus.rangeQuery.start",
                "prometheus.rangeQuery.end",
                "prometheus.rangeQuery.step",
                "prometheus.authentication.oauth2.clientId",
                "prometheus.authentication.oauth2.clientSecret"
            ]
        );
    }

    #[test]
    fn a_query_shows_nothing_that_may_be_a_secret() {
        let query = parse(json!({"prometheus": {
            "address": "http://user:s3cret@host", "query": "up{token='s3cret'}",
            "headers": [{"key": "Authorization", "value": "s3cret"}],
            "authentication": {"basicAuth": {"username": "u", "password": "s3cret"}}
        }}))
        .unwrap();
        assert!(!format!("{query:?}").contains("s3cret"), "{query:?}");
    }
}
