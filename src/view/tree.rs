//! The tree of a rollout: revisions, their ReplicaSets with pods, their Experiments, their AnalysisRuns with
//! measurements.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::ResourceExt;

use super::experiment::ExperimentView;
use super::phase::{Standing, standing};
use super::replica_set::{ReplicaSetView, Role, has_pods, hash};
use super::run::RunView;
use super::{Observed, experiment, is_owned, replica_set, run, step};
use crate::api::Rollout;
use crate::api::labels::REVISION;
use crate::units::{Revision, StepIndex, Timestamp};

/// A rollout with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutView {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Where it stands.
    pub standing: Standing,
    /// The workload that its pod template comes from; `None` when it is its own.
    pub workload: Option<WorkloadView>,
    /// How a new version comes in, and how far it is.
    pub strategy: StrategyView,
    /// The images that run, and as what.
    pub images: Vec<ImageView>,
    /// Its pods, counted.
    pub replicas: ReplicaCounts,
    /// Its revisions, newest first.
    pub revisions: Vec<RevisionView>,
    /// When it was created.
    pub created: Option<Timestamp>,
}

/// How a new version comes in, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StrategyView {
    /// Step by step.
    Canary {
        /// Steps done and steps in all; `None` without steps.
        step: Option<(usize, usize)>,
        /// The weight that the steps ask for.
        set_weight: i32,
        /// The weight that the new version has.
        actual_weight: i32,
    },
    /// By one switch.
    BlueGreen,
    /// None is set.
    Unset,
}

/// The workload that a pod template comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadView {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// When its own pods go; `None` when they stay.
    pub scale_down: Option<String>,
}

/// An image and what it runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageView {
    /// The image.
    pub image: String,
    /// What it runs as.
    pub roles: Vec<Role>,
}

/// The pods of a rollout, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaCounts {
    /// Pods asked for.
    pub desired: i32,
    /// Pods that exist.
    pub current: i32,
    /// Pods of the newest revision.
    pub updated: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Pods that have been ready for long enough.
    pub available: i32,
}

/// A revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionView {
    /// Its number.
    pub revision: Revision,
    /// Its ReplicaSets; one, but for moments of change.
    pub replica_sets: Vec<ReplicaSetView>,
    /// Its Experiments, oldest first.
    pub experiments: Vec<ExperimentView>,
    /// The analysis of it, oldest first.
    pub runs: Vec<RunView>,
}

/// Builds the tree.
#[must_use]
pub fn tree(observed: &Observed) -> RolloutView {
    let rollout = &observed.rollout;
    let owned: Vec<&ReplicaSet> =
        observed.replica_sets.iter().filter(|set| is_owned(&set.metadata, &rollout.metadata)).collect();
    let experiments = experiments(observed);
    RolloutView {
        name: rollout.name_any(),
        namespace: rollout.namespace().unwrap_or_default(),
        standing: standing(rollout),
        workload: workload(rollout),
        strategy: strategy(rollout, &owned),
        images: images(rollout, &owned, &experiments),
        replicas: counts(rollout),
        revisions: revisions(observed, &owned, experiments),
        created: rollout.creation_timestamp().as_ref().map(Timestamp::from),
    }
}

/// The pods of a rollout as its status counts them.
pub(super) fn counts(rollout: &Rollout) -> ReplicaCounts {
    let status = rollout.status.clone().unwrap_or_default();
    ReplicaCounts {
        desired: rollout.spec.replicas.unwrap_or(1),
        current: status.replicas.unwrap_or_default(),
        updated: status.updated_replicas.unwrap_or_default(),
        ready: status.ready_replicas.unwrap_or_default(),
        available: status.available_replicas.unwrap_or_default(),
    }
}

fn workload(rollout: &Rollout) -> Option<WorkloadView> {
    let reference = rollout.spec.workload_ref.as_ref()?;
    let scale_down = reference.scale_down.clone();
    Some(WorkloadView {
        kind: reference.kind.clone().unwrap_or_default(),
        name: reference.name.clone().unwrap_or_default(),
        scale_down: scale_down.filter(|when| !when.is_empty() && when != "never"),
    })
}

fn strategy(rollout: &Rollout, sets: &[&ReplicaSet]) -> StrategyView {
    let Some(strategy) = &rollout.spec.strategy else { return StrategyView::Unset };
    if strategy.blue_green.is_some() {
        return StrategyView::BlueGreen;
    }
    if strategy.canary.is_none() {
        return StrategyView::Unset;
    }
    let steps = step::steps(rollout).len();
    StrategyView::Canary {
        step: (steps > 0).then(|| (step::position(rollout).map_or(0, StepIndex::get), steps)),
        set_weight: step::set_weight(rollout),
        actual_weight: actual_weight(rollout, sets),
    }
}

