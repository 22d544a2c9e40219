//! A router: it sends shares of the traffic to Services, and follows what it is told after a while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::caches::Writer;
use super::cluster::{ApiError, Cluster};
use crate::api::Rollout;
use crate::traffic::{ManagedRoute, ObservedTraffic};
use crate::units::Timestamp;

/// Shares by Service.
type Shares = BTreeMap<String, u32>;

/// The Services of Experiments that a Rollout's status tells of, by which alone they are known on a route.
pub(super) fn known_experiments(rollout: &Rollout) -> BTreeSet<String> {
    let canary = rollout.status.as_ref().and_then(|status| status.canary.as_ref());
    let told = canary.and_then(|canary| canary.weights.as_ref()?.additional.as_ref()).into_iter().flatten();
    told.filter_map(|share| share.service_name.clone()).collect()
}

/// The router.
#[derive(Clone, Debug, Default)]
pub(super) struct Router {
    told: Shares,
    /// What Experiments get of stable's.
    told_experiments: Shares,
    /// Routes of its own that some requests have.
    managed: BTreeMap<String, Option<ManagedRoute>>,
    /// What it really does.
    does: Shares,
    does_for_experiments: Shares,
    /// From being told to doing it; `None` where nobody can ask whether it follows.
    delay: Option<Duration>,
    /// When it follows.
    follows_at: Option<Timestamp>,
    is_unreadable: bool,
    /// Whether its fields are noted as the controller's.
    is_held: bool,
    /// Why it does not take what it is told.
    refusal: Option<String>,
}

impl Router {
    /// It is told to split the traffic.
    pub(super) fn route(&mut self, shares: Shares, now: Timestamp) -> Result<(), ApiError> {
        if self.is_unreadable {
            return Err(ApiError::NotFound);
        }
        self.told = shares;
        self.follows_at = self.delay.map(|delay| now.plus(delay));
        if self.delay.is_none() && self.refusal.is_none() {
            self.follow();
        }
        Ok(())
    }

    /// It is told what Experiments get; those that are not `known` keep what they have.
    pub(super) fn serve(&mut self, known: &BTreeSet<String>, wanted: Shares) {
        self.told_experiments.retain(|name, _| !known.contains(name));
        self.told_experiments.extend(wanted);
        if self.delay.is_none() && self.refusal.is_none() {
            self.follow();
        }
    }

    fn follow(&mut self) {
        self.does.clone_from(&self.told);
        self.does_for_experiments.clone_from(&self.told_experiments);
    }

    fn follows(&self) -> bool {
        self.told == self.does && self.told_experiments == self.does_for_experiments
    }

    /// It is told which requests have routes of their own.
    pub(super) fn manage(&mut self, routes: &[ManagedRoute]) {
        self.is_held = true;
        self.managed = routes.iter().map(|route| (route.name.clone(), Some(route.clone()))).collect();
    }

    /// Its fields are its owner's again.
    pub(super) const fn give_back(&mut self) {
        self.is_held = false;
    }

    /// What can be read of it.
    pub(super) fn observe(&self) -> Option<ObservedTraffic> {
        let can_be_asked = self.delay.is_some() || self.refusal.is_some();
        let verified = can_be_asked.then(|| self.follows());
        (!self.is_unreadable).then(|| ObservedTraffic {
            experiments: self.told_experiments.clone(),
            shares: self.told.clone(),
            behind: BTreeMap::new(),
            owner: None,
            managed: self.managed.clone(),
            verified,
            trouble: self.refusal.clone().filter(|_| !self.follows()),
            is_unclear: false,
            is_exchanging: false,
            is_held: self.is_held,
        })
    }
}

impl Cluster {
    /// The share of each Service of an Experiment as the router splits the traffic now.
    pub(super) const fn shares_of_experiments(&self) -> &BTreeMap<String, u32> {
        &self.router.does_for_experiments
    }

    /// The share of each Service as the router splits the traffic now; stable's holds what Experiments have, too.
    #[must_use]
    pub const fn shares(&self) -> &BTreeMap<String, u32> {
        &self.router.does
    }

    /// How long the router takes to follow from now on; `None` for one that nobody can ask.
    pub fn set_router_delay(&mut self, delay: Option<Duration>) {
        self.router.delay = delay;
        self.router.follows_at = delay.map(|delay| self.now().plus(delay));
        if delay.is_none() && self.router.refusal.is_none() {
            self.router.follow();
        }
        self.publish_router(Writer::Other);
    }

    /// Whether the route can be read.
    pub fn set_router_readable(&mut self, is_readable: bool) {
        self.router.is_unreadable = !is_readable;
        self.publish_router(Writer::Other);
    }

    /// The router takes nothing from now on, and says why, or takes what it was told again.
    pub fn set_router_refusal(&mut self, why: Option<String>) {
        let is_over = why.is_none();
        self.router.refusal = why;
        if is_over {
            self.router.follow();
        }
        self.publish_router(Writer::Other);
    }

    /// Somebody else rewrites the route.
    pub fn rewrite_route(&mut self, shares: BTreeMap<String, u32>) {
        let now = self.now();
        if self.router.route(shares, now).is_ok() {
            let all = self.router.told_experiments.keys().cloned().collect();
            self.router.serve(&all, BTreeMap::new());
            self.publish_router(Writer::Other);
        }
    }

    /// When the router changes next by itself.
    pub(super) const fn next_router_change(&self) -> Option<Timestamp> {
        self.router.follows_at
    }

    /// The router does what it is due to do.
    pub(super) fn advance_router(&mut self) {
        if self.router.follows_at.is_some_and(|at| at <= self.now()) {
            self.router.follows_at = None;
            if self.router.refusal.is_some() {
                return;
            }
            self.router.follow();
            self.publish_router(Writer::Other);
        }
    }
}
