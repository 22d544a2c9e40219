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
use super::snapshot::{ReplicaSet, Snapshot};
use super::world::World;
use super::{experiments, role_labels};
use crate::api::Rollout;
use crate::units::{ReplicaCount, Timestamp};

/// What is behind the Services, as far as it was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// What was found.
    pub reading: Reading,
    /// What was missing in the pass before; `None` when nothing was.
    pub missing: Option<Missing>,
}

/// What a look at the endpoints has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// Nobody looked, or nobody may or can: pods count as reached once they are available.
    #[default]
    Unknown,
    /// The pods that requests reach.
    Found(Behind),
    /// They could not be read. Shares stay where they are until that has been so for long.
    Unreadable {
        /// Since when.
        since: Timestamp,
    },
}

/// How many pods of each ReplicaSet are behind each Service; a Service whose endpoints nobody publishes is absent.
pub type Behind = BTreeMap<String, BTreeMap<String, ReplicaCount>>;

/// Looks in a row that have failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Since when.
    pub since: Timestamp,
    /// The version that shares waited for.
    version: Option<String>,
}

impl Failing {
    /// After one more. The wait begins anew for another version, whose pods were not there before, and where the clock was
    /// set back.
    #[must_use]
    pub fn again(before: Option<Self>, rollout: &Rollout, now: Timestamp) -> Self {
        let version = rollout.status.as_ref().and_then(|status| status.current_pod_hash.clone());
        let same = before.filter(|before| before.version == version && before.since <= now);
        same.unwrap_or(Self { since: now, version })
    }
}

/// Available pods that were not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// How many.
    pub pods: ReplicaCount,
    /// Since when it has been as many.
    pub since: Timestamp,
}

impl Missing {
    /// What is remembered after a pass that misses so many.
    #[must_use]
    pub fn after(before: Option<Self>, pods: ReplicaCount, now: Timestamp) -> Option<Self> {
        let same = before.filter(|before| before.pods == pods);
        (pods > ReplicaCount::ZERO).then(|| same.unwrap_or(Self { pods, since: now }))
    }
}

/// How soon a pass looks again, as nothing tells that endpoints have changed; the longer nothing has, the later.
const SOONEST_CHECK: Duration = Duration::from_secs(1);
/// How late it looks again at most.
const LATEST_CHECK: Duration = Duration::from_secs(30);
/// How long shares wait for endpoints that cannot be read. Then pods count as reached once they are available: an abort must
/// not wait for ever for one kind of object that the API server does not give out.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether a pass has to look at endpoints: a destination may be about to get its first share.
#[must_use]
pub fn are_needed(snapshot: &Snapshot) -> bool {
    let canary = snapshot.rollout.spec.strategy.as_ref().and_then(|strategy| strategy.canary.as_ref());
    let (Some(canary), Some(traffic)) = (canary, &snapshot.traffic) else { return false };
    if snapshot.services.is_empty() {
        return false;
    }
    let has_pods = |set: &&ReplicaSet| set.size.max(set.replicas) > ReplicaCount::ZERO;
    let has_two_versions = snapshot.replica_sets.iter().filter(has_pods).count() > 1;
    let share = |name: &String| traffic.shares.get(name).copied().unwrap_or_default();
    let is_undivided = traffic.shares.values().filter(|share| **share > 0).count() < 2;
    let is_canarys = is_undivided && canary.canary_service.as_ref().is_some_and(|name| share(name) > 0);
    // Stable may have to make room, or may have made it.
    let is_dynamic = canary.dynamic_stable_scale == Some(true);
    let is_experiments = !experiments::entering(snapshot).is_empty();
    is_canarys || is_experiments || has_two_versions && (is_undivided || is_dynamic)
}

/// The Services whose endpoints matter: those that the spec names, and of Experiments those that have no share yet.
#[must_use]
pub fn services(snapshot: &Snapshot) -> BTreeSet<String> {
    snapshot.services.keys().cloned().chain(experiments::entering(snapshot).into_keys()).collect()
}

