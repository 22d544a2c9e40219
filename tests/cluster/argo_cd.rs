//! The loop with a real Argo CD: Git says what is to run, Argo CD applies it, and the controller delivers it step by step.
//! Nothing that the controller does is healed away, and nothing of it keeps an Application out of sync.

pub(crate) mod application;
pub(crate) mod engine;
mod environments;
mod repository;

use futures::{FutureExt, Stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::timeout;

use self::application::{Application, NAME, Standing};
use self::engine::ArgoCd;
use self::repository::Repository;
use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::pages::Page;
use crate::rollouts::{Subject, is_restored, merge, says, template_of};
use crate::routers::definitions::install;
use crate::shared::{DEADLINE, client, follow, kubeconfig, namespace, next};

/// How often Argo CD looks while nothing may change.
const LOOKS: usize = 8;

/// The page of the documentation that users copy from.
const PAGE: &str = "docs/gitops.md";

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
        Self::start_changed(prefix, canary, json!({}), more, application).await
    }

    /// The same with `rollout` merged into the Rollout.
    async fn start_changed(
        prefix: &str,
        canary: Value,
        rollout: Value,
        more: &[Value],
        application: Value,
    ) -> Self {
        let client = client();
        definitions_on_shared(&client).await;
        let namespace = namespace(&client, prefix).await;
        let argo_cd = ArgoCd::start(&client, &kubeconfig(), &namespace).await;
        let controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
        let repository = Repository::new();
        let others: Vec<_> = more.iter().map(Value::to_string).collect();
        repository.commit("objects", &[("web/others.yaml", &others.join("\n---\n"))]);
        let commit = commit_changed(&repository, "v1", &canary, rollout);
        let application = Application::create(&client, &namespace, &repository, application).await;
        application.until("Synced", "Healthy", &commit).await;
        let rollout = Subject::named(NAME, &client, &namespace);
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

    /// The canary of this commit pauses, goes on and is promoted: in sync the whole time, and never synced again.
    async fn assert_in_sync_throughout(&self, commit: &str) {
        let paused = self.application.until("Synced", "Suspended", commit).await;
        self.assert_quiet(&paused).await;
        self.rollout.resume().await;
        let healthy = self.application.until("Synced", "Healthy", commit).await;
        assert_eq!(healthy.synced_at, paused.synced_at, "synced again although Git has not changed");
        self.assert_quiet(&healthy).await;
    }

    /// The names of the Rollout's pods.
    async fn pods(&self) -> Vec<String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let listed = pods.list(&ListParams::default().labels(&format!("app={NAME}"))).await.unwrap();
        listed
            .items
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .map(ResourceExt::name_any)
            .collect()
    }
}

/// Commits a version of the Rollout, with everything that the schema would have defaults for left out.
fn commit(repository: &Repository, version: &str, canary: &Value) -> String {
    commit_changed(repository, version, canary, json!({}))
}

