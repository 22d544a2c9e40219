//! Which share a router gives the canary now, and how many pods that takes. Pure arithmetic over what is observed.
//!
//! Three rules keep requests away from pods that are not there. A share rises only once the pods that it takes are
//! available, and only while its destination selects the wanted revision. Pods go only once the share that needs them was
//! *observed* to be gone. And a share falls at once, but never faster than stable can take it up. A router that cannot be
//! read holds everything where it is.

use super::progress::{PingPong, Progress};
use super::replicas::{Split, pods_for, share_of};
use super::snapshot::{ReplicaSet, Snapshot};
use super::valid::{CanaryScale, Destinations, Routing, StableScale, Step, Strategy};
use super::world::{World, is_exactly};
use super::{endpoints, experiments, role_labels, routes};
use crate::traffic::{Destination, ObservedTraffic, TrafficTarget};
use crate::units::{PodHash, Weight};

/// Names of the two destinations, by the roles that they have now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Roles<'a> {
    pub(super) canary: &'a str,
    pub(super) stable: &'a str,
}

/// Which destination has which role.
pub(super) fn roles<'a>(routing: &'a Routing, progress: &Progress) -> Roles<'a> {
    match (&routing.destinations, progress.stable_ping_pong) {
        (Destinations::ByRole { canary, stable } | Destinations::Subsets { canary, stable }, _) => {
            Roles { canary, stable }
        }
        (Destinations::PingPong { ping, pong }, Some(PingPong::Ping)) => Roles { canary: pong, stable: ping },
        (Destinations::PingPong { ping, pong }, Some(PingPong::Pong) | None) => {
            Roles { canary: ping, stable: pong }
        }
    }
}

/// The canary's share that is in force; `None` when it is not known.
pub(super) fn observed(world: &World, progress: &Progress, routing: &Routing) -> Option<Weight> {
    let share = world.snapshot.traffic.as_ref()?.share(roles(routing, progress).canary)?;
    Some(share.min(routing.scale))
}

/// The canary's share that the router was told, whether or not it follows yet; `None` when it cannot be read.
pub(super) fn told(world: &World, progress: &Progress, routing: &Routing) -> Option<Weight> {
    let traffic = world.snapshot.traffic.as_ref()?;
    let name = roles(routing, progress).canary;
    let share = traffic.shares.get(name).copied();
    // Where the route makes no sense, it is about to say again what it was told last.
    let told =
        world.snapshot.told.as_ref().filter(|told| traffic.is_unclear && told.target.canary.name == name);
    let share = share.or(told.map(|told| told.target.weight.get())).unwrap_or_default();
    Some(Weight::observed(share).min(routing.scale))
}

/// Whether the router was observed to send everything to the wanted revision.
pub(super) fn has_everything(world: &World, progress: &Progress, routing: &Routing) -> bool {
    observed(world, progress, routing) == Some(routing.scale) && leads_there(world, progress, routing)
}

/// Whether a version that was taken back may still get a share, though nothing is on its way any more.
pub(super) fn is_leaving(world: &World, progress: &Progress, routing: &Routing) -> bool {
    let behind = world.behind(roles(routing, progress).canary);
    let is_another = behind.iter().any(|hash| Some(hash) != progress.stable.as_ref());
    is_another && observed(world, progress, routing) != Some(Weight::ZERO)
}

/// Whether the canary's destination selects the wanted revision and nothing else now.
fn leads_there(world: &World, progress: &Progress, routing: &Routing) -> bool {
    is_behind(world, progress, routing) && !leads_anywhere(world, roles(routing, progress).canary)
}

/// Whether a destination whose pods the router itself chooses leads to pods of any revision.
fn leads_anywhere(world: &World, name: &str) -> bool {
    let observed = world.snapshot.traffic.as_ref();
    observed.is_some_and(|traffic| traffic.behind.get(name) == Some(&None))
}

/// Whether the canary's destination selects the wanted revision, or is about to again.
pub(super) fn is_behind(world: &World, progress: &Progress, routing: &Routing) -> bool {
    world.selected(roles(routing, progress).canary).as_ref() == progress.hash.as_ref()
}

/// Whether the canary's share goes to pods that are all dead, of whichever version.
pub(super) fn is_wasted(world: &World, progress: &Progress, routing: &Routing) -> bool {
    let behind = world.behind(roles(routing, progress).canary);
    let is_dead = !behind.is_empty() && !behind.iter().any(|hash| is_alive(world, hash));
    is_dead && told(world, progress, routing).is_some_and(|share| share > Weight::ZERO)
}

