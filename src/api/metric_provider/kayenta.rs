//! A comparison of two versions by Kayenta.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::api::schema::{any, int_or_string};

/// A comparison of two versions by Kayenta, which gives a score from 0 to 100.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KayentaMetric {
    /// Base URL of the server.
    pub address: Option<String>,
    /// The application that the configuration belongs to.
    pub application: Option<String>,
    /// Name of the configuration: which metrics are compared, and how.
    pub canary_config_name: Option<String>,
    /// Account that metrics are read with.
    pub metrics_account_name: Option<String>,
    /// Account that the configuration is read with.
    pub configuration_account_name: Option<String>,
    /// Account that results are stored with.
    pub storage_account_name: Option<String>,
    /// Which score is good enough.
    pub threshold: Option<KayentaThreshold>,
    /// What is compared.
    pub scopes: Option<Vec<KayentaScope>>,
    /// Not supported; `start` and `end` of the scopes say it.
    #[schemars(schema_with = "any")]
    pub lookback: Option<serde_json::Value>,
}

/// Which score, from 0 to 100, is good enough.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KayentaThreshold {
    /// From this score on, a success.
    #[schemars(schema_with = "int_or_string")]
    pub pass: Option<IntOrString>,
    /// From this score on neither good nor bad; below it a failure.
    #[schemars(schema_with = "int_or_string")]
    pub marginal: Option<IntOrString>,
}

/// Two sides that are compared.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KayentaScope {
    /// Its name, which the configuration refers to.
    pub name: Option<String>,
    /// The side that is known to be good.
    pub control_scope: Option<KayentaScopeSide>,
    /// The side that is judged.
    pub experiment_scope: Option<KayentaScopeSide>,
}

/// Where and when one side is measured.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KayentaScopeSide {
    /// What selects it, in the language of the metric store.
    pub scope: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Seconds between two points.
    #[schemars(schema_with = "int_or_string")]
    pub step: Option<IntOrString>,
    /// From this time on, as in `2026-01-31T12:00:00Z`.
    pub start: Option<String>,
    /// Up to this time.
    pub end: Option<String>,
}
