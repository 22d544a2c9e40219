//! A network of a test's own: a Linux network namespace, in which nothing but loopback exists and every address of the pods
//! is this machine's.
//!
//! Pods of a proxy need addresses that Kubernetes takes as endpoints, which are none of loopback's. In a namespace of its own
//! they can be anything without touching the machine, and every port is free. A process cannot move its threads into another
//! one, so the test runs this binary once more, inside, with its own name; what that prints and how it ends is the outcome.

use std::io::Read;
use std::process::{Command, Stdio};

/// Set in the process that runs inside.
const INSIDE: &str = "SERIN_TEST_OWN_NETWORK";
/// `sh -c SET_UP sh <program> <arguments>`
const SET_UP: &str = "ip link set lo up && ip address add 10.244.0.0/16 dev lo && exec \"$@\"";
/// The ways into a new network: as who may, and as anybody.
const WAYS: [&[&str]; 2] = [&["--net"], &["--net", "--user", "--map-root-user"]];

/// Runs `body` in a network of its own. `test` is the full name of the test that calls this.
pub(super) fn in_own_network(test: &str, body: impl AsyncFnOnce()) {
    if std::env::var_os(INSIDE).is_none() {
        return run_inside(test);
    }
    end_with_parent();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(body());
}

fn run_inside(test: &str) {
    let way = way_in();
    let mut inside = Command::new("unshare")
        .args(way)
        .args(["sh", "-c", SET_UP, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Held open until it has ended: it ends when this closes.
    let _alive = inside.stdin.take();
    let output = inside.wait_with_output().unwrap();
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "inside, {test} {}\n{told}\n{errors}", output.status);
    assert!(told.contains("1 passed"), "{test} is not the name of the test\n{told}");
    println!("{told}");
}

/// How to get into a network of one's own on this machine.
fn way_in() -> &'static [&'static str] {
    let mut refusals = Vec::new();
    for way in WAYS {
        match Command::new("unshare").args(way).args(["sh", "-c", SET_UP, "sh", "true"]).output() {
            Ok(output) if output.status.success() => return way,
            Ok(output) => refusals.push(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => refusals.push(format!("unshare: {error}")),
        }
    }
    panic!(
        "no network namespace of its own for this test:\n  {}\nIt needs unshare and ip (`sudo apt-get install --yes \
         util-linux iproute2`) and the right to use them: as root, or with user namespaces allowed (`sudo sysctl \
         kernel.apparmor_restrict_unprivileged_userns=0` on Ubuntu; in a container, `--security-opt seccomp=unconfined`)",
        refusals.join("\n  ")
    );
}

/// Ends this process, and with it all that it has started, when the one outside is gone.
fn end_with_parent() {
    std::thread::spawn(|| {
        // Nothing is ever written; it returns when the pipe closes.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
}
