//! One pass over a run that is not finished: record what was measured, assess, and ask for what is due.

mod events;
mod expiry;
mod jobs;
mod together;

use std::collections::BTreeMap;
use std::time::Duration;

use events::{completed_event, metric_event};
pub(super) use expiry::after_the_end;
use expiry::expiry_of;

use super::args::Unresolved;
use super::schedule::{self, Next};
use super::secrets::{Keyring, SecretSource, redact};
use super::spec::{Deciding, Spec};
use super::verdict::{self, Course, Verdict};
use super::{FieldError, MeasureRequest, MetricRules, Query, RunPlan, RunSnapshot, Sample};
use crate::api::analysis_run::{Measurement, MetricResult};
use crate::api::analysis_template::Metric;
use crate::api::metric_provider::MetricProvider;
use crate::api::{AnalysisPhase, AnalysisRunStatus, conditions};
use crate::units::Timestamp;

/// Longest time that is waited for data: a run always ends.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// The plan for a run that is not finished.
pub(super) fn run(snapshot: &RunSnapshot) -> RunPlan {
    let status = snapshot.run.status.clone().unwrap_or_default();
    match snapshot.spec.parsed() {
        Ok(spec) => Pass::new(snapshot, spec, status).plan(),
        Err(problems) => refuse(snapshot, status, problems),
    }
}

/// Ends a run whose spec cannot be worked with; a run's spec does not change, so waiting would not heal it.
fn refuse(snapshot: &RunSnapshot, mut status: AnalysisRunStatus, problems: &[FieldError]) -> RunPlan {
    let now = snapshot.now.whole_seconds();
    let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
    status.phase = Some(AnalysisPhase::Error);
    status.message = Some(verdict::limited(&format!("the spec is invalid: {}", all.join("; "))));
    status.started_at = status.started_at.or(Some(now));
    status.completed_at = Some(now);
    tell(&mut status, snapshot.now);
    let event = completed_event(AnalysisPhase::Error, status.message.as_deref());
    RunPlan { status: Some(Box::new(status)), events: vec![event], ..RunPlan::default() }
}

/// Says in the conditions what the phase says.
fn tell(status: &mut AnalysisRunStatus, now: Timestamp) {
    let phase = status.phase.unwrap_or(AnalysisPhase::Running);
    let message = status.message.clone().unwrap_or_default();
    let conditions = status.conditions.get_or_insert_default();
    conditions::tell(conditions, phase.outlook(), (phase.as_str(), &message), now);
}

struct Pass<'a> {
    snapshot: &'a RunSnapshot,
    spec: &'a Spec,
    status: AnalysisRunStatus,
    started_at: Timestamp,
    /// Where in a second it measures.
    offset: Duration,
    plan: RunPlan,
}

impl<'a> Pass<'a> {
    fn new(snapshot: &'a RunSnapshot, spec: &'a Spec, mut status: AnalysisRunStatus) -> Self {
        let started_at = status.started_at.unwrap_or(snapshot.now.whole_seconds());
        status.started_at = Some(started_at);
        status.phase = Some(AnalysisPhase::Running);
        let offset = schedule::offset(snapshot.run.metadata.uid.as_deref().unwrap_or_default());
        Self { snapshot, spec, status, started_at, offset, plan: RunPlan::default() }
    }

    fn plan(mut self) -> RunPlan {
        for sample in &self.snapshot.samples {
            self.record(sample);
        }
        self.assess(Course::GoesOn);
        if self.is_ending() {
            self.assess(Course::Ending);
        } else {
            self.ask();
            // What could not even be asked for is an error measured now, and may have passed a limit.
            self.assess(Course::GoesOn);
            if self.is_ending() {
                self.assess(Course::Ending);
            }
        }
        self.finish();
        self.into_plan()
    }

    fn found(&self, name: &str) -> Option<&MetricResult> {
        self.status.metric_results.iter().flatten().find(|result| result.name == name)
    }

