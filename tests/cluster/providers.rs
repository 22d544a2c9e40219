//! Rollouts that are judged by what servers other than Prometheus answer.

use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use serin::api::{AnalysisRun, AnalysisTemplate, Rollout};

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
    success_rate(&client, &namespace, &json!({"web": web}), "asFloat(result) >= 0.95").await;
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

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_provider_are_the_controllers_and_never_shown() {
    let server = StubPrometheus::start(Answer::Table(1.0));
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "influxdb").await;
    // The kubeconfig's own namespace stands for the one that the controller runs in.
    let secrets: Api<Secret> = Api::default_namespaced(client.clone());
    let name = format!("{namespace}-influxdb");
    let keys = json!({"address": server.url(), "authToken": "t0ken-t0ken", "org": "shop"});
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": keys});
    let influxdb = json!({"influxdb": {"profile": name, "query": "from(bucket: \"b\")"}});
    success_rate(&client, &namespace, &influxdb, "result[0] >= 0.95").await;
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let steps = json!([{"setWeight": 25}, {"analysis": {"templates": [{"templateName": "success-rate"}]}}]);
    let subject = Subject::create(&client, &namespace, "v1", canary(steps)).await;
    subject.until_phase("Healthy").await;

    subject.release("v2").await;
    subject.until(says("does not exist (in namespace default)")).await;
    secrets.patch(&name, &PatchParams::apply("test"), &Patch::Apply(secret)).await.unwrap();
    subject.release("v3").await;
    subject.until_phase("Healthy").await;

    server.answer(Answer::Table(0.5));
    subject.release("v4").await;
    subject.until_phase("Degraded").await;
    server.answer(Answer::Broken);
    subject.release("v5").await;
    subject.until(says("it answered 500 Internal Server Error: out of memory")).await;
    let shown = everything(&client, &namespace).await;
    assert!(shown.contains("AnalysisRunFailed") && !shown.contains("t0ken"), "{shown}");
    secrets.delete(&name, &DeleteParams::default()).await.unwrap();
}

/// All that people can see in a namespace.
async fn everything(client: &Client, namespace: &str) -> String {
    let all = ListParams::default();
    let rollouts = Api::<Rollout>::namespaced(client.clone(), namespace).list(&all).await.unwrap();
    let runs = Api::<AnalysisRun>::namespaced(client.clone(), namespace).list(&all).await.unwrap();
    let events = Api::<Event>::namespaced(client.clone(), namespace).list(&all).await.unwrap();
    let texts =
        [serde_json::to_string(&rollouts), serde_json::to_string(&runs), serde_json::to_string(&events)];
    texts.map(Result::unwrap).concat()
}

/// A template of one metric that is an error at the first error.
async fn success_rate(client: &Client, namespace: &str, provider: &Value, condition: &str) {
    let template = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "success-rate"},
        "spec": {"metrics": [{
            "name": "success-rate", "consecutiveErrorLimit": 0, "successCondition": condition, "provider": provider,
        }]},
    });
    let templates: Api<AnalysisTemplate> = Api::namespaced(client.clone(), namespace);
    templates.patch("success-rate", &PatchParams::apply("test"), &Patch::Apply(template)).await.unwrap();
}
