//! The snapshot as situations see it: the parsed spec, and which ReplicaSet is new, stable or neither.

use super::progress::Progress;
use super::replicas::{Pods, Sizes, Split, split};
use super::revision::Revisions;
use super::snapshot::{ReplicaSet, Snapshot};
use super::valid::{SpecError, Step, ValidSpec};
use crate::units::{PodHash, ReplicaCount, Revision, Timestamp, Weight};

/// What a pass works with. The bookkeeping (`Progress`) is apart, because it moves during the pass.
#[derive(Debug)]
pub struct World<'a> {
    /// Everything that was seen.
    pub snapshot: &'a Snapshot,
    /// The spec; with problems, only good enough to bring stable back.
    pub spec: &'a ValidSpec,
    /// What is wrong with the spec.
    pub problems: &'a [SpecError],
    /// Identity of the template that the spec asks for.
    pub wanted: PodHash,
    /// Identity of the steps that the spec asks for.
    pub wanted_steps: String,
}

impl<'a> World<'a> {
    /// The time of the pass.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.snapshot.now
    }

    /// Whether the ratio of pods is what splits the traffic. Where something else does, or may do, pods that are taken
    /// away here could be the ones that traffic still goes to.
    #[must_use]
    pub fn splits_by_pods(&self) -> bool {
        let Some(strategy) = &self.snapshot.rollout.spec.strategy else { return true };
        let is_routed = strategy.canary.as_ref().is_some_and(|canary| canary.traffic_routing.is_some());
        strategy.blue_green.is_none() && !is_routed
    }

    /// The Rollout's revisions.
    #[must_use]
    pub fn revisions(&self) -> Revisions<'a> {
        Revisions::of(&self.snapshot.replica_sets)
    }

    /// The ReplicaSet of the wanted revision.
    #[must_use]
    pub fn new_set(&self, progress: &Progress) -> Option<&'a ReplicaSet> {
        self.revisions().find(progress.hash.as_ref())
    }

    /// The ReplicaSet of the stable revision.
    #[must_use]
    pub fn stable_set(&self, progress: &Progress) -> Option<&'a ReplicaSet> {
        self.revisions().find(progress.stable.as_ref())
    }

    /// The ReplicaSets of neither, newest first.
    #[must_use]
    pub fn other_sets(&self, progress: &Progress) -> Vec<&'a ReplicaSet> {
        self.revisions().others(progress.hash.as_ref(), progress.stable.as_ref())
    }

    /// The number of the wanted revision.
    #[must_use]
    pub fn number(&self, progress: &Progress) -> Revision {
        progress.hash.as_ref().map(|hash| self.revisions().number(hash)).unwrap_or_default()
    }

    /// The step at the current position; `None` once all are done.
    #[must_use]
    pub fn step(&self, progress: &Progress) -> Option<&'a Step> {
        self.spec.steps.get(progress.index.get())
    }

    /// The weight in force at the current position: that of the last `setWeight` at or before it.
    #[must_use]
    pub fn weight(&self, progress: &Progress) -> Weight {
        if progress.promote_full || progress.index.get() >= self.spec.steps.len() {
            return Weight::FULL;
        }
        let until_now = self.spec.steps.iter().take(progress.index.get().saturating_add(1));
        let mut weights = until_now.filter_map(|step| match step {
            Step::SetWeight(weight) => Some(*weight),
            Step::Pause(_) | Step::Analysis(_) => None,
        });
        weights.next_back().unwrap_or(Weight::ZERO)
    }

    /// Pods of both versions at `weight`; without a stable ReplicaSet to share with, all are new.
    #[must_use]
    pub fn goal(&self, progress: &Progress, weight: Weight) -> Split {
        if self.stable_set(progress).is_none() || progress.is_settled() {
            return Split { new: self.spec.replicas.get(), stable: 0 };
        }
        split(self.spec.bounds, weight)
    }

    /// The sizes as they are.
    #[must_use]
    pub fn sizes(&self, progress: &Progress) -> Sizes {
        let stable = self.stable_set(progress).filter(|_| !progress.is_settled());
        Sizes {
            new: pods(self.new_set(progress)),
            stable: pods(stable),
            others: self.other_sets(progress).into_iter().map(|set| pods(Some(set))).collect(),
        }
    }

    /// Whether the pods are split as `weight` asks for, with the new ones available and no old ones serving.
    #[must_use]
    pub fn is_at(&self, progress: &Progress, weight: Weight) -> bool {
        let goal = self.goal(progress, weight);
        let new = match self.new_set(progress) {
            Some(set) => set.observed && is_exactly(set, goal.new) && set.available.get() >= goal.new,
            None => goal.new == 0,
        };
        let stable = match self.stable_set(progress) {
            Some(set) => progress.is_settled() || is_exactly(set, goal.stable),
            None => true,
        };
        new && stable && self.other_sets(progress).iter().all(|set| set.available == ReplicaCount::ZERO)
    }

    /// Whether the wanted revision alone could serve everything.
    #[must_use]
    pub fn is_new_available(&self, progress: &Progress) -> bool {
        let wanted = self.spec.replicas;
        self.new_set(progress)
            .is_some_and(|set| set.observed && set.size >= wanted && set.available >= wanted)
    }
}

fn is_exactly(set: &ReplicaSet, size: u32) -> bool {
    set.size.get() == size && set.replicas.get() == size
}

fn pods(set: Option<&ReplicaSet>) -> Pods {
    set.map_or_else(Pods::default, |set| Pods { size: set.size.get(), available: set.available.get() })
}
