//! Follows users' traffic: where the router and the Services really send it, and which pods are there for it.

use std::collections::BTreeMap;
use std::time::Duration;

use serin::sim::endpoints::NOBODY;
use serin::sim::experiments::Served;
use serin::sim::simulation::Happening;
use serin::sim::{Moment, Simulation};
use serin::units::Timestamp;

use crate::specs::{Spec, Split};

/// Longest time that users may be sent to dead pods: what the controller needs to come back, to write in spite of a server
/// that refuses, and the router to follow.
const LONGEST_WASTE: Duration = Duration::from_mins(10);

/// Longest time that a first share waits for endpoints that nobody can read.
const LONGEST_UNREADABLE: Duration = Duration::from_secs(30);

/// The shares of the revisions, by hash; what goes to a Service that selects all revisions is nobody's.
pub(crate) fn shares(spec: &Spec, simulation: &Simulation) -> BTreeMap<String, u32> {
    let cluster = &simulation.cluster;
    let by_service: BTreeMap<String, u32> = match spec.split {
        // Nobody knows what goes through them: a version that is selected has a pod, and that is all.
        Split::Pods => [("web-stable".to_owned(), 1), ("web-canary".to_owned(), 1)].into(),
        Split::Router => cluster.shares().clone(),
        Split::BlueGreen => [("web-active".to_owned(), 1)].into(),
    };
    cluster.divided(&by_service)
}

/// Whether nobody could read endpoints for so long that first shares do not wait for them any more.
fn is_open(simulation: &Simulation) -> bool {
    // Nobody knows that they could be read between two looks.
    let failing = simulation.controller.memory().endpoints_failing.as_ref();
    let is_unreadable = simulation.cluster.endpoints_unreadable_since().is_some();
    is_unreadable
        && failing.is_some_and(|failing| {
            simulation.cluster.controller_now().since(failing.since) >= LONGEST_UNREADABLE
        })
}

/// What is known of the traffic.
#[derive(Debug)]
pub(crate) struct Traffic<'a> {
    spec: &'a Spec,
    sizes: BTreeMap<String, u32>,
    /// Ready pods of each revision.
    ready: BTreeMap<String, usize>,
    shares: BTreeMap<String, u32>,
    /// What the router gave each Service.
    by_service: BTreeMap<String, u32>,
    /// What users got of Services of Experiments.
    experiments: BTreeMap<String, Served>,
    /// Since when each of them has had a share and no pod.
    dead: BTreeMap<String, Timestamp>,
    wasted_since: Option<Timestamp>,
    /// Whether pods only come and go as the controller wants, so that it can have them ready for every share.
    is_calm: bool,
    /// What should not have happened.
    pub(crate) violation: Option<String>,
}

impl<'a> Traffic<'a> {
    pub(crate) const fn new(spec: &'a Spec, is_calm: bool) -> Self {
        Self {
            spec,
            sizes: BTreeMap::new(),
            ready: BTreeMap::new(),
            shares: BTreeMap::new(),
            by_service: BTreeMap::new(),
            experiments: BTreeMap::new(),
            dead: BTreeMap::new(),
            wasted_since: None,
            is_calm,
            violation: None,
        }
    }

    /// Looks at what has happened.
    pub(crate) fn observe(&mut self, moment: &Moment<'_>, simulation: &Simulation) {
        let shares = shares(self.spec, simulation);
        if matches!(moment, Moment::Happening(Happening::Pass(_))) {
            self.taken(&shares, simulation);
        }
        if self.is_calm {
            self.crowded(&shares, simulation);
            self.unpublished(simulation);
            if shares.contains_key(NOBODY) {
                self.found(
                    simulation,
                    "a Service has a share, and no pod carries the label that it selects by",
                );
            }
        }
        self.wasted(&shares, simulation);
        self.experiments(simulation);
        let revisions = simulation.cluster.revisions();
        self.ready = revisions.iter().map(|pods| (pods.hash.clone(), pods.ready)).collect();
        self.sizes = revisions.into_iter().map(|pods| (pods.hash.clone(), pods.size.get())).collect();
        self.shares = shares;
        self.by_service.clone_from(simulation.cluster.shares());
    }

    fn found(&mut self, simulation: &Simulation, wrong: &str) {
        self.violation.get_or_insert(format!("at {}: {wrong}", simulation.now()));
    }

    /// No pods are taken from a revision that requests are sent to, but those that its share does not need, and those of one
    /// that is dead already.
    fn taken(&mut self, shares: &BTreeMap<String, u32>, simulation: &Simulation) {
        let replicas = crate::replicas(simulation);
        let stable = crate::status(simulation).stable_rs;
        let left: BTreeMap<String, u32> = simulation
            .cluster
            .revisions()
            .into_iter()
            .map(|pods| (pods.hash.clone(), pods.size.get()))
            .collect();
        for (hash, before) in self.sizes.clone() {
            let now = left.get(&hash).copied().unwrap_or_default();
            let share = shares.get(&hash).copied().unwrap_or_default();
            let scale = self.spec.scale;
            let is_sized = self.spec.sizes_canary && Some(&hash) != stable.as_ref();
            let least = if is_sized { 1 } else { (replicas * share).div_ceil(scale) };
            let is_allowed = self.spec.split == Split::Pods && self.spec.unavailable >= replicas;
            let is_dead = self.ready.get(&hash).is_none_or(|ready| *ready == 0);
            let least = if is_allowed || (is_dead && self.spec.split == Split::Pods) { 0 } else { least };
            if share > 0 && now < before && now < least.min(replicas) {
                let wrong = format!(
                    "{hash} went from {before} pods to {now} with a share of {share} out of {scale} for {replicas}"
                );
                self.found(simulation, &wrong);
            }
        }
    }

