//! The pods that requests through a Service reach, as the cluster publishes them.
//!
//! A pod counts as available in its ReplicaSet a moment before proxies are told of it, or long before where the controller of
//! endpoints lags. A Service that was switched still leads to the pods from before, which do for a while; but it leads nowhere
//! when these are gone or on their way out, as stable's are under `dynamicStableScale`, those behind the idle one of an
//! alternating pair, and those of an update that is tried again. So a destination gets a share only once pods are published
//! behind it; passes look at that only while it matters.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::deadline::{Deadline, Wake};
use super::pods;
use super::snapshot::{ReplicaSet, Snapshot};
use super::world::World;
use crate::units::ReplicaCount;

/// Names of the pods behind each Service; one that nobody looked at, or whose endpoints nobody publishes, is absent.
pub type Endpoints = BTreeMap<String, BTreeSet<String>>;

/// How soon a pass looks again, as nothing tells that endpoints have changed.
const CHECK: Duration = Duration::from_secs(1);
/// Letters of a pod's name that come from its ReplicaSet, at most, and those that follow.
const NAME: (usize, usize) = (58, 5);

/// Whether a pass has to look at endpoints: a destination may be about to get its first share.
#[must_use]
pub fn are_needed(snapshot: &Snapshot) -> bool {
    let canary = snapshot.rollout.spec.strategy.as_ref().and_then(|strategy| strategy.canary.as_ref());
    let (Some(canary), Some(traffic)) = (canary, &snapshot.traffic) else { return false };
    let has_pods = |set: &&ReplicaSet| set.size.max(set.replicas) > ReplicaCount::ZERO;
    let has_two_versions = snapshot.replica_sets.iter().filter(has_pods).count() > 1;
    let share = |name: &String| traffic.shares.get(name).copied().unwrap_or_default();
    let is_undivided = traffic.shares.values().filter(|share| **share > 0).count() < 2;
    let is_canarys = is_undivided && canary.canary_service.as_ref().is_some_and(|name| share(name) > 0);
    // Stable may have to make room, or may have made it.
    let is_dynamic = canary.dynamic_stable_scale == Some(true);
    is_canarys || has_two_versions && (is_undivided || is_dynamic)
}

/// Pods of a ReplicaSet that requests through a Service reach; `None` when that is not known.
pub(super) fn reached(world: &World, service: &str, set: &ReplicaSet) -> Option<ReplicaCount> {
    let names = world.snapshot.endpoints.get(service)?;
    Some(pods::count(names.iter().filter(|name| is_of(name, set)).count()))
}

/// When to look again: soon, while pods are awaited.
pub(super) fn wake(world: &World) -> Option<Wake> {
    are_awaited(world).then(|| Wake { at: world.now().plus(CHECK), why: Deadline::Endpoints })
}

/// Whether some pod of the revision that a Service selects is not behind it yet.
pub(super) fn are_awaited(world: &World) -> bool {
    let lags = |service: &String| {
        let set = world.revisions().find(world.selected(service).as_ref())?;
        Some(reached(world, service, set)? < set.lasting())
    };
    world.snapshot.endpoints.keys().any(|service| lags(service) == Some(true))
}

