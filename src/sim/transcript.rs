//! The log that an operator would read: what users did, what was announced, how rollout, pods and runs changed.
//!
//! Pod hashes are replaced by the tag of the revision's image, and changes of pod counts within a second are one line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::cluster::{Cluster, RevisionPods};
use super::controller::{Pass, Stop, Write};
use super::images::tag;
use super::live_pods::Eviction;
use super::replica_sets::image_of;
use super::roles;
use super::simulation::{Happening, Simulation};
use crate::api::canary_step::CanaryStep;
use crate::api::{AnalysisPhase, Rollout, RolloutStatus};
use crate::events::Severity;
use crate::units::{Timestamp, format_duration, parse_duration};

#[derive(Clone, Debug)]
struct Line {
    at: Timestamp,
    kind: &'static str,
    text: String,
}

/// The log so far, and what it has already said.
#[derive(Clone, Debug, Default)]
pub(super) struct Transcript {
    lines: Vec<Line>,
    rollout: String,
    pods: String,
    roles: String,
    workload: Option<String>,
    measured: BTreeMap<(String, String), i64>,
    ended: BTreeSet<String>,
    experiments: BTreeMap<String, String>,
    shares: String,
    tags: BTreeMap<String, String>,
    counted: BTreeMap<Write, u64>,
    passes: u64,
}

impl Transcript {
    /// Adds a line.
    pub(super) fn say(&mut self, at: Timestamp, kind: &'static str, text: impl Into<String>) {
        self.lines.push(Line { at, kind, text: text.into() });
    }

    /// Notes what happened.
    pub(super) fn record(&mut self, happening: &Happening, simulation: &Simulation) {
        let now = simulation.now();
        match happening {
            Happening::World => {}
            Happening::Pass(pass) => self.record_pass(now, pass),
            Happening::Run(pass) => self.record_stop(now, pass.stop.as_ref()),
            Happening::Experiment(pass) => self.record_stop(now, pass.stop.as_ref()),
            Happening::Restarted => self.say(now, "fault", "the controller is back"),
            Happening::Livelock(passes) => self.say(now, "error", format!("{passes} passes without end")),
        }
        self.observe(&simulation.cluster);
    }

    fn record_pass(&mut self, now: Timestamp, pass: &Pass) {
        for event in &pass.announced {
            let kind = match event.severity() {
                Severity::Normal => "event",
                Severity::Warning => "warning",
            };
            self.say(now, kind, format!("{}: {event}", event.reason()));
        }
        for eviction in &pass.evictions {
            self.say(
                now,
                "evict",
                match eviction {
                    Eviction::Allowed(pod) => pod.clone(),
                    Eviction::Refused(pod) => format!("{pod} is kept by the budget"),
                },
            );
        }
        self.record_stop(now, pass.stop.as_ref());
    }

    fn record_stop(&mut self, now: Timestamp, stop: Option<&Stop>) {
        match stop {
            None => {}
            Some(Stop::Crashed) => self.say(now, "fault", "the controller crashes"),
            Some(Stop::Failed(error)) => self.say(now, "fault", format!("a write fails: {error}")),
        }
    }

    /// Notes what has changed in the cluster since the last look.
    pub(super) fn observe(&mut self, cluster: &Cluster) {
        let revisions = cluster.revisions();
        for revision in &revisions {
            self.tags.insert(revision.hash.clone(), revision.tag.clone());
        }
        let Some(rollout) = cluster.rollout() else { return };
        self.observe_runs(cluster);
        self.observe_experiments(cluster);
        self.observe_shares(cluster);
        let workload = cluster.describe_workload();
        if workload != self.workload {
            let text = workload.clone().unwrap_or_else(|| "none".to_owned());
            self.say(cluster.now(), "workload", text);
            self.workload = workload;
        }
        let text = describe_rollout(rollout);
        if text != self.rollout {
            self.say(cluster.now(), "rollout", text.clone());
            self.rollout = text;
        }
        let text = describe_pods(&revisions, rollout.status.as_ref());
        if text != self.pods && revisions.iter().all(|revision| revision.settled) {
            self.say_pods(cluster.now(), text);
        }
        let text = roles::describe(cluster);
        if text != self.roles {
            self.say(cluster.now(), "roles", if text.is_empty() { "none" } else { &text });
            self.roles = text;
        }
    }

    /// What the router really gives Experiments.
    fn observe_shares(&mut self, cluster: &Cluster) {
        let shares = cluster.shares_of_experiments().iter().map(|(name, share)| format!("{name} {share}"));
        let text = shares.collect::<Vec<_>>().join(", ");
        if text != self.shares {
            let said = if text.is_empty() { "none to Experiments" } else { &text };
            self.say(cluster.now(), "traffic", said);
            self.shares = text;
        }
    }

