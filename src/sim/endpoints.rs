//! The controller of endpoints: it publishes which pods are behind each Service, at once or late.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::cluster::Cluster;
use super::late::Late;
use super::live_pods::name_of;
use super::replica_sets::ReplicaSet;
use crate::api::Rollout;
use crate::api::labels::POD_TEMPLATE_HASH;
use crate::rollout::endpoints::{Behind, Failing, Reading};
use crate::rollout::pods::Pod;
use crate::units::{PodHash, ReplicaCount, Timestamp};

/// Names of the pods behind each Service.
type Published = BTreeMap<String, BTreeSet<String>>;

/// The controller.
#[derive(Clone, Debug, Default)]
pub(super) struct Publisher {
    late: Late<Published>,
    /// Since when nobody can read what it publishes.
    unreadable_since: Option<Timestamp>,
}

impl Cluster {
    /// How much later than a change endpoints are published from now on.
    pub fn set_endpoints_lag(&mut self, lag: Duration) {
        self.publisher.late.set_lag(lag);
    }

    /// Whether endpoints can be read.
    pub fn set_endpoints_readable(&mut self, is_readable: bool) {
        let since = self.publisher.unreadable_since.unwrap_or(self.now());
        self.publisher.unreadable_since = (!is_readable).then_some(since);
    }

    /// Since when endpoints cannot be read; `None` while they can.
    #[must_use]
    pub const fn endpoints_unreadable_since(&self) -> Option<Timestamp> {
        self.publisher.unreadable_since
    }

    /// Notes which pods are behind each Service now, to be published when it is time.
    pub(super) fn note_endpoints(&mut self) {
        let state = self.publisher.late.is_late().then(|| self.ready_behind());
        self.publisher.late.note(self.now(), state);
    }

    /// How many pods of each ReplicaSet requests to each Service reach: those that are published and still there.
    #[must_use]
    pub fn reached(&self) -> Behind {
        self.published_of(&self.stored_pods())
    }

    /// What a look finds, after those before it that have failed.
    pub(super) fn read_endpoints(&self, failing: Option<Failing>, rollout: &Rollout) -> Reading {
        if self.publisher.unreadable_since.is_some() {
            return Reading::Unreadable {
                since: Failing::again(failing, rollout, self.controller_now()).since,
            };
        }
        Reading::Found(self.published_of(&self.list_pods()))
    }

    /// How many of these pods are published behind each Service, by ReplicaSet.
    fn published_of(&self, pods: &[Pod]) -> Behind {
        let count = |names: &BTreeSet<String>| {
            let mut counts = BTreeMap::new();
            for pod in pods.iter().filter(|pod| names.contains(&pod.name)) {
                let count = counts.entry(pod.replica_set.clone()).or_insert(ReplicaCount::ZERO);
                *count = count.plus(ReplicaCount::new(1));
            }
            counts
        };
        let now = self.ready_behind();
        let published = self.publisher.late.shown(self.now()).unwrap_or(&now);
        published.iter().map(|(service, names)| (service.clone(), count(names))).collect()
    }

    /// The ready pods that each Service selects.
    fn ready_behind(&self) -> Published {
        let ready: Vec<(Option<PodHash>, String)> = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.ready_since.is_some())
            .map(|(number, pod)| {
                (self.replica_sets.get(&pod.replica_set).and_then(ReplicaSet::hash), name_of(*number))
            })
            .collect();
        let selected = |hash: Option<&String>| {
            let is_of = |of: &Option<PodHash>| {
                hash.is_none_or(|hash| of.as_ref().is_some_and(|of| of.as_str() == hash))
            };
            ready.iter().filter(|(of, _)| is_of(of)).map(|(_, name)| name.clone()).collect()
        };
        let of_experiments = &self.config.of_experiments;
        let of_experiments =
            of_experiments.iter().map(|(name, owned)| (name.as_str(), &owned.service.selector));
        let services = self.selectors().chain(of_experiments);
        services
            .map(|(name, selector)| (name.to_owned(), selected(selector.get(POD_TEMPLATE_HASH))))
            .collect()
    }
}
