//! What the write-back reads of the cluster, all by name but the ReplicaSets and runs of the revisions, and what it writes there.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Secret as SecretObject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::analysis::Secret;
use crate::api::labels::{GIT_WRITE_BACK, POD_TEMPLATE_HASH};
use crate::api::{AnalysisRun, Rollout};
use crate::gitops::abort::Abort;
use crate::gitops::application::{Application, ApplicationName};
use crate::gitops::flux::{GitRepository, Kustomization, ObjectName};
use crate::gitops::image_updater;
use crate::gitops::record::{REJECTED_IMAGES, Record};

/// Group, version and kind of an Application of Argo CD.
const APPLICATION: [&str; 3] = ["argoproj.io", "v1alpha1", "Application"];
/// How often an object is changed again that somebody else has changed meanwhile.
const ATTEMPTS: usize = 5;

/// The cluster, and where Argo CD is in it.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) argocd_namespace: String,
}

impl Cluster {
    /// The ReplicaSets of the rejected and the stable revision.
    pub(crate) async fn replica_sets(&self, abort: &Abort) -> Result<Vec<ReplicaSet>, String> {
        let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &abort.namespace);
        let labels = format!("{POD_TEMPLATE_HASH} in ({},{})", abort.pod_hash, abort.stable_hash);
        let listed = sets.list(&ListParams::default().labels(&labels)).await;
        let listed = listed.map_err(|error| failed("list the ReplicaSets of the two revisions", &error))?;
        Ok(listed.items.into_iter().filter(|set| is_owned(&set.metadata, abort)).collect())
    }

    /// The AnalysisRuns of the rejected revision that are still there.
    pub(crate) async fn runs(&self, abort: &Abort) -> Result<Vec<AnalysisRun>, String> {
        let runs: Api<AnalysisRun> = Api::namespaced(self.client.clone(), &abort.namespace);
        let labels = format!("{POD_TEMPLATE_HASH}={}", abort.pod_hash);
        let listed = runs.list(&ListParams::default().labels(&labels)).await;
        let listed =
            listed.map_err(|error| failed("list the AnalysisRuns of the rejected revision", &error))?;
        Ok(listed.items.into_iter().filter(|run| is_owned(&run.metadata, abort)).collect())
    }

    /// An Application of Argo CD.
    pub(crate) async fn application(&self, name: &ApplicationName) -> Result<Application, String> {
        self.read(APPLICATION, self.namespace_of(name), &name.name).await
    }

    /// A Kustomization of Flux.
    pub(crate) async fn kustomization(&self, name: &ObjectName) -> Result<Kustomization, String> {
        let kind = ["kustomize.toolkit.fluxcd.io", "v1", "Kustomization"];
        self.read(kind, &name.namespace, &name.name).await
    }

    /// A `GitRepository` of Flux.
    pub(crate) async fn git_repository(&self, name: &ObjectName) -> Result<GitRepository, String> {
        let kind = ["source.toolkit.fluxcd.io", "v1", "GitRepository"];
        self.read(kind, &name.namespace, &name.name).await
    }

    /// Has Image Updater ignore the tags of rejected images, where it keeps the Application up. Others may change the
    /// Application at the same time.
    pub(crate) async fn ignore_tags(&self, name: &ApplicationName, images: &[String]) -> Result<(), String> {
        let applications = self.objects(APPLICATION, self.namespace_of(name));
        for _ in 0..ATTEMPTS {
            let found = applications.get(&name.name).await;
            let found = found.map_err(|error| failed(&format!("read Application {}", name.name), &error))?;
            let ignored = image_updater::ignored(found.annotations(), images);
            if ignored.is_empty() {
                return Ok(());
            }
            let version = found.metadata.resource_version;
            let patch =
                Patch::Merge(json!({"metadata": {"resourceVersion": version, "annotations": ignored}}));
            let patched = applications.patch_metadata(&name.name, &PatchParams::default(), &patch).await;
            match patched {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(failed(&format!("annotate Application {}", name.name), &error)),
            }
        }
        Err(format!("the Application {} changes all the time", name.name))
    }

    /// What a Secret beside the configuration holds, as far as it is text.
    pub(crate) async fn secret(&self, name: &str) -> Result<BTreeMap<String, Secret>, String> {
        let secrets: Api<SecretObject> = Api::default_namespaced(self.client.clone());
        let found =
            secrets.get_opt(name).await.map_err(|error| failed(&format!("read Secret {name}"), &error))?;
        let found = found.ok_or_else(|| format!("the Secret {name} is missing beside the configuration"))?;
        let text = |(key, bytes): (String, k8s_openapi::ByteString)| {
            Some((key, Secret::new(String::from_utf8(bytes.0).ok()?)))
        };
        Ok(found.data.unwrap_or_default().into_iter().filter_map(text).collect())
    }

    /// Writes what became of an abort onto its Rollout, and onto none that came after it under the same name.
    pub(crate) async fn tell(
        &self,
        abort: &Abort,
        record: &Record,
        images: Option<&[String]>,
    ) -> Result<(), String> {
        let rollouts: Api<Rollout> = Api::namespaced(self.client.clone(), &abort.namespace);
        let record = serde_json::to_string(record).map_err(|error| error.to_string())?;
        let mut annotations = json!({GIT_WRITE_BACK: record});
        if let (Some(images), Some(all)) = (images, annotations.as_object_mut()) {
            all.insert(REJECTED_IMAGES.to_owned(), Value::from(images.join(",")));
        }
        let patch = Patch::Merge(json!({"metadata": {"uid": abort.uid, "annotations": annotations}}));
        let patched = rollouts.patch_metadata(&abort.name, &PatchParams::default(), &patch).await;
        patched.map(drop).map_err(|error| failed("annotate the Rollout", &error))
    }

    /// What is read of an object of a sync engine.
    async fn read<T: DeserializeOwned>(
        &self,
        gvk: [&str; 3],
        namespace: &str,
        name: &str,
    ) -> Result<T, String> {
        let [_, _, kind] = gvk;
        let found = self.objects(gvk, namespace).get_opt(name).await;
        let found = found.map_err(|error| failed(&format!("read {kind} {name}"), &error))?;
        let found = found.ok_or_else(|| format!("the {kind} {name} is not in namespace {namespace}"))?;
        let value = serde_json::to_value(&found).map_err(|error| error.to_string())?;
        serde_json::from_value(value).map_err(|error| format!("the {kind} {name} cannot be read: {error}"))
    }

    fn objects(&self, [group, version, kind]: [&str; 3], namespace: &str) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), namespace, &kind)
    }

    fn namespace_of<'a>(&'a self, name: &'a ApplicationName) -> &'a str {
        name.namespace.as_deref().unwrap_or(&self.argocd_namespace)
    }
}

/// Whether an object is the Rollout's.
fn is_owned(metadata: &ObjectMeta, abort: &Abort) -> bool {
    metadata.owner_references.iter().flatten().any(|owner| owner.uid == abort.uid)
}

fn failed(what: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("cannot {what}: {}", status.message),
        _ => format!("cannot {what}: the API server cannot be reached"),
    }
}
