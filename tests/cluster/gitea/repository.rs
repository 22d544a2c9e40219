//! A repository of a Gitea, and what people do to it.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::{interval, timeout};

use super::api::Api;
use super::server::USER;
use crate::shared::DEADLINE;

/// Between two looks at whether a pull request can be merged: Gitea finds out after it was made.
const POLL: Duration = Duration::from_millis(50);

/// A repository of the one user.
pub(crate) struct Repository {
    api: Api,
    name: String,
    ssh: SocketAddr,
    known_hosts: String,
}

/// A commit as it is in a repository.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) sha: String,
    /// Name of the author.
    pub(crate) author: String,
    /// All of the message, without the newline at its end.
    pub(crate) message: String,
}

/// A pull request as it is in a repository.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PullRequest {
    pub(crate) number: u64,
    /// `open`, `closed` or `merged`.
    pub(crate) state: String,
    pub(crate) head: String,
    pub(crate) base: String,
    pub(crate) title: String,
    pub(crate) body: String,
}

/// How a pull request becomes part of its base branch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    /// With its own commits and one that joins them.
    Merge,
    /// As one new commit.
    Squash,
}

/// Whether a deploy key may push.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    Read,
    Write,
}

impl Repository {
    pub(crate) fn new(api: Api, name: &str, ssh: SocketAddr, known_hosts: String) -> Self {
        Self { api, name: name.to_owned(), ssh, known_hosts }
    }

    /// What it is cloned by over HTTP, without a token.
    pub(crate) fn url(&self) -> String {
        format!("{}/{USER}/{}.git", self.api.url(), self.name)
    }

    /// The same with a token in it.
    pub(crate) fn url_with(&self, token: &str) -> String {
        self.url().replacen("://", &format!("://{USER}:{token}@"), 1)
    }

    /// What it is cloned by over SSH.
    pub(crate) fn ssh_url(&self) -> String {
        format!("ssh://git@{}/{USER}/{}.git", self.ssh, self.name)
    }

    /// What SSH writes down of a server that it knows: the address and the host key.
    pub(crate) fn known_hosts(&self) -> &str {
        &self.known_hosts
    }

    /// Lets whoever has the other half of a public key in.
    pub(crate) async fn add_deploy_key(&self, public_key: &str, access: Access) {
        let read_only = matches!(access, Access::Read);
        let key = json!({"title": "key", "key": public_key.trim(), "read_only": read_only});
        self.api.post(&self.path("keys"), &key).await;
    }

    /// From here on, nobody pushes to a branch: changes come by pull requests.
    pub(crate) async fn protect(&self, branch: &str) {
        let rule = json!({"rule_name": branch, "enable_push": false});
        self.api.post(&self.path("branch_protections"), &rule).await;
    }

    /// Makes a branch of the newest commit of `main`.
    pub(crate) async fn branch(&self, name: &str) {
        let branch = json!({"new_branch_name": name, "old_ref_name": "main"});
        self.api.post(&self.path("branches"), &branch).await;
    }

    /// Commits files to a branch as they are to be, each by its path, as a person does who edits them on a page.
    pub(crate) async fn commit(&self, branch: &str, files: &[(&str, &str)], message: &str) -> String {
        let mut operations = Vec::new();
        for (path, content) in files {
            operations
                .push(json!({"operation": "upload", "path": path, "content": STANDARD.encode(content)}));
        }
        let author = json!({"name": USER, "email": format!("{USER}@example.com")});
        let change = json!({"branch": branch, "message": message, "author": author, "files": operations});
        let made = self.api.post(&self.path("contents"), &change).await;
        text(&made["commit"]["sha"])
    }

    /// The commits of a branch, newest first.
    pub(crate) async fn log(&self, branch: &str) -> Vec<Commit> {
        let listed = self.api.get(&self.path(&format!("commits?sha={branch}&stat=false"))).await;
        let commit = |listed: &Value| Commit {
            sha: text(&listed["sha"]),
            author: text(&listed["commit"]["author"]["name"]),
            message: text(&listed["commit"]["message"]).trim_end().to_owned(),
        };
        listed.as_array().unwrap().iter().map(commit).collect()
    }

    /// What a file says on a branch.
    pub(crate) async fn file(&self, branch: &str, path: &str) -> String {
        self.api.text(&self.path(&format!("raw/{path}?ref={branch}"))).await
    }

    /// Every pull request, by its number.
    pub(crate) async fn pull_requests(&self) -> Vec<PullRequest> {
        let listed = self.api.get(&self.path("pulls?state=all&sort=oldest")).await;
        listed.as_array().unwrap().iter().map(pull_request).collect()
    }

    /// Merges a pull request, once Gitea knows that it can be, and deletes its branch.
    pub(crate) async fn merge(&self, number: u64, style: Style) {
        let path = self.path(&format!("pulls/{number}"));
        let mergeable = async {
            let mut pause = interval(POLL);
            while self.api.get(&path).await["mergeable"] != true {
                pause.tick().await;
            }
        };
        timeout(DEADLINE, mergeable).await.expect("the pull request never becomes mergeable");
        let style = match style {
            Style::Merge => "merge",
            Style::Squash => "squash",
        };
        let merge = json!({"do": style, "delete_branch_after_merge": true});
        self.api.post(&format!("{path}/merge"), &merge).await;
    }

    /// Closes a pull request without its change.
    pub(crate) async fn close(&self, number: u64) {
        self.api.patch(&self.path(&format!("pulls/{number}")), &json!({"state": "closed"})).await;
    }

    fn path(&self, below: &str) -> String {
        format!("repos/{USER}/{}/{below}", self.name)
    }
}

fn pull_request(listed: &Value) -> PullRequest {
    let state = if listed["merged"] == true { "merged".to_owned() } else { text(&listed["state"]) };
    PullRequest {
        number: listed["number"].as_u64().unwrap(),
        state,
        head: text(&listed["head"]["ref"]),
        base: text(&listed["base"]["ref"]),
        title: text(&listed["title"]),
        body: text(&listed["body"]),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
