//! The spec names another route than the one that the canary's share goes through: that one is let go first. Everything else
//! waits for it, an abort, too, which would want nothing else.

use super::super::experiments;
use super::super::progress::Progress;
use super::super::targets::{ProgressClock, Targets};
use super::super::valid::{Routing, Strategy};
use super::super::weights;
use super::super::world::World;
use super::Outcome;
use crate::units::{ReplicaCount, Weight};

/// Takes the share away as far as stable can take it up, and no pod.
pub(super) fn act(world: &World, progress: &Progress) -> Outcome {
    let Some(routing) = carrying(world, progress) else {
        return Outcome::Stay(Targets::default().keeping(progress));
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

/// Whether the route that the spec named before carries nothing of the canary's or an Experiment's any more, or never was this Rollout's.
pub(in crate::rollout) fn is_over(world: &World, progress: &Progress) -> bool {
    carrying(world, progress).is_none()
}

/// The route as long as it carries something of the canary's or an Experiment's.
fn carrying<'a>(world: &World<'a>, progress: &Progress) -> Option<&'a Routing> {
    let Strategy::Routed(routing) = &world.spec.strategy else { return None };
    let is_ours = weights::has_destinations(routing) && weights::is_ours(world, progress);
    let is_free = !experiments::may_have_shares(world.snapshot)
        && (weights::is_idle(world, progress, routing) || weights::is_any_split_as_good(world, progress));
    (is_ours && !is_free).then_some(routing)
}
