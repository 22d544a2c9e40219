//! The loop with a real Flux: Git says what is to run, Flux applies it and waits until it is healthy, and the controller delivers
//! it step by step. An abort comes back to Git, and from there through Flux.

mod engine;
mod kustomization;

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};
use serin::gitops::record::State;
use serin::units::Timestamp;

use self::engine::Flux;
use self::kustomization::{Kustomization, NAME};
use crate::argo_cd::application::NAME as FOLDER;
use crate::argo_cd::{virtual_service, weight, weights_until_now};
use crate::pages::Page;
use crate::rights::assert_all_used;
use crate::rollouts::{Subject, is_restored, says, template_of};
use crate::routers::definitions::install;
use crate::shared::{client, follow, kubeconfig, wait_for};
use crate::stub_prometheus::Answer;
use crate::write_back::process::{self, WriteBack};
use crate::write_back::shop::Shop;

/// A shop for which Flux delivers.
struct Team {
    shop: Shop,
    /// The commit of version 1.
    first: String,
    kustomization: Kustomization,
    _flux: Flux,
}

impl Team {
    /// Delivers version 1. `more` is merged into the Kustomization's spec.
    async fn start(prefix: &str, more: Value) -> Self {
        let shop = Shop::start(prefix).await;
        let flux = Flux::start(&shop.client, &kubeconfig(), &shop.namespace).await;
        let first = shop.release("v1");
        let kustomization =
            Kustomization::create(&shop.client, &shop.namespace, &shop.server.url(), NAME, more).await;
        kustomization.until_ready(&first).await;
        // A new object without a status counts as ready.
        shop.rollout.until_phase("Healthy").await;
        Self { shop, first, kustomization, _flux: flux }
    }

