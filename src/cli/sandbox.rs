//! `serin sandbox` and `serin demo`: a cluster on this machine to play with, and the story that is told on it.

mod hints;

use std::fs;
use std::future::pending;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::Args;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;

use crate::controller::{self, Options, RunError};
use crate::providers::HostOverride;
use crate::sandbox::cluster::{ClusterError, ClusterOptions, LocalCluster};
use crate::sandbox::demo::screen::{Medium, Screen};
use crate::sandbox::demo::{self, DemoError, DemoOptions};
use crate::sandbox::manifests::{DemoManifests, ManifestError, Pace};
use crate::sandbox::prometheus;
use crate::sandbox::tools::{Tool, ToolPlaces, Tools, ToolsError};
use crate::sandbox::traffic::splits::RouteReference;
use crate::sandbox::traffic::{HIGHEST_RATE, TrafficOptions};
use crate::sandbox::workload::free_port;
use crate::view::{Line, Paint, Tone};

/// Threads that work: the sandbox' own load is small beside that of the API server.
const THREADS: usize = 2;
/// Image of the manifests that a user finds.
const FIRST_IMAGE: &str = "serin-demo:v1";
/// Title of the picture that the demo can write.
const PICTURE_TITLE: &str = "make demo: a bad version is taken back by itself, a good one is promoted";

