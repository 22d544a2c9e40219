//! Helm, as people run it: on the command line.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::pinned;

/// The chart of the controller.
pub(crate) fn chart() -> PathBuf {
    charts().join("serin")
}

/// The folder of all charts.
pub(crate) fn charts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts")
}

/// What Helm prints; its complaint when it refuses.
pub(crate) fn helm<S: AsRef<OsStr>>(arguments: &[S]) -> Result<String, String> {
    // What whoever runs the tests has set up for Helm is none of their business.
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(pinned::program("helm"));
    for place in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(place, home.path());
    }
    let output = command.args(arguments).env_remove("HELM_NAMESPACE").output().unwrap();
    let [printed, complaint] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap().trim().to_owned());
    if output.status.success() { Ok(printed) } else { Err(format!("{printed}\n{complaint}")) }
}

/// What the chart of the controller becomes as the release `serin` of a namespace.
pub(crate) fn render(namespace: &str, more: &[&str]) -> Result<String, String> {
    let chart = chart();
    // Helm has no cluster to ask, and what it takes for one is older than the chart allows.
    let own = ["template", "serin", chart.to_str().unwrap(), "--kube-version=1.33", "--namespace", namespace];
    helm(&[&own, more].concat())
}
