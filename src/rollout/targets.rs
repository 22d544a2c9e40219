//! The desired world of one situation, complete: sizes, Services, runs, and what to wake up for.

use std::collections::{BTreeMap, BTreeSet};

use super::deadline::Wake;
use super::progress::Progress;
use super::services::{self, Selection};
use super::world::World;
use crate::api::AnalysisRun;
use crate::events::Event;
use crate::units::{PodHash, ReplicaCount, Weight};

/// What a situation wants of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// Pods of each ReplicaSet that exists, by name; one that is not named keeps its size.
    pub sizes: BTreeMap<String, ReplicaCount>,
    /// Pods of the wanted revision's ReplicaSet should it not exist; `None` does not create it.
    pub create: Option<ReplicaCount>,
    /// Revisions that Services select.
    pub services: Vec<Selection>,
    /// AnalysisRuns that go on; every other unfinished one is stopped.
    pub keep_runs: BTreeSet<String>,
    /// AnalysisRuns to start.
    pub new_runs: Vec<AnalysisRun>,
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

    /// Pods are brought to the split of `weight`, as far as availability and surge allow now.
    #[must_use]
    pub fn at_weight(world: &World, progress: &Progress, weight: Weight) -> Self {
        let goal = world.goal(progress, weight);
        let (next, others) = world.sizes(progress).toward(world.spec.bounds, goal);
        let mut sizes = BTreeMap::new();
        for (set, size) in world.other_sets(progress).into_iter().zip(others) {
            sizes.insert(set.name.clone(), ReplicaCount::new(size));
        }
        if let Some(set) = world.stable_set(progress).filter(|_| !progress.is_settled()) {
            sizes.insert(set.name.clone(), ReplicaCount::new(next.stable));
        }
        let create = match world.new_set(progress) {
            Some(set) => {
                sizes.insert(set.name.clone(), ReplicaCount::new(next.new));
                None
            }
            None => Some(ReplicaCount::new(next.new)),
        };
        Self { sizes, create, clock: ProgressClock::Running, ..Self::default() }
    }

    /// Services select each version's own pods.
    #[must_use]
    pub fn with_services(mut self, world: &World, progress: &Progress) -> Self {
        self.services = services::of_both(world, progress);
        self
    }

    /// All Services select the stable pods.
    #[must_use]
    pub fn with_services_on_stable(mut self, world: &World, stable: Option<&PodHash>) -> Self {
        self.services = services::of_stable(world, stable);
        self
    }
}
