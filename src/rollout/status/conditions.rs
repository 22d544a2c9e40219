//! The conditions: those that users of this API know (InvalidSpec, Progressing, Available, Paused, Completed, Healthy,
//! ReplicaFailure), what the write-back to Git says (`WrittenBack`), and the generic ones that other tools read (Reconciling, Stalled, Ready).

use super::super::deadline;
use super::super::progress::Progress;
use super::super::targets::ProgressClock;
use super::super::valid::Strategy;
use super::super::world::World;
use super::{Counts, Pass};
use crate::api::conditions::{Outlook, Says, says, set, tell};
use crate::api::git_write_back::{Record, State, identity};
use crate::api::{Condition, RolloutStatus};
use crate::events::{AbortCause, AbortReason, Event};
use crate::units::Timestamp;

/// What the conditions are told from.
pub(super) struct Standing<'a> {
    pub(super) world: &'a World<'a>,
    pub(super) progress: &'a Progress,
    pub(super) counts: Counts,
    pub(super) pass: &'a Pass<'a>,
}

/// The condition of a type.
#[must_use]
pub fn condition<'a>(status: &'a RolloutStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().flatten().find(|condition| condition.r#type == kind)
}

/// What is left of a condition when counts do not matter; `None` when nothing is.
pub(super) fn essence(condition: &Condition) -> Option<Condition> {
    const FOLLOW_COUNTS: [&str; 4] = ["Available", "Healthy", "Reconciling", "Ready"];
    const ON_ITS_WAY: [&str; 6] = [
        "NewReplicaSetCreated",
        "FoundNewReplicaSet",
        "ReplicaSetUpdated",
        "ReplicaSetNotAvailable",
        "RolloutResumed",
        "RolloutRetry",
    ];
    if FOLLOW_COUNTS.contains(&condition.r#type.as_str()) {
        return None;
    }
    let on_its_way = condition.reason.as_deref().is_some_and(|reason| ON_ITS_WAY.contains(&reason));
    if condition.r#type == "Progressing" && on_its_way {
        return Some(Condition { r#type: condition.r#type.clone(), ..Condition::default() });
    }
    Some(Condition { last_update_time: None, ..condition.clone() })
}

impl Standing<'_> {
    /// The conditions that users of this API know.
    pub(super) fn main(&self, before: Vec<Condition>) -> Vec<Condition> {
        let mut list = before;
        self.apply(&mut list, "InvalidSpec", self.invalid_spec());
        let progressing = self.progressing(&list);
        let moved = self.moved() && progressing.as_ref().is_some_and(|says| says.status != "False");
        self.apply(&mut list, "Progressing", progressing);
        if moved {
            touch(&mut list, "Progressing", self.world.now());
        }
        self.apply(&mut list, "Available", Some(self.available()));
        self.apply(&mut list, "Paused", Some(self.paused()));
        self.apply(&mut list, "Completed", Some(self.completed()));
        self.apply(&mut list, "Healthy", Some(self.healthy()));
        self.apply(&mut list, "ReplicaFailure", self.replica_failure());
        self.apply(&mut list, "WrittenBack", self.written_back());
        list
    }

    /// The conditions that generic tools read.
    pub(super) fn generic(&self, list: &mut Vec<Condition>, phase: &'static str, message: &str) {
        let outlook = match phase {
            "Healthy" => Outlook::Current,
            "Degraded" => Outlook::Failed,
            _ => Outlook::InProgress,
        };
        tell(list, outlook, (phase, message), self.world.now());
    }

    fn apply(&self, list: &mut Vec<Condition>, kind: &str, said: Option<Says>) {
        set(list, kind, said, self.world.now());
    }

    fn invalid_spec(&self) -> Option<Says> {
        let name = self.world.snapshot.rollout.metadata.name.as_deref().unwrap_or_default();
        invalid_message(name, self.world).map(|message| says("True", "InvalidSpec", message))
    }

    /// Whether the update has gained anything in this pass.
    fn moved(&self) -> bool {
        self.pass.clock == ProgressClock::Running
            && !self.progress.abort
            && deadline::has_progressed(self.world, self.progress)
    }

    fn progressing(&self, list: &[Condition]) -> Option<Says> {
        let stored = list.iter().find(|condition| condition.r#type == "Progressing");
        let name = self.new_set_name();
        if self.progress.abort {
            return Some(self.aborted(stored));
        }
        if self.is_paused() {
            return Some(says("Unknown", "RolloutPaused", "Rollout is paused"));
        }
        if self.progress.is_settled() {
            return Some(self.settled(stored, &name));
        }
        if self.world.problems.is_empty() {
            return Some(self.announced(&name).unwrap_or_else(|| self.going(stored, &name)));
        }
        stored
            .map(kept)
            .or_else(|| Some(says("Unknown", "InvalidSpec", "nothing is begun while the spec is invalid")))
    }

    fn aborted(&self, stored: Option<&Condition>) -> Says {
        let aborted = self.pass.events.iter().find(|event| matches!(event, Event::Aborted { .. }));
        let kept =
            stored.filter(|c| c.reason.as_deref() == Some("RolloutAborted")).and_then(|c| c.message.clone());
        let why = AbortReason { cause: AbortCause::Person, text: String::new() };
        let plain = Event::Aborted { revision: self.world.number(self.progress), why };
        let message = aborted.map(ToString::to_string).or(kept).unwrap_or_else(|| plain.to_string());
        says("False", "RolloutAborted", message)
    }

    fn settled(&self, stored: Option<&Condition>, name: &str) -> Says {
        let was_available = stored.and_then(|c| c.reason.as_deref());
        if self.world.is_new_available(self.progress) {
            return says(
                "True",
                "NewReplicaSetAvailable",
                format!("ReplicaSet \"{name}\" has successfully progressed."),
            );
        }
        match was_available {
            Some("NewReplicaSetAvailable" | "ReplicaSetNotAvailable") => {
                says("True", "ReplicaSetNotAvailable", "Rollout does not have minimum availability")
            }
            _ => says("True", "ReplicaSetUpdated", format!("ReplicaSet \"{name}\" is progressing.")),
        }
    }

    /// What this very pass announces.
    fn announced(&self, name: &str) -> Option<Says> {
        let has = |wanted: fn(&Event) -> bool| self.pass.events.iter().any(wanted);
        match () {
            () if has(|event| matches!(event, Event::NewReplicaSetCreated { .. })) => {
                Some(says("True", "NewReplicaSetCreated", format!("Created new replica set \"{name}\"")))
            }
            () if has(|event| matches!(event, Event::Updated { .. })) => {
                Some(says("True", "FoundNewReplicaSet", format!("Found existing replica set \"{name}\"")))
            }
            () if has(|event| matches!(event, Event::Retried)) => {
                Some(says("Unknown", "RolloutRetry", "Retrying Rollout after abort"))
            }
            () if has(|event| matches!(event, Event::Resumed)) => {
                Some(says("Unknown", "RolloutResumed", "Rollout is resumed"))
            }
            () => None,
        }
    }

    fn going(&self, stored: Option<&Condition>, name: &str) -> Says {
        let updated = || says("True", "ReplicaSetUpdated", format!("ReplicaSet \"{name}\" is progressing."));
        if self.moved() {
            return updated();
        }
        if deadline::is_stuck(self.world, self.progress, self.pass.clock) {
            let message = deadline::stuck_message(self.world, self.progress);
            return says("False", "ProgressDeadlineExceeded", message);
        }
        let mut stale = vec!["RolloutPaused", "RolloutAborted", "NewReplicaSetAvailable", "InvalidSpec"];
        if self.pass.clock == ProgressClock::Stopped {
            // Pods are not waited for any more.
            stale.push("ProgressDeadlineExceeded");
        }
        stored
            .filter(|c| !c.reason.as_deref().is_some_and(|reason| stale.contains(&reason)))
            .map_or_else(updated, kept)
    }

    fn available(&self) -> Says {
        if self.counts.available >= self.world.spec.replicas {
            says("True", "AvailableReason", "Rollout has minimum availability")
        } else {
            says("False", "AvailableReason", "Rollout does not have minimum availability")
        }
    }

    fn is_paused(&self) -> bool {
        self.world.spec.paused || !self.progress.pauses.is_empty()
    }

    fn paused(&self) -> Says {
        if self.is_paused() {
            says("True", "RolloutPaused", "Rollout is paused")
        } else {
            says("False", "RolloutPaused", "Rollout is not paused")
        }
    }

    fn completed(&self) -> Says {
        let status = if self.progress.is_settled() { "True" } else { "False" };
        says(status, "RolloutCompleted", "RolloutCompleted")
    }

    fn healthy(&self) -> Says {
        let wanted = self.world.spec.replicas;
        let hash = &self.progress.hash;
        let all_new = self.counts.updated == wanted
            && match &self.world.spec.strategy {
                Strategy::ByPods | Strategy::Routed(_) => self.counts.all == wanted,
                Strategy::BlueGreen(strategy) => {
                    let (active, preview) = self.world.selections();
                    active == *hash && (strategy.preview_service.is_none() || preview == *hash)
                }
            };
        let is_healthy = !self.is_paused()
            && self.world.problems.is_empty()
            && self.progress.is_settled()
            && all_new
            && self.counts.available == wanted;
        if is_healthy {
            says("True", "RolloutHealthy", "Rollout is healthy")
        } else {
            says("False", "RolloutHealthy", "Rollout is not healthy")
        }
    }

    fn replica_failure(&self) -> Option<Says> {
        let new = self.world.new_set(self.progress).and_then(|set| set.failure.as_ref());
        let any = || self.world.snapshot.replica_sets.iter().find_map(|set| set.failure.as_ref());
        new.or_else(any).map(|message| says("True", "FailedCreate", message.as_str()))
    }

    /// What became of this abort in Git, as the write-back tells it; nothing of an earlier one.
    fn written_back(&self) -> Option<Says> {
        let metadata = &self.world.snapshot.rollout.metadata;
        let record = Record::of(metadata.annotations.as_ref())?;
        let aborted_at = self.progress.aborted_at.filter(|_| self.progress.abort)?;
        let (uid, hash) = (metadata.uid.as_deref()?, self.progress.hash.as_ref()?);
        let is_this = record.abort == identity(uid, &hash.to_string(), aborted_at);
        let status = match record.state {
            State::Reverted | State::NotNeeded => "True",
            State::Proposed | State::Failed => "False",
        };
        is_this.then(|| says(status, record.state.reason(), record.message))
    }

    fn new_set_name(&self) -> String {
        let hash = self.progress.hash.as_ref();
        hash.map(|hash| super::super::revision::replica_set_name(self.world.snapshot, hash))
            .unwrap_or_default()
    }
}

/// All problems of a spec in one sentence; `None` of none.
pub(in super::super) fn invalid_message(name: &str, world: &World) -> Option<String> {
    if world.problems.is_empty() {
        return None;
    }
    let problems: Vec<_> = world.problems.iter().map(ToString::to_string).collect();
    Some(format!("The Rollout \"{name}\" is invalid: {}", problems.join("; ")))
}

/// A stored condition, said again.
fn kept(stored: &Condition) -> Says {
    let status = match stored.status.as_str() {
        "True" => "True",
        "False" => "False",
        _ => "Unknown",
    };
    Says {
        status,
        reason: stored.reason.clone().unwrap_or_default(),
        message: stored.message.clone().unwrap_or_default(),
    }
}

fn touch(list: &mut [Condition], kind: &str, now: Timestamp) {
    if let Some(condition) = list.iter_mut().find(|condition| condition.r#type == kind) {
        condition.last_update_time = Some(now.whole_seconds());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::labels::GIT_WRITE_BACK;
    use crate::rollout::decide;
    use crate::rollout::tests::Bench;

    /// What the status says of Git once an annotation is there that tells of the abort at this time.
    fn written_back(tells_of: &str) -> Option<(String, Option<String>)> {
        let mut bench = Bench::new(4, &json!([{"setWeight": 25}, {"pause": {}}]));
        bench.settle();
        bench.release("v2");
        bench.settle();
        bench.snapshot.rollout.metadata.uid = Some("u".to_owned());
        bench.snapshot.rollout.status.as_mut().unwrap().abort = Some(true);
        bench.settle();
        let status = bench.status();
        let (hash, at) = (status.current_pod_hash.clone().unwrap(), status.aborted_at.unwrap().to_string());
        let abort = format!("u/{hash}/{}", tells_of.replace("NOW", &at));
        let record = json!({"abort": abort, "state": "Reverted", "message": "commit abc", "at": at});
        let annotations = bench.snapshot.rollout.metadata.annotations.get_or_insert_default();
        annotations.insert(GIT_WRITE_BACK.to_owned(), record.to_string());
        let plan = decide(&bench.snapshot);
        bench.apply(plan);
        let told = condition(bench.status(), "WrittenBack")?;
        Some((told.status.clone(), told.message.clone()))
    }

    #[test]
    fn what_became_of_an_abort_in_git_is_a_condition_of_that_abort_alone() {
        assert_eq!(written_back("NOW"), Some(("True".to_owned(), Some("commit abc".to_owned()))));
        assert_eq!(written_back("2020-01-01T00:00:00Z"), None);
    }
}
