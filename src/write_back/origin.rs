//! Where a Rollout comes from: what of which sync engine has brought it, and the repositories of that.

use super::cluster::Cluster;
use super::pass::Trouble;
use crate::api::Rollout;
use crate::gitops::abort::{Abort, Rejected};
use crate::gitops::application::{self, Source, TRACKING_ID};
use crate::gitops::flux::{self, ObjectName, Owner};

/// What a Rollout says of who has brought it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Argo CD, with its annotation.
    ArgoCd(String),
    /// Flux, with its labels.
    Flux(Owner),
}

impl Origin {
    /// `None` for one that neither of them has brought: it is nobody's in Git.
    pub(crate) fn of(rollout: &Rollout) -> Option<Self> {
        let metadata = &rollout.metadata;
        let tracking_id = metadata.annotations.as_ref().and_then(|all| all.get(TRACKING_ID));
        let by_argo_cd = tracking_id.cloned().map(Self::ArgoCd);
        by_argo_cd.or_else(|| flux::owner(metadata.labels.as_ref()?).map(Self::Flux))
    }

    /// The places in Git that it comes from, of which there is at least one, once the engine itself says that it is so.
    pub(crate) async fn sources(
        &self,
        cluster: &Cluster,
        rejected: &Rejected,
    ) -> Result<Vec<Source>, Trouble> {
        match self {
            Self::ArgoCd(tracking_id) => of_application(tracking_id, cluster, rejected).await,
            Self::Flux(Owner::Kustomization(name)) => {
                Ok(vec![of_kustomization(name, cluster, rejected).await?])
            }
            Self::Flux(Owner::HelmRelease(name)) => Err(Trouble::Lasting(format!(
                "the HelmRelease {name} of Flux has brought this Rollout: only what a Kustomization applies itself can be taken back"
            ))),
        }
    }

    /// Keeps what is rejected from being offered again, where Image Updater does that.
    pub(crate) async fn ignore_tags(&self, cluster: &Cluster, rejected: &Rejected) -> Result<(), String> {
        let Self::ArgoCd(tracking_id) = self else { return Ok(()) };
        let Abort { namespace, name, .. } = &rejected.abort;
        match application::owner(tracking_id, namespace, name) {
            Some(owner) => cluster.ignore_tags(&owner, &rejected.images).await,
            None => Ok(()),
        }
    }
}

async fn of_application(
    tracking_id: &str,
    cluster: &Cluster,
    rejected: &Rejected,
) -> Result<Vec<Source>, Trouble> {
    let Abort { namespace, name, .. } = &rejected.abort;
    let lasting = |why: String| Trouble::Lasting(why);
    let owner = application::owner(tracking_id, namespace, name).ok_or_else(|| {
        lasting(format!("the annotation {TRACKING_ID} names no Application of this Rollout"))
    })?;
    let application = cluster.application(&owner).await?;
    if !application.manages(namespace, name) {
        return Err(lasting(format!(
            "the Application {} does not manage this Rollout, whatever its annotation says",
            owner.name
        )));
    }
    if !application.is_compared() {
        return Err(Trouble::Passing(format!(
            "Argo CD has not compared the Application {} with its sources as they are now",
            owner.name
        )));
    }
    let sources = application.sources(rejected.begun_at);
    if sources.is_empty() {
        return Err(lasting("the Application comes from no repository of Git".to_owned()));
    }
    Ok(sources)
}

async fn of_kustomization(
    name: &ObjectName,
    cluster: &Cluster,
    rejected: &Rejected,
) -> Result<Source, Trouble> {
    let about = |why: String| Trouble::Lasting(format!("the Kustomization {name}: {why}"));
    let kustomization = cluster.kustomization(name).await?;
    if !kustomization.manages(&rejected.abort.namespace, &rejected.abort.name) {
        return Err(Trouble::Lasting(format!(
            "the Kustomization {name} does not manage this Rollout, whatever its labels say"
        )));
    }
    let of = kustomization.repository(&name.namespace).map_err(about)?;
    let repository = cluster.git_repository(&of).await?;
    if !repository.is_observed() {
        return Err(Trouble::Passing(format!("Flux has not fetched the GitRepository {of} as it is now")));
    }
    kustomization.source(&repository, rejected.begun_at).map_err(about)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "objects of tests are written where they are passed")]
    fn origin(annotations: Value, labels: Value) -> Option<Origin> {
        let rollout = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "spec": {},
            "metadata": {"name": "web", "annotations": annotations, "labels": labels}});
        Origin::of(&serde_json::from_value(rollout).unwrap())
    }

    #[test]
    fn what_argo_cd_says_comes_before_what_flux_says() {
        let by_argo_cd = json!({TRACKING_ID: "store:argoproj.io/Rollout:shop/web"});
        let by_flux = json!({"kustomize.toolkit.fluxcd.io/namespace": "flux-system",
            "kustomize.toolkit.fluxcd.io/name": "apps"});
        let argo_cd = Origin::ArgoCd("store:argoproj.io/Rollout:shop/web".to_owned());
        assert_eq!(origin(by_argo_cd, by_flux.clone()), Some(argo_cd));
        let apps = ObjectName { namespace: "flux-system".to_owned(), name: "apps".to_owned() };
        assert_eq!(origin(json!({}), by_flux), Some(Origin::Flux(Owner::Kustomization(apps))));
        assert_eq!(origin(json!({}), json!({"app": "web"})), None);
        assert_eq!(origin(Value::Null, Value::Null), None);
    }
}
