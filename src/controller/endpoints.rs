//! The endpoints of a Rollout's Services, listed for a pass that they matter to: when one of them may get its first share.
//!
//! No watch, for the reason that pods have none: almost no pass asks, and every pod of a cluster is in one of them. The list
//! comes from the API server's own watch cache. An endpoint counts by the uid of its pod and that pod by its owner, so that
//! neither one of the same name nor one that is going is taken for another.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::Client;
use tracing::warn;

use super::error::PassError;
use super::look;
use super::reconcile::Rollouts;
use super::store::Identity;
use crate::api::Rollout;
use crate::rollout::endpoints::{Behind, Failing, Reading};
use crate::rollout::pods::Pod;
use crate::units::{ReplicaCount, Timestamp};

/// The label that names the Service.
const SERVICE: &str = "kubernetes.io/service-name";
/// Slices of the cluster's own controller, which names the pod of each endpoint and keeps a slice even of none.
const OWN: &str = "endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io";

/// How the last look at the endpoints of a Rollout's Services ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum LastLook {
    /// Well, or there was none.
    #[default]
    Fine,
    /// They are not served, or may not be read.
    Denied,
    /// They could not be read.
    Failing(Failing),
}

/// What a look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// These pods.
    Behind(Behind),
    /// Not served, or nothing that may be read; in the API server's words.
    Denied(String),
    /// Nothing this time, and why.
    Nothing(String),
}

impl Found {
    /// What these slices tell of these pods.
    pub(super) fn new(
        slices: Result<Vec<EndpointSlice>, PassError>,
        pods: &Result<Vec<Pod>, PassError>,
    ) -> Self {
        match (slices, pods) {
            (Ok(slices), Ok(pods)) => Self::Behind(behind(slices, pods)),
            (Err(error), _) => Self::failed(&error),
            (Ok(_), Err(error)) => Self::failed(error),
        }
    }

    fn failed(error: &PassError) -> Self {
        match error.category() {
            "forbidden" | "not_found" => Self::Denied(error.to_string()),
            _ => Self::Nothing(error.to_string()),
        }
    }
}

impl LastLook {
    /// Takes in what the next look has found, for the decision. What has gone wrong is told once.
    pub(super) fn see(&mut self, found: Found, rollout: &Rollout, now: Timestamp) -> Reading {
        let before = self.clone();
        let name = rollout.metadata.name.as_deref().unwrap_or_default();
        match found {
            Found::Behind(behind) => {
                *self = Self::Fine;
                Reading::Found(behind)
            }
            Found::Denied(error) => {
                if before != Self::Denied {
                    warn!(
                        rollout = name,
                        error, "endpoints may not be read; pods count once they are available"
                    );
                }
                *self = Self::Denied;
                Reading::Unknown
            }
            Found::Nothing(error) => {
                let failing = if let Self::Failing(failing) = before { Some(failing) } else { None };
                if failing.is_none() {
                    warn!(rollout = name, error, "endpoints cannot be read; first shares wait a while");
                }
                let failing = Failing::again(failing, rollout, now);
                let since = failing.since;
                *self = Self::Failing(failing);
                Reading::Unreadable { since }
            }
        }
    }

    /// What is remembered while nobody looks: a failure in a row ends, a refusal is no news again.
    pub(super) const fn unasked(&self) -> Self {
        match self {
            Self::Fine | Self::Failing(_) => Self::Fine,
            Self::Denied => Self::Denied,
        }
    }
}

impl Rollouts {
    /// The endpoints of these Services of a Rollout's namespace.
    ///
    /// # Errors
    /// When they cannot be read now.
    pub(super) async fn list_endpoints(
        &self,
        rollout: &Identity,
        services: &BTreeSet<String>,
    ) -> Result<Vec<EndpointSlice>, PassError> {
        let names: Vec<&str> = services.iter().map(String::as_str).collect();
        let action = || format!("list endpoints of rollout {}", rollout.key);
        slices(&self.writer.client, &rollout.key.namespace, &names, action).await
    }
}

/// The addresses of pods that take requests behind these Services of a namespace.
///
/// # Errors
/// When they cannot be read now.
pub(super) async fn addresses(
    client: &Client,
    namespace: &str,
    services: &[&str],
) -> Result<BTreeMap<String, BTreeSet<String>>, PassError> {
    let action = || format!("list endpoints in {namespace}");
    let slices = slices(client, namespace, services, action).await?;
    Ok(grouped(slices, |endpoint| if is_ready(&endpoint) { endpoint.addresses } else { vec![] }))
}

async fn slices(
    client: &Client,
    namespace: &str,
    services: &[&str],
    action: impl Fn() -> String,
) -> Result<Vec<EndpointSlice>, PassError> {
    if services.is_empty() {
        return Ok(vec![]);
    }
    let selector = format!("{OWN},{SERVICE} in ({})", services.join(","));
    look::list(client, namespace, action, &selector).await
}

/// What a decision sees of these slices, and that the Rollout has these pods.
fn behind(slices: Vec<EndpointSlice>, pods: &[Pod]) -> Behind {
    let endpoints = grouped(slices, |endpoint| uid(endpoint).into_iter().collect());
    endpoints.into_iter().map(|(service, uids)| (service, counted(&uids, pods))).collect()
}

