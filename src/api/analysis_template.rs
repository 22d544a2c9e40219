//! `AnalysisTemplate` and `ClusterAnalysisTemplate`: what is measured and when it counts as well.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::metric_provider::MetricProvider;
use super::rollout::FieldRef;
use super::schema::int_or_string;

/// What is measured and when it counts as well.
#[skip_serializing_none]
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "argoproj.io",
    version = "v1alpha1",
    kind = "AnalysisTemplate",
    plural = "analysistemplates",
    singular = "analysistemplate",
    shortname = "at",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the template was created"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisTemplateSpec {
    /// The metrics, each with a name of its own.
    pub metrics: Option<Vec<Metric>>,
    /// Arguments the metrics use.
    pub args: Option<Vec<Argument>>,
    /// Metrics that are measured but do not decide.
    pub dry_run: Option<Vec<DryRun>>,
    /// How many measurements are kept.
    pub measurement_retention: Option<Vec<MeasurementRetention>>,
    /// Templates that are merged into this one.
    pub templates: Option<Vec<AnalysisTemplateRef>>,
}

/// The same for the whole cluster.
#[skip_serializing_none]
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "argoproj.io",
    version = "v1alpha1",
    kind = "ClusterAnalysisTemplate",
    plural = "clusteranalysistemplates",
    singular = "clusteranalysistemplate",
    shortname = "cat",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the template was created"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterAnalysisTemplateSpec {
    /// The template itself; the fields are those of an AnalysisTemplate.
    #[serde(flatten)]
    pub template: AnalysisTemplateSpec,
}

/// A reference to a template.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisTemplateRef {
    /// Its name.
    pub template_name: Option<String>,
    /// Whether it is a ClusterAnalysisTemplate; false when absent.
    pub cluster_scope: Option<bool>,
}

/// One thing that is measured.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metric {
    /// Name, unique in the run.
    pub name: String,
    /// Time between measurements, as a Go duration; without it, one measurement.
    pub interval: Option<String>,
    /// Time before the first measurement, as a Go duration.
    pub initial_delay: Option<String>,
    /// Measurements to take; 1 without an interval, no end with one.
    #[schemars(schema_with = "int_or_string")]
    pub count: Option<IntOrString>,
    /// Expression on `result` that must be true for success.
    pub success_condition: Option<String>,
    /// Expression on `result` that is true for failure.
    pub failure_condition: Option<String>,
    /// What a measurement without data counts as: `Fail`, `Inconclusive`, `Wait` (it is taken again, for an hour at
    /// most) or `Pass`; when absent, the conditions say it. Not in Argo Rollouts.
    pub no_data: Option<String>,
    /// Failed measurements tolerated; 0 when absent, -1 for any number.
    #[schemars(schema_with = "int_or_string")]
    pub failure_limit: Option<IntOrString>,
    /// Inconclusive measurements tolerated; 0 when absent, -1 for any number.
    #[schemars(schema_with = "int_or_string")]
    pub inconclusive_limit: Option<IntOrString>,
    /// Errors in a row tolerated; 4 when absent.
    #[schemars(schema_with = "int_or_string")]
    pub consecutive_error_limit: Option<IntOrString>,
    /// Successes in a row that are enough; 0 when absent, which switches it off.
    #[schemars(schema_with = "int_or_string")]
    pub consecutive_success_limit: Option<IntOrString>,
    /// Where the value comes from.
    pub provider: MetricProvider,
}

/// An argument: a value, a Secret's key, or a field.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Its value; without one, whoever uses the template supplies it.
    pub value: Option<String>,
    /// Where the value is taken from.
    pub value_from: Option<ValueFrom>,
}

/// Where an argument's value is taken from; exactly one of the fields.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValueFrom {
    /// A Secret in the run's namespace.
    pub secret_key_ref: Option<SecretKeyRef>,
    /// A field of the Rollout.
    pub field_ref: Option<FieldRef>,
}

/// One key of a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    pub name: String,
    /// Key in it.
    pub key: String,
}

/// A metric that does not decide.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DryRun {
    /// Regular expression on the metric's name.
    pub metric_name: String,
}

/// How many measurements of a metric are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeasurementRetention {
    /// Regular expression on the metric's name.
    pub metric_name: String,
    /// Number kept; 10 without an entry.
    pub limit: i32,
}
