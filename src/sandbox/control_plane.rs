//! A real control plane as child processes: etcd, kube-apiserver, kube-controller-manager.
//!
//! [`ControlPlane::start`] takes free ports, makes certificates, starts the processes and returns when objects can be
//! created and controllers act on them. There is no scheduler; [`super::node`] takes the pods. The processes die with
//! this one, however it ends; dropping a [`ControlPlane`] kills them, [`ControlPlane::stop`] asks them to end first.

mod arguments;
mod error;
mod kubeconfig;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client, Config};
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};

pub use self::arguments::Audit;
use self::arguments::{Ports, file};
pub use self::error::ControlPlaneError;
pub use self::kubeconfig::Identity;
use super::credentials::{Authority, TokenKeys};
use super::process::{Program, Signal, Supervised};
use super::tools::{Tool, Tools};

/// How long a process may take to become usable; a loaded machine of two cores needs a tenth of it.
const READY_DEADLINE: Duration = Duration::from_mins(1);
/// How often readiness is asked for.
const POLL: Duration = Duration::from_millis(25);
/// How long one readiness request may take.
const POLL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a process may take to end when asked; nothing that it would save is kept.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// What to start.
#[derive(Clone, Debug)]
pub struct ControlPlaneOptions {
    /// Where the programs are.
    pub tools: Tools,
    /// Whether requests are written down.
    pub audit: Audit,
    /// Arguments of the API server besides the usual ones, for example `--feature-gates=WatchList=false`.
    pub more_arguments: Vec<String>,
    /// Controllers of the controller manager to run besides the usual ones, for example `endpointslice-controller`.
    pub more_controllers: Vec<String>,
    /// From a change of pods until the controller of endpoints, should it run, looks at them.
    pub endpoints_wait: Duration,
    /// Folder for the state folder; `None` is the system's folder for temporary files.
    pub state_parent: Option<PathBuf>,
}

impl ControlPlaneOptions {
    /// The usual control plane, made of `tools`.
    #[must_use]
    pub fn new(tools: Tools) -> Self {
        Self {
            tools,
            audit: Audit::Off,
            more_arguments: Vec::new(),
            more_controllers: Vec::new(),
            endpoints_wait: Duration::ZERO,
            state_parent: None,
        }
    }
}

/// A running control plane.
pub struct ControlPlane {
    etcd: Supervised,
    api_server: Supervised,
    controller_manager: Supervised,
    options: ControlPlaneOptions,
    ports: HeldPorts,
    kubeconfig: String,
    config: Config,
    client: Client,
    // Dropped after the processes, which write into it.
    state: TempDir,
}

impl ControlPlane {
    /// Starts a control plane and waits until it works.
    ///
    /// # Errors
    /// When a process does not start, ends, or is not ready within a minute; the message quotes its log.
    pub async fn start(options: ControlPlaneOptions) -> Result<Self, ControlPlaneError> {
        let state = state_folder(&options)?;
        let held = HeldPorts::choose().map_err(ControlPlaneError::Port)?;
        let ports = held.numbers;
        let kubeconfig = write_state(state.path(), ports, options.audit)?;
        let config = kubeconfig::load(&kubeconfig).await?;
        let client = Client::try_from(config.clone()).map_err(ControlPlaneError::Client)?;

        let mut etcd = run(&options, state.path(), Tool::Etcd, arguments::etcd(state.path(), ports)).await?;
        wait_listening(&mut etcd, ports.etcd_address()).await?;
        let arguments = arguments::api_server(state.path(), ports, &options);
        let mut api_server = run(&options, state.path(), Tool::ApiServer, arguments).await?;
        wait_api_server(&mut api_server, &client, READY_DEADLINE).await?;
        let arguments =
            arguments::controller_manager(state.path(), &options.more_controllers, options.endpoints_wait);
        let mut controller_manager = run(&options, state.path(), Tool::ControllerManager, arguments).await?;
        wait_controllers(&mut controller_manager, &client).await?;
        Ok(Self {
            etcd,
            api_server,
            controller_manager,
            options,
            ports: held,
            kubeconfig,
            config,
            client,
            state,
        })
    }

