//! How measurements are judged: one value, then one metric, then the whole run.

use super::condition::{Condition, Outcome};
use super::metric::{MetricRules, NoData};
use super::query::{JobEnd, Thresholds};
use super::value::Value;
use crate::api::AnalysisPhase;
use crate::api::analysis_run::{Measurement, MetricResult, RunSummary};
use crate::units::Timestamp;

/// Longest message in a status, in characters.
const MAX_MESSAGE: usize = 1_024;

/// Whether a run goes on or is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// It goes on.
    GoesOn,
    /// Nothing more is measured.
    Ending,
}

/// A verdict and, where there is one, its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The verdict.
    pub phase: AnalysisPhase,
    /// Its reason.
    pub message: Option<String>,
}

impl Verdict {
    fn of(phase: AnalysisPhase) -> Self {
        Self { phase, message: None }
    }

    fn because(phase: AnalysisPhase, message: impl Into<String>) -> Self {
        Self { phase, message: Some(message.into()) }
    }
}

/// Judges one measurement: its value, or why there is none. Failure wins over success.
#[must_use]
pub fn judge(rules: &MetricRules, measured: &Result<Value, String>, now: Timestamp) -> Verdict {
    let value = match measured {
        Ok(value) => value,
        Err(why) => return Verdict::because(AnalysisPhase::Error, limited(why)),
    };
    if let Some(verdict) = before_conditions(rules, value) {
        return verdict;
    }
    let outcome = |condition: &Option<Condition>| {
        condition.as_ref().map(|condition| condition.holds(value, now)).transpose()
    };
    let (success, failure) = match (outcome(&rules.success_condition), outcome(&rules.failure_condition)) {
        (Err(why), _) | (_, Err(why)) => return Verdict::because(AnalysisPhase::Error, limited(&why)),
        (Ok(success), Ok(failure)) => (success, failure),
    };
    let holds = |outcome: &Option<Outcome>| outcome.as_ref().map(|outcome| outcome.holds);
    let phase = match (holds(&success), holds(&failure)) {
        (Some(false), None) | (_, Some(true)) => AnalysisPhase::Failed,
        (None | Some(true), _) => AnalysisPhase::Successful,
        (Some(false), Some(false)) => AnalysisPhase::Inconclusive,
    };
    if let Some(why) = [success, failure].into_iter().flatten().find_map(|outcome| outcome.absent) {
        // What is not there can speak against a version, and never for one.
        let phase = if phase == AnalysisPhase::Successful { AnalysisPhase::Error } else { phase };
        return Verdict::because(phase, limited(&why));
    }
    if phase != AnalysisPhase::Successful && value.has_nan() {
        return Verdict::because(
            phase,
            "the query returned NaN (0/0: no traffic?), which is neither above nor below any limit; \
             isNaN(result[0]) in a condition can say what it means",
        );
    }
    let is_judged = rules.success_condition.is_some() || rules.failure_condition.is_some();
    if phase == AnalysisPhase::Successful && is_judged && value.is_empty() {
        return Verdict::because(phase, "the query returned no data, and the conditions allow for that");
    }
    Verdict::of(phase)
}

/// The same where a condition cannot be read, because of what was put into it; it counts only where it would be applied.
#[must_use]
pub fn judge_without(rules: &MetricRules, measured: &Result<Value, String>, why: &str) -> Verdict {
    let known = measured.as_ref().ok().and_then(|value| before_conditions(rules, value));
    known.unwrap_or_else(|| Verdict::because(AnalysisPhase::Error, limited(why)))
}

/// The verdict of what comes before any condition; `None` where the conditions say.
fn before_conditions(rules: &MetricRules, value: &Value) -> Option<Verdict> {
    if let Value::Job(end) = value {
        return Some(ended(end));
    }
    if let (true, Some(policy)) = (value.is_no_data(), rules.no_data) {
        return Some(without_data(policy, value));
    }
    match (rules.thresholds?, value) {
        (thresholds, Value::Number(score)) => Some(scored(thresholds, *score)),
        _ => Some(Verdict::because(AnalysisPhase::Error, "the score is not a number")),
    }
}

