//! The AnalysisRuns of an update: which should exist, what became of them, and what that means for the rollout.
//!
//! A run is recorded in the status by its name before it exists. Whatever crashes in between, the recorded name is
//! created once and found again.

pub(super) mod arguments;
mod build;

use std::collections::BTreeSet;

pub(super) use build::owner;

use super::effect::Effect;
use super::experiments;
use super::progress::{PAUSE_INCONCLUSIVE, Progress};
use super::snapshot::Snapshot;
use super::targets::Targets;
use super::valid::{SpecError, Step};
use super::world::World;
use crate::analysis::template::{self, Advice, TemplateError};
use crate::api::analysis_template::AnalysisTemplateRef;
use crate::api::labels::STEP_INDEX;
use crate::api::rollout::{PodMetadata, RolloutAnalysis, RolloutAnalysisBackground};
use crate::api::rollout_status::AnalysisRunRef;
use crate::api::{AnalysisPhase, AnalysisRun, AnalysisRunSpec};
use crate::events::{AbortCause, AbortReason, Event, RunKind};

/// One analysis of a spec, with its templates merged and its arguments resolved.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// Which analysis of the rollout it is.
    pub kind: RunKind,
    /// What its runs measure.
    pub spec: AnalysisRunSpec,
    /// What its author may not expect of it.
    pub advice: Vec<Advice>,
    /// Labels and annotations of its runs.
    pub metadata: PodMetadata,
}

/// What watching an analysis came to.
#[derive(Debug)]
pub enum Watched {
    /// It failed, and why.
    Failed(AbortReason),
    /// The bookkeeping moved.
    Moved(Box<Progress>, Vec<Event>),
    /// It is going on, or done, or not wanted.
    Going(Analysed),
}

/// An analysis that holds nobody up, or is waited for.
#[derive(Debug, Default)]
pub struct Analysed {
    /// Whether it passed.
    pub is_successful: bool,
    keep: Option<String>,
    start: Option<Box<AnalysisRun>>,
}

impl Analysed {
    /// No analysis is wanted.
    #[must_use]
    pub fn passed() -> Self {
        Self { is_successful: true, ..Self::default() }
    }

    /// The targets, with this analysis going on.
    #[must_use]
    pub fn into_targets(self, mut targets: Targets) -> Targets {
        targets.keep_runs.extend(self.keep);
        targets.new_runs.extend(self.start.map(|run| *run));
        targets
    }
}

/// Parses one analysis of a spec; with problems, an analysis without metrics stands in.
#[must_use]
pub fn parse(
    snapshot: &Snapshot,
    field: &str,
    analysis: &RolloutAnalysis,
    kind: RunKind,
    problems: &mut Vec<SpecError>,
) -> Analysis {
    let templates: Vec<AnalysisTemplateRef> = analysis.templates.clone().unwrap_or_default();
    if templates.is_empty() {
        problems.push(SpecError::new(
            format!("{field}.templates"),
            "is empty: name at least one AnalysisTemplate",
        ));
    }
    let args = arguments::resolve(snapshot, field, analysis.args.as_deref().unwrap_or_default(), problems);
    let usage = template::Usage {
        templates: &templates,
        args: &args,
        dry_run: analysis.dry_run.as_deref().unwrap_or_default(),
        measurement_retention: analysis.measurement_retention.as_deref().unwrap_or_default(),
    };
    let (spec, advice) = match template::merge(kind, &usage, &snapshot.templates) {
        Ok(merged) => (merged.spec, merged.advice),
        Err(errors) => {
            problems.extend(errors.into_iter().map(|error| match error {
                TemplateError::NotFound(_) => SpecError::of_reference(field, error.to_string()),
                _ => SpecError::new(field, error.to_string()),
            }));
            (AnalysisRunSpec::default(), vec![])
        }
    };
    Analysis { kind, spec, advice, metadata: analysis.analysis_run_metadata.clone().unwrap_or_default() }
}

/// What a background analysis shares with that of a step.
#[must_use]
pub fn of_background(background: &RolloutAnalysisBackground) -> RolloutAnalysis {
    RolloutAnalysis {
        templates: background.templates.clone(),
        args: background.args.clone(),
        dry_run: background.dry_run.clone(),
        measurement_retention: background.measurement_retention.clone(),
        analysis_run_metadata: background.analysis_run_metadata.clone(),
    }
}

/// Watches the analysis beside the steps, once its starting step is reached.
#[must_use]
pub fn background(world: &World, progress: &Progress) -> Watched {
    match &world.spec.background {
        Some(background)
            if !world.skips_analysis(progress) && progress.index.get() >= background.starting_step =>
        {
            watch(world, progress, &background.analysis, None)
        }
        _ => Watched::Going(Analysed::default()),
    }
}

