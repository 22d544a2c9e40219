//! The Services that a spec names: they exist, select the template's pods, and belong to no other Rollout.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{SpecError, role_labels, template_labels};
use crate::api::labels::{MANAGED_BY, POD_TEMPLATE_HASH};
use crate::rollout::role_labels::is_key;
use crate::rollout::snapshot::Snapshot;

/// The name of a Service, if there is one: charts render a Service that is not used as an empty name.
pub(super) fn named(service: Option<&String>) -> Option<String> {
    service.cloned().filter(|name| !name.is_empty())
}

/// What is wrong with a Service in front of pods that say no port.
pub(crate) const NO_PORT: &str = "needs a port: name at least one containerPort in the template's containers";

/// A Service's ports for those of a template's containers, each once.
pub(crate) fn ports(template: &Value) -> Vec<Value> {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let ports = containers.filter_map(|container| container.get("ports")?.as_array()).flatten();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for port in ports {
        let Some(number) = port.get("containerPort").and_then(Value::as_i64) else { continue };
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
        if seen.insert((number, protocol.to_owned())) {
            let name = format!("{}-{number}", protocol.to_lowercase());
            found.push(json!({"name": name, "protocol": protocol, "port": number, "targetPort": number}));
        }
    }
    found
}

/// Checks the Services of a strategy, each with its field.
pub(super) fn check(
    snapshot: &Snapshot,
    path: &str,
    template: &Value,
    services: &[(&str, Option<&String>)],
    problems: &mut Vec<SpecError>,
) {
    let labels = template_labels(template);
    for (name, service) in services.iter().filter_map(|(name, service)| Some((name, (*service)?))) {
        let field = format!("{path}.{name}");
        check_service(snapshot, &field, service, &labels, problems);
        role_labels::check(snapshot, &field, service, problems);
    }
}

/// A Service that a field names does not exist.
pub(super) fn not_found(field: &str, service: &str) -> SpecError {
    let message =
        format!("Service \"{service}\" not found: create it in this namespace, or correct the name");
    SpecError::of_reference(field, message)
}

fn check_service(
    snapshot: &Snapshot,
    field: &str,
    service: &str,
    labels: &BTreeMap<String, String>,
    problems: &mut Vec<SpecError>,
) {
    let Some(found) = snapshot.services.get(service) else {
        problems.push(not_found(field, service));
        return;
    };
    // Without a template there is nothing to compare with, and that is told already.
    let strangers =
        found.selector.iter().filter(|_| !labels.is_empty()).filter(|(key, value)| {
            *key != POD_TEMPLATE_HASH && !is_key(key) && labels.get(*key) != Some(value)
        });
    for (key, _) in strangers {
        let message = format!(
            "Service \"{service}\" has unmatch label \"{key}\" in rollout: its selector finds no pod of the template"
        );
        problems.push(SpecError::new(field, message));
    }
    let owner =
        found.managed_by.as_deref().filter(|owner| Some(*owner) != snapshot.rollout.metadata.name.as_deref());
    if let Some(owner) = owner {
        let message = format!(
            "Service \"{service}\" is managed by another Rollout, \"{owner}\": name another one, or, once that Rollout is \
             gone, remove the annotation {MANAGED_BY}"
        );
        problems.push(SpecError::new(field, message));
    }
}
