//! How the log tells what pods carry for their role: per version how many pods carry which labels and annotations, and
//! whose nodes its template keeps off.

use std::collections::{BTreeMap, BTreeSet};

use super::cluster::Cluster;
use super::images::tag;
use super::pods::Pod;

/// The line of the log; empty while no version has a role that shows.
pub(super) fn describe(cluster: &Cluster) -> String {
    let sets = || cluster.replica_sets.iter().filter_map(|(name, set)| Some((set, set.observe(name)?)));
    let mut keys = BTreeSet::new();
    for (_, seen) in sets() {
        let injected = &seen.injected;
        keys.extend(injected.marks.labels.keys().chain(injected.marks.annotations.keys()).cloned());
        let pending =
            injected.pending.iter().flat_map(|left| left.labels.keys().chain(left.annotations.keys()));
        keys.extend(pending.cloned());
    }
    let mut lines: Vec<_> = sets().collect();
    lines.sort_by_key(|(_, seen)| seen.revision);
    let lines = lines.into_iter().filter_map(|(set, seen)| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (_, pod) in cluster.pods_of(&seen.name) {
            *counts.entry(carried(pod, &keys)).or_default() += 1;
        }
        counts.retain(|text, _| !text.is_empty());
        let carried = counts.into_iter().map(|(text, count)| format!("{count} with {text}"));
        let apart = seen.injected.apart.iter().map(|apart| format!("apart from {}", apart.from));
        let parts: Vec<String> = carried.chain(apart).collect();
        (!parts.is_empty()).then(|| format!("{}: {}", tag(&set.image), parts.join(", ")))
    });
    lines.collect::<Vec<_>>().join("; ")
}

fn carried(pod: &Pod, keys: &BTreeSet<String>) -> String {
    let all = pod.labels.iter().chain(&pod.annotations).filter(|(key, _)| keys.contains(*key));
    all.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}
