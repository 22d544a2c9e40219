//! `serin gitops` as a child process that can be killed.

use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::process::{Child, Command};

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
        let place = format!("    namespace: {namespace}\n");
        std::fs::write(file.path(), kubeconfig.replace("    namespace: default\n", &place)).unwrap();
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
    json!({"repositories": [{"url": format!("{server}/"), "secret": "git", "mode": mode,
        "forge": {"kind": "gitea"}, "author": {"name": "Serin", "email": "serin@example.com"}}]})
}
