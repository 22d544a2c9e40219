//! What can go wrong, in one line each.

use std::io;

use thiserror::Error;

/// Why a command of the plugin failed.
#[derive(Debug, Error)]
pub enum PluginError {
    /// The arguments do not fit together.
    #[error("{0}")]
    Usage(String),
    /// There is no usable kubeconfig.
    #[error("cannot connect to a cluster: {0}")]
    Config(String),
    /// There is no such rollout.
    #[error("rollout '{name}' not found in namespace '{namespace}'")]
    NotFound {
        /// Its name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// The cluster does not know the API.
    #[error("{server} does not serve {kind} of argoproj.io/v1alpha1: are its CRDs installed?")]
    NoApi {
        /// URL of the API server.
        server: String,
        /// Plural name of the kind.
        kind: &'static str,
    },
    /// Nobody answers.
    #[error("cannot reach the API server at {server}: {why}")]
    Unreachable {
        /// URL of the API server.
        server: String,
        /// The innermost cause.
        why: String,
    },
    /// The API server refused.
    #[error("cannot {doing}: {why}")]
    Api {
        /// What was attempted, on which object.
        doing: String,
        /// The answer of the API server.
        why: String,
    },
    /// The command makes no sense on the rollout as it is.
    #[error("{0}")]
    Refused(String),
    /// The rollout was deleted while it was watched.
    #[error("rollout '{0}' was deleted")]
    Deleted(String),
    /// The rollout is degraded.
    #[error("The rollout is in a degraded state with message: {0}")]
    Degraded(String),
    /// The time to wait is over.
    #[error("rollout '{name}' is {standing} after {waited}: gave up waiting")]
    Timeout {
        /// Its name.
        name: String,
        /// Its phase.
        standing: String,
        /// How long it was waited for.
        waited: String,
    },
    /// Some of several objects failed; each was told on its own.
    #[error("{failed} of {all} rollouts failed")]
    Several {
        /// How many failed.
        failed: usize,
        /// How many were asked for.
        all: usize,
    },
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl PluginError {
    /// Whether nobody reads the output any more.
    #[must_use]
    pub fn is_closed_output(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
