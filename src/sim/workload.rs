//! The workload that a Rollout refers to, as far as it matters here: its template, its size, and who changes them.

use std::fmt;

use serde_json::{Value, json};

use super::caches::Writer;
use super::cluster::{ApiError, Cluster};
use super::merge_patch::merge;
use crate::rollout::workload::{self, Note, WorkloadKind};
use crate::units::ReplicaCount;

/// A stored workload; its own pods are not modelled.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Workload {
    kind: WorkloadKind,
    name: String,
    /// `spec`, or, of a PodTemplate, what stands in its place.
    spec: Value,
    generation: i64,
    note: Option<Note>,
}

impl Workload {
    fn template(&self) -> &Value {
        self.spec.get("template").unwrap_or(&Value::Null)
    }

    fn size(&self) -> Option<ReplicaCount> {
        let size = self.spec.get("replicas").and_then(Value::as_u64).unwrap_or(1);
        let size = ReplicaCount::new(u32::try_from(size).unwrap_or(u32::MAX));
        (self.kind != WorkloadKind::PodTemplate).then_some(size)
    }

    /// What a cache holds of it.
    fn observe(&self) -> workload::Workload {
        let selector = self.spec.get("selector").cloned();
        workload::Workload {
            template: self.template().clone(),
            selector: selector.and_then(|selector| serde_json::from_value(selector).ok()),
            generation: self.generation,
            size: self.size(),
            note: self.note,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)?;
        if let Some(size) = self.size() {
            write!(f, " has {size} replicas")?;
        }
        let note = self.note.map(|note| format!(" (scaled down: {note})"));
        f.write_str(&note.unwrap_or_default())
    }
}

/// The place of a workload in its cache.
pub(super) fn place(kind: WorkloadKind, name: &str) -> String {
    format!("{}/{name}", kind.as_str())
}

impl Cluster {
    /// Creates the workload, or merges a manifest into the one that exists.
    pub(super) fn apply_workload(&mut self, document: &Value) -> Result<(), ApiError> {
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
        let reference = serde_json::from_value(json!({"apiVersion": version, "kind": kind}));
        let kind = reference.ok().and_then(|reference| WorkloadKind::of(&reference));
        let kind = kind.ok_or_else(|| ApiError::Invalid(format!("a {} has no place here", text("/kind"))))?;
        let spec = match kind {
            WorkloadKind::PodTemplate => json!({"template": document.get("template")}),
            WorkloadKind::Deployment | WorkloadKind::ReplicaSet => {
                document.get("spec").cloned().unwrap_or_default()
            }
        };
        if self.workload.as_ref().is_some_and(|known| (known.kind, known.name.as_str()) == (kind, name)) {
            return self.change_workload(&spec, None, Writer::Other);
        }
        self.workload = Some(Workload { kind, name: name.to_owned(), spec, generation: 1, note: None });
        self.publish_workload(Writer::Other);
        Ok(())
    }

    /// Deletes the workload.
    pub(super) fn delete_workload(&mut self) {
        let Some(gone) = self.workload.take() else { return };
        self.publish_state_of_workload(place(gone.kind, &gone.name), None, Writer::Other);
    }

    /// Somebody changes its size.
    pub(super) fn resize_workload(&mut self, size: u32) -> Result<(), ApiError> {
        self.change_workload(&json!({"replicas": size}), None, Writer::Other)
    }

    /// An autoscaler keeps it at no less than this from now on, as long as it has any pods at all.
    pub(super) fn autoscale_workload(&mut self, least: Option<u32>) {
        self.workload_least = least;
        self.autoscale();
    }

    /// Somebody changes its template; whether there is one.
    pub(super) fn set_workload_image(&mut self, tag: &str) -> Result<(), ApiError> {
        let mut template = self.workload.as_ref().ok_or(ApiError::NotFound)?.template().clone();
        let image = template.pointer_mut("/spec/containers/0/image").ok_or(ApiError::NotFound)?;
        let name = image.as_str().unwrap_or_default();
        let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
        *image = json!(format!("{name}:{tag}"));
        self.change_workload(&json!({"template": template}), None, Writer::Other)
    }

    /// Changes its size from `from`, and notes that on it.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when it has another size; [`ApiError::NotFound`].
    pub(super) fn scale_workload(
        &mut self,
        name: &str,
        (from, to): (ReplicaCount, ReplicaCount),
        note: Note,
        writer: Writer,
    ) -> Result<(), ApiError> {
        let known = self.workload.as_ref().filter(|known| known.name == name).ok_or(ApiError::NotFound)?;
        if known.size() != Some(from) {
            return Err(ApiError::Conflict);
        }
        self.change_workload(&json!({"replicas": to.get()}), Some(note), writer)
    }

    /// The workload in words; `None` when there is none.
    pub(super) fn describe_workload(&self) -> Option<String> {
        self.workload.as_ref().map(ToString::to_string)
    }

    fn change_workload(&mut self, spec: &Value, note: Option<Note>, writer: Writer) -> Result<(), ApiError> {
        let known = self.workload.as_mut().ok_or(ApiError::NotFound)?;
        let before = known.clone();
        merge(&mut known.spec, spec);
        known.note = note.or(known.note);
        if known.spec != before.spec {
            known.generation += 1;
        }
        if *known != before {
            self.publish_workload(writer);
        }
        self.autoscale();
        Ok(())
    }

    fn autoscale(&mut self) {
        let size = self.workload.as_ref().and_then(Workload::size).unwrap_or_default();
        let Some(least) = self.workload_least.map(ReplicaCount::new) else { return };
        if size > ReplicaCount::ZERO && size < least {
            // It is there: it has a size.
            let _ = self.resize_workload(least.get());
        }
    }

    fn publish_workload(&mut self, writer: Writer) {
        let Some(known) = &self.workload else { return };
        let (place, seen) = (place(known.kind, &known.name), known.observe());
        self.publish_state_of_workload(place, Some(seen), writer);
    }
}
