//! The AnalysisRuns of an Experiment: made once its pods are available, and followed.
//!
//! A run is recorded in the status by its name before it exists. Whatever crashes in between, the recorded name is made
//! once and found again.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::effect::Effect;
use super::snapshot::phase_of;
use super::{ObjectKind, Snapshot, Why};
use crate::analysis::group::{self, GroupError, Member, Shared};
use crate::analysis::template::MergedAnalysis;
use crate::api::analysis_template::AnalysisTemplateRef;
use crate::api::experiment::{ExperimentAnalysis, ExperimentAnalysisRunStatus};
use crate::api::labels::INSTANCE_ID;
use crate::api::{AnalysisPhase, AnalysisRun, AnalysisRunSpec, ExperimentStatus};
use crate::events::RunKind;
use crate::rollout::experiments::variables::Variables;
use crate::rollout::runs::has_measured;
use crate::rollout::valid::{SpecError, check_name};
use crate::units::Timestamp;

/// One analysis of the spec.
#[derive(Clone, Debug)]
pub(super) struct Analysis {
    pub(super) name: String,
    /// Whether the Experiment waits for it.
    pub(super) is_required: bool,
    /// What its run measures; `None` where a run has been made already.
    pub(super) merged: Option<MergedAnalysis>,
}

/// Reads the analyses whose runs are still to be made.
pub(super) fn parse(
    snapshot: &Snapshot,
    variables: &Variables,
    before: &ExperimentStatus,
    problems: &mut Vec<SpecError>,
) -> Vec<Analysis> {
    let spec = &snapshot.experiment.spec;
    let given = spec.analyses.as_deref().unwrap_or_default();
    let mut names = BTreeSet::new();
    for (index, analysis) in given.iter().enumerate() {
        check_name(&format!("spec.analyses[{index}]"), &analysis.name, &mut names, problems);
    }
    let to_make: Vec<usize> = given
        .iter()
        .enumerate()
        .filter(|(_, analysis)| is_to_make(snapshot, &analysis.name, before))
        .map(|(index, _)| index)
        .collect();
    let has_end = spec.duration.as_deref().is_some_and(|text| !text.is_empty());
    let members: Vec<Member> = to_make
        .iter()
        .filter_map(|index| Some(member(*index, given.get(*index)?, has_end, variables, problems)))
        .collect();
    let is_first = to_make.len() == given.len();
    let shared = Shared {
        dry_run: spec.dry_run.as_deref().unwrap_or_default(),
        measurement_retention: spec.measurement_retention.as_deref().unwrap_or_default(),
    };
    let (merged, errors) = group::merge(&members, &shared, &snapshot.templates);
    // Whether a rule matches anything can be told only while all analyses are looked at.
    let counts = |error: &GroupError| is_first || matches!(error, GroupError::Member(..));
    problems.extend(errors.into_iter().filter(counts).map(|error| match error {
        GroupError::Member(position, error) => {
            let index = to_make.get(position).copied().unwrap_or_default();
            SpecError::new(format!("spec.analyses[{index}]"), error.to_string())
        }
        GroupError::Rule(error) => SpecError::new(format!("spec.{}", error.path), error.problem),
    }));
    let mut made: Vec<Option<MergedAnalysis>> = given.iter().map(|_| None).collect();
    for (index, found) in to_make.iter().zip(merged) {
        if let Some(place) = made.get_mut(*index) {
            *place = found;
        }
    }
    let analyses = given.iter().zip(made).map(|(analysis, merged)| Analysis {
        name: analysis.name.clone(),
        is_required: analysis.required_for_completion == Some(true),
        merged,
    });
    analyses.collect()
}

fn member(
    index: usize,
    analysis: &ExperimentAnalysis,
    has_end: bool,
    variables: &Variables,
    problems: &mut Vec<SpecError>,
) -> Member {
    // One that is waited for, without anything that would end it, gets an end of its own.
    let is_waited_for = analysis.required_for_completion == Some(true) && !has_end;
    let args = analysis.args.iter().flatten().enumerate().filter_map(|(number, argument)| {
        let filled = variables.fill(argument);
        filled
            .map_err(|why| {
                problems.push(SpecError::new(format!("spec.analyses[{index}].args[{number}].value"), why));
            })
            .ok()
    });
    Member {
        args: args.collect(),
        kind: if is_waited_for { RunKind::Step } else { RunKind::Background },
        template: AnalysisTemplateRef {
            template_name: analysis.template_name.clone(),
            cluster_scope: analysis.cluster_scope,
        },
    }
}

/// Whether an analysis has no run, and has never had one that ended.
fn is_to_make(snapshot: &Snapshot, name: &str, before: &ExperimentStatus) -> bool {
    let Some(recorded) = status_of(before, name) else { return true };
    let has_ended = recorded.phase.is_some_and(AnalysisPhase::is_completed);
    !has_ended && recorded.analysis_run.as_deref().and_then(|run| snapshot.run(run)).is_none()
}

