//! What one decision costs as a Rollout's history grows: `rollout::decide` with 10, 100 and 1,000 ReplicaSets, and with
//! as many AnalysisRuns. `cargo bench --bench decide` prints the time per call for a canary that waits at a pause, then
//! how each of three situations grows: an exponent of 1 is linear. Besides, what a pass over an AnalysisRun costs.
//!
//! It asserts nothing. What is old is kept (nothing to do), still has pods or measures, or is beyond the limits of the
//! spec.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use serde_json::{Value, json};
use serin::analysis::{self, RunSnapshot, Sample};
use serin::api::{AnalysisRun, Rollout};
use serin::rollout::snapshot::{ReplicaSet, Settings};
use serin::rollout::{Snapshot, decide, pod_hash};
use serin::units::{PodHash, ReplicaCount, Revision, Timestamp};

/// Numbers of ReplicaSets, and of AnalysisRuns.
const SIZES: [u32; 3] = [10, 100, 1_000];
/// Pods of the Rollout.
const REPLICAS: u32 = 10;

/// What is to be done about what is old.
#[derive(Clone, Copy)]
enum Old {
    /// Nothing: the limits of the spec keep everything.
    Kept,
    /// Taken down: it has pods, or goes on measuring.
    Active,
    /// Deleted: it is beyond the limits of the spec.
    Surplus,
}

impl Old {
    const ALL: [Self; 3] = [Self::Kept, Self::Active, Self::Surplus];

    const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Active => "active",
            Self::Surplus => "surplus",
        }
    }

    const fn limit(self) -> usize {
        match self {
            Self::Kept | Self::Active => 100_000,
            Self::Surplus => 5,
        }
    }
}

/// Where the Rollout stands.
#[derive(Clone, Copy)]
enum Stage {
    /// A canary at a pause.
    Paused,
    /// The canary was taken back.
    Aborted,
    /// The canary has become stable.
    Settled,
}

impl Stage {
    const ALL: [Self; 3] = [Self::Paused, Self::Aborted, Self::Settled];

    const fn name(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Aborted => "aborted",
            Self::Settled => "settled",
        }
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for old in Old::ALL {
        group(&mut criterion, "replica sets", old, |count| snapshot(Stage::Paused, old, count, 0));
        group(&mut criterion, "analysis runs", old, |count| snapshot(Stage::Paused, old, 0, count));
    }
    passes_of_a_run(&mut criterion);
    criterion.final_summary();
    for stage in Stage::ALL {
        for old in Old::ALL {
            growth(stage, old, "replica sets", |count| snapshot(stage, old, count, 0));
            growth(stage, old, "analysis runs", |count| snapshot(stage, old, 0, count));
        }
    }
}

fn group(criterion: &mut Criterion, what: &str, old: Old, build: impl Fn(u32) -> Snapshot) {
    let mut group = criterion.benchmark_group(format!("{what}, {}", old.name()));
    for count in SIZES {
        group.bench_with_input(BenchmarkId::from_parameter(count), &build(count), |bencher, snapshot| {
            bencher.iter(|| decide(black_box(snapshot)));
        });
    }
    group.finish();
}

/// Passes over a run that measures every second, with so many samples that are not written yet.
fn passes_of_a_run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a pass over a run, samples");
    for count in [1, 4] {
        let snapshot = snapshot_of_run(count);
        group.bench_with_input(BenchmarkId::from_parameter(count), &snapshot, |bencher, snapshot| {
            bencher.iter(|| analysis::decide(black_box(snapshot)));
        });
    }
    group.finish();
}

fn growth(stage: Stage, old: Old, what: &str, build: impl Fn(u32) -> Snapshot) {
    let snapshots = SIZES.map(build);
    let [fewest, few, many] = snapshots.each_ref().map(seconds_per_call);
    let effects = snapshots.each_ref().map(|snapshot| decide(snapshot).stages.iter().flatten().count());
    println!(
        "{:8} {:8} {what:13} {:7.1} {:7.1} {:7.1} µs, exponent {:.2}, effects {effects:?}",
        stage.name(),
        old.name(),
        fewest * 1e6,
        few * 1e6,
        many * 1e6,
        (many / few).log10()
    );
}

