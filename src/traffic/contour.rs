//! Contour: weights of the `services` in the routes of `HTTPProxy` objects.
//!
//! Known under the name and the configuration of the plugin that other controllers have for it. A route is edited when it
//! leads to both Services; everything else in a proxy stays as it is, mirrors included. Proxies are users' objects: they are
//! neither made nor deleted.

use serde_json::Value;

use super::plugin::{self, Settings};
use super::report::Report;
use super::route::{at, items, set, text};
use super::routers::{Abilities, Problem, Router, Subject, both};
use super::weighted::{LARGEST_WEIGHT, Split, even, set_weight};
use super::{Need, ObservedTraffic, RouteKind, RouteName, Routes, TrafficTarget};
use crate::api::traffic_routing::PluginConfig;
use crate::units::Weight;

/// Its name among the plugins.
pub(super) const NAME: &str = "argoproj-labs/contour";
/// The field that holds its configuration.
const FIELD: &str = "plugins.argoproj-labs/contour";

/// The router.
#[derive(Debug)]
pub(super) struct Contour {
    subject: Subject,
    namespace: String,
    /// Proxies, each with the field that names it.
    proxies: Vec<(String, String)>,
    /// What is wrong with the configuration.
    problems: Vec<Problem>,
}

impl Contour {
    pub(super) fn new(subject: Subject, config: &PluginConfig) -> Self {
        let mut settings = Settings::new(FIELD, &config.0);
        let namespace = namespace(&mut settings, &subject.namespace);
        let proxies = settings.texts("httpProxies");
        let field = settings.place("httpProxies");
        let mut problems = settings.finish();
        if proxies.is_empty() && problems.is_empty() {
            problems.push(Problem::new(field, "names no HTTPProxy: name the one of the stable Service"));
        }
        Self { subject, namespace, proxies, problems }
    }

    fn route(&self, name: &str) -> RouteName {
        RouteName::new(RouteKind::HttpProxy, &self.namespace, name)
    }

    /// How often a route leads to a Service; a mirror's answers go nowhere.
    fn count(service: &str, route: &Value) -> usize {
        items(route, &["services"]).iter().filter(|backend| is(service, backend)).count()
    }

    fn is_meant(&self, route: &Value) -> bool {
        self.subject.names().iter().all(|service| Self::count(service, route) > 0)
    }

    fn observe_route(&self, route: &Value) -> ObservedTraffic {
        let backends = items(route, &["services"]).iter().filter(|backend| !is_mirror(backend));
        let weights: Option<Vec<_>> =
            backends.clone().map(|backend| weight(at(backend, &["weight"]))).collect();
        let Some(weights) = weights else { return ObservedTraffic::unclear() };
        let backends = backends.map(|backend| text(backend, &["name"])).zip(even(weights));
        let names = self.subject.names();
        Split::of(backends, names).observed(names, self.subject.scale)
    }

    fn observe_proxy(&self, routes: &Routes, name: &str) -> Option<ObservedTraffic> {
        let proxy = routes.get(&self.route(name))?;
        let meant = items(proxy, &["spec", "routes"]).iter().filter(|route| self.is_meant(route));
        let observed = meant.map(|route| self.observe_route(route)).reduce(both)?;
        Some(observed.and_reported(report(&self.route(name), proxy)))
    }

    fn render_proxy(&self, proxy: &mut Value, target: &TrafficTarget) {
        let routes = proxy.pointer_mut("/spec/routes").and_then(Value::as_array_mut);
        for route in routes.into_iter().flatten().filter(|route| self.is_meant(route)) {
            let backends = route.get_mut("services").and_then(Value::as_array_mut);
            for backend in backends.into_iter().flatten() {
                if let Some(service) = self.subject.names().into_iter().find(|service| is(service, backend)) {
                    set_weight(backend, service, target);
                }
            }
        }
    }

    fn problem_of(&self, routes: &Routes, field: &str, name: &str) -> Option<Problem> {
        let (namespace, [canary, stable]) = (&self.namespace, self.subject.names());
        let Some(proxy) = routes.get(&self.route(name)) else {
            let message = format!(
                "HTTPProxy \"{name}\" not found in namespace {namespace}: create it, or correct the name"
            );
            return Some(Problem::new(field, message));
        };
        let meant: Vec<_> =
            items(proxy, &["spec", "routes"]).iter().filter(|route| self.is_meant(route)).collect();
        if meant.is_empty() {
            let message = format!(
                "HTTPProxy \"{name}\" has no route whose services name both {canary} and {stable}: add both to one"
            );
            return Some(Problem::new(field, message));
        }
        let twice = |service: &&str| meant.iter().any(|route| Self::count(service, route) > 1);
        self.subject.names().into_iter().find(twice).map(|service| {
            let message = format!(
                "HTTPProxy \"{name}\" names Service {service} twice in one route, so that its weight would count twice: \
                 remove one"
            );
            Problem::new(field, message)
        })
    }
}

