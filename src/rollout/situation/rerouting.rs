//! The spec names another route than the one that the canary's share goes through: that one is let go first. Everything else
//! waits for it, an abort, too, which would want nothing else.

use super::super::experiments;
use super::super::progress::Progress;
use super::super::targets::{ProgressClock, Targets};
use super::super::valid::{Routing, Strategy};
use super::super::weights;
use super::super::world::World;
use super::Outcome;
use crate::traffic::TrafficTarget;
use crate::units::{ReplicaCount, Weight};

/// Takes the share away as far as stable can take it up, and no pod.
pub(super) fn act(world: &World, progress: &Progress) -> Outcome {
    let Some(routing) = carrying(world, progress) else {
        let traffic = let_go(world, progress);
        return Outcome::Stay(Targets { traffic, ..Targets::default().keeping(progress) });
    };
    let mut targets = Targets {
        traffic: Some(weights::target(world, progress, routing, Weight::ZERO)),
        clock: ProgressClock::Running,
        ..Targets::default().keeping(progress)
    };
    if let Some(stable) = world.stable_set(progress).filter(|_| !progress.is_settled()) {
        let size = weights::sizes(world, progress, routing, Weight::ZERO).stable;
        targets.sizes.insert(stable.name.clone(), ReplicaCount::new(size).max(stable.size));
        targets.deadlines.insert(stable.name.clone(), None);
    }
    Outcome::Stay(targets)
}

/// Whether the route that the spec named before carries nothing of the canary's or an Experiment's any more and is given
/// back, or never was this Rollout's.
pub(in crate::rollout) fn is_over(world: &World, progress: &Progress) -> bool {
    let is_held = world.snapshot.traffic.as_ref().is_some_and(|observed| observed.is_held);
    let is_kept = is_held && weights::is_ours(world, progress) && let_go(world, progress).is_some();
    carrying(world, progress).is_none() && !is_kept
}

/// What the route says already, so that its fields can be given back with that.
fn let_go(world: &World, progress: &Progress) -> Option<TrafficTarget> {
    let Strategy::Routed(routing) = &world.spec.strategy else { return None };
    let is_idle = weights::has_destinations(routing) && weights::is_idle(world, progress, routing);
    is_idle.then(|| weights::target(world, progress, routing, Weight::ZERO))
}

/// The route as long as it carries something of the canary's or an Experiment's.
fn carrying<'a>(world: &World<'a>, progress: &Progress) -> Option<&'a Routing> {
    let Strategy::Routed(routing) = &world.spec.strategy else { return None };
    let is_ours = weights::has_destinations(routing) && weights::is_ours(world, progress);
    let is_free = !experiments::may_have_shares(world.snapshot)
        && (weights::is_idle(world, progress, routing) || weights::is_any_split_as_good(world, progress));
    (is_ours && !is_free).then_some(routing)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::rollout::decide;
    use crate::rollout::effect::Effect;
    use crate::rollout::tests::{Bench, service};

    #[test]
    fn a_route_that_is_left_is_given_back_when_it_carries_nothing_any_more() {
        let mut bench = Bench::new(4, &json!([{"setWeight": 50}, {"pause": {}}]));
        bench.settle();
        bench.route(0);
        bench.snapshot.services = ["canary", "stable"].map(|name| (name.to_owned(), service(""))).into();
        bench.obey();
        bench.release("v2");
        bench.obey();
        bench.snapshot.leaves_route = true;
        let mut pass = |share: u32, is_held: bool| {
            bench.route(share);
            bench.snapshot.traffic.as_mut().unwrap().is_held = is_held;
            let plan = decide(&bench.snapshot);
            let gives_back = plan.stages.concat().contains(&Effect::GiveRoutesBack);
            bench.apply(plan);
            let canary = bench.status().canary.as_ref().unwrap();
            (gives_back, canary.route.is_some())
        };
        assert_eq!(pass(50, true), (false, true), "it has a share");
        assert_eq!(pass(0, true), (true, true), "nobody would look at it any more");
        assert_eq!(pass(0, false), (false, false));
    }
}
