//! A Git server as a team has one: a repository over HTTP that anybody may read, a branch that takes pushes with a token or
//! has rules, and pull requests. Git itself answers, through its own CGI program.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::git::git;

/// The program of Git that answers over HTTP.
const BACKEND: &str = "/usr/lib/git-core/git-http-backend";
/// The repository, by its owner and its name.
const REPOSITORY: &str = "shop/web";
/// The token that may push at first.
pub(crate) const TOKEN: &str = "push-token";
/// Largest push, in bytes.
const LARGEST: usize = 64 * 1024 * 1024;

/// The server; it ends when this is dropped.
pub(crate) struct GitServer {
    folder: TempDir,
    state: Arc<Mutex<Rules>>,
    /// Keeps the port while the server is away.
    held: TcpSocket,
    server: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// What the server lets others do, and what they have asked for.
struct Rules {
    root: PathBuf,
    url: String,
    token: String,
    pulls: Vec<Value>,
    /// Requests with which somebody began to push.
    pushes: usize,
    /// Dropped in place of an answer to a push that Git has taken already.
    loses_answers: bool,
}

impl GitServer {
    /// Starts it with an empty repository.
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let held = socket((Ipv4Addr::LOCALHOST, 0).into());
        let url = format!("http://{}", held.local_addr().unwrap());
        let rules = Rules {
            root: folder.path().to_owned(),
            url,
            token: TOKEN.to_owned(),
            pulls: vec![],
            pushes: 0,
            loses_answers: false,
        };
        let mut this = Self { folder, state: Arc::new(Mutex::new(rules)), held, server: None };
        let bare = this.bare();
        std::fs::create_dir_all(&bare).unwrap();
        git(&bare, &["init", "--quiet", "--bare", "--initial-branch=main"]);
        git(&bare, &["config", "http.receivepack", "true"]);
        this.come_back();
        this
    }

    /// The repository's folder, which people's clones push to.
    pub(crate) fn bare(&self) -> PathBuf {
        self.folder.path().join(format!("{REPOSITORY}.git"))
    }

    /// Its base address.
    pub(crate) fn base(&self) -> String {
        self.state.lock().unwrap().url.clone()
    }

    /// The address that the repository is cloned by.
    pub(crate) fn url(&self) -> String {
        format!("{}/{REPOSITORY}.git", self.base())
    }

    /// Takes another token from now on, and no other one.
    pub(crate) fn set_token(&self, token: &str) {
        token.clone_into(&mut self.state.lock().unwrap().token);
    }

    /// Loses the answers to pushes from now on, after it has taken them; or not any more.
    pub(crate) fn lose_answers(&self, loses: bool) {
        self.state.lock().unwrap().loses_answers = loses;
    }

    /// Pushes that were begun.
    pub(crate) fn pushes(&self) -> usize {
        self.state.lock().unwrap().pushes
    }

    /// The pull requests that were made.
    pub(crate) fn pulls(&self) -> Vec<Value> {
        self.state.lock().unwrap().pulls.clone()
    }

    /// Has a person close all pull requests.
    pub(crate) fn close_pulls(&self) {
        for pull in &mut self.state.lock().unwrap().pulls {
            pull["state"] = json!("closed");
        }
    }

    /// Takes no push to `main` from now on, whoever pushes.
    pub(crate) fn protect(&self) {
        use std::os::unix::fs::PermissionsExt;
        let hook = self.bare().join("hooks/pre-receive");
        let script = "#!/bin/sh\nwhile read -r old new ref; do\n  [ \"$ref\" != refs/heads/main ] || { echo 'main wants two reviews' >&2; exit 1; }\ndone\n";
        std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
        std::fs::write(&hook, script).unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Refuses every connection from now on.
    pub(crate) async fn go_away(&mut self) {
        let (end, ended) = self.server.take().unwrap();
        end.send(()).unwrap();
        ended.await.unwrap();
    }

    /// Answers again, at the same address.
    pub(crate) fn come_back(&mut self) {
        let listener = socket(self.held.local_addr().unwrap()).listen(128).unwrap();
        let (end, ending) = oneshot::channel::<()>();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&self.state));
        let server = axum::serve(listener, app).with_graceful_shutdown(async { drop(ending.await) });
        self.server = Some((end, tokio::spawn(async { server.await.unwrap() })));
    }
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

