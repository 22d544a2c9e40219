//! Plays a scenario: script in, transcript out.

use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use super::script::{Condition, Line, PATIENCE, ScriptError, Statement, UserAction, parse};
use super::simulation::{Happening, Simulation};
use super::transcript::Transcript;
use super::users::Files;
use crate::api::AnalysisPhase;
use crate::rollout;
use crate::units::{Timestamp, format_duration};

/// Why a scenario cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScenarioError {
    /// The script cannot be read.
    #[error(transparent)]
    Script(#[from] ScriptError),
}

/// A moment of a scenario that is being played.
#[derive(Debug)]
pub enum Moment<'a> {
    /// A statement of the script was carried out.
    Statement(&'a Statement),
    /// Something happened by itself.
    Happening(&'a Happening),
}

/// A scenario that was played.
#[derive(Clone, Debug)]
pub struct Played {
    /// The log.
    pub transcript: String,
    /// Everything as it is at the end.
    pub simulation: Simulation,
}

/// Looks on while a scenario is played.
pub type Observer<'a> = dyn FnMut(&Moment<'_>, &Simulation) + 'a;

/// Plays a script and returns the transcript. `files` gives the text of the manifests it names.
///
/// # Errors
/// When the script cannot be read. What goes wrong while it is played is part of the transcript.
pub fn play(script: &str, files: &Files<'_>) -> Result<String, ScenarioError> {
    Ok(watch(script, files, &mut |_, _| {})?.transcript)
}

/// Plays a script while `observer` looks on, and returns the transcript and how everything is at the end.
///
/// # Errors
/// When the script cannot be read.
pub fn watch(script: &str, files: &Files<'_>, observer: &mut Observer<'_>) -> Result<Played, ScenarioError> {
    let lines = parse(script)?;
    let mut player = Player::new(files, None, observer);
    player.play(&lines);
    if lines.iter().any(|line| line.statement == Statement::CrashEverywhere) {
        player.crash_everywhere(&lines);
    }
    Ok(Played { transcript: player.transcript.render(super::start()), simulation: player.simulation })
}

struct Player<'a> {
    simulation: Simulation,
    transcript: Transcript,
    files: &'a Files<'a>,
    observer: &'a mut Observer<'a>,
    /// Statements that happen at a time, earliest first.
    scheduled: Vec<(Timestamp, Line)>,
    /// Version of the Rollout after the last user's action: nothing counts as reached before the controller has seen it.
    acted: u64,
    /// Whether the controller is caught in a livelock, which ends the scenario.
    stuck: bool,
}

impl<'a> Player<'a> {
    fn new(files: &'a Files<'a>, crash_after: Option<u32>, observer: &'a mut Observer<'a>) -> Self {
        let mut simulation = Simulation::new();
        simulation.controller.faults.crash_after = crash_after;
        Self {
            simulation,
            transcript: Transcript::default(),
            files,
            observer,
            scheduled: Vec::new(),
            acted: 0,
            stuck: false,
        }
    }

    fn play(&mut self, lines: &[Line]) {
        for line in lines {
            if self.stuck {
                break;
            }
            self.execute(line);
        }
        self.end();
    }

    fn execute(&mut self, line: &Line) {
        let now = self.simulation.now();
        match &line.statement {
            Statement::At(after, inner) => {
                self.scheduled.push((super::start().plus(*after), (**inner).clone()));
                self.scheduled.sort_by_key(|(at, _)| *at);
            }
            Statement::Wait(duration) => {
                self.run(now.plus(*duration), None);
            }
            Statement::Until(condition, patience) => self.wait_for(condition, *patience),
            Statement::CrashEverywhere => {}
            Statement::ShowDuration => self.transcript.show_duration(&self.simulation),
            Statement::User(action, block) => self.act(line, action, block.as_ref()),
            Statement::Deployed(action, block) => {
                self.act(line, action, block.as_ref());
                self.wait_for(&Condition::Phase("Healthy".to_owned()), PATIENCE);
                self.transcript.shorten(now, "user", &line.text, &self.simulation);
            }
            world @ (Statement::Image(..)
            | Statement::Metric(..)
            | Statement::MetricsServer(_)
            | Statement::Pods(..)
            | Statement::DeleteReplicaSet(_)
            | Statement::ResizeReplicaSet(..)
            | Statement::DeleteRuns
            | Statement::StopRuns
            | Statement::EndExperiments(..)
            | Statement::RouterDelay(_)
            | Statement::RouterReadable(_)
            | Statement::RouterRefusal(_)
            | Statement::EndpointsLag(_)
            | Statement::EndpointsReadable(_)
            | Statement::Route(_)
            | Statement::Quota(_)
            | Statement::Budget(_)
            | Statement::AutoscaleWorkload(_)
            | Statement::Forbid(_)) => {
                self.transcript.say(now, "world", line.text.clone());
                self.simulation.change_world(world);
            }
            fault => {
                self.transcript.say(now, "fault", line.text.clone());
                self.simulation.arm(fault);
            }
        }
        (self.observer)(&Moment::Statement(&line.statement), &self.simulation);
    }

    fn act(&mut self, line: &Line, action: &UserAction, block: Option<&Value>) {
        let now = self.simulation.now();
        self.transcript.say(now, "user", line.text.clone());
        if let Err(error) = self.simulation.cluster.act(action, block, self.files) {
            self.transcript.say(now, "error", error.to_string());
        }
        self.acted = self.simulation.cluster.version();
        self.transcript.observe(&self.simulation.cluster);
    }

