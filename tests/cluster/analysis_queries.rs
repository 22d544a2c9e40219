//! What the queries of `analysis-templates/` say of data that is known: a real Prometheus is given the last half hour.
//!
//! Every case has a Rollout of its own, which keeps its series apart from those of others.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use serin::analysis::args::replace_tags;
use serin::api::AnalysisTemplate;

use crate::sandbox::sandbox;

/// Time between two samples.
const STEP: Duration = Duration::from_secs(15);
/// Samples of each series: half an hour.
const SAMPLES: u32 = 121;
/// Samples in the window of five minutes.
const RECENT: u32 = 20;
const NEW: &str = "new";
const OLD: &str = "old";

/// A series of the pods of one version.
struct Series {
    name: &'static str,
    version: &'static str,
    labels: Vec<(&'static str, &'static str)>,
    /// The value of the n-th sample.
    value: fn(u32) -> f64,
}

fn series(
    name: &'static str,
    version: &'static str,
    labels: &[(&'static str, &'static str)],
    value: fn(u32) -> f64,
) -> Series {
    Series { name, version, labels: labels.to_vec(), value }
}

/// Requests with this status; `value` counts them.
fn requests(version: &'static str, status: &'static str, value: fn(u32) -> f64) -> Series {
    series("http_requests_total", version, &[("status", status)], value)
}

/// Samples that are no older than the window.
fn recent(sample: u32) -> u32 {
    (sample + RECENT + 1).saturating_sub(SAMPLES)
}

/// The series in the form that OTLP has them in, as JSON.
fn pushed(rollout: &str, all: &[Series], end: SystemTime) -> Value {
    let attribute = |(name, value): (&str, &str)| json!({"key": name, "value": {"stringValue": value}});
    let metrics: Vec<_> = all
        .iter()
        .map(|series| {
            let pod = series.labels.iter().find(|(name, _)| *name == "pod").map_or("a", |(_, pod)| pod);
            let pod = format!("{rollout}-{}-{pod}", series.version);
            let own = [("namespace", "known"), ("pod", pod.as_str())];
            let labels = series.labels.iter().filter(|(name, _)| *name != "pod");
            let attributes: Vec<_> = labels.copied().chain(own).map(attribute).collect();
            let points: Vec<_> = (0..SAMPLES)
                .map(|sample| {
                    let at = end - STEP * (SAMPLES - 1 - sample);
                    let nanos = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos().to_string();
                    let value = (series.value)(sample);
                    json!({"asDouble": value, "timeUnixNano": nanos, "attributes": attributes})
                })
                .collect();
            json!({"name": series.name, "gauge": {"dataPoints": points}})
        })
        .collect();
    json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": metrics}]}]})
}

/// What a metric of a template says of these series; `None` where it says nothing.
async fn measured(rollout: &str, (template, metric): (&str, &str), all: &[Series]) -> Option<f64> {
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(now());
    let url = format!("{}/api/v1/otlp/v1/metrics", sandbox().prometheus);
    let answer = reqwest::Client::new().post(url).json(&pushed(rollout, all, end)).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());

    let client = prometheus_http_query::Client::try_from(sandbox().prometheus.as_str()).unwrap();
    let seconds = i64::try_from(end.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let answer = client.query(query(rollout, template, metric)).at(seconds).get().await.unwrap();
    let samples = answer.data().as_vector().unwrap();
    assert!(samples.len() <= 1, "{samples:?}");
    samples.first().map(|sample| sample.sample().value()).filter(|value| !value.is_nan())
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "Prometheus takes samples of the last hour only")]
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// The query of a metric for the new version of a Rollout, with the template's own values else.
fn query(rollout: &str, template: &str, metric: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("analysis-templates/{template}.yaml"));
    let template: AnalysisTemplate = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let args = template.spec.args.unwrap();
    let metrics = template.spec.metrics.unwrap();
    let metric = metrics.into_iter().find(|candidate| candidate.name == metric).unwrap();
    let value = |tag: &str| {
        let name = tag.strip_prefix("args.").unwrap();
        Ok::<_, ()>(match name {
            "rollout" => rollout.to_owned(),
            "namespace" => "known".to_owned(),
            "canary-hash" => NEW.to_owned(),
            name => args.iter().find(|argument| argument.name == name).unwrap().value.clone().unwrap(),
        })
    };
    replace_tags(&metric.provider.prometheus.unwrap().query.unwrap(), value).unwrap()
}

