//! `Rollout`: its spec. The status is in `rollout_status`, the steps are in `canary_step`.

#![allow(clippy::duplicated_attributes, reason = "printer columns of one type repeat it")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::analysis_template::{AnalysisTemplateRef, DryRun, MeasurementRetention};
use super::canary_step::CanaryStep;
use super::rollout_status::RolloutStatus;
use super::schema::{any, any_map, int_or_string};
use super::traffic_routing::{MetadataValues, TrafficRouting};
use crate::units::Timestamp;

/// What a Rollout should run and how a new version of it is brought in.
#[skip_serializing_none]
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "argoproj.io",
    version = "v1alpha1",
    kind = "Rollout",
    plural = "rollouts",
    singular = "rollout",
    shortname = "ro",
    namespaced,
    status = "RolloutStatus",
    derive = "Default",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.HPAReplicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".spec.replicas",
        description = "Number of desired pods"
    ),
    printcolumn(
        name = "Current",
        type_ = "integer",
        json_path = ".status.replicas",
        description = "Total number of pods of this rollout"
    ),
    printcolumn(
        name = "Up-to-date",
        type_ = "integer",
        json_path = ".status.updatedReplicas",
        description = "Number of pods of the newest revision"
    ),
    printcolumn(
        name = "Available",
        type_ = "integer",
        json_path = ".status.availableReplicas",
        description = "Number of pods that have been ready for minReadySeconds"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the rollout was created"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// Number of pods wanted, from 0; 1 when absent.
    pub replicas: Option<i32>,
    /// Which pods belong to this Rollout; immutable, and matched by the template's labels.
    pub selector: Option<LabelSelector>,
    /// The pod template, kept as it was written; a change of it is a new revision.
    #[schemars(schema_with = "any")]
    pub template: Option<Value>,
    /// A workload whose pod template is used in place of `template`.
    pub workload_ref: Option<WorkloadRef>,
    /// Seconds a pod must have been ready to count as available; 0 when absent.
    pub min_ready_seconds: Option<i32>,
    /// How the next revision is brought in; exactly one strategy.
    pub strategy: Option<Strategy>,
    /// Number of old ReplicaSets to keep; 10 when absent.
    pub revision_history_limit: Option<i32>,
    /// When true nothing moves until it is false again.
    pub paused: Option<bool>,
    /// Seconds without progress after which the update counts as stuck; 600 when absent.
    pub progress_deadline_seconds: Option<i32>,
    /// When true, an update that is stuck past its deadline is aborted.
    pub progress_deadline_abort: Option<bool>,
    /// Pods created before this time are replaced.
    pub restart_at: Option<Timestamp>,
    /// Limits on the AnalysisRuns kept.
    pub analysis: Option<AnalysisRunHistory>,
    /// Going back to a recent revision skips steps.
    pub rollback_window: Option<RollbackWindow>,
}

/// The workload whose pod template a Rollout uses.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRef {
    /// API version of the workload, for example `apps/v1`.
    pub api_version: Option<String>,
    /// `Deployment`, `ReplicaSet` or `PodTemplate`.
    pub kind: Option<String>,
    /// Name of the workload, in the Rollout's namespace.
    pub name: Option<String>,
    /// What happens to the workload's own pods: `never`, `onsuccess` or `progressively`; `never` when absent.
    pub scale_down: Option<String>,
}

/// Limits on the AnalysisRuns that a Rollout keeps.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisRunHistory {
    /// Successful runs kept; 5 when absent.
    pub successful_run_history_limit: Option<i32>,
    /// Failed, errored and inconclusive runs kept; 5 when absent.
    pub unsuccessful_run_history_limit: Option<i32>,
}

/// Going back to a revision this recent skips steps and analysis.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackWindow {
    /// Number of revisions the window reaches back; 0 when absent.
    pub revisions: Option<i32>,
}

/// How a new revision replaces the stable one; exactly one of the fields.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// Two environments, one switch.
    pub blue_green: Option<BlueGreenStrategy>,
    /// Weight in steps.
    pub canary: Option<CanaryStrategy>,
}

/// Blue-green: a preview beside the active version, and one switch.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlueGreenStrategy {
    /// Service that users' traffic goes through.
    pub active_service: Option<String>,
    /// Service that shows the new version before the switch.
    pub preview_service: Option<String>,
    /// Pods of the preview before the switch; all of them when absent.
    pub preview_replica_count: Option<i32>,
    /// When false a person switches; true when absent.
    pub auto_promotion_enabled: Option<bool>,
    /// Seconds to wait before switching; 0 when absent.
    pub auto_promotion_seconds: Option<i32>,
    /// Pods that may be missing while pods are restarted; 25 % when absent.
    #[schemars(schema_with = "int_or_string")]
    pub max_unavailable: Option<IntOrString>,
    /// Seconds the old version is kept after the switch; 30 when absent.
    pub scale_down_delay_seconds: Option<i32>,
    /// How many old versions the delay may keep; all of them when absent.
    pub scale_down_delay_revision_limit: Option<i32>,
    /// Seconds the preview is kept after an abort; 30 when absent, 0 keeps it for ever.
    pub abort_scale_down_delay_seconds: Option<i32>,
    /// Analysis that must pass before the switch.
    pub pre_promotion_analysis: Option<RolloutAnalysis>,
    /// Analysis that must pass after the switch.
    pub post_promotion_analysis: Option<RolloutAnalysis>,
    /// Keeps pods of both versions apart.
    pub anti_affinity: Option<AntiAffinity>,
    /// Labels and annotations of preview pods.
    pub preview_metadata: Option<PodMetadata>,
    /// Labels and annotations of active pods.
    pub active_metadata: Option<PodMetadata>,
}

