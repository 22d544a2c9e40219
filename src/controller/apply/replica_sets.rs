//! Changes of ReplicaSets.

use std::collections::BTreeMap;

use kube::api::Patch;
use serde_json::{Value, json};

use super::{
    Target, Whose, Writer, delete_parameters, is_absent, is_code, is_gone, is_orphan, names_object,
    owner_reference, patch_parameters,
};
use crate::api::labels;
use crate::controller::error::{PassError, code};
use crate::controller::store::Key;
use crate::controller::wire::ReplicaSetObject;
use crate::rollout::effect::{Annotations, NewReplicaSet, TemplateChange};
use crate::units::ReplicaCount;

impl Writer {
    pub(super) async fn create_replica_set(
        &self,
        target: &Target,
        new: &NewReplicaSet,
    ) -> Result<(), PassError> {
        let action = || format!("create ReplicaSet {}", target.key(&new.name));
        let body = replica_set_body(target, new);
        match self.create::<ReplicaSetObject>(target.namespace(), &body, action).await {
            Ok(created) => self.caches.wrote_replica_set(&created),
            Err(error) if is_code(&error, 409) => {
                let found = self
                    .existing::<ReplicaSetObject>(target, &new.name, Whose::OursOrNobodys, action)
                    .await?;
                let found =
                    if is_orphan(&found.metadata) { self.adopt(target, new, found).await? } else { found };
                self.caches.wrote_replica_set(&found);
            }
            Err(error) if is_code(&error, 422) || is_code(&error, 403) => {
                return Err(PassError::Refused { message: error.to_string() });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes over the ReplicaSet that an earlier Rollout of this name left behind, if it is of the same revision.
    async fn adopt(
        &self,
        target: &Target,
        new: &NewReplicaSet,
        found: ReplicaSetObject,
    ) -> Result<ReplicaSetObject, PassError> {
        let action = || format!("adopt ReplicaSet {}", target.key(&new.name));
        let hash = |labels: &BTreeMap<String, String>| labels.get(labels::POD_TEMPLATE_HASH).cloned();
        if found.metadata.labels.as_ref().and_then(hash) != hash(&new.labels) {
            return Err(PassError::NameTaken { action: action(), name: new.name.clone() });
        }
        let patch = json!({"metadata": {
            "resourceVersion": found.metadata.resource_version, "ownerReferences": [owner_reference(target)],
        }});
        let (api, parameters) = (self.api::<ReplicaSetObject>(target.namespace()), patch_parameters());
        self.call(action, async { api.patch(&new.name, &parameters, &Patch::Merge(&patch)).await }).await
    }

    pub(super) async fn scale(
        &self,
        target: &Target,
        name: &str,
        (from, to): (ReplicaCount, ReplicaCount),
        desired: ReplicaCount,
        annotations: &Annotations,
    ) -> Result<(), PassError> {
        let key = target.key(name);
        let annotated = self.caches.replica_sets.get(&key).is_none_or(|known| known.value.annotated);
        let mut operations = vec![
            json!({"op": "test", "path": "/spec/replicas", "value": from.get()}),
            json!({"op": "replace", "path": "/spec/replicas", "value": to.get()}),
        ];
        if !annotated {
            operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
        }
        let desired = (labels::DESIRED_REPLICAS.to_owned(), Some(desired.to_string()));
        for (name, value) in annotations.iter().chain([(&desired.0, &desired.1)]) {
            let path = format!("/metadata/annotations/{}", name.replace('~', "~0").replace('/', "~1"));
            operations.push(match value {
                Some(value) => json!({"op": "add", "path": path, "value": value}),
                None => json!({"op": "remove", "path": path}),
            });
        }
        let encode = |source| PassError::Encoding { object: key.clone(), source };
        let patch = Patch::Json::<()>(serde_json::from_value(Value::from(operations)).map_err(encode)?);
        let action = || format!("scale ReplicaSet {key} from {from} to {to}");
        self.patch_replica_set(&key, &patch, action).await.map_err(outdated)
    }

    pub(super) async fn update(
        &self,
        target: &Target,
        name: &str,
        annotations: &Annotations,
        min_ready_seconds: Option<i32>,
    ) -> Result<(), PassError> {
        let key = target.key(name);
        let patch = match min_ready_seconds {
            Some(seconds) => {
                json!({"metadata": {"annotations": annotations}, "spec": {"minReadySeconds": seconds}})
            }
            None => json!({"metadata": {"annotations": annotations}}),
        };
        self.patch_replica_set(&key, &Patch::Merge(patch), || format!("update ReplicaSet {key}")).await
    }

    /// Changes its template in the state that the decision saw, or not at all: what goes from it depends on what is there.
    pub(super) async fn adjust_template(
        &self,
        target: &Target,
        change: &TemplateChange,
    ) -> Result<(), PassError> {
        let key = target.key(&change.name);
        let Some(known) = self.caches.replica_sets.get(&key) else { return Ok(()) };
        let version = known.identity.version.to_string();
        let patch = json!({
            "metadata": {"resourceVersion": version, "annotations": change.noted},
            "spec": {"template": change.template_patch()},
        });
        let action = || format!("change the template of ReplicaSet {key}");
        self.patch_replica_set(&key, &Patch::Merge(patch), action).await
    }

    /// Asks the API server for a ReplicaSet: the cache shows what it says, or that it is gone.
    pub(crate) async fn read_replica_set(&self, key: &Key) -> Result<(), PassError> {
        let api = self.api::<ReplicaSetObject>(&key.namespace);
        match self.call(|| format!("read ReplicaSet {key}"), async { api.get(&key.name).await }).await {
            Ok(found) => self.caches.wrote_replica_set(&found),
            Err(error) if is_absent(&error) => {
                if let Some(known) = self.caches.replica_sets.get(key) {
                    self.caches.lost_replica_set(&known.identity);
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn patch_replica_set<P: serde::Serialize + std::fmt::Debug>(
        &self,
        key: &Key,
        patch: &Patch<P>,
        action: impl Fn() -> String,
    ) -> Result<(), PassError> {
        let (api, parameters) = (self.api::<ReplicaSetObject>(&key.namespace), patch_parameters());
        let patched = self.call(action, async { api.patch(&key.name, &parameters, patch).await }).await;
        if let (Err(error), Some(known)) = (&patched, self.caches.replica_sets.get(key))
            && is_absent(error)
        {
            self.caches.lost_replica_set(&known.identity);
        }
        self.caches.wrote_replica_set(&patched?);
        Ok(())
    }

    /// Deletes it in the state that the decision saw, or not at all.
    pub(super) async fn delete_replica_set(&self, target: &Target, name: &str) -> Result<(), PassError> {
        let key = target.key(name);
        let Some(known) = self.caches.replica_sets.get(&key) else { return Ok(()) };
        let api = self.api::<ReplicaSetObject>(&key.namespace);
        let parameters = delete_parameters(&known.identity, Some(known.identity.version));
        let action = || format!("delete ReplicaSet {key}");
        let deleted = self
            .call(action, async { Ok(api.delete(&key.name, &parameters).await?.right().is_some()) })
            .await;
        if is_gone(deleted)? {
            self.caches.lost_replica_set(&known.identity);
        }
        Ok(())
    }
}

/// A JSON patch that does not apply, as its test does not hold, is answered with 422 like an illegal object; but then the
/// answer names no object.
fn outdated(error: PassError) -> PassError {
    match error {
        PassError::Api { action, source } if code(&source) == Some(422) && !names_object(&source) => {
            PassError::Outdated { action }
        }
        other => other,
    }
}

fn replica_set_body(target: &Target, new: &NewReplicaSet) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": new.name,
            "namespace": target.namespace(),
            "labels": new.labels,
            "annotations": new.annotations,
            "ownerReferences": [owner_reference(target)],
        },
        "spec": {
            "replicas": new.replicas.get(),
            "minReadySeconds": new.min_ready_seconds,
            "selector": new.selector,
            "template": new.template,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::refused;
    use super::*;
    use crate::controller::error::Class;

    #[test]
    fn a_size_that_has_changed_meanwhile_waits_for_the_change_to_be_seen() {
        assert_eq!(outdated(refused(422, "")).class(), Class::WaitForChange);
        assert_eq!(outdated(refused(422, "web-abc")).class(), Class::NeedsUser, "an illegal object");
        assert_eq!(outdated(refused(403, "")).class(), Class::NeedsUser);
    }
}
