//! What people are to decide: a branch with the change, and a pull request where a forge is configured.

use super::pass::{Outcome, Target, Trouble, WriteBack};
use super::repository::{Pushed, Repository};
use super::write::Proposed;
use crate::analysis::Secret;
use crate::gitops::abort::Abort;
use crate::gitops::forge::{Answer, Created, Forge, Opened};
use crate::gitops::record::State;

impl WriteBack {
    /// A pull request, unless there was one before: people who closed it have decided.
    pub(super) async fn propose(
        &self,
        target: &Target<'_>,
        url: &str,
        abort: &Abort,
        proposed: Proposed,
    ) -> Result<Outcome, Trouble> {
        let (head, why) = (&proposed.proposal.head, &proposed.why);
        let Some(known) = &target.repository.forge else {
            self.push(target, url, abort, &proposed).await?;
            let message = format!(
                "{url}: the branch {head} takes the version back and waits for people ({why}); no forge is configured"
            );
            return Ok(Outcome { message, ..Outcome::of(State::Proposed) });
        };
        let forge = Forge::new(known.kind, url, known.api.as_ref()).map_err(Trouble::Lasting)?;
        let missing = "the forge needs a token: put it as `token` into the Secret";
        let token = target.token.clone().ok_or_else(|| Trouble::Lasting(missing.to_owned()))?;
        let opened = if let Some(opened) = self.found(&forge, &token, &proposed).await? {
            opened
        } else {
            self.push(target, url, abort, &proposed).await?;
            self.open(&forge, &token, &proposed).await?
        };
        Ok(Outcome {
            message: format!("{} proposes to take the version back: {why}", opened.url),
            pull_request: Some(opened.url.to_string()),
            ..Outcome::of(State::Proposed)
        })
    }

    async fn open(&self, forge: &Forge, token: &Secret, proposed: &Proposed) -> Result<Opened, String> {
        let request = forge.create(token, &proposed.proposal);
        let (status, body) = self.providers.answer(&request, std::slice::from_ref(token)).await?;
        let opened = match forge.created(Answer { status, body: &body })? {
            Created::New(opened) => Some(opened),
            Created::Exists => self.found(forge, token, proposed).await?,
        };
        opened.ok_or_else(|| "the forge says that there is a pull request, and lists none".to_owned())
    }

    async fn found(
        &self,
        forge: &Forge,
        token: &Secret,
        proposed: &Proposed,
    ) -> Result<Option<Opened>, String> {
        let request = forge.find(token, &proposed.proposal);
        let (status, body) = self.providers.answer(&request, std::slice::from_ref(token)).await?;
        forge.found(Answer { status, body: &body }, &proposed.proposal)
    }

    /// Pushes the branch of a pull request, unless it is there.
    async fn push(
        &self,
        target: &Target<'_>,
        url: &str,
        abort: &Abort,
        proposed: &Proposed,
    ) -> Result<(), Trouble> {
        if proposed.is_pushed {
            return Ok(());
        }
        let (commit, head, stands) = (proposed.commit, proposed.proposal.head.clone(), self.stands(abort));
        let work = move |clone: &Repository| {
            if !stands() {
                return Ok(None);
            }
            let pushed = clone.push(commit, &head, None)?;
            // Another replica may have been faster: its branch says the same.
            let is_there = pushed == Pushed::Moved && clone.branches()?.names.contains(&head);
            Ok(Some(if is_there { Pushed::Taken } else { pushed }))
        };
        let head = &proposed.proposal.head;
        match self.clones.with(url, target.credentials.clone(), work).await? {
            None => Err(Trouble::Withdrawn),
            Some(Pushed::Taken) => Ok(()),
            Some(Pushed::Moved) => Err(format!("{url} does not take the branch {head}").into()),
            Some(Pushed::Refused(why)) => Err(format!("{url} does not take the branch {head}: {why}").into()),
        }
    }
}
