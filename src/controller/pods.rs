//! The pods of a Rollout, listed for a pass that is about single ones: while a restart or a change of their metadata is
//! under way.
//!
//! Why no watch: pods are by far the most objects of a cluster, and in almost every pass none of them matters. The list
//! comes from the API server's own watch cache (`resourceVersion=0`) by the pod hashes of the Rollout's ReplicaSets, and
//! may be a moment old; the decision allows for that.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

use super::error::PassError;
use super::reconcile::Rollouts;
use super::records::owned_by;
use super::store::{Identity, OwnerKind};
use super::wire::PodObject;
use crate::api::labels::POD_TEMPLATE_HASH;
use crate::rollout::pods::Pod;
use crate::units::{ReplicaCount, Timestamp};

/// Whose pods are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Those of the Rollout's own ReplicaSets.
    Own,
    /// The same, and those of its Experiments.
    OwnAndExperiments,
}

impl Rollouts {
    /// The pods of a Rollout's ReplicaSets, and of those of its Experiments, by name.
    ///
    /// # Errors
    /// When they cannot be read now.
    pub(super) async fn list_pods(&self, rollout: &Identity, whose: Whose) -> Result<Vec<Pod>, PassError> {
        let own = owned_by(OwnerKind::Rollout, rollout);
        let experiments = match whose {
            Whose::Own => vec![],
            Whose::OwnAndExperiments => self.caches.experiments.linked(&own),
        };
        let of_experiments = experiments.iter().map(|found| owned_by(OwnerKind::Experiment, &found.identity));
        let mut names = BTreeMap::new();
        let mut hashes = Vec::new();
        for set in
            std::iter::once(own).chain(of_experiments).flat_map(|link| self.caches.replica_sets.linked(&link))
        {
            let Some(view) = &set.value.view else { continue };
            if view.size > ReplicaCount::ZERO || view.replicas > ReplicaCount::ZERO {
                names.insert(set.identity.uid.to_string(), view.name.clone());
                hashes.push(view.hash.to_string());
            }
        }
        if hashes.is_empty() {
            return Ok(vec![]);
        }
        let selector = format!("{POD_TEMPLATE_HASH} in ({})", hashes.join(","));
        let found = self.list::<PodObject>(rollout, "pods", &selector).await?;
        let mut pods: Vec<Pod> = found.into_iter().filter_map(|pod| read(pod, &names)).collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pods)
    }
}

/// What a decision sees of a pod; `None` when none of these ReplicaSets controls it. `names` are theirs by uid.
fn read(pod: PodObject, names: &BTreeMap<String, String>) -> Option<Pod> {
    let PodObject { metadata, status } = pod;
    let replica_set = controller(&metadata).and_then(|uid| names.get(uid))?.clone();
    let is_over = ["Succeeded", "Failed"].contains(&status.phase.as_str());
    let ready = status.conditions.iter().find(|found| found.r#type == "Ready" && found.status == "True");
    let ready_since = ready.and_then(|ready| ready.last_transition_time.as_ref()).map(Timestamp::from);
    Some(Pod {
        replica_set,
        created_at: metadata.creation_timestamp.as_ref().map(Timestamp::from)?,
        is_active: !is_over && metadata.deletion_timestamp.is_none(),
        name: metadata.name?,
        uid: metadata.uid?,
        ready_since,
        labels: metadata.labels.unwrap_or_default(),
        annotations: metadata.annotations.unwrap_or_default(),
    })
}

/// The uid of what controls an object.
fn controller(metadata: &ObjectMeta) -> Option<&String> {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true)).map(|owner| &owner.uid)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(metadata: &Value, status: &Value) -> Option<Pod> {
        let mut object = json!({
            "metadata": {
                "name": "web-1", "uid": "pod-1", "creationTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-abc", "uid": "set-1", "controller": true}],
            },
            "status": status,
        });
        for (key, value) in metadata.as_object().unwrap() {
            object["metadata"][key] = value.clone();
        }
        let names = BTreeMap::from([("set-1".to_owned(), "web-abc".to_owned())]);
        read(serde_json::from_value(object).unwrap(), &names)
    }

    #[test]
    fn a_pod_belongs_to_the_replica_set_that_controls_it() {
        let found = pod(&json!({}), &json!({})).unwrap();
        assert_eq!((found.replica_set.as_str(), found.is_active, found.ready_since), ("web-abc", true, None));
        assert_eq!(pod(&json!({"ownerReferences": []}), &json!({})), None);
        let another = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-abc", "uid": "set-2", "controller": true}]);
        assert_eq!(pod(&json!({"ownerReferences": another}), &json!({})), None);
    }

    #[test]
    fn a_pod_that_goes_or_is_over_is_not_active() {
        for phase in ["Succeeded", "Failed"] {
            assert!(!pod(&json!({}), &json!({"phase": phase})).unwrap().is_active);
        }
        let going = json!({"deletionTimestamp": "2026-01-01T00:01:00Z"});
        assert!(!pod(&going, &json!({"phase": "Running"})).unwrap().is_active);
    }

    #[test]
    fn a_pod_is_ready_since_its_condition_says_so() {
        let condition = |status: &str| {
            json!({"conditions": [
                {"type": "Initialized", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"},
                {"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:05Z"},
            ]})
        };
        let since = pod(&json!({}), &condition("True")).unwrap().ready_since;
        assert_eq!(since, Timestamp::parse("2026-01-01T00:00:05Z"));
        assert_eq!(pod(&json!({}), &condition("False")).unwrap().ready_since, None);
    }
}