fn is_alive(world: &World, hash: &PodHash) -> bool {
    world.revisions().find(Some(hash)).is_some_and(|set| set.available.get() > 0)
}

/// Whether the spec tells two destinations apart; one that does not can neither be told to a router nor be read from it.
pub(super) fn has_destinations(routing: &Routing) -> bool {
    let (Destinations::ByRole { canary: one, stable: other }
    | Destinations::Subsets { canary: one, stable: other }
    | Destinations::PingPong { ping: one, pong: other }) = &routing.destinations;
    one != other && !one.is_empty() && !other.is_empty()
}

/// Whether the destinations of the Rollout are known to be another one's, so that its route is never touched.
pub(super) fn are_anothers(snapshot: &Snapshot, routing: &Routing, progress: &Progress) -> bool {
    let name = snapshot.rollout.metadata.name.as_ref();
    let roles = roles(routing, progress);
    let services = [roles.canary, roles.stable].map(|service| snapshot.services.get(service));
    let of_services = services.into_iter().flatten().filter_map(|service| service.managed_by.as_ref());
    let of_route = snapshot.traffic.iter().filter_map(|traffic| traffic.owner.as_ref());
    of_services.chain(of_route).any(|owner| Some(owner) != name)
}

/// Whether traffic goes, or may go, to the pods of a revision.
pub(super) fn is_served(world: &World, progress: &Progress, routing: &Routing, hash: &PodHash) -> bool {
    // Nobody knows where a router sends traffic to that chooses pods itself and cannot be read.
    let is_hidden =
        world.snapshot.traffic.is_none() && matches!(routing.destinations, Destinations::Subsets { .. });
    // While its targets are exchanged, those from before may still be asked.
    let is_exchanging = world.snapshot.traffic.as_ref().is_some_and(|traffic| traffic.is_exchanging);
    if !has_destinations(routing) || is_hidden || is_exchanging {
        return true;
    }
    let roles = roles(routing, progress);
    let observed = world.snapshot.traffic.as_ref();
    let gets = |name: &str| {
        let share = observed.and_then(|traffic| traffic.share(name));
        let leads_to_it = leads_anywhere(world, name) || world.behind(name).contains(hash);
        leads_to_it && share != Some(Weight::ZERO)
    };
    let is_routed_to = has_managed(world) && world.behind(roles.canary).contains(hash);
    is_routed_to || gets(roles.canary) || gets(roles.stable)
}

/// Whether the canary's destination may select another revision: nothing goes through it.
pub(super) fn is_idle(world: &World, progress: &Progress, routing: &Routing) -> bool {
    observed(world, progress, routing) == Some(Weight::ZERO) && !has_managed(world)
}

/// Whether some requests have a route of their own to the canary's destination.
fn has_managed(world: &World) -> bool {
    world.snapshot.traffic.as_ref().is_some_and(|traffic| !traffic.managed.is_empty())
}

/// Whether traffic and pods are as `weight` asks for.
pub(super) fn is_at(world: &World, progress: &Progress, routing: &Routing, weight: Weight) -> bool {
    let size = canary_size(world, progress, routing, weight);
    let stable = match (world.stable_set(progress), routing.stable_scale) {
        (Some(set), StableScale::Full) => is_exactly(set, world.spec.replicas.get()),
        (Some(_), StableScale::Dynamic) | (None, _) => true,
    };
    let share = servable(world, progress, routing, weight);
    // A route for some requests is waited for, unless the canary is to have no pods to serve them.
    let made = if size > 0 { routes::made(world, progress, routing) } else { vec![] };
    let has_routes =
        world.snapshot.traffic.as_ref().is_some_and(|traffic| traffic.managed == routes::by_name(&made));
    // Whoever owns the route may have given the canary's destination a share while it still leads to stable.
    let by_role = role_labels::of_service(world.snapshot, roles(routing, progress).canary).is_some();
    // What asks the canary's Service without a share of the router's must not be answered by stable pods that have its label still.
    let is_unused = share == Weight::ZERO && !(by_role && size > 0);
    let is_its_own = is_unused || leads_there(world, progress, routing);
    let is_split = observed(world, progress, routing) == Some(share) && is_its_own && has_routes;
    world.has_new(progress, size) && stable && is_split
}

