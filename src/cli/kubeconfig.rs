//! Where the cluster is: the kubeconfig as kubectl finds it, and the proxy on the way to it.
//!
//! A proxy that the kubeconfig names is always used. The one of the environment (`HTTPS_PROXY`) is not used for servers
//! that `NO_PROXY` names or that are on this machine. kube's own choice is not asked: it looks for the proxy's name in
//! `NO_PROXY`, not for the server's.

use std::error::Error as _;
use std::path::PathBuf;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use thiserror::Error;

/// Which kubeconfig, and what of it.
pub(super) struct Choice {
    /// Its path; `None` for `KUBECONFIG`, then `~/.kube/config`.
    pub(super) path: Option<PathBuf>,
    /// Context, cluster and user; absent ones are the kubeconfig's.
    pub(super) options: KubeConfigOptions,
}

impl Choice {
    /// That at a path, or where kubectl looks, with a context of it, or the current one.
    pub(super) fn of(path: Option<PathBuf>, context: Option<String>) -> Self {
        Self { path, options: KubeConfigOptions { context, ..KubeConfigOptions::default() } }
    }
}

/// Why there is no way to a cluster.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be read, or lacks what was asked for.
    #[error("cannot read the kubeconfig")]
    Kubeconfig(#[source] KubeconfigError),
    /// There is neither a kubeconfig nor a service account.
    #[error("no kubeconfig and not in a cluster ({in_cluster})")]
    Nowhere {
        /// Why there is no kubeconfig.
        #[source]
        kubeconfig: KubeconfigError,
        /// Why there is no service account.
        in_cluster: InClusterError,
    },
    /// The address of the proxy is not one. It is not shown: it may hold a password.
    #[error("the proxy's address in {place} is not a URL")]
    Proxy {
        /// Where it stands.
        place: &'static str,
        /// What is wrong with it.
        #[source]
        source: http::uri::InvalidUri,
    },
}

impl ConnectError {
    /// The error and its causes, without what a cause repeats.
    pub(super) fn in_one_line(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            let more = cause.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            source = cause.source();
        }
        text
    }
}

impl Choice {
    /// Whether something was asked for that only a kubeconfig has.
    fn is_explicit(&self) -> bool {
        let KubeConfigOptions { context, cluster, user } = &self.options;
        self.path.is_some() || context.is_some() || cluster.is_some() || user.is_some()
    }

    fn read(&self) -> Result<Kubeconfig, KubeconfigError> {
        self.path.as_ref().map_or_else(Kubeconfig::read, Kubeconfig::read_from)
    }

    /// The address of the proxy that the kubeconfig names for the chosen cluster.
    fn named_proxy(&self, file: &Kubeconfig) -> Option<String> {
        let context = self.options.context.as_ref().or(file.current_context.as_ref())?;
        let context = file.contexts.iter().find(|found| found.name == *context)?.context.as_ref()?;
        let cluster = self.options.cluster.as_ref().unwrap_or(&context.cluster);
        let cluster = file.clusters.iter().find(|found| found.name == *cluster)?.cluster.as_ref()?;
        cluster.proxy_url.clone().filter(|address| !address.is_empty())
    }
}

/// The way to the cluster: by the kubeconfig, or by the pod's service account where nothing of a kubeconfig was chosen
/// and none is usable.
///
/// # Errors
/// When neither leads anywhere.
pub(super) async fn load(choice: &Choice) -> Result<Config, ConnectError> {
    match by_kubeconfig(choice).await {
        Err(ConnectError::Kubeconfig(kubeconfig)) if !choice.is_explicit() => {
            let mut config =
                Config::incluster().map_err(|in_cluster| ConnectError::Nowhere { kubeconfig, in_cluster })?;
            config.apply_debug_overrides();
            Ok(config)
        }
        outcome => outcome,
    }
}

async fn by_kubeconfig(choice: &Choice) -> Result<Config, ConnectError> {
    let file = choice.read().map_err(ConnectError::Kubeconfig)?;
    let named = choice.named_proxy(&file);
    let loaded = Config::from_custom_kubeconfig(file, &choice.options).await;
    let mut config = loaded.map_err(ConnectError::Kubeconfig)?;
    config.proxy_url = proxy(named, &Environment::read(), &config.cluster_url)?;
    Ok(config)
}

/// What the environment says of proxies; empty for nothing.
#[derive(Debug, Default)]
struct Environment {
    https_proxy: String,
    no_proxy: String,
}

impl Environment {
    fn read() -> Self {
        Self {
            https_proxy: variable(["HTTPS_PROXY", "https_proxy"]),
            no_proxy: variable(["NO_PROXY", "no_proxy"]),
        }
    }

    /// Whether `server` is reached without a proxy.
    fn spares(&self, server: &Uri) -> bool {
        // The matcher's `*` means every name, but no address.
        if self.no_proxy.split(',').any(|entry| entry.trim() == "*") || is_on_this_machine(server) {
            return true;
        }
        // Any proxy will do: only the exceptions are asked for.
        let matcher = Matcher::builder().all("http://proxy").no(self.no_proxy.as_str()).build();
        matcher.intercept(server).is_none()
    }
}

