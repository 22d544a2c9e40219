//! What the commands write: abort, retry, promote, pause, restart, undo, set image and terminate as pure functions of the objects.
//!
//! A command answers with patches in the order in which they must be made, or with the sentence that says why nothing
//! is written. Who sends the patches (plugin, dashboard, sync engine) is not decided here, and no command waits.

mod image;
mod undo;

use kube::ResourceExt;
use serde_json::{Value, json};

use crate::api::canary_step::CanaryStep;
use crate::api::rollout_status::PauseCondition;
use crate::api::{AnalysisPhase, AnalysisRun, Experiment, Rollout, RolloutStatus};
use crate::rollout::progress::PAUSE_EXPERIMENT;
use crate::units::Timestamp;

pub use image::{ImageChange, ImageError, set_image};
pub use undo::{ToRevision, template_owner, undo};

/// What a command comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Something is to be written.
    Write {
        /// The patches, in their order; a later one is sent only when the one before it succeeded.
        patches: Vec<Patch>,
        /// What to tell the user once all are made.
        done: String,
    },
    /// The world is already as the command wants it.
    Nothing {
        /// What to tell the user.
        why: String,
    },
    /// The command makes no sense here.
    Refused {
        /// What to tell the user, with the way on.
        why: String,
    },
}

/// One patch of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// The object.
    pub target: Target,
    /// Which part of it.
    pub part: Part,
    /// The change.
    pub body: Body,
    /// The resource version the change was computed from, when it is wrong on any other; on a conflict the command is
    /// computed anew. `None` when the change is right whatever happened in between.
    pub only_at: Option<String>,
}

/// The object a patch changes, in the Rollout's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The Rollout.
    Rollout,
    /// An Experiment, by its name.
    Experiment(String),
    /// An AnalysisRun, by its name.
    AnalysisRun(String),
    /// The workload that the Rollout refers to.
    Workload {
        /// Its API version, for example `apps/v1`.
        api_version: String,
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
}

/// The part of an object that a patch goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The object itself.
    Object,
    /// Its status subresource.
    Status,
}

/// The change of a patch.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A JSON merge patch (RFC 7396).
    Merge(Value),
    /// The operations of a JSON patch (RFC 6902).
    Json(Vec<Value>),
}

/// How far a promotion goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// Past the pause or the step that the rollout is at.
    Step,
    /// Past all that is left, analysis included.
    Full,
}

/// Takes an update back: all traffic and all pods return to stable.
#[must_use]
pub fn abort(rollout: &Rollout) -> Answer {
    let name = rollout.name_any();
    let status = status(rollout);
    if status.abort == Some(true) {
        return nothing(format!("rollout '{name}' is aborted already"));
    }
    if is_observed(rollout) && is_promoted(&status) {
        return nothing(format!("rollout '{name}' has no update in progress: nothing to abort"));
    }
    write(vec![status_patch(&json!({"abort": true}))], format!("rollout '{name}' aborted"))
}

/// Starts an aborted update again, from its first step.
#[must_use]
pub fn retry(rollout: &Rollout) -> Answer {
    let name = rollout.name_any();
    if status(rollout).abort != Some(true) {
        return nothing(format!("rollout '{name}' is not aborted: nothing to retry"));
    }
    write(vec![status_patch(&json!({"abort": false}))], format!("rollout '{name}' retried"))
}

/// Starts an Experiment again: without a status it is a new one.
#[must_use]
pub fn retry_experiment(experiment: &Experiment) -> Answer {
    let name = experiment.name_any();
    let phase = experiment.status.as_ref().and_then(|status| status.phase);
    if !phase.is_some_and(AnalysisPhase::is_completed) {
        return nothing(format!("experiment '{name}' has not ended: nothing to retry"));
    }
    if experiment.spec.terminate == Some(true) {
        let why = format!("experiment '{name}' is told to end by spec.terminate: take that out first");
        return Answer::Refused { why };
    }
    let target = Target::Experiment(name.clone());
    write(vec![patch_of(target, &json!({"status": null}))], format!("experiment '{name}' retried"))
}

