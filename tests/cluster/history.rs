//! What a Rollout leaves behind: no more than its limits say.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::Api;
use kube::Resource;
use serde_json::json;
use serin::api::{AnalysisRun, Experiment};

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, analysis_template, canary, merge};
use crate::shared::{client, kubeconfig, namespace, wait_for_all};
use crate::stub_prometheus::{Answer, StubPrometheus};

/// Holds once there is none.
fn none<K: Resource>(all: &[Arc<K>]) -> Option<()> {
    all.is_empty().then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_their_runs_and_their_experiments_go() {
    let server = StubPrometheus::start(Answer::Value(1.0));
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "history").await;
    analysis_template(&client, &namespace, "success-rate", &server.url(), json!({})).await;
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let template = json!({"name": "baseline", "specRef": "stable"});
    let mut spec = canary(json!([
        {"setWeight": 25}, {"analysis": {"templates": [{"templateName": "success-rate"}]}},
        {"experiment": {"duration": "1s", "templates": [template]}},
    ]));
    let none_is_kept = json!({
        "revisionHistoryLimit": 0,
        "analysis": {"successfulRunHistoryLimit": 0, "unsuccessfulRunHistoryLimit": 0},
    });
    merge(&mut spec, none_is_kept);
    let subject = Subject::create(&client, &namespace, "v1", spec).await;
    subject.until_phase("Healthy").await;
    subject.release("v2").await;
    subject.until_phase("Healthy").await;

    wait_for_all(&Api::<AnalysisRun>::namespaced(client.clone(), &namespace), "no run", none).await;
    wait_for_all(&Api::<Experiment>::namespaced(client.clone(), &namespace), "no Experiment", none).await;
    let stable_alone = |sets: &[Arc<ReplicaSet>]| (sets.len() == 1).then_some(());
    let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), &namespace);
    wait_for_all(&sets, "one ReplicaSet", stable_alone).await;
    subject.until_revisions(&["2"]).await;
}
