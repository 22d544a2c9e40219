//! The pods of each template: its ReplicaSet and its Service, and whether they are available.

use std::collections::BTreeMap;

use serde_json::Value;

use super::effect::{Effect, NewService};
use super::valid::{Service, Template, ValidSpec};
use super::{ObjectKind, Snapshot, Why};
use crate::api::ExperimentStatus;
use crate::api::experiment::TemplateStatus;
use crate::api::labels::{
    EXPERIMENT_NAME, EXPERIMENT_TEMPLATE_NAME, POD_TEMPLATE_HASH, SCALE_DOWN_DEADLINE, TEMPLATE_HASH,
};
use crate::rollout::effect::{Annotations, NewReplicaSet};
use crate::rollout::pod_hash::pod_template_hash;
use crate::rollout::revision::{labelled, object_under, with_hash};
use crate::rollout::snapshot::{self, ReplicaSet};
use crate::rollout::valid::template_labels;
use crate::units::{PodHash, ReplicaCount, Timestamp};

/// `templateStatuses[].status`: pods are waited for.
pub(super) const PROGRESSING: &str = "Progressing";
/// All pods are available.
pub(super) const RUNNING: &str = "Running";
/// The Experiment has ended.
pub(super) const SUCCESSFUL: &str = "Successful";
/// It did not become available in time.
pub(super) const FAILED: &str = "Failed";

/// What a template is in the cluster.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// Name of its ReplicaSet.
    pub(super) set: String,
    /// The hash that its pods carry.
    pub(super) hash: PodHash,
    /// Names of its ReplicaSet that were somebody else's; `None` for none.
    collisions: Option<i32>,
}

impl Identity {
    /// That of a template.
    pub(super) fn of(
        snapshot: &Snapshot,
        spec: &ValidSpec,
        template: &Template,
        before: &ExperimentStatus,
    ) -> Self {
        let named = |count: i32| set_name(snapshot, &template.name, count);
        let is_free = |count: i32| {
            let name = named(count);
            let is_others = spec
                .templates
                .iter()
                .any(|other| other.name != template.name && set_name(snapshot, &other.name, 0) == name);
            !is_others && !snapshot.is_taken(ObjectKind::ReplicaSet, &name)
        };
        let recorded = status_of(before, &template.name).and_then(|status| status.collision_count);
        let first = recorded.unwrap_or_default().max(0);
        let most = snapshot.obstacles.len().saturating_add(spec.templates.len());
        let last = first.saturating_add(i32::try_from(most).unwrap_or(i32::MAX));
        let count = (first..=last).find(|count| is_free(*count)).unwrap_or(first);
        let collisions = (count > 0).then_some(count);
        let set = named(count);
        // A ReplicaSet that exists keeps the hash that it was made with, whoever made it.
        let hash = snapshot.replica_set(&set).map(|set| set.hash.clone());
        Self { hash: hash.unwrap_or_else(|| hash_of(snapshot, template, collisions)), set, collisions }
    }

    /// Name of its Service.
    pub(super) fn service<'a>(&'a self, service: &'a Service) -> &'a str {
        service.name.as_deref().unwrap_or(&self.set)
    }
}

/// The hash of a template. Experiment and name are part of it, so that its pods are nobody else's: neither those of a
/// template that says the same, nor those of the Rollout's own version.
fn hash_of(snapshot: &Snapshot, template: &Template, collisions: Option<i32>) -> PodHash {
    let mut marked = template.template.clone();
    if let Some(marked) = marked.as_object_mut() {
        let metadata = object_under(marked, "metadata");
        if let Some(found) = metadata.and_then(|metadata| object_under(metadata, "annotations")) {
            let marks = marks(snapshot, &template.name).into_iter();
            found.extend(marks.map(|(key, value)| (key, Value::String(value))));
        }
    }
    PodHash::new(pod_template_hash(&marked, collisions)).unwrap_or_else(PodHash::unknown)
}

/// The annotations on everything that is made of a template.
fn marks(snapshot: &Snapshot, template: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (EXPERIMENT_NAME.to_owned(), snapshot.name().to_owned()),
        (EXPERIMENT_TEMPLATE_NAME.to_owned(), template.to_owned()),
    ])
}

/// Name of the ReplicaSet of a template whose first names were somebody else's so often.
pub(super) fn set_name(snapshot: &Snapshot, template: &str, collisions: i32) -> String {
    let base = format!("{}-{template}", snapshot.name());
    match collisions {
        0 => base,
        count => format!("{base}-{count}"),
    }
}

