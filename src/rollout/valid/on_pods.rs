//! What either strategy says about pods beside their template: labels and annotations by role, and anti-affinity.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::SpecError;
use super::names::is_dns_part;
use crate::api::RolloutSpec;
use crate::api::labels::POD_TEMPLATE_HASH;
use crate::api::rollout::{AntiAffinity, PodMetadata};
use crate::rollout::injection::{Marks, OnPods, Strength};
use crate::rollout::role_labels::is_key;

/// Longest name of a label or annotation, and longest value of a label.
const LONGEST_NAME: usize = 63;
/// Longest prefix of a name.
const LONGEST_PREFIX: usize = 253;

/// Parses it. An illegal label is reported, and left out.
pub(super) fn parse(spec: &RolloutSpec, selector: &LabelSelector, problems: &mut Vec<SpecError>) -> OnPods {
    let Some(strategy) = &spec.strategy else { return OnPods::default() };
    let reserved = reserved(selector);
    let mut marks = |field: &str, given: Option<&PodMetadata>| {
        let given = given.cloned().unwrap_or_default();
        Marks {
            labels: labels(&format!("{field}.labels"), given.labels.unwrap_or_default(), &reserved, problems),
            annotations: annotations(
                &format!("{field}.annotations"),
                given.annotations.unwrap_or_default(),
                problems,
            ),
        }
    };
    match (&strategy.canary, &strategy.blue_green) {
        (Some(canary), _) => OnPods {
            new: marks("spec.strategy.canary.canaryMetadata", canary.canary_metadata.as_ref()),
            stable: marks("spec.strategy.canary.stableMetadata", canary.stable_metadata.as_ref()),
            apart: anti_affinity("spec.strategy.canary", canary.anti_affinity.as_ref(), problems),
        },
        (None, Some(blue_green)) => OnPods {
            new: marks("spec.strategy.blueGreen.previewMetadata", blue_green.preview_metadata.as_ref()),
            stable: marks("spec.strategy.blueGreen.activeMetadata", blue_green.active_metadata.as_ref()),
            apart: anti_affinity("spec.strategy.blueGreen", blue_green.anti_affinity.as_ref(), problems),
        },
        (None, None) => OnPods::default(),
    }
}

/// Labels by which pods are found: nothing may change them.
fn reserved(selector: &LabelSelector) -> BTreeSet<String> {
    let labels = selector.match_labels.clone().unwrap_or_default().into_keys();
    let expressions = selector.match_expressions.iter().flatten();
    let expressions = expressions.map(|expression| expression.key.clone());
    labels.chain(expressions).chain([POD_TEMPLATE_HASH.to_owned()]).collect()
}

fn labels(
    field: &str,
    given: BTreeMap<String, String>,
    reserved: &BTreeSet<String>,
    problems: &mut Vec<SpecError>,
) -> BTreeMap<String, String> {
    let is_legal = |key: &String, value: &String| {
        if is_key(key) {
            Err("pods carry this label for their role: name another one")
        } else if reserved.contains(key) {
            Err("pods are found by this label: it must stay as the template says; name another one")
        } else if !is_name(key) {
            Err(NO_NAME)
        } else if !value.is_empty() && !is_word(value) {
            Err(
                "a label's value has at most 63 letters, digits, '-', '_' and '.', and a letter or digit at both ends",
            )
        } else {
            Ok(())
        }
    };
    legal(field, given, is_legal, problems)
}

fn annotations(
    field: &str,
    given: BTreeMap<String, String>,
    problems: &mut Vec<SpecError>,
) -> BTreeMap<String, String> {
    legal(field, given, |key, _| if is_name(key) { Ok(()) } else { Err(NO_NAME) }, problems)
}

const NO_NAME: &str = "a name has at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends, \
                       after an optional DNS name and '/'";

fn legal(
    field: &str,
    given: BTreeMap<String, String>,
    is_legal: impl Fn(&String, &String) -> Result<(), &'static str>,
    problems: &mut Vec<SpecError>,
) -> BTreeMap<String, String> {
    let checked = given.into_iter().filter(|(key, value)| match is_legal(key, value) {
        Ok(()) => true,
        Err(why) => {
            problems.push(SpecError::new(format!("{field}['{key}']"), why));
            false
        }
    });
    checked.collect()
}

/// Whether this is the name of a label or annotation, with or without a prefix.
fn is_name(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let is_prefix = |prefix: &str| prefix.len() <= LONGEST_PREFIX && prefix.split('.').all(is_dns_part);
    prefix.is_none_or(is_prefix) && is_word(name)
}

