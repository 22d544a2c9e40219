//! `Rollout.status`: where a rollout stands. Stored names and meanings are those of the public API.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::conditions::Condition;
use super::rollout::PingPong;
use super::schema::{any, int_or_string};
use super::traffic_routing::TrafficRouting;
use crate::units::Timestamp;

/// Where a Rollout stands.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Whether the update is aborted; users set it, too.
    pub abort: Option<bool>,
    /// When it was aborted.
    pub aborted_at: Option<Timestamp>,
    /// What the rollout is paused for; users clear it to go on.
    pub pause_conditions: Option<Vec<PauseCondition>>,
    /// Whether the controller asked for the pause.
    pub controller_pause: Option<bool>,
    /// Pod hash of the newest revision.
    pub current_pod_hash: Option<String>,
    /// Hash of the steps that the position belongs to.
    pub current_step_hash: Option<String>,
    /// Position in the steps; the number of steps once all are done.
    pub current_step_index: Option<i32>,
    /// Salt of the pod hash after a collision.
    pub collision_count: Option<i32>,
    /// Pods of all revisions.
    pub replicas: Option<i32>,
    /// Pods of the newest revision.
    pub updated_replicas: Option<i32>,
    /// Ready pods.
    pub ready_replicas: Option<i32>,
    /// Available pods.
    pub available_replicas: Option<i32>,
    /// Pods an autoscaler should count.
    #[serde(rename = "HPAReplicas")]
    pub hpa_replicas: Option<i32>,
    /// Selector an autoscaler should use.
    pub selector: Option<String>,
    /// The generation this status was computed from.
    #[schemars(schema_with = "int_or_string")]
    pub observed_generation: Option<IntOrString>,
    /// The generation of the referenced workload this status was computed from.
    #[schemars(schema_with = "int_or_string")]
    pub workload_observed_generation: Option<IntOrString>,
    /// Conditions by type.
    pub conditions: Option<Vec<Condition>>,
    /// Pod hash of the stable revision.
    #[serde(rename = "stableRS")]
    pub stable_rs: Option<String>,
    /// The `restartAt` last honoured.
    pub restarted_at: Option<Timestamp>,
    /// Whether a user asked to skip the rest.
    pub promote_full: Option<bool>,
    /// `Healthy`, `Progressing`, `Paused` or `Degraded`.
    pub phase: Option<String>,
    /// Why the phase is what it is.
    pub message: Option<String>,
    /// The load balancer of the first Ingress (superseded by `albs`).
    pub alb: Option<AlbStatus>,
    /// The load balancers.
    pub albs: Option<Vec<AlbStatus>>,
    /// State of the canary strategy.
    pub canary: Option<CanaryStatus>,
    /// State of the blue-green strategy.
    pub blue_green: Option<BlueGreenStatus>,
    /// When the update started, paused and ended.
    pub duration: Option<DurationStatus>,
    /// Notifications that were not delivered yet, the oldest first.
    pub pending_notifications: Option<Vec<PendingNotification>>,
}

/// A notification that was not delivered yet. It is stored together with what it tells of, so that it is sent even if the
/// controller ends first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingNotification {
    /// Tells it from all others of the Rollout: the same when it is sent again.
    pub id: String,
    /// `Normal` or `Warning`, as the Event's.
    pub r#type: String,
    /// The Event's reason, for example `RolloutAborted`; the trigger is called after it.
    pub reason: String,
    /// The service that delivers it.
    pub service: String,
    /// Who gets it, as the service knows them; empty for a webhook.
    pub recipient: String,
    /// The template that says what is sent.
    pub template: String,
    /// What happened, in a sentence.
    pub message: String,
    /// When it happened.
    pub at: Timestamp,
}

/// One reason the rollout is paused for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PauseCondition {
    /// `CanaryPauseStep`, `BlueGreenPause`, `InconclusiveAnalysisRun` or `InconclusiveExperiment`.
    pub reason: String,
    /// When the pause began.
    pub start_time: Timestamp,
}

/// State of the canary strategy.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStatus {
    /// The split that was last written.
    pub weights: Option<TrafficWeights>,
    /// The route that a share was last given to the canary through, as the spec named it.
    #[schemars(schema_with = "any")]
    pub route: Option<Box<CanaryRoute>>,
    /// The AnalysisRun of the current step.
    pub current_step_analysis_run_status: Option<AnalysisRunRef>,
    /// The AnalysisRun beside the steps.
    pub current_background_analysis_run_status: Option<AnalysisRunRef>,
    /// Hash of the steps before the current one: an edit of the steps that leaves those unchanged goes on where it was.
    pub passed_steps_hash: Option<String>,
    /// The Experiment of the current step.
    pub current_experiment: Option<String>,
    /// Which of the two Services is stable: `ping` or `pong`.
    pub stable_ping_pong: Option<String>,
    /// What the step plugins said.
    pub step_plugin_statuses: Option<Vec<StepPluginStatus>>,
}

