//! The NGINX ingress controller: a second Ingress beside the stable one takes the canary's share.
//!
//! The canary Ingress carries the rules of the stable one that lead to the stable Service, leading to the canary's, and
//! the annotations that make it a canary. It belongs to the Rollout and stays while there is no update, with a share of 0.
//! One that has fallen behind the stable Ingress would be a route of its own, and is put right.
//! Absent on purpose: header routes and mirrors, which the controller knows by annotations of its own.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::route::{at, items, set, text};
use super::routers::{Abilities, Problem, Router, Subject, both};
use super::weighted::{LARGEST_WEIGHT, Split};
use super::{Need, ObservedTraffic, RouteKind, RouteName, Routes, TrafficTarget};
use crate::api::traffic_routing::NginxTrafficRouting;
use crate::units::Weight;

/// Prefix of the annotations unless the spec says otherwise.
const PREFIX: &str = "nginx.ingress.kubernetes.io";
/// The annotation that an older way of naming the class uses.
const CLASS: &str = "kubernetes.io/ingress.class";

/// The router.
#[derive(Debug)]
pub(super) struct Nginx {
    subject: Subject,
    prefix: String,
    /// Stable Ingresses, each with the field that names it.
    ingresses: Vec<(String, String)>,
    /// Annotations that the spec gives the canary Ingress.
    annotations: BTreeMap<String, String>,
}

impl Nginx {
    pub(super) fn new(subject: Subject, spec: &NginxTrafficRouting) -> Self {
        let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let prefix = given(&spec.annotation_prefix).unwrap_or_else(|| PREFIX.to_owned());
        let one = given(&spec.stable_ingress).map(|name| ("nginx.stableIngress".to_owned(), name));
        let several = spec.stable_ingresses.iter().flatten().enumerate();
        let several = several.filter(|(_, name)| !name.is_empty());
        let several = several.map(|(index, name)| (format!("nginx.stableIngresses[{index}]"), name.clone()));
        let additional = spec.additional_ingress_annotations.iter().flatten();
        let additional = additional.map(|(key, value)| {
            let is_whole = key.starts_with(&prefix);
            (if is_whole { key.clone() } else { format!("{prefix}/{key}") }, value.clone())
        });
        let whole = spec.canary_ingress_annotations.clone().unwrap_or_default();
        // What makes a canary is not the spec's to say.
        let ours = ["canary", "canary-weight", "canary-weight-total"].map(|key| format!("{prefix}/{key}"));
        let annotations = additional.chain(whole).filter(|(key, _)| !ours.contains(key)).collect();
        Self { ingresses: one.into_iter().chain(several).collect(), subject, prefix, annotations }
    }

    fn route(&self, name: &str) -> RouteName {
        RouteName::new(RouteKind::Ingress, &self.subject.namespace, name)
    }

    fn canary_of(&self, stable: &str) -> RouteName {
        copy(&self.subject.namespace, &self.subject.rollout, stable)
    }

    fn annotation(&self, key: &str) -> String {
        format!("{}/{key}", self.prefix)
    }

    /// The canary's share by its Ingress; `None` for what the controller would not understand.
    fn share(&self, ingress: Option<&Value>) -> Option<u32> {
        let Some(ingress) = ingress else { return Some(0) };
        let annotation =
            |key: &str| at(ingress, &["metadata", "annotations", &self.annotation(key)]).as_str();
        if annotation("canary") != Some("true") {
            return None;
        }
        let number =
            |text: Option<&str>, default: u32| text.map_or(Some(default), |text| text.trim().parse().ok());
        let weight = number(annotation("canary-weight"), 0)?;
        let total = number(annotation("canary-weight-total"), Weight::FULL.get())?;
        let pair = [u64::from(weight), u64::from(total.saturating_sub(weight))];
        let [share, _] = Split { pair, others: 0 }.shares(self.subject.scale)?;
        Some(share)
    }

    fn observe_one(&self, routes: &Routes, stable: &str) -> ObservedTraffic {
        let canary = routes.get(&self.canary_of(stable));
        let is_behind = routes.get(&self.route(stable)).zip(canary).is_some_and(|(stable, canary)| {
            self.canary_of_stable(stable, canary.clone(), &self.subject.canary) != *canary
        });
        let Some(share) = self.share(canary) else {
            return ObservedTraffic::unclear();
        };
        let rest = Weight::observed(share).rest_of(self.subject.scale).get();
        let shares =
            BTreeMap::from([(self.subject.canary.clone(), share), (self.subject.stable.clone(), rest)]);
        if is_behind {
            return ObservedTraffic::unclear_with(shares);
        }
        ObservedTraffic { shares, ..ObservedTraffic::default() }
    }

