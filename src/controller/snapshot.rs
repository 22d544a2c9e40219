//! A Rollout's snapshot out of the caches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::caches::Caches;
use super::endpoints::LastLook;
use super::records::{Readable, owned_by, template_key};
use super::references;
use super::store::{Identity, Key, OwnerKind};
use crate::api::analysis_template::AnalysisTemplateRef;
use crate::api::{AnalysisTemplateSpec, Rollout, RolloutSpec};
use crate::rollout::Snapshot;
use crate::rollout::endpoints::{Endpoints, Missing, Reading};
use crate::rollout::pods::{Pods, Refused};
use crate::rollout::snapshot::{self, Service, Settings, Told};
use crate::rollout::workload::Generations;
use crate::traffic::{self, Routers};
use crate::units::Timestamp;

/// Templates that one Rollout or Experiment can reach; more are as good as absent, so that a pass stays small.
const TEMPLATE_LIMIT: usize = 100;

/// What the shell remembers of a Rollout between two passes. Losing it costs a write, never a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Since when a change of counts has been waiting to be written.
    pub(crate) counts_pending_since: Option<Timestamp>,
    /// What the API server said against the ReplicaSet.
    pub(crate) refusal: Option<Refusal>,
    /// ReplicaSets whose size may be another one than the cache says, until it is read.
    pub(crate) doubtful: BTreeSet<String>,
    /// Names that belong to somebody else's objects.
    pub(crate) taken_names: BTreeSet<String>,
    /// What the router was last told.
    pub(crate) told: Option<Told>,
    /// What the API server said against telling it what is wanted.
    pub(crate) route_refusal: Option<String>,
    /// Evictions that disruption budgets did not allow.
    pub(crate) refused_evictions: Option<Refused>,
    /// How the last look at the endpoints of its Services ended.
    pub(crate) endpoints: LastLook,
    /// Pods that were not published as endpoints.
    pub(crate) missing_endpoints: Option<Missing>,
    /// Since when the route that the spec named before is being let go.
    pub(crate) leaving_since: Option<Timestamp>,
}

impl Memory {
    /// Since when a Rollout leaves a route; also once that took too long, until the status names another.
    pub(crate) fn leaving_since(&self, rollout: &Rollout, leaves: bool, now: Timestamp) -> Option<Timestamp> {
        let still = || traffic::with_route_left(rollout).and(self.leaving_since);
        if leaves { Some(self.leaving_since.unwrap_or(now)) } else { still() }
    }
}

/// How long letting go of a route may keep everything else waiting.
pub(crate) const LEAVING_PATIENCE: Duration = Duration::from_mins(3);

/// A ReplicaSet that the API server does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    /// What it was about.
    pub(crate) generations: Generations,
    /// When to try again.
    pub(crate) until: Timestamp,
}

impl Memory {
    /// The refusal as long as it counts: not for another generation.
    fn refusal(&self, generations: Generations, now: Timestamp) -> Option<snapshot::Refusal> {
        let refusal = self.refusal.as_ref().filter(|refusal| refusal.generations == generations)?;
        Some(snapshot::Refusal { message: refusal.message.clone(), is_due: now >= refusal.until })
    }
}

/// Builds the snapshot of one Rollout.
///
/// # Errors
/// When the cached Rollout cannot be read, which would be a defect of the cache.
pub(crate) fn rollout(
    caches: &Caches,
    identity: &Identity,
    readable: &Readable,
    memory: &Memory,
    now: Timestamp,
    settings: &Settings,
) -> Result<Snapshot, serde_json::Error> {
    let rollout: Rollout = readable.rollout(identity)?;
    let is_late = memory.leaving_since.is_some_and(|since| now.since(since) >= LEAVING_PATIENCE);
    // One that cannot be let go must not hold an abort up.
    let left = traffic::with_route_left(&rollout).filter(|_| !is_late);
    // What is gone has nothing to let go, and what remains may be what the spec names by now.
    let left = left.and_then(|left| remaining(caches, &left));
    let left = left.filter(|left| !traffic::name_one_route(&rollout, left));
    let leaves_route = left.is_some();
    let rollout = match left {
        Some(left) => left,
        None if rollout.metadata.deletion_timestamp.is_some() => {
            remaining(caches, &rollout).unwrap_or(rollout)
        }
        None => rollout,
    };
    let namespace = &identity.key.namespace;
    let owned = owned_by(OwnerKind::Rollout, identity);
    let replica_sets = caches.replica_sets.linked(&owned);
    let runs = caches.runs.linked(&owned);
    let experiments = caches.experiments.linked(&owned);
    let experiments: Result<_, _> =
        experiments.into_iter().map(|found| found.value.experiment(&found.identity)).collect();
    let generations = caches.generations(readable, rollout.metadata.generation);
    let routers = Routers::of(&rollout);
    let objects = caches.routes(&routers.needs());
    Ok(Snapshot {
        now,
        leaves_route,
        workload: caches.referenced(&rollout.spec, namespace),
        replica_sets: replica_sets.into_iter().filter_map(|found| found.value.view.clone()).collect(),
        experiments: experiments?,
        stable_template: None,
        analysis_runs: runs.into_iter().map(|found| found.value.run(&found.identity)).collect(),
        templates: templates(caches, references::templates(&rollout.spec), namespace),
        services: services(caches, &rollout.spec, namespace),
        traffic: routers.observe(&objects),
        told: memory.told.clone(),
        route_problems: routers.problems(&objects),
        refusal: memory.refusal(generations, now),
        taken_names: memory.taken_names.clone(),
        route_refusal: memory.route_refusal.clone(),
        pods: Pods { listed: None, refused: memory.refused_evictions },
        endpoints: Endpoints { reading: Reading::default(), missing: memory.missing_endpoints },
        counts_pending_since: memory.counts_pending_since,
        settings: settings.clone(),
        rollout,
    })
}

