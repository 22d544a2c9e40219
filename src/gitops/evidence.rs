//! Why a version is taken back, for whoever reads the log or the pull request: verdict, measurements, images, links.
//!
//! Everything in it that comes from the cluster or from other commits is text of others: on one line, bounded, and
//! without effect on forges and CI.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use url::form_urlencoded;

use super::abort::Rejected;
use super::forge::{cut, escape, inert};
use super::suspect::Suspect;
use super::trailers::trailers;
use crate::api::AnalysisRun;
use crate::api::analysis_run::{AnalysisPhase, MetricResult};

/// Longest subject of a commit, in characters.
const SUBJECT: usize = 72;
/// Longest text of others in one place, in characters.
const LONGEST: usize = 300;
/// Metrics that are told of at most, and measurements of each, the newest.
const METRICS: usize = 30;
const MEASUREMENTS: usize = 8;

/// What a metric has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Its AnalysisRun.
    pub run: String,
    /// Its name.
    pub metric: String,
    /// What it was judged.
    pub phase: AnalysisPhase,
    /// The newest values, oldest first.
    pub values: Vec<String>,
    /// What its values were to fulfil or not to fulfil.
    pub condition: String,
}

/// What the metrics of an update's runs have found, those that failed first.
#[must_use]
pub fn measured(runs: &[AnalysisRun]) -> Vec<Measured> {
    let mut all: Vec<Measured> = runs.iter().flat_map(of_run).collect();
    all.sort_by_key(|measured| !is_bad(measured.phase));
    all.truncate(METRICS);
    all
}

const fn is_bad(phase: AnalysisPhase) -> bool {
    matches!(phase, AnalysisPhase::Failed | AnalysisPhase::Error | AnalysisPhase::Inconclusive)
}

fn of_run(run: &AnalysisRun) -> Vec<Measured> {
    let results = run.status.iter().flat_map(|status| status.metric_results.iter().flatten());
    let of_result = |result: &MetricResult| {
        let values = result.measurements.iter().flatten().filter_map(|measurement| measurement.value.clone());
        let mut values: Vec<String> = values.collect();
        values.drain(..values.len().saturating_sub(MEASUREMENTS));
        Measured {
            run: run.metadata.name.clone().unwrap_or_default(),
            metric: result.name.clone(),
            phase: result.phase,
            values,
            condition: condition(run, &result.name),
        }
    };
    results.map(of_result).collect()
}

fn condition(run: &AnalysisRun, metric: &str) -> String {
    let metric = run.spec.metrics.iter().flatten().find(|found| found.name == metric);
    let success = metric.and_then(|metric| metric.success_condition.clone());
    let failure =
        metric.and_then(|metric| metric.failure_condition.as_ref().map(|failure| format!("not {failure}")));
    success.or(failure).unwrap_or_default()
}

/// Everything that is told.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What was rejected.
    pub rejected: &'a Rejected,
    /// The commit that brought it.
    pub suspect: &'a Suspect,
    /// What was measured.
    pub measured: &'a [Measured],
    /// Links that are configured, title by address.
    pub links: &'a BTreeMap<String, String>,
}

impl Evidence<'_> {
    /// The title of the commit and of the pull request.
    #[must_use]
    pub fn title(&self) -> String {
        cut(&plain(&format!("Revert \"{}\"", self.suspect.subject), SUBJECT), SUBJECT)
    }

    /// The message of the commit that takes the version back.
    #[must_use]
    pub fn message(&self) -> String {
        let abort = &self.rejected.abort;
        let mut text = format!("{}\n\n", self.title());
        let _ = writeln!(
            text,
            "Rollout {}/{} was aborted at {}:\n    {}\n",
            abort.namespace,
            abort.name,
            abort.aborted_at,
            plain(&abort.message, LONGEST)
        );
        for measured in self.measured {
            let _ = writeln!(
                text,
                "    {} {}: {} ({})",
                plain(&measured.metric, LONGEST),
                measured.phase.as_str(),
                plain(&measured.values.join(", "), LONGEST),
                plain(&measured.condition, LONGEST)
            );
        }
        if !self.measured.is_empty() {
            text.push('\n');
        }
        for (title, address) in self.links() {
            let _ = writeln!(text, "{}: {address}", plain(&title, LONGEST));
        }
        let _ = writeln!(
            text,
            "This reverts commit {}.\n\n{}",
            self.suspect.id,
            trailers(self.rejected, &self.suspect.id).trim_end()
        );
        text
    }

    /// The text of the pull request, in Markdown; `why` says why it is no commit.
    #[must_use]
    pub fn body(&self, why: &str) -> String {
        let abort = &self.rejected.abort;
        let cell = |text: &str| escape(&cut(text, LONGEST));
        let mut text = format!(
            "Rollout {}/{} was aborted at {}: {}\n\nThis takes commit {} back. It is a pull request because {}.\n",
            cell(&abort.namespace),
            cell(&abort.name),
            abort.aborted_at,
            cell(&abort.message),
            self.suspect.id,
            cell(why)
        );
        if !self.measured.is_empty() {
            text.push_str("\n| metric | verdict | values | condition | run |\n|---|---|---|---|---|\n");
        }
        for measured in self.measured {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} |",
                cell(&measured.metric),
                measured.phase.as_str(),
                cell(&measured.values.join(", ")),
                cell(&measured.condition),
                cell(&measured.run)
            );
        }
        let _ = writeln!(
            text,
            "\n- rejected revision: {}, stable: {}",
            cell(&abort.pod_hash),
            cell(&abort.stable_hash)
        );
        for image in &self.rejected.images {
            let _ = writeln!(text, "- rejected image: {}", cell(image));
        }
        for (title, address) in self.links() {
            let _ = writeln!(text, "- {}: <{address}>", cell(&title));
        }
        text
    }

    /// The configured links with what they are about filled in, each part encoded.
    fn links(&self) -> Vec<(String, String)> {
        let abort = &self.rejected.abort;
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let fill = |address: &String| {
            let address = address.replace("{namespace}", &encoded(&abort.namespace));
            let address = address.replace("{name}", &encoded(&abort.name));
            address.replace("{hash}", &encoded(&abort.pod_hash)).replace(['<', '>', ' ', '\n'], "")
        };
        self.links.iter().map(|(title, address)| (title.clone(), fill(address))).collect()
    }
}

