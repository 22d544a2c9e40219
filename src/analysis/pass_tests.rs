use serde_json::json;

use crate::analysis::query::JobEnd;
use crate::analysis::secrets::{Home, Secret, SecretKey};
use crate::analysis::{MeasureRequest, Query, RunPlan, RunSnapshot, RunSpec, Sample, Value, decide};
use crate::api::analysis_run::MetricResult;
use crate::api::{AnalysisPhase, AnalysisRun, AnalysisRunStatus};
use crate::units::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A run on virtual time: what is asked for is answered by the test, what is written becomes the stored status.
struct World {
    snapshot: RunSnapshot,
    writes: usize,
    events: Vec<String>,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1000)
}

fn metric(more: &serde_json::Value) -> serde_json::Value {
    let mut metric = json!({"name": "m", "successCondition": "result[0] >= 0.95", "provider": {"prometheus": {"query": "up"}}});
    metric.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    metric
}

impl World {
    fn new(spec: serde_json::Value) -> Self {
        let mut run = AnalysisRun::new("run", serde_json::from_value(spec).unwrap());
        run.status = None;
        Self { snapshot: RunSnapshot::new(run, at(0)), writes: 0, events: Vec::new() }
    }

    /// One pass; the status is written and read back, as the API server would.
    fn pass(&mut self) -> RunPlan {
        let plan = decide(&self.snapshot);
        assert_eq!(plan, decide(&self.snapshot), "the same snapshot gives the same plan");
        if let Some(status) = &plan.status {
            self.writes += 1;
            let text = serde_json::to_string(status).unwrap();
            self.snapshot.run.status = Some(serde_json::from_str(&text).unwrap());
        }
        if !plan.keep_samples {
            self.snapshot.samples.clear();
        }
        self.events.extend(plan.events.iter().map(|event| format!("{}: {}", event.reason, event.message)));
        self.snapshot.in_flight.extend(plan.measure.iter().map(|request| request.metric.clone()));
        plan
    }

    fn answer(&mut self, request: &MeasureRequest, result: Result<Vec<f64>, &str>) {
        self.snapshot.in_flight.remove(&request.metric);
        self.snapshot.samples.push(Sample {
            metric: request.metric.clone(),
            started_at: request.at,
            finished_at: self.snapshot.now,
            result: result.map(Value::Numbers).map_err(str::to_owned),
            metadata: BTreeMap::new(),
        });
    }

    /// Runs to the end, every measurement answered at once by `answers` (the last one again and again).
    fn run(&mut self, answers: &[Result<Vec<f64>, &str>]) -> AnalysisRunStatus {
        let mut next = 0;
        for _ in 0..200 {
            let plan = self.pass();
            for request in &plan.measure {
                self.answer(request, answers[next.min(answers.len() - 1)].clone());
                next += 1;
            }
            if !plan.measure.is_empty() {
                continue;
            }
            let status = self.snapshot.run.status.clone().unwrap();
            if status.phase.unwrap().is_completed() {
                return status;
            }
            self.snapshot.now = plan.wake_at.expect("a run that goes on has a time to wake up");
        }
        panic!("the run does not end");
    }
}

fn seconds(from: Option<Timestamp>, to: Option<Timestamp>) -> u64 {
    to.unwrap().since(from.unwrap()).as_secs()
}

#[test]
fn the_shared_success_rate_template_ends_a_good_step_after_four_measurements_six_minutes_apart() {
    let spec = json!({"metrics": [metric(&json!({"interval": "2m", "failureLimit": 3, "count": 4}))]});
    let mut world = World::new(spec);
    let status = world.run(&[Ok(vec![0.99])]);
    assert_eq!((status.phase, status.message.clone()), (Some(AnalysisPhase::Successful), None));
    assert_eq!(seconds(status.started_at, status.completed_at), 360);
    assert_eq!(status.metric_results.unwrap()[0].count, Some(4));
    assert_eq!(world.writes, 5, "one for Running, one per measurement");
    assert_eq!(
        world.events,
        [
            "MetricSuccessful: Metric \"m\" assessed Successful",
            "AnalysisRunSuccessful: Analysis completed Successful"
        ]
    );
}