impl Router for Contour {
    fn field(&self) -> &'static str {
        FIELD
    }

    fn abilities(&self) -> Abilities {
        Abilities { ping_pong: true, largest_scale: Weight::observed(LARGEST_WEIGHT) }
    }

    fn needs(&self) -> Vec<Need> {
        self.proxies.iter().map(|(_, name)| Need::One(self.route(name))).collect()
    }

    fn problems(&self, routes: &Routes) -> Vec<Problem> {
        let found = self.proxies.iter().filter_map(|(field, name)| self.problem_of(routes, field, name));
        self.problems.iter().cloned().chain(found).collect()
    }

    fn observe(&self, routes: &Routes) -> Option<ObservedTraffic> {
        let observed: Option<Vec<_>> =
            self.proxies.iter().map(|(_, name)| self.observe_proxy(routes, name)).collect();
        observed?.into_iter().reduce(both)
    }

    fn render(&self, routes: &mut Routes, target: &TrafficTarget) {
        for (_, name) in &self.proxies {
            routes.edit(&self.route(name), |proxy| self.render_proxy(proxy, target));
        }
    }
}

/// Reduces a configuration to those proxies that are kept; whether any is.
pub(super) fn reduce(config: &mut Value, own: &str, keeps: &dyn Fn(&RouteName) -> bool) -> bool {
    let namespace = namespace(&mut Settings::new(FIELD, config), own);
    let keeps = |name: &str| keeps(&RouteName::new(RouteKind::HttpProxy, &namespace, name));
    plugin::reduce(config, "httpProxies", keeps)
}

/// Where the proxies are: beside the Rollout, unless the configuration says otherwise.
fn namespace(settings: &mut Settings, own: &str) -> String {
    settings.text("namespace").unwrap_or_else(|| own.to_owned())
}

fn is_mirror(backend: &Value) -> bool {
    at(backend, &["mirror"]) == true
}

fn is(service: &str, backend: &Value) -> bool {
    text(backend, &["name"]) == service && !is_mirror(backend)
}

/// A weight, 0 where there is none; `None` is what makes no sense.
fn weight(weight: &Value) -> Option<u64> {
    if weight.is_null() { Some(0) } else { weight.as_u64() }
}

/// Whether Contour takes the proxy as it is; `None` while it has said nothing that can be dated, so that a proxy that nobody
/// looks at does not hold a rollout.
fn report(name: &RouteName, proxy: &Value) -> Option<Report> {
    let generation = at(proxy, &["metadata", "generation"]).as_i64().unwrap_or_default();
    let conditions = items(proxy, &["status", "conditions"]);
    let valid = conditions.iter().find(|condition| text(condition, &["type"]) == "Valid")?;
    let observed = at(valid, &["observedGeneration"]).as_i64()?;
    Some(match text(valid, &["status"]) {
        _ if observed < generation => Report::Lags,
        "True" => Report::Follows,
        _ => refused(name, valid),
    })
}

/// What is wrong is in the errors of the condition; its own message only says that there are any.
fn refused(name: &RouteName, valid: &Value) -> Report {
    let mut condition = valid.clone();
    let errors = items(valid, &["errors"]);
    if let Some(first) = errors.first() {
        for field in ["reason", "message"] {
            set(&mut condition, &[field], Some(at(first, &[field]).clone()));
        }
    }
    Report::refuses("Contour", name, &condition)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(why: &str) -> Report {
        Report::Refuses(format!("Contour reports Valid=False on HTTPProxy web: {why}"))
    }

    #[test]
    fn a_proxy_is_followed_once_contour_reports_on_it_as_it_is() {
        let check = |status: Value, expected: Option<Report>| {
            let proxy = json!({"metadata": {"generation": 3}, "status": status});
            let name = RouteName::new(RouteKind::HttpProxy, "shop", "web");
            assert_eq!(report(&name, &proxy), expected, "{status}");
        };
        let valid = |status: &str, observed: i64, errors: Value| {
            json!({"currentStatus": "x", "conditions": [{
                "type": "Valid", "status": status, "observedGeneration": observed, "reason": "ErrorPresent",
                "message": "At least one error present, see Errors for details", "errors": errors,
            }]})
        };
        let error =
            |reason: &str| json!({"type": "ServiceError", "reason": reason, "message": "no Service x"});
        check(Value::Null, None);
        check(json!({"currentStatus": "NotReconciled"}), None);
        check(valid("True", 3, Value::Null), Some(Report::Follows));
        check(valid("True", 2, Value::Null), Some(Report::Lags));
        check(valid("False", 2, Value::Null), Some(Report::Lags));
        check(
            valid("False", 3, Value::Null),
            Some(refusal("ErrorPresent: At least one error present, see Errors for details")),
        );
        check(valid("False", 3, json!([error("Only")])), Some(refusal("Only: no Service x")));
        check(
            valid("False", 3, json!([error("First"), error("Second")])),
            Some(refusal("First: no Service x")),
        );
    }
}
