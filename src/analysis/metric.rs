//! A metric's rules: how often it is measured and what counts against it, parsed once, every problem at once.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::condition::Condition;
use super::query::Thresholds;
use crate::api::analysis_template::Metric;
use crate::units::parse_duration;

/// Errors in a row that are tolerated when a metric does not say.
const CONSECUTIVE_ERRORS: u32 = 4;

/// A field that cannot be worked with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{path} {problem}")]
pub struct FieldError {
    /// Path of the field, for example `metrics[0].interval`.
    pub path: String,
    /// What is wrong, so that path and problem make a sentence.
    pub problem: String,
}

impl FieldError {
    /// A problem of one field.
    #[must_use]
    pub fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }

    /// The same problem seen from the object around it; an empty path is that object itself.
    #[must_use]
    pub fn within(self, parent: &str) -> Self {
        let path = if self.path.is_empty() { parent.to_owned() } else { format!("{parent}.{}", self.path) };
        Self { path, problem: self.problem }
    }
}

/// What a measurement without data counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoData {
    /// A failure.
    Fail,
    /// Neither good nor bad.
    Inconclusive,
    /// Nothing; it is taken again.
    Wait,
    /// A success.
    Pass,
}

/// How often a metric is measured and what counts against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricRules {
    /// Name of the metric.
    pub name: String,
    /// From the end of one measurement to the next; `None` for a single measurement.
    pub interval: Option<Duration>,
    /// From the start of the run to the first measurement.
    pub initial_delay: Duration,
    /// Measurements to take, errors not counted; `None` for no end.
    pub count: Option<u32>,
    /// Failed measurements tolerated; `None` for any number.
    pub failure_limit: Option<u32>,
    /// Inconclusive measurements tolerated; `None` for any number.
    pub inconclusive_limit: Option<u32>,
    /// Errors in a row tolerated; `None` for any number.
    pub consecutive_error_limit: Option<u32>,
    /// Successes in a row that are enough; `None` when that rule is off.
    pub consecutive_success_limit: Option<u32>,
    /// True for success.
    pub success_condition: Option<Condition>,
    /// True for failure.
    pub failure_condition: Option<Condition>,
    /// What a measurement without data counts as; `None` where the conditions say it.
    pub no_data: Option<NoData>,
    /// What Kayenta's score is judged by, in place of the conditions.
    pub thresholds: Option<Thresholds>,
}

impl MetricRules {
    /// Reads the rules of a metric whose arguments are put in.
    ///
    /// # Errors
    ///
    /// Every field that cannot be worked with; paths begin at the metric.
    pub fn parse(metric: &Metric) -> Result<Self, Vec<FieldError>> {
        let mut problems = Vec::new();
        if metric.name.is_empty() {
            problems.push(FieldError::new("name", "is missing"));
        }
        let interval = duration("interval", metric.interval.as_deref(), &mut problems);
        let initial_delay = duration("initialDelay", metric.initial_delay.as_deref(), &mut problems);
        let count = count(metric, interval, &mut problems);
        let mut limit = |name: &str, field: Option<&IntOrString>, default: u32| {
            number(name, field, &mut problems).map_or(Some(default), |number| u32::try_from(number).ok())
        };
        let failure_limit = limit("failureLimit", metric.failure_limit.as_ref(), 0);
        let inconclusive_limit = limit("inconclusiveLimit", metric.inconclusive_limit.as_ref(), 0);
        let consecutive_error_limit =
            limit("consecutiveErrorLimit", metric.consecutive_error_limit.as_ref(), CONSECUTIVE_ERRORS);
        let consecutive_success_limit =
            limit("consecutiveSuccessLimit", metric.consecutive_success_limit.as_ref(), 0).filter(|n| *n > 0);
        let success_condition =
            condition("successCondition", metric.success_condition.as_deref(), &mut problems);
        let failure_condition =
            condition("failureCondition", metric.failure_condition.as_deref(), &mut problems);
        let no_data = no_data(metric.no_data.as_deref(), &mut problems);
        // What is wrong with them is told with the rest of the provider.
        let thresholds =
            metric.provider.kayenta.as_ref().map(|wire| Thresholds::parse(wire, &mut Vec::new()));
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            no_data,
            thresholds,
            name: metric.name.clone(),
            interval,
            initial_delay: initial_delay.unwrap_or_default(),
            count,
            failure_limit,
            inconclusive_limit,
            consecutive_error_limit,
            consecutive_success_limit,
            success_condition,
            failure_condition,
        })
    }

    /// The same rules with other texts for those conditions that there are.
    ///
    /// # Errors
    ///
    /// What is wrong with such a text.
    pub(super) fn with_conditions(
        &self,
        success: Option<&str>,
        failure: Option<&str>,
    ) -> Result<Self, String> {
        let read = |known: &Option<Condition>, text: Option<&str>| {
            known.as_ref().map(|_| Condition::parse(text.unwrap_or_default())).transpose()
        };
        Ok(Self {
            success_condition: read(&self.success_condition, success)?,
            failure_condition: read(&self.failure_condition, failure)?,
            ..self.clone()
        })
    }

    /// Whether measuring goes on until something ends it.
    #[must_use]
    pub const fn is_endless(&self) -> bool {
        self.count.is_none() && self.consecutive_success_limit.is_none()
    }
}

