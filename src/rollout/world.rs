//! The snapshot as situations see it: the parsed spec, and which ReplicaSet is new, stable or neither.

use super::progress::Progress;
use super::replicas::{Pods, Sizes, Split, split};
use super::revision::Revisions;
use super::snapshot::{Outcome, ReplicaSet, Snapshot};
use super::valid::{Destinations, Routing, SpecError, Step, Strategy, ValidSpec};
use super::weights;
use super::{endpoints, role_labels};
use crate::api::RolloutStatus;
use crate::api::labels::POD_TEMPLATE_HASH;
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
    /// Whether the only problem is a ReplicaSet that was refused, and it is time to try again.
    pub retries: bool,
    /// Whether the only problems are those of the objects that configure the router.
    pub lacks_only_routes: bool,
    /// Hash of the template that the spec asks for, as it is computed now.
    pub template_hash: PodHash,
    /// Identity of the template that the spec asks for.
    pub wanted: PodHash,
    /// Identity of the steps that the spec asks for; `None` where there are none to go through.
    pub wanted_steps: Option<String>,
}

impl<'a> World<'a> {
    /// The time of the pass.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.snapshot.now
    }

    /// Whether the spec tells what splits the traffic. Where it does not any more, pods that are taken away could be the
    /// ones that traffic still goes to.
    #[must_use]
    pub fn knows_the_split(&self) -> bool {
        let strategy = self.snapshot.rollout.spec.strategy.as_ref();
        let given = strategy.map_or((false, false), |s| (s.canary.is_some(), s.blue_green.is_some()));
        match given {
            (true, false) | (false, true) => true,
            (true, true) => false,
            (false, false) => self.snapshot.rollout.status.as_ref().is_none_or(|status| {
                let weights = status.canary.as_ref().and_then(|canary| canary.weights.as_ref());
                let active = status.blue_green.as_ref().and_then(|found| found.active_selector.as_ref());
                weights.is_none() && active.is_none()
            }),
        }
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

    /// The whole of the weights.
    #[must_use]
    pub const fn scale(&self) -> Weight {
        match &self.spec.strategy {
            Strategy::Routed(routing) => routing.scale,
            Strategy::ByPods | Strategy::BlueGreen(_) => Weight::FULL,
        }
    }

    /// The weight in force at the current position: that of the last `setWeight` at or before it.
    #[must_use]
    pub fn weight(&self, progress: &Progress) -> Weight {
        if progress.promote_full || progress.index.get() >= self.spec.steps.len() {
            return self.scale();
        }
        self.last_weight(progress.index.get().saturating_add(1))
    }

    /// The weight that the first `count` steps lead to.
    #[must_use]
    pub fn last_weight(&self, count: usize) -> Weight {
        let mut weights = self.spec.steps.iter().take(count).filter_map(|step| match step {
            Step::SetWeight(weight) => Some(*weight),
            Step::SetCanaryScale(_)
            | Step::SetRoute { .. }
            | Step::Pause(_)
            | Step::Analysis(_)
            | Step::Experiment(_) => None,
        });
        weights.next_back().unwrap_or(Weight::ZERO)
    }

    /// Whether the update goes on without pauses and analyses, because a person said so or because the version is known.
    #[must_use]
    pub fn skips_analysis(&self, progress: &Progress) -> bool {
        progress.promote_full || self.is_within_window(progress)
    }

    /// Whether the wanted revision is one to go straight back to: older than stable by fewer revisions than the rollback
    /// window, and not one that was taken back.
    #[must_use]
    pub fn is_within_window(&self, progress: &Progress) -> bool {
        let (Some(new), Some(stable)) = (self.new_set(progress), self.stable_set(progress)) else {
            return false;
        };
        let (Some(from), Some(to)) = (new.created_at, stable.created_at) else { return false };
        let between = self
            .snapshot
            .replica_sets
            .iter()
            .filter(|set| set.created_at.is_some_and(|created| created > from && created < to));
        from < to && new.outcome != Some(Outcome::Aborted) && between.count() < self.spec.rollback_window
    }

    /// The revision that a Service, or a destination whose pods the router itself chooses, selects; `None` when there is
    /// none of that name or it selects every revision.
    #[must_use]
    pub fn selected(&self, name: &str) -> Option<PodHash> {
        if let Some(role) = role_labels::of_service(self.snapshot, name) {
            return role_labels::selected(self.snapshot, role);
        }
        if let Some(service) = self.snapshot.services.get(name) {
            return service.selector.get(POD_TEMPLATE_HASH).cloned().and_then(PodHash::new);
        }
        let behind = self.snapshot.traffic.as_ref()?.behind.get(name)?;
        behind.clone().or_else(|| self.labelled(name))
    }

    /// The revisions that requests through a Service, or to such a destination, may reach: the one that it selects, or two
    /// while labels of pods change over.
    #[must_use]
    pub fn behind(&self, name: &str) -> Vec<PodHash> {
        match role_labels::of_service(self.snapshot, name) {
            Some(role) => role_labels::behind(self.snapshot, role).map(|set| set.hash.clone()).collect(),
            None => self.selected(name).into_iter().collect(),
        }
    }

    /// The revision that a subset of this Rollout's led to before somebody took its label away: it is about to get it back.
    fn labelled(&self, name: &str) -> Option<PodHash> {
        let Strategy::Routed(Routing { destinations: Destinations::Subsets { canary, stable }, .. }) =
            &self.spec.strategy
        else {
            return None;
        };
        if self.snapshot.traffic.as_ref()?.owner != self.snapshot.rollout.metadata.name {
            return None;
        }
        let weights = self.snapshot.rollout.status.as_ref()?.canary.as_ref()?.weights.as_ref()?;
        let told = match name {
            _ if name == canary => &weights.canary,
            _ if name == stable => &weights.stable,
            _ => return None,
        };
        told.pod_template_hash.clone().and_then(PodHash::new)
    }

    /// What the active and the preview Service of a blue-green rollout select, in this order.
    #[must_use]
    pub fn selections(&self) -> (Option<PodHash>, Option<PodHash>) {
        match &self.spec.strategy {
            Strategy::BlueGreen(strategy) => (
                self.selected(&strategy.active_service),
                strategy.preview_service.as_ref().and_then(|service| self.selected(service)),
            ),
            Strategy::ByPods | Strategy::Routed(_) => (None, None),
        }
    }

    /// Whether users' traffic goes, or may go, to the pods of a revision. Where pods share it by their number it goes to
    /// all. A preview does not count: it goes on showing a version that was taken back.
    #[must_use]
    pub fn is_served(&self, progress: &Progress, hash: &PodHash) -> bool {
        match &self.spec.strategy {
            Strategy::ByPods => true,
            Strategy::Routed(routing) => weights::is_served(self, progress, routing, hash),
            Strategy::BlueGreen(strategy) => self.selected(&strategy.active_service).as_ref() == Some(hash),
        }
    }

    /// Whether users' traffic goes, or may go, to the pods of a revision; a preview is not for users.
    #[must_use]
    pub fn serves_users(&self, progress: &Progress, hash: &PodHash) -> bool {
        match &self.spec.strategy {
            Strategy::BlueGreen(strategy) => self.selected(&strategy.active_service).as_ref() == Some(hash),
            Strategy::ByPods | Strategy::Routed(_) => self.is_served(progress, hash),
        }
    }

    /// What is wrong with the router; `None` when nothing is, or when there is none.
    #[must_use]
    pub fn router_trouble(&self) -> Option<Trouble> {
        let Strategy::Routed(_) = &self.spec.strategy else { return None };
        if let Some(refusal) = &self.snapshot.route_refusal {
            return Some(Trouble::Stays(format!("the router cannot be told: {refusal}")));
        }
        match &self.snapshot.traffic {
            None if self.snapshot.leaves_route => Some(Trouble::Stays(
                "the route that the spec named before cannot be read, and may still lead to the canary"
                    .to_owned(),
            )),
            None => Some(Trouble::Stays("the router cannot be read".to_owned())),
            Some(traffic) if traffic.verified == Some(false) => Some(match &traffic.trouble {
                Some(why) => Trouble::Stays(format!("the router does not take its weights: {why}")),
                None => Trouble::Passes("the router does not follow its weights yet"),
            }),
            Some(_) if self.snapshot.leaves_route => Some(Trouble::Stays(
                "the canary's share leaves the route that the spec named before".to_owned(),
            )),
            Some(_) => endpoints::trouble(self).map(Trouble::Passes),
        }
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

    /// Whether traffic and pods are split as `weight` asks for, with the new pods available and no old ones serving.
    #[must_use]
    pub fn is_at(&self, progress: &Progress, weight: Weight) -> bool {
        if let Strategy::Routed(routing) = &self.spec.strategy {
            return weights::is_at(self, progress, routing, weight);
        }
        let goal = self.goal(progress, weight);
        let new = self.has_new(progress, goal.new);
        let stable = match self.stable_set(progress) {
            Some(set) => progress.is_settled() || is_exactly(set, goal.stable),
            None => true,
        };
        new && stable && self.other_sets(progress).iter().all(|set| set.available == ReplicaCount::ZERO)
    }

    /// Whether the wanted revision has exactly `size` pods, and enough of them available.
    #[must_use]
    pub fn has_new(&self, progress: &Progress, size: u32) -> bool {
        self.new_set(progress).map_or(size == 0, |set| {
            set.observed && is_exactly(set, size) && self.spec.threshold.is_met(set.available.get(), size)
        })
    }

    /// Whether the wanted revision alone could serve everything.
    #[must_use]
    pub fn is_new_available(&self, progress: &Progress) -> bool {
        self.new_set(progress).is_some_and(|set| self.is_whole(set))
    }

    /// Whether the stable revision alone could serve everything.
    #[must_use]
    pub fn is_stable_available(&self, progress: &Progress) -> bool {
        self.stable_set(progress).is_some_and(|set| set.observed && set.available >= self.spec.replicas)
    }

    fn is_whole(&self, set: &ReplicaSet) -> bool {
        let wanted = self.spec.replicas;
        set.observed && set.size >= wanted && self.spec.threshold.is_met(set.available.get(), wanted.get())
    }
}

/// What is wrong with a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It goes away by itself, as a rule.
    Passes(&'static str),
    /// Somebody has to look at it.
    Stays(String),
}

impl Trouble {
    /// What is said of it.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Passes(text) => text,
            Self::Stays(text) => text,
        }
    }
}

/// What the active and the preview Service selected when the status was written.
pub(super) fn stored_selections(status: &RolloutStatus) -> (Option<PodHash>, Option<PodHash>) {
    let stored = status.blue_green.clone().unwrap_or_default();
    (stored.active_selector.and_then(PodHash::new), stored.preview_selector.and_then(PodHash::new))
}

/// Whether a ReplicaSet wants `size` pods and has them, available or not.
pub(super) fn is_exactly(set: &ReplicaSet, size: u32) -> bool {
    set.size.get() == size && set.replicas.get() == size
}

fn pods(set: Option<&ReplicaSet>) -> Pods {
    set.map_or_else(Pods::default, |set| Pods { size: set.size.get(), available: set.available.get() })
}
