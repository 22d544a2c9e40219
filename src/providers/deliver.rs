//! Sends notifications. Where they go is said by whoever configures the controller, so every server may be asked.

use super::{Hidden, Providers, exchange, http};
use crate::analysis::Secret;
use crate::analysis::query::HttpRequest;
use crate::notify::service::Kind;
use crate::units::format_duration;

impl Providers {
    /// Sends one notification to a service of this kind.
    ///
    /// # Errors
    /// Why it was not taken, or why nobody knows; without the secrets.
    pub async fn deliver(&self, kind: Kind, request: &HttpRequest, secrets: &[Secret]) -> Result<(), String> {
        let mut hidden = Hidden::new(secrets);
        let url = http::parse_url(&request.url)?;
        let server = http::shown_unless_hidden(&url, &request.url, &hidden);
        let sent = async {
            let (client, url) = self.shared.clients.for_url(url, request.certificate)?;
            let body = exchange::ask_with(&self.shared, request, &client, url, &mut hidden).await?;
            kind.accepts(&body)
        };
        let outcome = match tokio::time::timeout(request.timeout, sent).await {
            Err(_) => Err(format!("it did not answer within {}", format_duration(request.timeout))),
            Ok(outcome) => outcome,
        };
        outcome.map_err(|why| hidden.redact(&format!("{server}: {why}")))
    }
}
