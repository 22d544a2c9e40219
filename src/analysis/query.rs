//! What a provider is asked: `metrics[].provider`, parsed, with everything put in that a request needs.

use std::time::Duration;

use serde_json::json;

use super::args::Secret;
use super::condition;
use super::metric::{FieldError, number};
use crate::api::metric_provider::{
    Authentication, MetricProvider, OAuth2Config, PrometheusMetric, PrometheusRangeQuery,
};
use crate::units::{Timestamp, parse_duration};

/// Seconds a query may take when it does not say.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time a query may take, in seconds: until then it holds one of the places that all runs share.
const MAX_TIMEOUT: u64 = 600;

/// A question to a provider.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// To Prometheus.
    Prometheus(Box<PrometheusQuery>),
}

/// Whether a server's certificate is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateCheck {
    /// Against the system's trust roots.
    #[default]
    On,
    /// Any certificate is accepted.
    Off,
}

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

/// How to authenticate.
#[derive(Clone, Debug, PartialEq)]
pub enum Credentials {
    /// A user's name and password.
    Basic {
        /// Name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// OAuth2 client credentials.
    OAuth2(OAuth2),
}

/// OAuth2 client credentials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OAuth2 {
    /// URL that gives tokens.
    pub token_url: String,
    /// Client id.
    pub client_id: String,
    /// Client secret.
    pub client_secret: Secret,
    /// Scopes to ask for.
    pub scopes: Vec<String>,
}

impl Query {
    /// Reads a provider whose arguments are put in; `now` is what `now()` means in a range.
    ///
    /// # Errors
    ///
    /// Every field that cannot be worked with; paths begin at the provider.
    pub fn parse(provider: &MetricProvider, now: Timestamp) -> Result<Self, Vec<FieldError>> {
        let query = Self::read(provider, now)?;
        let Self::Prometheus(prometheus) = &query;
        if prometheus.range.is_some_and(|range| range.end < range.start) {
            let path = "prometheus.rangeQuery.end";
            return Err(vec![FieldError::new(path, "lies before rangeQuery.start")]);
        }
        Ok(query)
    }

    /// Checks a provider before it is asked. What depends on the time of a measurement, as the order of a range's
    /// ends, is not known yet.
    ///
    /// # Errors
    ///
    /// Every field that cannot be worked with; paths begin at the provider.
    pub fn check(provider: &MetricProvider) -> Result<(), Vec<FieldError>> {
        Self::read(provider, Timestamp::from_millis(0)).map(drop)
    }

    fn read(provider: &MetricProvider, now: Timestamp) -> Result<Self, Vec<FieldError>> {
        let unsupported = unsupported(provider);
        if !unsupported.is_empty() {
            return Err(unsupported);
        }
        match &provider.prometheus {
            Some(prometheus) => PrometheusQuery::parse(prometheus, now)
                .map(|query| Self::Prometheus(Box::new(query)))
                .map_err(|problems| {
                    problems.into_iter().map(|problem| problem.within("prometheus")).collect()
                }),
            None => Err(vec![FieldError::new("prometheus", "is missing; a metric needs a provider")]),
        }
    }
}

/// Providers of the API that do not exist here yet, by name.
fn unsupported(provider: &MetricProvider) -> Vec<FieldError> {
    let names = [
        ("kayenta", provider.kayenta.is_some()),
        ("web", provider.web.is_some()),
        ("datadog", provider.datadog.is_some()),
        ("wavefront", provider.wavefront.is_some()),
        ("newRelic", provider.new_relic.is_some()),
        ("job", provider.job.is_some()),
        ("cloudWatch", provider.cloud_watch.is_some()),
        ("graphite", provider.graphite.is_some()),
        ("influxdb", provider.influxdb.is_some()),
        ("skywalking", provider.skywalking.is_some()),
        ("plugin", provider.plugin.is_some()),
    ];
    let present = names.into_iter().filter(|(_, present)| *present);
    present.map(|(name, _)| FieldError::new(name, "is not supported yet; prometheus is")).collect()
}

