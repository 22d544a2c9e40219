//! Where values are measured: I/O, never a verdict.
//!
//! A provider is asked with a `MeasureRequest` and answers with a `Sample`: a value, or one sentence that says why
//! there is none. It reads no clock but the time that passes: the request says when it was asked.

mod allowed;
mod aws;
mod deliver;
mod exchange;
mod google;
mod headers;
mod hidden;
mod http;
mod job;
mod kayenta;
mod oauth2;
mod prometheus;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use kube::Client;
use tokio::sync::Semaphore;

use crate::analysis::query::access::{CertificateCheck, Credentials};
use crate::analysis::query::{JOB_NAME, JOB_NAMESPACE};
use crate::analysis::{MeasureRequest, Query, Sample, Secret, Value};

use allowed::Allowed;
pub use allowed::{AllowedServer, AllowedServerError};
use aws::{Aws, cloud_watch};
pub use aws::{AwsEnvironment, LoadBalancers};
use google::Google;
use hidden::Hidden;
pub use http::{HostOverride, HostOverrideError};
use http::{HttpClients, Redirects};
use oauth2::Tokens;

/// Longest text of one entry of a measurement's metadata, in characters.
const MAX_METADATA: usize = 2_048;

/// Something that measures.
pub trait Provider {
    /// Takes one measurement; a query ends at the latest with its own timeout, a Job when the Job does.
    fn measure(&self, request: &MeasureRequest) -> impl Future<Output = Sample> + Send;
}

/// Settings of all providers.
#[derive(Clone, Debug, Default)]
pub struct ProviderOptions {
    /// Prometheus for queries without an address, which may hold a password; `None` makes the address required.
    pub default_prometheus_address: Option<Secret>,
    /// Hosts that are reached elsewhere than their name says.
    pub resolve: Vec<HostOverride>,
    /// Servers that metrics may ask, besides the default Prometheus; when empty, all.
    pub allowed: Vec<AllowedServer>,
    /// What AWS's own tools would find in the environment.
    pub aws: AwsEnvironment,
    /// Where Jobs run; `None` where there is no cluster.
    pub cluster: Option<Cluster>,
}

/// The cluster in which Jobs run.
#[derive(Clone)]
pub struct Cluster(pub Client);

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster")
    }
}

/// All providers. Cheap to clone; connections and tokens are shared.
#[derive(Clone, Debug)]
pub struct Providers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cluster: Option<Cluster>,
    default_prometheus_address: Option<Secret>,
    clients: Arc<HttpClients>,
    /// Those of notifications, which are not sent anywhere else.
    deliverers: HttpClients,
    tokens: Tokens,
    google: Google,
    kayenta: Semaphore,
    aws: Aws,
}

/// What a provider found, before it becomes a sample.
#[derive(Debug, Default)]
struct Finding {
    metadata: BTreeMap<String, String>,
    /// What must not show, also where only a part of a text is kept.
    hidden: Hidden,
}

impl Finding {
    /// Notes something about the measurement, as long as it may be.
    fn note(&mut self, key: &str, text: &str) {
        let text = self.hidden.redact(text).chars().take(MAX_METADATA).collect();
        self.metadata.insert(key.to_owned(), text);
    }
}

