//! JSON merge patches (RFC 7386): applying one, and the smallest one that leads from one value to another.

use serde_json::{Map, Value, json};

use crate::api::RolloutStatus;

/// Applies `patch` to `target`: objects are merged, `null` removes a key, everything else replaces.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// The patch that turns `from` into `to`; `None` when they are equal.
#[must_use]
pub fn diff(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (from, to) else { return Some(to.clone()) };
    let removed = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = new.iter().filter_map(|(key, value)| {
        let change = old.get(key).map_or_else(|| Some(value.clone()), |old| diff(old, value));
        change.map(|change| (key.clone(), change))
    });
    Some(Value::Object(removed.chain(changed).collect()))
}

/// The merge patch that leads from the status that was seen to the one that was decided.
pub(super) fn status_patch(seen: Option<&RolloutStatus>, decided: &RolloutStatus) -> Value {
    let value = |status: &RolloutStatus| serde_json::to_value(status).unwrap_or_default();
    let seen = seen.map_or_else(|| json!({}), value);
    json!({"status": diff(&seen, &value(decided)).unwrap_or_else(|| json!({}))})
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(from: &Value, to: &Value, patch: &Value) {
        let computed = diff(from, to).unwrap();
        assert_eq!(&computed, patch);
        let mut patched = from.clone();
        merge(&mut patched, &computed);
        assert_eq!(&patched, to);
    }

    #[test]
    fn a_diff_names_only_what_changed_and_leads_to_the_target() {
        check(
            &json!({"a": 1, "b": {"c": 2, "d": [1]}}),
            &json!({"a": 1, "b": {"d": [1, 2]}}),
            &json!({"b": {"c": null, "d": [1, 2]}}),
        );
        check(&json!({"a": 1}), &json!({"a": {"b": 1}}), &json!({"a": {"b": 1}}));
        assert_eq!(diff(&json!({"a": 1}), &json!({"a": 1})), None);
    }

    #[test]
    fn a_null_removes_a_key_and_an_object_replaces_a_scalar() {
        let mut target = json!({"a": 1, "b": 2});
        merge(&mut target, &json!({"a": null, "b": {"c": null, "d": 1}}));
        assert_eq!(target, json!({"b": {"d": 1}}));
    }
}
