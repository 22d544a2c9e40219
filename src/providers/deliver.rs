//! Sends notifications. Where they go is said by whoever configures the controller, so every server may be asked.

mod github;
mod mail;

use std::time::Duration;

use super::{Hidden, Providers, exchange, http};
use crate::analysis::Secret;
use crate::analysis::query::HttpRequest;
use crate::notify::service::{CommitStatus, Delivery};
use crate::units::{Timestamp, format_duration};

/// How long one notification may take in all: a mail server can be silent at any command.
const PATIENCE: Duration = Duration::from_secs(20);

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
        let sent = self.send_one(delivery, &mut hidden, now);
        let outcome = tokio::time::timeout(PATIENCE, sent).await;
        let outcome = outcome.unwrap_or_else(|_| Err("it did not answer in time".to_owned()));
        outcome.map_err(|why| hidden.redact(&why))
    }

    /// Asks a server that whoever runs the program has named, and gives its status and its content, whatever they are.
    ///
    /// # Errors
    /// Why there is no answer; without the secrets.
    pub async fn answer(&self, request: &HttpRequest, secrets: &[Secret]) -> Result<(u16, Vec<u8>), String> {
        let mut hidden = Hidden::new(secrets);
        let url = http::parse_url(&request.url)?;
        let server = http::shown_unless_hidden(&url, &request.url, &hidden);
        let asked = async {
            let (client, url) = self.shared.deliverers.for_url(url, request.certificate)?;
            let response = exchange::send(&self.shared, request, &client, url, &mut hidden).await?;
            let status = response.status().as_u16();
            Ok((status, http::read(response).await?))
        };
        let answer = match tokio::time::timeout(request.timeout, asked).await {
            Err(_) => Err(format!("it did not answer within {}", format_duration(request.timeout))),
            Ok(answer) => answer,
        };
        answer.map_err(|why: String| hidden.redact(&format!("{server}: {why}")))
    }

    async fn send_one(&self, delivery: &Delivery, hidden: &mut Hidden, now: Timestamp) -> Result<(), String> {
        match delivery {
            Delivery::Http { request, kind } => {
                let answer = self.send(request, hidden).await;
                answer
                    .and_then(|(server, body)| kind.accepts(&body).map_err(|why| format!("{server}: {why}")))
            }
            Delivery::CommitStatus(wanted) => self.set_commit_status(wanted, hidden, now).await,
            Delivery::Mail(mail) => {
                let (host, port) = (&mail.host, mail.port);
                mail::send(mail).await.map_err(|why| format!("{host}:{port}: {why}"))
            }
        }
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
            let (client, url) = self.shared.deliverers.for_url(url, request.certificate)?;
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