    /// Releases a version, and waits until its canary pauses.
    async fn pause(&self, version: &str) -> String {
        let commit = self.shop.release(version);
        self.kustomization.fetch(&commit).await;
        self.shop.rollout.until(says("CanaryPauseStep")).await;
        commit
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kustomization_waits_for_a_paused_canary_and_fails_after_an_abort() {
    let team = Team::start("flux", json!({})).await;
    let (kustomization, rollout) = (&team.kustomization, &team.shop.rollout);
    let v2 = team.pause("v2").await;
    let paused = kustomization.standing().await;
    assert_eq!((&*paused.ready, &paused.attempted, &paused.applied), ("Unknown", &v2, &team.first));
    // A version that is seen long after version 1 was ready came with the second commit.
    let source = kustomization.source(Timestamp::parse("2100-01-01T00:00:00Z")).await;
    assert_eq!((source.synced.as_ref(), source.before.as_ref()), (Some(&v2), Some(&team.first)));
    assert_eq!((source.url, &*source.target), (team.shop.server.url(), "main"));
    rollout.resume().await;
    kustomization.until_ready(&v2).await;

    let v3 = team.pause("v3").await;
    rollout.change_status(json!({"abort": true})).await;
    let failed = kustomization.until("False", &v3, &v2).await;
    assert!(failed.why.starts_with("HealthCheckFailed: ") && failed.why.contains("Failed'"), "{failed:?}");
    rollout.until(is_restored(4)).await;
    let reverted = team.shop.release("v2");
    kustomization.until_ready(&reverted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_is_reverted_in_git_and_the_kustomization_is_ready_again() {
    let team = Team::start("flux-story", json!({"healthCheckExprs": expressions()})).await;
    let Team { shop, kustomization, .. } = &team;
    let given = process::grant(&shop.client, &shop.namespace, &process::FLUX).await;
    shop.configure("commit").await;
    let write_back = WriteBack::start(&kubeconfig(), &shop.namespace);

    let bad = team.pause("v2").await;
    shop.prometheus.answer(Answer::Value(0.5));
    shop.rollout.until(is_restored(4)).await;
    let told = shop.until_told(State::Reverted).await;
    let revert = shop.head();
    assert_eq!(told.commit.as_deref(), Some(revert.as_str()));
    kustomization.until_ready(&revert).await;
    shop.assert_evidence(&bad);

    shop.prometheus.answer(Answer::Value(0.01));
    let good = team.pause("v3").await;
    shop.rollout.resume().await;
    kustomization.until_ready(&good).await;
    assert_eq!(shop.head(), good);
    write_back.kill().await;
    assert_all_used(&process::identity(&shop.namespace).user, &given);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_kustomizations_is_said_on_the_rollout_and_heals() {
    let team = Team::start("flux-labels", json!({})).await;
    let Team { shop, .. } = &team;
    process::grant(&shop.client, &shop.namespace, &process::FLUX).await;
    shop.configure("commit").await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}}).to_string();
    let commit = shop.commit("other", &[("other/map.yaml", &map)]);
    let path = json!({"path": "./other"});
    let other = Kustomization::create(&shop.client, &shop.namespace, &shop.server.url(), "other", path).await;
    other.until_ready(&commit).await;
    team.pause("v2").await;
    let label = async |kustomization: Option<&str>, release: Option<&str>| {
        let labels = json!({"kustomize.toolkit.fluxcd.io/name": kustomization,
            "helm.toolkit.fluxcd.io/name": release, "helm.toolkit.fluxcd.io/namespace": shop.namespace});
        let labelled = Patch::Merge(json!({"metadata": {"labels": labels}}));
        shop.rollout.rollouts.patch(shop.rollout.name, &PatchParams::default(), &labelled).await.unwrap();
    };

    label(None, Some("web")).await;
    let _write_back = WriteBack::start(&kubeconfig(), &shop.namespace);
    shop.rollout.change_status(json!({"abort": true})).await;
    let told = shop.until_told_of("only what a Kustomization applies itself can be taken back").await;
    assert!(told.message.starts_with(&format!("the HelmRelease {}/web ", shop.namespace)), "{told:?}");
    label(Some("other"), None).await;
    shop.until_told_of("does not manage this Rollout, whatever its labels say").await;
    label(Some(NAME), None).await;
    shop.until_told(State::Reverted).await;
}

/// What the page tells users of Flux to add to their Kustomization.
fn ignored() -> Value {
    let blocks = Page::read("docs/gitops.md").blocks();
    let snippet = blocks.iter().find(|block| block.text.contains("kind: Kustomization")).unwrap();
    let kustomization: Value = serde_saphyr::from_str(&snippet.text).unwrap();
    kustomization["spec"]["ignore"].clone()
}

/// A routed Rollout in Git, with a step of a quarter.
fn routed(version: &str) -> String {
    let canary = json!({"canaryService": "canary", "stableService": "stable", "steps": [{"setWeight": 25}, {"pause": {}}],
        "trafficRouting": {"istio": {"virtualService": {"name": FOLDER}}}});
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "routed"},
        "spec": {"replicas": 4, "selector": {"matchLabels": {"app": "routed"}},
            "template": template_of("routed", version), "strategy": {"canary": canary}}})
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_snippet_of_the_documentation_flux_moves_no_weight() {
    install(&client(), &["istio/crds.yaml#VirtualService"]).await;
    let team = Team::start("flux-route", json!({"wait": false, "ignore": ignored()})).await;
    let Team { shop, kustomization, .. } = &team;
    let service = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": "routed"}, "ports": [{"port": 80}]}})
    };
    let others = [service("stable"), service("canary"), virtual_service()].map(|object| object.to_string());
    let (route, first) = (others.join("\n---\n"), routed("v1"));
    let commit = shop.commit("routed", &[("web/route.yaml", &route), ("web/routed.yaml", &first)]);
    kustomization.until_ready(&commit).await;
    let rollout = Subject::named("routed", &shop.client, &shop.namespace);
    rollout.until_phase("Healthy").await;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService"));
    let routes: Api<DynamicObject> = Api::namespaced_with(shop.client.clone(), &shop.namespace, &kind);
    let mut states = follow(&routes).await;

    let v2 = shop.commit("v2", &[("web/routed.yaml", &routed("v2"))]);
    kustomization.until_ready(&v2).await;
    rollout.until(says("CanaryPauseStep")).await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "unrelated"}}).to_string();
    let unrelated = shop.commit("unrelated", &[("web/unrelated.yaml", &map)]);
    kustomization.until_ready(&unrelated).await;
    rollout.resume().await;
    rollout.until_phase("Healthy").await;
    wait_for(&routes, FOLDER, |route: Option<&DynamicObject>| route.is_some_and(|route| weight(route) == 0))
        .await;
    let weights = weights_until_now(&routes, &mut states).await;
    let whole: Vec<_> = weights.iter().skip_while(|weight| **weight == 0).copied().collect();
    assert_eq!(whole, [25, 100, 0], "{weights:?}");
}

/// What Flux is to make of a Rollout, in words of its own.
fn expressions() -> Value {
    json!([{
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "inProgress": "metadata.generation != status.observedGeneration",
        "failed": "status.phase == 'Degraded'",
        "current": "status.phase == 'Healthy'",
    }])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_nobody_has_seen_is_ready_unless_an_expression_reads_its_status() {
    let Team { shop, .. } = &Team::start("flux-unseen", json!({})).await;
    // The label of another controller, of which there is none.
    let unseen = |name: &str| {
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": name,
            "labels": {"argo-rollouts.argoproj.io/controller-instance-id": "other"}},
            "spec": {"selector": {"matchLabels": {"app": name}}, "template": template_of(name, "v1"),
                "strategy": {"canary": {}}}})
        .to_string()
    };
    let files = [("plain/rollout.yaml", &*unseen("plain")), ("checked/rollout.yaml", &*unseen("checked"))];
    let commit = shop.commit("unseen", &files);
    let create = async |name, more| {
        Kustomization::create(&shop.client, &shop.namespace, &shop.server.url(), name, more).await
    };
    let plain = create("plain", json!({"path": "./plain"})).await;
    plain.until_ready(&commit).await;
    // Flux waits no shorter than this.
    let reads = json!({"path": "./checked", "timeout": "30s", "healthCheckExprs": expressions()});
    let checked = create("checked", reads).await;
    let waits = checked.until("False", &commit, "").await;
    let reason = "no such attribute(s): status.observedGeneration";
    assert!(waits.why.contains("timeout waiting for") && waits.why.contains(reason), "{waits:?}");
}
