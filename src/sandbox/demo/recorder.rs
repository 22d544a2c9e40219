//! Collects the history that the chart shows.

use std::collections::VecDeque;
use std::time::Duration;

use crate::sandbox::chart::{History, Mark, Sample};
use crate::sandbox::traffic::Counts;
use crate::view::Tone;

/// Time between two samples.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);
/// The time over which a success rate is taken: short enough to show a change, long enough not to jitter.
const WINDOW: Duration = Duration::from_secs(4);

/// Collects samples and marks.
#[derive(Debug)]
pub(super) struct Recorder {
    history: History,
    /// Counts within the window, the oldest first; bounded by the window's length over the time between samples.
    recent: VecDeque<(Duration, Counts)>,
}

impl Recorder {
    /// An empty history, whose rates are bad below `limit`.
    pub(super) fn new(limit: f64) -> Self {
        Self { history: History { limit, ..History::default() }, recent: VecDeque::new() }
    }

    /// Takes a sample, unless the last one is too fresh. `counts` are all requests up to `now`, `canary` is the share
    /// of pods of the new version.
    pub(super) fn sample(&mut self, now: Duration, counts: Counts, canary: f64) {
        if self.recent.back().is_some_and(|(at, _)| now.saturating_sub(*at) < SAMPLE_EVERY) {
            return;
        }
        while self.recent.len() > 1
            && self.recent.front().is_some_and(|(at, _)| now.saturating_sub(*at) > WINDOW)
        {
            self.recent.pop_front();
        }
        let success = self.recent.front().and_then(|(_, earlier)| counts.since(*earlier).success_rate());
        self.history.samples.push(Sample { at: now, success, canary });
        self.recent.push_back((now, counts));
    }

    /// Marks something that happened.
    pub(super) fn mark(&mut self, at: Duration, text: impl Into<String>, tone: Tone) {
        self.history.marks.push(Mark { at, text: text.into(), tone });
    }

    /// What was collected.
    pub(super) fn history(&self) -> &History {
        &self.history
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let mut recorder = Recorder::new(0.95);
        for second in 0..20_u64 {
            let failed = if second > 10 { (second - 10) * 50 } else { 0 };
            let counts = Counts { succeeded: second * 100 - failed, failed, unanswered: 0 };
            recorder.sample(Duration::from_secs(second), counts, 0.0);
            recorder.sample(Duration::from_millis(second * 1000 + 100), counts, 0.0);
        }
        let rates: Vec<Option<f64>> =
            recorder.history().samples.iter().map(|sample| sample.success).collect();
        assert_eq!(rates.len(), 20);
        assert_eq!((rates[0], rates[10], rates[19]), (None, Some(1.0), Some(0.5)));
    }
}
