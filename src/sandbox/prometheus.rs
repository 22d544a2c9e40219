//! A real Prometheus that discovers the pods of the sandbox through its API server and scrapes them every second.
//!
//! Series of a pod carry `job`, the pod's label `app`, as the service monitors of most clusters have it; `namespace`,
//! `pod`, and `rollouts_pod_template_hash` tell where they come from. Pods without the label are not scraped. Those of a
//! controller keep the labels that they have, as the chart's `PodMonitor` asks for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::process::{Program, Supervised};
use super::tools::{Tool, Tools};
use super::traffic::{HttpClient, PATIENCE, get, http_client};
use super::workload::DEFAULT_PORT;

/// The in-cluster name that manifests address a Prometheus by.
pub const CLUSTER_NAME: &str = "prometheus.monitoring.svc.cluster.local";
/// The port that they address it at; it is used here, too, when it is free.
pub const PORT: u16 = 9090;

/// How long it may take to become ready.
const READY_DEADLINE: Duration = Duration::from_mins(1);
/// How often readiness is asked for.
const POLL: Duration = Duration::from_millis(50);
/// How long it may take to end when asked; its data is thrown away.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// An address is chosen before the process binds it, and unlike the control plane it cannot share a port that is held for
/// it: somebody else may take it in between, hence more than one attempt.
const ATTEMPTS: usize = 3;
/// Lines of its log in an error message.
const QUOTED_LINES: usize = 12;
/// Name of the configuration in the state folder.
const CONFIGURATION: &str = "prometheus.yaml";

