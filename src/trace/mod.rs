//! Traces: what a pass tells of a delivery, as spans of OpenTelemetry.
//!
//! Each update of a Rollout is one trace: a root span from its beginning to its end, a span per step below it, and a span
//! per measurement below the step whose AnalysisRun took it, or below the root. Spans are made from the stored status and
//! the next one, in the pass in which what they tell of ends. Their ids come from what they tell of, so that a span that is
//! made twice, before and after a crash or a change of the leader, is the same span. Times are whole seconds, as in the
//! status.
//!
//! Deliberately absent: sending them, which `controller/traces.rs` does.

mod delivery;
mod measurements;
mod span;

pub use delivery::{Entered, Pass, ended};
pub use measurements::measured;

#[cfg(test)]
mod tests;
