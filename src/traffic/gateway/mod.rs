//! Gateway API: weights of the `backendRefs` in `HTTPRoute`, `GRPCRoute`, `TCPRoute` and `TLSRoute`.
//!
//! Known under the name and the configuration of the plugin that other controllers have for it. A rule is edited when it
//! leads to both Services; everything else in a route stays as it is, and other backends keep their weights. Routes are
//! users' objects: they are neither made nor deleted, and several Rollouts may share one. Routes for some requests are rules
//! of their own, named after the route.

mod asked;
mod config;
mod cookie;
mod label;
mod made;
mod managed;
mod matches;
mod selector;
mod status;

use std::collections::BTreeSet;

use serde_json::Value;

pub(super) use self::config::reduce;
use self::config::{By, Chosen, Config};
use self::selector::Selector;
use super::route::{at, items, text};
use super::routers::{Abilities, Problem, Router, Subject, both};
use super::weighted::{Split, set_weight};
use super::{Managed, Need, ObservedTraffic, RouteKind, RouteName, Routes, TrafficTarget};
use crate::api::traffic_routing::PluginConfig;
use crate::units::Weight;

/// Its name among the plugins.
pub(super) const NAME: &str = "argoproj-labs/gatewayAPI";
/// The field that holds its configuration.
const FIELD: &str = "plugins.argoproj-labs/gatewayAPI";
/// The largest weight that the API takes.
const LARGEST_WEIGHT: u32 = 1_000_000;

/// The router.
#[derive(Debug)]
pub(super) struct GatewayApi {
    subject: Subject,
    /// The Service that gets nothing while no update is under way.
    idle: String,
    config: Config,
}

/// A route that is edited, and where.
struct Place<'a> {
    route: RouteName,
    chosen: &'a Chosen,
}

impl GatewayApi {
    pub(super) fn new(subject: Subject, idle: String, config: &PluginConfig) -> Self {
        let config = Config::read(FIELD, &config.0, [&subject.namespace, &subject.rollout]);
        Self { subject, idle, config }
    }

    fn route(&self, chosen: &Chosen, name: &str) -> RouteName {
        RouteName::new(chosen.kind, &self.config.namespace, name)
    }

