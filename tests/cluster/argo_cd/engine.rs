//! A real Argo CD that delivers to one namespace: its application controller and its repository server, with a Redis. All of
//! its own objects are in that namespace, too.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::json;
use serin::sandbox::process::{Program, Supervised};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use crate::pinned;
use crate::routers::definitions::install;
use crate::shared::{DEADLINE, apply, own_addresses};

/// Definitions of the objects that Argo CD reads.
const DEFINITIONS: [&str; 3] =
    ["argo-cd/applications.yaml", "argo-cd/projects.yaml", "argo-cd/application-sets.yaml"];
/// The cluster that it runs in, by the name that it has there.
const CLUSTER: &str = "https://kubernetes.default.svc";
/// How soon after a sync it heals what differs from Git; what follows sooner than that waits longer and longer.
const SELF_HEAL_SECONDS: &str = "1";
/// Between two attempts to reach a server.
const POLL: Duration = Duration::from_millis(50);

/// Its processes, which end when this is dropped.
pub(crate) struct ArgoCd {
    processes: Vec<Supervised>,
    repository_server: SocketAddr,
    // Dropped after the processes, which write into it.
    state: TempDir,
}

impl ArgoCd {
    /// Starts it for the namespace, as an administrator.
    pub(crate) async fn start(client: &Client, kubeconfig: &str, namespace: &str) -> Self {
        install(client, &DEFINITIONS).await;
        configure(client, namespace).await;
        let state = TempDir::new().unwrap();
        let folder = state.path();
        for name in ["tls", "ssh", "plugins", "temporary", "gnupg"] {
            std::fs::create_dir(folder.join(name)).unwrap();
        }
        std::fs::write(folder.join("kubeconfig"), kubeconfig).unwrap();
        let ([redis_at, repository_at], [metrics_at, repository_metrics_at]) =
            (own_addresses(), own_addresses());
        let redis = start(folder, redis(redis_at), redis_at).await;
        let repository = repository_server(folder, redis_at, repository_at, repository_metrics_at);
        let repository_server = start(folder, repository, repository_at).await;
        let controller = controller(folder, namespace, [redis_at, repository_at, metrics_at]);
        let controller = start(folder, controller, metrics_at).await;
        let processes = vec![controller, repository_server, redis];
        Self { processes, repository_server: repository_at, state }
    }

    /// Starts what makes Applications of `ApplicationSets`, too.
    pub(crate) async fn start_application_sets(&mut self, namespace: &str) {
        let ([metrics, probe], [webhook, _]) = (own_addresses(), own_addresses());
        let arguments = [
            format!("--namespace={namespace}"),
            format!("--argocd-repo-server={}", self.repository_server),
            "--repo-server-plaintext".to_owned(),
            format!("--metrics-addr={metrics}"),
            format!("--probe-addr={probe}"),
            format!("--webhook-addr={webhook}"),
        ];
        let program = program("argocd-applicationset-controller", self.state.path(), &arguments);
        self.processes.push(start(self.state.path(), program, probe).await);
    }
}

/// Starts a program and waits until its address takes connections.
pub(crate) async fn start(folder: &Path, program: Program, address: SocketAddr) -> Supervised {
    let mut process = Supervised::start(&program, folder).await.unwrap();
    let reachable = async {
        let mut pause = interval(POLL);
        while TcpStream::connect(address).await.is_err() {
            pause.tick().await;
        }
    };
    let reached = timeout(DEADLINE, reachable).await;
    let ended = process.ended().unwrap();
    assert!(reached.is_ok() && ended.is_none(), "{} ({ended:?}): {}", program.name, process.last_lines(10));
    process
}

fn redis(address: SocketAddr) -> Program {
    let files = [include_str!("../redis/go.mod"), include_str!("../redis/main.go")];
    let path = pinned::folder("redis", &files).join("redis");
    assert!(path.is_file(), "{} is missing; build what is missing with `make test-tools`", path.display());
    Program { name: "redis", path, arguments: vec![address.to_string().into()], environment: Vec::new() }
}

