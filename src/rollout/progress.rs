//! Where an update stands: the part of the status that decisions read and move. Everything else in the status is
//! derived from what is observed.

use super::status::Milestone;
use crate::api::rollout_status::{AnalysisRunRef, PauseCondition, RolloutStatus};
use crate::events::RunKind;
use crate::units::{PodHash, StepIndex, Timestamp};

/// Reason of a pause that a step asks for.
pub const PAUSE_STEP: &str = "CanaryPauseStep";
/// Reason of a pause before the switch of a blue-green update.
pub const PAUSE_BLUE_GREEN: &str = "BlueGreenPause";
/// Reason of a pause because an analysis came to no verdict.
pub const PAUSE_INCONCLUSIVE: &str = "InconclusiveAnalysisRun";

/// Reason of a pause because an Experiment came to no verdict.
pub const PAUSE_EXPERIMENT: &str = "InconclusiveExperiment";

/// Where an update stands.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a field of its own in the status, and people set them one by one"
)]
pub struct Progress {
    /// The revision that is wanted; `None` before the first pass.
    pub hash: Option<PodHash>,
    /// Hash of the steps that `index` belongs to.
    pub step_hash: Option<String>,
    /// Position in the steps; the number of steps once all are done.
    pub index: StepIndex,
    /// Hash of the steps before the position, as they were when it was written; `None` once the position has moved since,
    /// or when it was written by somebody who keeps no such hash.
    pub passed_steps: Option<String>,
    /// The revision that serves as stable; `None` until the first deploy is complete.
    pub stable: Option<PodHash>,
    /// Whether the update is aborted.
    pub abort: bool,
    /// When it was aborted; kept until it is retried, so that a retry can be told from a fresh start.
    pub aborted_at: Option<Timestamp>,
    /// What the rollout is paused for.
    pub pauses: Vec<PauseCondition>,
    /// Whether the controller asked for the pause. With no pause left, a user has ended it.
    pub controller_pause: bool,
    /// Whether a user asked to skip the rest.
    pub promote_full: bool,
    /// The AnalysisRun of the current step.
    pub step_run: Option<AnalysisRunRef>,
    /// Name of the Experiment of the current step.
    pub experiment: Option<String>,
    /// The AnalysisRun beside the steps.
    pub background_run: Option<AnalysisRunRef>,
    /// The AnalysisRun before the switch.
    pub pre_promotion_run: Option<AnalysisRunRef>,
    /// The AnalysisRun after the switch.
    pub post_promotion_run: Option<AnalysisRunRef>,
    /// Whether a blue-green update is past all that it waits for before the switch.
    pub may_switch: bool,
    /// Which of two alternating Services is stable; `None` before the first promotion, when it is pong.
    pub stable_ping_pong: Option<PingPong>,
    /// The last `spec.restartAt` that is over, or was cancelled.
    pub restarted_at: Option<Timestamp>,
    /// What has begun or ended in this pass; not part of a status.
    pub milestones: Vec<Milestone>,
}

/// One of two Services whose roles alternate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingPong {
    /// The one.
    Ping,
    /// The other.
    Pong,
}

impl PingPong {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Pong => "pong",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Ping, Self::Pong].into_iter().find(|found| found.as_str() == text)
    }
}

/// The position that a status tells of. One that tells of none has its steps behind it, or, in mid-update, before it.
fn position(status: &RolloutStatus, steps: usize) -> StepIndex {
    match status.current_step_index {
        Some(index) => StepIndex::from_status(index, steps),
        None if status.current_pod_hash != status.stable_rs && status.stable_rs.is_some() => StepIndex::FIRST,
        None => StepIndex::from(steps),
    }
}

impl Progress {
    /// Reads it from a status. `steps` is the number of steps in the spec.
    #[must_use]
    pub fn read(status: &RolloutStatus, steps: usize) -> Self {
        let canary = status.canary.clone().unwrap_or_default();
        let blue_green = status.blue_green.clone().unwrap_or_default();
        Self {
            hash: status.current_pod_hash.clone().and_then(PodHash::new),
            step_hash: status.current_step_hash.clone(),
            index: position(status, steps),
            passed_steps: canary.passed_steps_hash,
            stable: status.stable_rs.clone().and_then(PodHash::new),
            abort: status.abort.unwrap_or_default(),
            aborted_at: status.aborted_at,
            pauses: status.pause_conditions.clone().unwrap_or_default(),
            controller_pause: status.controller_pause.unwrap_or_default(),
            promote_full: status.promote_full.unwrap_or_default(),
            step_run: canary.current_step_analysis_run_status,
            experiment: canary.current_experiment,
            background_run: canary.current_background_analysis_run_status,
            pre_promotion_run: blue_green.pre_promotion_analysis_run_status,
            post_promotion_run: blue_green.post_promotion_analysis_run_status,
            may_switch: blue_green.scale_up_preview_check_point.unwrap_or_default(),
            stable_ping_pong: canary.stable_ping_pong.as_deref().and_then(PingPong::parse),
            restarted_at: status.restarted_at,
            milestones: Vec::new(),
        }
    }

