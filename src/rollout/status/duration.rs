//! How long an update takes, and how it ended: `status.duration`.
//!
//! The moves of a pass leave milestones behind, and these are turned into the next `duration` here, once, from the stored
//! one. It never is a reason to write the status: where nothing else changes, it does not change.

use std::time::Duration;

use super::super::progress::{PAUSE_BLUE_GREEN, PAUSE_EXPERIMENT, PAUSE_INCONCLUSIVE, PAUSE_STEP, Progress};
use super::super::valid::{BlueGreen, Promotion, Step, Strategy};
use super::super::world::World;
use crate::api::RolloutStatus;
use crate::api::rollout_status::DurationStatus;
use crate::units::Timestamp;

/// What happens in a pass that begins or ends an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// Another version or other steps are wanted.
    Began(Direction),
    /// An update that was taken back is tried again.
    Retried,
    /// The update was taken back.
    Aborted,
    /// The version became stable.
    Promoted,
    /// The version became stable because a person skipped the rest.
    FastPromoted,
}

/// Where an update leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To a version younger than stable.
    Forward,
    /// To a version older than stable, through the steps.
    Back,
    /// To a version older than stable, without steps.
    StraightBack,
    /// To stable itself.
    ToStable,
}

/// How an update ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Completion {
    /// It became stable.
    Promoted,
    /// It became stable because a person skipped the rest.
    FastPromoted,
    /// It was taken back.
    Aborted,
    /// Another one took its place.
    Superseded,
    /// An older version became stable again, through the steps.
    RolledBack,
    /// An older version became stable again, without steps.
    FastRolledBack,
}

impl Completion {
    /// Every way to end.
    pub const ALL: [Self; 6] = [
        Self::Promoted,
        Self::FastPromoted,
        Self::Aborted,
        Self::Superseded,
        Self::RolledBack,
        Self::FastRolledBack,
    ];

    /// The value of `completionStatus`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "Promoted",
            Self::FastPromoted => "FastPromoted",
            Self::Aborted => "Aborted",
            Self::Superseded => "Superseded",
            Self::RolledBack => "RolledBack",
            Self::FastRolledBack => "FastRolledBack",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|completion| completion.as_str() == text)
    }
}

/// An update that ended in a pass, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub completion: Completion,
    /// Time from its beginning.
    pub took: Duration,
    /// Time of it that was spent waiting for a person.
    pub paused: Duration,
}

/// Sets the duration of the next status; gives the updates that ended.
#[must_use]
pub(super) fn set(
    world: &World,
    progress: &Progress,
    before: &RolloutStatus,
    next: &mut RolloutStatus,
) -> Vec<Finished> {
    let mut watch = Stopwatch {
        now: world.now().whole_seconds(),
        stored: before.duration.clone().unwrap_or_default(),
        finished: Vec::new(),
    };
    if is_over(before) {
        watch.forget();
    }
    progress.milestones.iter().for_each(|milestone| watch.pass(*milestone));
    if watch.goes_back() && progress.is_settled() && world.is_stable_available(progress) {
        watch.finish(None);
    }
    if world.problems.is_empty() {
        watch.hold(is_held(world, progress));
    }
    let duration = Some(watch.stored).filter(|duration| *duration != DurationStatus::default());
    if next == before && duration != before.duration {
        // Seen again with the next change that matters.
        return Vec::new();
    }
    next.duration = duration;
    watch.finished
}

/// Whether the update that a status tells of has ended, one way or the other.
fn is_over(status: &RolloutStatus) -> bool {
    let is_promoted = status.stable_rs.is_some() && status.stable_rs == status.current_pod_hash;
    let is_aborted = status.abort == Some(true) && status.aborted_at.is_some();
    is_promoted || is_aborted
}

/// Whether a person is waited for.
fn is_held(world: &World, progress: &Progress) -> bool {
    let waits = |reason: &str| progress.pause(reason).is_some();
    let by_person = |strategy: &BlueGreen| strategy.promotion == Promotion::ByPerson;
    let at_pause = waits(PAUSE_STEP) && matches!(world.step(progress), Some(Step::Pause(None)));
    let before_switch = waits(PAUSE_BLUE_GREEN)
        && matches!(&world.spec.strategy, Strategy::BlueGreen(strategy) if by_person(strategy));
    world.spec.paused || at_pause || before_switch || waits(PAUSE_INCONCLUSIVE) || waits(PAUSE_EXPERIMENT)
}

/// The duration as it changes within a pass.
struct Stopwatch {
    now: Timestamp,
    stored: DurationStatus,
    finished: Vec<Finished>,
}