    /// A client that may do everything and is never throttled.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The configuration of [`ControlPlane::client`].
    #[must_use]
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// The configuration of a client that is `identity` to the API server: its roles and its flow control apply.
    #[must_use]
    pub fn config_for(&self, identity: &Identity) -> Config {
        kubeconfig::acting_as(self.config.clone(), identity)
    }

    /// The content of a kubeconfig for an administrator; it refers to no other file.
    #[must_use]
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// The file with the content of [`ControlPlane::kubeconfig`].
    #[must_use]
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.state.path().join(file::KUBECONFIG)
    }

    /// The API server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        url(self.ports.numbers)
    }

    /// The folder with keys, logs and data. It goes away with the control plane.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// The file that [`Audit::Requests`] writes; it exists after the first request.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.state.path().join(file::AUDIT_LOG)
    }

    /// Names and process ids of etcd, the API server and the controller manager, for measurements.
    #[must_use]
    pub fn process_ids(&self) -> [(&'static str, u32); 3] {
        [&self.etcd, &self.api_server, &self.controller_manager]
            .map(|process| (process.name(), process.process_id()))
    }

    /// Waits until the API server says that it is ready, at most for `deadline`.
    ///
    /// # Errors
    /// When it ended or is not ready in time.
    pub async fn wait_ready(&mut self, deadline: Duration) -> Result<(), ControlPlaneError> {
        wait_api_server(&mut self.api_server, &self.client, deadline).await
    }

    /// Kills the API server as a crash would. Etcd and the controllers live on.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub async fn kill_api_server(&mut self) -> Result<(), ControlPlaneError> {
        let failed = |source| ControlPlaneError::Process { name: Tool::ApiServer.file_name(), source };
        self.api_server.send(Signal::Kill).await.map_err(failed)?;
        self.api_server.wait().await.map_err(failed)?;
        Ok(())
    }

    /// Kills the API server, starts it again on the same port with the same data, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come back within a minute.
    pub async fn restart_api_server(&mut self) -> Result<(), ControlPlaneError> {
        self.kill_api_server().await?;
        let arguments = arguments::api_server(self.state.path(), self.ports.numbers, &self.options);
        self.api_server = run(&self.options, self.state.path(), Tool::ApiServer, arguments).await?;
        self.wait_ready(READY_DEADLINE).await
    }

    /// Freezes or thaws the API server: connections stay open and get no answer meanwhile.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub async fn signal_api_server(&mut self, signal: Signal) -> Result<(), ControlPlaneError> {
        let failed = |source| ControlPlaneError::Process { name: Tool::ApiServer.file_name(), source };
        self.api_server.send(signal).await.map_err(failed)
    }

    /// Ends every process, those that depend on another one first, and removes all state.
    ///
    /// # Errors
    /// The first failure; everything else is still ended.
    pub async fn stop(self) -> Result<(), ControlPlaneError> {
        let Self { etcd, api_server, controller_manager, state, .. } = self;
        let mut outcome = Ok(());
        for process in [controller_manager, api_server, etcd] {
            let name = process.name();
            let stopped = process.stop(STOP_PATIENCE).await;
            outcome =
                outcome.and(stopped.map(drop).map_err(|source| ControlPlaneError::Process { name, source }));
        }
        let path = state.path().to_owned();
        outcome.and(state.close().map_err(|source| ControlPlaneError::State { path, source }))
    }
}

/// Starts one tool in the state folder.
async fn run(
    options: &ControlPlaneOptions,
    state: &Path,
    tool: Tool,
    arguments: Vec<String>,
) -> Result<Supervised, ControlPlaneError> {
    let name = tool.file_name();
    let program = Program {
        name,
        path: options.tools.path(tool),
        arguments: arguments.into_iter().map(Into::into).collect(),
        environment: Vec::new(),
    };
    Supervised::start(&program, state).await.map_err(|source| ControlPlaneError::Process { name, source })
}

/// A new folder that nobody else can read.
fn state_folder(options: &ControlPlaneOptions) -> Result<TempDir, ControlPlaneError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("serin-sandbox-");
    let parent = options.state_parent.clone().unwrap_or_else(std::env::temp_dir);
    builder.tempdir_in(&parent).map_err(|source| ControlPlaneError::State { path: parent, source })
}

