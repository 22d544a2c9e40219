//! The controller as a process: its requests, its CPU time, its memory, its log.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use serin::sandbox::control_plane::ControlPlane;
use tokio::process::{Child, Command};

/// Clock ticks a second in `/proc/<id>/stat`, on every Linux that Rust has a standard library for.
const TICKS: f64 = 100.0;

pub(crate) struct Controller {
    child: Child,
    metrics: String,
    log: PathBuf,
}

/// Requests so far by kind and verb.
pub(crate) type Requests = BTreeMap<(String, String), u64>;

impl Controller {
    /// Starts a controller with `flags` besides those that say where the API server is and which ports are free.
    pub(crate) fn start(control_plane: &ControlPlane, flags: &[&str]) -> Result<Self> {
        let (metrics, health) = (free_port()?, free_port()?);
        let log = control_plane.state_dir().join("controller.log");
        let child = Command::new(env!("CARGO_BIN_EXE_serin"))
            .arg("controller")
            .arg("--kubeconfig")
            .arg(control_plane.kubeconfig_path())
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--metricsPort={metrics}"))
            .arg(format!("--healthzPort={health}"))
            .args(flags)
            .stdin(Stdio::null())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .context("start the controller")?;
        Ok(Self { child, metrics: format!("http://127.0.0.1:{metrics}/metrics"), log })
    }

    /// Asks for the figures that the controller shows; that costs it CPU time.
    pub(crate) async fn requests(&self) -> Result<Requests> {
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
    pub(crate) fn cpu_ms(&self) -> Result<f64> {
        let mut milliseconds = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.process_id()?))? {
            // Nanoseconds on a CPU, waiting for one, and turns. `/proc/<id>/stat` counts in steps of 10 ms.
            let Ok(schedule) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            let nanoseconds = schedule.split(' ').next().and_then(|field| field.parse::<f64>().ok());
            milliseconds += nanoseconds.context("no schedstat")? / 1e6;
        }
        Ok(milliseconds)
    }

    /// Memory now, in MiB.
    pub(crate) fn rss_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process_id()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib / 1024.0)
    }

    /// What it has logged at `level`.
    pub(crate) fn logged(&self, level: &str) -> Result<Vec<String>> {
        // A time, then the level.
        let is_of_level = |line: &&str| line.split_whitespace().nth(1) == Some(level);
        Ok(fs::read_to_string(&self.log)?.lines().filter(is_of_level).map(str::to_owned).collect())
    }

    pub(crate) fn process_id(&self) -> Result<u32> {
        self.child.id().context("the controller has ended")
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// CPU time of a process so far, in seconds.
pub(crate) fn cpu_seconds(process: impl AsRef<Path>) -> Result<f64> {
    let stat = fs::read_to_string(Path::new("/proc").join(process).join("stat"))?;
    // The name, which may hold spaces, ends at the last parenthesis; times in user and kernel mode are the fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/<id>/stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS)
}
