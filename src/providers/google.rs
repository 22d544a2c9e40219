//! Tokens of Google's, for a service account whose key is given, or for whoever the controller is there: the key file that
//! `GOOGLE_APPLICATION_CREDENTIALS` names, or the account of its pod or node.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use gcp_auth::{CustomServiceAccount, MetadataServiceAccount, TokenProvider};
use serde::Deserialize;

use super::http;
use crate::analysis::Secret;

/// What a token is good for.
const SCOPES: [&str; 1] = ["https://www.googleapis.com/auth/monitoring.read"];
/// Most accounts whose tokens are kept; with more, all are asked for again.
const MAX_ACCOUNTS: usize = 256;

/// Accounts by their keys; each keeps its token until shortly before it expires.
#[derive(Default)]
pub(super) struct Google(Mutex<BTreeMap<Option<Secret>, Arc<dyn TokenProvider>>>);

impl fmt::Debug for Google {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Google").finish_non_exhaustive()
    }
}

impl Google {
    /// A valid token; of the controller's own account without a key.
    pub(super) async fn token(&self, key: Option<&Secret>) -> Result<Secret, String> {
        if let Some(key) = key {
            check(key)?;
        }
        let account = self.account(key).await.map_err(|error| told(&error))?;
        let token = account.token(&SCOPES).await.map_err(|error| told(&error))?;
        Ok(Secret::new(token.as_str()))
    }

    /// Forgets a token that was refused.
    pub(super) fn forget(&self, key: Option<&Secret>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key.cloned());
    }

    async fn account(&self, key: Option<&Secret>) -> Result<Arc<dyn TokenProvider>, gcp_auth::Error> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key.cloned()).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let account: Arc<dyn TokenProvider> = match key {
            Some(key) => Arc::new(CustomServiceAccount::from_json(key.reveal())?),
            None => own().await?,
        };
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= MAX_ACCOUNTS {
            accounts.clear();
        }
        accounts.insert(key.cloned(), Arc::clone(&account));
        Ok(account)
    }
}

/// The account of the controller: that of the key file which the environment names, or that of its pod or node.
async fn own() -> Result<Arc<dyn TokenProvider>, gcp_auth::Error> {
    match CustomServiceAccount::from_env()? {
        Some(account) => Ok(Arc::new(account)),
        None => Ok(Arc::new(MetadataServiceAccount::new().await?)),
    }
}

/// What of a key decides where requests for tokens go.
#[derive(Deserialize)]
struct Issuer {
    token_uri: String,
}

/// Whether a token can be asked for with a key. Its text is not quoted.
fn check(key: &Secret) -> Result<(), String> {
    let issuer: Issuer = serde_json::from_str(key.reveal()).map_err(
        |_| "serviceAccountKey is not the key of a service account, which is JSON with a token_uri",
    )?;
    http::parse_url(&issuer.token_uri)
        .map(drop)
        .map_err(|why| format!("serviceAccountKey has a token_uri that cannot be asked: {why}"))
}

/// What went wrong, with the innermost cause.
fn told(error: &gcp_auth::Error) -> String {
    let message = error.to_string();
    match std::error::Error::source(error).map(http::cause) {
        Some(cause) if !message.ends_with(&cause) => format!("no Google token: {message}: {cause}"),
        Some(_) | None => format!("no Google token: {message}"),
    }
}

#[cfg(test)]
mod tests;
