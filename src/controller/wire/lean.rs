//! Metadata without `managedFields`: those are up to half of what comes over the wire, and nobody looks at them.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

const METADATA: &str = "metadata";
const MANAGED_FIELDS: &str = "managedFields";

/// All of [`ObjectMeta`] but one field.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Lean {
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    generate_name: Option<String>,
    generation: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    name: Option<String>,
    namespace: Option<String>,
    owner_references: Option<Vec<OwnerReference>>,
    resource_version: Option<String>,
    self_link: Option<String>,
    uid: Option<String>,
}

impl From<Lean> for ObjectMeta {
    fn from(lean: Lean) -> Self {
        Self {
            annotations: lean.annotations,
            creation_timestamp: lean.creation_timestamp,
            deletion_grace_period_seconds: lean.deletion_grace_period_seconds,
            deletion_timestamp: lean.deletion_timestamp,
            finalizers: lean.finalizers,
            generate_name: lean.generate_name,
            generation: lean.generation,
            labels: lean.labels,
            managed_fields: None,
            name: lean.name,
            namespace: lean.namespace,
            owner_references: lean.owner_references,
            resource_version: lean.resource_version,
            self_link: lean.self_link,
            uid: lean.uid,
        }
    }
}

/// Metadata, read past what is not kept.
pub(super) fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    Ok(Lean::deserialize(deserializer)?.into())
}

/// A whole object as a value, whose metadata is read past what is not kept.
pub(super) fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    deserializer.deserialize_map(Fields(Level::Object))
}

/// Where in an object a map stands.
#[derive(Clone, Copy)]
enum Level {
    Object,
    Metadata,
}

/// Builds the value of a map, field by field.
struct Fields(Level);

impl<'de> Visitor<'de> for Fields {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = match (self.0, key.as_str()) {
                (Level::Object, METADATA) => map.next_value_seed(Fields(Level::Metadata))?,
                (Level::Metadata, MANAGED_FIELDS) => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                (Level::Object | Level::Metadata, _) => map.next_value()?,
            };
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

impl<'de> DeserializeSeed<'de> for Fields {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn everything() -> Value {
        json!({
            "annotations": {"team": "a"}, "creationTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30,
            "deletionTimestamp": "2026-01-02T00:00:00Z", "finalizers": ["f"], "generateName": "web-", "generation": 2,
            "labels": {"app": "web"}, "managedFields": [{"manager": "x", "fieldsV1": {"f:spec": {}}}], "name": "web",
            "namespace": "shop", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1"}],
            "resourceVersion": "7", "selfLink": "/x", "uid": "2",
        })
    }

    #[test]
    fn all_metadata_is_read_but_who_manages_which_field() {
        let whole: ObjectMeta = serde_json::from_value(everything()).unwrap();
        assert!(whole.managed_fields.is_some());
        let text = everything().to_string();
        let lean = metadata(&mut serde_json::Deserializer::from_str(&text)).unwrap();
        assert_eq!(lean, ObjectMeta { managed_fields: None, ..whole });
        let fields = serde_json::to_value(&lean).unwrap();
        assert_eq!(fields.as_object().map(Map::len), everything().as_object().map(|all| all.len() - 1));
    }

    #[test]
    fn an_object_keeps_everything_else_and_its_order() {
        let template = json!({"metadata": {"managedFields": "of a template, which is not ours to cut"}});
        let text =
            json!({"metadata": everything(), "spec": {"template": template}, "kind": "Rollout"}).to_string();
        let read = object(&mut serde_json::Deserializer::from_str(&text)).unwrap();
        let mut expected: Value = serde_json::from_str(&text).unwrap();
        expected["metadata"].as_object_mut().unwrap().shift_remove("managedFields");
        assert_eq!(read.to_string(), expected.to_string());
        let absent = object(&mut serde_json::Deserializer::from_str(r#"{"metadata": null}"#)).unwrap();
        assert_eq!(absent, json!({"metadata": null}));
    }
}
