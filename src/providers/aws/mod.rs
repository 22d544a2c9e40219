//! Amazon Web Services: who signs a request, and the signature.
//!
//! What is nearest decides: keys of the environment, a web identity (IRSA), the shared configuration, a container's endpoint
//! (EKS Pod Identity, ECS), and only where none of them is set up the metadata of the instance. One that is set up and fails
//! is told, and never followed by the next: the role of the node is not what a pod's owner meant.

pub(super) mod cloud_watch;
mod context;
mod load_balancers;
mod nearest;
mod query_api;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use reqsign_aws_v4::{AssumeRoleCredentialProvider, Credential, RequestSigner};
use reqsign_core::hash::hex_sha256;
use reqsign_core::{Context, ProvideCredential, Signer};
use reqwest::Request;
use reqwest::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};

pub use self::context::AwsEnvironment;
pub use self::load_balancers::LoadBalancers;
use self::nearest::Nearest;
use super::http::{self, HttpClients};
use super::{Hidden, Secret};
use crate::analysis::query::access::SigV4;

/// Hash of a body, which is a part of the signature.
const CONTENT_HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");
/// What temporary credentials are besides their key.
const SESSION_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
/// The name that requests with an assumed role carry in AWS's logs.
const SESSION_NAME: &str = "serin";
/// Most identities whose credentials are kept; with more, all are asked for again.
const MAX_IDENTITIES: usize = 256;

/// Signs requests; credentials are asked for once, and kept until shortly before they expire.
pub(super) struct Aws {
    environment: AwsEnvironment,
    context: Context,
    identities: Mutex<BTreeMap<Identity, Signer<Credential>>>,
}

/// Whose credentials: a region besides, since each has its own issuer of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    region: String,
    profile: Option<String>,
    role_arn: Option<String>,
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws").finish_non_exhaustive()
    }
}

impl Aws {
    pub(super) fn new(environment: AwsEnvironment, clients: &Arc<HttpClients>) -> Self {
        let context = environment.context(clients);
        Self { environment, context, identities: Mutex::default() }
    }

    /// The region of a request to `host`: as it is given, as the host's name says, or as the environment says.
    pub(super) fn region(&self, given: Option<&str>, host: &str) -> Result<String, String> {
        let region = given.or_else(|| of_host(host)).or_else(|| self.environment.region());
        region
            .map(str::to_owned)
            .ok_or_else(|| "no AWS region is known: set AWS_REGION for the controller".to_owned())
    }

    /// Signs a request as it will be sent; what it carries that is secret is hidden from now on.
    ///
    /// # Errors
    /// Why there are no credentials, in one sentence.
    pub(super) async fn sign(
        &self,
        request: &mut Request,
        service: &str,
        who: &SigV4,
        hidden: &mut Hidden,
    ) -> Result<(), String> {
        let host = request.url().host_str().unwrap_or_default();
        let region = self.region(who.region.as_deref(), host);
        let region = region.map_err(|why| format!("{why}, or sigv4.region in the metric"))?;
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let hash = HeaderValue::try_from(hex_sha256(body)).map_err(|error| error.to_string())?;
        request.headers_mut().insert(CONTENT_HASH, hash);
        let unsigned =
            ::http::Request::builder().method(request.method().clone()).uri(request.url().as_str());
        let (mut parts, ()) = unsigned.body(()).map_err(|error| http::cause(&error))?.into_parts();
        parts.headers.clone_from(request.headers());
        let signer = self.signer(&Identity::of(who, &region));
        let signer = signer.with_request_signer(RequestSigner::new(service, &region));
        signer
            .sign(&mut parts, None)
            .await
            .map_err(|error| format!("no AWS credentials: {}", told(&error)))?;
        // The client writes it itself, in the same form.
        parts.headers.remove(HOST);
        for name in [SESSION_TOKEN, AUTHORIZATION] {
            // Some refusals repeat the whole request.
            let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
            if let Some(value) = value {
                hidden.add(&Secret::new(value));
            }
        }
        *request.headers_mut() = parts.headers;
        Ok(())
    }

    /// Forgets credentials that were refused: they may have been withdrawn, or replaced where they come from.
    pub(super) fn forget(&self, who: &SigV4) {
        let mut identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        identities
            .retain(|identity, _| (&identity.profile, &identity.role_arn) != (&who.profile, &who.role_arn));
    }

    fn signer(&self, identity: &Identity) -> Signer<Credential> {
        let mut identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signer) = identities.get(identity) {
            return signer.clone();
        }
        if identities.len() >= MAX_IDENTITIES {
            identities.clear();
        }
        let signer = self.new_signer(identity);
        identities.insert(identity.clone(), signer.clone());
        signer
    }

    fn new_signer(&self, identity: &Identity) -> Signer<Credential> {
        let nearest = Nearest::new(&self.environment, identity.profile.clone(), &identity.region);
        let Some(role_arn) = &identity.role_arn else { return self.signer_with(nearest, identity) };
        let issuer = self.signer_with(nearest, identity);
        let role = AssumeRoleCredentialProvider::new(role_arn.clone(), issuer)
            .with_role_session_name(SESSION_NAME.to_owned())
            .with_region(identity.region.clone())
            .with_regional_sts_endpoint();
        self.signer_with(role, identity)
    }

    fn signer_with(
        &self,
        credentials: impl ProvideCredential<Credential = Credential>,
        identity: &Identity,
    ) -> Signer<Credential> {
        Signer::new(self.context.clone(), credentials, RequestSigner::new("sts", &identity.region))
    }
}

impl Identity {
    fn of(who: &SigV4, region: &str) -> Self {
        Self { region: region.to_owned(), profile: who.profile.clone(), role_arn: who.role_arn.clone() }
    }
}

/// The region in the name of one of AWS's own hosts, such as `aps-workspaces.eu-central-1.amazonaws.com`.
fn of_host(host: &str) -> Option<&str> {
    let own = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    // Those of load balancers have the service behind the region, or before it.
    let own = own.strip_suffix(".elb").unwrap_or(own);
    own.rsplit('.').next().filter(|region| region.matches('-').count() >= 2)
}

/// What went wrong with credentials, with the innermost cause.
fn told(error: &reqsign_core::Error) -> String {
    let message = error.to_string();
    match std::error::Error::source(error).map(http::cause) {
        Some(cause) if cause != message => format!("{message}: {cause}"),
        Some(_) | None => message,
    }
}

#[cfg(test)]
mod balancer_tests;
#[cfg(test)]
mod cloud_watch_tests;
#[cfg(test)]
mod tests;
