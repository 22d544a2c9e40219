//! Clones of repositories, one after the other for each: what blocks runs beside everything else, and not for ever.
//!
//! libgit2 waits for a silent server as long as the connection stands. Such a call is left to itself, and the next one gets a
//! clone of its own; after too many of them the process ends, which loses nothing, as Git is the record.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::{Mutex as Turn, Notify};
use tokio::time::timeout;
use tracing::warn;

use super::credentials::Credentials;
use super::repository::{Failure, Repository};

/// How long one piece of work may take: a large repository is cloned first.
const PATIENCE: Duration = Duration::from_mins(5);
/// Calls that may be left to themselves.
const MOST_LEFT: usize = 16;

/// The clones of this process.
pub(crate) struct Clones {
    scratch: TempDir,
    /// By address: whose turn it is, with the number of the clone.
    turns: Mutex<HashMap<String, Arc<Turn<usize>>>>,
    made: AtomicUsize,
    left: AtomicUsize,
    /// Told once too many calls are left to themselves.
    pub(crate) exhausted: Notify,
}

impl Clones {
    /// Clones in a folder of their own, which goes with them.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            scratch: TempDir::with_prefix("serin-gitops-")?,
            turns: Mutex::default(),
            made: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
            exhausted: Notify::new(),
        })
    }

    /// Runs `work` on the clone of the repository at `url`, alone.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        url: &str,
        credentials: Credentials,
        work: impl FnOnce(&Repository) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = Arc::clone(
            self.turns().entry(url.to_owned()).or_insert_with(|| Arc::new(Turn::new(self.next()))),
        );
        let mut number = turn.lock().await;
        let (folder, address) = (self.folder(*number), url.to_owned());
        let job =
            tokio::task::spawn_blocking(move || work(&Repository::open(&folder, &address, credentials)?));
        match timeout(PATIENCE, job).await {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(failure))) => {
                if failure.is_of_clone {
                    // It may be damaged; a new one is but slower.
                    let old = self.folder(std::mem::replace(&mut *number, self.next()));
                    drop(tokio::fs::remove_dir_all(old).await);
                }
                Err(failure)
            }
            Ok(Err(defect)) => {
                *number = self.next();
                Err(Failure::of_clone(&format!("a defect: {defect}")))
            }
            Err(_) => {
                *number = self.next();
                self.leave(url);
                Err(Failure::new(format!("{url} did not answer within {} minutes", PATIENCE.as_secs() / 60)))
            }
        }
    }

    fn leave(&self, url: &str) {
        let left = self.left.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        warn!(url, left, "a call to a Git server did not end and is left to itself");
        if left >= MOST_LEFT {
            self.exhausted.notify_one();
        }
    }

    fn turns(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Turn<usize>>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> usize {
        self.made.fetch_add(1, Ordering::Relaxed)
    }

    fn folder(&self, number: usize) -> PathBuf {
        self.scratch.path().join(number.to_string())
    }
}
