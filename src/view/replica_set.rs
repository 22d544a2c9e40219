//! ReplicaSets and their pods.

use std::borrow::Cow;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::pod::PodState;
use super::text::Sign;
use super::{is_owned, pod};
use crate::api::labels::{POD_TEMPLATE_HASH, SCALE_DOWN_DEADLINE};
use crate::units::Timestamp;

/// What a ReplicaSet is to its owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The new version of a canary.
    Canary,
    /// The version that was promoted last.
    Stable,
    /// What users reach in a blue-green rollout.
    Active,
    /// What the preview Service reaches.
    Preview,
    /// A template of an Experiment, by its name.
    Template(String),
}

impl Role {
    /// The role's name.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Canary => "canary".into(),
            Self::Stable => "stable".into(),
            Self::Active => "active".into(),
            Self::Preview => "preview".into(),
            Self::Template(name) => format!("Σ:{name}").into(),
        }
    }
}

/// A ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSetView {
    /// Its name.
    pub name: String,
    /// Its pod hash.
    pub hash: Option<String>,
    /// What it is to its owner.
    pub roles: Vec<Role>,
    /// Icon of its state.
    pub sign: Sign,
    /// Its state in one word.
    pub state: &'static str,
    /// Why its pods cannot be created.
    pub failure: Option<String>,
    /// Pods asked for.
    pub size: i32,
    /// Pods that are available.
    pub available: i32,
    /// When its pods are taken away.
    pub scale_down_at: Option<Timestamp>,
    /// Its pods, oldest first.
    pub pods: Vec<PodView>,
    /// When it was created.
    pub created: Option<Timestamp>,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Icon of its state.
    pub sign: Sign,
    /// Its state in one word, as kubectl says it.
    pub state: String,
    /// What holds it up, in the cluster's words.
    pub detail: Option<String>,
    /// Containers that are ready.
    pub ready: usize,
    /// Containers in all.
    pub containers: usize,
    /// Restarts of its containers.
    pub restarts: i32,
    /// When it was created.
    pub created: Option<Timestamp>,
}

/// Reads a ReplicaSet with its pods, which are among `pods`.
pub(super) fn view(set: &ReplicaSet, roles: Vec<Role>, pods: &[Pod]) -> ReplicaSetView {
    let status = set.status.clone().unwrap_or_default();
    let failure = status.conditions.iter().flatten().find(|condition| condition.type_ == "ReplicaFailure");
    let failure = failure.filter(|condition| condition.status == "True");
    let failure = failure.map(|condition| condition.message.clone().unwrap_or_default());
    let available = status.available_replicas.unwrap_or_default();
    let (sign, state) = match (&failure, size(set)) {
        (Some(_), _) => (Sign::Bad, "Degraded"),
        (None, 0) if status.replicas == 0 => (Sign::Neutral, "ScaledDown"),
        (None, size) if available >= size && status.replicas == size => (Sign::Good, "Healthy"),
        (None, _) => (Sign::Moving, "Progressing"),
    };
    let deadline = set.annotations().get(SCALE_DOWN_DEADLINE).filter(|_| has_pods(set));
    ReplicaSetView {
        name: set.name_any(),
        hash: hash(set).cloned(),
        roles,
        sign,
        state,
        failure,
        size: size(set),
        available,
        scale_down_at: deadline.and_then(|text| Timestamp::parse(text)),
        pods: pods_of(set, pods),
        created: set.creation_timestamp().as_ref().map(Timestamp::from),
    }
}

fn pods_of(set: &ReplicaSet, all: &[Pod]) -> Vec<PodView> {
    let owned = all.iter().filter(|pod| is_owned(&pod.metadata, &set.metadata));
    let mut pods: Vec<PodView> = owned
        .map(|object| {
            let PodState { sign, word, detail, ready, containers, restarts } = pod::state(object);
            let created = object.creation_timestamp().as_ref().map(Timestamp::from);
            PodView {
                name: object.name_any(),
                sign,
                state: word,
                detail,
                ready,
                containers,
                restarts,
                created,
            }
        })
        .collect();
    pods.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    pods
}

/// Its pod hash.
pub(super) fn hash(set: &ReplicaSet) -> Option<&String> {
    set.labels().get(POD_TEMPLATE_HASH)
}

/// Names of the images that its pods run.
pub(super) fn images(set: &ReplicaSet) -> Vec<String> {
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    let spec = template.and_then(|template| template.spec.as_ref());
    let containers = spec.into_iter().flat_map(|spec| &spec.containers);
    containers.filter_map(|container| container.image.clone()).collect()
}

/// Whether it has pods, or is going to.
pub(super) fn has_pods(set: &ReplicaSet) -> bool {
    size(set) > 0 || set.status.as_ref().is_some_and(|status| status.replicas > 0)
}

fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default()
}
