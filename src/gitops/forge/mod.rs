//! Pull requests on forges, as values: what a forge is sent, and what its answer means. Nothing is sent here.
//!
//! A caller asks whether there is a pull request (`find`, `found`) and, if there is none, for one (`create`,
//! `created`). That another one was faster is told apart, and the caller looks again. What is deliberately absent:
//! merging and closing, which are people's.

mod address;
mod answer;
mod bitbucket;
mod data_center;
mod escape;
mod gitea;
mod github;
mod gitlab;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::{Url, form_urlencoded};

use self::address::Address;
pub use self::answer::Answer;
pub use self::escape::{escape, inert, visible};
use crate::analysis::Secret;
use crate::analysis::query::HttpRequest;

/// How long a forge may take to answer: creating a pull request compares two branches first.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest title, in characters; every forge takes 255.
const TITLE: usize = 200;
/// How many pull requests one answer lists; a branch of ours has one or two.
const PAGE: u8 = 50;

/// Whose software a forge runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// github.com, or GitHub Enterprise.
    #[serde(rename = "github")]
    GitHub,
    /// gitlab.com, or a GitLab of one's own.
    #[serde(rename = "gitlab")]
    GitLab,
    /// Gitea or Forgejo.
    #[serde(rename = "gitea")]
    Gitea,
    /// bitbucket.org.
    #[serde(rename = "bitbucket")]
    Bitbucket,
    /// A Bitbucket of one's own.
    #[serde(rename = "bitbucket-data-center")]
    BitbucketDataCenter,
}

impl Kind {
    /// What people call it.
    const fn name(self) -> &'static str {
        match self {
            Self::GitHub => "GitHub",
            Self::GitLab => "GitLab",
            Self::Gitea => "Gitea",
            Self::Bitbucket => "Bitbucket",
            Self::BitbucketDataCenter => "Bitbucket Data Center",
        }
    }

    /// The rights that a token needs, in the words of the forge.
    const fn rights(self) -> &'static str {
        match self {
            Self::GitHub => {
                "'Pull requests: read and write' of the repository, or the scope repo of a classic token"
            }
            Self::GitLab => "the scope api and the role Developer",
            Self::Gitea => "the scope write:repository",
            Self::Bitbucket => "the scope pullrequest:write",
            Self::BitbucketDataCenter => "the permission 'Repository write'",
        }
    }

    /// Longest body, in characters. Gitea and bitbucket.org name none: theirs is the smallest of the others.
    const fn longest_body(self) -> usize {
        match self {
            Self::GitHub => 65_536,
            Self::GitLab => 1_048_576,
            Self::Gitea | Self::Bitbucket | Self::BitbucketDataCenter => 32_768,
        }
    }
}

/// A repository on a forge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forge {
    kind: Kind,
    address: Address,
}

/// A pull request to be made, in one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The branch with the change, as `serin/revert-web`.
    pub head: String,
    /// The branch that the change is for.
    pub base: String,
    /// What it is called; text, of which 200 characters are taken, on one line.
    pub title: String,
    /// What it says, in Markdown. Text of others in it has to be escaped: [`escape`]. It is cut where the forge takes
    /// no more: at 65,536 characters on GitHub, 1,048,576 on GitLab, 32,768 on others.
    pub body: String,
}

/// Whether a pull request still waits for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits.
    Open,
    /// The change is in the base branch.
    Merged,
    /// It was closed without the change.
    Closed,
}

/// A pull request that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its number in the repository.
    pub number: u64,
    /// Its page, for people.
    pub url: Url,
    /// Whether it waits.
    pub state: State,
}

/// What came of asking for a pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was made.
    New(Opened),
    /// There is an open one already: look again.
    Exists,
}

impl Forge {
    /// The forge on which the repository is that is cloned by `url`. `api` is the root of its API, as
    /// `https://git.example.com/api/v3`; `None`: where that kind of forge has it on the same host.
    ///
    /// # Errors
    /// Which of `url`, `forge.kind` and `forge.api` is wrong, and what to write; a password in it is not quoted.
    pub fn new(kind: Kind, url: &str, api: Option<&Url>) -> Result<Self, String> {
        Ok(Self { kind, address: Address::of(kind, url, api)? })
    }

