//! Something that is shown as it was a while ago.

use std::collections::VecDeque;
use std::time::Duration;

use crate::units::Timestamp;

/// The past of something, as far as it is still shown.
#[derive(Clone, Debug)]
pub(super) struct Late<T> {
    lag: Duration,
    /// States of the past, oldest first; the first one is the one that is shown.
    past: VecDeque<(Timestamp, T)>,
}

impl<T> Default for Late<T> {
    fn default() -> Self {
        Self { lag: Duration::ZERO, past: VecDeque::new() }
    }
}

impl<T: PartialEq> Late<T> {
    /// Sets how late it is.
    pub(super) const fn set_lag(&mut self, lag: Duration) {
        self.lag = lag;
    }

    /// Whether it is late at all.
    pub(super) const fn is_late(&self) -> bool {
        !self.lag.is_zero()
    }

    /// Notes how it is now; `None` while it is not late.
    pub(super) fn note(&mut self, now: Timestamp, state: Option<T>) {
        let Some(state) = state else {
            self.past.clear();
            return;
        };
        if self.past.back().is_none_or(|(_, last)| *last != state) {
            self.past.push_back((now, state));
        }
        while self.past.get(1).is_some_and(|(at, _)| at.plus(self.lag) <= now) {
            self.past.pop_front();
        }
    }

    /// What is shown; `None` for what there is now.
    pub(super) fn shown(&self, now: Timestamp) -> Option<&T> {
        let is_due = |at: Timestamp| at.plus(self.lag) <= now;
        let seen = self.past.iter().rev().find(|(at, _)| is_due(*at)).or_else(|| self.past.front());
        seen.filter(|_| self.is_late()).map(|(_, state)| state)
    }
}
