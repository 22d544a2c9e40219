//! Which templates and Services a Rollout or an Experiment names: what must be in its snapshot, and whose changes it is told of.

use crate::api::analysis_template::AnalysisTemplateRef;
use crate::api::canary_step::CanaryStep;
use crate::api::experiment::ExperimentAnalysis;
use crate::api::rollout::RolloutAnalysis;
use crate::api::{ExperimentSpec, RolloutSpec};

/// The templates that a spec names, as it names them.
pub(crate) fn templates(spec: &RolloutSpec) -> Vec<AnalysisTemplateRef> {
    let strategy = spec.strategy.as_ref();
    let canary = strategy.and_then(|strategy| strategy.canary.as_ref());
    let blue_green = strategy.and_then(|strategy| strategy.blue_green.as_ref());
    let background =
        canary.and_then(|canary| canary.analysis.as_ref()).and_then(|analysis| analysis.templates.as_ref());
    let steps =
        canary.and_then(|canary| canary.steps.as_ref()).into_iter().flatten().flat_map(step_templates);
    let promotion = blue_green.into_iter().flat_map(|strategy| {
        [&strategy.pre_promotion_analysis, &strategy.post_promotion_analysis].into_iter().flatten()
    });
    let promotion = promotion.flat_map(analysis_templates);
    background.into_iter().flatten().cloned().chain(steps).chain(promotion).collect()
}

fn analysis_templates(analysis: &RolloutAnalysis) -> Vec<AnalysisTemplateRef> {
    analysis.templates.clone().unwrap_or_default()
}

fn step_templates(step: &CanaryStep) -> Vec<AnalysisTemplateRef> {
    let own = step.analysis.iter().flat_map(analysis_templates);
    let analyses = step.experiment.iter().filter_map(|experiment| experiment.analyses.as_ref()).flatten();
    let experiment = analyses.map(|analysis| AnalysisTemplateRef {
        template_name: analysis.template_name.clone(),
        cluster_scope: analysis.cluster_scope,
    });
    own.chain(experiment).collect()
}

/// The templates that an Experiment names, as it names them.
pub(crate) fn templates_of_experiment(spec: &ExperimentSpec) -> Vec<AnalysisTemplateRef> {
    let reference = |analysis: &ExperimentAnalysis| AnalysisTemplateRef {
        template_name: analysis.template_name.clone(),
        cluster_scope: analysis.cluster_scope,
    };
    spec.analyses.iter().flatten().map(reference).collect()
}

/// The Services that a spec names.
pub(crate) fn services(spec: &RolloutSpec) -> Vec<&str> {
    let strategy = spec.strategy.as_ref();
    let canary = strategy.and_then(|strategy| strategy.canary.as_ref()).into_iter().flat_map(|canary| {
        let ping_pong = canary.ping_pong.iter().flat_map(|pair| [&pair.ping_service, &pair.pong_service]);
        let smi = canary.traffic_routing.as_ref().and_then(|routing| routing.smi.as_ref());
        let root = smi.map(|smi| &smi.root_service);
        [&canary.canary_service, &canary.stable_service].into_iter().chain(ping_pong).chain(root)
    });
    let blue_green = strategy
        .and_then(|strategy| strategy.blue_green.as_ref())
        .into_iter()
        .flat_map(|strategy| [&strategy.active_service, &strategy.preview_service]);
    canary.chain(blue_green).filter_map(|name| name.as_deref()).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_place_that_names_a_template_or_a_service_is_found() {
        let spec: RolloutSpec = serde_json::from_value(json!({"strategy": {
            "canary": {
                "stableService": "stable", "canaryService": "canary",
                "pingPong": {"pingService": "ping", "pongService": "pong"},
                "trafficRouting": {"smi": {"rootService": "root"}},
                "analysis": {"templates": [{"templateName": "background"}]},
                "steps": [
                    {"analysis": {"templates": [{"templateName": "step", "clusterScope": true}]}},
                    {"experiment": {"analyses": [{"name": "a", "templateName": "experiment"}]}},
                ],
            },
            "blueGreen": {
                "activeService": "active", "previewService": "preview",
                "prePromotionAnalysis": {"templates": [{"templateName": "pre"}]},
                "postPromotionAnalysis": {"templates": [{"templateName": "post"}]},
            },
        }}))
        .unwrap();
        let mut names: Vec<_> =
            templates(&spec).into_iter().filter_map(|found| found.template_name).collect();
        names.sort();
        assert_eq!(names, ["background", "experiment", "post", "pre", "step"]);
        let mut found = services(&spec);
        found.sort_unstable();
        assert_eq!(found, ["active", "canary", "ping", "pong", "preview", "root", "stable"]);
    }
}