    /// Judges a sample and puts it into the status; not when the metric is done, or the sample is in it already.
    fn record(&mut self, sample: &Sample) {
        let spec = self.spec;
        let Some((metric, rules, _)) = spec.metrics.iter().find(|(metric, ..)| metric.name == sample.metric)
        else {
            return;
        };
        let started_at = sample.started_at.whole_seconds();
        let known = self.found(&metric.name).is_some_and(|found| {
            found.phase.is_completed()
                || found
                    .measurements
                    .iter()
                    .flatten()
                    .any(|one| one.started_at >= Some(started_at) && one.finished_at.is_some())
        });
        if known {
            return;
        }
        let Some(verdict) = self.judge(metric, rules, sample) else { return };
        let begun = self.found(&metric.name).and_then(verdict::unfinished);
        let mut metadata = begun.and_then(|one| one.metadata.clone()).unwrap_or_default();
        metadata.extend(sample.metadata.clone());
        let waiting_since = begun.and_then(|one| one.started_at).unwrap_or(started_at);
        let verdict = if waiting_since.plus(LONGEST_WAIT) <= sample.finished_at {
            verdict::given_up(verdict)
        } else {
            verdict
        };
        let is_waiting = verdict.phase == AnalysisPhase::Pending;
        let measurement = Measurement {
            phase: verdict.phase,
            message: verdict.message,
            started_at: Some(if is_waiting { waiting_since } else { started_at }),
            finished_at: (!is_waiting).then(|| self.stamp(sample.finished_at).max(started_at)),
            value: sample.result.as_ref().ok().map(super::Value::text).filter(|text| !text.is_empty()),
            metadata: (!metadata.is_empty()).then_some(metadata),
            resume_at: is_waiting.then(|| schedule::again(rules, sample.finished_at.whole_seconds())),
        };
        self.add(&metric.name, measurement);
    }

    /// Adds a measurement, and drops the oldest that are too many, with their Jobs.
    fn add(&mut self, metric: &str, measurement: Measurement) {
        let retention = self.spec.retention_of(metric);
        let is_dry = self
            .spec
            .metrics
            .iter()
            .any(|(one, _, deciding)| one.name == metric && *deciding == Deciding::DryRun);
        let results = self.status.metric_results.get_or_insert_default();
        let position = results.iter().position(|result| result.name == metric);
        if position.is_none() {
            results.push(verdict::blank(metric, is_dry));
        }
        let index = position.unwrap_or(results.len().saturating_sub(1));
        let Some(result) = results.get_mut(index) else { return };
        let dropped = verdict::record(result, measurement, retention);
        self.plan.delete_jobs.extend(dropped.iter().filter_map(|one| self.snapshot.job_of(one)));
    }

    /// Judges a sample by the conditions with their secrets put in, which were a placeholder until now; `None` while
    /// one is unread. Conditions that cannot be had judge nothing: the measurement is an error.
    fn judge(&mut self, metric: &Metric, rules: &MetricRules, sample: &Sample) -> Option<Verdict> {
        // A sample that is written with later ones is judged again until then, and `now()` stays what it was.
        let now = sample.finished_at;
        let conditions = Metric {
            success_condition: metric.success_condition.clone(),
            failure_condition: metric.failure_condition.clone(),
            ..Metric::default()
        };
        let secrets = self.spec.arguments.secrets_used(&conditions);
        if sample.result.is_err() || secrets.is_empty() {
            return Some(verdict::judge(rules, &sample.result, now));
        }
        match self.spec.arguments.resolve(&conditions, SecretSource::Read(&self.snapshot.secrets)) {
            Ok(filled) => {
                // A condition that was written is one even if a secret makes it empty.
                let Metric { success_condition, failure_condition, .. } = &filled.value;
                let filled =
                    rules.with_conditions(success_condition.as_deref(), failure_condition.as_deref());
                let verdict = match filled {
                    Ok(filled) => verdict::judge(&filled, &sample.result, now),
                    Err(why) => verdict::judge_without(rules, &sample.result, &why),
                };
                Some(unless_quoting(verdict, rules, sample, &secrets, now))
            }
            Err(Unresolved::Wanted(secrets)) => {
                self.plan.secrets.extend(secrets);
                None
            }
            Err(Unresolved::Refused(why)) => Some(verdict::judge(rules, &Err(why), now)),
        }
    }

