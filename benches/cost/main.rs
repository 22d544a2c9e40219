//! What a rollout costs, on a real control plane: requests, CPU and memory of the controller, as figures beside what is
//! aimed at and beside those of Argo Rollouts at its default flags (measured on a machine like the one the aims were set
//! on).
//!
//! `make bench` runs it, `cargo bench --bench cost -- NUMBER` with so many Rollouts in the last scenario (1,000), and with
//! `judging` in place of a number that scenario alone. It prints
//! ratios, of which one below 1 is better than what it is compared with, and asserts nothing about them. It fails when a
//! Rollout lost a step or the controller logged an error: then the figures mean nothing.

mod controller;
mod judging;
mod steps;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
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

use crate::controller::{Controller, Requests, cpu_seconds};

/// Time from the start of a pod until it is ready.
const POD_START: Duration = Duration::from_secs(1);
/// Rollouts updated at once, besides the one before them.
const FLEET: usize = 100;
/// Rollouts updated at once in the last scenario, unless an argument says otherwise; what it is compared with had as many.
const LARGE_FLEET: usize = 1_000;
/// How long nothing is done, to see what nothing costs.
const IDLE: Duration = Duration::from_secs(30);
/// The controller is quiet when it takes less than this many milliseconds of CPU in that time.
const QUIET_CPU_MS: f64 = 3.0;
const QUIET_TIME: Duration = Duration::from_secs(1);
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
const LARGE_FLEET_SECONDS: Marks = Marks { aim: Some(70.0), peer: 453.0 };
/// What Argo Rollouts needs without its limit on requests.
const UNTHROTTLED: Marks = Marks { aim: None, peer: 142.0 };
const LARGE_FLEET_MIB: Marks = Marks { aim: Some(40.0), peer: 170.0 };

/// Flags of the controller in the first scenarios: the writes of leader election would be counted among its own, and what
/// it logs is not a matter of its requests. The last scenario has none, which is the default.
const QUIET: [&str; 2] = ["--leader-elect=false", "--loglevel=error"];

/// The least a fleet can take: two pauses of 5 s, and three times a pod's start.
const FLEET_MINIMUM_SECONDS: f64 = 13.0;

fn template(name: &str, tag: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": format!("app:{tag}")}]},
    })
}

fn rollout(name: &str) -> Result<Rollout> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"canary": {"steps": [
                {"setWeight": 20}, {"pause": {"duration": "5s"}},
                {"setWeight": 50}, {"pause": {"duration": "5s"}}, {"setWeight": 100},
            ]}},
            "template": template(name, "v1"),
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
    let patch = Patch::Merge(json!({"spec": {"template": template(name, tag)}}));
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

/// Requests that came in between: all that were answered, which leaves out only watches, which never are. Renewals of the
/// Lease do not count: they are a matter of time, not of Rollouts.
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
        for ((kind, verb), count) in
            after.iter().filter(|((kind, verb), _)| verb != "Watch" && kind != "leases")
        {
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
    until_quiet(controller).await?;
    // Before the request that counts requests, which costs CPU time as well.
    let cpu = controller.cpu_ms()? - cpu;
    let after = controller.requests().await?;
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
    let cpu = controller.cpu_ms()? - cpu;
    let spent = Spent::between(&requests, &controller.requests().await?);
    println!("idle for {} s", IDLE.as_secs());
    println!("  {:<32} {:>7}      aim {IDLE_WRITES:>5}", "writes", spent.writes());
    println!("  {:<32} {:>7}", "reads", spent.reads);
    println!("  {:<32} {:>7.1} ms", "CPU", cpu);
    show("memory", controller.rss_mib()?, "MiB", &IDLE_MIB);
    Ok(())
}