/// Why there is no Prometheus.
#[derive(Debug, thiserror::Error)]
pub enum PrometheusError {
    /// Its folder or its configuration cannot be written.
    #[error("writing {} for Prometheus", .path.display())]
    State {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The process cannot be started, asked or ended.
    #[error("running prometheus")]
    Process(#[source] io::Error),
    /// The process ended by itself.
    #[error("prometheus ended by itself ({status}); its last lines:\n{last_lines}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        last_lines: String,
    },
    /// The process runs and does not become ready.
    #[error("prometheus not ready after {} s; its last lines:\n{last_lines}", READY_DEADLINE.as_secs())]
    NotReady {
        /// The end of its log.
        last_lines: String,
    },
}

/// What to start.
#[derive(Clone, Debug)]
pub struct PrometheusOptions {
    /// Where the program is.
    pub tools: Tools,
    /// A kubeconfig whose user may list and watch pods. The file has to stay.
    pub kubeconfig: PathBuf,
    /// Where replicas of a controller show their metrics.
    pub controllers: Vec<SocketAddr>,
    /// Files of alerts, which are looked at every second. They have to stay.
    pub rules: Vec<PathBuf>,
}

/// A running Prometheus. Dropping it kills the process; its data goes away in any case.
#[derive(Debug)]
pub struct Prometheus {
    process: Supervised,
    address: SocketAddr,
    // Dropped after the process, which writes into it.
    state: TempDir,
}

impl Prometheus {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When it does not start, ends, or is not ready within a minute; the message quotes its log.
    pub async fn start(options: &PrometheusOptions) -> Result<Self, PrometheusError> {
        let mut attempt = 1;
        loop {
            match Self::try_start(options).await {
                Err(PrometheusError::Ended { last_lines, .. })
                    if attempt < ATTEMPTS && last_lines.contains("address already in use") =>
                {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn try_start(options: &PrometheusOptions) -> Result<Self, PrometheusError> {
        let state = state_folder()?;
        let address = free_address().map_err(PrometheusError::Process)?;
        let configuration = state.path().join(CONFIGURATION);
        std::fs::write(&configuration, self::configuration(options).to_string())
            .map_err(|source| PrometheusError::State { path: configuration.clone(), source })?;
        let program = Program {
            name: "prometheus",
            path: options.tools.path(Tool::Prometheus),
            arguments: arguments(&configuration, state.path(), address).into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        };
        let process = Supervised::start(&program, state.path()).await.map_err(PrometheusError::Process)?;
        let mut prometheus = Self { process, address, state };
        prometheus.wait_ready().await?;
        Ok(prometheus)
    }

    async fn wait_ready(&mut self) -> Result<(), PrometheusError> {
        let (http, deadline) = (http_client(), Instant::now() + READY_DEADLINE);
        while !self.is_ready(&http).await {
            if let Some(status) = self.process.ended().map_err(PrometheusError::Process)? {
                return Err(PrometheusError::Ended { status, last_lines: self.last_lines() });
            }
            if Instant::now() > deadline {
                return Err(PrometheusError::NotReady { last_lines: self.last_lines() });
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Whether this one is ready, and not another that was faster to take the address: only ours keeps its data in our
    /// folder.
    async fn is_ready(&self, http: &HttpClient) -> bool {
        let ask = |path: &'static str| async move {
            let answer = get(http, &format!("http://{}/{path}", self.address), PATIENCE).await;
            answer.filter(|(status, _)| status.is_success()).map(|(_, body)| body)
        };
        if ask("-/ready").await.is_none() {
            return false;
        }
        let flags = ask("api/v1/status/flags").await.unwrap_or_default();
        String::from_utf8_lossy(&flags).contains(&*self.state.path().to_string_lossy())
    }

    fn last_lines(&self) -> String {
        self.process.last_lines(QUOTED_LINES)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address for a browser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The option that leads from its in-cluster name to it: `<name>:<port>:<address>:<port>`, in the manner of
    /// `curl --resolve`.
    #[must_use]
    pub fn resolve(&self) -> String {
        format!("{CLUSTER_NAME}:{PORT}:{}", self.address)
    }

    /// Its process id, for measurements.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.process_id()
    }

    /// Ends it and removes its data.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub async fn stop(self) -> Result<(), PrometheusError> {
        let Self { process, state, .. } = self;
        let stopped = process.stop(STOP_PATIENCE).await.map(drop).map_err(PrometheusError::Process);
        let path = state.path().to_owned();
        stopped.and(state.close().map_err(|source| PrometheusError::State { path, source }))
    }
}

fn state_folder() -> Result<TempDir, PrometheusError> {
    let state = tempfile::Builder::new().prefix("serin-prometheus-").tempdir();
    state.map_err(|source| PrometheusError::State { path: std::env::temp_dir(), source })
}

/// An address with the usual port, or with any free one.
fn free_address() -> io::Result<SocketAddr> {
    let usual = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT));
    usual.or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?.local_addr()
}

fn arguments(configuration: &Path, state: &Path, address: SocketAddr) -> Vec<String> {
    vec![
        format!("--config.file={}", configuration.display()),
        format!("--storage.tsdb.path={}", state.join("data").display()),
        format!("--web.listen-address={address}"),
        // A hidden option: a new pod is scraped a second after it is discovered, instead of five.
        "--scrape.discovery-reload-interval=1s".to_owned(),
        // Samples of what no pod here has, a kubelet's for instance, can be put in.
        "--web.enable-otlp-receiver".to_owned(),
        "--storage.tsdb.retention.time=1d".to_owned(),
        "--log.level=warn".to_owned(),
    ]
}

/// The configuration, as JSON, which is YAML as well.
fn configuration(options: &PrometheusOptions) -> Value {
    let often = json!({"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"});
    let scrapes = [controllers(&options.controllers), pods(&options.kubeconfig)];
    json!({"global": often, "rule_files": options.rules, "scrape_configs": scrapes})
}

/// The job that scrapes the replicas of a controller.
fn controllers(addresses: &[SocketAddr]) -> Value {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let targets = json!([{"targets": addresses}]);
    json!({"job_name": "serin", "honor_labels": true, "static_configs": targets})
}

/// The job that scrapes pods.
fn pods(kubeconfig: &Path) -> Value {
    let pod = "__meta_kubernetes_pod";
    let keep = |label: &str, regex: &str| json!({"action": "keep", "source_labels": [format!("{pod}_{label}")], "regex": regex});
    let copy = |label: &str, target: &str| json!({"source_labels": [format!("{pod}_{label}")], "target_label": target});
    json!({
            "job_name": "pods",
            "kubernetes_sd_configs": [{"role": "pod", "kubeconfig_file": kubeconfig}],
            "relabel_configs": [
                keep("labelpresent_app", "true"),
                keep("phase", "Running"),
                keep("container_init", "false"),
                // The address of a pod that declares no port is its bare IP.
                {"source_labels": ["__address__"], "regex": "([^:]+)", "target_label": "__address__",
                 "replacement": format!("$1:{DEFAULT_PORT}")},
                copy("label_app", "job"),
                {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
                copy("name", "pod"),
                copy("label_rollouts_pod_template_hash", "rollouts_pod_template_hash"),
            ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(controllers: &[SocketAddr]) -> PrometheusOptions {
        let tools = Tools::locate(&super::super::tools::ToolPlaces::from_environment(), &[]).unwrap();
        let (controllers, rules) = (controllers.to_vec(), vec!["/state/alerts.yaml".into()]);
        PrometheusOptions { tools, kubeconfig: "/state/kubeconfig".into(), controllers, rules }
    }

    #[test]
    fn series_of_a_controller_keep_their_labels() {
        let configuration =
            configuration(&options(&[8090, 8091].map(|port| SocketAddr::from(([127, 0, 0, 1], port)))));
        let scrape = &configuration["scrape_configs"][0];
        assert_eq!(scrape["honor_labels"], true);
        assert_eq!(scrape["static_configs"][0]["targets"], json!(["127.0.0.1:8090", "127.0.0.1:8091"]));
        assert_eq!(configuration["rule_files"], json!(["/state/alerts.yaml"]));
    }

    #[test]
    fn the_configuration_names_the_jobs_after_the_label_app() {
        let configuration = configuration(&options(&[]));
        let scrape = &configuration["scrape_configs"][1];
        assert_eq!(scrape["kubernetes_sd_configs"][0]["kubeconfig_file"], "/state/kubeconfig");
        let rules = scrape["relabel_configs"].as_array().unwrap();
        let job = json!({"source_labels": ["__meta_kubernetes_pod_label_app"], "target_label": "job"});
        assert!(rules.contains(&job), "{rules:#?}");
    }
}
