//! What people ask for through the status: abort, retry, full promotion.

use super::super::progress::Progress;
use super::super::revision;
use super::super::status::Milestone;
use super::super::world::World;
use super::{Outcome, aborted};
use crate::events::{AbortCause, AbortReason, Event};
use crate::units::StepIndex;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// `status.abort` was set.
    Abort,
    /// `status.abort` was cleared.
    Retry,
    /// `status.promoteFull` was set.
    PromoteFull,
    /// `status.currentStepIndex` was changed.
    Jump,
    /// Something was asked for where nothing is in progress.
    Nothing,
}

/// Finds what was asked for and not yet answered.
pub(super) fn find(world: &World, progress: &Progress) -> Option<Request> {
    let in_progress = progress.stable.is_some() && !progress.is_settled();
    let asked = progress.abort || progress.aborted_at.is_some() || progress.promote_full;
    if !in_progress {
        return asked.then_some(Request::Nothing);
    }
    let blocked = progress.abort || progress.aborted_at.is_some() || !progress.pauses.is_empty();
    match () {
        // An abort that is not answered yet is younger than a promotion that is under way, and the safer of the two.
        () if progress.abort && progress.aborted_at.is_none() => Some(Request::Abort),
        () if progress.promote_full && blocked => Some(Request::PromoteFull),
        () if !progress.abort && progress.aborted_at.is_some() => Some(Request::Retry),
        () if !progress.abort && has_jumped(world, progress) => Some(Request::Jump),
        () => None,
    }
}

/// Whether somebody else moved the position: the steps before it are others than when it was written.
fn has_jumped(world: &World, progress: &Progress) -> bool {
    let is_same_list = progress.step_hash == world.wanted_steps;
    let passed = revision::passed_steps_hash(world.snapshot, progress.index);
    is_same_list && progress.passed_steps.is_some() && progress.passed_steps != passed
}

/// Answers it.
pub(super) fn act(request: Request, world: &World, progress: &Progress) -> Outcome {
    let mut next = progress.clone();
    match request {
        Request::Abort => {
            aborted::enter(world, progress, AbortReason { cause: AbortCause::Person, text: String::new() })
        }
        Request::Retry => {
            next.end_abort();
            next.milestones.push(Milestone::Retried);
            next.go_to(StepIndex::FIRST);
            Outcome::Move(next, vec![Event::Retried])
        }
        Request::PromoteFull => {
            if progress.abort {
                next.milestones.push(Milestone::Retried);
            }
            next.end_abort();
            next.end_pauses();
            Outcome::Move(next, vec![Event::Resumed])
        }
        Request::Jump => {
            // What was begun at the step before must not count for this one.
            next.go_to(progress.index);
            next.forget_step();
            let events = if next.pauses.is_empty() { vec![] } else { vec![Event::Resumed] };
            next.end_pauses();
            Outcome::Move(next, events)
        }
        Request::Nothing => {
            next.end_abort();
            next.promote_full = false;
            Outcome::Move(next, vec![])
        }
    }
}