/// Whether a pod has a name that its ReplicaSet gives.
fn is_of(name: &str, set: &ReplicaSet) -> bool {
    let (most, random) = NAME;
    let base = format!("{}-", set.name);
    let base = base.get(..most).unwrap_or(&base);
    name.strip_prefix(base).is_some_and(|rest| rest.len() == random)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rollout::snapshot::Service;
    use crate::rollout::tests::Bench;
    use crate::rollout::{Effect, decide};
    use crate::traffic::ObservedTraffic;

    /// An update of four pods whose Services and router obey at once; who is behind a Service is up to each test.
    struct Shop(Bench);

    impl Shop {
        /// Stable has all pods and all traffic.
        fn at_rest(dynamic_stable_scale: bool) -> Self {
            let mut bench = Bench::new(4, &json!([{"setWeight": 100}, {"pause": {}}]));
            bench.settle();
            let canary = bench.snapshot.rollout.spec.strategy.as_mut().unwrap().canary.as_mut().unwrap();
            canary.canary_service = Some("canary".to_owned());
            canary.stable_service = Some("stable".to_owned());
            canary.dynamic_stable_scale = Some(dynamic_stable_scale);
            canary.traffic_routing = Some(serde_json::from_value(json!({"nginx": {}})).unwrap());
            bench.snapshot.services = ["canary", "stable"].map(|name| (name.to_owned(), service(""))).into();
            bench.snapshot.traffic = Some(ObservedTraffic {
                shares: [("canary".to_owned(), 0), ("stable".to_owned(), 100)].into(),
                ..ObservedTraffic::default()
            });
            let mut shop = Self(bench);
            shop.passes();
            shop
        }

        /// At the pause at full weight, with none of stable's pods left.
        fn at_full_weight() -> Self {
            let mut shop = Self::at_rest(true);
            shop.0.release("v2");
            shop.passes();
            assert_eq!((shop.share(), shop.sizes()), (100, vec![0, 4]));
            shop
        }

        /// Passes until nothing changes any more, or nothing would without a change of endpoints.
        fn passes(&mut self) {
            for _ in 0..12 {
                let plan = decide(&self.0.snapshot);
                for effect in plan.stages.iter().flatten() {
                    match effect {
                        Effect::SwitchService { name, to } => {
                            self.0.snapshot.services.insert(name.clone(), service(to.as_str()));
                        }
                        Effect::SetTraffic(target) => {
                            let shares = [
                                (&target.canary, target.weight),
                                (&target.stable, target.weight.rest_of(target.scale)),
                            ];
                            let shares = shares.map(|(to, share)| (to.name.clone(), share.get()));
                            self.0.snapshot.traffic.as_mut().unwrap().shares = shares.into();
                        }
                        _ => {}
                    }
                }
                self.0.apply(plan);
            }
        }

        /// So many pods of the n-th version are behind a Service.
        fn publish(&mut self, service: &str, version: usize, pods: usize) {
            let set = &self.0.snapshot.replica_sets[version].name;
            let names = (0..pods).map(|pod| format!("{set}-0000{pod}")).collect();
            self.0.snapshot.endpoints.insert(service.to_owned(), names);
        }

        fn share(&self) -> u32 {
            self.0.snapshot.traffic.as_ref().unwrap().shares["canary"]
        }

        fn sizes(&self) -> Vec<u32> {
            self.0.snapshot.replica_sets.iter().map(|set| set.size.get()).collect()
        }

        fn looks_again(&self) -> bool {
            decide(&self.0.snapshot).wake.is_some_and(|wake| wake.why == Deadline::Endpoints)
        }
    }

    fn service(hash: &str) -> Service {
        let selector = [("rollouts-pod-template-hash".to_owned(), hash.to_owned())];
        Service { selector: selector.into(), managed_by: Some("api".to_owned()) }
    }

    #[test]
    fn an_aborted_update_gives_its_share_to_stable_as_the_pods_are_published() {
        let mut shop = Shop::at_full_weight();
        shop.publish("stable", 0, 0);
        shop.0.status().abort = Some(true);
        shop.passes();
        assert_eq!(
            (shop.share(), shop.sizes()),
            (100, vec![4, 4]),
            "stable has its pods, but nobody knows them"
        );
        assert!(shop.looks_again());
        shop.publish("stable", 0, 2);
        shop.passes();
        assert_eq!(shop.share(), 50);
        shop.publish("stable", 0, 4);
        shop.passes();
        assert_eq!(shop.share(), 0);
        assert!(!shop.looks_again());
    }

    #[test]
    fn a_promoted_version_keeps_its_share_until_it_is_published_as_stable() {
        let mut shop = Shop::at_full_weight();
        shop.publish("stable", 0, 0);
        shop.0.status().pause_conditions = None;
        shop.passes();
        assert_eq!(shop.0.status().phase.as_deref(), Some("Healthy"));
        assert_eq!(shop.0.snapshot.services["stable"], shop.0.snapshot.services["canary"]);
        assert_eq!(shop.share(), 100, "the stable Service still leads to nobody");
        assert!(shop.looks_again());
        shop.publish("stable", 1, 4);
        shop.passes();
        assert_eq!(shop.share(), 0);
    }

    #[test]
    fn where_nobody_publishes_endpoints_pods_count_once_they_are_available() {
        let mut shop = Shop::at_full_weight();
        shop.0.status().abort = Some(true);
        shop.passes();
        assert_eq!(shop.share(), 0);
    }

    #[test]
    fn a_first_share_waits_until_the_pods_are_published() {
        let mut shop = Shop::at_rest(false);
        shop.publish("canary", 0, 4);
        shop.0.release("v2");
        shop.passes();
        assert_eq!(
            (shop.share(), shop.sizes()),
            (0, vec![4, 4]),
            "the canary's Service still leads to stable"
        );
        assert!(shop.looks_again());
        shop.0.pass_seconds(700);
        shop.passes();
        let conditions = shop.0.status().conditions.clone().unwrap();
        let stuck = conditions.iter().filter_map(|condition| condition.message.as_deref());
        let why = "Its pods may be fine: their Service does not lead to all of them yet.";
        assert!(stuck.clone().any(|message| message.ends_with(why)), "{:?}", stuck.collect::<Vec<_>>());
        shop.publish("canary", 1, 4);
        shop.passes();
        assert_eq!(shop.share(), 100);
    }

    #[test]
    fn a_service_waits_for_pods_that_were_counted_since_the_size_has_changed() {
        let mut shop = Shop::at_rest(false);
        shop.0.release("v2");
        let plan = decide(&shop.0.snapshot);
        shop.0.apply(plan);
        shop.0.snapshot.replica_sets[1].observed = false;
        shop.passes();
        assert_eq!(shop.0.snapshot.services["canary"], shop.0.snapshot.services["stable"]);
        shop.0.snapshot.replica_sets[1].observed = true;
        shop.passes();
        assert_ne!(shop.0.snapshot.services["canary"], shop.0.snapshot.services["stable"]);
    }

    #[test]
    fn endpoints_are_looked_at_while_a_destination_may_get_its_first_share() {
        let mut shop = Shop::at_rest(false);
        assert!(!are_needed(&shop.0.snapshot), "there is one version only");
        shop.0.release("v2");
        let plan = decide(&shop.0.snapshot);
        shop.0.apply(plan);
        assert!(are_needed(&shop.0.snapshot));
        let mut divide = |shares: [u32; 2]| {
            let names = ["canary", "stable"].map(str::to_owned);
            shop.0.snapshot.traffic.as_mut().unwrap().shares = names.into_iter().zip(shares).collect();
            are_needed(&shop.0.snapshot)
        };
        assert!(!divide([50, 50]) && divide([100, 0]));
        let shop = Shop::at_full_weight();
        assert!(are_needed(&shop.0.snapshot), "stable has no pods, and may need some");
    }

    #[test]
    fn a_pod_belongs_to_the_replica_set_whose_name_it_bears() {
        let mut shop = Shop::at_full_weight();
        let set = &mut shop.0.snapshot.replica_sets[0];
        let mut check = |name: &str, pod: &str, expected: bool| {
            name.clone_into(&mut set.name);
            assert_eq!(is_of(pod, set), expected, "{pod} of {name}");
        };
        check("web-abc", "web-abc-x2x4x", true);
        check("web-abc", "web-abd-x2x4x", false);
        check("web", "web-abc-x2x4x", false);
        let long = "a".repeat(60);
        check(&long, &format!("{}x2x4x", &long[..58]), true);
    }
}
