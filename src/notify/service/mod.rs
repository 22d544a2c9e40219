//! What a service is sent: an HTTP request or a mail, made of its settings and of the part of the template that is for it.

mod email;
mod github;
mod grafana;
mod pager_duty;
mod slack;
mod teams;
mod webhook;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use regex::{Captures, Regex};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use self::email::{Encryption, Mail};
pub use self::github::CommitStatus;
use super::config::Config;
use super::template::{self, Data};
use crate::analysis::Secret;
use crate::analysis::query::HttpRequest;
use crate::analysis::secrets::redact;
use crate::api::rollout_status::PendingNotification;
use crate::units::Timestamp;

/// How long a service may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a notification is delivered.
#[derive(Clone, Debug, PartialEq)]
pub enum Delivery {
    /// By one request.
    Http {
        /// The request.
        request: HttpRequest,
        /// Whose answer it gets.
        kind: Kind,
    },
    /// By an app of GitHub's.
    CommitStatus(Box<CommitStatus>),
    /// By mail.
    Mail(Mail),
}

/// A kind of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mail.
    Email,
    /// GitHub: the status of a commit.
    GitHub,
    /// Grafana: annotations of dashboards.
    Grafana,
    /// `PagerDuty`'s events.
    PagerDuty,
    /// Slack: messages in channels.
    Slack,
    /// Microsoft Teams: cards in channels.
    Teams,
    /// Any HTTP server.
    Webhook,
}

impl Kind {
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        match name {
            "email" => Ok(Self::Email),
            "github" => Ok(Self::GitHub),
            "grafana" => Ok(Self::Grafana),
            "pagerdutyv2" => Ok(Self::PagerDuty),
            "slack" => Ok(Self::Slack),
            "teams" => Ok(Self::Teams),
            "webhook" => Ok(Self::Webhook),
            other => Err(format!(
                "'{other}' is not supported; slack, teams, email, pagerdutyv2, grafana, github and webhook are, the last for any HTTP server"
            )),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::GitHub => "github",
            Self::Grafana => "grafana",
            Self::PagerDuty => "pagerdutyv2",
            Self::Slack => "slack",
            Self::Teams => "teams",
            Self::Webhook => "webhook",
        }
    }

    /// Whether an answer with a good status says that the notification was taken.
    ///
    /// # Errors
    /// Why it was not.
    pub fn accepts(self, body: &[u8]) -> Result<(), String> {
        match self {
            Self::Slack => slack::accepts(body),
            Self::Teams => teams::accepts(body),
            Self::Email | Self::GitHub | Self::Grafana | Self::PagerDuty | Self::Webhook => Ok(()),
        }
    }
}

/// A service of the `ConfigMap`.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its kind.
    pub kind: Kind,
    /// What subscriptions call it.
    pub name: String,
    /// As written, with `$key` for keys of the Secret.
    pub(super) settings: Value,
}

/// What one message to one recipient says.
struct Notice<'a> {
    recipient: &'a str,
    /// Tells it from others, also when it is sent again.
    id: String,
    message: String,
    /// The part of the template that is for the service, or nothing.
    part: Value,
    at: Timestamp,
}

/// What templates know.
#[derive(Serialize)]
struct Known<'a> {
    /// The Rollout and its runs.
    #[serde(flatten)]
    about: &'a Value,
    recipient: &'a str,
    context: &'a BTreeMap<String, String>,
    secrets: BTreeMap<&'a str, &'a str>,
    event: Value,
}

/// What delivers a notification. `about` is what templates know of the Rollout; `secrets` the Secret's keys.
///
/// # Errors
/// Why it cannot be made, until somebody changes the `ConfigMap` or the Secret.
pub fn delivery(
    config: &Config,
    pending: &PendingNotification,
    about: &Value,
    secrets: &BTreeMap<String, Secret>,
) -> Result<Delivery, String> {
    let PendingNotification { service, template, .. } = pending;
    let not_there = |what: String| format!("{what} is not in the ConfigMap {}: add it", super::CONFIG_MAP);
    let service = config.services.get(service).ok_or_else(|| not_there(format!("service '{service}'")))?;
    let entry = config.templates.get(template).ok_or_else(|| not_there(format!("template.{template}")))?;
    let event = json!({
        "id": pending.id, "type": pending.r#type, "reason": pending.reason, "message": pending.message, "time": pending.at,
    });
    let data = Data::new(&Known {
        about,
        recipient: &pending.recipient,
        context: &config.context,
        secrets: secrets.iter().map(|(key, secret)| (key.as_str(), secret.reveal())).collect(),
        event,
    })?;
    let notice = service.notice(entry, pending, &data);
    let delivery = notice.and_then(|notice| service.delivery(filled(&service.settings, secrets), &notice));
    // What does not fit into a field is quoted, as Rust writes texts.
    let hidden = secrets.values().flat_map(|secret| {
        let plain = secret.reveal().trim_end();
        [Secret::new(plain), Secret::new(format!("{plain:?}").trim_matches('"'))]
    });
    let hidden: Vec<_> = hidden.collect();
    delivery
        .map_err(|why| redact(&format!("template.{template} for service {}: {why}", service.name), &hidden))
}

