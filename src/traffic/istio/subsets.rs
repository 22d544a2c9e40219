//! Subsets of a DestinationRule: each role leads to the pods with the label that its subset asks for.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::labels::{MANAGED_BY, POD_TEMPLATE_HASH};
use crate::api::traffic_routing::{IstioDestinationRule, TrafficRouting};
use crate::traffic::route::{at, items, set, text};
use crate::traffic::{Problem, RouteKind, RouteName, Routes, Subject, TrafficTarget};
use crate::units::PodHash;

/// The field that names them.
const FIELD: &str = "istio.destinationRule";

/// The subsets of a Rollout.
#[derive(Debug)]
pub(super) struct Subsets {
    rule: RouteName,
    /// Those of the canary and of stable.
    pub(super) names: [String; 2],
}

/// What the destinations of a Rollout are called whose roles are subsets, the canary's first; `None` for Services. No
/// Service can have such a name.
#[must_use]
pub fn destinations(routing: &TrafficRouting) -> Option<[String; 2]> {
    let rule = routing.istio.as_ref()?.destination_rule.as_ref()?;
    Some(names(rule).map(|name| format!("{}/{name}", rule.name)))
}

fn names(rule: &IstioDestinationRule) -> [String; 2] {
    [&rule.canary_subset_name, &rule.stable_subset_name].map(|name| name.clone().unwrap_or_default())
}

impl Subsets {
    pub(super) fn new(rule: &IstioDestinationRule, namespace: &str) -> Self {
        let route = RouteName::new(RouteKind::DestinationRule, namespace, &rule.name);
        Self { rule: route, names: names(rule) }
    }

    pub(super) const fn rule(&self) -> &RouteName {
        &self.rule
    }

    /// The revision behind each destination; `None` where the DestinationRule does not say.
    pub(super) fn behind(
        &self,
        routes: &Routes,
        destinations: [&str; 2],
    ) -> Option<BTreeMap<String, Option<PodHash>>> {
        let rule = routes.get(&self.rule)?;
        let behind = self.names.iter().zip(destinations).map(|(name, destination)| {
            let subset = items(rule, &["spec", "subsets"]).iter().find(|subset| is(name, subset))?;
            let hash = text(subset, &["labels", POD_TEMPLATE_HASH]);
            Some((destination.to_owned(), PodHash::new(hash.to_owned())))
        });
        behind.collect()
    }

    /// The Rollout that has last changed the subsets.
    pub(super) fn owner<'a>(&self, routes: &'a Routes) -> Option<&'a str> {
        at(routes.get(&self.rule)?, &["metadata", "annotations", MANAGED_BY]).as_str()
    }

    /// Lets the subsets lead to the pods of a target.
    pub(super) fn render(&self, routes: &mut Routes, subject: &Subject, target: &TrafficTarget) {
        routes.edit(&self.rule, |rule| {
            let before = rule.clone();
            let subsets = rule.pointer_mut("/spec/subsets").and_then(Value::as_array_mut);
            for subset in subsets.into_iter().flatten() {
                let Some(hash) = self.hash(subset, subject, target) else { continue };
                set(subset, &["labels", POD_TEMPLATE_HASH], Some(json!(hash.as_str())));
            }
            if *rule != before {
                set(rule, &["metadata", "annotations", MANAGED_BY], Some(json!(subject.rollout)));
            }
        });
    }

    fn hash<'a>(&self, subset: &Value, subject: &Subject, target: &'a TrafficTarget) -> Option<&'a PodHash> {
        let [canary, stable] = &self.names;
        let destination = match () {
            () if is(canary, subset) => &subject.canary,
            () if is(stable, subset) => &subject.stable,
            () => return None,
        };
        [&target.canary, &target.stable].into_iter().find(|found| found.name == *destination)?.hash.as_ref()
    }

    pub(super) fn problems(&self, routes: &Routes, subject: &Subject) -> Vec<Problem> {
        let (name, namespace) = (&self.rule.name, &self.rule.namespace);
        if let Some((field, _)) = self.fields().into_iter().find(|(_, name)| name.is_empty()) {
            return vec![Problem::new(
                format!("{FIELD}.{field}"),
                "is missing: name the subset of this role",
            )];
        }
        let Some(rule) = routes.get(&self.rule) else {
            let message = format!(
                "DestinationRule \"{name}\" not found in namespace {namespace}: create it, or correct the name"
            );
            return vec![Problem::new(FIELD, message)];
        };
        let count = |wanted: &str| {
            items(rule, &["spec", "subsets"]).iter().filter(|subset| is(wanted, subset)).count()
        };
        let wrong =
            self.fields().into_iter().filter(|(_, subset)| count(subset) != 1).map(|(field, subset)| {
                let message = format!(
                    "DestinationRule \"{name}\" must have one subset \"{subset}\", not {}",
                    count(subset)
                );
                Problem::new(format!("{FIELD}.{field}"), message)
            });
        let owner = self.owner(routes).filter(|owner| *owner != subject.rollout);
        let foreign = owner.map(|owner| {
            let message = format!(
                "DestinationRule \"{name}\" is managed by another Rollout, \"{owner}\": name another one, or, once that \
                 Rollout is gone, remove the annotation {MANAGED_BY}"
            );
            Problem::new(FIELD, message)
        });
        wrong.chain(foreign).collect()
    }

    fn fields(&self) -> [(&'static str, &str); 2] {
        let [canary, stable] = &self.names;
        [("canarySubsetName", canary), ("stableSubsetName", stable)]
    }
}

fn is(name: &str, subset: &Value) -> bool {
    text(subset, &["name"]) == name
}