    fn say_pods(&mut self, now: Timestamp, text: String) {
        self.pods.clone_from(&text);
        if let Some(last) = self.lines.last_mut()
            && last.kind == "pods"
            && last.at.whole_seconds() == now.whole_seconds()
        {
            last.text = text;
        } else {
            self.say(now, "pods", text);
        }
    }

    fn observe_runs(&mut self, cluster: &Cluster) {
        let (mut news, mut ends) = (Vec::new(), Vec::new());
        for (name, run) in cluster.runs() {
            if let Some(end) = run.status.as_ref().filter(|status| status.completed_at.is_some())
                && self.ended.insert(name.clone())
            {
                let phase = end.phase.map_or("", AnalysisPhase::as_str);
                let why = end.message.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
                ends.push(format!("{name} ends {phase}{why}"));
            }
            let results = run.status.iter().flat_map(|status| status.metric_results.iter().flatten());
            for result in results {
                let taken = i64::from(result.count.unwrap_or_default() + result.error.unwrap_or_default());
                let known = self.measured.entry((name.clone(), result.name.clone())).or_default();
                if taken == *known {
                    continue;
                }
                *known = taken;
                let Some(last) = result.measurements.iter().flatten().next_back() else { continue };
                let value = last.value.as_deref().or(last.message.as_deref()).unwrap_or_default();
                news.push(format!("{name}: {} = {value} {}", result.name, last.phase));
            }
        }
        for text in news.into_iter().chain(ends) {
            self.say(cluster.now(), "run", text);
        }
    }

    fn observe_experiments(&mut self, cluster: &Cluster) {
        let mut all = BTreeMap::new();
        for (name, found) in cluster.experiments() {
            let pods = cluster.pods_of_experiment(name);
            let templates = found.spec.templates.iter().flatten().map(|template| {
                let tag = template.template.as_ref().map(|template| tag(&image_of(template)).to_owned());
                let (available, size) = pods.get(&template.name).copied().unwrap_or_default();
                format!("{} {available}/{size}", tag.unwrap_or_default())
            });
            let status = found.status.clone().unwrap_or_default();
            let why = status.message.map(|why| format!(": {why}")).unwrap_or_default();
            let phase = status.phase.map_or("new", AnalysisPhase::as_str);
            let tags: Vec<String> = templates.collect();
            all.insert(name.clone(), format!("{name} ({}) is {phase}{why}", tags.join(", ")));
        }
        let gone = self.experiments.keys().filter(|name| !all.contains_key(*name));
        let gone = gone.map(|name| format!("{name} is gone"));
        let news = all.iter().filter(|(name, text)| self.experiments.get(*name) != Some(text));
        let news: Vec<String> = gone.chain(news.map(|(_, text)| text.clone())).collect();
        for text in news {
            self.say(cluster.now(), "experiment", text);
        }
        self.experiments = all;
    }

    /// Replaces everything that was said so far by one line.
    pub(super) fn shorten(&mut self, at: Timestamp, kind: &'static str, text: &str, simulation: &Simulation) {
        self.lines.retain(|line| line.kind == "error");
        self.say(at, kind, text);
        let (rollout, pods, roles) = (self.rollout.clone(), self.pods.clone(), self.roles.clone());
        self.say(simulation.now(), "rollout", rollout);
        self.say(simulation.now(), "pods", pods);
        if !roles.is_empty() {
            self.say(simulation.now(), "roles", roles);
        }
        self.counted.clone_from(simulation.controller.writes());
        self.passes = simulation.controller.passes();
    }

    /// Adds what the status says of how long the update took.
    pub(super) fn show_duration(&mut self, simulation: &Simulation) {
        let status = simulation.cluster.rollout().and_then(|rollout| rollout.status.as_ref());
        let duration = status.and_then(|status| status.duration.clone()).unwrap_or_default();
        let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| clock(at, super::start()));
        let held = duration.manual_pause_started_at;
        let text = format!(
            "from {} to {}, {} s of it held{}: {}",
            time(duration.rollout_started_at),
            time(duration.finished_at),
            duration.total_manual_pause_duration_seconds.unwrap_or_default(),
            held.map(|since| format!(" (again since {})", clock(since, super::start()))).unwrap_or_default(),
            duration.completion_status.as_deref().unwrap_or("going on"),
        );
        self.say(simulation.now(), "duration", text);
    }

    /// Adds what was written since the last summary.
    pub(super) fn summarize(&mut self, simulation: &Simulation, why: &str) {
        let controller = &simulation.controller;
        let mut text = why.to_owned();
        let passes = controller.passes() - self.passes;
        let _ = write!(text, "; {passes} passes; writes:");
        let mut any = false;
        for (kind, count) in controller.writes() {
            let new = count - self.counted.get(kind).copied().unwrap_or_default();
            if new > 0 {
                let _ = write!(text, "{} {new} {}", if any { "," } else { "" }, kind.as_str());
                any = true;
            }
        }
        if !any {
            text.push_str(" none");
        }
        self.counted.clone_from(controller.writes());
        self.passes = controller.passes();
        self.say(simulation.now(), "-------", text);
    }

    /// The whole text.
    pub(super) fn render(&self, start: Timestamp) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let mut said = line.text.clone();
            for (hash, tag) in &self.tags {
                said = said.replace(hash.as_str(), tag);
            }
            let _ = writeln!(text, "{:>8}  {:<8} {said}", clock(line.at, start), line.kind);
        }
        text
    }
}