async fn answer(State(rules): State<Arc<Mutex<Rules>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, LARGEST).await.unwrap();
    let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
    if path == format!("/api/v1/repos/{REPOSITORY}/pulls") {
        return answer_pulls(&rules, &parts.method, &parts.headers, &body);
    }
    let pushes = path.ends_with("/git-receive-pack") || query == "service=git-receive-pack";
    if pushes && !is_allowed(&rules, &parts.headers) {
        let asks = [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")];
        return (StatusCode::UNAUTHORIZED, asks, "").into_response();
    }
    let (root, loses) = {
        let mut rules = rules.lock().unwrap();
        rules.pushes += usize::from(path.ends_with("/git-receive-pack"));
        (rules.root.clone(), rules.loses_answers)
    };
    let response = by_git(&root, &parts.method, [&path, &query], &parts.headers, &body).await;
    if loses && path.ends_with("/git-receive-pack") {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    response
}

/// Whether a request has the token, as a password or as forges want it.
fn is_allowed(rules: &Mutex<Rules>, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = rules.lock().unwrap().token.clone();
    let basic = given.strip_prefix("Basic ").and_then(|text| STANDARD.decode(text).ok());
    let password = basic.and_then(|text| Some(String::from_utf8(text).ok()?.split_once(':')?.1.to_owned()));
    password.as_deref() == Some(token.as_str()) || given == format!("token {token}")
}

async fn by_git(
    root: &Path,
    method: &Method,
    [path, query]: [&str; 2],
    headers: &HeaderMap,
    body: &Bytes,
) -> Response {
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut program = Command::new(BACKEND);
    program
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_USER", "git")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = program.spawn().expect("git-http-backend is missing; install git");
    let mut input = child.stdin.take().unwrap();
    let body = body.clone();
    // An error means that it has answered without reading all.
    let write = tokio::spawn(async move { drop(input.write_all(&body).await) });
    let output = child.wait_with_output().await.unwrap().stdout;
    write.await.unwrap();
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(value[..3].parse::<u16>().unwrap()),
            _ => response.header(name, value),
        };
    }
    response.body(Body::from(output[end + 4..].to_vec())).unwrap()
}

/// Pull requests as Gitea has them.
fn answer_pulls(rules: &Mutex<Rules>, method: &Method, headers: &HeaderMap, body: &Bytes) -> Response {
    if !is_allowed(rules, headers) {
        return (StatusCode::UNAUTHORIZED, json!({"message": "token is invalid"}).to_string())
            .into_response();
    }
    let mut rules = rules.lock().unwrap();
    if *method == Method::GET {
        let listed = rules.pulls.iter().map(as_told);
        return listed.collect::<Value>().to_string().into_response();
    }
    let mut pull: Value = serde_json::from_slice(body).unwrap();
    let is_same = |other: &&Value| other["head"] == pull["head"] && other["state"] == "open";
    if rules.pulls.iter().any(|other| is_same(&other)) {
        return (
            StatusCode::CONFLICT,
            json!({"message": "pull request already exists for these targets"}).to_string(),
        )
            .into_response();
    }
    let number = rules.pulls.len() + 1;
    pull["number"] = json!(number);
    pull["html_url"] = json!(format!("{}/{REPOSITORY}/pulls/{number}", rules.url));
    pull["state"] = json!("open");
    rules.pulls.push(pull.clone());
    (StatusCode::CREATED, as_told(&pull).to_string()).into_response()
}

/// A pull request with its branches as Gitea tells of them.
fn as_told(pull: &Value) -> Value {
    let mut told = pull.clone();
    for end in ["head", "base"] {
        told[end] = json!({"label": pull[end], "repo_id": 1});
    }
    told
}
