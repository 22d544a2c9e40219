//! What goes wrong with writes, as a script orders it. Each fault is used up by the writes it hits.

use super::cluster::ApiError;
use crate::units::Timestamp;

/// What becomes of one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is done and answered.
    Done,
    /// It is refused.
    Refused(ApiError),
    /// It is done, but the answer is lost.
    AnswerLost,
    /// The controller dies before it.
    Crash,
}

/// Faults that are armed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Writes until the controller dies; `None` when it does not.
    pub crash_after: Option<u32>,
    /// Writes that go well before the ones below.
    pub spared: u32,
    /// Writes that meet a conflict.
    pub conflicts: u32,
    /// Writes that the server refuses with an internal error.
    pub refusals: u32,
    /// Writes that are done although their answer is lost.
    pub lost_answers: u32,
    /// Until when the server refuses everything.
    pub down_until: Option<Timestamp>,
}

impl Faults {
    /// Whether the server answers nothing.
    pub(super) fn is_down(&self, now: Timestamp) -> bool {
        self.down_until.is_some_and(|until| now < until)
    }

    /// The fate of the next write.
    pub fn next(&mut self, now: Timestamp) -> Fate {
        match self.crash_after {
            Some(0) => {
                self.crash_after = None;
                return Fate::Crash;
            }
            Some(left) => self.crash_after = Some(left - 1),
            None => {}
        }
        if self.is_down(now) {
            return Fate::Refused(ApiError::Unavailable);
        }
        if take(&mut self.spared) {
            return Fate::Done;
        }
        if take(&mut self.refusals) {
            return Fate::Refused(ApiError::Unavailable);
        }
        if take(&mut self.conflicts) {
            return Fate::Refused(ApiError::Conflict);
        }
        if take(&mut self.lost_answers) { Fate::AnswerLost } else { Fate::Done }
    }
}

const fn take(left: &mut u32) -> bool {
    let any = *left > 0;
    *left = left.saturating_sub(1);
    any
}
