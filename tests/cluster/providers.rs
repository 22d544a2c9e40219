//! Rollouts that are judged by what servers other than Prometheus answer.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use serin::api::{AnalysisRun, AnalysisTemplate, Rollout};

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, canary, message_of, says};
use crate::shared::{client, kubeconfig, namespace, wait_for};
use crate::stub_prometheus::{Answer, StubPrometheus};

/// Label of a Job with its run's uid.
const UID: &str = "analysisrun.argoproj.io/uid";

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
    // The controller runs in the namespace that it works on.
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let name = "influxdb-of-shop";
    let keys = json!({"address": server.url(), "authToken": "t0ken-t0ken", "org": "shop"});
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": keys});
    let influxdb = json!({"influxdb": {"profile": name, "query": "from(bucket: \"b\")"}});
    success_rate(&client, &namespace, &influxdb, "result[0] >= 0.95").await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let _controller = ControllerProcess::start_traced(&kubeconfig(), &namespace, log.path());
    let steps = json!([{"setWeight": 25}, {"analysis": {"templates": [{"templateName": "success-rate"}]}}]);
    let subject = Subject::create(&client, &namespace, "v1", canary(steps)).await;
    subject.until_phase("Healthy").await;

    subject.release("v2").await;
    subject.until(says("does not exist (in namespace influxdb-")).await;
    secrets.patch(name, &PatchParams::apply("test"), &Patch::Apply(secret)).await.unwrap();
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
    let logged = std::fs::read_to_string(log.path()).unwrap();
    assert!(logged.contains("TRACE") && !logged.contains("t0ken"), "{logged}");
    let metrics = metrics_of(&logged).await;
    assert!(metrics.contains("metric=\"success-rate\"") && !metrics.contains("t0ken"), "{metrics}");
}

/// What a controller counts, which has logged where it tells it.
async fn metrics_of(log: &str) -> String {
    let line = log.lines().find(|line| line.contains("listening") && line.contains("metrics")).unwrap();
    let (_, address) = line.split_once("127.0.0.1:").unwrap();
    let port: String = address.chars().take_while(char::is_ascii_digit).collect();
    reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await.unwrap().text().await.unwrap()
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

#[tokio::test(flavor = "multi_thread")]
async fn a_job_decides_is_made_once_and_goes_when_nobody_waits_for_it() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "jobs").await;
    let mut controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
    let steps = json!([{"setWeight": 25}, {"analysis": {"templates": [{"templateName": "success-rate"}]}}]);
    let judged_by = async |tag: &str| success_rate(&client, &namespace, &job(tag), "").await;
    judged_by("exit-0").await;
    let subject = Subject::create(&client, &namespace, "v1", canary(steps)).await;
    subject.until_phase("Healthy").await;

    subject.release("v2").await;
    subject.until_phase("Healthy").await;

    judged_by("exit-3").await;
    subject.release("v3").await;
    let judged = subject.until_phase("Degraded").await;
    assert!(message_of(&judged).contains("the Job failed: BackoffLimitExceeded"), "{}", message_of(&judged));

    judged_by("badimage").await;
    subject.release("v4").await;
    subject.until_phase("Paused").await;
    assert!(
        everything(&client, &namespace).await.contains("container 'test' cannot start: ImagePullBackOff")
    );

    // It never ends by itself. Who comes after a crash waits for the same Job.
    judged_by("forever").await;
    subject.release("v5").await;
    let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
    let begun = until_running(&client, &namespace, &subject).await;
    controller.kill_and_restart().await;
    subject.change_status(json!({"abort": true})).await;
    subject.until_phase("Degraded").await;
    assert_eq!(wait_for(&jobs, &begun.name_any(), |job: Option<&Job>| job.is_none()).await, None);
    let of_run = format!("{UID}={}", begun.labels()[UID]);
    assert_eq!(jobs.list(&ListParams::default().labels(&of_run)).await.unwrap().items, []);
}

/// A provider that runs one pod whose tag says how it ends.
fn job(tag: &str) -> Value {
    let container = json!({"name": "test", "image": format!("test:{tag}")});
    let pod = json!({"spec": {"restartPolicy": "Never", "containers": [container]}});
    json!({"job": {"spec": {"backoffLimit": 0, "template": pod}}})
}

/// The Job of the current step's run, once its pod runs.
async fn until_running(client: &Client, namespace: &str, subject: &Subject) -> Job {
    let current = |rollout: &Rollout| {
        let run = rollout.status.as_ref()?.canary.as_ref()?.current_step_analysis_run_status.as_ref()?;
        Some(run.name.clone()).filter(|name| name.contains("-5-"))
    };
    let is_judged = |rollout: Option<&Rollout>| rollout.and_then(current).is_some();
    let run = current(&subject.until(is_judged).await).unwrap();
    let runs: Api<AnalysisRun> = Api::namespaced(client.clone(), namespace);
    let job_of = |run: &AnalysisRun| {
        let result = run.status.as_ref()?.metric_results.as_ref()?.first()?;
        result.measurements.as_ref()?.first()?.metadata.as_ref()?.get("job-name").cloned()
    };
    let has_job = |run: Option<&AnalysisRun>| run.and_then(job_of).is_some();
    let run = wait_for(&runs, &run, has_job).await.unwrap();
    let runs =
        |job: Option<&Job>| job.is_some_and(|job| job.status.as_ref().is_some_and(|it| it.ready == Some(1)));
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    wait_for(&jobs, &job_of(&run).unwrap(), runs).await.unwrap()
}