/// Ports of this control plane alone, from before its processes start until it ends.
///
/// Each is bound by a socket that never listens. The processes bind it as well, which `SO_REUSEPORT` on both sides allows,
/// and nobody else gets it: neither before they start, nor while one of them is killed and started again.
struct HeldPorts {
    numbers: Ports,
    _sockets: [TcpSocket; 3],
}

impl HeldPorts {
    fn choose() -> io::Result<Self> {
        let held = || {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseport(true)?;
            socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
            Ok::<_, io::Error>((socket.local_addr()?.port(), socket))
        };
        let (etcd, etcd_peer, api_server) = (held()?, held()?, held()?);
        let numbers = Ports { etcd: etcd.0, etcd_peer: etcd_peer.0, api_server: api_server.0 };
        Ok(Self { numbers, _sockets: [etcd.1, etcd_peer.1, api_server.1] })
    }
}

fn url(ports: Ports) -> String {
    format!("https://127.0.0.1:{}", ports.api_server)
}

/// Writes keys, certificates and the kubeconfig; returns the latter's content.
fn write_state(state: &Path, ports: Ports, audit: Audit) -> Result<String, ControlPlaneError> {
    let authority = Authority::generate()?;
    let server = authority.server()?;
    let tokens = TokenKeys::generate()?;
    let kubeconfig =
        kubeconfig::render(&url(ports), &authority.certificate(), &authority.administrator("serin-sandbox")?);
    write(state, file::AUTHORITY, &authority.certificate())?;
    write(state, file::SERVER_CERTIFICATE, &server.certificate)?;
    write(state, file::SERVER_KEY, &server.key)?;
    write(state, file::TOKEN_KEY, &tokens.private)?;
    write(state, file::TOKEN_PUBLIC_KEY, &tokens.public)?;
    write(state, file::KUBECONFIG, &kubeconfig)?;
    if audit == Audit::Requests {
        write(state, file::AUDIT_POLICY, arguments::AUDIT_POLICY)?;
    }
    Ok(kubeconfig)
}

fn write(state: &Path, name: &str, content: &str) -> Result<(), ControlPlaneError> {
    let path = state.join(name);
    fs::write(&path, content).map_err(|source| ControlPlaneError::State { path, source })
}

/// Waits until the process accepts connections.
async fn wait_listening(process: &mut Supervised, address: SocketAddr) -> Result<(), ControlPlaneError> {
    poll(process, READY_DEADLINE, || async move {
        tokio::net::TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string())
    })
    .await
}

/// Waits until the API server answers `ok` to `/readyz`.
async fn wait_api_server(
    process: &mut Supervised,
    client: &Client,
    deadline: Duration,
) -> Result<(), ControlPlaneError> {
    poll(process, deadline, || async {
        let request =
            axum::http::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
        client.request_text(request).await.map(drop).map_err(|error| error.to_string())
    })
    .await
}

/// Waits until the controllers act, which the default service account shows.
async fn wait_controllers(process: &mut Supervised, client: &Client) -> Result<(), ControlPlaneError> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    poll(process, READY_DEADLINE, || async {
        accounts.get_metadata("default").await.map(drop).map_err(|error| error.to_string())
    })
    .await
}

/// Asks until the answer is `Ok`, the process ended, or the deadline passed.
async fn poll<F: Future<Output = Result<(), String>>>(
    process: &mut Supervised,
    deadline: Duration,
    ask: impl Fn() -> F,
) -> Result<(), ControlPlaneError> {
    let mut seen = "no answer".to_owned();
    let asked = timeout(deadline, async {
        loop {
            let answer = timeout(POLL_TIMEOUT, ask()).await.unwrap_or_else(|_| Err("no answer".to_owned()));
            let Err(reason) = answer else { return Ok(()) };
            seen = reason;
            match process.ended() {
                Ok(None) => sleep(POLL).await,
                Ok(Some(status)) => return Err(ControlPlaneError::ended(process, status)),
                Err(source) => return Err(ControlPlaneError::Process { name: process.name(), source }),
            }
        }
    })
    .await;
    asked.unwrap_or_else(|_| Err(ControlPlaneError::not_ready(process, deadline, &seen)))
}