    fn assess(&mut self, course: Course) {
        for (metric, rules, _) in &self.spec.metrics {
            let results = self.status.metric_results.iter_mut().flatten();
            let Some(found) = results.into_iter().find(|result| result.name == metric.name) else { continue };
            if found.phase.is_completed() {
                continue;
            }
            let verdict = verdict::assess(rules, found, course);
            found.phase = verdict.phase;
            if !verdict.phase.is_completed() {
                continue;
            }
            let bad = verdict.phase != AnalysisPhase::Successful;
            let sentence = verdict::sentence(found, &verdict);
            found.message = bad.then(|| verdict::limited(&sentence));
            self.plan.events.push(metric_event(found, bad.then_some(sentence)));
        }
    }

    /// Whether nothing more is measured: asked to stop, or a metric that decides has ended badly.
    fn is_ending(&self) -> bool {
        self.snapshot.run.spec.terminate == Some(true)
            || self.worst().is_some_and(|found| found.phase > AnalysisPhase::Pending)
    }

    /// Of the metrics that decide and have found something, the worst, the first of equals.
    fn worst(&self) -> Option<&MetricResult> {
        let deciding = self.spec.metrics.iter().filter(|(.., deciding)| *deciding == Deciding::Yes);
        let found = deciding.filter_map(|(metric, ..)| self.found(&metric.name));
        found.reduce(|worst, next| if next.phase > worst.phase { next } else { worst })
    }

    /// Asks for every measurement that is due and notes when the next one is.
    fn ask(&mut self) {
        let spec = self.spec;
        for (metric, rules, _) in &spec.metrics {
            if self.snapshot.in_flight.contains(&metric.name) || self.has_pending_sample(&metric.name) {
                continue;
            }
            match self.next(rules, self.found(&metric.name)) {
                Next::Never => {}
                Next::At(time) => self.wake_at(time),
                Next::Now => self.ask_for(metric, rules),
            }
        }
    }

    fn next(&self, rules: &MetricRules, found: Option<&MetricResult>) -> Next {
        schedule::next(rules, found, self.started_at, self.offset, self.snapshot.now)
    }

    /// The second in which something ended, by when the run measures: it ends in the second in which it began, as long as it
    /// takes less than one.
    fn stamp(&self, time: Timestamp) -> Timestamp {
        time.minus(self.offset).whole_seconds()
    }

    /// A sample that waits for a secret; its metric is not measured again before it is judged.
    fn has_pending_sample(&self, name: &str) -> bool {
        !self.plan.secrets.is_empty() && self.snapshot.samples.iter().any(|sample| sample.metric == name)
    }

    fn ask_for(&mut self, metric: &Metric, rules: &MetricRules) {
        let now = self.snapshot.now;
        match self.request(&metric.provider) {
            Ok((mut query, secrets)) => {
                let at = match &mut query {
                    Query::Job(job) => self.begin_job(&metric.name, job),
                    Query::Prometheus(_) | Query::Http(_) | Query::CloudWatch(_) | Query::Kayenta(_) => now,
                };
                self.plan.measure.push(MeasureRequest { metric: metric.name.clone(), at, query, secrets });
            }
            Err(Unresolved::Wanted(secrets)) => self.plan.secrets.extend(secrets),
            Err(Unresolved::Refused(why)) => {
                self.record(&Sample {
                    metric: metric.name.clone(),
                    started_at: now,
                    finished_at: now,
                    result: Err(why),
                    metadata: BTreeMap::new(),
                });
                if let Next::At(time) = self.next(rules, self.found(&metric.name)) {
                    self.wake_at(time);
                }
            }
        }
    }

