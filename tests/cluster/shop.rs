//! A Rollout whose pods really serve, and its users: an update must cost none of them a request, and give each version the
//! share that the route says. How requests come to pods, and how they are counted, is up to each test.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use kube::api::PostParams;
use kube::runtime::wait::Condition;
use kube::{Api, Client};
use serde_json::{Value, json};
use serin::api::Rollout;
use tokio::time::timeout;

use crate::controller_process::ControllerProcess;
use crate::rollouts::{Subject, is_in, merge, says};
use crate::shared::DEADLINE;

/// Requests that a share is measured by.
pub(crate) const SAMPLE: u64 = 300;
/// Samples after the first in which a share may still be another.
const FURTHER_SAMPLES: usize = 3;
/// Where pods serve; anybody may listen there.
const PORT: u16 = 8080;
/// The last step, a pause at full weight.
pub(crate) const LAST_STEP: i32 = 5;

/// Requests that go on and on.
pub(crate) trait Users {
    /// The answers to the next `count` requests, by version.
    async fn next(&self, count: u64) -> BTreeMap<String, u64>;

    /// What the answers of the version that a Rollout wants are counted by.
    fn wanted(&self, rollout: &Rollout) -> String;

    /// What the answers of its stable version are counted by.
    fn stable(&self, rollout: &Rollout) -> String;

    /// Panics when a single request has failed.
    fn assert_unfailing(&self, when: &str);
}

/// The Rollout and its users.
pub(crate) struct Shop<U> {
    pub(crate) subject: Subject,
    pub(crate) users: U,
    pub(crate) controller: ControllerProcess,
}

/// A pod template whose pods are slow to start and slow to stop.
pub(crate) fn template(version: &str) -> Value {
    let image = format!("app:{version}-slow-start500ms-slow-stop2s-lat5ms");
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"terminationGracePeriodSeconds": 30, "containers": [
            {"name": "main", "image": image, "ports": [{"containerPort": PORT}]},
        ]},
    })
}

/// A Service of all pods.
pub(crate) async fn expose(client: &Client, namespace: &str, name: &str) {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let service = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": PORT}]},
    }));
    services.create(&PostParams::default(), &service.unwrap()).await.unwrap();
}

/// A Rollout of the first version, which has all requests; `canary` is merged into its strategy.
pub(crate) async fn deploy(client: &Client, namespace: &str, canary: Value) -> Subject {
    let pause = || json!({"pause": {}});
    let steps = json!([
        {"setWeight": 10}, pause(), {"setWeight": 50}, pause(), {"setWeight": 100}, pause(),
    ]);
    let mut whole = json!({
        "canaryService": "canary", "stableService": "stable", "steps": steps, "abortScaleDownDelaySeconds": 1,
    });
    merge(&mut whole, canary);
    let spec = json!({"template": template("v1"), "strategy": {"canary": whole}});
    let subject = Subject::create(client, namespace, "v1", spec).await;
    subject.until_phase("Healthy").await;
    subject
}

impl<U: Users> Shop<U> {
    pub(crate) async fn release(&self, version: &str) {
        self.subject.change(json!({"template": template(version)})).await;
    }

    pub(crate) async fn resume(&self) {
        self.subject.resume().await;
    }

    pub(crate) async fn retry(&self) {
        self.subject.change_status(json!({"abort": false, "abortedAt": null})).await;
    }

    /// Waits for the pause at a step.
    pub(crate) async fn until_at(&self, step: i32) -> Rollout {
        let at = move |rollout: Option<&Rollout>| {
            let status = rollout.and_then(|rollout| rollout.status.as_ref());
            status.is_some_and(|status| status.current_step_index == Some(step))
                && says("CanaryPauseStep").matches_object(rollout)
        };
        self.subject.until(at).await
    }

    /// Waits for the pause at a step, and for the share that the route gives the new version then.
    async fn until_paused(&self, step: i32, percent: u64) {
        let version = self.users.wanted(&self.until_at(step).await);
        let mut found = BTreeMap::new();
        // The first sample may hold requests that were under way.
        for _ in 0..=FURTHER_SAMPLES {
            found = self.users.next(SAMPLE).await;
            if has_share(&found, &version, percent) {
                return;
            }
        }
        panic!("{version} should have {percent} % at step {step}, not {found:?}");
    }

    /// Goes on until the pause at `step`, the share measured at each pause on the way.
    pub(crate) async fn go_to(&self, step: i32) {
        for (pause, percent) in [(1, 10), (3, 50), (LAST_STEP, 100)] {
            self.until_paused(pause, percent).await;
            self.users.assert_unfailing(&format!("on the way to step {pause}"));
            if pause == step {
                return;
            }
            self.resume().await;
        }
    }

    /// Waits for the end of an update, and until nobody gets another version than the stable one.
    pub(crate) async fn until_healthy(&self) {
        let healthy = self.subject.until(is_in("Healthy")).await;
        self.until_only(&self.users.stable(&healthy)).await;
    }

    /// Takes the update back, and waits until nobody gets it and none of its pods is left.
    async fn abort(&self, revision: &str) {
        self.subject.change_status(json!({"abort": true})).await;
        let degraded = self.subject.until(is_in("Degraded")).await;
        self.until_only(&self.users.stable(&degraded)).await;
        self.subject.until_sizes(&[(revision, 4)]).await;
    }

    /// An update that is taken back to the second revision from each of its steps, and then replaced by another; and one that
    /// is left for the version of that revision.
    pub(crate) async fn try_and_go_back(&self) {
        self.release("v3").await;
        for step in [1, 3, LAST_STEP] {
            self.go_to(step).await;
            self.abort("2").await;
            self.users.assert_unfailing(&format!("after the abort at step {step}"));
            self.retry().await;
        }
        self.go_to(3).await;
        self.release("v4").await;
        self.go_to(3).await;
        self.release("v2").await;
        self.until_healthy().await;
        self.users.assert_unfailing("after the way back");
    }

    /// Waits until no other version answers any more.
    pub(crate) async fn until_only(&self, version: &str) {
        let only = async { while !self.users.next(SAMPLE / 5).await.keys().eq([version]) {} };
        timeout(DEADLINE, only).await.unwrap_or_else(|_| panic!("others than {version} still get requests"));
    }
}

/// Whether the share of a version among these answers is its weight, within five standard deviations.
fn has_share(found: &BTreeMap<String, u64>, version: &str, percent: u64) -> bool {
    let (all, of_version) = (found.values().sum::<u64>(), found.get(version).copied().unwrap_or_default());
    let variance = all * percent * (100 - percent);
    let difference = (of_version * 100).abs_diff(all * percent);
    difference.pow(2) <= 25 * variance
}
