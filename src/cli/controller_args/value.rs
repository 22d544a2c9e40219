//! Values of the controller's flags.

use std::time::Duration;

use clap::ValueEnum;

use crate::units::parse_duration;

/// A subset of the controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Only {
    /// AnalysisRuns only.
    Analysis,
}

/// Form of the observed generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Generation {
    /// A number.
    Integer,
    /// Text.
    String,
}

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
    pub(super) const fn filter(self) -> &'static str {
        match self {
            Self::Trace => "debug,gcp_auth=off,serin=trace",
            Self::Debug => "warn,gcp_auth=off,serin=debug",
            Self::Info => "warn,gcp_auth=off,serin=info",
            Self::Warn => "warn,gcp_auth=off",
            Self::Error => "error,gcp_auth=off",
        }
    }
}

/// Parses a duration such as `15s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected a duration such as 15s or 1m30s".to_owned())
}
