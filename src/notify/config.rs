//! The `ConfigMap`: `trigger.<name>`, `template.<name>`, `service.<kind>[.<name>]`, `subscriptions` and `context`.
//!
//! What is wrong with one entry concerns that entry alone: it is as good as absent, and named.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::service::{Kind, Service};
use super::subscription::{DefaultSubscription, Subscription};

/// What can be delivered, how, and to whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The templates that each trigger sends, by its name.
    pub(super) triggers: BTreeMap<String, Vec<String>>,
    pub(super) templates: BTreeMap<String, Value>,
    pub(super) services: BTreeMap<String, Service>,
    pub(super) subscriptions: Vec<Subscription>,
    /// What every template knows as `.context`.
    pub(super) context: BTreeMap<String, String>,
    /// What is wrong, entry by entry.
    pub problems: Vec<String>,
}

/// One entry of a trigger.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sending {
    send: Vec<String>,
    /// Tells people what it is for.
    #[serde(rename = "description")]
    _description: Option<String>,
}

impl Config {
    /// Reads the entries of the `ConfigMap`.
    #[must_use]
    pub fn parse(data: &BTreeMap<String, String>) -> Self {
        let mut config = Self::default();
        for (key, text) in data {
            if let Err(why) = config.take(key, text) {
                config.problems.push(format!("{key}: {why}"));
            }
        }
        let unknown = config.triggers.iter().flat_map(|(trigger, templates)| {
            let absent = templates.iter().filter(|name| !config.templates.contains_key(*name));
            absent.map(move |name| {
                format!("trigger.{trigger}: there is no template.{name}: add it, or correct the name")
            })
        });
        let unknown: Vec<_> = unknown.collect();
        config.problems.extend(unknown);
        config
    }

    fn take(&mut self, key: &str, text: &str) -> Result<(), String> {
        match key.split_once('.').unwrap_or((key, "")) {
            ("trigger", name) => {
                let entries: Vec<Sending> = read(text)?;
                self.triggers
                    .insert(name.to_owned(), entries.into_iter().flat_map(|entry| entry.send).collect());
            }
            ("template", name) => {
                let template = read::<Value>(text)?;
                super::template::check(&template)?;
                self.templates.insert(name.to_owned(), template);
            }
            ("service", name) => {
                let (kind, own) = name.split_once('.').unwrap_or((name, name));
                let kind = Kind::parse(kind)?;
                self.services
                    .insert(own.to_owned(), Service { kind, name: own.to_owned(), settings: read(text)? });
            }
            ("subscriptions", "") => {
                for subscription in read::<Vec<DefaultSubscription>>(text)? {
                    self.subscriptions.push(subscription.parse()?);
                }
            }
            ("context", "") => self.context = read(text)?,
            ("defaultTriggers", _) => {
                return Err("is not supported: name the trigger in each subscription".to_owned());
            }
            _ => return Err("is not an entry of this ConfigMap: correct or remove it".to_owned()),
        }
        Ok(())
    }

    /// Whether nothing is ever sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }
}

/// Reads YAML. The error is one line.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let shown = |error: serde_saphyr::Error| error.to_string().lines().next().unwrap_or_default().to_owned();
    serde_saphyr::from_str(text).map_err(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(entries: &[(&str, &str)]) -> Config {
        Config::parse(&entries.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect())
    }

    #[test]
    fn what_is_wrong_with_an_entry_concerns_that_entry_alone() {
        let config = config(&[
            ("trigger.on-rollout-completed", "- send: [completed, other]"),
            ("trigger.on-rollout-aborted", "- send: [completed]\n  when: rollout.status.phase == 'Degraded'"),
            ("template.completed", "message: done"),
            ("template.broken", "message: '{{ if }}'"),
            ("service.slack", "token: $slack-token"),
            ("service.opsgenie", "apiUrl: x"),
            ("subscriptions", "- recipients: [slack]\n  triggers: [on-rollout-completed]"),
            ("triggers", "x"),
        ]);
        assert_eq!(config.triggers.keys().collect::<Vec<_>>(), ["on-rollout-completed"]);
        assert_eq!(config.services.keys().collect::<Vec<_>>(), ["slack"]);
        let problems = config.problems.join("\n");
        for part in [
            "trigger.on-rollout-completed: there is no template.other",
            "trigger.on-rollout-aborted: ",
            "`when`",
            "template.broken: ",
            "service.opsgenie: 'opsgenie' is not supported",
            "subscriptions: 'slack' names no recipient",
            "triggers: is not an entry",
        ] {
            assert!(problems.contains(part), "{part} is not in\n{problems}");
        }
        assert_eq!(config.problems.len(), 6);
    }
}
