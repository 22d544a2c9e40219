//! The whole sandbox: control plane, node, demo workload, traffic, Prometheus and Serin's own definitions.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::control_plane::{ControlPlane, ControlPlaneError, ControlPlaneOptions};
use super::node::VirtualNode;
use super::prometheus::{Prometheus, PrometheusError, PrometheusOptions};
use super::tools::Tools;
use super::traffic::{Traffic, TrafficOptions};
use super::workload::Applications;
use crate::api::crds;

/// Who the sandbox is to server-side apply.
pub(super) const FIELD_MANAGER: &str = "serin-sandbox";
/// How long the API server may take to serve the definitions.
const SERVED_DEADLINE: Duration = Duration::from_secs(30);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(25);

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No control plane.
    #[error(transparent)]
    ControlPlane(#[from] ControlPlaneError),
    /// No Prometheus.
    #[error(transparent)]
    Prometheus(#[from] PrometheusError),
    /// The API server does not take an object.
    #[error("{attempted}")]
    Api {
        /// What was attempted, on which object.
        attempted: String,
        /// Its reason.
        #[source]
        source: kube::Error,
    },
    /// A definition is not served.
    #[error("the API server does not serve {name} {} s after it was defined", SERVED_DEADLINE.as_secs())]
    NotServed {
        /// The definition.
        name: String,
    },
}

/// What to start.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Where the programs are.
    pub tools: Tools,
    /// The requests to send; `None` for none.
    pub traffic: Option<TrafficOptions>,
}

/// What the sandbox is doing while it starts, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starting {
    /// etcd, the API server and its controllers.
    ControlPlane,
    /// The definitions of Rollouts and their kin.
    Definitions,
    /// Prometheus.
    Prometheus,
}

impl fmt::Display for Starting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ControlPlane => "starting etcd, kube-apiserver and kube-controller-manager",
            Self::Definitions => "applying the CRDs and joining a virtual node",
            Self::Prometheus => "starting Prometheus",
        })
    }
}

/// A running sandbox. Dropping it ends everything at once; [`LocalCluster::stop`] ends it in order.
pub struct LocalCluster {
    traffic: Option<Traffic>,
    prometheus: Prometheus,
    node: VirtualNode,
    applications: Arc<Applications>,
    control_plane: ControlPlane,
}

impl LocalCluster {
    /// Starts everything and returns when it works. `progress` hears what is being done.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start(
        options: ClusterOptions,
        mut progress: impl FnMut(Starting),
    ) -> Result<Self, ClusterError> {
        progress(Starting::ControlPlane);
        let control_plane = ControlPlane::start(ControlPlaneOptions::new(options.tools.clone())).await?;
        let client = control_plane.client();
        progress(Starting::Definitions);
        define(&client).await?;
        let applications = Arc::new(Applications::default());
        let node = VirtualNode::start(client.clone(), Arc::clone(&applications))
            .await
            .map_err(|source| ClusterError::Api { attempted: "registering the node".to_owned(), source })?;
        progress(Starting::Prometheus);
        let prometheus = Prometheus::start(&PrometheusOptions {
            tools: options.tools,
            kubeconfig: control_plane.kubeconfig_path(),
            controllers: Vec::new(),
            rules: Vec::new(),
        })
        .await?;
        let traffic = options.traffic.map(|options| Traffic::start(client, options));
        Ok(Self { traffic, prometheus, node, applications, control_plane })
    }

    /// The control plane.
    #[must_use]
    pub fn control_plane(&self) -> &ControlPlane {
        &self.control_plane
    }

    /// The applications that run in the pods.
    #[must_use]
    pub fn applications(&self) -> &Applications {
        &self.applications
    }

    /// Prometheus.
    #[must_use]
    pub fn prometheus(&self) -> &Prometheus {
        &self.prometheus
    }

    /// The requests; `None` when none are sent.
    #[must_use]
    pub fn traffic(&self) -> Option<&Traffic> {
        self.traffic.as_ref()
    }

    /// Ends everything and removes all state.
    ///
    /// # Errors
    /// The first failure; everything else is still ended.
    pub async fn stop(self) -> Result<(), ClusterError> {
        let Self { traffic, prometheus, node, applications, control_plane } = self;
        drop((traffic, node, applications));
        let prometheus = prometheus.stop().await;
        control_plane.stop().await?;
        Ok(prometheus?)
    }
}

/// Applies the definitions of Rollouts and their kin, and returns when the API server serves them.
///
/// # Errors
/// When the API server refuses one, or does not serve it in time.
pub async fn define(client: &Client) -> Result<(), ClusterError> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let mut resources = Vec::new();
    for (_, definition) in crds::all() {
        let resource = resource(&definition);
        let name = format!("{}.{}", resource.plural, resource.group);
        let defined = definitions.patch(&name, &params, &Patch::Apply(definition)).await;
        defined.map_err(|source| ClusterError::Api { attempted: format!("defining {name}"), source })?;
        resources.push(resource);
    }
    for resource in resources {
        let served = until_served(client, &resource);
        if timeout(SERVED_DEADLINE, served).await.is_err() {
            let name = format!("{}.{}", resource.plural, resource.group);
            return Err(ClusterError::NotServed { name });
        }
    }
    Ok(())
}

/// What a definition defines.
fn resource(definition: &Value) -> ApiResource {
    let text =
        |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (group, version) = (text("/spec/group"), text("/spec/versions/0/name"));
    ApiResource {
        api_version: format!("{group}/{version}"),
        kind: text("/spec/names/kind"),
        plural: text("/spec/names/plural"),
        group,
        version,
    }
}

/// Asks until there is an answer. The condition `Established` would not do: what serves the objects learns of it by a
/// watch of its own.
async fn until_served(client: &Client, resource: &ApiResource) {
    let objects: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    while objects.list(&ListParams::default().limit(1)).await.is_err() {
        sleep(POLL).await;
    }
}