/// Watches one analysis: records a run for it, follows the run's phase, and tells what it means.
#[must_use]
pub fn watch(
    world: &World,
    progress: &Progress,
    analysis: &Analysis,
    label: Option<(&str, String)>,
) -> Watched {
    let kind = analysis.kind;
    let Some(recorded) = progress.run(kind) else { return begin(world, progress, analysis) };
    let Some(run) = find(world.snapshot, &recorded.name) else {
        if world.snapshot.taken_names.contains(&recorded.name) {
            return begin(world, progress, analysis);
        }
        let run = build::run(world, progress, analysis, &recorded.name, label);
        return Watched::Going(Analysed { is_successful: false, keep: None, start: Some(Box::new(run)) });
    };
    if label.is_some_and(|(key, value)| belongs_elsewhere(run, key, &value)) {
        return begin(world, progress, analysis);
    }
    let phase = run.status.as_ref().and_then(|status| status.phase);
    if phase.map(AnalysisPhase::as_str) != recorded.status.as_deref() {
        return follow(progress, kind, recorded, run, phase);
    }
    match phase {
        Some(AnalysisPhase::Failed | AnalysisPhase::Error) => Watched::Failed(why(kind, run)),
        Some(AnalysisPhase::Inconclusive) => undecided(world, progress, analysis),
        Some(AnalysisPhase::Successful) if !has_measured(run) => undecided(world, progress, analysis),
        Some(AnalysisPhase::Successful) => {
            Watched::Going(Analysed { is_successful: true, keep: Some(recorded.name.clone()), start: None })
        }
        Some(AnalysisPhase::Running | AnalysisPhase::Pending) | None => {
            Watched::Going(Analysed { is_successful: false, keep: Some(recorded.name.clone()), start: None })
        }
    }
}

/// Watches all recorded runs, and the recorded Experiment, for a failure alone, where nothing else of them counts now.
#[must_use]
pub fn failures(world: &World, progress: &Progress) -> Watched {
    let failed = RunKind::ALL.into_iter().find_map(|kind| {
        let recorded = progress.run(kind)?;
        let run = find(world.snapshot, &recorded.name)?;
        let is_left_over =
            kind == RunKind::Step && belongs_elsewhere(run, STEP_INDEX, &progress.index.to_string());
        let phase = run.status.as_ref().and_then(|status| status.phase);
        let has_failed = matches!(phase, Some(AnalysisPhase::Failed | AnalysisPhase::Error));
        (has_failed && !is_left_over).then_some((kind, recorded, run, phase))
    });
    match failed {
        None => match experiments::failure(world, progress) {
            Some(why) => Watched::Failed(why),
            None => Watched::Going(Analysed::default()),
        },
        Some((kind, recorded, run, phase))
            if phase.map(AnalysisPhase::as_str) != recorded.status.as_deref() =>
        {
            follow(progress, kind, recorded, run, phase)
        }
        Some((kind, _, run, _)) => Watched::Failed(why(kind, run)),
    }
}

/// Whether the recorded run measures what the analysis asks for.
#[must_use]
pub fn is_of(snapshot: &Snapshot, progress: &Progress, analysis: &Analysis) -> bool {
    let recorded = progress.run(analysis.kind).and_then(|recorded| find(snapshot, &recorded.name));
    recorded.is_some_and(|run| {
        (&run.spec.metrics, &run.spec.args, &run.spec.dry_run)
            == (&analysis.spec.metrics, &analysis.spec.args, &analysis.spec.dry_run)
    })
}

/// Names of the runs that the status records.
#[must_use]
pub fn current_names(progress: &Progress) -> BTreeSet<String> {
    RunKind::ALL.into_iter().filter_map(|kind| progress.run(kind)).map(|run| run.name.clone()).collect()
}

/// Stops every unfinished run that is not among `keep`.
#[must_use]
pub fn to_stop(world: &World, keep: &BTreeSet<String>) -> Vec<Effect> {
    let going = world.snapshot.analysis_runs.iter().filter(|run| {
        let phase = run.status.as_ref().and_then(|status| status.phase);
        !phase.is_some_and(AnalysisPhase::is_completed) && run.spec.terminate != Some(true)
    });
    let names = going.filter_map(|run| run.metadata.name.clone()).filter(|name| !keep.contains(name));
    names.map(|name| Effect::TerminateAnalysisRun { name }).collect()
}

fn find<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a AnalysisRun> {
    snapshot.analysis_runs.iter().find(|run| run.metadata.name.as_deref() == Some(name))
}

