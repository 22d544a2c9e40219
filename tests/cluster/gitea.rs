//! Tests of a real forge: what a Gitea takes and refuses, and that our pull requests are ones that it understands.

mod api;
mod repository;
mod server;

use std::path::Path;
use std::process::Command;

use reqwest::Method;
use serin::analysis::Secret;
use serin::analysis::query::{HttpMethod, HttpRequest};
use serin::gitops::forge::{Answer, Created, Forge, Kind, Opened, Proposal, State};
use tempfile::TempDir;

use self::repository::{Access, Repository, Style};
use self::server::{Gitea, USER, generate_key};

/// What the token of a write-back may do.
const SCOPES: [&str; 1] = ["write:repository"];
/// What every repository starts with.
const FILES: [(&str, &str); 1] = [("web/rollout.yaml", "image: web:1\n")];

/// Commits a file on a fresh clone and pushes it to a branch, as an author of their own; what Git says when it cannot.
fn push(url: &str, branch: &str, content: &str, ssh: &str) -> Result<(), String> {
    let folder = TempDir::new().unwrap();
    let git = |arguments: &[&str]| git(folder.path(), arguments, ssh);
    git(&["clone", "--quiet", url, "."])?;
    std::fs::write(folder.path().join("web/rollout.yaml"), content).unwrap();
    git(&["commit", "--quiet", "--all", "--message", "Revert web"])?;
    git(&["push", "--quiet", "origin", &format!("HEAD:{branch}")])
}

/// The SSH client that Git uses: with one key, and for the server that it knows.
fn ssh(repository: &Repository, key: &Path) -> String {
    let known_hosts = key.with_extension("known");
    std::fs::write(&known_hosts, repository.known_hosts()).unwrap();
    let options = "-F /dev/null -o IdentitiesOnly=yes -o IdentityAgent=none -o StrictHostKeyChecking=yes";
    format!("ssh {options} -o UserKnownHostsFile={} -i {}", known_hosts.display(), key.display())
}

