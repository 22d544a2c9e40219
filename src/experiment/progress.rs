//! An Experiment that has not ended: its pods, then its analyses, then its end.

use super::templates::{Identity, RUNNING};
use super::valid::ValidSpec;
use super::verdict::{Facts, Verdict, ends_at};
use super::{Effect, Plan, Snapshot, analyses, stages, status, templates, valid};
use crate::api::labels::POD_TEMPLATE_HASH;
use crate::api::{AnalysisPhase, ExperimentStatus};
use crate::rollout::experiments::variables::Variables;
use crate::rollout::snapshot::{ReplicaSet, Service};
use crate::rollout::valid::SpecError;
use crate::units::Timestamp;

/// The plan for an Experiment that has not ended.
pub(super) fn plan(snapshot: &Snapshot, before: &ExperimentStatus) -> Plan {
    let mut problems = Vec::new();
    let spec = valid::parse(snapshot, &mut problems);
    let identities: Vec<Identity> =
        spec.templates.iter().map(|template| Identity::of(snapshot, &spec, template, before)).collect();
    let variables = variables(snapshot, &spec, &identities, before);
    let analyses = analyses::parse(snapshot, &variables, before, &mut problems);
    if !problems.is_empty() {
        return held(snapshot, before, &problems);
    }
    let templates: Vec<_> = spec
        .templates
        .iter()
        .zip(&identities)
        .map(|(template, identity)| templates::next(snapshot, &spec, template, identity, before))
        .collect();
    let are_available = templates.iter().all(|next| next.status.status.as_deref() == Some(RUNNING));
    let available_at = before.available_at.or_else(|| are_available.then_some(snapshot.now.whole_seconds()));
    let analyses: Vec<_> = match available_at {
        Some(_) => analyses.iter().map(|analysis| analyses::next(snapshot, analysis, before)).collect(),
        None => vec![],
    };
    let ends_at = ends_at(available_at, spec.duration);
    let facts = Facts {
        snapshot,
        templates: &templates,
        analyses: &analyses,
        available_at,
        ends_at,
        patience_ends_at: available_at.map(|at| at.plus(spec.progress_deadline)),
    };
    follow(&facts, &identities, before)
}

fn variables(
    snapshot: &Snapshot,
    spec: &ValidSpec,
    identities: &[Identity],
    before: &ExperimentStatus,
) -> Variables {
    let available_at = before.available_at.unwrap_or(snapshot.now.whole_seconds());
    let mut variables = Variables::new(available_at, spec.duration);
    for (template, identity) in spec.templates.iter().zip(identities) {
        variables.add(&template.name, &identity.set, &identity.hash);
    }
    variables
}

/// The plan that brings the Experiment on, or ends it.
fn follow(facts: &Facts, identities: &[Identity], before: &ExperimentStatus) -> Plan {
    let snapshot = facts.snapshot;
    let mut next = ExperimentStatus {
        available_at: facts.available_at,
        template_statuses: Some(facts.templates.iter().map(|next| next.status.clone()).collect()),
        analysis_runs: Some(facts.analyses.iter().map(|next| next.status.clone()).collect())
            .filter(|runs: &Vec<_>| !runs.is_empty()),
        conditions: before.conditions.clone(),
        ..ExperimentStatus::default()
    };
    let waits_for = match facts.verdict() {
        Verdict::Ends(phase, why) => {
            status::end(&mut next, phase, why, snapshot.now);
            return status::plan(snapshot, before, next, vec![], None);
        }
        Verdict::Goes(waits_for) => waits_for,
    };
    let phase = if facts.available_at.is_some() { AnalysisPhase::Running } else { AnalysisPhase::Pending };
    let waits_for = waits_for.or_else(|| facts.why_pods_are_missing());
    status::go_on(&mut next, phase, waits_for, snapshot.now);
    let pods = facts.templates.iter().flat_map(|next| next.effects.clone());
    let runs = facts.analyses.iter().filter_map(|next| next.effect.clone()).collect();
    let stopped = facts.to_stop().into_iter().filter(|name| is_going(snapshot, name));
    let stopped = stopped.map(|name| Effect::TerminateAnalysisRun { name: name.to_owned() }).collect();
    let effects = stages([pods.collect(), runs, stopped, left_over(snapshot, identities)]);
    let wakes = facts.templates.iter().filter_map(|next| next.wake);
    let wakes = wakes.chain(facts.analyses.iter().filter_map(|next| next.wake));
    let end = facts.ends_at.filter(|at| *at > snapshot.now);
    let wake: Option<Timestamp> = wakes.chain(end).chain(facts.gives_up_at()).min();
    status::plan(snapshot, before, next, effects, wake)
}

fn is_going(snapshot: &Snapshot, run: &str) -> bool {
    snapshot.run(run).is_some_and(|run| run.spec.terminate != Some(true))
}

/// Takes away the pods of templates that the spec does not name any more.
fn left_over(snapshot: &Snapshot, identities: &[Identity]) -> Vec<Effect> {
    let is_wanted = |name: &str| identities.iter().any(|identity| identity.set == name);
    let left = snapshot.replica_sets.iter().filter(|set| !is_wanted(&set.name));
    left.filter(|set| !is_led_to(snapshot, set)).filter_map(super::ended::emptied).collect()
}

/// Whether a route leads to a Service of the Experiment that selects these pods.
pub(super) fn is_led_to(snapshot: &Snapshot, set: &ReplicaSet) -> bool {
    let services = snapshot.services.iter().filter(|(_, service)| selects(service, set));
    services.map(|(name, _)| name).any(|name| snapshot.is_led_to(name))
}

fn selects(service: &Service, set: &ReplicaSet) -> bool {
    service.selector.get(POD_TEMPLATE_HASH).is_some_and(|hash| hash == set.hash.as_str())
}

/// Nothing moves until the spec can be worked with; but somebody who wants it to end is heard.
fn held(snapshot: &Snapshot, before: &ExperimentStatus, problems: &[SpecError]) -> Plan {
    let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let all = all.join("; ");
    let mut next = before.clone();
    if snapshot.experiment.spec.terminate == Some(true) {
        let why = format!("terminated while its spec could not be worked with: {all}");
        status::end(&mut next, AnalysisPhase::Error, Some(why), snapshot.now);
    } else {
        let phase = before.phase.unwrap_or(AnalysisPhase::Pending);
        status::hold(&mut next, phase, &all, snapshot.now);
    }
    status::plan(snapshot, before, next, vec![], None)
}
