//! `metrics[].provider`: where a value comes from. The fields are the public API's, but for `dynatrace`, `splunk` and
//! `stackdriver`, which exist only here; which of them work is decided in `analysis`.

mod cloud_watch;
mod kayenta;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

pub use self::cloud_watch::{
    CloudWatchDimension, CloudWatchMetric, CloudWatchQuery, CloudWatchStat, CloudWatchStatMetric,
};
pub use self::kayenta::{KayentaMetric, KayentaScope, KayentaScopeSide, KayentaThreshold};
use super::schema::{any, int_or_string};
use super::traffic_routing::PluginConfig;

/// Where a value comes from; exactly one of the fields.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricProvider {
    /// Prometheus.
    pub prometheus: Option<PrometheusMetric>,
    /// Kayenta.
    pub kayenta: Option<KayentaMetric>,
    /// A web request.
    pub web: Option<WebMetric>,
    /// Datadog.
    pub datadog: Option<DatadogMetric>,
    /// Wavefront.
    pub wavefront: Option<WavefrontMetric>,
    /// New Relic.
    pub new_relic: Option<NewRelicMetric>,
    /// A Kubernetes Job.
    pub job: Option<JobMetric>,
    /// Amazon CloudWatch.
    pub cloud_watch: Option<CloudWatchMetric>,
    /// Graphite.
    pub graphite: Option<GraphiteMetric>,
    /// InfluxDB.
    pub influxdb: Option<InfluxdbMetric>,
    /// Apache SkyWalking.
    pub skywalking: Option<SkywalkingMetric>,
    /// Dynatrace.
    pub dynatrace: Option<DynatraceMetric>,
    /// Splunk Observability Cloud.
    pub splunk: Option<SplunkMetric>,
    /// Google Cloud Monitoring.
    pub stackdriver: Option<StackdriverMetric>,
    /// A provider plugin by name, with its own configuration.
    pub plugin: Option<BTreeMap<String, PluginConfig>>,
}

/// A query to Prometheus.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusMetric {
    /// Base URL of the server; the controller's default when absent.
    pub address: Option<String>,
    /// PromQL expression.
    pub query: Option<String>,
    /// Seconds the query may take; 30 when absent.
    #[schemars(schema_with = "int_or_string")]
    pub timeout: Option<IntOrString>,
    /// Whether the server's certificate is not checked; false when absent.
    pub insecure: Option<bool>,
    /// Headers sent with the query.
    pub headers: Option<Vec<WebHeader>>,
    /// Asks for a range in place of an instant.
    pub range_query: Option<PrometheusRangeQuery>,
    /// How to authenticate.
    pub authentication: Option<Authentication>,
}

/// A request to any web server.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebMetric {
    /// Where the request goes.
    pub url: Option<String>,
    /// `GET`, `POST` or `PUT`; `GET` when absent.
    pub method: Option<String>,
    /// Headers sent with the request.
    pub headers: Option<Vec<WebHeader>>,
    /// Body, as it is.
    pub body: Option<String>,
    /// Body, as JSON.
    #[schemars(schema_with = "any")]
    pub json_body: Option<Value>,
    /// Seconds the request may take; 10 when absent.
    #[schemars(schema_with = "int_or_string")]
    pub timeout_seconds: Option<IntOrString>,
    /// The part of the answer that is the value, such as `{$.a.b[0]}`; all of it when absent.
    pub json_path: Option<String>,
    /// Whether the server's certificate is not checked; false when absent.
    pub insecure: Option<bool>,
    /// How to authenticate.
    pub authentication: Option<Authentication>,
}

/// A header of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WebHeader {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// The range of a query; `start` and `end` are expressions that give a time.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PrometheusRangeQuery {
    /// Start, for example `now() - duration("5m")`.
    pub start: Option<String>,
    /// End, for example `now()`.
    pub end: Option<String>,
    /// Distance of points, as a Go duration.
    pub step: Option<String>,
}

/// How to authenticate; at most one of the fields.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Authentication {
    /// A user's name and password.
    #[serde(rename = "basicAuth")]
    pub basic_auth: Option<BasicAuth>,
    /// OAuth2 client credentials.
    pub oauth2: Option<OAuth2Config>,
    /// AWS signature version 4.
    pub sigv4: Option<Sigv4Config>,
}

/// A user's name and password.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BasicAuth {
    /// Name of the user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
}

/// OAuth2 client credentials.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2Config {
    /// URL that gives tokens.
    pub token_url: Option<String>,
    /// Client id.
    pub client_id: Option<String>,
    /// Client secret.
    pub client_secret: Option<String>,
    /// Scopes to ask for.
    pub scopes: Option<Vec<String>>,
}