/// Whether the parts of a template are for services that there are, with fields that these know.
///
/// # Errors
/// What is wrong with the first that is not.
pub(super) fn check_parts(entry: &Value) -> Result<(), String> {
    let fields = entry.as_object().ok_or("it is no map of parts")?;
    for (name, part) in fields.iter().filter(|(name, _)| *name != "message") {
        let kind = Kind::parse(name)?;
        let parts: Vec<_> = match (kind, part.as_object()) {
            (Kind::Webhook, Some(webhooks)) => webhooks.values().collect(),
            _ => vec![part],
        };
        for part in parts {
            kind.check_part(part.clone()).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    Ok(())
}

impl Kind {
    fn check_part(self, part: Value) -> Result<(), serde_json::Error> {
        match self {
            Self::Email => serde_json::from_value::<email::Part>(part).map(drop),
            Self::GitHub => serde_json::from_value::<github::Part>(part).map(drop),
            Self::Grafana => serde_json::from_value::<grafana::Part>(part).map(drop),
            Self::PagerDuty => serde_json::from_value::<pager_duty::Part>(part).map(drop),
            Self::Slack => serde_json::from_value::<slack::Part>(part).map(drop),
            Self::Teams => serde_json::from_value::<teams::Part>(part).map(drop),
            Self::Webhook => serde_json::from_value::<webhook::Part>(part).map(drop),
        }
    }
}

impl Service {
    /// Whether its settings can be read, with `$key` as it stands.
    pub(super) fn check(&self) -> Result<(), String> {
        let settings = self.settings.clone();
        match self.kind {
            Kind::Email => read::<email::Settings>(settings).map(drop),
            Kind::GitHub => read::<github::Settings>(settings).map(drop),
            Kind::Grafana => read::<grafana::Settings>(settings).map(drop),
            Kind::PagerDuty => read::<pager_duty::Settings>(settings).map(drop),
            Kind::Slack => read::<slack::Settings>(settings).map(drop),
            Kind::Teams => read::<teams::Settings>(settings).map(drop),
            Kind::Webhook => read::<webhook::Settings>(settings).map(drop),
        }
    }

    fn notice<'a>(
        &self,
        entry: &Value,
        pending: &'a PendingNotification,
        data: &Data,
    ) -> Result<Notice<'a>, String> {
        let part = entry.get(self.kind.name()).unwrap_or(&Value::Null);
        let part = match self.kind {
            Kind::Webhook => part.get(&self.name).unwrap_or(&Value::Null),
            Kind::Email | Kind::GitHub | Kind::Grafana | Kind::PagerDuty | Kind::Slack | Kind::Teams => part,
        };
        let message = match entry.get("message") {
            None | Some(Value::Null) => pending.message.clone(),
            Some(message) => match template::render(message, data)? {
                Value::String(text) => text,
                other => other.to_string(),
            },
        };
        Ok(Notice {
            recipient: &pending.recipient,
            id: pending.id.clone(),
            message,
            part: template::render(part, data)?,
            at: pending.at,
        })
    }

    fn delivery(&self, settings: Value, notice: &Notice<'_>) -> Result<Delivery, String> {
        let request = match self.kind {
            Kind::Email => {
                return email::mail(read(settings)?, notice, read_part(notice)?).map(Delivery::Mail);
            }
            Kind::GitHub => {
                let status = github::commit_status(read(settings)?, notice, &read_part(notice)?);
                return status.map(|status| Delivery::CommitStatus(Box::new(status)));
            }
            Kind::Grafana => Ok(grafana::request(&read(settings)?, notice, &read_part(notice)?)),
            Kind::PagerDuty => pager_duty::request(&read(settings)?, notice, &read_part(notice)?),
            Kind::Slack => slack::request(&read(settings)?, notice, &read_part(notice)?),
            Kind::Teams => teams::request(&read(settings)?, notice, &read_part(notice)?),
            Kind::Webhook => webhook::request(read(settings)?, notice, read_part(notice)?),
        };
        Ok(Delivery::Http { request: request?, kind: self.kind })
    }
}

/// Settings, all of whose fields have to be known.
fn read<T: DeserializeOwned>(settings: Value) -> Result<T, String> {
    serde_json::from_value(settings).map_err(|error| format!("its settings are wrong: {error}"))
}

fn read_part<T: DeserializeOwned + Default>(notice: &Notice<'_>) -> Result<T, String> {
    if notice.part.is_null() {
        return Ok(T::default());
    }
    serde_json::from_value(notice.part.clone())
        .map_err(|error| format!("its part for the service is wrong: {error}"))
}

/// JSON that a template comes to, as the value of a field.
fn json_of(field: &str, text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{field} is no JSON once it is rendered: {error}"))
}

/// Settings with the keys of the Secret put in for `$key`; one that the Secret does not have stays.
fn filled(settings: &Value, secrets: &BTreeMap<String, Secret>) -> Value {
    match settings {
        Value::String(text) => Value::String(filled_text(text, secrets)),
        Value::Array(items) => items.iter().map(|item| filled(item, secrets)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), filled(value, secrets))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => settings.clone(),
    }
}

fn filled_text(text: &str, secrets: &BTreeMap<String, Secret>) -> String {
    static REFERENCE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\$([-._a-zA-Z0-9]+)").ok());
    let Some(reference) = &*REFERENCE else { return text.to_owned() };
    let value = |found: &Captures<'_>| {
        let key = found.get(1).map_or("", |key| key.as_str());
        let whole = found.get(0).map_or("", |whole| whole.as_str());
        secrets
            .get(key)
            .map_or_else(|| whole.to_owned(), |secret| secret.reveal().trim_end_matches('\n').to_owned())
    };
    reference.replace_all(text, value).into_owned()
}

#[cfg(test)]
mod tests;
