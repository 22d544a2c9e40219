//! A Rollout that is judged by what any web server answers.

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use serin::api::AnalysisTemplate;

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, canary, message_of, says};
use crate::shared::{client, kubeconfig, namespace};
use crate::stub_prometheus::{Answer, StubPrometheus};

#[tokio::test(flavor = "multi_thread")]
async fn a_version_stays_or_goes_by_the_answer_of_a_web_server() {
    let server = StubPrometheus::start(Answer::Value(1.0));
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "web").await;
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let web = json!({"url": server.url(), "jsonPath": "{$.data.result[0].value[1]}"});
    let template = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "success-rate"},
        "spec": {"metrics": [{
            "name": "success-rate", "consecutiveErrorLimit": 0, "successCondition": "asFloat(result) >= 0.95",
            "provider": {"web": web},
        }]},
    });
    let templates: Api<AnalysisTemplate> = Api::namespaced(client.clone(), &namespace);
    let apply = PatchParams::apply("test");
    templates.patch("success-rate", &apply, &Patch::Apply(template)).await.unwrap();
    let steps = json!([{"setWeight": 25}, {"analysis": {"templates": [{"templateName": "success-rate"}]}}]);
    let subject = Subject::create(&client, &namespace, "v1", canary(steps)).await;
    subject.until_phase("Healthy").await;

    subject.release("v2").await;
    subject.until_phase("Healthy").await;

    server.answer(Answer::Value(0.5));
    subject.release("v3").await;
    let judged = subject.until_phase("Degraded").await;
    assert!(message_of(&judged).contains("failed (1) > failureLimit (0)"), "{}", message_of(&judged));

    server.answer(Answer::Empty);
    subject.release("v4").await;
    subject.until(says("its answer has nothing at {$.data.result[0].value[1]}")).await;
}
