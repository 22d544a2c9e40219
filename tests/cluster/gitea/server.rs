//! A real Gitea: one process with a database, an API, and Git over HTTP and SSH, on addresses of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use serin::sandbox::process::{Program, Supervised};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};

use super::api::Api;
use super::repository::Repository;
use crate::pinned;
use crate::shared::{DEADLINE, own_addresses};

/// Who owns every repository.
pub(crate) const USER: &str = "shop";
/// What they sign in with.
pub(crate) const PASSWORD: &str = "correct-horse";
/// Between two attempts to reach it.
const POLL: Duration = Duration::from_millis(50);
/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// The process, which ends when this is dropped.
pub(crate) struct Gitea {
    process: Option<Supervised>,
    api: Api,
    ssh: SocketAddr,
    // Dropped after the process, which writes into it.
    state: TempDir,
}

impl Gitea {
    /// Starts it with one user and no repository.
    pub(crate) async fn start() -> Self {
        let [http, ssh] = own_addresses();
        let state = TempDir::new().unwrap();
        let host_key = state.path().join("host-key");
        generate_key(&host_key);
        std::fs::write(state.path().join("app.ini"), configuration(state.path(), http, ssh)).unwrap();
        create_user(state.path());
        let mut gitea = Self { process: None, api: Api::new(format!("http://{http}")), ssh, state };
        gitea.start_again().await;
        gitea
    }

    /// Starts it after [`Gitea::stop`], with what it had, where it was.
    pub(crate) async fn start_again(&mut self) {
        let program = program(self.state.path(), &["web"]);
        let mut process = Supervised::start(&program, self.state.path()).await.unwrap();
        let reachable = async {
            let mut pause = interval(POLL);
            while !self.api.is_up().await || TcpStream::connect(self.ssh).await.is_err() {
                pause.tick().await;
            }
        };
        let reached = timeout(DEADLINE, reachable).await;
        let ended = process.ended().unwrap();
        assert!(reached.is_ok() && ended.is_none(), "Gitea ({ended:?}): {}", process.last_lines(10));
        self.process = Some(process);
    }

    /// Stops it: nothing answers at its addresses.
    pub(crate) async fn stop(&mut self) {
        self.process.take().unwrap().stop(PATIENCE).await.unwrap();
    }

    /// A new repository with these files on its branch `main`, each by its path; without files it has no branch.
    pub(crate) async fn repository(&self, name: &str, files: &[(&str, &str)]) -> Repository {
        self.api.post("user/repos", &json!({"name": name, "default_branch": "main"})).await;
        let repository = Repository::new(self.api.clone(), name, self.ssh, self.known_hosts());
        if !files.is_empty() {
            repository.commit("main", files, "Begin").await;
        }
        repository
    }

    /// A new token of the user, by a name that it is revoked by. Scopes are Gitea's, as `write:repository`.
    pub(crate) async fn token(&self, name: &str, scopes: &[&str]) -> String {
        let made = self.api.post(&tokens(), &json!({"name": name, "scopes": scopes})).await;
        made["sha1"].as_str().unwrap().to_owned()
    }

    /// Takes a token back: whoever still has it is refused.
    pub(crate) async fn revoke(&self, name: &str) {
        self.api.delete(&format!("{}/{name}", tokens())).await;
    }

    /// What SSH writes down of a server that it knows: the address and the host key.
    fn known_hosts(&self) -> String {
        let key = std::fs::read_to_string(self.state.path().join("host-key.pub")).unwrap();
        format!("[{}]:{} {key}", self.ssh.ip(), self.ssh.port())
    }
}

/// Writes a key without a passphrase, and its public half beside it.
pub(crate) fn generate_key(path: &Path) {
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(path)
        .output()
        .expect("ssh-keygen is missing; install it with `sudo apt-get install openssh-client`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn tokens() -> String {
    format!("users/{USER}/tokens")
}

/// One user, before the first start.
fn create_user(folder: &Path) {
    let email = format!("--email={USER}@example.com");
    let (user, password) = (format!("--username={USER}"), format!("--password={PASSWORD}"));
    let user =
        ["admin", "user", "create", "--admin", "--must-change-password=false", &user, &password, &email];
    for arguments in [&["migrate"][..], &user] {
        let Program { path, arguments, environment, .. } = program(folder, arguments);
        let output =
            Command::new(path).args(arguments).envs(environment).current_dir(folder).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "Gitea: {}", String::from_utf8_lossy(&said));
    }
}

/// Gitea's binary with every file that it writes in the folder.
fn program(folder: &Path, arguments: &[&str]) -> Program {
    let folder = folder.display();
    let config = format!("--config={folder}/app.ini");
    let arguments = arguments.iter().copied().chain([config.as_str()]).map(Into::into).collect();
    let environment = vec![
        ("GITEA_WORK_DIR", folder.to_string()),
        ("HOME", folder.to_string()),
        ("TMPDIR", folder.to_string()),
    ];
    Program { name: "gitea", path: pinned::program("gitea"), arguments, environment }
}

/// What it is configured with: it asks nobody, and hashes passwords as fast as it can.
fn configuration(folder: &Path, http: SocketAddr, ssh: SocketAddr) -> String {
    include_str!("app.ini")
        .replace("@folder@", &folder.display().to_string())
        .replace("@http-host@", &http.ip().to_string())
        .replace("@http-port@", &http.port().to_string())
        .replace("@ssh-host@", &ssh.ip().to_string())
        .replace("@ssh-port@", &ssh.port().to_string())
}
