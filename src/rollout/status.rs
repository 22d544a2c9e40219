//! The next status, built once at the end of a pass: counts, phase, message, and all that the bookkeeping says.

mod conditions;
mod duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::experiments;
use super::progress::{PAUSE_BLUE_GREEN, PAUSE_STEP, Progress};
use super::references;
use super::restart;
use super::revision;
use super::situation::rerouting;
use super::snapshot::{GenerationFormat, ReplicaSet};
use super::targets::ProgressClock;
use super::valid::{Destinations, Routing, Strategy};
use super::weights;
use super::world::{Trouble, World};
use crate::api::labels::POD_TEMPLATE_HASH;
use crate::api::rollout_status::{CanaryRoute, TrafficWeights, WeightDestination};
use crate::api::{Condition, RolloutStatus};
use crate::events::Event;
use crate::traffic::{self, Destination, TrafficTarget};
use crate::units::{PodHash, ReplicaCount, StepIndex, Weight};

pub use conditions::condition;
pub(super) use conditions::invalid_message;
pub use duration::{Completion, Direction, Finished, Milestone};

/// The message of a Rollout whose spec says `paused`.
pub(super) const MANUALLY_PAUSED: &str = "manually paused";
/// The message of a Rollout whose pods are being replaced.
const RESTARTING: &str = "rollout is restarting";

/// What happened in a pass, as far as the status tells of it.
#[derive(Debug)]
pub struct Pass<'a> {
    /// What is announced.
    pub events: &'a [Event],
    /// Whether pods are waited for.
    pub clock: ProgressClock,
    /// What the router should do; `None` leaves what the status says of it.
    pub traffic: Option<&'a TrafficTarget>,
}

/// Pods of a Rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Of all revisions.
    pub all: ReplicaCount,
    /// Of the wanted revision.
    pub updated: ReplicaCount,
    /// Ready.
    pub ready: ReplicaCount,
    /// Available.
    pub available: ReplicaCount,
    /// Those that an autoscaler counts: the ones that the selector in the status finds.
    pub scaled: ReplicaCount,
}

impl Counts {
    /// As they are seen. Of blue-green only the pods that users are served by are ready, available and scaled.
    #[must_use]
    pub fn observe(world: &World, progress: &Progress) -> Self {
        let sets = &world.snapshot.replica_sets;
        let serves = |set: &&ReplicaSet| match &world.spec.strategy {
            Strategy::BlueGreen(strategy) => {
                world.selected(&strategy.active_service).as_ref() == Some(&set.hash)
            }
            Strategy::ByPods | Strategy::Routed(_) => true,
        };
        let serving = || sets.iter().filter(serves);
        Self {
            all: sets.iter().map(|set| set.replicas).sum(),
            updated: world.new_set(progress).map(|set| set.replicas).unwrap_or_default(),
            ready: serving().map(|set| set.ready).sum(),
            available: serving().map(|set| set.available).sum(),
            scaled: serving().map(|set| set.replicas).sum(),
        }
    }

    /// As a status tells them.
    #[must_use]
    pub fn read(status: &RolloutStatus) -> Self {
        let count = |stored: Option<i32>| ReplicaCount::from_status(stored.unwrap_or_default());
        Self {
            all: count(status.replicas),
            updated: count(status.updated_replicas),
            ready: count(status.ready_replicas),
            available: count(status.available_replicas),
            scaled: count(status.hpa_replicas),
        }
    }

    /// Pods of other revisions than the wanted one.
    #[must_use]
    pub const fn old(self) -> ReplicaCount {
        self.all.minus(self.updated)
    }

    fn write(self, status: &mut RolloutStatus) {
        status.replicas = Some(self.all.to_status());
        status.hpa_replicas = Some(self.scaled.to_status());
        status.updated_replicas = Some(self.updated.to_status());
        status.ready_replicas = Some(self.ready.to_status());
        status.available_replicas = Some(self.available.to_status());
    }
}

