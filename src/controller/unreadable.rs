//! The status of a Rollout whose spec cannot even be read, so that its owner learns why nothing happens.

use serde_json::{Map, Value, json};

use crate::units::Timestamp;

const INVALID_SPEC: &str = "InvalidSpec";

/// The next status: as stored, with phase, message and the condition `InvalidSpec`. Equal to the stored one when
/// everything has been said already.
pub(crate) fn status(stored: &Value, error: &str, generation: Option<i64>, now: Timestamp) -> Value {
    let mut status = stored.as_object().cloned().unwrap_or_default();
    let message = format!("The Rollout cannot be read: {error}");
    let mut conditions = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let known = conditions.iter().position(is_invalid_spec);
    let condition = condition(known.and_then(|index| conditions.get(index)), &message, now);
    match known.and_then(|index| conditions.get_mut(index)) {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
    status.insert("conditions".to_owned(), conditions.into());
    status.insert("phase".to_owned(), "Degraded".into());
    status.insert("message".to_owned(), format!("{INVALID_SPEC}: {message}").into());
    observe(&mut status, generation);
    status.into()
}

/// Whether the stored status says already what `next` says.
pub(crate) fn is_announced(stored: &Value, next: &Value) -> bool {
    stored.get("message") == next.get("message")
}

fn is_invalid_spec(condition: &Value) -> bool {
    condition.get("type").and_then(Value::as_str) == Some(INVALID_SPEC)
}

/// The condition; unchanged when it says the same already.
fn condition(known: Option<&Value>, message: &str, now: Timestamp) -> Value {
    let is = |key: &str, value: &str| {
        known.and_then(|known| known.get(key)).and_then(Value::as_str) == Some(value)
    };
    match known {
        Some(known) if is("status", "True") && is("message", message) => known.clone(),
        _ => json!({
            "type": INVALID_SPEC,
            "status": "True",
            "reason": INVALID_SPEC,
            "message": message,
            "lastUpdateTime": now,
            "lastTransitionTime": now,
        }),
    }
}

/// Keeps the form that the observed generation has in the stored status.
fn observe(status: &mut Map<String, Value>, generation: Option<i64>) {
    let Some(generation) = generation else { return };
    let as_text = status.get("observedGeneration").is_some_and(Value::is_string);
    let value = if as_text { Value::from(generation.to_string()) } else { generation.into() };
    status.insert("observedGeneration".to_owned(), value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_rollout_is_degraded_with_the_reason_and_keeps_the_rest() {
        let stored = json!({"phase": "Healthy", "stableRS": "abc", "conditions": [{"type": "Available"}]});
        let next = status(&stored, "spec.replicas: not a number", Some(3), Timestamp::from_millis(0));
        assert_eq!(next["phase"], "Degraded");
        assert_eq!(next["message"], "InvalidSpec: The Rollout cannot be read: spec.replicas: not a number");
        assert_eq!((&next["stableRS"], &next["observedGeneration"]), (&json!("abc"), &json!(3)));
        assert_eq!(next["conditions"][0], json!({"type": "Available"}));
        assert_eq!(next["conditions"][1]["reason"], "InvalidSpec");
    }

    #[test]
    fn the_same_problem_is_written_once() {
        let first = status(&Value::Null, "bad", Some(1), Timestamp::from_millis(0));
        let second = status(&first, "bad", Some(1), Timestamp::from_millis(60_000));
        assert_eq!(first, second);
        assert!(is_announced(&first, &second) && !is_announced(&Value::Null, &first));
    }
}
