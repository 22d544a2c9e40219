//! GitHub's pull requests.

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
    merged_at: Option<String>,
    head: Branch,
    base: Branch,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OpenOrClosed {
    Open,
    Closed,
}

#[derive(Deserialize)]
struct Branch {
    r#ref: String,
}

pub(super) fn find(address: &Address, proposal: &Proposal) -> String {
    let head = encoded(&format!("{}:{}", address.owner, proposal.head));
    let base = encoded(&proposal.base);
    format!(
        "{}?head={head}&base={base}&state=all&sort=created&direction=desc&per_page={PAGE}",
        pulls(address)
    )
}

pub(super) fn found(answer: Answer<'_>, proposal: &Proposal) -> Result<Vec<Opened>, Failure> {
    let listed: Vec<PullRequest> = answer.read()?;
    // A filter that GitHub cannot read is none to it.
    let ours = |pull: &PullRequest| pull.head.r#ref == proposal.head && pull.base.r#ref == proposal.base;
    listed.into_iter().filter(ours).map(PullRequest::opened).collect()
}

pub(super) fn create(address: &Address, proposal: &Proposal) -> (String, Value) {
    let Proposal { head, base, title, body } = proposal;
    (pulls(address), json!({ "head": head, "base": base, "title": title, "body": body }))
}

pub(super) fn created(answer: Answer<'_>) -> Result<Created, Failure> {
    // The same status is for branches that are equal or not there.
    if answer.status == 422 && answer.said().contains("already exists") {
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
        let state = match (self.state, self.merged_at) {
            (OpenOrClosed::Open, _) => State::Open,
            (OpenOrClosed::Closed, Some(_)) => State::Merged,
            (OpenOrClosed::Closed, None) => State::Closed,
        };
        opened(self.number, &self.html_url, state)
    }
}
