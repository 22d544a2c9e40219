//! Rollouts that are gone, for as long as their routes are not in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp as Epoch;

use super::caches::Caches;
use super::records::{Readable, RolloutRecord};
use super::store::{Identity, Key};
use crate::api::Rollout;
use crate::traffic::{self, Need, RouteKind, RouteName, Routers};

/// Rollouts with a router that are gone, until their routes are left in order.
pub(super) type Departed = Mutex<BTreeMap<Key, Arc<(Identity, RolloutRecord)>>>;

impl RolloutRecord {
    /// The same Rollout once it is gone; `None` where its router has nothing that would have to be left in order.
    fn departed(&self, identity: &Identity) -> Option<Self> {
        let readable = self.content.as_ref().ok().filter(|readable| !readable.routes().is_empty())?;
        let mut rollout = readable.rollout(identity).ok()?;
        // Any time will do: what counts is that there is one.
        rollout.metadata.deletion_timestamp.get_or_insert(Time(Epoch::UNIX_EPOCH));
        Some(Self { content: Readable::new(rollout), generation: self.generation })
    }

    /// The Rollout with the route that carried its share, as if its spec named that; `None` where it cannot be read.
    fn with_carried_route(&self, identity: &Identity) -> Option<Rollout> {
        let whole = self.content.as_ref().ok()?.rollout(identity).ok()?;
        let mut whole = traffic::with_route_left(&whole).unwrap_or(whole);
        if let Some(canary) = whole.status.as_mut().and_then(|status| status.canary.as_mut()) {
            canary.route = None;
        }
        Some(whole)
    }
}

/// What is left to do for a Rollout that is gone, where there is another one of its name.
#[derive(Debug, PartialEq)]
pub(crate) enum Rest {
    /// Nothing: what it had is the other's business by now.
    Nothing,
    /// Nobody knows: not all objects have been listed.
    Unknown,
    /// To let this go, which the other does not have.
    This(Box<RolloutRecord>),
}

impl Caches {
    /// Remembers a Rollout that is gone for what is left to do for its route; `None` where that is nothing.
    pub(super) fn departs(&self, identity: Identity, record: &RolloutRecord) -> Option<Key> {
        // The last state that is shown has no finalizers any more, which tell whether its pods stay; the one before has.
        let known = self.rollouts.get(&identity.key).filter(|known| known.identity.uid == identity.uid);
        let record = known.as_ref().map_or(record, |known| &known.value).departed(&identity)?;
        let key = identity.key.clone();
        let mut departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        departed.insert(key.clone(), Arc::new((identity, record)));
        Some(key)
    }

    /// What is left to do for a Rollout that is gone, beside one of its name.
    pub(crate) fn rest_of(
        &self,
        gone: &(Identity, RolloutRecord),
        there: &(Identity, &RolloutRecord),
    ) -> Rest {
        let Some(whole) = gone.1.with_carried_route(&gone.0) else { return Rest::Nothing };
        let others = there.1.content.as_ref().ok().and_then(|found| found.rollout(&there.0).ok());
        let others: Option<BTreeSet<_>> = others.map_or(Some(BTreeSet::new()), |named| {
            let left = traffic::with_route_left(&named);
            let edited = [Some(named), left].into_iter().flatten().map(|rollout| self.edited(&rollout));
            edited.collect::<Option<Vec<_>>>().map(|all| all.concat().into_iter().collect())
        });
        let (Some(others), Some(mine)) = (others, self.edited(&whole)) else { return Rest::Unknown };
        let is_apart = |names: Vec<RouteName>| names.iter().all(|name| !others.contains(name));
        let rest = if is_apart(mine) {
            Some(whole)
        } else {
            let rest = traffic::keeping(&whole, &|name| !others.contains(name));
            rest.filter(|rest| self.edited(rest).is_some_and(is_apart))
        };
        let record = |rest| RolloutRecord { content: Readable::new(rest), generation: gone.1.generation };
        rest.map_or(Rest::Nothing, |rest| Rest::This(Box::new(record(rest))))
    }

    /// The objects that the routers of a Rollout edit; `None` while not all kinds of them are known.
    fn edited(&self, rollout: &Rollout) -> Option<Vec<RouteName>> {
        let routers = Routers::of(rollout);
        let objects = self.routes(&routers.needs());
        objects.are_known().then(|| routers.edits(&objects).collect())
    }

