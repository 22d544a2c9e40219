//! What a controller is told when it starts.

use std::net::SocketAddr;
use std::time::Duration;

use crate::analysis::Secret;
use crate::providers::{AllowedServer, AwsEnvironment, HostOverride};
use crate::rollout::snapshot::{GenerationFormat, Settings};

/// Which objects a controller takes care of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Controllers {
    /// Rollouts, AnalysisRuns and Experiments.
    #[default]
    All,
    /// AnalysisRuns only.
    Analysis,
}

/// How one of several replicas becomes the one that writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderElection {
    /// Namespace of the Lease.
    pub namespace: String,
    /// How long others wait for a leader that has fallen silent.
    pub lease_duration: Duration,
    /// How long a leader that cannot renew goes on; shorter than `lease_duration`.
    pub renew_deadline: Duration,
    /// Time between two renewals, and between two attempts to win.
    pub retry_period: Duration,
}

impl LeaderElection {
    /// The usual times, with the Lease in `namespace`.
    #[must_use]
    pub fn in_namespace(namespace: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Limits on requests to the API server, besides those that it sets itself by answering 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Requests on their way at once, from 1; watches and lease renewals do not count.
    pub in_flight: usize,
    /// Requests a second, and how many may come at once; `None` for no such limit.
    pub rate: Option<RequestRate>,
}

/// A steady rate with room for bursts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRate {
    /// Requests a second, from 1.
    pub per_second: u32,
    /// Requests that may come at once, from 1.
    pub burst: u32,
}

impl Default for RequestLimits {
    /// Enough to keep an API server of any size busy, few enough not to be a queue of our own in it.
    fn default() -> Self {
        Self { in_flight: 64, rate: None }
    }
}

/// What a controller is told when it starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// The one namespace to look at; `None` for all of them. With one, ClusterAnalysisTemplates are not read.
    pub namespace: Option<String>,
    /// The shard: only objects with this value of the instance label; empty for those without the label.
    pub instance_id: String,
    /// Which objects are taken care of.
    pub controllers: Controllers,
    /// Rollouts worked on at once, from 1.
    pub rollout_passes: usize,
    /// Experiments worked on at once, from 1.
    pub experiment_passes: usize,
    /// AnalysisRuns worked on at once, and measurements on their way to one server at once, from 1.
    pub analysis_passes: usize,
    /// Time after which an object is looked at although nothing has changed.
    pub resync: Duration,
    /// How `status.observedGeneration` is written.
    pub generation_format: GenerationFormat,
    /// How to become leader; `None` to write without asking.
    pub leader_election: Option<LeaderElection>,
    /// Address of `/healthz` and `/readyz`; `None` for none.
    pub health_address: Option<SocketAddr>,
    /// Address of `/metrics`; `None` for none.
    pub metrics_address: Option<SocketAddr>,
    /// Limits on requests to the API server.
    pub limits: RequestLimits,
    /// Prometheus server of metrics that name none; the address may hold a password.
    pub prometheus_address: Option<Secret>,
    /// Hosts that measurements reach elsewhere than their name says.
    pub resolve: Vec<HostOverride>,
    /// Servers that metrics may ask, besides the default Prometheus; when empty, all.
    pub allowed: Vec<AllowedServer>,
    /// What AWS's own tools would find in the environment.
    pub aws: AwsEnvironment,
    /// The tag that names what a target group of an AWS load balancer is for, where load balancers are to be asked whether
    /// they follow; `None` where they are not.
    pub verified_by_tag: Option<String>,
    /// Where spans of deliveries are sent to by OTLP over HTTP: a full URL; `None` for nowhere.
    pub traces_endpoint: Option<String>,
}

impl Default for Options {
    /// One replica that looks at everything, without ports and without leader election.
    fn default() -> Self {
        Self {
            namespace: None,
            instance_id: String::new(),
            controllers: Controllers::All,
            rollout_passes: 10,
            experiment_passes: 10,
            analysis_passes: 30,
            resync: Duration::from_mins(15),
            generation_format: GenerationFormat::Integer,
            leader_election: None,
            health_address: None,
            metrics_address: None,
            limits: RequestLimits::default(),
            prometheus_address: None,
            resolve: Vec::new(),
            allowed: Vec::new(),
            aws: AwsEnvironment::default(),
            verified_by_tag: None,
            traces_endpoint: None,
        }
    }
}

impl Options {
    /// The settings that show in what is written.
    pub(crate) fn settings(&self) -> Settings {
        let instance_id = (!self.instance_id.is_empty()).then(|| self.instance_id.clone());
        Settings { generation_format: self.generation_format, instance_id, ..Settings::default() }
    }
}
