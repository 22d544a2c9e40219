//! The desired world of one situation, complete: sizes, traffic, Services, runs, and what to wake up for.

use std::collections::{BTreeMap, BTreeSet};

use super::deadline::Wake;
use super::experiments;
use super::progress::Progress;
use super::replicas::Split;
use super::services::{self, Selection};
use super::situation::bluegreen;
use super::valid::{Routing, Strategy};
use super::world::World;
use super::{runs, scale_down, weights};
use crate::api::{AnalysisRun, Experiment};
use crate::events::Event;
use crate::traffic::TrafficTarget;
use crate::units::{ReplicaCount, Timestamp, Weight};

/// What a situation wants of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// Pods of each ReplicaSet that exists, by name; one that is not named keeps its size.
    pub sizes: BTreeMap<String, ReplicaCount>,
    /// When ReplicaSets are to be scaled to zero, by name; `None` for never. One that is not named keeps its time.
    pub deadlines: BTreeMap<String, Option<Timestamp>>,
    /// Pods of the wanted revision's ReplicaSet should it not exist; `None` does not create it.
    pub create: Option<ReplicaCount>,
    /// What the router should do; `None` leaves it as it is.
    pub traffic: Option<TrafficTarget>,
    /// Revisions that Services select.
    pub services: Vec<Selection>,
    /// AnalysisRuns that go on; every other unfinished one is stopped.
    pub keep_runs: BTreeSet<String>,
    /// AnalysisRuns to start.
    pub new_runs: Vec<AnalysisRun>,
    /// Experiments that go on; every other unfinished one is stopped.
    pub keep_experiments: BTreeSet<String>,
    /// The Experiment to start.
    pub new_experiment: Option<Box<Experiment>>,
    /// Times to look again.
    pub wakes: Vec<Wake>,
    /// What to announce besides.
    pub events: Vec<Event>,
    /// Whether lack of progress counts against the progress deadline.
    pub clock: ProgressClock,
}

/// Whether lack of progress counts against the progress deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProgressClock {
    /// Somebody or something else is waited for.
    #[default]
    Stopped,
    /// Pods are waited for.
    Running,
}

impl Targets {
    /// Everything stays as it is; the wanted revision's ReplicaSet exists, empty if need be.
    #[must_use]
    pub fn hold() -> Self {
        Self { create: Some(ReplicaCount::ZERO), ..Self::default() }
    }

    /// Experiments that have ended get no traffic any more, whatever else is held: their pods go.
    #[must_use]
    pub fn relieved(mut self, world: &World, progress: &Progress) -> Self {
        if self.traffic.is_none() {
            self.traffic = experiments::relieved(world, progress);
        }
        self
    }

    /// An Experiment gets what it should of the traffic, whatever else a person holds.
    #[must_use]
    pub fn with_experiments(mut self, world: &World, progress: &Progress) -> Self {
        if self.traffic.is_none() {
            self.traffic = experiments::followed(world, progress);
        }
        self
    }

    /// What the status records of runs and Experiments goes on.
    #[must_use]
    pub fn keeping(mut self, progress: &Progress) -> Self {
        self.keep_runs.extend(runs::current_names(progress));
        self.keep_experiments.extend(progress.experiment.clone());
        self
    }

    /// Pods and traffic are brought to the split of `weight`, as far as it is safe now.
    #[must_use]
    pub fn at_weight(world: &World, progress: &Progress, weight: Weight) -> Self {
        match &world.spec.strategy {
            Strategy::ByPods => Self::by_pods(world, progress, weight),
            Strategy::Routed(routing) => Self::routed(world, progress, routing, weight),
            Strategy::BlueGreen(strategy) => {
                Self::side_by_side(world, progress, bluegreen::preview_size(world, progress, strategy))
            }
        }
    }

    /// The wanted version is stable: it has all pods and all traffic, and the others go.
    #[must_use]
    pub fn at_rest(world: &World, progress: &Progress) -> Self {
        let weight = match &world.spec.strategy {
            Strategy::ByPods | Strategy::BlueGreen(_) => Weight::FULL,
            Strategy::Routed(_) => Weight::ZERO,
        };
        Self::at_weight(world, progress, weight).with_services_on_stable(world, progress)
    }

    fn by_pods(world: &World, progress: &Progress, weight: Weight) -> Self {
        let goal = world.goal(progress, weight);
        let (next, others) = world.sizes(progress).toward(world.spec.bounds, goal);
        let mut targets = Self::both(world, progress, next);
        for (set, size) in world.other_sets(progress).into_iter().zip(others) {
            targets.sizes.insert(set.name.clone(), ReplicaCount::new(size));
        }
        targets
    }

    fn routed(world: &World, progress: &Progress, routing: &Routing, weight: Weight) -> Self {
        let mut targets = Self::both(world, progress, weights::sizes(world, progress, routing, weight));
        targets.traffic =
            weights::has_destinations(routing).then(|| weights::target(world, progress, routing, weight));
        scale_down::of_others(world, progress, &mut targets);
        targets
    }

    /// Two whole environments: the wanted version with `new` pods, stable with all.
    #[must_use]
    pub fn side_by_side(world: &World, progress: &Progress, new: ReplicaCount) -> Self {
        let split = Split { new: new.get(), stable: world.spec.replicas.get() };
        let mut targets = Self::both(world, progress, split);
        scale_down::of_others(world, progress, &mut targets);
        targets
    }

    /// The wanted and the stable version have these sizes.
    fn both(world: &World, progress: &Progress, split: Split) -> Self {
        let mut targets = Self { clock: ProgressClock::Running, ..Self::default() };
        if let Some(set) = world.stable_set(progress).filter(|_| !progress.is_settled()) {
            targets.sizes.insert(set.name.clone(), ReplicaCount::new(split.stable));
            targets.deadlines.insert(set.name.clone(), None);
        }
        match world.new_set(progress) {
            Some(set) => {
                targets.sizes.insert(set.name.clone(), ReplicaCount::new(split.new));
                targets.deadlines.insert(set.name.clone(), None);
            }
            None => targets.create = Some(ReplicaCount::new(split.new)),
        }
        targets
    }

    /// Services select each version's own pods.
    #[must_use]
    pub fn with_services(mut self, world: &World, progress: &Progress) -> Self {
        self.services = services::of_both(world, progress);
        services::follow_pods(world, progress, &mut self);
        self
    }

    /// All Services select the stable pods.
    #[must_use]
    pub fn with_services_on_stable(mut self, world: &World, progress: &Progress) -> Self {
        self.services = services::of_stable(world, progress);
        services::follow_pods(world, progress, &mut self);
        self
    }
}
