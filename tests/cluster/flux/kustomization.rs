//! A Kustomization of Flux with its repository, and what it says of itself.

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};
use serin::gitops::application::Source;
use serin::gitops::flux;
use serin::units::Timestamp;

use crate::argo_cd::application::NAME as FOLDER;
use crate::rollouts::merge;
use crate::shared::wait_for;

/// The name of the repository, and of most Kustomizations.
pub(crate) const NAME: &str = "apps";

/// A Kustomization that delivers a folder to the namespace that it is in, and waits for what it has applied.
pub(crate) struct Kustomization {
    name: &'static str,
    kustomizations: Api<DynamicObject>,
    repositories: Api<DynamicObject>,
}

/// How a Kustomization stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The status of its condition `Ready`.
    pub(crate) ready: String,
    /// The reason of that condition, and its message.
    pub(crate) why: String,
    /// The commit that it has tried to apply.
    pub(crate) attempted: String,
    /// The commit that was healthy last.
    pub(crate) applied: String,
}

impl Kustomization {
    /// Creates it, and a repository at this address with the branch `main`. `more` is merged into its spec.
    pub(crate) async fn create(
        client: &Client,
        namespace: &str,
        url: &str,
        name: &'static str,
        more: Value,
    ) -> Self {
        let of = |group: &str, kind: &str| {
            let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
            Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &kind)
        };
        let repository = json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
            "metadata": {"name": NAME}, "spec": {"url": url, "interval": "1h", "ref": {"branch": "main"}}});
        let mut spec = json!({"sourceRef": {"kind": "GitRepository", "name": NAME}, "path": format!("./{FOLDER}"),
            "targetNamespace": namespace, "prune": true, "wait": true, "interval": "1h", "timeout": "5m"});
        merge(&mut spec, more);
        let kustomization = json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"name": name}, "spec": spec});
        let this = Self {
            name,
            kustomizations: of("kustomize.toolkit.fluxcd.io", "Kustomization"),
            repositories: of("source.toolkit.fluxcd.io", "GitRepository"),
        };
        let params = PatchParams::apply("test");
        this.repositories.patch(NAME, &params, &Patch::Apply(&repository)).await.unwrap();
        this.kustomizations.patch(name, &params, &Patch::Apply(&kustomization)).await.unwrap();
        this
    }

    /// Has Flux look at Git now, and waits until it has fetched this commit.
    pub(crate) async fn fetch(&self, commit: &str) {
        let asked = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": commit}}});
        self.repositories.patch(NAME, &PatchParams::default(), &Patch::Merge(&asked)).await.unwrap();
        let is_fetched = |found: Option<&DynamicObject>| {
            found.is_some_and(|found| text(found, "/status/artifact/revision").ends_with(commit))
        };
        wait_for(&self.repositories, NAME, is_fetched).await;
    }

    /// Fetches this commit, and waits until it is applied and healthy.
    pub(crate) async fn until_ready(&self, commit: &str) {
        self.fetch(commit).await;
        self.until("True", commit, commit).await;
    }

    /// Waits until it says this of being ready, with the commit that it has tried and the one that was healthy last.
    pub(crate) async fn until(&self, ready: &str, attempted: &str, applied: &str) -> Standing {
        let stands = |found: Option<&DynamicObject>| {
            // Flux writes the condition before the rest.
            found.map(standing).is_some_and(|standing| {
                (&*standing.ready, &*standing.attempted, &*standing.applied) == (ready, attempted, applied)
            })
        };
        standing(&wait_for(&self.kustomizations, self.name, stands).await.unwrap())
    }

    /// Where the write-back sees it come from, of a version that began then.
    pub(crate) async fn source(&self, begun_at: Option<Timestamp>) -> Source {
        let kustomization = serde_json::to_value(self.kustomizations.get(self.name).await.unwrap()).unwrap();
        let repository = serde_json::to_value(self.repositories.get(NAME).await.unwrap()).unwrap();
        let kustomization: flux::Kustomization = serde_json::from_value(kustomization).unwrap();
        kustomization.source(&serde_json::from_value(repository).unwrap(), begun_at).unwrap()
    }

    /// How it stands now.
    pub(crate) async fn standing(&self) -> Standing {
        standing(&self.kustomizations.get(self.name).await.unwrap())
    }
}

fn text(object: &DynamicObject, pointer: &str) -> String {
    object.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn standing(kustomization: &DynamicObject) -> Standing {
    let conditions = kustomization.data.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    let of_ready = |field: &str| ready.and_then(|ready| ready[field].as_str()).unwrap_or_default().to_owned();
    let commit = |field: &str| {
        let revision = text(kustomization, &format!("/status/{field}"));
        revision.rsplit_once(':').map(|(_, commit)| commit.to_owned()).unwrap_or_default()
    };
    Standing {
        ready: of_ready("status"),
        why: format!("{}: {}", of_ready("reason"), of_ready("message")),
        attempted: commit("lastAttemptedRevision"),
        applied: commit("lastAppliedRevision"),
    }
}
