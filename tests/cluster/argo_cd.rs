//! The loop with a real Argo CD: Git says what is to run, Argo CD applies it, and the controller delivers it step by step.
//! Nothing that the controller does is healed away, and nothing of it keeps an Application out of sync.

mod application;
mod engine;
mod repository;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use self::application::{Application, NAME, Standing};
use self::engine::ArgoCd;
use self::repository::Repository;
use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, is_restored, merge, template};
use crate::shared::{client, kubeconfig, namespace};

/// How often Argo CD looks while nothing may change.
const LOOKS: usize = 8;

/// A namespace to which both Argo CD and the controller deliver.
struct Loop {
    client: Client,
    namespace: String,
    repository: Repository,
    application: Application,
    rollout: Subject,
    _argo_cd: ArgoCd,
    _controller: ControllerProcess,
}

impl Loop {
    /// Delivers the first version. `canary` is merged into the Rollout's strategy, `more` are other objects in Git, and
    /// `application` is merged into the Application's spec.
    async fn start(prefix: &str, canary: Value, more: &[Value], application: Value) -> Self {
        let client = client();
        definitions_on_shared(&client).await;
        let namespace = namespace(&client, prefix).await;
        let argo_cd = ArgoCd::start(&client, &kubeconfig(), &namespace).await;
        let controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
        let repository = Repository::new();
        let others: Vec<_> = more.iter().map(Value::to_string).collect();
        repository.commit("objects", &[("web/others.yaml", &others.join("\n---\n"))]);
        let commit = commit(&repository, "v1", &canary);
        let application = Application::create(&client, &namespace, &repository, application).await;
        application.until("Synced", "Healthy", &commit).await;
        let rollout = Subject {
            client: client.clone(),
            namespace: namespace.clone(),
            rollouts: Api::namespaced(client.clone(), &namespace),
            name: NAME,
        };
        Self {
            client,
            namespace,
            repository,
            application,
            rollout,
            _argo_cd: argo_cd,
            _controller: controller,
        }
    }

    /// Has Argo CD look several times while nothing may change: every time it is in sync, and nothing is synced again.
    async fn assert_quiet(&self, expected: &Standing) {
        for look in 0..LOOKS {
            assert_eq!(&self.application.refresh().await, expected, "look {look}");
        }
    }

    /// The names of the Rollout's pods.
    async fn pods(&self) -> Vec<String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let listed = pods.list(&ListParams::default().labels(&format!("app={NAME}"))).await.unwrap();
        listed
            .items
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .map(|pod| pod.name_any())
            .collect()
    }

    async fn resume(&self) {
        self.rollout.change_status(json!({"pauseConditions": null})).await;
    }

    async fn abort(&self) {
        self.rollout.change_status(json!({"abort": true})).await;
    }
}

/// Commits a version of the Rollout, with everything that the schema would have defaults for left out.
fn commit(repository: &Repository, version: &str, canary: &Value) -> String {
    let mut strategy = json!({"steps": [{"setWeight": 25}, {"pause": {}}]});
    merge(&mut strategy, canary.clone());
    let mut template = template(version);
    merge(&mut template["spec"]["containers"][0], json!({"ports": [{"containerPort": 8080}]}));
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": NAME},
        "spec": {"replicas": 4, "selector": {"matchLabels": {"app": NAME}}, "template": template,
            "strategy": {"canary": strategy}},
    });
    repository.commit(version, &[("web/rollout.yaml", &rollout.to_string())])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plain_shape_is_in_sync_during_the_whole_canary_and_never_healed() {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME},
        "spec": {"selector": {"app": NAME}, "ports": [{"port": 80}]}});
    let shop = Loop::start("plain", json!({}), &[service], json!({})).await;
    let v2 = commit(&shop.repository, "v2", &json!({}));
    let paused = shop.application.until("Synced", "Suspended", &v2).await;
    shop.assert_quiet(&paused).await;
    shop.resume().await;
    let healthy = shop.application.until("Synced", "Healthy", &v2).await;
    assert_eq!(healthy.synced_at, paused.synced_at, "synced again although Git has not changed");
    shop.assert_quiet(&healthy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_abort_the_revert_in_git_makes_it_healthy_without_replacing_a_pod() {
    let shop = Loop::start("revert", json!({}), &[], json!({})).await;
    let v2 = commit(&shop.repository, "v2", &json!({}));
    shop.application.until("Synced", "Suspended", &v2).await;
    shop.abort().await;
    let degraded = shop.application.until("Synced", "Degraded", &v2).await;
    shop.rollout.until(is_restored(4)).await;
    // Git still wants the version that was taken back, and nobody syncs it again.
    shop.assert_quiet(&degraded).await;
    let stable = shop.pods().await;
    let reverted = shop.repository.revert();
    shop.application.until("Synced", "Healthy", &reverted).await;
    assert_eq!(shop.pods().await, stable);
}
