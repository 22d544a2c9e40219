//! Git, as a person of the shop runs it, with nothing that whoever runs the tests has set up.

use std::path::Path;
use std::process::Command;

/// Runs it in a folder; what it says, without the end of the line.
///
/// # Panics
/// When it fails; the message has what it said.
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    let person = ["-c", "user.name=shop", "-c", "user.email=shop@example.com", "-c", "commit.gpgSign=false"];
    let output = Command::new("git")
        .current_dir(folder)
        .args(person)
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .expect("git is missing; install it with `sudo apt-get install git`");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
