//! The read model: what a rollout looks like to a person, and why it waits.
//!
//! Pure functions of API objects and a time. The plugin renders it as text and the dashboard may render it otherwise;
//! deliberately absent are reads, clocks and terminals. A picture is made of what the objects say at one moment; where
//! they contradict each other (a watch is a little behind another), the Rollout's own status has the word.

mod age;
mod experiment;
mod list;
mod phase;
mod pod;
mod render;
mod replica_set;
mod run;
mod step;
mod text;
mod tree;
mod why;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::{AnalysisRun, Experiment, Rollout};

pub use experiment::{ExperimentView, view as experiment};
pub use list::{Columns, list, list_experiments};
pub use phase::{Observation, Phase, Standing, observation, standing};
pub use render::{Detail, render, render_experiment};
pub use replica_set::{PodView, ReplicaSetView, Role};
pub use run::{MetricView, RunTally, RunView};
pub use text::{Limits, Line, Paint, Sign, Text, Tone};
pub use tree::{ImageView, ReplicaCounts, RevisionView, RolloutView, StrategyView, WorkloadView, tree};
pub use why::why;

/// The objects a picture is made of. Foreign objects do no harm: only those that the Rollout owns are looked at.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The Rollout.
    pub rollout: Rollout,
    /// ReplicaSets of its namespace.
    pub replica_sets: Vec<ReplicaSet>,
    /// Pods of its namespace.
    pub pods: Vec<Pod>,
    /// AnalysisRuns of its namespace.
    pub analysis_runs: Vec<AnalysisRun>,
    /// Experiments of its namespace.
    pub experiments: Vec<Experiment>,
}

/// Whether `owner` controls the object.
fn is_owned(object: &ObjectMeta, owner: &ObjectMeta) -> bool {
    let owners = object.owner_references.iter().flatten();
    owner.uid.is_some() && owners.into_iter().any(|reference| Some(&reference.uid) == owner.uid.as_ref())
}