/// The whole next status, and the updates that end with it.
#[must_use]
pub fn next(world: &World, progress: &Progress, pass: &Pass) -> (RolloutStatus, Vec<Finished>) {
    let before = world.snapshot.rollout.status.clone().unwrap_or_default();
    let counts = Counts::observe(world, progress);
    let mut status = before.clone();
    progress.write(world.spec.steps.len(), &mut status);
    let canary = status.canary.get_or_insert_default();
    canary.passed_steps_hash = revision::passed_steps_hash(world.snapshot, progress.index);
    status.collision_count = revision::collisions(world.snapshot);
    if !world.problems.is_empty() && !has_moved(world, progress, &before) {
        // A spec that is wrong does not tell how many steps there are: the position stays as it is stored.
        status.current_step_index = before.current_step_index;
        let passed = before.canary.as_ref().and_then(|canary| canary.passed_steps_hash.clone());
        status.canary.get_or_insert_default().passed_steps_hash = passed;
    }
    status.current_step_index = status.current_step_index.or_else(|| behind_all_listed(world, progress));
    counts.write(&mut status);
    let (active, preview) = world.selections();
    if world.snapshot.selector().is_some() || status.selector.is_none() {
        status.selector = Some(selector_text(&world.spec.selector, active.as_ref()));
    }
    status.observed_generation = Some(observed_generation(world));
    status.workload_observed_generation = workload_generation(world, &before);
    let blue_green = status.blue_green.get_or_insert_default();
    blue_green.active_selector = active.map(|hash| hash.to_string());
    blue_green.preview_selector = preview.map(|hash| hash.to_string());
    write_weights(world, progress, pass, &mut status);
    let standing = conditions::Standing { world, progress, counts, pass };
    let mut list = standing.main(before.conditions.clone().unwrap_or_default());
    let (phase, message) = phase(world, progress, counts, &list);
    status.phase = Some(phase.to_owned());
    status.message = (!message.is_empty()).then_some(message);
    standing.generic(&mut list, phase, status.message.as_deref().unwrap_or_default());
    status.conditions = Some(list);
    let finished = duration::set(world, progress, &before, &mut status);
    (status, finished)
}

/// The position behind all steps that the spec lists, also where the list is empty or wrong: Argo CD compares the position
/// with the length of that list, and its action to skip a step fails without one. `None` where steps may be left to do.
fn behind_all_listed(world: &World, progress: &Progress) -> Option<i32> {
    let canary = world.snapshot.rollout.spec.strategy.as_ref()?.canary.as_ref()?;
    let listed = canary.steps.as_ref()?.len();
    let are_done = listed == 0 || progress.stable.is_none() || progress.is_settled();
    are_done.then(|| StepIndex::from(listed).to_status())
}

/// The split that the router is told, and whether it was seen to follow.
fn write_weights(world: &World, progress: &Progress, pass: &Pass, status: &mut RolloutStatus) {
    let canary = status.canary.get_or_insert_default();
    if !matches!(world.spec.strategy, Strategy::Routed(_)) && world.problems.is_empty() {
        canary.weights = None;
    }
    canary.route = carrying_route(world, progress, pass, canary.route.take());
    let Some(observed) = &world.snapshot.traffic else { return };
    let Some(target) = pass.traffic else {
        if let Some(weights) = &mut canary.weights {
            weights.additional = experiments::still_told(weights.additional.take(), observed);
        }
        return;
    };
    // A subset is not told by its own name but by that of its Service, where it has one.
    let service = |destination: &Destination, of_role: &Option<String>| match &world.spec.strategy {
        Strategy::Routed(Routing { destinations: Destinations::Subsets { .. }, .. }) => of_role.clone(),
        _ => Some(destination.name.clone()),
    };
    let services = &world.spec.services;
    let share = |destination: &Destination, of_role: &Option<String>, weight: Weight| WeightDestination {
        weight: weight.to_status(),
        service_name: service(destination, of_role),
        pod_template_hash: destination.hash.as_ref().map(ToString::to_string),
    };
    let weights = TrafficWeights {
        canary: share(&target.canary, &services.canary, target.weight),
        stable: share(&target.stable, &services.stable, target.stable_weight()),
        additional: Some(experiments::told(world.snapshot, target, observed))
            .filter(|shares| !shares.is_empty()),
        verified: observed.verified.map(|verified| verified && weights::is_done(target, observed)),
    };
    // What was seen of a split holds on when nobody looks any more.
    let before = canary.weights.take();
    let same = before.filter(|before| TrafficWeights { verified: None, ..before.clone() } == weights);
    canary.weights = Some(same.unwrap_or(weights));
}

