//! The route that the canary's share goes through. A spec may name another one in the middle of an update; then the one that
//! has the share is let go first, so that no route is left that sends requests to pods which nobody looks after.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::Rollout;
use crate::api::labels::SESSION_COOKIE;
use crate::api::rollout_status::CanaryRoute;

/// The route that the spec names; `None` without a router.
#[must_use]
pub fn route_of(rollout: &Rollout) -> Option<CanaryRoute> {
    let canary = rollout.spec.strategy.as_ref()?.canary.as_ref()?;
    Some(CanaryRoute {
        traffic_routing: canary.traffic_routing.clone()?,
        canary_service: canary.canary_service.clone(),
        stable_service: canary.stable_service.clone(),
        ping_pong: canary.ping_pong.clone(),
        session_cookie: rollout
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(SESSION_COOKIE).cloned()),
        dynamic_stable_scale: canary.dynamic_stable_scale,
    })
}

/// The route that has the canary's share, as far as the status tells, and that the spec still names.
#[must_use]
pub fn kept_route(rollout: &Rollout) -> Option<CanaryRoute> {
    let named = route_of(rollout)?;
    carried(rollout).filter(|route| is_same(&named, route)).cloned()
}

/// The Rollout as it was when its canary's share was given to another route than the spec names now; `None` where it names
/// the same one, or where no share was given.
#[must_use]
pub fn with_route_left(rollout: &Rollout) -> Option<Rollout> {
    let route = carried(rollout)?;
    if route_of(rollout).is_some_and(|named| is_same(&named, route)) {
        return None;
    }
    let (route, mut left) = (route.clone(), rollout.clone());
    let strategy = left.spec.strategy.get_or_insert_default();
    strategy.blue_green = None;
    let canary = strategy.canary.get_or_insert_default();
    canary.traffic_routing = Some(route.traffic_routing);
    canary.canary_service = route.canary_service;
    canary.stable_service = route.stable_service;
    canary.ping_pong = route.ping_pong;
    canary.dynamic_stable_scale = route.dynamic_stable_scale;
    let annotations = left.metadata.annotations.get_or_insert_default();
    match route.session_cookie {
        Some(cookie) => drop(annotations.insert(SESSION_COOKIE.to_owned(), cookie)),
        None => drop(annotations.remove(SESSION_COOKIE)),
    }
    Some(left)
}

/// Whether both name the same route: the same objects with the same destinations.
#[must_use]
pub fn name_one_route(one: &Rollout, other: &Rollout) -> bool {
    route_of(one).zip(route_of(other)).is_some_and(|(one, other)| is_same(&one, &other))
}

fn carried(rollout: &Rollout) -> Option<&CanaryRoute> {
    rollout.status.as_ref()?.canary.as_ref()?.route.as_deref()
}

/// Whether the route that the spec names is the one that has the share: the same objects with the same destinations. Routes
/// for some requests are known by their names, so none that may be there is forgotten.
fn is_same(named: &CanaryRoute, carried: &CanaryRoute) -> bool {
    let managed = |route: &CanaryRoute| {
        let routes = route.traffic_routing.managed_routes.iter().flatten();
        routes.map(|route| route.name.clone()).collect::<BTreeSet<_>>()
    };
    let plain = |route: &CanaryRoute| {
        let mut json = serde_json::to_value(objects_of(route)).unwrap_or_default();
        make_plain(&mut json);
        json
    };
    plain(named) == plain(carried) && managed(carried).is_subset(&managed(named))
}

/// Leaves out what tells no routes apart: the order in which objects are named, and a null that a template left in a plugin's
/// configuration, which does not get into the status.
fn make_plain(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(make_plain);
        }
        Value::Array(items) => {
            items.iter_mut().for_each(make_plain);
            items.sort_by_cached_key(Value::to_string);
        }
        _ => {}
    }
}

