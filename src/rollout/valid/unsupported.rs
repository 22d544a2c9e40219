//! Fields of the public API whose behaviour does not exist yet. Each is refused by its name, so that nobody believes
//! a setting that has no effect.

use super::SpecError;
use crate::api::canary_step::CanaryStep;
use crate::api::rollout::CanaryStrategy;

/// Adds a problem for each field of the canary strategy that would have no effect.
pub(super) fn check_canary(canary: &CanaryStrategy, problems: &mut Vec<SpecError>) {
    if canary.traffic_routing.is_some() {
        return;
    }
    let only_with_routing = [
        ("scaleDownDelaySeconds", canary.scale_down_delay_seconds.is_some()),
        ("scaleDownDelayRevisionLimit", canary.scale_down_delay_revision_limit.is_some()),
        ("dynamicStableScale", canary.dynamic_stable_scale == Some(true)),
        ("minPodsPerReplicaSet", canary.min_pods_per_replica_set.is_some()),
        ("pingPong", canary.ping_pong.is_some()),
    ];
    for (name, _) in only_with_routing.into_iter().filter(|(_, set)| *set) {
        let message = format!("Canary {name} can only be used with traffic routing");
        problems.push(SpecError::new(format!("spec.strategy.canary.{name}"), message));
    }
}

/// Adds a problem for each kind of step that would have no effect.
pub(super) fn check_step(field: &str, step: &CanaryStep, problems: &mut Vec<SpecError>) {
    refuse(field, &[("plugin", step.plugin.is_some())], problems);
}

fn refuse(path: &str, fields: &[(&str, bool)], problems: &mut Vec<SpecError>) {
    for (name, _) in fields.iter().filter(|(_, set)| *set) {
        let message = "is not supported yet; remove it to let this Rollout run";
        problems.push(SpecError::new(format!("{path}.{name}"), message));
    }
}
