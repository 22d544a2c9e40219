//! What a rollout costs, on a real control plane: requests, CPU and memory of the controller, as figures beside what is
//! aimed at and beside those of Argo Rollouts at its default flags (measured on a machine like the one the aims were set
//! on).
//!
//! `make bench` runs it. It asserts nothing: it prints ratios, of which one below 1 is better than what it is compared with.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use serin::api::Rollout;
use serin::sandbox::cluster::define;
use serin::sandbox::control_plane::{ControlPlane, ControlPlaneOptions};
use serin::sandbox::node::{QuickWorkload, VirtualNode};
use serin::sandbox::tools::{Tool, ToolPlaces, Tools};
use tokio::process::{Child, Command};

/// Time from the start of a pod until it is ready.
const POD_START: Duration = Duration::from_secs(1);
/// Rollouts updated at once.
const FLEET: usize = 100;
/// How long nothing is done, to see what nothing costs.
const IDLE: Duration = Duration::from_secs(30);
/// Updates of the single Rollout, of which the mean is shown.
const UPDATES: usize = 3;

/// What a figure is compared with.
struct Marks {
    aim: Option<f64>,
    /// What Argo Rollouts needs for the same.
    peer: f64,
}

/// Without events: those are one request each in any case.
const REQUESTS: Marks = Marks { aim: Some(13.0), peer: 23.0 };
const EVENTS: Marks = Marks { aim: None, peer: 17.0 };
const CPU_MS: Marks = Marks { aim: Some(10.0), peer: 64.0 };
const IDLE_MIB: Marks = Marks { aim: Some(25.0), peer: 80.0 };
const FLEET_SECONDS: Marks = Marks { aim: Some(15.0), peer: 41.0 };
const IDLE_WRITES: u64 = 0;

/// The least a fleet can take: two pauses of 5 s, and three times a pod's start.
const FLEET_MINIMUM_SECONDS: f64 = 13.0;

struct Controller {
    child: Child,
    metrics: String,
}

/// Requests so far by kind and verb.
type Requests = BTreeMap<(String, String), u64>;

impl Controller {
    fn start(kubeconfig: &std::path::Path) -> Result<Self> {
        let (metrics, health) = (free_port()?, free_port()?);
        let child = Command::new(env!("CARGO_BIN_EXE_serin"))
            .arg("controller")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--leader-elect=false", "--loglevel=error", "--bind-address=127.0.0.1"])
            .arg(format!("--metricsPort={metrics}"))
            .arg(format!("--healthzPort={health}"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start the controller")?;
        Ok(Self { child, metrics: format!("http://127.0.0.1:{metrics}/metrics") })
    }

    async fn requests(&self) -> Result<Requests> {
        let text = reqwest::get(&self.metrics).await?.text().await?;
        let mut requests = Requests::new();
        for line in text.lines().filter(|line| line.starts_with("controller_clientset_k8s_request_total{")) {
            let label = |name: &str| {
                let (_, rest) = line.split_once(&format!("{name}=\""))?;
                rest.split('"').next().map(str::to_owned)
            };
            let count =
                line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or_default();
            let key = (label("kind").unwrap_or_default(), label("verb").unwrap_or_default());
            *requests.entry(key).or_default() += count;
        }
        Ok(requests)
    }

    /// CPU time so far, in milliseconds. That of threads which have ended is left out; the controller keeps its own.
    fn cpu_ms(&self) -> Result<f64> {
        let mut milliseconds = 0.0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.process_id()?))? {
            // Nanoseconds on a CPU, waiting for one, and turns. `/proc/<id>/stat` counts in steps of 10 ms.
            let Ok(schedule) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            let nanoseconds = schedule.split(' ').next().and_then(|field| field.parse::<f64>().ok());
            milliseconds += nanoseconds.context("no schedstat")? / 1e6;
        }
        Ok(milliseconds)
    }

