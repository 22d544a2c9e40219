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

/// Parses a duration such as `15s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected a duration such as 15s or 1m30s".to_owned())
}
