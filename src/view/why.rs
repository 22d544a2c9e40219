//! Why a rollout waits: one paragraph that says what it waits for and what would end the wait.
//!
//! The first fact that holds it up is told, in the order in which they outrank each other; what else could change the
//! course meanwhile (analysis beside the steps) comes after it.

mod analysis;
mod pods;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::phase::{Observation, Phase, condition, is_unpausing, observation};
use super::replica_set::{ReplicaSetView, Role};
use super::run::RunView;
use super::tree::{RolloutView, StrategyView, tree};
use super::{Observed, age, step};
use crate::api::Rollout;
use crate::api::rollout_status::{AnalysisRunRef, PauseCondition, RolloutStatus};
use crate::rollout::progress::PAUSE_EXPERIMENT;
use crate::units::{Revision, Timestamp, format_duration};

/// Seconds after which a controller that runs has certainly seen a change.
const PROMPT_SECONDS: u64 = 15;

/// A rollout and what is needed to speak of it.
struct Case<'a> {
    rollout: &'a Rollout,
    status: RolloutStatus,
    view: RolloutView,
    now: Timestamp,
}

/// The paragraph, as of `now`.
#[must_use]
pub fn why(observed: &Observed, now: Timestamp) -> String {
    let rollout = &observed.rollout;
    let status = rollout.status.clone().unwrap_or_default();
    let case = Case { rollout, status, view: tree(observed), now };
    let sentences = case.sentences();
    sentences.into_iter().filter(|sentence| !sentence.is_empty()).collect::<Vec<_>>().join(" ")
}

