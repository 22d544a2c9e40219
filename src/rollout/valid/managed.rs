//! Steps that make routes of their own: which names they may use, and what they may match.

use std::collections::BTreeMap;

use super::{SpecError, Step, Strategy};
use crate::api::canary_step::{CanaryStep, RouteMatch};
use crate::api::rollout::CanaryStrategy;
use crate::api::traffic_routing::StringMatch;
use crate::rollout::snapshot::Snapshot;
use crate::traffic::{Managed, Routers, Rule, of_step};

/// Parses a step that makes or takes away a route; `None` for another step.
pub(super) fn parse(
    snapshot: &Snapshot,
    field: &str,
    step: &CanaryStep,
    strategy: &Strategy,
    problems: &mut Vec<SpecError>,
) -> Option<Step> {
    let (name, rule) = of_step(step)?;
    let is_mirror = step.set_mirror_route.is_some();
    let field = format!("{field}.{}", if is_mirror { "setMirrorRoute" } else { "setHeaderRoute" });
    check_router(snapshot, &field, is_mirror, strategy, problems);
    if !names(snapshot).contains(&name) {
        let message = "Steps define a route that does not exist in \
                       spec.strategy.canary.trafficRouting.managedRoutes: add its name there";
        problems.push(SpecError::new(format!("{field}.name"), message));
    }
    match &rule {
        Some(Rule::Header(matches)) => {
            for (index, found) in matches.iter().enumerate() {
                let field = format!("{field}.match[{index}]");
                if found.header_name.as_ref().is_none_or(String::is_empty) {
                    problems.push(SpecError::new(format!("{field}.headerName"), "is missing"));
                }
                let field = format!("{field}.headerValue");
                check_text(&field, found.header_value.as_ref(), problems);
                check_exact(snapshot, &field, found.header_value.as_ref(), problems);
            }
        }
        Some(Rule::Mirror { matches, .. }) => {
            for (index, found) in matches.iter().enumerate() {
                check_match(&format!("{field}.match[{index}]"), found, problems);
            }
            let percentage = step.set_mirror_route.as_ref().and_then(|route| route.percentage);
            if percentage.is_some_and(|percent| !(0..=100).contains(&percent)) {
                problems.push(SpecError::new(format!("{field}.percentage"), "must be from 0 to 100"));
            }
        }
        Some(Rule::Session(_)) | None => {}
    }
    Some(Step::SetRoute { name, rule })
}

/// The names that steps may use, the one with precedence first.
pub(super) fn names(snapshot: &Snapshot) -> Vec<String> {
    let strategy = snapshot.rollout.spec.strategy.as_ref();
    let routing = strategy.and_then(|strategy| strategy.canary.as_ref()?.traffic_routing.as_ref());
    let routes = routing.and_then(|routing| routing.managed_routes.as_ref()).into_iter().flatten();
    routes.map(|route| route.name.clone()).collect()
}

/// Checks `managedRoutes`: names that are there, once each.
pub(super) fn check_names(canary: &CanaryStrategy, problems: &mut Vec<SpecError>) {
    let routes = canary.traffic_routing.as_ref().and_then(|routing| routing.managed_routes.as_ref());
    let mut seen = BTreeMap::new();
    for (index, route) in routes.into_iter().flatten().enumerate() {
        let field = format!("spec.strategy.canary.trafficRouting.managedRoutes[{index}].name");
        if route.name.is_empty() {
            problems.push(SpecError::new(field, "is missing"));
        } else if seen.insert(&route.name, index).is_some() {
            problems.push(SpecError::new(field, "is there twice: each name stands for one route"));
        }
    }
}

fn check_router(
    snapshot: &Snapshot,
    field: &str,
    is_mirror: bool,
    strategy: &Strategy,
    problems: &mut Vec<SpecError>,
) {
    if !matches!(strategy, Strategy::Routed(_)) {
        let (kind, routers) = if is_mirror {
            ("SetMirrorRoute", "Istio and Plugins")
        } else {
            ("SetHeaderRoute", "Istio and ALB and Apisix")
        };
        problems.push(SpecError::new(field, format!("{kind} requires TrafficRouting, supports {routers}")));
    }
    let needed = if is_mirror { Managed::HeadersAndMirrors } else { Managed::ExactHeaders };
    for (router, managed) in Routers::of(&snapshot.rollout).managed() {
        if managed < needed {
            let message = format!("does not work with {router}; remove it to let this Rollout run");
            problems.push(SpecError::new(field, message));
        }
    }
}

/// A part of a header's value is refused where a router compares it as a whole.
fn check_exact(snapshot: &Snapshot, field: &str, found: Option<&StringMatch>, problems: &mut Vec<SpecError>) {
    let parts = found.into_iter().flat_map(|found| [&found.prefix, &found.regex]).flatten();
    let is_part = parts.into_iter().any(|part| !part.is_empty());
    let routers = Routers::of(&snapshot.rollout);
    if is_part && routers.managed().any(|(_, managed)| managed == Managed::ExactHeaders) {
        let message = "SetHeaderRoute match value invalid. ALB supports 'exact' value only";
        problems.push(SpecError::new(field, message));
    }
}

fn check_match(field: &str, found: &RouteMatch, problems: &mut Vec<SpecError>) {
    let headers = found.headers.iter().flatten();
    let headers = headers.map(|(name, value)| (format!("{field}.headers['{name}']"), Some(value)));
    let own = [("method", found.method.as_ref()), ("path", found.path.as_ref())];
    let own = own.into_iter().filter(|(_, value)| value.is_some());
    let own = own.map(|(name, value)| (format!("{field}.{name}"), value));
    for (field, value) in own.chain(headers) {
        check_text(&field, value, problems);
    }
}

fn check_text(field: &str, found: Option<&StringMatch>, problems: &mut Vec<SpecError>) {
    let found = found.map_or([None, None, None], |found| {
        [found.exact.as_ref(), found.prefix.as_ref(), found.regex.as_ref()]
    });
    if found.into_iter().flatten().filter(|text| !text.is_empty()).count() != 1 {
        let message = "StringMatch match value must have exactly one of the following: exact, regex, prefix";
        problems.push(SpecError::new(field, message));
    }
}
