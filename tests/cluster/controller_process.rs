//! The real `serin controller` as a child process that watches one namespace and can be killed.

use std::process::Stdio;

use kube::Client;
use serin::sandbox::cluster::define;
use tempfile::NamedTempFile;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

/// A controller that works on one namespace. It is killed when this is dropped.
pub(crate) struct ControllerProcess {
    arguments: Vec<String>,
    child: Child,
    // Read by the child.
    _kubeconfig: NamedTempFile,
}

impl ControllerProcess {
    /// Starts a controller for `namespace` with the access that `kubeconfig` gives.
    pub(crate) fn start(kubeconfig: &str, namespace: &str, more: &[&str]) -> Self {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), kubeconfig).unwrap();
        let arguments: Vec<String> = [
            "controller",
            "--kubeconfig",
            file.path().to_str().unwrap(),
            "--namespaced",
            "--namespace",
            namespace,
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--metricsPort=0",
            "--healthzPort=0",
            "--loglevel=warn",
        ]
        .iter()
        .chain(more)
        .map(ToString::to_string)
        .collect();
        let child = spawn(&arguments);
        Self { arguments, child, _kubeconfig: file }
    }

    /// Kills it without warning, and starts it again.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.child.kill().await.unwrap();
        self.child = spawn(&self.arguments);
    }
}

fn spawn(arguments: &[String]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Creates the definitions on the shared control plane, once.
pub(crate) async fn definitions_on_shared(client: &Client) {
    static ONCE: OnceCell<()> = OnceCell::const_new();
    ONCE.get_or_init(|| async { define(client).await.unwrap() }).await;
}
