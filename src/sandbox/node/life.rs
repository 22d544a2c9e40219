//! The life of one pod, from binding to deletion: what the node writes, and when.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Status, Time};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::NODE_NAME;
use super::plan::{Outcome, PodPlan, Workload};
use super::status::{self, Exit, ImageTrouble, Observed, Readiness, Stage};

/// Requests under way at once: enough to keep a small API server busy, few enough not to starve its other clients.
const CONCURRENT_REQUESTS: usize = 32;
/// How long a request may take before it is tried again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Delay before a failed request is tried again; it doubles up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Longest delay between attempts.
const LONGEST_RETRY: Duration = Duration::from_secs(2);
/// Attempts after a conflict: the API server gives up merging a patch when others write at the same time.
const MOST_CONFLICTS: u32 = 3;
/// Delay before the second restart of a container; it doubles up to [`LONGEST_RESTART_DELAY`], as a kubelet's does.
const FIRST_RESTART_DELAY: Duration = Duration::from_secs(10);
/// Longest delay between restarts.
const LONGEST_RESTART_DELAY: Duration = Duration::from_mins(5);
/// From `ErrImagePull` until `ImagePullBackOff`.
const IMAGE_BACK_OFF: Duration = Duration::from_secs(1);

/// The wall clock, for stamps in pod status. Serin's own decisions never see it.
#[expect(clippy::disallowed_methods, reason = "the node plays a kubelet, which stamps what it reports")]
pub(in crate::sandbox) fn now() -> Time {
    Time(k8s_openapi::jiff::Timestamp::now())
}

/// The news that a pod is being deleted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Farewell {
    /// The longest time that it may still take.
    grace: Duration,
}

impl Farewell {
    /// What the deletion of `pod` allows it.
    pub(super) fn of(pod: &Pod) -> Self {
        let seconds = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
        Self { grace: Duration::from_secs(seconds.try_into().unwrap_or_default()) }
    }
}

/// Why a life goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The pod is gone.
    Gone,
    /// Another pod has its name, or somebody else has placed it.
    Conflict,
    /// The API server does not take what was written; trying again would not help.
    Refused,
}

/// What every life needs.
pub(super) struct Kubelet<W> {
    client: Client,
    workload: Arc<W>,
    requests: Semaphore,
}

impl<W: Workload> Kubelet<W> {
    pub(super) fn new(client: Client, workload: Arc<W>) -> Self {
        Self { client, workload, requests: Semaphore::new(CONCURRENT_REQUESTS) }
    }

    /// Drives `pod` until it is gone.
    pub(super) async fn live(self: Arc<Self>, pod: Pod, mut farewell: oneshot::Receiver<Farewell>) {
        let life = Life { kubelet: &self, pods: self.pods_of(&pod), pod: &pod };
        let told = tokio::select! {
            biased;
            told = &mut farewell => told,
            // It has reached its last state, in which it stays until it is deleted.
            _ = life.lead() => farewell.await,
        };
        let uid = pod.uid().unwrap_or_default();
        if let Ok(Farewell { grace }) = told {
            // Either way its time is over.
            let _ = timeout(grace, self.workload.drained(&uid)).await;
        }
        self.workload.stop(&uid);
        if told.is_ok() {
            // Either way it is gone.
            let _ = life.remove().await;
        }
    }

    fn pods_of(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default())
    }
}

/// One pod on its way.
struct Life<'a, W> {
    kubelet: &'a Kubelet<W>,
    pods: Api<Pod>,
    pod: &'a Pod,
}

