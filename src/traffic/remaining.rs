//! A route without some of its objects: those that are gone, or that somebody else looks after by now. What remains of it can
//! then be brought to what is wanted, whatever became of the rest.

use serde_json::Value;

use super::route::{RouteKind, RouteName};
use super::routers::Routers;
use super::{contour, gateway, istio, skipper};
use crate::api::Rollout;
use crate::api::traffic_routing::TrafficRouting;

/// The Rollout as if its spec named none of the objects that are out; `None` where no router remains. A copy that is made of
/// an object goes with that: a canary Ingress without the stable one gets no requests. Objects by label stay.
#[must_use]
pub fn without(rollout: &Rollout, is_out: &dyn Fn(&RouteName) -> bool) -> Option<Rollout> {
    let mut rest = rollout.clone();
    let namespace = rollout.metadata.namespace.clone().unwrap_or_default();
    let name = rollout.metadata.name.clone().unwrap_or_default();
    let routing = rest.spec.strategy.as_mut()?.canary.as_mut()?.traffic_routing.as_mut()?;
    let kept = Kept { namespace: &namespace, is_out };
    kept.leave_out_fields(routing, &name);
    kept.leave_out_plugins(routing);
    (!Routers::of(&rest).is_empty()).then_some(rest)
}

/// What is kept.
struct Kept<'a> {
    /// The Rollout's.
    namespace: &'a str,
    is_out: &'a dyn Fn(&RouteName) -> bool,
}

impl Kept<'_> {
    fn has(&self, kind: RouteKind, name: &str) -> bool {
        !(self.is_out)(&RouteName::new(kind, self.namespace, name))
    }

    /// Brings a field with one name and a field with several to what is kept; whether that is anything.
    fn retain(&self, kind: RouteKind, one: &mut Option<String>, several: &mut Option<Vec<String>>) -> bool {
        let is_named = |name: &String| !name.is_empty() && self.has(kind, name);
        *one = one.take().filter(is_named);
        several.iter_mut().for_each(|names| names.retain(is_named));
        one.is_some() || several.as_ref().is_some_and(|names| !names.is_empty())
    }

    fn leave_out_fields(&self, routing: &mut TrafficRouting, rollout: &str) {
        routing.istio.take_if(|spec| !istio::retain(spec, self.namespace, &|name| !(self.is_out)(name)));
        routing.nginx.take_if(|spec| {
            !self.retain(RouteKind::Ingress, &mut spec.stable_ingress, &mut spec.stable_ingresses)
        });
        routing.alb.take_if(|spec| !self.retain(RouteKind::Ingress, &mut spec.ingress, &mut spec.ingresses));
        routing.ambassador.take_if(|spec| !self.retain(RouteKind::Mapping, &mut None, &mut spec.mappings));
        routing.smi.take_if(|spec| {
            let given = spec.traffic_split_name.as_deref().filter(|name| !name.is_empty());
            !self.has(RouteKind::TrafficSplit, given.unwrap_or(rollout))
        });
        routing.traefik.take_if(|spec| {
            !self.retain(RouteKind::TraefikService, &mut spec.weighted_traefik_service_name, &mut None)
        });
        routing.apisix.take_if(|spec| {
            spec.route.as_ref().is_none_or(|route| !self.has(RouteKind::ApisixRoute, &route.name))
        });
    }

    fn leave_out_plugins(&self, routing: &mut TrafficRouting) {
        let is_in = |name: &RouteName| !(self.is_out)(name);
        let keeps = |plugin: &str, config: &mut Value| match plugin {
            gateway::NAME => gateway::retain(config, self.namespace, &is_in),
            contour::NAME => contour::retain(config, self.namespace, &is_in),
            skipper::NAME => skipper::retain(config, self.namespace, &is_in),
            _ => true,
        };
        if let Some(plugins) = &mut routing.plugins {
            plugins.retain(|plugin, config| keeps(plugin, &mut config.0));
        }
    }
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
        let rest = without(&rollout, &|name| out.contains(&name.to_string().as_str()))?;
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
            needed(&nginx, &["Ingress shop/a", "Ingress shop/c", "Ingress other/b"]),
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
        for (routing, out) in [
            (json!({"nginx": {"stableIngress": "a"}}), "Ingress shop/a"),
            (json!({"alb": {"ingresses": ["a"], "servicePort": 80}}), "Ingress shop/a"),
            (json!({"istio": {"virtualServices": [{"name": "a"}]}}), "VirtualService shop/a"),
            (json!({"ambassador": {"mappings": ["a"]}}), "Mapping shop/a"),
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