/// AWS signature version 4: who signs. The credentials are those of the controller.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sigv4Config {
    /// Region that the signature is for.
    pub region: Option<String>,
    /// Profile of the shared configuration whose credentials sign.
    pub profile: Option<String>,
    /// Role that is assumed with the credentials, and signs in their place.
    pub role_arn: Option<String>,
}

/// A query to Graphite.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GraphiteMetric {
    /// Base URL of the server.
    pub address: Option<String>,
    /// A target, or the parameters of a render request, such as `target=a.b&from=-5min`.
    pub query: Option<String>,
}

/// A query to `InfluxDB`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InfluxdbMetric {
    /// Secret in the controller's namespace with `address`, `authToken` and `org`; `influxdb` when absent.
    pub profile: Option<String>,
    /// A query in Flux.
    pub query: Option<String>,
}

/// A query to New Relic.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewRelicMetric {
    /// Secret in the controller's namespace with `personal-api-key`, `account-id` and, if need be, `region` (`us` or
    /// `eu`) and `base-url-nerdgraph`; `newrelic` when absent.
    pub profile: Option<String>,
    /// A query in NRQL.
    pub query: Option<String>,
    /// Seconds the query may take; 5 when absent.
    #[schemars(schema_with = "int_or_string")]
    pub timeout: Option<IntOrString>,
}

/// A query to Wavefront.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WavefrontMetric {
    /// Host of the server; its token is a key of this name in the Secret `wavefront-api-tokens` of the controller.
    pub address: Option<String>,
    /// A query in Wavefront's language.
    pub query: Option<String>,
}

/// A query to Apache `SkyWalking`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SkywalkingMetric {
    /// Base URL of the server.
    pub address: Option<String>,
    /// A query in GraphQL with a variable `$duration: Duration!`.
    pub query: Option<String>,
    /// How far back it looks; 5m when absent.
    pub interval: Option<String>,
}

/// A query to Datadog.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatadogMetric {
    /// `v1` or `v2`; `v1` when absent.
    pub api_version: Option<String>,
    /// How far back it looks; 5m when absent.
    pub interval: Option<String>,
    /// The query.
    pub query: Option<String>,
    /// Queries by the name that `formula` calls them, in place of `query`; `v2` only.
    pub queries: Option<BTreeMap<String, String>>,
    /// What is reckoned from `queries`; needed when there are several.
    pub formula: Option<String>,
    /// How a series becomes one number; `last` when absent; `v2` only.
    pub aggregator: Option<String>,
    /// Secret with `api-key`, `app-key` and, if need be, `address`; `datadog` in the controller's namespace when absent.
    pub secret_ref: Option<DatadogSecretRef>,
}

/// The Secret of a Datadog account.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DatadogSecretRef {
    /// Its name; `datadog` when absent.
    pub name: Option<String>,
    /// Whether it is in the run's namespace, and not in the controller's; false when absent.
    pub namespaced: Option<bool>,
}

/// A query to Dynatrace.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DynatraceMetric {
    /// Secret in the controller's namespace with `address` and `api-token`; `dynatrace` when absent.
    pub profile: Option<String>,
    /// A metric selector, with its transformations.
    pub query: Option<String>,
    /// The time of which each series gives one point; the last 5m when absent.
    pub interval: Option<String>,
}

/// A query to Splunk Observability Cloud.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SplunkMetric {
    /// Secret in the controller's namespace with `access-token` and `realm` or `address`; `splunk` when absent.
    pub profile: Option<String>,
    /// Which time series, by metric, dimensions and tags; their order means nothing, and each is rolled up as its kind of metric
    /// is. Programs in `SignalFlow`, and so ratios, are not supported.
    pub query: Option<String>,
    /// How far back it looks; 5m when absent.
    pub interval: Option<String>,
}

/// A query to Google Cloud Monitoring.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StackdriverMetric {
    /// Secret in the controller's namespace with `project` and, where the controller is not to ask as itself,
    /// `serviceAccountKey`; `stackdriver` when absent.
    pub profile: Option<String>,
    /// A query in the Monitoring Query Language, which Google has deprecated.
    pub query: Option<String>,
}

/// A Kubernetes Job that succeeds or fails.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobMetric {
    /// Labels and annotations of the Job.
    pub metadata: Option<JobMetadata>,
    /// The Job's own `spec`.
    #[schemars(schema_with = "any")]
    pub spec: Option<Value>,
}

/// Labels and annotations of a Job.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobMetadata {
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    pub annotations: Option<BTreeMap<String, String>>,
}
