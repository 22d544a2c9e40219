//! Skipper: weights of the backends that the routes of `RouteGroup` objects refer to.
//!
//! A list of backends is edited when it refers to both Services: the group's own, and those of its routes. Everything else in
//! a group stays as it is. Groups are users' objects: they are neither made nor deleted. Whether proxies follow cannot be
//! asked. Absent on purpose: weights in annotations of an Ingress.

use std::collections::BTreeMap;

use serde_json::Value;

use super::plugin::{self, Settings};
use super::route::{at, items, text};
use super::routers::{Abilities, Problem, Router, Subject, both};
use super::weighted::{LARGEST_WEIGHT, Split, even, set_weight};
use super::{Need, ObservedTraffic, RouteKind, RouteName, Routes, TrafficTarget};
use crate::api::traffic_routing::PluginConfig;
use crate::units::Weight;

/// Its name among the plugins.
pub(super) const NAME: &str = "zalando/skipper";
/// The field that holds its configuration.
const FIELD: &str = "plugins.zalando/skipper";

/// The router.
#[derive(Debug)]
pub(super) struct Skipper {
    subject: Subject,
    /// Groups, each with the field that names it.
    groups: Vec<(String, String)>,
    /// What is wrong with the configuration.
    problems: Vec<Problem>,
}

/// The Service that each backend of a group is, by the backend's name.
type Services<'v> = BTreeMap<&'v str, &'v str>;

impl Skipper {
    pub(super) fn new(subject: Subject, config: &PluginConfig) -> Self {
        let mut settings = Settings::new(FIELD, &config.0);
        let groups = settings.texts("routeGroups");
        let field = settings.place("routeGroups");
        let mut problems = settings.finish();
        if groups.is_empty() && problems.is_empty() {
            problems.push(Problem::new(field, "names no RouteGroup: name the one of the stable Service"));
        }
        Self { subject, groups, problems }
    }

    fn route(&self, name: &str) -> RouteName {
        RouteName::new(RouteKind::RouteGroup, &self.subject.namespace, name)
    }

    fn is_meant(&self, services: &Services<'_>, list: &[Value]) -> bool {
        self.subject.names().into_iter().all(|service| count(services, list, service) > 0)
    }

    fn observe_list(&self, services: &Services<'_>, list: &[Value]) -> ObservedTraffic {
        let weights: Option<Vec<_>> = list.iter().map(|found| weight(at(found, &["weight"]))).collect();
        let Some(weights) = weights else { return ObservedTraffic::unclear() };
        let backends = list.iter().map(|found| service(services, found)).zip(even(weights));
        let names = self.subject.names();
        Split::of(backends, names).observed(names, self.subject.scale)
    }

    fn observe_group(&self, routes: &Routes, name: &str) -> Option<ObservedTraffic> {
        let group = routes.get(&self.route(name))?;
        let services = services(group);
        let meant = lists(group).filter(|list| self.is_meant(&services, list));
        meant.map(|list| self.observe_list(&services, list)).reduce(both)
    }

    fn render_group(&self, group: &mut Value, target: &TrafficTarget) {
        let known = group.clone();
        let services = services(&known);
        let edit = |list: Option<&mut Value>| {
            let list = list.and_then(Value::as_array_mut).filter(|list| self.is_meant(&services, list));
            for backend in list.into_iter().flatten() {
                let service = service(&services, backend).to_owned();
                set_weight(backend, &service, target);
            }
        };
        edit(group.pointer_mut("/spec/defaultBackends"));
        let routes = group.pointer_mut("/spec/routes").and_then(Value::as_array_mut);
        for route in routes.into_iter().flatten() {
            edit(route.get_mut("backends"));
        }
    }

    fn problem_of(&self, routes: &Routes, field: &str, name: &str) -> Option<Problem> {
        let Some(group) = routes.get(&self.route(name)) else {
            let message =
                format!("RouteGroup \"{name}\" not found: create it in this namespace, or correct the name");
            return Some(Problem::new(field, message));
        };
        let [canary, stable] = self.subject.names();
        let services = services(group);
        let meant: Vec<_> = lists(group).filter(|list| self.is_meant(&services, list)).collect();
        if meant.is_empty() {
            let message = format!(
                "RouteGroup \"{name}\" has neither defaultBackends nor a route whose backends are Service {canary} and \
                 Service {stable}: add both to one"
            );
            return Some(Problem::new(field, message));
        }
        let twice = |service: &&str| meant.iter().any(|list| count(&services, list, service) > 1);
        self.subject.names().into_iter().find(twice).map(|service| {
            let message = format!(
                "RouteGroup \"{name}\" names Service {service} twice in one list of backends, so that its weight would count \
                 twice: remove one"
            );
            Problem::new(field, message)
        })
    }
}

