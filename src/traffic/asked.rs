//! What the steps of a Rollout ask a router to give Experiments: how many Services at one time, and by which ports.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::Rollout;

/// What steps ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The most Services that get a share at one time.
    pub(super) services: usize,
    /// The ports that these have, which are those of the pod template's containers; `None` where that is not in the Rollout.
    ports: Option<BTreeSet<i64>>,
}

impl Asked {
    /// What a Rollout asks for.
    pub(super) fn of(rollout: &Rollout) -> Self {
        let canary = rollout.spec.strategy.as_ref().and_then(|strategy| strategy.canary.as_ref());
        let steps = canary.and_then(|canary| canary.steps.as_ref()).into_iter().flatten();
        let experiments = steps.filter_map(|step| step.experiment.as_ref()?.templates.as_ref());
        let weighted = experiments
            .map(|templates| templates.iter().filter(|template| template.weight.is_some()).count());
        let template = rollout.spec.template.as_ref();
        Self { services: weighted.max().unwrap_or_default(), ports: template.map(container_ports) }
    }

    /// Why requests by a port, or by whichever there is, would not come to the Services; `None` where they would.
    pub(super) fn lacks_port(&self, port: Option<i64>) -> Option<String> {
        let ports = self.ports.as_ref().filter(|ports| self.services > 0 && !ports.is_empty())?;
        let all: Vec<String> = ports.iter().map(i64::to_string).collect();
        let theirs = format!(
            "Services of Experiments have the containerPorts of the pod template ({})",
            all.join(", ")
        );
        match port {
            Some(port) if !ports.contains(&port) => Some(format!(
                "leads to port {port}, but {theirs}: use one of these, or give the templates of step experiment no weight"
            )),
            None if ports.len() > 1 => Some(format!("names no port, but {theirs}: name one of these")),
            Some(_) | None => None,
        }
    }
}

/// The ports of the containers of a pod template.
pub(crate) fn container_ports(template: &Value) -> BTreeSet<i64> {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let ports = containers.filter_map(|container| container.get("ports")?.as_array()).flatten();
    ports.filter_map(|port| port.get("containerPort")?.as_i64()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_matter_where_a_template_has_a_weight() {
        let check = |weight: Value, ports: &[i64], port: Option<i64>, expected: &str| {
            let ports: Vec<_> = ports.iter().map(|port| json!({"containerPort": port})).collect();
            let rollout = serde_json::from_value(json!({"metadata": {}, "spec": {
                "template": {"spec": {"containers": [{"ports": ports}]}},
                "strategy": {"canary": {"steps": [
                    {"experiment": {"templates": [{"name": "a", "weight": weight}]}}, {"pause": {}},
                ]}},
            }}));
            let why = Asked::of(&rollout.unwrap()).lacks_port(port).unwrap_or_default();
            assert!(why.starts_with(expected) && why.is_empty() == expected.is_empty(), "{why}");
        };
        check(json!(5), &[8080], Some(8080), "");
        check(json!(5), &[8080], None, "");
        check(json!(5), &[8080, 9090], Some(9090), "");
        check(json!(5), &[8080], Some(80), "leads to port 80, but");
        check(json!(5), &[8080, 9090], None, "names no port, but");
        check(json!(null), &[8080], Some(80), "");
        // Another check has told already that there is none.
        check(json!(5), &[], Some(80), "");
    }
}