    /// Lets time pass until `end`, or until `condition` holds; whether it does.
    fn run(&mut self, end: Timestamp, condition: Option<&Condition>) -> bool {
        loop {
            let now = self.simulation.now();
            let next = self.simulation.next_event();
            if next.is_none_or(|next| next > now) && condition.is_some_and(|condition| self.holds(condition))
            {
                return true;
            }
            let scheduled = self.scheduled.first().map(|(at, _)| *at).filter(|at| *at <= end);
            let limit = scheduled.unwrap_or(end);
            if let Some(happening) = self.simulation.turn(limit) {
                self.transcript.record(&happening, &self.simulation);
                (self.observer)(&Moment::Happening(&happening), &self.simulation);
                if matches!(happening, Happening::Livelock(_)) {
                    self.stuck = true;
                    return false;
                }
                continue;
            }
            self.transcript.observe(&self.simulation.cluster);
            if scheduled.is_none() {
                return false;
            }
            let (_, line) = self.scheduled.remove(0);
            self.execute(&line);
        }
    }

    fn wait_for(&mut self, condition: &Condition, patience: Duration) {
        let end = self.simulation.now().plus(patience);
        let reached = self.run(end, Some(condition));
        self.transcript.summarize(&self.simulation, &condition.to_string());
        if !reached {
            let patience = format_duration(patience);
            self.transcript.say(end, "error", format!("not {condition} after {patience}"));
        }
    }

    /// Whether the condition holds, as far as the controller has seen everything that users did.
    fn holds(&self, condition: &Condition) -> bool {
        let simulation = &self.simulation;
        let Some(rollout) = simulation.cluster.seen_rollout() else { return false };
        let version = rollout.metadata.resource_version.as_deref().and_then(|version| version.parse().ok());
        if simulation.controller.is_down() || version.unwrap_or(0) < self.acted {
            return false;
        }
        let status = rollout.status.as_ref();
        match condition {
            Condition::Phase(phase) => status.and_then(|status| status.phase.as_ref()) == Some(phase),
            Condition::Step(index) => status.and_then(|status| status.current_step_index) == Some(*index),
            Condition::AtRest => simulation.next_event().is_none() && self.scheduled.is_empty(),
        }
    }

    /// A last look: whatever has come to rest must stay so without a single write.
    fn end(&mut self) {
        let simulation = &self.simulation;
        let now = simulation.now();
        let resting =
            simulation.next_event().is_none_or(|next| next > now) && !simulation.controller.is_down();
        if let Some(snapshot) =
            simulation.cluster.snapshot(simulation.controller.memory()).filter(|_| resting)
        {
            let plan = rollout::decide(&snapshot);
            if !plan.is_idle() {
                self.transcript.say(now, "error", format!("one more pass would write: {plan:?}"));
            }
        }
        self.transcript.summarize(&self.simulation, "end");
    }

    /// Plays the script again and again, each time with a crash before another write, and compares the ends.
    fn crash_everywhere(&mut self, lines: &[Line]) {
        let expected = outcome(&self.simulation);
        let expected_completion = completion(&self.simulation);
        let writes: u64 = self.simulation.controller.writes().values().sum();
        let writes = u32::try_from(writes).unwrap_or(u32::MAX);
        let now = self.simulation.now();
        let mut different = false;
        for before in 0..writes {
            let mut unobserved = |_: &Moment<'_>, _: &Simulation| {};
            let mut player = Player::new(self.files, Some(before), &mut unobserved);
            player.play(lines);
            let end = outcome(&player.simulation);
            let completion = completion(&player.simulation);
            if end != expected {
                different = true;
                let text = format!("a crash before write {} ends otherwise: {end}", before + 1);
                self.transcript.say(now, "error", text);
            }
            if completion != expected_completion {
                different = true;
                let text = format!("a crash before write {} counts as {completion:?}", before + 1);
                self.transcript.say(now, "error", text);
            }
        }
        if !different {
            let text =
                format!("a crash before each of the {writes} writes leads to the same end: {expected}");
            self.transcript.say(now, "end", text);
        }
    }
}

/// How the update ended.
fn completion(simulation: &Simulation) -> Option<String> {
    simulation.cluster.rollout()?.status.as_ref()?.duration.as_ref()?.completion_status.clone()
}

/// Where everything stands, without times.
fn outcome(simulation: &Simulation) -> String {
    let cluster = &simulation.cluster;
    let mut status = cluster.rollout().and_then(|rollout| rollout.status.clone()).unwrap_or_default();
    let pods: Vec<String> = cluster
        .revisions()
        .iter()
        .filter(|pods| pods.size.get() > 0)
        .map(|pods| format!("{} {}/{}", pods.tag, pods.available, pods.size))
        .collect();
    let text = |field: &mut Option<String>| field.take().unwrap_or_else(|| "none".to_owned());
    let workload = cluster.describe_workload().map(|text| format!(", {text}")).unwrap_or_default();
    let phases = cluster.experiments().values().map(|found| {
        let phase = found.status.as_ref().and_then(|status| status.phase);
        phase.map_or("new", AnalysisPhase::as_str)
    });
    let phases: Vec<&str> = phases.collect();
    let experiments =
        if phases.is_empty() { String::new() } else { format!(", Experiments {}", phases.join(", ")) };
    let step = status.current_step_index.map_or_else(|| "none".to_owned(), |index| index.to_string());
    format!(
        "{} {}, step {step}, pods {}{experiments}{workload}",
        text(&mut status.phase),
        text(&mut status.message),
        pods.join(", ")
    )
}
