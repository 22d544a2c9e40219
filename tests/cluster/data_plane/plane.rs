//! A cluster with a real data plane: pods that serve, Contour that reads routes and endpoints, Envoy that follows it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::{Api, Client};
use serde_json::json;
use serin::sandbox::cluster::define;
use serin::sandbox::control_plane::{ControlPlane, ControlPlaneOptions};
use serin::sandbox::node::VirtualNode;
use serin::sandbox::process::{Program, Supervised};
use serin::sandbox::workload::Applications;

use crate::pinned;
use crate::routers::definitions::install_file;
use crate::routers::{Kind, create};
use crate::shared::options;

/// What `build.sh` names the folder after.
const PINS: [&str; 2] = [include_str!("../contour/go.mod"), include_str!("../envoy.txt")];
/// The pods' network; all of it is this machine's in the test's own one.
const NETWORK: [u8; 2] = [10, 244];
/// Where Envoy takes requests: Contour moves the Gateway's port 80 up to where anybody may listen.
pub(super) const EDGE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const XDS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8001);
/// Where Contour and the Gateway are.
pub(super) const NAMESPACE: &str = "projectcontour";
pub(super) const GATEWAY: &str = "edge";
const GATEWAYS: Kind = ("gateway.networking.k8s.io", "v1", "Gateway", "gateways");
const DEFINITIONS: [&str; 5] = [
    "contour/crds.yaml",
    "gateway-api/gatewayclasses.yaml",
    "gateway-api/gateways.yaml",
    "gateway-api/httproutes.yaml",
    "gateway-api/referencegrants.yaml",
];
/// How late endpoints follow pods.
const ENDPOINTS_WAIT: Duration = Duration::from_secs(1);
/// Lines of a log that a failure quotes.
const QUOTED: usize = 40;
/// Kinds that no test here routes by.
const UNUSED: [&str; 5] = ["extensionservices", "tlsroutes", "grpcroutes", "tcproutes", "backendtlspolicies"];

/// The cluster. Everything ends when this is dropped.
pub(super) struct DataPlane {
    control_plane: ControlPlane,
    contour: Supervised,
    envoy: Supervised,
    /// Tests that want the controllers stopped.
    frozen: Mutex<usize>,
    _node: VirtualNode,
}

impl DataPlane {
    /// Starts it. Envoy takes requests as soon as there is a route.
    pub(super) async fn start() -> Self {
        let more_controllers = vec!["endpointslice-controller".to_owned()];
        let options = ControlPlaneOptions { more_controllers, endpoints_wait: ENDPOINTS_WAIT, ..options() };
        let control_plane = ControlPlane::start(options).await;
        let control_plane = control_plane.unwrap_or_else(|error| panic!("{error}"));
        let client = control_plane.client();
        define(&client).await.unwrap();
        for file in DEFINITIONS {
            install_file(&client, file).await;
        }
        make_gateway(&client).await;
        let applications = Applications::starting_after(Duration::from_millis(300)).on(NETWORK);
        let node = VirtualNode::start(client, Arc::new(applications)).await.unwrap();
        let contour = start_contour(&control_plane).await;
        let envoy = start_envoy(&control_plane).await;
        Self { control_plane, contour, envoy, frozen: Mutex::default(), _node: node }
    }

    pub(super) fn client(&self) -> Client {
        self.control_plane.client()
    }

    /// Stops the controllers of the cluster, those of endpoints and of ReplicaSets among them, until as many thaws as
    /// freezes were asked for.
    pub(super) fn freeze_controllers(&self) {
        let mut frozen = self.frozen.lock().unwrap();
        *frozen += 1;
        self.signal_controllers("STOP");
    }

    /// Takes one freeze back.
    pub(super) fn thaw_controllers(&self) {
        let mut frozen = self.frozen.lock().unwrap();
        *frozen -= 1;
        if *frozen == 0 {
            self.signal_controllers("CONT");
        }
    }

    fn signal_controllers(&self, signal: &str) {
        let [.., (_, process_id)] = self.control_plane.process_ids();
        let kill = Command::new("kill").args(["-s", signal, &process_id.to_string()]).status().unwrap();
        assert!(kill.success(), "kill {kill}");
    }

