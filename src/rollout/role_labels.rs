//! Labels of pods by which a Service in front of a router selects a role, so that its selector is never written.
//!
//! A selector is changed at once; labels are changed pod by pod. So the version that a Service is to lead to gets the label
//! first, and the others lose it only once every pod of that version carries it and is published behind the Service. In
//! between a Service may lead to two versions: then it counts as leading to each where the question is who may get requests,
//! and to none where the question is who may get more. What an unfinished change has left is read from the ReplicaSets'
//! notes of it (see `injection`).

use std::collections::BTreeMap;

use super::endpoints;
use super::injection;
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
    set.injected.pending.as_ref().is_some_and(|pending| pending.labels.contains_key(role.key()))
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
        Some(_) => wanted,
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