/// Starts a Kubernetes control plane with a live workload and Prometheus on this machine, until Control-C.
#[derive(Args, Debug)]
pub struct SandboxArgs {
    /// Does not run the controller; for one that is started elsewhere, for example under a debugger.
    #[arg(long)]
    pub no_controller: bool,
    /// Sends the requests to this route in place of every Service, split by its weights: `<kind>/<name>` or
    /// `<kind>/<namespace>/<name>`, where the kind is virtualservice, ingress, traefikservice or trafficsplit. May be given
    /// several times.
    #[arg(long, value_name = "ROUTE")]
    pub route: Vec<RouteReference>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Shows the main job in about two minutes: a bad version is taken back by itself, a good one is promoted.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// How many times faster than written the pauses, intervals and query windows of the manifests are.
    #[arg(long, value_name = "TIMES", default_value = "20")]
    pub pace: NonZeroU32,
    /// Keeps the sandbox running at the end, until Control-C.
    #[arg(long)]
    pub keep: bool,
    /// Writes the chart as a picture.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Shows no colours.
    #[arg(long)]
    pub no_color: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What both commands start.
#[derive(Args, Debug)]
struct ClusterArgs {
    /// Requests per second, over all Services together; 0 for none.
    #[arg(long, default_value_t = TrafficOptions::default().rate, value_parser = clap::value_parser!(u32).range(0..=i64::from(HIGHEST_RATE)))]
    rate: u32,
    /// Decides which pods the requests go to.
    #[arg(long, default_value_t = TrafficOptions::default().seed)]
    seed: u64,
    /// What is logged, to standard error: a level, or a filter such as `serin=debug`.
    #[arg(long, value_name = "FILTER", default_value = "serin=error")]
    log: String,
    #[command(flatten)]
    tools: ToolPlaces,
}

/// Why a sandbox did not start, or a demo failed.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// Programs are missing.
    #[error(transparent)]
    Tools(#[from] ToolsError),
    /// The filter of the log cannot be read.
    #[error("cannot read the log filter")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The sandbox does not start or end.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The demo did not go as told.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// The controller ended.
    #[error("the controller ended by itself")]
    Controller(#[source] Option<RunError>),
    /// A user ended it.
    #[error("interrupted")]
    Interrupted,
    /// The manifests for the user cannot be rendered.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The picture cannot be written.
    #[error("cannot write {}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The operating system refuses threads, signals or output.
    #[error("cannot run here")]
    System(#[from] io::Error),
}

impl SandboxArgs {
    /// Runs until a signal.
    ///
    /// # Errors
    /// When something is missing, does not start, or ends by itself.
    pub fn run(self) -> Result<(), SandboxError> {
        let mut options = self.cluster.prepare()?;
        if let Some(traffic) = &mut options.traffic {
            traffic.routes.clone_from(&self.route);
        }
        let tools = options.tools.clone();
        let mut screen = Screen::new(io::stdout(), Medium::of_stdout(Paint::Colour));
        let session = async {
            let cluster = start(options, &mut screen).await?;
            let mut controller = (!self.no_controller).then(|| Controller::start(&cluster));
            let manifests = write_manifests(&cluster)?;
            screen.keep(hints::hints(&cluster, &tools, &manifests))?;
            match &mut controller {
                Some(controller) => Err(controller.ended().await),
                None => pending().await,
            }
        };
        match runtime()?.block_on(until_signal(session)) {
            Err(SandboxError::Interrupted) => Ok(()),
            outcome => outcome,
        }
    }
}

impl DemoArgs {
    /// Tells the story; succeeds when everything happened as told.
    ///
    /// # Errors
    /// When something is missing, does not start, or does not happen as told.
    pub fn run(self) -> Result<(), SandboxError> {
        let paint = if self.no_color { Paint::Plain } else { Paint::Colour };
        let options = self.cluster.prepare()?;
        runtime()?.block_on(until_signal(self.tell(options, paint)))
    }

    async fn tell(&self, options: ClusterOptions, paint: Paint) -> Result<(), SandboxError> {
        let mut screen = Screen::new(io::stdout(), Medium::of_stdout(paint));
        let tools = options.tools.clone();
        let cluster = start(options, &mut screen).await?;
        let mut controller = Controller::start(&cluster);
        let demo = demo::run(&cluster, DemoOptions { pace: Pace(self.pace) }, &mut screen);
        let history = tokio::select! {
            outcome = demo => outcome?,
            error = controller.ended() => return Err(error),
        };
        if let Some(path) = &self.svg {
            write_picture(path, &history.svg(PICTURE_TITLE))?;
        }
        if self.keep {
            let manifests = write_manifests(&cluster)?;
            screen.keep(hints::hints(&cluster, &tools, &manifests))?;
            return Err(controller.ended().await);
        }
        controller.stop().await?;
        Ok(cluster.stop().await?)
    }
}

impl ClusterArgs {
    /// Sets up the log and finds the programs.
    fn prepare(&self) -> Result<ClusterOptions, SandboxError> {
        let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(&self.log)?);
        // A second command in one process would find a log set up; it is as good.
        let _ = log.with_writer(io::stderr).try_init();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tools = Tools::locate(&self.tools, &Tool::ALL)?;
        let traffic = (self.rate > 0).then(|| TrafficOptions {
            rate: self.rate,
            seed: self.seed,
            ..TrafficOptions::default()
        });
        Ok(ClusterOptions { tools, traffic })
    }
}

/// Starts the sandbox and says what it does meanwhile.
async fn start(
    options: ClusterOptions,
    screen: &mut Screen<io::Stdout>,
) -> Result<LocalCluster, SandboxError> {
    let mut told = Ok(());
    let cluster = LocalCluster::start(options, |step| {
        if told.is_ok() {
            told = screen.say(Line::default().with(Tone::Faint, step.to_string()));
        }
    })
    .await?;
    told?;
    Ok(cluster)
}

/// The controller, in this process.
struct Controller {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Controller {
    fn start(cluster: &LocalCluster) -> Self {
        let (stop, stopped) = oneshot::channel();
        let prometheus = cluster.prometheus().address();
        let host = prometheus::CLUSTER_NAME.to_owned();
        let resolve = HostOverride { host, port: prometheus::PORT, to: prometheus };
        let options = Options { resolve: vec![resolve], ..Options::default() };
        let run = controller::run(cluster.control_plane().config(), options, async {
            // The sender's end is a request to stop as well.
            let _ = stopped.await;
        });
        Self { stop, task: tokio::spawn(run) }
    }

    /// Waits until it ends by itself, which it should not.
    async fn ended(&mut self) -> SandboxError {
        match (&mut self.task).await {
            Ok(outcome) => SandboxError::Controller(outcome.err()),
            Err(_) => SandboxError::Controller(None),
        }
    }

    async fn stop(self) -> Result<(), SandboxError> {
        // It may have ended by itself, which its outcome tells.
        let _ = self.stop.send(());
        match self.task.await {
            Ok(outcome) => outcome.map_err(|error| SandboxError::Controller(Some(error))),
            Err(_) => Err(SandboxError::Controller(None)),
        }
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()
}

/// Works until it is done, Control-C, or a request to end. What is running then is dropped, which ends every process.
async fn until_signal(work: impl Future<Output = Result<(), SandboxError>>) -> Result<(), SandboxError> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = work => outcome,
        _ = tokio::signal::ctrl_c() => Err(SandboxError::Interrupted),
        _ = terminate.recv() => Err(SandboxError::Interrupted),
    }
}

/// Writes the demo's manifests, as they are, for a user to apply.
fn write_manifests(cluster: &LocalCluster) -> Result<PathBuf, SandboxError> {
    let folder = cluster.control_plane().state_dir().join("demo");
    fs::create_dir_all(&folder)?;
    for (name, text) in DemoManifests::new(Pace::AS_WRITTEN, FIRST_IMAGE, free_port())?.files()? {
        fs::write(folder.join(name), text)?;
    }
    Ok(folder)
}

fn write_picture(path: &Path, picture: &str) -> Result<(), SandboxError> {
    fs::write(path, picture).map_err(|source| SandboxError::Picture { path: path.to_owned(), source })
}