/// The share that a canary can have at most where `goal` is wanted: none without pods.
fn servable(world: &World, progress: &Progress, routing: &Routing, goal: Weight) -> Weight {
    if wanted_size(world, progress, routing, goal) == 0 { Weight::ZERO } else { goal }
}

/// What the router should do on the way to `goal`.
pub(super) fn target(world: &World, progress: &Progress, routing: &Routing, goal: Weight) -> TrafficTarget {
    let roles = roles(routing, progress);
    let destination =
        |name: &str, hash: Option<&PodHash>| Destination { name: name.to_owned(), hash: hash.cloned() };
    let weight = risen(world, progress, routing, goal).max(kept(world, progress, routing));
    TrafficTarget {
        canary: destination(roles.canary, progress.hash.as_ref()),
        stable: destination(roles.stable, progress.stable.as_ref().or(progress.hash.as_ref())),
        weight,
        scale: routing.scale,
        managed: routes::managed(world, progress, routing, goal),
        experiments: experiments::shares(world, progress, routing, weight),
    }
}

/// Whether both destinations lead to the pods of stable, and no update is under way: then whoever else owns the route may
/// split it as they like.
pub(super) fn is_any_split_as_good(world: &World, progress: &Progress) -> bool {
    let Strategy::Routed(routing) = &world.spec.strategy else { return false };
    let roles = roles(routing, progress);
    let leads_to_stable =
        |name: &str| progress.stable.is_some() && world.selected(name).as_ref() == progress.stable.as_ref();
    progress.is_settled() && leads_to_stable(roles.canary) && leads_to_stable(roles.stable)
}

/// Whether requests go to pods that are all dead.
pub(super) fn reaches_nobody(world: &World, progress: &Progress) -> bool {
    matches!(&world.spec.strategy, Strategy::Routed(routing) if is_wasted(world, progress, routing))
}

/// Whether the router may be told anything.
pub(super) fn is_ours(world: &World, progress: &Progress) -> bool {
    matches!(&world.spec.strategy, Strategy::Routed(routing) if !are_anothers(world.snapshot, routing, progress))
}

/// Whether the router already does what it should.
pub(super) fn is_done(target: &TrafficTarget, observed: &ObservedTraffic) -> bool {
    let share =
        |destination: &Destination| observed.shares.get(&destination.name).copied().unwrap_or_default();
    !observed.is_unclear
        && share(&target.canary) == target.weight.get()
        && share(&target.stable) == target.weight.rest_of(target.scale).get()
        && [&target.canary, &target.stable].into_iter().all(|destination| is_behind_it(destination, observed))
        && routes::are_there(target, observed)
        && experiments::are_served(target, observed)
}

/// Whether a destination leads to the pods that it should, as far as the router chooses them.
fn is_behind_it(destination: &Destination, observed: &ObservedTraffic) -> bool {
    observed.behind.get(&destination.name).is_none_or(|behind| *behind == destination.hash)
}

/// The share that the wanted revision can have on the way to `goal`: it stays until the pods for more are there.
pub(super) fn risen(world: &World, progress: &Progress, routing: &Routing, goal: Weight) -> Weight {
    let Some(set) = world.new_set(progress) else { return Weight::ZERO };
    let goal = servable(world, progress, routing, goal);
    if !is_behind(world, progress, routing) || set.available.get() == 0 {
        return Weight::ZERO;
    }
    let wanted = wanted_size(world, progress, routing, goal);
    let reached = endpoints::reached(world, roles(routing, progress).canary, set);
    let available = set.available.min(reached.unwrap_or(set.available)).get();
    let is_ready = set.observed && set.size.get() >= wanted && world.spec.threshold.is_met(available, wanted);
    match told(world, progress, routing) {
        Some(told) if !is_ready => told.min(goal),
        Some(_) | None => goal,
    }
}

