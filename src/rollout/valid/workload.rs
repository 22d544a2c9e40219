//! The workload that a spec refers to: it can be referred to, exists, and stands alone as the source of the template.

use serde_json::{Map, Value};

use super::SpecError;
use crate::api::RolloutSpec;
use crate::api::rollout::WorkloadRef;
use crate::rollout::snapshot::Snapshot;
use crate::rollout::workload::{Referenced, WorkloadKind};

const FIELD: &str = "spec.workloadRef";

/// What becomes of the pods of the workload that a Rollout refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkloadScaling {
    /// They stay.
    #[default]
    Never,
    /// They go once the first version of the Rollout is healthy.
    OnSuccess,
    /// They go as pods of the first version of the Rollout become ready.
    Progressively,
}

/// Checks the reference, and says what becomes of the workload's own pods.
pub(super) fn check(snapshot: &Snapshot, problems: &mut Vec<SpecError>) -> WorkloadScaling {
    let spec = &snapshot.rollout.spec;
    let Some(reference) = &spec.workload_ref else { return WorkloadScaling::Never };
    if !is_empty(spec.template.as_ref()) {
        let message = "template must be empty for workload reference rollout: the template is that of the workload, remove this one";
        problems.push(SpecError::new("spec.template", message));
    }
    let kind = WorkloadKind::of(reference);
    match (kind, reference.name.as_deref().filter(|name| !name.is_empty())) {
        (None, _) => problems.push(unsupported(reference)),
        (Some(kind), None) => {
            let message = format!("is missing: name the {} to take the pod template from", kind.as_str());
            problems.push(SpecError::new(format!("{FIELD}.name"), message));
        }
        (Some(kind), Some(name)) => problems.extend(unknown(&snapshot.workload, kind, name)),
    }
    scaling(reference, kind, problems)
}

/// Where the pod template is written, for messages about it.
pub(super) fn template_field(spec: &RolloutSpec) -> String {
    let Some(reference) = &spec.workload_ref else { return "spec.template".to_owned() };
    let name = reference.name.as_deref().unwrap_or_default();
    match WorkloadKind::of(reference) {
        Some(kind @ WorkloadKind::PodTemplate) => format!("{} \"{name}\" template", kind.as_str()),
        Some(kind) => format!("{} \"{name}\" spec.template", kind.as_str()),
        None => FIELD.to_owned(),
    }
}

/// Whether a template says nothing. Clients that know every field send empty ones.
fn is_empty(template: Option<&Value>) -> bool {
    let Some(template) = template else { return true };
    let filled = |pointer: &str| {
        template.pointer(pointer).is_some_and(|value| match value {
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !Map::is_empty(fields),
            _ => false,
        })
    };
    !["/metadata/labels", "/metadata/annotations", "/spec/containers"].into_iter().any(filled)
}

fn unsupported(reference: &WorkloadRef) -> SpecError {
    let (version, kind) = (reference.api_version.as_deref(), reference.kind.as_deref());
    let message = format!(
        "workload of type {}/{} is not supported: use a Deployment or ReplicaSet of apps/v1, or a PodTemplate of v1",
        version.unwrap_or_default(),
        kind.unwrap_or_default()
    );
    SpecError::new(format!("{FIELD}.kind"), message)
}

fn unknown(workload: &Referenced, kind: WorkloadKind, name: &str) -> Option<SpecError> {
    let kind = kind.as_str();
    let message = match workload {
        Referenced::Found(_) | Referenced::Awaited => return None,
        Referenced::Unreadable(why) => format!("{kind} \"{name}\" cannot be read: {why}"),
        Referenced::Missing | Referenced::Nothing => {
            format!("{kind} \"{name}\" not found: create it in this namespace, or correct the name")
        }
    };
    Some(SpecError::of_reference(format!("{FIELD}.name"), message))
}

fn scaling(
    reference: &WorkloadRef,
    kind: Option<WorkloadKind>,
    problems: &mut Vec<SpecError>,
) -> WorkloadScaling {
    let field = format!("{FIELD}.scaleDown");
    let wanted = reference.scale_down.as_deref().unwrap_or_default();
    let scaling = match wanted {
        "" | "never" => return WorkloadScaling::Never,
        "onsuccess" => WorkloadScaling::OnSuccess,
        "progressively" => WorkloadScaling::Progressively,
        _ => {
            let message = format!("must be never, onsuccess or progressively, not \"{wanted}\"");
            problems.push(SpecError::new(field, message));
            return WorkloadScaling::Never;
        }
    };
    match kind {
        Some(WorkloadKind::Deployment) => scaling,
        Some(kind) => {
            let message = format!(
                "only a Deployment can be scaled down, not a {}: remove it, or set it to never",
                kind.as_str()
            );
            problems.push(SpecError::new(field, message));
            WorkloadScaling::Never
        }
        // Reported as a kind that cannot be referred to.
        None => WorkloadScaling::Never,
    }
}
