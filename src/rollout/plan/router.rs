//! What the router is told, when it is told the same again, and when its objects are given back.

use std::time::Duration;

use super::super::deadline::{Deadline, Wake};
use super::super::effect::Effect;
use super::super::progress::Progress;
use super::super::snapshot::Told;
use super::super::targets::Targets;
use super::super::world::World;
use super::super::{experiments, routes, weights};
use crate::events::Event;
use crate::traffic::TrafficTarget;
use crate::units::{Timestamp, Weight};

/// How long a router that requests are lost by is left alone after it was told where they should go.
const SOONEST_CORRECTION: Duration = Duration::from_secs(1);

/// What the router gets, unless it does that already or cannot be read. Where somebody else took back what it was told, it
/// is told again, each time later, so that two writers do not fight, but soon where requests would be lost; and not at all
/// where any split is as good.
pub(super) fn told(
    world: &World,
    progress: &Progress,
    targets: &Targets,
    events: &mut Vec<Event>,
) -> (Vec<Effect>, Option<Wake>) {
    let (Some(target), Some(observed)) = (&targets.traffic, &world.snapshot.traffic) else {
        return (vec![], None);
    };
    if weights::is_done(target, observed) || !weights::is_ours(world, progress) {
        return (vec![], None);
    }
    let from = observed.shares.get(&target.canary.name).copied().map(Weight::observed);
    match world.snapshot.told.as_ref().filter(|told| told.target == *target) {
        Some(_) if !observed.is_unclear && weights::is_any_split_as_good(world, progress) => {
            return (vec![], None);
        }
        Some(told) if again_at(world, progress, told) > world.now() => {
            let at = again_at(world, progress, told);
            return (vec![], Some(Wake { at, why: Deadline::RouteReverted }));
        }
        Some(_) if from.is_some_and(|from| from != target.weight) => {
            events.push(Event::WeightReverted { from, to: target.weight });
        }
        Some(_) => events.push(Event::RouteRestored),
        None if from.unwrap_or_default() != target.weight => {
            events.push(Event::WeightUpdated { from, to: target.weight });
        }
        None => {}
    }
    events.extend(experiments::news(target, observed));
    if !routes::are_there(target, observed) {
        let names = target.managed.iter().map(|route| route.name.clone()).collect();
        events.push(Event::RoutesUpdated { names });
    }
    (vec![Effect::SetTraffic(Box::new(target.clone()))], None)
}

/// The fields of the router's objects, once nothing of an update is left in them: whoever applies them owns them alone then.
pub(super) fn given_back(
    world: &World,
    progress: &Progress,
    target: Option<&TrafficTarget>,
) -> Option<Vec<Effect>> {
    let (target, observed) = (target?, world.snapshot.traffic.as_ref()?);
    let is_over = progress.is_settled() || progress.abort || world.snapshot.leaves_route;
    let is_as_before =
        target.weight == Weight::ZERO && target.managed.is_empty() && weights::is_done(target, observed);
    (is_over && is_as_before && observed.is_held && weights::is_ours(world, progress))
        .then(|| vec![Effect::GiveRoutesBack])
}

/// When the router may be told the same again.
fn again_at(world: &World, progress: &Progress, told: &Told) -> Timestamp {
    if told.at > world.now() {
        // The clock was set back.
        return world.now();
    }
    let soonest = told.again_at.min(told.at.plus(SOONEST_CORRECTION));
    if weights::reaches_nobody(world, progress) { soonest } else { told.again_at }
}
