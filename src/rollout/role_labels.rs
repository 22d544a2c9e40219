//! Labels of pods by which a Service in front of a router selects a role, so that its selector is never written.
//!
//! A selector is changed at once; labels are changed pod by pod. So the version that a Service is to lead to gets the label
//! first, and the others lose it only once every pod of that version carries it and is published behind the Service. In
//! between a Service may lead to two versions: then it counts as leading to each where the question is who may get requests,
//! and to none where the question is who may get more. What an unfinished change has left is read from the ReplicaSets'
//! notes of it (see `injection`).

use std::collections::BTreeMap;

use super::endpoints;
use super::injection::{self, Changes};
use super::services::Selection;
use super::snapshot::{ReplicaSet, Snapshot};
use super::world::World;
use crate::api::labels::{CANARY_ROLE, POD_TEMPLATE_HASH, STABLE_ROLE};
use crate::units::{PodHash, ReplicaCount};

/// A role that a Service may select pods by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The pods of the stable Service.
    Stable,
    /// The pods of the canary's Service.
    Canary,
}

impl Role {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stable, Self::Canary];

    /// The key of its label.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Stable => STABLE_ROLE,
            Self::Canary => CANARY_ROLE,
        }
    }
}

/// Whether this is the key of a role's label.
#[must_use]
pub fn is_key(key: &str) -> bool {
    Role::ALL.into_iter().any(|role| role.key() == key)
}

/// The role that a Service selects pods of the Rollout by; `None` where it does not select by one alone.
pub(super) fn of_service(snapshot: &Snapshot, service: &str) -> Option<Role> {
    let selector = &snapshot.services.get(service)?.selector;
    let name = snapshot.rollout.metadata.name.as_ref()?;
    let is_by_hash = selector.contains_key(POD_TEMPLATE_HASH);
    Role::ALL.into_iter().find(|role| !is_by_hash && selector.get(role.key()) == Some(name))
}

/// The versions that may have pods with a role's label, and those whose pods would have it.
pub(super) fn behind(snapshot: &Snapshot, role: Role) -> impl Iterator<Item = &ReplicaSet> {
    snapshot.replica_sets.iter().filter(move |set| may_carry(set, role))
}

/// The version that has all pods with a role's label, each of its own; `None` where there is none, or a change is under way.
pub(super) fn selected(snapshot: &Snapshot, role: Role) -> Option<PodHash> {
    let (full, empty): (Vec<_>, Vec<_>) = behind(snapshot, role).partition(|set| injection::has_pods(set));
    match (full.as_slice(), empty.as_slice()) {
        ([only], _) | ([], [only]) if all_carry(only, role) => Some(only.hash.clone()),
        _ => None,
    }
}

/// Whether some pods of a ReplicaSet may carry a role's label.
fn may_carry(set: &ReplicaSet, role: Role) -> bool {
    is_marked(set, role) || is_changing(set, role)
}

/// Whether all pods of a ReplicaSet carry a role's label.
fn all_carry(set: &ReplicaSet, role: Role) -> bool {
    is_marked(set, role) && !is_changing(set, role)
}

fn is_marked(set: &ReplicaSet, role: Role) -> bool {
    set.injected.marks.labels.contains_key(role.key())
}

fn is_changing(set: &ReplicaSet, role: Role) -> bool {
    // A note that cannot be read may have been about any label.
    let is_about =
        |pending: &Changes| *pending == Changes::default() || pending.labels.contains_key(role.key());
    set.injected.pending.as_ref().is_some_and(is_about)
}