    /// Memory now, in MiB.
    fn rss_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process_id()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    fn process_id(&self) -> Result<u32> {
        self.child.id().context("the controller has ended")
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn template(tag: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": format!("app:{tag}")}]},
    })
}

fn rollout(name: &str) -> Result<Rollout> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"canary": {"steps": [
                {"setWeight": 20}, {"pause": {"duration": "5s"}},
                {"setWeight": 50}, {"pause": {"duration": "5s"}}, {"setWeight": 100},
            ]}},
            "template": template("v1"),
        },
    }))?)
}

/// Waits until every Rollout is Healthy in its own generation, which is at least `generation`.
async fn until_healthy(rollouts: &Api<Rollout>, count: usize, generation: i64) -> Result<()> {
    let mut healthy = std::collections::BTreeSet::new();
    let mut changes = std::pin::pin!(watcher(rollouts.clone(), watcher::Config::default()).applied_objects());
    while healthy.len() < count {
        let Some(rollout) = changes.try_next().await? else { break };
        let status = rollout.status.clone().unwrap_or_default();
        let observed = serde_json::to_value(&status.observed_generation)?;
        let current = rollout.metadata.generation.unwrap_or_default();
        if current >= generation && observed == json!(current) && status.phase.as_deref() == Some("Healthy") {
            healthy.insert(rollout.name_any());
        }
    }
    Ok(())
}

async fn release(rollouts: &Api<Rollout>, name: &str, tag: &str) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": {"template": template(tag)}}));
    rollouts.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Waits until old pods are gone, so that the next figure does not pay for them.
