//! Pull requests of bitbucket.org.

use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::answer::{Answer, Failure, opened};
use super::{Created, Opened, PAGE, Proposal, State, encoded};

#[derive(Deserialize)]
struct Page {
    values: Vec<PullRequest>,
}

#[derive(Deserialize)]
struct PullRequest {
    id: u64,
    links: Links,
    state: Status,
    source: End,
    destination: End,
}

#[derive(Deserialize)]
struct Links {
    html: Link,
}

#[derive(Deserialize)]
struct Link {
    href: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Open,
    Queued,
    Merged,
    Declined,
    /// The branches are equal by another way.
    Superseded,
}

#[derive(Deserialize)]
struct End {
    branch: Branch,
    /// Nothing for a fork that is gone.
    repository: Option<Repository>,
}

#[derive(Deserialize)]
struct Branch {
    name: String,
}

#[derive(Deserialize, PartialEq)]
struct Repository {
    uuid: String,
}

pub(super) fn find(address: &Address, proposal: &Proposal) -> String {
    let (head, base) = (quoted(&proposal.head), quoted(&proposal.base));
    let q = encoded(&format!("source.branch.name = {head} AND destination.branch.name = {base}"));
    let states = "state=OPEN&state=MERGED&state=DECLINED&state=SUPERSEDED";
    format!("{}?q={q}&{states}&sort=-created_on&pagelen={PAGE}", pull_requests(address))
}

pub(super) fn found(answer: Answer<'_>, proposal: &Proposal) -> Result<Vec<Opened>, Failure> {
    let page: Page = answer.read()?;
    // A branch of a fork may have the same name.
    let ours = |pull: &PullRequest| {
        pull.source.branch.name == proposal.head
            && pull.destination.branch.name == proposal.base
            && pull.source.repository == pull.destination.repository
    };
    page.values.into_iter().filter(ours).map(PullRequest::opened).collect()
}

pub(super) fn create(address: &Address, proposal: &Proposal) -> (String, Value) {
    let Proposal { head, base, title, body } = proposal;
    let request = json!({
        "title": title, "description": body, "close_source_branch": true,
        "source": { "branch": { "name": head } }, "destination": { "branch": { "name": base } },
    });
    (pull_requests(address), request)
}

pub(super) fn created(answer: Answer<'_>) -> Result<Created, Failure> {
    if matches!(answer.status, 400 | 409) && answer.said().contains("already") {
        return Ok(Created::Exists);
    }
    answer.read::<PullRequest>()?.opened().map(Created::New)
}

/// Text in the language of its queries.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn pull_requests(address: &Address) -> String {
    let Address { api, owner, name } = address;
    format!("{api}/repositories/{}/{}/pullrequests", encoded(owner), encoded(name))
}

impl PullRequest {
    fn opened(self) -> Result<Opened, Failure> {
        let state = match self.state {
            Status::Open | Status::Queued => State::Open,
            Status::Merged => State::Merged,
            Status::Declined | Status::Superseded => State::Closed,
        };
        opened(self.id, &self.links.html.href, state)
    }
}
