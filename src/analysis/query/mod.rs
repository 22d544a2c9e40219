//! What a provider is asked: `metrics[].provider`, parsed, with everything put in that a request needs.
//!
//! One file per provider; `access` has what they share. Deliberately absent: any request, which `providers` makes.

pub mod access;
mod cloud_watch;
mod datadog;
mod dynatrace;
mod graphite;
mod http;
mod influxdb;
mod job;
pub mod json_path;
mod kayenta;
mod new_relic;
mod profile;
mod prometheus;
mod skywalking;
mod splunk;
mod stackdriver;
mod wavefront;
mod web;

pub use cloud_watch::{CloudWatchQuery, CloudWatchResult};
pub use http::{HttpMethod, HttpQuery, HttpRequest, Reading};
pub use job::{JOB_NAME, JOB_NAMESPACE, JobEnd, JobQuery};
pub use kayenta::{KayentaQuery, Thresholds};
pub use prometheus::{PrometheusQuery, QueryRange};

use super::metric::FieldError;
use super::secrets::{Keyring, SecretSource};
use crate::api::metric_provider::MetricProvider;
use crate::units::Timestamp;

/// A question to a provider.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// To Prometheus.
    Prometheus(Box<PrometheusQuery>),
    /// To a server that is asked with one HTTP request.
    Http(Box<HttpQuery>),
    /// To Amazon CloudWatch.
    CloudWatch(Box<CloudWatchQuery>),
    /// A Job to run.
    Job(Box<JobQuery>),
    /// To Kayenta.
    Kayenta(Box<KayentaQuery>),
}

impl Query {
    /// Reads a provider whose arguments are put in; `now` is the time that it looks back from. Where `keys` wants a
    /// Secret to be read first, the query is none that could be sent.
    ///
    /// # Errors
    ///
    /// Every field that cannot be worked with; paths begin at the provider.
    pub fn parse(
        provider: &MetricProvider,
        now: Timestamp,
        keys: &mut Keyring<'_>,
    ) -> Result<Self, Vec<FieldError>> {
        let query = Self::read(provider, now, keys)?;
        let Self::Prometheus(prometheus) = &query else { return Ok(query) };
        if prometheus.range.is_some_and(|range| range.end < range.start) {
            let path = "prometheus.rangeQuery.end";
            return Err(vec![FieldError::new(path, "lies before rangeQuery.start")]);
        }
        Ok(query)
    }

    /// Checks a provider before it is asked. What depends on the time of a measurement, as the order of a range's
    /// ends, and on Secrets is not known yet.
    ///
    /// # Errors
    ///
    /// Every field that cannot be worked with; paths begin at the provider.
    pub fn check(provider: &MetricProvider) -> Result<(), Vec<FieldError>> {
        let mut keys = Keyring::new(SecretSource::Placeholder);
        Self::read(provider, Timestamp::from_millis(0), &mut keys).map(drop)
    }

