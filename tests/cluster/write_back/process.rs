//! `serin gitops` as a child process that can be killed, with the rights of its chart.

use std::collections::BTreeSet;
use std::process::Stdio;

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Client;
use serde_json::{Value, json};
use serin::sandbox::control_plane::Identity;
use tempfile::NamedTempFile;
use tokio::process::{Child, Command};

use crate::rights;
use crate::shared::apply;

/// Name of its account, its roles and its `ConfigMap`.
pub(crate) const NAME: &str = "serin-gitops";

/// Who it is in a namespace.
pub(crate) fn identity(namespace: &str) -> Identity {
    Identity::service_account(namespace, NAME)
}

/// The values of a chart where Argo CD is in the namespace of the release.
pub(crate) const ARGO_CD: [&str; 2] =
    ["--set=gitops.argocdNamespace=delivery", "--set=gitops.config.imageUpdater=true"];

/// The same of Flux, without an Argo CD.
pub(crate) const FLUX: [&str; 2] =
    ["--set=gitops.argocdNamespace=", "--set=gitops.fluxNamespaces={delivery}"];

/// Gives it in a namespace the rights that the chart says with these values, by which the sync engine is there, too; returns
/// them.
pub(crate) async fn grant(admin: &Client, namespace: &str, engine: &[&str]) -> BTreeSet<String> {
    let config = "gitops.config.repositories[0]";
    let own = [
        "--set=controller.namespaced=true,gitops.enabled=true",
        &format!("--set={config}.url=https://git.example.com/,{config}.secret=git"),
    ];
    let all = rights::rendered(&[&own, engine].concat());
    let is_own =
        |object: &&Value| object["metadata"]["name"].as_str().is_some_and(|name| name.starts_with(NAME));
    let own: Vec<Value> = all.iter().filter(is_own).cloned().collect();
    for object in &own {
        let name = object["metadata"]["name"].as_str().unwrap();
        match object["kind"].as_str() {
            Some("Role") => apply::<Role>(admin, namespace, name, json!({"rules": object["rules"]})).await,
            Some("RoleBinding") => {
                let subject = json!({"kind": "ServiceAccount", "name": NAME, "namespace": namespace});
                let bound = json!({"roleRef": object["roleRef"], "subjects": [subject]});
                apply::<RoleBinding>(admin, namespace, name, bound).await;
            }
            _ => {}
        }
    }
    rights::rights_in(&own).into_iter().collect()
}

/// One replica. It is killed when this is dropped.
pub(crate) struct WriteBack {
    child: Child,
    // Read by the child.
    _kubeconfig: NamedTempFile,
}

impl WriteBack {
    /// Starts a replica for `namespace`, in which its configuration and Argo CD are, too.
    pub(crate) fn start(kubeconfig: &str, namespace: &str) -> Self {
        let file = NamedTempFile::new().unwrap();
        let kubeconfig = rights::kubeconfig_of(kubeconfig, namespace, identity(namespace));
        std::fs::write(file.path(), kubeconfig).unwrap();
        let arguments = [
            "gitops".to_owned(),
            format!("--kubeconfig={}", file.path().display()),
            "--namespaced".to_owned(),
            format!("--namespace={namespace}"),
            format!("--argocd-namespace={namespace}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--metricsPort=0".to_owned(),
            "--healthzPort=0".to_owned(),
            "--loglevel=warn".to_owned(),
        ];
        let child = Command::new(env!("CARGO_BIN_EXE_serin"))
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, _kubeconfig: file }
    }

    /// Kills it without warning.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// The configuration for the repositories of a server.
pub(crate) fn config(server: &str, mode: &str) -> Value {
    json!({"imageUpdater": true, "repositories": [{"url": format!("{server}/"), "secret": "git", "mode": mode,
        "forge": {"kind": "gitea"}, "author": {"name": "Serin", "email": "serin@example.com"}}]})
}
