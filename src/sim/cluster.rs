//! The objects, the API server's rules for changing them, and the caches through which the controller sees them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff;
use serde_json::Value;
use thiserror::Error;

use super::caches::{Caches, Config, Writer};
use super::endpoints::Publisher;
use super::images::{Image, tag};
use super::late::Late;
use super::merge_patch::merge;
use super::pods::Pod;
use super::replica_sets::ReplicaSet;
use super::router::Router;
use super::workload::Workload;
use crate::api::analysis_template::AnalysisTemplateRef;
use crate::api::{AnalysisRun, AnalysisTemplateSpec, Experiment, Rollout};
use crate::rollout::{self, snapshot};
use crate::units::{ReplicaCount, Revision, Timestamp};

/// Why the API server did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ApiError {
    /// The object was changed since it was read.
    #[error("the object has been modified")]
    Conflict,
    /// There is no such object.
    #[error("not found")]
    NotFound,
    /// There is such an object already.
    #[error("already exists")]
    AlreadyExists,
    /// What would be stored is not an object of its kind.
    #[error("invalid: {0}")]
    Invalid(String),
    /// The object is illegal or forbidden, and so it stays until somebody changes something.
    #[error("{0}")]
    Forbidden(String),
    /// The API server does not answer, or its answer was lost.
    #[error("the server is unavailable")]
    Unavailable,
}

/// Which part of a Rollout a write changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Everything but the status.
    Main,
    /// The status alone.
    Status,
}

/// Pods of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionPods {
    /// Its number.
    pub revision: Revision,
    /// Its pod hash.
    pub hash: String,
    /// The tag of its image.
    pub tag: String,
    /// Pods asked for.
    pub size: ReplicaCount,
    /// Pods that count as available.
    pub available: ReplicaCount,
    /// Pods that exist.
    pub existing: usize,
    /// Whether the ReplicaSet's controller has acted on its size.
    pub settled: bool,
    /// Pods that are ready, and so get requests.
    pub ready: usize,
}

/// The cluster: one Rollout and what belongs to it.
#[derive(Clone, Debug)]
pub struct Cluster {
    now: Timestamp,
    /// How many milliseconds the controller's clock is ahead; negative when it is behind.
    clock: i64,
    version: u64,
    pub(super) rollout: Option<Rollout>,
    pub(super) runs: BTreeMap<String, AnalysisRun>,
    pub(super) experiments: BTreeMap<String, Experiment>,
    pub(super) config: Config,
    pub(super) replica_sets: BTreeMap<String, ReplicaSet>,
    pub(super) pods: BTreeMap<u64, Pod>,
    pub(super) next_pod: u64,
    pub(super) images: BTreeMap<String, Image>,
    pub(super) quota: Option<usize>,
    pub(super) budget: Option<usize>,
    /// The cache from which the API server answers lists of pods; it may be late.
    pub(super) listing: Late<Vec<rollout::pods::Pod>>,
    pub(super) publisher: Publisher,
    pub(super) forbidden: Option<String>,
    pub(super) router: Router,
    pub(super) workload: Option<Workload>,
    pub(super) workload_least: Option<u32>,
    pub(super) caches: Caches,
}

