//! Fields of the public API whose behaviour does not exist yet. Each is refused by its name, so that nobody believes
//! a setting that has no effect.

use super::SpecError;
use crate::api::RolloutSpec;
use crate::api::canary_step::CanaryStep;
use crate::api::rollout::{BlueGreenStrategy, CanaryStrategy};

/// Adds a problem for each field outside the strategy that would have no effect.
pub(super) fn check_spec(spec: &RolloutSpec, problems: &mut Vec<SpecError>) {
    refuse("spec", &[("restartAt", spec.restart_at.is_some())], problems);
}

/// Adds a problem for each field of the blue-green strategy that would have no effect.
pub(super) fn check_blue_green(strategy: &BlueGreenStrategy, problems: &mut Vec<SpecError>) {
    refuse(
        "spec.strategy.blueGreen",
        &[
            ("antiAffinity", strategy.anti_affinity.is_some()),
            ("previewMetadata", strategy.preview_metadata.is_some()),
            ("activeMetadata", strategy.active_metadata.is_some()),
        ],
        problems,
    );
}

/// Adds a problem for each field of the canary strategy that would have no effect.
pub(super) fn check_canary(canary: &CanaryStrategy, problems: &mut Vec<SpecError>) {
    refuse(
        "spec.strategy.canary",
        &[
            ("antiAffinity", canary.anti_affinity.is_some()),
            ("canaryMetadata", canary.canary_metadata.is_some()),
            ("stableMetadata", canary.stable_metadata.is_some()),
        ],
        problems,
    );
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
    refuse(
        field,
        &[
            ("experiment", step.experiment.is_some()),
            ("plugin", step.plugin.is_some()),
            ("setHeaderRoute", step.set_header_route.is_some()),
            ("setMirrorRoute", step.set_mirror_route.is_some()),
        ],
        problems,
    );
}

fn refuse(path: &str, fields: &[(&str, bool)], problems: &mut Vec<SpecError>) {
    for (name, _) in fields.iter().filter(|(_, set)| *set) {
        let message = "is not supported yet; remove it to let this Rollout run";
        problems.push(SpecError::new(format!("{path}.{name}"), message));
    }
}
