//! The Rollouts that are watched, with what is looked at of them. One that cannot be read stops no other one.

use std::sync::Arc;

use kube::Resource as _;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::reflector::{ObjectRef, Store};
use serde_json::json;

use crate::api::Rollout;
use crate::gitops::abort::Abort;

/// The kind, for a watch that takes every object.
pub(super) fn kind() -> ApiResource {
    ApiResource::erase::<Rollout>(&())
}

/// What of a Rollout is looked at: neither its spec nor who has written what.
pub(super) fn slim(object: &mut DynamicObject) {
    object.metadata.managed_fields = None;
    if let Some(data) = object.data.as_object_mut() {
        data.insert("spec".to_owned(), json!({}));
    }
}

/// Reads a Rollout, without its spec.
pub(super) fn read(object: &DynamicObject) -> serde_json::Result<Rollout> {
    serde_json::from_value(json!({"apiVersion": Rollout::api_version(&()), "kind": Rollout::kind(&()),
        "metadata": object.metadata, "spec": {}, "status": object.data.get("status")}))
}

/// Rollouts as they were seen last.
#[derive(Clone)]
pub(crate) struct Rollouts(pub(super) Store<DynamicObject>);

impl Rollouts {
    /// Whether a Rollout still stands in this abort: people may have decided otherwise.
    pub(crate) fn stands(&self, abort: &Abort) -> bool {
        let reference = ObjectRef::new_with(&abort.name, kind()).within(&abort.namespace);
        let seen: Option<Arc<DynamicObject>> = self.0.get(&reference);
        let seen = seen.and_then(|object| Abort::of(&read(&object).ok()?));
        seen.is_some_and(|seen| seen.identity() == abort.identity())
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector::store::Writer;
    use kube::runtime::watcher::Event;

    use super::*;
    use crate::gitops::abort::tests::{abort, rollout};

    fn object(rollout: &Rollout) -> DynamicObject {
        serde_json::from_value(serde_json::to_value(rollout).unwrap()).unwrap()
    }

    #[test]
    fn what_is_not_looked_at_is_not_kept() {
        let mut object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "web", "managedFields": [{"manager": "any"}]},
            "spec": {"replicas": 3}, "status": {"abort": true},
        }))
        .unwrap();
        slim(&mut object);
        assert_eq!(object.metadata.managed_fields, None);
        assert_eq!((&object.data["spec"], &object.data["status"]["abort"]), (&json!({}), &json!(true)));
    }

    #[test]
    fn an_abort_that_a_person_took_back_stands_no_more() {
        let mut writer = Writer::new(kind());
        let rollouts = Rollouts(writer.as_reader());
        assert!(!rollouts.stands(&abort()));
        writer.apply_watcher_event(&Event::Apply(object(&rollout())));
        assert!(rollouts.stands(&abort()));
        let mut retried = rollout();
        retried.status.as_mut().unwrap().abort = None;
        writer.apply_watcher_event(&Event::Apply(object(&retried)));
        assert!(!rollouts.stands(&abort()));
    }
}
