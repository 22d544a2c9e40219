//! SMI: a `TrafficSplit` says how requests to the root Service are split between the two others.
//!
//! It belongs to the Rollout and stays while there is no update, with a share of 0. Where stable's Service is the root
//! itself, it is not needed before the first share; any other root would lead to the pods of both versions without it.

use serde_json::{Value, json};

use super::route::{at, items, set, text};
use super::routers::{Abilities, Problem, Router, Subject};
use super::weighted::{LARGEST_WEIGHT, Split};
use super::{Need, ObservedTraffic, RouteKind, RouteName, Routes, TrafficTarget};
use crate::api::traffic_routing::SmiTrafficRouting;
use crate::units::Weight;

/// The version whose weights are quantities, written as text; in later ones they are integers.
const OF_QUANTITIES: &str = "v1alpha1";

/// The router.
#[derive(Debug)]
pub(super) struct Smi {
    subject: Subject,
    /// The Service that clients send to.
    root: String,
    split: RouteName,
}

impl Smi {
    pub(super) fn new(subject: Subject, spec: &SmiTrafficRouting) -> Self {
        let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let root = given(&spec.root_service).unwrap_or_else(|| subject.stable.clone());
        let name = given(&spec.traffic_split_name).unwrap_or_else(|| subject.rollout.clone());
        let split = RouteName::new(RouteKind::TrafficSplit, &subject.namespace, &name);
        Self { subject, root, split }
    }

    /// Whether a split is one of the root Service between the two others and the Experiments', once each.
    fn is_made(&self, split: &Value) -> bool {
        let backends = items(split, &["spec", "backends"]);
        let count = |name: &str| backends.iter().filter(|backend| service(backend) == name).count();
        let experiments = self.subject.experiments.iter();
        let [canary, stable] = self.subject.names();
        let of_experiments: usize = experiments.clone().map(|name| count(name)).sum();
        text(split, &["spec", "service"]) == self.root
            && backends.len() == 2 + of_experiments
            && [canary, stable].into_iter().all(|name| count(name) == 1)
            && experiments.into_iter().all(|name| count(name) <= 1)
    }

    fn shares(&self, split: &Value) -> Option<ObservedTraffic> {
        let backends = items(split, &["spec", "backends"]).iter();
        let known: Option<Vec<_>> =
            backends.map(|backend| Some((service(backend), weight(backend)?))).collect();
        let (of_experiments, known) = self.subject.split_experiments(known?);
        let names = self.subject.names();
        let observed =
            Split::of(known, names).with_experiments(&of_experiments).observed(names, self.subject.scale);
        self.is_made(split).then_some(ObservedTraffic { experiments: of_experiments, ..observed })
    }
}

impl Router for Smi {
    fn field(&self) -> &'static str {
        "smi"
    }

    fn abilities(&self) -> Abilities {
        Abilities { ping_pong: false, largest_scale: Weight::observed(LARGEST_WEIGHT) }
    }

    fn serves_experiments(&self) -> bool {
        true
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::One(self.split.clone())]
    }

    fn problems(&self, routes: &Routes) -> Vec<Problem> {
        let name = &self.split.name;
        let message = format!(
            "TrafficSplit \"{name}\" exists and does not belong to this Rollout: delete it, or choose another name"
        );
        let is_anothers = routes.is_anothers(&self.split, &self.subject.rollout);
        is_anothers.then(|| Problem::new("smi.trafficSplitName", message)).into_iter().collect()
    }

    fn observe(&self, routes: &Routes) -> Option<ObservedTraffic> {
        let names = self.subject.names();
        let observed = match routes.get(&self.split) {
            Some(split) => self.shares(split),
            None if self.root == self.subject.stable => {
                Some(Split { pair: [0, 1], others: 0 }.observed(names, self.subject.scale))
            }
            // None will be made any more, and nobody knows where the root leads.
            None if self.subject.is_leaving => return None,
            None => None,
        };
        Some(observed.unwrap_or_else(ObservedTraffic::unclear))
    }

    fn render(&self, routes: &mut Routes, target: &TrafficTarget) {
        let Some(mut split) = routes.own(&self.split, &self.subject) else { return };
        let is_text = routes.version(RouteKind::TrafficSplit) == OF_QUANTITIES;
        let known = items(&split, &["spec", "backends"]);
        let backend = |name: &str, weight: Weight| {
            let known = known.iter().find(|backend| service(backend) == name).cloned();
            let mut backend = known.unwrap_or_else(|| json!({"service": name}));
            let weight = if is_text { json!(weight.to_string()) } else { json!(weight.get()) };
            set(&mut backend, &["weight"], Some(weight));
            backend
        };
        let canary = backend(&target.canary.name, target.weight);
        let stable = backend(&target.stable.name, target.stable_weight());
        let experiments = target.experiments.iter().map(|share| backend(&share.to.name, share.weight));
        let backends: Vec<Value> = [canary, stable].into_iter().chain(experiments).collect();
        set(&mut split, &["spec", "service"], Some(json!(self.root)));
        set(&mut split, &["spec", "backends"], Some(json!(backends)));
        routes.objects.insert(self.split.clone(), split);
    }
}