impl PrometheusQuery {
    fn parse(config: &PrometheusMetric, now: Timestamp) -> Result<Self, Vec<FieldError>> {
        let mut problems = Vec::new();
        let promql = config.query.clone().unwrap_or_default().trim().to_owned();
        if promql.is_empty() {
            problems.push(FieldError::new("query", "is missing"));
        }
        let timeout = timeout(config, &mut problems);
        let range =
            config.range_query.as_ref().and_then(|range| QueryRange::parse(range, now, &mut problems));
        let credentials =
            config.authentication.as_ref().and_then(|wire| Credentials::parse(wire, &mut problems));
        let headers = config.headers.iter().flatten();
        let query = Self {
            address: config
                .address
                .clone()
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty()),
            promql,
            timeout,
            certificate: if config.insecure == Some(true) {
                CertificateCheck::Off
            } else {
                CertificateCheck::On
            },
            headers: headers.map(|header| (header.key.clone(), Secret::new(header.value.clone()))).collect(),
            range,
            credentials,
        };
        if problems.is_empty() { Ok(query) } else { Err(problems) }
    }
}

fn timeout(config: &PrometheusMetric, problems: &mut Vec<FieldError>) -> Duration {
    let seconds = number("timeout", config.timeout.as_ref(), problems).unwrap_or_default();
    match u64::try_from(seconds) {
        Ok(0) => TIMEOUT,
        Ok(seconds) if seconds > MAX_TIMEOUT => {
            let problem = format!("is {seconds} seconds; at most {MAX_TIMEOUT} are allowed");
            problems.push(FieldError::new("timeout", problem));
            TIMEOUT
        }
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            problems.push(FieldError::new("timeout", format!("{seconds} is negative")));
            TIMEOUT
        }
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

impl Credentials {
    /// An empty object counts as absent: Argo Rollouts writes it for those that are not used into every run it makes.
    fn parse(wire: &Authentication, problems: &mut Vec<FieldError>) -> Option<Self> {
        let oauth2 = wire.oauth2.as_ref().filter(|oauth2| **oauth2 != OAuth2Config::default());
        if wire.sigv4.as_ref().is_some_and(|sigv4| *sigv4 != json!({})) {
            problems.push(FieldError::new(
                "authentication.sigv4",
                "is not supported yet; basicAuth and oauth2 are",
            ));
        }
        if wire.basic_auth.is_some() && oauth2.is_some() {
            problems.push(FieldError::new("authentication", "has both basicAuth and oauth2; one is allowed"));
        }
        if let Some(basic) = &wire.basic_auth {
            let username = basic.username.clone().unwrap_or_default();
            let password = Secret::new(basic.password.clone().unwrap_or_default());
            return Some(Self::Basic { username, password });
        }
        let oauth2 = oauth2?;
        let mut required = |name: &str, field: &Option<String>| {
            let text = field.clone().unwrap_or_default();
            if text.is_empty() {
                problems.push(FieldError::new(format!("authentication.oauth2.{name}"), "is missing"));
            }
            text
        };
        Some(Self::OAuth2(OAuth2 {
            token_url: required("tokenUrl", &oauth2.token_url),
            client_id: required("clientId", &oauth2.client_id),
            client_secret: Secret::new(required("clientSecret", &oauth2.client_secret)),
            scopes: oauth2.scopes.clone().unwrap_or_default(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn parse(provider: serde_json::Value) -> Result<PrometheusQuery, Vec<String>> {
        let provider = serde_json::from_value(provider).unwrap();
        match Query::parse(&provider, Timestamp::from_millis(NOW)) {
            Ok(Query::Prometheus(query)) => Ok(*query),
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
        assert!(Query::parse(&since_new_year, Timestamp::from_millis(NOW)).is_ok());
        let backwards = provider("now()", "now() - duration('5m')");
        assert_eq!(
            Query::parse(&backwards, Timestamp::from_millis(NOW)).unwrap_err()[0].to_string(),
            "prometheus.rangeQuery.end lies before rangeQuery.start"
        );
    }

    #[test]
    fn what_does_not_exist_yet_is_refused_by_name() {
        assert_eq!(
            parse(json!({"datadog": {"query": "x"}, "prometheus": {"query": "up"}})).unwrap_err(),
            ["datadog is not supported yet; prometheus is"]
        );
        assert_eq!(parse(json!({})).unwrap_err(), ["prometheus is missing; a metric needs a provider"]);
        assert_eq!(
            parse(json!({"prometheus": {"query": "up", "authentication": {"sigv4": {"region": "x"}}}}))
                .unwrap_err(),
            ["prometheus.authentication.sigv4 is not supported yet; basicAuth and oauth2 are"]
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
