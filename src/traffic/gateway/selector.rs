//! Label selectors, as Kubernetes has them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::traffic::plugin::Settings;
use crate::traffic::route::at;
use crate::traffic::routers::Problem;

/// Which objects are meant; without a requirement, all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    requirements: Vec<Requirement>,
}

/// What is asked of one label.
#[derive(Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Reads what is at `path`, and says what is wrong with it.
    pub(super) fn read(path: &str, value: &Value) -> (Self, Vec<Problem>) {
        let mut settings = Settings::new(path, value);
        let mut requirements = Vec::new();
        if let Some(labels) = settings.take("matchLabels") {
            let place = settings.place("matchLabels");
            match serde_json::from_value::<BTreeMap<String, String>>(labels.clone()) {
                Ok(labels) => requirements.extend(labels.into_iter().map(|(key, value)| Requirement {
                    key,
                    operator: Operator::In,
                    values: vec![value],
                })),
                Err(_) => settings.include(vec![Problem::new(place, "must be texts by name")]),
            }
        }
        for (place, item) in settings.items("matchExpressions") {
            let (requirement, problems) = Requirement::read(place, item);
            settings.include(problems);
            requirements.extend(requirement);
        }
        (Self { requirements }, settings.finish())
    }

    /// Whether an object is meant.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = at(object, &["metadata", "labels"]);
        self.requirements
            .iter()
            .all(|requirement| requirement.is_met(labels.get(&requirement.key).and_then(Value::as_str)))
    }
}

impl Requirement {
    fn read(place: String, value: &Value) -> (Option<Self>, Vec<Problem>) {
        let mut settings = Settings::new(place, value);
        let key = settings.text("key");
        let given = settings.text("operator").unwrap_or_default();
        let values: Vec<_> = settings.texts("values").into_iter().map(|(_, value)| value).collect();
        if key.is_none() {
            settings.refuse("key", "must name a label");
        }
        let operator = match given.as_str() {
            "In" => Some(Operator::In),
            "NotIn" => Some(Operator::NotIn),
            "Exists" => Some(Operator::Exists),
            "DoesNotExist" => Some(Operator::DoesNotExist),
            _ => {
                settings.refuse("operator", "must be In, NotIn, Exists or DoesNotExist");
                None
            }
        };
        match operator {
            Some(Operator::In | Operator::NotIn) if values.is_empty() => {
                settings.refuse("values", format!("must not be empty with {given}"));
            }
            Some(Operator::Exists | Operator::DoesNotExist) if !values.is_empty() => {
                settings.refuse("values", format!("must be empty with {given}"));
            }
            Some(_) | None => {}
        }
        let requirement = key.zip(operator).map(|(key, operator)| Self { key, operator, values });
        (requirement, settings.finish())
    }

    fn is_met(&self, label: Option<&str>) -> bool {
        let is_listed = label.is_some_and(|label| self.values.iter().any(|value| value == label));
        match self.operator {
            Operator::In => is_listed,
            Operator::NotIn => !is_listed,
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(selector: &Value, expected: bool) {
        let (read, problems) = Selector::read("s", selector);
        assert_eq!(problems, [], "{selector}");
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "front"}}});
        assert_eq!(read.matches(&object), expected, "{selector}");
    }

    #[test]
    fn every_requirement_has_to_be_met() {
        check(&json!({}), true);
        check(&json!({"matchLabels": {"app": "web", "tier": "front"}}), true);
        check(&json!({"matchLabels": {"app": "web", "tier": "back"}}), false);
        let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        check(&expression("app", "In", &["api", "web"]), true);
        check(&expression("app", "In", &["api"]), false);
        check(&expression("app", "NotIn", &["api"]), true);
        check(&expression("app", "NotIn", &["web"]), false);
        check(&expression("none", "NotIn", &["web"]), true);
        check(&expression("app", "Exists", &[]), true);
        check(&expression("none", "Exists", &[]), false);
        check(&expression("none", "DoesNotExist", &[]), true);
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        let selector = json!({
            "matchLabels": {"app": 1}, "matchExpression": [],
            "matchExpressions": [{"operator": "Is"}, {"key": "a", "operator": "In"}, {"key": "a", "operator": "Exists", "values": ["b"]}],
        });
        let problems = Selector::read("s", &selector).1;
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "s.matchLabels",
                "s.matchExpressions[0].key",
                "s.matchExpressions[0].operator",
                "s.matchExpressions[1].values",
                "s.matchExpressions[2].values",
                "s.matchExpression",
            ]
        );
    }
}
