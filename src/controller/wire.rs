//! Objects as they come over the wire: only the parts that are kept, and never a reason to stop a watch.

mod lean;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use crate::api::{Rollout, labels};

/// A ReplicaSet without its pod template.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ReplicaSetObject {
    #[serde(default, deserialize_with = "lean::metadata")]
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    pub(crate) spec: ReplicaSetSpec,
    #[serde(default)]
    pub(crate) status: ReplicaSetStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ReplicaSetSpec {
    pub(crate) replicas: Option<i32>,
    pub(crate) min_ready_seconds: i32,
    template: Option<TemplatePart>,
}

/// Of a pod template, the part that the controller may have changed itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TemplatePart {
    spec: Option<TemplateSpecPart>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TemplateSpecPart {
    affinity: Option<AffinityPart>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AffinityPart {
    pod_anti_affinity: Option<Value>,
}

impl ReplicaSetSpec {
    /// The anti-affinity of its pod template.
    pub(crate) fn pod_anti_affinity(&self) -> Option<&Value> {
        self.template.as_ref()?.spec.as_ref()?.affinity.as_ref()?.pod_anti_affinity.as_ref()
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ReplicaSetStatus {
    pub(crate) replicas: i32,
    pub(crate) ready_replicas: i32,
    pub(crate) available_replicas: i32,
    pub(crate) observed_generation: i64,
    pub(crate) conditions: Vec<ReplicaSetCondition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReplicaSetCondition {
    pub(crate) r#type: String,
    pub(crate) status: String,
    pub(crate) message: String,
}

/// A pod, as far as a restart and the metadata of its role need it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct PodObject {
    #[serde(default, deserialize_with = "lean::metadata")]
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    pub(crate) status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodStatus {
    pub(crate) phase: String,
    pub(crate) conditions: Vec<PodCondition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodCondition {
    pub(crate) r#type: String,
    pub(crate) status: String,
    pub(crate) last_transition_time: Option<Time>,
}

/// A Service's selector and ports.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ServiceObject {
    #[serde(default, deserialize_with = "lean::metadata")]
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    pub(crate) spec: ServiceSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServiceSpec {
    pub(crate) selector: Option<BTreeMap<String, String>>,
    pub(crate) ports: Option<Vec<ServicePort>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServicePort {
    pub(crate) port: Option<i32>,
}

/// A Rollout that may not be readable as one; then the status is kept, because it says what was announced already.
#[derive(Clone, Debug)]
pub(crate) struct RolloutObject {
    metadata: ObjectMeta,
    pub(crate) content: Result<Box<Rollout>, Unreadable>,
}

/// Why a Rollout cannot be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unreadable {
    /// The field and what is wrong with it.
    pub(crate) error: String,
    /// The status as it is stored.
    pub(crate) status: Value,
}

impl<'de> Deserialize<'de> for RolloutObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = lean::object(deserializer)?;
        if let Ok(mut rollout) = Rollout::deserialize(&value) {
            trim(&mut rollout.metadata);
            return Ok(Self { metadata: rollout.metadata.clone(), content: Ok(Box::new(rollout)) });
        }
        let metadata = value.get("metadata").cloned().unwrap_or_default();
        let mut metadata: ObjectMeta = serde_json::from_value(metadata).map_err(de::Error::custom)?;
        trim(&mut metadata);
        let error = problem(&value);
        let status = value.get_mut("status").map(Value::take).unwrap_or_default();
        Ok(Self { metadata, content: Err(Unreadable { error, status }) })
    }
}

/// Removes what is large and never looked at.
pub(crate) fn trim(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(labels::LAST_APPLIED);
    }
}

/// The field that cannot be read, and why.
fn problem(rollout: &Value) -> String {
    match serde_path_to_error::deserialize::<_, Rollout>(rollout) {
        Ok(_) => String::new(),
        Err(error) => format!("{}: {}", error.path(), error.inner()),
    }
}

/// Lends a built-in kind's name to a smaller form of it.
macro_rules! same_resource {
    ($small:ty, $whole:ty) => {
        impl ::kube::Resource for $small {
            type DynamicType = ();
            type Scope = ::kube::core::NamespaceResourceScope;

            fn kind((): &()) -> ::std::borrow::Cow<'_, str> {
                <$whole as ::kube::Resource>::kind(&())
            }
            fn group((): &()) -> ::std::borrow::Cow<'_, str> {
                <$whole as ::kube::Resource>::group(&())
            }
            fn version((): &()) -> ::std::borrow::Cow<'_, str> {
                <$whole as ::kube::Resource>::version(&())
            }
            fn plural((): &()) -> ::std::borrow::Cow<'_, str> {
                <$whole as ::kube::Resource>::plural(&())
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

pub(super) use same_resource;

same_resource!(ReplicaSetObject, k8s_openapi::api::apps::v1::ReplicaSet);
same_resource!(PodObject, k8s_openapi::api::core::v1::Pod);
same_resource!(ServiceObject, k8s_openapi::api::core::v1::Service);
same_resource!(RolloutObject, Rollout);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unreadable_rollout_names_the_field_and_keeps_its_status() {
        let object: RolloutObject = serde_json::from_value(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "web", "namespace": "shop", "managedFields": [{"manager": "x"}]},
            "spec": {"replicas": 2, "strategy": {"canary": {"steps": [{"setWeight": 20}, {"setWeight": "much"}]}}},
            "status": {"phase": "Healthy"},
        }))
        .unwrap();
        let unreadable = object.content.unwrap_err();
        let expected = "spec.strategy.canary.steps[1].setWeight: invalid type: string \"much\"";
        assert!(unreadable.error.starts_with(expected), "{}", unreadable.error);
        assert_eq!(unreadable.status, json!({"phase": "Healthy"}));
        assert_eq!(object.metadata.name.as_deref(), Some("web"));
    }

    #[test]
    fn two_unreadable_fields_are_still_a_message() {
        let object: RolloutObject = serde_json::from_value(json!({
            "metadata": {"name": "web"}, "spec": {"replicas": "two", "paused": "no"},
        }))
        .unwrap();
        let error = object.content.unwrap_err().error;
        assert!(
            error.starts_with("spec.replicas: invalid type")
                || error.starts_with("spec.paused: invalid type"),
            "{error}"
        );
    }

    #[test]
    fn what_is_never_looked_at_is_not_kept() {
        let object: RolloutObject = serde_json::from_value(json!({
            "metadata": {"name": "web", "managedFields": [{"manager": "x"}],
                "annotations": {(labels::LAST_APPLIED): "{}", "team": "a"}},
            "spec": {},
        }))
        .unwrap();
        let rollout = object.content.unwrap();
        assert_eq!(rollout.metadata.managed_fields, None);
        assert_eq!(rollout.metadata.annotations.unwrap().into_keys().collect::<Vec<_>>(), ["team"]);
    }
}
