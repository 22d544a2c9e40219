//! All steps are done, or were skipped: the new version takes over completely, and becomes stable once it could serve
//! everything alone.

use super::super::deadline;
use super::super::progress::Progress;
use super::super::runs;
use super::super::targets::Targets;
use super::super::valid::Strategy;
use super::super::weights;
use super::super::world::World;
use super::{Outcome, aborted, complete, stepping};
use crate::units::ReplicaCount;

/// Goes to full weight, then makes the new version stable.
pub(super) fn act(world: &World, progress: &Progress) -> Outcome {
    let analysed = match runs::background(world, progress) {
        runs::Watched::Failed(why) => return aborted::enter(world, progress, why),
        runs::Watched::Moved(next, events) => return Outcome::Move(*next, events),
        runs::Watched::Going(analysed) => analysed,
    };
    if let Some(resumed) = stepping::forget_wait(progress) {
        return resumed;
    }
    if world.is_new_available(progress) && has_all_traffic(world, progress) {
        return complete::enter(world, progress, reason(world, progress));
    }
    if let Some(why) = deadline::abort(world, progress) {
        return aborted::enter(world, progress, why);
    }
    let targets = Targets::at_weight(world, progress, world.scale()).with_services(world, progress);
    Outcome::Stay(analysed.into_targets(targets))
}

/// Whether the router, if there is one, was observed to send everything to the new version. Of no pods at all nothing can
/// be sent to any.
fn has_all_traffic(world: &World, progress: &Progress) -> bool {
    match &world.spec.strategy {
        Strategy::ByPods | Strategy::BlueGreen(_) => true,
        Strategy::Routed(_) if world.spec.replicas == ReplicaCount::ZERO => true,
        Strategy::Routed(routing) => weights::has_everything(world, progress, routing),
    }
}

fn reason(world: &World, progress: &Progress) -> String {
    match () {
        () if progress.promote_full => "Full promotion requested".to_owned(),
        () if world.is_within_window(progress) => "Rollback within window".to_owned(),
        () => format!("Completed all {} canary steps", world.spec.steps.len()),
    }
}
