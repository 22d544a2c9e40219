//! The cluster as this process knows it, and who must look again when it changes.
//!
//! A pass reads nothing else. Every read is O(result): by name, by owner, or by reference.

mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use tokio::sync::Notify;
use tracing::warn;

use super::departed::Departed;
use super::notices::Notices;
use super::queue::Queue;
use super::records::{
    ANY_NAMESPACE, ExperimentRecord, ReplicaSetRecord, RolloutRecord, RunRecord, ServiceRecord,
    TemplateRecord, owned_by,
};
use super::routes::KnownRoutes;
use super::store::{Cached, Change, Identity, Key, Link, OwnerKind, Source, Store, Stored};
use super::wire::{ReplicaSetObject, RolloutObject, ServiceObject};
use super::workloads::Workloads;
use crate::api::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate, Experiment};
use crate::experiment::Route;
use crate::rollout::workload::WorkloadKind;
use crate::traffic::RouteKind;

/// A kind of object that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Watched {
    Rollouts,
    AnalysisRuns,
    Experiments,
    AnalysisTemplates,
    ClusterAnalysisTemplates,
    ReplicaSets,
    Services,
    /// Watched only while some Rollout refers to one.
    Workloads(WorkloadKind),
    /// Watched only while some Rollout's router needs one.
    Routes(RouteKind),
}

impl Watched {
    /// Its name, as a CustomResourceDefinition is named.
    pub(crate) const fn resource(self) -> &'static str {
        match self {
            Self::Rollouts => "rollouts.argoproj.io",
            Self::AnalysisRuns => "analysisruns.argoproj.io",
            Self::Experiments => "experiments.argoproj.io",
            Self::AnalysisTemplates => "analysistemplates.argoproj.io",
            Self::ClusterAnalysisTemplates => "clusteranalysistemplates.argoproj.io",
            Self::ReplicaSets | Self::Workloads(WorkloadKind::ReplicaSet) => "replicasets.apps",
            Self::Services => "services",
            Self::Workloads(WorkloadKind::Deployment) => "deployments.apps",
            Self::Workloads(WorkloadKind::PodTemplate) => "podtemplates",
            Self::Routes(kind) => kind.resource(),
        }
    }
}

/// All caches, and the queues that their changes feed.
pub(crate) struct Caches {
    pub(crate) rollouts: Store<RolloutRecord>,
    pub(crate) runs: Store<RunRecord>,
    pub(crate) experiments: Store<ExperimentRecord>,
    pub(crate) replica_sets: Store<ReplicaSetRecord>,
    pub(crate) services: Store<ServiceRecord>,
    pub(crate) templates: Store<TemplateRecord>,
    pub(crate) cluster_templates: Store<TemplateRecord>,
    pub(crate) workloads: Workloads,
    pub(crate) routes: KnownRoutes,
    pub(super) departed: Departed,
    pub(crate) rollout_queue: Queue<Key>,
    pub(crate) run_queue: Queue<Key>,
    pub(crate) experiment_queue: Queue<Key>,
    pub(crate) notices: Notices,
    watched: BTreeSet<Watched>,
    complete: Mutex<BTreeSet<Watched>>,
    problems: Mutex<BTreeMap<Watched, String>>,
    listed: Notify,
}

impl Caches {
    /// Empty caches of the given kinds.
    pub(crate) fn new(watched: impl IntoIterator<Item = Watched>) -> Self {
        Self {
            rollouts: Store::new(),
            runs: Store::new(),
            experiments: Store::new(),
            replica_sets: Store::new(),
            services: Store::new(),
            templates: Store::new(),
            cluster_templates: Store::new(),
            workloads: Workloads::new(),
            routes: KnownRoutes::new(),
            departed: Departed::default(),
            rollout_queue: Queue::new(),
            run_queue: Queue::new(),
            experiment_queue: Queue::new(),
            notices: Notices::new(),
            watched: watched.into_iter().collect(),
            complete: Mutex::default(),
            problems: Mutex::default(),
            listed: Notify::new(),
        }
    }

    /// The kinds that are watched.
    pub(crate) fn watched(&self) -> impl Iterator<Item = Watched> {
        self.watched.iter().copied()
    }

