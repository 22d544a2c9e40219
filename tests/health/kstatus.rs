//! The rules of kstatus for a kind that it does not know, by which Flux and `helm --wait` decide.

use serde_json::Value;

/// What kstatus makes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    InProgress,
    Failed,
    Current,
    Terminating,
}

/// The status of an object.
///
/// # Errors
/// A generation that is no number.
pub(crate) fn compute(object: &Value) -> Result<Status, String> {
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Ok(Status::Terminating);
    }
    let wanted = integer(object, "/metadata/generation")?;
    let observed = integer(object, "/status/observedGeneration")?;
    if wanted.is_some() && observed.is_some() && wanted != observed {
        return Ok(Status::InProgress);
    }
    let empty = Vec::new();
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).unwrap_or(&empty);
    let first =
        conditions.iter().find_map(|condition| match (text(condition, "type"), text(condition, "status")) {
            ("Reconciling", "True") => Some(Status::InProgress),
            ("Stalled", "True") => Some(Status::Failed),
            _ => None,
        });
    let ready = conditions.iter().find(|condition| text(condition, "type") == "Ready");
    // What says nothing is taken for done.
    Ok(first.unwrap_or(match ready.map(|ready| text(ready, "status")) {
        Some("True") | None => Status::Current,
        Some(_) => Status::InProgress,
    }))
}

fn text<'a>(condition: &'a Value, field: &str) -> &'a str {
    condition[field].as_str().unwrap_or_default()
}

fn integer(object: &Value, pointer: &str) -> Result<Option<i64>, String> {
    let Some(found) = object.pointer(pointer) else { return Ok(None) };
    found.as_i64().map(Some).ok_or_else(|| format!("{pointer} is {found}, not an integer"))
}
