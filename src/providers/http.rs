//! HTTP clients, kept and shared, and what goes wrong with them in words people understand.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use reqwest::header::{LOCATION, RETRY_AFTER};
use reqwest::redirect::{Action, Attempt, Policy};
use url::{Host, Url};

use super::allowed::Allowed;
use super::hidden::Hidden;
use crate::analysis::query::access::{CertificateCheck, is_loopback};

/// Most bytes of an answer; a query that answers more does not measure one thing.
const MAX_ANSWER: usize = 4 << 20;
/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Most of an unexpected answer that a message quotes, in characters.
const MAX_QUOTE: usize = 200;

/// A host and port that are reached at another address, in the manner of `curl --resolve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostOverride {
    /// Name of the host, in lower case.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Where it is.
    pub to: SocketAddr,
}

/// Text that is not `HOST:PORT:ADDRESS` or `HOST:PORT:ADDRESS:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not HOST:PORT:ADDRESS or HOST:PORT:ADDRESS:PORT, for example prometheus.monitoring.svc:9090:127.0.0.1"
)]
pub struct HostOverrideError(String);

impl FromStr for HostOverride {
    type Err = HostOverrideError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (host, rest) = text.split_once(':')?;
            let (port, address) = rest.split_once(':')?;
            let port: u16 = port.parse().ok()?;
            let bare = address.trim_start_matches('[').trim_end_matches(']');
            let to = match bare.parse::<IpAddr>() {
                Ok(ip) => SocketAddr::new(ip, port),
                Err(_) => address.parse().ok()?,
            };
            (!host.is_empty()).then(|| Self { host: host.to_ascii_lowercase(), port, to })
        };
        parse().ok_or_else(|| HostOverrideError(text.to_owned()))
    }
}

/// How a host is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Route {
    /// By its name, through the proxy of the environment if there is one.
    System,
    /// By its name, without a proxy: a proxy cannot reach this machine's loopback addresses, and has others of the link.
    Direct,
    /// At this address, without a proxy.
    Override(String, SocketAddr),
}

/// What becomes of an answer that leads elsewhere.
#[derive(Clone, Debug)]
pub(super) enum Redirects {
    /// It is followed to a server that may be asked.
    Followed(Allowed),
    /// It is an error: what was to be sent would not get there.
    Refused,
}

/// Clients by what makes them differ; their connections are reused from measurement to measurement.
#[derive(Debug)]
pub(super) struct HttpClients {
    overrides: Vec<HostOverride>,
    redirects: Redirects,
    clients: Mutex<BTreeMap<(CertificateCheck, Route), reqwest::Client>>,
}

impl HttpClients {
    pub(super) fn new(overrides: Vec<HostOverride>, redirects: Redirects) -> Self {
        Self { overrides, redirects, clients: Mutex::default() }
    }

    /// The same for a server that a metric has chosen: one that may be asked.
    pub(super) fn for_metric(
        &self,
        url: Url,
        certificate: CertificateCheck,
    ) -> Result<(reqwest::Client, Url), String> {
        match &self.redirects {
            Redirects::Followed(allowed) if allowed.allows(&url) => return self.for_url(url, certificate),
            Redirects::Followed(_) | Redirects::Refused => {}
        }
        Err("metrics may not ask this server: it is none of those that the controller's flag --allow-server names"
            .to_owned())
    }

    /// A client for `url`, and the URL to use with it: an override may lead to another port.
    pub(super) fn for_url(
        &self,
        mut url: Url,
        certificate: CertificateCheck,
    ) -> Result<(reqwest::Client, Url), String> {
        let route = self.route(&url);
        if let Route::Override(_, to) = &route {
            url.set_port(Some(to.port())).map_err(|()| format!("{} cannot have a port", shown(&url)))?;
        }
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (certificate, route);
        if let Some(client) = clients.get(&key) {
            return Ok((client.clone(), url));
        }
        let client = build(certificate, &key.1, &self.redirects)
            .map_err(|error| format!("cannot make an HTTP client: {error}"))?;
        clients.insert(key, client.clone());
        Ok((client, url))
    }

    fn route(&self, url: &Url) -> Route {
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default());
        let found = self.overrides.iter().find(|one| one.host == host && Some(one.port) == port);
        let is_link_local = matches!(url.host(), Some(Host::Ipv4(ip)) if ip.is_link_local());
        match found {
            Some(found) => Route::Override(found.host.clone(), found.to),
            None if is_link_local || is_loopback(url) => Route::Direct,
            None => Route::System,
        }
    }
}

