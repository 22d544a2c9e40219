//! What the author of a metric may not expect of it.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Advice, RunKind};
use crate::analysis::MetricRules;
use crate::api::analysis_template::Metric;

/// Conditions that are not looked at: the provider says itself what its answer means.
pub(super) fn unused_condition(metric: &Metric) -> Option<Advice> {
    let provider = &metric.provider;
    let judge = match (&provider.job, &provider.kayenta) {
        (Some(_), _) => "the end of a Job",
        (None, Some(_)) => "provider.kayenta.threshold",
        (None, None) => return None,
    };
    let conditions = [&metric.success_condition, &metric.failure_condition];
    conditions.into_iter().flatten().any(|condition| !condition.is_empty()).then(|| Advice {
        topic: "AnalysisConditionUnused",
        message: format!("the conditions of metric '{}' are not looked at: {judge} judges it", metric.name),
    })
}

/// Gives the metric of an analysis that is waited for, and so must end, a count: the fewest measurements in which it could have failed.
pub(super) fn derive_count(
    kind: RunKind,
    metric: &mut Metric,
    rules: &MetricRules,
    advice: &mut Vec<Advice>,
) {
    match kind {
        RunKind::Background => return,
        RunKind::Step | RunKind::PrePromotion | RunKind::PostPromotion => {}
    }
    if !rules.is_endless() {
        return;
    }
    let count = rules.failure_limit.unwrap_or_default().saturating_add(1);
    metric.count = Some(IntOrString::Int(i32::try_from(count).unwrap_or(i32::MAX)));
    advice.push(Advice {
        topic: "AnalysisCountDerived",
        message: format!(
            "metric '{}' has an interval and no count, and an analysis that is waited for must end: it takes failureLimit + 1 = \
             {count} measurements, the fewest in which it could have failed; set count to choose another number",
            metric.name
        ),
    });
}
