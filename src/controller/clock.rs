//! The only place that asks what time it is.

use chrono::Utc;

use crate::units::Timestamp;

/// Reads the wall clock. Durations inside the shell are measured on tokio's monotonic clock instead.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock;

impl Clock {
    /// The time now, with milliseconds.
    #[expect(clippy::disallowed_methods, reason = "this is where now enters")]
    #[expect(clippy::unused_self, reason = "whoever needs the time must have been given the clock")]
    pub(crate) fn now(self) -> Timestamp {
        Timestamp::from(Utc::now())
    }
}
