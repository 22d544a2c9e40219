//! What the caches keep of each kind: enough for a pass and for the metrics, and no more.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

use super::figures::{Figures, MetricFigures};
use super::store::{Cached, Identity, Key, Link, OwnerKind};
use super::wire::{ReplicaSetObject, RolloutObject, ServiceObject, Unreadable, trim};
use super::{references, routes, workloads};
use crate::api::analysis_template::AnalysisTemplateRef;
use crate::api::{
    AnalysisPhase, AnalysisRun, AnalysisRunStatus, AnalysisTemplateSpec, Experiment, Rollout, labels,
};
use crate::experiment::Route;
use crate::rollout::injection::Injected;
use crate::rollout::snapshot::{Outcome, ReplicaSet, Service};
use crate::rollout::workload::WorkloadKind;
use crate::traffic::{self, Need, Routers};
use crate::units::{PodHash, ReplicaCount, Revision, Timestamp};

/// Namespace in a link that stands for the namespace of whoever follows it.
pub(crate) const ANY_NAMESPACE: &str = "*";

/// A Rollout, as compact JSON: a tenth of what the tree of values takes, and read once per pass.
#[derive(Debug, PartialEq)]
pub(crate) struct RolloutRecord {
    pub(crate) content: Result<Readable, Unreadable>,
    pub(crate) generation: Option<i64>,
}

/// A Rollout that could be read.
#[derive(Debug, PartialEq)]
pub(crate) struct Readable {
    json: Box<[u8]>,
    links: Vec<Link>,
    routes: Vec<Need>,
    has_pending_notices: bool,
    pub(crate) figures: Figures,
}

impl RolloutRecord {
    /// Whether its status tells of notifications that were not delivered.
    pub(crate) fn has_pending_notices(&self) -> bool {
        self.content.as_ref().is_ok_and(|found| found.has_pending_notices)
    }

    /// Which Services of Experiments its route leads to, or may.
    pub(crate) fn route_to_experiments(&self) -> Route {
        let readable = self.content.as_ref().ok();
        let Some(rollout) = readable.and_then(|found| serde_json::from_slice::<Rollout>(&found.json).ok())
        else {
            return Route::Unknown;
        };
        let canary = rollout.status.and_then(|status| status.canary);
        let shares = canary.and_then(|canary| canary.weights?.additional).into_iter().flatten();
        Route::LeadsTo(shares.filter_map(|share| share.service_name).collect())
    }

    /// Takes a Rollout in. Without its resource version, which is part of the identity.
    pub(crate) fn new(object: RolloutObject) -> (Identity, Self) {
        let identity = Identity::of(object.meta());
        let generation = object.meta().generation;
        let content = object.content.and_then(|rollout| Readable::new(*rollout));
        (identity, Self { content, generation })
    }
}

impl Readable {
    pub(super) fn new(mut rollout: Rollout) -> Result<Self, Unreadable> {
        rollout.metadata.resource_version = None;
        let namespace = rollout.metadata.namespace.clone().unwrap_or_default();
        let left = traffic::with_route_left(&rollout);
        let services = references::services(&rollout.spec).into_iter();
        let services = services.chain(left.iter().flat_map(|left| references::services(&left.spec)));
        let services = services.map(|name| Link::Service(Key::new(&namespace, name)));
        let templates = references::templates(&rollout.spec);
        let workload = workloads::link(&rollout.spec, &namespace);
        let needs_left = left.iter().flat_map(|left| Routers::of(left).needs());
        let routes: Vec<Need> = Routers::of(&rollout).needs().into_iter().chain(needs_left).collect();
        let links = services
            .chain(templates.iter().filter_map(|found| template_link(found, &namespace)))
            .chain(workload)
            .chain(routes.iter().map(routes::link))
            .collect();
        let figures = Figures::new(&rollout);
        let json = serde_json::to_vec(&rollout)
            .map_err(|error| Unreadable { error: error.to_string(), status: serde_json::Value::Null })?;
        let pending = rollout.status.as_ref().and_then(|status| status.pending_notifications.as_ref());
        let has_pending_notices = pending.is_some_and(|pending| !pending.is_empty());
        Ok(Self { json: json.into(), links, routes, has_pending_notices, figures })
    }

