//! A canonical hash of everything that decides what happens next: two states with the same hash go on in the same way.
//!
//! Times to come count by how far off they are. Times gone by count by their order alone: what they lead to is in the times
//! to come, as the controller knows when it looks next. Versions and the stamps of conditions do not count.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::simulation::Simulation;
use crate::units::Timestamp;

/// Stamps that nothing depends on: the controller's next look is known.
const MEANINGLESS: [&str; 2] = ["last_transition_time: Some(", "last_update_time: Some("];
/// Length of a time in seconds.
const SECONDS: usize = "2026-01-01T00:00:00".len();

impl Simulation {
    /// The hash.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        canonical(&self.describe(), self.now()).hash(&mut hasher);
        hasher.finish()
    }

    fn describe(&self) -> String {
        let (mut text, cluster) = (String::new(), &self.cluster);
        let spec = cluster.rollout().map(|rollout| &rollout.spec);
        let template = spec.and_then(|spec| spec.template.as_ref()).map(ToString::to_string);
        let counts = spec.map(|spec| (spec.replicas, spec.paused));
        let status = cluster.rollout().and_then(|rollout| rollout.status.as_ref());
        let config = (&cluster.config.services, &cluster.config.of_experiments);
        let _ = writeln!(text, "{template:?} {counts:?} {status:?} {config:?}");
        for (name, run) in cluster.runs() {
            let _ = writeln!(text, "{name} {:?} {:?}", run.spec.terminate, run.status);
        }
        for (name, found) in cluster.experiments() {
            let _ = writeln!(text, "{name} {:?} {:?}", found.spec.terminate, found.status);
        }
        for (name, set) in &cluster.replica_sets {
            let _ = writeln!(text, "{name} {set:?}");
        }
        for pod in cluster.pods.values() {
            let _ = writeln!(text, "{pod:?}");
        }
        // How long a pod takes to start depends on its number.
        let clock = cluster.controller_now().as_millis() - cluster.now().as_millis();
        let fraction = cluster.now().as_millis() % 1000;
        let (number, quota) = (cluster.next_pod % 5, cluster.quota);
        let _ = writeln!(text, "{number} {fraction} {clock} {quota:?} {:?}", cluster.router);
        cluster.describe_caches(&mut text);
        self.controller.describe(&mut text);
        text
    }
}

/// The text with its times made relative.
fn canonical(text: &str, now: Timestamp) -> String {
    let times: BTreeSet<Timestamp> = positions(text).filter_map(|(at, end)| time(text, at, end)).collect();
    let mut result = String::with_capacity(text.len());
    let mut done = 0;
    for (at, end) in positions(text) {
        let Some(found) = time(text, at, end) else { continue };
        let before = text.get(done..at).unwrap_or_default();
        result.push_str(before);
        done = end;
        if MEANINGLESS.iter().any(|name| before.trim_end_matches("Timestamp(").ends_with(name)) {
            continue;
        }
        if found >= now {
            let _ = write!(result, "+{}", found.as_millis() - now.as_millis());
        } else {
            let _ = write!(result, "-{}", times.range(..found).count());
        }
    }
    result.push_str(text.get(done..).unwrap_or_default());
    result
}

/// Where times begin and end.
fn positions(text: &str) -> impl Iterator<Item = (usize, usize)> {
    text.match_indices("20").filter_map(|(at, _)| {
        let rest = text.get(at..)?;
        let is_time = rest.as_bytes().get(10) == Some(&b'T') && rest.as_bytes().get(4) == Some(&b'-');
        let end = rest.find('Z').filter(|end| is_time && *end >= SECONDS && *end <= SECONDS + 10)?;
        Some((at, at + end + 1))
    })
}

fn time(text: &str, at: usize, end: usize) -> Option<Timestamp> {
    Timestamp::parse(text.get(at..end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_come_count_by_distance_and_times_gone_by_in_order() {
        let now = Timestamp::parse("2026-01-01T00:01:00Z").unwrap();
        let text = "a 2026-01-01T00:01:02.500Z b 2026-01-01T00:00:10Z c 2026-01-01T00:00:05Z";
        assert_eq!(canonical(text, now), "a +2500 b -1 c -0");
    }
}
