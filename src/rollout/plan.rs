//! What a pass does, and in which order: the difference between what is seen and what is wanted.
//!
//! The status is written first, and only if nobody has written the Rollout since: a pass on a stale view ends there. The
//! order of effects keeps pods and traffic safe: pods are added first, then Services are switched, then the router gets its
//! weights, then pods are taken away, then what is no longer needed is stopped and deleted, then single pods are evicted or
//! marked, then routes are given back. A stage begins only when the one before it has succeeded. An Experiment with traffic is
//! stopped in a later pass.

mod router;

use std::time::Duration;

use super::deadline::{self, Deadline, Wake};
use super::effect::{Annotations, Effect};
use super::progress::Progress;
use super::restart;
use super::revision;
use super::situation::Situation;
use super::snapshot::{Outcome, ReplicaSet};
use super::status::{self, Finished, Pass};
use super::targets::{ProgressClock, Targets};
use super::world::World;
use super::{annotations, endpoints, experiments, history, injection, runs, services, workload};
use crate::api::RolloutStatus;
use crate::api::labels::{DESIRED_REPLICAS, OUTCOME, SCALE_DOWN_DEADLINE};
use crate::events::Event;
use crate::traffic::TrafficTarget;
use crate::units::ReplicaCount;

/// Everything one pass does. An idle Rollout's plan is empty but for `wake`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Groups of effects. A stage starts when the one before it has succeeded; effects of one stage have no order.
    pub stages: Vec<Vec<Effect>>,
    /// The whole next status; `None` when the stored one is right already.
    pub status: Option<Box<RolloutStatus>>,
    /// Updates that end with this status.
    pub finished: Vec<Finished>,
    /// Whether a change of counts waits to be written together with the next change that matters.
    pub counts_pending: bool,
    /// Available pods that are not published as endpoints of their Services yet.
    pub missing_endpoints: ReplicaCount,
    /// Announcements, made after the effects, in this order.
    pub events: Vec<Event>,
    /// When to look again although nothing has changed, and why; `None` to wait for a change.
    pub wake: Option<Wake>,
}

impl Plan {
    /// Whether the plan creates a ReplicaSet.
    #[must_use]
    pub fn creates_replica_set(&self) -> bool {
        self.stages.iter().flatten().any(|effect| matches!(effect, Effect::CreateReplicaSet(_)))
    }

    /// What the router is told.
    #[must_use]
    pub fn traffic(&self) -> Option<&TrafficTarget> {
        self.stages.iter().flatten().find_map(|effect| match effect {
            Effect::SetTraffic(target) => Some(&**target),
            _ => None,
        })
    }

    /// Whether the plan changes nothing in the cluster.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.stages.is_empty() && self.status.is_none() && self.events.is_empty()
    }
}

/// How long a change of counts waits for a change that matters, so that both cost one write.
const COUNTS_WAIT: Duration = Duration::from_secs(2);

/// The plan that brings the cluster from what is seen to what is wanted.
#[must_use]
pub fn build(
    world: &World,
    situation: Situation,
    progress: &Progress,
    mut targets: Targets,
    mut events: Vec<Event>,
) -> Plan {
    if let Some(target) = &mut targets.traffic {
        services::lead(world, progress, &targets.services, target);
    }
    let (route, route_wake) = router::told(world, progress, &targets, &mut events);
    let mut stages = stages(world, situation, progress, &targets, route, &mut events);
    let pod_wakes = on_pods(world, progress, &targets, &mut stages, &mut events);
    stages.extend(router::given_back(world, progress, targets.traffic.as_ref()));
    events.extend(targets.events.clone());
    events.extend(first_sight(world));
    let before = world.snapshot.rollout.status.clone().unwrap_or_default();
    events.extend(changed_conditions(world, progress, targets.clock, &before));
    announce_resumption(&before, progress, &mut events);
    events.sort();
    let pass = Pass { events: &events, clock: targets.clock, traffic: targets.traffic.as_ref() };
    let (next, finished) = status::next(world, progress, &pass);
    let scaling = workload::scale_down(world, progress, &next);
    events.extend(scaling.as_ref().and_then(workload_event));
    events.sort();
    let stages = stages.into_iter().chain(scaling.map(|effect| vec![effect])).collect();
    let (status, counts_wait) = worth_writing(world, &before, next);
    let finished = if status.is_some() { finished } else { vec![] };
    let counts_pending = counts_wait.is_some();
    let stuck = stuck_wake(world, progress, targets.clock);
    let wake = deadline::earliest(
        targets
            .wakes
            .into_iter()
            .chain(counts_wait)
            .chain(stuck)
            .chain(pod_wakes)
            .chain(route_wake)
            .chain(endpoints::wake(world)),
    );
    let missing_endpoints = endpoints::missing(world);
    Plan { stages, status, finished, counts_pending, missing_endpoints, events, wake }
}

