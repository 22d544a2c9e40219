//! `docs/getting-started.md` as its readers follow it: its commands, in its order, in a real shell with a real kubectl, a real Helm
//! and the real plugin.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Api;
use kube::api::ListParams;
use serin::api::Rollout;
use serin::controller::{self, LeaderElection, Options};
use serin::providers::HostOverride;
use serin::sandbox::tools::ToolPlaces;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::chart::Cluster;
use crate::pages::{Page, root};
use crate::stub_prometheus::{Answer, StubPrometheus};
use crate::{pinned, rights};

/// The page whose commands are run.
const GUIDE: &str = "docs/getting-started.md";
/// Where the page installs the controller.
const NAMESPACE: &str = "serin";
/// Where the page says that Prometheus is.
const PROMETHEUS: (&str, u16) = ("prometheus.monitoring.svc.cluster.local", 9090);
/// The longest that the commands of one mark may take: those that are judged wait for a window of a minute.
const PATIENCE: Duration = Duration::from_mins(5);

/// A reader: a folder with the charts, and the programs that the page asks for.
struct Reader {
    folder: TempDir,
    kubeconfig: PathBuf,
}

impl Reader {
    fn new(kubeconfig: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        symlink(root().join("charts"), folder.path().join("charts")).unwrap();
        Self { folder, kubeconfig: kubeconfig.to_owned() }
    }

    /// The programs of the page before all others.
    fn programs() -> OsString {
        let plugin = Path::new(env!("CARGO_BIN_EXE_kubectl-serin")).parent().unwrap().to_owned();
        let helm = pinned::program("helm").parent().unwrap().to_owned();
        let tools = ToolPlaces::from_environment().folder().unwrap();
        let others = std::env::var_os("PATH").unwrap_or_default();
        std::env::join_paths([plugin, helm, tools].into_iter().chain(std::env::split_paths(&others))).unwrap()
    }

    /// Runs the blocks with this mark; whether all of their commands succeeded, and what they said.
    async fn run(&self, mark: &str) -> (bool, String) {
        let blocks = Page::read(GUIDE).blocks();
        let marked = blocks.into_iter().filter(|block| block.mark.as_deref() == Some(mark));
        let script: String = marked.map(|block| block.text).collect();
        assert!(!script.is_empty(), "{GUIDE} has no block marked {mark}");
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &script]).current_dir(self.folder.path());
        command.env("PATH", Self::programs()).env("KUBECONFIG", &self.kubeconfig).kill_on_drop(true);
        for place in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(place, self.folder.path().join("helm"));
        }
        let ended = timeout(PATIENCE, command.env_remove("HELM_NAMESPACE").output()).await;
        let output = ended.unwrap_or_else(|_| panic!("not done in {PATIENCE:?}:\n{script}")).unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.success(), said.concat())
    }

    /// Runs blocks that must succeed.
    async fn follow(&self, mark: &str) -> String {
        let (succeeded, said) = self.run(mark).await;
        assert!(succeeded, "{mark}: {said}");
        said
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_guide_promote_a_canary_and_take_a_bad_one_back() {
    let cluster = Cluster::start().await;
    let reader = Reader::new(&cluster.control_plane.kubeconfig_path());
    reader.follow("install").await;

    // The pods of the virtual node run no image: the controller that they stand for is in this process.
    rights::until_in_force(&cluster.client, NAMESPACE).await;
    let prometheus = StubPrometheus::start(Answer::Value(0.7));
    let (host, port) = PROMETHEUS;
    let options = Options {
        leader_election: Some(LeaderElection::in_namespace(NAMESPACE)),
        resolve: vec![HostOverride { host: host.to_owned(), port, to: prometheus.address() }],
        ..Options::default()
    };
    let config = rights::config(cluster.control_plane.config(), NAMESPACE);
    let controller = tokio::spawn(controller::run(config, options, std::future::pending::<()>()));

    let said = reader.follow("canary").await;
    assert!(said.contains("Rollout 'web' is paused at step 2 of 2 (pause)"), "{said}");

    reader.follow("judged").await;
    let (succeeded, said) = reader.run("taken-back").await;
    assert!(!succeeded, "{said}");
    assert!(
        said.contains("Metric \"success-rate\" assessed Failed due to failed (1) > failureLimit (0)"),
        "{said}"
    );

    reader.follow("away").await;
    let rollouts: Api<Rollout> = Api::all(cluster.client.clone());
    // The kind is still served.
    assert!(rollouts.list(&ListParams::default()).await.unwrap().items.is_empty());
    controller.abort();
    cluster.control_plane.stop().await.unwrap();
}
