//! The Experiment of a step: whether it should exist, what became of it, and what that means for the rollout.
//!
//! Like a run it is recorded in the status by its name before it exists. Its own controller brings it on; the Rollout looks
//! at its phase alone.

mod build;
#[cfg(test)]
mod passes;
mod traffic;
pub(crate) mod variables;

use std::collections::BTreeSet;
use std::time::Duration;

use super::deadline::{Deadline, Wake};
use super::effect::Effect;
use super::pod_hash;
use super::progress::{PAUSE_EXPERIMENT, Progress};
use super::snapshot::Snapshot;
use super::status;
use super::targets::Targets;
use super::world::World;
use crate::analysis::template::Advice;
use crate::api::analysis_template::DryRun;
use crate::api::canary_step::{CanaryStep, ExperimentService};
use crate::api::experiment::ExperimentAnalysis;
use crate::api::experiment::INVALID_EXPERIMENT_SPEC;
use crate::api::labels::{EXPERIMENT_STEP, STEP_INDEX};
use crate::api::rollout::PodMetadata;
use crate::api::{AnalysisPhase, Condition, Experiment};
use crate::events::{AbortCause, AbortReason, Event};
use crate::units::Weight;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

pub(super) use traffic::{
    are_served, entering, followed, may_have_shares, news, relieved, shares, still_told, told,
};

/// How soon the template of stable is asked for again that could not be read.
const TEMPLATE_PATIENCE: Duration = Duration::from_secs(5);
/// How long an Experiment may say that its spec cannot be worked with, though the Rollout finds nothing wrong with its own.
const INVALID_PATIENCE: Duration = Duration::from_secs(10);

/// An experiment step, parsed.
#[derive(Clone, Debug)]
pub struct StepExperiment {
    /// What runs side by side.
    pub templates: Vec<StepTemplate>,
    /// How long, as it was written; `None` for no end by time.
    pub duration: Option<String>,
    /// Its analyses, with their arguments resolved as far as the Rollout can.
    pub analyses: Vec<ExperimentAnalysis>,
    /// Metrics that do not decide.
    pub dry_run: Option<Vec<DryRun>>,
    /// Labels and annotations of its runs.
    pub run_metadata: Option<PodMetadata>,
    /// Seconds that its pods are kept after the end.
    pub scale_down_delay_seconds: Option<i32>,
    /// What its author may not expect.
    pub advice: Vec<Advice>,
}

/// One template of an experiment step.
#[derive(Clone, Debug)]
pub struct StepTemplate {
    /// Its name.
    pub name: String,
    /// Whose pod template it takes.
    pub from: Version,
    /// Pods wanted; 1 when `None`.
    pub replicas: Option<i32>,
    /// Labels and annotations laid over the pod template.
    pub metadata: PodMetadata,
    /// Which pods belong to it; the Rollout's selector when `None`.
    pub selector: Option<LabelSelector>,
    /// The Service to make.
    pub service: Option<ExperimentService>,
    /// Its share of the traffic, which needs a Service.
    pub weight: Option<Weight>,
}

/// A version that an experiment step refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The one that is wanted.
    Canary,
    /// The one that serves as stable.
    Stable,
}

impl Version {
    /// Reads `specRef`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "canary" => Some(Self::Canary),
            "stable" => Some(Self::Stable),
            _ => None,
        }
    }
}

/// What watching an Experiment came to.
#[derive(Debug)]
pub enum Watched {
    /// It failed, and why.
    Failed(AbortReason),
    /// The bookkeeping moved.
    Moved(Box<Progress>, Vec<Event>),
    /// It is going on.
    Going(Going),
    /// It ended well.
    Passed,
}

/// An Experiment that is waited for.
#[derive(Debug, Default)]
pub struct Going {
    keep: Option<String>,
    start: Option<Box<Experiment>>,
    wake: Option<Wake>,
}

impl Going {
    /// The targets, with this Experiment going on.
    #[must_use]
    pub fn into_targets(self, mut targets: Targets) -> Targets {
        targets.keep_experiments.extend(self.keep);
        targets.new_experiment = self.start;
        targets.wakes.extend(self.wake);
        targets
    }
}

/// Watches the Experiment of the current step: records one, follows its phase, and tells what it means.
#[must_use]
pub fn watch(world: &World, progress: &Progress, step: &StepExperiment) -> Watched {
    let Some(name) = &progress.experiment else { return begin(world, progress, step) };
    let Some(found) = find(world.snapshot, name) else {
        if world.snapshot.taken_names.contains(name) {
            return begin(world, progress, step);
        }
        return start(world, progress, step, name);
    };
    if belongs_elsewhere(world, progress, found) {
        return begin(world, progress, step);
    }
    match phase(found) {
        Some(AnalysisPhase::Failed | AnalysisPhase::Error) => Watched::Failed(why(found)),
        Some(AnalysisPhase::Inconclusive) => undecided(world, progress, step),
        Some(AnalysisPhase::Successful) => Watched::Passed,
        Some(AnalysisPhase::Running | AnalysisPhase::Pending) | None => going(world, name, found),
    }
}

