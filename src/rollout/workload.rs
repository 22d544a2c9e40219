//! The workload that a Rollout refers to in place of a pod template of its own: what is taken from it, and what is left out.
//!
//! Template and selector are looked up here and nowhere else, so that no decision asks where they come from. They are never
//! written into the Rollout. What becomes of the workload's own pods is told in `scale_down`.

mod scale_down;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Map, Value};

use super::snapshot::Snapshot;
use crate::api::labels::DEPLOYMENT_HASH;
use crate::api::rollout::WorkloadRef;
use crate::units::ReplicaCount;

pub use scale_down::Note;
pub(super) use scale_down::next as scale_down;

/// A kind of object that can stand in for a pod template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// `Deployment` of `apps/v1`.
    Deployment,
    /// `ReplicaSet` of `apps/v1`.
    ReplicaSet,
    /// `PodTemplate` of `v1`.
    PodTemplate,
}

impl WorkloadKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Deployment, Self::ReplicaSet, Self::PodTemplate];

    /// The kind that a reference names; `None` for one that cannot be referred to.
    #[must_use]
    pub fn of(reference: &WorkloadRef) -> Option<Self> {
        let version = reference.api_version.as_deref()?;
        let name = reference.kind.as_deref()?;
        Self::ALL.into_iter().find(|kind| (kind.api_version(), kind.as_str()) == (version, name))
    }

    /// Its API version.
    #[must_use]
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::Deployment | Self::ReplicaSet => "apps/v1",
            Self::PodTemplate => "v1",
        }
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::ReplicaSet => "ReplicaSet",
            Self::PodTemplate => "PodTemplate",
        }
    }
}

/// What the spec's `workloadRef` leads to.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Referenced {
    /// The spec refers to nothing, or to nothing that can be looked up.
    #[default]
    Nothing,
    /// The kind has not been listed yet: there is no fact to decide from, and nothing is done.
    Awaited,
    /// The kind cannot be listed, and why.
    Unreadable(String),
    /// There is no object of that name.
    Missing,
    /// The object, as it was last seen.
    Found(Box<Workload>),
}

/// A workload, as far as decisions need it.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Its pod template, as it is stored.
    pub template: Value,
    /// Its selector; a PodTemplate has none.
    pub selector: Option<LabelSelector>,
    /// Its generation.
    pub generation: i64,
    /// Pods asked for; `None` for a PodTemplate.
    pub size: Option<ReplicaCount>,
    /// What was noted on it when it was scaled down; `None` when it never was.
    pub note: Option<Note>,
}

/// The generations that a template is of: both count where it comes from a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generations {
    /// The Rollout's.
    pub rollout: Option<i64>,
    /// The workload's.
    pub workload: Option<i64>,
}

impl Referenced {
    /// The object, if it was seen.
    #[must_use]
    pub fn found(&self) -> Option<&Workload> {
        match self {
            Self::Found(workload) => Some(workload),
            Self::Nothing | Self::Awaited | Self::Unreadable(_) | Self::Missing => None,
        }
    }
}

impl Snapshot {
    /// The generations that the template is of.
    #[must_use]
    pub fn generations(&self) -> Generations {
        let workload = self.workload.found().map(|workload| workload.generation);
        Generations { rollout: self.rollout.metadata.generation, workload }
    }

    /// The pod template that is asked for, as it is stored: its hash is the revision's identity. `None` when there is
    /// none, or when it is not known.
    #[must_use]
    pub fn template(&self) -> Option<&Value> {
        let spec = &self.rollout.spec;
        let template = match &spec.workload_ref {
            Some(_) => self.workload.found().map(|workload| &workload.template),
            None => spec.template.as_ref(),
        };
        template.filter(|template| !template.is_null())
    }

    /// The pod template as pods get it: a Deployment's own hash stays behind, or its ReplicaSets would claim to have pods
    /// that they have not.
    #[must_use]
    pub fn pod_template(&self) -> Option<Value> {
        let mut template = self.template()?.clone();
        let wanted = self.rollout.spec.selector.as_ref().and_then(|selector| selector.match_labels.as_ref());
        let is_wanted = wanted.is_some_and(|labels| labels.contains_key(DEPLOYMENT_HASH));
        if self.rollout.spec.workload_ref.is_some() && !is_wanted {
            let labels = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut);
            labels.map(|labels: &mut Map<_, _>| labels.remove(DEPLOYMENT_HASH));
        }
        Some(template)
    }

    /// The selector: the spec's own, or that of the workload. `None` when there is none, or when it is not known.
    #[must_use]
    pub fn selector(&self) -> Option<LabelSelector> {
        let own = self.rollout.spec.selector.clone();
        own.or_else(|| {
            let mut selector = self.workload.found()?.selector.clone()?;
            selector.match_labels.iter_mut().for_each(|labels| drop(labels.remove(DEPLOYMENT_HASH)));
            Some(selector)
        })
    }
}

#[cfg(test)]
mod tests;