impl Router for Skipper {
    fn field(&self) -> &'static str {
        FIELD
    }

    fn abilities(&self) -> Abilities {
        Abilities { ping_pong: true, largest_scale: Weight::observed(LARGEST_WEIGHT) }
    }

    fn needs(&self) -> Vec<Need> {
        self.groups.iter().map(|(_, name)| Need::One(self.route(name))).collect()
    }

    fn problems(&self, routes: &Routes) -> Vec<Problem> {
        let found = self.groups.iter().filter_map(|(field, name)| self.problem_of(routes, field, name));
        self.problems.iter().cloned().chain(found).collect()
    }

    fn observe(&self, routes: &Routes) -> Option<ObservedTraffic> {
        let observed: Option<Vec<_>> =
            self.groups.iter().map(|(_, name)| self.observe_group(routes, name)).collect();
        observed?.into_iter().reduce(both)
    }

    fn render(&self, routes: &mut Routes, target: &TrafficTarget) {
        for (_, name) in &self.groups {
            routes.edit(&self.route(name), |group| self.render_group(group, target));
        }
    }
}

/// Reduces a configuration to those groups that are kept; whether any is.
pub(super) fn reduce(config: &mut Value, own: &str, keeps: &dyn Fn(&RouteName) -> bool) -> bool {
    let keeps = |name: &str| keeps(&RouteName::new(RouteKind::RouteGroup, own, name));
    plugin::reduce(config, "routeGroups", keeps)
}

fn services(group: &Value) -> Services<'_> {
    let backends = items(group, &["spec", "backends"]).iter();
    let backends = backends.filter(|backend| text(backend, &["type"]) == "service");
    backends.map(|backend| (text(backend, &["name"]), text(backend, &["serviceName"]))).collect()
}

/// The Service that a reference leads to; empty where it is anything else.
fn service<'v>(services: &Services<'v>, reference: &Value) -> &'v str {
    services.get(text(reference, &["backendName"])).copied().unwrap_or_default()
}

/// How often a list refers to a Service.
fn count(services: &Services<'_>, list: &[Value], name: &str) -> usize {
    list.iter().filter(|reference| service(services, reference) == name).count()
}

/// The lists of references: the group's own, and those of its routes.
fn lists(group: &Value) -> impl Iterator<Item = &[Value]> {
    let routes = items(group, &["spec", "routes"]).iter().map(|route| items(route, &["backends"]));
    [items(group, &["spec", "defaultBackends"])].into_iter().chain(routes)
}

/// A weight, 0 where there is none; `None` is what makes no sense.
fn weight(weight: &Value) -> Option<u64> {
    if weight.is_null() { Some(0) } else { weight.as_u64() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn backends_are_known_by_their_services_and_share_evenly_without_any_weight() {
        let check = |references: Value, expected: Option<u32>| {
            let subject = Subject {
                namespace: "shop".to_owned(),
                canary: "canary".to_owned(),
                stable: "stable".to_owned(),
                scale: Weight::FULL,
                ..Subject::default()
            };
            let skipper = Skipper::new(subject, &PluginConfig(json!({"routeGroups": ["shop"]})));
            let group = json!({"spec": {
                "backends": [
                    {"name": "new", "type": "service", "serviceName": "canary", "servicePort": 80},
                    {"name": "old", "type": "service", "serviceName": "stable", "servicePort": 80},
                    {"name": "canary", "type": "shunt"},
                ],
                "defaultBackends": references,
            }});
            let routes = Routes { objects: [(skipper.route("shop"), group)].into(), ..Routes::default() };
            let observed = skipper.observe(&routes);
            let share = observed.as_ref().and_then(|observed| observed.shares.get("canary").copied());
            assert_eq!(share, expected, "{references}");
            // What makes no sense is put right, where it is clear which list is meant.
            assert_eq!(skipper.problems(&routes).is_empty(), observed.is_some(), "{references}");
        };
        let to = |name: &str| json!({"backendName": name});
        let weighted = |name: &str, weight: Value| json!({"backendName": name, "weight": weight});
        check(json!([to("new"), to("old")]), Some(50));
        check(json!([weighted("new", json!(20)), weighted("old", json!(80))]), Some(20));
        check(json!([to("new"), weighted("old", json!(1))]), Some(0));
        check(json!([weighted("new", json!("20")), to("old")]), None);
        check(json!([to("canary"), to("old")]), None);
        check(json!([to("old")]), None);
    }

    #[test]
    fn a_router_without_a_group_says_so() {
        for config in [json!({}), json!({"routeGroups": []}), Value::Null] {
            let router = Skipper::new(Subject::default(), &PluginConfig(config));
            let fields = router.problems(&Routes::default()).into_iter().map(|problem| problem.field);
            assert_eq!(fields.collect::<Vec<_>>(), ["plugins.zalando/skipper.routeGroups"]);
        }
    }
}
