//! The routes that some requests have to the canary whatever its share: those that steps make, and the one of users who were
//! on it before.

use std::collections::BTreeMap;

use super::progress::Progress;
use super::valid::{Routing, Step};
use super::world::World;
use super::{endpoints, weights};
use crate::traffic::{ManagedRoute, ObservedTraffic, Session, TrafficTarget};
use crate::units::Weight;

/// The routes for some requests that there should be now on the way to `goal`: none to pods that are not there, and no new
/// one to those that requests do not reach yet. Users stay where the split may lead others.
pub(super) fn managed(
    world: &World,
    progress: &Progress,
    routing: &Routing,
    goal: Weight,
) -> Vec<ManagedRoute> {
    let answering = world.new_set(progress).filter(|set| set.available.get() > 0);
    let Some(set) = answering.filter(|_| weights::is_behind(world, progress, routing)) else { return vec![] };
    let reached = endpoints::reached(world, weights::roles(routing, progress).canary, set);
    let is_reached = reached.is_none_or(|pods| pods.get() > 0);
    let has_share = weights::risen(world, progress, routing, goal) > Weight::ZERO;
    let observed = world.snapshot.traffic.as_ref().map(|traffic| &traffic.managed);
    let is_there = |route: &ManagedRoute| {
        observed.and_then(|found| found.get(&route.name)?.as_ref()).is_some_and(|found| found == route)
    };
    let mut routes = made(world, progress, routing);
    routes.retain(|route| is_reached || is_there(route));
    routes.retain(|route| has_share || route.session().is_none());
    routes
}

/// The routes for some requests that the steps up to now make: none once the steps are over, or the update is taken back.
pub(super) fn made(world: &World, progress: &Progress, routing: &Routing) -> Vec<ManagedRoute> {
    let is_over = progress.abort || progress.promote_full || progress.is_settled();
    if is_over || world.snapshot.leaves_route {
        return vec![];
    }
    let mut rules = BTreeMap::new();
    for step in world.spec.steps.iter().take(progress.index.get().saturating_add(1)) {
        match step {
            Step::SetRoute { name, rule: Some(rule) } => drop(rules.insert(name, rule)),
            Step::SetRoute { name, rule: None } => drop(rules.remove(name)),
            Step::SetWeight(_)
            | Step::SetCanaryScale(_)
            | Step::Pause(_)
            | Step::Analysis(_)
            | Step::Experiment(_) => {}
        }
    }
    let in_order = routing.managed.iter().filter_map(|name| rules.remove(name).map(|rule| (name, rule)));
    let in_order = in_order.map(|(name, rule)| ManagedRoute { name: name.clone(), rule: rule.clone() });
    in_order.chain(session(world, progress, routing)).collect()
}

/// The route for users who were on the canary before, for as long as steps give it a share.
fn session(world: &World, progress: &Progress, routing: &Routing) -> Option<ManagedRoute> {
    let cookie = routing.cookie.clone().filter(|_| world.weight(progress) > Weight::ZERO)?;
    if !progress.milestones.is_empty() {
        // The status tells of the update before; its users are not this one's.
        return None;
    }
    Session::with(cookie, &world.snapshot.rollout).map(ManagedRoute::of_session)
}

/// Whether those requests have a route of their own that should, and no others.
pub(super) fn are_there(target: &TrafficTarget, observed: &ObservedTraffic) -> bool {
    observed.managed == by_name(&target.managed)
}

pub(super) fn by_name(routes: &[ManagedRoute]) -> BTreeMap<String, Option<ManagedRoute>> {
    routes.iter().map(|route| (route.name.clone(), Some(route.clone()))).collect()
}
