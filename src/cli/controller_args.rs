//! `serin controller`: its flags, under the names that a Deployment of Argo Rollouts uses.

mod ignored;
mod value;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kube::Config;
use thiserror::Error;
use tracing::{info, warn};

use self::ignored::IgnoredArgs;
use self::value::{Generation, Only, duration};
use super::kubeconfig::{self, Choice, ConnectError};
use super::process::{self, LogFormat, LogLevel, Signals};
use crate::analysis::Secret;
use crate::controller::{self, Controllers, LeaderElection, Options, RequestLimits, RequestRate, RunError};
use crate::providers::{AllowedServer, HostOverride, install_tls};
use crate::rollout::snapshot::GenerationFormat;

/// Requests that may exceed a rate for a moment.
const BURST: u32 = 80;
/// Threads that work. Requests are waited for without one, and a pass takes microseconds.
const THREADS: usize = 2;

/// Runs the controller: watches Rollouts, AnalysisRuns and Experiments and carries them out.
#[derive(Args, Debug)]
pub struct ControllerArgs {
    /// Path of a kubeconfig. Without it: `KUBECONFIG`, then `~/.kube/config`, then the pod's service account.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use.
    #[arg(long)]
    pub context: Option<String>,
    /// Namespace to look at with --namespaced; the kubeconfig's or the pod's when absent.
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// Looks at one namespace only. ClusterAnalysisTemplates are not read then.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub namespaced: bool,
    /// Looks only at objects whose label argo-rollouts.argoproj.io/controller-instance-id has this value; empty for
    /// objects without the label.
    #[arg(long, default_value = "")]
    pub instance_id: String,
    /// Which controllers run: all of them, or only `analysis`.
    #[arg(long, value_enum)]
    pub controllers: Option<Only>,
    /// Seconds after which an object is looked at although nothing has changed.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub rollout_resync: u64,
    /// Rollouts worked on at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    pub rollout_threads: usize,
    /// Experiments worked on at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    pub experiment_threads: usize,
    /// AnalysisRuns worked on, and measurements on their way to one server, at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 30)]
    pub analysis_threads: usize,
    /// Form of status.observedGeneration: `integer`, or `string` for clients that decode nothing else.
    #[arg(long, value_enum, default_value_t = Generation::Integer)]
    pub status_observed_generation: Generation,
    /// Requests to the API server a second; 0 for no limit on this side (the API server's own, 429, is always obeyed).
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub qps: u32,
    /// Requests that may exceed --qps for a moment [default: 80]; without effect when --qps is 0.
    #[arg(long, value_name = "NUMBER")]
    pub burst: Option<u32>,
    /// Prometheus server of metrics that name no address.
    #[arg(
        long,
        env = "ARGO_ROLLOUTS_PROMETHEUS_ADDRESS",
        hide_env_values = true,
        value_name = "URL",
        value_parser = |text: &str| Ok::<_, std::convert::Infallible>(Secret::new(text))
    )]
    pub prometheus_address: Option<Secret>,
    /// Sends measurements for HOST:PORT to ADDRESS, without looking the name up. Can be repeated.
    #[arg(long, value_name = "HOST:PORT:ADDRESS[:PORT]")]
    pub resolve: Vec<HostOverride>,
    /// A server that metrics may ask, besides that of --prometheus-address: HOST, *.DOMAIN, ADDRESS or NETWORK, with :PORT for
    /// one port alone. Can be repeated; without it, they may ask any. Names are compared as metrics write them.
    #[arg(long = "allow-server", value_name = "HOST[:PORT]")]
    pub allowed: Vec<AllowedServer>,
    /// Asks AWS whether load balancers follow their Ingresses (`trafficRouting.alb`): a weight counts once they do. Needs
    /// credentials that may describe load balancers, listeners, rules, target groups, their tags and their health.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub aws_verify_target_group: bool,
    /// Tag of target groups that names Ingress, Service and port.
    #[arg(long, value_name = "KEY", default_value = "ingress.k8s.aws/resource")]
    pub alb_tag_key_resource_id: String,
    /// Collector that gets a trace of each update, by OTLP over HTTP: a base URL, to which /v1/traces is added. Without it, that
    /// of `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` (a full URL) or `OTEL_EXPORTER_OTLP_ENDPOINT`; without either, nothing is sent.
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Address that the ports below are bound to.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub bind_address: IpAddr,
    /// Port of /metrics.
    #[arg(long = "metricsPort", alias = "metricsport", value_name = "PORT", default_value_t = 8090)]
    pub metrics_port: u16,
    /// Port of /healthz and /readyz.
    #[arg(long = "healthzPort", value_name = "PORT", default_value_t = 8080)]
    pub healthz_port: u16,
    /// How much is logged.
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub loglevel: LogLevel,
    /// Form of the log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub logformat: LogFormat,
    #[command(flatten)]
    leader: LeaderArgs,
    #[command(flatten)]
    ignored: IgnoredArgs,
}