/// An Experiment that has not ended. It was made of the Rollout's own spec, which does not get better by waiting; but what
/// was missing, and has come back, both see at the same time.
fn going(world: &World, name: &str, found: &Experiment) -> Watched {
    let keep = Some(name.to_owned());
    let Some(invalid) = invalid(found) else { return Watched::Going(Going { keep, ..Going::default() }) };
    let status = world.snapshot.rollout.status.as_ref();
    let progressing = status.and_then(|status| status::condition(status, "Progressing"));
    let seen = progressing.and_then(|condition| condition.last_update_time);
    let since = invalid.last_transition_time.max(seen).unwrap_or(world.now()).min(world.now());
    let at = since.plus(INVALID_PATIENCE);
    if at <= world.now() {
        return Watched::Failed(why(found));
    }
    let wake = Some(Wake { at, why: Deadline::ExperimentInvalid });
    Watched::Going(Going { keep, wake, ..Going::default() })
}

/// Whether somebody has retried an Experiment after it ended without a verdict: it goes on, and so does the rollout.
#[must_use]
pub fn is_retried(world: &World, progress: &Progress) -> bool {
    let found = progress.experiment.as_ref().and_then(|name| find(world.snapshot, name));
    let begins = found.is_some_and(|found| {
        !has_ended(found) && !is_stopped(found) && !belongs_elsewhere(world, progress, found)
    });
    begins && progress.pause(PAUSE_EXPERIMENT).is_some()
}

/// Whether the recorded Experiment ended without a verdict.
#[must_use]
pub fn is_undecided(world: &World, progress: &Progress) -> bool {
    let found = progress.experiment.as_ref().and_then(|name| find(world.snapshot, name));
    found.is_some_and(|found| {
        phase(found) == Some(AnalysisPhase::Inconclusive) && !belongs_elsewhere(world, progress, found)
    })
}

/// Why the recorded Experiment failed, where nothing else of it counts now; `None` if it has not.
#[must_use]
pub fn failure(world: &World, progress: &Progress) -> Option<AbortReason> {
    let found = find(world.snapshot, progress.experiment.as_ref()?)?;
    let has_failed = matches!(phase(found), Some(AnalysisPhase::Failed | AnalysisPhase::Error));
    (has_failed && !belongs_elsewhere(world, progress, found)).then(|| why(found))
}

/// Whether a pass has to look at the pod template of stable: an Experiment that takes it is recorded and does not exist.
#[must_use]
pub fn is_stable_template_needed(snapshot: &Snapshot) -> bool {
    let status = snapshot.rollout.status.as_ref();
    let recorded = status.and_then(|status| status.canary.as_ref()?.current_experiment.as_deref());
    let index = status.and_then(|status| status.current_step_index).unwrap_or_default();
    let step = usize::try_from(index).ok().and_then(|index| step_at(snapshot, index));
    let templates = step.and_then(|step| step.experiment.as_ref()?.templates.as_ref()).into_iter().flatten();
    let takes_stable = templates
        .filter_map(|template| template.spec_ref.as_deref())
        .any(|from| Version::parse(from) == Some(Version::Stable));
    takes_stable && recorded.is_some_and(|name| find(snapshot, name).is_none())
}

/// Stops every unfinished Experiment that is not among `keep`, once no traffic flows to it.
#[must_use]
pub fn to_stop(world: &World, keep: &BTreeSet<String>) -> Vec<Effect> {
    let is_told = |found: &Experiment| found.spec.terminate == Some(true) || is_deleted(found);
    let going = world.snapshot.experiments.iter().filter(|found| !has_ended(found) && !is_told(found));
    let going = going.filter(|found| !is_led_to(world.snapshot, found));
    let names = going.filter_map(|found| found.metadata.name.clone()).filter(|name| !keep.contains(name));
    names.map(|name| Effect::TerminateExperiment { name }).collect()
}

/// The phase of an Experiment; `None` before its first pass.
pub(super) fn phase(found: &Experiment) -> Option<AnalysisPhase> {
    found.status.as_ref().and_then(|status| status.phase)
}

/// Whether an Experiment has ended.
pub(super) fn has_ended(found: &Experiment) -> bool {
    phase(found).is_some_and(AnalysisPhase::is_completed)
}

/// Whether an Experiment still has pods.
pub(super) fn has_pods(found: &Experiment) -> bool {
    let status = found.status.as_ref();
    let templates = status.and_then(|status| status.template_statuses.as_ref()).into_iter().flatten();
    templates.filter_map(|template| template.replicas).any(|replicas| replicas > 0)
}