/// Ends an Experiment.
#[must_use]
pub fn terminate_experiment(experiment: &Experiment) -> Answer {
    let phase = experiment.status.as_ref().and_then(|status| status.phase);
    terminate("experiment", &experiment.name_any(), phase, Target::Experiment(experiment.name_any()))
}

/// Ends an AnalysisRun.
#[must_use]
pub fn terminate_run(run: &AnalysisRun) -> Answer {
    let phase = run.status.as_ref().and_then(|status| status.phase);
    terminate("analysisrun", &run.name_any(), phase, Target::AnalysisRun(run.name_any()))
}

fn terminate(kind: &str, name: &str, phase: Option<AnalysisPhase>, target: Target) -> Answer {
    if let Some(phase) = phase.filter(|phase| phase.is_completed()) {
        return nothing(format!("{kind} '{name}' has ended already: it is {phase}"));
    }
    let patch = patch_of(target, &json!({"spec": {"terminate": true}}));
    write(vec![patch], format!("{kind} '{name}' terminated"))
}

/// A merge patch of an object itself.
fn patch_of(target: Target, change: &Value) -> Patch {
    Patch { target, part: Part::Object, body: Body::Merge(change.clone()), only_at: None }
}

/// Lets a rollout go on: past a pause, past the current step, or, with [`Promotion::Full`], to the end.
///
/// The status is written before the spec, so that nothing moves in between on the old status.
#[must_use]
pub fn promote(rollout: &Rollout, promotion: Promotion) -> Answer {
    let name = rollout.name_any();
    let status = status(rollout);
    let advance = match promotion {
        Promotion::Full if is_promoted(&status) => Ok(None),
        Promotion::Full => Ok(Some(status_patch(&json!({"promoteFull": true})))),
        Promotion::Step => advance(rollout, &status),
    };
    let advance = match advance {
        Ok(patch) => patch,
        Err(why) => return Answer::Refused { why },
    };
    let resume =
        (rollout.spec.paused == Some(true)).then(|| object_patch(json!({"spec": {"paused": false}})));
    let patches: Vec<Patch> = advance.into_iter().chain(resume).collect();
    if patches.is_empty() {
        let is_promoted = is_promoted(&status);
        let state = if is_promoted {
            "is fully promoted already"
        } else {
            "is promoted already and goes on in a moment"
        };
        return nothing(format!("rollout '{name}' {state}"));
    }
    let done = match promotion {
        Promotion::Step => format!("rollout '{name}' promoted"),
        Promotion::Full => format!("rollout '{name}' fully promoted"),
    };
    write(patches, done)
}

/// Holds a rollout where it is, until it is promoted.
#[must_use]
pub fn pause(rollout: &Rollout) -> Answer {
    let name = rollout.name_any();
    if rollout.spec.paused == Some(true) {
        return nothing(format!("rollout '{name}' is paused already"));
    }
    write(vec![object_patch(json!({"spec": {"paused": true}}))], format!("rollout '{name}' paused"))
}

/// Replaces every pod that was created before `at`, within the limits of the strategy.
#[must_use]
pub fn restart(rollout: &Rollout, at: Timestamp) -> Answer {
    let name = rollout.name_any();
    let patch = object_patch(json!({"spec": {"restartAt": at}}));
    write(vec![patch], format!("rollout '{name}' restarts its pods created before {at}"))
}

