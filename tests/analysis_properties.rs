//! Properties of the analysis core over generated runs and generated conditions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and its functions are part of it"
)]
#![allow(clippy::needless_pass_by_value, reason = "objects of tests are written where they are passed")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use serin::analysis::condition::Condition;
use serin::analysis::{RunPlan, RunSnapshot, Sample, Value, decide};
use serin::api::{AnalysisPhase, AnalysisRun, AnalysisRunStatus};
use serin::units::Timestamp;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

fn snapshot(spec: Json) -> RunSnapshot {
    RunSnapshot::new(AnalysisRun::new("run", serde_json::from_value(spec).unwrap()), at(0))
}

/// Writes the plan's status as the API server would: through text.
fn apply(snapshot: &mut RunSnapshot, plan: &RunPlan) {
    if let Some(status) = &plan.status {
        snapshot.run.status = Some(serde_json::from_str(&serde_json::to_string(status).unwrap()).unwrap());
    }
    if !plan.keep_samples {
        snapshot.samples.clear();
    }
}

fn answer(snapshot: &mut RunSnapshot, plan: &RunPlan, result: &Result<f64, String>) {
    for request in &plan.measure {
        snapshot.samples.push(Sample {
            metric: request.metric.clone(),
            started_at: request.at,
            finished_at: snapshot.now,
            result: result.clone().map(|number| Value::Numbers(vec![number])),
            metadata: BTreeMap::new(),
        });
    }
}

fn settings() -> impl Strategy<Value = Json> {
    let limit = || {
        prop_oneof![
            Just(json!(null)),
            (-1..5_i32).prop_map(|n| json!(n)),
            (0..3_i32).prop_map(|n| json!(n.to_string()))
        ]
    };
    let interval = prop_oneof![
        Just(json!(null)),
        Just(json!("1m")),
        Just(json!("10")),
        Just(json!("5ms")),
        Just(json!("soon"))
    ];
    let condition = || {
        prop_oneof![
            Just(json!(null)),
            Just(json!("result[0] >= 0.95")),
            Just(json!("result[0] < 0.5")),
            Just(json!("result[3] > 1")),
            Just(json!("result[0]"))
        ]
    };
    (interval, limit(), limit(), limit(), limit(), limit(), condition(), condition()).prop_map(
        |(interval, count, failure, inconclusive, error, success, good, bad)| {
            json!({
                "interval": interval, "count": count, "failureLimit": failure, "inconclusiveLimit": inconclusive,
                "consecutiveErrorLimit": error, "consecutiveSuccessLimit": success,
                "successCondition": good, "failureCondition": bad,
                "provider": {"prometheus": {"query": "up"}}
            })
        },
    )
}

fn spec() -> impl Strategy<Value = Json> {
    (proptest::collection::vec(settings(), 0..4), any::<bool>(), any::<bool>()).prop_map(
        |(metrics, dry, terminate)| {
            let metrics: Vec<Json> = metrics
                .into_iter()
                .enumerate()
                .map(|(index, mut metric)| {
                    metric["name"] = json!(format!("m{index}"));
                    metric
                })
                .collect();
            json!({
                "metrics": metrics,
                "dryRun": if dry { json!([{"metricName": "m0"}]) } else { json!(null) },
                "terminate": if terminate { json!(true) } else { json!(null) }
            })
        },
    )
}

fn measured() -> impl Strategy<Value = Result<f64, String>> {
    prop_oneof![
        4 => (0.0..1.2_f64).prop_map(Ok),
        1 => Just(Ok(f64::NAN)),
        1 => Just(Ok(f64::INFINITY)),
        2 => Just(Err("connection refused".to_owned()))
    ]
}