/// Minutes and seconds since the start, with hours when there are any.
fn clock(at: Timestamp, start: Timestamp) -> String {
    let seconds = at.since(start).as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours == 0 {
        format!("{minutes:02}:{seconds:02}")
    } else {
        format!("{hours}:{minutes:02}:{seconds:02}")
    }
}

fn describe_rollout(rollout: &Rollout) -> String {
    let Some(status) = &rollout.status else { return "no status yet".to_owned() };
    let mut text = status.phase.clone().unwrap_or_else(|| "no phase".to_owned());
    if let Some(message) = status.message.as_deref().filter(|message| !message.is_empty()) {
        let _ = write!(text, ": {message}");
    }
    let canary = rollout.spec.strategy.as_ref().and_then(|strategy| strategy.canary.as_ref());
    let steps = canary.and_then(|canary| canary.steps.as_deref()).unwrap_or_default();
    let aborted = status.abort == Some(true);
    let updating = status.stable_rs.is_some() && status.stable_rs != status.current_pod_hash;
    if let Some(index) = status.current_step_index.and_then(|index| usize::try_from(index).ok())
        && index.max(steps.len()) > 0
        && (updating || index < steps.len())
    {
        let _ = write!(text, " | step {index}/{}", steps.len());
        if let Some(step) = steps.get(index) {
            let _ = write!(text, " ({})", describe_step(step));
        }
        let _ = write!(text, ", weight {}", if aborted { 0 } else { weight_at(steps, index) });
    }
    for (flag, name) in
        [(status.abort, "abort"), (status.promote_full, "promoteFull"), (rollout.spec.paused, "spec.paused")]
    {
        if flag == Some(true) {
            let _ = write!(text, " | {name}");
        }
    }
    text
}

/// The last weight set at or before the step; all of it after the last step.
fn weight_at(steps: &[CanaryStep], index: usize) -> i32 {
    if index >= steps.len() {
        return 100;
    }
    steps.iter().take(index + 1).rev().find_map(|step| step.set_weight).unwrap_or_default()
}

fn describe_step(step: &CanaryStep) -> String {
    if let Some(weight) = step.set_weight {
        return format!("setWeight {weight}");
    }
    if step.analysis.is_some() {
        return "analysis".to_owned();
    }
    if step.experiment.is_some() {
        return "experiment".to_owned();
    }
    if let Some(scale) = &step.set_canary_scale {
        let part = |name: &str, number: Option<i32>| number.map(|number| format!("{name} {number}"));
        let size = part("replicas", scale.replicas).or_else(|| part("percent", scale.weight));
        return format!("setCanaryScale {}", size.as_deref().unwrap_or("as weight"));
    }
    let route = |kind: &str, name: Option<&String>| format!("{kind} {}", name.map_or("", String::as_str));
    if let Some(found) = &step.set_header_route {
        return route("setHeaderRoute", found.name.as_ref());
    }
    if let Some(found) = &step.set_mirror_route {
        return route("setMirrorRoute", found.name.as_ref());
    }
    let Some(pause) = &step.pause else { return "other".to_owned() };
    let duration = pause.duration.as_ref().map(|duration| serde_json::to_value(duration).unwrap_or_default());
    let text = duration.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    text.map_or_else(
        || "pause".to_owned(),
        |text: String| format!("pause {}", parse_duration(&text).map_or(text, format_duration)),
    )
}

fn describe_pods(revisions: &[RevisionPods], status: Option<&RolloutStatus>) -> String {
    let stable = status.and_then(|status| status.stable_rs.as_deref());
    let current = status.and_then(|status| status.current_pod_hash.as_deref());
    let role = |hash: &str| match hash {
        _ if Some(hash) == stable => (0, "stable"),
        _ if Some(hash) == current && stable.is_none() => (1, "first"),
        _ if Some(hash) == current => (1, "canary"),
        _ => (2, "old"),
    };
    let mut shown: Vec<&RevisionPods> =
        revisions.iter().filter(|pods| pods.size.get() > 0 || pods.existing > 0).collect();
    shown.sort_by_key(|pods| role(&pods.hash).0);
    let describe = |pods: &&RevisionPods| {
        format!("{} {} {}/{}", role(&pods.hash).1, pods.tag, pods.available, pods.size)
    };
    let parts: Vec<String> = shown.iter().map(describe).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}
