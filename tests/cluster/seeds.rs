//! The manifests that the product is for, on the real control plane: verbatim but for some of their durations.

use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::Condition;
use serde_json::{Value, json};
use serin::api::{AnalysisTemplate, Rollout};

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, is_restored, merge, says};
use crate::shared::{client, kubeconfig, namespace};
use crate::stub_prometheus::{Answer, StubPrometheus};

const SUCCESS_RATE: &str = include_str!("../seeds/success-rate.yaml");

/// A Rollout of the seeds, and what they leave out of it.
struct Seed {
    name: &'static str,
    manifest: &'static str,
    completion: &'static str,
    /// The lengths of pauses that are cut to one second. Nothing waits for the end of another one, however slow the
    /// machine is.
    cut: &'static [&'static str],
}

const API_SERVER: Seed = Seed {
    name: "api-server",
    manifest: include_str!("../seeds/api-server.yaml"),
    completion: include_str!("../seeds/completion/api-server.yaml"),
    cut: &["5m"],
};

const PAYMENT_SERVICE: Seed = Seed {
    name: "payment-service",
    manifest: include_str!("../seeds/payment-service.yaml"),
    completion: include_str!("../seeds/completion/payment-service.yaml"),
    cut: &["5m", "10m"],
};

fn manifest(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap()
}

/// Every duration of one of these lengths in a manifest, cut to one second.
fn cut(value: &mut Value, lengths: &[&str]) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "duration" | "interval" if lengths.iter().any(|length| value == length) => {
                        *value = json!("1s");
                    }
                    _ => cut(value, lengths),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| cut(item, lengths)),
        _ => {}
    }
}

impl Seed {
    /// The Rollout with pods of this version.
    fn rollout(&self, version: &str) -> Value {
        let mut rollout = manifest(self.manifest);
        cut(&mut rollout, self.cut);
        merge(&mut rollout, manifest(self.completion));
        let image = rollout.pointer_mut("/spec/template/spec/containers/0/image").unwrap();
        *image = json!(image.as_str().unwrap().replace(":v1", &format!(":{version}")));
        rollout
    }

    /// Applies it and its template, whose interval of 2 m is cut, and waits until its first version is healthy. The
    /// controller finds Prometheus under its name in the cluster.
    async fn deploy(&self, prometheus: &StubPrometheus) -> (Subject, ControllerProcess) {
        let client = client();
        definitions_on_shared(&client).await;
        let namespace = namespace(&client, self.name).await;
        let mut success_rate = manifest(SUCCESS_RATE);
        cut(&mut success_rate, &["2m"]);
        let templates: Api<AnalysisTemplate> = Api::namespaced(client.clone(), &namespace);
        templates.patch("success-rate", &params(), &Patch::Apply(success_rate)).await.unwrap();
        let rollouts: Api<Rollout> = Api::namespaced(client.clone(), &namespace);
        let subject = Subject { client, namespace, rollouts, name: self.name };
        self.release(&subject, "v1").await;

        let host = format!("prometheus.monitoring.svc.cluster.local:9090:{}", prometheus.address());
        // Last, so that it sees all objects at once: templates and Rollouts reach it by different watches.
        let controller = ControllerProcess::start(&kubeconfig(), &subject.namespace, &["--resolve", &host]);
        subject.until_phase("Healthy").await;
        (subject, controller)
    }

    async fn release(&self, subject: &Subject, version: &str) {
        let rollout = self.rollout(version);
        subject.rollouts.patch(self.name, &params(), &Patch::Apply(rollout)).await.unwrap();
    }
}

fn params() -> PatchParams {
    PatchParams::apply("test").force()
}

/// Holds while the Rollout pauses at the step with this index.
fn pauses_at(index: i32) -> impl Condition<Rollout> {
    move |rollout: Option<&Rollout>| {
        let status = rollout.and_then(|rollout| rollout.status.as_ref());
        status.is_some_and(|status| {
            status.current_step_index == Some(index) && status.phase.as_deref() == Some("Paused")
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_api_server_passes_its_analysis_and_is_promoted() {
    let prometheus = StubPrometheus::start(Answer::Value(0.99));
    let (subject, _controller) = API_SERVER.deploy(&prometheus).await;
    API_SERVER.release(&subject, "v2").await;
    subject.until_phase("Healthy").await;
    subject.until_sizes(&[("2", 10)]).await;
    subject.until_told("AnalysisCountDerived", "failureLimit + 1 = 4 measurements").await;
    subject.until_told("AnalysisRunSuccessful", "Step Analysis Run").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_api_server_is_taken_back_with_nobody_touching_it() {
    let prometheus = StubPrometheus::start(Answer::Value(0.5));
    let (subject, _controller) = API_SERVER.deploy(&prometheus).await;
    API_SERVER.release(&subject, "v2").await;
    subject.until(says("RolloutAborted")).await;
    subject.until(is_restored(10)).await;
    subject.until_sizes(&[("1", 10)]).await;
    subject.until_told("RolloutAborted", "failed (4) > failureLimit (3)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_payment_service_goes_through_its_steps_beside_its_analysis() {
    let prometheus = StubPrometheus::start(Answer::Value(0.99));
    let (subject, _controller) = PAYMENT_SERVICE.deploy(&prometheus).await;
    PAYMENT_SERVICE.release(&subject, "v2").await;
    subject.until_phase("Healthy").await;
    subject.until_sizes(&[("2", 10)]).await;
    subject.until_told("AnalysisArgUnknown", "service-name").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_service_that_turns_bad_at_its_last_step_is_taken_back_with_nobody_touching_it() {
    let prometheus = StubPrometheus::start(Answer::Value(0.99));
    let seed = Seed { cut: &["5m"], ..PAYMENT_SERVICE };
    let (subject, _controller) = seed.deploy(&prometheus).await;
    seed.release(&subject, "v2").await;
    subject.until(pauses_at(5)).await;
    prometheus.answer(Answer::Value(0.5));
    subject.until(says("RolloutAborted")).await;
    subject.until(is_restored(10)).await;
    subject.until_sizes(&[("1", 10)]).await;
    subject.until_told("RolloutAborted", "failed (4) > failureLimit (3)").await;
}