    /// The kinds not yet listed, each with what is in the way.
    pub(crate) fn missing(&self) -> Vec<(Watched, String)> {
        let complete = self.complete.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = self.watched.difference(&complete);
        missing.map(|kind| (*kind, problems.get(kind).cloned().unwrap_or_default())).collect()
    }

    /// Waits until every kind has been listed once.
    pub(crate) async fn synced(&self) {
        loop {
            let listed = self.listed.notified();
            if self.missing().is_empty() {
                return;
            }
            listed.await;
        }
    }

    /// Notes what is in the way of a watch; `None` once nothing is. Whether that is news.
    pub(crate) fn set_problem(&self, kind: Watched, problem: Option<&str>) -> bool {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = match problem {
            Some(text) => problems.insert(kind, text.to_owned()).as_deref() != Some(text),
            None => problems.remove(&kind).is_some(),
        };
        drop(problems);
        match kind {
            Watched::Workloads(kind) if is_news => self.queue_readers_of_kind(kind),
            Watched::Routes(kind) if is_news => self.queue_routed(kind),
            _ => {}
        }
        is_news
    }

    /// What is in the way of a watch.
    pub(crate) fn problem(&self, kind: Watched) -> Option<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).get(&kind).cloned()
    }

    fn listed(&self, kind: Watched) {
        self.complete.lock().unwrap_or_else(PoisonError::into_inner).insert(kind);
        self.listed.notify_waiters();
    }

    pub(crate) fn rollout_event(&self, event: Event<RolloutObject>) {
        let departed: Vec<Key> = match &event {
            Event::Delete(object) => {
                let (identity, record) = RolloutRecord::new(object.clone());
                self.departs(identity, &record).into_iter().collect()
            }
            // A watch that was away shows a deletion by its absence only.
            Event::InitDone => {
                let gone = self.rollouts.unlisted().into_iter();
                gone.filter_map(|gone| self.departs(gone.identity, &gone.value)).collect()
            }
            Event::Init | Event::Apply(_) | Event::InitApply(_) => Vec::new(),
        };
        let changes = take(&self.rollouts, event, |object| Some(RolloutRecord::new(object)));
        self.finish(Watched::Rollouts, &changes, Self::rollout_changed);
        // A write that found one absent may have taken it out before, so that nothing has changed now.
        for key in &departed {
            self.rollout_queue.add(key);
        }
        if !departed.is_empty() {
            self.review_routes();
        }
    }

    pub(crate) fn run_event(&self, event: Event<DeserializeGuard<AnalysisRun>>) {
        let changes = take(&self.runs, event, |object| readable(object).map(RunRecord::new));
        self.finish(Watched::AnalysisRuns, &changes, Self::run_changed);
    }

    pub(crate) fn experiment_event(&self, event: Event<DeserializeGuard<Experiment>>) {
        let changes = take(&self.experiments, event, |object| readable(object).map(ExperimentRecord::new));
        self.finish(Watched::Experiments, &changes, Self::experiment_changed);
    }

    pub(crate) fn replica_set_event(&self, event: Event<ReplicaSetObject>) {
        let changes = take(&self.replica_sets, event, |object| Some(ReplicaSetRecord::new(&object)));
        self.finish(Watched::ReplicaSets, &changes, Self::owned_changed);
    }

    pub(crate) fn service_event(&self, event: Event<ServiceObject>) {
        let changes = take(&self.services, event, |object| Some(ServiceRecord::new(object)));
        self.finish(Watched::Services, &changes, Self::service_changed);
    }

    pub(crate) fn template_event(&self, event: Event<DeserializeGuard<AnalysisTemplate>>) {
        let record = |found: AnalysisTemplate| TemplateRecord::new(&found.metadata, found.spec);
        let changes = take(&self.templates, event, |object| readable(object).map(record));
        self.finish(Watched::AnalysisTemplates, &changes, Self::template_changed);
    }

    pub(crate) fn cluster_template_event(&self, event: Event<DeserializeGuard<ClusterAnalysisTemplate>>) {
        let record =
            |found: ClusterAnalysisTemplate| TemplateRecord::new(&found.metadata, found.spec.template);
        let changes = take(&self.cluster_templates, event, |object| readable(object).map(record));
        self.finish(Watched::ClusterAnalysisTemplates, &changes, Self::template_changed);
    }

    fn finish(&self, kind: Watched, taken: &Taken, changed: fn(&Self, &Change)) {
        taken.changes.iter().for_each(|change| changed(self, change));
        if taken.complete {
            self.listed(kind);
        }
    }

    fn rollout_changed(&self, change: &Change) {
        let has = |is_such: fn(&Link) -> bool| change.relinked && change.links.iter().any(is_such);
        if has(|link| matches!(link, Link::Workload { .. })) {
            self.review_workloads();
        }
        if has(|link| matches!(link, Link::Route { .. } | Link::Routes { .. })) {
            self.review_routes();
        }
        self.rollout_queue.add(&change.key);
        if let Some(found) = self.rollouts.get(&change.key) {
            self.queue_experiments_of(&found.identity);
            if found.value.has_pending_notices() {
                self.notices.queue.add(&change.key);
            }
        }
    }

    /// Everything that waits for a notification is looked at.
    pub(super) fn queue_pending_notices(&self) {
        for found in self.rollouts.all() {
            if found.value.has_pending_notices() {
                self.notices.queue.add(&found.identity.key);
            }
        }
    }

    /// Where the route of an Experiment's Rollout leads. One that is gone counts until its route is in order.
    pub(crate) fn route_to(&self, experiment: &ExperimentRecord) -> Route {
        let nowhere = || Route::LeadsTo(BTreeSet::new());
        let Some((key, uid)) = experiment.rollout() else { return nowhere() };
        if let Some(found) = self.rollouts.get(key).filter(|found| *found.identity.uid == *uid) {
            return found.value.route_to_experiments();
        }
        let gone = self.departed(key).filter(|gone| *gone.0.uid == *uid);
        gone.map_or_else(nowhere, |gone| gone.1.route_to_experiments())
    }

    /// Experiments look at where the route of their Rollout leads.
    pub(super) fn queue_experiments_of(&self, rollout: &Identity) {
        for key in self.experiments.keys_linked(&owned_by(OwnerKind::Rollout, rollout)) {
            self.experiment_queue.add(&key);
        }
    }

    fn run_changed(&self, change: &Change) {
        self.run_queue.add(&change.key);
        self.owned_changed(change);
    }

    fn experiment_changed(&self, change: &Change) {
        self.experiment_queue.add(&change.key);
        self.owned_changed(change);
    }

    /// Owners look at what they own, where somebody makes passes over them: else they would wait for ever.
    fn owned_changed(&self, change: &Change) {
        if !self.watched.contains(&Watched::Rollouts) {
            return;
        }
        for link in &change.links {
            match link {
                Link::Owner { kind: OwnerKind::Rollout, key, .. } => self.rollout_queue.add(key),
                Link::Owner { kind: OwnerKind::Experiment, key, .. } => self.experiment_queue.add(key),
                Link::Template(_)
                | Link::Service(_)
                | Link::Workload { .. }
                | Link::Route { .. }
                | Link::Routes { .. }
                | Link::Namespace(_) => {}
            }
        }
    }

    fn service_changed(&self, change: &Change) {
        self.queue_readers(&Link::Service(change.key.clone()));
        self.owned_changed(change);
    }

    fn template_changed(&self, change: &Change) {
        for template in self.templates_that_reach(&change.key) {
            self.queue_readers(&Link::Template(template));
        }
    }

    pub(super) fn queue_readers(&self, link: &Link) {
        for key in self.rollouts.keys_linked(link) {
            self.rollout_queue.add(&key);
        }
        for key in self.experiments.keys_linked(link) {
            self.experiment_queue.add(&key);
        }
    }

    /// The template itself, and every template that names it, directly or through others.
    fn templates_that_reach(&self, key: &Key) -> BTreeSet<Key> {
        let mut reached = BTreeSet::new();
        let mut open = vec![key.clone()];
        while let Some(key) = open.pop() {
            if reached.insert(key.clone()) {
                // What a cluster-wide template names is looked up where its reader is.
                let anywhere = Link::Template(Key::new(ANY_NAMESPACE, &key.name));
                let by_name = Link::Template(key);
                open.extend(self.templates.keys_linked(&by_name));
                open.extend(self.cluster_templates.keys_linked(&by_name));
                open.extend(self.cluster_templates.keys_linked(&anywhere));
            }
        }
        reached
    }

    /// A template by its key.
    pub(crate) fn template(&self, key: &Key) -> Option<Stored<TemplateRecord>> {
        if key.namespace.is_empty() { self.cluster_templates.get(key) } else { self.templates.get(key) }
    }
}

