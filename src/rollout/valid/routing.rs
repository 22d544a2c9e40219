//! The router of a canary: where it sends traffic to, and what its fields allow.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Destinations, Routing, Services, SpecError, StableScale, managed, services};
use crate::api::rollout::{CanaryStrategy, PingPong};
use crate::api::traffic_routing::TrafficRouting;
use crate::rollout::snapshot::Snapshot;
use crate::traffic::{self, Cookie, PLUGINS, Routers, SUPPORTED, Session};
use crate::units::Weight;

const CANARY: &str = "spec.strategy.canary";
const PATH: &str = "spec.strategy.canary.trafficRouting";
const SESSION_FIELD: &str = "metadata.annotations['rollout.argoproj.io/session-cookie']";

/// Parses the router and the fields of the canary that need one.
pub(super) fn parse(
    snapshot: &Snapshot,
    canary: &CanaryStrategy,
    routing: &TrafficRouting,
    roles: &Services,
    problems: &mut Vec<SpecError>,
) -> Routing {
    check_routers(snapshot, routing, problems);
    let scale = scale(routing, problems);
    check_abilities(snapshot, canary, scale, problems);
    check_smi_root(snapshot, canary, routing, problems);
    let is_dynamic = canary.dynamic_stable_scale == Some(true);
    if is_dynamic && canary.scale_down_delay_seconds.is_some() {
        let message = "Canary dynamicStableScale cannot be used with scaleDownDelaySeconds";
        problems.push(SpecError::new(format!("{CANARY}.scaleDownDelaySeconds"), message));
    }
    managed::check_names(canary, problems);
    let min_pods = canary.min_pods_per_replica_set.unwrap_or_default();
    Routing {
        destinations: match &canary.ping_pong {
            Some(pair) => ping_pong(snapshot, pair, roles, problems),
            None => match traffic::subsets(routing) {
                Some([canary, stable]) => Destinations::Subsets { canary, stable },
                None => by_role(roles, problems),
            },
        },
        scale,
        managed: managed::names(snapshot),
        cookie: cookie(snapshot, problems),
        stable_scale: if is_dynamic { StableScale::Dynamic } else { StableScale::Full },
        min_pods: u32::try_from(min_pods).unwrap_or_else(|_| {
            let message = format!("must be 0 or more, not {min_pods}");
            problems.push(SpecError::new(format!("{CANARY}.minPodsPerReplicaSet"), message));
            0
        }),
    }
}

/// The cookie that is to keep users on the canary; refused where a router cannot do so.
fn cookie(snapshot: &Snapshot, problems: &mut Vec<SpecError>) -> Option<Cookie> {
    let problem = |message: String| SpecError::new(SESSION_FIELD, message);
    let cookie = Cookie::of(&snapshot.rollout);
    let cookie = cookie.map_err(|message| problems.push(problem(message))).ok().flatten()?;
    for (router, instead) in Routers::of(&snapshot.rollout).lacking_sessions() {
        problems.push(problem(format!("does not work with {router}: {instead}, and remove it")));
    }
    let route = Session::with(cookie.clone(), &snapshot.rollout).map(|session| session.route());
    if let Some(route) = route.filter(|route| managed::names(snapshot).contains(route)) {
        problems.push(problem(format!("makes a route {route:?}: call that of managedRoutes otherwise")));
    }
    Some(cookie)
}

/// A cookie that nothing could set is refused.
pub(super) fn refuse_cookie(snapshot: &Snapshot, problems: &mut Vec<SpecError>) {
    if !matches!(Cookie::of(&snapshot.rollout), Ok(None)) {
        let message = format!("needs {PATH}: remove it, or name a router");
        problems.push(SpecError::new(SESSION_FIELD, message));
    }
}

/// Every router that this process cannot drive is refused by its name.
fn check_routers(snapshot: &Snapshot, routing: &TrafficRouting, problems: &mut Vec<SpecError>) {
    let plugins = routing.plugins.iter().flatten().map(|(name, _)| name);
    let mut known = 0;
    for name in plugins {
        if PLUGINS.contains(&name.as_str()) || snapshot.settings.router_plugins.contains(name) {
            known += 1;
        } else {
            let message = "is no router that this controller knows; remove it to let this Rollout run";
            problems.push(SpecError::new(format!("{PATH}.plugins.{name}"), message));
        }
    }
    let fields = serde_json::to_value(routing).unwrap_or_default();
    let others = fields.as_object().into_iter().flatten();
    let others: Vec<_> = others.filter(|(name, value)| *name != "plugins" && value.is_object()).collect();
    let is_supported = |name: &&String| SUPPORTED.contains(&name.as_str());
    for name in others.iter().map(|(name, _)| *name).filter(|name| !is_supported(name)) {
        let message = match name.as_str() {
            "appMesh" => "is not supported: AWS ended App Mesh in September 2026; name another router",
            _ => "is not supported yet; remove it to let this Rollout run",
        };
        problems.push(SpecError::new(format!("{PATH}.{name}"), message));
    }
    if traffic::subsets(routing).is_some() && others.len() + known > 1 {
        let message = "subsets are known to Istio alone: remove it, or the other routers";
        problems.push(SpecError::new(format!("{PATH}.istio.destinationRule"), message));
    }
    let found = snapshot.route_problems.iter();
    problems.extend(found.map(|problem| {
        let dot = if problem.field.is_empty() { "" } else { "." };
        SpecError::of_reference(format!("{PATH}{dot}{}", problem.field), problem.message.as_str())
    }));
    if known == 0 && others.is_empty() && routing.plugins.as_ref().is_none_or(BTreeMap::is_empty) {
        problems.push(SpecError::new(PATH, "names no router: name one, or remove the field"));
    }
}