/// A route without what changes neither its objects nor its destinations.
fn objects_of(route: &CanaryRoute) -> CanaryRoute {
    let mut route = CanaryRoute { dynamic_stable_scale: None, ..route.clone() };
    // The route of another cookie has the same name, and is made anew in its place.
    route.session_cookie.iter_mut().for_each(String::clear);
    let routing = &mut route.traffic_routing;
    routing.managed_routes = None;
    routing.max_traffic_weight = None;
    if let Some(alb) = &mut routing.alb {
        alb.stickiness_config = None;
    }
    if let Some(nginx) = &mut routing.nginx {
        nginx.additional_ingress_annotations = None;
        nginx.canary_ingress_annotations = None;
    }
    route
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A Rollout whose canary got its share through one Ingress, and whose strategy is now this.
    fn rollout(strategy: &Value) -> Rollout {
        let route = json!({
            "trafficRouting": {"nginx": {"stableIngress": "shop"}, "maxTrafficWeight": 100},
            "canaryService": "canary", "stableService": "stable",
        });
        serde_json::from_value(json!({
            "metadata": {"name": "api"}, "spec": {"strategy": strategy}, "status": {"canary": {"route": route}},
        }))
        .unwrap()
    }

    /// The route that is left; `None` where it stays.
    fn left(strategy: &Value) -> Option<CanaryRoute> {
        with_route_left(&rollout(strategy)).as_ref().and_then(route_of)
    }

    fn canary(routing: &Value) -> Value {
        json!({"canary": {"canaryService": "canary", "stableService": "stable", "trafficRouting": routing}})
    }

    #[test]
    fn a_route_stays_whatever_else_is_said_of_it() {
        for routing in [
            json!({"nginx": {"stableIngress": "shop"}}),
            json!({"nginx": {"stableIngress": "shop", "canaryIngressAnnotations": {"a": "b"}}, "maxTrafficWeight": 1000}),
            json!({"nginx": {"stableIngress": "shop"}, "managedRoutes": [{"name": "mine"}]}),
        ] {
            let rollout = rollout(&canary(&routing));
            assert_eq!(with_route_left(&rollout), None);
            assert!(kept_route(&rollout).is_some());
        }
    }

    #[test]
    fn a_route_is_left_when_objects_services_or_the_router_are_others_or_gone() {
        let before = rollout(&json!({})).status.unwrap().canary.unwrap().route.map(|route| *route);
        let mut services = canary(&json!({"nginx": {"stableIngress": "shop"}}));
        services["canary"]["canaryService"] = json!("another");
        for strategy in [
            canary(&json!({"nginx": {"stableIngress": "another"}})),
            canary(&json!({"nginx": {"stableIngress": "shop", "annotationPrefix": "example.com"}})),
            canary(&json!({"istio": {"virtualService": {"name": "shop"}}})),
            services,
            json!({"canary": {}}),
            json!({"blueGreen": {"activeService": "stable"}}),
        ] {
            assert_eq!(left(&strategy), before, "{strategy}");
            assert_eq!(kept_route(&rollout(&strategy)), None);
        }
    }

    #[test]
    fn steps_stay_as_they_are_while_a_route_is_left() {
        let strategy = json!({"canary": {"steps": [{"setWeight": 20}], "maxSurge": 1}});
        let left = with_route_left(&rollout(&strategy)).unwrap().spec.strategy.unwrap().canary.unwrap();
        assert_eq!(
            (left.steps.map(|steps| steps.len()), left.canary_service.as_deref()),
            (Some(1), Some("canary"))
        );
    }

    #[test]
    fn the_order_of_objects_is_no_other_route() {
        let several = |names: [&str; 2]| {
            canary(&json!({"nginx": {"stableIngresses": names}, "istio": {"virtualServices": [
                {"name": names[0], "routes": names}, {"name": names[1]},
            ]}}))
        };
        let mut named = rollout(&several(["shop", "admin"]));
        let route = route_of(&named);
        named.status.as_mut().unwrap().canary.as_mut().unwrap().route = route.map(Box::new);
        let renamed = |names: [&str; 2]| {
            let strategy = serde_json::from_value(several(names)).unwrap();
            let mut renamed = named.clone();
            renamed.spec.strategy = Some(strategy);
            with_route_left(&renamed).is_some()
        };
        // The routes of a VirtualService are another one's when the names change places.
        assert!(renamed(["admin", "shop"]) && renamed(["shop", "other"]));
        let mut reordered = named.clone();
        let canary = reordered.spec.strategy.as_mut().unwrap().canary.as_mut().unwrap();
        let routing = canary.traffic_routing.as_mut().unwrap();
        let mut json = serde_json::to_value(&*routing).unwrap();
        for list in ["/nginx/stableIngresses", "/istio/virtualServices", "/istio/virtualServices/1/routes"] {
            json.pointer_mut(list).unwrap().as_array_mut().unwrap().reverse();
        }
        *routing = serde_json::from_value(json).unwrap();
        assert_eq!(with_route_left(&reordered), None);
        assert!(kept_route(&reordered).is_some());
    }

    #[test]
    fn a_route_for_some_requests_that_is_named_no_longer_is_let_go_first() {
        let left = |before: &[&str], now: &[&str]| {
            let routing = |names: &[&str]| {
                let managed: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
                json!({"nginx": {"stableIngress": "shop"}, "managedRoutes": managed})
            };
            let mut rollout = rollout(&canary(&routing(now)));
            let route = &mut rollout.status.as_mut().unwrap().canary.as_mut().unwrap().route;
            route.as_mut().unwrap().traffic_routing = serde_json::from_value(routing(before)).unwrap();
            with_route_left(&rollout).is_some()
        };
        assert!(!left(&["testers"], &["shadow", "testers"]) && !left(&[], &["testers"]));
        assert!(left(&["testers"], &["beta"]) && left(&["testers", "shadow"], &["testers"]));
    }

    #[test]
    fn another_cookie_is_no_other_route_and_no_cookie_any_more_is() {
        let left = |before: Option<&str>, now: Option<&str>| {
            let mut rollout = rollout(&canary(&json!({"nginx": {"stableIngress": "shop"}})));
            let annotations = now.map(|cookie| [(SESSION_COOKIE.to_owned(), cookie.to_owned())].into());
            rollout.metadata.annotations = annotations;
            let route = &mut rollout.status.as_mut().unwrap().canary.as_mut().unwrap().route;
            route.as_mut().unwrap().session_cookie = before.map(str::to_owned);
            with_route_left(&rollout).is_some()
        };
        assert!(!left(Some("v; Max-Age=60"), Some("v; Max-Age=90")));
        assert!(left(Some("v"), None) && left(None, Some("v")));
    }

    #[test]
    fn a_null_in_a_configuration_is_no_other_route() {
        let plugin =
            |config: &Value| json!({"trafficRouting": {"plugins": {"p": config}}, "canaryService": "canary"});
        let mut rollout =
            rollout(&json!({"canary": plugin(&json!({"httpRoute": "shop", "namespace": null}))}));
        let stored = json!({"canary": {"route": plugin(&json!({"httpRoute": "shop"}))}});
        rollout.status = Some(serde_json::from_value(stored).unwrap());
        assert!(with_route_left(&rollout).is_none() && kept_route(&rollout).is_some());
        rollout.status.as_mut().unwrap().canary.as_mut().unwrap().route.as_mut().unwrap().canary_service =
            None;
        assert!(with_route_left(&rollout).is_some());
    }
}
