//! When it matters whether what carries out a router's objects follows them: while something waits for it.

use super::snapshot::Snapshot;
use crate::units::ReplicaCount;

/// Whether it matters now: an update is under way, or was taken back; there are pods of another version than the stable one; a
/// share goes through the canary's Service or an Experiment's; or the status says that nobody has seen it. At rest, before there is anything
/// stable, and on its way out, nothing waits for it.
#[must_use]
pub fn is_needed(snapshot: &Snapshot) -> bool {
    if snapshot.rollout.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let Some(status) = &snapshot.rollout.status else { return false };
    let Some(stable) = status.stable_rs.as_ref().filter(|stable| !stable.is_empty()) else { return false };
    let has_others = snapshot
        .replica_sets
        .iter()
        .any(|set| set.hash.to_string() != *stable && set.size.max(set.replicas) > ReplicaCount::ZERO);
    let canary = snapshot.rollout.spec.strategy.as_ref().and_then(|strategy| strategy.canary.as_ref());
    let service = canary.and_then(|canary| canary.canary_service.as_ref());
    let has_share = snapshot.traffic.iter().any(|traffic| {
        service.and_then(|service| traffic.shares.get(service)).is_some_and(|share| *share > 0)
    });
    let weights = status.canary.as_ref().and_then(|canary| canary.weights.as_ref());
    let is_unseen = weights.is_some_and(|weights| weights.verified == Some(false));
    let has_experiments = weights.is_some_and(|weights| weights.additional.is_some());
    has_others
        || has_share
        || has_experiments
        || is_unseen
        || status.current_pod_hash.as_ref() != Some(stable)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rollout::tests::{Bench, service};
    use crate::traffic::Followed;

    /// An update to the second version, by a router whose Services and route obey at once.
    fn update() -> Bench {
        let mut bench = Bench::new(4, &json!([{"setWeight": 25}, {"pause": {}}]));
        bench.settle();
        bench.route(0);
        let canary = bench.snapshot.rollout.spec.strategy.as_mut().unwrap().canary.as_mut().unwrap();
        canary.scale_down_delay_seconds = Some(0);
        canary.abort_scale_down_delay_seconds = Some(1);
        bench.snapshot.services = ["canary", "stable"].map(|name| (name.to_owned(), service(""))).into();
        bench.obey();
        assert!(!is_needed(&bench.snapshot));
        bench.release("v2");
        bench
    }

    fn follows(bench: &mut Bench, followed: Followed) {
        let traffic = bench.snapshot.traffic.take().unwrap();
        let unasked = crate::traffic::ObservedTraffic {
            verified: None,
            is_exchanging: false,
            trouble: None,
            ..traffic
        };
        bench.snapshot.traffic = Some(unasked.and_followed(followed));
    }

    fn share(bench: &Bench) -> u32 {
        bench.snapshot.traffic.as_ref().unwrap().shares["canary"]
    }

    fn sizes(bench: &Bench) -> Vec<u32> {
        bench.snapshot.replica_sets.iter().map(|set| set.size.get()).collect()
    }

    #[test]
    fn a_step_waits_until_the_load_balancer_follows_and_the_message_says_why() {
        let mut bench = update();
        follows(&mut bench, Followed::Yes);
        bench.obey();
        assert_eq!((share(&bench), bench.status().current_step_index), (25, Some(1)), "it is seen to follow");
        bench = update();
        follows(&mut bench, Followed::Yes);
        while share(&bench) == 0 {
            bench.obey_once();
        }
        follows(&mut bench, Followed::NotYet);
        bench.obey();
        assert_eq!(bench.status().current_step_index, Some(0));
        assert!(is_needed(&bench.snapshot));
        follows(&mut bench, Followed::No("AccessDenied: no".to_owned()));
        bench.obey();
        let message = bench.status().message.clone().unwrap();
        assert!(message.ends_with("the router does not take its weights: AccessDenied: no"), "{message}");
        follows(&mut bench, Followed::Yes);
        bench.obey();
        assert_eq!(bench.status().current_step_index, Some(1));
        let weights = bench.status().canary.as_ref().unwrap().weights.clone().unwrap();
        assert_eq!(weights.verified, Some(true));
    }

    #[test]
    fn pods_stay_while_the_load_balancer_may_still_lead_to_them() {
        let mut bench = update();
        follows(&mut bench, Followed::Yes);
        bench.obey();
        bench.status().abort = Some(true);
        follows(&mut bench, Followed::NotYet);
        bench.obey();
        assert_eq!(
            (share(&bench), sizes(&bench)),
            (0, vec![4, 1]),
            "an abort waits for nobody, but the pods do"
        );
        follows(&mut bench, Followed::Yes);
        bench.obey();
        bench.pass_seconds(60);
        bench.obey();
        assert_eq!(sizes(&bench), [4, 0]);
    }

    #[test]
    fn a_superseded_version_stays_while_its_service_may_still_lead_to_it() {
        let mut bench = update();
        let canary = bench.snapshot.rollout.spec.strategy.as_mut().unwrap().canary.as_mut().unwrap();
        canary.scale_down_delay_seconds = Some(30);
        follows(&mut bench, Followed::Yes);
        bench.obey();
        bench.release("v3");
        while bench.snapshot.replica_sets.len() < 3 || share(&bench) == 0 {
            bench.obey_once();
        }
        follows(&mut bench, Followed::NotYet);
        let later = |bench: &mut Bench| {
            bench.obey();
            bench.pass_seconds(60);
            bench.obey();
        };
        later(&mut bench);
        assert_eq!((share(&bench), sizes(&bench)), (25, vec![4, 1, 1]));
        follows(&mut bench, Followed::Yes);
        later(&mut bench);
        assert_eq!(sizes(&bench), [4, 0, 1]);
    }

    #[test]
    fn a_promoted_version_keeps_its_share_until_the_stable_service_leads_to_it() {
        let mut bench = update();
        follows(&mut bench, Followed::Yes);
        bench.obey();
        bench.status().pause_conditions = None;
        while bench.snapshot.services["stable"] != bench.snapshot.services["canary"] {
            bench.obey_once();
        }
        follows(&mut bench, Followed::NotYet);
        bench.obey();
        assert_eq!(
            share(&bench),
            100,
            "the stable Service selects the new pods, but is not seen to lead there"
        );
        assert!(is_needed(&bench.snapshot));
        follows(&mut bench, Followed::Yes);
        bench.obey();
        assert_eq!((share(&bench), sizes(&bench)), (0, vec![0, 4]));
        assert!(!is_needed(&bench.snapshot));
    }

    #[test]
    fn at_rest_nobody_is_asked_and_what_was_seen_is_not_written_again() {
        let mut bench = update();
        follows(&mut bench, Followed::Yes);
        bench.obey();
        bench.status().pause_conditions = None;
        bench.obey();
        assert!(!is_needed(&bench.snapshot));
        let traffic = bench.snapshot.traffic.as_mut().unwrap();
        traffic.verified = None;
        let plan = crate::rollout::decide(&bench.snapshot);
        assert!(plan.status.is_none(), "{plan:?}");
    }
}
