//! What can go wrong with the processes of a control plane, each with the words that help.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use super::super::process::Supervised;

/// Lines of a process' log in an error message.
const QUOTED_LINES: usize = 12;

/// Why a control plane does not run.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    /// The state folder cannot be written.
    #[error("writing {} for the sandbox", .path.display())]
    State {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// No free port on loopback.
    #[error("looking for a free port on 127.0.0.1")]
    Port(#[source] io::Error),
    /// No certificates.
    #[error("making the certificates of the sandbox")]
    Certificates(#[from] rcgen::Error),
    /// A process cannot be started or signalled.
    #[error("running {name}")]
    Process {
        /// The program.
        name: &'static str,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// A process ended by itself.
    #[error("{name} ended by itself ({status}); its last lines:\n{last_lines}")]
    Ended {
        /// The program.
        name: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        last_lines: String,
    },
    /// A process runs but does not become usable.
    #[error("{name} not ready after {} s ({seen}); its last lines:\n{last_lines}", .waited.as_secs())]
    NotReady {
        /// The program.
        name: &'static str,
        /// How long was waited.
        waited: Duration,
        /// The last answer.
        seen: String,
        /// The end of its log.
        last_lines: String,
    },
    /// The client's configuration is not usable.
    #[error("reading the kubeconfig of the sandbox")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// No client for the API server.
    #[error("making a client for the sandbox")]
    Client(#[source] kube::Error),
}

impl ControlPlaneError {
    /// A process that ended although nobody asked it to.
    pub(super) fn ended(process: &Supervised, status: ExitStatus) -> Self {
        Self::Ended { name: process.name(), status, last_lines: process.last_lines(QUOTED_LINES) }
    }

    /// A process that is still not usable after `waited`.
    pub(super) fn not_ready(process: &Supervised, waited: Duration, seen: &str) -> Self {
        let (name, seen, last_lines) = (process.name(), seen.to_owned(), process.last_lines(QUOTED_LINES));
        Self::NotReady { name, waited, seen, last_lines }
    }
}
