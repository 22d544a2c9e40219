//! The controller of endpoints: it publishes which pods are behind each Service, at once or late.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::cluster::Cluster;
use super::late::Late;
use super::live_pods::name_of;
use crate::api::Rollout;
use crate::api::labels::POD_TEMPLATE_HASH;
use crate::rollout::endpoints::{Behind, Failing, Reading};
use crate::rollout::pods::Pod;
use crate::rollout::role_labels::is_key;
use crate::units::{ReplicaCount, Timestamp};

/// Whose the requests are that reach no pod although there are ready ones.
pub const NOBODY: &str = "nobody";

/// Labels that a Service selects pods by.
type Selector = BTreeMap<String, String>;
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
        let ready = || self.pods.iter().filter(|(_, pod)| pod.ready_since.is_some());
        let selected = |selector: &Selector| {
            ready()
                .filter(|(_, pod)| selects(selector, &pod.labels))
                .map(|(number, _)| name_of(*number))
                .collect()
        };
        let of_experiments = &self.config.of_experiments;
        let of_experiments =
            of_experiments.iter().map(|(name, owned)| (name.as_str(), &owned.service.selector));
        let services = self.selectors().chain(of_experiments);
        services.map(|(name, selector)| (name.to_owned(), selected(selector))).collect()
    }

    /// What is sent to each revision, by hash, of what goes to each Service. A Service that selects by a role's label divides
    /// it among the ready pods that carry it; what reaches none of the pods that are ready is nobody's, and what goes to
    /// a Service that selects all revisions is not counted.
    #[must_use]
    pub fn divided(&self, by_service: &BTreeMap<String, u32>) -> BTreeMap<String, u32> {
        let mut shares = BTreeMap::new();
        for (service, selector) in self.selectors() {
            let share = by_service.get(service).copied().unwrap_or_default();
            if share == 0 {
                continue;
            }
            if let Some(hash) = selector.get(POD_TEMPLATE_HASH) {
                *shares.entry(hash.clone()).or_default() += share;
            } else if selector.keys().any(|key| is_key(key)) {
                for (hash, part) in self.parts(selector, share) {
                    *shares.entry(hash).or_default() += part;
                }
            }
        }
        shares
    }

    /// A share by the revisions of the ready pods that a selector finds.
    fn parts(&self, selector: &Selector, share: u32) -> BTreeMap<String, u32> {
        let ready = || self.pods.values().filter(|pod| pod.ready_since.is_some());
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for pod in ready().filter(|pod| selects(selector, &pod.labels)) {
            if let Some(hash) = pod.labels.get(POD_TEMPLATE_HASH) {
                *counts.entry(hash.clone()).or_default() += 1;
            }
        }
        let all: u32 = counts.values().sum();
        if all == 0 && ready().next().is_some() {
            return BTreeMap::from([(NOBODY.to_owned(), share)]);
        }
        counts.into_iter().map(|(hash, count)| (hash, (share * count).div_ceil(all))).collect()
    }
}

/// Whether a selector finds what carries these labels.
fn selects(selector: &Selector, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}