impl Stopwatch {
    fn pass(&mut self, milestone: Milestone) {
        match milestone {
            Milestone::Began(direction) => self.begin(direction),
            Milestone::Retried => self.restart(None),
            Milestone::Aborted => self.finish(Some(Completion::Aborted)),
            // Going back ends when all of its pods are there.
            Milestone::Promoted | Milestone::FastPromoted if self.goes_back() => {}
            Milestone::Promoted => self.finish(Some(Completion::Promoted)),
            Milestone::FastPromoted => self.finish(Some(Completion::FastPromoted)),
        }
    }

    fn begin(&mut self, direction: Direction) {
        let back = match direction {
            Direction::Forward => {
                self.finish(Some(Completion::Superseded));
                return self.restart(None);
            }
            Direction::Back => Completion::RolledBack,
            Direction::StraightBack | Direction::ToStable => Completion::FastRolledBack,
        };
        match (self.is_running(), direction) {
            (true, _) => self.stored.completion_status = Some(back.as_str().to_owned()),
            // Nothing was on its way: stable is wanted again, and nothing begins.
            (false, Direction::ToStable) => {}
            (false, _) => self.restart(Some(back)),
        }
    }

    fn restart(&mut self, completion: Option<Completion>) {
        self.stored = DurationStatus {
            rollout_started_at: Some(self.now),
            completion_status: completion.map(|completion| completion.as_str().to_owned()),
            ..DurationStatus::default()
        };
    }

    /// Forgets an update that somebody ended who does not write that down, as Argo Rollouts up to 1.9: nobody knows when.
    fn forget(&mut self) {
        if self.is_running() && !self.goes_back() {
            self.stored = DurationStatus::default();
        }
    }

    const fn is_running(&self) -> bool {
        self.stored.rollout_started_at.is_some() && self.stored.finished_at.is_none()
    }

    fn completion(&self) -> Option<Completion> {
        self.stored.completion_status.as_deref().and_then(Completion::parse)
    }

    /// Whether an older version is on its way.
    fn goes_back(&self) -> bool {
        let back = [Some(Completion::RolledBack), Some(Completion::FastRolledBack)];
        self.is_running() && back.contains(&self.completion())
    }

    /// Ends it, in this way or in the one that it was on; one that is not running has ended.
    fn finish(&mut self, completion: Option<Completion>) {
        let Some(started) = self.stored.rollout_started_at.filter(|_| self.is_running()) else { return };
        let Some(completion) = completion.or_else(|| self.completion()) else { return };
        self.hold(false);
        self.stored.finished_at = Some(self.now);
        self.stored.completion_status = Some(completion.as_str().to_owned());
        let paused = self.stored.total_manual_pause_duration_seconds.unwrap_or_default();
        let paused = Duration::from_secs(u64::try_from(paused).unwrap_or_default());
        self.finished.push(Finished { completion, took: self.now.since(started), paused });
    }

