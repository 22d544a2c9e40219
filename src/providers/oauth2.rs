//! OAuth2 client credentials: a token is asked for once and kept until shortly before it expires.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use tokio::time::Instant;

use super::http::{self, HttpClients};
use crate::analysis::Secret;
use crate::analysis::query::access::{CertificateCheck, OAuth2};

/// A token is renewed this long before it expires, so that it is valid while a request is under way.
const MARGIN: Duration = Duration::from_secs(30);
/// How long a token is kept whose life the issuer does not tell.
const UNTOLD_LIFE: Duration = Duration::from_mins(1);
/// Longest life that is believed.
const MAX_LIFE: Duration = Duration::from_hours(24);
/// Most tokens kept; with more clients than that, the ones that expire first are asked for again.
const MAX_TOKENS: usize = 256;

/// Tokens by whom they were asked for.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<BTreeMap<OAuth2, Token>>);

#[derive(Clone, Debug)]
struct Token {
    text: Secret,
    valid_until: Instant,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    expires_in: Option<f64>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Tokens {
    /// A valid token: the kept one, or a new one.
    pub(super) async fn token(
        &self,
        client: &OAuth2,
        clients: &HttpClients,
        certificate: CertificateCheck,
    ) -> Result<Secret, String> {
        if let Some(token) = self.kept(client) {
            return Ok(token);
        }
        let token = request(client, clients, certificate).await.map_err(|why| {
            let issuer = http::parse_url(&client.token_url).map(|url| http::shown(&url)).unwrap_or_default();
            format!("no OAuth2 token from {issuer}: {why}")
        })?;
        self.keep(client.clone(), token.clone());
        Ok(token.text)
    }

    /// Forgets a token that was refused.
    pub(super) fn forget(&self, client: &OAuth2) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(client);
    }

    fn kept(&self, client: &OAuth2) -> Option<Secret> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(client).filter(|token| token.valid_until > Instant::now()).map(|token| token.text.clone())
    }

    fn keep(&self, client: OAuth2, token: Token) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        tokens.retain(|_, token| token.valid_until > now);
        if tokens.len() >= MAX_TOKENS {
            let first =
                tokens.iter().min_by_key(|(_, token)| token.valid_until).map(|(client, _)| client.clone());
            first.map(|client| tokens.remove(&client));
        }
        tokens.insert(client, token);
    }
}

/// Asks the issuer. Clients identify themselves in the header; issuers that want them in the form are asked again.
async fn request(
    client: &OAuth2,
    clients: &HttpClients,
    certificate: CertificateCheck,
) -> Result<Token, String> {
    let (http_client, url) = clients.for_metric(http::parse_url(&client.token_url)?, certificate)?;
    let scopes = client.scopes.join(" ");
    let mut form = vec![("grant_type", "client_credentials")];
    if !scopes.is_empty() {
        form.push(("scope", &scopes));
    }
    let in_header = http_client
        .post(url.clone())
        .basic_auth(&client.client_id, Some(client.client_secret.reveal()))
        .form(&form);
    let response = in_header.send().await.map_err(|error| http::cause(&error))?;
    if !matches!(response.status(), StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
        return parse(response).await;
    }
    form.extend([("client_id", client.client_id.as_str()), ("client_secret", client.client_secret.reveal())]);
    let in_form = http_client.post(url).form(&form);
    parse(in_form.send().await.map_err(|error| http::cause(&error))?).await
}

async fn parse(response: reqwest::Response) -> Result<Token, String> {
    let status = response.status();
    let body = http::read(response).await?;
    let Ok(answer) = serde_json::from_slice::<Answer>(&body) else {
        return Err(format!("it answered {status} with something that is not JSON"));
    };
    if let Some(error) = answer.error {
        let more = answer.error_description.map(|text| format!(": {text}")).unwrap_or_default();
        return Err(format!("it answered {status}: {error}{more}"));
    }
    let Some(text) = answer.access_token.filter(|text| status.is_success() && !text.is_empty()) else {
        return Err(format!("it answered {status} without a token"));
    };
    let life = answer.expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let life = life.map_or(UNTOLD_LIFE, |life| life.min(MAX_LIFE).saturating_sub(MARGIN));
    Ok(Token { text: Secret::new(text), valid_until: Instant::now() + life })
}
