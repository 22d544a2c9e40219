//! Which revision each Service selects.
//!
//! A Service is switched only to a revision that can answer: one pod at least, and all of them when the Service is
//! adopted, because until then it selects the pods of every revision. The Service that users' traffic goes through waits
//! for more, and the one behind a router's share waits until nothing goes through it.

use super::effect::Effect;
use super::progress::Progress;
use super::snapshot::{ReplicaSet, Service};
use super::targets::Targets;
use super::valid::{Destinations, Routing, Strategy};
use super::world::World;
use super::{role_labels, weights};
use crate::events::Event;
use crate::traffic::{Destination, TrafficTarget};
use crate::units::{PodHash, ReplicaCount};

/// A Service and the revision it should select.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The Service.
    pub service: String,
    /// The revision.
    pub hash: PodHash,
    /// What the revision must have before.
    pub demand: Demand,
}

/// What a revision must have before a Service selects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Nothing: people look at it while it comes up.
    Nothing,
    /// Pods that answer.
    Answers,
    /// The same, of a Service that nothing goes through: until then it stays where it is.
    AnswersIdle,
    /// As many available pods as the revision selected until now, or all but those that may be unavailable.
    AsGood,
    /// All pods available.
    Whole,
}

/// Each Service on its version: stable, and the wanted one.
#[must_use]
pub(super) fn of_both(world: &World, progress: &Progress) -> Vec<Selection> {
    let stable = progress.stable.as_ref().or(progress.hash.as_ref());
    match &world.spec.strategy {
        Strategy::ByPods => by_role(world, stable, progress.hash.as_ref()),
        Strategy::Routed(routing) => routed(world, progress, routing, progress.hash.as_ref()),
        Strategy::BlueGreen(strategy) => {
            let active = selection(Some(&strategy.active_service), stable, Demand::AsGood);
            let preview =
                selection(strategy.preview_service.as_ref(), progress.hash.as_ref(), Demand::Nothing);
            active.into_iter().chain(preview).collect()
        }
    }
}

/// Each Service on the first version ever, as far as it can tell already: the one behind a router's share.
#[must_use]
pub(super) fn of_first(world: &World, progress: &Progress) -> Vec<Selection> {
    match &world.spec.strategy {
        Strategy::ByPods => vec![],
        Strategy::Routed(routing) => routed(world, progress, routing, progress.hash.as_ref()),
        Strategy::BlueGreen(strategy) => {
            let hash = progress.hash.as_ref();
            selection(strategy.preview_service.as_ref(), hash, Demand::Nothing).into_iter().collect()
        }
    }
}

/// Every Service on stable. A preview keeps showing the version that was taken back.
#[must_use]
pub(super) fn of_stable(world: &World, progress: &Progress) -> Vec<Selection> {
    let stable = progress.stable.as_ref();
    match &world.spec.strategy {
        Strategy::ByPods => by_role(world, stable, stable),
        Strategy::Routed(routing) => routed(world, progress, routing, stable),
        Strategy::BlueGreen(_) => of_both(world, progress),
    }
}

fn by_role(world: &World, stable: Option<&PodHash>, canary: Option<&PodHash>) -> Vec<Selection> {
    let services = &world.spec.services;
    let stable = selection(services.stable.as_ref(), stable, Demand::Answers);
    let canary = selection(services.canary.as_ref(), canary, Demand::Answers);
    stable.into_iter().chain(canary).collect()
}

/// The destination of the canary's share is switched only while nothing goes through it; one of an alternating pair keeps
/// its pods until the next update.
fn routed(world: &World, progress: &Progress, routing: &Routing, canary: Option<&PodHash>) -> Vec<Selection> {
    let roles = weights::roles(routing, progress);
    let stable = progress.stable.as_ref().or(progress.hash.as_ref());
    let alternates = matches!(routing.destinations, Destinations::PingPong { .. });
    let is_kept = alternates && canary == stable;
    // One that lost its selector gets it back with the share as it is, but not while nobody knows how large that is.
    let is_lost =
        world.behind(roles.canary).is_empty() && weights::observed(world, progress, routing).is_some();
    let is_idle = is_lost || weights::is_idle(world, progress, routing);
    let mut wanted = Vec::new();
    if alternates || matches!(routing.destinations, Destinations::Subsets { .. }) {
        wanted.extend(by_role(world, stable, canary));
    }
    if progress.stable.is_some() || !alternates {
        wanted.extend(selection(Some(&roles.stable.to_owned()), stable, Demand::Answers));
    }
    let demand = if alternates { Demand::AnswersIdle } else { Demand::Answers };
    if is_idle && !is_kept {
        wanted.extend(selection(Some(&roles.canary.to_owned()), canary, demand));
    }
    wanted
}

