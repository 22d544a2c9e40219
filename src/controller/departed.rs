//! Rollouts that are gone, for as long as their routes are not in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp as Epoch;

use super::caches::Caches;
use super::records::{Readable, RolloutRecord};
use super::store::{Identity, Key};
use crate::traffic::{self, Need, RouteKind, RouteName};

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

    /// The same Rollout with a route that has no object in common with another's; `None` where nothing of it remains, or
    /// where that cannot be told from the other's.
    pub(crate) fn apart_from(&self, other: &Self, identity: &Identity) -> Option<Self> {
        let whole = self.content.as_ref().ok()?.rollout(identity).ok()?;
        let mut whole = traffic::with_route_left(&whole).unwrap_or(whole);
        // What carried its share is what its spec says now.
        whole
            .status
            .iter_mut()
            .filter_map(|status| status.canary.as_mut())
            .for_each(|canary| canary.route = None);
        let others = other.content.as_ref().map(Readable::routes).unwrap_or_default();
        let is_others = |name: &RouteName| others.iter().any(|need| need.covers(name));
        let content = Readable::new(traffic::without(&whole, &is_others)?);
        let routes = content.as_ref().map(Readable::routes).unwrap_or_default();
        let is_apart = !routes.iter().any(|need| others.iter().any(|other| need.overlaps(other)));
        is_apart.then_some(Self { content, generation: self.generation })
    }
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
    use serde_json::json;

    use super::*;

    /// A Rollout that has proxies of these names, and had those before.
    fn record(uid: &str, proxies: &[&str], before: &[&str]) -> (Identity, RolloutRecord) {
        let routing = |names: &[&str]| json!({"plugins": {"argoproj-labs/contour": {"httpProxies": names}}});
        let canary = |names: &[&str]| json!({"canaryService": "canary", "stableService": "stable", "trafficRouting": routing(names)});
        let route = (!before.is_empty()).then(|| canary(before));
        let object = serde_json::from_value(json!({
            "metadata": {"name": "api", "namespace": "shop", "uid": uid, "resourceVersion": "1"},
            "spec": {"strategy": {"canary": canary(proxies)}}, "status": {"canary": {"route": route}},
        }));
        RolloutRecord::new(object.unwrap())
    }

    /// The proxies that are left to let go of a Rollout that had some and carried its share through others, where one of its
    /// name has these.
    fn left(had: &[&str], carried: &[&str], has: &[&str]) -> Option<Vec<String>> {
        let (identity, gone) = record("1", had, carried);
        let gone = gone.departed(&identity).unwrap();
        let apart = gone.apart_from(&record("2", has, &[]).1, &identity)?;
        let needs = apart.content.unwrap().routes().to_vec();
        let name = |need| match need {
            Need::One(name) => Some(name.name),
            Need::All { .. } => None,
        };
        needs.into_iter().map(name).collect()
    }

    #[test]
    fn a_rollout_that_is_gone_lets_go_what_the_next_one_of_its_name_does_not_have() {
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(left(&["a", "b"], &[], &["c"]), names(&["a", "b"]));
        assert_eq!(left(&["a", "b"], &[], &["b"]), names(&["a"]));
        assert_eq!(
            left(&["a"], &["b", "c"], &["c"]),
            names(&["b"]),
            "what has the share, not what the spec named"
        );
        assert_eq!(left(&["a", "b"], &[], &["b", "a"]), None);
    }
}