/// The roles' labels that pods of a revision should carry; `set` is its ReplicaSet, should there be one.
pub(super) fn wanted(
    world: &World,
    selections: &[Selection],
    hash: &PodHash,
    set: Option<&ReplicaSet>,
) -> BTreeMap<String, String> {
    let Some(name) = world.snapshot.rollout.metadata.name.as_ref().filter(|_| world.spec.has_role_labels)
    else {
        return BTreeMap::new();
    };
    let services = &world.spec.services;
    let of_role = |role: &Role| match role {
        Role::Stable => services.stable.as_ref(),
        Role::Canary => services.canary.as_ref(),
    };
    let carried = Role::ALL.into_iter().filter(|role| {
        of_role(role).is_some_and(|service| carries(world, selections, *role, service, hash, set))
    });
    carried.map(|role| (role.key().to_owned(), name.clone())).collect()
}

fn carries(
    world: &World,
    selections: &[Selection],
    role: Role,
    service: &str,
    hash: &PodHash,
    set: Option<&ReplicaSet>,
) -> bool {
    let wanted = selections.iter().find(|selection| selection.service == service);
    let wanted = wanted.map(|selection| selection.hash.clone());
    let to = match of_service(world.snapshot, service) {
        Some(_) => wanted.or_else(|| unsaid(world, role)),
        // The label follows the selector, until a selector follows the label.
        None => world.selected(service).or(wanted),
    };
    let has_it = set.is_some_and(|set| is_marked(set, role));
    let is_in_use = has_it && set.is_some_and(injection::has_pods);
    match to {
        None => has_it,
        Some(to) => to == *hash || is_in_use && !is_taken_over(world, role, service, &to),
    }
}

/// The version that a Service of a role leads to where the situation leaves Services alone: stable's leads to stable. The canary's
/// stays where it is, unless that is nowhere, as where the selector came before the labels.
fn unsaid(world: &World, role: Role) -> Option<PodHash> {
    let status = world.snapshot.rollout.status.as_ref()?;
    let stable = || status.stable_rs.clone().and_then(PodHash::new);
    let is_nowhere = || behind(world.snapshot, role).next().is_none();
    match role {
        Role::Stable => stable(),
        Role::Canary if is_nowhere() => {
            let newest = status.current_pod_hash.clone().and_then(PodHash::new);
            newest
                .filter(|hash| world.revisions().find(Some(hash)).is_some_and(injection::has_pods))
                .or_else(stable)
        }
        Role::Canary => None,
    }
}

/// Whether all pods of a version carry a role's label, and requests through the Service reach them.
fn is_taken_over(world: &World, role: Role, service: &str, to: &PodHash) -> bool {
    let Some(set) = world.revisions().find(Some(to)) else { return false };
    let is_there = set.observed && set.lasting() > ReplicaCount::ZERO && all_carry(set, role);
    let published = of_service(world.snapshot, service).and(endpoints::published(world, service, set));
    is_there && published.is_none_or(|pods| pods >= set.lasting())
}

