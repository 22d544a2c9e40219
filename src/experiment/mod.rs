//! The pure core for Experiments: `decide` turns a snapshot of one Experiment into what to write and what to make.
//!
//! | phase | what happens | file |
//! |---|---|---|
//! | none, `Pending` | a ReplicaSet and perhaps a Service per template, until all are available | `templates` |
//! | `Running` | analyses run beside the pods, until one decides or time is over | `analyses`, `verdict` |
//! | any other | runs stop, pods go after a delay, but not while traffic flows to them, Services with them | `ended` |
//!
//! An Experiment that is at rest is never written. Deliberately absent: any verdict about a value, which is the
//! AnalysisRun's; and any traffic, which is the Rollout's.

mod analyses;
pub mod effect;
mod ended;
mod progress;
mod snapshot;
mod status;
mod templates;
#[cfg(test)]
mod tests;
mod valid;
mod verdict;

pub use effect::Effect;
pub use snapshot::{ObjectKind, Obstacle, Route, Snapshot, Why};

use crate::analysis::RunEvent;
use crate::api::{AnalysisPhase, ExperimentStatus};
use crate::units::Timestamp;

/// Everything one pass does. The plan of an Experiment at rest is empty but for `wake_at`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The whole next status, written before anything else; `None` when the stored one is right already.
    pub status: Option<Box<ExperimentStatus>>,
    /// Groups of effects. A stage starts when the one before it has succeeded; effects of one stage have no order.
    pub stages: Vec<Vec<Effect>>,
    /// Announcements of what the status tells, in this order. Effects are announced once they were made.
    pub events: Vec<RunEvent>,
    /// When to look again although nothing has changed; `None` to wait for a change.
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    /// Whether the plan does nothing but wait.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.status.is_none() && self.stages.is_empty() && self.events.is_empty()
    }
}

/// Decides what a pass over one Experiment does: the same snapshot gives the same plan.
#[must_use]
pub fn decide(snapshot: &Snapshot) -> Plan {
    if snapshot.experiment.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let before = snapshot.experiment.status.clone().unwrap_or_default();
    if before.phase.is_some_and(AnalysisPhase::is_completed) {
        return ended::plan(snapshot, &before);
    }
    progress::plan(snapshot, &before)
}

/// The effects without empty stages.
fn stages<const N: usize>(stages: [Vec<Effect>; N]) -> Vec<Vec<Effect>> {
    stages.into_iter().filter(|stage| !stage.is_empty()).collect()
}
