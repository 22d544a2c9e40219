//! A real Flux that delivers to one namespace: what fetches from Git, and what applies. All of its own objects are in that
//! namespace, too.

use std::net::SocketAddr;
use std::path::Path;

use kube::Client;
use serin::sandbox::process::{Program, Supervised};
use tempfile::TempDir;

use crate::argo_cd::engine::start;
use crate::pinned;
use crate::routers::definitions::install;
use crate::shared::own_addresses;

/// Definitions of the objects that Flux watches.
const DEFINITIONS: [&str; 7] = [
    "flux/kustomizations.yaml",
    "flux/gitrepositories.yaml",
    "flux/buckets.yaml",
    "flux/externalartifacts.yaml",
    "flux/helmcharts.yaml",
    "flux/helmrepositories.yaml",
    "flux/ocirepositories.yaml",
];

/// Its processes, which end when this is dropped.
pub(crate) struct Flux {
    _processes: [Supervised; 2],
    // Dropped after the processes, which write into it.
    _state: TempDir,
}

impl Flux {
    /// Starts it for the namespace, as an administrator.
    pub(crate) async fn start(client: &Client, kubeconfig: &str, namespace: &str) -> Self {
        install(client, &DEFINITIONS).await;
        let state = TempDir::new().unwrap();
        let folder = state.path();
        for name in ["storage", "temporary"] {
            std::fs::create_dir(folder.join(name)).unwrap();
        }
        std::fs::write(folder.join("kubeconfig"), kubeconfig).unwrap();
        let ([artifacts_at, source_at], [kustomize_at, _]) = (own_addresses(), own_addresses());
        let storage = [
            format!("--storage-path={}", folder.join("storage").display()),
            format!("--storage-addr={artifacts_at}"),
            format!("--storage-adv-addr={artifacts_at}"),
        ];
        let source = controller("source-controller", folder, namespace, source_at, &storage);
        let source = start(folder, source, artifacts_at).await;
        let kustomize = controller("kustomize-controller", folder, namespace, kustomize_at, &[]);
        let kustomize = start(folder, kustomize, kustomize_at).await;
        Self { _processes: [source, kustomize], _state: state }
    }
}

/// A controller that looks at one namespace and writes all its files into the folder. It says at `health` that it is there.
fn controller(
    name: &'static str,
    folder: &Path,
    namespace: &str,
    health: SocketAddr,
    more: &[String],
) -> Program {
    let own = [
        "--watch-all-namespaces=false".to_owned(),
        "--enable-leader-election=false".to_owned(),
        "--events-addr=".to_owned(),
        "--metrics-addr=0".to_owned(),
        format!("--health-addr={health}"),
    ];
    let below = |name: &str| folder.join(name).display().to_string();
    let environment = vec![
        ("RUNTIME_NAMESPACE", namespace.to_owned()),
        ("KUBECONFIG", below("kubeconfig")),
        ("HOME", below("")),
        ("TMPDIR", below("temporary")),
    ];
    let arguments = own.iter().chain(more).map(Into::into).collect();
    Program { name, path: pinned::program(name), arguments, environment }
}