    /// The routes that are meant, those by name first. One that is named is not found by its labels a second time, so that
    /// what is said of its rule holds.
    fn places(&self, routes: &Routes) -> Vec<Place<'_>> {
        let mut places: Vec<Place<'_>> = Vec::new();
        for chosen in &self.config.chosen {
            match &chosen.by {
                By::Name(name) => places.push(Place { route: self.route(chosen, name), chosen }),
                By::Labels(selector) => {
                    let known: BTreeSet<_> = places.iter().map(|place| place.route.clone()).collect();
                    let found = self.selected(routes, chosen.kind, selector);
                    let found = found.filter(|name| !known.contains(*name));
                    places.extend(found.map(|name| Place { route: name.clone(), chosen }));
                }
            }
        }
        places
    }

    /// The routes of a kind with these labels.
    fn selected<'a>(
        &self,
        routes: &'a Routes,
        kind: RouteKind,
        selector: &Selector,
    ) -> impl Iterator<Item = &'a RouteName> {
        let found = routes.objects.iter().filter(move |(name, object)| {
            name.kind == kind && name.namespace == self.config.namespace && selector.matches(object)
        });
        found.map(|(name, _)| name)
    }

    /// Whether a backend is a Service of ours. What is no Service is known by its name alone, as an import of one is.
    fn is(&self, service: &str, backend: &Value) -> bool {
        let namespace = at(backend, &["namespace"]).as_str().unwrap_or(&self.config.namespace);
        let is_service = at(backend, &["kind"]).as_str().is_none_or(|kind| kind == "Service");
        text(backend, &["name"]) == service && (!is_service || namespace == self.subject.namespace)
    }

    /// The Service of ours that a backend is.
    fn service(&self, backend: &Value) -> Option<&str> {
        self.subject.names().into_iter().find(|service| self.is(service, backend))
    }

    fn count(&self, service: &str, rule: &Value) -> usize {
        items(rule, &["backendRefs"]).iter().filter(|backend| self.is(service, backend)).count()
    }

    /// Whether a rule is edited: it leads to both Services, has the name that is asked for, and is not made by a step.
    fn is_meant(&self, chosen: &Chosen, rule: &Value) -> bool {
        let is_named = chosen.rule.as_ref().is_none_or(|name| text(rule, &["name"]) == name);
        let is_made = self.owner(rule).is_some();
        is_named && !is_made && self.subject.names().iter().all(|service| self.count(service, rule) > 0)
    }

    fn observe_rule(&self, rule: &Value) -> ObservedTraffic {
        let known =
            |backend| Some((self.service(backend).unwrap_or_default(), weight(at(backend, &["weight"]))?));
        let known: Option<Vec<_>> = items(rule, &["backendRefs"]).iter().map(known).collect();
        let names = self.subject.names();
        known.map_or_else(ObservedTraffic::unclear, |known| {
            Split::of(known, names).observed(names, self.subject.scale)
        })
    }

    fn observe_place(&self, routes: &Routes, place: &Place<'_>) -> Option<ObservedTraffic> {
        let route = routes.get(&place.route)?;
        let rules = items(route, &["spec", "rules"]).iter().filter(|rule| self.is_meant(place.chosen, rule));
        let observed = rules.map(|rule| self.observe_rule(rule)).reduce(both)?;
        let is_idle = observed.share(&self.idle) == Some(Weight::ZERO);
        if is_idle
            && !self.has_managed(route)
            && self.config.label.as_ref().is_some_and(|label| label.is_on(route))
        {
            // Marked for an update that is over: to be put right.
            return Some(ObservedTraffic::unclear());
        }
        Some(observed.and_reported(status::report(&place.route, route)))
    }

    fn render_weights(&self, route: &mut Value, chosen: &Chosen, target: &TrafficTarget) {
        let rules = route.pointer_mut("/spec/rules").and_then(Value::as_array_mut);
        for rule in rules.into_iter().flatten().filter(|rule| self.is_meant(chosen, rule)) {
            let backends = rule.get_mut("backendRefs").and_then(Value::as_array_mut);
            for backend in backends.into_iter().flatten() {
                if let Some(service) = self.service(backend) {
                    set_weight(backend, service, target);
                }
            }
        }
    }

    /// Marks a route for as long as it does not say what its owner wants.
    fn render_label(&self, route: &mut Value, target: &TrafficTarget) {
        let is_under_way = target.weight > Weight::ZERO || self.has_managed(route);
        match &self.config.label {
            Some(label) if is_under_way => label.put_on(route),
            Some(label) => label.take_off(route),
            None => {}
        }
    }

    fn problem_of(&self, routes: &Routes, place: &Place<'_>) -> Option<Problem> {
        let Place { route, chosen } = place;
        let (kind, name) = (route.kind.as_str(), &route.name);
        let [canary, stable] = self.subject.names();
        let problem = |message: String| Some(Problem::new(&chosen.field, message));
        let Some(object) = routes.get(route) else {
            let namespace = &route.namespace;
            return problem(format!(
                "{kind} \"{name}\" not found in namespace {namespace}: create it, or correct the name"
            ));
        };
        let rules = items(object, &["spec", "rules"]);
        let meant: Vec<_> = rules.iter().filter(|rule| self.is_meant(chosen, rule)).collect();
        if meant.is_empty() {
            let of_name =
                chosen.rule.as_ref().map(|rule| format!(" of the name \"{rule}\"")).unwrap_or_default();
            return problem(format!(
                "{kind} \"{name}\" has no rule{of_name} whose backendRefs name both Service {canary} and Service \
                 {stable}: add both to one"
            ));
        }
        if let Some(message) = self.problem_of_cookie(rules, chosen) {
            return problem(format!("{kind} \"{name}\" {message}"));
        }
        let twice = |service: &&str| meant.iter().any(|rule| self.count(service, rule) > 1);
        let service = self.subject.names().into_iter().find(twice)?;
        problem(format!(
            "{kind} \"{name}\" names Service {service} twice in one rule, so that its weight would count twice: remove one"
        ))
    }
}