pub(super) struct Taken {
    pub(super) changes: Vec<Change>,
    pub(super) complete: bool,
}

/// Takes one event of a watch into a store. What cannot be read counts as absent.
pub(super) fn take<K: Resource, T: Cached>(
    store: &Store<T>,
    event: Event<K>,
    record: impl FnOnce(K) -> Option<(Identity, T)>,
) -> Taken {
    let changed = |changes: Vec<Change>| Taken { changes, complete: false };
    match event {
        Event::Apply(object) | Event::InitApply(object) => {
            let identity = Identity::of(object.meta());
            // Mostly the echo of a write of our own, whose answer has been taken in.
            if store.knows(&identity, Source::Watch) {
                return changed(Vec::new());
            }
            changed(match record(object) {
                Some((identity, value)) => store.put(identity, value, Source::Watch).into_iter().collect(),
                None => store.remove_unreadable(&identity).into_iter().collect(),
            })
        }
        Event::Delete(object) => changed(store.remove(&Identity::of(object.meta())).into_iter().collect()),
        Event::Init => {
            store.begin_listing();
            changed(Vec::new())
        }
        Event::InitDone => Taken { changes: store.end_listing(), complete: true },
    }
}

/// The object, or a warning that it cannot be read.
fn readable<K: Resource<DynamicType = ()>>(object: DeserializeGuard<K>) -> Option<K> {
    let name = Identity::of(object.meta()).key;
    object
        .0
        .inspect_err(
            |invalid| warn!(kind = %K::kind(&()), object = %name, error = %invalid, "unreadable object"),
        )
        .ok()
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn object<T: DeserializeOwned>(name: &str, version: u32, rest: &Value) -> T {
        let namespace = if rest["cluster"] == true { Value::Null } else { json!("shop") };
        let mut object = json!({
            "metadata": {
                "name": name, "namespace": namespace, "uid": format!("uid-{name}"),
                "resourceVersion": version.to_string(), "ownerReferences": rest["owners"],
                "labels": {"rollouts-pod-template-hash": "abc"},
            },
            "spec": rest["spec"],
        });
        if rest["owners"].is_null() {
            object["metadata"].as_object_mut().unwrap().remove("ownerReferences");
        }
        serde_json::from_value(object).unwrap()
    }

    fn caches() -> Caches {
        let caches = Caches::new([Watched::Rollouts]);
        let spec = json!({"spec": {"strategy": {"canary": {
            "stableService": "stable", "steps": [{"analysis": {"templates": [{"templateName": "outer"}]}}],
        }}}});
        caches.rollout_event(Event::Apply(object("web", 1, &spec)));
        caches.rollout_event(Event::Apply(object("other", 1, &json!({"spec": {}}))));
        drain(&caches);
        caches
    }

    /// Names of the Rollouts that are due.
    fn drain(caches: &Caches) -> Vec<String> {
        let mut names = Vec::new();
        while caches.rollout_queue.len() > 0 {
            let next = futures::FutureExt::now_or_never(caches.rollout_queue.next());
            let key = next.expect("a key is due");
            names.push(key.name.to_string());
            caches.rollout_queue.done(&key, crate::controller::queue::Next::Forget);
        }
        names
    }

    #[tokio::test]
    async fn a_routed_rollout_that_is_gone_is_due_once_more_although_a_write_found_it_absent_before() {
        let caches = caches();
        let spec = json!({"spec": {"strategy": {"canary": {
            "canaryService": "canary", "stableService": "stable",
            "trafficRouting": {"nginx": {"stableIngress": "shop"}},
        }}}});
        let routed: RolloutObject = object("routed", 3, &spec);
        caches.rollout_event(Event::Apply(routed.clone()));
        caches.lost_rollout(&Identity::of(routed.meta()));
        drain(&caches);
        caches.rollout_event(Event::Delete(routed));
        assert_eq!(drain(&caches), ["routed"]);
    }

    #[tokio::test]
    async fn a_rollout_that_is_gone_is_known_to_have_left_its_pods() {
        let caches = caches();
        let spec = json!({"spec": {"strategy": {"canary": {
            "canaryService": "canary", "stableService": "stable",
            "trafficRouting": {"nginx": {"stableIngress": "shop"}},
        }}}});
        let mut routed = serde_json::to_value(object::<crate::api::Rollout>("routed", 3, &spec)).unwrap();
        let last = routed.clone();
        routed["metadata"]["finalizers"] = json!(["orphan"]);
        caches.rollout_event(Event::Apply(serde_json::from_value(routed).unwrap()));
        caches.rollout_event(Event::Delete(serde_json::from_value(last).unwrap()));
        let departed = caches.departed(&Key::new("shop", "routed")).unwrap();
        let rollout = departed.1.content.as_ref().unwrap().rollout(&departed.0).unwrap();
        assert_eq!(rollout.metadata.finalizers, Some(vec!["orphan".to_owned()]));
    }

    #[tokio::test]
    async fn a_routed_rollout_that_went_while_nobody_watched_is_known_to_be_gone() {
        let caches = caches();
        let spec = json!({"spec": {"strategy": {"canary": {
            "canaryService": "canary", "stableService": "stable",
            "trafficRouting": {"nginx": {"stableIngress": "shop"}},
        }}}});
        caches.rollout_event(Event::Apply(object("routed", 3, &spec)));
        drain(&caches);
        caches.rollout_event(Event::Init);
        caches.rollout_event(Event::InitApply(object("web", 4, &json!({"spec": {}}))));
        caches.rollout_event(Event::InitDone);
        assert!(drain(&caches).contains(&"routed".to_owned()));
        assert!(caches.departed(&Key::new("shop", "routed")).is_some());
        assert!(caches.departed(&Key::new("shop", "other")).is_none(), "it has no route");
        assert!(caches.departed(&Key::new("shop", "web")).is_none(), "it is there");
    }

    #[tokio::test]
    async fn an_experiment_sees_where_its_rollout_leads_until_the_route_of_one_that_is_gone_is_in_order() {
        let caches = caches();
        let owner = |name: &str| {
            json!([{
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": name, "uid": "uid-routed", "controller": true,
            }])
        };
        let experiment = |owners: Value| object("try", 1, &json!({"owners": owners, "spec": {}}));
        let route = |owners: Value| caches.route_to(&ExperimentRecord::new(experiment(owners)).1);
        let leads_to = |names: &[&str]| Route::LeadsTo(names.iter().map(ToString::to_string).collect());
        assert_eq!(route(owner("routed")), leads_to(&[]), "there is no Rollout");
        caches.wrote_experiment(experiment(owner("routed")));
        let spec = json!({"spec": {"strategy": {"canary": {
            "canaryService": "canary", "stableService": "stable", "trafficRouting": {"smi": {}},
        }}}});
        let rollout = |version: u32, additional: Value| -> RolloutObject {
            let found: crate::api::Rollout = object("routed", version, &spec);
            let mut found = serde_json::to_value(found).unwrap();
            let weights = json!({"canary": {"weight": 0}, "stable": {"weight": 0}, "additional": additional});
            found["status"] = json!({"canary": {"weights": weights}});
            serde_json::from_value(found).unwrap()
        };
        let shares = json!([{"weight": 5, "serviceName": "try-a"}, {"weight": 0, "serviceName": "try-b"}]);
        let drain = || {
            let mut due = 0;
            while let Some(key) = futures::FutureExt::now_or_never(caches.experiment_queue.next()) {
                due += 1;
                caches.experiment_queue.done(&key, crate::controller::queue::Next::Forget);
            }
            due
        };
        drain();
        caches.rollout_event(Event::Apply(rollout(2, shares.clone())));
        assert_eq!((drain(), route(owner("routed"))), (1, leads_to(&["try-a", "try-b"])));
        assert_eq!(route(owner("web")), leads_to(&[]), "it is another one");
        assert_eq!(route(Value::Null), leads_to(&[]), "it is on its own");
        let unreadable = json!({
            "metadata": {"name": "routed", "namespace": "shop", "uid": "uid-routed", "resourceVersion": "3"}, "spec": 1,
        });
        caches.rollout_event(Event::Apply(serde_json::from_value(unreadable).unwrap()));
        assert_eq!(route(owner("routed")), Route::Unknown);
        caches.rollout_event(Event::Apply(rollout(4, shares.clone())));
        caches.rollout_event(Event::Delete(rollout(5, shares)));
        assert_eq!(route(owner("routed")), leads_to(&["try-a", "try-b"]));
        let gone = caches.departed(&Key::new("shop", "routed")).unwrap();
        drain();
        caches.forget_departed(&gone.0);
        assert_eq!((drain(), route(owner("routed"))), (1, leads_to(&[])));
    }

    #[tokio::test]
    async fn owners_of_runs_do_not_wait_where_only_analyses_are_looked_at() {
        let caches = Caches::new([Watched::AnalysisRuns]);
        for kind in ["Rollout", "Experiment"] {
            let owner = json!([{
                "apiVersion": "argoproj.io/v1alpha1", "kind": kind, "name": "web", "uid": "uid-web", "controller": true,
            }]);
            caches.run_event(Event::Apply(object(
                "run",
                2,
                &json!({"owners": owner, "spec": {"metrics": []}}),
            )));
        }
        let queues = [&caches.rollout_queue, &caches.experiment_queue, &caches.run_queue];
        assert_eq!(queues.map(Queue::due), [0, 0, 1]);
    }

    #[tokio::test]
    async fn a_rollout_is_due_when_its_replica_set_changes_and_no_other_is() {
        let caches = caches();
        let owner = json!([{
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "uid": "uid-web", "controller": true,
        }]);
        let set = |version, replicas| {
            object("web-abc", version, &json!({"owners": owner, "spec": {"replicas": replicas}}))
        };
        caches.replica_set_event(Event::Apply(set(2, 1)));
        assert_eq!(drain(&caches), ["web"]);
        caches.replica_set_event(Event::Apply(set(3, 1)));
        assert!(drain(&caches).is_empty(), "nothing that a decision sees has changed");
        caches.wrote_replica_set(&set(5, 2));
        assert_eq!(drain(&caches), ["web"]);
        caches.replica_set_event(Event::Apply(set(4, 1)));
        assert!(drain(&caches).is_empty(), "an older state came late");
        caches.replica_set_event(Event::Delete(set(6, 2)));
        assert_eq!(drain(&caches), ["web"]);
    }

    #[tokio::test]
    async fn a_rollout_is_due_when_a_template_changes_that_it_reaches_through_others() {
        let caches = caches();
        let names = |next: Value| json!({"spec": {"templates": [next]}});
        caches.template_event(Event::Apply(object(
            "outer",
            2,
            &names(json!({"templateName": "wide", "clusterScope": true})),
        )));
        assert_eq!(drain(&caches), ["web"]);
        let wide = json!({"cluster": true, "spec": {"templates": [{"templateName": "inner"}]}});
        caches.cluster_template_event(Event::Apply(object("wide", 3, &wide)));
        assert_eq!(drain(&caches), ["web"]);
        caches.template_event(Event::Apply(object("inner", 4, &names(json!({"templateName": "outer"})))));
        assert_eq!(drain(&caches), ["web"], "a circle ends");
        caches.template_event(Event::Apply(object("unrelated", 5, &json!({"spec": {}}))));
        assert!(drain(&caches).is_empty());
    }

    #[tokio::test]
    async fn a_rollout_is_due_when_the_selector_of_its_service_changes() {
        let caches = caches();
        let service =
            |version, color| object("stable", version, &json!({"spec": {"selector": {"color": color}}}));
        caches.service_event(Event::Apply(service(2, "blue")));
        assert_eq!(drain(&caches), ["web"]);
        caches.service_event(Event::Apply(service(3, "blue")));
        assert!(drain(&caches).is_empty());
        caches.service_event(Event::Apply(service(4, "green")));
        assert_eq!(drain(&caches), ["web"]);
    }

    #[tokio::test]
    async fn a_kind_counts_as_synced_once_it_was_listed_and_says_what_is_in_the_way_until_then() {
        let caches = Caches::new([Watched::Rollouts]);
        caches.rollout_event(Event::Init);
        assert!(caches.set_problem(Watched::Rollouts, Some("not installed")));
        assert!(!caches.set_problem(Watched::Rollouts, Some("not installed")), "no news");
        assert_eq!(caches.missing(), [(Watched::Rollouts, "not installed".to_owned())]);
        caches.rollout_event(Event::InitDone);
        assert!(caches.missing().is_empty());
        caches.synced().await;
    }
}
