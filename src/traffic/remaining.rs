//! A route without some of its objects: those that are gone, or that somebody else looks after by now. What remains of it can
//! then be brought to what is wanted, as long as each object that remains can be made sense of.

use serde_json::Value;

use super::route::{RouteKind, RouteName};
use super::routers::Routers;
use super::{ambassador, contour, gateway, istio, nginx, skipper};
use crate::api::Rollout;
use crate::api::traffic_routing::TrafficRouting;

/// The Rollout as if its spec named only objects that are kept; `None` where no router remains. An object stays named as long
/// as the copy that was made of it is kept, which sends requests by itself. Objects by label stay.
#[must_use]
pub fn keeping(rollout: &Rollout, keeps: &dyn Fn(&RouteName) -> bool) -> Option<Rollout> {
    let mut rest = rollout.clone();
    let routing = rest.spec.strategy.as_mut()?.canary.as_mut()?.traffic_routing.as_mut()?;
    let kept = Kept {
        namespace: rollout.metadata.namespace.as_deref().unwrap_or_default(),
        rollout: rollout.metadata.name.as_deref().unwrap_or_default(),
        keeps,
    };
    kept.reduce(routing);
    kept.reduce_plugins(routing);
    (!Routers::of(&rest).is_empty()).then_some(rest)
}

/// What is kept.
struct Kept<'a> {
    /// The Rollout's.
    namespace: &'a str,
    rollout: &'a str,
    keeps: &'a dyn Fn(&RouteName) -> bool,
}

impl Kept<'_> {
    fn keeps(&self, kind: RouteKind, name: &str) -> bool {
        (self.keeps)(&RouteName::new(kind, self.namespace, name))
    }

    fn reduce(&self, routing: &mut TrafficRouting) {
        let by_name = |kind| move |name: &str| self.keeps(kind, name);
        let ingress = by_name(RouteKind::Ingress);
        let with_copy =
            |name: &str| ingress(name) || (self.keeps)(&nginx::copy(self.namespace, self.rollout, name));
        let mapping = |name: &str| {
            self.keeps(RouteKind::Mapping, name) || (self.keeps)(&ambassador::copy(self.namespace, name))
        };
        routing.istio.take_if(|spec| !istio::reduce(spec, self.namespace, self.keeps));
        routing
            .nginx
            .take_if(|spec| !reduce(&mut spec.stable_ingress, &mut spec.stable_ingresses, &with_copy));
        routing.alb.take_if(|spec| !reduce(&mut spec.ingress, &mut spec.ingresses, &ingress));
        routing.ambassador.take_if(|spec| !reduce(&mut None, &mut spec.mappings, &mapping));
        routing.smi.take_if(|spec| {
            let given = spec.traffic_split_name.as_deref().filter(|name| !name.is_empty());
            !self.keeps(RouteKind::TrafficSplit, given.unwrap_or(self.rollout))
        });
        let service = by_name(RouteKind::TraefikService);
        routing.traefik.take_if(|spec| !reduce(&mut spec.weighted_traefik_service_name, &mut None, &service));
        routing.apisix.take_if(|spec| {
            spec.route.as_ref().is_none_or(|route| !self.keeps(RouteKind::ApisixRoute, &route.name))
        });
    }

    fn reduce_plugins(&self, routing: &mut TrafficRouting) {
        let remains = |plugin: &str, config: &mut Value| match plugin {
            gateway::NAME => gateway::reduce(config, self.namespace, self.keeps),
            contour::NAME => contour::reduce(config, self.namespace, self.keeps),
            skipper::NAME => skipper::reduce(config, self.namespace, self.keeps),
            _ => true,
        };
        if let Some(plugins) = &mut routing.plugins {
            plugins.retain(|plugin, config| remains(plugin, &mut config.0));
        }
    }
}

