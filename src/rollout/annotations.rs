//! The annotations on the Rollout that clients read: the revision's number, and the generation of the workload.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::effect::{Annotations, Effect};
use super::progress::Progress;
use super::targets::Targets;
use super::world::World;
use crate::api::labels::{REVISION, WORKLOAD_GENERATION};
use crate::units::{PodHash, Revision};

/// What must change of them, in one write; `None` when all are right.
pub(super) fn of_rollout(world: &World, progress: &Progress, targets: &Targets) -> Option<Effect> {
    let mut annotations = Annotations::new();
    annotations.extend(revision(world, progress, targets));
    annotations.extend(workload_generation(world, progress));
    (!annotations.is_empty()).then_some(Effect::AnnotateRollout { annotations })
}

fn annotation<'a>(world: &World<'a>, key: &str) -> Option<&'a str> {
    let annotations = world.snapshot.rollout.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(key)).map(String::as_str)
}

/// The number of the wanted revision, once it has or gets a ReplicaSet.
fn revision(world: &World, progress: &Progress, targets: &Targets) -> Option<(String, Option<String>)> {
    let exists = world.new_set(progress).is_some() || targets.create.is_some();
    let may_change = world.problems.is_empty() || world.retries;
    if progress.hash.is_none() || !exists || !may_change {
        return None;
    }
    let number = world.number(progress);
    let is_shown = Revision::parse(annotation(world, REVISION)) == number;
    (!is_shown).then(|| (REVISION.to_owned(), Some(number.to_string())))
}

/// The generation of the workload. Clients take a Rollout whose status tells an older one for unobserved, so it is shown
/// only once the status tells it, or with the status that surely does.
fn workload_generation(world: &World, progress: &Progress) -> Option<(String, Option<String>)> {
    let shown = annotation(world, WORKLOAD_GENERATION);
    let key = WORKLOAD_GENERATION.to_owned();
    if world.snapshot.rollout.spec.workload_ref.is_none() {
        return shown.map(|_| (key, None));
    }
    let generation = world.snapshot.workload.found()?.generation.to_string();
    let status = world.snapshot.rollout.status.as_ref();
    let stored = status.and_then(|status| status.workload_observed_generation.as_ref());
    let is_told = stored.is_some_and(|stored| match stored {
        IntOrString::Int(number) => number.to_string() == generation,
        IntOrString::String(text) => *text == generation,
    });
    let hash = status.and_then(|status| status.current_pod_hash.as_deref());
    let is_revised = hash != progress.hash.as_ref().map(PodHash::as_str);
    let is_due = shown != Some(&generation) && (is_told || is_revised);
    is_due.then_some((key, Some(generation)))
}