fn stages(
    world: &World,
    situation: Situation,
    progress: &Progress,
    targets: &Targets,
    route: Vec<Effect>,
    events: &mut Vec<Event>,
) -> Vec<Vec<Effect>> {
    let mut add = created(world, progress, targets, events);
    add.extend(annotations::of_rollout(world, progress, targets));
    let (grow, shrink) = scaled(world, progress, targets, events);
    add.extend(grow);
    add.extend(targets.new_runs.iter().map(|run| Effect::CreateAnalysisRun(Box::new(run.clone()))));
    add.extend(targets.new_experiment.clone().map(Effect::CreateExperiment));
    let switches = services::switches(world, progress, &targets.services);
    let (switch, announced): (Vec<_>, Vec<_>) = switches.into_iter().unzip();
    events.extend(announced);
    let mut remove = runs::to_stop(world, &targets.keep_runs);
    remove.extend(experiments::to_stop(world, &targets.keep_experiments));
    if !matches!(situation, Situation::Invalid) {
        remove.extend(history::beyond_limits(world, progress));
    }
    // A template is right before pods are made from it.
    let prepare = injection::adjustments(world, progress, &targets.services);
    [prepare, add, switch, route, shrink, remove].into_iter().filter(|stage| !stage.is_empty()).collect()
}

/// Adds what happens to single pods, after everything else; when to look at them again.
fn on_pods(
    world: &World,
    progress: &Progress,
    targets: &Targets,
    stages: &mut Vec<Vec<Effect>>,
    events: &mut Vec<Event>,
) -> Vec<Wake> {
    let resizes =
        |effect: &Effect| matches!(effect, Effect::CreateReplicaSet(_) | Effect::ScaleReplicaSet { .. });
    let is_resized = stages.iter().flatten().any(resizes);
    let sizes = if is_resized { restart::Sizes::Changed } else { restart::Sizes::Kept };
    let restart = restart::next(world, progress, sizes);
    events.extend(restart.blocked);
    let metadata = injection::on_running(world, progress, &targets.services);
    let effects: Vec<Effect> = metadata.effects.into_iter().chain(restart.evictions).collect();
    if !effects.is_empty() {
        stages.push(effects);
    }
    restart.wake.into_iter().chain(metadata.wake).collect()
}

/// The wanted revision's ReplicaSet, should it be missing, and the revision numbers.
fn created(world: &World, progress: &Progress, targets: &Targets, events: &mut Vec<Event>) -> Vec<Effect> {
    let may_create = world.problems.is_empty() || world.retries;
    let (Some(hash), true) = (progress.hash.as_ref(), may_create) else { return vec![] };
    let number = world.number(progress);
    let mut effects = Vec::new();
    match (world.new_set(progress), targets.create) {
        (None, None) => return effects,
        (None, Some(replicas)) => {
            let mut set = revision::new_replica_set(world.snapshot, world.spec, hash, number, replicas);
            injection::into_new(world, progress, &targets.services, &mut set);
            events.push(Event::NewReplicaSetCreated { name: set.name.clone(), revision: number });
            let from = ReplicaCount::ZERO;
            if replicas > from {
                events.push(Event::Scaling { name: set.name.clone(), revision: number, from, to: replicas });
            }
            effects.push(Effect::CreateReplicaSet(Box::new(set)));
        }
        (Some(set), _) => {
            effects.extend(revision::renumbered(set, number));
            effects.extend(revision::recognised(set, &world.template_hash));
        }
    }
    effects
}

/// Changes of size, those that add pods apart from those that take them away, and what else of a ReplicaSet follows
/// the spec.
fn scaled(
    world: &World,
    progress: &Progress,
    targets: &Targets,
    events: &mut Vec<Event>,
) -> (Vec<Effect>, Vec<Effect>) {
    let (mut grow, mut shrink) = (Vec::new(), Vec::new());
    for set in &world.snapshot.replica_sets {
        let Some(&to) = targets.sizes.get(&set.name) else { continue };
        let revision =
            if progress.hash.as_ref() == Some(&set.hash) { world.number(progress) } else { set.revision };
        let annotations = noted(progress, targets, set, to);
        if to == set.size {
            grow.extend(followed(world, set, annotations));
            continue;
        }
        events.push(Event::Scaling { name: set.name.clone(), revision, from: set.size, to });
        let effect = Effect::ScaleReplicaSet {
            name: set.name.clone(),
            from: set.size,
            to,
            desired: world.spec.replicas,
            annotations,
        };
        if to > set.size { grow.push(effect) } else { shrink.push(effect) }
    }
    (grow, shrink)
}

/// What is noted on a ReplicaSet: when it goes, and what became of the last update to it.
fn noted(progress: &Progress, targets: &Targets, set: &ReplicaSet, size: ReplicaCount) -> Annotations {
    let mut annotations = Annotations::new();
    let deadline = targets.deadlines.get(&set.name).copied().filter(|_| size > ReplicaCount::ZERO);
    let deadline = deadline.unwrap_or_default();
    if deadline != set.scale_down_deadline && targets.deadlines.contains_key(&set.name) {
        annotations.insert(SCALE_DOWN_DEADLINE.to_owned(), deadline.map(|at| at.to_string()));
    }
    let is_wanted = progress.hash.as_ref() == Some(&set.hash);
    let outcome = match (is_wanted, set.outcome) {
        (true, None | Some(Outcome::Promoted)) if progress.abort => Some(Outcome::Aborted),
        // A revision without a note is as good as one that was promoted; only an older abort has to be taken back.
        (true, Some(Outcome::Aborted)) if progress.is_settled() => Some(Outcome::Promoted),
        _ => None,
    };
    let outcome = outcome.map(|outcome| (OUTCOME.to_owned(), Some(outcome.as_str().to_owned())));
    annotations.extend(outcome);
    annotations
}

