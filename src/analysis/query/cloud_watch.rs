//! A question to Amazon CloudWatch: `GetMetricData` over the last while. The region is the controller's.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value as Json, json};

use super::access;
use crate::analysis::metric::{FieldError, number};
use crate::analysis::value::Value;
use crate::api::metric_provider::{CloudWatchMetric, CloudWatchQuery as Wire, CloudWatchStat};
use crate::units::Timestamp;

/// How far back it looks when it does not say.
const INTERVAL: Duration = Duration::from_mins(5);
/// Most queries of one question, as AWS documents.
const MAX_QUERIES: usize = 500;

/// A question to CloudWatch. Any of its texts may hold a secret.
#[derive(Clone, PartialEq)]
pub struct CloudWatchQuery {
    /// Parameters of the request, in the form that AWS documents.
    pub parameters: Vec<(String, String)>,
}

impl std::fmt::Debug for CloudWatchQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CloudWatchQuery").finish_non_exhaustive()
    }
}

/// What CloudWatch has found for one query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CloudWatchResult {
    /// Its id.
    pub id: String,
    /// Its label.
    pub label: String,
    /// Whether it is complete, in the words of AWS.
    pub status: String,
    /// When, the newest first.
    pub times: Vec<String>,
    /// How much, one for each time.
    pub values: Vec<f64>,
    /// What AWS says about it, by code.
    pub messages: Vec<(String, String)>,
}

impl CloudWatchQuery {
    /// Reads a question whose arguments are put in; it ends `now`.
    pub(super) fn parse(wire: &CloudWatchMetric, now: Timestamp) -> Result<Self, Vec<FieldError>> {
        let mut problems = Vec::new();
        let interval = access::interval(wire.interval.as_ref(), INTERVAL, &mut problems);
        let queries = wire.metric_data_queries.as_deref().unwrap_or_default();
        if queries.is_empty() || queries.len() > MAX_QUERIES {
            let problem = format!("has {} queries; it needs 1 to {MAX_QUERIES}", queries.len());
            problems.push(FieldError::new("metricDataQueries", problem));
        }
        let mut form = Form { parameters: Vec::new(), problems };
        form.put("StartTime", now.minus(interval).whole_seconds().to_string());
        form.put("EndTime", now.whole_seconds().to_string());
        for (index, query) in queries.iter().enumerate() {
            form.query(query, index);
        }
        if queries.iter().all(|query| query.return_data == Some(false)) && !queries.is_empty() {
            form.refuse("metricDataQueries", "have all returnData: false, so that nothing would be returned");
        }
        if form.problems.is_empty() { Ok(Self { parameters: form.parameters }) } else { Err(form.problems) }
    }

    /// The value in what CloudWatch has found: the results, with the names that AWS gives their fields.
    ///
    /// # Errors
    ///
    /// One clause that says why there is none.
    pub fn value(results: Vec<CloudWatchResult>) -> Result<Value, String> {
        let failed =
            results.iter().find(|result| ["InternalError", "Forbidden"].contains(&result.status.as_str()));
        if let Some(failed) = failed {
            let told = failed.messages.iter().map(|(code, text)| format!(": {code}: {text}"));
            return Err(format!(
                "query {} ended as {}{}",
                failed.id,
                failed.status,
                told.collect::<String>()
            ));
        }
        let results: Result<Vec<Json>, String> = results.into_iter().map(CloudWatchResult::json).collect();
        results.map(|results| Value::Json(Json::Array(results)))
    }
}

impl CloudWatchResult {
    fn json(self) -> Result<Json, String> {
        if let Some(value) = self.values.iter().find(|value| !value.is_finite()) {
            return Err(format!("query {} has the value {value}, which is not a number", self.id));
        }
        let messages: Vec<_> =
            self.messages.iter().map(|(code, value)| json!({"Code": code, "Value": value})).collect();
        Ok(json!({
            "Id": self.id, "Label": self.label, "StatusCode": self.status, "Timestamps": self.times,
            "Values": self.values, "Messages": messages,
        }))
    }
}

/// The parameters as they come together, and what is wrong with the fields.
struct Form {
    parameters: Vec<(String, String)>,
    problems: Vec<FieldError>,
}

impl Form {
    fn put(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.parameters.push((name.into(), value.into()));
    }

    fn refuse(&mut self, field: &str, problem: &str) {
        self.problems.push(FieldError::new(field, problem));
    }