/// A measurement that found nothing, as the metric has it; `Pending` for one that is taken again.
fn without_data(policy: NoData, value: &Value) -> Verdict {
    let found = if value.is_empty() { "no data" } else { "NaN (0/0: no traffic?)" };
    let (phase, what) = match policy {
        NoData::Fail => (AnalysisPhase::Failed, "a failure"),
        NoData::Inconclusive => (AnalysisPhase::Inconclusive, "neither good nor bad"),
        NoData::Wait => (AnalysisPhase::Pending, "nothing yet: it is taken again"),
        NoData::Pass => (AnalysisPhase::Successful, "a success"),
    };
    Verdict::because(phase, format!("the query returned {found}, which noData counts as {what}"))
}

/// A score of Kayenta's is good from one threshold on, and bad below another. Fractions do not count.
fn scored(thresholds: Thresholds, score: f64) -> Verdict {
    let Thresholds { pass, marginal } = thresholds;
    let whole = score.trunc();
    if whole >= f64::from(pass) {
        return Verdict::of(AnalysisPhase::Successful);
    }
    if whole >= f64::from(marginal) {
        let message = format!("a score of {score}, under threshold.pass, which is {pass}");
        return Verdict::because(AnalysisPhase::Inconclusive, message);
    }
    let message = format!("a score of {score}, under threshold.marginal, which is {marginal}");
    Verdict::because(AnalysisPhase::Failed, message)
}

/// A Job judges itself.
fn ended(end: &JobEnd) -> Verdict {
    match end {
        JobEnd::Complete => Verdict::of(AnalysisPhase::Successful),
        JobEnd::Failed(why) => {
            Verdict::because(AnalysisPhase::Failed, limited(&format!("the Job failed: {why}")))
        }
        JobEnd::Stuck(why) => Verdict::because(AnalysisPhase::Inconclusive, limited(why)),
    }
}

/// What becomes of a verdict that nobody waits for any longer.
#[must_use]
pub fn given_up(verdict: Verdict) -> Verdict {
    match verdict.phase {
        AnalysisPhase::Pending => Verdict::because(
            AnalysisPhase::Inconclusive,
            "there was no data for an hour, for which noData: Wait waits",
        ),
        _ => verdict,
    }
}

/// A text cut to what a status should hold.
#[must_use]
pub fn limited(text: &str) -> String {
    if text.chars().count() <= MAX_MESSAGE {
        return text.to_owned();
    }
    text.chars().take(MAX_MESSAGE).chain(['…']).collect()
}

/// A metric that has found nothing yet.
#[must_use]
pub fn blank(name: &str, dry_run: bool) -> MetricResult {
    MetricResult {
        name: name.to_owned(),
        phase: AnalysisPhase::Running,
        message: None,
        measurements: None,
        count: None,
        successful: None,
        failed: None,
        inconclusive: None,
        error: None,
        consecutive_error: None,
        consecutive_success: None,
        dry_run: dry_run.then_some(true),
        metadata: None,
    }
}

/// Adds a finished measurement, counts it, and keeps the latest `retention` (at least one, which the schedule needs).
///
/// An unfinished measurement at the end of the list is replaced.
///
/// Gives those that are not kept any more. One that is added while it runs is counted when it ends.
pub fn record(result: &mut MetricResult, measurement: Measurement, retention: usize) -> Vec<Measurement> {
    if measurement.finished_at.is_some() {
        count(result, measurement.phase);
    }
    let kept = result.measurements.get_or_insert_default();
    if kept.last().is_some_and(|last| last.finished_at.is_none()) {
        kept.pop();
    }
    kept.push(measurement);
    let surplus = kept.len().saturating_sub(retention.max(1));
    kept.drain(..surplus).collect()
}

/// The measurement that runs.
#[must_use]
pub fn unfinished(result: &MetricResult) -> Option<&Measurement> {
    result.measurements.as_ref()?.last().filter(|last| last.finished_at.is_none())
}

/// The same, to be ended.
pub fn unfinished_mut(result: &mut MetricResult) -> Option<&mut Measurement> {
    result.measurements.as_mut()?.last_mut().filter(|last| last.finished_at.is_none())
}

