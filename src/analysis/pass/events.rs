//! What a run announces.

use super::super::RunEvent;
use crate::api::AnalysisPhase;
use crate::api::analysis_run::MetricResult;
use crate::events::Severity;

pub(super) fn metric_event(found: &MetricResult, why: Option<String>) -> RunEvent {
    let reason = match found.phase {
        AnalysisPhase::Successful | AnalysisPhase::Running | AnalysisPhase::Pending => "MetricSuccessful",
        AnalysisPhase::Failed => "MetricFailed",
        AnalysisPhase::Error => "MetricError",
        AnalysisPhase::Inconclusive => "MetricInconclusive",
    };
    let message = why.unwrap_or_else(|| format!("Metric \"{}\" assessed {}", found.name, found.phase));
    RunEvent { reason, message, severity: severity(found.phase) }
}

pub(super) fn completed_event(phase: AnalysisPhase, message: Option<&str>) -> RunEvent {
    let reason = match phase {
        AnalysisPhase::Successful | AnalysisPhase::Running | AnalysisPhase::Pending => {
            "AnalysisRunSuccessful"
        }
        AnalysisPhase::Failed => "AnalysisRunFailed",
        AnalysisPhase::Error => "AnalysisRunError",
        AnalysisPhase::Inconclusive => "AnalysisRunInconclusive",
    };
    let why = message.map(|message| format!(": {message}")).unwrap_or_default();
    RunEvent { reason, message: format!("Analysis completed {phase}{why}"), severity: severity(phase) }
}

const fn severity(phase: AnalysisPhase) -> Severity {
    match phase {
        AnalysisPhase::Failed | AnalysisPhase::Error => Severity::Warning,
        AnalysisPhase::Successful
        | AnalysisPhase::Running
        | AnalysisPhase::Pending
        | AnalysisPhase::Inconclusive => Severity::Normal,
    }
}