/// The least of several means, which disturbances by other work can only make larger.
fn seconds_per_call(snapshot: &Snapshot) -> f64 {
    const ROUNDS: usize = 20;
    const CALLS: u32 = 10;
    let mean = || {
        #[allow(clippy::disallowed_methods, reason = "a benchmark measures time")]
        let begun = Instant::now();
        for _ in 0..CALLS {
            black_box(decide(black_box(snapshot)));
        }
        begun.elapsed().as_secs_f64() / f64::from(CALLS)
    };
    (0..ROUNDS).map(|_| mean()).fold(f64::INFINITY, f64::min)
}

/// A Rollout with two versions, `sets` old ReplicaSets and `runs` old AnalysisRuns.
fn snapshot(stage: Stage, old: Old, sets: u32, runs: u32) -> Snapshot {
    let (stable, canary) = (hash("v1"), hash("v2"));
    let pair = [replica_set(0, &stable, 8), replica_set(sets + 1, &canary, 2)];
    let size = u32::from(matches!(old, Old::Active));
    let old_sets = (1..=sets).map(|number| replica_set(number, &scattered(number), size));
    let mut replica_sets: Vec<ReplicaSet> = pair.into_iter().chain(old_sets).collect();
    replica_sets.sort_by(|a, b| a.name.cmp(&b.name));
    let mut analysis_runs: Vec<AnalysisRun> = (0..runs).map(|number| analysis_run(old, number)).collect();
    analysis_runs.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut snapshot = Snapshot {
        leaves_route: false,
        now: Timestamp::from_millis(1_700_000_000_000),
        rollout: rollout(stage, old, sets + 2, &stable, &canary),
        replica_sets,
        analysis_runs,
        experiments: vec![],
        stable_template: None,
        templates: [].into(),
        services: [].into(),
        traffic: None,
        route_problems: Vec::new(),
        told: None,
        pods: serin::rollout::pods::Pods::default(),
        workload: serin::rollout::workload::Referenced::Nothing,
        refusal: None,
        taken_names: [].into(),
        route_refusal: None,
        endpoints: serin::rollout::endpoints::Endpoints::default(),
        counts_pending_since: None,
        settings: Settings::default(),
    };
    // The status of a Rollout that has been seen before: what is measured is not its first sight.
    if let Some(status) = decide(&snapshot).status {
        snapshot.rollout.status = Some(*status);
    }
    snapshot
}

/// A text like a hash, so that the order of names is not that of age.
fn scattered(number: u32) -> String {
    format!("{:08x}", number.wrapping_mul(2_654_435_761))
}

fn template(tag: &str) -> Value {
    json!({"metadata": {"labels": {"app": "api"}}, "spec": {"containers": [{"name": "api", "image": format!("api:{tag}")}]}})
}

fn hash(tag: &str) -> String {
    pod_hash::pod_template_hash(&template(tag), None)
}

fn rollout(stage: Stage, old: Old, revision: u32, stable: &str, canary: &str) -> Rollout {
    let steps = json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {"duration": "10m"}}]);
    let history =
        json!({"successfulRunHistoryLimit": old.limit(), "unsuccessfulRunHistoryLimit": old.limit()});
    let steps_hash = pod_hash::steps_hash(Some(&steps));
    let (at_stable, at_canary) = (json!({"stableRS": stable}), json!({"stableRS": canary}));
    let (mut status, more) = match stage {
        Stage::Paused => {
            let pause = json!([{"reason": "CanaryPauseStep", "startTime": "2023-11-14T22:00:00Z"}]);
            (at_stable, json!({"currentStepIndex": 1, "controllerPause": true, "pauseConditions": pause}))
        }
        Stage::Aborted => {
            (at_stable, json!({"currentStepIndex": 0, "abort": true, "abortedAt": "2023-11-14T22:00:00Z"}))
        }
        Stage::Settled => (at_canary, json!({"currentStepIndex": 4})),
    };
    let common = json!({"currentPodHash": canary, "currentStepHash": steps_hash});
    for part in [common, more] {
        if let (Some(status), Value::Object(part)) = (status.as_object_mut(), part) {
            status.extend(part);
        }
    }
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "api", "namespace": "shop", "uid": "u", "generation": 2,
            "annotations": {"rollout.argoproj.io/revision": revision.to_string()}},
        "spec": {
            "replicas": REPLICAS, "revisionHistoryLimit": old.limit(), "analysis": history,
            "selector": {"matchLabels": {"app": "api"}},
            "strategy": {"canary": {"steps": steps}}, "template": template("v2"),
        },
        "status": status,
    });
    serde_json::from_value(rollout)
        .unwrap_or_else(|error| unreachable!("the Rollout is written above: {error}"))
}