/// A route as a canary strategy names it.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CanaryRoute {
    /// The router and its objects.
    pub traffic_routing: TrafficRouting,
    /// The canary's Service.
    pub canary_service: Option<String>,
    /// Stable's Service.
    pub stable_service: Option<String>,
    /// The Services whose roles alternate.
    pub ping_pong: Option<PingPong>,
    /// The cookie that keeps users on the canary, as the annotation asks for it.
    pub session_cookie: Option<String>,
    /// Whether stable has given pods away for it.
    pub dynamic_stable_scale: Option<bool>,
}

/// An AnalysisRun that a Rollout watches.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisRunRef {
    /// Its name.
    pub name: String,
    /// Its phase.
    pub status: Option<String>,
    /// Its message.
    pub message: Option<String>,
}

/// A traffic split.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficWeights {
    /// The canary's share.
    pub canary: WeightDestination,
    /// Stable's share.
    pub stable: WeightDestination,
    /// Shares of experiments.
    pub additional: Option<Vec<WeightDestination>>,
    /// Whether the router was seen to follow; absent when it cannot be asked.
    pub verified: Option<bool>,
}

/// One destination of a traffic split.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WeightDestination {
    /// Its share.
    pub weight: i32,
    /// Its Service.
    pub service_name: Option<String>,
    /// The revision behind it.
    pub pod_template_hash: Option<String>,
}

/// What a step plugin said.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepPluginStatus {
    /// Index of the step.
    pub index: i32,
    /// Name of the plugin.
    pub name: String,
    /// `Run`, `Terminate` or `Abort`.
    pub operation: Option<String>,
    /// `Running`, `Successful`, `Failed` or `Error`.
    pub phase: Option<String>,
    /// Its message.
    pub message: Option<String>,
    /// When it was first called.
    pub started_at: Option<Timestamp>,
    /// When it was last called.
    pub updated_at: Option<Timestamp>,
    /// When it was done.
    pub finished_at: Option<Timestamp>,
    /// How long until the next call, as a Go duration.
    pub backoff: Option<String>,
    /// How often it was called.
    pub executions: Option<i32>,
    /// Whether it is switched off.
    pub disabled: Option<bool>,
    /// Its own state, handed back at the next call.
    #[schemars(schema_with = "any")]
    pub status: Option<Value>,
}

/// State of the blue-green strategy.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlueGreenStatus {
    /// Pod hash the preview Service selects.
    pub preview_selector: Option<String>,
    /// Pod hash the active Service selects.
    pub active_selector: Option<String>,
    /// Whether the preview may be scaled to full size.
    pub scale_up_preview_check_point: Option<bool>,
    /// The AnalysisRun before the switch.
    pub pre_promotion_analysis_run_status: Option<AnalysisRunRef>,
    /// The AnalysisRun after the switch.
    pub post_promotion_analysis_run_status: Option<AnalysisRunRef>,
}

/// The load balancer of one Ingress.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlbStatus {
    /// The load balancer.
    pub load_balancer: Option<AwsResourceRef>,
    /// Target group of the canary.
    pub canary_target_group: Option<AwsResourceRef>,
    /// Target group of stable.
    pub stable_target_group: Option<AwsResourceRef>,
    /// Name of the Ingress.
    pub ingress: Option<String>,
}

/// A resource of AWS.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsResourceRef {
    /// Its name.
    pub name: String,
    /// Its Amazon resource name.
    pub arn: String,
    /// The last part of the Amazon resource name.
    pub full_name: Option<String>,
}

/// When the update started, paused and ended.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DurationStatus {
    /// Start of the update.
    pub rollout_started_at: Option<Timestamp>,
    /// Start of the manual pause that is going on.
    pub manual_pause_started_at: Option<Timestamp>,
    /// Seconds spent in manual pauses so far.
    pub total_manual_pause_duration_seconds: Option<i64>,
    /// End of the update.
    pub finished_at: Option<Timestamp>,
    /// `Promoted`, `FastPromoted`, `Aborted`, `Superseded`, `RolledBack` or `FastRolledBack`.
    pub completion_status: Option<String>,
}