    /// The canary Ingress for a share.
    fn canary_ingress(&self, stable: &Value, ingress: Value, target: &TrafficTarget) -> Value {
        let mut ingress = self.canary_of_stable(stable, ingress, &target.canary.name);
        self.set_weight(&mut ingress, target);
        ingress
    }

    fn set_weight(&self, ingress: &mut Value, target: &TrafficTarget) {
        let total = (target.scale != Weight::FULL).then(|| json!(target.scale.to_string()));
        let weight = Some(json!(target.weight.to_string()));
        for (key, value) in [("canary-weight", weight), ("canary-weight-total", total)] {
            set(ingress, &["metadata", "annotations", &self.annotation(key)], value);
        }
    }

    /// The canary Ingress as it follows from the stable one, with whatever share it has.
    fn canary_of_stable(&self, stable: &Value, mut ingress: Value, canary: &str) -> Value {
        let class = at(stable, &["metadata", "annotations", CLASS]).as_str();
        let mut annotate = |key: &str, value: &str| {
            set(&mut ingress, &["metadata", "annotations", key], Some(json!(value)));
        };
        if let Some(class) = class {
            annotate(CLASS, class);
        }
        self.annotations.iter().for_each(|(key, value)| annotate(key, value));
        annotate(&self.annotation("canary"), "true");
        for field in ["ingressClassName", "tls"] {
            let value = at(stable, &["spec", field]);
            set(&mut ingress, &["spec", field], (!value.is_null()).then(|| value.clone()));
        }
        set(&mut ingress, &["spec", "rules"], Some(self.canary_rules(stable, canary)));
        ingress
    }

    /// The rules that lead to the stable Service, leading to the canary's.
    fn canary_rules(&self, stable: &Value, canary: &str) -> Value {
        let rules = items(stable, &["spec", "rules"]).iter().filter_map(|rule| {
            let paths = items(rule, &["http", "paths"]).iter().filter(|path| self.leads_to_stable(path));
            let paths: Vec<Value> = paths.map(|path| leading_to(path, canary)).collect();
            let mut rule = rule.clone();
            let is_empty = paths.is_empty();
            set(&mut rule, &["http", "paths"], Some(Value::Array(paths)));
            (!is_empty).then_some(rule)
        });
        rules.collect()
    }

    fn leads_to_stable(&self, path: &Value) -> bool {
        text(path, &["backend", "service", "name"]) == self.subject.stable
    }

    fn has_rules(&self, ingress: &Value) -> bool {
        self.canary_rules(ingress, "").as_array().is_some_and(|rules| !rules.is_empty())
    }

    fn problem_of(&self, routes: &Routes, field: &str, name: &str) -> Option<Problem> {
        let Some(ingress) = routes.get(&self.route(name)) else {
            let message =
                format!("Ingress \"{name}\" not found: create it in this namespace, or correct the name");
            return Some(Problem::new(field, message));
        };
        if !self.has_rules(ingress) {
            let service = &self.subject.stable;
            let message = format!("ingress `{name}` has no rules using service {service} backend");
            return Some(Problem::new(field, message));
        }
        let canary = self.canary_of(name);
        routes.is_anothers(&canary, &self.subject.rollout).then(|| {
            let name = canary.name;
            let message = format!(
                "Ingress \"{name}\" exists and does not belong to this Rollout: delete it, or rename the Rollout"
            );
            Problem::new(field, message)
        })
    }
}

impl Router for Nginx {
    fn field(&self) -> &'static str {
        "nginx"
    }

    fn abilities(&self) -> Abilities {
        Abilities { ping_pong: false, largest_scale: Weight::observed(LARGEST_WEIGHT) }
    }

    fn lacks_sessions(&self) -> Option<&'static str> {
        Some(
            "set the annotations affinity: cookie and affinity-canary-behavior: sticky in the stable Ingress, and the first in \
             additionalIngressAnnotations",
        )
    }

    fn needs(&self) -> Vec<Need> {
        let names = self.ingresses.iter().flat_map(|(_, name)| [self.route(name), self.canary_of(name)]);
        names.map(Need::One).collect()
    }

    fn problems(&self, routes: &Routes) -> Vec<Problem> {
        if self.ingresses.is_empty() {
            let message = "names no Ingress: set stableIngress to the Ingress of the stable Service";
            return vec![Problem::new("nginx.stableIngress", message)];
        }
        self.ingresses.iter().filter_map(|(field, name)| self.problem_of(routes, field, name)).collect()
    }

    fn observe(&self, routes: &Routes) -> Option<ObservedTraffic> {
        self.ingresses.iter().map(|(_, name)| self.observe_one(routes, name)).reduce(both)
    }

    fn render(&self, routes: &mut Routes, target: &TrafficTarget) {
        for (_, name) in &self.ingresses {
            let canary = self.canary_of(name);
            let ingress = match (routes.get(&self.route(name)), routes.get(&canary)) {
                (Some(stable), _) => {
                    routes.own(&canary, &self.subject).map(|known| self.canary_ingress(stable, known, target))
                }
                // The controller goes by hosts and paths: another stable Ingress of the same would share with it.
                (None, Some(known)) if !routes.is_anothers(&canary, &self.subject.rollout) => {
                    let mut known = known.clone();
                    self.set_weight(&mut known, target);
                    Some(known)
                }
                (None, _) => None,
            };
            routes.objects.extend(ingress.map(|ingress| (canary, ingress)));
        }
    }
}

