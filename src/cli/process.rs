//! What every program that runs on has: a log, and signals that ask it to end.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line of text per entry.
    Text,
    /// A JSON object per entry.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Snapshots, and what the libraries do.
    Trace,
    /// Every effect.
    Debug,
    /// Every change of state.
    Info,
    /// What may need attention.
    #[value(alias = "warning")]
    Warn,
    /// What needs attention.
    #[value(aliases = ["fatal", "panic"])]
    Error,
}

impl LogLevel {
    /// The filter: libraries are heard only when they warn, and that for Google's tokens never, which logs what it is answered.
    const fn filter(self) -> &'static str {
        match self {
            Self::Trace => "debug,gcp_auth=off,serin=trace",
            Self::Debug => "warn,gcp_auth=off,serin=debug",
            Self::Info => "warn,gcp_auth=off,serin=info",
            Self::Warn => "warn,gcp_auth=off",
            Self::Error => "error,gcp_auth=off",
        }
    }
}

/// Begins the log, on standard error.
pub(super) fn start_log(level: LogLevel, format: LogFormat) {
    let filter = EnvFilter::new(level.filter());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    // An error means that a log exists already, as in tests.
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}

/// The signals that ask a process to end.
pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(super) async fn received(mut self) {
        tokio::select! { _ = self.terminate.recv() => {}, _ = self.interrupt.recv() => {} }
    }
}