/// Where a template stood.
pub(super) fn status_of<'a>(before: &'a ExperimentStatus, name: &str) -> Option<&'a TemplateStatus> {
    before.template_statuses.iter().flatten().find(|status| status.name == name)
}

/// Where a template stands, and what brings it on.
#[derive(Clone, Debug)]
pub(super) struct Next {
    pub(super) status: TemplateStatus,
    pub(super) effects: Vec<Effect>,
    pub(super) wake: Option<Timestamp>,
}

/// What of a template is missing, and why.
#[derive(Default)]
struct Missing {
    effects: Vec<Effect>,
    /// What is in the way.
    why: Option<String>,
    retry_at: Option<Timestamp>,
}

/// Brings a template on.
pub(super) fn next(
    snapshot: &Snapshot,
    spec: &ValidSpec,
    template: &Template,
    identity: &Identity,
    before: &ExperimentStatus,
) -> Next {
    let set = snapshot.replica_set(&identity.set);
    let mut missing = Missing::default();
    let has_pods = set.is_some_and(|set| {
        set.observed && set.size == template.replicas && set.available >= template.replicas
    });
    let service = template.service.as_ref().map(|service| (service, identity.service(service)));
    let mut has_service = service.is_none();
    if let Some(set) = set {
        let is_led_to = service.is_some_and(|(_, name)| snapshot.is_led_to(name));
        missing.effects.extend(followed(template, set, is_led_to));
        if let Some((service, name)) = service {
            let wanted = new_service(snapshot, template, identity, name, service);
            has_service = missing.lead(snapshot, wanted);
        }
    } else {
        let new = new_set(snapshot, template, identity);
        missing.make(snapshot, Effect::CreateReplicaSet(Box::new(new)));
    }
    let why = missing.why.or_else(|| set.and_then(|set| set.failure.clone()));
    let why = why.or_else(|| set.and_then(|set| was_edited(template, set)));
    let (mut status, deadline) = stands(snapshot, spec, template, has_pods && has_service, why, before);
    status.service_name = service.map(|(_, name)| name.to_owned());
    status.pod_template_hash = Some(identity.hash.to_string());
    status.collision_count = identity.collisions;
    count(&mut status, set);
    Next { status, effects: missing.effects, wake: deadline.into_iter().chain(missing.retry_at).min() }
}

impl Missing {
    /// Lets a Service lead to the pods, which tell by their ReplicaSet whose they are; whether it does already.
    fn lead(&mut self, snapshot: &Snapshot, wanted: NewService) -> bool {
        match snapshot.services.get(&wanted.name) {
            None => self.make(snapshot, Effect::CreateService(Box::new(wanted))),
            Some(found) if found.selector == wanted.selector => return true,
            Some(found) => {
                let selector = difference(found, &wanted);
                self.effects.push(Effect::UpdateService { name: wanted.name, selector });
            }
        }
        false
    }

    /// Makes something, unless that failed a short time ago.
    fn make(&mut self, snapshot: &Snapshot, effect: Effect) {
        let obstacle =
            effect.makes().and_then(|(kind, name)| Some((kind, name, snapshot.obstacle(kind, name)?)));
        if let Some((kind, name, obstacle)) = obstacle {
            let kind = kind.as_str();
            self.why = Some(match &obstacle.why {
                Why::Refused(message) => format!("cannot create {kind} '{name}': {message}"),
                Why::Taken => format!(
                    "{kind} '{name}' exists and does not belong to this Experiment: delete it, or choose another name"
                ),
            });
            if obstacle.retry_at > snapshot.now {
                let earlier = self.retry_at.map_or(obstacle.retry_at, |at| at.min(obstacle.retry_at));
                self.retry_at = Some(earlier);
                return;
            }
        }
        self.effects.push(effect);
    }
}

