//! When a finished run has outlived its `ttlStrategy`.

use std::time::Duration;

use super::super::{RunPlan, RunSnapshot};
use crate::api::{AnalysisPhase, AnalysisRunSpec, AnalysisRunStatus};
use crate::units::Timestamp;

/// The plan for a run that is finished: nothing, until its time to live is over.
pub(in crate::analysis) fn after_the_end(snapshot: &RunSnapshot, status: &AnalysisRunStatus) -> RunPlan {
    let Some(end) = expiry(&snapshot.run.spec, status) else { return RunPlan::default() };
    if end <= snapshot.now {
        return RunPlan { delete: true, ..RunPlan::default() };
    }
    RunPlan { wake_at: Some(end), ..RunPlan::default() }
}

fn expiry(spec: &AnalysisRunSpec, status: &AnalysisRunStatus) -> Option<Timestamp> {
    let ttl = spec.ttl_strategy.as_ref()?;
    let own = match status.phase? {
        AnalysisPhase::Successful => ttl.seconds_after_success,
        AnalysisPhase::Failed => ttl.seconds_after_failure,
        AnalysisPhase::Inconclusive
        | AnalysisPhase::Error
        | AnalysisPhase::Running
        | AnalysisPhase::Pending => None,
    };
    let seconds = u64::try_from(own.or(ttl.seconds_after_completion)?).unwrap_or_default();
    Some(status.completed_at?.plus(Duration::from_secs(seconds)))
}

/// When a run that ends now in `phase` is to be looked at again.
pub(super) fn expiry_of(snapshot: &RunSnapshot, phase: AnalysisPhase) -> Option<Timestamp> {
    let ended = AnalysisRunStatus {
        phase: Some(phase),
        completed_at: Some(snapshot.now.whole_seconds()),
        ..AnalysisRunStatus::default()
    };
    expiry(&snapshot.run.spec, &ended)
}
