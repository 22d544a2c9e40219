//! An abort that Git has to learn of, as the Rollout and its ReplicaSets tell it.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::git_write_back::identity;
use crate::api::labels::{POD_TEMPLATE_HASH, REVISION};
use crate::api::{Rollout, RolloutStatus};
use crate::units::Timestamp;

/// One abort of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abort {
    /// The Rollout's namespace.
    pub namespace: String,
    /// The Rollout's name.
    pub name: String,
    /// The Rollout's uid: one of the same name that came later is another one.
    pub uid: String,
    /// The pod hash of the rejected revision.
    pub pod_hash: String,
    /// The pod hash of the stable revision.
    pub stable_hash: String,
    /// When it was aborted: the same revision can be tried and aborted again.
    pub aborted_at: Timestamp,
    /// Why, as the status says it; text of others.
    pub message: String,
}

impl Abort {
    /// The abort that a Rollout stands in; `None` while it stands in none, or its newest spec was not looked at yet.
    #[must_use]
    pub fn of(rollout: &Rollout) -> Option<Self> {
        let (metadata, status) = (&rollout.metadata, rollout.status.as_ref()?);
        let is_observed = observed(status).is_none_or(|seen| Some(seen) == metadata.generation);
        let (pod_hash, stable_hash) = (status.current_pod_hash.clone()?, status.stable_rs.clone()?);
        let is_rejected = status.abort == Some(true) && is_observed && pod_hash != stable_hash;
        let aborted_at =
            status.aborted_at.filter(|_| is_rejected && metadata.deletion_timestamp.is_none())?;
        Some(Self {
            namespace: metadata.namespace.clone()?,
            name: metadata.name.clone()?,
            uid: metadata.uid.clone()?,
            pod_hash,
            stable_hash,
            aborted_at,
            message: status.message.clone().unwrap_or_default(),
        })
    }

    /// What tells this abort from all others.
    #[must_use]
    pub fn identity(&self) -> String {
        identity(&self.uid, &self.pod_hash, self.aborted_at)
    }
}

/// The generation that the status is about, whichever way it is written.
fn observed(status: &RolloutStatus) -> Option<i64> {
    match status.observed_generation.as_ref()? {
        IntOrString::Int(number) => Some(i64::from(*number)),
        IntOrString::String(text) => text.parse().ok(),
    }
}

/// What an abort has rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The abort.
    pub abort: Abort,
    /// The images of the rejected pods that the stable ones do not have; none when the stable ReplicaSet is gone.
    pub images: Vec<String>,
    /// The images of the stable pods that the rejected ones do not have.
    pub replaced: Vec<String>,
    /// Whether the rejected revision came right after the stable one, so that what Git had before it is what stable runs.
    pub follows_stable: bool,
    /// When its ReplicaSet was created; `None` where it is one of an earlier time that was taken again, or gone.
    pub begun_at: Option<Timestamp>,
}

impl Rejected {
    /// Reads it from the ReplicaSets of the two revisions.
    #[must_use]
    pub fn new(abort: Abort, sets: &[ReplicaSet]) -> Self {
        let find = |hash: &str| {
            let has = |set: &&ReplicaSet| {
                let labels = set.metadata.labels.as_ref();
                labels.and_then(|labels| labels.get(POD_TEMPLATE_HASH)).is_some_and(|found| found == hash)
            };
            sets.iter().find(has)
        };
        let (rejected, stable) = (find(&abort.pod_hash), find(&abort.stable_hash));
        let images_of = |set: Option<&ReplicaSet>| set.map(images).unwrap_or_default();
        let (new, old) = (images_of(rejected), images_of(stable));
        let follows = |(rejected, stable)| revision(rejected) == revision(stable).map(|number| number + 1);
        let is_first_use = |set: &&ReplicaSet| {
            let annotations = set.metadata.annotations.as_ref();
            annotations.is_none_or(|all| !all.contains_key(crate::api::labels::REVISION_HISTORY))
        };
        let created = |set: &ReplicaSet| set.metadata.creation_timestamp.as_ref().map(Timestamp::from);
        Self {
            follows_stable: rejected.zip(stable).is_some_and(follows),
            begun_at: rejected.filter(is_first_use).and_then(created),
            // Without the stable one nobody knows which of them are new.
            images: new.difference(&old).filter(|_| stable.is_some()).cloned().collect(),
            replaced: old.difference(&new).cloned().collect(),
            abort,
        }
    }
}