impl Case<'_> {
    fn sentences(&self) -> Vec<String> {
        if let Observation::Behind { seen } = observation(self.rollout) {
            return vec![self.unobserved(seen)];
        }
        if let Some(invalid) = condition(self.rollout, "InvalidSpec").filter(|c| c.status == "True") {
            return vec![self.invalid(invalid.message.as_deref().unwrap_or_default())];
        }
        let progressing = condition(self.rollout, "Progressing");
        let reason = progressing.and_then(|condition| condition.reason.as_deref()).unwrap_or_default();
        if self.status.abort == Some(true) || reason == "RolloutAborted" {
            return self.aborted();
        }
        if reason == "ProgressDeadlineExceeded" {
            return self.out_of_time();
        }
        if self.rollout.spec.paused == Some(true) {
            return vec![self.held_by_hand()];
        }
        if is_unpausing(self.rollout) {
            return vec![format!(
                "A user has ended the pause of {}; the controller goes on in a moment.",
                self.name()
            )];
        }
        if let Some(pause) = self.status.pause_conditions.iter().flatten().next() {
            return vec![self.paused(pause), self.background()];
        }
        match self.view.standing.phase {
            Phase::Healthy => vec![self.healthy()],
            Phase::Degraded => vec![format!("{} is degraded: {}.", self.name(), self.message())],
            Phase::Progressing | Phase::Paused | Phase::Unknown => self.under_way(),
        }
    }

    fn unobserved(&self, seen: Option<i64>) -> String {
        let since = last_change(&self.rollout.metadata);
        let changed =
            since.map_or_else(String::new, |since| format!(", changed {},", age::when(since, self.now)));
        let generation = self.rollout.metadata.generation.unwrap_or_default();
        let seen = seen.map_or_else(
            || ", which has not looked at it yet".to_owned(),
            |seen| format!(": it has seen generation {seen} of the spec, not generation {generation}"),
        );
        let is_late = since.is_some_and(|since| self.now.since(since).as_secs() > PROMPT_SECONDS);
        let hint = if is_late {
            "That usually takes a second: the controller seems not to run, or not to watch this namespace; look at its pods and its log."
        } else {
            "That takes a second when it runs."
        };
        format!("{}{changed} waits for the controller{seen}. {hint}", self.name())
    }

    fn invalid(&self, message: &str) -> String {
        format!(
            "{} cannot be worked with: {}. Nothing moves until the spec, or the object it names, is put right; the pods that run stay as they are.",
            self.name(),
            trimmed(message)
        )
    }

    fn aborted(&self) -> Vec<String> {
        let name = &self.view.name;
        let when =
            self.status.aborted_at.map_or_else(String::new, |at| format!(" {}", age::when(at, self.now)));
        let run = self.failed_run();
        let told = condition(self.rollout, "Progressing").and_then(|condition| condition.message.as_deref());
        // `Rollout aborted update to revision 2: why`; without a why, a user asked for it.
        let told = told.and_then(|message| message.split_once(": ")).map(|(_, why)| trimmed(why));
        let cause = match (&run, told) {
            (_, Some(why)) => format!(": {why}"),
            (Some(run), None) => format!(": {}", analysis::verdict(run)),
            (None, None) => ", because a user asked for it".to_owned(),
        };
        let evidence = run.as_ref().map_or_else(String::new, analysis::evidence);
        vec![
            format!("The update of {} to revision {} was aborted{when}{cause}.", self.name(), self.newest()),
            evidence,
            self.restored(),
            self.in_git(),
            format!(
                "It stays so until the update is tried again (kubectl serin retry rollout {name}), another version is applied, or the old one is put back (kubectl serin undo {name})."
            ),
        ]
    }

    /// What became of it in Git, where the write-back says so.
    fn in_git(&self) -> String {
        let told = condition(self.rollout, "WrittenBack").and_then(|told| told.message.as_deref());
        told.map_or_else(String::new, |message| format!("In Git: {}.", trimmed(message)))
    }

    /// How far stable is back.
    fn restored(&self) -> String {
        let Some((revision, stable)) = self.of_role(&Role::Stable) else {
            return "There is no stable revision to go back to.".to_owned();
        };
        let wanted = self.view.replicas.desired;
        let traffic = match self.view.strategy {
            StrategyView::Canary { actual_weight: 0, .. } => " and all traffic",
            StrategyView::Canary { .. } | StrategyView::BlueGreen | StrategyView::Unset => "",
        };
        if stable.available >= wanted {
            format!("Stable revision {revision} has all {wanted} pods{traffic}.")
        } else {
            format!(
                "Stable revision {revision} is being brought back: {} of {wanted} pods are available.",
                stable.available
            )
        }
    }

    fn out_of_time(&self) -> Vec<String> {
        let deadline = self.rollout.spec.progress_deadline_seconds.unwrap_or(600);
        let deadline =
            format_duration(std::time::Duration::from_secs(u64::try_from(deadline).unwrap_or_default()));
        vec![
            format!(
                "The update of {} to revision {} has made no progress for {deadline}.",
                self.name(),
                self.newest()
            ),
            pods::waiting(self),
            format!(
                "It goes on by itself once its pods become available; otherwise abort it (kubectl serin abort {}) or apply a version that works.",
                self.view.name
            ),
        ]
    }

    fn held_by_hand(&self) -> String {
        let place = self.place().map_or_else(String::new, |place| format!(", at {place}"));
        format!(
            "{} is held by hand (spec.paused is true){place}. It goes on when spec.paused is false again: kubectl serin promote {}.",
            self.name(),
            self.view.name
        )
    }

    fn paused(&self, pause: &PauseCondition) -> String {
        let name = &self.view.name;
        let since = age::moment(pause.start_time, self.now);
        match pause.reason.as_str() {
            "CanaryPauseStep" => self.paused_at_step(pause, &since),
            "InconclusiveAnalysisRun" => format!(
                "{} is paused since {since}, because its analysis came to no verdict{}. A person decides: kubectl serin promote {name} goes on, kubectl serin abort {name} takes the update back.",
                self.name(),
                self.inconclusive_run()
            ),
            PAUSE_EXPERIMENT => format!(
                "{} is paused since {since}, because the Experiment of its step came to no verdict{}. A person decides: kubectl serin promote {name} goes on, kubectl serin abort {name} takes the update back.",
                self.name(),
                self.again()
            ),
            "BlueGreenPause" => self.paused_before_switch(pause, &since),
            reason => format!(
                "{} is paused since {since} ({reason}). A person decides: kubectl serin promote {name} goes on, kubectl serin abort {name} takes the update back.",
                self.name()
            ),
        }
    }

    /// How the recorded Experiment is run again.
    fn again(&self) -> String {
        let canary = self.status.canary.as_ref();
        let name = canary.and_then(|canary| canary.current_experiment.as_ref());
        let again = name.map(|name| format!(" (kubectl serin retry experiment {name} runs it again)"));
        again.unwrap_or_default()
    }

    fn paused_at_step(&self, pause: &PauseCondition, since: &str) -> String {
        let name = &self.view.name;
        let place = self.place().unwrap_or_else(|| "a pause".to_owned());
        let duration = step::current(self.rollout)
            .and_then(|(_, step)| step.pause.as_ref())
            .and_then(step::pause_duration);
        let Some(duration) = duration else {
            return format!(
                "{} is paused at {place} since {since}, without an end: it waits until somebody lets it go on (kubectl serin promote {name}) or takes it back (kubectl serin abort {name}).",
                self.name()
            );
        };
        let end = pause.start_time.plus(duration);
        if self.now.since(end).as_secs() > PROMPT_SECONDS {
            return format!(
                "{} is paused at {place}, which should have ended {}: the controller seems not to run; look at its pods and its log.",
                self.name(),
                age::when(end, self.now)
            );
        }
        format!(
            "{} is paused at {place}. It goes on by itself {}, or at once with kubectl serin promote {name}.",
            self.name(),
            age::when(end, self.now)
        )
    }

    fn paused_before_switch(&self, pause: &PauseCondition, since: &str) -> String {
        let name = &self.view.name;
        let strategy = self.rollout.spec.strategy.as_ref().and_then(|strategy| strategy.blue_green.as_ref());
        let seconds = strategy
            .filter(|strategy| strategy.auto_promotion_enabled != Some(false))
            .and_then(|strategy| u64::try_from(strategy.auto_promotion_seconds?).ok());
        let end = match seconds {
            Some(seconds) => {
                let end = pause.start_time.plus(std::time::Duration::from_secs(seconds));
                format!(
                    "by itself {}, or at once with kubectl serin promote {name}",
                    age::when(end, self.now)
                )
            }
            None => format!("when somebody lets it (kubectl serin promote {name})"),
        };
        format!(
            "{} has revision {} ready in preview since {since} and switches {end}.",
            self.name(),
            self.newest()
        )
    }

    fn healthy(&self) -> String {
        format!(
            "{} waits for nothing: revision {} is stable and {} of {} pods are available.",
            self.name(),
            self.newest(),
            self.view.replicas.available,
            self.view.replicas.desired
        )
    }

    fn under_way(&self) -> Vec<String> {
        if let Some(at) = self
            .rollout
            .spec
            .restart_at
            .map(Timestamp::whole_seconds)
            .filter(|at| Some(*at) != self.status.restarted_at)
        {
            return vec![self.restarting(at)];
        }
        let place = self.place().map_or_else(String::new, |place| format!(" and is at {place}"));
        let opening = format!("{} brings in revision {}{place}.", self.name(), self.newest());
        let current = step::current(self.rollout).map(|(_, step)| step);
        if current.is_some_and(|step| step.analysis.is_some()) {
            return vec![opening, self.step_analysis()];
        }
        if current.is_some_and(|step| step.experiment.is_some()) {
            return vec![opening, self.step_experiment()];
        }
        vec![opening, pods::waiting(self), pods::deadline(self), self.background()]
    }

    fn restarting(&self, at: Timestamp) -> String {
        let moment = age::moment(at, self.now);
        if at > self.now {
            return format!("{} will restart its pods at {moment}.", self.name());
        }
        format!(
            "{} restarts its pods that were created before {moment}, a few at a time, and is done when none of them is left.",
            self.name()
        )
    }

    fn step_experiment(&self) -> String {
        let canary = self.status.canary.as_ref();
        let Some(name) = canary.and_then(|canary| canary.current_experiment.as_ref()) else {
            return "It waits for the Experiment of this step, which has not begun.".to_owned();
        };
        let mut all = self.view.revisions.iter().flat_map(|revision| &revision.experiments);
        let Some(found) = all.find(|found| found.name == *name) else {
            return format!("It waits for Experiment '{name}', which does not exist yet.");
        };
        let message = found.message.as_ref().map(|message| format!(": {}", trimmed(message)));
        let ends = found.ends_at.map(|at| format!("; its time is over {}", age::when(at, self.now)));
        let (message, ends) = (message.unwrap_or_default(), ends.unwrap_or_default());
        format!("It waits for Experiment '{name}' to end: that is {}{message}{ends}.", found.phase)
    }

    fn step_analysis(&self) -> String {
        let canary = self.status.canary.as_ref();
        let run = canary.and_then(|canary| canary.current_step_analysis_run_status.as_ref());
        match run.and_then(|run| self.run(run)) {
            Some(run) => analysis::waiting(run, self.now),
            None => "It waits for the AnalysisRun of this step, which has not begun.".to_owned(),
        }
    }

    /// What the analysis beside the steps may do meanwhile.
    fn background(&self) -> String {
        let canary = self.status.canary.as_ref();
        let run = canary.and_then(|canary| canary.current_background_analysis_run_status.as_ref());
        let run = run.and_then(|run| self.run(run)).filter(|run| !run.phase.is_completed());
        run.map_or_else(String::new, |run| analysis::beside(run, self.now))
    }

    fn run(&self, reference: &AnalysisRunRef) -> Option<&RunView> {
        self.runs().find(|run| run.name == reference.name)
    }

    fn runs(&self) -> impl DoubleEndedIterator<Item = &RunView> {
        self.view.revisions.iter().rev().flat_map(|revision| &revision.runs)
    }

    /// The latest run of the newest revision that made the update fail.
    fn failed_run(&self) -> Option<RunView> {
        use crate::api::AnalysisPhase::{Error, Failed};
        let newest = self.view.revisions.first()?;
        newest.runs.iter().rev().find(|run| matches!(run.phase, Failed | Error)).cloned()
    }

    fn inconclusive_run(&self) -> String {
        let run = self.runs().rev().find(|run| run.phase == crate::api::AnalysisPhase::Inconclusive);
        run.map_or_else(String::new, |run| format!(" ({})", analysis::verdict(run)))
    }

    fn of_role(&self, role: &Role) -> Option<(Revision, &ReplicaSetView)> {
        let sets =
            self.view.revisions.iter().flat_map(|r| r.replica_sets.iter().map(|set| (r.revision, set)));
        sets.into_iter().find(|(_, set)| set.roles.contains(role))
    }

    /// The ReplicaSet of the newest revision.
    fn current(&self) -> Option<(Revision, &ReplicaSetView)> {
        let sets =
            self.view.revisions.iter().flat_map(|r| r.replica_sets.iter().map(|set| (r.revision, set)));
        sets.into_iter().find(|(_, set)| set.hash.is_some() && set.hash == self.status.current_pod_hash)
    }

    fn newest(&self) -> Revision {
        let first = self.view.revisions.first().map(|revision| revision.revision);
        self.current().map(|(revision, _)| revision).or(first).unwrap_or_default()
    }

    fn place(&self) -> Option<String> {
        step::current(self.rollout).map(|(index, step)| step::place(self.rollout, index, step))
    }

    fn name(&self) -> String {
        format!("Rollout '{}'", self.view.name)
    }

    fn message(&self) -> &str {
        trimmed(&self.view.standing.message)
    }
}

/// When the object itself, not its status, was last written; `None` when the API server does not say.
fn last_change(object: &ObjectMeta) -> Option<Timestamp> {
    let writes = object.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none());
    let latest = writes.filter_map(|entry| entry.time.as_ref()).map(Timestamp::from).max();
    latest.or_else(|| {
        object.creation_timestamp.as_ref().filter(|_| object.generation == Some(1)).map(Timestamp::from)
    })
}

/// A sentence of others without its end, to go on after it.
fn trimmed(text: &str) -> &str {
    text.trim().trim_end_matches('.')
}
