//! What became of notifications, under the names that dashboards of this API know.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;

use super::{Objects, object_labels};
use crate::api::rollout_status::PendingNotification;

/// Upper ends of the buckets of an attempt, in seconds: a service has ten.
const BUCKETS: [f64; 6] = [0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// Attempts for one Rollout.
#[derive(Debug)]
pub(super) struct Attempts {
    took: Histogram,
    /// By type and reason of the Event: those that were taken, and those that failed.
    ended: BTreeMap<(String, String), [u64; 2]>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { took: Histogram::new(BUCKETS), ended: BTreeMap::new() }
    }
}

impl Attempts {
    pub(super) fn note(&mut self, notification: &PendingNotification, succeeded: bool, took: Duration) {
        self.took.observe(took.as_secs_f64());
        let key = (notification.r#type.clone(), notification.reason.clone());
        let [good, bad] = self.ended.entry(key).or_default();
        *(if succeeded { good } else { bad }) += 1;
    }
}

/// Renders those of all Rollouts that had any.
pub(super) fn encode(encoder: &mut DescriptorEncoder, objects: &Objects) -> fmt::Result {
    let all = || {
        objects.iter().filter_map(|((_, namespace, name), figures)| {
            Some((namespace.as_str(), name.as_str(), figures.notices.as_ref()?))
        })
    };
    let kinds = [
        ("notification_send_success", "Notifications that a service has taken"),
        ("notification_send_error", "Attempts to send a notification that failed"),
    ];
    for (index, (series, help)) in kinds.into_iter().enumerate() {
        let mut family = encoder.encode_descriptor(series, help, None, MetricType::Gauge)?;
        for (namespace, name, attempts) in all() {
            for ((r#type, reason), counts) in &attempts.ended {
                let labels =
                    [("namespace", namespace), ("name", name), ("type", r#type.as_str()), ("reason", reason)];
                let count = counts.get(index).copied().unwrap_or_default();
                ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    let help = "Seconds an attempt to send a notification took";
    let mut family = encoder.encode_descriptor("notification_send", help, None, MetricType::Histogram)?;
    for (namespace, name, attempts) in all() {
        attempts.took.encode(family.encode_family(&object_labels(namespace, name))?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus_client::encoding::text::encode;

    use super::super::Metrics;
    use super::*;
    use crate::units::Timestamp;

    #[test]
    fn attempts_are_counted_by_what_became_of_them() {
        let metrics = Arc::new(Metrics::default());
        let notification = PendingNotification {
            id: "1".to_owned(),
            r#type: "Warning".to_owned(),
            reason: "RolloutAborted".to_owned(),
            service: "slack".to_owned(),
            recipient: "ops".to_owned(),
            template: "told".to_owned(),
            message: String::new(),
            at: Timestamp::from_millis(0),
        };
        for succeeded in [false, false, true] {
            metrics.notified(["shop", "web"], &notification, succeeded, Duration::from_millis(20));
        }
        let mut text = String::new();
        encode(&mut text, &metrics.registry(vec![])).unwrap();
        let labels = r#"namespace="shop",name="web""#;
        for line in [
            format!(r#"notification_send_success{{{labels},type="Warning",reason="RolloutAborted"}} 1"#),
            format!(r#"notification_send_error{{{labels},type="Warning",reason="RolloutAborted"}} 2"#),
            format!("notification_send_count{{{labels}}} 3"),
        ] {
            assert!(text.contains(&line), "{line} is not in {text}");
        }
    }
}
