//! Spans of whole histories: every scenario is played, and what each of its passes tells is put together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use opentelemetry::trace::{SpanId, Status};
use opentelemetry_sdk::trace::SpanData;

use super::*;
use crate::api::{AnalysisRun, Rollout};
use crate::events::Event;
use crate::sim::simulation::Happening;
use crate::sim::{self, Moment, Simulation};
use crate::units::Timestamp;

/// What was told while a scenario was played.
struct Listener {
    rollout: Option<Rollout>,
    runs: BTreeMap<String, AnalysisRun>,
    entered: Option<Entered>,
    watched_since: Timestamp,
    spans: Vec<SpanData>,
    /// How updates ended, as the metrics count them.
    outcomes: Vec<String>,
}

impl Listener {
    fn look(&mut self, moment: &Moment<'_>, simulation: &Simulation) {
        let after = simulation.cluster.rollout().cloned();
        let changed = |(before, after): (&Rollout, &Rollout)| before.status != after.status;
        let is_written = self.rollout.as_ref().zip(after.as_ref()).is_some_and(changed);
        match moment {
            Moment::Happening(Happening::Pass(pass)) if is_written => {
                self.pass(after.as_ref().unwrap(), &pass.plan.events, simulation.now());
                let finished = pass.plan.finished.iter().map(|end| end.completion.as_str().to_owned());
                self.outcomes.extend(finished);
            }
            Moment::Happening(Happening::Run(pass)) => self.run(&pass.name, simulation),
            Moment::Happening(Happening::Restarted) => {
                self.entered = None;
                self.watched_since = simulation.now();
            }
            _ => {}
        }
        self.rollout = after;
        self.runs = simulation.cluster.runs().clone();
    }

    fn pass(&mut self, after: &Rollout, events: &[Event], now: Timestamp) {
        let rollout = self.rollout.as_ref().unwrap();
        let next = after.status.as_ref().unwrap();
        let pass = Pass { rollout, next, events, now, watched_since: self.watched_since };
        let (spans, entered) = ended(&pass, self.entered);
        assert_eq!(ended(&pass, self.entered).0, spans, "the same pass tells the same");
        self.entered = entered;
        self.spans.extend(spans);
    }

    fn run(&mut self, name: &str, simulation: &Simulation) {
        let (before, after) = (self.runs.get(name), simulation.cluster.runs().get(name));
        let (Some(before), Some(after), Some(rollout)) = (before, after, &self.rollout) else { return };
        if let Some(next) = &after.status {
            self.spans.extend(measured(before, next, rollout));
        }
    }
}

fn listen(script: &str) -> Listener {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut listener = Listener {
        rollout: None,
        runs: BTreeMap::new(),
        entered: None,
        watched_since: sim::start(),
        spans: Vec::new(),
        outcomes: Vec::new(),
    };
    let manifest = |name: &str| fs::read_to_string(root.join(name)).ok();
    sim::watch(script, &manifest, &mut |moment, simulation| listener.look(moment, simulation)).unwrap();
    listener
}

fn scenarios() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts = files.filter(|path| path.extension().is_some_and(|extension| extension == "txt"));
    let read = |path: std::path::PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let script = text.split_once("----\n").map_or(text.as_str(), |(script, _)| script);
        (path.display().to_string(), script.replace("crash everywhere\n", ""))
    };
    texts.map(read).collect()
}

fn attribute(span: &SpanData, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
    found.map(|attribute| attribute.value.to_string()).unwrap_or_default()
}

fn is_root(span: &SpanData) -> bool {
    span.parent_span_id == SpanId::INVALID
}

