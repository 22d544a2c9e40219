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
        problems.push(SpecError::new(format!("metadata.annotations[{ROLE_LABELS}]"), message));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::api::labels::ROLE_LABELS;
    use crate::rollout::tests::{Bench, service};
    use crate::rollout::valid::parse;

    /// The problems of a canary behind a router whose Services select by their roles, but for the change.
    fn problems(change: impl FnOnce(&mut Bench)) -> Vec<String> {
        let mut bench = Bench::new(4, &json!([]));
        bench.route(0);
        bench.snapshot.settings.router_plugins.insert("simulated".to_owned());
        let canary = bench.snapshot.rollout.spec.strategy.as_mut().unwrap().canary.as_mut().unwrap();
        canary.traffic_routing = Some(serde_json::from_value(json!({"plugins": {"simulated": {}}})).unwrap());
        bench.snapshot.rollout.metadata.annotations =
            Some([(ROLE_LABELS.to_owned(), "true".to_owned())].into());
        for role in ["canary", "stable"] {
            let mut found = service("");
            let key = format!("rollout.argoproj.io/{role}");
            found.selector = [("app".to_owned(), "api".to_owned()), (key, "api".to_owned())].into();
            bench.snapshot.services.insert(role.to_owned(), found);
        }
        change(&mut bench);
        parse(&bench.snapshot).problems.iter().map(ToString::to_string).collect()
    }

    /// The problems where a label is added to the selector of the stable Service, or changed.
    fn with_label(key: &str, value: &str) -> Vec<String> {
        problems(|bench| {
            let stable = bench.snapshot.services.get_mut("stable").unwrap();
            stable.selector.insert(key.to_owned(), value.to_owned());
        })
    }

    #[test]
    fn services_select_by_their_own_role_and_by_nothing_else_of_ours() {
        const NONE: [&str; 0] = [];
        assert_eq!(problems(|_| {}), NONE);
        let field = "spec.strategy.canary.stableService: Service \"stable\" selects pods";
        assert_eq!(
            with_label("rollout.argoproj.io/stable", "shop"),
            [format!("{field} of \"shop\" by rollout.argoproj.io/stable: set it to \"api\" in its selector")]
        );
        assert_eq!(
            with_label("rollout.argoproj.io/canary", "api"),
            [format!(
                "{field} by rollout.argoproj.io/canary: replace it with rollout.argoproj.io/stable in its selector"
            )]
        );
        assert_eq!(
            with_label("rollouts-pod-template-hash", "abc"),
            [format!(
                "{field} by rollout.argoproj.io/stable and by rollouts-pod-template-hash: remove the latter from its \
                 selector"
            )]
        );
    }

    #[test]
    fn pods_must_carry_the_labels_and_only_by_their_roles() {
        let found = problems(|bench| bench.snapshot.rollout.metadata.annotations = None);
        assert!(
            found.len() == 2 && found.iter().all(|problem| problem.contains("set the annotation")),
            "{found:?}"
        );
        let found = problems(|bench| {
            let annotations = bench.snapshot.rollout.metadata.annotations.as_mut().unwrap();
            annotations.insert(ROLE_LABELS.to_owned(), "yes".to_owned());
        });
        let is_told = |words: &str| found.iter().any(|problem| problem.ends_with(words));
        assert!(is_told("must be true or false, not \"yes\""), "{found:?}");
        let found = problems(|bench| {
            let template = bench.snapshot.rollout.spec.template.as_mut().unwrap();
            template["metadata"]["labels"]["rollout.argoproj.io/stable"] = json!("api");
        });
        assert!(found[0].contains("remove it from the labels of the pod template"), "{found:?}");
        let found = problems(|bench| {
            let canary = bench.snapshot.rollout.spec.strategy.as_mut().unwrap().canary.as_mut().unwrap();
            canary.traffic_routing = None;
        });
        assert!(found[0].contains("behind a router"), "{found:?}");
    }
}