/// The route that the canary's share, or that of an Experiment, goes through, noted before it gets one.
fn carrying_route(
    world: &World,
    progress: &Progress,
    pass: &Pass,
    before: Option<Box<CanaryRoute>>,
) -> Option<Box<CanaryRoute>> {
    if world.snapshot.leaves_route {
        return before.filter(|_| !rerouting::is_over(world, progress));
    }
    let gives = pass
        .traffic
        .is_some_and(|to| to.weight > Weight::ZERO || !to.managed.is_empty() || !to.experiments.is_empty());
    let rollout = &world.snapshot.rollout;
    let route = if gives { traffic::route_of(rollout) } else { traffic::kept_route(rollout) };
    route.map(Box::new)
}

/// Whether the position in the steps has changed in this pass.
fn has_moved(world: &World, progress: &Progress, before: &RolloutStatus) -> bool {
    Progress::read(before, world.spec.steps.len()).index != progress.index
}

/// Whether two statuses differ in nothing but counts and what follows from them alone.
#[must_use]
pub fn differ_in_counts_only(before: &RolloutStatus, next: &RolloutStatus) -> bool {
    essence(before) == essence(next)
}

fn essence(status: &RolloutStatus) -> RolloutStatus {
    let conditions = status.conditions.iter().flatten().filter_map(conditions::essence).collect();
    RolloutStatus {
        replicas: None,
        hpa_replicas: None,
        updated_replicas: None,
        ready_replicas: None,
        available_replicas: None,
        message: None,
        conditions: Some(conditions),
        workload_observed_generation: None,
        duration: None,
        ..status.clone()
    }
}

fn observed_generation(world: &World) -> IntOrString {
    formatted(world, world.snapshot.rollout.metadata.generation.unwrap_or_default())
}

/// The generation of the workload that was seen; while it cannot be seen, the one that was seen last.
fn workload_generation(world: &World, before: &RolloutStatus) -> Option<IntOrString> {
    world.snapshot.rollout.spec.workload_ref.as_ref()?;
    match world.snapshot.workload.found() {
        Some(workload) => Some(formatted(world, workload.generation)),
        None => before.workload_observed_generation.clone(),
    }
}

fn formatted(world: &World, generation: i64) -> IntOrString {
    match (world.snapshot.settings.generation_format, i32::try_from(generation)) {
        (GenerationFormat::Integer, Ok(number)) => IntOrString::Int(number),
        // Past the range of the API's integer, text is the only form that stays exact.
        (GenerationFormat::Integer, Err(_)) | (GenerationFormat::Text, _) => {
            IntOrString::String(generation.to_string())
        }
    }
}