/// The condition that is true, with its reason.
fn told(status: &AnalysisRunStatus) -> Vec<(&str, &str)> {
    let conditions = status.conditions.iter().flatten().filter(|condition| condition.status == "True");
    conditions.map(|condition| (condition.r#type.as_str(), condition.reason.as_deref().unwrap())).collect()
}

#[test]
fn tools_that_know_conditions_alone_see_from_the_first_write_on_how_a_run_stands() {
    for (answer, kind, reason) in [
        (Ok(vec![0.99]), "Ready", "Successful"),
        (Ok(vec![0.5]), "Stalled", "Failed"),
        (Err("refused"), "Stalled", "Error"),
    ] {
        let mut world = World::new(json!({"metrics": [metric(&json!({}))]}));
        let plan = world.pass();
        assert_eq!(told(plan.status.as_ref().unwrap()), [("Reconciling", "Running")]);
        for request in &plan.measure {
            world.answer(request, answer.clone());
        }
        let status = world.run(&[answer]);
        assert_eq!(told(&status), [(kind, reason)]);
        assert_eq!(status.conditions.unwrap().len(), 3);
    }
    let refused = World::new(json!({"metrics": []})).pass().status.unwrap();
    assert_eq!(told(&refused), [("Stalled", "Error")]);
}

#[test]
fn measurements_that_follow_each_other_within_seconds_are_written_together() {
    let spec = json!({"metrics": [metric(&json!({"interval": "1s", "count": 30}))]});
    let mut world = World::new(spec);
    let status = world.run(&[Ok(vec![0.99])]);
    assert_eq!(seconds(status.started_at, status.completed_at), 29, "all are in time");
    let results = &status.metric_results.unwrap()[0];
    assert_eq!((results.count, results.successful), (Some(30), Some(30)));
    assert_eq!(world.writes, 12, "one for Running, one for the first, and one for every three after that");
}

#[test]
fn what_a_measurement_decides_is_written_at_once() {
    let spec = json!({"metrics": [metric(&json!({"interval": "1s", "count": 30}))]});
    let mut world = World::new(spec);
    let status = world.run(&[Ok(vec![0.99]), Ok(vec![0.99]), Ok(vec![0.5])]);
    assert_eq!(status.phase, Some(AnalysisPhase::Failed));
    assert_eq!(seconds(status.started_at, status.completed_at), 2);
    assert_eq!(status.metric_results.unwrap()[0].measurements.as_ref().unwrap().len(), 3);
}

#[test]
fn what_speaks_against_a_version_is_written_at_once_even_where_it_is_tolerated() {
    let spec = json!({"metrics": [metric(&json!({"interval": "1s", "count": 30, "failureLimit": 5}))]});
    let mut world = World::new(spec);
    let mut writes = Vec::new();
    for value in [0.99, 0.99, 0.5, 0.99] {
        let asked = world.pass().measure.remove(0);
        world.answer(&asked, Ok(vec![value]));
        world.snapshot.now = world.pass().wake_at.unwrap();
        writes.push(world.writes);
    }
    assert_eq!(writes, [2, 2, 3, 3], "the first, and the bad one with what had waited");
    assert_eq!(world.snapshot.run.status.unwrap().metric_results.unwrap()[0].count, Some(3));
}

#[test]
fn a_sample_that_waits_is_judged_by_the_time_at_which_it_was_taken() {
    let condition = format!("now() < date('{}')", at(2));
    let rules = json!({"interval": "1s", "count": 30, "failureLimit": 9, "successCondition": condition});
    let mut world = World::new(json!({"metrics": [metric(&rules)]}));
    for _ in 0..2 {
        let asked = world.pass().measure.remove(0);
        world.answer(&asked, Ok(vec![1.0]));
        world.snapshot.now = world.pass().wake_at.unwrap();
    }
    world.snapshot.now = at(4);
    let status = world.pass().status.unwrap();
    let results = &status.metric_results.unwrap()[0];
    assert_eq!((results.successful, results.failed), (Some(2), None));
}

#[test]
fn samples_that_are_seen_again_after_they_were_written_count_once() {
    let spec = json!({
        "metrics": [metric(&json!({"interval": "1s", "count": 30}))],
        "measurementRetention": [{"metricName": "m", "limit": 1}],
    });
    let mut world = World::new(spec);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let plan = world.pass();
        for request in &plan.measure {
            world.answer(request, Ok(vec![0.99]));
        }
        seen.clone_from(&world.snapshot.samples);
        world.snapshot.now = world.pass().wake_at.unwrap();
    }
    let before = world.snapshot.run.status.clone().unwrap();
    assert_eq!(before.metric_results.as_ref().unwrap()[0].count, Some(4));
    // Nobody has answered that they were written.
    world.snapshot.samples = seen;
    world.snapshot.in_flight.insert("m".to_owned());
    assert_eq!(world.pass().status, None);
    assert_eq!(world.snapshot.run.status, Some(before));
}

#[test]
fn a_measurement_that_waits_for_others_does_not_wait_for_a_slow_one() {
    let spec = json!({"metrics": [metric(&json!({"interval": "1s", "count": 30}))]});
    let mut world = World::new(spec);
    let first = world.pass().measure.remove(0);
    world.answer(&first, Ok(vec![0.99]));
    world.snapshot.now = world.pass().wake_at.unwrap();
    let second = world.pass().measure.remove(0);
    world.answer(&second, Ok(vec![0.99]));
    assert!(world.pass().keep_samples);
    world.snapshot.now = at(2);
    let plan = world.pass();
    assert_eq!((plan.measure.len(), plan.keep_samples, plan.wake_at), (1, true, Some(at(4))));
    world.snapshot.now = at(4);
    let plan = world.pass();
    assert!(!plan.keep_samples);
    assert_eq!(plan.status.unwrap().metric_results.unwrap()[0].count, Some(2));
}

#[test]
fn the_fourth_bad_measurement_fails_the_run_when_three_are_tolerated() {
    let mut world = World::new(json!({"metrics": [metric(&json!({"interval": "2m", "failureLimit": 3}))]}));
    let status = world.run(&[Ok(vec![0.5])]);
    assert_eq!(status.phase, Some(AnalysisPhase::Failed));
    let message = "Metric \"m\" assessed Failed due to failed (4) > failureLimit (3)";
    assert_eq!(status.message.as_deref(), Some(message));
    assert_eq!(seconds(status.started_at, status.completed_at), 360);
    assert_eq!(status.run_summary.unwrap().failed, Some(1));
    assert_eq!(world.events[1], format!("AnalysisRunFailed: Analysis completed Failed: {message}"));
}

#[test]
fn a_finished_run_writes_nothing_more() {
    let mut world = World::new(json!({"metrics": [metric(&json!({}))]}));
    world.run(&[Ok(vec![1.0])]);
    world.snapshot.now = at(100_000);
    world.snapshot.samples.push(Sample {
        metric: "m".to_owned(),
        started_at: at(9),
        finished_at: at(9),
        result: Ok(Value::Number(0.0)),
        metadata: BTreeMap::new(),
    });
    assert_eq!(world.pass(), RunPlan::default());
}

#[test]
fn a_run_that_waits_writes_nothing_and_knows_when_to_wake_up() {
    let mut world =
        World::new(json!({"metrics": [metric(&json!({"interval": "2m", "initialDelay": "30s"}))]}));
    assert_eq!(world.pass().wake_at, Some(at(30)));
    let idle = world.pass();
    assert!(idle.is_idle() && idle.wake_at == Some(at(30)), "{idle:?}");
    world.snapshot.now = at(30);
    let request = world.pass().measure.remove(0);
    assert!(world.pass().is_idle(), "a measurement in flight is not started again");
    world.snapshot.now = at(33);
    world.answer(&request, Ok(vec![1.0]));
    assert_eq!(world.pass().wake_at, Some(at(153)));
}

#[test]
fn a_sample_that_is_stored_already_is_not_counted_again() {
    let mut world = World::new(json!({"metrics": [metric(&json!({"interval": "2m"}))]}));
    let request = world.pass().measure.remove(0);
    for _ in 0..3 {
        world.answer(&request, Ok(vec![1.0]));
        world.pass();
    }
    let status = world.snapshot.run.status.clone().unwrap();
    assert_eq!(status.metric_results.unwrap()[0].count, Some(1));
    assert_eq!(world.writes, 2);
}

#[test]
fn errors_are_retried_every_ten_seconds_and_the_fifth_in_a_row_ends_the_run() {
    let mut world = World::new(json!({"metrics": [metric(&json!({"interval": "2m"}))]}));
    let status = world.run(&[Err("connection refused")]);
    assert_eq!(status.phase, Some(AnalysisPhase::Error));
    assert_eq!(
        status.message.as_deref(),
        Some(
            "Metric \"m\" assessed Error due to consecutiveErrors (5) > consecutiveErrorLimit (4): \"Error Message: connection refused\""
        )
    );
    assert_eq!(seconds(status.started_at, status.completed_at), 40);
}

#[test]
fn a_provider_that_comes_back_is_forgiven() {
    let mut world = World::new(json!({"metrics": [metric(&json!({"interval": "1m", "count": 2}))]}));
    let answers = [Err("down"), Err("down"), Err("down"), Ok(vec![1.0])];
    let status = world.run(&answers);
    assert_eq!(status.phase, Some(AnalysisPhase::Successful));
    assert_eq!(status.metric_results.unwrap()[0].error, Some(3));
}

#[test]
fn the_first_metric_that_fails_ends_the_run_for_all() {
    let mut other = metric(&json!({"interval": "1m"}));
    other["name"] = json!("other");
    let mut world = World::new(json!({"metrics": [metric(&json!({"interval": "1m"})), other]}));
    let requests = world.pass().measure;
    assert_eq!(requests.len(), 2);
    world.answer(&requests[0], Ok(vec![0.0]));
    let plan = world.pass();
    assert!(plan.measure.is_empty() && plan.wake_at.is_none());
    let status = world.snapshot.run.status.clone().unwrap();
    assert_eq!(status.phase, Some(AnalysisPhase::Failed));
    assert_eq!(status.metric_results.unwrap().len(), 1);
}

#[test]
fn a_dry_run_metric_is_measured_and_decides_nothing() {
    let mut world = World::new(json!({
        "metrics": [metric(&json!({"failureCondition": "true"}))],
        "dryRun": [{"metricName": "^m$"}]
    }));
    let status = world.run(&[Ok(vec![0.0])]);
    assert_eq!(status.phase, Some(AnalysisPhase::Successful));
    assert_eq!(status.dry_run_summary.unwrap().failed, Some(1));
    assert_eq!(status.run_summary.unwrap().count, None);
    assert_eq!(status.metric_results.unwrap()[0].phase, AnalysisPhase::Failed);
}

#[test]
fn an_endless_dry_run_metric_does_not_keep_a_run_open() {
    let mut endless = metric(&json!({"interval": "1m"}));
    endless["name"] = json!("watched");
    let mut world =
        World::new(json!({"metrics": [endless, metric(&json!({}))], "dryRun": [{"metricName": "watched"}]}));
    assert_eq!(world.run(&[Ok(vec![1.0])]).phase, Some(AnalysisPhase::Successful));
}

#[test]
fn a_terminated_run_ends_at_once_and_says_so() {
    let mut world = World::new(json!({"metrics": [metric(&json!({"interval": "1m"}))], "terminate": true}));
    let plan = world.pass();
    assert!(plan.measure.is_empty());
    let status = world.snapshot.run.status.clone().unwrap();
    assert_eq!(status.phase, Some(AnalysisPhase::Successful));
    assert_eq!(status.message.as_deref(), Some("Run Terminated"));
    assert!(status.completed_at.is_some());
}

#[test]
fn an_invalid_spec_ends_the_run_with_every_problem() {
    let mut world = World::new(json!({"metrics": [
        {"name": "m", "interval": "x", "provider": {"plugin": {}}},
        {"name": "m", "provider": {"prometheus": {"query": "{{args.a}}"}}}
    ]}));
    world.pass();
    let status = world.snapshot.run.status.clone().unwrap();
    assert_eq!(status.phase, Some(AnalysisPhase::Error));
    assert_eq!(
        status.message.as_deref(),
        Some(
            "the spec is invalid: metrics[0].interval 'x' is not a duration such as 30s or 5m; \
             metrics[0].provider.plugin is not supported; job runs any program, and web asks any server; \
             metrics[1] is incomplete: args.a was not resolved; metrics has two metrics named 'm'"
        )
    );
    assert!(status.completed_at.is_some());
}

#[test]
fn a_list_that_would_take_long_to_read_is_refused_unread() {
    let many = |entry: serde_json::Value, count: usize| vec![entry; count];
    let pattern = json!({"metricName": r"(\w{9}){3}x", "limit": 1});
    let spec = json!({
        "metrics": many(metric(&json!({})), 201), "dryRun": many(pattern.clone(), 101), "measurementRetention": many(pattern, 101)
    });
    let mut world = World::new(spec);
    world.pass();
    assert_eq!(
        world.snapshot.run.status.unwrap().message.as_deref(),
        Some(
            "the spec is invalid: metrics has 201 entries; at most 200 are allowed; dryRun has 101 entries; \
             at most 100 are allowed; measurementRetention has 101 entries; at most 100 are allowed"
        )
    );
}

fn secret_run() -> (World, SecretKey) {
    let key = SecretKey { home: Home::Run, name: "prom".to_owned(), key: "token".to_owned() };
    let spec = json!({
        "metrics": [metric(&json!({"interval": "1m", "provider": {"prometheus": {"query": "up", "headers":
            [{"key": "Authorization", "value": "Bearer {{args.token}}"}]}}}))],
        "args": [{"name": "token", "valueFrom": {"secretKeyRef": {"name": key.name, "key": key.key}}}]
    });
    (World::new(spec), key)
}

#[test]
fn secrets_are_asked_for_by_name_and_only_when_something_is_due() {
    let (mut world, key) = secret_run();
    let plan = world.pass();
    assert_eq!(plan.secrets, BTreeSet::from([key.clone()]));
    assert!(plan.measure.is_empty());
    world.snapshot.secrets.insert(key, Ok(Some(Secret::new("s3cret"))));
    let plan = world.pass();
    assert!(plan.secrets.is_empty());
    let Query::Prometheus(query) = &plan.measure[0].query else { panic!("{plan:?}") };
    assert_eq!(query.headers[0].1.reveal(), "Bearer s3cret");
    assert!(!format!("{plan:?}").contains("s3cret"));
    world.snapshot.secrets.clear();
    assert!(world.pass().is_idle());
}

#[test]
fn a_secret_that_cannot_be_read_is_an_error_that_heals() {
    let (mut world, key) = secret_run();
    world.snapshot.secrets.insert(key.clone(), Err("Secret 'prom' does not exist".to_owned()));
    let plan = world.pass();
    assert_eq!(plan.wake_at, Some(at(10)));
    let status = world.snapshot.run.status.clone().unwrap();
    let measurement = status.metric_results.unwrap()[0].measurements.clone().unwrap()[0].clone();
    assert_eq!(measurement.phase, AnalysisPhase::Error);
    assert_eq!(
        measurement.message.as_deref(),
        Some("args.token was not resolved: Secret 'prom' does not exist")
    );
    world.snapshot.secrets.insert(key, Ok(Some(Secret::new("s3cret"))));
    world.snapshot.now = at(10);
    assert_eq!(world.pass().measure.len(), 1);
}

/// A run whose condition holds a secret, up to where its one measurement, 5, waits to be judged.
fn secret_condition(condition: &str) -> (World, SecretKey) {
    let key = SecretKey { home: Home::Run, name: "limits".to_owned(), key: "most".to_owned() };
    let mut world = World::new(json!({
        "metrics": [metric(&json!({"successCondition": condition}))],
        "args": [{"name": "most", "valueFrom": {"secretKeyRef": {"name": key.name, "key": key.key}}}]
    }));
    let request = world.pass().measure.remove(0);
    world.answer(&request, Ok(vec![5.0]));
    (world, key)
}

/// What a pass with the secret makes of the measurement: its phase and message.
fn judged(condition: &str, secret: Result<&str, &str>) -> (AnalysisPhase, String) {
    let (mut world, key) = secret_condition(condition);
    world.snapshot.secrets.insert(key, secret.map(|text| Some(Secret::new(text))).map_err(str::to_owned));
    world.pass();
    let status = world.snapshot.run.status.unwrap();
    let measurement = status.metric_results.unwrap().remove(0).measurements.unwrap().remove(0);
    (measurement.phase, measurement.message.unwrap_or_default())
}

#[test]
fn a_condition_with_a_secret_is_judged_by_the_secret_and_by_nothing_else() {
    let condition = "result[0] >= {{args.most}}";
    let (mut world, key) = secret_condition("result['{{args.most}}'] == 1");
    world.snapshot.samples[0].result = Ok(Value::Json(json!({"a": 1})));
    world.snapshot.secrets.insert(key, Ok(Some(Secret::new("s3cret"))));
    world.pass();
    let status = world.snapshot.run.status.unwrap();
    assert!(!format!("{status:?}{:?}", world.events).contains("s3cret"), "{status:?}");
    assert!(status.message.unwrap().contains("the answer lacks something"));
    assert_eq!(judged(condition, Ok("5")).0, AnalysisPhase::Successful);
    assert_eq!(judged(condition, Ok("6")).0, AnalysisPhase::Failed);
    assert_eq!(
        judged(condition, Err("not found")),
        (AnalysisPhase::Error, "args.most was not resolved: not found".to_owned())
    );
    let hidden = "the conditions cannot be judged once args.most is put in; the reason is not shown, because it could \
                  show the secret";
    for secret in ["s3cret", "", "5 6"] {
        assert_eq!(judged(condition, Ok(secret)), (AnalysisPhase::Error, hidden.to_owned()), "'{secret}'");
    }
    assert_eq!(judged("{{args.most}}", Ok("")), (AnalysisPhase::Error, judged("{{args.most}}", Ok("1")).1));
}

#[test]
fn a_sample_waits_for_the_secret_of_its_condition_unless_it_has_no_value() {
    let (mut world, key) = secret_condition("result[0] >= {{args.most}}");
    let sample = world.snapshot.samples[0].clone();
    let plan = world.pass();
    assert_eq!((plan.secrets, plan.measure), (BTreeSet::from([key]), vec![]));
    world.snapshot.samples = vec![Sample { result: Err("down".to_owned()), ..sample }];
    assert!(world.pass().secrets.is_empty());
    assert_eq!(world.snapshot.run.status.unwrap().metric_results.unwrap()[0].error, Some(1));
}

#[test]
fn a_secret_in_a_number_or_a_time_is_refused_by_name() {
    for (field, value) in [
        ("interval", json!("{{args.s}}m")),
        ("count", json!("{{args.s}}")),
        ("failureLimit", json!("{{ args.s }}")),
        ("provider", json!({"prometheus": {"query": "up", "timeout": "{{args.s}}"}})),
        (
            "provider",
            json!({"prometheus": {"query": "up", "rangeQuery": {"start": "now()", "end": "now()", "step": "{{args.s}}m"}}}),
        ),
    ] {
        let mut world = World::new(json!({
            "metrics": [metric(&json!({field: value}))],
            "args": [{"name": "s", "valueFrom": {"secretKeyRef": {"name": "n", "key": "k"}}}]
        }));
        world.pass();
        let status = world.snapshot.run.status.unwrap();
        let message = status.message.unwrap_or_default();
        assert_eq!(status.phase, Some(AnalysisPhase::Error), "{field}");
        assert!(
            message.starts_with(&format!("the spec is invalid: metrics[0].{field}"))
                && message.ends_with(
                    "uses the secret argument 's'; a secret can stand in conditions, queries, addresses, headers and \
                     credentials only"
                ),
            "{message}"
        );
    }
}

#[test]
fn a_finished_run_is_deleted_when_its_time_is_over() {
    for (ttl, value, seconds) in [
        (json!({"secondsAfterCompletion": 60}), 1.0, Some(60)),
        (json!({"secondsAfterCompletion": 60, "secondsAfterSuccess": 5}), 1.0, Some(5)),
        (json!({"secondsAfterFailure": 7}), 0.0, Some(7)),
        (json!({"secondsAfterFailure": 7}), 1.0, None),
    ] {
        let mut world = World::new(json!({"metrics": [metric(&json!({}))], "ttlStrategy": ttl}));
        world.run(&[Ok(vec![value])]);
        let plan = world.pass();
        assert_eq!(plan.wake_at, seconds.map(at), "{ttl}");
        world.snapshot.now = at(1_000);
        assert_eq!(world.pass().delete, seconds.is_some());
    }
}

#[test]
fn retention_keeps_the_latest_and_counts_all() {
    let mut world = World::new(json!({
        "metrics": [metric(&json!({"interval": "1m", "count": 15}))],
        "measurementRetention": [{"metricName": "m", "limit": 3}]
    }));
    let status = world.run(&[Ok(vec![1.0])]);
    let found = &status.metric_results.unwrap()[0];
    assert_eq!((found.count, found.measurements.as_ref().unwrap().len()), (Some(15), 3));
}

#[test]
fn a_status_never_outgrows_its_object_whatever_is_to_be_kept() {
    let spec: crate::api::AnalysisRunSpec = serde_json::from_value(json!({
        "metrics": [metric(&json!({}))], "measurementRetention": [{"metricName": "m", "limit": 2_000_000_000}]
    }))
    .unwrap();
    assert_eq!(crate::analysis::spec::Spec::parse(&spec).ok().unwrap().retention_of("m"), 1_000);
}

#[test]
fn a_range_from_a_fixed_day_until_now_is_measured() {
    let range = json!({"start": "date('2023-01-01')", "end": "now()", "step": "1h"});
    let provider = json!({"prometheus": {"query": "up", "rangeQuery": range}});
    let mut world = World::new(json!({"metrics": [metric(&json!({"provider": provider}))]}));
    assert_eq!(world.pass().measure.len(), 1);
}

#[test]
fn conditions_and_numbers_may_come_from_arguments() {
    let mut world = World::new(json!({
        "metrics": [metric(&json!({"interval": "{{args.every}}", "count": "{{args.n}}", "successCondition": "result[0] >= {{ args.least }}"}))],
        "args": [{"name": "every", "value": "10s"}, {"name": "n", "value": "3"}, {"name": "least", "value": "0.5"}]
    }));
    let status = world.run(&[Ok(vec![0.6])]);
    assert_eq!(status.phase, Some(AnalysisPhase::Successful));
    assert_eq!(seconds(status.started_at, status.completed_at), 20);
}

/// A run of a metric that is a Job, and of one that asks Prometheus.
fn job_run(more: &serde_json::Value) -> World {
    let pod = json!({"spec": {"containers": [{"name": "test", "image": "test:1"}]}});
    let mut job = json!({"name": "smoke", "provider": {"job": {"spec": {"template": pod}}}});
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut world = World::new(json!({
        "metrics": [job, metric(&json!({"interval": "1m"}))],
        "measurementRetention": [{"metricName": "smoke", "limit": 2}]
    }));
    world.snapshot.run.metadata.uid = Some("uid".to_owned());
    world.snapshot.run.metadata.namespace = Some("shop".to_owned());
    world
}

impl World {
    fn end_job(&mut self, request: &MeasureRequest, end: JobEnd) {
        self.answer(request, Ok(vec![]));
        self.snapshot.samples.last_mut().unwrap().result = Ok(Value::Job(end));
    }

    fn smoke(&self) -> MetricResult {
        let results = self.snapshot.run.status.as_ref().unwrap().metric_results.as_ref().unwrap();
        results.iter().find(|result| result.name == "smoke").unwrap().clone()
    }
}

fn job_of(request: &MeasureRequest) -> &str {
    let Query::Job(job) = &request.query else { panic!("{request:?}") };
    &job.name
}

#[test]
fn a_job_is_shown_while_it_runs_and_begun_once_whatever_crashes() {
    let mut world = job_run(&json!({}));
    let begun = world.pass().measure.remove(0);
    assert_eq!(job_of(&begun), "uid.smoke.1");
    let shown = world.smoke();
    assert_eq!((shown.phase, shown.count), (AnalysisPhase::Running, None));
    let running = shown.measurements.unwrap().remove(0);
    assert_eq!((running.phase, running.finished_at), (AnalysisPhase::Running, None));
    assert_eq!(running.metadata.unwrap()["job-name"], "uid.smoke.1");

    // Another controller knows of no measurement on its way.
    world.snapshot.in_flight.clear();
    world.snapshot.now = at(30);
    let again = world.pass().measure.remove(0);
    assert_eq!((job_of(&again), again.at), ("uid.smoke.1", at(0)));
    world.end_job(&again, JobEnd::Complete);
    world.pass();
    let ended = world.smoke();
    assert_eq!((ended.phase, ended.count, ended.successful), (AnalysisPhase::Successful, Some(1), Some(1)));
    let measurement = ended.measurements.unwrap().remove(0);
    assert_eq!(
        (measurement.value, measurement.metadata.unwrap()["job-name"].as_str()),
        (None, "uid.smoke.1")
    );
}

#[test]
fn a_job_judges_itself() {
    use AnalysisPhase::{Failed, Inconclusive, Successful};
    for (end, phase, message) in [
        (JobEnd::Complete, Successful, None),
        (
            JobEnd::Failed("BackoffLimitExceeded".to_owned()),
            Failed,
            Some("the Job failed: BackoffLimitExceeded"),
        ),
        (JobEnd::Stuck("no image".to_owned()), Inconclusive, Some("no image")),
    ] {
        let mut world = job_run(&json!({"failureLimit": 5, "inconclusiveLimit": 5, "interval": "1m"}));
        let request = world.pass().measure.remove(0);
        world.end_job(&request, end);
        world.pass();
        let measurement = world.smoke().measurements.unwrap().remove(0);
        assert_eq!((measurement.phase, measurement.message.as_deref()), (phase, message));
    }
}

#[test]
fn jobs_that_nobody_needs_any_more_are_deleted() {
    let mut world = job_run(&json!({"interval": "10s"}));
    for number in 1..=4 {
        let plan = world.pass();
        let job = plan.measure.iter().find(|request| request.metric == "smoke").unwrap();
        assert_eq!(job_of(job), format!("uid.smoke.{number}"));
        // Two are kept, the one that runs included.
        let dropped = (number > 2).then(|| format!("uid.smoke.{}", number - 2));
        assert_eq!(plan.delete_jobs, dropped.into_iter().collect());
        world.end_job(job, JobEnd::Complete);
        assert!(world.pass().delete_jobs.is_empty());
        // A second later than it is due at the latest.
        world.snapshot.now = world.snapshot.now.plus(Duration::from_secs(11));
    }
    let running = world.pass().measure.remove(0);
    world.snapshot.run.spec.terminate = Some(true);
    let plan = world.pass();
    assert_eq!(plan.delete_jobs, BTreeSet::from([job_of(&running).to_owned()]));
    let ended = world.smoke();
    assert_eq!((ended.count, ended.inconclusive, ended.phase), (Some(4), None, AnalysisPhase::Successful));
    let last = ended.measurements.unwrap().pop().unwrap();
    assert_eq!(last.message.as_deref(), Some("the run ended before the Job did"));
    assert_eq!(world.snapshot.run.status.clone().unwrap().phase, Some(AnalysisPhase::Successful));

    // A name that somebody wrote into the status is not believed.
    let mut forged = job_run(&json!({}));
    forged.pass();
    let results = forged.snapshot.run.status.as_mut().unwrap().metric_results.as_mut().unwrap();
    let measurement = &mut results[0].measurements.as_mut().unwrap()[0];
    measurement.metadata = Some([("job-name".to_owned(), "payroll".to_owned())].into());
    forged.snapshot.run.spec.terminate = Some(true);
    assert!(forged.pass().delete_jobs.is_empty());
}

#[test]
fn a_job_holds_no_secret_argument() {
    let mut world = job_run(&json!({}));
    let spec = json!({"template": {"spec": {"containers": [{"name": "{{args.token}}"}]}}});
    let metrics = world.snapshot.run.spec.metrics.as_mut().unwrap();
    metrics[0].provider.job.as_mut().unwrap().spec = Some(spec);
    let token = json!([{"name": "token", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]);
    world.snapshot.run.spec.args = Some(serde_json::from_value(token).unwrap());
    world.snapshot.spec = RunSpec::new(&world.snapshot.run.spec);
    world.pass();
    let message = world.snapshot.run.status.unwrap().message.unwrap();
    assert!(message.contains("metrics[0].provider.job uses the secret argument 'token'"), "{message}");
}

#[test]
fn data_is_waited_for_and_not_for_ever() {
    let waiting = || World::new(json!({"metrics": [metric(&json!({"count": 1, "noData": "Wait"}))]}));
    let mut world = waiting();
    let request = world.pass().measure.remove(0);
    world.answer(&request, Ok(vec![]));
    let plan = world.pass();
    assert_eq!((plan.wake_at, plan.measure.len()), (Some(at(10)), 0));
    let status = world.snapshot.run.status.clone().unwrap();
    let result = status.metric_results.unwrap().remove(0);
    assert_eq!(
        (status.phase, result.count, result.phase),
        (Some(AnalysisPhase::Running), None, AnalysisPhase::Running)
    );
    let measurement = result.measurements.unwrap().remove(0);
    assert_eq!((measurement.phase, measurement.finished_at), (AnalysisPhase::Pending, None));
    let mut last_words = world.snapshot.clone();
    last_words.run.spec.terminate = Some(true);
    let ended = decide(&last_words).status.unwrap().metric_results.unwrap().remove(0);
    let message = ended.measurements.unwrap().remove(0).message;
    assert_eq!(message.as_deref(), Some("the run ended before there was data"));

    let status = world.run(&[Ok(vec![]), Ok(vec![1.0])]);
    let result = status.metric_results.unwrap().remove(0);
    assert_eq!((status.phase, result.count), (Some(AnalysisPhase::Successful), Some(1)));
    assert_eq!(result.measurements.unwrap().len(), 1);

    let mut never = waiting();
    while never.snapshot.now < at(3_590) {
        let plan = never.pass();
        for request in &plan.measure {
            never.answer(request, Ok(vec![]));
        }
        if plan.measure.is_empty() {
            never.snapshot.now = never.snapshot.now.plus(Duration::from_secs(10));
        }
    }
    let status = never.run(&[Ok(vec![])]);
    assert_eq!(status.phase, Some(AnalysisPhase::Inconclusive));
    assert!(status.message.unwrap().contains("there was no data for an hour"));
    assert_eq!(seconds(status.started_at, status.completed_at), 3600);
}