/// Leader election.
#[derive(Args, Debug)]
struct LeaderArgs {
    /// Writes only while holding a Lease, so that several replicas can run. The Lease is the one Argo Rollouts uses.
    #[arg(long = "leader-elect", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = clap::ArgAction::Set)]
    elect: bool,
    /// Namespace of the Lease; the pod's or the kubeconfig's when absent.
    #[arg(long = "leader-election-namespace", value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
    /// How long other replicas wait for a leader that has fallen silent.
    #[arg(long = "leader-election-lease-duration", value_name = "DURATION", value_parser = duration, default_value = "15s")]
    lease_duration: Duration,
    /// How long a leader that cannot renew its Lease goes on.
    #[arg(long = "leader-election-renew-deadline", value_name = "DURATION", value_parser = duration, default_value = "10s")]
    renew_deadline: Duration,
    /// Time between two renewals, and between two attempts to win.
    #[arg(long = "leader-election-retry-period", value_name = "DURATION", value_parser = duration, default_value = "2s")]
    retry_period: Duration,
}

/// Why the controller did not start, or ended.
#[derive(Debug, Error)]
pub enum ControllerError {
    /// Two flags do not go together.
    #[error("{0}")]
    Flags(&'static str),
    /// Traces are wanted, and cannot be sent.
    #[error(transparent)]
    Traces(#[from] controller::TracesError),
    /// There is no way to a cluster.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The process cannot be set up.
    #[error("cannot set up the process")]
    Setup(#[from] std::io::Error),
    /// The controller ended on its own.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl ControllerArgs {
    /// Runs the controller until the process is asked to end.
    ///
    /// # Errors
    /// When it cannot start, or loses its leadership.
    pub fn run(self) -> Result<(), ControllerError> {
        process::start_log(self.loglevel, self.logformat);
        self.check()?;
        for flag in self.ignored.given() {
            warn!(flag, "accepted, but has no effect");
        }
        for (flag, missing) in self.without_effect() {
            warn!(flag, missing, "has no effect without another flag");
        }
        install_tls();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.enable_all().worker_threads(THREADS).build()?.block_on(self.serve())
    }

    async fn serve(self) -> Result<(), ControllerError> {
        let config = kubeconfig::load(&Choice::of(self.kubeconfig.clone(), self.context.clone())).await?;
        let options = self.options(&config);
        info!(version = env!("CARGO_PKG_VERSION"), server = %config.cluster_url, "starting");
        let signals = Signals::new()?;
        Ok(controller::run(config, options, signals.received()).await?)
    }

    /// Flags that were given and mean nothing without another one, which was not.
    fn without_effect(&self) -> Vec<(&'static str, &'static str)> {
        let namespace = self.namespace.is_some() && !self.namespaced;
        let burst = self.burst.is_some() && self.qps == 0;
        let pairs = [(namespace, ("--namespace", "--namespaced")), (burst, ("--burst", "--qps"))];
        pairs.into_iter().filter(|(given, _)| *given).map(|(_, pair)| pair).collect()
    }

    fn check(&self) -> Result<(), ControllerError> {
        let leader = &self.leader;
        if leader.renew_deadline >= leader.lease_duration {
            return Err(ControllerError::Flags(
                "--leader-election-renew-deadline must be shorter than --leader-election-lease-duration",
            ));
        }
        if leader.retry_period >= leader.renew_deadline || leader.retry_period.is_zero() {
            return Err(ControllerError::Flags(
                "--leader-election-retry-period must be above 0 and shorter than --leader-election-renew-deadline",
            ));
        }
        if self.rollout_resync == 0 {
            return Err(ControllerError::Flags("--rollout-resync must be above 0"));
        }
        let collector = traces_endpoint(self.otlp_endpoint.as_deref(), &environment());
        collector.map_or(Ok(()), |endpoint| Ok(controller::check_collector(&endpoint)?))
    }

    fn options(&self, config: &Config) -> Options {
        let own = || config.default_namespace.clone();
        let address = |port| Some(SocketAddr::new(self.bind_address, port));
        let rate = (self.qps > 0)
            .then(|| RequestRate { per_second: self.qps, burst: self.burst.unwrap_or(BURST).max(1) });
        Options {
            namespace: self.namespaced.then(|| self.namespace.clone().unwrap_or_else(own)),
            instance_id: self.instance_id.clone(),
            controllers: match self.controllers {
                None => Controllers::All,
                Some(Only::Analysis) => Controllers::Analysis,
            },
            rollout_passes: self.rollout_threads,
            experiment_passes: self.experiment_threads,
            analysis_passes: self.analysis_threads,
            resync: Duration::from_secs(self.rollout_resync),
            generation_format: match self.status_observed_generation {
                Generation::Integer => GenerationFormat::Integer,
                Generation::String => GenerationFormat::Text,
            },
            leader_election: self.leader.elect.then(|| LeaderElection {
                namespace: self.leader.lease_namespace.clone().unwrap_or_else(own),
                lease_duration: self.leader.lease_duration,
                renew_deadline: self.leader.renew_deadline,
                retry_period: self.leader.retry_period,
            }),
            health_address: address(self.healthz_port),
            metrics_address: address(self.metrics_port),
            limits: RequestLimits { rate, ..RequestLimits::default() },
            prometheus_address: self
                .prometheus_address
                .clone()
                .filter(|address| !address.reveal().is_empty()),
            resolve: self.resolve.clone(),
            allowed: self.allowed.clone(),
            aws: environment(),
            verified_by_tag: self.aws_verify_target_group.then(|| self.alb_tag_key_resource_id.clone()),
            traces_endpoint: traces_endpoint(self.otlp_endpoint.as_deref(), &environment()),
        }
    }
}

/// The full URL that spans are sent to: the flag's, or that of the standard variables; `None` where neither names one.
fn traces_endpoint(flag: Option<&str>, environment: &BTreeMap<String, String>) -> Option<String> {
    let variable = |name: &str| environment.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let below = |base: &str| format!("{}/v1/traces", base.trim_end_matches('/'));
    let flag = flag.filter(|flag| !flag.is_empty()).map(below);
    flag.or_else(|| variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(str::to_owned))
        .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT").map(below))
}

/// The variables that are texts, for what knows the name of its own.
fn environment<T: FromIterator<(String, String)>>() -> T {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: ControllerArgs,
    }

    fn parse(flags: &[&str]) -> ControllerArgs {
        Cli::try_parse_from([&["serin"], flags].concat()).unwrap().args
    }

    fn options(flags: &[&str]) -> Options {
        let mut config = Config::new(http::Uri::from_static("https://127.0.0.1"));
        config.default_namespace = "own".to_owned();
        parse(flags).options(&config)
    }

    #[test]
    fn without_flags_the_controller_runs_as_its_peer_does() {
        let options = options(&[]);
        assert_eq!(options.leader_election, Some(LeaderElection::in_namespace("own")));
        assert_eq!(options.resync, Duration::from_mins(15));
        assert_eq!(options.metrics_address, Some("0.0.0.0:8090".parse().unwrap()));
        assert_eq!(options.health_address, Some("0.0.0.0:8080".parse().unwrap()));
        assert_eq!((options.namespace, options.limits.rate, options.verified_by_tag), (None, None, None));
        parse(&[]).check().unwrap();
    }

    #[test]
    fn a_deployment_written_for_the_peer_starts() {
        let options = options(&[
            "--namespaced",
            "--leader-elect=false",
            "--instance-id",
            "blue",
            "--qps=40",
            "--burst=80",
            "--metricsPort",
            "9090",
            "--healthzPort=9091",
            "--loglevel=debug",
            "--logformat",
            "json",
            "--controllers=analysis",
            "--status-observed-generation=string",
            "--aws-verify-target-group",
        ]);
        assert_eq!(options.namespace.as_deref(), Some("own"));
        assert_eq!((options.leader_election, options.instance_id.as_str()), (None, "blue"));
        assert_eq!(options.limits.rate, Some(RequestRate { per_second: 40, burst: 80 }));
        assert_eq!(options.controllers, Controllers::Analysis);
        assert_eq!(options.generation_format, GenerationFormat::Text);
        assert_eq!(options.verified_by_tag.as_deref(), Some("ingress.k8s.aws/resource"));
    }

    #[test]
    fn flags_without_effect_are_accepted_and_named() {
        let args =
            parse(&["--istio-api-version", "v1beta1", "--ingress-threads", "4", "--service-threads=5"]);
        assert_eq!(args.ignored.given(), ["--service-threads", "--ingress-threads", "--istio-api-version"]);
        assert!(Cli::try_parse_from(["serin", "--no-such-flag"]).is_err());
    }

    #[test]
    fn a_flag_that_means_nothing_without_another_is_named() {
        let pairs = parse(&["--namespace=shop", "--burst=10"]).without_effect();
        assert_eq!(pairs, [("--namespace", "--namespaced"), ("--burst", "--qps")]);
        assert!(
            parse(&["--namespace=shop", "--namespaced", "--burst=10", "--qps=5"]).without_effect().is_empty()
        );
        assert!(parse(&[]).without_effect().is_empty());
    }

    #[test]
    fn times_of_the_election_that_cannot_work_are_refused() {
        assert!(parse(&["--leader-election-renew-deadline", "15s"]).check().is_err());
        assert!(parse(&["--leader-election-retry-period", "10s"]).check().is_err());
        assert!(parse(&["--rollout-resync", "0"]).check().is_err());
    }

    #[test]
    fn a_collector_that_nobody_can_reach_is_refused_before_anything_is_led() {
        for endpoint in ["collector:4317", "http://collector:port"] {
            let refused = parse(&[&format!("--otlp-endpoint={endpoint}")]).check().unwrap_err();
            assert!(refused.to_string().contains("address of the collector"), "{refused}");
        }
        parse(&["--otlp-endpoint=http://collector:4318"]).check().unwrap();
    }

    #[test]
    fn the_collector_is_the_flags_or_that_of_the_environment() {
        let all = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4318/"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own:4318/in"),
        ];
        let full: BTreeMap<_, _> = all.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut general = full.clone();
        general.remove("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        assert_eq!(traces_endpoint(None, &BTreeMap::new()), None);
        assert_eq!(traces_endpoint(Some(""), &BTreeMap::new()), None);
        assert_eq!(traces_endpoint(None, &general).as_deref(), Some("http://general:4318/v1/traces"));
        assert_eq!(traces_endpoint(None, &full).as_deref(), Some("http://own:4318/in"));
        let flag = traces_endpoint(Some("http://collector:4318"), &full);
        assert_eq!(flag.as_deref(), Some("http://collector:4318/v1/traces"));
    }

    #[test]
    fn names_can_be_resolved_on_the_command_line() {
        let to = "127.0.0.1:9090".parse().unwrap();
        let expected = HostOverride { host: "prometheus.svc".to_owned(), port: 9090, to };
        assert_eq!(options(&["--resolve", "prometheus.svc:9090:127.0.0.1"]).resolve, [expected]);
        assert!(Cli::try_parse_from(["serin", "--resolve", "prometheus.svc:127.0.0.1"]).is_err());
    }
}