/// Asserts what a metric says, to a thousandth.
async fn check(rollout: &str, metric: (&str, &str), all: &[Series], expected: Option<f64>) {
    let found = measured(rollout, metric, all).await;
    let is_right = match (found, expected) {
        (Some(found), Some(expected)) => (found - expected).abs() <= expected.abs().max(1.0) / 1000.0,
        (found, expected) => found == expected,
    };
    assert!(is_right, "{rollout}: {found:?}, not {expected:?}");
}

#[tokio::test]
async fn a_success_rate_is_the_new_versions_alone_and_silent_where_nothing_is_known() {
    let metric = ("success-rate", "success-rate");
    let busy_old = || requests(OLD, "200", |n| f64::from(n) * 1000.0);
    let good = || requests(NEW, "200", |n| f64::from(n) * 7.0);
    let bad = || requests(NEW, "503", |n| f64::from(n) * 3.0);
    check("mixed", metric, &[busy_old(), good(), bad()], Some(0.7)).await;
    // Without a series of failures, and without one of successes.
    check("good", metric, &[busy_old(), good()], Some(1.0)).await;
    check("dead", metric, &[busy_old(), bad()], Some(0.0)).await;
    // Clients' mistakes are no failures.
    check("clients", metric, &[requests(NEW, "404", |n| f64::from(n) * 7.0)], Some(1.0)).await;
    // Containers that began again at 0.
    let good = || requests(NEW, "200", |n| f64::from(n % 13) * 7.0);
    let bad = || requests(NEW, "500", |n| f64::from(n % 13) * 3.0);
    check("reset", metric, &[good(), bad()], Some(0.7)).await;
}

#[tokio::test]
async fn a_success_rate_says_nothing_without_enough_requests() {
    let metric = ("success-rate", "success-rate");
    let (once, rare, rarer) = (|_| 50.0, |n| f64::from(n) * 0.6, |n| f64::from(n) * 0.4);
    let both = |value| [requests(NEW, "200", value), requests(NEW, "500", value)];
    check("silent", metric, &both(once), None).await;
    check("quiet", metric, &both(rare), Some(0.5)).await;
    check("quieter", metric, &both(rarer), None).await;
    check("absent", metric, &[requests(OLD, "200", |n| f64::from(n) * 1000.0)], None).await;
}

#[tokio::test]
async fn an_error_budget_burns_as_fast_as_in_the_slower_of_both_windows() {
    let metric = ("error-budget-burn", "error-budget-burn");
    let all = || requests(NEW, "200", |n| f64::from(n) * 100.0);
    let steady = [all(), requests(NEW, "500", |n| f64::from(n) * 100.0 / 19.0)];
    check("burns", metric, &steady, Some(50.0)).await;
    // 1 % of late is less than 0.2 % of the whole time.
    let begins = [all(), requests(NEW, "500", |n| f64::from(recent(n)))];
    let begun = measured("begins", metric, &begins).await.unwrap();
    assert!((1.0..3.0).contains(&begun), "{begun}");
    let ended = [all(), requests(NEW, "500", |n| f64::from(n.min(50)) * 10.0)];
    check("ended", metric, &ended, Some(0.0)).await;
    check("unburnt", metric, &[all()], Some(0.0)).await;
    check("unasked", metric, &[requests(NEW, "200", |_| 50.0)], None).await;
    // Fewer than 1,000 in the window: one of them would be a burn of more than 1.
    let few = [requests(NEW, "200", |n| f64::from(n) * 40.0), requests(NEW, "500", |n| f64::from(n) * 4.0)];
    check("few", metric, &few, None).await;
}