/// The canary Ingress of a stable one.
pub(super) fn copy(namespace: &str, rollout: &str, stable: &str) -> RouteName {
    RouteName::made(RouteKind::Ingress, namespace, &format!("{rollout}-{stable}-canary"))
}

fn leading_to(path: &Value, service: &str) -> Value {
    let mut path = path.clone();
    set(&mut path, &["backend", "service", "name"], Some(json!(service)));
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Destination;

    /// The router of a Rollout, and its Ingresses with a share of 20.
    fn with_canary() -> (Nginx, Routes) {
        let subject = Subject {
            rollout: "web".to_owned(),
            namespace: "shop".to_owned(),
            canary: "canary".to_owned(),
            stable: "stable".to_owned(),
            scale: Weight::FULL,
            ..Subject::default()
        };
        let spec = json!({
            "stableIngress": "shop", "additionalIngressAnnotations": {"canary-weight-total": "1000"},
        });
        let nginx = Nginx::new(subject, &serde_json::from_value(spec).unwrap());
        let path = json!({"host": "shop.example", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "stable", "port": {"number": 80}}}},
        ]}});
        let ingress = json!({"spec": {"ingressClassName": "nginx", "rules": [path]}});
        let mut routes = Routes { objects: [(nginx.route("shop"), ingress)].into(), ..Routes::default() };
        nginx.render(&mut routes, &target(20));
        (nginx, routes)
    }

    fn target(weight: u32) -> TrafficTarget {
        let to = |name: &str| Destination { name: name.to_owned(), ..Destination::default() };
        TrafficTarget {
            canary: to("canary"),
            stable: to("stable"),
            weight: Weight::observed(weight),
            scale: Weight::FULL,
            managed: vec![],
            experiments: vec![],
        }
    }

    #[test]
    fn a_canary_ingress_that_has_fallen_behind_the_stable_one_is_put_right() {
        let check = |edit: &dyn Fn(&mut Value, &mut Value), expected: Option<u32>| {
            let (nginx, mut routes) = with_canary();
            let [stable, canary] = [nginx.route("shop"), nginx.canary_of("shop")];
            let share = |routes: &Routes| {
                let observed = nginx.observe(routes).unwrap();
                assert_eq!(observed.shares["canary"], 20, "what can be read counts in any case");
                (!observed.is_unclear).then_some(20)
            };
            assert_eq!(share(&routes), Some(20));
            let mut ingresses = [&stable, &canary].map(|name| routes.get(name).unwrap().clone());
            let [of_stable, of_canary] = &mut ingresses;
            edit(of_stable, of_canary);
            routes.objects.extend([stable, canary].into_iter().zip(ingresses));
            assert_eq!(share(&routes), expected, "{routes:?}");
            nginx.render(&mut routes, &target(20));
            assert_eq!(share(&routes), Some(20));
        };
        let set = |value: &mut Value, pointer: &str, to: Value| *value.pointer_mut(pointer).unwrap() = to;
        check(&|_, canary| canary["metadata"]["annotations"]["a"] = json!("b"), Some(20));
        check(&|stable, _| set(stable, "/spec/rules/0/host", json!("other.example")), None);
        check(&|_, canary| set(canary, "/spec/ingressClassName", json!("other")), None);
        check(&|_, canary| set(canary, "/spec/rules/0/http/paths/0/path", json!("/other")), None);
        check(&|stable, _| stable["spec"]["tls"] = json!([{"hosts": ["shop.example"]}]), None);
    }

    #[test]
    fn a_canary_ingress_whose_stable_one_is_gone_loses_its_share() {
        let (nginx, mut known) = with_canary();
        known.objects.remove(&nginx.route("shop"));
        assert_eq!(nginx.observe(&known).unwrap().shares["canary"], 20);
        nginx.render(&mut known, &target(0));
        assert_eq!(nginx.observe(&known).unwrap().shares["canary"], 0);
        let (nginx, mut known) = with_canary();
        known.objects.remove(&nginx.route("shop"));
        known.objects.remove(&nginx.canary_of("shop"));
        nginx.render(&mut known, &target(0));
        assert!(known.objects.is_empty(), "none is made");
    }
}
