//! What judging costs, and whether it is on time: many AnalysisRuns that measure every second.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use futures::TryStreamExt;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use serin::api::{AnalysisPhase, AnalysisRun};

use crate::controller::Requests;
use crate::{Marks, Sandbox, precise, show, until_quiet};

/// Runs at once.
const RUNS: usize = 200;
/// Measurements of each, a second apart.
const MEASUREMENTS: usize = 30;

const LATE_MS: Marks = Marks { aim: Some(100.0), peer: 115_000.0 };
const MEDIAN_MS: Marks = Marks { aim: None, peer: 59_000.0 };
const WRITES: Marks = Marks { aim: Some(1.0), peer: 1.07 };
const CPU_MS: Marks = Marks { aim: None, peer: 2.5 };

/// When each run asked, in milliseconds since the beginning.
type Asked = Arc<Mutex<BTreeMap<String, Vec<u64>>>>;

/// Lets all runs measure, under a controller with the default flags and on a control plane of its own, and shows how late they
/// were and what they cost.
///
/// # Errors
/// When a run is not a success after as many measurements as it was asked for: then the figures mean nothing.
pub(crate) async fn judge() -> Result<()> {
    let sandbox = Sandbox::start(&[]).await?;
    show_costs(&sandbox).await?;
    sandbox.stop().await
}

async fn show_costs(sandbox: &Sandbox) -> Result<()> {
    let (client, controller) = (&sandbox.client, &sandbox.controller);
    let asked = Asked::default();
    let address = answer_all(Arc::clone(&asked)).await?;
    let runs: Api<AnalysisRun> = Api::namespaced(client.clone(), "default");
    runs.create(&PostParams::default(), &run("before", 1, &address)?).await?;
    until_successful(client, 1).await?;
    asked.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let (requests, cpu) = (controller.requests().await?, controller.cpu_ms()?);
    for number in 0..RUNS {
        let run = run(&format!("judged-{number}"), MEASUREMENTS, &address)?;
        runs.create(&PostParams::default(), &run).await?;
    }
    until_successful(client, RUNS + 1).await?;
    until_quiet(controller).await?;
    let cpu = controller.cpu_ms()? - cpu;
    let writes = writes(&controller.requests().await?) - writes(&requests);
    let late = lateness(&asked.lock().unwrap_or_else(PoisonError::into_inner))?;
    let all = precise(late.len() as u64);
    println!("{RUNS} AnalysisRuns that measure every second, {MEASUREMENTS} times");
    show("late by, median", quantile(&late, 0.5), "ms", &MEDIAN_MS);
    show("late by, p99", quantile(&late, 0.99), "ms", &LATE_MS);
    show("late by, at most", quantile(&late, 1.0), "ms", &LATE_MS);
    show("writes of runs for a measurement", precise(writes) / all, "", &WRITES);
    show("CPU for a measurement", cpu / all, "ms", &CPU_MS);
    Ok(())
}

fn run(name: &str, count: usize, address: &str) -> Result<AnalysisRun> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": name},
        "spec": {"metrics": [{
            "name": "up", "interval": "1s", "count": count, "successCondition": "result[0] == 1",
            "provider": {"prometheus": {"address": address, "query": name}},
        }]},
    }))?)
}

/// A server that answers every query with 1; its address.
async fn answer_all(asked: Asked) -> Result<String> {
    let begun = Instant::now();
    let answer = async move |State(asked): State<Asked>, body: Bytes| {
        let now = u64::try_from(begun.elapsed().as_millis()).unwrap_or_default();
        let mut form = url::form_urlencoded::parse(&body);
        let run = form.find(|(name, _)| name == "query").map(|(_, run)| run.into_owned()).unwrap_or_default();
        asked.lock().unwrap_or_else(PoisonError::into_inner).entry(run).or_default().push(now);
        let result = json!([{"metric": {}, "value": [0, "1"]}]);
        axum::Json::<Value>(json!({"status": "success", "data": {"resultType": "vector", "result": result}}))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let router = Router::new().fallback(answer).with_state(asked);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn until_successful(client: &Client, count: usize) -> Result<()> {
    let runs: Api<AnalysisRun> = Api::namespaced(client.clone(), "default");
    let mut done = std::collections::BTreeSet::new();
    let mut changes = std::pin::pin!(watcher(runs, watcher::Config::default()).applied_objects());
    while done.len() < count {
        let Some(run) = changes.try_next().await? else { break };
        match run.status.as_ref().and_then(|status| status.phase) {
            Some(AnalysisPhase::Successful) => {
                done.insert(run.name_any());
            }
            Some(phase) if phase.is_completed() => bail!("{} ended as {phase:?}", run.name_any()),
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// Writes of AnalysisRuns so far, those that create them left out: they are not the controller's.
fn writes(requests: &Requests) -> u64 {
    let is_write = |(kind, verb): &(String, String)| {
        kind == "analysisruns" && ["Patch", "Update"].contains(&verb.as_str())
    };
    requests.iter().filter(|(key, _)| is_write(key)).map(|(_, count)| count).sum()
}

/// By how many milliseconds each measurement but the first of its run was late, in order. They are due a second apart, at a
/// time of the second that is the run's own: the one of its measurements that was the least late is taken for it.
fn lateness(asked: &BTreeMap<String, Vec<u64>>) -> Result<Vec<u64>> {
    let mut late = Vec::new();
    for (run, times) in asked {
        if times.len() != MEASUREMENTS {
            bail!("{run} measured {} times", times.len());
        }
        let since_first =
            (0..).zip(times.iter().skip(1)).map(|(number, time)| time.saturating_sub(number * 1_000));
        let due = since_first.clone().min().context("no measurement")?;
        late.extend(since_first.map(|time| time - due));
    }
    late.sort_unstable();
    Ok(late)
}

/// The value that this part of all lies below or at.
fn quantile(sorted: &[u64], part: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into a list of thousands"
    )]
    let index = (precise(sorted.len() as u64) * part).ceil() as usize;
    precise(sorted.get(index.saturating_sub(1)).copied().unwrap_or_default())
}
