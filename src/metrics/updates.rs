//! How long updates take, by how they ended, and outages after them; no label names an object.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::rollout::status::{Completion, Finished};

/// Upper ends of the buckets, in seconds: from a rollback to a canary that takes days.
const BUCKETS: [f64; 12] =
    [10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21_600.0, 86_400.0, 259_200.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    status: &'static str,
}

type Times = Family<Labels, Histogram, fn() -> Histogram>;

/// Times of updates that have ended.
#[derive(Debug)]
pub(super) struct Updates {
    whole: Times,
    progression: Times,
    paused: Times,
    restored: Histogram,
}

impl Default for Updates {
    fn default() -> Self {
        let times = || {
            let times = Times::new_with_constructor(|| Histogram::new(BUCKETS));
            // From the beginning, so that an increase shows the first of each.
            for completion in Completion::ALL {
                drop(times.get_or_create(&Labels { status: completion.as_str() }));
            }
            times
        };
        Self { whole: times(), progression: times(), paused: times(), restored: Histogram::new(BUCKETS) }
    }
}

impl Updates {
    pub(super) fn observe(&self, update: &Finished) {
        let labels = Labels { status: update.completion.as_str() };
        let moving = update.took.saturating_sub(update.paused);
        for (times, time) in
            [(&self.whole, update.took), (&self.progression, moving), (&self.paused, update.paused)]
        {
            times.get_or_create(&labels).observe(time.as_secs_f64());
        }
    }

    /// Notes how long it took after an abort until the Rollout was healthy again.
    pub(super) fn restored(&self, outage: Duration) {
        self.restored.observe(outage.as_secs_f64());
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        for (name, help, times) in [
            ("rollout_duration_seconds", "Seconds from the beginning of an update to its end", &self.whole),
            (
                "rollout_progression_duration_seconds",
                "Seconds of an update in which it did not wait for a person",
                &self.progression,
            ),
            (
                "rollout_manual_pause_duration_seconds",
                "Seconds of an update in which it waited for a person",
                &self.paused,
            ),
        ] {
            registry.register(name, help, times.clone());
        }
        registry.register(
            "rollout_time_to_restore_seconds",
            "Seconds from an abort until the Rollout was healthy again",
            self.restored.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn an_update_counts_whole_and_without_its_waits_for_people() {
        let updates = Updates::default();
        updates.observe(&Finished {
            completion: Completion::Promoted,
            took: Duration::from_secs(100),
            paused: Duration::from_secs(40),
        });
        updates.restored(Duration::from_secs(70));
        let mut registry = Registry::default();
        updates.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "rollout_time_to_restore_seconds_sum 70.0",
            "rollout_duration_seconds_sum{status=\"Promoted\"} 100.0",
            "rollout_progression_duration_seconds_sum{status=\"Promoted\"} 60.0",
            "rollout_manual_pause_duration_seconds_sum{status=\"Promoted\"} 40.0",
        ] {
            assert!(text.contains(line), "{line} not in {text}");
        }
    }
}
