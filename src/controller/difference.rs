//! The smallest JSON merge patch that turns one value into another.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// What to send so that `stored` becomes `next`: `null` for keys that go, lists as a whole; `None` when they are equal.
pub(crate) fn difference(stored: &Value, next: &Value) -> Option<Value> {
    match (stored, next) {
        (Value::Object(stored), Value::Object(next)) => {
            let patch = object_difference(stored, next);
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (stored, next) => (stored != next).then(|| next.clone()),
    }
}

/// The patch of an object that is part of its own status, if it still has this version; `None` when nothing differs.
pub(crate) fn status_patch<S: Serialize>(
    version: u64,
    stored: Option<&S>,
    next: &S,
) -> Result<Option<Value>, serde_json::Error> {
    let stored = stored.map_or_else(|| Ok(json!({})), serde_json::to_value)?;
    let patch = difference(&stored, &serde_json::to_value(next)?);
    Ok(patch.map(|patch| json!({"metadata": {"resourceVersion": version.to_string()}, "status": patch})))
}

fn object_difference(stored: &Map<String, Value>, next: &Map<String, Value>) -> Map<String, Value> {
    let removed = stored.keys().filter(|key| !next.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = next.iter().filter_map(|(key, value)| {
        let patch = match stored.get(key) {
            Some(stored) => difference(stored, value),
            None => Some(value.clone()),
        };
        patch.map(|patch| (key.clone(), patch))
    });
    removed.chain(changed).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// RFC 7386.
    fn merge(target: &mut Value, patch: &Value) {
        let Value::Object(patch) = patch else {
            target.clone_from(patch);
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        for (key, value) in patch {
            if value.is_null() {
                target.as_object_mut().unwrap().remove(key);
            } else {
                merge(&mut target[key], value);
            }
        }
    }

    #[test]
    fn only_what_differs_is_sent() {
        let stored =
            json!({"phase": "Paused", "message": "x", "conditions": [1, 2], "canary": {"a": 1, "b": 2}});
        let next = json!({"phase": "Healthy", "conditions": [1, 3], "canary": {"a": 1}});
        let patch = json!({"phase": "Healthy", "message": null, "conditions": [1, 3], "canary": {"b": null}});
        assert_eq!(difference(&stored, &next), Some(patch));
        assert_eq!(difference(&stored, &stored), None);
    }

    fn status() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<i32>().prop_map(Value::from), "[a-c]{0,2}".prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_patch_applied_to_the_stored_gives_the_next(stored in status(), next in status()) {
            let mut patched = stored.clone();
            if let Some(patch) = difference(&stored, &next) {
                merge(&mut patched, &patch);
            }
            prop_assert_eq!(patched, next);
        }
    }
}