/// Pods that are not behind a Service though their label says so, and those that are although it does not any more.
pub(super) fn misled(world: &World, service: &str, role: Role) -> u32 {
    let of_set = |set: &ReplicaSet| {
        let published = endpoints::published(world, service, set).unwrap_or_default();
        match () {
            () if all_carry(set, role) => set.lasting().minus(published).get(),
            () if may_carry(set, role) => 0,
            () => published.get(),
        }
    };
    world.snapshot.replica_sets.iter().map(of_set).fold(0, u32::saturating_add)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rollout::injection::Marks;
    use crate::rollout::tests::Bench;

    /// A Rollout with two versions that have pods.
    fn two_versions() -> Snapshot {
        let mut bench = Bench::new(4, &json!([{"setWeight": 50}, {"pause": {}}]));
        bench.settle();
        bench.release("v2");
        bench.settle();
        bench.snapshot
    }

    fn mark(set: &mut ReplicaSet, is_pending: bool) {
        let labels: BTreeMap<_, _> = [(STABLE_ROLE.to_owned(), "api".to_owned())].into();
        set.injected.marks = Marks { labels: labels.clone(), ..Marks::default() };
        let pending = labels.into_iter().map(|(key, value)| (key, Some(value))).collect();
        set.injected.pending = is_pending.then(|| Changes { labels: pending, ..Changes::default() });
    }

    #[test]
    fn a_service_leads_to_a_version_once_all_its_pods_and_no_others_carry_the_label() {
        let mut snapshot = two_versions();
        let hashes: Vec<_> = snapshot.replica_sets.iter().map(|set| set.hash.clone()).collect();
        let found = |snapshot: &Snapshot| {
            let behind: Vec<_> = behind(snapshot, Role::Stable).map(|set| set.hash.clone()).collect();
            (selected(snapshot, Role::Stable), behind)
        };
        assert_eq!(found(&snapshot), (None, vec![]));
        mark(&mut snapshot.replica_sets[0], true);
        assert_eq!(found(&snapshot), (None, vec![hashes[0].clone()]), "some pods may lack it");
        mark(&mut snapshot.replica_sets[0], false);
        assert_eq!(found(&snapshot), (Some(hashes[0].clone()), vec![hashes[0].clone()]));
        mark(&mut snapshot.replica_sets[1], false);
        assert_eq!(found(&snapshot), (None, hashes.clone()));
        // The template of the first has lost it, but not its pods.
        mark(&mut snapshot.replica_sets[0], true);
        snapshot.replica_sets[0].injected.marks = Marks::default();
        assert_eq!(found(&snapshot), (None, hashes.clone()));
        snapshot.replica_sets[0].injected.pending = None;
        assert_eq!(found(&snapshot), (Some(hashes[1].clone()), vec![hashes[1].clone()]));
    }

    /// A Rollout whose Services begin to select by roles that no pod has a label of yet, after that change.
    fn opted_in(change: impl FnOnce(&mut Bench)) -> Vec<String> {
        let mut bench = Bench::new(4, &json!([{"setWeight": 50}, {"pause": {}}]));
        bench.settle();
        bench.route(0);
        bench.snapshot.settings.router_plugins.insert("simulated".to_owned());
        let canary = bench.snapshot.rollout.spec.strategy.as_mut().unwrap().canary.as_mut().unwrap();
        canary.traffic_routing = Some(serde_json::from_value(json!({"plugins": {"simulated": {}}})).unwrap());
        let annotations = bench.snapshot.rollout.metadata.annotations.get_or_insert_default();
        annotations.insert(crate::api::labels::ROLE_LABELS.to_owned(), "true".to_owned());
        for role in Role::ALL {
            let mut found = crate::rollout::tests::service("");
            found.selector =
                [("app".to_owned(), "api".to_owned()), (role.key().to_owned(), "api".to_owned())].into();
            let name = if role == Role::Stable { "stable" } else { "canary" };
            bench.snapshot.services.insert(name.to_owned(), found);
        }
        change(&mut bench);
        let plan = crate::rollout::decide(&bench.snapshot);
        let changes = plan.stages.iter().flatten().filter_map(|effect| match effect {
            crate::rollout::Effect::AdjustTemplate(change) => Some(format!("{change:?}")),
            _ => None,
        });
        changes.collect()
    }

    #[test]
    fn services_that_select_before_pods_have_labels_get_them_whatever_else_waits() {
        let has_both = |changes: &[String]| {
            changes.iter().any(|change| Role::ALL.into_iter().all(|role| change.contains(role.key())))
        };
        assert!(has_both(&opted_in(|_| {})), "{:#?}", opted_in(|_| {}));
        let is_invalid = |bench: &mut Bench| bench.snapshot.rollout.spec.progress_deadline_seconds = Some(-1);
        assert!(has_both(&opted_in(is_invalid)), "{:#?}", opted_in(is_invalid));
        let is_paused = |bench: &mut Bench| bench.snapshot.rollout.spec.paused = Some(true);
        assert!(has_both(&opted_in(is_paused)), "{:#?}", opted_in(is_paused));
    }
}