fn images(set: &ReplicaSet) -> BTreeSet<String> {
    let pod =
        set.spec.as_ref().and_then(|spec| spec.template.as_ref()).and_then(|template| template.spec.as_ref());
    let containers =
        pod.into_iter().flat_map(|pod| pod.containers.iter().chain(pod.init_containers.iter().flatten()));
    containers.filter_map(|container| container.image.clone()).collect()
}

fn revision(set: &ReplicaSet) -> Option<i64> {
    set.metadata.annotations.as_ref()?.get(REVISION)?.parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// An aborted Rollout, as the controller leaves it.
    pub(crate) fn rollout() -> Rollout {
        serde_json::from_value(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "cart", "namespace": "shop", "uid": "6f1c", "generation": 3},
            "spec": {},
            "status": {
                "abort": true, "abortedAt": "2026-11-26T22:00:00Z", "currentPodHash": "7d9f", "stableRS": "5c2a",
                "observedGeneration": 3, "message": "RolloutAborted: metric \"errors\" assessed Failed",
            },
        }))
        .unwrap()
    }

    pub(crate) fn abort() -> Abort {
        Abort::of(&rollout()).unwrap()
    }

    /// What it has rejected: the image `registry/cart:2`, where stable runs `registry/cart:1`.
    pub(crate) fn rejected() -> Rejected {
        Rejected::new(abort(), &[set("5c2a", "1", "registry/cart:1"), set("7d9f", "2", "registry/cart:2")])
    }

    fn set(hash: &str, revision: &str, image: &str) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"labels": {POD_TEMPLATE_HASH: hash}, "annotations": {REVISION: revision},
                "creationTimestamp": "2026-11-26T21:50:00Z"},
            "spec": {"selector": {}, "template": {"spec": {"containers": [
                {"name": "app", "image": image}, {"name": "proxy", "image": "envoy:1.30"}]}}},
        }))
        .unwrap()
    }

    #[test]
    fn an_abort_is_known_by_rollout_revision_and_time() {
        assert_eq!(abort().identity(), "6f1c/7d9f/2026-11-26T22:00:00Z");
    }

    fn is_none(change: impl FnOnce(&mut Rollout)) {
        let mut rollout = rollout();
        change(&mut rollout);
        assert_eq!(Abort::of(&rollout), None);
    }

    fn status(rollout: &mut Rollout) -> &mut RolloutStatus {
        rollout.status.as_mut().unwrap()
    }

    #[test]
    fn what_was_not_aborted_or_not_seen_yet_is_no_abort() {
        is_none(|rollout| status(rollout).abort = None);
        is_none(|rollout| status(rollout).aborted_at = None);
        is_none(|rollout| status(rollout).stable_rs = Some("7d9f".into()));
        // Git was set right already, and the controller has not come to it yet.
        is_none(|rollout| rollout.metadata.generation = Some(4));
        is_none(|rollout| status(rollout).observed_generation = Some(IntOrString::String("2".into())));
    }

    #[test]
    fn rejected_images_are_those_that_stable_does_not_run() {
        let rejected = rejected();
        assert_eq!(
            (&*rejected.images, &*rejected.replaced),
            (&["registry/cart:2".into()][..], &["registry/cart:1".into()][..])
        );
        assert!(rejected.follows_stable);
        assert_eq!(rejected.begun_at, Timestamp::parse("2026-11-26T21:50:00Z"));
    }

    #[test]
    fn a_version_that_came_after_another_rejected_one_does_not_follow_stable() {
        let sets = [set("5c2a", "1", "registry/cart:1"), set("7d9f", "3", "registry/cart:3")];
        assert!(!Rejected::new(abort(), &sets).follows_stable);
        let gone = Rejected::new(abort(), &sets[1..]);
        assert!(!gone.follows_stable);
        assert!(gone.images.is_empty());
    }

    #[test]
    fn a_replica_set_that_was_taken_again_does_not_tell_when_it_began() {
        let mut again = set("7d9f", "3", "registry/cart:2");
        let annotations = again.metadata.annotations.as_mut().unwrap();
        annotations.insert(crate::api::labels::REVISION_HISTORY.into(), "1".into());
        assert_eq!(Rejected::new(abort(), &[again]).begun_at, None);
    }
}
