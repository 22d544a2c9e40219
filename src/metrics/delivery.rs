//! How well changes reach users: what each Rollout's updates came to, what took them back, how long it took until all was
//! well again, and since when an update is at its step.
//!
//! Counters of a Rollout begin at 0 with its first pass, so that an increase shows the first of anything. What is here is
//! kept in memory: after a restart, a step counts from when it is first seen where its status does not tell, and an outage whose
//! abort was forgotten before does not count.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::api::RolloutStatus;
use crate::events::AbortCause;
use crate::rollout::pod_hash;
use crate::rollout::status::Completion;
use crate::units::Timestamp;

/// Namespace, name and figures of each Rollout.
pub(super) type Shown<'a> = (&'a str, &'a str, &'a Delivery);

/// Where an update stands in its steps. Another revision, other steps and a retry begin anew.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Position {
    index: i32,
    hash: Option<String>,
    steps: Option<String>,
}

impl Position {
    /// `None` where no update is on its way, and for strategies without steps.
    fn of(status: &RolloutStatus) -> Option<Self> {
        // An empty list has a position, but no step to be at.
        let has_steps = status.current_step_hash.as_deref() != Some(&pod_hash::steps_hash(None));
        if !is_on_its_way(status) || !has_steps {
            return None;
        }
        Some(Self {
            index: status.current_step_index?,
            hash: status.current_pod_hash.clone(),
            steps: status.current_step_hash.clone(),
        })
    }

    /// When an update came here that was not seen before: what the status tells, else now.
    fn since(&self, status: &RolloutStatus, now: Timestamp) -> Timestamp {
        let paused = status.pause_conditions.iter().flatten().map(|pause| pause.start_time).min();
        let begun = || status.duration.as_ref().and_then(|duration| duration.rollout_started_at);
        paused.or_else(|| begun().filter(|_| self.index == 0)).unwrap_or(now)
    }
}

/// Whether a status tells of an update that has neither become stable nor been taken back.
fn is_on_its_way(status: &RolloutStatus) -> bool {
    let is_stable = status.stable_rs.is_none() || status.stable_rs == status.current_pod_hash;
    !is_stable && status.abort != Some(true)
}

/// What is counted of one Rollout.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    aborts: BTreeMap<AbortCause, u64>,
    updates: BTreeMap<Completion, u64>,
    step: Option<(Position, Timestamp)>,
    broken_since: Option<Timestamp>,
}

impl Delivery {
    pub(super) fn aborted(&mut self, cause: AbortCause) {
        *self.aborts.entry(cause).or_default() += 1;
    }

    pub(super) fn finished(&mut self, completion: Completion) {
        *self.updates.entry(completion).or_default() += 1;
    }

    /// Takes a status in, as it is once a pass has been made; tells how long an outage was that has ended with it.
    pub(super) fn status(&mut self, status: &RolloutStatus, now: Timestamp) -> Option<Duration> {
        let position = Position::of(status);
        if self.step.as_ref().map(|(position, _)| position) != position.as_ref() {
            let was_known = self.step.is_some();
            self.step = position.map(|position| {
                let since = if was_known { now } else { position.since(status, now) };
                (position, since)
            });
        }
        let aborted_at = status.aborted_at.filter(|_| status.abort == Some(true));
        self.broken_since = self.broken_since.or(aborted_at);
        // A pause may be reported as healthy.
        let is_well = status.phase.as_deref() == Some("Healthy") && !is_on_its_way(status);
        self.broken_since.take_if(|_| is_well).map(|since| now.since(since))
    }
}

