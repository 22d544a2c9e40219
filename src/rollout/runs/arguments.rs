//! Values for a run's arguments, as a Rollout gives them: text, the pod hash of a version, or a field of the Rollout.

use serde_json::Value;

use super::super::revision;
use super::super::snapshot::Snapshot;
use super::super::valid::SpecError;
use crate::api::analysis_template::Argument;
use crate::api::rollout::AnalysisRunArgument;

/// The arguments with their values; one that has none is reported.
pub(in super::super) fn resolve(
    snapshot: &Snapshot,
    field: &str,
    args: &[AnalysisRunArgument],
    problems: &mut Vec<SpecError>,
) -> Vec<Argument> {
    let mut resolved = Vec::with_capacity(args.len());
    for (index, arg) in args.iter().enumerate() {
        match value(snapshot, arg) {
            Ok(value) => resolved.push(Argument { name: arg.name.clone(), value, value_from: None }),
            Err(message) => problems.push(SpecError::new(format!("{field}.args[{index}]"), message)),
        }
    }
    resolved
}

fn value(snapshot: &Snapshot, arg: &AnalysisRunArgument) -> Result<Option<String>, String> {
    let name = &arg.name;
    let Some(from) = &arg.value_from else { return Ok(arg.value.clone()) };
    if arg.value.is_some() {
        return Err(format!("argument \"{name}\" has both value and valueFrom: keep one"));
    }
    match (from.pod_template_hash_value.as_deref(), &from.field_ref) {
        (Some("Latest"), None) => Ok(Some(revision::wanted_hash(snapshot).to_string())),
        (Some("Stable"), None) => {
            let status = snapshot.rollout.status.as_ref();
            Ok(Some(status.and_then(|status| status.stable_rs.clone()).unwrap_or_default()))
        }
        (Some(other), None) => {
            Err(format!("argument \"{name}\": podTemplateHashValue is Stable or Latest, not \"{other}\""))
        }
        (None, Some(reference)) => field_of(snapshot, &reference.field_path)
            .map(Some)
            .ok_or_else(|| format!("argument \"{name}\": the Rollout has no field {}", reference.field_path)),
        _ => Err(format!("argument \"{name}\": valueFrom needs one of podTemplateHashValue or fieldRef")),
    }
}

/// The text of a field, by a path such as `metadata.labels['env']` or `spec.strategy.canary.steps[0].setWeight`.
fn field_of(snapshot: &Snapshot, path: &str) -> Option<String> {
    let rollout = serde_json::to_value(&snapshot.rollout).ok()?;
    let found = segments(path)?.iter().try_fold(&rollout, |value, segment| match value {
        Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
        value => value.get(segment),
    })?;
    match found {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(found.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The names and indices of a path; `None` when a bracket or a quote stays open.
fn segments(path: &str) -> Option<Vec<String>> {
    let mut segments = Vec::new();
    let mut rest = path.trim_start_matches('.');
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (segment, after) = match inner.strip_prefix(['\'', '"']) {
                Some(quoted) => quoted.split_once("']").or_else(|| quoted.split_once("\"]"))?,
                None => inner.split_once(']')?,
            };
            segments.push(segment.to_owned());
            rest = after.trim_start_matches('.');
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (segment, after) = rest.split_at(end);
            segments.push(segment.to_owned());
            rest = after.trim_start_matches('.');
        }
    }
    Some(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_path_is_split_at_dots_brackets_and_quotes() {
        for (path, expected) in [
            ("metadata.name", vec!["metadata", "name"]),
            (
                "metadata.labels['app.kubernetes.io/name']",
                vec!["metadata", "labels", "app.kubernetes.io/name"],
            ),
            ("spec.steps[0].setWeight", vec!["spec", "steps", "0", "setWeight"]),
        ] {
            assert_eq!(segments(path).unwrap(), expected);
        }
        assert_eq!(segments("metadata.labels['open"), None);
    }
}