/// Pods of a ReplicaSet that requests through a Service reach; `None` when that is not known, and not waited for. None do while
/// pods of another version are still published behind a Service that selects by a role's label.
pub(super) fn reached(world: &World, service: &str, set: &ReplicaSet) -> Option<ReplicaCount> {
    let pods = published(world, service, set)?;
    let by_role = role_labels::of_service(world.snapshot, service).is_some();
    let is_others = |other: &ReplicaSet| {
        other.name != set.name
            && published(world, service, other).is_some_and(|pods| pods > ReplicaCount::ZERO)
    };
    let is_shared = by_role && world.snapshot.replica_sets.iter().any(is_others);
    Some(if is_shared { ReplicaCount::ZERO } else { pods })
}

/// Pods of a ReplicaSet that are published behind a Service; `None` when that is not known, and not waited for.
pub(super) fn published(world: &World, service: &str, set: &ReplicaSet) -> Option<ReplicaCount> {
    match &world.snapshot.endpoints.reading {
        Reading::Unknown => None,
        Reading::Found(behind) => Some(behind.get(service)?.get(&set.name).copied().unwrap_or_default()),
        Reading::Unreadable { since } => is_waited_for(world, *since).then_some(ReplicaCount::ZERO),
    }
}

/// Pods that requests through the Service of an Experiment reach; `None` when that is not known, and not waited for. As the
/// Service is new, none are published yet where only those of others are.
pub(super) fn reached_by_any(world: &World, service: &str) -> Option<ReplicaCount> {
    match &world.snapshot.endpoints.reading {
        Reading::Unknown => None,
        Reading::Found(behind) if behind.is_empty() => None,
        Reading::Found(behind) => {
            Some(behind.get(service).into_iter().flat_map(BTreeMap::values).copied().sum())
        }
        Reading::Unreadable { since } => is_waited_for(world, *since).then_some(ReplicaCount::ZERO),
    }
}

/// When to look again: soon at first, while pods are awaited or cannot be seen.
pub(super) fn wake(world: &World) -> Option<Wake> {
    let endpoints = &world.snapshot.endpoints;
    let since = match &endpoints.reading {
        Reading::Unreadable { since } => *since,
        Reading::Unknown | Reading::Found(_) => {
            Missing::after(endpoints.missing, missing(world), world.now())?.since
        }
    };
    let wait = (world.now().since(since) / 2).clamp(SOONEST_CHECK, LATEST_CHECK);
    let waits = matches!(endpoints.reading, Reading::Unreadable { since } if is_waited_for(world, since));
    let at = world.now().plus(wait);
    Some(Wake { at: if waits { at.min(since.plus(PATIENCE)) } else { at }, why: Deadline::Endpoints })
}

/// Available pods that are not behind the Service that selects their revision yet.
pub(super) fn missing(world: &World) -> ReplicaCount {
    let Reading::Found(behind) = &world.snapshot.endpoints.reading else { return ReplicaCount::ZERO };
    let of_service = |service: &String| {
        if let Some(role) = role_labels::of_service(world.snapshot, service) {
            return Some(role_labels::misled(world, service, role));
        }
        let set = world.revisions().find(world.selected(service).as_ref())?;
        Some(set.lasting().get().saturating_sub(reached(world, service, set)?.get()))
    };
    let of_experiment =
        |(service, pods): (String, ReplicaCount)| Some(pods.minus(reached_by_any(world, &service)?).get());
    let of_experiments = experiments::entering(world.snapshot).into_iter().filter_map(of_experiment);
    let all = behind.keys().filter_map(of_service).chain(of_experiments);
    ReplicaCount::new(all.fold(0, u32::saturating_add))
}

/// Why shares wait for endpoints; `None` when they do not.
pub(super) fn trouble(world: &World) -> Option<&'static str> {
    match &world.snapshot.endpoints.reading {
        Reading::Unreadable { since } => {
            is_waited_for(world, *since).then_some("the endpoints of their Service cannot be read")
        }
        Reading::Unknown | Reading::Found(_) => {
            (missing(world) > ReplicaCount::ZERO).then_some("their Service does not lead to all of them yet")
        }
    }
}