/// The same with `more` merged into the Rollout.
fn commit_changed(repository: &Repository, version: &str, canary: &Value, more: Value) -> String {
    let mut strategy = json!({"steps": [{"setWeight": 25}, {"pause": {}}]});
    merge(&mut strategy, canary.clone());
    let mut template = template_of(NAME, version);
    // Without `resources`, Argo CD applies no change of a container where it is to respect ignored differences.
    merge(
        &mut template["spec"]["containers"][0],
        json!({"ports": [{"containerPort": 8080}], "resources": {"requests": {"cpu": "10m"}}}),
    );
    let mut rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": NAME},
        "spec": {"replicas": 4, "selector": {"matchLabels": {"app": NAME}}, "template": template,
            "strategy": {"canary": strategy}},
    });
    merge(&mut rollout, more);
    repository.commit(version, &[("web/rollout.yaml", &rollout.to_string())])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plain_shape_is_in_sync_during_the_whole_canary_and_never_healed() {
    let shop = Loop::start("plain", json!({}), &[service(NAME)], json!({})).await;
    let v2 = commit(&shop.repository, "v2", &json!({}));
    shop.assert_in_sync_throughout(&v2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_abort_the_revert_in_git_makes_it_healthy_without_replacing_a_pod() {
    let shop = Loop::start("revert", json!({}), &[], json!({})).await;
    let v2 = commit(&shop.repository, "v2", &json!({}));
    shop.application.until("Synced", "Suspended", &v2).await;
    shop.rollout.change_status(json!({"abort": true})).await;
    let degraded = shop.application.until("Synced", "Degraded", &v2).await;
    shop.rollout.until(is_restored(4)).await;
    // Git still wants the version that was taken back, and nobody syncs it again.
    shop.assert_quiet(&degraded).await;
    let stable = shop.pods().await;
    let reverted = shop.repository.revert();
    shop.application.until("Synced", "Healthy", &reverted).await;
    assert_eq!(shop.pods().await, stable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_waits_for_no_pause_that_is_reported_as_healthy() {
    let shop = Loop::start("pauses", json!({}), &[], json!({})).await;
    let healthy_at_pauses =
        json!({"metadata": {"annotations": {"rollout.argoproj.io/health-at-pauses": "Healthy"}}});
    let v2 = commit_changed(&shop.repository, "v2", &json!({}), healthy_at_pauses);
    let paused = shop.application.until("Synced", "Healthy", &v2).await;
    shop.rollout.until(says("CanaryPauseStep")).await;
    shop.assert_quiet(&paused).await;
}

/// A VirtualService that gives stable everything, as it is in Git.
pub(crate) fn virtual_service() -> Value {
    let to = |host: &str, weight: u32| json!({"destination": {"host": host}, "weight": weight});
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": NAME},
        "spec": {"hosts": [NAME], "http": [{"name": "primary", "route": [to("stable", 100), to("canary", 0)]}]}})
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": NAME}, "ports": [{"port": 80}]}})
}

/// The weight of the canary in a VirtualService.
pub(crate) fn weight(route: &DynamicObject) -> i64 {
    route.data["spec"]["http"][0]["route"][1]["weight"].as_i64().unwrap_or_default()
}

/// The weights that the canary had since `states` follows its route, each until the next.
pub(crate) async fn weights_until_now(
    routes: &Api<DynamicObject>,
    states: &mut (impl Stream<Item = DynamicObject> + Unpin),
) -> Vec<i64> {
    let last = routes.get(NAME).await.unwrap();
    let mut weights = Vec::new();
    loop {
        let state = next(states).await;
        weights.push(weight(&state));
        if state.resource_version() == last.resource_version() {
            break;
        }
    }
    weights.dedup();
    assert!(next(states).now_or_never().is_none(), "the route changes on");
    weights
}

/// What the page tells users of Argo CD to add to their Application.
fn ignored_differences() -> Value {
    let blocks = Page::read(PAGE).blocks();
    let snippet = blocks.iter().find(|block| block.text.contains("RespectIgnoreDifferences")).unwrap();
    let application: Value = serde_saphyr::from_str(&snippet.text).unwrap();
    application["spec"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_snippet_of_the_documentation_no_sync_and_no_commit_moves_a_weight() {
    let client = client();
    install(&client, &["istio/crds.yaml#VirtualService"]).await;
    let canary = json!({"canaryService": "canary", "stableService": "stable",
        "trafficRouting": {"istio": {"virtualService": {"name": NAME}}}});
    let objects = [service("stable"), service("canary"), virtual_service()];
    let shop = Loop::start("weights", canary.clone(), &objects, ignored_differences()).await;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService"));
    let routes: Api<DynamicObject> = Api::namespaced_with(client, &shop.namespace, &kind);
    let mut states = follow(&routes).await;

    let v2 = commit(&shop.repository, "v2", &canary);
    let paused = shop.application.until("Synced", "Suspended", &v2).await;
    shop.assert_quiet(&paused).await;
    let unrelated =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "unrelated"}}).to_string();
    let newer = shop.repository.commit("unrelated", &[("web/unrelated.yaml", &unrelated)]);
    let paused = shop.application.until("Synced", "Suspended", &newer).await;
    shop.assert_quiet(&paused).await;
    shop.rollout.resume().await;
    let healthy = shop.application.until("Synced", "Healthy", &newer).await;
    shop.assert_quiet(&healthy).await;

    let weights = weights_until_now(&routes, &mut states).await;
    // From Git's, through the step, and back to exactly Git's: no weight comes twice.
    let whole: Vec<_> = weights.iter().skip_while(|weight| **weight == 0).copied().collect();
    assert_eq!(whole, [25, 100, 0], "{weights:?}");
}

/// A Service that selects pods by their role.
fn service_of(role: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": role},
        "spec": {"selector": {"app": NAME, format!("rollout.argoproj.io/{role}"): NAME}, "ports": [{"port": 80}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_select_by_role_are_in_sync_without_a_snippet_and_never_healed() {
    let client = client();
    install(&client, &["istio/crds.yaml#VirtualService"]).await;
    let canary = json!({"canaryService": "canary", "stableService": "stable",
        "trafficRouting": {"istio": {"virtualService": {"name": NAME, "routes": ["primary"]}}}});
    let labelled = json!({"metadata": {"annotations": {"rollout.argoproj.io/role-labels": "true"}}});
    // The weights of a route still need their line of the snippet.
    let mut application = ignored_differences();
    let ignored = application["ignoreDifferences"].as_array_mut().unwrap();
    ignored.retain(|difference| difference["kind"] != "Service");
    assert_eq!(ignored.len(), 1, "{ignored:?}");
    let objects = [service_of("stable"), service_of("canary"), virtual_service()];
    let shop = Loop::start_changed("roles", canary.clone(), labelled.clone(), &objects, application).await;
    let v2 = commit_changed(&shop.repository, "v2", &canary, labelled);
    shop.assert_in_sync_throughout(&v2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_is_healed_again_and_again_gets_no_weight_of_its_own_and_the_update_ends() {
    let client = client();
    install(&client, &["istio/crds.yaml#VirtualService"]).await;
    let canary = json!({"canaryService": "canary", "stableService": "stable",
        "trafficRouting": {"istio": {"virtualService": {"name": NAME}}}});
    let labelled = json!({"metadata": {"annotations": {"rollout.argoproj.io/role-labels": "true"}}});
    let objects = [service_of("stable"), service_of("canary"), virtual_service()];
    let shop = Loop::start_changed("healed", canary.clone(), labelled.clone(), &objects, json!({})).await;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService"));
    let routes: Api<DynamicObject> = Api::namespaced_with(client, &shop.namespace, &kind);
    let mut states = follow(&routes).await;

    let v2 = commit_changed(&shop.repository, "v2", &canary, labelled);
    shop.application.until_commit(&v2).await;
    shop.rollout.until(says("CanaryPauseStep")).await;
    let before = shop.application.refresh().await;
    let healed = async { while shop.application.refresh().await.synced_at == before.synced_at {} };
    timeout(DEADLINE, healed).await.expect("nothing was healed");
    shop.rollout.resume().await;
    shop.application.until("Synced", "Healthy", &v2).await;

    // Git's, the step's, and the whole: what Argo CD puts back in between is stable's, never another share.
    let weights = weights_until_now(&routes, &mut states).await;
    assert!(weights.iter().all(|weight| [0, 25, 100].contains(weight)), "{weights:?}");
    assert!(weights.contains(&25) && weights.last() == Some(&0), "{weights:?}");
}
