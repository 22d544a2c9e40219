//! Whether an Experiment goes on, and how it ends.

use std::time::Duration;

use super::{Snapshot, analyses, templates};
use crate::api::AnalysisPhase;
use crate::units::Timestamp;

/// What becomes of an Experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on; what it waits for besides pods and time.
    Goes(Option<String>),
    /// It ends with this phase, and why.
    Ends(AnalysisPhase, Option<String>),
}

/// What is known of an Experiment.
pub(super) struct Facts<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) templates: &'a [templates::Next],
    pub(super) analyses: &'a [analyses::Next],
    /// When all templates were available.
    pub(super) available_at: Option<Timestamp>,
    /// When its time is over.
    pub(super) ends_at: Option<Timestamp>,
    /// When an analysis that could not be made by then is given up.
    pub(super) patience_ends_at: Option<Timestamp>,
}

impl Facts<'_> {
    /// Decides. A template or an analysis that went wrong comes before anything that went well.
    pub(super) fn verdict(&self) -> Verdict {
        let failed =
            self.templates.iter().find(|next| next.status.status.as_deref() == Some(templates::FAILED));
        if let Some(failed) = failed {
            return Verdict::Ends(AnalysisPhase::Failed, failed.status.message.clone());
        }
        if let Some((phase, why)) = self.worst() {
            return Verdict::Ends(phase, Some(why));
        }
        let required = || self.analyses.iter().filter(|next| next.is_required);
        let open = required().find(|next| next.status.phase != Some(AnalysisPhase::Successful));
        if open.is_none() && required().next().is_some() {
            return Verdict::Ends(AnalysisPhase::Successful, None);
        }
        if self.snapshot.experiment.spec.terminate == Some(true) {
            return self.terminated(open);
        }
        match (open, self.unmade()) {
            // Nothing was measured, which is no success.
            (_, Some(unmade)) if self.is_over() || self.is_out_of_patience() => {
                Verdict::Ends(AnalysisPhase::Error, Some(unmade))
            }
            (_, unmade) if !self.is_over() => Verdict::Goes(unmade),
            (Some(open), _) => {
                let name = &open.status.name;
                Verdict::Goes(Some(format!("waiting for the required analysis '{name}' to end")))
            }
            (None, _) => Verdict::Ends(AnalysisPhase::Successful, None),
        }
    }

    /// Why an analysis cannot be made; `None` where all are.
    fn unmade(&self) -> Option<String> {
        let mut unmade = self.analyses.iter().filter(|next| next.status.phase.is_none());
        unmade.find_map(|next| next.status.message.clone())
    }

    /// What is in the way of a template's pods.
    pub(super) fn why_pods_are_missing(&self) -> Option<String> {
        let mut waiting = self
            .templates
            .iter()
            .filter(|next| next.status.status.as_deref() == Some(templates::PROGRESSING));
        waiting.find_map(|next| {
            let message = next.status.message.as_ref()?;
            Some(format!("template '{}': {message}", next.status.name))
        })
    }

    /// When to look again at an analysis that cannot be made.
    pub(super) fn gives_up_at(&self) -> Option<Timestamp> {
        self.patience_ends_at.filter(|at| self.unmade().is_some() && *at > self.snapshot.now)
    }

    /// Names of runs that are stopped now although the Experiment goes on: its time is over, and they know no end.
    pub(super) fn to_stop(&self) -> Vec<&str> {
        let endless = self.analyses.iter().filter(|next| self.is_over() && next.is_endless);
        endless.filter_map(|next| next.status.analysis_run.as_deref()).collect()
    }

    fn is_out_of_patience(&self) -> bool {
        self.patience_ends_at.is_some_and(|at| at <= self.snapshot.now)
    }

    fn is_over(&self) -> bool {
        self.ends_at.is_some_and(|at| at <= self.snapshot.now)
    }

    /// Stopped by a person. That is no verdict where there was none yet.
    fn terminated(&self, open: Option<&analyses::Next>) -> Verdict {
        let why = match (self.available_at, open) {
            (None, _) => "terminated before all templates were available".to_owned(),
            (Some(_), Some(open)) => {
                format!("terminated before the required analysis '{}' came to a verdict", open.status.name)
            }
            (Some(_), None) => {
                return Verdict::Ends(AnalysisPhase::Successful, Some("terminated".to_owned()));
            }
        };
        Verdict::Ends(AnalysisPhase::Inconclusive, Some(why))
    }

    /// The worst of what went wrong, the first of equals.
    fn worst(&self) -> Option<(AnalysisPhase, String)> {
        let wrong = self.analyses.iter().filter_map(|next| {
            let name = &next.status.name;
            match next.status.phase? {
                AnalysisPhase::Successful if next.is_required && !next.has_measured => {
                    let why = format!("the required analysis '{name}' was stopped before it measured");
                    Some((AnalysisPhase::Inconclusive, why))
                }
                phase @ (AnalysisPhase::Failed | AnalysisPhase::Error | AnalysisPhase::Inconclusive) => {
                    let message = next.status.message.as_ref().map(|message| format!(": {message}"));
                    Some((phase, format!("analysis '{name}' is {phase}{}", message.unwrap_or_default())))
                }
                AnalysisPhase::Successful | AnalysisPhase::Running | AnalysisPhase::Pending => None,
            }
        });
        wrong.reduce(|worst, next| if next.0 > worst.0 { next } else { worst })
    }
}

/// When an Experiment's time is over.
pub(super) fn ends_at(available_at: Option<Timestamp>, duration: Option<Duration>) -> Option<Timestamp> {
    Some(available_at?.plus(duration?))
}