impl Providers {
    /// Providers with these settings; installs the TLS provider of the process if none is.
    #[must_use]
    pub fn new(options: ProviderOptions) -> Self {
        install_tls();
        let default = options.default_prometheus_address.as_ref().map(Secret::reveal);
        let allowed = Allowed::new(options.allowed, default);
        let deliverers = HttpClients::new(options.resolve.clone(), Redirects::Refused);
        let clients = Arc::new(HttpClients::new(options.resolve, Redirects::Followed(allowed)));
        let shared = Shared {
            cluster: options.cluster,
            default_prometheus_address: options.default_prometheus_address,
            aws: Aws::new(options.aws, &clients),
            clients,
            deliverers,
            tokens: Tokens::default(),
            google: Google::default(),
            kayenta: Semaphore::new(kayenta::AT_ONCE),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Reads load balancers of AWS, with the same connections and credentials.
    #[must_use]
    pub fn load_balancers(&self) -> LoadBalancers {
        LoadBalancers::new(Arc::clone(&self.shared))
    }

    /// Which servers a measurement waits for, in a form that is equal for equal servers; never shown to people. The
    /// issuer of a token is one of them: it can make a measurement wait, too. `None` for a Job and for a judgement of Kayenta's,
    /// which hold no server while they go on.
    #[must_use]
    pub fn server(&self, request: &MeasureRequest) -> Option<String> {
        let (address, credentials) = match &request.query {
            Query::Prometheus(query) => {
                (prometheus::address(&self.shared, query), query.credentials.as_ref())
            }
            Query::CloudWatch(_) => (Some(cloud_watch::ADDRESS), None),
            Query::Http(query) => (Some(query.request.url.as_str()), query.request.credentials.as_ref()),
            Query::Job(_) | Query::Kayenta(_) => return None,
        };
        let issuer = match credentials {
            Some(Credentials::OAuth2(oauth2)) => Some(oauth2.token_url.as_str()),
            Some(Credentials::Basic { .. } | Credentials::SigV4(_) | Credentials::Google { .. }) | None => {
                None
            }
        };
        let urls = address.into_iter().chain(issuer).filter_map(|text| http::parse_url(text).ok());
        let servers = urls.map(|url| {
            let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default());
            format!("{host}:{}", port.unwrap_or_default())
        });
        Some(servers.collect::<Vec<_>>().join(" "))
    }
}

impl Provider for Providers {
    async fn measure(&self, request: &MeasureRequest) -> Sample {
        let begun = tokio::time::Instant::now();
        let mut finding = Finding { hidden: Hidden::new(&request.secrets), ..Finding::default() };
        let result: Result<Value, String> = match &request.query {
            Query::Prometheus(query) => prometheus::measure(&self.shared, query, &mut finding).await,
            Query::CloudWatch(query) => cloud_watch::measure(&self.shared, query, &mut finding).await,
            Query::Http(query) => exchange::measure(&self.shared, query, &mut finding).await,
            Query::Kayenta(query) => kayenta::measure(&self.shared, query, &mut finding).await,
            Query::Job(query) => {
                finding.note(JOB_NAME, &query.name);
                finding.note(JOB_NAMESPACE, &query.namespace);
                match &self.shared.cluster {
                    Some(Cluster(client)) => job::measure(client, query).await,
                    None => Err("there is no cluster in which a Job could run".to_owned()),
                }
            }
        };
        let result = match result {
            Ok(value) => clean(&finding.hidden, value).await,
            Err(why) => Err(finding.hidden.redact(&why)),
        };
        Sample {
            metric: request.metric.clone(),
            started_at: request.at,
            finished_at: request.at.plus(begun.elapsed()),
            result,
            metadata: finding.metadata,
        }
    }
}

/// A value without secrets. Megabytes of it would keep every other measurement of this thread waiting.
async fn clean(hidden: &Hidden, value: Value) -> Result<Value, String> {
    if !matches!(value, Value::Json(_)) {
        return Ok(hidden.clean(value));
    }
    let hidden = hidden.clone();
    let cleaned = tokio::task::spawn_blocking(move || hidden.clean(value)).await;
    cleaned.map_err(|_| "its answer cannot be read".to_owned())
}

/// A client for a server that whoever runs the controller has named. What it is sent goes nowhere else.
///
/// # Errors
/// When the text is no URL, or no client can be made.
pub(crate) fn client_for(url: &str) -> Result<reqwest::Client, String> {
    install_tls();
    let clients = HttpClients::new(Vec::new(), Redirects::Refused);
    clients.for_url(http::parse_url(url)?, CertificateCheck::On).map(|(client, _)| client)
}

/// Makes `ring` the TLS provider of the process, unless it has one; may be called any number of times.
pub fn install_tls() {
    // An error says that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests;