/// What the routers cannot do is refused.
fn check_abilities(
    snapshot: &Snapshot,
    canary: &CanaryStrategy,
    scale: Weight,
    problems: &mut Vec<SpecError>,
) {
    for (router, abilities) in Routers::of(&snapshot.rollout).abilities() {
        if canary.ping_pong.is_some() && !abilities.ping_pong {
            let message =
                format!("Ping-pong feature does not work with {router}: its Services have fixed roles");
            problems.push(SpecError::new(format!("{CANARY}.pingPong"), message));
        }
        if scale > abilities.largest_scale {
            let largest = abilities.largest_scale;
            let message = format!("must be {largest} or less with {router}, not {scale}");
            problems.push(SpecError::new(format!("{PATH}.maxTrafficWeight"), message));
        }
    }
}

/// The Service that a `TrafficSplit` splits is another one than the canary's, and exists: it would split nothing otherwise.
/// Its selector is nobody's business, because a mesh does not need one.
fn check_smi_root(
    snapshot: &Snapshot,
    canary: &CanaryStrategy,
    routing: &TrafficRouting,
    problems: &mut Vec<SpecError>,
) {
    let smi = routing.smi.as_ref();
    let Some(root) = services::named(smi.and_then(|smi| smi.root_service.as_ref())) else { return };
    let field = format!("{PATH}.smi.rootService");
    if canary.canary_service.as_ref() == Some(&root) {
        let message = format!(
            "Service \"{root}\" is the canary's own: name the one that clients use, or remove rootService where that is \
             stableService"
        );
        problems.push(SpecError::new(field, message));
    } else if !snapshot.services.contains_key(&root) {
        problems.push(services::not_found(&field, &root));
    }
}

fn scale(routing: &TrafficRouting, problems: &mut Vec<SpecError>) -> Weight {
    let Some(given) = routing.max_traffic_weight else { return Weight::FULL };
    match u32::try_from(given) {
        Ok(scale) if scale > 0 => Weight::observed(scale),
        _ => {
            let message = format!("must be greater than 0, not {given}");
            problems.push(SpecError::new(format!("{PATH}.maxTrafficWeight"), message));
            Weight::FULL
        }
    }
}

fn by_role(roles: &Services, problems: &mut Vec<SpecError>) -> Destinations {
    let (Some(canary), Some(stable)) = (&roles.canary, &roles.stable) else {
        let message = "Canary service and Stable service must to be set to use Traffic Routing";
        problems.push(SpecError::new(PATH, message));
        return Destinations::ByRole { canary: String::new(), stable: String::new() };
    };
    Destinations::ByRole { canary: canary.clone(), stable: stable.clone() }
}

fn ping_pong(
    snapshot: &Snapshot,
    pair: &PingPong,
    roles: &Services,
    problems: &mut Vec<SpecError>,
) -> Destinations {
    let field = format!("{CANARY}.pingPong");
    let (one, other) =
        (services::named(pair.ping_service.as_ref()), services::named(pair.pong_service.as_ref()));
    let template = snapshot.template().unwrap_or(&Value::Null);
    let named = [("pingService", one.as_ref()), ("pongService", other.as_ref())];
    services::check(snapshot, &field, template, &named, problems);
    let (Some(one), Some(other)) = (one, other) else {
        let message = "Ping service and Pong service must to be set to use Ping-Pong feature";
        problems.push(SpecError::new(field.as_str(), message));
        return Destinations::PingPong { ping: String::new(), pong: String::new() };
    };
    if one == other {
        let message = "This rollout uses the same service for the ping and pong services, \
                       but two different services are required.";
        problems.push(SpecError::new(field.as_str(), message));
    }
    // Its pods would be those of the pair and those of the role by turns, for ever.
    let fixed = [("canaryService", &roles.canary), ("stableService", &roles.stable)];
    for (role, name) in fixed.into_iter().filter_map(|(role, name)| Some((role, name.as_ref()?))) {
        if *name == one || *name == other {
            let message = format!("service `{name}` is the {role}, too: name another one, or remove {role}");
            problems.push(SpecError::new(field.as_str(), message));
        }
    }
    Destinations::PingPong { ping: one, pong: other }
}
