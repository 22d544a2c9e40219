//! Labels of pods by role: where they are possible, and which Services may select by them.

use serde_json::Value;

use super::{Destinations, Routing, SpecError, Strategy, template_labels};
use crate::api::labels::{POD_TEMPLATE_HASH, ROLE_LABELS};
use crate::rollout::role_labels::{Role, is_key};
use crate::rollout::snapshot::Snapshot;

const CANARY: &str = "spec.strategy.canary";
/// Longest value of a label.
const LONGEST_VALUE: usize = 63;

fn given(snapshot: &Snapshot) -> Option<&str> {
    snapshot.rollout.metadata.annotations.as_ref()?.get(ROLE_LABELS).map(String::as_str)
}

/// Whether pods carry labels of their roles.
pub(super) fn parse(
    snapshot: &Snapshot,
    strategy: &Strategy,
    template: &Value,
    problems: &mut Vec<SpecError>,
) -> bool {
    let mut refuse = |message: String| {
        problems.push(SpecError::new(format!("metadata.annotations[{ROLE_LABELS}]"), message))
    };
    match given(snapshot) {
        None | Some("false") => return false,
        Some("true") => {}
        Some(other) => {
            refuse(format!("must be true or false, not \"{other}\""));
            return false;
        }
    }
    let is_by_role =
        matches!(strategy, Strategy::Routed(Routing { destinations: Destinations::ByRole { .. }, .. }));
    if !is_by_role {
        refuse(format!(
            "needs {CANARY}.canaryService and stableService behind a router that sends requests to these: remove it"
        ));
    }
    let name = snapshot.rollout.metadata.name.as_deref().unwrap_or_default();
    if name.len() > LONGEST_VALUE {
        refuse(format!("needs a Rollout whose name has at most {LONGEST_VALUE} characters: remove it"));
    }
    for key in template_labels(template).keys().filter(|key| is_key(key)) {
        refuse(format!("puts the label {key} on pods: remove it from the labels of the pod template"));
    }
    is_by_role
}

/// Checks the labels of roles in the selector of the Service that a field names.
pub(super) fn check(snapshot: &Snapshot, field: &str, service: &str, problems: &mut Vec<SpecError>) {
    let Some(selector) = snapshot.services.get(service).map(|found| &found.selector) else { return };
    let wanted = match field.strip_prefix(CANARY) {
        Some(".stableService") => Some(Role::Stable),
        Some(".canaryService") => Some(Role::Canary),
        Some(_) | None => None,
    };
    let name = snapshot.rollout.metadata.name.as_deref().unwrap_or_default();
    for role in Role::ALL {
        let (key, Some(value)) = (role.key(), selector.get(role.key())) else { continue };
        let message = match wanted {
            None => format!(
                "selects pods by {key}, which works for canaryService and stableService only: remove it from its selector"
            ),
            Some(wanted) if wanted != role => {
                format!("selects pods by {key}: replace it with {} in its selector", wanted.key())
            }
            Some(_) if value != name => {
                format!("selects pods of \"{value}\" by {key}: set it to \"{name}\" in its selector")
            }
            Some(_) if selector.contains_key(POD_TEMPLATE_HASH) => format!(
                "selects pods by {key} and by {POD_TEMPLATE_HASH}: remove the latter from its selector"
            ),
            Some(_) if given(snapshot) != Some("true") => format!(
                "selects pods by {key}, which they do not carry: set the annotation {ROLE_LABELS} of the Rollout to \"true\""
            ),
            Some(_) => continue,
        };
        problems.push(SpecError::new(field, format!("Service \"{service}\" {message}")));
    }
}