impl Router for GatewayApi {
    fn field(&self) -> &'static str {
        FIELD
    }

    fn abilities(&self) -> Abilities {
        Abilities { ping_pong: true, largest_scale: Weight::observed(LARGEST_WEIGHT) }
    }

    fn managed(&self) -> Managed {
        Managed::HeadersAndMirrors
    }

    fn lacks_sessions(&self) -> Option<&'static str> {
        None
    }

    fn needs(&self) -> Vec<Need> {
        let needs = self.config.chosen.iter().map(|chosen| match &chosen.by {
            By::Name(name) => Need::One(self.route(chosen, name)),
            By::Labels(_) => Need::All { kind: chosen.kind, namespace: self.config.namespace.clone() },
        });
        needs.collect()
    }

    fn edits(&self, routes: &Routes) -> Vec<RouteName> {
        self.places(routes).into_iter().map(|place| place.route).collect()
    }

    fn problems(&self, routes: &Routes) -> Vec<Problem> {
        let places = self.places(routes);
        let mut problems = self.config.problems.clone();
        problems.extend(places.iter().filter_map(|place| self.problem_of(routes, place)));
        for chosen in &self.config.chosen {
            let By::Labels(selector) = &chosen.by else { continue };
            if self.selected(routes, chosen.kind, selector).next().is_none() {
                let (kind, namespace) = (chosen.kind.as_str(), &self.config.namespace);
                let message =
                    format!("selects no {kind} in namespace {namespace}: label one, or correct the selector");
                problems.push(Problem::new(&chosen.field, message));
            }
        }
        problems.extend(self.problems_of_managed(routes));
        problems
    }

    fn observe(&self, routes: &Routes) -> Option<ObservedTraffic> {
        let places = self.places(routes);
        let observed: Option<Vec<_>> = places.iter().map(|place| self.observe_place(routes, place)).collect();
        let shares = observed?.into_iter().reduce(both)?;
        Some(ObservedTraffic { managed: self.observe_managed(routes), ..shares })
    }

    fn render(&self, routes: &mut Routes, target: &TrafficTarget) {
        for Place { route, chosen } in &self.places(routes) {
            routes.edit(route, |object| {
                self.render_weights(object, chosen, target);
                self.render_cookie(object, chosen, target);
            });
        }
        self.render_managed(routes, target);
        for Place { route, .. } in &self.places(routes) {
            routes.edit(route, |object| self.render_label(object, target));
        }
    }
}

/// A weight; without one it is 1, `None` is what makes no sense.
fn weight(weight: &Value) -> Option<u64> {
    if weight.is_null() { Some(1) } else { weight.as_u64() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn router(idle: &str) -> GatewayApi {
        let subject = Subject {
            rollout: "web".to_owned(),
            namespace: "shop".to_owned(),
            canary: "canary".to_owned(),
            stable: "stable".to_owned(),
            scale: Weight::FULL,
            ..Subject::default()
        };
        GatewayApi::new(subject, idle.to_owned(), &PluginConfig(json!({"httpRoute": "web"})))
    }

    /// What is observed of a route with these weights, after `edit`.
    fn observed(idle: &str, weights: [Value; 2], edit: impl FnOnce(&mut Value)) -> ObservedTraffic {
        let [canary, stable] = weights;
        let mut route = json!({
            "metadata": {"name": "web", "namespace": "shop", "generation": 2},
            "spec": {"parentRefs": [{"name": "edge"}], "rules": [{"backendRefs": [
                {"name": "canary", "weight": canary}, {"name": "stable", "weight": stable},
            ]}]},
        });
        edit(&mut route);
        let router = router(idle);
        let name = router.route(&router.config.chosen[0], "web");
        let known = Routes { objects: [(name, route)].into(), ..Routes::default() };
        router.observe(&known).unwrap()
    }

    #[test]
    fn weights_are_read_as_the_api_means_them() {
        let check = |weights: [Value; 2], canary: u32| {
            assert_eq!(observed("canary", weights, |_| {}).share("canary"), Some(Weight::observed(canary)));
        };
        check([Value::Null, Value::Null], 50);
        check([json!(3), Value::Null], 75);
        check([json!(0), Value::Null], 0);
        let nonsense = observed("canary", [json!(-1), json!(100)], |_| {});
        assert_eq!(nonsense, ObservedTraffic::unclear());
    }

    #[test]
    fn a_mark_of_an_update_that_is_over_is_put_right() {
        let mark = |route: &mut Value| {
            let label = router("canary").config.label;
            label.unwrap().put_on(route);
        };
        let at = |canary: u32| [json!(canary), json!(100 - canary)];
        assert_eq!(observed("canary", at(0), mark), ObservedTraffic::unclear());
        assert_eq!(observed("canary", at(100), mark).verified, None, "the update has all traffic");
        assert_eq!(observed("stable", at(100), mark), ObservedTraffic::unclear(), "their roles have changed");
        assert_eq!(observed("stable", at(0), mark).verified, None);
    }

    #[test]
    fn a_weight_counts_once_the_gateway_has_seen_it() {
        let report = |observed: i64| {
            move |route: &mut Value| {
                let accepted = json!({"type": "Accepted", "status": "True", "observedGeneration": observed});
                let parent = json!({"parentRef": {"name": "edge"}, "conditions": [accepted]});
                route["status"] = json!({"parents": [parent]});
            }
        };
        let at_20 = || [json!(20), json!(80)];
        assert_eq!(observed("canary", at_20(), report(1)).share("canary"), None);
        assert_eq!(observed("canary", at_20(), report(2)).share("canary"), Some(Weight::observed(20)));
    }
}
