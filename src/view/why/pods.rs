//! Which pods are waited for, and what holds them up.

use std::time::Duration;

use super::super::age;
use super::super::phase::condition;
use super::super::replica_set::{PodView, ReplicaSetView, Role};
use super::super::text::Sign;
use super::{Case, trimmed};
use crate::units::Revision;

/// Characters of a message from the cluster that are told.
const DETAIL_LENGTH: usize = 200;

/// What the rollout waits for among its pods.
pub(super) fn waiting(case: &Case<'_>) -> String {
    let Some((revision, set)) = case.current() else {
        return "Its ReplicaSet is about to be created.".to_owned();
    };
    if let Some(why) = short_of_pods(revision, set) {
        return why;
    }
    if let Some(why) =
        case.of_role(&Role::Stable).and_then(|(revision, stable)| short_of_pods(revision, stable))
    {
        return why;
    }
    if let Some(old) = leftovers(case) {
        return old;
    }
    let message = case.message();
    if message.is_empty() {
        "All pods that it asked for are available; the controller goes on in a moment.".to_owned()
    } else {
        format!("All pods that it asked for are available; the controller says: {message}.")
    }
}

/// When the lack of progress has consequences.
pub(super) fn deadline(case: &Case<'_>) -> String {
    let Some(progressing) = condition(case.rollout, "Progressing") else { return String::new() };
    let is_short = case.current().is_some_and(|(_, set)| set.available < set.size);
    let (Some(since), true) = (progressing.last_update_time, is_short) else { return String::new() };
    let seconds =
        u64::try_from(case.rollout.spec.progress_deadline_seconds.unwrap_or(600)).unwrap_or_default();
    let end = since.plus(Duration::from_secs(seconds));
    if end <= case.now {
        return String::new();
    }
    let consequence = if case.rollout.spec.progress_deadline_abort == Some(true) {
        "it is aborted"
    } else {
        "it counts as Degraded, and still goes on once the pods come"
    };
    format!("Without progress until {} {consequence}.", age::moment(end, case.now))
}

fn short_of_pods(revision: Revision, set: &ReplicaSetView) -> Option<String> {
    if let Some(failure) = &set.failure {
        return Some(format!("Pods of revision {revision} cannot be created: {}.", shortened(failure)));
    }
    let missing = set.size - set.available;
    if missing <= 0 {
        return None;
    }
    let pods = match (set.size, missing) {
        (1, _) => "the pod".to_owned(),
        (size, missing) if size == missing => format!("all {size} pods"),
        (size, missing) => format!("{missing} of {size} pods"),
    };
    let trouble = trouble(&set.pods);
    Some(format!("It waits for {pods} of revision {revision} to become available{trouble}."))
}

/// The worst pod, and how many are like it.
fn trouble(pods: &[PodView]) -> String {
    let rank = |pod: &&PodView| match pod.sign {
        Sign::Bad => 0,
        Sign::Warning => 1,
        _ => 2,
    };
    let open = pods.iter().filter(|pod| pod.sign != Sign::Good && pod.state != "Terminating");
    let Some(worst) = open.clone().min_by_key(rank) else { return String::new() };
    let alike = open.filter(|pod| pod.state == worst.state).count();
    let more = if alike > 1 { format!(" (as {} others are)", alike - 1) } else { String::new() };
    let more = more.replace("(as 1 others are)", "(as 1 other is)");
    let detail =
        worst.detail.as_deref().map_or_else(String::new, |detail| format!(": {}", shortened(detail)));
    let state = match worst.state.as_str() {
        "Running" => "running but not ready".to_owned(),
        "Pending" => "pending".to_owned(),
        state => format!("in {state}"),
    };
    format!("; pod '{}' is {state}{more}{detail}", worst.name)
}

/// Pods of revisions that are neither new nor stable, and pods that are to go.
fn leftovers(case: &Case<'_>) -> Option<String> {
    let mut told = Vec::new();
    for revision in &case.view.revisions {
        for set in &revision.replica_sets {
            let leaving = set.pods.len().saturating_sub(usize::try_from(set.size).unwrap_or_default());
            if leaving > 0 {
                told.push(format!("{leaving} of revision {}", revision.revision));
            }
        }
    }
    (!told.is_empty()).then(|| format!("It waits for pods to end: {}.", told.join(", ")))
}

/// A message of the cluster on one line, not too long, without its end.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= DETAIL_LENGTH {
        return trimmed(&line).to_owned();
    }
    let start: String = line.chars().take(DETAIL_LENGTH).collect();
    format!("{start}…")
}