    /// Whether one answer serves all who ask it at one instant: it changes nothing where it is asked.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        match self {
            Self::Prometheus(_) | Self::CloudWatch(_) => true,
            Self::Http(query) => {
                query.request.method == HttpMethod::Get || !matches!(query.reading, Reading::Web(_))
            }
            Self::Job(_) | Self::Kayenta(_) => false,
        }
    }

    fn read(
        provider: &MetricProvider,
        now: Timestamp,
        keys: &mut Keyring<'_>,
    ) -> Result<Self, Vec<FieldError>> {
        let unsupported = unsupported(provider);
        if !unsupported.is_empty() {
            return Err(unsupported);
        }
        let prometheus = |wire| PrometheusQuery::parse(wire, now).map(|it| Self::Prometheus(Box::new(it)));
        let cloud_watch = |wire| CloudWatchQuery::parse(wire, now).map(|it| Self::CloudWatch(Box::new(it)));
        let http = |query: Read<HttpQuery>| query.map(|it| Self::Http(Box::new(it)));
        one_of([
            ("prometheus", provider.prometheus.as_ref().map(prometheus)),
            ("web", provider.web.as_ref().map(|wire| http(web::parse(wire)))),
            (
                "job",
                provider.job.as_ref().map(|wire| JobQuery::parse(wire).map(|it| Self::Job(Box::new(it)))),
            ),
            ("datadog", provider.datadog.as_ref().map(|wire| http(datadog::parse(wire, now, keys)))),
            ("newRelic", provider.new_relic.as_ref().map(|wire| http(new_relic::parse(wire, keys)))),
            ("wavefront", provider.wavefront.as_ref().map(|wire| http(wavefront::parse(wire, now, keys)))),
            ("cloudWatch", provider.cloud_watch.as_ref().map(cloud_watch)),
            ("graphite", provider.graphite.as_ref().map(|wire| http(graphite::parse(wire)))),
            ("influxdb", provider.influxdb.as_ref().map(|wire| http(influxdb::parse(wire, keys)))),
            ("skywalking", provider.skywalking.as_ref().map(|wire| http(skywalking::parse(wire, now)))),
            (
                "kayenta",
                provider
                    .kayenta
                    .as_ref()
                    .map(|wire| KayentaQuery::parse(wire).map(|it| Self::Kayenta(Box::new(it)))),
            ),
            ("dynatrace", provider.dynatrace.as_ref().map(|wire| http(dynatrace::parse(wire, now, keys)))),
            ("splunk", provider.splunk.as_ref().map(|wire| http(splunk::parse(wire, now, keys)))),
            ("stackdriver", provider.stackdriver.as_ref().map(|wire| http(stackdriver::parse(wire, keys)))),
        ])
    }
}

type Read<T> = Result<T, Vec<FieldError>>;

/// The only provider that is there; of several, none is the one that is meant.
fn one_of<const N: usize>(all: [(&str, Option<Read<Query>>); N]) -> Read<Query> {
    let mut given: Vec<_> = all.into_iter().filter_map(|(name, read)| Some((name, read?))).collect();
    match (given.pop(), given.as_slice()) {
        (None, _) => Err(vec![FieldError::new("", "is empty; a metric needs one, for example prometheus")]),
        (Some((name, read)), []) => within(name, read),
        (Some((last, _)), others) => {
            let names: Vec<&str> = others.iter().map(|(name, _)| *name).chain([last]).collect();
            Err(vec![FieldError::new("", format!("has {}; one is allowed", names.join(" and ")))])
        }
    }
}

fn within<T>(name: &str, read: Read<T>) -> Read<T> {
    read.map_err(|problems| problems.into_iter().map(|problem| problem.within(name)).collect())
}

/// Providers of the API that do not exist here, by name.
fn unsupported(provider: &MetricProvider) -> Vec<FieldError> {
    let present = provider.plugin.iter();
    present.map(|_| FieldError::new("plugin", format!("is not supported; {INSTEAD}"))).collect()
}

/// What can be had in place of a plugin.
const INSTEAD: &str = "job runs any program, and web asks any server";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(provider: serde_json::Value) -> Vec<String> {
        let provider = serde_json::from_value(provider).unwrap();
        Query::check(&provider)
            .unwrap_err()
            .iter()
            .map(|one| one.clone().within("provider").to_string())
            .collect()
    }

    #[test]
    fn what_does_not_exist_is_refused_by_name() {
        assert_eq!(
            problems(json!({"plugin": {}, "prometheus": {"query": "up"}})),
            [format!("provider.plugin is not supported; {INSTEAD}")]
        );
    }

    #[test]
    fn a_metric_has_one_provider() {
        assert_eq!(problems(json!({})), ["provider is empty; a metric needs one, for example prometheus"]);
        assert_eq!(
            problems(json!({"prometheus": {"query": "up"}, "web": {}})),
            ["provider has prometheus and web; one is allowed"]
        );
    }
}