    /// A Rollout that is gone and whose route is not in order yet.
    pub(crate) fn departed(&self, key: &Key) -> Option<Arc<(Identity, RolloutRecord)>> {
        self.departed.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// The route of a Rollout that is gone is in order.
    pub(crate) fn forget_departed(&self, gone: &Identity) {
        let mut departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        // Another one of its name may have gone since.
        if departed.get(&gone.key).is_some_and(|known| known.0.uid == gone.uid) {
            departed.remove(&gone.key);
        }
        drop(departed);
        self.review_routes();
        self.queue_experiments_of(gone);
    }

    /// Kinds of objects that the routes of Rollouts consist of that are gone.
    pub(super) fn departed_kinds(&self) -> BTreeSet<RouteKind> {
        let departed = self.departed.lock().unwrap_or_else(PoisonError::into_inner);
        let readable = departed.values().filter_map(|gone| gone.1.content.as_ref().ok());
        readable.flat_map(Readable::routes).map(Need::kind).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A Rollout with this router, and with what carried its share before.
    fn record(uid: &str, routing: &Value, before: Option<&Value>) -> (Identity, RolloutRecord) {
        let canary = |routing: &Value| json!({"canaryService": "canary", "stableService": "stable", "trafficRouting": routing});
        let object = serde_json::from_value(json!({
            "metadata": {"name": "api", "namespace": "shop", "uid": uid, "resourceVersion": "1"},
            "spec": {"strategy": {"canary": canary(routing)}}, "status": {"canary": {"route": before.map(canary)}},
        }));
        RolloutRecord::new(object.unwrap())
    }

    /// What is left to let go of a Rollout that had one router and carried its share through another, where one of its name has
    /// a third; all kinds are known, and these objects are there.
    fn left(
        there: &[(RouteKind, &str)],
        had: &Value,
        carried: Option<&Value>,
        has: &Value,
    ) -> Option<Vec<String>> {
        let caches = Caches::new([]);
        for kind in [
            RouteKind::HttpProxy,
            RouteKind::HttpRoute,
            RouteKind::VirtualService,
            RouteKind::DestinationRule,
            RouteKind::ApisixRoute,
        ] {
            let objects = there.iter().filter(|(of, _)| *of == kind).map(|(_, name)| *name);
            caches.list_routes(kind, "shop", objects);
        }
        let (identity, gone) = record("1", had, carried);
        let gone = (identity.clone(), gone.departed(&identity).unwrap());
        let (there, known) = record("2", has, None);
        match caches.rest_of(&gone, &(there, &known)) {
            Rest::This(rest) => {
                let rollout = rest.content.unwrap().rollout(&identity).unwrap();
                let edited = caches.edited(&rollout).unwrap();
                Some(edited.into_iter().map(|name| name.name).collect())
            }
            Rest::Nothing => None,
            Rest::Unknown => panic!("all kinds are known"),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "it stands beside what may be nothing")]
    fn names(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_rollout_that_is_gone_lets_go_what_the_next_one_of_its_name_does_not_have() {
        let proxies = |names: &[&str]| json!({"plugins": {"argoproj-labs/contour": {"httpProxies": names}}});
        let left = |had: &[&str], carried: &[&str], has: &[&str]| {
            let carried = (!carried.is_empty()).then(|| proxies(carried));
            left(&[], &proxies(had), carried.as_ref(), &proxies(has))
        };
        assert_eq!(left(&["a", "b"], &[], &["c"]), names(&["a", "b"]));
        assert_eq!(left(&["a", "b"], &[], &["b"]), names(&["a"]));
        let carried = left(&["a"], &["b", "c"], &["c"]);
        assert_eq!(carried, names(&["b"]), "what has the share, not what the spec named");
        assert_eq!(left(&["a", "b"], &[], &["b", "a"]), None);
    }

    #[test]
    fn objects_that_are_only_looked_at_are_nobodys() {
        let istio = |service: &str| {
            let rule = json!({"name": "r", "canarySubsetName": "canary", "stableSubsetName": "stable"});
            json!({"istio": {"virtualService": {"name": service}, "destinationRule": rule}})
        };
        assert_eq!(left(&[], &istio("a"), None, &istio("b")), names(&["a"]), "one rule for both");
        let apisix = |name: &str| json!({"apisix": {"route": {"name": name}}});
        assert_eq!(left(&[], &apisix("a"), None, &apisix("b")), names(&["a"]));
        let gateway = |config: Value| json!({"plugins": {"argoproj-labs/gatewayAPI": config}});
        let by_label = gateway(json!({"httpRouteSelector": {"matchLabels": {"app": "labelled"}}}));
        let by_name = gateway(json!({"httpRoute": "plain"}));
        let there = [(RouteKind::HttpRoute, "plain"), (RouteKind::HttpRoute, "labelled")];
        assert_eq!(left(&there, &by_name, None, &by_label), names(&["plain"]));
        assert_eq!(left(&there, &by_label, None, &by_name), names(&["labelled"]));
        let both = gateway(json!({"httpRoutes": [{"name": "plain"}, {"name": "labelled"}]}));
        assert_eq!(left(&there, &both, None, &by_label), names(&["plain"]));
        assert_eq!(left(&there, &by_label, None, &both), None, "a label cannot be told from what is named");
    }

    #[test]
    fn nothing_is_let_go_before_all_objects_are_known() {
        let proxies = json!({"plugins": {"argoproj-labs/contour": {"httpProxies": ["a"]}}});
        let (identity, gone) = record("1", &proxies, None);
        let (there, known) = record("2", &proxies, None);
        let gone = (identity.clone(), gone.departed(&identity).unwrap());
        assert_eq!(Caches::new([]).rest_of(&gone, &(there, &known)), Rest::Unknown);
    }
}
