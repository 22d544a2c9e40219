//! `spec.strategy.canary.steps[]`: what a step can do.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::analysis_template::DryRun;
use super::rollout::{AnalysisRunArgument, PodMetadata, RolloutAnalysis};
use super::schema::{any, int_or_string};
use super::traffic_routing::StringMatch;

/// One step; exactly one of the fields.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStep {
    /// Share of traffic for the canary, from 0 to 100 (or `maxTrafficWeight`).
    pub set_weight: Option<i32>,
    /// Waits for a time or for a person.
    pub pause: Option<RolloutPause>,
    /// Sizes the canary apart from its weight.
    pub set_canary_scale: Option<SetCanaryScale>,
    /// Runs an analysis and waits for it.
    pub analysis: Option<RolloutAnalysis>,
    /// Runs an experiment and waits for it.
    pub experiment: Option<ExperimentStep>,
    /// Runs a step plugin.
    pub plugin: Option<PluginStep>,
    /// Sends requests with given headers to the canary.
    pub set_header_route: Option<SetHeaderRoute>,
    /// Sends copies of requests to the canary.
    pub set_mirror_route: Option<SetMirrorRoute>,
}

/// A wait; without a duration, for a person.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutPause {
    /// Seconds as a number, or a Go duration such as `5m`.
    #[schemars(schema_with = "int_or_string")]
    pub duration: Option<IntOrString>,
}

/// The canary's size; exactly one of the fields.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetCanaryScale {
    /// Percent of `replicas`.
    pub weight: Option<i32>,
    /// Number of pods.
    pub replicas: Option<i32>,
    /// Follows the traffic weight again.
    pub match_traffic_weight: Option<bool>,
}

/// A route by header to the canary.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetHeaderRoute {
    /// Name of the managed route.
    pub name: Option<String>,
    /// Headers that must match; none removes the route.
    pub r#match: Option<Vec<HeaderRoutingMatch>>,
}

/// One header and the value it must have.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderRoutingMatch {
    /// Name of the header.
    pub header_name: Option<String>,
    /// What its value must be.
    pub header_value: Option<StringMatch>,
}

/// A mirror of requests to the canary.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetMirrorRoute {
    /// Name of the managed route.
    pub name: Option<String>,
    /// Percent of matching requests that are copied; 100 when absent.
    pub percentage: Option<i32>,
    /// Which requests; none removes the route.
    pub r#match: Option<Vec<RouteMatch>>,
}

/// Which requests are mirrored.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteMatch {
    /// HTTP method.
    pub method: Option<StringMatch>,
    /// Request path.
    pub path: Option<StringMatch>,
    /// Headers by name.
    pub headers: Option<BTreeMap<String, StringMatch>>,
}

/// A step run by a plugin.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginStep {
    /// Name of the plugin.
    pub name: Option<String>,
    /// Its configuration, handed over as it is.
    #[schemars(schema_with = "any")]
    pub config: Option<Value>,
}

/// An experiment run as a step.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentStep {
    /// ReplicaSets to start.
    pub templates: Option<Vec<ExperimentStepTemplate>>,
    /// How long it runs, as a Go duration.
    pub duration: Option<String>,
    /// Analyses to run beside it.
    pub analyses: Option<Vec<ExperimentStepAnalysis>>,
    /// Metrics that are measured but do not decide.
    pub dry_run: Option<Vec<DryRun>>,
    /// Labels and annotations of its runs.
    pub analysis_run_metadata: Option<PodMetadata>,
    /// Seconds its ReplicaSets are kept after the end; 30 when absent.
    pub scale_down_delay_seconds: Option<i32>,
}

/// One ReplicaSet of an experiment step.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentStepTemplate {
    /// Name within the experiment.
    pub name: String,
    /// Whose pod template: `canary` or `stable`.
    pub spec_ref: Option<String>,
    /// Number of pods; 1 when absent.
    pub replicas: Option<i32>,
    /// Labels and annotations laid over the template.
    pub metadata: Option<PodMetadata>,
    /// Selector, when the template's own does not serve.
    pub selector: Option<LabelSelector>,
    /// Share of traffic.
    pub weight: Option<i32>,
    /// Service to create.
    pub service: Option<ExperimentService>,
}

/// The Service of an experiment's template.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentService {
    /// Name; the ReplicaSet's when absent.
    pub name: Option<String>,
}

/// One analysis of an experiment step.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentStepAnalysis {
    /// Name within the experiment.
    pub name: String,
    /// Name of the template.
    pub template_name: Option<String>,
    /// Whether the template is a ClusterAnalysisTemplate.
    pub cluster_scope: Option<bool>,
    /// Values for its arguments.
    pub args: Option<Vec<AnalysisRunArgument>>,
    /// Whether the experiment waits for it.
    pub required_for_completion: Option<bool>,
}
