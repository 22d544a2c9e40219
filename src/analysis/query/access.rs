//! What the questions to all providers share: where a server is, who asks, and how long it may take.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use url::{Host, Url};

use crate::analysis::args::PLACEHOLDER;
use crate::analysis::metric::{FieldError, number};
use crate::analysis::secrets::Secret;
use crate::api::metric_provider::{Authentication, OAuth2Config, Sigv4Config, WebHeader};
use crate::units::parse_duration;

/// Longest time a query may take, in seconds: until then it holds one of the places that all runs share.
const MAX_TIMEOUT: u64 = 600;

/// Whether a server's certificate is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateCheck {
    /// Against the system's trust roots.
    #[default]
    On,
    /// Any certificate is accepted.
    Off,
}

impl CertificateCheck {
    /// What the field `insecure` means.
    pub(super) fn unless(insecure: Option<bool>) -> Self {
        if insecure == Some(true) { Self::Off } else { Self::On }
    }
}

/// How to authenticate.
#[derive(Clone, Debug, PartialEq)]
pub enum Credentials {
    /// A user's name and password.
    Basic {
        /// Name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// OAuth2 client credentials.
    OAuth2(OAuth2),
    /// AWS signature version 4.
    SigV4(SigV4),
    /// A token of Google's.
    Google {
        /// The key of a service account, as Google gives it out; `None` for whoever the controller is there.
        key: Option<Secret>,
    },
}

/// OAuth2 client credentials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OAuth2 {
    /// URL that gives tokens.
    pub token_url: String,
    /// Client id.
    pub client_id: String,
    /// Client secret.
    pub client_secret: Secret,
    /// Scopes to ask for.
    pub scopes: Vec<String>,
}

/// Who signs for AWS, out of what the controller can be; each field is the nearest default when absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SigV4 {
    /// Region that the signature is for.
    pub region: Option<String>,
    /// Profile of the shared configuration.
    pub profile: Option<String>,
    /// Role that is assumed.
    pub role_arn: Option<String>,
}

impl Credentials {
    /// Reads `authentication`. An empty object counts as absent: Argo Rollouts writes it for those that are not used into
    /// every run it makes.
    pub(super) fn parse(wire: Option<&Authentication>, problems: &mut Vec<FieldError>) -> Option<Self> {
        let wire = wire?;
        let oauth2 = wire.oauth2.as_ref().filter(|oauth2| **oauth2 != OAuth2Config::default());
        let sigv4 = wire.sigv4.as_ref().filter(|sigv4| **sigv4 != Sigv4Config::default());
        let given = [
            ("basicAuth", wire.basic_auth.is_some()),
            ("oauth2", oauth2.is_some()),
            ("sigv4", sigv4.is_some()),
        ];
        let given: Vec<_> = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
        if given.len() > 1 {
            let problem = format!("has {}; one is allowed", given.join(" and "));
            problems.push(FieldError::new("authentication", problem));
        }
        if let Some(basic) = &wire.basic_auth {
            let username = basic.username.clone().unwrap_or_default();
            let password = Secret::new(basic.password.clone().unwrap_or_default());
            return Some(Self::Basic { username, password });
        }
        let oauth2 = oauth2.map(|oauth2| Self::OAuth2(OAuth2::parse(oauth2, problems)));
        oauth2.or_else(|| sigv4.map(|sigv4| Self::SigV4(SigV4::parse(sigv4, problems))))
    }

    /// The same for a server that is nobody's service: a signature names one.
    pub(super) fn unsigned(wire: Option<&Authentication>, problems: &mut Vec<FieldError>) -> Option<Self> {
        let credentials = Self::parse(wire, problems);
        if let Some(Self::SigV4(_)) = credentials {
            let problem = "is supported for prometheus only; basicAuth and oauth2 are supported here";
            problems.push(FieldError::new("authentication.sigv4", problem));
        }
        credentials
    }
}