    /// Writes it into a status.
    pub fn write(&self, steps: usize, status: &mut RolloutStatus) {
        status.current_pod_hash = self.hash.as_ref().map(ToString::to_string);
        status.current_step_hash.clone_from(&self.step_hash);
        status.current_step_index = (steps > 0).then(|| self.index.to_status());
        status.stable_rs = self.stable.as_ref().map(ToString::to_string);
        status.abort = self.abort.then_some(true);
        status.aborted_at = self.aborted_at;
        status.pause_conditions = (!self.pauses.is_empty()).then(|| self.pauses.clone());
        status.controller_pause = self.controller_pause.then_some(true);
        status.promote_full = self.promote_full.then_some(true);
        status.restarted_at = self.restarted_at;
        let canary = status.canary.get_or_insert_default();
        canary.current_step_analysis_run_status.clone_from(&self.step_run);
        canary.current_experiment.clone_from(&self.experiment);
        canary.current_background_analysis_run_status.clone_from(&self.background_run);
        canary.stable_ping_pong = self.stable_ping_pong.map(|stable| stable.as_str().to_owned());
        let blue_green = status.blue_green.get_or_insert_default();
        blue_green.pre_promotion_analysis_run_status.clone_from(&self.pre_promotion_run);
        blue_green.post_promotion_analysis_run_status.clone_from(&self.post_promotion_run);
        blue_green.scale_up_preview_check_point = self.may_switch.then_some(true);
    }

    /// Forgets the runs and what they allowed; those that still go are stopped.
    pub fn forget_runs(&mut self) {
        self.forget_step();
        self.background_run = None;
        self.pre_promotion_run = None;
        self.post_promotion_run = None;
        self.may_switch = false;
    }

    /// Forgets what the current step waits for.
    pub fn forget_step(&mut self) {
        self.step_run = None;
        self.experiment = None;
    }

    /// Two alternating Services change their roles.
    pub fn swap_roles(&mut self) {
        self.stable_ping_pong = Some(match self.stable_ping_pong {
            Some(PingPong::Ping) => PingPong::Pong,
            Some(PingPong::Pong) | None => PingPong::Ping,
        });
    }

    /// Whether the wanted revision is the stable one, so that no update is going on.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.hash.is_some() && self.hash == self.stable
    }

    /// The pause with the given reason.
    #[must_use]
    pub fn pause(&self, reason: &str) -> Option<&PauseCondition> {
        self.pauses.iter().find(|pause| pause.reason == reason)
    }

    /// Begins a pause, which lasts until it is cleared here or by a user.
    pub fn begin_pause(&mut self, reason: &str, now: Timestamp) {
        if self.pause(reason).is_none() {
            self.pauses.push(PauseCondition { reason: reason.to_owned(), start_time: now.whole_seconds() });
        }
        self.controller_pause = true;
    }

    /// Ends the pause for a reason; others go on.
    pub fn end_pause(&mut self, reason: &str) {
        self.pauses.retain(|pause| pause.reason != reason);
        self.controller_pause = !self.pauses.is_empty();
    }

    /// Ends every pause.
    pub fn end_pauses(&mut self) {
        self.pauses.clear();
        self.controller_pause = false;
    }

    /// Whether a user has cleared the pause that the controller asked for.
    #[must_use]
    pub fn was_unpaused(&self) -> bool {
        self.controller_pause && self.pauses.is_empty()
    }

    /// Leaves the current step for the next one.
    pub fn advance(&mut self) {
        self.go_to(self.index.next());
        self.forget_step();
    }

    /// Goes to another position.
    pub fn go_to(&mut self, index: StepIndex) {
        self.index = index;
        self.passed_steps = None;
    }

    /// Takes the update back.
    pub fn begin_abort(&mut self, now: Timestamp) {
        self.abort = true;
        self.aborted_at = Some(now.whole_seconds());
        self.promote_full = false;
        self.go_to(StepIndex::FIRST);
        self.forget_runs();
        self.end_pauses();
        self.milestones.push(Milestone::Aborted);
    }

    /// Forgets an abort.
    pub fn end_abort(&mut self) {
        self.abort = false;
        self.aborted_at = None;
    }

    /// Begins an update to `hash` at `index`.
    pub fn begin(&mut self, hash: PodHash, step_hash: Option<String>, index: StepIndex) {
        self.hash = Some(hash);
        self.step_hash = step_hash;
        self.go_to(index);
        self.promote_full = false;
        self.forget_runs();
        self.end_abort();
        self.end_pauses();
    }

    /// The run of the given kind.
    #[must_use]
    pub const fn run(&self, kind: RunKind) -> Option<&AnalysisRunRef> {
        match kind {
            RunKind::Step => self.step_run.as_ref(),
            RunKind::Background => self.background_run.as_ref(),
            RunKind::PrePromotion => self.pre_promotion_run.as_ref(),
            RunKind::PostPromotion => self.post_promotion_run.as_ref(),
        }
    }

    /// Records the run of the given kind.
    pub fn set_run(&mut self, kind: RunKind, run: Option<AnalysisRunRef>) {
        match kind {
            RunKind::Step => self.step_run = run,
            RunKind::Background => self.background_run = run,
            RunKind::PrePromotion => self.pre_promotion_run = run,
            RunKind::PostPromotion => self.post_promotion_run = run,
        }
    }
}