impl Cluster {
    /// An empty cluster.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let mut cluster = Self {
            now,
            clock: 0,
            version: 0,
            rollout: None,
            runs: BTreeMap::new(),
            experiments: BTreeMap::new(),
            config: Config::default(),
            replica_sets: BTreeMap::new(),
            pods: BTreeMap::new(),
            next_pod: 0,
            images: BTreeMap::new(),
            quota: None,
            budget: None,
            listing: Late::default(),
            publisher: Publisher::default(),
            forbidden: None,
            router: Router::default(),
            workload: None,
            workload_least: None,
            caches: Caches::default(),
        };
        cluster.publish_router(Writer::Other);
        cluster
    }

    /// The virtual time.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The time that the controller's clock shows.
    #[must_use]
    pub fn controller_now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.as_millis().saturating_add(self.clock))
    }

    /// When it is `at` by the controller's clock.
    #[must_use]
    pub(super) fn real(&self, at: Timestamp) -> Timestamp {
        Timestamp::from_millis(at.as_millis().saturating_sub(self.clock))
    }

    /// The controller's clock is set forward by so many milliseconds, or back.
    pub const fn step_clock(&mut self, millis: i64) {
        self.clock = self.clock.saturating_add(millis);
    }

    /// The selectors of the stored Services but for those of Experiments, by name.
    pub fn selectors(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, String>)> {
        self.config.services.iter().map(|(name, service)| (name.as_str(), &service.selector))
    }

    /// Moves virtual time on; never back.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// The stored Rollout; `None` before it was created.
    #[must_use]
    pub const fn rollout(&self) -> Option<&Rollout> {
        self.rollout.as_ref()
    }

    /// The stored AnalysisRuns by name.
    #[must_use]
    pub const fn runs(&self) -> &BTreeMap<String, AnalysisRun> {
        &self.runs
    }

    /// The stored Experiments by name.
    #[must_use]
    pub const fn experiments(&self) -> &BTreeMap<String, Experiment> {
        &self.experiments
    }

    /// How pods of an image behave from now on. Pods that run keep their readiness.
    pub fn set_image(&mut self, image: &str, behaviour: Image) {
        self.images.insert(tag(image).to_owned(), behaviour);
    }

    /// How pods of an image behave.
    #[must_use]
    pub fn image(&self, image: &str) -> Image {
        self.images.get(tag(image)).copied().unwrap_or_default()
    }

    /// How many pods may exist; `None` for any number.
    pub fn set_quota(&mut self, pods: Option<usize>) {
        self.quota = pods;
        let names: Vec<String> = self.replica_sets.keys().cloned().collect();
        self.pods_changed(names);
    }

    /// From now on no ReplicaSet may be created, for this reason; `None` allows it again.
    pub fn forbid_replica_sets(&mut self, why: Option<String>) {
        self.forbidden = why;
    }

    /// The pods of every revision that has any or should have, newest revision first.
    #[must_use]
    pub fn revisions(&self) -> Vec<RevisionPods> {
        let mut all: Vec<RevisionPods> = self
            .replica_sets
            .iter()
            .filter(|(_, set)| set.owner.is_none())
            .filter_map(|(name, set)| {
                let seen = set.observe(name)?;
                Some(RevisionPods {
                    revision: seen.revision,
                    hash: seen.hash.as_str().to_owned(),
                    tag: tag(&set.image).to_owned(),
                    size: seen.size,
                    available: seen.available,
                    settled: seen.observed,
                    existing: self.pods_of(name).count(),
                    ready: self.pods_of(name).filter(|(_, pod)| pod.ready_since.is_some()).count(),
                })
            })
            .collect();
        all.sort_by_key(|pods| std::cmp::Reverse(pods.revision));
        all
    }

    // ---- Rollout ----------------------------------------------------------------------------------------------

    /// Creates the Rollout, or merges a manifest into the one that exists.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] when the result is no Rollout.
    pub fn apply_rollout(&mut self, manifest: &Value) -> Result<(), ApiError> {
        if self.rollout.is_some() {
            return self.patch_rollout(manifest, Part::Main, None, Writer::Other).map(|_| ());
        }
        let mut rollout: Rollout = decode(manifest.clone())?;
        rollout.status = None;
        self.stamp(&mut rollout.metadata);
        rollout.metadata.generation = Some(1);
        self.rollout = Some(rollout);
        self.publish_rollout(Writer::Other);
        Ok(())
    }

    /// Merges `patch` into the Rollout, and returns its version afterwards. A change of the spec is a new generation;
    /// a write that changes nothing is none.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when the stored version is not `expected`; [`ApiError::NotFound`]; [`ApiError::Invalid`].
    pub fn patch_rollout(
        &mut self,
        patch: &Value,
        part: Part,
        expected: Option<&str>,
        writer: Writer,
    ) -> Result<String, ApiError> {
        let old = self.rollout.clone().ok_or(ApiError::NotFound)?;
        let version = old.metadata.resource_version.clone().unwrap_or_default();
        if expected.is_some_and(|expected| expected != version) {
            return Err(ApiError::Conflict);
        }
        let mut value = encode(&old)?;
        merge(&mut value, patch);
        let mut new: Rollout = decode(value)?;
        match part {
            Part::Main => new.status.clone_from(&old.status),
            Part::Status => {
                new.spec = old.spec.clone();
                new.metadata = old.metadata.clone();
            }
        }
        if new.spec != old.spec {
            new.metadata.generation = old.metadata.generation.map(|generation| generation + 1);
        }
        if new == old {
            return Ok(version);
        }
        let version = self.next_version().to_string();
        new.metadata.resource_version = Some(version.clone());
        self.rollout = Some(new);
        self.publish_rollout(writer);
        Ok(version)
    }

    // ---- Everything else --------------------------------------------------------------------------------------

    /// Creates or replaces a template.
    pub fn put_template(&mut self, reference: AnalysisTemplateRef, template: AnalysisTemplateSpec) {
        self.config.templates.insert(reference, template);
        self.publish_config(Writer::Other);
    }

    /// Deletes the templates with this name.
    pub fn delete_template(&mut self, name: &str) {
        self.config.templates.retain(|reference, _| reference.template_name.as_deref() != Some(name));
        self.publish_config(Writer::Other);
    }

    /// Creates or replaces a Service.
    pub fn put_service(&mut self, name: &str, selector: BTreeMap<String, String>) {
        self.config
            .services
            .insert(name.to_owned(), snapshot::Service { selector, managed_by: None, ports: vec![] });
        self.publish_config(Writer::Other);
    }

    pub(super) fn stamp(&mut self, metadata: &mut ObjectMeta) {
        let version = self.next_version();
        metadata.namespace.get_or_insert_with(|| "default".to_owned());
        metadata.uid = Some(format!("uid-{version}"));
        metadata.resource_version = Some(version.to_string());
        let created = jiff::Timestamp::from_millisecond(self.now.whole_seconds().as_millis());
        metadata.creation_timestamp = created.ok().map(Time);
    }

    /// The version of the last change.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// The version of a new change.
    pub(super) const fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }
}

fn encode(rollout: &Rollout) -> Result<Value, ApiError> {
    serde_json::to_value(rollout).map_err(|error| ApiError::Invalid(error.to_string()))
}

fn decode(value: Value) -> Result<Rollout, ApiError> {
    serde_json::from_value(value).map_err(|error| ApiError::Invalid(error.to_string()))
}
