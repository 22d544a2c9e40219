//! What must hold in every state of a small world, whatever happens.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::script::{Statement, UserAction};
use super::simulation::{Happening, Simulation};
use crate::api::RolloutStatus;

/// Pods and traffic of each revision, by hash.
#[derive(Clone, Debug, Default)]
pub(super) struct Pods {
    sizes: BTreeMap<String, u32>,
    available: BTreeMap<String, u32>,
    ready: BTreeMap<String, usize>,
    shares: BTreeMap<String, u32>,
}

impl Pods {
    /// As they are.
    #[must_use]
    pub(super) fn of(simulation: &Simulation) -> Self {
        let mut pods = Self { shares: shares(simulation), ..Self::default() };
        for revision in simulation.cluster.revisions() {
            pods.sizes.insert(revision.hash.clone(), revision.size.get());
            pods.available.insert(revision.hash.clone(), revision.available.get());
            pods.ready.insert(revision.hash, revision.ready);
        }
        pods
    }
}

/// Whether a statement takes pods or traffic from the controller's hands.
#[must_use]
pub(super) const fn is_rough(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::User(UserAction::Scale(_), _)
            | Statement::Pods(..)
            | Statement::Route(_)
            | Statement::DeleteReplicaSet(_)
            | Statement::ResizeReplicaSet(..)
    )
}

/// Percent of users' traffic by revision: by the router, or else by the active Service. Where pods split it, none.
fn shares(simulation: &Simulation) -> BTreeMap<String, u32> {
    let cluster = &simulation.cluster;
    let strategy = cluster.rollout().and_then(|rollout| rollout.spec.strategy.as_ref());
    let active = strategy.and_then(|strategy| strategy.blue_green.as_ref()?.active_service.clone());
    let is_routed = strategy.is_some_and(|strategy| {
        strategy.canary.as_ref().is_some_and(|canary| canary.traffic_routing.is_some())
    });
    let by_service = match active {
        Some(active) => BTreeMap::from([(active, 100)]),
        None if is_routed => cluster.shares().clone(),
        None => BTreeMap::new(),
    };
    cluster.divided(&by_service)
}

fn status(simulation: &Simulation) -> RolloutStatus {
    simulation.cluster.rollout().and_then(|rollout| rollout.status.clone()).unwrap_or_default()
}

fn replicas(simulation: &Simulation) -> u32 {
    let wanted = simulation.cluster.rollout().and_then(|rollout| rollout.spec.replicas).unwrap_or(1);
    u32::try_from(wanted).unwrap_or_default()
}

/// Where pods split the traffic, there are never too few that are available, nor too many.
fn out_of_bounds(pods: &Pods, simulation: &Simulation) -> Option<String> {
    let spec = &simulation.cluster.rollout()?.spec;
    let canary = spec.strategy.as_ref()?.canary.as_ref().filter(|canary| canary.traffic_routing.is_none())?;
    let number = |value: Option<&IntOrString>| match value {
        Some(IntOrString::Int(number)) => u32::try_from(*number).ok(),
        Some(IntOrString::String(_)) | None => None,
    };
    let (surge, unavailable) = (number(canary.max_surge.as_ref())?, number(canary.max_unavailable.as_ref())?);
    let (ready, size): (usize, u32) = (pods.ready.values().sum(), pods.sizes.values().sum());
    let (least, most) =
        (replicas(simulation).saturating_sub(unavailable), replicas(simulation).saturating_add(surge));
    let is_right = size <= most && u32::try_from(ready).unwrap_or(u32::MAX) >= least;
    (!is_right).then(|| format!("{ready} pods are ready and {size} wanted, not {least} to {most}"))
}

/// What was wrong with a move; `None` when nothing was.
#[must_use]
pub(super) fn moved(
    before: &Pods,
    after: &Simulation,
    happening: Option<&Happening>,
    is_rough: bool,
) -> Option<String> {
    if let Some(Happening::Livelock(passes)) = happening {
        return Some(format!("{passes} passes without end"));
    }
    let now = Pods::of(after);
    if let Some(wrong) = out_of_bounds(&now, after).filter(|_| !is_rough) {
        return Some(wrong);
    }
    let number =
        |numbers: &BTreeMap<String, u32>, hash: &String| numbers.get(hash).copied().unwrap_or_default();
    let is_pass = matches!(happening, Some(Happening::Pass(_)));
    let stable = status(after).stable_rs;
    for (hash, share) in &now.shares {
        let (was, size) = (number(&before.sizes, hash), number(&now.sizes, hash));
        let needed = (replicas(after) * share).div_ceil(100);
        if is_pass && size < was && size < needed {
            return Some(format!("{hash} went from {was} pods to {size} with {share} % of the traffic"));
        }
        let has_risen = *share > number(&before.shares, hash);
        if has_risen && !is_rough && number(&now.available, hash) < needed {
            let available = number(&now.available, hash);
            return Some(format!("{hash} got {share} % of the traffic with {available} available pods"));
        }
        // Pods that died a moment ago still count as available for whoever looks.
        let is_dead = |pods: &Pods, hash: &String| number(&pods.available, hash) == 0;
        let could_answer = stable.as_ref().is_some_and(|stable| !is_dead(&now, stable));
        if is_pass && has_risen && could_answer && is_dead(&now, hash) && is_dead(before, hash) {
            return Some(format!("{hash} got {share} % of the traffic, and is dead"));
        }
    }
    None
}

/// What is wrong with a state in which nothing more happens; `None` when nothing is.
#[must_use]
pub(super) fn rests(simulation: &Simulation) -> Option<String> {
    let (status, pods) = (status(simulation), Pods::of(simulation));
    let is_stable = |hash: &&String| Some(*hash) == status.stable_rs.as_ref();
    let sum = |keep: bool| -> u32 {
        pods.sizes.iter().filter(|(hash, _)| is_stable(hash) == keep).map(|(_, size)| size).sum()
    };
    let (stable, others) = (sum(true), sum(false));
    let is_back =
        stable == replicas(simulation) && others == 0 && pods.shares.keys().all(|hash| is_stable(&hash));
    let is_right = match status.phase.as_deref() {
        Some("Healthy") => is_back && status.stable_rs == status.current_pod_hash,
        Some("Degraded") => is_back && status.abort == Some(true),
        Some("Paused") => status.pause_conditions.is_some(),
        _ => false,
    };
    (!is_right).then(|| {
        let phase = status.phase.as_deref().unwrap_or_default();
        let shares = &pods.shares;
        format!("at rest it is {phase} with {stable} stable and {others} other pods, and shares {shares:?}")
    })
}