/// Where pods split the traffic by their number, a Service goes to the other version once its own is to have no pods, and
/// a version that a Service still selects keeps one until the Service has gone; but not where that pod takes the room of
/// the one that the Service would go to.
pub(super) fn follow_pods(world: &World, progress: &Progress, targets: &mut Targets) {
    if !matches!(world.spec.strategy, Strategy::ByPods) {
        return;
    }
    let goes = |hash: &PodHash| {
        let set = world.revisions().find(Some(hash));
        set.is_some_and(|set| targets.sizes.get(&set.name) == Some(&ReplicaCount::ZERO))
    };
    let others = [progress.hash.as_ref(), progress.stable.as_ref()];
    let moved: Vec<Selection> = targets
        .services
        .iter()
        .map(|wanted| {
            let other = others.into_iter().flatten().find(|hash| goes(&wanted.hash) && !goes(hash));
            Selection { hash: other.unwrap_or(&wanted.hash).clone(), ..wanted.clone() }
        })
        .collect();
    targets.services = moved;
    let switched = switches(world, progress, &targets.services);
    let coming: Vec<PodHash> =
        targets.services.iter().map(|wanted| wanted.hash.clone()).filter(|hash| !goes(hash)).collect();
    // Whether its controller has counted them since the size has changed makes no difference to those that are left.
    let may_keep = |set: &&ReplicaSet| set.lasting() > ReplicaCount::ZERO;
    for set in world.snapshot.replica_sets.iter().filter(may_keep) {
        let is_left = |name: &str| {
            switched.iter().any(
                |(effect, _)| matches!(effect, Effect::SwitchService { name: found, .. } if found == name),
            )
        };
        let is_needed = targets.services.iter().any(|wanted| {
            let is_selected = world.selected(&wanted.service).as_ref() == Some(&set.hash);
            is_selected && !is_left(&wanted.service) && coming.contains(&wanted.hash)
        });
        if let Some(size) =
            targets.sizes.get_mut(&set.name).filter(|size| is_needed && **size == ReplicaCount::ZERO)
        {
            *size = ReplicaCount::new(1);
        }
    }
}

/// A Service that should select a revision; `None` where either is missing.
pub(super) fn selection(
    service: Option<&String>,
    hash: Option<&PodHash>,
    demand: Demand,
) -> Option<Selection> {
    Some(Selection { service: service?.clone(), hash: hash?.clone(), demand })
}

/// The switches that can be made now, and their announcements.
#[must_use]
pub(super) fn switches(world: &World, progress: &Progress, wanted: &[Selection]) -> Vec<(Effect, Event)> {
    // One that selects by a role's label is followed by the label, and never written.
    let written =
        wanted.iter().filter(|found| role_labels::of_service(world.snapshot, &found.service).is_none());
    let due = written.filter_map(|selection| {
        let service = world.snapshot.services.get(&selection.service)?;
        let from = world.selected(&selection.service);
        let to = next(world, progress, selection, From { hash: from.as_ref(), is_ours: is_ours(service) })?;
        (from.as_ref() != Some(to)).then(|| switch(&selection.service, from.clone(), to))
    });
    due.collect()
}

/// Lets the destinations whose pods the router itself chooses lead where a Service in their place would, or stay; and
/// the share wait for that where it has to.
pub(super) fn lead(world: &World, progress: &Progress, wanted: &[Selection], target: &mut TrafficTarget) {
    let Some(observed) = &world.snapshot.traffic else { return };
    for destination in [&mut target.canary, &mut target.stable] {
        if !observed.behind.contains_key(&destination.name) {
            continue;
        }
        let selection = wanted.iter().find(|selection| selection.service == destination.name);
        let from = world.selected(&destination.name);
        let from = From { hash: from.as_ref(), is_ours: from.is_some() || observed.owner.is_some() };
        let to = selection.and_then(|selection| next(world, progress, selection, from)).or(from.hash);
        destination.hash = to.cloned();
    }
    let told = observed.shares.get(&target.canary.name).copied().unwrap_or_default();
    let leads_to_stable =
        |destination: &Destination| world.selected(&destination.name).as_ref() == progress.stable.as_ref();
    let has_everything = told == target.scale.get() && leads_to_stable(&target.canary);
    if progress.is_settled() && has_everything && !leads_to_stable(&target.stable) {
        // Stable's destination takes over only once it was seen to lead to the pods that have the traffic.
        target.weight = target.scale;
    }
}

/// What a Service selects until it is switched.
#[derive(Clone, Copy, Debug)]
struct From<'a> {
    hash: Option<&'a PodHash>,
    /// Whether this Rollout has switched it before.
    is_ours: bool,
}

const fn is_ours(service: &Service) -> bool {
    service.managed_by.is_some()
}

/// What a Service should select next; `None` where it stays.
fn next<'a>(
    world: &World,
    progress: &'a Progress,
    selection: &'a Selection,
    from: From<'_>,
) -> Option<&'a PodHash> {
    let is_ready = |hash: &PodHash| is_ready(world, from, hash, selection.demand);
    let wanted = Some(&selection.hash).filter(|hash| is_ready(hash));
    wanted.or_else(|| match selection.demand {
        Demand::Nothing | Demand::AnswersIdle => None,
        Demand::Answers | Demand::AsGood | Demand::Whole => shelter(progress, from.hash, is_ready),
    })
}