/// The first of these variables that is set to something, as kube reads them.
#[expect(
    clippy::disallowed_methods,
    reason = "they are arguments of the program, under the names that every program knows"
)]
fn variable(names: [&str; 2]) -> String {
    names
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()))
        .unwrap_or_default()
}

/// The proxy on the way to `server`.
fn proxy(
    named: Option<String>,
    environment: &Environment,
    server: &Uri,
) -> Result<Option<Uri>, ConnectError> {
    let parse = |text: &str, place| {
        text.parse::<Uri>().map(Some).map_err(|source| ConnectError::Proxy { place, source })
    };
    let address = environment.https_proxy.trim();
    match named {
        Some(named) => parse(&named, "the kubeconfig"),
        None if address.is_empty() || server.scheme_str() != Some("https") => Ok(None),
        None if environment.spares(server) => Ok(None),
        // Written without a scheme, as other programs allow.
        None if !address.contains("://") => parse(&format!("http://{address}"), "HTTPS_PROXY"),
        None => parse(address, "HTTPS_PROXY"),
    }
}

/// Whether a proxy could not reach the server: the addresses are this machine's own.
fn is_on_this_machine(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let address = host.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(named: Option<&str>, https_proxy: &str, no_proxy: &str, server: &str) -> Option<String> {
        let environment = Environment { https_proxy: https_proxy.to_owned(), no_proxy: no_proxy.to_owned() };
        let chosen = proxy(named.map(str::to_owned), &environment, &server.parse().unwrap()).unwrap();
        chosen.map(|uri| uri.to_string())
    }

    #[test]
    fn the_proxy_of_the_environment_is_used_unless_the_server_is_spared() {
        let proxy = "http://me:s3cret@127.0.0.1:3128";
        for (server, no_proxy, is_used) in [
            ("https://api.example.com:6443", "", true),
            ("https://api.example.com:6443", "127.0.0.1,localhost", true),
            ("https://api.example.com:6443", "other.com, .example.com,", false),
            ("https://10.1.2.3:6443", "10.0.0.0/8", false),
            ("https://10.1.2.3:6443", "*", false),
            ("https://127.0.0.1:6443", "", false),
            ("https://[::1]:6443", "", false),
            ("https://localhost:6443", "", false),
            ("http://api.example.com:8080", "", false),
        ] {
            let used = chosen(None, proxy, no_proxy, server);
            assert_eq!(used.is_some_and(|used| used.starts_with(proxy)), is_used, "{server} {no_proxy}");
        }
        assert_eq!(chosen(None, "", "", "https://api.example.com"), None);
        assert_eq!(chosen(None, "p:3128", "", "https://api.example.com").unwrap(), "http://p:3128/");
    }

    #[test]
    fn a_proxy_that_the_kubeconfig_names_is_always_used() {
        let named = Some("socks5://localhost:1080");
        let used = chosen(named, "http://other:1", "*", "https://127.0.0.1:6443");
        assert!(used.unwrap().starts_with("socks5://localhost:1080"));
    }

    #[test]
    fn an_address_of_a_proxy_that_cannot_be_read_is_not_shown() {
        let environment =
            Environment { https_proxy: "http://me:s3 cret@p".to_owned(), ..Environment::default() };
        let error = proxy(None, &environment, &"https://api.example.com".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "the proxy's address in HTTPS_PROXY is not a URL");
        assert!(!format!("{error:?}").contains("s3"), "{error:?}");
    }

    #[tokio::test]
    async fn a_client_can_be_made_for_every_kind_of_proxy() {
        crate::providers::install_tls();
        for proxy in ["http://p:3128", "https://p:3128", "socks5://p:1080"] {
            let mut config = Config::new("https://api.example.com".parse().unwrap());
            config.proxy_url = Some(proxy.parse().unwrap());
            assert!(kube::Client::try_from(config).is_ok(), "{proxy}");
        }
    }

    #[test]
    fn the_proxy_is_that_of_the_chosen_cluster() {
        let file = Kubeconfig::from_yaml(
            "{current-context: a, contexts: [{name: a, context: {cluster: one}}, {name: b, context: {cluster: two}}], \
             clusters: [{name: one, cluster: {server: 'https://one'}}, \
             {name: two, cluster: {server: 'https://two', proxy-url: 'http://p'}}]}",
        )
        .unwrap();
        let named = |context: Option<&str>, cluster: Option<&str>| {
            let options = KubeConfigOptions {
                context: context.map(str::to_owned),
                cluster: cluster.map(str::to_owned),
                user: None,
            };
            Choice { path: None, options }.named_proxy(&file)
        };
        assert_eq!(named(None, None), None);
        assert_eq!(named(Some("b"), None).as_deref(), Some("http://p"));
        assert_eq!(named(None, Some("two")).as_deref(), Some("http://p"));
    }
}