/// The share that the canary's destination must keep because stable could not take it up; none of pods that are dead.
/// What the router was told counts, as it may follow at any moment.
fn kept(world: &World, progress: &Progress, routing: &Routing) -> Weight {
    let roles = roles(routing, progress);
    let behind = world.behind(roles.canary);
    let stable = progress.stable.as_ref().or(progress.hash.as_ref());
    let Some(told) = told(world, progress, routing) else { return Weight::ZERO };
    let set = world.revisions().find(stable);
    let available = set.map(ReplicaSet::lasting).unwrap_or_default();
    // Stable's Service may lead to nobody yet, although stable has the pods.
    let reached = set.and_then(|set| endpoints::reached(world, roles.stable, set)).unwrap_or(available);
    let is_reached = reached >= available;
    if leads_elsewhere_still(world, roles) {
        return told;
    }
    if !behind.iter().any(|hash| is_alive(world, hash)) {
        return Weight::ZERO;
    }
    let is_stables = world.selected(roles.canary).as_ref() == stable;
    // Labels reach pods later than a Service is written: until they have, requests stay with those who have them.
    let is_by_role = role_labels::of_service(world.snapshot, roles.stable).is_some();
    if is_stables && is_by_role && world.selected(roles.stable).as_ref() != stable {
        return told;
    }
    if is_stables && is_reached {
        return Weight::ZERO;
    }
    let available = available.min(reached).get();
    if routing.stable_scale == StableScale::Full && available > 0 {
        // It has the pods for everything, but for those that are coming back.
        return Weight::ZERO;
    }
    share_of(available, routing.scale, world.spec.replicas.get()).rest_of(routing.scale).min(told)
}

/// Whether both Services select the same pods, but the router was not seen to send the stable one's requests there: then they
/// are as good where they are.
fn leads_elsewhere_still(world: &World, roles: Roles) -> bool {
    let is_exchanging = world.snapshot.traffic.as_ref().is_some_and(|traffic| traffic.is_exchanging);
    let (canary, stable) = (world.selected(roles.canary), world.selected(roles.stable));
    let is_alive = world.revisions().find(canary.as_ref()).is_some_and(|set| set.available.get() > 0);
    is_exchanging && is_alive && canary == stable
}

/// Pods of both versions on the way to `goal`: enough for the share that is wanted, for the one that is asked for now, and
/// for the one that is still in force.
pub(super) fn sizes(world: &World, progress: &Progress, routing: &Routing, goal: Weight) -> Split {
    let replicas = world.spec.replicas.get();
    let Some(set) = world.stable_set(progress).filter(|_| !progress.is_settled()) else {
        return Split { new: replicas, stable: 0 };
    };
    let stable = match routing.stable_scale {
        StableScale::Full => replicas,
        StableScale::Dynamic => {
            let asked = target(world, progress, routing, goal).weight;
            // Until the canary's destination has changed over, stable has to take up what goes through it.
            let goal = if is_behind(world, progress, routing) { goal } else { Weight::ZERO };
            let pods = |share: Weight| {
                pods_for(share.rest_of(routing.scale), routing.scale, replicas, routing.min_pods)
            };
            match observed(world, progress, routing) {
                Some(current) => pods(goal.min(asked).min(current)),
                // Nothing is taken away while it is not known what still needs it.
                None => pods(goal.min(asked)).max(set.size.get()),
            }
        }
    };
    Split { new: canary_size(world, progress, routing, goal), stable }
}

/// Pods of the canary on the way to `goal`.
fn canary_size(world: &World, progress: &Progress, routing: &Routing, goal: Weight) -> u32 {
    let wanted = wanted_size(world, progress, routing, goal);
    let current = world.new_set(progress).map_or(0, |set| set.size.get());
    match observed(world, progress, routing) {
        // Nothing is taken away while it is not known what still needs it.
        None => wanted.max(current),
        Some(_) if !is_behind(world, progress, routing) => wanted,
        // A route for some requests goes first, or needs a pod at least.
        Some(_) if has_managed(world) && wanted == 0 => {
            if routes::managed(world, progress, routing, goal).is_empty() { current } else { current.min(1) }
        }
        // A step that takes all pods takes the share first.
        Some(share) if wanted == 0 && share > Weight::ZERO && scale_in_force(world, progress).is_some() => {
            current
        }
        Some(_) if scale_in_force(world, progress).is_some() => wanted,
        Some(share) => {
            let needed = share.max(target(world, progress, routing, goal).weight);
            wanted.max(pods_for(needed, routing.scale, world.spec.replicas.get(), routing.min_pods))
        }
    }
}

