//! A run's spec, parsed: what it measures, with which arguments, and what it keeps.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use regex::Regex;

use super::args::{Arguments, Unresolved};
use super::limits::Lengths;
use super::secrets::SecretSource;
use super::{FieldError, MetricRules, Query};
use crate::api::AnalysisRunSpec;
use crate::api::analysis_template::Metric;

/// Measurements kept of each metric when the run does not say.
const RETENTION: usize = 10;
/// Most measurements kept of each metric, whatever the run says: at some 500 bytes each, a status of more would no
/// longer fit into an object, and the run could never be written again.
const MAX_RETENTION: usize = 1_000;

/// Fields of a metric that are worked with before any secret is read, and shown, as JSON pointers.
const OPEN_FIELDS: [&str; 30] = [
    "/name",
    "/interval",
    "/initialDelay",
    "/count",
    "/failureLimit",
    "/inconclusiveLimit",
    "/consecutiveErrorLimit",
    "/consecutiveSuccessLimit",
    "/noData",
    "/provider/prometheus/timeout",
    "/provider/prometheus/rangeQuery",
    "/provider/web/method",
    "/provider/web/timeoutSeconds",
    "/provider/web/jsonPath",
    "/provider/job",
    "/provider/datadog/apiVersion",
    "/provider/datadog/interval",
    "/provider/datadog/aggregator",
    "/provider/datadog/secretRef/name",
    "/provider/influxdb/profile",
    "/provider/newRelic/profile",
    "/provider/newRelic/timeout",
    "/provider/skywalking/interval",
    "/provider/kayenta",
    "/provider/dynatrace/profile",
    "/provider/dynatrace/interval",
    "/provider/splunk/profile",
    "/provider/splunk/interval",
    "/provider/stackdriver/profile",
    "/provider/wavefront/address",
];

/// A run's spec, read once for all passes over the run, and not before one needs it; copies share what was read.
#[derive(Clone, Debug)]
pub struct RunSpec(Arc<Reading>);

#[derive(Debug)]
struct Reading {
    wire: AnalysisRunSpec,
    parsed: OnceLock<Result<Spec, Vec<FieldError>>>,
}

impl RunSpec {
    /// A spec, whatever is wrong with it.
    #[must_use]
    pub fn new(wire: &AnalysisRunSpec) -> Self {
        Self(Arc::new(Reading { wire: wire.clone(), parsed: OnceLock::new() }))
    }

    /// Whether it is what a run says now.
    #[must_use]
    pub fn is_of(&self, wire: &AnalysisRunSpec) -> bool {
        self.0.wire == *wire
    }

    /// Whether both are copies of what is read at one time.
    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What it says.
    pub(super) fn parsed(&self) -> Result<&Spec, &[FieldError]> {
        let parsed = self.0.parsed.get_or_init(|| Spec::parse(&self.0.wire));
        parsed.as_ref().map_err(Vec::as_slice)
    }
}

/// A run's spec, parsed as far as it can be without secrets.
#[derive(Debug)]
pub(super) struct Spec {
    /// Each metric as it was written, its rules, and whether it has a say.
    pub(super) metrics: Vec<(Metric, MetricRules, Deciding)>,
    /// The run's arguments.
    pub(super) arguments: Arguments,
    retention: Vec<(Regex, usize)>,
}

/// Whether a metric has a say in the run's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deciding {
    /// It decides.
    Yes,
    /// It is measured only.
    DryRun,
}