    fn query(&mut self, query: &Wire, index: usize) {
        let (name, field) =
            (format!("MetricDataQueries.member.{}", index + 1), format!("metricDataQueries[{index}]"));
        let id = access::required(&format!("{field}.id"), query.id.as_ref(), &mut self.problems);
        if !id.is_empty() && !is_id(&id) {
            let problem =
                format!("'{id}' does not begin with a small letter, followed by letters, digits and _");
            self.refuse(&format!("{field}.id"), &problem);
        }
        self.put(format!("{name}.Id"), id);
        match (access::text(query.expression.as_ref()), &query.metric_stat) {
            (Some(expression), None) => self.put(format!("{name}.Expression"), expression),
            (None, Some(stat)) => {
                self.stat(stat, &format!("{name}.MetricStat"), &format!("{field}.metricStat"));
            }
            (Some(_), Some(_)) => self.refuse(&field, "has both expression and metricStat; one is allowed"),
            (None, None) => self.refuse(&field, "needs expression or metricStat"),
        }
        if let Some(label) = access::text(query.label.as_ref()) {
            self.put(format!("{name}.Label"), label);
        }
        if let Some(period) = self.period(query.period.as_ref(), &format!("{field}.period")) {
            self.put(format!("{name}.Period"), period);
        }
        if let Some(returned) = query.return_data {
            self.put(format!("{name}.ReturnData"), returned.to_string());
        }
    }

    fn stat(&mut self, stat: &CloudWatchStat, name: &str, field: &str) {
        let metric = stat.metric.clone().unwrap_or_default();
        let required = |form: &mut Self, name: &str, field: &str, text: Option<&String>| {
            let text = access::required(field, text, &mut form.problems);
            form.put(name, text);
        };
        required(
            self,
            &format!("{name}.Metric.MetricName"),
            &format!("{field}.metric.metricName"),
            metric.metric_name.as_ref(),
        );
        if let Some(namespace) = access::text(metric.namespace.as_ref()) {
            self.put(format!("{name}.Metric.Namespace"), namespace);
        }
        for (index, dimension) in metric.dimensions.iter().flatten().enumerate() {
            let (name, field) = (
                format!("{name}.Metric.Dimensions.member.{}", index + 1),
                format!("{field}.metric.dimensions[{index}]"),
            );
            required(self, &format!("{name}.Name"), &format!("{field}.name"), dimension.name.as_ref());
            required(self, &format!("{name}.Value"), &format!("{field}.value"), dimension.value.as_ref());
        }
        if stat.period.is_none() {
            self.refuse(&format!("{field}.period"), "is missing");
        }
        if let Some(period) = self.period(stat.period.as_ref(), &format!("{field}.period")) {
            self.put(format!("{name}.Period"), period);
        }
        required(self, &format!("{name}.Stat"), &format!("{field}.stat"), stat.stat.as_ref());
        if let Some(unit) = access::text(stat.unit.as_ref()) {
            self.put(format!("{name}.Unit"), unit);
        }
    }

    /// Seconds; `None` when it does not say, or says what is no number of seconds.
    fn period(&mut self, period: Option<&IntOrString>, field: &str) -> Option<String> {
        let seconds = number(field, Some(period?), &mut self.problems)?;
        if seconds < 1 {
            self.refuse(field, &format!("{seconds} is not a number of seconds above 0"));
            return None;
        }
        Some(seconds.to_string())
    }
}

