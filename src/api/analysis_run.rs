//! `AnalysisRun`: one run of an analysis, and what it has found.

#![allow(clippy::duplicated_attributes, reason = "printer columns of one type repeat it")]

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer, Serialize};
use serde_with::skip_serializing_none;

use super::analysis_template::{Argument, DryRun, MeasurementRetention, Metric};
use super::conditions::{Condition, Outlook};
use super::schema::phase_or_empty;
use crate::units::Timestamp;

/// What is measured in this run.
#[skip_serializing_none]
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "argoproj.io",
    version = "v1alpha1",
    kind = "AnalysisRun",
    plural = "analysisruns",
    singular = "analysisrun",
    shortname = "ar",
    namespaced,
    status = "AnalysisRunStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.phase",
        description = "Phase of the run"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the run was created"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisRunSpec {
    /// The metrics.
    pub metrics: Option<Vec<Metric>>,
    /// Arguments, with values.
    pub args: Option<Vec<Argument>>,
    /// Metrics that are measured but do not decide.
    pub dry_run: Option<Vec<DryRun>>,
    /// How many measurements are kept.
    pub measurement_retention: Option<Vec<MeasurementRetention>>,
    /// Stops the run now.
    pub terminate: Option<bool>,
    /// When the run is deleted after its end.
    pub ttl_strategy: Option<TtlStrategy>,
}

/// When a run is deleted after its end.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TtlStrategy {
    /// Seconds after any end.
    pub seconds_after_completion: Option<i32>,
    /// Seconds after a failure.
    pub seconds_after_failure: Option<i32>,
    /// Seconds after a success.
    pub seconds_after_success: Option<i32>,
}

/// Phase of a run, a metric or a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AnalysisPhase {
    /// Ended well.
    Successful,
    /// Going on.
    Running,
    /// Not yet begun.
    Pending,
    /// Ended without a verdict; a person decides.
    Inconclusive,
    /// Could not be measured.
    Error,
    /// Ended badly.
    Failed,
}

impl AnalysisPhase {
    /// Whether nothing more will be measured.
    #[must_use]
    pub const fn is_completed(self) -> bool {
        matches!(self, Self::Successful | Self::Failed | Self::Error | Self::Inconclusive)
    }

    /// What tools that do not know phases are told of it. Without a verdict, only a person helps.
    pub(crate) const fn outlook(self) -> Outlook {
        match self {
            Self::Pending | Self::Running => Outlook::InProgress,
            Self::Successful => Outlook::Current,
            Self::Failed | Self::Error | Self::Inconclusive => Outlook::Failed,
        }
    }

    /// The phase's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Successful => "Successful",
            Self::Running => "Running",
            Self::Pending => "Pending",
            Self::Inconclusive => "Inconclusive",
            Self::Error => "Error",
            Self::Failed => "Failed",
        }
    }
}

impl std::fmt::Display for AnalysisPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads a phase that may be an empty text: Argo Rollouts writes that before there is one.
pub(super) fn phase_if_any<'de, D: Deserializer<'de>>(from: D) -> Result<Option<AnalysisPhase>, D::Error> {
    let text = Option::<String>::deserialize(from)?.filter(|text| !text.is_empty());
    text.map(|text| AnalysisPhase::deserialize(text.into_deserializer())).transpose()
}

/// What a run has found.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisRunStatus {
    /// Phase of the run; absent before its first pass.
    #[serde(default, deserialize_with = "phase_if_any")]
    #[schemars(schema_with = "phase_or_empty")]
    pub phase: Option<AnalysisPhase>,
    /// Why it has that phase.
    pub message: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// What each metric has found.
    pub metric_results: Option<Vec<MetricResult>>,
    /// Metrics that decide, by phase.
    pub run_summary: Option<RunSummary>,
    /// Metrics that do not decide, by phase.
    pub dry_run_summary: Option<RunSummary>,
    /// Conditions by type: Reconciling, Stalled and Ready.
    pub conditions: Option<Vec<Condition>>,
}

/// Number of metrics by phase.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    /// All.
    pub count: Option<i32>,
    /// Successful.
    pub successful: Option<i32>,
    /// Failed.
    pub failed: Option<i32>,
    /// Inconclusive.
    pub inconclusive: Option<i32>,
    /// In error.
    pub error: Option<i32>,
}

/// What one metric has found.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricResult {
    /// Name of the metric.
    pub name: String,
    /// Its phase.
    pub phase: AnalysisPhase,
    /// Why it has that phase.
    pub message: Option<String>,
    /// The latest measurements, oldest first.
    pub measurements: Option<Vec<Measurement>>,
    /// Measurements taken that were not errors.
    pub count: Option<i32>,
    /// Successful measurements.
    pub successful: Option<i32>,
    /// Failed measurements.
    pub failed: Option<i32>,
    /// Inconclusive measurements.
    pub inconclusive: Option<i32>,
    /// Errors.
    pub error: Option<i32>,
    /// Errors in a row, up to now.
    pub consecutive_error: Option<i32>,
    /// Successes in a row, up to now.
    pub consecutive_success: Option<i32>,
    /// Whether the metric does not decide.
    pub dry_run: Option<bool>,
    /// What the provider says of the metric.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// One measurement.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// Its verdict.
    pub phase: AnalysisPhase,
    /// Why.
    pub message: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The value, as text.
    pub value: Option<String>,
    /// What the provider says of the measurement.
    pub metadata: Option<BTreeMap<String, String>>,
    /// When an unfinished measurement is looked at again.
    pub resume_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_phase_may_be_the_empty_text_that_stands_for_none() {
        let phase = |status: serde_json::Value| {
            serde_json::from_value::<AnalysisRunStatus>(status).map(|status| status.phase).ok()
        };
        assert_eq!(phase(json!({})), Some(None));
        assert_eq!(phase(json!({"phase": null})), Some(None));
        assert_eq!(phase(json!({"phase": ""})), Some(None));
        assert_eq!(phase(json!({"phase": "Running"})), Some(Some(AnalysisPhase::Running)));
        assert_eq!(phase(json!({"phase": "Walking"})), None);
    }
}
