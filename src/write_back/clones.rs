//! Clones of repositories, one piece of work at a time for each: what blocks runs beside everything else, and not for ever. Whoever
//! finds a repository busy comes back, and holds nobody up meanwhile.
//!
//! libgit2 waits for a silent server as long as the connection stands. Such a call is left to itself, and the next one gets a
//! clone of its own; after some of them the process ends, which loses nothing, as Git is the record.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::{Mutex as Turn, Notify};
use tokio::time::timeout;
use tracing::warn;

use super::credentials::Credentials;
use super::repository::{Failure, Repository};

/// How long one piece of work may take: a large repository is cloned first.
const PATIENCE: Duration = Duration::from_mins(15);
/// Calls that may be left to themselves.
const MOST_LEFT: usize = 4;

/// The clones of this process.
pub(crate) struct Clones {
    scratch: TempDir,
    /// By address: whose turn it is, with the number of the clone.
    turns: Mutex<HashMap<String, Arc<Turn<usize>>>>,
    made: AtomicUsize,
    /// Calls that are left to themselves now.
    left: Arc<AtomicUsize>,
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
            left: Arc::default(),
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
        self.with_patience(PATIENCE, url, credentials, work).await
    }

    async fn with_patience<T: Send + 'static>(
        &self,
        patience: Duration,
        url: &str,
        credentials: Credentials,
        work: impl FnOnce(&Repository) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = Arc::clone(
            self.turns().entry(url.to_owned()).or_insert_with(|| Arc::new(Turn::new(self.next()))),
        );
        let Ok(mut number) = turn.try_lock() else { return Err(Failure::busy()) };
        let (folder, address) = (self.folder(*number), url.to_owned());
        let is_left = Arc::new(AtomicBool::new(false));
        let job = tokio::task::spawn_blocking({
            let (folder, is_left, left) = (folder.clone(), Arc::clone(&is_left), Arc::clone(&self.left));
            move || {
                let done = Repository::open(&folder, &address, credentials).and_then(|clone| work(&clone));
                if is_left.load(Ordering::Relaxed) {
                    // Nobody works on it any more. An error leaves it to the end of the process.
                    drop(std::fs::remove_dir_all(&folder));
                    left.fetch_sub(1, Ordering::Relaxed);
                }
                done
            }
        });
        let failure = match timeout(patience, job).await {
            Ok(Ok(Ok(done))) => return Ok(done),
            Ok(Ok(Err(failure))) if !failure.is_of_clone => return Err(failure),
            Ok(Ok(Err(failure))) => failure,
            Ok(Err(defect)) => Failure::of_clone(&format!("a defect: {defect}")),
            Err(_) => {
                is_left.store(true, Ordering::Relaxed);
                *number = self.next();
                self.leave(url);
                return Err(Failure::new(format!(
                    "{url} did not answer within {} minutes",
                    patience.as_secs() / 60
                )));
            }
        };
        // The clone may be damaged; a new one is but slower.
        *number = self.next();
        drop(tokio::fs::remove_dir_all(folder).await);
        Err(failure)
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn whoever_finds_a_repository_busy_comes_back() {
        let clones = Arc::new(Clones::new().unwrap());
        let (begun, has_begun) = mpsc::channel();
        let (end, may_end) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let clones = Arc::clone(&clones);
            async move {
                let work = move |_: &Repository| {
                    begun.send(()).unwrap();
                    may_end.recv().unwrap();
                    Ok(1)
                };
                clones.with("a", Credentials::None, work).await
            }
        });
        tokio::task::spawn_blocking(move || has_begun.recv().unwrap()).await.unwrap();
        assert!(clones.with("a", Credentials::None, |_| Ok(())).await.unwrap_err().is_busy);
        assert_eq!(clones.with("b", Credentials::None, |_| Ok(2)).await, Ok(2));
        end.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(1));
        assert_eq!(clones.with("a", Credentials::None, |_| Ok(3)).await, Ok(3));
    }

    #[tokio::test]
    async fn calls_that_do_not_end_are_left_and_after_some_of_them_the_process_ends() {
        let clones = Clones::new().unwrap();
        let mut ends = Vec::new();
        for _ in 0..MOST_LEFT {
            let (end, may_end) = mpsc::channel::<()>();
            ends.push(end);
            let work = move |_: &Repository| {
                // An error means that the test is over.
                let _ = may_end.recv();
                Ok(())
            };
            let left = clones.with_patience(Duration::ZERO, "a", Credentials::None, work).await;
            assert!(left.unwrap_err().why.contains("did not answer"));
        }
        clones.exhausted.notified().await;
        assert_eq!(clones.with("a", Credentials::None, |_| Ok(1)).await, Ok(1));
    }

    #[tokio::test]
    async fn a_clone_that_is_in_the_way_is_made_again() {
        let clones = Clones::new().unwrap();
        let failed =
            clones.with("a", Credentials::None, |_| Err::<(), _>(Failure::of_clone("damaged"))).await;
        assert!(failed.unwrap_err().why.contains("damaged"));
        assert!(!clones.folder(0).exists());
        assert_eq!(clones.with("a", Credentials::None, |_| Ok(())).await, Ok(()));
        assert!(clones.folder(1).exists());
    }
}