    pub(super) fn kubeconfig(&self) -> &str {
        self.control_plane.kubeconfig()
    }
}

impl Drop for DataPlane {
    /// Says what was out of the ordinary in the proxy when a test fails.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let told = |process: &Supervised, usual: &str| {
                let log = std::fs::read_to_string(process.log()).unwrap_or_default();
                let lines: Vec<_> = log.lines().filter(|line| !line.contains(usual)).collect();
                let last = &lines[lines.len().saturating_sub(QUOTED)..];
                eprintln!("{}:\n{}", process.name(), last.join("\n"));
            };
            told(&self.contour, "level=info");
            told(&self.envoy, "HTTP/1.1\" 200");
        }
    }
}

async fn make_gateway(client: &Client) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let resource =
        ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "GatewayClass"));
    let class = DynamicObject::new(GATEWAY, &resource)
        .data(json!({"spec": {"controllerName": "projectcontour.io/gateway"}}));
    let classes: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    classes.create(&PostParams::default(), &class).await.unwrap();
    let gateway = json!({
        "metadata": {"name": GATEWAY},
        "spec": {"gatewayClassName": GATEWAY, "listeners": [
            {"name": "http", "protocol": "HTTP", "port": 80, "allowedRoutes": {"namespaces": {"from": "All"}}},
        ]},
    });
    create(client, NAMESPACE, GATEWAYS, gateway).await;
}

fn program(name: &str) -> PathBuf {
    let path = pinned::folder("data-plane", &PINS).join(name);
    assert!(path.is_file(), "{} is missing; build what is missing with `make test-tools`", path.display());
    path
}

async fn start(name: &'static str, control_plane: &ControlPlane, arguments: Vec<String>) -> Supervised {
    let program = Program {
        name,
        path: program(name),
        arguments: arguments.into_iter().map(Into::into).collect(),
        environment: Vec::new(),
    };
    Supervised::start(&program, control_plane.state_dir()).await.unwrap()
}

async fn start_contour(control_plane: &ControlPlane) -> Supervised {
    let configuration = control_plane.state_dir().join("contour.yaml");
    let gateway = json!({"gateway": {"gatewayRef": {"namespace": NAMESPACE, "name": GATEWAY}}});
    std::fs::write(&configuration, gateway.to_string()).unwrap();
    let mut arguments = vec![
        "serve".to_owned(),
        "--no-incluster".to_owned(),
        "--insecure".to_owned(),
        "--disable-leader-election".to_owned(),
        format!("--kubeconfig={}", control_plane.kubeconfig_path().display()),
        format!("--config-path={}", configuration.display()),
        format!("--xds-address={}", XDS.ip()),
        format!("--xds-port={}", XDS.port()),
        format!("--envoy-service-http-address={}", EDGE.ip()),
        "--kubernetes-client-qps=1000".to_owned(),
        "--kubernetes-client-burst=1000".to_owned(),
    ];
    arguments.extend(UNUSED.map(|kind| format!("--disable-feature={kind}")));
    start("contour", control_plane, arguments).await
}

async fn start_envoy(control_plane: &ControlPlane) -> Supervised {
    let bootstrap = control_plane.state_dir().join("envoy.json");
    let made = Command::new(program("contour"))
        .arg("bootstrap")
        .arg(&bootstrap)
        .args([format!("--xds-address={}", XDS.ip()), format!("--xds-port={}", XDS.port())])
        .arg(format!("--admin-address={}", control_plane.state_dir().join("envoy.sock").display()))
        .output()
        .unwrap();
    assert!(made.status.success(), "contour bootstrap: {}", String::from_utf8_lossy(&made.stderr));
    let bootstrap = bootstrap.display().to_string();
    let options =
        [("-c", &*bootstrap), ("--service-cluster", NAMESPACE), ("--service-node", "envoy"), ("-l", "warn")];
    let mut arguments: Vec<_> =
        options.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect();
    arguments.extend(["--concurrency", "1", "--disable-hot-restart"].map(str::to_owned));
    start("envoy", control_plane, arguments).await
}