impl Spec {
    /// Parses a run's spec, every problem at once.
    pub(super) fn parse(wire: &AnalysisRunSpec) -> Result<Self, Vec<FieldError>> {
        let too_long = Lengths::from(wire).too_long();
        if !too_long.is_empty() {
            return Err(too_long);
        }
        let arguments = Arguments::parse(wire.args.as_deref().unwrap_or_default())?;
        let mut problems = Vec::new();
        let dry_run = patterns(
            "dryRun",
            wire.dry_run.iter().flatten().map(|rule| rule.metric_name.as_str()),
            &mut problems,
        );
        let names = wire.measurement_retention.iter().flatten().map(|rule| rule.metric_name.as_str());
        let limits =
            wire.measurement_retention.iter().flatten().map(|rule| usize::try_from(rule.limit).unwrap_or(0));
        let retention =
            patterns("measurementRetention", names, &mut problems).into_iter().zip(limits).collect();
        let mut metrics = Vec::new();
        for (index, metric) in wire.metrics.iter().flatten().enumerate() {
            match parse_metric(metric, &arguments) {
                Ok(rules) => {
                    let dry = dry_run.iter().any(|pattern| pattern.is_match(&metric.name));
                    let deciding = if dry { Deciding::DryRun } else { Deciding::Yes };
                    metrics.push((metric.clone(), rules, deciding));
                }
                Err(found) => {
                    problems.extend(found.into_iter().map(|one| one.within(&format!("metrics[{index}]"))));
                }
            }
        }
        let mut names = BTreeSet::new();
        for metric in wire.metrics.iter().flatten() {
            if !names.insert(&metric.name) {
                problems.push(FieldError::new("metrics", format!("has two metrics named '{}'", metric.name)));
            }
        }
        if names.is_empty() {
            problems.push(FieldError::new("metrics", "is empty"));
        }
        if problems.is_empty() { Ok(Self { metrics, arguments, retention }) } else { Err(problems) }
    }

    /// How many measurements of a metric are kept.
    pub(super) fn retention_of(&self, name: &str) -> usize {
        self.retention
            .iter()
            .find(|(pattern, _)| pattern.is_match(name))
            .map_or(RETENTION, |(_, limit)| (*limit).min(MAX_RETENTION))
    }
}

fn patterns<'a>(
    field: &str,
    names: impl Iterator<Item = &'a str>,
    problems: &mut Vec<FieldError>,
) -> Vec<Regex> {
    let mut patterns = Vec::new();
    for (index, name) in names.enumerate() {
        match super::template::pattern(name) {
            Ok(pattern) => patterns.push(pattern),
            Err(why) => problems.push(FieldError::new(format!("{field}[{index}].metricName"), why)),
        }
    }
    patterns
}

/// Checks a whole metric with a placeholder for each secret, and gives its rules.
pub(super) fn parse_metric(metric: &Metric, arguments: &Arguments) -> Result<MetricRules, Vec<FieldError>> {
    // With the placeholder in it, such a field would look right and say something else.
    let misplaced = misplaced_secrets(metric, arguments);
    if !misplaced.is_empty() {
        return Err(misplaced);
    }
    let filled = match arguments.resolve(metric, SecretSource::Placeholder) {
        Ok(filled) => filled.value,
        Err(Unresolved::Refused(why)) => {
            return Err(vec![FieldError::new("", format!("is incomplete: {why}"))]);
        }
        Err(Unresolved::Wanted(_)) => {
            return Err(vec![FieldError::new("", "cannot be checked without a secret")]);
        }
    };
    let provider = Query::check(&filled.provider)
        .map_err(|problems| problems.into_iter().map(|one| one.within("provider")).collect::<Vec<_>>());
    match (MetricRules::parse(&filled), provider) {
        (Ok(rules), Ok(())) => Ok(rules),
        (Err(mut problems), Err(more)) => {
            problems.extend(more);
            Err(problems)
        }
        (Err(problems), Ok(())) | (Ok(_), Err(problems)) => Err(problems),
    }
}

/// Secret arguments where they cannot work.
fn misplaced_secrets(metric: &Metric, arguments: &Arguments) -> Vec<FieldError> {
    let json = serde_json::to_value(metric).unwrap_or_default();
    let fields = OPEN_FIELDS.iter().filter_map(|pointer| json.pointer(pointer).map(|field| (pointer, field)));
    fields
        .flat_map(|(pointer, field)| arguments.secrets_used(field).into_iter().map(move |name| (pointer, name)))
        .map(|(pointer, name)| {
            let path = pointer.trim_start_matches('/').replace('/', ".");
            let problem = format!(
                "uses the secret argument '{name}'; a secret can stand in conditions, queries, addresses, headers and \
                 credentials only"
            );
            FieldError::new(path, problem)
        })
        .collect()
}
