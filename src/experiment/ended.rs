//! An Experiment that has ended: its runs stop, its pods go after a delay, and its Services with them.
//!
//! While the route of a Rollout leads to a Service, it and its pods stay. The delay begins once it leads there no more, since
//! a data plane follows a route some time after it was written.

use super::snapshot::phase_of;
use super::{Effect, Plan, Snapshot, analyses, progress, stages, status, templates, valid};
use crate::api::experiment::TemplateStatus;
use crate::api::labels::SCALE_DOWN_DEADLINE;
use crate::api::{AnalysisPhase, ExperimentStatus};
use crate::rollout::effect::Annotations;
use crate::rollout::snapshot::ReplicaSet;
use crate::units::{ReplicaCount, Timestamp};

/// The plan for an Experiment that has ended.
pub(super) fn plan(snapshot: &Snapshot, before: &ExperimentStatus) -> Plan {
    let mut next = before.clone();
    for status in next.template_statuses.iter_mut().flatten() {
        let set = snapshot.replica_sets.iter().find(|set| is_of(snapshot, status, set));
        templates::count(status, set);
    }
    for status in next.analysis_runs.iter_mut().flatten() {
        if let Some(run) = status.analysis_run.as_deref().and_then(|name| snapshot.run(name)) {
            *status = analyses::followed(&status.name, run);
        }
    }
    let mut going = Vec::new();
    let (mut notes, mut gone, mut wake) = (Vec::new(), Vec::new(), None::<Timestamp>);
    for set in snapshot.replica_sets.iter().filter(|set| set.size > ReplicaCount::ZERO) {
        let status = before.template_statuses.iter().flatten().find(|status| is_of(snapshot, status, set));
        if is_served(snapshot, status) || progress::is_led_to(snapshot, set) {
            going.push(set);
            notes.extend(noted(set, None));
            continue;
        }
        let at = scaled_down_at(snapshot, status, set);
        if at <= snapshot.now {
            gone.extend(emptied(set));
            continue;
        }
        wake = Some(wake.map_or(at, |earlier| earlier.min(at)));
        going.push(set);
        notes.extend(noted(set, Some(at)));
    }
    let stop = snapshot.analysis_runs.iter().filter(|run| {
        run.spec.terminate != Some(true) && !phase_of(run).is_some_and(AnalysisPhase::is_completed)
    });
    let stop = stop.filter_map(|run| Some(Effect::TerminateAnalysisRun { name: run.metadata.name.clone()? }));
    let effects = stages([stop.chain(notes).collect(), services(snapshot, before, &going), gone]);
    status::plan(snapshot, before, next, effects, wake)
}

/// Whether a status is that of a ReplicaSet. Argo Rollouts gives templates that say the same one hash.
fn is_of(snapshot: &Snapshot, status: &TemplateStatus, set: &ReplicaSet) -> bool {
    set.name == templates::set_name(snapshot, &status.name, status.collision_count.unwrap_or_default())
}

/// Whether traffic may flow to pods with this status. Of one that names no Service nobody knows where a route leads.
fn is_served(snapshot: &Snapshot, status: Option<&TemplateStatus>) -> bool {
    let service = status.and_then(|status| status.service_name.as_ref());
    service.is_some_and(|service| snapshot.is_led_to(service))
}

/// When a ReplicaSet's pods go: as is noted on it, or a delay after the end, and after a route may have led to them last.
fn scaled_down_at(snapshot: &Snapshot, status: Option<&TemplateStatus>, set: &ReplicaSet) -> Timestamp {
    let now = snapshot.now.whole_seconds();
    let ended = status.and_then(|status| status.last_transition_time).unwrap_or(now);
    let may_have_been_served = status.is_some_and(|status| status.service_name.is_some());
    let since = if may_have_been_served { ended.max(now) } else { ended };
    set.scale_down_deadline.unwrap_or_else(|| since.plus(valid::scale_down_delay(snapshot)))
}

/// Notes on a ReplicaSet when its pods go, for everybody to see; `None` while they stay.
fn noted(set: &ReplicaSet, at: Option<Timestamp>) -> Option<Effect> {
    let is_right = set.scale_down_deadline == at;
    let annotations = Annotations::from([(SCALE_DOWN_DEADLINE.to_owned(), at.map(|at| at.to_string()))]);
    let name = set.name.clone();
    (!is_right).then_some(Effect::UpdateReplicaSet { name, annotations, min_ready_seconds: None })
}

/// Takes away a ReplicaSet's pods.
pub(super) fn emptied(set: &ReplicaSet) -> Option<Effect> {
    let annotations = set.scale_down_deadline.map(|_| (SCALE_DOWN_DEADLINE.to_owned(), None));
    (set.size > ReplicaCount::ZERO).then(|| Effect::ScaleReplicaSet {
        name: set.name.clone(),
        from: set.size,
        to: ReplicaCount::ZERO,
        annotations: annotations.into_iter().collect(),
    })
}

/// Deletes the Services whose pods go, before they do.
fn services(snapshot: &Snapshot, before: &ExperimentStatus, going: &[&ReplicaSet]) -> Vec<Effect> {
    let kept: Vec<&String> = before
        .template_statuses
        .iter()
        .flatten()
        .filter(|status| going.iter().any(|set| is_of(snapshot, status, set)))
        .filter_map(|status| status.service_name.as_ref())
        .collect();
    let gone = snapshot.services.keys().filter(|name| !kept.contains(name) && !snapshot.is_led_to(name));
    gone.map(|name| Effect::DeleteService { name: name.clone() }).collect()
}
