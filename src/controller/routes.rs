//! Objects that routers are configured by. A kind is watched only while some Rollout's router needs it, and in whichever of
//! its versions the cluster serves; one that is not installed yet is picked up when it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event};
use serde_json::Value;
use tokio::task::JoinSet;
use tracing::{debug, info};

use super::caches::{Caches, Watched, take};
use super::demand::Demand;
use super::hold::Hold;
use super::options::Options;
use super::store::{Cached, Identity, Key, Link, Source, Store};
use super::watch::Watch;
use crate::traffic::{Need, RouteKind, RouteName, Routes, route};

/// An object, as compact JSON: a tenth of what the tree of values takes.
#[derive(Debug, PartialEq)]
pub(crate) struct RouteRecord {
    json: Box<[u8]>,
    is_going: bool,
    namespace: Arc<str>,
    hold: Option<Hold>,
}

impl RouteRecord {
    fn new(mut object: DynamicObject) -> (Identity, Self) {
        let identity = Identity::of(&object.metadata);
        let hold = Hold::of(&object.metadata);
        object.metadata.managed_fields = None;
        object.metadata.resource_version = None;
        let record = Self {
            // A tree of values always has a text.
            json: serde_json::to_vec(&object).unwrap_or_default().into(),
            is_going: object.metadata.deletion_timestamp.is_some(),
            namespace: Arc::clone(&identity.key.namespace),
            hold,
        };
        (identity, record)
    }

    /// The object at the version of `identity`; `None` while it is being deleted.
    fn object(&self, identity: &Identity) -> Option<Value> {
        let mut object = (!self.is_going).then(|| serde_json::from_slice(&self.json).ok()).flatten()?;
        let version = Value::String(identity.version.to_string());
        route::set(&mut object, &["metadata", "resourceVersion"], Some(version));
        Some(object)
    }
}

impl Cached for RouteRecord {
    /// Every object is found by its namespace.
    fn links(&self) -> Vec<Link> {
        vec![Link::Namespace(Arc::clone(&self.namespace))]
    }
}

/// The objects that are known, by kind.
pub(crate) struct KnownRoutes {
    stores: BTreeMap<RouteKind, Store<RouteRecord>>,
    demand: Demand<RouteKind>,
    /// In which version each kind is served here.
    served: Mutex<BTreeMap<RouteKind, ApiResource>>,
    /// Objects whose last write got no answer: nobody knows what they say.
    unsure: Mutex<BTreeSet<RouteName>>,
}

impl KnownRoutes {
    pub(crate) fn new() -> Self {
        Self {
            stores: RouteKind::ALL.into_iter().map(|kind| (kind, Store::new())).collect(),
            demand: Demand::new(),
            served: Mutex::default(),
            unsure: Mutex::default(),
        }
    }

    /// Objects of the kind are not known any more.
    fn forget(&self, kind: RouteKind) {
        self.demand.forget(kind);
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner).retain(|name| name.kind != kind);
        if let Some(store) = self.stores.get(&kind) {
            store.clear();
        }
    }

    /// In which version a kind is served; `None` while that is not known.
    pub(crate) fn served(&self, kind: RouteKind) -> Option<ApiResource> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).get(&kind).cloned()
    }

    /// What an object says is not known until it is read again.
    pub(crate) fn set_unsure(&self, name: RouteName) {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
    }

    /// An object was read.
    pub(crate) fn set_sure(&self, name: &RouteName) {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Those of a router's objects that have to be read again.
    pub(crate) fn unsure(&self, needs: &[Need]) -> Vec<RouteName> {
        let unsure = self.unsure.lock().unwrap_or_else(PoisonError::into_inner);
        unsure.iter().filter(|name| needs.iter().any(|need| need.covers(name))).cloned().collect()
    }
}

/// The link of a Rollout to what its routers need.
pub(crate) fn link(need: &Need) -> Link {
    match need {
        Need::One(name) => Link::Route { kind: name.kind, key: Key::new(&name.namespace, &name.name) },
        Need::All { kind, namespace } => Link::Routes { kind: *kind, namespace: namespace.as_str().into() },
    }
}

fn is_of(kind: RouteKind) -> impl Fn(&Link) -> bool {
    move |link| match link {
        Link::Route { kind: of, .. } | Link::Routes { kind: of, .. } => *of == kind,
        Link::Owner { .. }
        | Link::Template(_)
        | Link::Service(_)
        | Link::Workload { .. }
        | Link::Namespace(_) => false,
    }
}

fn key(name: &RouteName) -> Key {
    Key::new(&name.namespace, &name.name)
}

impl Caches {
    /// The objects that a Rollout's routers need.
    pub(crate) fn routes(&self, needs: &[Need]) -> Routes {
        let mut routes = Routes::default();
        for need in needs {
            let kind = need.kind();
            if !self.routes.demand.is_listed(kind) {
                match self.problem(Watched::Routes(kind)) {
                    Some(problem) => drop(routes.unreadable.insert(kind, problem)),
                    None => drop(routes.unlisted.insert(kind)),
                }
                continue;
            }
            let served = self.routes.served(kind);
            routes.versions.extend(served.map(|resource| (kind, resource.version)));
            let Some(store) = self.routes.stores.get(&kind) else { continue };
            match need {
                Need::One(name) => {
                    let Some(found) = store.get(&key(name)) else { continue };
                    routes.held.extend(found.value.hold.as_ref().map(|_| name.clone()));
                    routes.add(name.clone(), found.value.object(&found.identity));
                }
                Need::All { namespace, .. } => {
                    let link = Link::Namespace(namespace.as_str().into());
                    for found in store.linked(&link) {
                        let name = RouteName::new(kind, namespace, &found.identity.key.name);
                        routes.held.extend(found.value.hold.as_ref().map(|_| name.clone()));
                        routes.add(name, found.value.object(&found.identity));
                    }
                }
            }
        }
        routes
    }