    /// The workload that it takes its pod template from.
    pub(crate) fn workload(&self) -> Option<(WorkloadKind, &Key)> {
        self.links.iter().find_map(|link| match link {
            Link::Workload { kind, key } => Some((*kind, key)),
            Link::Owner { .. }
            | Link::Template(_)
            | Link::Service(_)
            | Link::Route { .. }
            | Link::Routes { .. }
            | Link::Namespace(_) => None,
        })
    }

    /// The objects that its routers need.
    pub(crate) fn routes(&self) -> &[Need] {
        &self.routes
    }

    /// The Rollout again, at the version of `identity`.
    pub(crate) fn rollout(&self, identity: &Identity) -> Result<Rollout, serde_json::Error> {
        let mut rollout: Rollout = serde_json::from_slice(&self.json)?;
        rollout.metadata.resource_version = Some(identity.version.to_string());
        Ok(rollout)
    }
}

impl Cached for RolloutRecord {
    fn links(&self) -> Vec<Link> {
        self.content.as_ref().map(|readable| readable.links.clone()).unwrap_or_default()
    }
}

/// An AnalysisRun. Of one that has ended, what it measured with and each measurement are not kept: nobody looks at them
/// again, and they are most of it.
#[derive(Debug, PartialEq)]
pub(crate) struct RunRecord {
    run: AnalysisRun,
    owner: Option<Link>,
    pub(crate) figures: Vec<MetricFigures>,
}

impl RunRecord {
    pub(crate) fn new(mut run: AnalysisRun) -> (Identity, Self) {
        let identity = Identity::of(&run.metadata);
        trim(&mut run.metadata);
        run.metadata.resource_version = None;
        let owner = owner(&run.metadata);
        let figures = MetricFigures::of_run(&run);
        if let Some(status) = run.status.as_mut().filter(|status| has_ended(status)) {
            run.spec.metrics = None;
            run.spec.args = None;
            forget_measurements(status);
        }
        (identity, Self { run, owner, figures })
    }

    /// The run, at the version of `identity`.
    pub(crate) fn run(&self, identity: &Identity) -> AnalysisRun {
        let mut run = self.run.clone();
        run.metadata.resource_version = Some(identity.version.to_string());
        run
    }

    /// Its phase; `None` before its first pass.
    pub(crate) fn phase(&self) -> Option<AnalysisPhase> {
        self.run.status.as_ref().and_then(|status| status.phase)
    }
}

impl Cached for RunRecord {
    fn links(&self) -> Vec<Link> {
        self.owner.clone().into_iter().collect()
    }
}

fn has_ended(status: &AnalysisRunStatus) -> bool {
    status.phase.is_some_and(AnalysisPhase::is_completed)
}

/// Leaves of the status of a run that has ended what the caches keep of it; that of another is left whole.
pub(crate) fn forget_measurements(status: &mut AnalysisRunStatus) {
    if has_ended(status) {
        status.metric_results.iter_mut().flatten().for_each(|result| result.measurements = None);
        // What they say follows from the phase.
        status.conditions = None;
    }
}

/// An Experiment, as compact JSON. Of one that has ended, pod templates are not kept.
#[derive(Debug, PartialEq)]
pub(crate) struct ExperimentRecord {
    json: Box<[u8]>,
    links: Vec<Link>,
    pub(crate) phase: Option<AnalysisPhase>,
}

