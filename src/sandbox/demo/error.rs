//! Why the demo ended early.

use std::io;
use std::time::Duration;

use crate::sandbox::manifests::ManifestError;

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Something else happened than was told.
    #[error("the demo expected that {told}, but {seen}")]
    Unexpected {
        /// What should have happened.
        told: &'static str,
        /// What happened.
        seen: String,
    },
    /// Nothing happened in time.
    #[error("the demo expected that {told}; not after {} s; last seen: {seen}", .waited.as_secs())]
    TooLate {
        /// What should have happened.
        told: &'static str,
        /// How long was waited.
        waited: Duration,
        /// The state of the rollout.
        seen: String,
    },
    /// The sandbox sends no requests, so there is nothing to judge.
    #[error("the demo needs traffic")]
    NoTraffic,
    /// An object is refused.
    #[error("applying {object}")]
    Apply {
        /// Its kind and name.
        object: String,
        /// The API server's reason.
        #[source]
        source: kube::Error,
    },
    /// An embedded manifest is damaged.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The output is gone.
    #[error("writing the output")]
    Output(#[from] io::Error),
}