    /// Asks for the pull requests of the proposal's branches, in any state.
    #[must_use]
    pub fn find(&self, token: &Secret, proposal: &Proposal) -> HttpRequest {
        let url = match self.kind {
            Kind::GitHub => github::find(&self.address, proposal),
            Kind::GitLab => gitlab::find(&self.address, proposal),
            Kind::Gitea => gitea::find(&self.address, proposal),
            Kind::Bitbucket => bitbucket::find(&self.address, proposal),
            Kind::BitbucketDataCenter => data_center::find(&self.address, proposal),
        };
        self.signed(HttpRequest::get(url, PATIENCE), token)
    }

    /// The pull request that there is: the open one, or else the newest. `None`: there was never one.
    ///
    /// # Errors
    /// One line of bounded length: what the forge said, and what to change.
    pub fn found(&self, answer: Answer<'_>, proposal: &Proposal) -> Result<Option<Opened>, String> {
        let found = match self.kind {
            Kind::GitHub => github::found(answer, proposal),
            Kind::GitLab => gitlab::found(answer, proposal),
            Kind::Gitea => gitea::found(answer, proposal),
            Kind::Bitbucket => bitbucket::found(answer, proposal),
            Kind::BitbucketDataCenter => data_center::found(answer, proposal),
        };
        let found = found.map_err(|why| self.failed("look for", &why))?;
        let open = found.iter().find(|opened| opened.state == State::Open);
        Ok(open.or_else(|| found.first()).cloned())
    }

    /// Asks for a new pull request.
    #[must_use]
    pub fn create(&self, token: &Secret, proposal: &Proposal) -> HttpRequest {
        let proposal = &self.bounded(proposal);
        let (url, body) = match self.kind {
            Kind::GitHub => github::create(&self.address, proposal),
            Kind::GitLab => gitlab::create(&self.address, proposal),
            Kind::Gitea => gitea::create(&self.address, proposal),
            Kind::Bitbucket => bitbucket::create(&self.address, proposal),
            Kind::BitbucketDataCenter => data_center::create(&self.address, proposal),
        };
        self.signed(HttpRequest::post(url, &body, PATIENCE), token)
    }

    /// What came of it.
    ///
    /// # Errors
    /// One line of bounded length: what the forge said, and what to change.
    pub fn created(&self, answer: Answer<'_>) -> Result<Created, String> {
        let created = match self.kind {
            Kind::GitHub => github::created(answer),
            Kind::GitLab => gitlab::created(answer),
            Kind::Gitea => gitea::created(answer),
            Kind::Bitbucket => bitbucket::created(answer),
            Kind::BitbucketDataCenter => data_center::created(answer),
        };
        created.map_err(|why| self.failed("make", &why))
    }

    fn signed(&self, request: HttpRequest, token: &Secret) -> HttpRequest {
        let token = token.reveal().trim();
        match self.kind {
            Kind::GitHub => request
                .with_header("Authorization", format!("Bearer {token}"))
                .with_header("Accept", "application/vnd.github+json".to_owned())
                .with_header("X-GitHub-Api-Version", "2022-11-28".to_owned()),
            Kind::GitLab => request.with_header("PRIVATE-TOKEN", token.to_owned()),
            Kind::Gitea => request.with_header("Authorization", format!("token {token}")),
            Kind::Bitbucket | Kind::BitbucketDataCenter => {
                request.with_header("Authorization", format!("Bearer {token}"))
            }
        }
    }

    /// The proposal with a title and a body that the forge takes.
    fn bounded(&self, proposal: &Proposal) -> Proposal {
        Proposal {
            title: cut(&escape::inert(&proposal.title), TITLE),
            body: cut(&proposal.body, self.kind.longest_body()),
            ..proposal.clone()
        }
    }

    fn failed(&self, what: &str, failure: &answer::Failure) -> String {
        let Address { owner, name, .. } = &self.address;
        let repository = cut(&format!("{owner}/{name}"), answer::LONGEST);
        format!(
            "cannot {what} the pull request in {repository} on {}: {}",
            self.kind.name(),
            failure.told(self.kind)
        )
    }
}

/// A text of at most so many characters; the last shows that more came.
#[must_use]
pub fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest.saturating_sub(1)).chain(['…']).collect()
}

/// Text as one part of a path, or as a value of a query.
fn encoded(text: &str) -> String {
    // A form has a plus for a space, which a path has not.
    form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests;
