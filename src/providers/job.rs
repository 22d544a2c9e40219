//! A Kubernetes Job as a measurement: made once, and watched until it ends.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, PostParams};
use kube::runtime::wait::{Error as WaitError, await_condition};
use kube::{Client, Error, ResourceExt};
use tokio::time::{sleep, timeout};

use crate::analysis::Value;
use crate::analysis::query::{JobEnd, JobQuery};

/// How long a Job is waited for before its pods are looked at, at first; each time twice as long.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// The longest that this gets.
const LAST_LOOK: Duration = Duration::from_mins(2);
/// How long to wait after the API server could not be asked.
const PATIENCE: Duration = Duration::from_secs(5);
/// Why a container waits that will not start by itself.
const STUCK: [&str; 5] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
];

/// Takes one measurement; takes as long as the Job does.
pub(super) async fn measure(client: &Client, query: &JobQuery) -> Result<Value, String> {
    let api = Api::<Job>::namespaced(client.clone(), &query.namespace);
    let place = format!("Job {}", query.name);
    begin(&api, query).await.map_err(|why| format!("{place} {why}"))?;
    let mut look = FIRST_LOOK;
    loop {
        let ended = await_condition(api.clone(), &query.name, |job: Option<&Job>| {
            job.is_none_or(|job| end_of(job).is_some())
        });
        match timeout(look, ended).await {
            Ok(Ok(Some(job))) => {
                if let Some(end) = end_of(&job) {
                    return Ok(Value::Job(end));
                }
            }
            Ok(Ok(None)) => return Err(format!("{place} was deleted before it ended")),
            Ok(Err(WaitError::ProbeFailed(_))) => sleep(PATIENCE).await,
            Err(_) => {
                if let Some(why) = stuck(client, query).await {
                    return Ok(Value::Job(JobEnd::Stuck(why)));
                }
                look = (look * 2).min(LAST_LOOK);
            }
        }
    }
}

/// Makes the Job unless it is there. The error says what is wrong with it.
async fn begin(api: &Api<Job>, query: &JobQuery) -> Result<(), String> {
    let job: Job = serde_json::from_value(query.manifest.clone())
        .map_err(|why| format!("cannot be made: provider.job.spec: {why}"))?;
    loop {
        match api.create(&PostParams::default(), &job).await {
            Ok(_) => return Ok(()),
            Err(Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => {
                return check_owner(api, query).await;
            }
            // What the API server refuses would be refused again.
            Err(Error::Api(status)) if (400..500).contains(&status.code) && status.code != 429 => {
                return Err(format!("cannot be made: {}", status.message));
            }
            Err(_) => sleep(PATIENCE).await,
        }
    }
}

async fn check_owner(api: &Api<Job>, query: &JobQuery) -> Result<(), String> {
    loop {
        match api.get_opt(&query.name).await {
            Ok(Some(job)) if job.owner_references().iter().any(|owner| owner.uid == query.owner) => {
                return Ok(());
            }
            Ok(Some(_)) => return Err("belongs to somebody else".to_owned()),
            Ok(None) => return Err("was deleted before it ended".to_owned()),
            Err(_) => sleep(PATIENCE).await,
        }
    }
}

/// How a Job ended, if it has.
fn end_of(job: &Job) -> Option<JobEnd> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().filter(|condition| condition.status == "True").find_map(|condition| {
        match condition.type_.as_str() {
            "Complete" => Some(JobEnd::Complete),
            "Failed" => {
                let texts = [condition.reason.as_deref(), condition.message.as_deref()];
                Some(JobEnd::Failed(texts.into_iter().flatten().collect::<Vec<_>>().join(": ")))
            }
            _ => None,
        }
    })
}

/// Why one of the Job's pods will not start, as far as that can be seen.
async fn stuck(client: &Client, query: &JobQuery) -> Option<String> {
    let pods = Api::<Pod>::namespaced(client.clone(), &query.namespace);
    let of_job =
        ListParams::default().labels(&format!("batch.kubernetes.io/job-name={}", query.name)).match_any();
    pods.list(&of_job).await.ok()?.items.iter().find_map(waits_for_ever)
}

fn waits_for_ever(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers = [&status.init_container_statuses, &status.container_statuses];
    containers.into_iter().flatten().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|reason| STUCK.contains(reason))?;
        let message = waiting.message.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
        Some(format!(
            "pod {}: container '{}' cannot start: {reason}{message}",
            pod.name_any(),
            container.name
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_ends_when_a_condition_says_so() {
        let job = |conditions: serde_json::Value| {
            serde_json::from_value::<Job>(json!({"status": {"conditions": conditions}})).unwrap()
        };
        let condition =
            |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "R", "message": "M"});
        assert_eq!(end_of(&Job::default()), None);
        assert_eq!(
            end_of(&job(json!([condition("Complete", "False"), condition("Suspended", "True")]))),
            None
        );
        assert_eq!(end_of(&job(json!([condition("Complete", "True")]))), Some(JobEnd::Complete));
        assert_eq!(
            end_of(&job(json!([condition("Failed", "True")]))),
            Some(JobEnd::Failed("R: M".to_owned()))
        );
    }

    #[test]
    fn a_pod_that_only_starts_is_not_stuck() {
        let pod = |reason: &str| {
            let state = json!({"waiting": {"reason": reason, "message": "no such image"}});
            let container = json!({
                "name": "test", "state": state, "image": "", "imageID": "", "ready": false, "restartCount": 0
            });
            let status = json!({"containerStatuses": [container]});
            serde_json::from_value::<Pod>(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
        };
        assert_eq!(waits_for_ever(&pod("ContainerCreating")), None);
        assert_eq!(
            waits_for_ever(&pod("ErrImagePull")).as_deref(),
            Some("pod p: container 'test' cannot start: ErrImagePull: no such image")
        );
    }
}
