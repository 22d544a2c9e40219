//! A Rollout that is being deleted, or has just been: its pods go with it, and its route is left with everything on stable,
//! so that whoever takes the Services over finds no share that leads to a canary which nobody looks after.

use super::effect::Effect;
use super::plan::Plan;
use super::progress::Progress;
use super::snapshot::Snapshot;
use super::valid::{self, Strategy};
use super::weights;
use crate::api::RolloutStatus;
use crate::traffic::{Destination, TrafficTarget};
use crate::units::Weight;

/// What is left to do for it; nothing where the route cannot be read.
pub(super) fn plan(snapshot: &Snapshot) -> Plan {
    let spec = valid::parse(snapshot).spec;
    let (Strategy::Routed(routing), Some(observed)) = (&spec.strategy, &snapshot.traffic) else {
        return Plan::default();
    };
    let unseen = RolloutStatus::default();
    let progress = Progress::read(snapshot.rollout.status.as_ref().unwrap_or(&unseen), spec.steps.len());
    let roles = weights::roles(routing, &progress);
    let mut target = TrafficTarget {
        canary: Destination { name: roles.canary.to_owned(), hash: progress.hash.clone() },
        stable: Destination { name: roles.stable.to_owned(), hash: progress.stable.clone() },
        weight: Weight::ZERO,
        scale: routing.scale,
        managed: Vec::new(),
    };
    // Its pods are gone already, or about to be: where nobody chooses others, everything stays behind its destination.
    for destination in [&mut target.canary, &mut target.stable] {
        if let Some(behind) = observed.behind.get(&destination.name) {
            destination.hash.clone_from(behind);
        }
    }
    // One that named what is another's was never let near it.
    let is_anothers = weights::are_anothers(snapshot, routing, &progress);
    if is_anothers || !weights::has_destinations(routing) || weights::is_done(&target, observed) {
        return Plan::default();
    }
    Plan { stages: vec![vec![Effect::SetTraffic(Box::new(target))]], ..Plan::default() }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::rollout::tests::Bench;

    /// The canary's weight that a deleted Rollout leaves behind, where the route gives it `share`.
    fn left(share: Option<u32>) -> Option<u32> {
        let mut bench = Bench::new(4, &json!([{"setWeight": 50}]));
        bench.route(share.unwrap_or_default());
        if share.is_none() {
            bench.snapshot.traffic = None;
        }
        bench.snapshot.rollout.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        let plan = plan(&bench.snapshot);
        assert!(plan.status.is_none() && plan.events.is_empty() && plan.stages.len() <= 1);
        plan.traffic().map(|target| target.weight.get())
    }

    #[test]
    fn a_deleted_rollout_leaves_everything_on_stable() {
        assert_eq!(left(Some(50)), Some(0));
        assert_eq!(left(Some(0)), None, "it is already");
        assert_eq!(left(None), None, "nobody knows what it says");
    }
}