/// Pods of the canary that `goal`, or a step that sizes it apart from its share, asks for.
fn wanted_size(world: &World, progress: &Progress, routing: &Routing, goal: Weight) -> u32 {
    let replicas = world.spec.replicas.get();
    match scale_in_force(world, progress) {
        Some(CanaryScale::Replicas(pods)) => pods,
        Some(CanaryScale::Percent(percent)) => {
            pods_for(Weight::observed(percent), Weight::FULL, replicas, routing.min_pods)
        }
        Some(CanaryScale::MatchTrafficWeight) | None => {
            pods_for(goal, routing.scale, replicas, routing.min_pods)
        }
    }
}

/// The size that a step gave the canary apart from its share; `None` once it follows the share, or all steps are done.
fn scale_in_force(world: &World, progress: &Progress) -> Option<CanaryScale> {
    if progress.promote_full || progress.abort || world.step(progress).is_none() {
        return None;
    }
    let until_now = world.spec.steps.iter().take(progress.index.get().saturating_add(1));
    let mut scales = until_now.filter_map(|step| match step {
        Step::SetCanaryScale(scale) => Some(*scale),
        Step::SetWeight(_)
        | Step::SetRoute { .. }
        | Step::Pause(_)
        | Step::Analysis(_)
        | Step::Experiment(_) => None,
    });
    scales.next_back().filter(|scale| *scale != CanaryScale::MatchTrafficWeight)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rollout::decide;
    use crate::rollout::tests::Bench;

    /// The step of an update whose canary has a share of 20 already, while its Service leads to the revision at `behind`.
    fn step_with_the_canary_on(behind: usize) -> Option<i32> {
        let mut bench = Bench::new(5, &json!([{"setWeight": 20}, {"pause": {}}]));
        bench.settle();
        bench.route(20);
        bench.release("v2");
        bench.pass_with_the_canary_on(behind);
        bench.status().current_step_index
    }

    #[test]
    fn a_share_counts_for_a_step_only_once_it_is_the_new_versions() {
        assert_eq!(step_with_the_canary_on(1), Some(1));
        assert_eq!(step_with_the_canary_on(0), Some(0), "whoever owns the route gave it to stable's pods");
    }

    #[test]
    fn a_route_that_makes_no_sense_takes_no_share_away_from_a_canary_that_is_not_whole() {
        let mut bench = Bench::new(10, &json!([{"setWeight": 50}, {"setWeight": 80}, {"pause": {}}]));
        bench.settle();
        bench.route(50);
        bench
            .snapshot
            .rollout
            .spec
            .strategy
            .as_mut()
            .unwrap()
            .canary
            .as_mut()
            .unwrap()
            .dynamic_stable_scale = Some(true);
        bench.release("v2");
        bench.pass_with_the_canary_on(1);
        bench.snapshot.replica_sets[1].available = crate::units::ReplicaCount::new(5);
        let weight = |bench: &Bench| decide(&bench.snapshot).traffic().map(|target| target.weight.get());
        assert_eq!(weight(&bench), None, "it is as it should be until more pods are there");
        let traffic = bench.snapshot.traffic.as_mut().unwrap();
        traffic.is_unclear = true;
        traffic.verified = Some(false);
        assert_eq!(weight(&bench), Some(50));
    }

    #[test]
    fn nothing_is_done_while_a_part_of_the_route_makes_no_sense_or_leads_elsewhere() {
        let hash = |text: &str| PodHash::new(text.to_owned());
        let to = |name: &str, text: &str| Destination { name: name.to_owned(), hash: hash(text) };
        let target = TrafficTarget {
            canary: to("rule/canary", "new"),
            stable: to("rule/stable", "old"),
            weight: Weight::ZERO,
            scale: Weight::FULL,
            managed: Vec::new(),
            experiments: vec![],
        };
        let good = ObservedTraffic {
            shares: [("rule/stable".to_owned(), 100)].into(),
            behind: [("rule/canary".to_owned(), hash("new")), ("rule/stable".to_owned(), hash("old"))].into(),
            ..ObservedTraffic::default()
        };
        assert!(is_done(&target, &good));
        assert!(!is_done(&target, &ObservedTraffic { is_unclear: true, ..good.clone() }));
        let elsewhere = [("rule/stable".to_owned(), hash("new"))].into();
        assert!(!is_done(&target, &ObservedTraffic { behind: elsewhere, ..good.clone() }));
        let anywhere = [("rule/stable".to_owned(), None)].into();
        assert!(!is_done(&target, &ObservedTraffic { behind: anywhere, ..good }));
    }
}