/// The phase and why, by the first answer that fits.
fn phase(
    world: &World,
    progress: &Progress,
    counts: Counts,
    conditions: &[Condition],
) -> (&'static str, String) {
    let reason_of = |kind: &str| conditions.iter().find(|c| c.r#type == kind && c.status != "Unknown");
    if let Some(invalid) = reason_of("InvalidSpec") {
        let phase = if references::arrive_until(world).is_some() { "Progressing" } else { "Degraded" };
        return (phase, format!("InvalidSpec: {}", invalid.message.as_deref().unwrap_or_default()));
    }
    if let Some(stopped) = reason_of("Progressing").filter(|c| c.status == "False") {
        let (reason, message) = (stopped.reason.as_deref(), stopped.message.as_deref());
        let message = format!("{}: {}", reason.unwrap_or_default(), message.unwrap_or_default());
        return ("Degraded", with_trouble(world, progress, message));
    }
    if world.spec.paused {
        return ("Paused", MANUALLY_PAUSED.to_owned());
    }
    if let Some(pause) = progress.pauses.first() {
        let is_healthy = world.spec.pauses_are_healthy && is_pause_well(world, progress, counts);
        return (if is_healthy { "Healthy" } else { "Paused" }, pause.reason.clone());
    }
    if restart::is_going_on(world, progress) {
        return ("Progressing", RESTARTING.to_owned());
    }
    match waits_for(world, progress, counts) {
        "" => ("Healthy", String::new()),
        waits => ("Progressing", with_trouble(world, progress, waits.to_owned())),
    }
}

/// Whether nothing but the steps' author is waited for, and both users and the new version have the pods that are wanted now.
fn is_pause_well(world: &World, progress: &Progress, counts: Counts) -> bool {
    let mut pauses = progress.pauses.iter();
    let are_planned = pauses.all(|pause| [PAUSE_STEP, PAUSE_BLUE_GREEN].contains(&pause.reason.as_str()));
    let is_up = world.new_set(progress).is_none_or(|set| set.available >= set.size);
    are_planned && is_up && counts.available >= world.spec.replicas
}

/// The message of an update that wants something of its router, with why it does not get it.
fn with_trouble(world: &World, progress: &Progress, message: String) -> String {
    let matters = !progress.is_settled() || world.snapshot.route_refusal.is_some();
    match world.router_trouble().filter(|_| matters) {
        Some(Trouble::Stays(trouble)) if !message.contains(&trouble) => format!("{message}; {trouble}"),
        Some(Trouble::Stays(_) | Trouble::Passes(_)) | None => message,
    }
}

fn waits_for(world: &World, progress: &Progress, counts: Counts) -> &'static str {
    let wanted = world.spec.replicas;
    let is_settled = progress.is_settled();
    // Of blue-green only the pods behind the active Service are counted, which may be all of the old version.
    let new_available = world.new_set(progress).map(|set| set.available).unwrap_or_default();
    let is_blue_green = matches!(world.spec.strategy, Strategy::BlueGreen(_));
    match &world.spec.strategy {
        _ if counts.updated < wanted => "more replicas need to be updated",
        _ if counts.available < counts.updated || (is_blue_green && new_available < counts.updated) => {
            "updated replicas are still becoming available"
        }
        Strategy::ByPods if counts.all > counts.updated => "old replicas are pending termination",
        Strategy::ByPods | Strategy::Routed(_) if !is_settled => "waiting for all steps to complete",
        Strategy::Routed(routing) if weights::is_leaving(world, progress, routing) => {
            "traffic is still leaving the version that was taken back"
        }
        Strategy::BlueGreen(_) if world.selections().0 != progress.hash => "active service cutover pending",
        Strategy::BlueGreen(_) if !is_settled && progress.post_promotion_run.is_some() => {
            "waiting for analysis to complete"
        }
        Strategy::BlueGreen(_) if !is_settled => "waiting for post-promotion verification to complete",
        Strategy::ByPods | Strategy::Routed(_) | Strategy::BlueGreen(_) => "",
    }
}

/// A selector in the text form that clients of the scale subresource parse; of one revision if it is given.
fn selector_text(selector: &LabelSelector, hash: Option<&PodHash>) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let expressions = selector.match_expressions.iter().flatten().map(|expression| {
        let (key, values) = (&expression.key, expression.values.clone().unwrap_or_default().join(","));
        match expression.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.clone(),
        }
    });
    let hash = hash.map(|hash| format!("{POD_TEMPLATE_HASH}={hash}"));
    labels.chain(expressions).chain(hash).collect::<Vec<_>>().join(",")
}