/// Canary: the new version takes its share step by step.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStrategy {
    /// Service that selects the canary's pods.
    pub canary_service: Option<String>,
    /// Service that selects the stable pods.
    pub stable_service: Option<String>,
    /// The steps, in order; without steps, a rolling update.
    pub steps: Option<Vec<CanaryStep>>,
    /// The router that shifts traffic; without one, the ratio of pods is the weight.
    pub traffic_routing: Option<TrafficRouting>,
    /// Pods that may be missing: a number, or a percent of `replicas` rounded down; 25 % when absent.
    #[schemars(schema_with = "int_or_string")]
    pub max_unavailable: Option<IntOrString>,
    /// Pods that may be added: a number, or a percent of `replicas` rounded up; 25 % when absent.
    #[schemars(schema_with = "int_or_string")]
    pub max_surge: Option<IntOrString>,
    /// Analysis that runs beside the steps.
    pub analysis: Option<RolloutAnalysisBackground>,
    /// Keeps pods of both versions apart.
    pub anti_affinity: Option<AntiAffinity>,
    /// Labels and annotations of canary pods.
    pub canary_metadata: Option<PodMetadata>,
    /// Labels and annotations of stable pods.
    pub stable_metadata: Option<PodMetadata>,
    /// Seconds the old version is kept after promotion; with traffic routing only, 30 when absent.
    pub scale_down_delay_seconds: Option<i32>,
    /// How many old versions the delay may keep; all of them when absent.
    pub scale_down_delay_revision_limit: Option<i32>,
    /// Seconds the canary is kept after an abort; with traffic routing only, 30 when absent, 0 keeps it for ever.
    pub abort_scale_down_delay_seconds: Option<i32>,
    /// Shrinks stable as the weight moves; with traffic routing only.
    pub dynamic_stable_scale: Option<bool>,
    /// Two Services whose roles alternate.
    pub ping_pong: Option<PingPong>,
    /// Least pods of a ReplicaSet that has any; with traffic routing only.
    pub min_pods_per_replica_set: Option<i32>,
    /// Availability that is enough to finish a step.
    pub replica_progress_threshold: Option<ReplicaProgressThreshold>,
}

/// Two Services with fixed pods whose roles alternate at each promotion.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PingPong {
    /// The one Service.
    pub ping_service: Option<String>,
    /// The other Service.
    pub pong_service: Option<String>,
}

/// How many pods must be available before a step counts as done.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaProgressThreshold {
    /// `Percent` or `Pods`.
    pub r#type: Option<String>,
    /// The number, in that unit.
    pub value: Option<i32>,
}

/// Which analysis to run and with what.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutAnalysis {
    /// The templates, merged into one run.
    pub templates: Option<Vec<AnalysisTemplateRef>>,
    /// Values for the templates' arguments.
    pub args: Option<Vec<AnalysisRunArgument>>,
    /// Metrics that are measured but do not decide.
    pub dry_run: Option<Vec<DryRun>>,
    /// How many measurements are kept.
    pub measurement_retention: Option<Vec<MeasurementRetention>>,
    /// Labels and annotations of the run.
    pub analysis_run_metadata: Option<PodMetadata>,
}

/// Analysis beside the steps, from `startingStep` on.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutAnalysisBackground {
    /// The templates, merged into one run.
    pub templates: Option<Vec<AnalysisTemplateRef>>,
    /// Values for the templates' arguments.
    pub args: Option<Vec<AnalysisRunArgument>>,
    /// Metrics that are measured but do not decide.
    pub dry_run: Option<Vec<DryRun>>,
    /// How many measurements are kept.
    pub measurement_retention: Option<Vec<MeasurementRetention>>,
    /// Labels and annotations of the run.
    pub analysis_run_metadata: Option<PodMetadata>,
    /// Index of the step at which it starts; 0 when absent.
    pub starting_step: Option<i32>,
}

/// A value for an argument of an analysis.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisRunArgument {
    /// Name of the argument.
    pub name: String,
    /// The value itself.
    pub value: Option<String>,
    /// Where the value is taken from.
    pub value_from: Option<ArgumentValueFrom>,
}

/// Where a Rollout's argument comes from; exactly one of the fields.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArgumentValueFrom {
    /// Pod hash of the `Stable` or the `Latest` revision.
    pub pod_template_hash_value: Option<String>,
    /// A field of the Rollout.
    pub field_ref: Option<FieldRef>,
}

/// A field of the Rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldRef {
    /// Dotted path, for example `metadata.labels['env']`.
    pub field_path: String,
}

/// Labels and annotations to add.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadata {
    /// Labels.
    #[schemars(schema_with = "any_map")]
    pub labels: Option<MetadataValues>,
    /// Annotations.
    #[schemars(schema_with = "any_map")]
    pub annotations: Option<MetadataValues>,
}

/// Keeps pods of the new version off the nodes of the stable one; exactly one of the fields.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AntiAffinity {
    /// Preferably.
    pub preferred_during_scheduling_ignored_during_execution: Option<PreferredAntiAffinity>,
    /// Always.
    pub required_during_scheduling_ignored_during_execution: Option<RequiredAntiAffinity>,
}

/// A preference for other nodes.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PreferredAntiAffinity {
    /// Strength from 1 to 100.
    pub weight: Option<i32>,
}

/// A demand for other nodes; it has no settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequiredAntiAffinity {}
