//! A Rollout that is being deleted, or has just been: its pods go with it, and its route is left with everything on stable,
//! so that whoever takes the Services over finds no share that leads to a canary which nobody looks after. Where its pods stay
//! (`kubectl delete --cascade=orphan`) and stable has given some of its own away, so does the share.

use super::effect::Effect;
use super::plan::Plan;
use super::progress::Progress;
use super::revision::Revisions;
use super::snapshot::Snapshot;
use super::valid::{self, Routing, StableScale, Strategy};
use super::weights;
use crate::api::RolloutStatus;
use crate::traffic::{Destination, TrafficTarget};
use crate::units::{ReplicaCount, Weight};

/// The finalizer of an object whose deletion leaves what it owns.
const ORPHAN: &str = "orphan";

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
        experiments: vec![],
    };
    // Its pods are gone already, or about to be: where nobody chooses others, everything stays behind its destination.
    for destination in [&mut target.canary, &mut target.stable] {
        if let Some(behind) = observed.behind.get(&destination.name) {
            destination.hash.clone_from(behind);
        }
    }
    // One that named what is another's was never let near it.
    let is_anothers = weights::are_anothers(snapshot, routing, &progress);
    if leaves_too_few(snapshot, routing, &progress, spec.replicas) {
        // Nobody looks after an Experiment's share any more either, and stable has the pods for that.
        target.weight = Weight::observed(observed.shares.get(roles.canary).copied().unwrap_or_default())
            .min(routing.scale);
        target.managed = observed.managed.values().flatten().cloned().collect();
        if observed.experiments.is_empty() {
            return Plan::default();
        }
    }
    if is_anothers || !weights::has_destinations(routing) {
        return Plan::default();
    }
    let effect = match (weights::is_done(&target, observed), observed.is_held) {
        (false, _) => Effect::SetTraffic(Box::new(target)),
        (true, true) => Effect::GiveRoutesBack,
        (true, false) => return Plan::default(),
    };
    Plan { stages: vec![vec![effect]], ..Plan::default() }
}

/// Whether its pods stay, and those of stable may be too few for everything: once it is gone, nobody knows how many there are.
fn leaves_too_few(
    snapshot: &Snapshot,
    routing: &Routing,
    progress: &Progress,
    replicas: ReplicaCount,
) -> bool {
    let finalizers = snapshot.rollout.metadata.finalizers.as_ref();
    let stays = finalizers.is_some_and(|finalizers| finalizers.iter().any(|name| name == ORPHAN));
    let stable = Revisions::of(&snapshot.replica_sets).find(progress.stable.as_ref());
    let has_all = stable.is_some_and(|stable| stable.lasting() >= replicas);
    stays && routing.stable_scale == StableScale::Dynamic && !has_all
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

    /// The same at a share of 50 where its pods stay, and stable has so many.
    fn left_with_pods(dynamic_stable_scale: bool, stable: Option<u32>) -> Option<u32> {
        let mut bench = Bench::new(4, &json!([{"setWeight": 50}]));
        bench.settle();
        bench.route(50);
        let canary = bench.snapshot.rollout.spec.strategy.as_mut().unwrap().canary.as_mut().unwrap();
        canary.dynamic_stable_scale = Some(dynamic_stable_scale);
        match stable {
            Some(pods) => bench.snapshot.replica_sets[0].available = ReplicaCount::new(pods),
            None => bench.snapshot.replica_sets.clear(),
        }
        let metadata = &mut bench.snapshot.rollout.metadata;
        metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        metadata.finalizers = Some(vec![ORPHAN.to_owned()]);
        plan(&bench.snapshot).traffic().map(|target| target.weight.get())
    }

    #[test]
    fn a_share_stays_with_its_pods_where_stable_has_too_few() {
        assert_eq!(left_with_pods(true, Some(2)), None);
        assert_eq!(left_with_pods(true, None), None, "nobody knows any more");
        assert_eq!(left_with_pods(true, Some(4)), Some(0));
        assert_eq!(left_with_pods(false, None), Some(0), "it never gave any away");
    }

    #[test]
    fn a_deleted_rollout_gives_its_route_back_once_everything_is_on_stable() {
        let effects = |share: u32| {
            let mut bench = Bench::new(4, &json!([{"setWeight": 50}]));
            bench.route(share);
            bench.snapshot.traffic.as_mut().unwrap().is_held = true;
            bench.snapshot.rollout.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
            plan(&bench.snapshot).stages.concat()
        };
        assert!(matches!(effects(50)[..], [Effect::SetTraffic(_)]));
        assert_eq!(effects(0), [Effect::GiveRoutesBack]);
    }

    #[test]
    fn a_deleted_rollout_leaves_everything_on_stable() {
        assert_eq!(left(Some(50)), Some(0));
        assert_eq!(left(Some(0)), None, "it is already");
        assert_eq!(left(None), None, "nobody knows what it says");
    }
}