/// What an Experiment says of its spec where that cannot be worked with.
fn invalid(found: &Experiment) -> Option<&Condition> {
    let conditions = found.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_true =
        |condition: &&Condition| condition.r#type == INVALID_EXPERIMENT_SPEC && condition.status == "True";
    conditions.into_iter().flatten().find(is_true)
}

/// Whether an Experiment does not go on, though it may not have ended: somebody has stopped or deleted it, or made of it what
/// cannot be worked with.
fn is_stopped(found: &Experiment) -> bool {
    found.spec.terminate == Some(true) || is_deleted(found) || invalid(found).is_some()
}

fn is_deleted(found: &Experiment) -> bool {
    found.metadata.deletion_timestamp.is_some()
}

/// Whether the route leads to an Experiment, as far as the last write told.
pub(super) fn is_led_to(snapshot: &Snapshot, found: &Experiment) -> bool {
    let canary = snapshot.rollout.status.as_ref().and_then(|status| status.canary.as_ref());
    let shares = canary.and_then(|canary| canary.weights.as_ref()?.additional.as_ref());
    let led: Vec<&str> =
        shares.into_iter().flatten().filter_map(|share| share.service_name.as_deref()).collect();
    let statuses = found.status.as_ref().and_then(|status| status.template_statuses.as_ref());
    let mut services = statuses.into_iter().flatten().filter_map(|status| status.service_name.as_deref());
    services.any(|service| led.contains(&service))
}

fn find<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a Experiment> {
    snapshot.experiments.iter().find(|found| found.metadata.name.as_deref() == Some(name))
}

fn step_at(snapshot: &Snapshot, index: usize) -> Option<&CanaryStep> {
    snapshot.rollout.spec.strategy.as_ref()?.canary.as_ref()?.steps.as_ref()?.get(index)
}

/// The hash of the step that an Experiment is made for.
fn step_hash(world: &World, progress: &Progress) -> Option<String> {
    let step = step_at(world.snapshot, progress.index.get())?;
    Some(pod_hash::steps_hash(Some(&serde_json::to_value([step]).ok()?)))
}

/// Whether the Experiment is that of another step, or of this one as it was before somebody changed it. One that was made
/// by Argo Rollouts does not say.
fn belongs_elsewhere(world: &World, progress: &Progress, found: &Experiment) -> bool {
    let index = found.metadata.labels.as_ref().and_then(|labels| labels.get(STEP_INDEX));
    let hash = found.metadata.annotations.as_ref().and_then(|all| all.get(EXPERIMENT_STEP));
    index.is_some_and(|index| *index != progress.index.to_string())
        || hash.is_some_and(|hash| Some(hash) != step_hash(world, progress).as_ref())
}

/// Records a name for a new Experiment, and says what its author may not expect.
fn begin(world: &World, progress: &Progress, step: &StepExperiment) -> Watched {
    let mut next = progress.clone();
    next.experiment = Some(build::free_name(world, progress));
    let advice = step.advice.iter();
    let events =
        advice.map(|advice| Event::Advice { topic: advice.topic, message: advice.message.clone() }).collect();
    Watched::Moved(Box::new(next), events)
}

/// Makes the Experiment that is recorded, as soon as the templates are known that it takes.
fn start(world: &World, progress: &Progress, step: &StepExperiment, name: &str) -> Watched {
    let made = build::experiment(world, progress, step, name);
    let wake = Wake { at: world.now().plus(TEMPLATE_PATIENCE), why: Deadline::ExperimentTemplate };
    Watched::Going(match made {
        Some(made) => Going { start: Some(Box::new(made)), ..Going::default() },
        None => Going { wake: Some(wake), ..Going::default() },
    })
}

/// No verdict: a person decides. Once they have, another Experiment starts.
fn undecided(world: &World, progress: &Progress, step: &StepExperiment) -> Watched {
    let mut next = progress.clone();
    if progress.was_unpaused() {
        next.controller_pause = false;
        return begin(world, &next, step);
    }
    if progress.pause(PAUSE_EXPERIMENT).is_none() {
        next.begin_pause(PAUSE_EXPERIMENT, world.now());
        return Watched::Moved(Box::new(next), vec![Event::Paused]);
    }
    Watched::Going(Going { keep: progress.experiment.clone(), ..Going::default() })
}

fn why(found: &Experiment) -> AbortReason {
    let name = found.metadata.name.as_deref().unwrap_or_default();
    let phase = phase(found).map_or("", AnalysisPhase::as_str);
    let message = found.status.as_ref().and_then(|status| status.message.as_ref());
    let message = message.map(|message| format!(": {message}")).unwrap_or_default();
    let text = format!("Experiment analysis phase is error/failed: Experiment '{name}' is {phase}{message}");
    AbortReason { cause: AbortCause::Experiment, text }
}