/// Whether the run is that of another step: a person can go from one analysis to the next by the index alone.
fn belongs_elsewhere(run: &AnalysisRun, key: &str, value: &str) -> bool {
    let labels = run.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(key)).is_some_and(|found| found != value)
}

/// Records a name for a new run, and says what its author may not expect.
fn begin(world: &World, progress: &Progress, analysis: &Analysis) -> Watched {
    let mut next = progress.clone();
    let name = build::free_name(world, progress, analysis.kind);
    next.set_run(analysis.kind, Some(AnalysisRunRef { name, status: None, message: None }));
    let advice = analysis.advice.iter();
    let events =
        advice.map(|advice| Event::Advice { topic: advice.topic, message: advice.message.clone() }).collect();
    Watched::Moved(Box::new(next), events)
}

/// Records the run's phase.
fn follow(
    progress: &Progress,
    kind: RunKind,
    recorded: &AnalysisRunRef,
    run: &AnalysisRun,
    phase: Option<AnalysisPhase>,
) -> Watched {
    let mut next = progress.clone();
    let status = run.status.clone().unwrap_or_default();
    next.set_run(
        kind,
        Some(AnalysisRunRef {
            name: recorded.name.clone(),
            status: phase.map(|phase| phase.to_string()),
            message: status.message,
        }),
    );
    let previous = recorded.status.as_deref().and_then(parse_phase);
    let event = phase.map(|phase| Event::AnalysisRun { kind, name: recorded.name.clone(), previous, phase });
    Watched::Moved(Box::new(next), event.into_iter().collect())
}

/// No verdict: a person decides. Once they have, another run starts.
fn undecided(world: &World, progress: &Progress, analysis: &Analysis) -> Watched {
    if progress.was_unpaused() {
        let mut next = progress.clone();
        for kind in RunKind::ALL {
            // One word of a person is for every analysis that waits for it.
            if progress.run(kind).is_some_and(|run| run.status.as_deref() == Some("Inconclusive")) {
                next.set_run(kind, None);
            }
        }
        next.set_run(analysis.kind, None);
        // At a pause step the same word of a person also ends the pause, which is told by this flag.
        if !matches!(world.step(progress), Some(Step::Pause(_))) {
            next.controller_pause = false;
        }
        return begin(world, &next, analysis);
    }
    if progress.pause(PAUSE_INCONCLUSIVE).is_none() {
        let mut next = progress.clone();
        next.begin_pause(PAUSE_INCONCLUSIVE, world.now());
        return Watched::Moved(Box::new(next), vec![Event::Paused]);
    }
    let keep = progress.run(analysis.kind).map(|run| run.name.clone());
    Watched::Going(Analysed { is_successful: false, keep, start: None })
}

/// Whether the run decided by measuring: one that was stopped before it measured is no verdict.
#[must_use]
pub fn has_measured(run: &AnalysisRun) -> bool {
    if run.spec.terminate != Some(true) {
        return true;
    }
    let Some(status) = &run.status else { return false };
    let deciding = status.metric_results.iter().flatten().filter(|result| result.dry_run != Some(true));
    let (found, measured) = deciding.fold((0, 0), |(found, measured), result| {
        (found + 1, measured + i32::from(result.count.unwrap_or_default() > 0))
    });
    // A metric that was not due yet has found nothing; only the summary knows of it.
    let all = status.run_summary.as_ref().and_then(|summary| summary.count).unwrap_or(found);
    measured > 0 && measured >= all.max(found)
}

fn why(kind: RunKind, run: &AnalysisRun) -> AbortReason {
    let status = run.status.clone().unwrap_or_default();
    let analysis = match kind {
        RunKind::Step => "Step-based",
        RunKind::Background => "Background",
        RunKind::PrePromotion => "Blue/green pre-promotion",
        RunKind::PostPromotion => "Blue/green post-promotion",
    };
    let phase = if status.phase == Some(AnalysisPhase::Error) { "error" } else { "failed" };
    let message = status.message.map(|message| format!(": {message}")).unwrap_or_default();
    let name = run.metadata.name.as_deref().unwrap_or_default();
    let text = format!("{analysis} analysis phase error/failed: run '{name}' {phase}{message}");
    AbortReason { cause: AbortCause::Analysis, text }
}

fn parse_phase(text: &str) -> Option<AnalysisPhase> {
    use AnalysisPhase::{Error, Failed, Inconclusive, Pending, Running, Successful};
    [Successful, Running, Pending, Inconclusive, Error, Failed]
        .into_iter()
        .find(|phase| phase.as_str() == text)
}