/// Runs Git with nothing that whoever runs the tests has set up.
fn git(folder: &Path, arguments: &[&str], ssh: &str) -> Result<(), String> {
    let output = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=serin", "-c", "user.email=serin@example.com", "-c", "commit.gpgSign=false"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_SSH_COMMAND", ssh)
        .output()
        .expect("git is missing; install it with `sudo apt-get install git`");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_with_a_token_is_taken_and_without_it_refused() {
    let mut gitea = Gitea::start().await;
    let repository = gitea.repository("web", &FILES).await;
    let token = gitea.token("write-back", &SCOPES).await;
    let reading = gitea.token("reader", &["read:repository"]).await;
    let url = repository.url_with(&token);

    push(&url, "main", "image: web:2\n", "").unwrap();
    assert_eq!(repository.file("main", "web/rollout.yaml").await, "image: web:2\n");
    let log = repository.log("main").await;
    let told: Vec<_> = log.iter().map(|commit| (commit.author.as_str(), commit.message.as_str())).collect();
    assert_eq!(told, [("serin", "Revert web"), (USER, "Begin")]);

    let refused = push(&repository.url(), "main", "image: web:3\n", "").unwrap_err();
    assert!(refused.contains("could not read Username"), "{refused}");
    let refused = push(&repository.url_with(&reading), "main", "image: web:3\n", "").unwrap_err();
    assert!(refused.contains("403"), "{refused}");
    gitea.revoke("write-back").await;
    let refused = push(&url, "main", "image: web:3\n", "").unwrap_err();
    assert!(refused.contains("Authentication failed"), "{refused}");

    let url = repository.url_with(&gitea.token("renewed", &SCOPES).await);
    gitea.stop().await;
    let refused = push(&url, "main", "image: web:3\n", "").unwrap_err();
    assert!(refused.contains("Failed to connect"), "{refused}");
    gitea.start_again().await;
    push(&url, "main", "image: web:3\n", "").unwrap();
    assert_eq!(repository.log("main").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_key_pushes_where_it_may_write() {
    let gitea = Gitea::start().await;
    let folder = TempDir::new().unwrap();
    for (name, access) in [("reading", Access::Read), ("writing", Access::Write)] {
        let repository = gitea.repository(name, &FILES).await;
        let key = folder.path().join(name);
        generate_key(&key);
        let public_key = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        repository.add_deploy_key(&public_key, access).await;

        let pushed = push(&repository.ssh_url(), "main", "image: web:2\n", &ssh(&repository, &key));
        let image = match access {
            Access::Write => {
                pushed.unwrap();
                "image: web:2\n"
            }
            Access::Read => {
                let refused = pushed.unwrap_err();
                assert!(refused.contains("write"), "{refused}");
                "image: web:1\n"
            }
        };
        assert_eq!(repository.file("main", "web/rollout.yaml").await, image);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protected_branch_refuses_a_push_and_takes_a_pull_request() {
    let gitea = Gitea::start().await;
    let repository = gitea.repository("web", &FILES).await;
    repository.protect("main").await;
    let token = gitea.token("write-back", &SCOPES).await;
    let url = repository.url_with(&token);
    let refused = push(&url, "main", "image: web:2\n", "").unwrap_err();
    assert!(refused.contains("protected branch"), "{refused}");
    push(&url, "serin/revert-web", "image: web:2\n", "").unwrap();

    let forge = Forge::new(Kind::Gitea, &repository.url(), None).unwrap();
    let proposal = proposal("serin/revert-web", "main");
    let Created::New(opened) = create(&forge, &token, &proposal).await else { panic!("there is one") };
    let [listed] = repository.pull_requests().await.try_into().unwrap();
    assert_eq!((listed.number, listed.state.as_str()), (opened.number, "open"));
    assert_eq!((listed.head, listed.base), (proposal.head, proposal.base));
    assert_eq!((listed.title, listed.body), (proposal.title, proposal.body));
    repository.merge(opened.number, Style::Squash).await;
    assert_eq!(repository.file("main", "web/rollout.yaml").await, "image: web:2\n");
    assert_eq!(repository.log("main").await.len(), 2);
    assert_eq!(repository.pull_requests().await[0].state, "merged");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_pull_requests_are_found_and_made_on_a_real_gitea() {
    let gitea = Gitea::start().await;
    let repository = gitea.repository("web", &FILES).await;
    let token = gitea.token("write-back", &SCOPES).await;
    let forge = Forge::new(Kind::Gitea, &repository.url(), None).unwrap();
    for base in ["main", "release/1"] {
        if base != "main" {
            repository.branch(base).await;
        }
        let proposal = proposal(&format!("serin/revert-web-{}", base.len()), base);
        repository.branch(&proposal.head).await;
        repository.commit(&proposal.head, &[("web/rollout.yaml", "image: web:2\n")], "Revert web").await;
        assert_eq!(find(&forge, &token, &proposal).await, None);

        let Created::New(first) = create(&forge, &token, &proposal).await else { panic!("there is one") };
        assert_eq!(first.state, State::Open);
        assert_eq!(create(&forge, &token, &proposal).await, Created::Exists);
        assert_eq!(find(&forge, &token, &proposal).await, Some(first.clone()));
        repository.close(first.number).await;
        assert_eq!(find(&forge, &token, &proposal).await, Some(Opened { state: State::Closed, ..first }));

        // A branch of the same name, once more.
        let Created::New(second) = create(&forge, &token, &proposal).await else { panic!("there is one") };
        assert_eq!(find(&forge, &token, &proposal).await, Some(second.clone()));
        repository.merge(second.number, Style::Merge).await;
        assert_eq!(find(&forge, &token, &proposal).await, Some(Opened { state: State::Merged, ..second }));
    }
}

fn proposal(head: &str, base: &str) -> Proposal {
    let [head, base, title, body] = [head, base, "Revert web", "The canary was aborted."].map(str::to_owned);
    Proposal { head, base, title, body }
}

async fn find(forge: &Forge, token: &str, proposal: &Proposal) -> Option<Opened> {
    let (status, body) = send(&forge.find(&Secret::new(token), proposal)).await;
    forge.found(Answer { status, body: &body }, proposal).unwrap()
}

async fn create(forge: &Forge, token: &str, proposal: &Proposal) -> Created {
    let (status, body) = send(&forge.create(&Secret::new(token), proposal)).await;
    forge.created(Answer { status, body: &body }).unwrap()
}

/// Sends a request as it is.
async fn send(request: &HttpRequest) -> (u16, Vec<u8>) {
    let method = match request.method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
    };
    let mut sending = reqwest::Client::builder().no_proxy().build().unwrap().request(method, &request.url);
    for (name, value) in &request.headers {
        sending = sending.header(name, value.reveal());
    }
    if let Some((content, body)) = &request.body {
        sending = sending.header("Content-Type", content.unwrap()).body(body.reveal().to_owned());
    }
    let answer = sending.send().await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}
