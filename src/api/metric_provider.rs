//! `metrics[].provider`: where a value comes from. The fields are the public API's; which of them work is decided in `analysis`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

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
    #[schemars(schema_with = "any")]
    pub kayenta: Option<Value>,
    /// A web request.
    pub web: Option<WebMetric>,
    /// Datadog.
    #[schemars(schema_with = "any")]
    pub datadog: Option<Value>,
    /// Wavefront.
    #[schemars(schema_with = "any")]
    pub wavefront: Option<Value>,
    /// New Relic.
    #[schemars(schema_with = "any")]
    pub new_relic: Option<Value>,
    /// A Kubernetes Job.
    #[schemars(schema_with = "any")]
    pub job: Option<Value>,
    /// Amazon CloudWatch.
    #[schemars(schema_with = "any")]
    pub cloud_watch: Option<Value>,
    /// Graphite.
    #[schemars(schema_with = "any")]
    pub graphite: Option<Value>,
    /// InfluxDB.
    #[schemars(schema_with = "any")]
    pub influxdb: Option<Value>,
    /// Apache SkyWalking.
    #[schemars(schema_with = "any")]
    pub skywalking: Option<Value>,
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
    #[schemars(schema_with = "any")]
    pub sigv4: Option<Value>,
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
