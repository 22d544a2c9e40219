//! The endpoints of a Rollout's Services, listed for a pass that they matter to: when one of them may get its first share.
//!
//! No watch, for the reason that pods have none: almost no pass asks, and every pod of a cluster is in one of them. The list
//! comes from the API server's own watch cache.

use std::time::Duration;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::Api;
use kube::api::ListParams;
use tokio::time::timeout;
use tracing::warn;

use super::reconcile::Rollouts;
use super::store::Identity;
use crate::rollout::endpoints::Endpoints;

/// How long a list may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// The label that names the Service.
const SERVICE: &str = "kubernetes.io/service-name";
/// Slices of the cluster's own controller, which names the pod of each endpoint and keeps a slice even of none.
const OWN: &str = "endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io";

impl Rollouts {
    /// The pods behind these Services of a Rollout's namespace. What cannot be read is left out, and then pods count as
    /// reached once they are available.
    pub(crate) async fn list_endpoints<'s>(
        &self,
        rollout: &Identity,
        services: impl Iterator<Item = &'s String>,
    ) -> Endpoints {
        let names: Vec<&str> = services.map(String::as_str).collect();
        if names.is_empty() {
            return Endpoints::default();
        }
        let selector = format!("{OWN},{SERVICE} in ({})", names.join(","));
        let parameters = ListParams::default().labels(&selector).match_any();
        let api: Api<EndpointSlice> = Api::namespaced(self.writer.client.clone(), &rollout.key.namespace);
        match timeout(LIST_TIMEOUT, api.list(&parameters)).await {
            Ok(Ok(found)) => read(found.items),
            Ok(Err(error)) => {
                warn!(rollout = %rollout.key, %error, "cannot list endpoints; pods count once they are available");
                Endpoints::default()
            }
            Err(_) => {
                warn!(rollout = %rollout.key, "no list of endpoints in time; pods count once they are available");
                Endpoints::default()
            }
        }
    }
}

fn read(slices: Vec<EndpointSlice>) -> Endpoints {
    let mut endpoints = Endpoints::new();
    for slice in slices {
        let labels = slice.metadata.labels.unwrap_or_default();
        let Some(service) = labels.get(SERVICE) else { continue };
        let pods = slice.endpoints.into_iter().flatten().filter_map(pod);
        endpoints.entry(service.clone()).or_default().extend(pods);
    }
    endpoints
}

/// The pod that requests reach by an endpoint; `None` of one that takes none.
fn pod(endpoint: Endpoint) -> Option<String> {
    let is_ready = endpoint.conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    endpoint.target_ref?.name.filter(|_| is_ready)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(service: &str, endpoints: &[(&str, Value)]) -> EndpointSlice {
        let endpoints: Vec<_> = endpoints
            .iter()
            .map(|(pod, conditions)| {
                json!({"addresses": ["10.0.0.1"], "conditions": conditions, "targetRef": {"kind": "Pod", "name": pod}})
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": {"labels": {(SERVICE): service}}, "addressType": "IPv4", "endpoints": endpoints, "ports": [],
        }))
        .unwrap()
    }

    #[test]
    fn pods_that_take_requests_are_told_by_service() {
        let ready = || json!({"ready": true});
        let slices = vec![
            slice("stable", &[("web-1", ready()), ("web-2", json!({"ready": false, "serving": true}))]),
            slice("stable", &[("web-1", ready()), ("web-3", json!({}))]),
            slice("canary", &[]),
        ];
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let expected = [("stable".to_owned(), names(&["web-1", "web-3"])), ("canary".to_owned(), names(&[]))];
        assert_eq!(read(slices), expected.into());
    }
}
