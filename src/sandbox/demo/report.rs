//! What the demo says at its end. Pure.

use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::restore::Restore;
use crate::api::labels::{POD_TEMPLATE_HASH, REVISION};
use crate::sandbox::traffic::{Counts, Tally};
use crate::sandbox::workload::behaviour;
use crate::units::Revision;
use crate::view::{Line, Tone};

/// Requests since `baseline` by version: the image's tag of each revision, the oldest first.
pub(super) fn by_version(tally: &Tally, baseline: &Tally, sets: &[ReplicaSet]) -> Vec<(String, Counts)> {
    let mut versions: Vec<(Revision, String, Counts)> = sets
        .iter()
        .filter_map(|set| {
            let hash = set.metadata.labels.as_ref()?.get(POD_TEMPLATE_HASH)?;
            let annotations = set.metadata.annotations.as_ref();
            let revision = annotations.and_then(|all| all.get(REVISION)).map(String::as_str);
            let counts = tally
                .iter()
                .filter(|(to, _)| to.revision == *hash)
                .map(|(to, counts)| counts.since(baseline.get(to).copied().unwrap_or_default()))
                .sum();
            Some((Revision::parse(revision), tag(set)?, counts))
        })
        .collect();
    versions.sort_by_key(|(revision, ..)| *revision);
    versions.into_iter().map(|(_, tag, counts)| (tag, counts)).collect()
}

fn tag(set: &ReplicaSet) -> Option<String> {
    let pods = set.spec.as_ref()?.template.as_ref()?.spec.as_ref()?;
    Some(behaviour::tag(pods.containers.first()?.image.as_deref()?).to_owned())
}

/// The sentence about the abort.
pub(super) fn restored(restore: &Restore) -> Line {
    let took = restore.since_over_limit().unwrap_or_default();
    let text = "from the first bad measurement over the limit to stable at full size: ";
    Line::plain(text).with(Tone::Good, seconds(took))
}

/// The last words.
pub(super) fn report(
    versions: &[(String, Counts)],
    started: Duration,
    restore: &Restore,
    promoted: Duration,
) -> Vec<Line> {
    let fact = |name: &str, text: String| {
        Line::default().with(Tone::Good, "✔ ").with(Tone::Plain, format!("{name:<10}{text}"))
    };
    let plain = |text: String| Line::plain(format!("{:12}{text}", ""));
    let mut lines = vec![
        fact("v1", format!("first deploy, Healthy after {}", seconds(started))),
        fact(
            "v2-err50",
            "reached 10 % and 30 %, failed its analysis, was aborted; stable was restored".to_owned(),
        ),
        plain("with nobody touching it".to_owned()),
        Line::plain(format!("{:12}", "")).then(restored(restore)),
    ];
    if let Some(took) = restore.since_first_bad() {
        lines.push(plain(format!(
            "from the first bad measurement of all, tolerated by failureLimit: {}",
            seconds(took)
        )));
    }
    lines.push(fact("v3", format!("promoted through 10 %, 30 % and 100 % after {}", seconds(promoted))));
    let requests: Vec<String> = versions
        .iter()
        .map(|(tag, counts)| {
            format!("{tag} {} ({} failed)", counts.total(), counts.failed + counts.unanswered)
        })
        .collect();
    lines.push(fact("requests", requests.join(" · ")));
    lines
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sandbox::traffic::Destination;
    use crate::view::{Limits, Paint, Text};

    #[test]
    fn requests_are_told_by_version_in_the_order_of_revisions() {
        let set = |hash: &str, revision: &str, image: &str| -> ReplicaSet {
            serde_json::from_value(json!({
                "metadata": {"labels": {POD_TEMPLATE_HASH: hash}, "annotations": {REVISION: revision}},
                "spec": {"selector": {}, "template": {"spec": {"containers": [{"name": "c", "image": image}]}}},
            }))
            .unwrap()
        };
        let to = |revision: &str| Destination { service: "n/s".into(), revision: revision.into() };
        let counts = |succeeded, failed| Counts { succeeded, failed, unanswered: 0 };
        let baseline = Tally::from([(to("a"), counts(10, 1))]);
        let tally =
            Tally::from([(to("a"), counts(110, 1)), (to("b"), counts(20, 20)), (to(""), counts(0, 0))]);
        let sets = [set("b", "10", "serin-demo:v2-err50"), set("a", "9", "serin-demo:v1")];
        let versions = by_version(&tally, &baseline, &sets);
        assert_eq!(versions, [("v1".to_owned(), counts(100, 0)), ("v2-err50".to_owned(), counts(20, 20))]);
        let at = |millis| Some(Duration::from_millis(millis));
        let restore =
            Restore { first_bad: at(1000), over_limit: at(19_000), aborted: at(19_100), full: at(20_250) };
        let lines = report(&versions, Duration::from_secs(3), &restore, Duration::from_secs(50));
        let text = Text { lines }.paint(Paint::Plain, Limits::NONE).join("\n");
        assert!(text.contains("over the limit to stable at full size: 1.2 s"), "{text}");
        assert!(text.contains("tolerated by failureLimit: 19.2 s"), "{text}");
        assert!(text.ends_with("v1 100 (0 failed) · v2-err50 40 (20 failed)"), "{text}");
    }
}
