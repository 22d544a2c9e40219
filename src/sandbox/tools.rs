//! Where the tools of the sandbox are: etcd, the API server and its companions, as `make control-plane` leaves them.
//!
//! The folder is `$SERIN_CACHE/tools/<key>`, where the key is a hash of the module files that pin the versions, so that
//! every clone with the same versions shares one build. `tests/cluster/build.sh` computes the same key; it alone builds,
//! judges versions and links what `PATH` offers. Nothing here starts a process.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Args, Command, FromArgMatches};

/// The module files that pin the versions, in the order in which `build.sh` hashes them.
const MODULE_FILES: [&str; 3] = [
    include_str!("../../tests/cluster/go.mod"),
    include_str!("../../tests/cluster/etcd/go.mod"),
    include_str!("../../tests/cluster/prometheus/go.mod"),
];

/// Bytes of the hash that the folder is named after; 64 bits tell every version apart that a machine will ever see.
const KEY_BYTES: usize = 8;

/// A program that the sandbox runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The store of the API server.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers of ReplicaSets, namespaces, garbage and so on.
    ControllerManager,
    /// The command-line client, for people and for tests of plugins.
    Kubectl,
    /// The Prometheus server that scrapes the demo workload.
    Prometheus,
}

impl Tool {
    /// Every tool, in the order in which they are built.
    pub const ALL: [Self; 5] =
        [Self::Etcd, Self::ApiServer, Self::ControllerManager, Self::Kubectl, Self::Prometheus];

    /// The name of the program file.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Prometheus => "prometheus",
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.file_name())
    }
}

/// Why the tools cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ToolsError {
    /// At least one program is not in the folder.
    #[error("{} not found in {}; build what is missing with `make control-plane`", names(.missing), .folder.display())]
    Missing {
        /// What is missing, in building order.
        missing: Vec<Tool>,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// There is neither a folder given nor a cache or home folder to look in.
    #[error("no folder to look for etcd and kube-apiserver in: set SERIN_TOOLS, SERIN_CACHE or HOME")]
    NoFolder,
}

fn names(tools: &[Tool]) -> String {
    tools.iter().map(|tool| tool.file_name()).collect::<Vec<_>>().join(", ")
}

/// Where to look for the tools: options of the commands that need them, each with its environment variable.
#[derive(Args, Clone, Debug, Default)]
pub struct ToolPlaces {
    /// Folder with etcd, kube-apiserver, kube-controller-manager, kubectl and prometheus [default: what `make
    /// control-plane` built]
    #[arg(long, env = "SERIN_TOOLS", value_name = "FOLDER", hide_env_values = true)]
    pub tools: Option<PathBuf>,
    /// Folder of Serin's own cache.
    #[arg(long, env = "SERIN_CACHE", value_name = "FOLDER", hide = true)]
    pub cache: Option<PathBuf>,
    /// The user's cache folder.
    #[arg(long, env = "XDG_CACHE_HOME", value_name = "FOLDER", hide = true)]
    pub user_cache: Option<PathBuf>,
    /// The user's home folder.
    #[arg(long, env = "HOME", value_name = "FOLDER", hide = true)]
    pub home: Option<PathBuf>,
}

impl ToolPlaces {
    /// What the environment alone says, for programs without a command line of their own: tests and benchmarks.
    #[must_use]
    pub fn from_environment() -> Self {
        let matches = Self::augment_args(Command::new("serin")).get_matches_from(["serin"]);
        Self::from_arg_matches(&matches).unwrap_or_default()
    }

    /// The folder of the tools; `None` when nothing says where it would be. It need not exist.
    #[must_use]
    pub fn folder(&self) -> Option<PathBuf> {
        let given = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        if let Some(tools) = given(&self.tools) {
            return Some(tools);
        }
        let cache = given(&self.cache)
            .or_else(|| given(&self.user_cache).map(|cache| cache.join("serin")))
            .or_else(|| given(&self.home).map(|home| home.join(".cache").join("serin")))?;
        Some(cache.join("tools").join(key()))
    }
}

/// A folder in which every tool that was asked for exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Looks for the `needed` tools.
    ///
    /// # Errors
    /// [`ToolsError::Missing`] names every tool that is not there and the command that builds it.
    pub fn locate(places: &ToolPlaces, needed: &[Tool]) -> Result<Self, ToolsError> {
        let folder = places.folder().ok_or(ToolsError::NoFolder)?;
        let missing: Vec<Tool> =
            needed.iter().copied().filter(|tool| !folder.join(tool.file_name()).is_file()).collect();
        if missing.is_empty() { Ok(Self { folder }) } else { Err(ToolsError::Missing { missing, folder }) }
    }

    /// The program file of a tool.
    #[must_use]
    pub fn path(&self, tool: Tool) -> PathBuf {
        self.folder.join(tool.file_name())
    }

    /// The folder that holds the tools, for a `PATH` that people type `kubectl` into.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The name of the folder for the pinned versions: 16 hexadecimal digits.
fn key() -> String {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    for file in MODULE_FILES {
        hash.update(file.as_bytes());
    }
    let digest = hash.finish();
    digest.as_ref().iter().take(KEY_BYTES).fold(String::new(), |key, byte| key + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_script_and_the_sandbox_agree_on_the_folder() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/build.sh");
        let output = std::process::Command::new(script)
            .arg("--print-dir")
            .env("SERIN_CACHE", "/cache")
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let places = ToolPlaces { cache: Some("/cache".into()), ..ToolPlaces::default() };
        assert_eq!(places.folder(), Some(PathBuf::from(printed.trim_end())));
    }

    #[test]
    fn a_given_folder_wins_over_every_cache() {
        let places = ToolPlaces {
            tools: Some("/tools".into()),
            cache: Some("/cache".into()),
            user_cache: Some("/user".into()),
            home: Some("/home".into()),
        };
        assert_eq!(places.folder(), Some(PathBuf::from("/tools")));
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let places =
            ToolPlaces { user_cache: Some("".into()), home: Some("/home/u".into()), ..ToolPlaces::default() };
        let folder = places.folder().unwrap();
        assert!(folder.starts_with("/home/u/.cache/serin/tools"), "{folder:?}");
    }

    #[test]
    fn every_missing_tool_is_named_together_with_the_command_that_builds_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("etcd"), "").unwrap();
        let places = ToolPlaces { tools: Some(folder.path().into()), ..ToolPlaces::default() };
        let error =
            Tools::locate(&places, &[Tool::Etcd, Tool::ApiServer, Tool::Kubectl]).unwrap_err().to_string();
        assert!(error.starts_with("kube-apiserver, kubectl not found in "), "{error}");
        assert!(error.ends_with("`make control-plane`"), "{error}");
    }
}
