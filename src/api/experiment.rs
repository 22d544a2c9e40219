//! `Experiment`: ReplicaSets run side by side for a while, and judged.

#![allow(clippy::duplicated_attributes, reason = "printer columns of one type repeat it")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

use super::analysis_run::{AnalysisPhase, phase_if_any};
use super::analysis_template::{Argument, DryRun, MeasurementRetention};
use super::canary_step::ExperimentService;
use super::conditions::Condition;
use super::rollout::PodMetadata;
use super::schema::{any, phase_or_empty};
use crate::units::Timestamp;

/// What is run side by side, and how it is judged.
#[skip_serializing_none]
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "argoproj.io",
    version = "v1alpha1",
    kind = "Experiment",
    plural = "experiments",
    singular = "experiment",
    shortname = "exp",
    namespaced,
    status = "ExperimentStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.phase",
        description = "Phase of the experiment"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the experiment was created"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentSpec {
    /// One ReplicaSet each.
    pub templates: Option<Vec<ExperimentTemplate>>,
    /// How long it runs once everything is available, as a Go duration.
    pub duration: Option<String>,
    /// Seconds a template may take to become available; 600 when absent.
    pub progress_deadline_seconds: Option<i32>,
    /// Ends it now.
    pub terminate: Option<bool>,
    /// Analyses that run once everything is available.
    pub analyses: Option<Vec<ExperimentAnalysis>>,
    /// Seconds the ReplicaSets are kept after the end; 30 when absent.
    pub scale_down_delay_seconds: Option<i32>,
    /// Metrics that are measured but do not decide.
    pub dry_run: Option<Vec<DryRun>>,
    /// How many measurements are kept.
    pub measurement_retention: Option<Vec<MeasurementRetention>>,
    /// Labels and annotations of its runs.
    pub analysis_run_metadata: Option<PodMetadata>,
}

/// The condition of an Experiment whose spec cannot be worked with.
pub const INVALID_EXPERIMENT_SPEC: &str = "InvalidExperimentSpec";

/// One ReplicaSet of an experiment.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentTemplate {
    /// Name within the experiment.
    pub name: String,
    /// Number of pods; 1 when absent.
    pub replicas: Option<i32>,
    /// Seconds a pod must have been ready to count as available.
    pub min_ready_seconds: Option<i32>,
    /// Which pods belong to it.
    pub selector: Option<LabelSelector>,
    /// The pod template, kept as it was written.
    #[schemars(schema_with = "any")]
    pub template: Option<Value>,
    /// Service to create.
    pub service: Option<ExperimentService>,
}

/// One analysis of an experiment.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentAnalysis {
    /// Name within the experiment.
    pub name: String,
    /// Name of the template.
    pub template_name: Option<String>,
    /// Whether the template is a ClusterAnalysisTemplate.
    pub cluster_scope: Option<bool>,
    /// Values for its arguments.
    pub args: Option<Vec<Argument>>,
    /// Whether the experiment waits for it.
    pub required_for_completion: Option<bool>,
}

/// Where an experiment stands.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentStatus {
    /// Its phase.
    #[serde(default, deserialize_with = "phase_if_any")]
    #[schemars(schema_with = "phase_or_empty")]
    pub phase: Option<AnalysisPhase>,
    /// Why it has that phase.
    pub message: Option<String>,
    /// When everything was available.
    pub available_at: Option<Timestamp>,
    /// Where each template stands.
    pub template_statuses: Option<Vec<TemplateStatus>>,
    /// Conditions by type.
    pub conditions: Option<Vec<Condition>>,
    /// Where each analysis stands.
    pub analysis_runs: Option<Vec<ExperimentAnalysisRunStatus>>,
}

/// Where one template stands.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateStatus {
    /// Name within the experiment.
    pub name: String,
    /// Pods.
    pub replicas: Option<i32>,
    /// Pods of the newest template.
    pub updated_replicas: Option<i32>,
    /// Ready pods.
    pub ready_replicas: Option<i32>,
    /// Available pods.
    pub available_replicas: Option<i32>,
    /// Salt of the pod hash after a collision.
    pub collision_count: Option<i32>,
    /// `Progressing`, `Running`, `Successful`, `Failed` or `Error`.
    pub status: Option<String>,
    /// Why.
    pub message: Option<String>,
    /// When `status` last changed.
    pub last_transition_time: Option<Timestamp>,
    /// Name of its Service.
    pub service_name: Option<String>,
    /// Its pod hash.
    pub pod_template_hash: Option<String>,
}

/// Where one analysis stands.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentAnalysisRunStatus {
    /// Name within the experiment.
    pub name: String,
    /// Name of the AnalysisRun.
    pub analysis_run: Option<String>,
    /// Its phase.
    #[serde(default, deserialize_with = "phase_if_any")]
    #[schemars(schema_with = "phase_or_empty")]
    pub phase: Option<AnalysisPhase>,
    /// Its message.
    pub message: Option<String>,
}
