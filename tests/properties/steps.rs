//! Follows a rollout through its steps: each is left when it is done, or because a user went past it.

use std::collections::{BTreeMap, BTreeSet};

use serin::api::{AnalysisPhase, Rollout, RolloutStatus};
use serin::sim::script::{Statement, UserAction};
use serin::sim::simulation::Happening;
use serin::sim::{Moment, Simulation};
use serin::units::{Timestamp, parse_duration};

use crate::specs::{Spec, Split};
use crate::traffic::shares;

/// Where a rollout stands.
#[derive(Clone, Debug, Default, PartialEq)]
struct Position {
    hash: Option<String>,
    step_hash: Option<String>,
    index: usize,
}

/// What is known of a rollout's way through its steps.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    spec: &'a Spec,
    position: Position,
    /// The shares of the revisions before what has just happened.
    shares: BTreeMap<String, u32>,
    /// When it came to its step, by the controller's clock and by the true one.
    since: Option<(Timestamp, Timestamp)>,
    /// Steps that users asked the controller to leave.
    allowed: BTreeSet<usize>,
    /// Whether they asked it to leave all.
    all_allowed: bool,
    paused: bool,
    /// What should not have happened.
    pub(crate) violation: Option<String>,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(spec: &'a Spec) -> Self {
        Self {
            spec,
            position: Position::default(),
            shares: BTreeMap::new(),
            since: None,
            allowed: BTreeSet::new(),
            all_allowed: false,
            paused: false,
            violation: None,
        }
    }

    /// Looks at what has happened.
    pub(crate) fn observe(&mut self, moment: &Moment<'_>, simulation: &Simulation) {
        let has_steps = self.spec.split != Split::BlueGreen;
        let Some(rollout) = simulation.cluster.rollout().filter(|_| has_steps) else { return };
        let status = rollout.status.clone().unwrap_or_default();
        let next = Position {
            hash: status.current_pod_hash.clone(),
            step_hash: status.current_step_hash.clone(),
            index: status.current_step_index.map_or(0, |index| usize::try_from(index).unwrap()),
        };
        match moment {
            Moment::Statement(Statement::User(action, _)) => self.user(action, &next),
            Moment::Happening(Happening::Pass(_)) => self.controller(&next, rollout, &status, simulation),
            Moment::Statement(_) | Moment::Happening(_) => {}
        }
        if next != self.position {
            self.since = Some((simulation.cluster.controller_now(), simulation.now()));
        }
        if (&next.hash, &next.step_hash) != (&self.position.hash, &self.position.step_hash)
            || next.index < self.position.index
        {
            self.allowed.clear();
            self.all_allowed = status.promote_full == Some(true);
        }
        self.position = next;
        self.paused = rollout.spec.paused == Some(true);
        self.shares = shares(self.spec, simulation);
    }

    /// Whether a step's weight was there: the share that a router really gave the new version, or a pod of it.
    fn is_reached(&self, weight: i32, next: &Position, rollout: &Rollout, simulation: &Simulation) -> bool {
        // A small share of a single pod may be none at all, and a step may have taken all pods.
        let single = rollout.spec.replicas == Some(1);
        if weight == 0 || single || self.spec.sizes_canary {
            return true;
        }
        // The pass that leaves the step may have told a prompt router the next weight already.
        let is_shifted = [&self.shares, &shares(self.spec, simulation)].into_iter().any(|shares| {
            let share = next.hash.as_ref().and_then(|hash| shares.get(hash)).copied();
            share == u32::try_from(weight).ok()
        });
        (is_shifted || self.spec.split != Split::Router) && canary_is_available(next, simulation)
    }

    fn user(&mut self, action: &UserAction, next: &Position) {
        match action {
            // The command went past a step by itself, or asks the controller to.
            UserAction::Promote if next.index == self.position.index => {
                self.allowed.insert(next.index);
            }
            // Promoted twice before the controller has looked: it went past this step, and is asked to leave the next.
            UserAction::Promote if self.allowed.contains(&self.position.index) => {
                self.allowed.insert(next.index);
            }
            UserAction::PromoteFull => self.all_allowed = true,
            _ => {}
        }
    }

    /// The controller may only go on from steps that are done.
    fn controller(
        &mut self,
        next: &Position,
        rollout: &Rollout,
        status: &RolloutStatus,
        simulation: &Simulation,
    ) {
        let same = (&next.hash, &next.step_hash) == (&self.position.hash, &self.position.step_hash);
        let left = if same { self.position.index..next.index } else { 0..next.index };
        let finished = status.stable_rs.is_none() || status.stable_rs == status.current_pod_hash;
        // A version that is stable already takes no steps, and neither does the first one.
        // Neither does one that is gone back to within the rollback window.
        let is_known = !same && rollout.spec.rollback_window.is_some();
        if left.is_empty() || (!same && finished) || is_known || self.violation.is_some() {
            return;
        }
        let canary = rollout.spec.strategy.as_ref().unwrap().canary.as_ref().unwrap();
        let steps = canary.steps.as_deref().unwrap_or_default();
        for index in left.clone() {
            let since = if same && index == left.start { self.since } else { None };
            // A clock that was set forward ends a pause early, and one that was set back says too little.
            let waited = since.map_or(0, |(shown, truly)| {
                let (shown, truly) =
                    (simulation.cluster.controller_now().since(shown), simulation.now().since(truly));
                shown.max(truly).as_secs()
            });
            let Some(step) = steps.get(index) else { continue };
            let done = if let Some(pause) = &step.pause {
                let text = pause.duration.as_ref().map(|duration| serde_json::to_value(duration).unwrap());
                let least = text.and_then(|text| parse_duration(text.as_str()?)).map(|least| least.as_secs());
                // Times in a status are whole seconds.
                least.is_some_and(|least| waited + 1 >= least)
            } else if step.analysis.is_some() {
                has_passed(index, simulation)
            } else if step.experiment.is_some() {
                has_passed_experiment(index, simulation)
            } else {
                step.set_weight.is_none_or(|weight| self.is_reached(weight, next, rollout, simulation))
            };
            if !done && !self.all_allowed && !self.allowed.contains(&index) {
                self.violation = Some(format!("step {index} was left after {waited}s without being done"));
            }
        }
        if self.paused && !self.all_allowed && self.allowed.is_empty() && rollout.spec.paused == Some(true) {
            self.violation = Some("a step was left while spec.paused".to_owned());
        }
    }
}

fn has_passed_experiment(index: usize, simulation: &Simulation) -> bool {
    simulation.cluster.experiments().values().any(|found| {
        let labels = found.metadata.labels.as_ref();
        let is_of_step =
            labels.and_then(|labels| labels.get(serin::api::labels::STEP_INDEX)) == Some(&index.to_string());
        is_of_step && found.status.as_ref().and_then(|status| status.phase) == Some(AnalysisPhase::Successful)
    })
}

fn has_passed(index: usize, simulation: &Simulation) -> bool {
    let of_step = |labels: &BTreeMap<String, String>| {
        labels.get(serin::api::labels::STEP_INDEX) == Some(&index.to_string())
    };
    simulation.cluster.runs().values().any(|run| {
        let phase = run.status.as_ref().and_then(|status| status.phase);
        run.metadata.labels.as_ref().is_some_and(of_step) && phase == Some(AnalysisPhase::Successful)
    })
}

fn canary_is_available(position: &Position, simulation: &Simulation) -> bool {
    let revisions = simulation.cluster.revisions();
    revisions.iter().any(|pods| Some(&pods.hash) == position.hash.as_ref() && pods.available.get() > 0)
}
