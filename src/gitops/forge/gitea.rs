//! Pull requests of Gitea and Forgejo. They are asked for by their branches: the list can be filtered by neither.

use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::answer::{Answer, Failure, opened};
use super::{Created, Opened, Proposal, State, encoded};

#[derive(Deserialize)]
struct PullRequest {
    number: u64,
    html_url: String,
    state: OpenOrClosed,
    #[serde(default)]
    merged: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OpenOrClosed {
    Open,
    Closed,
}

pub(super) fn find(address: &Address, proposal: &Proposal) -> String {
    format!("{}/{}/{}", pulls(address), encoded(&proposal.base), encoded(&proposal.head))
}

pub(super) fn found(answer: Answer<'_>, _: &Proposal) -> Result<Vec<Opened>, Failure> {
    // A repository that the token does not see is not told from one without the pull request; creating it tells.
    if answer.status == 404 {
        return Ok(Vec::new());
    }
    answer.read::<PullRequest>()?.opened().map(|opened| vec![opened])
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