/// Whether a text can be the id of a query, as AWS documents.
fn is_id(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.chars().all(|one| one.is_ascii_alphanumeric() || one == '_')
        && text.len() <= 255
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(wire: Json) -> Result<Vec<(String, String)>, Vec<String>> {
        let wire = serde_json::from_value(wire).unwrap();
        CloudWatchQuery::parse(&wire, Timestamp::from_millis(1_700_000_000_500))
            .map(|query| query.parameters)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_question_is_written_as_aws_documents() {
        let dimensions = json!([{"name": "LoadBalancer", "value": "app/web"}]);
        let metric = json!({"namespace": "AWS/ApplicationELB", "metricName": "HTTPCode_Target_5XX_Count", "dimensions": dimensions});
        let wire = json!({"interval": "30m", "metricDataQueries": [
            {"id": "rate", "expression": "errors / 10", "label": "Rate"},
            {"id": "errors", "metricStat": {"metric": metric, "period": "300", "stat": "Sum", "unit": "Count"}, "returnData": false},
            {"id": "s", "expression": "SEARCH('x', 'Sum')", "period": 60},
        ]});
        let expected = [
            ("StartTime", "2023-11-14T21:43:20Z"),
            ("EndTime", "2023-11-14T22:13:20Z"),
            ("MetricDataQueries.member.1.Id", "rate"),
            ("MetricDataQueries.member.1.Expression", "errors / 10"),
            ("MetricDataQueries.member.1.Label", "Rate"),
            ("MetricDataQueries.member.2.Id", "errors"),
            ("MetricDataQueries.member.2.MetricStat.Metric.MetricName", "HTTPCode_Target_5XX_Count"),
            ("MetricDataQueries.member.2.MetricStat.Metric.Namespace", "AWS/ApplicationELB"),
            ("MetricDataQueries.member.2.MetricStat.Metric.Dimensions.member.1.Name", "LoadBalancer"),
            ("MetricDataQueries.member.2.MetricStat.Metric.Dimensions.member.1.Value", "app/web"),
            ("MetricDataQueries.member.2.MetricStat.Period", "300"),
            ("MetricDataQueries.member.2.MetricStat.Stat", "Sum"),
            ("MetricDataQueries.member.2.MetricStat.Unit", "Count"),
            ("MetricDataQueries.member.2.ReturnData", "false"),
            ("MetricDataQueries.member.3.Id", "s"),
            ("MetricDataQueries.member.3.Expression", "SEARCH('x', 'Sum')"),
            ("MetricDataQueries.member.3.Period", "60"),
        ];
        let expected: Vec<_> =
            expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(parse(wire), Ok(expected));
        let short = parse(json!({"metricDataQueries": [{"id": "a", "expression": "1"}]})).unwrap();
        assert_eq!(short[0].1, "2023-11-14T22:08:20Z", "five minutes unless it says otherwise");
    }

    #[test]
    fn every_problem_of_a_question_is_reported_at_once() {
        assert_eq!(parse(json!({})).unwrap_err(), ["metricDataQueries has 0 queries; it needs 1 to 500"]);
        let wire = json!({"interval": "soon", "metricDataQueries": [
            {"id": "Rate", "expression": "1", "metricStat": {}, "returnData": false},
            {"returnData": false},
            {"id": "a", "metricStat": {"period": 0, "metric": {"dimensions": [{"name": "x"}]}}, "period": "x", "returnData": false},
        ]});
        assert_eq!(
            parse(wire).unwrap_err(),
            [
                "interval 'soon' is not a duration such as 30s or 5m",
                "metricDataQueries[0].id 'Rate' does not begin with a small letter, followed by letters, digits and _",
                "metricDataQueries[0] has both expression and metricStat; one is allowed",
                "metricDataQueries[1].id is missing",
                "metricDataQueries[1] needs expression or metricStat",
                "metricDataQueries[2].metricStat.metric.metricName is missing",
                "metricDataQueries[2].metricStat.metric.dimensions[0].value is missing",
                "metricDataQueries[2].metricStat.period 0 is not a number of seconds above 0",
                "metricDataQueries[2].metricStat.stat is missing",
                "metricDataQueries[2].period 'x' is not a whole number",
                "metricDataQueries have all returnData: false, so that nothing would be returned",
            ]
        );
    }

    #[test]
    fn results_have_the_names_that_aws_gives_their_fields() {
        let result = |status: &str, values: &[f64]| CloudWatchResult {
            id: "rate".to_owned(),
            label: "Rate".to_owned(),
            status: status.to_owned(),
            times: values.iter().map(|_| "2023-11-14T22:10:00Z".to_owned()).collect(),
            values: values.to_vec(),
            messages: vec![("Code".to_owned(), "why".to_owned())],
        };
        let expected = json!([{
            "Id": "rate", "Label": "Rate", "StatusCode": "Complete", "Timestamps": ["2023-11-14T22:10:00Z"], "Values": [0.5],
            "Messages": [{"Code": "Code", "Value": "why"}],
        }]);
        assert_eq!(CloudWatchQuery::value(vec![result("Complete", &[0.5])]), Ok(Value::Json(expected)));
        let why = |result| CloudWatchQuery::value(vec![result]).unwrap_err();
        assert_eq!(why(result("Forbidden", &[])), "query rate ended as Forbidden: Code: why");
        assert_eq!(
            why(result("Complete", &[f64::NAN])),
            "query rate has the value NaN, which is not a number"
        );
    }
}