    /// A share rises only where the pods that it takes are available.
    fn crowded(&mut self, shares: &BTreeMap<String, u32>, simulation: &Simulation) {
        let stable = crate::status(simulation).stable_rs;
        if stable.is_none() && self.spec.selects_by_role() {
            // A Service leads to the very first pods as they become ready, whatever the controller does.
            return;
        }
        for pods in simulation.cluster.revisions() {
            let [share, before] =
                [shares, &self.shares].map(|shares| shares.get(&pods.hash).copied().unwrap_or_default());
            let is_sized = self.spec.sizes_canary && Some(&pods.hash) != stable.as_ref();
            if share <= before || is_sized || self.spec.split == Split::Pods {
                continue;
            }
            let wanted = (crate::replicas(simulation) * share).div_ceil(self.spec.scale);
            if pods.available.get() * 100 < wanted * self.spec.enough {
                let (hash, available) = (&pods.hash, pods.available);
                let wrong = format!("{hash} has {available} pods for a share that takes {wanted}");
                self.found(simulation, &wrong);
            }
        }
    }

    /// A Service gets its first share only once the pods that it takes are published behind it, unless nobody could read
    /// that for long.
    fn unpublished(&mut self, simulation: &Simulation) {
        let cluster = &simulation.cluster;
        let is_open = is_open(simulation);
        let is_first_of_all = self.by_service.values().all(|share| *share == 0);
        if is_open || is_first_of_all || self.spec.split != Split::Router {
            return;
        }
        let reached = cluster.reached();
        for (service, share) in cluster.shares() {
            let before = self.by_service.get(service).copied().unwrap_or_default();
            let versions = reached.get(service).map_or(0, BTreeMap::len);
            if before == 0 && *share > 0 && versions > 1 {
                self.found(simulation, &format!("{service} got {share}, and leads to {versions} versions"));
            }
            let reached = reached.get(service).into_iter().flat_map(BTreeMap::values);
            let reached: u32 = reached.map(|pods| pods.get()).sum();
            let wanted = (crate::replicas(simulation) * share).div_ceil(self.spec.scale);
            let least = if self.spec.sizes_canary { wanted.min(1) } else { wanted };
            if before == 0 && *share > 0 && reached * 100 < least * self.spec.enough {
                self.found(simulation, &format!("{service} got {share}, and leads to {reached} pods"));
            }
        }
    }

    /// A Service of an Experiment gets its first share only once all of its pods are published behind it, keeps them for as
    /// long as it has one, and never has one for long without any. All of them take it from stable.
    fn experiments(&mut self, simulation: &Simulation) {
        let served = simulation.cluster.served_by_experiments();
        for (name, now) in &served {
            let before = self.experiments.get(name).cloned().unwrap_or_default();
            let is_first = now.share > 0 && before.share == 0;
            if is_first && self.is_calm && !is_open(simulation) && (now.reached < now.size || now.size == 0) {
                self.found(
                    simulation,
                    &format!("Experiment's Service {name} got its first share with {now:?}"),
                );
            }
            if now.share > 0 && now.size < before.size {
                self.found(
                    simulation,
                    &format!("Experiment's Service {name} lost pods with its share: {now:?}"),
                );
            }
            let is_dead = now.share > 0 && now.ready == 0;
            let since = *self.dead.entry(name.clone()).or_insert(simulation.now());
            if !is_dead {
                self.dead.remove(name);
            } else if simulation.now().since(since) > LONGEST_WASTE {
                self.found(simulation, &format!("requests have gone to nobody behind {name} since {since}"));
            }
        }
        let all: u32 = served.values().map(|served| served.share).sum();
        let of_canary = simulation.cluster.shares().values().sum::<u32>();
        if all > 0 && all > of_canary {
            self.found(simulation, &format!("Experiments have {all} of {of_canary}"));
        }
        self.experiments = served;
    }

    /// No requests are sent to dead pods for long while stable could answer them.
    fn wasted(&mut self, shares: &BTreeMap<String, u32>, simulation: &Simulation) {
        let stable = crate::status(simulation).stable_rs;
        let ready: BTreeMap<String, usize> =
            simulation.cluster.revisions().into_iter().map(|pods| (pods.hash.clone(), pods.ready)).collect();
        let is_ready = |hash: &String| ready.get(hash).is_some_and(|ready| *ready > 0);
        let could_answer = stable.as_ref().is_some_and(is_ready);
        let could_answer = could_answer && self.spec.split != Split::Pods;
        let wasted = shares.keys().find(|hash| could_answer && !is_ready(hash));
        match (wasted, self.wasted_since) {
            (None, _) => self.wasted_since = None,
            (Some(_), None) => self.wasted_since = Some(simulation.now()),
            (Some(hash), Some(since)) if simulation.now().since(since) > LONGEST_WASTE => {
                let wrong = format!("requests have gone to {hash}, which is dead, since {since}");
                self.found(simulation, &wrong);
            }
            (Some(_), Some(_)) => {}
        }
    }
}
