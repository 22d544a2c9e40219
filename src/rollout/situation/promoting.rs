//! All steps are done, or were skipped: the new version takes over completely, and becomes stable once it could serve
//! everything alone.

use super::super::deadline;
use super::super::progress::Progress;
use super::super::runs;
use super::super::targets::Targets;
use super::super::world::World;
use super::{Outcome, aborted, complete, stepping};
use crate::units::Weight;

/// Goes to full weight, then makes the new version stable.
pub(super) fn act(world: &World, progress: &Progress) -> Outcome {
    let analysed = match runs::background(world, progress) {
        runs::Watched::Failed(why) => return aborted::enter(world, progress, why),
        runs::Watched::Moved(next, events) => return Outcome::Move(*next, events),
        runs::Watched::Going(analysed) => analysed,
    };
    if let Some(resumed) = stepping::forget_pause(progress) {
        return resumed;
    }
    if world.is_new_available(progress) {
        return complete::enter(world, progress, reason(world, progress));
    }
    if let Some(why) = deadline::abort(world, progress) {
        return aborted::enter(world, progress, why);
    }
    let targets = Targets::at_weight(world, progress, Weight::FULL).with_services(world, progress);
    Outcome::Stay(analysed.into_targets(targets))
}

fn reason(world: &World, progress: &Progress) -> String {
    if progress.promote_full {
        "Full promotion requested".to_owned()
    } else {
        format!("Completed all {} canary steps", world.spec.steps.len())
    }
}
