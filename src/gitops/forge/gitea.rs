//! Pull requests of Gitea and Forgejo. They are listed, those that changed last first: asked for by both branches, it
//! gives one of them alone, the oldest, which may be closed while another one is open.

use std::cmp::Reverse;

use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::answer::{Answer, Failure, opened};
use super::{Created, Opened, PAGE, Proposal, State, encoded};

#[derive(Deserialize)]
struct PullRequest {
    number: u64,
    html_url: String,
    state: OpenOrClosed,
    #[serde(default)]
    merged: bool,
    head: Branch,
    base: Branch,
}

#[derive(Deserialize)]
struct Branch {
    /// Its name, also when it is there no more.
    label: String,
    /// Of the repository that it is in; negative when that is there no more.
    repo_id: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OpenOrClosed {
    Open,
    Closed,
}

pub(super) fn find(address: &Address, proposal: &Proposal) -> String {
    // Older ones do not know `base_branch` and list those of all branches.
    let base = encoded(&proposal.base);
    format!("{}?state=all&sort=recentupdate&base_branch={base}&limit={PAGE}", pulls(address))
}

pub(super) fn found(answer: Answer<'_>, proposal: &Proposal) -> Result<Vec<Opened>, Failure> {
    let mut listed: Vec<PullRequest> = answer.read()?;
    // A branch of a fork may have the same name.
    listed.retain(|pull| {
        pull.head.label == proposal.head
            && pull.base.label == proposal.base
            && pull.head.repo_id == pull.base.repo_id
    });
    listed.sort_by_key(|pull| Reverse(pull.number));
    listed.into_iter().map(PullRequest::opened).collect()
}

pub(super) fn create(address: &Address, proposal: &Proposal) -> (String, Value) {
    let Proposal { head, base, title, body } = proposal;
    (pulls(address), json!({ "head": head, "base": base, "title": title, "body": body }))
}

pub(super) fn created(answer: Answer<'_>) -> Result<Created, Failure> {
    if answer.status == 409 && answer.said().contains("already exists") {
        return Ok(Created::Exists);
    }
    answer.read::<PullRequest>()?.opened().map(Created::New)
}

fn pulls(address: &Address) -> String {
    let Address { api, owner, name } = address;
    format!("{api}/repos/{}/{}/pulls", encoded(owner), encoded(name))
}

impl PullRequest {
    fn opened(self) -> Result<Opened, Failure> {
        let state = match (self.state, self.merged) {
            (OpenOrClosed::Open, _) => State::Open,
            (OpenOrClosed::Closed, true) => State::Merged,
            (OpenOrClosed::Closed, false) => State::Closed,
        };
        opened(self.number, &self.html_url, state)
    }
}
