//! The CustomResourceDefinitions, generated from the types of this module.
//!
//! Three things are taken out of what the types give: `default` (a sync engine would see drift for ever), `nullable`
//! (a `null` in a manifest is the absent field, as in the public API), and the status subresource of AnalysisRun and
//! Experiment (their clients patch the status through the object itself).

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use super::{AnalysisRun, AnalysisTemplate, ClusterAnalysisTemplate, Experiment, Rollout};

/// The definitions, in a fixed order: (file name without ending, definition).
#[must_use]
pub fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("rollouts", immutable_selector(definition(Rollout::crd()))),
        ("analysistemplates", definition(AnalysisTemplate::crd())),
        ("clusteranalysistemplates", definition(ClusterAnalysisTemplate::crd())),
        ("analysisruns", without_subresources(definition(AnalysisRun::crd()))),
        ("experiments", without_subresources(definition(Experiment::crd()))),
    ]
}

fn definition(crd: CustomResourceDefinition) -> Value {
    let mut value = serde_json::to_value(crd).unwrap_or(Value::Null);
    if let Some(schema) = value.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
        tidy(schema);
    }
    value
}

/// Removes `default` and `nullable` keywords, and limits on numbers that repeat their format.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(keywords) => {
            keywords.remove("nullable");
            keywords.remove("default");
            release_fields_with_own_schema(keywords);
            for (keyword, value) in keywords.iter_mut() {
                match (keyword.as_str(), value) {
                    ("properties", Value::Object(fields)) => fields.values_mut().for_each(tidy),
                    ("enum", Value::Array(values)) => values.retain(|value| !value.is_null()),
                    ("items" | "additionalProperties", value) => tidy(value),
                    _ => {}
                }
            }
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Takes the fields of `super::schema` out of `required`: all of them are optional, which a generator that is handed
/// a schema in place of a type cannot know.
fn release_fields_with_own_schema(keywords: &mut Map<String, Value>) {
    let own = ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields", "additionalProperties"];
    let fields = keywords.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let is_own = |field: &Value| {
        let schema = field.as_str().and_then(|name| fields.get(name));
        schema.is_some_and(|schema| own.iter().any(|keyword| schema.get(keyword).is_some()))
    };
    let Some(Value::Array(required)) = keywords.get_mut("required") else { return };
    required.retain(|field| !is_own(field));
    if required.is_empty() {
        keywords.remove("required");
    }
}

fn without_subresources(mut crd: Value) -> Value {
    if let Some(version) = crd.pointer_mut("/spec/versions/0").and_then(Value::as_object_mut) {
        version.remove("subresources");
    }
    crd
}

fn immutable_selector(mut crd: Value) -> Value {
    let selector = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/selector";
    if let Some(schema) = crd.pointer_mut(selector).and_then(Value::as_object_mut) {
        let rule = json!([{"rule": "self == oldSelf", "message": "selector is immutable"}]);
        schema.insert("x-kubernetes-validations".to_owned(), rule);
    }
    crd
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest object that `kubectl apply` can keep in its annotation.
    const LAST_APPLIED_LIMIT: usize = 256 * 1024;

    fn keywords<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
        match schema {
            Value::Object(map) => {
                for (key, value) in map {
                    if key == "properties" {
                        value
                            .as_object()
                            .into_iter()
                            .flat_map(|fields| fields.values())
                            .for_each(|v| keywords(v, found));
                    } else {
                        found.push(key);
                        keywords(value, found);
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| keywords(value, found)),
            _ => {}
        }
    }

    #[test]
    fn definitions_carry_no_default_and_fit_into_plain_apply() {
        for (name, crd) in all() {
            let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").expect(name);
            let mut found = Vec::new();
            keywords(schema, &mut found);
            assert!(!found.contains(&"default") && !found.contains(&"nullable"), "{name}");
            assert!(
                crd.to_string().len() < LAST_APPLIED_LIMIT / 2,
                "{name}: {} bytes",
                crd.to_string().len()
            );
        }
    }

    #[test]
    fn fields_of_a_number_or_text_or_of_any_form_may_be_absent() {
        let (_, rollouts) = all().into_iter().next().unwrap();
        let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
        for (path, field) in [
            ("", "template"),
            ("/properties/strategy/properties/canary", "maxSurge"),
            ("/properties/strategy/properties/canary/properties/steps/items/properties/pause", "duration"),
            ("/properties/strategy/properties/canary/properties/canaryMetadata", "labels"),
        ] {
            let schema = rollouts.pointer(&format!("{spec}{path}")).expect(path);
            assert!(schema["properties"].get(field).is_some(), "{path}.{field}");
            assert_eq!(schema.get("required"), None, "{path}.{field}");
        }
    }

    fn required<'a>(schema: &'a Value, found: &mut std::collections::BTreeSet<&'a str>) {
        match schema {
            Value::Object(map) => {
                let names = map.get("required").and_then(Value::as_array).into_iter().flatten();
                found.extend(names.filter_map(Value::as_str));
                map.values().for_each(|value| required(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| required(value, found)),
            _ => {}
        }
    }

    #[test]
    fn only_what_cannot_be_left_out_is_required() {
        let definitions = all();
        let mut found = std::collections::BTreeSet::new();
        for (_, crd) in &definitions {
            required(crd.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap(), &mut found);
        }
        let names: Vec<_> = found.into_iter().collect();
        assert_eq!(
            names,
            [
                "arn",
                "at",
                "canary",
                "fieldPath",
                "id",
                "index",
                "key",
                "limit",
                "message",
                "metricName",
                "name",
                "operator",
                "phase",
                "provider",
                "reason",
                "recipient",
                "service",
                "spec",
                "stable",
                "startTime",
                "status",
                "template",
                "type",
                "value",
                "weight"
            ]
        );
    }

    #[test]
    fn only_a_rollout_has_subresources() {
        let with: Vec<_> = all()
            .into_iter()
            .filter(|(_, crd)| crd.pointer("/spec/versions/0/subresources").is_some())
            .collect();
        assert_eq!(with.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["rollouts"]);
        assert_eq!(
            with[0].1.pointer("/spec/versions/0/subresources/scale/statusReplicasPath"),
            Some(&json!(".status.HPAReplicas"))
        );
    }
}
