//! Ids of spans, and spans as the SDK of OpenTelemetry has them.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use ring::digest::{SHA256, digest};

use crate::units::Timestamp;

/// The trace of one update.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace(TraceId);

/// What a span tells of.
pub(super) struct Told {
    pub(super) name: String,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) attributes: Vec<KeyValue>,
    /// What went wrong; `None` when nothing did.
    pub(super) error: Option<String>,
}

impl Trace {
    /// That of the update of the Rollout `uid` which began then. Its pod hash is no part of it: an update that is taken back
    /// to an older version goes on as the same one.
    pub(super) fn new(uid: &str, began: Timestamp) -> Self {
        let bytes = hash(&["trace", uid, &began.as_millis().to_string()]);
        Self(TraceId::from_bytes(bytes.first_chunk().copied().unwrap_or_default()))
    }

    /// Id of the span of the whole update.
    pub(super) fn root(self) -> SpanId {
        self.span(&["rollout"])
    }

    /// Id of the span of a step, from 0. A version that takes the place of another within an update has its own steps, as have
    /// steps that are edited in it.
    pub(super) fn step(self, pod_hash: &str, step_hash: &str, index: i32) -> SpanId {
        self.span(&["step", pod_hash, step_hash, &index.to_string()])
    }

    /// Id of the span that is about `what`.
    pub(super) fn span(self, what: &[&str]) -> SpanId {
        let trace = self.0.to_string();
        let bytes = hash(&[&[trace.as_str()], what].concat());
        SpanId::from_bytes(bytes.first_chunk().copied().unwrap_or_default())
    }

    /// A span of this trace; a root where `parent` is `SpanId::INVALID`.
    pub(super) fn data(self, id: SpanId, parent: SpanId, told: Told) -> SpanData {
        let scope = InstrumentationScope::builder("serin").with_version(env!("CARGO_PKG_VERSION")).build();
        SpanData {
            span_context: SpanContext::new(self.0, id, TraceFlags::SAMPLED, false, TraceState::default()),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: told.name.into(),
            start_time: system_time(told.start),
            end_time: system_time(told.end.max(told.start)),
            attributes: told.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: told.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: scope,
        }
    }
}

fn hash(parts: &[&str]) -> Vec<u8> {
    digest(&SHA256, parts.join("\n").as_bytes()).as_ref().to_vec()
}

fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or_default())
}
