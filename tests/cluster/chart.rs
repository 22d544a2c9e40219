//! The chart on a real control plane: installed, upgraded and uninstalled by Helm, and a controller of all namespaces with the
//! rights that it gives.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use serin::api::ClusterAnalysisTemplate;
use serin::controller::{self, LeaderElection, Options};
use serin::sandbox::control_plane::ControlPlane;
use serin::sandbox::node::{QuickWorkload, VirtualNode};
use tempfile::TempDir;

use crate::helm::{chart, helm};
use crate::rights;
use crate::rollouts::{Subject, canary};
use crate::shared::options;
use crate::stub_prometheus::{Answer, StubPrometheus};

/// Where the chart is installed, as the release `serin`.
const NAMESPACE: &str = "delivery";
/// A field of Rollouts that the previous version of the chart does not know.
const NEW_FIELD: &str = "restartAt";
/// What the charts of these tests install, besides the definitions.
const KINDS: [(&str, &str, &str); 9] = [
    ("apps", "v1", "Deployment"),
    ("", "v1", "ServiceAccount"),
    ("", "v1", "Secret"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("networking.k8s.io", "v1", "NetworkPolicy"),
    ("rbac.authorization.k8s.io", "v1", "Role"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"),
];

/// A control plane of this test alone: definitions belong to a whole cluster.
pub(crate) struct Cluster {
    pub(crate) control_plane: ControlPlane,
    pub(crate) client: Client,
    _node: VirtualNode,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let control_plane = ControlPlane::start(options()).await.unwrap();
        let client = control_plane.client();
        let workload = Arc::new(QuickWorkload::ready_after(Duration::from_millis(50)));
        let node = VirtualNode::start(client.clone(), workload).await.unwrap();
        Self { control_plane, client, _node: node }
    }

    fn helm(&self, arguments: &[&str]) -> String {
        let kubeconfig = self.control_plane.kubeconfig_path();
        let whole = [arguments, &["--kubeconfig", kubeconfig.to_str().unwrap()]].concat();
        helm(&whole).unwrap_or_else(|complaint| panic!("{arguments:?}: {complaint}"))
    }

    /// Installs or upgrades a chart as people do, and returns when Helm says that all of it works. The virtual node says of
    /// pods of any image that they do.
    fn install(&self, release: &str, namespace: &str, chart: &Path, values: &[&str]) {
        let own = ["upgrade", "--install", release, chart.to_str().unwrap(), "--namespace", namespace];
        let wait = ["--create-namespace", "--wait", "--timeout=60s"];
        self.helm(&[&own[..], &wait, values].concat());
    }

    fn install_serin(&self, chart: &Path) {
        let image = ["--set=image.repository=registry.example/serin", "--set=image.tag=v1"];
        self.install(
            "serin",
            NAMESPACE,
            chart,
            &[&image[..], &["--set=networkPolicy.enabled=true"]].concat(),
        );
    }

    async fn knows(&self, field: &str) -> bool {
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let definition =
            serde_json::to_value(definitions.get("rollouts.argoproj.io").await.unwrap()).unwrap();
        let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        definition.pointer(schema).unwrap().get(field).is_some()
    }

    /// What is there of the release `serin`, but for the definitions.
    async fn installed(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (group, version, kind) in KINDS {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let objects: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            let listed = objects.list(&ListParams::default()).await.unwrap();
            let ours = listed.items.iter().filter(|object| is_of_release(object));
            found.extend(ours.map(|object| format!("{kind} {}", object.name_any())));
        }
        found
    }
}

/// Objects of the chart, and the notes of Helm on its releases.
fn is_of_release(object: &DynamicObject) -> bool {
    let has = |label: &str| object.labels().get(label).is_some_and(|value| value == "serin");
    has("app.kubernetes.io/instance") || has("name")
}

/// The chart as it was before a field of Rollouts came.
fn previous_chart() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&chart(), folder.path());
    change(&folder.path().join("Chart.yaml"), |chart| chart["version"] = "0.0.9".into());
    change(&folder.path().join("definitions/rollouts.yaml"), |definition| {
        let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
        let fields = definition.pointer_mut(schema).unwrap().as_object_mut().unwrap();
        assert!(fields.remove(NEW_FIELD).is_some());
    });
    folder
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to: PathBuf = to.join(from.file_name().unwrap());
        if from.is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

fn change(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut content: Value = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    change(&mut content);
    fs::write(file, content.to_string()).unwrap();
}

