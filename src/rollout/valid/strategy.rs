//! Which strategy is chosen, and what both have in common: bounds, and delays before pods go.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use super::{Background, ScaleDown, Services, SpecError, Step, Strategy, blue_green, canary, not_negative};
use crate::api::rollout::{self, CanaryStrategy};
use crate::rollout::replicas::{Bounds, Share, Threshold};
use crate::rollout::snapshot::Snapshot;
use crate::units::ReplicaCount;

/// What the strategy says.
pub(super) struct Chosen {
    pub(super) strategy: Strategy,
    pub(super) bounds: Bounds,
    pub(super) steps: Vec<Step>,
    pub(super) background: Option<Background>,
    pub(super) services: Services,
    pub(super) scale_down: ScaleDown,
    pub(super) threshold: Threshold,
}

/// Pods that may be missing or added when the spec does not say.
pub(super) const DEFAULT_SHARE: Share = Share::Percent(25);
/// Seconds that a version without traffic is kept when the spec does not say.
const DEFAULT_DELAY_SECONDS: i32 = 30;

/// Parses the strategy; with none, a rolling update stands in beside the problem.
pub(super) fn parse(
    snapshot: &Snapshot,
    replicas: ReplicaCount,
    pods: (&LabelSelector, &Value),
    problems: &mut Vec<SpecError>,
) -> Chosen {
    let field = "spec.strategy";
    let nothing = rollout::Strategy::default();
    let strategy = snapshot.rollout.spec.strategy.as_ref().unwrap_or(&nothing);
    match (&strategy.canary, &strategy.blue_green) {
        (Some(found), None) => canary::parse(snapshot, found, replicas, pods, problems),
        (None, Some(found)) => blue_green::parse(snapshot, found, replicas, pods.1, problems),
        (None, None) => {
            let message = "Rollout has missing field '.spec.strategy.canary or .spec.strategy.blueGreen'";
            problems.push(SpecError::new(field, message));
            canary::parse(snapshot, &CanaryStrategy::default(), replicas, pods, problems)
        }
        (Some(found), Some(_)) => {
            problems.push(SpecError::new(field, "Multiple Strategies can not be listed"));
            canary::parse(snapshot, found, replicas, pods, problems)
        }
    }
}

/// `maxSurge` and `maxUnavailable` out of `replicas`; never both zero.
pub(super) fn bounds(replicas: ReplicaCount, surge: Share, unavailable: Share) -> Bounds {
    let max_surge = surge.ceil(replicas);
    let max_unavailable = match unavailable.floor(replicas) {
        // Both rounded to zero would forbid any change.
        0 if max_surge == 0 => 1,
        pods => pods,
    };
    Bounds { replicas: replicas.get(), max_surge, max_unavailable: max_unavailable.min(replicas.get()) }
}

/// Text is a percent with or without its sign, as in the public API; a number is pods.
pub(super) fn share(field: &str, value: Option<&IntOrString>, problems: &mut Vec<SpecError>) -> Share {
    let parsed = match value {
        None => return DEFAULT_SHARE,
        Some(IntOrString::Int(pods)) => u32::try_from(*pods).ok().map(Share::Pods),
        Some(IntOrString::String(text)) => text.trim_end_matches('%').parse().ok().map(Share::Percent),
    };
    parsed.unwrap_or_else(|| {
        let message = "must be a number of pods, or a percent such as \"25%\"";
        problems.push(SpecError::new(field, message));
        DEFAULT_SHARE
    })
}

/// The fields of either strategy that say how long pods without traffic are kept.
pub(super) struct Delays {
    pub(super) scale_down_delay_seconds: Option<i32>,
    pub(super) scale_down_delay_revision_limit: Option<i32>,
    pub(super) abort_scale_down_delay_seconds: Option<i32>,
}

/// How long pods without traffic are kept.
pub(super) fn scale_down(path: &str, delays: &Delays, problems: &mut Vec<SpecError>) -> ScaleDown {
    let mut seconds = |name: &str, value| {
        let seconds = not_negative(&format!("{path}.{name}"), value, DEFAULT_DELAY_SECONDS, problems);
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    };
    let delay = seconds("scaleDownDelaySeconds", delays.scale_down_delay_seconds);
    let after_abort = seconds("abortScaleDownDelaySeconds", delays.abort_scale_down_delay_seconds);
    let limit = delays.scale_down_delay_revision_limit;
    let limit_field = format!("{path}.scaleDownDelayRevisionLimit");
    let revision_limit = limit.map_or(usize::MAX, |limit| {
        usize::try_from(not_negative(&limit_field, Some(limit), 0, problems)).unwrap_or(usize::MAX)
    });
    ScaleDown { delay, revision_limit, after_abort: Some(after_abort).filter(|after| !after.is_zero()) }
}
