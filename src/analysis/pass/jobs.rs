//! Measurements that go on: Jobs are shown while they run, and all are ended with their run.

use super::super::query::{JOB_NAME, JOB_NAMESPACE, JobQuery};
use super::super::verdict;
use super::Pass;
use crate::api::AnalysisPhase;
use crate::api::analysis_run::Measurement;
use crate::units::Timestamp;

impl Pass<'_> {
    /// Shows a Job's measurement while it runs, so that the Job is known whatever happens; gives when it began.
    pub(super) fn begin_job(&mut self, metric: &str, job: &mut JobQuery) -> Timestamp {
        let now = self.snapshot.now;
        let found = self.found(metric);
        let begun = found.and_then(verdict::unfinished);
        let known = begun.and_then(|one| one.metadata.as_ref()?.get(JOB_NAME));
        let number = found.map_or(0, verdict::taken).saturating_add(1);
        job.begin(&self.snapshot.run, metric, number, known);
        if let Some(begun) = begun {
            return begun.started_at.unwrap_or(now);
        }
        let names = [(JOB_NAME, job.name.clone()), (JOB_NAMESPACE, job.namespace.clone())];
        let measurement = Measurement {
            phase: AnalysisPhase::Running,
            message: None,
            started_at: Some(now.whole_seconds()),
            finished_at: None,
            value: None,
            metadata: Some(names.map(|(key, name)| (key.to_owned(), name)).into()),
            resume_at: None,
        };
        self.add(metric, measurement);
        now
    }

    /// Ends the measurements that still run. They count for nothing: nobody knows how they would have ended.
    pub(super) fn end_unfinished(&mut self) {
        let now = self.snapshot.now.whole_seconds();
        for one in self.status.metric_results.iter_mut().flatten().filter_map(verdict::unfinished_mut) {
            let awaited = if one.phase == AnalysisPhase::Pending { "there was data" } else { "the Job did" };
            self.plan.delete_jobs.extend(self.snapshot.job_of(one));
            one.phase = AnalysisPhase::Inconclusive;
            one.message = Some(format!("the run ended before {awaited}"));
            one.finished_at = Some(now);
            one.resume_at = None;
        }
    }
}