/// How many measurements were taken, errors included.
#[must_use]
pub fn taken(result: &MetricResult) -> u32 {
    counted(result.count).saturating_add(counted(result.error))
}

/// Counts a finished measurement.
fn count(result: &mut MetricResult, phase: AnalysisPhase) {
    let add = |counter: &mut Option<i32>| *counter = Some(counter.unwrap_or_default().saturating_add(1));
    if phase == AnalysisPhase::Error {
        add(&mut result.error);
        add(&mut result.consecutive_error);
    } else {
        add(&mut result.count);
        result.consecutive_error = None;
    }
    if phase == AnalysisPhase::Successful {
        add(&mut result.successful);
        add(&mut result.consecutive_success);
    } else {
        result.consecutive_success = None;
    }
    match phase {
        AnalysisPhase::Failed => add(&mut result.failed),
        AnalysisPhase::Inconclusive => add(&mut result.inconclusive),
        AnalysisPhase::Successful
        | AnalysisPhase::Error
        | AnalysisPhase::Running
        | AnalysisPhase::Pending => {}
    }
}

/// Judges a metric by what it has found so far; `Running` when it goes on.
///
/// The reason is the part after `assessed <phase> due to`.
#[must_use]
pub fn assess(rules: &MetricRules, found: &MetricResult, course: Course) -> Verdict {
    let over = |found: Option<i32>, limit: Option<u32>, what: &str, limit_name: &str| {
        let (found, limit) = (counted(found), limit?);
        (found > limit).then(|| format!("{what} ({found}) > {limit_name} ({limit})"))
    };
    if let Some(why) = over(found.failed, rules.failure_limit, "failed", "failureLimit") {
        return Verdict::because(AnalysisPhase::Failed, why);
    }
    let limit = rules.inconclusive_limit;
    if let Some(why) = over(found.inconclusive, limit, "inconclusive", "inconclusiveLimit") {
        return Verdict::because(AnalysisPhase::Inconclusive, why);
    }
    let limit = rules.consecutive_error_limit;
    if let Some(why) = over(found.consecutive_error, limit, "consecutiveErrors", "consecutiveErrorLimit") {
        return Verdict::because(AnalysisPhase::Error, why);
    }
    assess_end(rules, found, course)
}

/// A metric over none of its limits: has it been measured enough?
fn assess_end(rules: &MetricRules, found: &MetricResult, course: Course) -> Verdict {
    let in_a_row = counted(found.consecutive_success);
    if rules.consecutive_success_limit.is_some_and(|enough| in_a_row >= enough) {
        return Verdict::of(AnalysisPhase::Successful);
    }
    let all_taken = rules.count.is_some_and(|count| counted(found.count) >= count);
    match (all_taken, rules.consecutive_success_limit, rules.failure_limit) {
        (true, Some(enough), limit) => {
            let phase = if limit.is_some() { AnalysisPhase::Inconclusive } else { AnalysisPhase::Failed };
            Verdict::because(
                phase,
                format!("consecutiveSuccesses ({in_a_row}) < consecutiveSuccessLimit ({enough})"),
            )
        }
        (true, None, _) => Verdict::of(AnalysisPhase::Successful),
        (false, _, _) if course == Course::Ending => Verdict::of(AnalysisPhase::Successful),
        (false, _, _) => Verdict::of(AnalysisPhase::Running),
    }
}

fn counted(count: Option<i32>) -> u32 {
    count.and_then(|count| u32::try_from(count).ok()).unwrap_or_default()
}

/// The sentence for a metric that ended badly, with the last measurement's own message.
#[must_use]
pub fn sentence(found: &MetricResult, verdict: &Verdict) -> String {
    let why = verdict.message.as_deref().unwrap_or_default();
    let last = found.measurements.as_ref().and_then(|all| all.last()?.message.as_deref());
    let last = last.map(|message| format!(": \"Error Message: {message}\"")).unwrap_or_default();
    format!("Metric \"{}\" assessed {} due to {why}{last}", found.name, verdict.phase)
}