/// Whether shares wait for endpoints that have not been readable since then.
fn is_waited_for(world: &World, since: Timestamp) -> bool {
    world.now().since(since) < PATIENCE
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::labels::SESSION_COOKIE;
    use crate::rollout::decide;
    use crate::rollout::tests::{Bench, service};
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
            self.0.obey();
        }

        /// So many pods of the n-th version are behind a Service.
        fn publish(&mut self, service: &str, version: usize, pods: u32) {
            let set = self.0.snapshot.replica_sets[version].name.clone();
            let reading = &mut self.0.snapshot.endpoints.reading;
            if !matches!(reading, Reading::Found(_)) {
                *reading = Reading::Found(Behind::new());
            }
            let Reading::Found(behind) = reading else { unreachable!() };
            behind.insert(service.to_owned(), [(set, ReplicaCount::new(pods))].into());
        }

        fn share(&self) -> u32 {
            self.0.snapshot.traffic.as_ref().unwrap().shares["canary"]
        }

        /// An update that is about to have a route of its own for some requests, and keeps users on the canary.
        fn with_routes() -> Self {
            let mut shop = Self::at_rest(false);
            let steps = json!([
                {"setCanaryScale": {"replicas": 1}},
                {"setHeaderRoute": {"name": "beta", "match": [{"headerName": "x", "headerValue": {"exact": "y"}}]}},
                {"pause": {}},
                {"setCanaryScale": {"matchTrafficWeight": true}},
                {"setWeight": 50},
                {"pause": {}},
            ]);
            let routing = json!({
                "managedRoutes": [{"name": "beta"}],
                "plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "shop"}},
            });
            let rollout = &mut shop.0.snapshot.rollout;
            let annotation = (SESSION_COOKIE.to_owned(), "version".to_owned());
            rollout.metadata.annotations.get_or_insert_default().extend([annotation]);
            let canary = rollout.spec.strategy.as_mut().unwrap().canary.as_mut().unwrap();
            canary.steps = Some(serde_json::from_value(steps).unwrap());
            canary.traffic_routing = Some(serde_json::from_value(routing).unwrap());
            shop.publish("canary", 0, 4);
            shop.0.release("v2");
            shop.passes();
            shop
        }

        /// The same at its last pause.
        fn at_half_weight() -> Self {
            let mut shop = Self::with_routes();
            shop.publish("canary", 1, 1);
            shop.passes();
            shop.0.status().pause_conditions = None;
            shop.passes();
            shop.publish("canary", 1, 2);
            shop.passes();
            assert_eq!((shop.share(), shop.routes().len()), (50, 2));
            shop
        }

        fn routes(&self) -> Vec<String> {
            self.0.snapshot.traffic.as_ref().unwrap().managed.keys().cloned().collect()
        }

        /// The value of the cookie that keeps users on the canary.
        fn session(&self) -> Option<String> {
            let managed = &self.0.snapshot.traffic.as_ref().unwrap().managed;
            managed.values().flatten().find_map(|route| Some(route.session()?.value.clone()))
        }

        fn sizes(&self) -> Vec<u32> {
            self.0.snapshot.replica_sets.iter().map(|set| set.size.get()).collect()
        }

        fn looks_again(&self) -> bool {
            decide(&self.0.snapshot).wake.is_some_and(|wake| wake.why == Deadline::Endpoints)
        }
    }

    #[test]
    fn a_wait_for_endpoints_begins_anew_for_another_version_and_with_a_clock_that_was_set_back() {
        let at = |second: i64| Timestamp::from_millis(second * 1000);
        let status = |hash: &str| Some(serde_json::from_value(json!({"currentPodHash": hash})).unwrap());
        let mut rollout = Rollout { status: status("1"), ..Rollout::default() };
        let first = Failing::again(None, &rollout, at(10));
        let second = Failing::again(Some(first.clone()), &rollout, at(20));
        assert_eq!((first.since, second.since), (at(10), at(10)));
        assert_eq!(Failing::again(Some(second.clone()), &rollout, at(5)).since, at(5));
        rollout.status = status("2");
        assert_eq!(Failing::again(Some(second), &rollout, at(30)).since, at(30));
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
    fn shares_wait_for_endpoints_that_cannot_be_read_but_not_for_ever() {
        let mut shop = Shop::at_full_weight();
        let since = shop.0.snapshot.now;
        shop.0.snapshot.endpoints.reading = Reading::Unreadable { since };
        shop.0.status().abort = Some(true);
        shop.passes();
        assert_eq!((shop.share(), shop.sizes()), (100, vec![4, 4]), "nobody knows whether stable is reached");
        shop.0.pass_seconds(29);
        shop.passes();
        assert_eq!(shop.share(), 100);
        let wake = decide(&shop.0.snapshot).wake.unwrap();
        assert_eq!((wake.why, wake.at), (Deadline::Endpoints, since.plus(PATIENCE)));
        shop.0.pass_seconds(1);
        shop.passes();
        assert_eq!(shop.share(), 0, "pods count once they are available");
    }

    #[test]
    fn requests_with_a_route_of_their_own_wait_until_the_pods_are_published() {
        let mut shop = Shop::with_routes();
        assert_eq!(shop.routes(), [""; 0], "the canary's Service leads to nobody yet");
        assert!(shop.looks_again());
        shop.publish("canary", 1, 1);
        shop.passes();
        assert_eq!((shop.routes(), shop.share()), (vec!["beta".to_owned()], 0));
        assert_eq!(shop.session(), None, "users stay on a canary that has a share");
        shop.0.snapshot.endpoints.reading = Reading::Unreadable { since: shop.0.snapshot.now };
        shop.passes();
        assert_eq!(shop.routes(), ["beta"], "what is there stays there");
    }

    #[test]
    fn users_of_an_update_that_was_taken_back_are_not_on_the_canary_when_it_is_tried_again() {
        let mut shop = Shop::at_half_weight();
        let first = shop.session();
        assert!(first.is_some());
        shop.0.status().abort = Some(true);
        shop.passes();
        assert_eq!((shop.share(), shop.routes()), (0, vec![]));
        shop.0.pass_seconds(1);
        shop.0.status().abort = None;
        let canary = shop.0.snapshot.rollout.spec.strategy.as_mut().unwrap().canary.as_mut().unwrap();
        canary.steps = Some(serde_json::from_value(json!([{"setWeight": 50}, {"pause": {}}])).unwrap());
        shop.publish("canary", 1, 2);
        shop.0.snapshot.services.insert("canary".to_owned(), {
            let hash = shop.0.snapshot.replica_sets[1].hash.clone();
            service(hash.as_str())
        });
        for _ in 0..12 {
            let plan = decide(&shop.0.snapshot);
            let routes = plan.traffic().map(|target| target.managed.clone()).unwrap_or_default();
            let values = routes.iter().filter_map(|route| Some(route.session()?.value.clone()));
            assert!(values.clone().all(|value| Some(value) != first), "{:?}", values.collect::<Vec<_>>());
            shop.0.apply(plan);
        }
        shop.passes();
        assert!(shop.session().is_some() && shop.session() != first);
    }

    #[test]
    fn pods_that_are_dead_get_nothing_while_endpoints_cannot_be_read() {
        let mut shop = Shop::at_full_weight();
        shop.0.snapshot.endpoints.reading = Reading::Unreadable { since: shop.0.snapshot.now };
        shop.0.status().abort = Some(true);
        let plan = decide(&shop.0.snapshot);
        shop.0.apply(plan);
        shop.0.snapshot.replica_sets[1].available = ReplicaCount::ZERO;
        assert_eq!(decide(&shop.0.snapshot).traffic().map(|target| target.weight.get()), Some(0));
    }

    #[test]
    fn pods_that_are_never_published_are_looked_for_less_and_less_often() {
        let mut shop = Shop::at_rest(false);
        shop.publish("canary", 0, 4);
        shop.0.release("v2");
        shop.passes();
        let mut waits = Vec::new();
        for _ in 0..16 {
            let plan = decide(&shop.0.snapshot);
            let now = shop.0.snapshot.now;
            let wait = i64::try_from(plan.wake.unwrap().at.since(now).as_millis()).unwrap();
            let endpoints = &mut shop.0.snapshot.endpoints;
            endpoints.missing = Missing::after(endpoints.missing, plan.missing_endpoints, now);
            waits.push(wait);
            shop.0.snapshot.now = Timestamp::from_millis(now.as_millis() + wait);
        }
        let first = [1000, 1000, 1000, 1500, 2250, 3375, 5062, 7593];
        assert_eq!((&waits[..8], waits.last()), (&first[..], Some(&30_000)));
        shop.publish("canary", 1, 3);
        let plan = decide(&shop.0.snapshot);
        assert_eq!(plan.missing_endpoints, ReplicaCount::new(1));
        assert_eq!(plan.wake.unwrap().at.since(shop.0.snapshot.now), SOONEST_CHECK, "something has moved");
    }
}