fn no_data(field: Option<&str>, problems: &mut Vec<FieldError>) -> Option<NoData> {
    match field.filter(|text| !text.is_empty())? {
        "Fail" => Some(NoData::Fail),
        "Inconclusive" => Some(NoData::Inconclusive),
        "Wait" => Some(NoData::Wait),
        "Pass" => Some(NoData::Pass),
        other => {
            problems.push(FieldError::new(
                "noData",
                format!("'{other}' is not Fail, Inconclusive, Wait or Pass"),
            ));
            None
        }
    }
}

fn duration(name: &str, field: Option<&str>, problems: &mut Vec<FieldError>) -> Option<Duration> {
    let text = field.filter(|text| !text.is_empty())?;
    let parsed = parse_duration(text);
    if parsed.is_none() {
        problems.push(FieldError::new(name, format!("'{text}' is not a duration such as 30s or 5m")));
    }
    parsed
}

/// Measurements to take: as given; 1 without an interval, no end with one. A count of 0 is none given.
fn count(metric: &Metric, interval: Option<Duration>, problems: &mut Vec<FieldError>) -> Option<u32> {
    let given = number("count", metric.count.as_ref(), problems).unwrap_or_default();
    let has_interval = metric.interval.as_deref().is_some_and(|text| !text.is_empty());
    match (u32::try_from(given), interval) {
        (Err(_), _) => {
            problems.push(FieldError::new("count", format!("{given} is negative")));
            None
        }
        (Ok(0), Some(_)) => None,
        (Ok(0), None) => Some(1),
        (Ok(count), None) if count > 1 && !has_interval => {
            problems.push(FieldError::new("interval", format!("is missing, and count is {count}")));
            Some(count)
        }
        (Ok(count), _) => Some(count),
    }
}

/// A number, or text that is a number; `None` when it is absent or, with a problem noted, neither.
pub(super) fn number(name: &str, field: Option<&IntOrString>, problems: &mut Vec<FieldError>) -> Option<i32> {
    match field? {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(text) => {
            let parsed = text.trim().parse().ok();
            if parsed.is_none() {
                problems.push(FieldError::new(name, format!("'{text}' is not a whole number")));
            }
            parsed
        }
    }
}

fn condition(name: &str, field: Option<&str>, problems: &mut Vec<FieldError>) -> Option<Condition> {
    let read = Condition::parse(field.filter(|text| !text.is_empty())?);
    read.map_err(|why| problems.push(FieldError::new(name, format!("is wrong: {why}")))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(json: &serde_json::Value) -> Metric {
        let mut whole = serde_json::json!({"name": "m", "provider": {}});
        whole.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn parse(json: &serde_json::Value) -> Result<MetricRules, Vec<String>> {
        MetricRules::parse(&metric(json))
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_a_metric_does_not_say_has_the_public_defaults() {
        let rules = parse(&serde_json::json!({})).unwrap();
        assert_eq!(rules.count, Some(1));
        assert_eq!((rules.failure_limit, rules.inconclusive_limit), (Some(0), Some(0)));
        assert_eq!((rules.consecutive_error_limit, rules.consecutive_success_limit), (Some(4), None));
        assert_eq!(parse(&serde_json::json!({"interval": "2m"})).unwrap().count, None);
    }

    #[test]
    fn numbers_may_be_text_and_minus_one_switches_a_limit_off() {
        let rules = parse(&serde_json::json!({"interval": "10", "count": "5", "failureLimit": -1})).unwrap();
        assert_eq!((rules.count, rules.failure_limit), (Some(5), None));
        assert_eq!(rules.interval, Some(Duration::from_secs(10)));
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let problems = parse(&serde_json::json!({
            "interval": "soon", "initialDelay": "-1m", "count": "many", "failureLimit": "x", "noData": "Hope",
            "successCondition": "result[0 > 1", "failureCondition": "result >"
        }))
        .unwrap_err();
        let fields: Vec<_> = problems.iter().filter_map(|problem| problem.split(' ').next()).collect();
        assert_eq!(
            fields,
            [
                "interval",
                "initialDelay",
                "count",
                "failureLimit",
                "successCondition",
                "failureCondition",
                "noData"
            ]
        );
        assert_eq!(problems[0], "interval 'soon' is not a duration such as 30s or 5m");
        for without in [serde_json::json!({"count": 3}), serde_json::json!({"count": "3", "interval": ""})] {
            assert_eq!(parse(&without).unwrap_err(), ["interval is missing, and count is 3"]);
        }
        assert_eq!(parse(&serde_json::json!({"count": -3})).unwrap_err(), ["count -3 is negative"]);
    }
}
