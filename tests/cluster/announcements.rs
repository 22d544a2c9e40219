//! Events of a Rollout: the reasons of Argo Rollouts, in its order, each as an object of its own.

use serde_json::json;

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, canary, is_restored};
use crate::shared::{client, kubeconfig, namespace};

/// Reasons that Argo Rollouts does not have.
const OUR_OWN: [&str; 1] = ["RolloutRetry"];

/// The Events of one Rollout, read piece by piece.
struct Story<'a> {
    subject: &'a Subject,
    read: usize,
}

impl Story<'_> {
    /// Compares the reasons of the next Events, up to the last one expected. A reason that comes several times in a row
    /// counts once: in how many stages pods are exchanged is nobody's contract.
    async fn goes_on(&mut self, expected: &[&str]) {
        let last = expected.last().unwrap();
        let new = self.subject.until_announced_after(self.read, last).await;
        self.read += new.len();
        let mut reasons: Vec<_> = new.iter().map(|announcement| announcement.reason.as_str()).collect();
        reasons.retain(|reason| !OUR_OWN.contains(reason));
        reasons.dedup();
        assert_eq!(reasons, expected, "{new:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn announcements_come_in_the_order_that_users_of_this_api_know() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "events").await;
    let steps = json!([{"setWeight": 25}, {"pause": {}}]);
    let subject = Subject::create(&client, &namespace, "v1", canary(steps)).await;
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let mut story = Story { subject: &subject, read: 0 };
    story
        .goes_on(&[
            "RolloutAddedToInformer",
            "RolloutUpdated",
            "NewReplicaSetCreated",
            "RolloutNotCompleted",
            "ScalingReplicaSet",
            "RolloutCompleted",
        ])
        .await;

    subject.until_phase("Healthy").await;
    subject.release("v2").await;
    story
        .goes_on(&[
            "RolloutUpdated",
            "NewReplicaSetCreated",
            "RolloutNotCompleted",
            "ScalingReplicaSet",
            "RolloutStepCompleted",
            "RolloutPaused",
        ])
        .await;

    subject.until_phase("Paused").await;
    subject.change_status(json!({"abort": true})).await;
    story.goes_on(&["ScalingReplicaSet", "RolloutAborted"]).await;

    subject.until_phase("Degraded").await;
    subject.until(is_restored(4)).await;
    subject.change_status(json!({"abort": null})).await;
    story.goes_on(&["ScalingReplicaSet", "RolloutStepCompleted", "RolloutPaused"]).await;

    subject.until_phase("Paused").await;
    subject.resume().await;
    story.goes_on(&["RolloutStepCompleted", "RolloutResumed", "ScalingReplicaSet", "RolloutCompleted"]).await;
}
