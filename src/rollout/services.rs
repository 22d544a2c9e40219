//! Which revision the Services of a canary without a router select.
//!
//! A Service is switched only to a revision that can answer: one pod at least, and all of them when the Service is
//! adopted, because until then it selects the pods of every revision.

use super::effect::Effect;
use super::progress::Progress;
use super::snapshot::ReplicaSet;
use super::world::World;
use crate::api::labels::POD_TEMPLATE_HASH;
use crate::events::Event;
use crate::units::{PodHash, ReplicaCount};

/// A Service and the revision it should select.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The Service.
    pub service: String,
    /// The revision.
    pub hash: PodHash,
}

/// The stable Service on stable, the canary Service on the wanted revision.
#[must_use]
pub(super) fn of_both(world: &World, progress: &Progress) -> Vec<Selection> {
    let stable = progress.stable.as_ref().or(progress.hash.as_ref());
    let services = &world.spec.services;
    selections([(services.stable.as_ref(), stable), (services.canary.as_ref(), progress.hash.as_ref())])
}

/// Both Services on stable.
#[must_use]
pub(super) fn of_stable(world: &World, stable: Option<&PodHash>) -> Vec<Selection> {
    let services = &world.spec.services;
    selections([(services.stable.as_ref(), stable), (services.canary.as_ref(), stable)])
}

fn selections(wanted: [(Option<&String>, Option<&PodHash>); 2]) -> Vec<Selection> {
    let both = wanted.into_iter().filter_map(|(service, hash)| Some((service?.clone(), hash?.clone())));
    both.map(|(service, hash)| Selection { service, hash }).collect()
}

/// The switches that can be made now, and their announcements.
#[must_use]
pub(super) fn switches(world: &World, progress: &Progress, wanted: &[Selection]) -> Vec<(Effect, Event)> {
    let due = wanted.iter().filter_map(|selection| {
        let service = world.snapshot.services.get(&selection.service)?;
        let from = service.selector.get(POD_TEMPLATE_HASH).cloned().and_then(PodHash::new);
        let is_ready = |hash: &PodHash| {
            let set = world.revisions().find(Some(hash));
            set.is_some_and(
                |set| if service.managed_by.is_some() { answers(set) } else { answers_for_all(set) },
            )
        };
        let to = Some(&selection.hash).filter(|hash| is_ready(hash));
        let to = to.or_else(|| shelter(progress, from.as_ref(), is_ready))?.clone();
        let selection = Selection { service: selection.service.clone(), hash: to };
        (from.as_ref() != Some(&selection.hash)).then(|| switch(&selection, from))
    });
    due.collect()
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

fn switch(selection: &Selection, from: Option<PodHash>) -> (Effect, Event) {
    let (name, to) = (selection.service.clone(), selection.hash.clone());
    (Effect::SwitchService { name: name.clone(), to: to.clone() }, Event::SwitchService { name, from, to })
}

fn answers(set: &ReplicaSet) -> bool {
    set.available > ReplicaCount::ZERO
}

fn answers_for_all(set: &ReplicaSet) -> bool {
    answers(set) && set.available >= set.size
}
