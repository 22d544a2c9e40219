//! A query to Amazon CloudWatch.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::api::schema::int_or_string;

/// A query to Amazon CloudWatch, in the region of the controller.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloudWatchMetric {
    /// How far back it looks; 5m when absent.
    pub interval: Option<String>,
    /// The queries, as `GetMetricData` takes them.
    pub metric_data_queries: Option<Vec<CloudWatchQuery>>,
}

/// A query of `GetMetricData`; an expression or a metric.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloudWatchQuery {
    /// Its name in expressions.
    pub id: Option<String>,
    /// What is reckoned from other queries, or a search.
    pub expression: Option<String>,
    /// A label of the result.
    pub label: Option<String>,
    /// A statistic of a metric.
    pub metric_stat: Option<CloudWatchStat>,
    /// Distance of points in seconds.
    #[schemars(schema_with = "int_or_string")]
    pub period: Option<IntOrString>,
    /// Whether the result is returned; true when absent.
    pub return_data: Option<bool>,
}

/// A statistic of a metric.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloudWatchStat {
    /// The metric.
    pub metric: Option<CloudWatchStatMetric>,
    /// Distance of points in seconds.
    #[schemars(schema_with = "int_or_string")]
    pub period: Option<IntOrString>,
    /// The statistic, such as `Average` or `p99`.
    pub stat: Option<String>,
    /// The unit.
    pub unit: Option<String>,
}

/// A metric.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloudWatchStatMetric {
    /// Its namespace, such as `AWS/ApplicationELB`.
    pub namespace: Option<String>,
    /// Its name.
    pub metric_name: Option<String>,
    /// What it is about.
    pub dimensions: Option<Vec<CloudWatchDimension>>,
}

/// A part of what a metric is about.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CloudWatchDimension {
    /// Its name.
    pub name: Option<String>,
    /// Its value.
    pub value: Option<String>,
}