fn is_word(text: &str) -> bool {
    let at_ends = |c: char| c.is_ascii_alphanumeric();
    text.len() <= LONGEST_NAME
        && text.starts_with(at_ends)
        && text.ends_with(at_ends)
        && text.chars().all(|c| at_ends(c) || ['-', '_', '.'].contains(&c))
}

fn anti_affinity(
    path: &str,
    given: Option<&AntiAffinity>,
    problems: &mut Vec<SpecError>,
) -> Option<Strength> {
    let given = given?;
    let field = format!("{path}.antiAffinity");
    let preferred = given.preferred_during_scheduling_ignored_during_execution.as_ref();
    match (preferred, &given.required_during_scheduling_ignored_during_execution) {
        (Some(preferred), None) => {
            let weight = preferred.weight.filter(|weight| (1..=100).contains(weight));
            if weight.is_none() {
                let field = format!("{field}.preferredDuringSchedulingIgnoredDuringExecution.weight");
                problems.push(SpecError::new(field, "AntiAffinity weight must be between 1-100"));
            }
            weight.map(Strength::Preferred)
        }
        (None, Some(_)) => Some(Strength::Required),
        (None, None) | (Some(_), Some(_)) => {
            let message = "AntiAffinity must have exactly one strategy listed: \
                           preferredDuringSchedulingIgnoredDuringExecution or \
                           requiredDuringSchedulingIgnoredDuringExecution";
            problems.push(SpecError::new(field, message));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The fields that a strategy is refused for.
    fn check(strategy: &Value, expected: &[&str]) {
        let spec = serde_json::from_value(json!({
            "selector": {
                "matchLabels": {"app": "web"},
                "matchExpressions": [{"key": "tier", "operator": "Exists"}],
            },
            "strategy": strategy,
        }));
        let mut problems = Vec::new();
        let spec = spec.unwrap();
        parse(&spec, &spec.selector.clone().unwrap_or_default(), &mut problems);
        let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, expected, "{strategy}");
    }

    #[test]
    fn labels_that_find_pods_cannot_be_overwritten() {
        let labels = json!({"app": "x", "tier": "x", "rollouts-pod-template-hash": "x", "role": "canary"});
        check(
            &json!({"canary": {"canaryMetadata": {"labels": labels}}}),
            &[
                "spec.strategy.canary.canaryMetadata.labels['app']",
                "spec.strategy.canary.canaryMetadata.labels['rollouts-pod-template-hash']",
                "spec.strategy.canary.canaryMetadata.labels['tier']",
            ],
        );
        check(
            &json!({"blueGreen": {"activeMetadata": {"labels": {"app": "web"}, "annotations": {"app": "x"}}}}),
            &["spec.strategy.blueGreen.activeMetadata.labels['app']"],
        );
    }

    #[test]
    fn names_and_values_are_those_that_the_api_server_takes() {
        let labels = json!({
            "role": "", "example.com/role": "a.b-c_d", "Role": "v", "-role": "x", "a/b/c": "x", "Example.com/a": "x",
            "role2": "with space",
        });
        let annotations = json!({"example.com/any": "with space", "": "x"});
        check(
            &json!({"canary": {"stableMetadata": {"labels": labels, "annotations": annotations}}}),
            &[
                "spec.strategy.canary.stableMetadata.labels['-role']",
                "spec.strategy.canary.stableMetadata.labels['Example.com/a']",
                "spec.strategy.canary.stableMetadata.labels['a/b/c']",
                "spec.strategy.canary.stableMetadata.labels['role2']",
                "spec.strategy.canary.stableMetadata.annotations['']",
            ],
        );
    }

    #[test]
    fn anti_affinity_is_one_of_two_and_a_preference_has_a_weight() {
        let preferred =
            |weight: &Value| json!({"preferredDuringSchedulingIgnoredDuringExecution": {"weight": weight}});
        let both = json!({
            "preferredDuringSchedulingIgnoredDuringExecution": {"weight": 1},
            "requiredDuringSchedulingIgnoredDuringExecution": {},
        });
        let in_canary = |anti: &Value| json!({"canary": {"antiAffinity": anti}});
        check(&in_canary(&both), &["spec.strategy.canary.antiAffinity"]);
        check(&in_canary(&json!({})), &["spec.strategy.canary.antiAffinity"]);
        check(&in_canary(&preferred(&json!(100))), &[]);
        check(&in_canary(&json!({"requiredDuringSchedulingIgnoredDuringExecution": {}})), &[]);
        for weight in [json!(0), json!(101), Value::Null] {
            check(
                &json!({"blueGreen": {"antiAffinity": preferred(&weight)}}),
                &[
                    "spec.strategy.blueGreen.antiAffinity.preferredDuringSchedulingIgnoredDuringExecution.weight",
                ],
            );
        }
    }
}
