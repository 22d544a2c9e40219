//! What credentials are found with: the environment as it was at the start, files, and our own HTTP clients.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqsign_core::{Context, Env, Error, FileRead, HttpSend, Result};
use url::Url;

use super::super::http::{self, HttpClients};
use crate::analysis::query::access::CertificateCheck;

/// How long an issuer of credentials may take. Those of a node and of a container are on the same machine; where there are
/// none, nothing answers at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// The variables of the environment that AWS's own tools know: `HOME`, and those that begin with `AWS_`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AwsEnvironment(BTreeMap<String, String>);

impl fmt::Debug for AwsEnvironment {
    /// Names alone: a value may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(String, String)> for AwsEnvironment {
    /// Takes what AWS's own tools know; a variable that is set to nothing counts as absent.
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        let known = |name: &str| name == "HOME" || name.starts_with("AWS_");
        Self(variables.into_iter().filter(|(name, value)| known(name) && !value.is_empty()).collect())
    }
}

impl AwsEnvironment {
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The region for whatever names none.
    pub(super) fn region(&self) -> Option<&str> {
        self.variable("AWS_REGION").or_else(|| self.variable("AWS_DEFAULT_REGION"))
    }

    /// Where a service is reached in place of its own address; `service` as in `AWS_ENDPOINT_URL_STS`.
    pub(super) fn endpoint(&self, service: &str) -> Option<&str> {
        let own = self.variable(&format!("AWS_ENDPOINT_URL_{service}"));
        own.or_else(|| self.variable("AWS_ENDPOINT_URL"))
    }

    pub(super) fn context(&self, clients: &Arc<HttpClients>) -> Context {
        let issuers = Issuers { clients: Arc::clone(clients), sts: self.endpoint("STS").map(str::to_owned) };
        Context::new().with_env(self.clone()).with_file_read(Files).with_http_send(issuers)
    }
}

impl Env for AwsEnvironment {
    fn var(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    fn vars(&self) -> HashMap<String, String> {
        self.0.clone().into_iter().collect()
    }

    fn home_dir(&self) -> Option<PathBuf> {
        self.0.get("HOME").map(PathBuf::from)
    }
}

#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> Result<Vec<u8>> {
        tokio::fs::read(path)
            .await
            .map_err(|error| Error::config_invalid("cannot be read").with_source(error))
    }
}

/// Where credentials come from: STS, and what answers on the node.
#[derive(Debug)]
struct Issuers {
    clients: Arc<HttpClients>,
    sts: Option<String>,
}

impl Issuers {
    async fn send(
        &self,
        request: ::http::Request<Bytes>,
    ) -> std::result::Result<::http::Response<Bytes>, String> {
        let (parts, body) = request.into_parts();
        let mut url = http::parse_url(&parts.uri.to_string())?;
        let is_sts = url.host_str().is_some_and(|host| host.starts_with("sts."));
        if let Some(endpoint) = self.sts.as_ref().filter(|_| is_sts) {
            url = moved(&url, endpoint)?;
        }
        let (client, url) = self.clients.for_url(url, CertificateCheck::On)?;
        let sent = client.request(parts.method, url).headers(parts.headers).body(body).send();
        let response = sent.await.map_err(|error| http::cause(&error))?;
        let status = response.status();
        let mut answer = ::http::Response::new(http::read(response).await?.into());
        *answer.status_mut() = status;
        Ok(answer)
    }
}

impl HttpSend for Issuers {
    async fn http_send(&self, request: ::http::Request<Bytes>) -> Result<::http::Response<Bytes>> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let sent = tokio::time::timeout(PATIENCE, self.send(request)).await;
        let sent = sent.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
        sent.map_err(|why| Error::unexpected(format!("{host}: {why}")))
    }
}

/// The same request at another endpoint.
fn moved(url: &Url, endpoint: &str) -> std::result::Result<Url, String> {
    let mut moved = http::parse_url(endpoint)?;
    moved.set_path(url.path());
    moved.set_query(url.query());
    Ok(moved)
}
