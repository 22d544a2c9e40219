//! The spans of an update and of its steps.

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanId;
use opentelemetry_sdk::trace::SpanData;
use serde_json::Value;

use super::span::{Told, Trace};
use crate::api::canary_step::CanaryStep;
use crate::api::rollout_status::DurationStatus;
use crate::api::{Rollout, RolloutStatus, labels};
use crate::events::Event;
use crate::rollout::progress::PAUSE_STEP;
use crate::rollout::status::Completion;
use crate::units::Timestamp;

/// A pass over a Rollout whose status was written.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// The Rollout as it was before.
    pub rollout: &'a Rollout,
    /// The status that was written.
    pub next: &'a RolloutStatus,
    /// What the pass announces.
    pub events: &'a [Event],
    /// When it was made.
    pub now: Timestamp,
    /// Since when this process looks at Rollouts.
    pub watched_since: Timestamp,
}

/// The step that an update is in, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    began: Timestamp,
    step: i32,
    at: Timestamp,
}

/// An update that goes on.
#[derive(Clone, Copy)]
struct Open<'a> {
    began: Timestamp,
    /// Whether it leads back to an older version.
    goes_back: bool,
    hash: &'a str,
    step: i32,
    /// Which steps these are.
    step_hash: &'a str,
}

/// How an update ended.
struct End<'a> {
    at: Timestamp,
    outcome: &'a str,
}

/// The spans of what ended in a pass, and the step that the update is in after it. `entered` is what the pass before gave;
/// `None` where this process saw none.
#[must_use]
pub fn ended(pass: &Pass<'_>, entered: Option<Entered>) -> (Vec<SpanData>, Option<Entered>) {
    let none = RolloutStatus::default();
    let stored = pass.rollout.status.as_ref().unwrap_or(&none);
    let (before, after) = (open(stored), open(pass.next));
    let entered = entered.filter(|entered| before.is_some_and(|open| is_in(entered, &open)));
    let mut spans = Vec::new();
    if let Some(open) = &before {
        let end = end_of(pass, stored, open);
        spans.extend(steps(pass, stored, open, end.as_ref(), entered));
        spans.extend(end.map(|end| root(pass, open.began, open.hash, &end)));
    }
    spans.extend(ended_at_once(pass, before.as_ref()));
    let same = entered.filter(|entered| after.is_some_and(|open| is_in(entered, &open)));
    let stays = before.zip(after).is_some_and(|(before, after)| {
        (before.began, before.step, before.hash, before.step_hash)
            == (after.began, after.step, after.hash, after.step_hash)
    });
    let fresh = |open: Open<'_>| Entered { began: open.began, step: open.step, at: pass.now.whole_seconds() };
    (spans, if stays { same } else { after.map(fresh) })
}

fn is_in(entered: &Entered, open: &Open<'_>) -> bool {
    (entered.began, entered.step) == (open.began, open.step)
}

fn open(status: &RolloutStatus) -> Option<Open<'_>> {
    let duration = status.duration.as_ref().filter(|duration| duration.finished_at.is_none())?;
    Some(Open {
        began: duration.rollout_started_at?,
        goes_back: duration.completion_status.is_some(),
        hash: status.current_pod_hash.as_deref().unwrap_or_default(),
        step: status.current_step_index.unwrap_or_default(),
        step_hash: status.current_step_hash.as_deref().unwrap_or_default(),
    })
}

/// How the update that was going on ended in this pass; `None` when it did not, or when nobody kept its time.
fn end_of<'a>(pass: &Pass<'a>, stored: &RolloutStatus, open: &Open<'_>) -> Option<End<'a>> {
    let next = pass.next.duration.as_ref()?;
    let began = next.rollout_started_at?;
    if began == open.began {
        return finished(next);
    }
    let is_stable = stored.stable_rs.is_some() && stored.stable_rs == stored.current_pod_hash;
    let was_over = is_stable || stored.abort == Some(true) && stored.aborted_at.is_some();
    let is_superseded = open.goes_back || !was_over;
    is_superseded.then_some(End { at: began, outcome: Completion::Superseded.as_str() })
}

fn finished(duration: &DurationStatus) -> Option<End<'_>> {
    Some(End { at: duration.finished_at?, outcome: duration.completion_status.as_deref()? })
}

/// The root of an update that began and ended in this pass.
fn ended_at_once(pass: &Pass<'_>, before: Option<&Open<'_>>) -> Option<SpanData> {
    let next = pass.next.duration.as_ref()?;
    let stored = pass.rollout.status.as_ref().and_then(|status| status.duration.as_ref());
    let began = next.rollout_started_at?;
    let was_known = stored.is_some_and(|stored| stored.rollout_started_at == Some(began));
    if was_known || before.is_some_and(|open| open.began == began) {
        return None;
    }
    Some(root(pass, began, pass.next.current_pod_hash.as_deref().unwrap_or_default(), &finished(next)?))
}

fn trace(pass: &Pass<'_>, began: Timestamp) -> Trace {
    Trace::new(pass.rollout.metadata.uid.as_deref().unwrap_or_default(), began)
}