/// Text of others in a commit's message: one line that mentions and closes nothing, and tells no CI to skip anything,
/// as a word in brackets would.
fn plain(text: &str, longest: usize) -> String {
    let text = inert(&cut(text, longest));
    let mut plain = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let rest = text.get(at.saturating_add(1)..).unwrap_or_default().trim_start();
        let begins_word = c == '[' && rest.starts_with(char::is_alphabetic);
        plain.push(if begins_word { '(' } else { c });
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::abort::tests::rejected;
    use super::super::suspect::By;
    use super::*;

    fn runs() -> Vec<AnalysisRun> {
        vec![serde_json::from_value(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": "cart-7d9f-2"},
            "spec": {"metrics": [
                {"name": "latency", "provider": {}},
                {"name": "errors", "successCondition": "result[0] < 0.05", "provider": {}},
            ]},
            "status": {"phase": "Failed", "metricResults": [
                {"name": "latency", "phase": "Successful", "measurements": []},
                {"name": "errors", "phase": "Failed", "measurements": [
                    {"phase": "Successful", "value": "[0.01]"}, {"phase": "Failed", "value": "[0.5]"}]},
            ]},
        }))
        .unwrap()]
    }

    fn suspect(subject: &str) -> Suspect {
        Suspect {
            id: "b1946ac92492d2347c6235b4d2611184b1946ac9".into(),
            subject: subject.into(),
            by: By::OnlyChange,
            paths: std::collections::BTreeSet::new(),
            is_built_on: false,
            is_sync_missing: false,
            has_company: false,
        }
    }

    fn links() -> BTreeMap<String, String> {
        [("Board".to_owned(), "https://grafana.example.com/d/r?var-rollout={name}&ns={namespace}".to_owned())]
            .into()
    }

    #[test]
    fn the_message_has_verdict_measurements_links_and_trailers() {
        let (rejected, suspect, measured, links) =
            (rejected(), suspect("Release cart 2"), measured(&runs()), links());
        let evidence =
            Evidence { rejected: &rejected, suspect: &suspect, measured: &measured, links: &links };
        let expected = "Revert \"Release cart 2\"\n\n\
            Rollout shop/cart was aborted at 2026-11-26T22:00:00Z:\n    \
            RolloutAborted: metric \"errors\" assessed Failed\n\n    \
            errors Failed: [0.01], [0.5] (result[0] < 0.05)\n    latency Successful:  ()\n\n\
            Board: https://grafana.example.com/d/r?var-rollout=cart&ns=shop\n\
            This reverts commit b1946ac92492d2347c6235b4d2611184b1946ac9.\n\n\
            Serin-Rollout: shop/cart\nSerin-Rejected-Hash: 7d9f\nSerin-Rejected-Image: registry/cart:2\n\
            Serin-Abort: 6f1c/7d9f/2026-11-26T22:00:00Z\nSerin-Reverts: b1946ac92492d2347c6235b4d2611184b1946ac9\n";
        assert_eq!(evidence.message(), expected);
    }

    #[test]
    fn text_of_others_does_nothing_in_a_message() {
        let (mut rejected, suspect) = (rejected(), suspect("[skip ci] Closes #12 @admin"));
        rejected.abort.message = "bad\n\nSerin-Abort: other\nCloses #1".into();
        let (none, links) = (vec![], BTreeMap::new());
        let evidence = Evidence { rejected: &rejected, suspect: &suspect, measured: &none, links: &links };
        let message = evidence.message();
        assert!(
            !message.contains("[skip ci]") && !message.contains("#12") && !message.contains("@admin"),
            "{message}"
        );
        assert!(
            !message.lines().any(|line| line.starts_with("Closes") || line == "Serin-Abort: other"),
            "{message}"
        );
        assert!(super::super::trailers::is_answered_by(&rejected.abort, &message));
    }

    #[test]
    fn the_pull_request_says_why_it_is_one_and_shows_a_table() {
        let (rejected, suspect, measured, links) =
            (rejected(), suspect("Release"), measured(&runs()), links());
        let evidence =
            Evidence { rejected: &rejected, suspect: &suspect, measured: &measured, links: &links };
        let body = evidence.body("later commits changed the same files");
        assert!(body.contains("because later commits changed the same files."), "{body}");
        assert!(body.contains("| errors | Failed | "), "{body}");
        assert!(body.replace('\u{200b}', "").contains("- rejected image: registry/cart:2"), "{body}");
        assert!(body.contains("<https://grafana.example.com/d/r?var-rollout=cart&ns=shop>"), "{body}");
    }
}