fn repository_server(folder: &Path, redis: SocketAddr, address: SocketAddr, metrics: SocketAddr) -> Program {
    let arguments = [
        "--disable-tls".to_owned(),
        format!("--redis={redis}"),
        format!("--address={}", address.ip()),
        format!("--port={}", address.port()),
        format!("--metrics-address={}", metrics.ip()),
        format!("--metrics-port={}", metrics.port()),
    ];
    program("argocd-repo-server", folder, &arguments)
}

/// `addresses` are those of Redis, of the repository server and of its own metrics, for which it takes a port alone.
fn controller(folder: &Path, namespace: &str, addresses: [SocketAddr; 3]) -> Program {
    let [redis, repository_server, metrics] = addresses;
    let arguments = [
        format!("--namespace={namespace}"),
        format!("--redis={redis}"),
        format!("--repo-server={repository_server}"),
        "--repo-server-plaintext".to_owned(),
        format!("--metrics-port={}", metrics.port()),
        format!("--self-heal-timeout-seconds={SELF_HEAL_SECONDS}"),
        "--self-heal-backoff-timeout-seconds=1".to_owned(),
        "--self-heal-backoff-cap-seconds=2".to_owned(),
    ];
    program("argocd-application-controller", folder, &arguments)
}

/// One of the programs that the binary is, with every file that it writes in the folder.
fn program(name: &'static str, folder: &Path, arguments: &[String]) -> Program {
    let below = |name: &str| folder.join(name).display().to_string();
    let environment = vec![
        ("ARGOCD_BINARY_NAME", name.to_owned()),
        ("ARGOCD_FAKE_IN_CLUSTER", "true".to_owned()),
        ("KUBECONFIG", below("kubeconfig")),
        ("ARGOCD_GPG_ENABLED", "false".to_owned()),
        ("ARGOCD_TLS_DATA_PATH", below("tls")),
        ("ARGOCD_SSH_DATA_PATH", below("ssh")),
        ("ARGOCD_PLUGINSOCKFILEPATH", below("plugins")),
        ("ARGOCD_GNUPGHOME", below("gnupg")),
        ("HOME", below("")),
        ("TMPDIR", below("temporary")),
        ("GIT_CONFIG_GLOBAL", "/dev/null".to_owned()),
        ("PATH", path()),
    ];
    let arguments = arguments.iter().map(Into::into).collect();
    Program { name, path: pinned::program("argocd"), arguments, environment }
}

/// The pinned programs that it renders with before all others.
fn path() -> String {
    let renderers = ["helm", "kustomize"].map(|name| pinned::program(name).parent().unwrap().to_owned());
    let others = std::env::var_os("PATH").unwrap_or_default();
    let all = renderers.into_iter().chain(std::env::split_paths(&others));
    std::env::join_paths(all).unwrap().into_string().unwrap()
}

/// What Argo CD's own installation brings: its configuration, the key of its sessions, and the project of everybody. It
/// watches the one namespace, of a cluster that other tests use.
async fn configure(client: &Client, namespace: &str) {
    let own = json!({"metadata": {"labels": {"app.kubernetes.io/part-of": "argocd"}}});
    for name in ["argocd-cm", "argocd-rbac-cm"] {
        apply::<ConfigMap>(client, namespace, name, own.clone()).await;
    }
    let mut sessions = own;
    sessions["stringData"] = json!({"server.secretkey": "any"});
    apply::<Secret>(client, namespace, "argocd-secret", sessions).await;
    let cluster = json!({
        "metadata": {"labels": {"argocd.argoproj.io/secret-type": "cluster"}},
        "stringData": {"name": "in-cluster", "server": CLUSTER, "namespaces": namespace, "config": "{}"},
    });
    apply::<Secret>(client, namespace, "cluster", cluster).await;
    let project = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": "default"},
        "spec": {"sourceRepos": ["*"], "destinations": [{"namespace": namespace, "server": CLUSTER}]}});
    let projects = of_argo_cd(client, namespace, "AppProject");
    projects.patch("default", &PatchParams::apply("test"), &Patch::Apply(&project)).await.unwrap();
}

/// Objects of a kind that Argo CD has defined.
pub(crate) fn of_argo_cd(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", kind);
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk(&kind))
}