impl SigV4 {
    fn parse(wire: &Sigv4Config, problems: &mut Vec<FieldError>) -> Self {
        let mut refuse = |name: &str, problem: String| {
            problems.push(FieldError::new(format!("authentication.sigv4.{name}"), problem));
        };
        let region = text(wire.region.as_ref());
        if let Some(region) = region.as_ref().filter(|region| !is_region(region)) {
            refuse("region", format!("'{region}' is not the name of a region, such as eu-central-1"));
        }
        let role_arn = text(wire.role_arn.as_ref());
        if let Some(arn) = role_arn.as_ref().filter(|arn| !is_role(arn)) {
            let example = "arn:aws:iam::123456789012:role/metrics";
            refuse("roleArn", format!("'{arn}' is not the ARN of a role, such as {example}"));
        }
        Self { region, profile: text(wire.profile.as_ref()), role_arn }
    }
}

/// Whether a text can be the name of a region: it becomes a part of host names.
pub(super) fn is_region(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    text.len() <= 64 && text.split('-').all(is_part) && text.contains('-')
}

fn is_role(arn: &str) -> bool {
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (scheme, partition, service, _, account, resource) = (next(), next(), next(), next(), next(), next());
    scheme == "arn"
        && partition.starts_with("aws")
        && service == "iam"
        && account.len() == 12
        && resource.starts_with("role/")
}

impl OAuth2 {
    fn parse(wire: &OAuth2Config, problems: &mut Vec<FieldError>) -> Self {
        // As they are written: white space may be a part of a secret.
        let mut required = |name: &str, field: &Option<String>| {
            let text = field.clone().unwrap_or_default();
            if text.is_empty() {
                problems.push(FieldError::new(format!("authentication.oauth2.{name}"), "is missing"));
            }
            text
        };
        Self {
            token_url: required("tokenUrl", &wire.token_url),
            client_id: required("clientId", &wire.client_id),
            client_secret: Secret::new(required("clientSecret", &wire.client_secret)),
            scopes: wire.scopes.clone().unwrap_or_default(),
        }
    }
}

/// A text without the white space around it; `None` when nothing is left.
pub(super) fn text(field: Option<&String>) -> Option<String> {
    field.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// A text that must be there.
pub(super) fn required(name: &str, field: Option<&String>, problems: &mut Vec<FieldError>) -> String {
    text(field).unwrap_or_else(|| {
        problems.push(FieldError::new(name, "is missing"));
        String::new()
    })
}

/// A path under a base URL.
pub(super) fn url(name: &str, base: &str, path: &str) -> Result<Url, FieldError> {
    let refused = |problem: String| FieldError::new(name, problem);
    // Where a spec is checked, a secret address is not known.
    let base = if base == PLACEHOLDER { "http://unread" } else { base };
    // The text is not quoted: it may hold a password.
    let mut url = Url::parse(base).map_err(|why| refused(format!("is not a URL: {why}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(refused("does not begin with http:// or https://".to_owned()));
    }
    let path = format!("{}/{path}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

/// Whether a server is on this machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Headers by name; any value may be a secret.
pub(super) fn headers(wire: Option<&Vec<WebHeader>>) -> Vec<(String, Secret)> {
    let headers = wire.into_iter().flatten();
    headers.map(|header| (header.key.clone(), Secret::new(header.value.clone()))).collect()
}

/// How far back a query looks; `default` when it does not say.
pub(super) fn interval(
    field: Option<&String>,
    default: Duration,
    problems: &mut Vec<FieldError>,
) -> Duration {
    let Some(text) = text(field) else { return default };
    parse_duration(&text).unwrap_or_else(|| {
        problems.push(FieldError::new("interval", format!("'{text}' is not a duration such as 30s or 5m")));
        default
    })
}

/// Seconds that a query may take; `default` when it does not say, or says 0.
pub(super) fn timeout(
    name: &str,
    field: Option<&IntOrString>,
    default: Duration,
    problems: &mut Vec<FieldError>,
) -> Duration {
    let seconds = number(name, field, problems).unwrap_or_default();
    match u64::try_from(seconds) {
        Ok(0) => default,
        Ok(seconds) if seconds > MAX_TIMEOUT => {
            let problem = format!("is {seconds} seconds; at most {MAX_TIMEOUT} are allowed");
            problems.push(FieldError::new(name, problem));
            default
        }
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            problems.push(FieldError::new(name, format!("{seconds} is negative")));
            default
        }
    }
}
