//! Deployments, ReplicaSets and PodTemplates that Rollouts refer to, watched only while some Rollout does.

mod objects;

use std::sync::Arc;

use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource};
use tokio::task::JoinSet;
use tracing::{debug, info};

use super::caches::{Caches, Watched, take};
use super::demand::Demand;
use super::options::Options;
use super::records::Readable;
use super::store::{Cached, Identity, Key, Link, Source, Store};
use super::watch::{Watch, namespaced};
use crate::api::{RolloutSpec, labels};
use crate::rollout::workload::{Generations, Referenced, Workload, WorkloadKind};

pub(crate) use objects::{DeploymentObject, PodTemplateObject, ReplicaSetTemplateObject, WorkloadRecord};

/// The workloads that are known, by kind.
pub(crate) struct Workloads {
    deployments: Store<WorkloadRecord>,
    replica_sets: Store<WorkloadRecord>,
    pod_templates: Store<WorkloadRecord>,
    demand: Demand<WorkloadKind>,
}

impl Workloads {
    pub(crate) fn new() -> Self {
        Self {
            deployments: Store::new(),
            replica_sets: Store::new(),
            pod_templates: Store::new(),
            demand: Demand::new(),
        }
    }

    /// The objects of a kind.
    pub(crate) const fn of(&self, kind: WorkloadKind) -> &Store<WorkloadRecord> {
        match kind {
            WorkloadKind::Deployment => &self.deployments,
            WorkloadKind::ReplicaSet => &self.replica_sets,
            WorkloadKind::PodTemplate => &self.pod_templates,
        }
    }

    /// Nobody refers to the kind any more.
    fn forget(&self, kind: WorkloadKind) {
        self.demand.forget(kind);
        self.of(kind).clear();
    }
}

/// The link of a Rollout to the workload that it refers to; `None` when it refers to none that can be looked up.
pub(crate) fn link(spec: &RolloutSpec, namespace: &str) -> Option<Link> {
    let reference = spec.workload_ref.as_ref()?;
    let kind = WorkloadKind::of(reference)?;
    let name = reference.name.as_deref().filter(|name| !name.is_empty())?;
    Some(Link::Workload { kind, key: Key::new(namespace, name) })
}

fn is_of(kind: WorkloadKind) -> impl Fn(&Link) -> bool {
    move |link| matches!(link, Link::Workload { kind: of, .. } if *of == kind)
}

impl Caches {
    /// What a reference to a workload leads to.
    pub(crate) fn referenced(&self, spec: &RolloutSpec, namespace: &str) -> Referenced {
        let Some(Link::Workload { kind, key }) = link(spec, namespace) else { return Referenced::Nothing };
        if !self.workloads.demand.is_listed(kind) {
            let problem = self.problem(Watched::Workloads(kind));
            return problem.map_or(Referenced::Awaited, Referenced::Unreadable);
        }
        let found = self.workloads.of(kind).get(&key).and_then(|found| found.value.workload());
        found.map_or(Referenced::Missing, |workload: Workload| Referenced::Found(Box::new(workload)))
    }

    /// The generations that a Rollout's template is of.
    pub(crate) fn generations(&self, rollout: &Readable, generation: Option<i64>) -> Generations {
        let workload = rollout.workload().and_then(|(kind, key)| self.workloads.of(kind).get(key));
        Generations { rollout: generation, workload: workload.map(|found| found.value.generation) }
    }

    /// Rollouts refer to other workloads than before: kinds may have to be watched, or may be watched no more.
    pub(crate) fn review_workloads(&self) {
        let kinds = WorkloadKind::ALL.into_iter().filter(|kind| self.rollouts.any_link(is_of(*kind)));
        self.workloads.demand.want(kinds.collect());
    }

    /// Every Rollout that refers to an object of the kind is looked at.
    pub(crate) fn queue_readers_of_kind(&self, kind: WorkloadKind) {
        for key in self.rollouts.keys_with(is_of(kind)) {
            self.rollout_queue.add(&key);
        }
    }

    fn deployment_event(&self, event: Event<DeploymentObject>) {
        self.workload_event(WorkloadKind::Deployment, event);
    }

    fn replica_set_template_event(&self, event: Event<ReplicaSetTemplateObject>) {
        self.workload_event(WorkloadKind::ReplicaSet, event);
    }

    fn pod_template_event(&self, event: Event<PodTemplateObject>) {
        self.workload_event(WorkloadKind::PodTemplate, event);
    }

    fn workload_event<K>(&self, kind: WorkloadKind, event: Event<K>)
    where
        K: Resource<DynamicType = ()>,
        (Identity, WorkloadRecord): From<K>,
    {
        let taken = take(self.workloads.of(kind), event, |object| Some(object.into()));
        for change in &taken.changes {
            self.queue_readers(&Link::Workload { kind, key: change.key.clone() });
        }
        if taken.complete && self.workloads.demand.set_listed(kind) {
            self.queue_readers_of_kind(kind);
        }
    }

    /// A Deployment as the answer to a write shows it.
    pub(crate) fn wrote_deployment(&self, object: DeploymentObject) {
        let (identity, record) = object.into();
        let link = Link::Workload { kind: WorkloadKind::Deployment, key: identity.key.clone() };
        if self.workloads.deployments.put(identity, record, Source::Write).is_some() {
            self.queue_readers(&link);
        }
    }
}

impl Cached for WorkloadRecord {
    fn links(&self) -> Vec<Link> {
        Vec::new()
    }
}

/// Watches the kinds that are wanted, for as long as they are.
pub(crate) async fn follow(client: Client, options: Options, caches: Arc<Caches>) {
    let start = |kind: WorkloadKind| {
        info!(kind = kind.as_str(), "a rollout refers to one, watching them from now on");
        start(kind, &client, &options, &caches)
    };
    let end = |kind: WorkloadKind| {
        caches.workloads.forget(kind);
        caches.set_problem(Watched::Workloads(kind), None);
        debug!(kind = kind.as_str(), "no rollout refers to one any more");
    };
    caches.workloads.demand.follow(start, end).await;
}

fn start(kind: WorkloadKind, client: &Client, options: &Options, caches: &Arc<Caches>) -> JoinSet<()> {
    let watch = Watch::new(Watched::Workloads(kind), caches);
    let everything = watcher::Config::default();
    let mut tasks = JoinSet::new();
    match kind {
        WorkloadKind::Deployment => {
            tasks.spawn(watch.run(namespaced(client, options), everything, Caches::deployment_event));
        }
        WorkloadKind::ReplicaSet => {
            // Those of Rollouts are known already, and no Rollout refers to one.
            let others = everything.labels(&format!("!{}", labels::POD_TEMPLATE_HASH));
            let feed = Caches::replica_set_template_event;
            tasks.spawn(watch.run(namespaced(client, options), others, feed));
        }
        WorkloadKind::PodTemplate => {
            tasks.spawn(watch.run(namespaced(client, options), everything, Caches::pod_template_event));
        }
    }
    tasks
}

#[cfg(test)]
mod tests;
