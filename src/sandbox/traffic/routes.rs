//! Which pods requests to a Service reach. Pure: Services and pods in, routes out.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::labels::POD_TEMPLATE_HASH;

/// A Service and the pods behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `<namespace>/<name>` of the Service.
    pub service: String,
    /// Its ready pods, in the order of their names.
    pub endpoints: Vec<Endpoint>,
}

/// One ready pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it serves.
    pub address: SocketAddr,
    /// Its revision: the pod hash; empty for pods that carry none.
    pub revision: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The route of every Service that has a selector, in the order of their names, with all pods that are ready and not
/// being deleted.
#[must_use]
pub fn routes<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    pods: impl IntoIterator<Item = &'a Pod>,
) -> Vec<Route> {
    let mut by_name: BTreeMap<(&str, &str), &Pod> = BTreeMap::new();
    for pod in pods.into_iter().filter(|pod| takes_requests(pod)) {
        by_name.insert((text(pod.metadata.namespace.as_ref()), text(pod.metadata.name.as_ref())), pod);
    }
    let mut routes: Vec<Route> =
        services.into_iter().filter_map(|service| route(service, by_name.values().copied())).collect();
    routes.sort_by(|a, b| a.service.cmp(&b.service));
    routes
}

fn route<'a>(service: &Service, pods: impl Iterator<Item = &'a Pod>) -> Option<Route> {
    let spec = service.spec.as_ref()?;
    let selector = spec.selector.as_ref().filter(|selector| !selector.is_empty())?;
    let port = spec.ports.as_deref().unwrap_or_default().first()?;
    let namespace = text(service.metadata.namespace.as_ref());
    let endpoints = pods
        .filter(|pod| text(pod.metadata.namespace.as_ref()) == namespace && carries(pod, selector))
        .filter_map(|pod| endpoint(pod, port))
        .collect();
    Some(Route { service: format!("{namespace}/{}", text(service.metadata.name.as_ref())), endpoints })
}

fn endpoint(pod: &Pod, port: &ServicePort) -> Option<Endpoint> {
    let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => named_port(pod, name)?,
    };
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let revision = labels.get(POD_TEMPLATE_HASH).cloned().unwrap_or_default();
    let address = SocketAddr::new(ip, u16::try_from(number).ok()?);
    Some(Endpoint { address, revision, labels })
}

fn named_port(pod: &Pod, name: &str) -> Option<i32> {
    let containers: &[Container] = &pod.spec.as_ref()?.containers;
    let mut ports = containers.iter().flat_map(|container| container.ports.as_deref().unwrap_or_default());
    ports.find(|port: &&ContainerPort| port.name.as_deref() == Some(name)).map(|port| port.container_port)
}

fn carries(pod: &Pod, selector: &BTreeMap<String, String>) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// Whether a pod is ready and not being deleted.
pub(in crate::sandbox) fn takes_requests(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

fn text(value: Option<&String>) -> &str {
    value.map(String::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, namespace: &str, revision: &str, ready: &str) -> Value {
        json!({
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": "a", POD_TEMPLATE_HASH: revision}},
            "spec": {"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"podIP": "127.20.0.1", "conditions": [{"type": "Ready", "status": ready}]},
        })
    }

    fn service(selector: &Value, port: &Value) -> Value {
        json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"selector": selector, "ports": [port]}})
    }

    fn check(service: Value, pods: &[Value], expected: Option<&[&str]>) {
        let service: Service = serde_json::from_value(service).unwrap();
        let pods: Vec<Pod> = pods.iter().map(|pod| serde_json::from_value(pod.clone()).unwrap()).collect();
        let found = routes([&service], &pods);
        let seen: Option<Vec<String>> = found.first().map(|route| {
            route.endpoints.iter().map(|end| format!("{} {}", end.revision, end.address)).collect()
        });
        let expected = expected.map(|expected| expected.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(seen, expected);
    }

    #[test]
    fn requests_reach_the_ready_pods_that_the_service_selects() {
        let port = json!({"port": 80, "targetPort": "http"});
        let mut deleted = pod("p4", "n", "r4", "True");
        deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let pods = [
            pod("p3", "n", "r3", "False"),
            pod("p2", "n", "r2", "True"),
            pod("p1", "n", "r1", "True"),
            pod("p1", "other", "r5", "True"),
            deleted,
        ];
        check(
            service(&json!({"app": "a"}), &port),
            &pods,
            Some(&["r1 127.20.0.1:8080", "r2 127.20.0.1:8080"]),
        );
        let canary = json!({"app": "a", POD_TEMPLATE_HASH: "r2"});
        check(service(&canary, &port), &pods, Some(&["r2 127.20.0.1:8080"]));
        check(service(&json!({"app": "b"}), &port), &pods, Some(&[]));
    }

    #[test]
    fn a_target_port_is_a_number_a_name_or_the_services_own() {
        let pods = [pod("p", "n", "r", "True")];
        let selector = json!({"app": "a"});
        check(service(&selector, &json!({"port": 80})), &pods, Some(&["r 127.20.0.1:80"]));
        check(service(&selector, &json!({"port": 80, "targetPort": 81})), &pods, Some(&["r 127.20.0.1:81"]));
        check(service(&selector, &json!({"port": 80, "targetPort": "grpc"})), &pods, Some(&[]));
    }

    #[test]
    fn a_service_without_a_selector_gets_no_requests() {
        check(service(&json!({}), &json!({"port": 80})), &[], None);
    }
}
