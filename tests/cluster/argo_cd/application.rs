//! An Application of Argo CD, and what it says of it.

use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::{interval, timeout};

use super::engine::of_argo_cd;
use super::repository::Repository;
use crate::rollouts::merge;
use crate::shared::{DEADLINE, wait_for};

/// The name of most, and the folder of the repository that they deliver.
pub(crate) const NAME: &str = "web";
/// Between two looks after it was asked to look again.
const POLL: Duration = Duration::from_millis(50);

/// An Application that delivers a folder to the namespace that it is in.
pub(crate) struct Application {
    applications: Api<DynamicObject>,
    name: String,
}

/// How an Application stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) sync: String,
    pub(crate) health: String,
    /// The commit that it was compared with.
    pub(crate) commit: String,
    /// When its last sync began: another one means another sync.
    pub(crate) synced_at: String,
    /// What is in the way: what it says, how a sync failed, and what is not in sync.
    pub(crate) problems: Vec<String>,
}

impl Application {
    /// Creates it as the articles have it: automated, healing, with server-side apply. `more` is merged into its spec.
    pub(crate) async fn create(
        client: &Client,
        namespace: &str,
        repository: &Repository,
        more: Value,
    ) -> Self {
        Self::create_at(client, namespace, &repository.url(), more).await
    }

    /// The same for a repository at any address.
    pub(crate) async fn create_at(client: &Client, namespace: &str, url: &str, more: Value) -> Self {
        let mut spec = spec_at(namespace, url, NAME);
        merge(&mut spec, more);
        let application = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {"name": NAME}, "spec": spec});
        let this = Self::named(client, namespace, NAME);
        this.applications
            .patch(NAME, &PatchParams::apply("test"), &Patch::Apply(&application))
            .await
            .unwrap();
        this
    }

    /// One that somebody else has created, or will.
    pub(crate) fn named(client: &Client, namespace: &str, name: &str) -> Self {
        Self { applications: of_argo_cd(client, namespace, "Application"), name: name.to_owned() }
    }

    /// Puts annotations onto it.
    pub(crate) async fn annotate(&self, annotations: Value) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        self.applications.patch(&self.name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// The value of an annotation.
    pub(crate) async fn annotation(&self, key: &str) -> Option<String> {
        self.applications.get(&self.name).await.unwrap().annotations().get(key).cloned()
    }

    /// Waits until it is there.
    pub(crate) async fn until_created(&self) {
        wait_for(&self.applications, &self.name, |found: Option<&DynamicObject>| found.is_some()).await;
    }

    /// Asks Argo CD to look at Git now, and returns what it found.
    pub(crate) async fn refresh(&self) -> Standing {
        let annotation = "argocd.argoproj.io/refresh";
        self.annotate(json!({annotation: "normal"})).await;
        let answered = |application: Option<&DynamicObject>| {
            application.is_some_and(|application| !application.annotations().contains_key(annotation))
        };
        standing(&wait_for(&self.applications, &self.name, answered).await.unwrap())
    }

    /// Asks once, and waits until it was compared with this commit.
    pub(crate) async fn until_commit(&self, commit: &str) {
        let mut standing = self.refresh().await;
        while standing.commit != commit {
            standing = self.refresh().await;
        }
    }

    /// Asks again and again until it stands like this, with this commit.
    pub(crate) async fn until(&self, sync: &str, health: &str, commit: &str) -> Standing {
        let mut last = None;
        let stands = async {
            let mut pause = interval(POLL);
            loop {
                pause.tick().await;
                let standing = self.refresh().await;
                if (&*standing.sync, &*standing.health, &*standing.commit) == (sync, health, commit) {
                    return standing;
                }
                last = Some(standing);
            }
        };
        let stood = timeout(DEADLINE, stands).await;
        stood.unwrap_or_else(|_| panic!("{} is not {sync} and {health} at {commit}: {last:#?}", self.name))
    }
}

/// A spec as the articles have it, that delivers this folder.
pub(crate) fn spec(namespace: &str, repository: &Repository, path: &str) -> Value {
    spec_at(namespace, &repository.url(), path)
}

fn spec_at(namespace: &str, url: &str, path: &str) -> Value {
    json!({
        "project": "default",
        "source": {"repoURL": url, "targetRevision": "HEAD", "path": path},
        "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace},
        "syncPolicy": {
            "automated": {"prune": true, "selfHeal": true},
            "syncOptions": ["CreateNamespace=true", "ServerSideApply=true"],
        },
    })
}

fn standing(application: &DynamicObject) -> Standing {
    let text = |pointer: &str| {
        application.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let list =
        |pointer: &str| application.data.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let conditions = list("/status/conditions").map(|condition| condition["message"].to_string());
    let has_failed = text("/status/operationState/phase") == "Failed";
    let failure = has_failed.then(|| text("/status/operationState/message"));
    let resources = list("/status/resources").filter(|resource| resource["status"] == "OutOfSync");
    let differing = resources.map(|resource| format!("{} {} differs", resource["kind"], resource["name"]));
    Standing {
        sync: text("/status/sync/status"),
        health: text("/status/health/status"),
        commit: text("/status/sync/revision"),
        synced_at: text("/status/operationState/startedAt"),
        problems: conditions.chain(failure).chain(differing).collect(),
    }
}
