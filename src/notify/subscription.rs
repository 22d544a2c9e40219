//! Who gets what: annotations of a Rollout, and what the `ConfigMap` gives to all.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::config::{Config, read};
use crate::api::Rollout;

/// Prefix of annotations `notifications.argoproj.io/subscribe.<trigger>.<service>: <recipient>;<recipient>`.
const SUBSCRIBE: &str = "notifications.argoproj.io/subscribe.";
/// The annotation that holds a list of subscriptions.
const SUBSCRIPTIONS: &str = "notifications.argoproj.io/subscriptions";

/// Where a notification goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Destination {
    pub(super) service: String,
    /// Empty for a service that needs none.
    pub(super) recipient: String,
}

/// A subscription of the `ConfigMap`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subscription {
    destinations: Vec<Destination>,
    triggers: BTreeSet<String>,
    /// Labels that a Rollout must have.
    labels: BTreeMap<String, String>,
}

/// The same as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DefaultSubscription {
    recipients: Vec<String>,
    triggers: Vec<String>,
    #[serde(default)]
    selector: String,
}

/// One entry of the annotation with a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    trigger: Vec<String>,
    destinations: Vec<ListedDestination>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedDestination {
    service: String,
    #[serde(default)]
    recipients: Vec<String>,
}

impl DefaultSubscription {
    pub(super) fn parse(self) -> Result<Subscription, String> {
        // A webhook has no recipient.
        let destination = |text: &String| {
            let (service, recipient) = text.split_once(':').unwrap_or((text, ""));
            Destination { service: service.to_owned(), recipient: recipient.to_owned() }
        };
        let label = |term: &str| {
            let (key, value) =
                term.split_once('=').filter(|(key, _)| !key.ends_with('!')).ok_or_else(|| {
                    format!("the selector '{term}' is not supported: write label=value, several by comma")
                })?;
            Ok((key.trim().to_owned(), value.trim_start_matches('=').trim().to_owned()))
        };
        Ok(Subscription {
            destinations: self.recipients.iter().map(destination).collect(),
            triggers: self.triggers.into_iter().collect(),
            labels: self
                .selector
                .split(',')
                .filter(|term| !term.trim().is_empty())
                .map(label)
                .collect::<Result<_, String>>()?,
        })
    }
}

/// Everybody who gets what a trigger sends about a Rollout, each once. An annotation that cannot be read is one of the
/// `problems` and names nobody.
pub(super) fn destinations(
    config: &Config,
    rollout: &Rollout,
    trigger: &str,
    problems: &mut Vec<String>,
) -> BTreeSet<Destination> {
    let labels = rollout.metadata.labels.iter().flatten().collect::<BTreeMap<_, _>>();
    let is_meant = |found: &&Subscription| {
        found.triggers.contains(trigger)
            && found.labels.iter().all(|(key, value)| labels.get(key).is_some_and(|found| *found == value))
    };
    let by_default = config.subscriptions.iter().filter(is_meant);
    let by_default = by_default.flat_map(|found| found.destinations.clone());
    by_default.chain(annotated(rollout, trigger, problems)).collect()
}

fn annotated(rollout: &Rollout, trigger: &str, problems: &mut Vec<String>) -> Vec<Destination> {
    let mut found = Vec::new();
    for (key, value) in rollout.metadata.annotations.iter().flatten() {
        if let Some(rest) = key.strip_prefix(SUBSCRIBE) {
            match rest.split_once('.') {
                Some((of, service)) if of == trigger => found.extend(to(service, value.split(';'))),
                Some(_) => {}
                None => problems
                    .push(format!("Annotation {key} names no service: write {SUBSCRIBE}TRIGGER.SERVICE")),
            }
        } else if key == SUBSCRIPTIONS {
            let listed = read::<Vec<Listed>>(value).unwrap_or_else(|why| {
                problems.push(format!("Annotation {key} cannot be read: {why}"));
                vec![]
            });
            let meant = listed.into_iter().filter(|one| one.trigger.iter().any(|name| name == trigger));
            for one in meant.flat_map(|one| one.destinations) {
                found.extend(to(&one.service, one.recipients.iter().map(String::as_str)));
            }
        }
    }
    found
}

/// A service that is named without a recipient needs none.
fn to<'a>(service: &str, recipients: impl Iterator<Item = &'a str>) -> Vec<Destination> {
    let mut recipients: Vec<_> = recipients.map(str::trim).filter(|one| !one.is_empty()).collect();
    if recipients.is_empty() {
        recipients.push("");
    }
    let destination =
        |recipient: &str| Destination { service: service.to_owned(), recipient: recipient.to_owned() };
    recipients.into_iter().map(destination).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn annotations_and_defaults_name_each_recipient_once() {
        let subscriptions = "
- recipients: [slack:ops, pager:night]
  triggers: [on-rollout-aborted]
  selector: tier=gold,team==shop
- recipients: [slack:all]
  triggers: [on-rollout-completed]
";
        let config = Config::parse(&[("subscriptions".to_owned(), subscriptions.to_owned())].into());
        assert_eq!(config.problems, Vec::<String>::new());
        let listed = "
- trigger: [on-rollout-aborted]
  destinations: [{service: teams, recipients: [web]}, {service: hook}]
";
        let rollout = |labels: &[(&str, &str)]| -> Rollout {
            let labels: BTreeMap<_, _> = labels.iter().copied().collect();
            let annotations = json!({
                "notifications.argoproj.io/subscribe.on-rollout-aborted.slack": "ops; night ;",
                "notifications.argoproj.io/subscribe.on-rollout-completed.slack": "other",
                "notifications.argoproj.io/subscriptions": listed,
            });
            serde_json::from_value(
                json!({"metadata": {"labels": labels, "annotations": annotations}, "spec": {}}),
            )
            .unwrap()
        };
        let named = |labels: &[(&str, &str)]| -> Vec<String> {
            let mut problems = Vec::new();
            let all = destinations(&config, &rollout(labels), "on-rollout-aborted", &mut problems);
            assert_eq!(problems, Vec::<String>::new());
            all.into_iter().map(|to| format!("{}:{}", to.service, to.recipient)).collect()
        };
        let annotated = ["hook:", "slack:night", "slack:ops", "teams:web"];
        assert_eq!(named(&[("tier", "gold")]), annotated);
        let all = named(&[("tier", "gold"), ("team", "shop")]);
        assert_eq!(all, ["hook:", "pager:night", "slack:night", "slack:ops", "teams:web"]);
    }
}