/// Reduces a field with one name and a field with several to what is kept; whether that is anything.
fn reduce(one: &mut Option<String>, several: &mut Option<Vec<String>>, keeps: &dyn Fn(&str) -> bool) -> bool {
    one.take_if(|name| name.is_empty() || !keeps(name));
    if let Some(names) = several {
        names.retain(|name| !name.is_empty() && keeps(name));
    }
    one.is_some() || several.as_ref().is_some_and(|names| !names.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::traffic::Need;

    /// What the router of a Rollout needs where the objects of these names are out; `None` where nothing remains.
    fn needed(routing: &Value, out: &[&str]) -> Option<Vec<String>> {
        let canary = json!({"canaryService": "canary", "stableService": "stable", "trafficRouting": routing});
        let rollout: Rollout = serde_json::from_value(json!({
            "metadata": {"name": "api", "namespace": "shop"}, "spec": {"strategy": {"canary": canary}},
        }))
        .unwrap();
        let rest = keeping(&rollout, &|name| !out.contains(&name.to_string().as_str()))?;
        let named = |need| match need {
            Need::One(name) => name.to_string(),
            Need::All { kind, .. } => format!("every {}", kind.as_str()),
        };
        Some(Routers::of(&rest).needs().into_iter().map(named).collect())
    }

    #[test]
    fn only_what_is_out_is_left_out() {
        let two = |one: &str, other: &str| Some(vec![one.to_owned(), other.to_owned()]);
        let nginx = json!({"nginx": {"stableIngress": "a", "stableIngresses": ["b", "c"]}});
        assert_eq!(
            needed(
                &nginx,
                &[
                    "Ingress shop/a",
                    "Ingress shop/api-a-canary",
                    "Ingress shop/c",
                    "Ingress shop/api-c-canary"
                ]
            ),
            two("Ingress shop/b", "Ingress shop/api-b-canary")
        );
        let istio = json!({"istio": {"virtualService": {"name": "a"}, "virtualServices": [{"name": "b.mesh"}, {"name": "c"}]}});
        assert_eq!(
            needed(&istio, &["VirtualService mesh/b"]),
            two("VirtualService shop/a", "VirtualService shop/c")
        );
        let routes = json!({"plugins": {"argoproj-labs/gatewayAPI": {
            "HTTPRoute": "a", "httpRouteRuleName": "r", "httproutes": [{"name": "b"}, {"Name": "c"}], "Namespace": "edge",
        }}});
        assert_eq!(
            needed(&routes, &["HTTPRoute edge/a", "HTTPRoute shop/b"]),
            two("HTTPRoute edge/b", "HTTPRoute edge/c")
        );
        let proxies = json!({"plugins": {"argoproj-labs/contour": {"httpProxies": ["a", "b", "c"]}}});
        assert_eq!(needed(&proxies, &["HTTPProxy shop/b"]), two("HTTPProxy shop/a", "HTTPProxy shop/c"));
        let both = json!({"alb": {"ingress": "a", "servicePort": 80}, "traefik": {"weightedTraefikServiceName": "t"}});
        assert_eq!(needed(&both, &["TraefikService shop/t"]), Some(vec!["Ingress shop/a".to_owned()]));
        assert_eq!(needed(&both, &["Ingress shop/a"]), Some(vec!["TraefikService shop/t".to_owned()]));
    }

    #[test]
    fn nothing_remains_where_everything_is_out() {
        let nginx = json!({"nginx": {"stableIngress": "a"}});
        let ambassador = json!({"ambassador": {"mappings": ["a"]}});
        assert_eq!(needed(&nginx, &["Ingress shop/a", "Ingress shop/api-a-canary"]), None);
        assert_eq!(needed(&ambassador, &["Mapping shop/a", "Mapping shop/a-canary"]), None);
        // A copy sends requests by itself.
        assert!(needed(&nginx, &["Ingress shop/a"]).is_some());
        assert!(needed(&ambassador, &["Mapping shop/a"]).is_some());
        for (routing, out) in [
            (json!({"alb": {"ingresses": ["a"], "servicePort": 80}}), "Ingress shop/a"),
            (json!({"istio": {"virtualServices": [{"name": "a"}]}}), "VirtualService shop/a"),
            (json!({"smi": {}}), "TrafficSplit shop/api"),
            (json!({"smi": {"trafficSplitName": "a"}}), "TrafficSplit shop/a"),
            (json!({"traefik": {"weightedTraefikServiceName": "a"}}), "TraefikService shop/a"),
            (json!({"apisix": {"route": {"name": "a"}}}), "ApisixRoute shop/a"),
            (json!({"plugins": {"argoproj-labs/contour": {"httpProxies": ["a"]}}}), "HTTPProxy shop/a"),
            (json!({"plugins": {"zalando/skipper": {"routeGroups": ["a"]}}}), "RouteGroup shop/a"),
            (json!({"plugins": {"argoproj-labs/gatewayAPI": {"grpcRoute": "a"}}}), "GRPCRoute shop/a"),
        ] {
            assert_eq!(needed(&routing, &[out]), None, "{routing}");
            assert!(needed(&routing, &[]).is_some(), "{routing}");
        }
    }

    #[test]
    fn objects_by_label_stay() {
        let selector = json!({"matchLabels": {"app": "shop"}});
        let routes = json!({"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "a", "httpRouteSelector": selector}}});
        assert_eq!(needed(&routes, &["HTTPRoute shop/a"]), Some(vec!["every HTTPRoute".to_owned()]));
    }
}
