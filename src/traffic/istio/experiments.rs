//! What Services of Experiments have of a route: destinations of their own, which come with an Experiment and go with it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::roles::{Roles, shown};
use crate::traffic::route::{at, items, set};
use crate::traffic::{Subject, TrafficTarget};

/// The weights of those among `known` that a route leads to, by name.
pub(super) fn of(roles: Roles<'_>, route: &Value, known: &[String]) -> BTreeMap<String, u32> {
    let weight = |entry| at(entry, &["weight"]).as_u64().and_then(|weight| u32::try_from(weight).ok());
    let entries = items(route, &["route"]).iter().filter_map(|entry| {
        let name = known.iter().find(|name| is_of(roles, name, entry))?;
        Some((name.clone(), weight(entry).unwrap_or_default()))
    });
    entries.collect()
}

/// Brings the destinations of Experiments in a route to what a target says; of those `known`, others go.
pub(super) fn render(roles: Roles<'_>, route: &mut Value, target: &TrafficTarget, known: &[String]) {
    // Their Services may have several ports, of which one has to be named then.
    let stable = roles.entry(&target.stable.name, route);
    let port =
        stable.map(|entry| at(entry, &["destination", "port"])).filter(|port| !port.is_null()).cloned();
    let Some(entries) = route.get_mut("route").and_then(Value::as_array_mut) else { return };
    let is_over = |entry: &Value| {
        known.iter().any(|name| is_of(roles, name, entry) && target.experiment(name).is_none())
    };
    entries.retain(|entry| !is_over(entry));
    for share in &target.experiments {
        let (name, weight) = (&share.to.name, json!(share.weight.get()));
        if let Some(entry) = entries.iter_mut().find(|entry| is_of(roles, name, entry)) {
            set(entry, &["weight"], Some(weight));
        } else {
            let mut destination = json!({"host": roles.host(name)});
            set(&mut destination, &["port"], port.clone());
            entries.push(json!({"destination": destination, "weight": weight}));
        }
    }
}

/// Why requests by a route would not come to the Services that steps ask it to lead to.
pub(super) fn problem(roles: Roles<'_>, route: &Value, subject: &Subject) -> Option<String> {
    let entries = items(route, &["route"]).iter().filter_map(|entry| Some((roles.of_entry(entry)?, entry)));
    let mut problems = entries.filter_map(|(name, entry)| {
        let port = at(entry, &["destination", "port", "number"]).as_i64();
        let role = name.rsplit('/').next().unwrap_or(name);
        Some(format!("has {} whose destination {role} {}", shown(route), subject.asked.lacks_port(port)?))
    });
    problems.next()
}

fn is_of(roles: Roles<'_>, name: &str, entry: &Value) -> bool {
    roles.is_service(name, at(entry, &["destination"]))
}
