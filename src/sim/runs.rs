//! The controller's passes over AnalysisRuns: what is due is measured, judged and written.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cluster::Cluster;
use super::controller::{Controller, Stop, Write, backoff};
use super::metrics::Reading;
use super::simulation::Simulation;
use crate::analysis::{self, RunPlan, RunSnapshot, Sample, Value};
use crate::units::Timestamp;

/// How long a query takes.
const QUERY_TIME: Duration = Duration::from_millis(200);

/// What the controller remembers of one AnalysisRun between passes; a crash takes it away.
#[derive(Clone, Debug, Default)]
pub(super) struct RunAgenda {
    /// When the next pass is due.
    pub(super) due: Option<Timestamp>,
    failures: u32,
    /// Metrics that are being measured: since when by the controller's clock, and when the answer comes.
    in_flight: BTreeMap<String, (Timestamp, Timestamp)>,
    samples: Vec<Sample>,
}

impl RunAgenda {
    /// A pass is due no later than `at`.
    pub(super) fn look_at(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

/// What a pass over an AnalysisRun did.
#[derive(Clone, Debug)]
pub struct RunPass {
    /// The run's name.
    pub name: String,
    /// What was decided.
    pub plan: RunPlan,
    /// Why it ended early; `None` when everything was done.
    pub stop: Option<Stop>,
}

impl Simulation {
    /// A pass over the AnalysisRun that is due first; `None` when none is.
    pub(super) fn pass_over_due_run(&mut self) -> Option<RunPass> {
        let now = self.now();
        let name = self.controller.due_run(now)?;
        let mut agenda = self.controller.take_run(&name);
        agenda.due = None;
        self.collect(&mut agenda);
        // A run that is not there any more is forgotten.
        let run = self.cluster.seen_runs().get(&name)?.clone();
        let plan = analysis::decide(&RunSnapshot {
            in_flight: agenda.in_flight.keys().cloned().collect(),
            samples: agenda.samples.clone(),
            ..RunSnapshot::new(run, self.cluster.controller_now())
        });
        let stop = self.apply_run(&name, &plan).err();
        match &stop {
            Some(Stop::Crashed) => {
                self.controller.crash(now);
                return Some(RunPass { name, plan, stop });
            }
            Some(Stop::Failed(_)) => {
                agenda.look_at(now.plus(backoff(agenda.failures)));
                agenda.failures += 1;
            }
            None => went_well(&mut agenda, &plan, &self.cluster),
        }
        self.controller.put_run(&name, agenda);
        Some(RunPass { name, plan, stop })
    }

    /// Turns the measurements that are finished by now into samples.
    fn collect(&self, agenda: &mut RunAgenda) {
        let now = self.now();
        let (done, in_flight) = std::mem::take(&mut agenda.in_flight)
            .into_iter()
            .partition(|(_, (_, answered))| *answered <= now);
        agenda.in_flight = in_flight;
        let done: BTreeMap<String, (Timestamp, Timestamp)> = done;
        for (metric, (started_at, _)) in done {
            let result = match self.metrics.query(&metric, &self.cluster) {
                Reading::Vector(values) => Ok(Value::Numbers(values)),
                Reading::Error(why) => Err(why),
            };
            agenda.samples.push(Sample {
                metric,
                started_at,
                finished_at: self.cluster.controller_now(),
                result,
                metadata: BTreeMap::new(),
            });
        }
        for (_, answered) in agenda.in_flight.values().copied().collect::<Vec<_>>() {
            agenda.look_at(answered);
        }
    }

    fn apply_run(&mut self, name: &str, plan: &RunPlan) -> Result<(), Stop> {
        let (controller, cluster) = (&mut self.controller, &mut self.cluster);
        if let Some(status) = &plan.status {
            controller.write(cluster, Write::RunStatus, |cluster, writer| {
                cluster.set_run_status(name, status, writer)
            })?;
        }
        for _ in &plan.events {
            match controller.write(cluster, Write::Event, |_, _| Ok(())) {
                Err(Stop::Crashed) => return Err(Stop::Crashed),
                // An announcement that cannot be made is lost.
                Ok(()) | Err(Stop::Failed(_)) => {}
            }
        }
        if plan.delete {
            controller
                .write(cluster, Write::AnalysisRun, |cluster, writer| cluster.delete_run(name, writer))?;
        }
        Ok(())
    }
}

fn went_well(agenda: &mut RunAgenda, plan: &RunPlan, cluster: &Cluster) {
    agenda.failures = 0;
    if !plan.keep_samples {
        agenda.samples.clear();
    }
    for request in &plan.measure {
        let answered = cluster.real(request.at).plus(QUERY_TIME);
        agenda.in_flight.insert(request.metric.clone(), (request.at, answered));
        agenda.look_at(answered);
    }
    if let Some(at) = plan.wake_at {
        agenda.look_at(cluster.real(at).max(cluster.now()));
    }
}

impl Controller {
    /// An AnalysisRun is looked at no later than `at`.
    pub(super) fn look_at_run(&mut self, name: &str, at: Timestamp) {
        self.runs().entry(name.to_owned()).or_default().look_at(at);
    }

    /// The first AnalysisRun by name whose pass is due.
    fn due_run(&mut self, now: Timestamp) -> Option<String> {
        let due = |run: &RunAgenda| run.due.is_some_and(|at| at <= now);
        self.runs().iter().find(|(_, run)| due(run)).map(|(name, _)| name.clone())
    }

    /// Takes what is remembered of an AnalysisRun.
    fn take_run(&mut self, name: &str) -> RunAgenda {
        self.runs().remove(name).unwrap_or_default()
    }

    /// Remembers an AnalysisRun.
    fn put_run(&mut self, name: &str, agenda: RunAgenda) {
        self.runs().insert(name.to_owned(), agenda);
    }
}