/// A Rollout that lets its route go, without those objects that are gone; `None` where all are.
fn remaining(caches: &Caches, rollout: &Rollout) -> Option<Rollout> {
    let objects = caches.routes(&Routers::of(rollout).needs());
    if !objects.are_known() {
        return Some(rollout.clone());
    }
    let rest = traffic::keeping(rollout, &|name| objects.exists(name))?;
    // Those that are chosen by label may all be gone, too.
    Routers::of(&rest).edits(&objects).any(|name| objects.exists(&name)).then_some(rest)
}

/// The templates that are named, and those that they name, each under the name it was reached by.
pub(crate) fn templates(
    caches: &Caches,
    mut open: Vec<AnalysisTemplateRef>,
    namespace: &Arc<str>,
) -> BTreeMap<AnalysisTemplateRef, AnalysisTemplateSpec> {
    let mut found = BTreeMap::new();
    while let Some(reference) = open.pop() {
        if found.contains_key(&reference) || found.len() >= TEMPLATE_LIMIT {
            continue;
        }
        let template = template_key(&reference, namespace).and_then(|key| caches.template(&key));
        if let Some(template) = template {
            open.extend(template.value.spec.templates.iter().flatten().cloned());
            found.insert(reference, template.value.spec.clone());
        }
    }
    found
}

fn services(caches: &Caches, spec: &RolloutSpec, namespace: &Arc<str>) -> BTreeMap<String, Service> {
    let names = references::services(spec).into_iter();
    let key = |name: &str| Key { namespace: Arc::clone(namespace), name: name.into() };
    let found =
        names.filter_map(|name| Some((name.to_owned(), caches.services.get(&key(name))?.value.view.clone())));
    found.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::records::RolloutRecord;
    use crate::traffic::{Need, RouteKind};

    #[test]
    fn what_is_let_go_is_remembered_until_the_status_names_another_route() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let route = json!({"trafficRouting": {"nginx": {"stableIngress": "old"}}});
        let rollout = |route: &serde_json::Value| {
            let json = json!({"metadata": {}, "spec": {}, "status": {"canary": {"route": route}}});
            serde_json::from_value::<Rollout>(json).unwrap()
        };
        let since = Memory::default().leaving_since(&rollout(&route), true, at(10));
        let begun = Memory { leaving_since: since, ..Memory::default() };
        assert_eq!(begun.leaving_since, Some(at(10)));
        assert_eq!(begun.leaving_since(&rollout(&route), true, at(60)), Some(at(10)));
        // Given up, and not in the status yet.
        assert_eq!(begun.leaving_since(&rollout(&route), false, at(300)), Some(at(10)));
        assert_eq!(begun.leaving_since(&rollout(&json!(null)), false, at(301)), None);
    }

    /// The objects that remain of a route with these proxies, where some are there and one is being deleted.
    fn remains(proxies: &[&str], there: Option<&[&str]>) -> Option<Vec<String>> {
        let caches = Caches::new([]);
        if let Some(there) = there {
            caches.list_routes(RouteKind::HttpProxy, "shop", there.iter().copied());
        }
        let routing = json!({"plugins": {"argoproj-labs/contour": {"httpProxies": proxies}}});
        let canary = json!({"canaryService": "canary", "stableService": "stable", "trafficRouting": routing});
        let rollout = json!({"metadata": {"name": "api", "namespace": "shop"}, "spec": {"strategy": {"canary": canary}}});
        let rest = remaining(&caches, &serde_json::from_value(rollout).unwrap())?;
        let name = |need| match need {
            Need::One(name) => name.name,
            Need::All { kind, .. } => kind.as_str().to_owned(),
        };
        Some(Routers::of(&rest).needs().into_iter().map(name).collect())
    }

    #[test]
    fn what_is_gone_is_left_out_and_what_is_not_known_or_going_is_not() {
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(remains(&["a", "b"], None), names(&["a", "b"]), "nothing is listed yet");
        assert_eq!(remains(&["a", "b"], Some(&["b", "c"])), names(&["b"]));
        assert_eq!(remains(&["a"], Some(&["b"])), None);
        assert_eq!(
            remains(&["a", "going"], Some(&["a", "going"])),
            names(&["a", "going"]),
            "proxies may follow it still"
        );
    }

    #[test]
    fn a_route_of_which_all_that_the_spec_names_remains_is_not_left() {
        let proxies = |names: &[&str]| {
            json!({"canaryService": "canary", "stableService": "stable",
                "trafficRouting": {"plugins": {"argoproj-labs/contour": {"httpProxies": names}}}})
        };
        let leaves = |had: &[&str], names: &[&str]| {
            let caches = Caches::new([]);
            caches.list_routes(RouteKind::HttpProxy, "shop", ["a", "b"].into_iter());
            let object = json!({
                "metadata": {"name": "api", "namespace": "shop", "uid": "1", "resourceVersion": "1"},
                "spec": {"strategy": {"canary": proxies(names)}}, "status": {"canary": {"route": proxies(had)}},
            });
            let (identity, record) = RolloutRecord::new(serde_json::from_value(object).unwrap());
            let (readable, now) = (record.content.unwrap(), Timestamp::from_millis(0));
            let made =
                super::rollout(&caches, &identity, &readable, &Memory::default(), now, &Settings::default());
            made.unwrap().leaves_route
        };
        assert!(!leaves(&["a", "gone"], &["a"]), "nothing of it is left behind");
        assert!(leaves(&["a", "b"], &["a"]) && leaves(&["a", "gone"], &["b"]));
        assert!(!leaves(&["gone"], &["a"]));
    }
}
