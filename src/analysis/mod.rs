//! The pure core for AnalysisRuns: `decide` turns a snapshot of one run into what to measure and what to write.
//!
//! A run that is finished is never written again. Deliberately absent: any I/O, and any verdict of a provider; a
//! provider gives values, `verdict` judges them.
//!
//! | question | room |
//! |---|---|
//! | When is a metric measured next? | `schedule` |
//! | How is a value, a metric, a run judged? | `verdict` |
//! | What is a condition, and what may it cost? | `condition` |
//! | How are arguments put in? | `args` |
//! | Where are secrets, and who sees them? | `secrets` |
//! | How do templates become a run? | `template` |
//! | Which rules about metrics do several analyses share? | `group` |
//! | What is a provider asked? | `query` |

pub mod args;
pub mod condition;
pub mod group;
mod limits;
pub mod lint;
pub mod metric;
mod pass;
pub mod query;
pub mod schedule;
pub mod secrets;
mod spec;
pub mod template;
pub mod value;
pub mod verdict;

use std::collections::{BTreeMap, BTreeSet};

pub use metric::{FieldError, MetricRules};
pub use query::Query;
pub use secrets::{Secret, SecretKey, Secrets};
pub use spec::RunSpec;
pub use value::Value;

use crate::api::analysis_run::Measurement;
use crate::api::{AnalysisRun, AnalysisRunStatus};
use crate::events::Severity;
use crate::units::Timestamp;

/// All that a decision about one run may look at.
#[derive(Clone, Debug)]
pub struct RunSnapshot {
    /// The time of the pass.
    pub now: Timestamp,
    /// The run: metadata, spec, and the status that was last seen.
    pub run: AnalysisRun,
    /// The run's spec as it was read, in this pass or an earlier one.
    pub spec: RunSpec,
    /// Secrets that were asked for, read for this pass; the error says why one cannot be read.
    pub secrets: Secrets,
    /// Metrics that are being measured, by name.
    pub in_flight: BTreeSet<String>,
    /// Measurements that are finished and not known to be in the stored status; one that is there already is ignored.
    pub samples: Vec<Sample>,
}

impl RunSnapshot {
    /// A run before anything was measured or asked for.
    #[must_use]
    pub fn new(run: AnalysisRun, now: Timestamp) -> Self {
        let spec = RunSpec::new(&run.spec);
        let (in_flight, samples) = (BTreeSet::new(), Vec::new());
        Self { now, run, spec, secrets: Secrets::new(), in_flight, samples }
    }

    /// The Job of a measurement of this run.
    fn job_of(&self, measurement: &Measurement) -> Option<String> {
        let name = measurement.metadata.as_ref()?.get(query::JOB_NAME)?;
        // Who writes into a status cannot have other people's Jobs deleted.
        let uid = self.run.metadata.uid.as_deref().filter(|uid| !uid.is_empty())?;
        name.starts_with(uid).then(|| name.clone())
    }
}

/// One finished measurement: a value or why there is none, never a verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name of the metric.
    pub metric: String,
    /// `MeasureRequest::at`.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The value, or one sentence that says why there is none. Holds no secret.
    pub result: Result<Value, String>,
    /// What the provider says of the measurement. Holds no secret.
    pub metadata: BTreeMap<String, String>,
}

/// One measurement to take.
#[derive(Clone, PartialEq)]
pub struct MeasureRequest {
    /// Name of the metric.
    pub metric: String,
    /// When it was asked for; the sample's `started_at`.
    pub at: Timestamp,
    /// What to ask whom, with arguments and secrets put in.
    pub query: Query,
    /// The secrets that are in `query`, to be kept out of everything people see.
    pub secrets: Vec<Secret>,
}

impl std::fmt::Debug for MeasureRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeasureRequest")
            .field("metric", &self.metric)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// One announcement about a run, made as a Kubernetes Event on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEvent {
    /// Its reason: `MetricFailed`, `AnalysisRunSuccessful`, ….
    pub reason: &'static str,
    /// Its message.
    pub message: String,
    /// News or a warning.
    pub severity: Severity,
}

/// Everything one pass does. The plan of an idle run is empty but for `wake_at`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunPlan {
    /// The whole next status; `None` when the stored one is right already, or right enough for a few seconds.
    pub status: Option<Box<AnalysisRunStatus>>,
    /// Whether the samples are in no status yet, and wanted in the next pass.
    pub keep_samples: bool,
    /// Secrets to read before the next pass, which is due at once when this is not empty.
    pub secrets: BTreeSet<SecretKey>,
    /// Measurements to start after the status is written.
    pub measure: Vec<MeasureRequest>,
    /// Jobs of the run that nobody needs any more, by name: deleted before the status is written.
    pub delete_jobs: BTreeSet<String>,
    /// Announcements, made after the status is written, in this order.
    pub events: Vec<RunEvent>,
    /// When to look again although nothing has changed; `None` to wait for a change or a sample.
    pub wake_at: Option<Timestamp>,
    /// Whether the run has outlived its `ttlStrategy` and is deleted.
    pub delete: bool,
}

impl RunPlan {
    /// Whether the plan does nothing but wait.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        Self { wake_at: self.wake_at, ..Self::default() } == *self
    }
}

/// Decides what a pass over one run does: the same snapshot gives the same plan.
#[must_use]
pub fn decide(snapshot: &RunSnapshot) -> RunPlan {
    if snapshot.run.metadata.deletion_timestamp.is_some() {
        return RunPlan::default();
    }
    match &snapshot.run.status {
        Some(status) if status.phase.is_some_and(crate::api::AnalysisPhase::is_completed) => {
            pass::after_the_end(snapshot, status)
        }
        Some(_) | None => pass::run(snapshot),
    }
}
