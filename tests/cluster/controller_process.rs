//! A controller as a child process that watches one namespace and can be killed: the real `serin controller`, with the rights
//! of its chart, or that of Argo Rollouts.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use kube::Client;
use serin::sandbox::cluster::define;
use serin::sandbox::control_plane::ControlPlane;
use tempfile::NamedTempFile;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::{pinned, rights};

/// The controller of Argo Rollouts.
const ARGO_ROLLOUTS: &str = "rollouts-controller";

/// Where what a controller logs goes.
enum Log {
    /// To where the tests' own output goes.
    Inherited,
    Dropped,
    /// Added to this file.
    File(PathBuf),
}

impl Log {
    fn open(&self) -> Stdio {
        match self {
            Self::Inherited => Stdio::inherit(),
            Self::Dropped => Stdio::null(),
            Self::File(path) => File::options().create(true).append(true).open(path).unwrap().into(),
        }
    }
}

/// A controller that works on one namespace. It is killed when this is dropped.
pub(crate) struct ControllerProcess {
    namespace: String,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: Log,
    /// Where a control plane of one's own writes requests down; `None` for the shared one.
    audit_log: Option<PathBuf>,
    child: Child,
    // Read by the child.
    _kubeconfig: NamedTempFile,
}

impl ControllerProcess {
    /// Starts a controller for `namespace`. `kubeconfig` is an administrator's, for whom it acts as its service account.
    pub(crate) fn start(kubeconfig: &str, namespace: &str, more: &[&str]) -> Self {
        Self::start_in(vec![], kubeconfig, namespace, more)
    }

    /// The same on a control plane of one's own, which writes requests down.
    pub(crate) fn start_on(control_plane: &ControlPlane, namespace: &str) -> Self {
        let mut this = Self::start(control_plane.kubeconfig(), namespace, &[]);
        this.audit_log = Some(control_plane.audit_log());
        this
    }

    /// The same with more variables in its environment.
    pub(crate) fn start_in(
        environment: Vec<(String, String)>,
        kubeconfig: &str,
        namespace: &str,
        more: &[&str],
    ) -> Self {
        let own = ["controller", "--bind-address=127.0.0.1", "--loglevel=warn"];
        let own: Vec<_> = own.iter().chain(more).copied().collect();
        let program = env!("CARGO_BIN_EXE_serin").into();
        let kubeconfig = rights::kubeconfig(kubeconfig, namespace);
        Self::spawn(program, environment, &kubeconfig, namespace, &own, Log::Inherited)
    }

    /// Starts a controller that logs all it can, into a file.
    pub(crate) fn start_traced(kubeconfig: &str, namespace: &str, log: &Path) -> Self {
        let own = ["controller", "--bind-address=127.0.0.1", "--loglevel=trace"];
        let kubeconfig = rights::kubeconfig(kubeconfig, namespace);
        let program = env!("CARGO_BIN_EXE_serin").into();
        Self::spawn(program, vec![], &kubeconfig, namespace, &own, Log::File(log.to_owned()))
    }

    /// Starts the controller of Argo Rollouts in its place. What it logs is dropped: to it, every conflict between two of its own
    /// writes is an error.
    ///
    /// # Panics
    /// When it is missing; the message says how to build it.
    pub(crate) fn start_argo_rollouts(kubeconfig: &str, namespace: &str) -> Self {
        Self::spawn(pinned::program(ARGO_ROLLOUTS), vec![], kubeconfig, namespace, &[], Log::Dropped)
    }

    fn spawn(
        program: PathBuf,
        environment: Vec<(String, String)>,
        kubeconfig: &str,
        namespace: &str,
        own: &[&str],
        log: Log,
    ) -> Self {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), kubeconfig).unwrap();
        let shared = [
            "--kubeconfig",
            file.path().to_str().unwrap(),
            "--namespaced",
            "--namespace",
            namespace,
            "--leader-elect=false",
            "--metricsPort=0",
            "--healthzPort=0",
        ];
        // A flag of one's own counts instead of the shared one.
        let name = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
        let is_own = |flag: &str| own.iter().any(|given| name(given) == name(flag));
        let shared = shared.iter().filter(|flag| !is_own(flag));
        let arguments: Vec<String> = own.iter().chain(shared).map(ToString::to_string).collect();
        let child = spawn(&program, &arguments, &environment, log.open());
        let namespace = namespace.to_owned();
        Self { namespace, program, arguments, environment, log, audit_log: None, child, _kubeconfig: file }
    }

    /// Kills it without warning, and starts it again.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.child.kill().await.unwrap();
        self.child = spawn(&self.program, &self.arguments, &self.environment, self.log.open());
    }

    /// Ends it, and returns once it does nothing any more.
    pub(crate) async fn stop(mut self) {
        self.child.kill().await.unwrap();
    }
}

impl Drop for ControllerProcess {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            match &self.audit_log {
                Some(log) => rights::assert_sufficed_in(log, &self.namespace),
                None => rights::assert_sufficed(&self.namespace),
            }
        }
    }
}

fn spawn(program: &Path, arguments: &[String], environment: &[(String, String)], log: Stdio) -> Child {
    Command::new(program)
        .args(arguments)
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Creates the definitions on the shared control plane, once.
pub(crate) async fn definitions_on_shared(client: &Client) {
    static ONCE: OnceCell<()> = OnceCell::const_new();
    ONCE.get_or_init(|| async { define(client).await.unwrap() }).await;
}
