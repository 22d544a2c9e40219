//! Traefik: weights of the services of a weighted `TraefikService` that users have.
//!
//! Everything else in it stays as it is, other services and their weights included. Absent on purpose: the
//! `IngressRoute` that leads to it, whose own weights are nobody's business here.

use serde_json::Value;

use super::route::{items, text};
use super::routers::{Abilities, Problem, Router, Subject};
use super::weighted::{Backends, LARGEST_WEIGHT};
use super::{Need, ObservedTraffic, RouteKind, RouteName, Routes, TrafficTarget};
use crate::api::traffic_routing::TraefikTrafficRouting;
use crate::units::Weight;

/// The field that names the object.
const FIELD: &str = "traefik.weightedTraefikServiceName";
/// A service without a weight counts once.
const BACKENDS: Backends = Backends { service, default: 1 };

/// The router.
#[derive(Debug)]
pub(super) struct Traefik {
    subject: Subject,
    /// The weighted service; `None` where the spec names none.
    route: Option<RouteName>,
}

impl Traefik {
    pub(super) fn new(subject: Subject, spec: &TraefikTrafficRouting) -> Self {
        let name = spec.weighted_traefik_service_name.as_ref().filter(|name| !name.is_empty());
        let route = name.map(|name| RouteName::new(RouteKind::TraefikService, &subject.namespace, name));
        Self { subject, route }
    }
}

impl Router for Traefik {
    fn field(&self) -> &'static str {
        "traefik"
    }

    fn abilities(&self) -> Abilities {
        Abilities { ping_pong: true, largest_scale: Weight::observed(LARGEST_WEIGHT) }
    }

    fn lacks_sessions(&self) -> Option<&'static str> {
        Some("set spec.weighted.sticky in the TraefikService")
    }

    fn needs(&self) -> Vec<Need> {
        self.route.iter().cloned().map(Need::One).collect()
    }

    fn problems(&self, routes: &Routes) -> Vec<Problem> {
        let Some(route) = &self.route else {
            let message = "names no TraefikService: set it to the weighted one of the stable Service";
            return vec![Problem::new(FIELD, message)];
        };
        let name = &route.name;
        let message = match routes.get(route) {
            None => Some(format!(
                "TraefikService \"{name}\" not found: create it in this namespace, or correct the name"
            )),
            Some(object) => BACKENDS
                .problem(services(object), &self.subject)
                .map(|why| format!("TraefikService \"{name}\" {why} in spec.weighted.services")),
        };
        message.into_iter().map(|message| Problem::new(FIELD, message)).collect()
    }

    fn observe(&self, routes: &Routes) -> Option<ObservedTraffic> {
        let object = routes.get(self.route.as_ref()?)?;
        Some(BACKENDS.observe(services(object), &self.subject))
    }

    fn render(&self, routes: &mut Routes, target: &TrafficTarget) {
        let Some(route) = &self.route else { return };
        routes.edit(route, |object| {
            let services = object.pointer_mut("/spec/weighted/services").and_then(Value::as_array_mut);
            if let Some(services) = services {
                BACKENDS.render(services, &self.subject, target);
            }
        });
    }
}

fn services(object: &Value) -> &[Value] {
    items(object, &["spec", "weighted", "services"])
}

/// A service of the list may be another TraefikService, or be in another namespace.
fn service<'v>(backend: &'v Value, namespace: &str) -> &'v str {
    let is_service = ["", "Service"].contains(&text(backend, &["kind"]));
    let is_here = ["", namespace].contains(&text(backend, &["namespace"]));
    if is_service && is_here { text(backend, &["name"]) } else { "" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_without_a_weight_counts_once_and_others_only_by_their_own_name() {
        let check = |services: Value, expected: Option<[u32; 2]>| {
            let subject = Subject {
                namespace: "shop".to_owned(),
                canary: "canary".to_owned(),
                stable: "stable".to_owned(),
                scale: Weight::FULL,
                ..Subject::default()
            };
            let observed = BACKENDS.observe(services.as_array().unwrap(), &subject);
            let shares = subject.names().map(|name| observed.shares.get(name).copied());
            assert_eq!(shares, expected.map_or([None, None], |shares| shares.map(Some)), "{services}");
            assert_eq!(observed.is_unclear, expected.is_none(), "{services}");
        };
        let [canary, stable] = ["canary", "stable"].map(|name| json!({"name": name, "port": 80}));
        let weighted = |name: &str, weight: Value| json!({"name": name, "kind": "Service", "weight": weight});
        let elsewhere = json!({"name": "canary", "namespace": "other", "weight": 50});
        let nested = json!({"name": "stable", "kind": "TraefikService", "weight": 50});
        check(json!([canary, stable]), Some([50, 50]));
        check(json!([weighted("canary", json!(1)), weighted("stable", json!(3))]), Some([25, 75]));
        check(
            json!([weighted("canary", json!(20)), weighted("stable", json!(80)), elsewhere]),
            Some([20, 80]),
        );
        check(json!([canary, stable, nested]), None);
        check(json!([weighted("canary", json!(0)), weighted("stable", json!(0))]), None);
        check(json!([weighted("canary", json!("20")), weighted("stable", json!(80))]), None);
    }

    #[test]
    fn a_router_without_a_weighted_service_says_so() {
        for spec in [json!({}), json!({"weightedTraefikServiceName": ""})] {
            let router = Traefik::new(Subject::default(), &serde_json::from_value(spec).unwrap());
            let fields = router.problems(&Routes::default()).into_iter().map(|problem| problem.field);
            assert_eq!(fields.collect::<Vec<_>>(), [FIELD]);
            assert_eq!(router.needs(), []);
        }
    }
}