async fn until_old_pods_are_gone(client: &Client) -> Result<()> {
    let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), "default");
    loop {
        let listed = sets.list(&ListParams::default()).await?;
        let settled = listed.items.iter().all(|set| {
            set.status.as_ref().map(|status| status.replicas)
                == set.spec.as_ref().and_then(|spec| spec.replicas)
        });
        if settled {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Requests that came in between: all that were answered, which leaves out only watches, which never are.
#[derive(Clone, Copy)]
struct Spent {
    /// Reads, and writes of anything but events.
    requests: u64,
    reads: u64,
    events: u64,
}

impl Spent {
    fn between(before: &Requests, after: &Requests) -> Self {
        let mut spent = Self { requests: 0, reads: 0, events: 0 };
        for ((kind, verb), count) in after.iter().filter(|((_, verb), _)| verb != "Watch") {
            let more = count - before.get(&(kind.clone(), verb.clone())).copied().unwrap_or_default();
            if kind.to_lowercase().starts_with("event") {
                spent.events += more;
            } else {
                spent.requests += more;
            }
            if ["Get", "List"].contains(&verb.as_str()) {
                spent.reads += more;
            }
        }
        spent
    }

    fn writes(self) -> u64 {
        self.requests + self.events - self.reads
    }
}

fn show(what: &str, figure: f64, unit: &str, marks: &Marks) {
    let aim = marks
        .aim
        .map_or_else(|| format!("{:22}", ""), |aim| format!("aim {aim:>5.1}, ratio {:>5.2}", figure / aim));
    let peer = format!("Argo Rollouts {:>5.1}, ratio {:>5.2}", marks.peer, figure / marks.peer);
    println!("  {what:<32} {figure:>7.1} {unit:<3}  {aim}   {peer}");
}

async fn one(client: &Client, controller: &Controller) -> Result<()> {
    let rollouts: Api<Rollout> = Api::namespaced(client.clone(), "default");
    rollouts.create(&PostParams::default(), &rollout("one")?).await?;
    until_healthy(&rollouts, 1, 1).await?;
    until_old_pods_are_gone(client).await?;
    let (before, cpu) = (controller.requests().await?, controller.cpu_ms()?);
    for (tag, generation) in (2..).take(UPDATES).map(|number| (format!("v{number}"), number)) {
        release(&rollouts, "one", &tag).await?;
        until_healthy(&rollouts, 1, generation).await?;
        until_old_pods_are_gone(client).await?;
    }
    let (after, cpu) = (controller.requests().await?, controller.cpu_ms()? - cpu);
    let (spent, updates) = (Spent::between(&before, &after), precise(UPDATES as u64));
    println!(
        "one rollout, mean of {UPDATES} updates: 2 replicas, setWeight 20, pause 5s, setWeight 50, pause 5s, setWeight 100"
    );
    show("requests, reads too, no events", precise(spent.requests) / updates, "", &REQUESTS);
    show("events", precise(spent.events) / updates, "", &EVENTS);
    show("CPU", cpu / updates, "ms", &CPU_MS);
    for ((kind, verb), count) in &after {
        let more = count - before.get(&(kind.clone(), verb.clone())).copied().unwrap_or_default();
        if more > 0 {
            println!("    {verb} {kind}: {:.1}", precise(more) / updates);
        }
    }
    Ok(())
}

async fn idle(controller: &Controller) -> Result<()> {
    let (requests, cpu) = (controller.requests().await?, controller.cpu_ms()?);
    tokio::time::sleep(IDLE).await;
    let spent = Spent::between(&requests, &controller.requests().await?);
    println!("idle for {} s", IDLE.as_secs());
    println!("  {:<32} {:>7}      aim {IDLE_WRITES:>5}", "writes", spent.writes());
    println!("  {:<32} {:>7}", "reads", spent.reads);
    println!("  {:<32} {:>7.1} ms", "CPU", controller.cpu_ms()? - cpu);
    show("memory", controller.rss_mib()?, "MiB", &IDLE_MIB);
    Ok(())
}

async fn fleet(client: &Client, controller: &Controller) -> Result<()> {
    let rollouts: Api<Rollout> = Api::namespaced(client.clone(), "default");
    let names: Vec<String> = (0..FLEET).map(|number| format!("fleet-{number}")).collect();
    for name in &names {
        rollouts.create(&PostParams::default(), &rollout(name)?).await?;
    }
    until_healthy(&rollouts, FLEET + 1, 1).await?;
    until_old_pods_are_gone(client).await?;
    let (requests, cpu) = (controller.requests().await?, controller.cpu_ms()?);
    let start = Instant::now();
    futures::future::try_join_all(names.iter().map(|name| release(&rollouts, name, "v2"))).await?;
    until_healthy(&rollouts, FLEET + 1, 2).await?;
    let seconds = start.elapsed().as_secs_f64();
    let (spent, cpu) = (Spent::between(&requests, &controller.requests().await?), controller.cpu_ms()? - cpu);
    println!("{FLEET} rollouts updated at once");
    show("all Healthy after", seconds, "s", &FLEET_SECONDS);
    println!("  {:<32} {:>7.2}", "ratio to the minimum of 13 s", seconds / FLEET_MINIMUM_SECONDS);
    let each = precise(FLEET as u64);
    show("requests each, no events", precise(spent.requests) / each, "", &REQUESTS);
    show("events each", precise(spent.events) / each, "", &EVENTS);
    show("CPU each", cpu / each, "ms", &CPU_MS);
    println!("  {:<32} {:>7.1} MiB", "memory", controller.rss_mib()?);
    Ok(())
}

/// Counts here stay far below the 2^32 that a float holds exactly.
fn precise(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[tokio::main]
async fn main() -> Result<()> {
    let tools = Tools::locate(
        &ToolPlaces::from_environment(),
        &[Tool::Etcd, Tool::ApiServer, Tool::ControllerManager],
    )?;
    let control_plane = ControlPlane::start(ControlPlaneOptions::new(tools)).await?;
    let client = control_plane.client();
    define(&client).await?;
    let _node = VirtualNode::start(client.clone(), Arc::new(QuickWorkload::ready_after(POD_START))).await?;
    let controller = Controller::start(&control_plane.kubeconfig_path())?;
    one(&client, &controller).await?;
    idle(&controller).await?;
    fleet(&client, &controller).await?;
    drop(controller);
    control_plane.stop().await?;
    Ok(())
}