fn total(status: &AnalysisRunStatus) -> i32 {
    let results = status.metric_results.iter().flatten();
    results.map(|found| found.count.unwrap_or_default() + found.error.unwrap_or_default()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_run_is_deterministic_counts_only_upwards_and_is_never_written_after_its_end(
        spec in spec(),
        answers in proptest::collection::vec((measured(), 0..200_000_i64), 1..40),
    ) {
        let mut snapshot = snapshot(spec);
        let mut counted = 0;
        for (measured, millis) in &answers {
            let plan = decide(&snapshot);
            prop_assert_eq!(&plan, &decide(&snapshot));
            let was_over = snapshot.run.status.as_ref().and_then(|status| status.phase).is_some_and(AnalysisPhase::is_completed);
            prop_assert!(!was_over || plan == RunPlan::default());
            apply(&mut snapshot, &plan);
            let again = decide(&snapshot);
            prop_assert!(again.status.is_none(), "a written status is right: {:?}", again.status);
            let status = snapshot.run.status.clone().unwrap();
            prop_assert!(total(&status) >= counted);
            counted = total(&status);
            let over = status.phase.unwrap().is_completed();
            prop_assert_eq!(over, status.completed_at.is_some());
            prop_assert!(!over || (plan.measure.is_empty() && plan.secrets.is_empty()));
            prop_assert!(plan.wake_at.is_none_or(|time| time > snapshot.now));
            answer(&mut snapshot, &plan, measured);
            snapshot.now = at(snapshot.now.as_millis() - at(0).as_millis() + millis);
        }
    }

    #[test]
    fn more_failures_than_the_limit_always_end_failed_and_never_fewer(
        limit in 0..5_i32,
        values in proptest::collection::vec(any::<bool>(), 1..20),
    ) {
        let mut snapshot = snapshot(json!({"metrics": [{
            "name": "m", "interval": "1m", "failureLimit": limit, "successCondition": "result[0] >= 0.95",
            "provider": {"prometheus": {"query": "up"}}
        }]}));
        let mut failed = 0;
        for good in values {
            let plan = decide(&snapshot);
            apply(&mut snapshot, &plan);
            if plan.measure.is_empty() {
                break;
            }
            answer(&mut snapshot, &plan, &Ok(if good { 1.0 } else { 0.0 }));
            failed += i32::from(!good);
            let plan = decide(&snapshot);
            apply(&mut snapshot, &plan);
            let expected = if failed > limit { AnalysisPhase::Failed } else { AnalysisPhase::Running };
            prop_assert_eq!(snapshot.run.status.as_ref().unwrap().phase, Some(expected));
            snapshot.now = at(snapshot.now.as_millis() - at(0).as_millis() + 60_000);
        }
    }

    #[test]
    fn a_stored_status_of_any_content_is_survived(
        spec in spec(),
        count in any::<i32>(), failed in any::<i32>(), consecutive in any::<i32>(),
        phase in prop_oneof![Just("Running"), Just("Pending"), Just("Error"), Just("Successful")],
        started in any::<i64>(),
    ) {
        let mut snapshot = snapshot(spec);
        snapshot.run.status = serde_json::from_value(json!({
            "phase": "Running",
            "startedAt": Timestamp::from_millis(started.rem_euclid(4_000_000_000_000)),
            "metricResults": [{"name": "m0", "phase": phase, "count": count, "failed": failed,
                "consecutiveError": consecutive, "measurements": [{"phase": phase}]}]
        })).unwrap();
        let plan = decide(&snapshot);
        apply(&mut snapshot, &plan);
        answer(&mut snapshot, &plan, &Ok(1.0));
        prop_assert_eq!(decide(&snapshot), decide(&snapshot));
    }
}

/// Pieces of expressions, put together in any order: most are nonsense, some are not.
fn expression() -> impl Strategy<Value = String> {
    const PIECES: [&str; 66] = [
        "result",
        "result[0]",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "#",
        "#acc",
        "0",
        "1",
        "0.95",
        "1..5",
        "1..1000",
        "..",
        "+",
        "-",
        "*",
        "/",
        "%",
        "**",
        "^",
        ">",
        "<=",
        "==",
        "!=",
        "&&",
        "||",
        "and",
        "or",
        "not",
        "!",
        "in",
        "?",
        ":",
        "??",
        "?.",
        ".",
        ",",
        "|",
        "len(",
        "map(",
        "filter(",
        "any(",
        "reduce(",
        "sum(",
        "repeat(",
        "sortBy(",
        "groupBy(",
        "join(",
        "replace(",
        "'a'",
        "\"b\"",
        "`c`",
        "matches",
        "contains",
        "let x = ",
        ";",
        "x",
        "nil",
        "true",
        "default(",
        "now()",
        "duration('5m')",
        "if",
    ];
    proptest::collection::vec(proptest::sample::select(PIECES.as_slice()), 1..25)
        .prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_is_judged_or_refused_in_one_line(text in "\\PC{0,60}") {
        let judged = Condition::parse(&text).and_then(|read| read.holds(&Value::Numbers(vec![1.0]), at(0)));
        prop_assert!(judged.is_ok() || !judged.unwrap_err().is_empty());
    }

    #[test]
    fn any_expression_ends_and_what_cannot_be_read_is_refused_both_before_and_during_a_run(text in expression()) {
        let value = Value::Numbers(vec![1.0, 0.5, f64::NAN]);
        let judge = || Condition::parse(&text).and_then(|read| read.holds(&value, at(0)));
        let judged = judge();
        if Condition::parse(&text).is_err() {
            prop_assert!(judged.is_err());
        }
        prop_assert_eq!(&judged, &judge());
    }
}