    /// Whether the kinds that a Rollout's routers need are known, or known to be out of reach.
    pub(crate) fn are_routes_listed(&self, needs: &[Need]) -> bool {
        needs
            .iter()
            .map(Need::kind)
            .all(|kind| self.routes.demand.is_listed(kind) || self.problem(Watched::Routes(kind)).is_some())
    }

    /// Which state of an object is known.
    pub(crate) fn route_identity(&self, name: &RouteName) -> Option<Identity> {
        Some(self.routes.stores.get(&name.kind)?.get(&key(name))?.identity)
    }

    /// What gives the fields of a user's object back; `None` where none is ours.
    pub(crate) fn give_back(&self, name: &RouteName) -> Option<Value> {
        let found = self.routes.stores.get(&name.kind)?.get(&key(name))?;
        Some(found.value.hold.as_ref()?.give_back(found.identity.version))
    }

    /// Routers need other objects than before: kinds may have to be watched, or may be watched no more.
    pub(crate) fn review_routes(&self) {
        let kinds = RouteKind::ALL.into_iter().filter(|kind| self.rollouts.any_link(is_of(*kind)));
        self.routes.demand.want(kinds.chain(self.departed_kinds()).collect());
    }

    /// Every Rollout whose router needs an object of the kind is looked at.
    pub(crate) fn queue_routed(&self, kind: RouteKind) {
        for key in self.rollouts.keys_with(is_of(kind)) {
            self.rollout_queue.add(&key);
        }
    }

    fn route_event(&self, kind: RouteKind, event: Event<DynamicObject>) {
        let Some(store) = self.routes.stores.get(&kind) else { return };
        let taken = take(store, event, |object| Some(RouteRecord::new(object)));
        for change in &taken.changes {
            self.route_changed(kind, &change.key);
        }
        if taken.complete && self.routes.demand.set_listed(kind) {
            self.queue_routed(kind);
        }
    }

    fn route_changed(&self, kind: RouteKind, key: &Key) {
        self.queue_readers(&Link::Route { kind, key: key.clone() });
        self.queue_readers(&Link::Routes { kind, namespace: Arc::clone(&key.namespace) });
    }

    /// An object as the answer to a write shows it.
    pub(crate) fn wrote_route(&self, kind: RouteKind, object: DynamicObject) {
        let Some(store) = self.routes.stores.get(&kind) else { return };
        let (identity, record) = RouteRecord::new(object);
        if let Some(change) = store.put(identity, record, Source::Write) {
            self.route_changed(kind, &change.key);
        }
    }

    /// An object that the API server says is gone.
    pub(crate) fn lost_route(&self, kind: RouteKind, identity: &Identity) {
        let Some(store) = self.routes.stores.get(&kind) else { return };
        if let Some(change) = store.remove(identity) {
            self.route_changed(kind, &change.key);
        }
    }
}

/// Watches the kinds that are wanted, for as long as they are.
pub(crate) async fn follow(client: Client, options: Options, caches: Arc<Caches>) {
    let start = |kind: RouteKind| {
        info!(kind = kind.as_str(), "a rollout's router needs one, watching them from now on");
        let mut tasks = JoinSet::new();
        tasks.spawn(watch(kind, client.clone(), options.namespace.clone(), Arc::clone(&caches)));
        tasks
    };
    let end = |kind: RouteKind| {
        caches.routes.forget(kind);
        caches.set_problem(Watched::Routes(kind), None);
        debug!(kind = kind.as_str(), "no rollout's router needs one any more");
    };
    caches.routes.demand.follow(start, end).await;
}

async fn watch(kind: RouteKind, client: Client, namespace: Option<String>, caches: Arc<Caches>) {
    let mut watch = Watch::new(Watched::Routes(kind), &caches);
    let feed = |caches: &Caches, event| caches.route_event(kind, event);
    loop {
        let resource = watch.discover(&client, kind).await;
        caches.routes.served.lock().unwrap_or_else(PoisonError::into_inner).insert(kind, resource.clone());
        let api = match &namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        watch.until_refused(&api, &watcher::Config::default(), &feed).await;
        // What was seen may not be there any more, or be served in another version.
        caches.routes.forget(kind);
        caches.queue_routed(kind);
    }
}

#[cfg(test)]
impl Caches {
    /// All objects of a kind, each labelled `app` with its name; the one that is called `going` is being deleted.
    pub(crate) fn list_routes<'a>(
        &self,
        kind: RouteKind,
        namespace: &str,
        names: impl Iterator<Item = &'a str>,
    ) {
        self.route_event(kind, Event::Init);
        for name in names {
            let deleted = (name == "going").then_some("2026-01-01T00:00:00Z");
            let metadata = serde_json::json!({
                "name": name, "namespace": namespace, "uid": name, "resourceVersion": "1", "labels": {"app": name},
                "deletionTimestamp": deleted,
            });
            let object = serde_json::json!({"apiVersion": "v1", "kind": kind.as_str(), "metadata": metadata});
            self.route_event(
                kind,
                Event::InitApply(serde_json::from_value(object).unwrap_or_else(|_| unreachable!())),
            );
        }
        self.route_event(kind, Event::InitDone);
    }
}
