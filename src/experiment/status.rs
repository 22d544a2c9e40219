//! The next status of an Experiment, its conditions, and what is announced of the difference.

use super::templates::{self, SUCCESSFUL, status_of};
use super::{Effect, Plan, Snapshot};
use crate::analysis::RunEvent;
use crate::api::conditions::{Outlook, says, set, tell};
use crate::api::experiment::{
    ExperimentAnalysisRunStatus, INVALID_EXPERIMENT_SPEC as INVALID, TemplateStatus,
};
use crate::api::{AnalysisPhase, ExperimentStatus};
use crate::events::Severity;
use crate::units::Timestamp;

/// The condition of an Experiment that goes on.
const PROGRESSING: &str = "Progressing";

/// Whether the stored status says that the spec could not be worked with.
pub(super) fn is_invalid(before: &ExperimentStatus) -> bool {
    invalid_message(before).is_some()
}

fn invalid_message(status: &ExperimentStatus) -> Option<&str> {
    let condition = status.conditions.iter().flatten().find(|condition| condition.r#type == INVALID);
    condition.map(|condition| condition.message.as_deref().unwrap_or_default())
}

/// The Experiment goes on.
pub(super) fn go_on(
    next: &mut ExperimentStatus,
    phase: AnalysisPhase,
    message: Option<String>,
    now: Timestamp,
) {
    let (reason, sentence) = match phase {
        AnalysisPhase::Pending => ("TemplatesProgressing", "Pods of the templates are becoming available"),
        _ => ("ExperimentRunning", "All templates were available, and the experiment runs"),
    };
    let conditions = next.conditions.get_or_insert_default();
    set(conditions, INVALID, None, now);
    set(conditions, PROGRESSING, Some(says("True", reason, sentence)), now);
    tell(conditions, phase.outlook(), (phase.as_str(), message.as_deref().unwrap_or_default()), now);
    next.phase = Some(phase);
    next.message = message;
}

/// The spec cannot be worked with; everything stays.
pub(super) fn hold(next: &mut ExperimentStatus, phase: AnalysisPhase, problems: &str, now: Timestamp) {
    next.phase = Some(phase);
    next.message = Some(format!("InvalidSpec: {problems}"));
    let conditions = next.conditions.get_or_insert_default();
    set(conditions, INVALID, Some(says("True", "InvalidSpec", problems)), now);
    tell(conditions, Outlook::Failed, ("InvalidSpec", problems), now);
}

/// The Experiment ends.
pub(super) fn end(next: &mut ExperimentStatus, phase: AnalysisPhase, why: Option<String>, now: Timestamp) {
    next.phase = Some(phase);
    let conditions = next.conditions.get_or_insert_default();
    set(conditions, INVALID, None, now);
    let sentence = why.clone().unwrap_or_else(|| format!("The experiment is {phase}"));
    set(conditions, PROGRESSING, Some(says("False", "ExperimentCompleted", sentence)), now);
    tell(conditions, phase.outlook(), (phase.as_str(), why.as_deref().unwrap_or_default()), now);
    next.message = why;
    for status in next.template_statuses.iter_mut().flatten() {
        if status.status.as_deref() != Some(templates::FAILED) {
            status.status = Some(SUCCESSFUL.to_owned());
            status.message = None;
            status.last_transition_time = Some(now.whole_seconds());
        }
    }
}

/// The plan with this status, or without one where the stored one is right already.
pub(super) fn plan(
    snapshot: &Snapshot,
    before: &ExperimentStatus,
    next: ExperimentStatus,
    stages: Vec<Vec<Effect>>,
    wake_at: Option<Timestamp>,
) -> Plan {
    let events = events(before, &next);
    let is_right = snapshot.experiment.status.as_ref() == Some(&next);
    Plan { status: (!is_right).then(|| Box::new(next)), stages, events, wake_at }
}

/// What has changed.
fn events(before: &ExperimentStatus, next: &ExperimentStatus) -> Vec<RunEvent> {
    let mut events = Vec::new();
    if let Some(message) = invalid_message(next).filter(|message| invalid_message(before) != Some(message)) {
        let (reason, message) = ("InvalidSpec", message.to_owned());
        events.push(RunEvent { reason, message, severity: Severity::Warning });
    }
    let templates = next.template_statuses.iter().flatten();
    events.extend(templates.filter_map(|status| template_event(status_of(before, &status.name), status)));
    let runs = next.analysis_runs.iter().flatten();
    events.extend(runs.filter_map(|run| run_event(before, run)));
    if let Some(phase) = next.phase.filter(|phase| before.phase != Some(*phase)) {
        let why = next.message.as_ref().filter(|_| phase.is_completed());
        events.push(RunEvent {
            reason: reason_of(phase).0,
            message: told(&format!("Experiment is {phase}"), why),
            severity: severity(phase),
        });
    }
    events
}

fn template_event(before: Option<&TemplateStatus>, next: &TemplateStatus) -> Option<RunEvent> {
    let status = next.status.as_deref()?;
    let news = before.and_then(|before| before.status.as_deref()) != Some(status)
        || (next.message.is_some()
            && before.and_then(|before| before.message.as_ref()) != next.message.as_ref());
    let reason = match status {
        templates::PROGRESSING => "TemplateProgressing",
        templates::RUNNING => "TemplateRunning",
        SUCCESSFUL => "TemplateSuccessful",
        templates::FAILED => "TemplateFailed",
        _ => return None,
    };
    let message = told(&format!("Template '{}' is {status}", next.name), next.message.as_ref());
    let severity = if next.message.is_some() { Severity::Warning } else { Severity::Normal };
    news.then_some(RunEvent { reason, message, severity })
}

fn run_event(before: &ExperimentStatus, next: &ExperimentAnalysisRunStatus) -> Option<RunEvent> {
    let phase = next.phase?;
    let known = before.analysis_runs.iter().flatten().find(|known| known.name == next.name);
    let message = format!(
        "Analysis '{}' is {phase} (AnalysisRun '{}')",
        next.name,
        next.analysis_run.as_deref().unwrap_or_default()
    );
    let event = RunEvent {
        reason: reason_of(phase).1,
        message: told(&message, next.message.as_ref()),
        severity: severity(phase),
    };
    (known.and_then(|known| known.phase) != Some(phase)).then_some(event)
}

fn told(sentence: &str, why: Option<&String>) -> String {
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    format!("{sentence}{why}")
}

/// The reasons of the announcements that an Experiment, and that a run of it, has a phase.
const fn reason_of(phase: AnalysisPhase) -> (&'static str, &'static str) {
    match phase {
        AnalysisPhase::Pending => ("ExperimentPending", "AnalysisRunPending"),
        AnalysisPhase::Running => ("ExperimentRunning", "AnalysisRunRunning"),
        AnalysisPhase::Successful => ("ExperimentSuccessful", "AnalysisRunSuccessful"),
        AnalysisPhase::Failed => ("ExperimentFailed", "AnalysisRunFailed"),
        AnalysisPhase::Error => ("ExperimentError", "AnalysisRunError"),
        AnalysisPhase::Inconclusive => ("ExperimentInconclusive", "AnalysisRunInconclusive"),
    }
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