#[tokio::test]
async fn a_quantile_is_of_all_pods_together_and_ends_at_the_highest_bound() {
    let metric = ("latency-quantile", "latency-quantile");
    let bucket = |version, pod, le, value| {
        series("http_request_duration_seconds_bucket", version, &[("pod", pod), ("le", le)], value)
    };
    let count = || series("http_request_duration_seconds_count", NEW, &[], |n| f64::from(n) * 100.0);
    let slow_old = || bucket(OLD, "a", "+Inf", |n| f64::from(n) * 9999.0);
    // 180 of 200 within 0.25 s, 200 within 1 s: the 190th lies in the middle of the second bucket.
    let pods = [
        slow_old(),
        count(),
        bucket(NEW, "a", "0.25", |n| f64::from(n) * 100.0),
        bucket(NEW, "a", "1", |n| f64::from(n) * 100.0),
        bucket(NEW, "a", "+Inf", |n| f64::from(n) * 100.0),
        bucket(NEW, "b", "0.25", |n| f64::from(n) * 80.0),
        bucket(NEW, "b", "1", |n| f64::from(n) * 100.0),
        bucket(NEW, "b", "+Inf", |n| f64::from(n) * 100.0),
    ];
    check("pods", metric, &pods, Some(0.625)).await;
    // Nobody knows how much slower than the highest finite bound.
    let beyond =
        [count(), bucket(NEW, "a", "1", |_| 0.0), bucket(NEW, "a", "+Inf", |n| f64::from(n) * 100.0)];
    check("beyond", metric, &beyond, Some(1.0)).await;
    check("unasked", metric, &[slow_old()], None).await;
}

#[tokio::test]
async fn saturation_is_that_of_the_fullest_container() {
    let limit_of = |pod, container, resource, value| {
        let labels = [("pod", pod), ("container", container), ("resource", resource)];
        series("kube_pod_container_resource_limits", NEW, &labels, value)
    };
    let limit = |pod, resource, value| limit_of(pod, "main", resource, value);
    let cpu = |version, pod, container, value| {
        series("container_cpu_usage_seconds_total", version, &[("pod", pod), ("container", container)], value)
    };
    let memory = |pod, container, value| {
        series("container_memory_working_set_bytes", NEW, &[("pod", pod), ("container", container)], value)
    };
    let all = || {
        [
            limit("a", "cpu", |_| 2.0),
            limit("b", "cpu", |_| 2.0),
            limit("a", "memory", |_| 1000.0),
            limit("b", "memory", |_| 1000.0),
            // Seconds of CPU in 15 seconds; the pod's own total has no name of a container.
            cpu(NEW, "a", "main", |n| f64::from(n) * 15.0),
            cpu(NEW, "b", "main", |n| f64::from(n) * 24.0),
            cpu(NEW, "b", "", |n| f64::from(n) * 24.0),
            cpu(OLD, "a", "main", |n| f64::from(n) * 30.0),
            memory("a", "main", |_| 600.0),
            memory("a", "side", |_| 100.0),
            memory("b", "main", |_| 300.0),
            memory("b", "", |_| 300.0),
        ]
    };
    check("full", ("saturation", "saturation-cpu"), &all(), Some(0.8)).await;
    check("filled", ("saturation", "saturation-memory"), &all(), Some(0.6)).await;
    let mut beside: Vec<_> = all().into();
    beside.push(limit_of("a", "side", "memory", |_| 110.0));
    check("beside", ("saturation", "saturation-memory"), &beside, Some(100.0 / 110.0)).await;
    check("unlimited", ("saturation", "saturation-cpu"), &[cpu(NEW, "a", "main", f64::from)], None).await;
}

#[tokio::test]
async fn a_backlog_is_the_average_of_the_new_versions_pods() {
    let metric = ("queue-backlog", "queue-backlog");
    let backlog = |version, pod, partition, value| {
        series("queue_backlog_messages", version, &[("pod", pod), ("partition", partition)], value)
    };
    let waiting = [
        backlog(OLD, "a", "0", |_| 9000.0),
        backlog(NEW, "a", "1", |_| 100.0),
        backlog(NEW, "a", "2", |_| 200.0),
        backlog(NEW, "b", "3", |_| 20.0),
    ];
    check("waiting", metric, &waiting, Some(160.0)).await;
    check("absent", metric, &[backlog(OLD, "a", "0", |_| 9000.0)], None).await;
}

#[tokio::test]
async fn restarts_are_all_that_the_new_versions_pods_had() {
    let metric = ("restarts", "restarts");
    let restarts = |version, pod, value| {
        series("kube_pod_container_status_restarts_total", version, &[("pod", pod)], value)
    };
    // One pod begins with its first restart, as when nobody looked before.
    let some = [
        restarts(OLD, "a", |_| 40.0),
        restarts(NEW, "a", |_| 1.0),
        restarts(NEW, "b", |n| f64::from(n / 60)),
    ];
    check("restarted", metric, &some, Some(3.0)).await;
    check("steady", metric, &[restarts(NEW, "a", |_| 0.0)], Some(0.0)).await;
    check("absent", metric, &[restarts(OLD, "a", |_| 0.0)], None).await;
}
