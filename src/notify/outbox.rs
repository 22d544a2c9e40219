//! What is still to be delivered, in the status of each Rollout.

use std::collections::BTreeSet;
use std::time::Duration;

use super::config::Config;
use super::{subscription, trigger};
use crate::api::rollout_status::PendingNotification;
use crate::api::{Rollout, RolloutStatus};
use crate::events::Event;
use crate::units::Timestamp;

/// Most that wait for one Rollout; of more, the oldest give way, so that a status stays small.
const MAX_PENDING: usize = 50;
/// How long delivery is tried: longer than a service is usually down, and not so long that the news is none any more.
pub const PATIENCE: Duration = Duration::from_hours(1);

/// Brings the outbox of a status up to date: without what was `delivered`, and with what `events` are to somebody. `version` is
/// that of the Rollout that was decided about, which no other decision can be written for.
pub fn update(
    status: &mut RolloutStatus,
    config: &Config,
    rollout: &Rollout,
    events: &[Event],
    delivered: &BTreeSet<String>,
    now: Timestamp,
) {
    let mut pending = status.pending_notifications.take().unwrap_or_default();
    pending.retain(|one| !delivered.contains(&one.id));
    let version = rollout.metadata.resource_version.as_deref().unwrap_or_default();
    for (number, event) in events.iter().enumerate() {
        let trigger = trigger(event.reason());
        let destinations = subscription::destinations(config, rollout, &trigger).into_iter().enumerate();
        pending.extend(destinations.map(|(position, to)| PendingNotification {
            id: format!("{version}-{number}-{position}"),
            r#type: event.severity().as_str().to_owned(),
            reason: event.reason().to_owned(),
            service: to.service,
            recipient: to.recipient,
            message: event.to_string(),
            at: now.whole_seconds(),
        }));
    }
    let surplus = pending.len().saturating_sub(MAX_PENDING);
    pending.drain(..surplus);
    status.pending_notifications = Some(pending).filter(|pending| !pending.is_empty());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout() -> Rollout {
        let annotations = json!({"notifications.argoproj.io/subscribe.on-rollout-resumed.slack": "ops;web"});
        let metadata = json!({"name": "api", "resourceVersion": "7", "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata, "spec": {}})).unwrap()
    }

    fn ids(status: &RolloutStatus) -> Vec<&str> {
        status.pending_notifications.iter().flatten().map(|one| one.id.as_str()).collect()
    }

    #[test]
    fn what_was_delivered_goes_and_what_happens_comes() {
        let (config, rollout, now) = (Config::default(), rollout(), Timestamp::from_millis(1_500));
        let mut status = RolloutStatus::default();
        let events = [Event::Paused, Event::Resumed];
        update(&mut status, &config, &rollout, &events, &BTreeSet::new(), now);
        assert_eq!(ids(&status), ["7-1-0", "7-1-1"], "nobody has subscribed to the first one");
        let first = &status.pending_notifications.as_ref().unwrap()[0];
        assert_eq!((first.recipient.as_str(), first.at), ("ops", Timestamp::from_millis(1_000)));
        update(&mut status, &config, &rollout, &[], &["7-1-0".to_owned()].into(), now);
        assert_eq!(ids(&status), ["7-1-1"]);
        update(&mut status, &config, &rollout, &[], &["7-1-1".to_owned()].into(), now);
        assert_eq!(status, RolloutStatus::default());
    }

    #[test]
    fn the_oldest_give_way_when_too_many_wait() {
        let (config, now) = (Config::default(), Timestamp::from_millis(0));
        let mut status = RolloutStatus::default();
        for version in 0..40 {
            let mut rollout = rollout();
            rollout.metadata.resource_version = Some(version.to_string());
            update(&mut status, &config, &rollout, &[Event::Resumed], &BTreeSet::new(), now);
        }
        let ids = ids(&status);
        assert_eq!((ids.len(), ids[0], ids[MAX_PENDING - 1]), (MAX_PENDING, "15-0-0", "39-0-1"));
    }
}