/// A chart of a Rollout that pauses at its first step.
fn chart_of_an_application() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("templates")).unwrap();
    let write =
        |name: &str, content: Value| fs::write(folder.path().join(name), content.to_string()).unwrap();
    write("Chart.yaml", json!({"apiVersion": "v2", "name": "shop", "version": "1.0.0"}));
    write("values.yaml", json!({"tag": "v1"}));
    let mut rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"},
        "spec": {
            "replicas": 4, "selector": {"matchLabels": {"app": "web"}},
            "template": crate::rollouts::template("{{ .Values.tag }}"),
        },
    });
    crate::rollouts::merge(&mut rollout["spec"], canary(json!([{"setWeight": 25}, {"pause": {}}])));
    write("templates/rollout.yaml", rollout);
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_upgrades_its_definitions_and_goes_without_a_trace_and_without_a_rollout() {
    let cluster = Cluster::start().await;
    cluster.install_serin(previous_chart().path());
    assert!(!cluster.knows(NEW_FIELD).await);
    let subject = Subject::create(&cluster.client, "default", "v1", canary(json!([]))).await;
    let created = subject.rollouts.get("web").await.unwrap();

    cluster.install_serin(&chart());
    assert!(cluster.knows(NEW_FIELD).await);
    let installed = cluster.installed().await;
    for (_, _, kind) in KINDS {
        assert!(
            installed.iter().any(|object| object.starts_with(&format!("{kind} "))),
            "{kind}: {installed:?}"
        );
    }

    cluster.helm(&["uninstall", "serin", "--namespace", NAMESPACE, "--wait", "--timeout=60s"]);
    assert_eq!(cluster.installed().await, [""; 0]);
    let kept = subject.rollouts.get("web").await.unwrap();
    assert_eq!(kept.uid(), created.uid());
    assert_eq!(kept.metadata.deletion_timestamp, None);

    // What was kept is taken up again.
    cluster.install_serin(&chart());
    assert_eq!(subject.rollouts.get("web").await.unwrap().uid(), created.uid());
    cluster.control_plane.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_of_all_namespaces_delivers_a_chart_under_the_rights_of_its_own() {
    let cluster = Cluster::start().await;
    cluster.install_serin(&chart());
    rights::until_in_force(&cluster.client, NAMESPACE).await;
    let leader_election = Some(LeaderElection::in_namespace(NAMESPACE));
    let options = Options { leader_election, ..Options::default() };
    let config = rights::config(cluster.control_plane.config(), NAMESPACE);
    let controller = tokio::spawn(controller::run(config, options, std::future::pending::<()>()));

    // Helm 3 does not know when a Rollout is done: it returns once all is applied, and does not hang at the pause.
    let application = chart_of_an_application();
    let subject = Subject::named("web", &cluster.client, "shop");
    cluster.install("shop", "shop", application.path(), &[]);
    subject.until_phase("Healthy").await;
    cluster.install("shop", "shop", application.path(), &["--set=tag=v2"]);
    subject.until_phase("Paused").await;

    let server = StubPrometheus::start(Answer::Value(1.0));
    judge_by_a_secret(&cluster.client, &server.url()).await;
    let analysis = json!({"templates": [{"templateName": "success-rate", "clusterScope": true}]});
    let judged = canary(json!([{"setWeight": 50}, {"analysis": analysis}]));
    subject.change(judged).await;
    subject.release("v3").await;
    subject.until_phase("Healthy").await;
    subject.until_sizes(&[("3", 4)]).await;
    controller.abort();
    cluster.control_plane.stop().await.unwrap();
}

/// A template for all namespaces whose address is in a Secret of the run's.
async fn judge_by_a_secret(client: &Client, address: &str) {
    let secret = json!({"metadata": {"name": "prometheus"}, "stringData": {"address": address}});
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "shop");
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let template = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "ClusterAnalysisTemplate", "metadata": {"name": "success-rate"},
        "spec": {
            "args": [{"name": "address", "valueFrom": {"secretKeyRef": {"name": "prometheus", "key": "address"}}}],
            "metrics": [{
                "name": "success-rate", "successCondition": "result[0] >= 0.95",
                "provider": {"prometheus": {"address": "{{ args.address }}", "query": "up"}},
            }],
        },
    });
    let templates: Api<ClusterAnalysisTemplate> = Api::all(client.clone());
    templates.patch("success-rate", &PatchParams::apply("test"), &Patch::Apply(template)).await.unwrap();
}