/// The weight of the newest revision: what the router was told, or, without one, its share of the available pods.
fn actual_weight(rollout: &Rollout, sets: &[&ReplicaSet]) -> i32 {
    let full = step::full_weight(rollout);
    let status = rollout.status.clone().unwrap_or_default();
    if status.stable_rs.is_some() && status.stable_rs == status.current_pod_hash {
        return full;
    }
    let is_routed = step::canary(rollout).is_some_and(|canary| canary.traffic_routing.is_some());
    if is_routed {
        return status.canary.and_then(|canary| canary.weights).map_or(0, |weights| weights.canary.weight);
    }
    let available = |set: &&&ReplicaSet| {
        i64::from(set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default())
    };
    let all: i64 = sets.iter().map(|set| available(&set)).sum();
    let new: i64 = sets
        .iter()
        .filter(|set| hash(set) == status.current_pod_hash.as_ref())
        .map(|set| available(&set))
        .sum();
    if all == 0 { 0 } else { i32::try_from(new * i64::from(full) / all).unwrap_or_default() }
}

/// What a ReplicaSet is to its rollout.
fn roles(rollout: &Rollout, set: &ReplicaSet) -> Vec<Role> {
    let (Some(hash), Some(status)) = (hash(set), &rollout.status) else { return Vec::new() };
    let is = |stored: Option<&String>| stored == Some(hash);
    let blue_green = status.blue_green.as_ref().filter(|_| step::canary(rollout).is_none());
    let is_stable = is(status.stable_rs.as_ref());
    let all = [
        (Role::Canary, step::canary(rollout).is_some() && is(status.current_pod_hash.as_ref()) && !is_stable),
        (Role::Stable, is_stable),
        (Role::Active, is(blue_green.and_then(|state| state.active_selector.as_ref()))),
        (Role::Preview, is(blue_green.and_then(|state| state.preview_selector.as_ref()))),
    ];
    all.into_iter().filter(|(_, has)| *has).map(|(role, _)| role).collect()
}

/// The images that have pods, newest revision first; without any pods, those of the newest revision.
fn images(
    rollout: &Rollout,
    sets: &[&ReplicaSet],
    experiments: &[(Revision, ExperimentView)],
) -> Vec<ImageView> {
    let mut sets: Vec<&ReplicaSet> = sets.to_vec();
    sets.sort_by_key(|set| Reverse(revision(set)));
    let running: Vec<&ReplicaSet> = sets.iter().copied().filter(|set| has_pods(set)).collect();
    let shown = if running.is_empty() { sets.into_iter().take(1).collect() } else { running };
    let mut images: Vec<ImageView> = Vec::new();
    for set in shown {
        for image in replica_set::images(set) {
            add_image(&mut images, image, roles(rollout, set));
        }
    }
    for image in experiments.iter().flat_map(|(_, experiment)| &experiment.images) {
        add_image(&mut images, image.image.clone(), image.roles.clone());
    }
    images
}

/// Adds an image, or what it runs as to one that is known.
pub(super) fn add_image(images: &mut Vec<ImageView>, image: String, roles: Vec<Role>) {
    match images.iter_mut().find(|known| known.image == image) {
        Some(known) => {
            let all: BTreeSet<Role> = known.roles.iter().cloned().chain(roles).collect();
            known.roles = all.into_iter().collect();
        }
        None => images.push(ImageView { image, roles }),
    }
}

fn revision(set: &ReplicaSet) -> Revision {
    Revision::parse(set.annotations().get(REVISION).map(String::as_str))
}

/// The Experiments of the rollout, each with its revision.
fn experiments(observed: &Observed) -> Vec<(Revision, ExperimentView)> {
    let owned = observed.experiments.iter();
    let owned = owned.filter(|found| is_owned(&found.metadata, &observed.rollout.metadata));
    owned
        .map(|found| {
            let revision = Revision::parse(found.annotations().get(REVISION).map(String::as_str));
            (
                revision,
                experiment::view(found, &observed.replica_sets, &observed.pods, &observed.analysis_runs),
            )
        })
        .collect()
}

fn revisions(
    observed: &Observed,
    sets: &[&ReplicaSet],
    experiments: Vec<(Revision, ExperimentView)>,
) -> Vec<RevisionView> {
    let empty = |revision| RevisionView { revision, replica_sets: vec![], experiments: vec![], runs: vec![] };
    let mut revisions: BTreeMap<Reverse<Revision>, RevisionView> = BTreeMap::new();
    for set in sets {
        let revision = revision(set);
        let entry = revisions.entry(Reverse(revision)).or_insert_with(|| empty(revision));
        let roles = roles(&observed.rollout, set);
        entry.replica_sets.push(replica_set::view(set, roles, &observed.pods));
    }
    for object in
        observed.analysis_runs.iter().filter(|run| is_owned(&run.metadata, &observed.rollout.metadata))
    {
        let revision = Revision::parse(object.annotations().get(REVISION).map(String::as_str));
        let entry = revisions.entry(Reverse(revision)).or_insert_with(|| empty(revision));
        entry.runs.push(run::view(object));
    }
    for (revision, experiment) in experiments {
        let entry = revisions.entry(Reverse(revision)).or_insert_with(|| empty(revision));
        entry.experiments.push(experiment);
    }
    let mut revisions: Vec<RevisionView> = revisions.into_values().collect();
    for revision in &mut revisions {
        revision.replica_sets.sort_by(|a, b| a.name.cmp(&b.name));
        revision.experiments.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        revision.runs.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    }
    revisions
}