impl<W: Workload> Life<'_, W> {
    /// Takes the pod to the last state of its plan.
    async fn lead(&self) -> Result<(), End> {
        self.bind().await?;
        let plan = self.kubelet.workload.start(self.pod).await;
        match plan.outcome {
            Outcome::ImagePullBackOff => self.fail_to_pull(&plan).await,
            Outcome::NeverReady => self.run(&plan, &mut None, None).await.map(drop),
            Outcome::Serves => self.run(&plan, &mut None, Some(plan.ready_after)).await.map(drop),
            Outcome::Exits { after, code, restarts } => self.exit_again(&plan, after, code, restarts).await,
        }
    }

    /// Starts the containers; when `ready_after` is given, waits for them to be ready. Returns the time of the start.
    async fn run(
        &self,
        plan: &PodPlan,
        observed: &mut Option<Observed>,
        ready_after: Option<Duration>,
    ) -> Result<Time, End> {
        let started_at = now();
        let running = |ready| Stage::Running { started_at: started_at.clone(), ready };
        let observed =
            observed.get_or_insert_with(|| Observed::accepted(plan.ip, now(), running(Readiness::NotReady)));
        if ready_after != Some(Duration::ZERO) {
            self.report(observed, running(Readiness::NotReady)).await?;
        }
        if let Some(delay) = ready_after {
            sleep(delay).await;
            self.report(observed, running(Readiness::Ready)).await?;
        }
        Ok(started_at)
    }

    /// Runs containers that end by themselves, as often as the plan and the pod's restart policy say.
    async fn exit_again(&self, plan: &PodPlan, after: Duration, code: i32, restarts: u32) -> Result<(), End> {
        let mut slot = None;
        loop {
            let ready_after = (plan.ready_after < after).then_some(plan.ready_after);
            let started_at = self.run(plan, &mut slot, ready_after).await?;
            sleep(after.saturating_sub(ready_after.unwrap_or_default())).await;
            let exit = Exit { code, started_at, finished_at: now() };
            let Some(observed) = &mut slot else { return Ok(()) };
            if !is_restarted(self.pod, code) {
                return self.report(observed, Stage::Finished(exit)).await;
            }
            observed.last_exit = Some(exit);
            if observed.restarts >= restarts {
                return self.report(observed, Stage::BackingOff).await;
            }
            if observed.restarts > 0 {
                self.report(observed, Stage::BackingOff).await?;
                sleep(restart_delay(observed.restarts)).await;
            }
            observed.restarts += 1;
        }
    }

    /// Reports that there is no such image, then that the next attempt has to wait.
    async fn fail_to_pull(&self, plan: &PodPlan) -> Result<(), End> {
        let failed = Stage::Waiting(ImageTrouble::JustFailed);
        let mut observed = Observed::accepted(plan.ip, now(), failed.clone());
        self.report(&mut observed, failed).await?;
        sleep(IMAGE_BACK_OFF).await;
        self.report(&mut observed, Stage::Waiting(ImageTrouble::BackingOff)).await
    }

    async fn bind(&self) -> Result<(), End> {
        if self.pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
            return Ok(());
        }
        let name = self.pod.name_any();
        let binding = Binding {
            metadata: ObjectMeta { name: Some(name.clone()), uid: self.pod.uid(), ..ObjectMeta::default() },
            target: ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(NODE_NAME.to_owned()),
                ..ObjectReference::default()
            },
        };
        let params = PostParams::default();
        let bound = self
            .insist(|| self.pods.create_subresource::<_, Status>("binding", &name, &params, &binding))
            .await;
        match bound {
            // An attempt whose answer was lost has bound it. Were it another pod, the first report would say so.
            Err(End::Conflict) => Ok(()),
            other => other,
        }
    }

    async fn report(&self, observed: &mut Observed, stage: Stage) -> Result<(), End> {
        observed.advance(stage, now());
        let patch = Patch::Strategic(status::patch(self.pod, observed));
        let name = self.pod.name_any();
        self.insist(async || self.pods.patch_status(&name, &PatchParams::default(), &patch).await.map(drop))
            .await
    }

    async fn remove(&self) -> Result<(), End> {
        let preconditions = Preconditions { uid: self.pod.uid(), resource_version: None };
        let params = DeleteParams::default().grace_period(0).preconditions(preconditions);
        let name = self.pod.name_any();
        self.insist(|| self.pods.delete(&name, &params)).await
    }

    /// Sends a request until the API server has taken it or says that it never will.
    async fn insist<T, F>(&self, request: impl Fn() -> F) -> Result<(), End>
    where
        F: Future<Output = kube::Result<T>> + Send,
    {
        let (mut delay, mut conflicts) = (FIRST_RETRY, 0);
        loop {
            match self.limited(request()).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => {
                    match judge(&error) {
                        Some(End::Conflict) if conflicts < MOST_CONFLICTS => conflicts += 1,
                        Some(end) => {
                            tracing::debug!(pod = self.pod.name_any(), %error, "giving up");
                            return Err(end);
                        }
                        None => {}
                    }
                    tracing::debug!(pod = self.pod.name_any(), %error, "trying again");
                }
                Err(_) => tracing::debug!(pod = self.pod.name_any(), "no answer; trying again"),
            }
            sleep(delay).await;
            delay = (delay * 2).min(LONGEST_RETRY);
        }
    }

    async fn limited<T>(&self, request: impl Future<Output = T>) -> Result<T, tokio::time::error::Elapsed> {
        let _permit = self.kubelet.requests.acquire().await;
        timeout(REQUEST_TIMEOUT, request).await
    }
}

/// What an error means for the life of the pod; `None` when another attempt may succeed.
fn judge(error: &kube::Error) -> Option<End> {
    let kube::Error::Api(status) = error else { return None };
    match status.code {
        404 => Some(End::Gone),
        409 => Some(End::Conflict),
        408 | 429 => None,
        400..500 => Some(End::Refused),
        _ => None,
    }
}

/// Whether containers that ended with `code` start again, by the pod's restart policy.
fn is_restarted(pod: &Pod, code: i32) -> bool {
    let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    match policy {
        Some("Never") => false,
        Some("OnFailure") => code != 0,
        _ => true,
    }
}

/// The delay before the next restart of containers that were restarted `restarts` times.
fn restart_delay(restarts: u32) -> Duration {
    let doublings = restarts.saturating_sub(1).min(u32::BITS - 1);
    FIRST_RESTART_DELAY.saturating_mul(1 << doublings).min(LONGEST_RESTART_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_delays_double_up_to_five_minutes() {
        let seconds: Vec<u64> =
            [1, 2, 3, 5, 6, 40].map(|restarts| restart_delay(restarts).as_secs()).to_vec();
        assert_eq!(seconds, [10, 20, 40, 160, 300, 300]);
    }

    #[test]
    fn the_restart_policy_decides_whether_containers_start_again() {
        for (policy, code, expected) in [
            ("Always", 0, true),
            ("Always", 1, true),
            ("OnFailure", 0, false),
            ("OnFailure", 1, true),
            ("Never", 1, false),
        ] {
            let spec = serde_json::json!({"spec": {"restartPolicy": policy, "containers": []}});
            assert_eq!(
                is_restarted(&serde_json::from_value(spec).unwrap(), code),
                expected,
                "{policy} {code}"
            );
        }
    }
}