fn replica_set(number: u32, hash: &str, size: u32) -> ReplicaSet {
    let count = ReplicaCount::new(size);
    ReplicaSet {
        name: format!("api-{hash}"),
        hash: PodHash::new(hash).unwrap_or_else(PodHash::unknown),
        revision: Revision::parse(Some(&(number + 1).to_string())),
        revision_history: None,
        created_at: Some(Timestamp::from_millis(1_600_000_000_000 + i64::from(number) * 1_000)),
        desired_annotation: Some(REPLICAS),
        size: count,
        replicas: count,
        ready: count,
        available: count,
        observed: true,
        failure: None,
        min_ready_seconds: 0,
        scale_down_deadline: None,
        outcome: None,
        injected: serin::rollout::injection::Injected::default(),
        template_hash: None,
    }
}

fn snapshot_of_run(samples: u32) -> RunSnapshot {
    let begun = Timestamp::from_millis(1_700_000_000_000);
    let after = |seconds: u32| begun.plus(Duration::from_secs(seconds.into()));
    let query = r#"sum(rate(requests_total{service="{{args.service}}",code!~"5.."}[1m]))"#;
    let run = json!({
        "metadata": {"name": "api", "namespace": "shop", "uid": "1"},
        "spec": {"args": [{"name": "service", "value": "api"}], "metrics": [{
            "name": "success-rate", "interval": "1s", "successCondition": "len(result) == 0 || result[0] >= 0.95",
            "provider": {"prometheus": {"address": "http://prometheus:9090", "query": query}},
        }]},
        "status": {"phase": "Running", "startedAt": begun, "metricResults": [{
            "name": "success-rate", "phase": "Running", "count": 1, "successful": 1, "measurements": [
                {"phase": "Successful", "value": "[0.99]", "startedAt": begun, "finishedAt": begun},
            ],
        }]},
    });
    let sample = |number: u32| Sample {
        metric: "success-rate".to_owned(),
        started_at: after(number),
        finished_at: after(number),
        result: Ok(analysis::Value::Numbers(vec![0.99])),
        metadata: BTreeMap::new(),
    };
    let run =
        serde_json::from_value(run).unwrap_or_else(|error| unreachable!("the run is written above: {error}"));
    RunSnapshot { samples: (1..=samples).map(sample).collect(), ..RunSnapshot::new(run, after(samples)) }
}

fn analysis_run(old: Old, number: u32) -> AnalysisRun {
    let phase = if matches!(old, Old::Active) { "Running" } else { "Successful" };
    let created = Timestamp::from_millis(1_600_000_000_000 + i64::from(number) * 1_000);
    let run = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun",
        "metadata": {"name": format!("api-{}", scattered(number)), "namespace": "shop", "creationTimestamp": created},
        "spec": {"metrics": [{"name": "success-rate", "provider": {"prometheus": {"query": "up"}}}]},
        "status": {"phase": phase, "startedAt": created, "metricResults": [{"name": "success-rate", "phase": phase, "count": 1}]},
    });
    serde_json::from_value(run).unwrap_or_else(|error| unreachable!("the run is written above: {error}"))
}
