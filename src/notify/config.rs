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
                super::service::check_parts(&template)?;
                self.templates.insert(name.to_owned(), template);
            }
            ("service", name) => {
                let (kind, own) = name.split_once('.').unwrap_or((name, name));
                let service =
                    Service { kind: Kind::parse(kind)?, name: own.to_owned(), settings: read(text)? };
                service.check()?;
                if self.services.contains_key(own) {
                    return Err(format!(
                        "another service is called '{own}', too: give this one a name of its own"
                    ));
                }
                self.services.insert(own.to_owned(), service);
            }
            ("subscriptions", "") => {
                for entry in read::<Vec<Value>>(text)? {
                    let read = serde_json::from_value::<DefaultSubscription>(entry);
                    match read.map_err(|error| error.to_string()).and_then(DefaultSubscription::parse) {
                        Ok(subscription) => self.subscriptions.push(subscription),
                        Err(why) => self.problems.push(format!("{key}: {why}")),
                    }
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

    /// Whether nobody has configured anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.triggers.is_empty()
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
            ("service.webhook.slack", "url: http://localhost"),
            ("service.email", "{host: h, port: often, from: a@b.c}"),
            ("template.unknown", "message: done\nopsgenie: {}"),
            ("template.odd", "slack: {groupingKey: a}"),
            (
                "subscriptions",
                "- recipients: [slack:a]\n  triggers: [x]\n  selector: a in (b)\n- recipients: [slack]\n  triggers: [on-x]",
            ),
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
            "service.webhook.slack: another service is called 'slack', too",
            "service.email: its settings are wrong",
            "template.unknown: 'opsgenie' is not supported",
            "template.odd: slack: unknown field `groupingKey`",
            "subscriptions: the selector 'a in (b)' is not supported",
            "triggers: is not an entry",
        ] {
            assert!(problems.contains(part), "{part} is not in\n{problems}");
        }
        assert_eq!((config.problems.len(), config.subscriptions.len()), (10, 1));
    }
}
