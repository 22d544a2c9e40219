//! Wire types only: what is stored in the cluster under `argoproj.io/v1alpha1`.
//!
//! Every name and meaning is that of the public API. Optional fields stay `None` when they are absent: defaults are
//! applied where a spec is validated, never here and never in the schema (a sync engine would see drift for ever).

pub mod analysis_run;
pub mod analysis_template;
pub mod canary_step;
pub mod conditions;
pub mod crds;
pub mod experiment;
pub mod git_write_back;
pub mod labels;
pub mod metric_provider;
pub mod rollout;
pub mod rollout_status;
mod schema;
pub mod traffic_routing;

pub use analysis_run::{AnalysisPhase, AnalysisRun, AnalysisRunSpec, AnalysisRunStatus};
pub use analysis_template::{AnalysisTemplate, AnalysisTemplateSpec, ClusterAnalysisTemplate};
pub use conditions::Condition;
pub use experiment::{Experiment, ExperimentSpec, ExperimentStatus};
pub use rollout::{Rollout, RolloutSpec};
pub use rollout_status::RolloutStatus;
