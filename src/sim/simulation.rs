//! The event loop: virtual time jumps from one thing that is due to the next.

use std::time::Duration;

use super::cluster::Cluster;
use super::controller::{Controller, Pass};
use super::experimenting::ExperimentPass;
use super::metrics::MetricsServer;
use super::runs::RunPass;
use crate::units::Timestamp;

/// Passes at one instant before it counts as a livelock.
const MAX_PASSES_PER_INSTANT: u32 = 100;
/// How long a livelocked controller is stopped, so that a scenario goes on.
const LIVELOCK_PENALTY: Duration = Duration::from_secs(10);
/// From a watch event to its duplicate.
const DUPLICATE_DELAY: Duration = Duration::from_millis(1);

/// Whether watch events come once or twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Once.
    #[default]
    Once,
    /// Each twice.
    Twice,
}

/// What happened in one turn of the loop.
#[derive(Clone, Debug)]
pub enum Happening {
    /// Time passed; pods, ReplicaSets or caches may have changed.
    World,
    /// A pass over the Rollout.
    Pass(Box<Pass>),
    /// A pass over an AnalysisRun.
    Run(RunPass),
    /// A pass over an Experiment.
    Experiment(Box<ExperimentPass>),
    /// The controller is back after a crash.
    Restarted,
    /// The controller made this many passes without time passing.
    Livelock(u32),
}

/// A cluster, a controller and a metrics server on one clock.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The cluster.
    pub cluster: Cluster,
    /// The controller.
    pub controller: Controller,
    /// The metrics server.
    pub metrics: MetricsServer,
    /// How watch events are delivered.
    pub delivery: Delivery,
    instant: Timestamp,
    passes_at_instant: u32,
}

impl Default for Simulation {
    fn default() -> Self {
        Self::new()
    }
}

impl Simulation {
    /// An empty cluster at the start of virtual time.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cluster: Cluster::new(super::start()),
            controller: Controller::default(),
            metrics: MetricsServer::default(),
            delivery: Delivery::default(),
            instant: super::start(),
            passes_at_instant: 0,
        }
    }

    /// The virtual time.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.cluster.now()
    }

    /// When something happens next by itself; `None` when everything is at rest.
    #[must_use]
    pub fn next_event(&self) -> Option<Timestamp> {
        let parts = [
            self.cluster.next_pod_change(),
            self.cluster.next_router_change(),
            self.cluster.next_cache_change(),
            self.controller.next_due(),
        ];
        parts.into_iter().flatten().min()
    }

    /// Does the next thing that is due no later than `until`. `None` when there is none: then it is `until`.
    pub fn turn(&mut self, until: Timestamp) -> Option<Happening> {
        let Some(at) = self.next_event().filter(|at| *at <= until) else {
            self.cluster.set_now(until);
            return None;
        };
        self.cluster.set_now(at);
        self.cluster.advance_pods();
        self.cluster.advance_router();
        self.deliver();
        if self.controller.is_down() {
            let back = self.controller.restart_if_due(&mut self.cluster);
            return Some(if back { Happening::Restarted } else { Happening::World });
        }
        Some(self.pass())
    }

    /// Shows the controller what it is due to see, and has it look.
    fn deliver(&mut self) {
        let now = self.now();
        let changed = self.cluster.advance_caches();
        for name in &changed.runs {
            self.controller.look_at_run(name, now);
        }
        if changed.experiments {
            for name in self.cluster.seen_experiments().keys() {
                self.controller.look_at_experiment(name, now);
            }
        }
        if changed.rollout {
            self.controller.look_at(now);
            if self.delivery == Delivery::Twice {
                self.controller.duplicate_at(now.plus(DUPLICATE_DELAY));
            }
        }
    }

    fn pass(&mut self) -> Happening {
        let now = self.now();
        if let Some(pass) = self.pass_over_due_run() {
            return Happening::Run(pass);
        }
        if let Some(pass) = self.pass_over_due_experiment() {
            return Happening::Experiment(Box::new(pass));
        }
        let Some(pass) = self.controller.pass_if_due(&mut self.cluster) else { return Happening::World };
        if self.instant != now {
            self.instant = now;
            self.passes_at_instant = 0;
        }
        self.passes_at_instant += 1;
        if self.passes_at_instant >= MAX_PASSES_PER_INSTANT {
            self.controller.stall(now.plus(LIVELOCK_PENALTY));
            return Happening::Livelock(self.passes_at_instant);
        }
        Happening::Pass(Box::new(pass))
    }
}
