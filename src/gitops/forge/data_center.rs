//! Pull requests of Bitbucket Data Center.

use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::answer::{Answer, Failure, opened};
use super::{Created, Opened, PAGE, Proposal, State, encoded};

/// The exception by which it says that there is one.
const DUPLICATE: &str = "DuplicatePullRequestException";

#[derive(Deserialize)]
struct Page {
    values: Vec<PullRequest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PullRequest {
    id: u64,
    links: Links,
    state: Status,
    from_ref: Reference,
    to_ref: Reference,
}

#[derive(Deserialize)]
struct Links {
    #[serde(rename = "self")]
    pages: Vec<Link>,
}

#[derive(Deserialize)]
struct Link {
    href: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Open,
    Merged,
    Declined,
}

#[derive(Deserialize)]
struct Reference {
    /// As `refs/heads/main`.
    id: String,
    repository: Repository,
}

#[derive(Deserialize, PartialEq)]
struct Repository {
    id: u64,
}

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<Problem>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Problem {
    exception_name: Option<String>,
}

pub(super) fn find(address: &Address, proposal: &Proposal) -> String {
    let at = encoded(&branch(&proposal.head));
    format!("{}?at={at}&direction=OUTGOING&state=ALL&order=NEWEST&limit={PAGE}", pull_requests(address))
}

pub(super) fn found(answer: Answer<'_>, proposal: &Proposal) -> Result<Vec<Opened>, Failure> {
    let page: Page = answer.read()?;
    // What goes out of a branch may go to any other, also of another repository.
    let ours = |pull: &PullRequest| {
        pull.from_ref.id == branch(&proposal.head)
            && pull.to_ref.id == branch(&proposal.base)
            && pull.from_ref.repository == pull.to_ref.repository
    };
    page.values.into_iter().filter(ours).map(PullRequest::opened).collect()
}

pub(super) fn create(address: &Address, proposal: &Proposal) -> (String, Value) {
    let repository = json!({ "slug": address.name, "project": { "key": address.owner } });
    let request = json!({
        "title": proposal.title, "description": proposal.body,
        "fromRef": { "id": branch(&proposal.head), "repository": repository },
        "toRef": { "id": branch(&proposal.base), "repository": repository },
    });
    (pull_requests(address), request)
}

pub(super) fn created(answer: Answer<'_>) -> Result<Created, Failure> {
    // The same status is for branches that are equal.
    if answer.status == 409 && is_duplicate(answer.body) {
        return Ok(Created::Exists);
    }
    answer.read::<PullRequest>()?.opened().map(Created::New)
}

fn is_duplicate(body: &[u8]) -> bool {
    let names =
        |problem: &Problem| problem.exception_name.as_ref().is_some_and(|name| name.ends_with(DUPLICATE));
    serde_json::from_slice::<Refusal>(body).is_ok_and(|refusal| refusal.errors.iter().any(names))
}

fn branch(name: &str) -> String {
    format!("refs/heads/{name}")
}

fn pull_requests(address: &Address) -> String {
    let Address { api, owner, name } = address;
    format!("{api}/projects/{}/repos/{}/pull-requests", encoded(owner), encoded(name))
}

impl PullRequest {
    fn opened(self) -> Result<Opened, Failure> {
        let state = match self.state {
            Status::Open => State::Open,
            Status::Merged => State::Merged,
            Status::Declined => State::Closed,
        };
        let page = self.links.pages.first().map_or("", |link| link.href.as_str());
        opened(self.id, page, state)
    }
}