fn root(pass: &Pass<'_>, began: Timestamp, hash: &str, end: &End<'_>) -> SpanData {
    let metadata = &pass.rollout.metadata;
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let name = metadata.name.clone().unwrap_or_default();
    let title = format!("rollout {namespace}/{name}");
    let mut attributes = vec![
        KeyValue::new("k8s.namespace.name", namespace),
        KeyValue::new("rollout.name", name),
        KeyValue::new("rollout.pod_hash", hash.to_owned()),
        KeyValue::new("rollout.outcome", end.outcome.to_owned()),
    ];
    // The spec is that of the newest version, which may have taken this one's place.
    if pass.next.current_pod_hash.as_deref() == Some(hash) {
        let revision = metadata.annotations.as_ref().and_then(|all| all.get(labels::REVISION));
        attributes.extend(revision.map(|revision| KeyValue::new("rollout.revision", revision.clone())));
        let images = images(pass.rollout);
        attributes.extend((!images.is_empty()).then(|| KeyValue::new("rollout.images", images.join(","))));
    }
    let aborted = end.outcome == Completion::Aborted.as_str();
    let why = pass.events.iter().find_map(|event| match event {
        Event::Aborted { why, .. } => Some(why),
        _ => None,
    });
    if let Some(why) = why.filter(|_| aborted) {
        attributes.push(KeyValue::new("rollout.abort.cause", why.cause.as_str()));
        attributes.push(KeyValue::new("rollout.abort.message", why.text.clone()));
    }
    let error = aborted.then(|| why.map(|why| why.text.clone()).unwrap_or_default());
    let trace = trace(pass, began);
    let told = Told { name: title, start: began, end: end.at, attributes, error };
    trace.data(trace.root(), SpanId::INVALID, told)
}

/// The images of the containers, in their order; none where the pod template is another object's.
fn images(rollout: &Rollout) -> Vec<&str> {
    let containers = rollout.spec.template.as_ref().and_then(|template| template.pointer("/spec/containers"));
    let containers = containers.and_then(Value::as_array).into_iter().flatten();
    containers.filter_map(|container| container.get("image")?.as_str()).collect()
}

/// The steps that were left in a pass. Those between the step before and the one after it were entered and left in it,
/// unless somebody skipped them.
fn steps(
    pass: &Pass<'_>,
    stored: &RolloutStatus,
    open: &Open<'_>,
    end: Option<&End<'_>>,
    entered: Option<Entered>,
) -> Vec<SpanData> {
    let canary = pass.rollout.spec.strategy.as_ref().and_then(|strategy| strategy.canary.as_ref());
    let wanted = canary.and_then(|canary| canary.steps.as_deref()).unwrap_or_default();
    let same_steps = stored.current_step_hash == pass.next.current_step_hash;
    let same_version = pass.next.current_pod_hash.as_deref() == Some(open.hash);
    let count = i32::try_from(wanted.len()).unwrap_or(i32::MAX);
    let next = pass.next.current_step_index.filter(|_| same_steps && same_version);
    let is_skipped = stored.promote_full == Some(true)
        || pass.next.promote_full == Some(true)
        || end.is_some_and(|end| end.outcome == Completion::FastPromoted.as_str());
    if stored.current_step_index.is_none()
        || same_steps && open.step >= count
        || end.is_none() && next == Some(open.step)
    {
        return Vec::new();
    }
    let now = end.map_or(pass.now.whole_seconds(), |end| end.at);
    let passed = open.step.saturating_add(1)..next.unwrap_or_default().min(count);
    let passed = passed.filter(|_| !is_skipped).map(|index| (index, now, false));
    let (since, is_known) = began(pass, stored, open, entered);
    let span = |(index, start, is_late): (i32, Timestamp, bool)| {
        let step = usize::try_from(index).ok().and_then(|index| wanted.get(index)).filter(|_| same_steps);
        let number = index.saturating_add(1);
        let name =
            step.map_or_else(|| format!("step {number}"), |step| format!("step {number}: {}", words(step)));
        let mut attributes = vec![
            KeyValue::new("rollout.step.index", i64::from(index)),
            KeyValue::new("rollout.pod_hash", open.hash.to_owned()),
        ];
        attributes.extend(is_late.then(|| KeyValue::new("rollout.step.start_is_first_seen", true)));
        let trace = trace(pass, open.began);
        let told = Told { name, start: start.max(open.began).min(now), end: now, attributes, error: None };
        trace.data(trace.step(open.hash, open.step_hash, index), trace.root(), told)
    };
    std::iter::once((open.step, since, !is_known)).chain(passed).map(span).collect()
}

/// When the step was entered, and whether that is known: where it is not, since when this process could see it.
fn began(
    pass: &Pass<'_>,
    stored: &RolloutStatus,
    open: &Open<'_>,
    entered: Option<Entered>,
) -> (Timestamp, bool) {
    let pauses = stored.pause_conditions.iter().flatten();
    let since = pauses.filter(|pause| pause.reason == PAUSE_STEP).map(|pause| pause.start_time).next();
    let first = (open.step == 0 && !open.goes_back).then_some(open.began);
    match entered.map(|entered| entered.at).or(first).or(since) {
        Some(at) => (at, true),
        None => (pass.watched_since.whole_seconds(), false),
    }
}

/// A step as it is written: the field, and its value where that is short.
fn words(step: &CanaryStep) -> String {
    let written = serde_json::to_value(step).unwrap_or_default();
    let Some((field, value)) = written.as_object().and_then(|fields| fields.iter().next()) else {
        return String::new();
    };
    let value = if field == "pause" { value.get("duration").unwrap_or(&Value::Null) } else { value };
    match value {
        Value::Number(number) => format!("{field} {number}"),
        Value::String(text) => format!("{field} {text}"),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => field.clone(),
    }
}