/// What of a ReplicaSet follows the spec although its size stays.
fn followed(world: &World, set: &ReplicaSet, mut annotations: Annotations) -> Option<Effect> {
    let mut min_ready_seconds = None;
    if set.size > ReplicaCount::ZERO {
        let desired = world.spec.replicas.get();
        if set.desired_annotation != Some(desired) {
            annotations.insert(DESIRED_REPLICAS.to_owned(), Some(desired.to_string()));
        }
        let min_ready = world.spec.min_ready_seconds;
        min_ready_seconds = (set.min_ready_seconds != min_ready).then_some(min_ready);
    }
    (!annotations.is_empty() || min_ready_seconds.is_some()).then(|| Effect::UpdateReplicaSet {
        name: set.name.clone(),
        annotations,
        min_ready_seconds,
    })
}

/// The announcement of a change of the workload's size.
fn workload_event(effect: &Effect) -> Option<Event> {
    let Effect::ScaleWorkload { name, from, to, .. } = effect else { return None };
    (from != to).then(|| Event::WorkloadScaling { name: name.clone(), from: *from, to: *to })
}

fn first_sight(world: &World) -> Option<Event> {
    world.snapshot.rollout.status.is_none().then_some(Event::AddedToInformer)
}

/// Announcements of conditions that become true in this pass.
fn changed_conditions(
    world: &World,
    progress: &Progress,
    clock: ProgressClock,
    before: &RolloutStatus,
) -> Vec<Event> {
    let mut events = Vec::new();
    let name = world.snapshot.rollout.metadata.name.as_deref().unwrap_or_default();
    if let Some(message) = status::invalid_message(name, world) {
        let known = status::condition(before, "InvalidSpec").and_then(|c| c.message.as_ref());
        if known != Some(&message) {
            events.push(Event::InvalidSpec { message });
        }
    }
    let known = status::condition(before, "Progressing").and_then(|c| c.reason.as_deref());
    let is_stuck = deadline::is_stuck(world, progress, clock);
    if let (true, false, Some(set)) =
        (is_stuck, known == Some("ProgressDeadlineExceeded"), world.new_set(progress))
    {
        events.push(Event::DeadlineExceeded { name: set.name.clone() });
    }
    events.extend(manual_pause(world, progress, before));
    events
}

/// The end of a pause is announced once, however it came to its end; not where an abort tells more.
fn announce_resumption(before: &RolloutStatus, progress: &Progress, events: &mut Vec<Event>) {
    let was_paused = before.pause_conditions.as_ref().is_some_and(|pauses| !pauses.is_empty())
        || before.controller_pause == Some(true);
    // A person may have cleared the pause while something else still holds the update.
    let is_over = was_paused && progress.pauses.is_empty() && !progress.controller_pause && !progress.abort;
    if is_over && !events.contains(&Event::Resumed) {
        events.push(Event::Resumed);
    }
    let mut announced = false;
    events.retain(|event| *event != Event::Resumed || !std::mem::replace(&mut announced, true));
}

/// The beginning or the end of a pause by `spec.paused`.
fn manual_pause(world: &World, progress: &Progress, before: &RolloutStatus) -> Option<Event> {
    let was = before.message.as_deref() == Some(status::MANUALLY_PAUSED);
    match (was, world.spec.paused) {
        _ if progress.abort || !world.problems.is_empty() => None,
        (false, true) => Some(Event::Paused),
        (true, false) => Some(Event::Resumed),
        (true, true) | (false, false) => None,
    }
}

/// The status if it is worth a write now, or when it will be.
fn worth_writing(
    world: &World,
    before: &RolloutStatus,
    next: RolloutStatus,
) -> (Option<Box<RolloutStatus>>, Option<Wake>) {
    if *before == next {
        return (None, None);
    }
    let at = world.snapshot.counts_pending_since.unwrap_or(world.now()).plus(COUNTS_WAIT);
    if status::differ_in_counts_only(before, &next) && world.now() < at {
        return (None, Some(Wake { at, why: Deadline::CountsSettled }));
    }
    (Some(Box::new(next)), None)
}

/// The progress deadline, while it runs.
fn stuck_wake(world: &World, progress: &Progress, clock: ProgressClock) -> Option<Wake> {
    if clock == ProgressClock::Stopped || progress.is_settled() || progress.abort {
        return None;
    }
    let at = if deadline::has_progressed(world, progress) {
        world.now().plus(world.spec.progress_deadline)
    } else {
        deadline::stuck_at(world)?
    };
    (at > world.now()).then_some(Wake { at, why: Deadline::ProgressDeadline })
}
