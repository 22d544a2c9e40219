//! What is still to be delivered, in the status of each Rollout.

use std::collections::BTreeSet;
use std::time::Duration;

use super::config::Config;
use super::{CONFIG_MAP, subscription, trigger};
use crate::api::rollout_status::PendingNotification;
use crate::api::{Rollout, RolloutStatus};
use crate::events::{Event, Severity};
use crate::units::Timestamp;

/// Most that wait for one Rollout, so that a status stays small.
pub const MAX_PENDING: usize = 50;
/// Longest message, in bytes: as long as that of an Event.
const MAX_MESSAGE: usize = 1_024;
/// Longest name of a recipient, in bytes: that of a mail address.
const MAX_RECIPIENT: usize = 320;
/// How long delivery is tried: longer than a service is usually down, and not so long that the news is none any more.
pub const PATIENCE: Duration = Duration::from_hours(1);

/// Brings the outbox of a status up to date: without what was `delivered`, and with what `events` are to somebody. Tells which
/// notifications are not noted, and why.
pub fn update(
    status: &mut RolloutStatus,
    config: &Config,
    rollout: &Rollout,
    events: &[Event],
    delivered: &BTreeSet<String>,
    now: Timestamp,
) -> Vec<String> {
    let (mut pending, mut problems) = (status.pending_notifications.take().unwrap_or_default(), Vec::new());
    pending.retain(|one| !delivered.contains(&one.id));
    if !config.is_empty() {
        for (number, event) in events.iter().enumerate() {
            pending.extend(noted(config, rollout, event, number, now, &mut problems));
        }
    }
    while pending.len() > MAX_PENDING {
        let oldest = pending.iter().position(|one| one.r#type == Severity::Normal.as_str());
        let dropped = pending.remove(oldest.unwrap_or_default());
        problems.push(format!(
            "The notification of {} for {} by {} is dropped: more than {MAX_PENDING} are waiting",
            dropped.reason, dropped.recipient, dropped.service
        ));
    }
    status.pending_notifications = Some(pending).filter(|pending| !pending.is_empty());
    problems
}

/// What an event is to everybody who has subscribed to it: one notification for each recipient and template. The version that
/// was decided about is part of their names, as no other decision can be written for it.
fn noted(
    config: &Config,
    rollout: &Rollout,
    event: &Event,
    number: usize,
    now: Timestamp,
    problems: &mut Vec<String>,
) -> Vec<PendingNotification> {
    let trigger = trigger(event.reason());
    let destinations = subscription::destinations(config, rollout, &trigger, problems);
    if destinations.is_empty() {
        return vec![];
    }
    let Some(templates) = config.triggers.get(&trigger) else {
        problems.push(format!(
            "Trigger '{trigger}' is subscribed to and not configured: add trigger.{trigger} to the ConfigMap {CONFIG_MAP}"
        ));
        return vec![];
    };
    let uid: String = rollout.metadata.uid.iter().flat_map(|uid| uid.chars()).take(8).collect();
    let version = rollout.metadata.resource_version.as_deref().unwrap_or_default();
    let message = event.to_string();
    let mut noted = Vec::new();
    for to in destinations {
        if !config.services.contains_key(&to.service) {
            problems.push(format!(
                "Service '{}' is subscribed to and not configured: add it to the ConfigMap {CONFIG_MAP}",
                to.service
            ));
            continue;
        }
        if to.recipient.len() > MAX_RECIPIENT {
            problems.push(format!("A recipient of {} is longer than {MAX_RECIPIENT} bytes", to.service));
            continue;
        }
        noted.extend(templates.iter().map(|template| PendingNotification {
            id: String::new(),
            r#type: event.severity().as_str().to_owned(),
            reason: event.reason().to_owned(),
            service: to.service.clone(),
            recipient: to.recipient.clone(),
            template: template.clone(),
            message: message[..message.floor_char_boundary(MAX_MESSAGE)].to_owned(),
            at: now.whole_seconds(),
        }));
    }
    for (position, one) in noted.iter_mut().enumerate() {
        one.id = format!("{uid}-{version}-{number}-{position}");
    }
    noted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(version: &str) -> Rollout {
        let annotations = json!({
            "notifications.argoproj.io/subscribe.on-rollout-resumed.slack": "ops;web",
            "notifications.argoproj.io/subscribe.on-rollout-retry.slack": "ops",
            "notifications.argoproj.io/subscribe.on-router-refused": "ops",
        });
        let metadata = json!({"name": "api", "uid": "12345678-9", "resourceVersion": version, "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata, "spec": {}})).unwrap()
    }

    fn config() -> Config {
        let entries = [
            ("service.slack", "token: x"),
            ("trigger.on-rollout-resumed", "- send: [told]"),
            ("trigger.on-traffic-routing-error", "- send: [told, more]"),
            ("subscriptions", "- {recipients: [slack:on-call], triggers: [on-traffic-routing-error]}"),
            ("template.told", "message: x"),
            ("template.more", "message: y"),
        ];
        Config::parse(&entries.map(|(key, text)| (key.to_owned(), text.to_owned())).into())
    }

    fn ids(status: &RolloutStatus) -> Vec<&str> {
        status.pending_notifications.iter().flatten().map(|one| one.id.as_str()).collect()
    }

    fn updated(
        status: &mut RolloutStatus,
        version: &str,
        events: &[Event],
        delivered: &[&str],
    ) -> Vec<String> {
        let delivered = delivered.iter().map(|id| (*id).to_owned()).collect();
        update(status, &config(), &rollout(version), events, &delivered, Timestamp::from_millis(1_500))
    }

    #[test]
    fn what_was_delivered_goes_and_what_happens_comes() {
        let mut status = RolloutStatus::default();
        updated(&mut status, "7", &[Event::Paused, Event::Resumed], &[]);
        assert_eq!(
            ids(&status),
            ["12345678-7-1-0", "12345678-7-1-1"],
            "nobody has subscribed to the first one"
        );
        let first = &status.pending_notifications.as_ref().unwrap()[0];
        assert_eq!((first.recipient.as_str(), first.at), ("ops", Timestamp::from_millis(1_000)));
        updated(&mut status, "8", &[], &["12345678-7-1-0"]);
        assert_eq!(ids(&status), ["12345678-7-1-1"]);
        updated(&mut status, "9", &[], &["12345678-7-1-1"]);
        assert_eq!(status, RolloutStatus::default());
    }

    #[test]
    fn each_template_is_a_notification_and_its_message_is_no_longer_than_an_events() {
        let mut status = RolloutStatus::default();
        let event = Event::RouterRefused { message: "\u{e4}".repeat(2_000) };
        updated(&mut status, "7", &[event], &[]);
        let pending = status.pending_notifications.unwrap();
        let templates: Vec<_> = pending.iter().map(|one| one.template.as_str()).collect();
        assert_eq!(templates, ["told", "more"]);
        assert!(pending.iter().all(|one| one.message.len() <= MAX_MESSAGE && one.r#type == "Warning"));
    }

    #[test]
    fn what_cannot_be_told_is_named_and_without_a_configuration_nothing_is_done() {
        let mut status = RolloutStatus::default();
        let problems = updated(&mut status, "7", &[Event::Retried], &[]);
        assert_eq!(status, RolloutStatus::default());
        assert!(problems[0].contains("on-router-refused"), "an annotation without a service: {problems:?}");
        assert!(problems[1].starts_with("Trigger 'on-rollout-retry' is subscribed to and not configured"));
        let none = update(
            &mut status,
            &Config::default(),
            &rollout("7"),
            &[Event::Resumed],
            &BTreeSet::new(),
            Timestamp::from_millis(0),
        );
        assert_eq!((none.len(), status), (0, RolloutStatus::default()));
    }

    #[test]
    fn when_too_many_wait_the_oldest_that_is_no_warning_gives_way() {
        let mut status = RolloutStatus::default();
        updated(&mut status, "0", &[Event::RouterRefused { message: String::new() }], &[]);
        let mut problems = Vec::new();
        for version in 1..=30 {
            problems.extend(updated(&mut status, &version.to_string(), &[Event::Resumed], &[]));
        }
        let ids = ids(&status);
        assert_eq!(ids.len(), MAX_PENDING);
        assert_eq!(ids[..3], ["12345678-0-0-0", "12345678-0-0-1", "12345678-7-0-0"]);
        assert_eq!(problems.iter().filter(|why| why.contains("is dropped: more than 50")).count(), 12);
    }
}
