//! A question that a Kubernetes Job answers: it succeeds or it fails.
//!
//! A Job's name says which measurement of which run it is, so that it is made once, whatever crashes: who finds it there
//! waits for it. Its fields may not hold secret arguments, because everybody who sees Jobs would see them; a Job reads a
//! Secret itself, by `secretKeyRef`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value as Json, json};

use crate::analysis::metric::FieldError;
use crate::api::AnalysisRun;
use crate::api::metric_provider::JobMetric;

/// Longest name of a Job, in bytes: its pods carry it as a label.
const MAX_NAME: usize = 63;
/// Where a measurement's metadata has the name of its Job.
pub const JOB_NAME: &str = "job-name";
/// Where a measurement's metadata has the namespace of its Job.
pub const JOB_NAMESPACE: &str = "job-namespace";
/// Label and annotations that say which run and metric a Job belongs to begin with this.
const PREFIX: &str = "analysisrun.argoproj.io";

/// A Job to run, or to wait for when it is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobQuery {
    /// Name of the Job.
    pub name: String,
    /// The run's namespace.
    pub namespace: String,
    /// Uid of the run, which owns the Job.
    pub owner: String,
    /// The Job.
    pub manifest: Json,
}

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// It succeeded.
    Complete,
    /// It failed; the reason, if it has one.
    Failed(String),
    /// Its pods cannot start; the reason.
    Stuck(String),
}

impl JobQuery {
    /// Reads a Job whose arguments are put in; which run it is for comes later.
    pub(super) fn parse(wire: &JobMetric) -> Result<Self, Vec<FieldError>> {
        let pods = wire.spec.as_ref().and_then(|spec| spec.pointer("/template/spec/containers"));
        if pods.and_then(Json::as_array).is_none_or(Vec::is_empty) {
            return Err(vec![FieldError::new("spec.template.spec.containers", "is empty")]);
        }
        let metadata = json!({
            "labels": wire.metadata.as_ref().and_then(|metadata| metadata.labels.clone()).unwrap_or_default(),
            "annotations":
                wire.metadata.as_ref().and_then(|metadata| metadata.annotations.clone()).unwrap_or_default(),
        });
        let manifest =
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": wire.spec});
        Ok(Self { manifest, ..Self::default() })
    }

    /// The Job of a run's measurement of that number, from 1; `known` is the name under which it was begun.
    pub(crate) fn begin(&mut self, run: &AnalysisRun, metric: &str, number: u32, known: Option<&String>) {
        let meta = |field: &Option<String>| field.clone().unwrap_or_default();
        let ObjectMeta { name, namespace, uid, .. } = &run.metadata;
        let (run_name, uid) = (meta(name), meta(uid));
        self.namespace = meta(namespace);
        self.name = known
            .filter(|known| known.starts_with(&uid))
            .cloned()
            .unwrap_or_else(|| job_name(&uid, metric, number));
        let owner = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "name": run_name, "uid": uid,
            "controller": true, "blockOwnerDeletion": true
        });
        let added = [
            ("/labels", "uid", uid.clone()),
            ("/annotations", "name", run_name),
            ("/annotations", "namespace", self.namespace.clone()),
            ("/annotations", "metric-name", metric.to_owned()),
        ];
        if let Some(metadata) = self.manifest.get_mut("metadata") {
            for (part, name, value) in added {
                if let Some(fields) = metadata.pointer_mut(part).and_then(Json::as_object_mut) {
                    fields.insert(format!("{PREFIX}/{name}"), value.into());
                }
            }
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.insert("name".to_owned(), self.name.clone().into());
                metadata.insert("namespace".to_owned(), self.namespace.clone().into());
                metadata.insert("ownerReferences".to_owned(), json!([owner]));
            }
        }
        self.owner = uid;
    }
}

/// `<uid>.<metric>.<number>`, with as much of the metric's name as a name can hold.
fn job_name(uid: &str, metric: &str, number: u32) -> String {
    let number = number.to_string();
    let room = MAX_NAME.saturating_sub(uid.len() + number.len() + 2);
    let plain: String = metric
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(room)
        .collect();
    let plain = plain.trim_matches('-');
    let name = if plain.is_empty() { "metric" } else { plain };
    format!("{uid}.{name}.{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> JobQuery {
        let wire = json!({
            "metadata": {"labels": {"team": "shop"}},
            "spec": {"template": {"spec": {"containers": [{"name": "test", "image": "test:1"}]}}}
        });
        JobQuery::parse(&serde_json::from_value(wire).unwrap()).unwrap()
    }

    fn run() -> AnalysisRun {
        serde_json::from_value(json!({
            "metadata": {"name": "run", "namespace": "shop", "uid": "11111111-2222-3333-4444-555555555555"},
            "spec": {}
        }))
        .unwrap()
    }

    #[test]
    fn a_job_says_which_measurement_it_is_and_goes_with_its_run() {
        let mut query = query();
        query.begin(&run(), "Smoke_Test", 3, None);
        assert_eq!(query.name, "11111111-2222-3333-4444-555555555555.smoke-test.3");
        let metadata = &query.manifest["metadata"];
        assert_eq!(metadata["ownerReferences"][0]["uid"], json!(query.owner));
        assert_eq!(metadata["labels"]["team"], "shop");
        assert_eq!(metadata["labels"]["analysisrun.argoproj.io/uid"], json!(query.owner));
        assert_eq!(metadata["annotations"]["analysisrun.argoproj.io/metric-name"], "Smoke_Test");
    }

    #[test]
    fn a_job_that_was_begun_is_waited_for_under_its_name_and_no_other_runs() {
        let mut query = query();
        let known = "11111111-2222-3333-4444-555555555555.begun.1".to_owned();
        query.begin(&run(), "smoke", 1, Some(&known));
        assert_eq!(query.name, known);
        query.begin(&run(), "smoke", 1, Some(&"other".to_owned()));
        assert_eq!(query.name, "11111111-2222-3333-4444-555555555555.smoke.1");
        query.begin(&run(), &"x".repeat(80), 12, None);
        assert_eq!(query.name.len(), MAX_NAME);
    }

    #[test]
    fn a_job_without_containers_is_refused() {
        let problems = JobQuery::parse(&JobMetric::default()).unwrap_err();
        assert_eq!(problems[0].to_string(), "spec.template.spec.containers is empty");
    }
}
