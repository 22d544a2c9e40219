//! The four services of `charts/example`, installed by a real Helm and judged by a real Prometheus.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use serin::sandbox::traffic::Traffic;
use tempfile::{NamedTempFile, TempDir};

use crate::controller_process::ControllerProcess;
use crate::helm::{charts, helm};
use crate::rollouts::{Subject, is_restored, says};
use crate::sandbox::{client_and_namespace, counts, routed, sandbox, sent, traffic};
use crate::shared::{is_ready, wait_for};

/// Requests per second to the Services of a namespace.
const RATE: u32 = 100;
/// Two pods, of which one is new while it is judged; windows and intervals as short as scrapes every second allow.
const QUICK: [&str; 9] = [
    "replicas=2",
    // For 99.9 % there are too few requests in such a window.
    "serin-analysis.args.objective=0.99",
    "serin-analysis.rollout.weights={50}",
    "serin-analysis.args.window=4s",
    "serin-analysis.args.long-window=1m",
    "serin-analysis.metrics.success-rate.interval=1s",
    "serin-analysis.metrics.error-budget-burn.interval=1s",
    "serin-analysis.metrics.queue-backlog.interval=1s",
    "serin-analysis.metrics.latency-quantile.interval=1s",
];

/// The chart of the services.
fn example() -> PathBuf {
    charts().join("example")
}

/// A service in a namespace of its own, with a controller and users.
struct Installed {
    subject: Subject,
    kubeconfig: NamedTempFile,
    traffic: Traffic,
    _controller: ControllerProcess,
}

impl Installed {
    /// A namespace in which nothing is installed yet.
    async fn nothing(name: &'static str) -> Self {
        let (client, namespace) = client_and_namespace(name).await;
        let kubeconfig = NamedTempFile::new().unwrap();
        fs::write(kubeconfig.path(), sandbox().kubeconfig).unwrap();
        let controller =
            ControllerProcess::start(&sandbox().kubeconfig, &namespace, &["--resolve", &sandbox().resolve]);
        let traffic = traffic(&client, &namespace, RATE);
        let subject = Subject::named(name, &client, &namespace);
        Self { subject, kubeconfig, traffic, _controller: controller }
    }

    /// Installs the first version as a user does, and waits until it is healthy.
    async fn first(name: &'static str, values: &[&str]) -> Self {
        let installed = Self::nothing(name).await;
        installed.upgrade("v1", values);
        installed.subject.until_phase("Healthy").await;
        installed
    }

    /// `helm upgrade --install` of a version.
    fn upgrade(&self, tag: &str, values: &[&str]) {
        self.upgrade_from(&example(), tag, values);
    }

    /// The same with a chart of one's own.
    fn upgrade_from(&self, chart: &Path, tag: &str, values: &[&str]) {
        let name = self.subject.name;
        let own = example().join(format!("services/{name}.yaml"));
        let tag = format!("image.tag={tag}");
        let mut arguments = vec!["upgrade", "--install", name, chart.to_str().unwrap()];
        arguments.extend(["--values", own.to_str().unwrap(), "--namespace", &self.subject.namespace]);
        arguments.extend(["--kubeconfig", self.kubeconfig.path().to_str().unwrap(), "--set", &tag]);
        arguments.extend(QUICK.iter().chain(values).flat_map(|value| ["--set", *value]));
        helm(&arguments).unwrap_or_else(|complaint| panic!("{complaint}"));
    }

    /// A bad version is taken back for what the service is judged by, and the good one after it is promoted.
    async fn takes_back_and_promotes(&self, bad: &str, metric: &str) {
        self.upgrade(bad, &[]);
        self.subject.until(says("RolloutAborted")).await;
        self.subject.until_told("RolloutAborted", metric).await;
        self.subject.until(is_restored(2)).await;
        self.subject.until_sizes(&[("1", 2)]).await;
        self.upgrade("v3-lat5ms", &[]);
        self.subject.until_phase("Healthy").await;
        self.subject.until_sizes(&[("3", 2)]).await;
        self.subject.until_told("AnalysisRunSuccessful", "Step Analysis Run").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_gateway_is_judged_on_its_success_rate() {
    Installed::first("api-gateway", &[]).await.takes_back_and_promotes("v2-err30", "success-rate").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_service_is_judged_on_its_error_budget() {
    let service = Installed::first("order-service", &[]).await;
    service.takes_back_and_promotes("v2-err30", "error-budget-burn").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_worker_without_requests_is_judged_on_its_backlog() {
    let service = Installed::first("notification-worker", &[]).await;
    service.takes_back_and_promotes("v2-backlog1000", "queue-backlog").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ml_inference_gateway_is_judged_on_its_latency() {
    let service = Installed::first("ml-inference-gateway", &[]).await;
    service.takes_back_and_promotes("v2-lat800ms", "latency-quantile").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_is_judged_by_every_template_is_valid() {
    let files = fs::read_dir(charts().join("serin-analysis/analysis-templates")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let names: Vec<_> = files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let all = format!("serin-analysis.rollout.analyses={{{}}}", names.join(","));
    // Healthy says it: the templates of all steps are looked at before anything is begun.
    Installed::first("api-gateway", &[&all]).await;
}

/// The example as it was before its Deployment became a canary.
fn with_deployment() -> TempDir {
    let before = tempfile::tempdir().unwrap();
    fs::create_dir(before.path().join("templates")).unwrap();
    let kept = ["_deployment.yaml", "_names.tpl", "service.yaml"].map(|name| format!("templates/{name}"));
    for part in ["Chart.yaml", "charts", "values.yaml"].into_iter().chain(kept.iter().map(String::as_str)) {
        symlink(example().join(part), before.path().join(part)).unwrap();
    }
    let deployment = "{{ include (print .Template.BasePath \"/_deployment.yaml\") . }}";
    fs::write(before.path().join("templates/deployment.yaml"), deployment).unwrap();
    before
}

/// Holds once there is no such Deployment.
fn is_gone(deployment: Option<&Deployment>) -> bool {
    deployment.is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_serves_becomes_a_rollout_and_no_request_fails() {
    let name = "api-gateway";
    let installed = Installed::nothing(name).await;
    let namespace = &installed.subject.namespace;
    let deployments: Api<Deployment> = Api::namespaced(installed.subject.client.clone(), namespace);
    installed.upgrade_from(with_deployment().path(), "v1", &[]);
    wait_for(&deployments, name, is_ready(2)).await;
    let service = format!("{namespace}/{name}");
    routed(&installed.traffic, &service, 2).await;
    let lost = || {
        let counts = counts(&installed.traffic.tally(), &service);
        counts.failed + counts.unanswered
    };
    // Those that came before its pods were ready.
    let before = lost();

    let kept = json!({"metadata": {"annotations": {"helm.sh/resource-policy": "keep"}}});
    deployments.patch(name, &PatchParams::default(), &Patch::Merge(kept)).await.unwrap();
    installed.upgrade("v1", &[]);
    installed.subject.until_phase("Healthy").await;
    routed(&installed.traffic, &service, 4).await;
    deployments.delete(name, &DeleteParams::foreground()).await.unwrap();
    wait_for(&deployments, name, is_gone).await;
    routed(&installed.traffic, &service, 2).await;
    let so_far = counts(&installed.traffic.tally(), &service).total();
    sent(&installed.traffic, &service, so_far + 50).await;
    assert_eq!(lost(), before, "requests failed on the way");
}