/// Creates a fleet and waits until it has nothing more to do. Its Rollouts, besides the `others` that there are.
async fn create_fleet(
    client: &Client,
    controller: &Controller,
    count: usize,
    others: usize,
) -> Result<Vec<String>> {
    let rollouts: Api<Rollout> = Api::namespaced(client.clone(), "default");
    let names: Vec<String> = (0..count).map(|number| format!("fleet-{number}")).collect();
    for name in &names {
        rollouts.create(&PostParams::default(), &rollout(name)?).await?;
    }
    until_healthy(&rollouts, count + others, 1).await?;
    until_old_pods_are_gone(client).await?;
    until_quiet(controller).await?;
    Ok(names)
}

/// Updates a fleet at once; seconds until every Rollout of the namespace, the `others` too, is Healthy.
async fn update_fleet(client: &Client, names: &[String], others: usize) -> Result<f64> {
    let rollouts: Api<Rollout> = Api::namespaced(client.clone(), "default");
    let start = Instant::now();
    futures::future::try_join_all(names.iter().map(|name| release(&rollouts, name, "v2"))).await?;
    until_healthy(&rollouts, names.len() + others, 2).await?;
    Ok(start.elapsed().as_secs_f64())
}

fn show_each(count: usize, spent: Spent, cpu_ms: f64) {
    let each = precise(count as u64);
    show("requests each, no events", precise(spent.requests) / each, "", &REQUESTS);
    show("events each", precise(spent.events) / each, "", &EVENTS);
    show("CPU each", cpu_ms / each, "ms", &CPU_MS);
}

/// Rollouts beside one that is there already.
async fn fleet(client: &Client, controller: &Controller) -> Result<()> {
    let names = create_fleet(client, controller, FLEET, 1).await?;
    let (requests, cpu) = (controller.requests().await?, controller.cpu_ms()?);
    let seconds = update_fleet(client, &names, 1).await?;
    until_old_pods_are_gone(client).await?;
    until_quiet(controller).await?;
    let cpu = controller.cpu_ms()? - cpu;
    let spent = Spent::between(&requests, &controller.requests().await?);
    println!("{FLEET} rollouts updated at once");
    show("all Healthy after", seconds, "s", &FLEET_SECONDS);
    println!("  {:<32} {:>7.2}", "ratio to the minimum of 13 s", seconds / FLEET_MINIMUM_SECONDS);
    show_each(FLEET, spent, cpu);
    println!("  {:<32} {:>7.1} MiB", "memory", controller.rss_mib()?);
    Ok(())
}

/// Many Rollouts, a control plane of their own, and a controller with the default flags.
async fn large_fleet(sandbox: &Sandbox, count: usize) -> Result<()> {
    let (client, controller) = (&sandbox.client, &sandbox.controller);
    let names = create_fleet(client, controller, count, 0).await?;
    let (requests, cpu) = (controller.requests().await?, controller.cpu_ms()?);
    let busy = Busy::now(sandbox)?;
    let seconds = update_fleet(client, &names, 0).await?;
    let busy = busy.until_now(sandbox)?;
    let told = steps::check(client, count).await?;
    until_old_pods_are_gone(client).await?;
    until_quiet(controller).await?;
    let cpu = controller.cpu_ms()? - cpu;
    let spent = Spent::between(&requests, &controller.requests().await?);
    println!(
        "{count} rollouts updated at once; the controller has the default flags, and the control plane those of the sandbox"
    );
    if count != LARGE_FLEET {
        println!("  the figures that seconds and memory are compared with are for {LARGE_FLEET}");
    }
    show("all Healthy after", seconds, "s", &LARGE_FLEET_SECONDS);
    show("the same, peer without throttle", seconds, "s", &UNTHROTTLED);
    println!("  {:<32} {:>7.2}", "ratio to the minimum of 13 s", seconds / FLEET_MINIMUM_SECONDS);
    println!("  {:<32} {:>7}      aim     0", "rollouts that lost a step", 0);
    println!("  {:<32} {:>7} s    asked for 5", "shortest pause, whole seconds", told.shortest_pause);
    println!("  {:<32} {:>7.1} s", "last step told after Healthy", told.after.as_secs_f64());
    show_each(count, spent, cpu);
    println!("  CPU until all Healthy, in cores of {}:", busy.cores);
    for (name, seconds_busy) in busy.seconds {
        println!("    {name:<30} {:>7.2}", seconds_busy / seconds);
    }
    tokio::time::sleep(IDLE).await;
    show("memory, idle", controller.rss_mib()?, "MiB", &LARGE_FLEET_MIB);
    println!("  {:<32} {:>7}", "warnings in the controller's log", controller.logged("WARN")?.len());
    let errors = controller.logged("ERROR")?;
    println!("  {:<32} {:>7}      aim     0", "errors in the controller's log", errors.len());
    match errors.first() {
        Some(first) => bail!("the controller logged {} errors, the first one: {first}", errors.len()),
        None => Ok(()),
    }
}