    fn request(&self, provider: &MetricProvider) -> Result<(Query, Vec<super::Secret>), Unresolved> {
        let source = SecretSource::Read(&self.snapshot.secrets);
        let filled = self.spec.arguments.resolve(provider, source)?;
        let mut keys = Keyring::new(source);
        // Whole seconds, so that equal questions of one second are equal.
        let query = Query::parse(&filled.value, self.snapshot.now.whole_seconds(), &mut keys);
        if !keys.wanted.is_empty() {
            return Err(Unresolved::Wanted(keys.wanted));
        }
        let secrets: Vec<_> = filled.secrets.into_iter().chain(keys.used).collect();
        let query = query.map_err(|problems| {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Unresolved::Refused(redact(&all.join("; "), &secrets))
        })?;
        Ok((query, secrets))
    }

    fn wake_at(&mut self, time: Timestamp) {
        self.plan.wake_at = Some(self.plan.wake_at.map_or(time, |earlier| earlier.min(time)));
    }

    /// Ends the run when it is ending, or when every metric that has an end, and every one that decides, is done.
    fn finish(&mut self) {
        let ending = self.is_ending();
        let done = |(metric, rules, deciding): &(Metric, MetricRules, Deciding)| {
            let over = self.found(&metric.name).is_some_and(|found| found.phase.is_completed());
            over || (*deciding == Deciding::DryRun && rules.is_endless() && self.some_decide())
        };
        if !ending && !self.spec.metrics.iter().all(done) {
            return;
        }
        self.end_unfinished();
        self.assess(Course::Ending);
        let worst = self.worst();
        let phase = worst.map_or(AnalysisPhase::Successful, |worst| worst.phase);
        let message = match worst.and_then(|worst| worst.message.clone()) {
            None if self.snapshot.run.spec.terminate == Some(true) => Some("Run Terminated".to_owned()),
            message => message,
        };
        self.plan.events.push(completed_event(phase, message.as_deref()));
        self.plan.measure.clear();
        self.plan.secrets.clear();
        self.plan.wake_at = expiry_of(self.snapshot, phase);
        self.status.phase = Some(phase);
        self.status.message = message;
        self.status.completed_at = Some(self.snapshot.now.whole_seconds());
    }

    fn some_decide(&self) -> bool {
        self.spec.metrics.iter().any(|(.., deciding)| *deciding == Deciding::Yes)
    }

    fn into_plan(mut self) -> RunPlan {
        self.status.run_summary = Some(self.summary(Deciding::Yes));
        self.status.dry_run_summary =
            Some(self.summary(Deciding::DryRun)).filter(|summary| summary.count.is_some());
        tell(&mut self.status, self.snapshot.now);
        self.with_status()
    }

    fn summary(&self, which: Deciding) -> crate::api::analysis_run::RunSummary {
        let names: Vec<&str> = self
            .spec
            .metrics
            .iter()
            .filter(|(.., deciding)| *deciding == which)
            .map(|(metric, ..)| metric.name.as_str())
            .collect();
        let all = u32::try_from(names.len()).unwrap_or(u32::MAX);
        verdict::summary(all, names.into_iter().filter_map(|name| self.found(name)))
    }
}

/// A verdict of conditions with their secrets in them. Its message would quote pieces of them, so it is that of the
/// placeholders, or none.
fn unless_quoting(
    verdict: Verdict,
    rules: &MetricRules,
    sample: &Sample,
    secrets: &[String],
    now: Timestamp,
) -> Verdict {
    let open = verdict::judge(rules, &sample.result, now);
    if verdict.message.is_none() || verdict == open {
        return verdict;
    }
    if verdict.phase != AnalysisPhase::Error {
        return Verdict { phase: verdict.phase, message: Some("the answer lacks something".to_owned()) };
    }
    if open.phase == AnalysisPhase::Error {
        return open;
    }
    let names: Vec<String> = secrets.iter().map(|name| format!("args.{name}")).collect();
    let why = format!(
        "the conditions cannot be judged once {} is put in; the reason is not shown, because it could show the secret",
        names.join(", ")
    );
    verdict::judge(rules, &Err(why), now)
}

#[cfg(test)]
#[path = "pass_tests.rs"]
mod tests;
