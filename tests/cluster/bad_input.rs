//! Bad input: one clear message on the object, an Event, nothing lost, and it heals by itself when the cause goes.

use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use serin::api::AnalysisTemplate;

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, analysis_template, canary, is_restored, message_of, phase_of, says};
use crate::shared::{client, kubeconfig, namespace};
use crate::stub_prometheus::{Answer, StubPrometheus};

/// A Rollout of version 1, Healthy, with its controller.
async fn healthy(prefix: &str, spec: Value) -> (Subject, ControllerProcess) {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, prefix).await;
    let controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let subject = Subject::create(&client, &namespace, "v1", spec).await;
    subject.until_phase("Healthy").await;
    (subject, controller)
}

fn plain() -> Value {
    canary(json!([{"setWeight": 50}]))
}

fn analysed() -> Value {
    canary(json!([{"setWeight": 25}, {"analysis": {"templates": [{"templateName": "success-rate"}]}}]))
}

async fn assert_refused(subject: &Subject, text: &'static str) {
    let refused = subject.until(says(text)).await;
    assert_eq!(phase_of(&refused), "Degraded", "{}", message_of(&refused));
    assert!(message_of(&refused).starts_with("InvalidSpec: "), "{}", message_of(&refused));
    subject.until_told("InvalidSpec", text).await;
    assert_eq!(subject.sizes().await, [("1".to_owned(), 4)], "pods were touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_field_is_named_and_heals_when_it_is_mended() {
    let (subject, _controller) = healthy("wrong-field", plain()).await;
    for (wrong, right, text) in [
        (json!({"minReadySeconds": -1}), json!({"minReadySeconds": 0}), "spec.minReadySeconds"),
        (
            json!({"progressDeadlineSeconds": 0}),
            json!({"progressDeadlineSeconds": null}),
            "spec.progressDeadlineSeconds",
        ),
        (
            json!({"strategy": {"canary": {"canaryMetadata": {"labels": {"app": "x"}}}}}),
            json!({"strategy": {"canary": {"canaryMetadata": null}}}),
            "spec.strategy.canary.canaryMetadata.labels['app']",
        ),
        (
            json!({"strategy": {"canary": {"maxSurge": 0, "maxUnavailable": 0}}}),
            json!({"strategy": {"canary": {"maxSurge": null, "maxUnavailable": null}}}),
            "MaxSurge and MaxUnavailable both can not be zero",
        ),
        (
            json!({"strategy": {"canary": {"steps": [{"setWeight": 101}]}}}),
            json!({"strategy": {"canary": {"steps": [{"setWeight": 50}]}}}),
            "spec.strategy.canary.steps[0].setWeight: SetWeight needs to be between 0 and 100",
        ),
        (
            json!({"strategy": {"canary": {"steps": [{"pause": {"duration": "five"}}]}}}),
            json!({"strategy": {"canary": {"steps": [{"setWeight": 50}]}}}),
            "spec.strategy.canary.steps[0].pause.duration",
        ),
        (
            json!({"strategy": {"canary": {"steps": [{"setWeight": 10, "pause": {}}]}}}),
            json!({"strategy": {"canary": {"steps": [{"setWeight": 50}]}}}),
            "sets several fields",
        ),
        (
            json!({"strategy": {"canary": {"trafficRouting": {"appMesh": {}}}}}),
            json!({"strategy": {"canary": {"trafficRouting": null}}}),
            "spec.strategy.canary.trafficRouting.appMesh: is not supported",
        ),
        (
            json!({"template": {"metadata": {"labels": {"app": "other"}}}}),
            json!({"template": {"metadata": {"labels": {"app": "web"}}}}),
            "`selector` does not match template `labels`",
        ),
    ] {
        subject.change(wrong).await;
        assert_refused(&subject, text).await;
        subject.change(right).await;
        subject.until_phase("Healthy").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_template_that_the_api_server_refuses_is_named_and_heals() {
    let (subject, _controller) = healthy("refused", plain()).await;
    let broken = json!({"template": {"spec": {"containers": [{"name": "Not A Name", "image": "app:v2"}]}}});
    subject.change(broken).await;
    assert_refused(&subject, "Not A Name").await;
    subject.release("v3").await;
    subject.until_phase("Healthy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_template_and_a_missing_service_heal_when_they_appear() {
    let (subject, _controller) = healthy("missing", plain()).await;
    subject.change(analysed()).await;
    assert_refused(&subject, "AnalysisTemplate 'success-rate' not found").await;
    let prometheus = StubPrometheus::start(Answer::Value(1.0));
    analysis_template(&subject.client, &subject.namespace, "success-rate", &prometheus.url(), json!({}))
        .await;
    subject.until_phase("Healthy").await;

    subject.change(json!({"strategy": {"canary": {"stableService": "web-stable"}}})).await;
    assert_refused(&subject, "Service \"web-stable\" not found").await;
    create_service(&subject.client, &subject.namespace, "web-stable").await;
    subject.until_phase("Healthy").await;
}

async fn create_service(client: &Client, namespace: &str, name: &str) {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    services.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(service)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_does_not_parse_is_named_and_heals() {
    let (subject, _controller) = healthy("condition", plain()).await;
    let prometheus = StubPrometheus::start(Answer::Value(1.0));
    let broken = json!({"successCondition": "result[0] >="});
    analysis_template(&subject.client, &subject.namespace, "success-rate", &prometheus.url(), broken).await;
    subject.change(analysed()).await;
    assert_refused(&subject, "successCondition").await;
    analysis_template(&subject.client, &subject.namespace, "success-rate", &prometheus.url(), json!({}))
        .await;
    subject.until_phase("Healthy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_in_a_circle_are_named_and_heal() {
    let (subject, _controller) = healthy("circle", plain()).await;
    let templates: Api<AnalysisTemplate> = Api::namespaced(subject.client.clone(), &subject.namespace);
    let apply = PatchParams::apply("test").force();
    for (name, next) in [("success-rate", "other"), ("other", "success-rate")] {
        let template = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": name},
            "spec": {"templates": [{"templateName": next}]},
        });
        templates.patch(name, &apply, &Patch::Apply(template)).await.unwrap();
    }
    subject.change(analysed()).await;
    assert_refused(&subject, "includes itself").await;
    templates.delete("success-rate", &DeleteParams::default()).await.unwrap();
    let prometheus = StubPrometheus::start(Answer::Value(1.0));
    analysis_template(&subject.client, &subject.namespace, "success-rate", &prometheus.url(), json!({}))
        .await;
    subject.until_phase("Healthy").await;
}

/// A release whose only measurement is answered as `answer` says, or not at all: the Rollout quotes `text`, goes back to
/// its stable version, and a retry heals it.
async fn is_judged(answer: Option<Answer>, text: &'static str) {
    let (subject, _controller) = healthy("answer", plain()).await;
    let mut prometheus = StubPrometheus::start(answer.unwrap_or(Answer::Empty));
    if answer.is_none() {
        prometheus.go_away().await;
    }
    let strict = json!({"interval": null, "count": 1, "consecutiveErrorLimit": 0});
    analysis_template(&subject.client, &subject.namespace, "success-rate", &prometheus.url(), strict).await;
    subject.change(analysed()).await;
    subject.until_phase("Healthy").await;
    subject.release("v2").await;
    let aborted = message_of(&subject.until(says("RolloutAborted")).await);
    assert!(aborted.contains(text), "{answer:?}: {aborted}");
    subject.until_told("RolloutAborted", text).await;
    subject.until(is_restored(4)).await;
    subject.until_sizes(&[("1", 4)]).await;

    if answer.is_some() {
        prometheus.go_away().await;
    }
    prometheus.answer(Answer::Value(1.0));
    prometheus.come_back();
    subject.change_status(json!({"abort": null})).await;
    subject.until_phase("Healthy").await;
    subject.until_sizes(&[("2", 4)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_answers_badly_is_quoted_in_words_and_a_retry_heals() {
    for (answer, text) in [
        (Some(Answer::Html), "text/html"),
        (Some(Answer::Broken), "500"),
        (Some(Answer::Empty), "no data"),
        (Some(Answer::Value(f64::NAN)), "NaN"),
        (None, "connection refused"),
    ] {
        is_judged(answer, text).await;
    }
}