impl ExperimentRecord {
    pub(crate) fn new(mut experiment: Experiment) -> (Identity, Self) {
        let identity = Identity::of(&experiment.metadata);
        trim(&mut experiment.metadata);
        experiment.metadata.resource_version = None;
        let namespace = experiment.metadata.namespace.as_deref().unwrap_or_default();
        let templates = references::templates_of_experiment(&experiment.spec);
        let templates = templates.iter().filter_map(|found| template_link(found, namespace));
        let links = owner(&experiment.metadata).into_iter().chain(templates).collect();
        let phase = experiment.status.as_ref().and_then(|status| status.phase);
        if phase.is_some_and(AnalysisPhase::is_completed) {
            // Nobody makes pods of one that has ended, and they are most of it.
            experiment.spec.templates.iter_mut().flatten().for_each(|template| template.template = None);
        }
        let json = serde_json::to_vec(&experiment).unwrap_or_default();
        (identity, Self { json: json.into(), links, phase })
    }

    /// The Rollout that it is a step of, and its uid; `None` for one on its own.
    pub(crate) fn rollout(&self) -> Option<(&Key, &str)> {
        self.links.iter().find_map(|link| match link {
            Link::Owner { kind: OwnerKind::Rollout, key, uid } => Some((key, &**uid)),
            Link::Owner { kind: OwnerKind::Experiment, .. }
            | Link::Template(_)
            | Link::Service(_)
            | Link::Workload { .. }
            | Link::Route { .. }
            | Link::Routes { .. }
            | Link::Namespace(_) => None,
        })
    }

    /// The Experiment again, at the version of `identity`.
    pub(crate) fn experiment(&self, identity: &Identity) -> Result<Experiment, serde_json::Error> {
        let mut experiment: Experiment = serde_json::from_slice(&self.json)?;
        experiment.metadata.resource_version = Some(identity.version.to_string());
        Ok(experiment)
    }
}

impl Cached for ExperimentRecord {
    fn links(&self) -> Vec<Link> {
        self.links.clone()
    }
}

/// A ReplicaSet that carries the label of a revision.
#[derive(Debug, PartialEq)]
pub(crate) struct ReplicaSetRecord {
    /// What a decision sees; `None` while it is being deleted.
    pub(crate) view: Option<ReplicaSet>,
    /// Whether it has annotations at all; a JSON patch must know.
    pub(crate) annotated: bool,
    owner: Option<Link>,
}

impl ReplicaSetRecord {
    pub(crate) fn new(object: &ReplicaSetObject) -> (Identity, Self) {
        let identity = Identity::of(&object.metadata);
        let record = Self {
            view: view(object),
            annotated: object.metadata.annotations.is_some(),
            owner: owner(&object.metadata),
        };
        (identity, record)
    }
}

impl Cached for ReplicaSetRecord {
    fn links(&self) -> Vec<Link> {
        self.owner.clone().into_iter().collect()
    }
}

