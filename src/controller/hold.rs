//! Which fields of a user's object are noted as ours, and how they are given back.
//!
//! The API server notes in `metadata.managedFields` who has changed a field last. Whoever applies the object on the server's
//! side cannot change such a field of another's without a conflict, nor drop it. So our notes are taken away once the fields
//! say again what their owner wants. An apply of ours that leaves a field out would not do: the lists of routes are owned as a
//! whole, and one that nobody else owns any more goes with its last owner.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference};
use kube::Resource;
use serde_json::{Value, json};

use super::apply::FIELD_MANAGER;
use crate::api::Rollout;

/// Which fields of a user's object are noted as ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hold {
    /// Places of our entries in `metadata.managedFields`.
    entries: Box<[usize]>,
    /// Whether there are no others.
    is_all: bool,
}

impl Hold {
    /// What is ours of an object; `None` where that is nothing, or where the object is a Rollout's own.
    pub(super) fn of(metadata: &ObjectMeta) -> Option<Self> {
        let is_owner =
            |owner: &OwnerReference| owner.controller == Some(true) && owner.kind == Rollout::kind(&());
        if metadata.owner_references.iter().flatten().any(is_owner) {
            return None;
        }
        let fields = metadata.managed_fields.as_deref().unwrap_or_default();
        let is_ours = |entry: &ManagedFieldsEntry| entry.manager.as_deref() == Some(FIELD_MANAGER);
        let ours = fields.iter().enumerate().filter(|(_, entry)| is_ours(entry));
        let entries: Box<[usize]> = ours.map(|(index, _)| index).collect();
        (!entries.is_empty()).then_some(Self { is_all: entries.len() == fields.len(), entries })
    }

    /// The JSON patch that takes our entries away, of this version of the object only.
    pub(super) fn give_back(&self, version: u64) -> Value {
        let based =
            json!({"op": "replace", "path": "/metadata/resourceVersion", "value": version.to_string()});
        if self.is_all {
            // An empty list would change nothing; an empty entry clears it.
            return json!([based, {"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]);
        }
        let remove =
            |index: &usize| json!({"op": "remove", "path": format!("/metadata/managedFields/{index}")});
        // The last one first: those before it keep their places.
        [based].into_iter().chain(self.entries.iter().rev().map(remove)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those who have changed an object, in the order in which the API server notes them.
    fn metadata(managers: &[&str]) -> Value {
        let entries: Vec<_> =
            managers.iter().map(|manager| json!({"manager": manager, "operation": "Update"})).collect();
        json!({"name": "shop", "managedFields": entries})
    }

    fn hold(metadata: Value) -> Option<Hold> {
        Hold::of(&serde_json::from_value(metadata).unwrap())
    }

    /// The paths of what is changed.
    fn paths(managers: &[&str]) -> Vec<String> {
        let patch = hold(metadata(managers)).unwrap().give_back(7);
        let place = |operation: &Value| operation["path"].as_str().unwrap().to_owned();
        patch.as_array().unwrap().iter().map(place).collect()
    }

    #[test]
    fn our_entries_go_and_all_others_stay() {
        assert_eq!(
            paths(&["serin", "git", "serin"]),
            ["/metadata/resourceVersion", "/metadata/managedFields/2", "/metadata/managedFields/0"]
        );
        assert_eq!(paths(&["serin"]), ["/metadata/resourceVersion", "/metadata/managedFields"]);
    }

    #[test]
    fn nothing_is_ours_of_what_we_never_changed_and_of_objects_of_a_rollout() {
        assert_eq!(hold(metadata(&["git", "serin-old"])), None);
        assert_eq!(hold(json!({"name": "shop"})), None);
        let mut own = metadata(&["serin"]);
        own["ownerReferences"] = json!([{
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "shop", "uid": "u", "controller": true,
        }]);
        assert_eq!(hold(own), None);
    }
}