/// CPU time by process, in seconds.
struct Busy {
    cores: usize,
    seconds: Vec<(&'static str, f64)>,
}

impl Busy {
    fn now(sandbox: &Sandbox) -> Result<Self> {
        let controller = ("the controller", sandbox.controller.process_id()?);
        let own = ("this program: node and watching", std::process::id());
        let processes = sandbox.control_plane.process_ids().into_iter().chain([controller, own]);
        let seconds = processes.map(|(name, id)| Ok((name, cpu_seconds(id.to_string())?)));
        let cores = std::thread::available_parallelism()?.get();
        Ok(Self { cores, seconds: seconds.collect::<Result<_>>()? })
    }

    fn until_now(self, sandbox: &Sandbox) -> Result<Self> {
        let now = Self::now(sandbox)?;
        let pairs = now.seconds.into_iter().zip(self.seconds);
        Ok(Self {
            cores: now.cores,
            seconds: pairs.map(|((name, now), (_, then))| (name, now - then)).collect(),
        })
    }
}

/// Waits until the controller does next to nothing: its last Events are created.
async fn until_quiet(controller: &Controller) -> Result<()> {
    let mut before = controller.cpu_ms()?;
    loop {
        tokio::time::sleep(QUIET_TIME).await;
        let now = controller.cpu_ms()?;
        if now - before < QUIET_CPU_MS {
            return Ok(());
        }
        before = now;
    }
}

/// Counts here stay far below the 2^32 that a float holds exactly.
fn precise(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// A control plane with a node and a controller.
struct Sandbox {
    control_plane: ControlPlane,
    client: Client,
    controller: Controller,
    _node: VirtualNode,
}

impl Sandbox {
    async fn start(flags: &[&str]) -> Result<Self> {
        let needed = [Tool::Etcd, Tool::ApiServer, Tool::ControllerManager];
        let tools = Tools::locate(&ToolPlaces::from_environment(), &needed)?;
        let control_plane = ControlPlane::start(ControlPlaneOptions::new(tools)).await?;
        let client = control_plane.client();
        define(&client).await?;
        let workload = Arc::new(QuickWorkload::ready_after(POD_START));
        let node = VirtualNode::start(client.clone(), workload).await?;
        let controller = Controller::start(&control_plane, flags)?;
        Ok(Self { control_plane, client, controller, _node: node })
    }

    async fn stop(self) -> Result<()> {
        drop(self.controller);
        Ok(self.control_plane.stop().await?)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    // Cargo's own arguments begin with dashes.
    let number = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    if number.as_deref() == Some("judging") {
        return judging::judge().await;
    }
    let count = number.map_or(Ok(LARGE_FLEET), |number| number.parse()).context("how many Rollouts")?;
    let sandbox = Sandbox::start(&QUIET).await?;
    one(&sandbox.client, &sandbox.controller).await?;
    idle(&sandbox.controller).await?;
    fleet(&sandbox.client, &sandbox.controller).await?;
    sandbox.stop().await?;
    judging::judge().await?;
    let sandbox = Sandbox::start(&[]).await?;
    large_fleet(&sandbox, count).await?;
    sandbox.stop().await
}