fn view(object: &ReplicaSetObject) -> Option<ReplicaSet> {
    let meta = &object.metadata;
    if meta.deletion_timestamp.is_some() {
        return None;
    }
    let label = meta.labels.as_ref().and_then(|labels| labels.get(labels::POD_TEMPLATE_HASH));
    let annotation = |key: &str| meta.annotations.as_ref().and_then(|annotations| annotations.get(key));
    let status = &object.status;
    let failure =
        status.conditions.iter().find(|found| found.r#type == "ReplicaFailure" && found.status == "True");
    Some(ReplicaSet {
        name: meta.name.clone().unwrap_or_default(),
        hash: PodHash::new(label?.clone())?,
        template_hash: annotation(labels::TEMPLATE_HASH).cloned().and_then(PodHash::new),
        revision: Revision::parse(annotation(labels::REVISION).map(String::as_str)),
        revision_history: annotation(labels::REVISION_HISTORY).cloned(),
        created_at: meta.creation_timestamp.as_ref().map(Timestamp::from),
        desired_annotation: annotation(labels::DESIRED_REPLICAS).and_then(|text| text.parse().ok()),
        size: ReplicaCount::from_status(object.spec.replicas.unwrap_or(1)),
        replicas: ReplicaCount::from_status(status.replicas),
        ready: ReplicaCount::from_status(status.ready_replicas),
        available: ReplicaCount::from_status(status.available_replicas),
        observed: status.observed_generation >= meta.generation.unwrap_or_default(),
        failure: failure.map(|condition| condition.message.clone()),
        min_ready_seconds: object.spec.min_ready_seconds,
        scale_down_deadline: annotation(labels::SCALE_DOWN_DEADLINE).and_then(|text| Timestamp::parse(text)),
        outcome: annotation(labels::OUTCOME).and_then(|text| Outcome::parse(text)),
        injected: Injected::read(
            meta.annotations.as_ref().unwrap_or(&BTreeMap::new()),
            object.spec.pod_anti_affinity(),
        ),
    })
}

/// A Service's selector.
#[derive(Debug, PartialEq)]
pub(crate) struct ServiceRecord {
    pub(crate) view: Service,
    pub(crate) annotated: bool,
    owner: Option<Link>,
}

impl ServiceRecord {
    pub(crate) fn new(object: ServiceObject) -> (Identity, Self) {
        let identity = Identity::of(&object.metadata);
        let owner = owner(&object.metadata);
        let annotations = object.metadata.annotations;
        let managed_by =
            annotations.as_ref().and_then(|annotations| annotations.get(labels::MANAGED_BY)).cloned();
        let ports = object.spec.ports.into_iter().flatten().filter_map(|port| port.port).collect();
        let view = Service { selector: object.spec.selector.unwrap_or_default(), managed_by, ports };
        (identity, Self { view, annotated: annotations.is_some(), owner })
    }
}

impl Cached for ServiceRecord {
    fn links(&self) -> Vec<Link> {
        self.owner.clone().into_iter().collect()
    }
}

/// A template of either scope.
#[derive(Debug, PartialEq)]
pub(crate) struct TemplateRecord {
    pub(crate) spec: AnalysisTemplateSpec,
    pub(crate) figures: Vec<MetricFigures>,
    links: Vec<Link>,
}

impl TemplateRecord {
    pub(crate) fn new(meta: &ObjectMeta, spec: AnalysisTemplateSpec) -> (Identity, Self) {
        let identity = Identity::of(meta);
        let namespace = meta.namespace.as_deref().unwrap_or(ANY_NAMESPACE);
        let nested = spec.templates.iter().flatten();
        let links = nested.filter_map(|found| template_link(found, namespace)).collect();
        let figures = MetricFigures::of_template(&spec);
        (identity, Self { spec, figures, links })
    }
}

impl Cached for TemplateRecord {
    fn links(&self) -> Vec<Link> {
        self.links.clone()
    }
}

/// The key of a template that is named in `namespace`; `None` without a name.
pub(crate) fn template_key(found: &AnalysisTemplateRef, namespace: &str) -> Option<Key> {
    let name = found.template_name.as_deref().filter(|name| !name.is_empty())?;
    Some(Key::new(if found.cluster_scope == Some(true) { "" } else { namespace }, name))
}

fn template_link(found: &AnalysisTemplateRef, namespace: &str) -> Option<Link> {
    template_key(found, namespace).map(Link::Template)
}

/// The Rollout or Experiment that controls an object.
fn owner(meta: &ObjectMeta) -> Option<Link> {
    let owner = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    let key = Key::new(meta.namespace.as_deref().unwrap_or_default(), &owner.name);
    Some(Link::Owner { kind: owner_kind(owner)?, key, uid: owner.uid.as_str().into() })
}

/// What kind an owner is; `None` for one that others take care of.
fn owner_kind(owner: &OwnerReference) -> Option<OwnerKind> {
    let is_ours = owner.api_version.split('/').next() == Some(&*Rollout::group(&()));
    let kinds = [(Rollout::kind(&()), OwnerKind::Rollout), (Experiment::kind(&()), OwnerKind::Experiment)];
    let kind = kinds.into_iter().find(|(kind, _)| *kind == owner.kind).map(|(_, kind)| kind);
    kind.filter(|_| is_ours)
}

/// The link of everything that an object owns.
pub(crate) fn owned_by(kind: OwnerKind, identity: &Identity) -> Link {
    Link::Owner { kind, key: identity.key.clone(), uid: Arc::clone(&identity.uid) }
}