fn service(backend: &Value) -> &str {
    text(backend, &["service"])
}

/// A weight, however the version writes it.
fn weight(backend: &Value) -> Option<u64> {
    let weight = at(backend, &["weight"]);
    weight.as_u64().or_else(|| weight.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Destination;

    fn router(spec: Value) -> Smi {
        let subject = Subject {
            rollout: "web".to_owned(),
            namespace: "shop".to_owned(),
            canary: "canary".to_owned(),
            stable: "stable".to_owned(),
            scale: Weight::FULL,
            ..Subject::default()
        };
        Smi::new(subject, &serde_json::from_value(spec).unwrap())
    }

    fn target(weight: u32) -> TrafficTarget {
        let [canary, stable] =
            ["canary", "stable"].map(|name| Destination { name: name.to_owned(), ..Destination::default() });
        let weight = Weight::observed(weight);
        TrafficTarget { canary, stable, weight, scale: Weight::FULL, managed: vec![], experiments: vec![] }
    }

    fn share(observed: &ObservedTraffic) -> Option<u32> {
        (!observed.is_unclear).then(|| observed.shares.get("canary").copied().unwrap_or_default())
    }

    #[test]
    fn weights_are_written_as_the_version_has_them_and_read_in_any() {
        let check = |version: &str, expected: Value| {
            let smi = router(json!({"trafficSplitName": "shop"}));
            let versions = [(RouteKind::TrafficSplit, version.to_owned())].into();
            let mut routes = Routes { versions, ..Routes::default() };
            smi.render(&mut routes, &target(20));
            let split = routes.get(&smi.split).unwrap();
            assert_eq!(split["apiVersion"], format!("split.smi-spec.io/{version}"));
            assert_eq!(split["spec"]["backends"][0]["weight"], expected);
            assert_eq!(share(&smi.observe(&routes).unwrap()), Some(20));
        };
        check("v1alpha1", json!("20"));
        check("v1alpha2", json!(20));
        check("v1alpha4", json!(20));
    }

    #[test]
    fn without_a_split_the_root_leads_to_stable_only_where_it_is_stable_itself() {
        let check = |spec: Value, expected: Option<u32>| {
            let observed = router(spec.clone()).observe(&Routes::default()).unwrap();
            assert_eq!(share(&observed), expected, "{spec}");
        };
        check(json!({}), Some(0));
        check(json!({"rootService": "stable"}), Some(0));
        check(json!({"rootService": "root"}), None);
    }

    #[test]
    fn a_split_that_somebody_has_changed_is_put_right() {
        let check = |edit: &dyn Fn(&mut Value), expected: Option<u32>| {
            let smi = router(json!({}));
            let mut routes = Routes::default();
            smi.render(&mut routes, &target(20));
            routes.edit(&smi.split, edit);
            assert_eq!(share(&smi.observe(&routes).unwrap()), expected, "{:?}", routes.get(&smi.split));
            smi.render(&mut routes, &target(20));
            assert_eq!(share(&smi.observe(&routes).unwrap()), Some(20));
        };
        check(&|_| {}, Some(20));
        check(&|split| split["spec"]["backends"].as_array_mut().unwrap().reverse(), Some(20));
        check(&|split| split["spec"]["backends"][0]["weight"] = json!("30"), Some(28));
        check(&|split| split["spec"]["backends"][0]["weight"] = json!("500m"), None);
        check(&|split| split["spec"]["backends"][0]["service"] = json!("other"), None);
        check(&|split| drop(split["spec"]["backends"].as_array_mut().unwrap().pop()), None);
        check(&|split| split["spec"]["service"] = json!("other"), None);
    }

    #[test]
    fn a_rollout_that_is_being_deleted_makes_no_split_again() {
        let check = |spec: Value, expected: Option<u32>| {
            let mut smi = router(spec.clone());
            smi.subject.is_leaving = true;
            let mut routes = Routes::default();
            smi.render(&mut routes, &target(0));
            assert_eq!(routes, Routes::default(), "{spec}");
            assert_eq!(smi.observe(&routes).as_ref().and_then(share), expected, "{spec}");
        };
        check(json!({}), Some(0));
        check(json!({"rootService": "root"}), None);
    }

    #[test]
    fn a_split_that_is_anothers_is_never_touched() {
        let smi = router(json!({}));
        let mut routes = Routes::default();
        routes.objects.insert(smi.split.clone(), json!({"spec": {"service": "stable"}}));
        let before = routes.clone();
        assert_eq!(smi.problems(&routes).len(), 1);
        smi.render(&mut routes, &target(20));
        assert_eq!(routes, before);
    }
}
