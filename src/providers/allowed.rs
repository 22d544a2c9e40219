//! Which servers metrics may ask. Whoever writes an AnalysisTemplate chooses where the controller sends a request to, and
//! reads a part of the answer: where tenants share a controller, its operator says which servers that may be.

use std::str::FromStr;

use ipnet::IpNet;
use url::{Host, Url};

/// Servers that may be asked: `HOST`, `*.DOMAIN`, an address, or a network; each with `:PORT` for one port alone. Names are
/// compared as they are written, and not looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedServer {
    place: Place,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// This name, in lower case.
    Name(String),
    /// Every name that ends in this, which begins with a dot.
    Under(String),
    /// Addresses.
    Net(IpNet),
}

/// Text that names no server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not HOST, *.DOMAIN, ADDRESS or NETWORK, with or without :PORT, for example *.monitoring.svc:9090, 10.0.0.0/8 \
     or [fd00::/8]:9090"
)]
pub struct AllowedServerError(String);

impl FromStr for AllowedServer {
    type Err = AllowedServerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (place, port) = split(text)?;
            Some(Self { place: Place::parse(place)?, port })
        };
        parse().ok_or_else(|| AllowedServerError(text.to_owned()))
    }
}

/// The port behind the last colon, if there is one; an address with colons stands in brackets.
fn split(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, port) = rest.split_once(']')?;
        let port = if port.is_empty() { None } else { Some(port.strip_prefix(':')?.parse().ok()?) };
        return Some((inside, port));
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((place, port)) => Some((place, Some(port.parse().ok()?))),
        None => Some((text, None)),
    }
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(net) = text.parse::<IpNet>() {
            return Some(Self::Net(net));
        }
        if let Ok(address) = text.parse() {
            return Some(Self::Net(IpNet::new(address, if text.contains(':') { 128 } else { 32 }).ok()?));
        }
        let (is_under, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let is_name = |name: &str| {
            !name.is_empty()
                && name.split('.').all(|label| !label.is_empty())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let place = if is_under { Self::Under(format!(".{name}")) } else { Self::Name(name.clone()) };
        is_name(&name).then_some(place)
    }

    fn has(&self, host: &Host<&str>) -> bool {
        match (self, host) {
            (Self::Name(own), Host::Domain(name)) => *own == plain(name),
            (Self::Under(end), Host::Domain(name)) => plain(name).ends_with(end),
            (Self::Net(net), Host::Ipv4(address)) => net.contains(&std::net::IpAddr::V4(*address)),
            (Self::Net(net), Host::Ipv6(address)) => {
                net.contains(&address.to_canonical()) || net.contains(&std::net::IpAddr::V6(*address))
            }
            (Self::Name(_) | Self::Under(_), Host::Ipv4(_) | Host::Ipv6(_))
            | (Self::Net(_), Host::Domain(_)) => false,
        }
    }
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// All servers that may be asked; of none, every one.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed(Vec<AllowedServer>);

impl Allowed {
    /// These servers, and the one that is asked by default.
    pub(super) fn new(mut servers: Vec<AllowedServer>, default: Option<&str>) -> Self {
        let default = default.filter(|_| !servers.is_empty()).and_then(|text| Url::parse(text).ok());
        servers.extend(default.as_ref().and_then(AllowedServer::of));
        Self(servers)
    }

    /// Whether a server may be asked.
    pub(super) fn allows(&self, url: &Url) -> bool {
        let Some(host) = url.host() else { return false };
        let port = url.port_or_known_default();
        let is_meant = |one: &AllowedServer| one.place.has(&host) && (one.port.is_none() || one.port == port);
        self.0.is_empty() || self.0.iter().any(is_meant)
    }
}

impl AllowedServer {
    fn of(url: &Url) -> Option<Self> {
        let place = match url.host()? {
            Host::Domain(name) => Place::Name(plain(name)),
            Host::Ipv4(address) => Place::Net(std::net::IpAddr::V4(address).into()),
            Host::Ipv6(address) => Place::Net(std::net::IpAddr::V6(address).into()),
        };
        Some(Self { place, port: url.port_or_known_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(servers: &[&str], allowed: &[&str], refused: &[&str]) {
        let servers = servers.iter().map(|one| one.parse().unwrap()).collect();
        let all = Allowed::new(servers, Some("http://default:9090/prom"));
        let allows = |url: &&str| all.allows(&Url::parse(url).unwrap());
        assert_eq!(allowed.iter().filter(|url| !allows(url)).collect::<Vec<_>>(), <[&&str; 0]>::default());
        assert_eq!(refused.iter().filter(|url| allows(url)).collect::<Vec<_>>(), <[&&str; 0]>::default());
    }

    #[test]
    fn without_a_list_every_server_may_be_asked() {
        check(&[], &["http://anything", "http://169.254.169.254/latest"], &[]);
    }

    #[test]
    fn a_name_is_meant_however_it_is_written_and_nothing_like_it() {
        check(
            &["Prometheus.monitoring.svc:9090", "*.shop.example"],
            &[
                "http://prometheus.monitoring.SVC.:9090/x",
                "https://a.b.shop.example",
                "http://default:9090/api",
            ],
            &[
                "http://prometheus.monitoring.svc",
                "http://shop.example",
                "http://badshop.example",
                "http://prometheus.monitoring.svc.evil.example:9090",
                "http://user:prometheus.monitoring.svc@evil.example:9090",
                "http://10.0.0.1",
                "http://default:9091",
            ],
        );
    }

    #[test]
    fn addresses_are_compared_as_numbers() {
        check(
            &["10.0.0.0/8", "192.0.2.1:80", "[fd00::/8]:9090"],
            &[
                "http://10.1.2.3",
                "http://0x0a010203",
                "http://[::ffff:10.0.0.1]",
                "http://192.0.2.1",
                "http://[fd00::1]:9090",
            ],
            &["http://11.0.0.1", "http://192.0.2.1:81", "http://[fd00::1]", "http://10.example"],
        );
    }

    #[test]
    fn what_names_no_server_is_refused() {
        for text in
            ["", "*", "*.", "a b", "host:port", "host:99999", "10.0.0.0/40", "http://host", "[::1", "a..b"]
        {
            assert!(text.parse::<AllowedServer>().is_err(), "{text}");
        }
    }
}