/// Whether a Service can be switched as wanted now.
#[must_use]
pub(super) fn can_switch(world: &World, wanted: &Selection) -> bool {
    let service = world.snapshot.services.get(&wanted.service);
    let from = world.selected(&wanted.service);
    service.is_some_and(|service| {
        let from = From { hash: from.as_ref(), is_ours: is_ours(service) };
        is_ready(world, from, &wanted.hash, wanted.demand)
    })
}

fn is_ready(world: &World, from: From<'_>, to: &PodHash, demand: Demand) -> bool {
    let set = world.revisions().find(Some(to));
    let is_whole = |set: &ReplicaSet| {
        set.available >= world.spec.replicas && set.size >= world.spec.replicas && set.observed
    };
    match demand {
        Demand::Nothing => set.is_some(),
        Demand::Answers | Demand::AnswersIdle if from.is_ours => set.is_some_and(answers),
        Demand::Answers | Demand::AnswersIdle => set.is_some_and(answers_for_all),
        Demand::AsGood => {
            let until_now = world.revisions().find(from.hash).map(|set| set.available).unwrap_or_default();
            let least = world.spec.bounds.least_available().max(1);
            let is_as_good = |set: &ReplicaSet| {
                let available = set.lasting();
                from.hash.is_some() && answers(set) && (available >= until_now || available.get() >= least)
            };
            set.is_some_and(|set| is_whole(set) || is_as_good(set))
        }
        Demand::Whole => set.is_some_and(is_whole),
    }
}

/// Where a Service goes whose revision is being drained while the wanted one cannot answer yet: to stable.
fn shelter<'a>(
    progress: &'a Progress,
    from: Option<&PodHash>,
    is_ready: impl Fn(&PodHash) -> bool,
) -> Option<&'a PodHash> {
    let is_drained = from.is_some() && from != progress.hash.as_ref() && from != progress.stable.as_ref();
    progress.stable.as_ref().filter(|stable| is_drained && is_ready(stable))
}

fn switch(service: &str, from: Option<PodHash>, to: &PodHash) -> (Effect, Event) {
    let (name, to) = (service.to_owned(), to.clone());
    (Effect::SwitchService { name: name.clone(), to: to.clone() }, Event::SwitchService { name, from, to })
}

/// Whether some pod answers, and not only one that its controller is about to take away or has not counted out yet.
fn answers(set: &ReplicaSet) -> bool {
    set.observed && set.lasting() > ReplicaCount::ZERO
}

fn answers_for_all(set: &ReplicaSet) -> bool {
    answers(set) && set.available >= set.size
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::rollout::decide;
    use crate::rollout::tests::Bench;
    use crate::traffic::ObservedTraffic;

    #[test]
    fn subsets_that_lost_their_labels_get_them_back_with_the_share_as_it_is() {
        let mut bench = Bench::new(5, &json!([{"setWeight": 20}, {"pause": {}}]));
        bench.settle();
        bench.snapshot.rollout.spec.strategy = Some(serde_json::from_value(json!({"canary": {
            "steps": [{"setWeight": 20}, {"pause": {}}],
            "trafficRouting": {"istio": {
                "virtualService": {"name": "web"},
                "destinationRule": {"name": "rule", "canarySubsetName": "canary", "stableSubsetName": "stable"},
            }},
        }})).unwrap());
        bench.release("v2");
        let stable = bench.snapshot.replica_sets[0].hash.clone();
        let observed = |canary, stable| ObservedTraffic {
            shares: [("rule/canary".to_owned(), 20), ("rule/stable".to_owned(), 80)].into(),
            behind: [("rule/canary".to_owned(), canary), ("rule/stable".to_owned(), stable)].into(),
            owner: Some("api".to_owned()),
            ..ObservedTraffic::default()
        };
        for _ in 0..6 {
            let canary = bench.snapshot.replica_sets.get(1).map(|set| set.hash.clone());
            bench.snapshot.traffic = Some(observed(canary, Some(stable.clone())));
            let plan = decide(&bench.snapshot);
            bench.apply(plan);
        }
        assert_eq!(bench.status().current_step_index, Some(1));
        let canary = bench.snapshot.replica_sets[1].hash.clone();
        bench.snapshot.traffic = Some(observed(None, None));
        // It takes but one pod that answers, as this Rollout has labelled them before.
        bench.snapshot.replica_sets[0].available = crate::units::ReplicaCount::new(3);
        let plan = decide(&bench.snapshot);
        let target = plan.traffic().expect("the labels are set again");
        assert_eq!(target.weight.get(), 20);
        assert_eq!([&target.canary.hash, &target.stable.hash], [&Some(canary), &Some(stable)]);
        let resized = plan
            .stages
            .iter()
            .flatten()
            .any(|effect| matches!(effect, crate::rollout::Effect::ScaleReplicaSet { .. }));
        assert!(!resized);
    }
}