    /// Begins or ends a wait for a person.
    fn hold(&mut self, is_held: bool) {
        if !self.is_running() {
            return;
        }
        match (self.stored.manual_pause_started_at, is_held) {
            (None, true) => self.stored.manual_pause_started_at = Some(self.now),
            (Some(since), false) => {
                let seconds = i64::try_from(self.now.since(since).as_secs()).unwrap_or(i64::MAX);
                let before = self.stored.total_manual_pause_duration_seconds.unwrap_or_default();
                let total = before.saturating_add(seconds);
                self.stored.manual_pause_started_at = None;
                self.stored.total_manual_pause_duration_seconds = (total > 0).then_some(total);
            }
            (None, false) | (Some(_), true) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// Plays milestones and waits for a person, each with its time, and tells how every update ended.
    fn check(moments: &[(i64, Moment)], expected: &[(Completion, u64, u64)]) -> DurationStatus {
        let mut watch = Stopwatch { now: at(0), stored: DurationStatus::default(), finished: Vec::new() };
        for (time, moment) in moments {
            watch.now = at(*time);
            match moment {
                Moment::Is(milestone) => watch.pass(*milestone),
                Moment::Held(is_held) => watch.hold(*is_held),
                Moment::Available => watch.finish(None),
                Moment::Over => watch.forget(),
            }
        }
        let finished = watch.finished.iter();
        let told: Vec<_> =
            finished.map(|end| (end.completion, end.took.as_secs(), end.paused.as_secs())).collect();
        assert_eq!(told, expected);
        watch.stored
    }

    enum Moment {
        Over,
        Is(Milestone),
        Held(bool),
        Available,
    }

    use Completion::{Aborted, FastPromoted, FastRolledBack, Promoted, RolledBack, Superseded};
    use Moment::{Available, Held, Is, Over};

    const BEGAN: Moment = Is(Milestone::Began(Direction::Forward));

    #[test]
    fn an_update_is_timed_from_its_beginning_to_its_promotion_and_its_waits_for_people_apart() {
        let moments = [
            (10, BEGAN),
            (15, Held(true)),
            (20, Held(true)),
            (25, Held(false)),
            (40, Is(Milestone::Promoted)),
            (50, Held(true)),
        ];
        let stored = check(&moments, &[(Promoted, 30, 10)]);
        let expected = DurationStatus {
            rollout_started_at: Some(at(10)),
            manual_pause_started_at: None,
            total_manual_pause_duration_seconds: Some(10),
            finished_at: Some(at(40)),
            completion_status: Some("Promoted".to_owned()),
        };
        assert_eq!(stored, expected);
    }

    #[test]
    fn a_wait_for_a_person_ends_with_the_update() {
        check(&[(0, BEGAN), (5, Held(true)), (9, Is(Milestone::Aborted))], &[(Aborted, 9, 4)]);
        check(&[(0, BEGAN), (5, Held(true)), (9, Is(Milestone::FastPromoted))], &[(FastPromoted, 9, 4)]);
    }

    #[test]
    fn a_newer_version_ends_an_update_and_begins_another() {
        let stored = check(&[(0, BEGAN), (7, BEGAN)], &[(Superseded, 7, 0)]);
        assert_eq!((stored.rollout_started_at, stored.completion_status), (Some(at(7)), None));
    }

    #[test]
    fn going_back_in_the_middle_goes_on_until_the_pods_are_there() {
        let back =
            |direction| [(0, BEGAN), (5, Is(Milestone::Began(direction))), (8, Is(Milestone::Promoted))];
        let stored = check(&back(Direction::Back), &[]);
        assert_eq!(stored.completion_status.as_deref(), Some("RolledBack"));
        for (direction, completion) in [
            (Direction::Back, RolledBack),
            (Direction::StraightBack, FastRolledBack),
            (Direction::ToStable, FastRolledBack),
        ] {
            let moments = back(direction).into_iter().chain([(9, Available), (10, Available)]);
            check(&moments.collect::<Vec<_>>(), &[(completion, 9, 0)]);
        }
    }

    #[test]
    fn a_retry_is_an_update_of_its_own() {
        let moments = [
            (0, BEGAN),
            (5, Is(Milestone::Aborted)),
            (20, Is(Milestone::Retried)),
            (23, Is(Milestone::Promoted)),
        ];
        check(&moments, &[(Aborted, 5, 0), (Promoted, 3, 0)]);
    }

    #[test]
    fn an_update_that_was_ended_by_somebody_who_keeps_no_time_is_forgotten() {
        let left = [(0, BEGAN), (5, Held(true)), (90, Over), (91, Held(false))];
        assert_eq!(check(&left, &[]), DurationStatus::default());
        check(&[(0, BEGAN), (90, Over), (95, BEGAN), (99, Is(Milestone::Promoted))], &[(Promoted, 4, 0)]);
        let ended = [(0, BEGAN), (5, Is(Milestone::Promoted)), (9, Over)];
        assert_eq!(check(&ended, &[(Promoted, 5, 0)]).finished_at, Some(at(5)));
        let back = [(0, BEGAN), (5, Is(Milestone::Began(Direction::ToStable))), (8, Over), (9, Available)];
        check(&back, &[(FastRolledBack, 9, 0)]);
    }

    #[test]
    fn an_update_is_over_when_its_version_is_stable_or_its_abort_is_written_down() {
        let status = |value: serde_json::Value| serde_json::from_value::<RolloutStatus>(value).unwrap();
        for (stored, expected) in [
            (json!({}), false),
            (json!({"currentPodHash": "b", "stableRS": "a"}), false),
            (json!({"currentPodHash": "b", "stableRS": "b"}), true),
            (json!({"currentPodHash": "b", "stableRS": "a", "abort": true}), false),
            (
                json!({"currentPodHash": "b", "stableRS": "a", "abort": true, "abortedAt": "2026-11-21T08:20:50Z"}),
                true,
            ),
        ] {
            assert_eq!(is_over(&status(stored.clone())), expected, "{stored}");
        }
    }

    #[test]
    fn what_has_ended_is_left_alone() {
        let ended = [(0, BEGAN), (5, Is(Milestone::Aborted)), (9, Is(Milestone::Began(Direction::ToStable)))];
        let stored = check(&ended, &[(Aborted, 5, 0)]);
        assert_eq!((stored.finished_at, stored.completion_status.as_deref()), (Some(at(5)), Some("Aborted")));
    }

    #[test]
    fn an_update_whose_beginning_nobody_saw_is_not_timed() {
        let stored = check(&[(5, Held(true)), (9, Is(Milestone::Promoted))], &[]);
        assert_eq!(stored, DurationStatus::default());
    }
}
