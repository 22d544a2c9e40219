//! Child processes that cannot outlive this one.
//!
//! Each child runs under a few lines of shell that hold the reading end of a pipe. Names of signals written to the pipe
//! are sent to the child; when the pipe closes, be it by [`Supervised`] being dropped or by this process being killed,
//! the shell kills the child and removes the state folder. The operating system closes the pipe, so a `SIGKILL` of this
//! process leaves nothing behind either. (`PR_SET_PDEATHSIG` would need `unsafe`, and it works on Linux only.)

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

/// `sh -c SUPERVISOR name <state folder> <log file> <program> <arguments>`: prints the child's process id, then obeys
/// its standard input. It ends with the child's status.
const SUPERVISOR: &str = r#"
state=$1 log=$2
shift 2
exec 3<&0 </dev/null
abandoned=
trap 'abandoned=yes; kill -s KILL "$child" 2>/dev/null' USR1
"$@" 3<&- >>"$log" 2>&1 &
child=$!
echo "$child"
exec >/dev/null 2>&1
{ while read -r signal; do kill -s "$signal" "$child"; done; kill -s USR1 $$; } <&3 3<&- &
watcher=$!
exec 3<&-
wait "$child"
status=$?
if [ -n "$abandoned" ]; then
  wait "$child"
  rm -rf -- "$state"
else
  kill "$watcher"
fi
exit "$status"
"#;

/// How long the shell may take to start a child; it only forks.
const SPAWN_DEADLINE: Duration = Duration::from_secs(20);

/// Bytes at the end of a log that an error message may quote.
const QUOTED_LOG_BYTES: usize = 8192;

/// What to run, and where its output goes.
#[derive(Clone, Debug)]
pub struct Program {
    /// Name for messages and for the log file, for example `kube-apiserver`.
    pub name: &'static str,
    /// The program file.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables added to the environment that it inherits.
    pub environment: Vec<(&'static str, String)>,
}

/// A signal for a child, by what it does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Asks it to end (`SIGTERM`).
    Terminate,
    /// Ends it at once, as a crash would (`SIGKILL`).
    Kill,
    /// Freezes it, as an overloaded machine would (`SIGSTOP`).
    Freeze,
    /// Lets it run again after [`Signal::Freeze`] (`SIGCONT`).
    Thaw,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Kill => "KILL",
            Self::Freeze => "STOP",
            Self::Thaw => "CONT",
        }
    }
}

/// A running child process. Dropping it kills the child and removes the state folder it was started with.
#[derive(Debug)]
pub struct Supervised {
    name: &'static str,
    process_id: u32,
    log: PathBuf,
    supervisor: Child,
    control: ChildStdin,
}

impl Supervised {
    /// Starts `program` with its working directory and its log, `<name>.log`, in the folder `state`; a log that is there
    /// is continued.
    ///
    /// # Errors
    /// When the shell does not start or says nothing. A program that cannot be executed shows as one that ended, with
    /// the reason in its log.
    pub async fn start(program: &Program, state: &Path) -> io::Result<Self> {
        let log = state.join(format!("{}.log", program.name));
        let mut supervisor = Command::new("/bin/sh")
            .args(["-c", SUPERVISOR, program.name])
            .arg(state)
            .arg(&log)
            .arg(&program.path)
            .args(&program.arguments)
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Control-C on the terminal is for us to act on, in our order.
            .process_group(0)
            .spawn()?;
        let (Some(control), Some(output)) = (supervisor.stdin.take(), supervisor.stdout.take()) else {
            return Err(io::Error::other("the shell has no pipes"));
        };
        let mut line = String::new();
        timeout(SPAWN_DEADLINE, BufReader::new(output).read_line(&mut line)).await??;
        let process_id =
            line.trim().parse().map_err(|_| io::Error::other(format!("the shell answered {line:?}")))?;
        Ok(Self { name: program.name, process_id, log, supervisor, control })
    }