/// Number of metrics by phase, of those that decide or of those that do not.
#[must_use]
pub fn summary<'a>(all: u32, found: impl Iterator<Item = &'a MetricResult>) -> RunSummary {
    let mut summary = RunSummary {
        count: (all > 0).then(|| i32::try_from(all).unwrap_or(i32::MAX)),
        ..RunSummary::default()
    };
    for result in found {
        let counter = match result.phase {
            AnalysisPhase::Successful => &mut summary.successful,
            AnalysisPhase::Failed => &mut summary.failed,
            AnalysisPhase::Inconclusive => &mut summary.inconclusive,
            AnalysisPhase::Error => &mut summary.error,
            AnalysisPhase::Running | AnalysisPhase::Pending => continue,
        };
        *counter = Some(counter.unwrap_or_default().saturating_add(1));
    }
    summary
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn rules(json: &serde_json::Value) -> MetricRules {
        let mut whole = json!({"name": "m", "provider": {}});
        whole.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        MetricRules::parse(&serde_json::from_value(whole).unwrap()).unwrap()
    }

    pub(crate) fn measurement(phase: AnalysisPhase, started: i64, finished: i64) -> Measurement {
        Measurement {
            phase,
            message: None,
            started_at: Some(Timestamp::from_millis(started * 1000)),
            finished_at: Some(Timestamp::from_millis(finished * 1000)),
            value: None,
            metadata: None,
            resume_at: None,
        }
    }

    pub(crate) fn result(measurements: Vec<Measurement>) -> MetricResult {
        let mut result = blank("m", false);
        for measurement in measurements {
            record(&mut result, measurement, 10);
        }
        result
    }

    fn phase_of(conditions: &serde_json::Value, number: f64) -> AnalysisPhase {
        judge(&rules(conditions), &Ok(Value::Numbers(vec![number])), Timestamp::from_millis(0)).phase
    }

    #[test]
    fn conditions_judge_one_value_and_failure_wins() {
        use AnalysisPhase::{Failed, Inconclusive, Successful};
        let both = json!({"successCondition": "result[0] > 2", "failureCondition": "result[0] < 1 || result[0] > 9"});
        for (conditions, number, expected) in [
            (json!({}), 0.0, Successful),
            (json!({"successCondition": "result[0] > 1"}), 2.0, Successful),
            (json!({"successCondition": "result[0] > 1"}), 1.0, Failed),
            (json!({"failureCondition": "result[0] > 1"}), 2.0, Failed),
            (json!({"failureCondition": "result[0] > 1"}), 1.0, Successful),
            (both.clone(), 3.0, Successful),
            (both.clone(), 0.5, Failed),
            (both.clone(), 10.0, Failed),
            (both, 1.5, Inconclusive),
        ] {
            assert_eq!(phase_of(&conditions, number), expected, "{conditions} on {number}");
        }
    }

    #[test]
    fn a_score_of_kayentas_is_judged_by_its_thresholds_alone() {
        use AnalysisPhase::{Failed, Inconclusive, Successful};
        let provider = json!({"kayenta": {"threshold": {"pass": 90, "marginal": 75}}});
        let rules = rules(&json!({"provider": provider, "failureCondition": "true"}));
        for (score, expected) in [
            (100.0, Successful),
            (90.0, Successful),
            (89.9, Inconclusive),
            (75.0, Inconclusive),
            (74.9, Failed),
        ] {
            let verdict = judge(&rules, &Ok(Value::Number(score)), Timestamp::from_millis(0));
            assert_eq!(verdict.phase, expected, "{score}");
            assert_eq!(verdict.message.is_none(), expected == Successful);
        }
    }

    #[test]
    fn no_traffic_is_a_failure_with_a_message_people_understand() {
        let rules = rules(&json!({"successCondition": "result[0] >= 0.95"}));
        let verdict = judge(&rules, &Ok(Value::Numbers(vec![f64::NAN])), Timestamp::from_millis(0));
        assert_eq!(verdict.phase, AnalysisPhase::Failed);
        assert!(verdict.message.unwrap().starts_with("the query returned NaN (0/0: no traffic?)"));
        let verdict = judge(&rules, &Ok(Value::Numbers(vec![])), Timestamp::from_millis(0));
        assert_eq!(verdict.phase, AnalysisPhase::Error);
        assert!(
            verdict.message.unwrap().starts_with("the query returned no data, so result[0] does not exist")
        );
    }

    #[test]
    fn what_no_data_counts_as_is_the_metrics_to_say() {
        use AnalysisPhase::{Failed, Inconclusive, Pending, Successful};
        for (policy, phase) in
            [("Fail", Failed), ("Inconclusive", Inconclusive), ("Wait", Pending), ("Pass", Successful)]
        {
            let rules = rules(&json!({"successCondition": "result[0] < 1", "noData": policy}));
            for value in [Value::Numbers(vec![]), Value::Numbers(vec![f64::NAN]), Value::Json(json!(null))] {
                let verdict = judge(&rules, &Ok(value), Timestamp::from_millis(0));
                assert_eq!(verdict.phase, phase);
                assert!(verdict.message.unwrap().contains("which noData counts as "));
            }
            let some = judge(&rules, &Ok(Value::Numbers(vec![2.0, f64::NAN])), Timestamp::from_millis(0));
            assert_eq!(some.phase, Failed);
            let error = judge(&rules, &Err("no answer".to_owned()), Timestamp::from_millis(0));
            assert_eq!(error.phase, AnalysisPhase::Error);
        }
    }

    #[test]
    fn a_success_without_data_says_so() {
        let rules = rules(&json!({"successCondition": "all(result, # < 0.05)"}));
        let verdict = judge(&rules, &Ok(Value::Numbers(vec![])), Timestamp::from_millis(0));
        assert_eq!(verdict.phase, AnalysisPhase::Successful);
        assert_eq!(verdict.message.unwrap(), "the query returned no data, and the conditions allow for that");
        assert_eq!(judge(&rules, &Ok(Value::Numbers(vec![0.0])), Timestamp::from_millis(0)).message, None);
    }

    #[test]
    fn a_field_that_an_answer_does_not_have_never_speaks_for_a_version() {
        use AnalysisPhase::{Error, Failed, Inconclusive, Successful};
        for (conditions, expected) in [
            (json!({"successCondition": "result.ok == true"}), Failed),
            (json!({"successCondition": "result.ok != false"}), Error),
            (json!({"failureCondition": "result.ok == false"}), Error),
            (json!({"failureCondition": "result.ok != true"}), Failed),
            (
                json!({"successCondition": "result.ok == 1", "failureCondition": "result.ok == 2"}),
                Inconclusive,
            ),
            (json!({"successCondition": "result.okay", "failureCondition": "result.ok == 2"}), Error),
        ] {
            let value = Value::Json(json!({"okay": true}));
            let verdict = judge(&rules(&conditions), &Ok(value), Timestamp::from_millis(0));
            assert_eq!(verdict.phase, expected, "{conditions}");
            assert!(verdict.message.unwrap().starts_with("the answer has no result.ok;"), "{conditions}");
        }
        let asked = rules(&json!({"successCondition": "(result.ok ?? true) != false"}));
        let verdict = judge(&asked, &Ok(Value::Json(json!({"okay": true}))), Timestamp::from_millis(0));
        assert_eq!(verdict, Verdict::of(Successful));
    }

    fn after(settings: &serde_json::Value, phases: &[AnalysisPhase]) -> (AnalysisPhase, String) {
        let found = result(phases.iter().map(|phase| measurement(*phase, 0, 0)).collect());
        let verdict = assess(&rules(settings), &found, Course::GoesOn);
        (verdict.phase, verdict.message.unwrap_or_default())
    }

    #[test]
    fn each_limit_ends_a_metric_when_it_is_passed() {
        use AnalysisPhase::{Error, Failed, Inconclusive, Running, Successful};
        let endless = |more: serde_json::Value| {
            let mut settings = json!({"interval": "1m"});
            settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            settings
        };
        for (settings, phases, phase, message) in [
            (endless(json!({})), vec![Successful; 9], Running, ""),
            (endless(json!({})), vec![Failed], Failed, "failed (1) > failureLimit (0)"),
            (endless(json!({"failureLimit": 3})), vec![Failed; 3], Running, ""),
            (endless(json!({"failureLimit": 3})), vec![Failed; 4], Failed, "failed (4) > failureLimit (3)"),
            (endless(json!({"failureLimit": -1})), vec![Failed; 99], Running, ""),
            (
                endless(json!({})),
                vec![Inconclusive],
                Inconclusive,
                "inconclusive (1) > inconclusiveLimit (0)",
            ),
            (endless(json!({})), vec![Error; 4], Running, ""),
            (endless(json!({})), vec![Error; 5], Error, "consecutiveErrors (5) > consecutiveErrorLimit (4)"),
            (endless(json!({})), vec![Error, Error, Error, Error, Successful, Error], Running, ""),
            (
                endless(json!({"consecutiveSuccessLimit": 2, "failureLimit": -1})),
                vec![Successful, Failed, Successful],
                Running,
                "",
            ),
            (
                endless(json!({"consecutiveSuccessLimit": 2, "failureLimit": -1})),
                vec![Failed, Successful, Successful],
                Successful,
                "",
            ),
            (json!({}), vec![Successful], Successful, ""),
            (json!({}), vec![Error], Running, ""),
            (endless(json!({"count": 2})), vec![Successful, Successful], Successful, ""),
            (
                endless(json!({"count": 2, "consecutiveSuccessLimit": 2, "failureLimit": 2})),
                vec![Successful, Failed],
                Inconclusive,
                "consecutiveSuccesses (0) < consecutiveSuccessLimit (2)",
            ),
            (
                endless(json!({"count": 2, "consecutiveSuccessLimit": 2, "failureLimit": -1})),
                vec![Failed, Successful],
                Failed,
                "consecutiveSuccesses (1) < consecutiveSuccessLimit (2)",
            ),
        ] {
            assert_eq!(after(&settings, &phases), (phase, message.to_owned()), "{settings} after {phases:?}");
        }
    }

    #[test]
    fn an_ending_run_counts_an_unfinished_metric_as_successful() {
        let found = result(vec![measurement(AnalysisPhase::Successful, 0, 0)]);
        let endless = rules(&json!({"interval": "1m"}));
        assert_eq!(assess(&endless, &found, Course::Ending).phase, AnalysisPhase::Successful);
    }

    #[test]
    fn the_latest_measurements_are_kept_and_all_are_counted() {
        let mut found = blank("m", false);
        for second in 0..25 {
            record(&mut found, measurement(AnalysisPhase::Successful, second, second), 10);
        }
        let kept = found.measurements.unwrap();
        assert_eq!((found.count, kept.len()), (Some(25), 10));
        assert_eq!(kept[0].started_at, Some(Timestamp::from_millis(15_000)));
    }

    #[test]
    fn a_bad_metric_is_told_in_one_sentence() {
        let mut bad = measurement(AnalysisPhase::Failed, 0, 0);
        let settings = rules(&json!({}));
        let plain = result(vec![bad.clone()]);
        assert_eq!(
            sentence(&plain, &assess(&settings, &plain, Course::GoesOn)),
            "Metric \"m\" assessed Failed due to failed (1) > failureLimit (0)"
        );
        bad.message = Some("no traffic".to_owned());
        let told = result(vec![bad]);
        assert_eq!(
            sentence(&told, &assess(&settings, &told, Course::GoesOn)),
            "Metric \"m\" assessed Failed due to failed (1) > failureLimit (0): \"Error Message: no traffic\""
        );
    }

    #[test]
    fn a_condition_that_cannot_be_read_counts_only_where_it_would_be_applied() {
        let waiting = rules(&serde_json::json!({"noData": "Wait"}));
        let phase = |measured: Result<Value, String>| judge_without(&waiting, &measured, "no").phase;
        assert_eq!(phase(Ok(Value::Numbers(vec![]))), AnalysisPhase::Pending);
        assert_eq!(phase(Ok(Value::Number(1.0))), AnalysisPhase::Error);
        assert_eq!(phase(Err("down".to_owned())), AnalysisPhase::Error);
    }
}
