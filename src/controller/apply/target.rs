//! The object that a plan is for, as the owner of what is made for it.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;

use super::pods::Evictions;
use crate::api::{Experiment, Rollout};
use crate::controller::store::{Identity, Key, OwnerKind};
use crate::traffic::Routers;

/// The object that a plan is for.
pub(super) struct Target {
    pub(super) kind: OwnerKind,
    pub(super) identity: Identity,
    pub(super) routers: Routers,
    pub(super) evictions: Evictions,
}

impl Target {
    pub(super) fn rollout(rollout: &Rollout) -> Self {
        let identity = Identity::of(&rollout.metadata);
        Self {
            kind: OwnerKind::Rollout,
            identity,
            routers: Routers::of(rollout),
            evictions: Evictions::default(),
        }
    }

    pub(super) fn namespace(&self) -> &str {
        &self.identity.key.namespace
    }

    pub(super) fn key(&self, name: &str) -> Key {
        Key { namespace: Arc::clone(&self.identity.key.namespace), name: name.into() }
    }
}

/// The reference to it on what is made for it.
pub(super) fn owner_reference(target: &Target) -> OwnerReference {
    let (api_version, kind) = match target.kind {
        OwnerKind::Rollout => (Rollout::api_version(&()), Rollout::kind(&())),
        OwnerKind::Experiment => (Experiment::api_version(&()), Experiment::kind(&())),
    };
    OwnerReference {
        api_version: api_version.into_owned(),
        kind: kind.into_owned(),
        name: target.identity.key.name.to_string(),
        uid: target.identity.uid.to_string(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