fn status_of<'a>(before: &'a ExperimentStatus, name: &str) -> Option<&'a ExperimentAnalysisRunStatus> {
    before.analysis_runs.iter().flatten().find(|recorded| recorded.name == name)
}

/// Where an analysis stands, and what brings it on.
#[derive(Clone, Debug)]
pub(super) struct Next {
    pub(super) status: ExperimentAnalysisRunStatus,
    pub(super) is_required: bool,
    /// Whether its run has measured, as far as that is known.
    pub(super) has_measured: bool,
    /// Whether its run would go on for ever.
    pub(super) is_endless: bool,
    pub(super) effect: Option<Effect>,
    pub(super) wake: Option<Timestamp>,
}

/// Brings an analysis on, now that pods are available.
pub(super) fn next(snapshot: &Snapshot, analysis: &Analysis, before: &ExperimentStatus) -> Next {
    let recorded = status_of(before, &analysis.name);
    let found = recorded.and_then(|recorded| snapshot.run(recorded.analysis_run.as_deref()?));
    let blank = Next {
        status: ExperimentAnalysisRunStatus { name: analysis.name.clone(), ..Default::default() },
        is_required: analysis.is_required,
        has_measured: true,
        is_endless: false,
        effect: None,
        wake: None,
    };
    match (found, recorded, &analysis.merged) {
        (Some(run), ..) => Next {
            status: followed(&analysis.name, run),
            has_measured: has_measured(run),
            is_endless: is_endless(&run.spec),
            ..blank
        },
        (None, recorded, Some(merged)) => {
            let name = recorded.and_then(|recorded| recorded.analysis_run.clone());
            let name = name.filter(|name| !snapshot.is_taken(ObjectKind::AnalysisRun, name));
            begin(snapshot, merged, name.unwrap_or_else(|| free_name(snapshot, &analysis.name)), blank)
        }
        // It has ended, and somebody has removed it since.
        (None, Some(recorded), None) => Next { status: recorded.clone(), ..blank },
        (None, None, None) => blank,
    }
}

/// The status of an analysis by its run.
pub(super) fn followed(name: &str, run: &AnalysisRun) -> ExperimentAnalysisRunStatus {
    ExperimentAnalysisRunStatus {
        name: name.to_owned(),
        analysis_run: run.metadata.name.clone(),
        phase: phase_of(run),
        message: run.status.as_ref().and_then(|status| status.message.clone()),
    }
}

fn begin(snapshot: &Snapshot, merged: &MergedAnalysis, name: String, blank: Next) -> Next {
    let mut next =
        Next { effect: Some(Effect::CreateAnalysisRun(Box::new(new_run(snapshot, merged, &name)))), ..blank };
    if let Some(obstacle) = snapshot.obstacle(ObjectKind::AnalysisRun, &name) {
        let why = match &obstacle.why {
            Why::Taken => "it exists and does not belong to this Experiment",
            Why::Refused(message) => message,
        };
        next.status.message = Some(format!("cannot create AnalysisRun '{name}': {why}"));
        if obstacle.retry_at > snapshot.now {
            (next.effect, next.wake) = (None, Some(obstacle.retry_at));
        }
    }
    next.status.analysis_run = Some(name);
    next
}

/// A name that no run has: `<experiment>-<analysis>`, then `.1`, `.2` and so on.
///
/// A run by that name that nobody has stopped and that has not ended was made before a crash and never recorded.
fn free_name(snapshot: &Snapshot, analysis: &str) -> String {
    let base = format!("{}-{analysis}", snapshot.name());
    let is_over = |run: &AnalysisRun| {
        run.spec.terminate == Some(true) || phase_of(run).is_some_and(AnalysisPhase::is_completed)
    };
    let is_free = |name: &String| {
        !snapshot.is_taken(ObjectKind::AnalysisRun, name) && !snapshot.run(name).is_some_and(is_over)
    };
    let most = snapshot.obstacles.len().saturating_add(snapshot.analysis_runs.len());
    let numbered = (1..=most).map(|number| format!("{base}.{number}"));
    std::iter::once(base.clone()).chain(numbered).find(is_free).unwrap_or(base)
}

fn new_run(snapshot: &Snapshot, merged: &MergedAnalysis, name: &str) -> AnalysisRun {
    let given = snapshot.experiment.spec.analysis_run_metadata.clone().unwrap_or_default();
    let mut labels = given.labels.unwrap_or_default();
    labels.extend(snapshot.instance_id.iter().map(|id| (INSTANCE_ID.to_owned(), id.clone())));
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: snapshot.experiment.metadata.namespace.clone(),
        labels: Some(labels).filter(|labels| !labels.is_empty()),
        annotations: given.annotations,
        ..ObjectMeta::default()
    };
    AnalysisRun { metadata, spec: merged.spec.clone(), status: None }
}

/// Whether a run measures for as long as nobody stops it.
fn is_endless(spec: &AnalysisRunSpec) -> bool {
    spec.metrics.iter().flatten().any(|metric| metric.interval.is_some() && metric.count.is_none())
}
