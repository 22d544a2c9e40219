//! GitLab's merge requests.

use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::answer::{Answer, Failure, opened};
use super::{Created, Opened, PAGE, Proposal, State, encoded};

#[derive(Deserialize)]
struct MergeRequest {
    iid: u64,
    web_url: String,
    state: Status,
    source_branch: String,
    target_branch: String,
    source_project_id: Option<u64>,
    target_project_id: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Opened,
    /// It is being merged.
    Locked,
    Merged,
    Closed,
}

pub(super) fn find(address: &Address, proposal: &Proposal) -> String {
    let (head, base) = (encoded(&proposal.head), encoded(&proposal.base));
    let requests = merge_requests(address);
    format!(
        "{requests}?source_branch={head}&target_branch={base}&state=all&order_by=created_at&sort=desc&per_page={PAGE}"
    )
}

pub(super) fn found(answer: Answer<'_>, proposal: &Proposal) -> Result<Vec<Opened>, Failure> {
    let listed: Vec<MergeRequest> = answer.read()?;
    // A branch of a fork may have the same name.
    let ours = |request: &MergeRequest| {
        request.source_branch == proposal.head
            && request.target_branch == proposal.base
            && request.source_project_id == Some(request.target_project_id)
    };
    listed.into_iter().filter(ours).map(MergeRequest::opened).collect()
}

pub(super) fn create(address: &Address, proposal: &Proposal) -> (String, Value) {
    let Proposal { head, base, title, body } = proposal;
    let request = json!({
        "source_branch": head, "target_branch": base, "title": title, "description": body,
        "remove_source_branch": true,
    });
    (merge_requests(address), request)
}

pub(super) fn created(answer: Answer<'_>) -> Result<Created, Failure> {
    if answer.status == 409 && answer.said().contains("already exists") {
        return Ok(Created::Exists);
    }
    answer.read::<MergeRequest>()?.opened().map(Created::New)
}

fn merge_requests(address: &Address) -> String {
    let Address { api, owner, name } = address;
    format!("{api}/projects/{}/merge_requests", encoded(&format!("{owner}/{name}")))
}

impl MergeRequest {
    fn opened(self) -> Result<Opened, Failure> {
        let state = match self.state {
            Status::Opened | Status::Locked => State::Open,
            Status::Merged => State::Merged,
            Status::Closed => State::Closed,
        };
        opened(self.iid, &self.web_url, state)
    }
}
