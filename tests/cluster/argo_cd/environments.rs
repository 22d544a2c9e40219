//! A repository as teams have it: an app of apps, an `ApplicationSet` that finds its environments by their folders, overlays of
//! Kustomize, and a Helm chart that takes its analyses from the library.

use serde_json::{Value, json};
use serin::api::Rollout;

use super::application::{Application, spec};
use super::engine::ArgoCd;
use super::repository::Repository;
use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::helm::charts;
use crate::rollouts::{Subject, template_of};
use crate::shared::{client, kubeconfig, namespace};

/// The environments, in the order in which a version comes to them.
const ENVIRONMENTS: [&str; 3] = ["dev", "staging", "production"];

/// What every environment has.
fn base() -> [(&'static str, String); 2] {
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"},
        "spec": {"replicas": 4, "selector": {"matchLabels": {"app": "web"}}, "template": template_of("web", "none"),
            "strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}},
    });
    [
        ("base/rollout.yaml", rollout.to_string()),
        ("base/kustomization.yaml", json!({"resources": ["rollout.yaml"]}).to_string()),
    ]
}

/// An environment with a version: two pods, and labels of its own, as all environments share a namespace here.
fn overlay(environment: &str, version: &str) -> (String, String) {
    let labels = ["/spec/selector/matchLabels", "/spec/template/metadata/labels"];
    let label = |path| json!({"op": "add", "path": format!("{path}/environment"), "value": environment});
    let mut operations: Vec<_> = labels.map(label).into();
    operations.push(json!({"op": "replace", "path": "/spec/replicas", "value": 2}));
    let kustomization = json!({
        "resources": ["../../base"],
        "namePrefix": format!("{environment}-"),
        "images": [{"name": "app", "newTag": version}],
        "patches": [{"target": {"kind": "Rollout"}, "patch": json!(operations).to_string()}],
    });
    (format!("overlays/{environment}/kustomization.yaml"), kustomization.to_string())
}

/// What the app of apps delivers: the `ApplicationSet` of the environments, and the Application of a chart.
fn apps(namespace: &str, repository: &Repository) -> [(&'static str, String); 2] {
    let directories = json!({"git": {"repoURL": repository.url(), "revision": "HEAD",
        "directories": [{"path": "overlays/*"}]}});
    let set = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "metadata": {"name": "environments"},
        "spec": {"goTemplate": true, "generators": [directories], "template": {
            "metadata": {"name": "{{.path.basename}}"},
            "spec": spec(namespace, repository, "{{.path.path}}"),
        }},
    });
    let mut chart = spec(namespace, repository, "chart");
    chart["source"]["helm"] = json!({"valueFiles": ["services/api-gateway.yaml"]});
    let application = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"name": "api-gateway"}, "spec": chart});
    [("root/environments.yaml", set.to_string()), ("root/api-gateway.yaml", application.to_string())]
}

fn commit<P: AsRef<str>>(repository: &Repository, message: &str, files: &[(P, String)]) -> String {
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_ref(), text.as_str())).collect();
    repository.commit(message, &files)
}

fn image(rollout: &Rollout) -> String {
    let rollout = serde_json::to_value(rollout).unwrap();
    rollout.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_goes_from_environment_to_environment_and_a_chart_comes_with_its_analyses() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "environments").await;
    let mut argo_cd = ArgoCd::start(&client, &kubeconfig(), &namespace).await;
    argo_cd.start_application_sets(&namespace).await;
    let _controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);

    let repository = Repository::new();
    repository.copy(&charts().join("example"), "chart");
    commit(&repository, "base", &base());
    commit(&repository, "apps", &apps(&namespace, &repository));
    let first = commit(&repository, "v1", &ENVIRONMENTS.map(|environment| overlay(environment, "v1")));
    let root = json!({"source": {"path": "root"}});
    Application::create(&client, &namespace, &repository, root).await;
    let [dev, staging, production, gateway] = ["dev", "staging", "production", "api-gateway"]
        .map(|name| Application::named(&client, &namespace, name));
    for application in [&dev, &staging, &production, &gateway] {
        application.until_created().await;
        application.until("Synced", "Healthy", &first).await;
    }

    let in_dev = Subject::named("dev-web", &client, &namespace);
    let second = commit(&repository, "v2 in dev", &[overlay("dev", "v2")]);
    dev.until("Synced", "Suspended", &second).await;
    staging.until("Synced", "Healthy", &second).await;
    in_dev.resume().await;
    dev.until("Synced", "Healthy", &second).await;

    let third = commit(&repository, "v2 in staging", &[overlay("staging", "v2")]);
    staging.until("Synced", "Suspended", &third).await;
    production.until("Synced", "Healthy", &third).await;
    let images =
        ["dev-web", "staging-web", "production-web"].map(|name| Subject::named(name, &client, &namespace));
    let mut found = Vec::new();
    for subject in &images {
        found.push(image(&subject.rollouts.get(subject.name).await.unwrap()));
    }
    assert_eq!(found, ["app:v2", "app:v2", "app:v1"]);
}
