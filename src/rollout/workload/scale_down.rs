//! What becomes of the pods of a Deployment that a Rollout has taken over: they stay, go when the Rollout is healthy, or
//! make room one by one as its pods become ready.
//!
//! Only the first revision takes over. The size that was asked for last is noted on the Deployment, in the same write, and
//! from then on a Deployment of another size belongs to whoever scaled it: it is scaled down further, never up. Once it
//! was scaled down because the Rollout was healthy, it is left alone for good.

use super::super::effect::Effect;
use super::super::progress::Progress;
use super::super::status::Counts;
use super::super::valid::WorkloadScaling;
use super::super::world::World;
use crate::api::RolloutStatus;
use crate::units::ReplicaCount;

/// The note of a Deployment that is done with.
const DONE: &str = "done";

/// What is noted on a Deployment when it is scaled down: annotation `rollout.argoproj.io/workload-scaled-down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// It makes room, and was last asked to have so many pods.
    To(ReplicaCount),
    /// It has done its service.
    Done,
}

impl Note {
    /// Reads the annotation; anything else than a number counts as done, because then it is not for us to say.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.parse().map_or(Self::Done, |count| Self::To(ReplicaCount::new(count)))
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::To(count) => count.fmt(f),
            Self::Done => f.write_str(DONE),
        }
    }
}

/// The next change of the Deployment's size; `None` when it is right, or nobody's business here. `status` is the one that
/// this pass came to.
pub(in super::super) fn next(world: &World, progress: &Progress, status: &RolloutStatus) -> Option<Effect> {
    let reference = world.snapshot.rollout.spec.workload_ref.as_ref()?;
    let workload = world.snapshot.workload.found()?;
    let size = workload.size?;
    if !world.problems.is_empty() || world.spec.paused || world.number(progress).get() != 1 {
        return None;
    }
    let is_healthy = status.phase.as_deref() == Some("Healthy");
    let (to, note) = match world.spec.workload_scaling {
        WorkloadScaling::OnSuccess | WorkloadScaling::Progressively if is_healthy => {
            (finished(size, workload.note)?, Note::Done)
        }
        WorkloadScaling::Progressively => {
            let wanted = world.spec.replicas.minus(Counts::observe(world, progress).ready);
            let to = making_room(size, workload.note, wanted)?;
            (to, Note::To(to))
        }
        WorkloadScaling::Never | WorkloadScaling::OnSuccess => return None,
    };
    let name = reference.name.clone().unwrap_or_default();
    Some(Effect::ScaleWorkload { name, from: size, to, note })
}

/// No pods, once.
fn finished(size: ReplicaCount, note: Option<Note>) -> Option<ReplicaCount> {
    match note {
        Some(Note::Done) => None,
        // It had none before anybody asked.
        None if size == ReplicaCount::ZERO => None,
        None | Some(Note::To(_)) => Some(ReplicaCount::ZERO),
    }
}

/// `wanted` pods, as long as nobody else scales it; otherwise only fewer than it has and was asked to have.
fn making_room(size: ReplicaCount, note: Option<Note>, wanted: ReplicaCount) -> Option<ReplicaCount> {
    match note {
        Some(Note::Done) => None,
        Some(Note::To(last)) if last == size => (wanted != size).then_some(wanted),
        Some(Note::To(last)) => (wanted < last.min(size)).then_some(wanted),
        None => (wanted < size).then_some(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(size: u32, note: Option<u32>, wanted: u32) -> Option<u32> {
        let count = ReplicaCount::new;
        let note = note.map(|last| Note::To(count(last)));
        making_room(count(size), note, count(wanted)).map(ReplicaCount::get)
    }

    #[test]
    fn a_deployment_makes_room_and_takes_back_what_the_rollout_loses() {
        assert_eq!(room(4, None, 4), None);
        assert_eq!(room(4, None, 3), Some(3));
        assert_eq!(room(3, Some(3), 1), Some(1));
        assert_eq!(room(1, Some(1), 4), Some(4));
    }

    #[test]
    fn a_deployment_that_was_smaller_from_the_start_is_never_scaled_up() {
        assert_eq!(room(0, None, 4), None);
        assert_eq!(room(2, None, 4), None);
    }

    #[test]
    fn a_deployment_that_somebody_else_scales_is_asked_for_each_size_once() {
        assert_eq!(room(2, Some(1), 1), None, "an autoscaler has put it back");
        assert_eq!(room(2, Some(1), 3), None);
        assert_eq!(room(2, Some(1), 0), Some(0));
    }

    #[test]
    fn a_deployment_that_is_done_with_is_left_alone() {
        let two = ReplicaCount::new(2);
        assert_eq!(finished(two, None), Some(ReplicaCount::ZERO));
        assert_eq!(
            finished(ReplicaCount::ZERO, Some(Note::To(ReplicaCount::ZERO))),
            Some(ReplicaCount::ZERO)
        );
        assert_eq!(finished(ReplicaCount::ZERO, None), None);
        assert_eq!(finished(two, Some(Note::Done)), None);
        assert_eq!(making_room(two, Some(Note::Done), ReplicaCount::ZERO), None);
    }

    #[test]
    fn a_note_is_read_as_it_is_written() {
        for note in [Note::To(ReplicaCount::new(3)), Note::Done] {
            assert_eq!(Note::parse(&note.to_string()), note);
        }
        assert_eq!(Note::parse("by hand"), Note::Done);
    }
}