/// Renders the figures of all Rollouts.
pub(super) fn encode(encoder: &mut DescriptorEncoder, all: &[Shown<'_>]) -> fmt::Result {
    let help = "Updates that were taken back, by what did it";
    let mut family = encoder.encode_descriptor("rollout_aborts", help, None, MetricType::Counter)?;
    for (namespace, name, delivery) in all {
        for cause in AbortCause::ALL {
            let count = delivery.aborts.get(&cause).copied().unwrap_or_default();
            let labels = [("namespace", *namespace), ("name", *name), ("cause", cause.as_str())];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
    }
    let help = "Updates that have ended, by how";
    let mut family = encoder.encode_descriptor("rollout_updates", help, None, MetricType::Counter)?;
    for (namespace, name, delivery) in all {
        for completion in Completion::ALL {
            let count = delivery.updates.get(&completion).copied().unwrap_or_default();
            let labels = [("namespace", *namespace), ("name", *name), ("result", completion.as_str())];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
    }
    let (name, help) = ("rollout_step_start_time_seconds", "When an update came to its step, since 1970");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (namespace, name, delivery) in all {
        let Some((_, since)) = &delivery.step else { continue };
        let labels = [("namespace", *namespace), ("name", *name)];
        ConstGauge::new(since.as_millis().div_euclid(1000)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn status(value: Value) -> RolloutStatus {
        serde_json::from_value(value).unwrap()
    }

    /// An update at this step; `changes` are merged into its status.
    fn step(index: i32, changes: &Value) -> RolloutStatus {
        let mut all = json!({"stableRS": "a", "currentPodHash": "b", "currentStepHash": "s", "currentStepIndex": index});
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        status(all)
    }

    /// When the update came to its step, after these statuses, each with its time.
    fn since(statuses: &[(i64, RolloutStatus)]) -> Option<Timestamp> {
        let mut delivery = Delivery::default();
        for (time, status) in statuses {
            delivery.status(status, at(*time));
        }
        delivery.step.map(|(_, since)| since)
    }

    #[test]
    fn a_step_counts_from_when_the_update_came_to_it() {
        let first = || (10, step(0, &json!({})));
        assert_eq!(since(&[first(), (15, step(0, &json!({})))]), Some(at(10)));
        assert_eq!(since(&[first(), (15, step(1, &json!({})))]), Some(at(15)));
        assert_eq!(since(&[first(), (15, step(0, &json!({"currentPodHash": "c"})))]), Some(at(15)));
        assert_eq!(since(&[first(), (15, step(0, &json!({"currentStepHash": "t"})))]), Some(at(15)));
        assert_eq!(
            since(&[first(), (15, step(0, &json!({"abort": true}))), (20, step(0, &json!({})))]),
            Some(at(20))
        );
        let none = json!({"currentStepHash": pod_hash::steps_hash(None)});
        assert_eq!(since(&[(10, step(0, &none))]), None, "an empty list of steps");
    }

    #[test]
    fn only_an_update_on_its_way_is_at_a_step() {
        for changes in [json!({"abort": true}), json!({"stableRS": "b"}), json!({"currentStepIndex": null})] {
            assert_eq!(since(&[(10, step(1, &json!({}))), (15, step(1, &changes))]), None);
        }
    }

    #[test]
    fn a_step_that_was_entered_before_the_process_began_counts_from_what_its_status_tells() {
        let time = "1970-01-01T00:00:05Z";
        let paused = json!({"pauseConditions": [{"reason": "CanaryPauseStep", "startTime": time}]});
        assert_eq!(since(&[(10, step(1, &paused))]), Some(at(5)));
        let begun = json!({"duration": {"rolloutStartedAt": time}});
        assert_eq!(since(&[(10, step(0, &begun))]), Some(at(5)));
        assert_eq!(since(&[(10, step(1, &begun))]), Some(at(10)));
    }

    #[test]
    fn an_outage_lasts_from_the_abort_until_all_is_well_again() {
        let mut delivery = Delivery::default();
        let aborted = json!({"abort": true, "abortedAt": "1970-01-01T00:00:05Z", "phase": "Degraded"});
        assert_eq!(delivery.status(&step(0, &aborted), at(6)), None);
        assert_eq!(delivery.status(&step(0, &json!({"phase": "Progressing"})), at(20)), None);
        let pause = step(0, &json!({"phase": "Healthy", "message": "CanaryPauseStep"}));
        assert_eq!(delivery.status(&pause, at(25)), None, "a pause that is reported as healthy");
        let well = step(1, &json!({"stableRS": "b", "phase": "Healthy"}));
        assert_eq!(delivery.status(&well, at(30)), Some(Duration::from_secs(25)));
        assert_eq!(delivery.status(&well, at(40)), None);
    }
}
