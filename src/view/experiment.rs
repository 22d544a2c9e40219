//! An Experiment: its templates with their pods, and its AnalysisRuns.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::is_owned;
use super::replica_set::{self, ReplicaSetView, Role, has_pods};
use super::run::{self, RunView};
use super::tree::{ImageView, add_image};
use crate::api::labels::EXPERIMENT_TEMPLATE_NAME;
use crate::api::{AnalysisPhase, AnalysisRun, Experiment};
use crate::units::{Timestamp, parse_duration};

/// An Experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentView {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its phase; `Pending` before its first pass.
    pub phase: AnalysisPhase,
    /// Why it has that phase.
    pub message: Option<String>,
    /// How long it runs once its pods are available, as it was written; `None` for no end by time.
    pub duration: Option<String>,
    /// When that is over; `None` before its pods were available, and for no end by time.
    pub ends_at: Option<Timestamp>,
    /// The images that run, and as what.
    pub images: Vec<ImageView>,
    /// The ReplicaSets of its templates, by name.
    pub replica_sets: Vec<ReplicaSetView>,
    /// Its analyses, oldest first.
    pub runs: Vec<RunView>,
    /// When it was created.
    pub created: Option<Timestamp>,
}

/// Reads an Experiment; what it owns is among the objects of its namespace.
#[must_use]
pub fn view(found: &Experiment, sets: &[ReplicaSet], pods: &[Pod], runs: &[AnalysisRun]) -> ExperimentView {
    let status = found.status.clone().unwrap_or_default();
    let mut sets: Vec<&ReplicaSet> =
        sets.iter().filter(|set| is_owned(&set.metadata, &found.metadata)).collect();
    sets.sort_by_key(|set| set.name_any());
    let mut images = Vec::new();
    for set in sets.iter().filter(|set| has_pods(set)) {
        for image in replica_set::images(set) {
            add_image(&mut images, image, roles(set));
        }
    }
    let runs = runs.iter().filter(|run| is_owned(&run.metadata, &found.metadata));
    let mut runs: Vec<RunView> = runs.map(run::view).collect();
    runs.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    let duration = found.spec.duration.clone().filter(|text| !text.is_empty());
    let length = duration.as_deref().and_then(parse_duration);
    ExperimentView {
        name: found.name_any(),
        namespace: found.namespace().unwrap_or_default(),
        phase: status.phase.unwrap_or(AnalysisPhase::Pending),
        message: status.message.filter(|message| !message.is_empty()),
        ends_at: status.available_at.and_then(|at| Some(at.plus(length?))),
        duration,
        images,
        replica_sets: sets.into_iter().map(|set| replica_set::view(set, roles(set), pods)).collect(),
        runs,
        created: found.creation_timestamp().as_ref().map(Timestamp::from),
    }
}

fn roles(set: &ReplicaSet) -> Vec<Role> {
    set.annotations()
        .get(EXPERIMENT_TEMPLATE_NAME)
        .map(|name| Role::Template(name.clone()))
        .into_iter()
        .collect()
}