/// Its status but for what names and counts say, and when its time is over.
fn stands(
    snapshot: &Snapshot,
    spec: &ValidSpec,
    template: &Template,
    is_available: bool,
    why: Option<String>,
    before: &ExperimentStatus,
) -> (TemplateStatus, Option<Timestamp>) {
    let now = snapshot.now;
    let recorded = status_of(before, &template.name);
    let waited = recorded
        .filter(|status| status.status.as_deref() == Some(PROGRESSING) && !super::status::is_invalid(before));
    let since = waited.and_then(|status| status.last_transition_time).unwrap_or(now.whole_seconds());
    let deadline = since.plus(spec.progress_deadline);
    let (status, message, wake) = match () {
        () if is_available => (RUNNING, why, None),
        () if deadline > now => (PROGRESSING, why, Some(deadline)),
        () => {
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            let seconds = spec.progress_deadline.as_secs();
            let message =
                format!("Template '{}' exceeded its progressDeadlineSeconds ({seconds}){why}", template.name);
            (FAILED, Some(message), None)
        }
    };
    let same = recorded.filter(|recorded| recorded.status.as_deref() == Some(status));
    let last_transition_time = match status {
        PROGRESSING => Some(since),
        _ => same.and_then(|same| same.last_transition_time).or(Some(now.whole_seconds())),
    };
    let status = TemplateStatus {
        name: template.name.clone(),
        status: Some(status.to_owned()),
        message,
        last_transition_time,
        ..TemplateStatus::default()
    };
    (status, wake)
}

/// Writes down how many pods there are.
pub(super) fn count(status: &mut TemplateStatus, set: Option<&ReplicaSet>) {
    let note = |field: &mut Option<i32>, count: Option<ReplicaCount>| {
        let count = count.unwrap_or_default().to_status();
        // Absent and none are the same: that is no reason to write.
        if field.unwrap_or_default() != count {
            *field = Some(count);
        }
    };
    note(&mut status.replicas, set.map(|set| set.replicas));
    note(&mut status.updated_replicas, set.map(|set| set.replicas));
    note(&mut status.ready_replicas, set.map(|set| set.ready));
    note(&mut status.available_replicas, set.map(|set| set.available));
}

/// What of a ReplicaSet follows the template. The last pod of one that traffic flows to stays.
fn followed(template: &Template, set: &ReplicaSet, is_led_to: bool) -> Option<Effect> {
    let mut annotations = Annotations::new();
    if set.scale_down_deadline.is_some() {
        annotations.insert(SCALE_DOWN_DEADLINE.to_owned(), None);
    }
    let least = if is_led_to { set.size.min(ReplicaCount::new(1)) } else { ReplicaCount::ZERO };
    let to = template.replicas.max(least);
    if set.size != to {
        let (name, from) = (set.name.clone(), set.size);
        return Some(Effect::ScaleReplicaSet { name, from, to, annotations });
    }
    let min_ready = template.min_ready_seconds;
    let min_ready_seconds = (set.min_ready_seconds != min_ready).then_some(min_ready);
    let is_right = annotations.is_empty() && min_ready_seconds.is_none();
    (!is_right).then(|| Effect::UpdateReplicaSet { name: set.name.clone(), annotations, min_ready_seconds })
}

/// Tells that a template was changed too late: pods are made once.
fn was_edited(template: &Template, set: &ReplicaSet) -> Option<String> {
    let noted = set.template_hash.as_ref()?;
    let is_same = noted.as_str() == pod_template_hash(&template.template, None);
    let message =
        "the pod template has changed since its pods were made, which has no effect: make another Experiment";
    (!is_same).then(|| message.to_owned())
}

fn new_set(snapshot: &Snapshot, template: &Template, identity: &Identity) -> NewReplicaSet {
    let mut labels = template_labels(&template.template);
    labels.insert(POD_TEMPLATE_HASH.to_owned(), identity.hash.to_string());
    let mut annotations = marks(snapshot, &template.name);
    annotations.insert(TEMPLATE_HASH.to_owned(), pod_template_hash(&template.template, None));
    NewReplicaSet {
        name: identity.set.clone(),
        labels,
        annotations,
        selector: with_hash(&template.selector, &identity.hash),
        template: labelled(&template.template, &identity.hash),
        replicas: template.replicas,
        min_ready_seconds: template.min_ready_seconds,
    }
}

/// What has to change in a Service's selector.
fn difference(found: &snapshot::Service, wanted: &NewService) -> BTreeMap<String, Option<String>> {
    let surplus = found.selector.keys().filter(|key| !wanted.selector.contains_key(*key));
    let surplus = surplus.map(|key| (key.clone(), None));
    let missing = wanted.selector.iter().filter(|(key, value)| found.selector.get(*key) != Some(value));
    surplus.chain(missing.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

fn new_service(
    snapshot: &Snapshot,
    template: &Template,
    identity: &Identity,
    name: &str,
    service: &Service,
) -> NewService {
    let selector = with_hash(&template.selector, &identity.hash);
    NewService {
        name: name.to_owned(),
        annotations: marks(snapshot, &template.name),
        selector: selector.match_labels.unwrap_or_default(),
        ports: service.ports.clone(),
    }
}