    /// The name it was started with.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The process id of the program itself, for measurements.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process_id
    }

    /// The file that its output goes to.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.supervisor.try_wait()
    }

    /// Sends a signal. A child that ended meanwhile is no error.
    ///
    /// # Errors
    /// When the pipe fails in another way than by the child's end.
    pub async fn send(&mut self, signal: Signal) -> io::Result<()> {
        match self.control.write_all(format!("{}\n", signal.name()).as_bytes()).await {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// Waits until it has ended, however long that takes.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        // `Child::wait` closes a standard input that it still owns; ours was taken, so the pipe stays open.
        self.supervisor.wait().await
    }

    /// Asks it to end and waits for `patience`; then kills it.
    ///
    /// # Errors
    /// When the pipe or the operating system fails.
    pub async fn stop(mut self, patience: Duration) -> io::Result<ExitStatus> {
        self.send(Signal::Terminate).await?;
        if let Ok(status) = timeout(patience, self.wait()).await {
            return status;
        }
        self.send(Signal::Kill).await?;
        self.wait().await
    }

    /// The last lines of its log, at most `count`, for an error message.
    #[must_use]
    pub fn last_lines(&self, count: usize) -> String {
        last_lines(&std::fs::read(&self.log).unwrap_or_default(), count)
    }
}

fn last_lines(log: &[u8], count: usize) -> String {
    let tail = log.get(log.len().saturating_sub(QUOTED_LOG_BYTES)..).unwrap_or_default();
    let text = String::from_utf8_lossy(tail);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program {
            name: "sample",
            path: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("GREETING", "hello".to_owned())],
        }
    }

    /// Waits, with a deadline, until a fact about the file system holds; there is nothing to watch it with.
    async fn eventually(fact: impl Fn() -> bool) -> bool {
        let holds = async {
            while !fact() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), holds).await.is_ok()
    }

    fn runs(process_id: u32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    }

    #[tokio::test]
    async fn the_log_holds_the_output_and_the_status_is_the_childs() {
        let state = tempfile::tempdir().unwrap();
        let program = shell("echo $GREETING; echo trouble >&2; exit 7");
        let mut child = Supervised::start(&program, state.path()).await.unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(7));
        assert_eq!(child.last_lines(5), "hello\ntrouble");
        assert_eq!(child.last_lines(1), "trouble");
        assert!(state.path().exists());
    }

    #[tokio::test]
    async fn a_child_that_ignores_the_request_to_end_is_killed() {
        let state = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo deaf; while :; do sleep 1; done";
        let child = Supervised::start(&shell(script), state.path()).await.unwrap();
        assert!(eventually(|| child.last_lines(1) == "deaf").await);
        let process_id = child.process_id();
        let status = child.stop(Duration::from_millis(50)).await.unwrap();
        assert_eq!(status.code(), Some(128 + 9));
        assert!(!runs(process_id));
    }

    #[tokio::test]
    async fn closing_the_pipe_kills_the_child_and_removes_its_state() {
        let state = tempfile::tempdir().unwrap();
        let child = Supervised::start(&shell("exec sleep 600"), state.path()).await.unwrap();
        let process_id = child.process_id();
        assert!(runs(process_id));
        drop(child);
        assert!(eventually(|| !runs(process_id)).await);
        assert!(eventually(|| !state.path().exists()).await);
    }

    #[tokio::test]
    async fn a_program_that_does_not_exist_ends_with_the_reason_in_its_log() {
        let state = tempfile::tempdir().unwrap();
        let program = Program { path: "/nowhere/etcd".into(), ..shell("") };
        let mut child = Supervised::start(&program, state.path()).await.unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(127));
        assert!(child.last_lines(1).contains("/nowhere/etcd"), "{}", child.last_lines(1));
    }

    #[test]
    fn the_end_of_a_log_is_quoted_and_its_size_is_bounded() {
        assert_eq!(last_lines(b"a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines(b"", 2), "");
        assert_eq!(last_lines(&vec![b'x'; 100_000], 2).len(), QUOTED_LOG_BYTES);
    }
}
