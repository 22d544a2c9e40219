//! Advice on metrics that work, and may not measure what their author thinks. For people who ask; never an event.

use super::template::Advice;
use crate::api::analysis_template::Metric;

/// Advice on each of these metrics, in their order.
#[must_use]
pub fn lint(metrics: &[Metric]) -> Vec<Advice> {
    metrics.iter().flat_map(|metric| [mixed_versions(metric), no_traffic(metric)]).flatten().collect()
}

/// A query without any argument cannot tell the new version's traffic from the old one's.
fn mixed_versions(metric: &Metric) -> Option<Advice> {
    let query = promql(metric)?;
    let told_apart = query.contains("{{") || query.contains("pod_template_hash") || query.contains("canary");
    (!told_apart).then(|| Advice {
        topic: "AnalysisMixedVersions",
        message: format!(
            "metric '{}' measures all versions together: at weight w, only a share w of what it sees is the new version, \
             so a fault of the new version shows w times as strong (at 10 %, a loss of 5 % needs half of its requests to \
             fail); select the new version's pods, for example by an argument with valueFrom.podTemplateHashValue: Latest",
            metric.name
        ),
    })
}

/// A ratio without traffic is 0/0, NaN, which no threshold accepts.
fn no_traffic(metric: &Metric) -> Option<Advice> {
    let query = promql(metric)?;
    let conditions = [&metric.success_condition, &metric.failure_condition];
    let mut conditions = conditions.into_iter().flatten().peekable();
    let judged = conditions.peek().is_some();
    let said = metric.no_data.as_deref().is_some_and(|policy| !policy.is_empty());
    let allowed_for = said || conditions.any(|condition| condition.contains("isNaN"));
    (judged && !allowed_for && has_division(query)).then(|| Advice {
        topic: "AnalysisNoTraffic",
        message: format!(
            "metric '{}' divides: without traffic it gives 0/0 = NaN, which is not above any threshold and so a failed \
             measurement; if no traffic is no fault, write noData: Wait, or isNaN(result[0]) || … in the condition",
            metric.name
        ),
    })
}

fn promql(metric: &Metric) -> Option<&str> {
    metric.provider.prometheus.as_ref()?.query.as_deref()
}

/// Whether there is a `/` outside of strings.
fn has_division(query: &str) -> bool {
    let mut open: Option<char> = None;
    let mut escaped = false;
    for character in query.chars() {
        match (open, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(quote), _) if quote == character => open = None,
            (None, '"' | '\'' | '`') => open = Some(character),
            (None, '/') => return true,
            (Some(_) | None, _) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn topics(query: &str, condition: &str) -> Vec<&'static str> {
        let metric =
            json!({"name": "m", "successCondition": condition, "provider": {"prometheus": {"query": query}}});
        let metric: Metric = serde_json::from_value(metric).unwrap();
        lint(&[metric]).into_iter().map(|advice| advice.topic).collect()
    }

    #[test]
    fn the_shared_success_rate_query_gets_both_advices() {
        let query = r#"sum(rate(http_requests_total{job="api-server",status=~"2.."}[5m])) / sum(rate(http_requests_total{job="api-server"}[5m]))"#;
        assert_eq!(topics(query, "result[0] >= 0.95"), ["AnalysisMixedVersions", "AnalysisNoTraffic"]);
    }

    #[test]
    fn a_query_that_tells_versions_apart_and_allows_for_silence_gets_none() {
        let query = r#"sum(rate(ok{hash="{{args.hash}}"}[5m])) / sum(rate(all{hash="{{args.hash}}"}[5m]))"#;
        assert!(topics(query, "isNaN(result[0]) || result[0] >= 0.95").is_empty());
    }

    #[test]
    fn a_metric_that_says_what_no_data_means_gets_none() {
        let metric = json!({"name": "m", "successCondition": "result[0] > 0", "noData": "Wait", "provider": {
            "prometheus": {"query": "a{hash=\"{{args.hash}}\"} / b"},
        }});
        let metric: Metric = serde_json::from_value(metric).unwrap();
        assert_eq!(lint(&[metric]), []);
    }

    #[test]
    fn a_slash_inside_a_string_divides_nothing() {
        assert_eq!(topics(r#"up{path="/api\"/",hash="{{args.hash}}"}"#, "result[0] > 0"), Vec::<&str>::new());
    }
}