/// The status change of a plain promotion; `None` when there is none to make, `Err` when it cannot be meant.
fn advance(rollout: &Rollout, status: &RolloutStatus) -> Result<Option<Patch>, String> {
    let name = rollout.name_any();
    if status.abort == Some(true) {
        return Err(format!(
            "rollout '{name}' is aborted: retry it to start the update again, or apply another version"
        ));
    }
    let pauses = status.pause_conditions.as_deref().unwrap_or_default();
    let steps = canary_steps(rollout);
    let index = status.current_step_index.and_then(|index| usize::try_from(index).ok());
    if stands_at_ended_pause(status, steps, index, pauses) {
        return Ok(None);
    }
    let next = index.filter(|index| *index < steps.len()).map(|index| index.saturating_add(1));
    let change = match next {
        Some(next) if stands_at_inconclusive_step(status, steps, index, pauses) => {
            json!({"pauseConditions": null, "controllerPause": false, "currentStepIndex": next})
        }
        _ if !pauses.is_empty() => json!({"pauseConditions": null}),
        Some(next) => json!({"currentStepIndex": next}),
        None if is_promoted(status) || rollout.spec.paused == Some(true) => return Ok(None),
        None if !steps.is_empty() && index == Some(steps.len()) => {
            return Err(format!("rollout '{name}' is past its last step and waits only for its pods"));
        }
        None => return Err(format!("rollout '{name}' has no step to go past: use --full to promote it")),
    };
    let only_at = rollout.resource_version();
    Ok(Some(Patch { only_at, ..status_patch(&change) }))
}

/// Whether the current pause step was ended before, and the controller has not gone on yet. Promoting twice in a row
/// must not go past the next step as well.
fn stands_at_ended_pause(
    status: &RolloutStatus,
    steps: &[CanaryStep],
    index: Option<usize>,
    pauses: &[PauseCondition],
) -> bool {
    let step = index.and_then(|index| steps.get(index));
    status.controller_pause == Some(true)
        && pauses.is_empty()
        && step.is_some_and(|step| step.pause.is_some())
}

/// Whether the pause comes from the inconclusive run of the current analysis step, or from the Experiment of the current
/// step.
fn stands_at_inconclusive_step(
    status: &RolloutStatus,
    steps: &[CanaryStep],
    index: Option<usize>,
    pauses: &[PauseCondition],
) -> bool {
    let run = status.canary.as_ref().and_then(|canary| canary.current_step_analysis_run_status.as_ref());
    let inconclusive = run.is_some_and(|run| run.status.as_deref() == Some("Inconclusive"));
    let step = index.and_then(|index| steps.get(index));
    let by_experiment = pauses.iter().any(|pause| pause.reason == PAUSE_EXPERIMENT);
    step.is_some_and(|step| {
        (inconclusive && !pauses.is_empty() && step.analysis.is_some())
            || (by_experiment && step.experiment.is_some())
    })
}

fn canary_steps(rollout: &Rollout) -> &[CanaryStep] {
    let strategy = rollout.spec.strategy.as_ref();
    strategy.and_then(|strategy| strategy.canary.as_ref()?.steps.as_deref()).unwrap_or_default()
}

fn status(rollout: &Rollout) -> RolloutStatus {
    rollout.status.clone().unwrap_or_default()
}

/// Whether the newest revision is the stable one.
fn is_promoted(status: &RolloutStatus) -> bool {
    status.stable_rs.as_ref().is_some_and(|stable| !stable.is_empty())
        && status.stable_rs == status.current_pod_hash
}

/// Whether the controller has seen the spec as it is.
fn is_observed(rollout: &Rollout) -> bool {
    crate::view::observation(rollout) == crate::view::Observation::Current
}

fn status_patch(change: &Value) -> Patch {
    let body = Body::Merge(json!({ "status": change }));
    Patch { target: Target::Rollout, part: Part::Status, body, only_at: None }
}

fn object_patch(change: Value) -> Patch {
    Patch { target: Target::Rollout, part: Part::Object, body: Body::Merge(change), only_at: None }
}

fn write(patches: Vec<Patch>, done: String) -> Answer {
    Answer::Write { patches, done }
}

fn nothing(why: String) -> Answer {
    Answer::Nothing { why }
}
