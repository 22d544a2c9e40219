//! How long the lists of a run may be: all of them are read in every pass, and one pass must not hold up the others.

use super::FieldError;
use super::template::Usage;
use crate::api::{AnalysisRunSpec, AnalysisTemplateSpec};

/// Most metrics of a run; each is a query of its own.
const MAX_METRICS: usize = 200;
/// Most patterns in each list of a run; one takes up to some milliseconds to compile.
const MAX_PATTERNS: usize = 100;
/// Most arguments of a run; each is compared with all others when templates are merged.
const MAX_ARGUMENTS: usize = 1_000;

/// Lengths of the lists of a run or of a template.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) metrics: usize,
    pub(super) args: usize,
    pub(super) dry_run: usize,
    pub(super) measurement_retention: usize,
}

impl Lengths {
    /// The lengths of both one after the other.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            metrics: self.metrics + other.metrics,
            args: self.args + other.args,
            dry_run: self.dry_run + other.dry_run,
            measurement_retention: self.measurement_retention + other.measurement_retention,
        }
    }

    /// The lists that are longer than a pass can read.
    pub(super) fn too_long(self) -> Vec<FieldError> {
        let lists = [
            ("metrics", self.metrics, MAX_METRICS),
            ("args", self.args, MAX_ARGUMENTS),
            ("dryRun", self.dry_run, MAX_PATTERNS),
            ("measurementRetention", self.measurement_retention, MAX_PATTERNS),
        ];
        let long = lists.into_iter().filter(|(_, count, most)| count > most);
        long.map(|(field, count, most)| {
            FieldError::new(field, format!("has {count} entries; at most {most} are allowed"))
        })
        .collect()
    }
}

impl From<&AnalysisRunSpec> for Lengths {
    fn from(spec: &AnalysisRunSpec) -> Self {
        Self {
            metrics: length(spec.metrics.as_ref()),
            args: length(spec.args.as_ref()),
            dry_run: length(spec.dry_run.as_ref()),
            measurement_retention: length(spec.measurement_retention.as_ref()),
        }
    }
}

impl From<&AnalysisTemplateSpec> for Lengths {
    fn from(spec: &AnalysisTemplateSpec) -> Self {
        Self {
            metrics: length(spec.metrics.as_ref()),
            args: length(spec.args.as_ref()),
            dry_run: length(spec.dry_run.as_ref()),
            measurement_retention: length(spec.measurement_retention.as_ref()),
        }
    }
}

impl From<&Usage<'_>> for Lengths {
    fn from(usage: &Usage<'_>) -> Self {
        Self {
            metrics: 0,
            args: usage.args.len(),
            dry_run: usage.dry_run.len(),
            measurement_retention: usage.measurement_retention.len(),
        }
    }
}

fn length<T>(list: Option<&Vec<T>>) -> usize {
    list.map_or(0, Vec::len)
}
