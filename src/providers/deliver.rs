//! Sends notifications. Where they go is said by whoever configures the controller, so every server may be asked.

mod github;
mod mail;

use super::{Hidden, Providers, exchange, http};
use crate::analysis::Secret;
use crate::analysis::query::HttpRequest;
use crate::notify::service::{CommitStatus, Delivery};
use crate::units::{Timestamp, format_duration};

impl Providers {
    /// Sends one notification; `now` is what a signature begins with.
    ///
    /// # Errors
    /// Why it was not taken, or why nobody knows; without the secrets.
    pub async fn deliver(
        &self,
        delivery: &Delivery,
        secrets: &[Secret],
        now: Timestamp,
    ) -> Result<(), String> {
        let mut hidden = Hidden::new(secrets);
        let outcome = match delivery {
            Delivery::Http { request, kind } => {
                let answer = self.send(request, &mut hidden).await;
                answer
                    .and_then(|(server, body)| kind.accepts(&body).map_err(|why| format!("{server}: {why}")))
            }
            Delivery::CommitStatus(wanted) => self.set_commit_status(wanted, &mut hidden, now).await,
            Delivery::Mail(mail) => {
                let (host, port) = (&mail.host, mail.port);
                mail::send(mail).await.map_err(|why| format!("{host}:{port}: {why}"))
            }
        };
        outcome.map_err(|why| hidden.redact(&why))
    }

    async fn set_commit_status(
        &self,
        wanted: &CommitStatus,
        hidden: &mut Hidden,
        now: Timestamp,
    ) -> Result<(), String> {
        let bearer = |request: &HttpRequest, token: &Secret| {
            request.clone().with_header("Authorization", format!("Bearer {}", token.reveal()))
        };
        let signed = github::signed(wanted, now)?;
        hidden.add(&signed);
        let (server, body) = self.send(&bearer(&wanted.token, &signed), hidden).await?;
        let token = github::token(&body).map_err(|why| format!("{server}: {why}"))?;
        hidden.add(&token);
        self.send(&bearer(&wanted.status, &token), hidden).await.map(drop)
    }

    /// The body of a good answer, and the server as messages show it.
    async fn send(&self, request: &HttpRequest, hidden: &mut Hidden) -> Result<(String, Vec<u8>), String> {
        let url = http::parse_url(&request.url)?;
        let server = http::shown_unless_hidden(&url, &request.url, hidden);
        let sent = async {
            let (client, url) = self.shared.clients.for_url(url, request.certificate)?;
            exchange::ask_with(&self.shared, request, &client, url, hidden).await
        };
        match tokio::time::timeout(request.timeout, sent).await {
            Err(_) => Err(format!("{server} did not answer within {}", format_duration(request.timeout))),
            Ok(outcome) => Ok((server.clone(), outcome.map_err(|why| format!("{server}: {why}"))?)),
        }
    }
}

#[cfg(test)]
mod tests;
