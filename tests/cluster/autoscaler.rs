//! What an autoscaler sees and does: the scale subresource of a Rollout, in the middle of an update.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, canary, is_restored, says};
use crate::shared::{client, kubeconfig, namespace};

impl Subject {
    /// Scales as an autoscaler does.
    async fn scale(&self, replicas: i32) {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.rollouts.patch_scale(self.name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Asserts that the scale's selector finds as many pods as the scale counts: an autoscaler multiplies the one's mean
    /// utilisation by the other.
    async fn assert_scale_counts_what_it_selects(&self, expected: i32) {
        let scale = self.rollouts.get_scale(self.name).await.unwrap();
        let status = scale.status.unwrap();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let selected = pods.list(&ListParams::default().labels(&status.selector.unwrap())).await.unwrap();
        let alive = selected.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count();
        assert_eq!((status.replicas, alive), (expected, usize::try_from(expected).unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_scales_both_versions_and_an_abort_does_not_bring_the_canary_back() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "autoscaler").await;
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let steps = canary(json!([{"setWeight": 50}, {"pause": {}}]));
    let subject = Subject::create(&client, &namespace, "v1", steps).await;
    subject.until_phase("Healthy").await;
    subject.assert_scale_counts_what_it_selects(4).await;

    subject.release("v2").await;
    subject.until_phase("Paused").await;
    subject.until_sizes(&[("1", 2), ("2", 2)]).await;
    subject.assert_scale_counts_what_it_selects(4).await;
    subject.scale(8).await;
    subject.until_phase("Paused").await;
    subject.until_sizes(&[("1", 4), ("2", 4)]).await;

    // In the middle of growing once more, the update is taken back.
    subject.scale(12).await;
    subject.change_status(json!({"abort": true})).await;
    subject.until(says("RolloutAborted")).await;
    subject.until(is_restored(12)).await;
    subject.until_sizes(&[("1", 12)]).await;
    subject.scale(6).await;
    subject.until(is_restored(6)).await;
    subject.until_sizes(&[("1", 6)]).await;
    subject.assert_scale_counts_what_it_selects(6).await;
}