fn build(
    certificate: CertificateCheck,
    route: &Route,
    redirects: &Redirects,
) -> reqwest::Result<reqwest::Client> {
    let redirects = match redirects.clone() {
        Redirects::Followed(allowed) => Policy::custom(move |attempt| follow(attempt, &allowed)),
        Redirects::Refused => Policy::none(),
    };
    let builder = reqwest::Client::builder()
        .user_agent(concat!("serin/", env!("CARGO_PKG_VERSION")))
        .redirect(redirects)
        .tls_danger_accept_invalid_certs(certificate == CertificateCheck::Off);
    match route {
        Route::System => builder.build(),
        Route::Direct => builder.no_proxy().build(),
        Route::Override(host, to) => builder.no_proxy().resolve(host, *to).build(),
    }
}

/// Follows a redirect on the same server, or to the same name with TLS: elsewhere, headers that the server was meant to
/// get would go to a stranger.
fn follow(attempt: Attempt<'_>, allowed: &Allowed) -> Action {
    let (Some(from), to) = (attempt.previous().last(), attempt.url()) else { return attempt.stop() };
    let is_same = from.origin() == to.origin() || from.host() == to.host() && to.scheme() == "https";
    let goes_on = is_same && attempt.previous().len() <= MAX_REDIRECTS && allowed.allows(to);
    if goes_on { attempt.follow() } else { attempt.stop() }
}

/// Reads a base URL.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    // The text is not quoted where it cannot be parsed: it may hold a password.
    let url = Url::parse(text).map_err(|error| format!("the address is not a URL: {error}"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        scheme => Err(format!("the address begins with '{scheme}:', not with http:// or https://")),
    }
}

/// A URL as a message shows it: without credentials and query.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.as_str().trim_end_matches('/').to_owned()
}

/// The same of a URL that was written as `text`. One that holds a secret may have been parsed into pieces of it: then
/// only the server is named.
pub(super) fn shown_unless_hidden(url: &Url, text: &str, hidden: &Hidden) -> String {
    if hidden.is_in(text) { url.origin().ascii_serialization() } else { shown(url) }
}

/// What else an answer says that has no value, for a message: how long to leave the server alone, or where to ask.
pub(super) fn aside(response: &reqwest::Response) -> String {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    // The longest that the standard has is a date of 29 characters.
    if let Some(when) = header(RETRY_AFTER).filter(|when| when.len() <= 64) {
        return format!(" (Retry-After: {when})");
    }
    let leads_to = header(LOCATION).and_then(|location| response.url().join(location).ok());
    let leads_to = leads_to.filter(|_| response.status().is_redirection());
    leads_to.map(|url| format!(" (it leads to {})", url.origin().ascii_serialization())).unwrap_or_default()
}

/// Reads the whole answer, if it is not too large.
pub(super) async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| cause(&error))? {
        if body.len().saturating_add(chunk.len()) > MAX_ANSWER {
            return Err(format!("the answer is larger than {} MiB", MAX_ANSWER >> 20));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Why a request got no answer: the innermost cause, without the URL.
pub(super) fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    let text = text.split_once(" (os error").map_or(text.as_str(), |(before, _)| before);
    let mut characters = text.chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}

/// The beginning of an unexpected answer, on one line, for a message; empty when there is nothing to show.
pub(super) fn quote(body: &[u8], hidden: &Hidden) -> String {
    let text = hidden.redact(&String::from_utf8_lossy(body));
    let line: Vec<&str> = text.split_whitespace().collect();
    let short: String = line.join(" ").chars().take(MAX_QUOTE).collect();
    if short.is_empty() { short } else { format!(": {short}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_are_written_as_for_curl() {
        let parsed: HostOverride = "Prometheus.monitoring.svc:9090:127.0.0.1".parse().unwrap();
        assert_eq!(
            (parsed.host.as_str(), parsed.to.to_string().as_str()),
            ("prometheus.monitoring.svc", "127.0.0.1:9090")
        );
        let parsed: HostOverride = "p:80:127.0.0.2:19090".parse().unwrap();
        assert_eq!((parsed.port, parsed.to.to_string().as_str()), (80, "127.0.0.2:19090"));
        let parsed: HostOverride = "p:80:[::1]".parse().unwrap();
        assert_eq!(parsed.to.to_string(), "[::1]:80");
        for text in ["", "p", "p:80", "p:x:127.0.0.1", ":80:127.0.0.1", "p:80:elsewhere"] {
            assert!(text.parse::<HostOverride>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_shown_url_has_no_credentials() {
        let url = Url::parse("https://me:s3cret@host:9090/prom/?token=s3cret#x").unwrap();
        assert_eq!(shown(&url), "https://host:9090/prom");
    }

    #[test]
    fn only_http_addresses_are_taken() {
        assert!(parse_url("http://host:9090").is_ok());
        assert_eq!(
            parse_url("prometheus:9090").unwrap_err(),
            "the address begins with 'prometheus:', not with http:// or https://"
        );
        assert!(parse_url("host").unwrap_err().starts_with("the address is not a URL"));
    }
}