#[test]
fn every_update_is_one_trace_whose_spans_lie_within_their_parents() {
    let (mut roots, mut steps, mut measurements) = (0, 0, 0);
    for (path, script) in scenarios() {
        let listener = listen(&script);
        let ended = listener.spans.iter().filter(|span| is_root(span));
        let outcomes: Vec<_> = ended.map(|root| attribute(root, "rollout.outcome")).collect();
        assert_eq!(outcomes, listener.outcomes, "{path}");
        let mut ids = BTreeSet::new();
        for span in &listener.spans {
            let trace = span.span_context.trace_id();
            let id = (trace.to_bytes(), span.span_context.span_id().to_bytes());
            assert!(ids.insert(id), "{path}: {} is told twice", span.name);
            assert!(span.start_time <= span.end_time, "{path}: {}", span.name);
            let of = |id: SpanId| {
                listener.spans.iter().find(|other| {
                    (other.span_context.trace_id(), other.span_context.span_id()) == (trace, id)
                })
            };
            let is_measured = span.name.starts_with("measurement ");
            if let Some(parent) = of(span.parent_span_id) {
                let ends_late = span.end_time > parent.end_time && !is_measured;
                assert!(
                    span.start_time >= parent.start_time && !ends_late,
                    "{path}: {} is not within {}",
                    span.name,
                    parent.name
                );
            }
            roots += i32::from(is_root(span));
            steps += i32::from(span.name.starts_with("step "));
            measurements += i32::from(is_measured);
        }
    }
    assert!(roots > 50 && steps > 50 && measurements > 20, "{roots} {steps} {measurements}");
}

/// The spans of a script in the order in which they are told, each as its name, its seconds and its outcome.
fn told(script: &str) -> Vec<String> {
    let line = |span: &SpanData| {
        let took = span.end_time.duration_since(span.start_time).unwrap().as_secs();
        let failed = if matches!(span.status, Status::Error { .. }) { " failed" } else { "" };
        format!("{} {took}s {}{failed}", span.name, attribute(span, "rollout.outcome"))
            .replace("s  ", "s ")
            .trim_end()
            .to_owned()
    };
    listen(script).spans.iter().map(line).collect()
}

#[test]
fn a_good_update_tells_its_steps_and_then_itself() {
    let script = "deployed scenarios/manifests/web.yaml\nset image v2\nuntil Paused\nwait 30s\npromote\nuntil Healthy\n";
    assert_eq!(
        told(script),
        [
            "rollout default/web 3s Promoted",
            "step 1: setWeight 25 3s",
            "step 2: pause 30s",
            "step 3: setWeight 50 3s",
            "step 4: pause 1m 60s",
            "rollout default/web 99s Promoted",
        ]
    );
}

#[test]
fn an_aborted_update_tells_why_and_its_failed_measurements() {
    let script = scenarios().into_iter().find(|(path, _)| path.ends_with("/background_analysis_fails.txt"));
    let spans = listen(&script.unwrap().1).spans;
    let root = spans.iter().find(|span| attribute(span, "rollout.outcome") == "Aborted").unwrap();
    assert_eq!(attribute(root, "rollout.abort.cause"), "analysis");
    assert!(matches!(root.status, Status::Error { .. }));
    let failed = spans.iter().filter(|span| attribute(span, "analysis.phase") == "Failed");
    let failed: Vec<_> = failed.collect();
    assert!(!failed.is_empty());
    for span in failed {
        assert_eq!(span.parent_span_id, root.span_context.span_id(), "it ran in the background");
        assert!(matches!(span.status, Status::Error { .. }));
    }
}

#[test]
fn a_start_that_nobody_saw_is_said_to_be_one() {
    let script = "deployed scenarios/manifests/web.yaml\nset image v2\nuntil Paused\n";
    let mut listener = listen(script);
    let before = listener.rollout.clone().unwrap();
    let mut after = before.clone();
    after.status.as_mut().unwrap().current_step_index = Some(2);
    listener.rollout.as_mut().unwrap().status.as_mut().unwrap().pause_conditions = None;
    listener.entered = None;
    listener.spans.clear();
    let now = sim::start().plus(std::time::Duration::from_mins(1));
    listener.watched_since = now.minus(std::time::Duration::from_secs(10));
    listener.pass(&after, &[], now);
    let step = listener.spans.first().unwrap();
    assert_eq!(attribute(step, "rollout.step.start_is_first_seen"), "true");
    assert_eq!(step.end_time.duration_since(step.start_time).unwrap().as_secs(), 10);
    // A pause says itself when it began.
    listener.rollout = Some(before);
    listener.entered = None;
    listener.spans.clear();
    listener.pass(&after, &[], now);
    assert_eq!(attribute(listener.spans.first().unwrap(), "rollout.step.start_is_first_seen"), "");
}