/// What there is of each Service's endpoints.
fn grouped(
    slices: Vec<EndpointSlice>,
    of: impl Fn(Endpoint) -> Vec<String>,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut endpoints: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for slice in slices {
        let labels = slice.metadata.labels.unwrap_or_default();
        let Some(service) = labels.get(SERVICE) else { continue };
        let found = slice.endpoints.into_iter().flatten().flat_map(&of);
        endpoints.entry(service.clone()).or_default().extend(found);
    }
    endpoints
}

/// The uid of the pod that requests reach by an endpoint; `None` of one that takes none.
fn uid(endpoint: Endpoint) -> Option<String> {
    let is_ready = is_ready(&endpoint);
    endpoint.target_ref?.uid.filter(|_| is_ready)
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
}

/// How many of these pods each ReplicaSet has that stay.
fn counted(uids: &BTreeSet<String>, pods: &[Pod]) -> BTreeMap<String, ReplicaCount> {
    let mut counts = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.is_active && uids.contains(&pod.uid)) {
        let count = counts.entry(pod.replica_set.clone()).or_insert(ReplicaCount::ZERO);
        *count = ReplicaCount::new(count.get().saturating_add(1));
    }
    counts
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::{Value, json};

    use super::*;

    /// A slice with an endpoint of each of these pods, by their uids.
    fn slice(service: &str, endpoints: &[(&str, Value)]) -> EndpointSlice {
        let endpoints: Vec<_> = endpoints
            .iter()
            .map(|(uid, conditions)| {
                let pod = json!({"kind": "Pod", "name": "web-1", "uid": uid});
                json!({"addresses": ["10.0.0.1"], "conditions": conditions, "targetRef": pod})
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": {"labels": {(SERVICE): service}}, "addressType": "IPv4", "endpoints": endpoints, "ports": [],
        }))
        .unwrap()
    }

    fn pod(uid: &str, replica_set: &str) -> Pod {
        Pod {
            name: "web-1".to_owned(),
            uid: uid.to_owned(),
            replica_set: replica_set.to_owned(),
            created_at: Timestamp::from_millis(0),
            ready_since: None,
            is_active: true,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }

    fn counts(counts: &[(&str, u32)]) -> BTreeMap<String, ReplicaCount> {
        counts.iter().map(|(set, count)| ((*set).to_owned(), ReplicaCount::new(*count))).collect()
    }

    #[test]
    fn pods_that_take_requests_are_counted_by_service_and_replica_set() {
        let ready = || json!({"ready": true});
        let slices = vec![
            slice("stable", &[("1", ready()), ("2", json!({"ready": false, "serving": true}))]),
            slice("stable", &[("1", ready()), ("3", json!({})), ("4", ready())]),
            slice("canary", &[]),
        ];
        let pods = [pod("1", "old"), pod("2", "old"), pod("3", "old"), pod("4", "new")];
        let expected = [("stable", &[("new", 1), ("old", 2)][..]), ("canary", &[])];
        let expected = expected.map(|(service, found)| (service.to_owned(), counts(found)));
        assert_eq!(behind(slices, &pods), expected.into());
    }

    #[test]
    fn an_endpoint_of_a_pod_that_is_gone_or_going_does_not_count_whatever_its_name() {
        let slices = vec![slice("stable", &[("gone", json!({})), ("going", json!({}))])];
        let pods = [Pod { is_active: false, ..pod("going", "old") }, pod("came", "old")];
        assert_eq!(behind(slices, &pods), [("stable".to_owned(), counts(&[]))].into());
    }

    fn failed(code: u16) -> Found {
        let status = Status::failure("said so", "Reason").with_code(code).boxed();
        let source = Box::new(kube::Error::Api(status));
        let error = || PassError::Api { action: "list".to_owned(), source };
        let timeout = PassError::Timeout { action: "list".to_owned(), seconds: 2 };
        if code == 0 { Found::new(Err(timeout), &Ok(vec![])) } else { Found::new(Err(error()), &Ok(vec![])) }
    }

    #[test]
    fn a_failure_is_told_with_the_time_of_the_first_in_a_row() {
        let rollout = Rollout::default();
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let mut last = LastLook::default();
        for (second, code) in [(1, 429), (2, 500), (3, 0)] {
            let reading = last.see(failed(code), &rollout, at(second));
            assert_eq!(reading, Reading::Unreadable { since: at(1) }, "{code}");
        }
        let fine = last.see(Found::Behind(Behind::new()), &rollout, at(4));
        assert_eq!((fine, &last), (Reading::Found(Behind::new()), &LastLook::Fine));
        assert_eq!(last.see(failed(503), &rollout, at(5)), Reading::Unreadable { since: at(5) });
        assert_eq!(last.unasked(), LastLook::Fine);
    }

    #[test]
    fn what_may_not_be_read_is_not_waited_for() {
        for code in [403, 404] {
            let mut last = LastLook::default();
            let reading = last.see(failed(code), &Rollout::default(), Timestamp::from_millis(0));
            assert_eq!((reading, &last), (Reading::Unknown, &LastLook::Denied), "{code}");
            assert_eq!(last.unasked(), LastLook::Denied, "and is not told each time");
        }
    }

    #[test]
    fn without_its_pods_an_endpoint_tells_nothing() {
        let error = PassError::Timeout { action: "list pods".to_owned(), seconds: 2 };
        let found = Found::new(Ok(vec![slice("stable", &[("1", json!({}))])]), &Err(error));
        assert_eq!(found, Found::Nothing("cannot list pods: no answer within 2 s".to_owned()));
    }
}
