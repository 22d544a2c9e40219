//! How far a Rollout's update has come: its share of the requests, its step, and the revisions in play.

use crate::api::{Rollout, RolloutStatus};

/// How far the update of a Rollout has come, as its status tells.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Standing {
    /// Share of the requests that go to the canary and to stable, in percent; `None` where no revision is stable yet. What
    /// is missing to 100 goes to Experiments.
    pub(crate) weights: Option<(f64, f64)>,
    /// Position in the steps, from 0, and how many there are; `None` without steps.
    pub(crate) step: Option<(i32, usize)>,
    /// Pod hash of the stable revision.
    pub(crate) stable: Option<String>,
    /// Pod hash of the newest revision while it is not stable, also once it was taken back.
    pub(crate) canary: Option<String>,
}

impl Standing {
    pub(super) fn new(rollout: &Rollout, status: &RolloutStatus) -> Self {
        let strategy = rollout.spec.strategy.as_ref();
        let canary = strategy.and_then(|strategy| strategy.canary.as_ref());
        let steps = canary.and_then(|canary| canary.steps.as_ref()).map_or(0, Vec::len);
        let is_routed = canary.is_some_and(|canary| canary.traffic_routing.is_some());
        Self {
            weights: weights(status, is_routed),
            step: status.current_step_index.filter(|_| steps > 0).map(|index| (index, steps)),
            stable: status.stable_rs.clone().filter(|hash| !hash.is_empty()),
            canary: status.current_pod_hash.clone().filter(|_| status.stable_rs != status.current_pod_hash),
        }
    }
}

/// The shares of canary and stable, in percent: the split that the router is to have, what the active Service selects, or the pods
/// of each.
fn weights(status: &RolloutStatus, is_routed: bool) -> Option<(f64, f64)> {
    status.stable_rs.as_ref()?;
    if let Some(split) = status.canary.as_ref().and_then(|canary| canary.weights.as_ref()) {
        let additional = split.additional.iter().flatten().map(|share| share.weight);
        let all =
            additional.fold(split.canary.weight.saturating_add(split.stable.weight), i32::saturating_add);
        let percent = |weight: i32| f64::from(weight) * 100.0 / f64::from(all);
        return (all > 0).then(|| (percent(split.canary.weight), percent(split.stable.weight)));
    }
    let active = status.blue_green.as_ref().and_then(|blue_green| blue_green.active_selector.as_ref());
    let is_new = status.stable_rs != status.current_pod_hash;
    let canary = match active {
        Some(active) if is_new && Some(active) == status.current_pod_hash.as_ref() => 100.0,
        Some(_) => 0.0,
        None if is_routed || !is_new => 0.0,
        None => percent_of_pods(status),
    };
    Some((canary, 100.0 - canary))
}

fn percent_of_pods(status: &RolloutStatus) -> f64 {
    let all = status.replicas.unwrap_or_default();
    let updated = status.updated_replicas.unwrap_or_default().clamp(0, all.max(0));
    // A canary that was taken back has its pods for a while, and they get what is theirs.
    if all > 0 { f64::from(updated) * 100.0 / f64::from(all) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn standing(strategy: &Value, status: &Value) -> Standing {
        let rollout = json!({"metadata": {}, "spec": {"strategy": strategy}, "status": status});
        let rollout: Rollout = serde_json::from_value(rollout).unwrap();
        Standing::new(&rollout, rollout.status.as_ref().unwrap())
    }

    fn weights_of(strategy: &Value, changes: &Value) -> Option<(f64, f64)> {
        let mut status = json!({"stableRS": "a", "currentPodHash": "b", "replicas": 5, "updatedReplicas": 1});
        status.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        standing(strategy, &status).weights
    }

    #[test]
    fn the_split_of_a_router_comes_before_the_pods_and_is_shown_in_percent() {
        let routed = json!({"canary": {"trafficRouting": {}}});
        let split = |canary, stable, additional: Value| {
            json!({"canary": {"weights": {"canary": {"weight": canary}, "stable": {"weight": stable},
                "additional": additional}}})
        };
        assert_eq!(weights_of(&routed, &split(20, 80, json!(null))), Some((20.0, 80.0)));
        assert_eq!(weights_of(&routed, &split(50, 900, json!([{"weight": 50}]))), Some((5.0, 90.0)));
        assert_eq!(weights_of(&routed, &split(0, 0, json!(null))), None);
        assert_eq!(weights_of(&routed, &json!({})), Some((0.0, 100.0)));
    }

    #[test]
    fn without_a_router_pods_or_the_active_service_tell() {
        assert_eq!(weights_of(&json!({"canary": {}}), &json!({})), Some((20.0, 80.0)));
        assert_eq!(weights_of(&json!({"canary": {}}), &json!({"currentPodHash": "a"})), Some((0.0, 100.0)));
        assert_eq!(weights_of(&json!({"canary": {}}), &json!({"replicas": 0})), Some((0.0, 100.0)));
        assert_eq!(weights_of(&json!({"canary": {}}), &json!({"stableRS": null})), None);
        for (active, canary) in [("a", 0.0), ("b", 100.0)] {
            let status = json!({"blueGreen": {"activeSelector": active}});
            assert_eq!(weights_of(&json!({"blueGreen": {}}), &status), Some((canary, 100.0 - canary)));
        }
    }

    #[test]
    fn a_canary_is_in_play_until_it_is_stable() {
        let strategy = json!({"canary": {"steps": [{"setWeight": 20}, {"pause": {}}]}});
        let on_its_way =
            standing(&strategy, &json!({"stableRS": "a", "currentPodHash": "b", "currentStepIndex": 1}));
        assert_eq!((on_its_way.stable.as_deref(), on_its_way.canary.as_deref()), (Some("a"), Some("b")));
        assert_eq!(on_its_way.step, Some((1, 2)));
        let settled = standing(&strategy, &json!({"stableRS": "b", "currentPodHash": "b"}));
        assert_eq!((settled.canary, settled.step), (None, None));
    }
}
