//! Kubernetes Events: one per announcement, in order for each object, never in the way of a pass.
//!
//! They are not part of what must happen: an Event that cannot be created is logged, counted and dropped.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event as CoreEvent, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff;
use kube::api::{Api, PostParams};
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use super::apply::FIELD_MANAGER;
use super::clock::Clock;
use crate::api::Rollout;
use crate::events::{Event, Severity};
use crate::metrics::Metrics;
use crate::units::Timestamp;

/// Events on their way at once; those of one object always wait for each other.
const LANES: usize = 4;
/// Events that may wait in a lane: more than 1,000 Rollouts make in one step.
const LANE_LENGTH: usize = 4096;
/// How long one Event may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The component that Events name as their source.
const COMPONENT: &str = "rollouts-controller";
/// Longest message that the API accepts, in bytes.
const MESSAGE_LIMIT: usize = 1024;
/// Longest name of an object, in bytes, less what makes an Event's name unique.
const NAME_LIMIT: usize = 253 - 21;

/// What is announced.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) severity: Severity,
}

impl From<Event> for Note {
    fn from(event: Event) -> Self {
        Self { reason: event.reason(), message: event.to_string(), severity: event.severity() }
    }
}

struct Announcement {
    about: Arc<ObjectReference>,
    note: Note,
    at: Timestamp,
}

/// Takes announcements and makes Events of them.
pub(crate) struct Announcer {
    lanes: Vec<mpsc::Sender<Announcement>>,
    metrics: Arc<Metrics>,
}

impl Announcer {
    /// Starts the lanes as `tasks`; they end once the announcer is dropped and everything taken in is sent.
    pub(crate) fn start(client: &Client, metrics: &Arc<Metrics>, tasks: &mut JoinSet<()>) -> Self {
        let sequence = Arc::new(AtomicU32::new(0));
        let lanes = (0..LANES).map(|_| {
            let (sender, receiver) = mpsc::channel(LANE_LENGTH);
            tasks.spawn(send_all(client.clone(), receiver, Arc::clone(metrics), Arc::clone(&sequence)));
            sender
        });
        Self { lanes: lanes.collect(), metrics: Arc::clone(metrics) }
    }

    /// Announces `notes` about one object, in this order.
    pub(crate) fn announce(&self, about: ObjectReference, notes: Vec<Note>, clock: Clock) {
        if notes.is_empty() {
            return;
        }
        let mut hasher = DefaultHasher::new();
        about.uid.hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % LANES as u64).unwrap_or_default();
        let about = Arc::new(about);
        let (namespace, name) = (text(about.namespace.as_ref()), text(about.name.as_ref()));
        for note in notes {
            let (reason, severity) = (note.reason, severity(note.severity));
            info!(kind = about.kind, namespace, name, reason, message = note.message, "announced");
            if about.kind.as_deref() == Some(&*Rollout::kind(&())) {
                self.metrics.event(namespace, name, severity, reason);
            }
            let announcement = Announcement { about: Arc::clone(&about), note, at: clock.now() };
            if self.lanes.get(lane).is_none_or(|lane| lane.try_send(announcement).is_err()) {
                self.metrics.event_lost();
                warn!(namespace, name, reason, "too many events are waiting, this one is dropped");
            }
        }
    }
}

fn text(field: Option<&String>) -> &str {
    field.map_or("", String::as_str)
}

async fn send_all(
    client: Client,
    mut lane: mpsc::Receiver<Announcement>,
    metrics: Arc<Metrics>,
    sequence: Arc<AtomicU32>,
) {
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    while let Some(announcement) = lane.recv().await {
        let event = render(&announcement, sequence.fetch_add(1, Ordering::Relaxed));
        let api = Api::<CoreEvent>::namespaced(client.clone(), text(announcement.about.namespace.as_ref()));
        let problem = match timeout(PATIENCE, api.create(&parameters, &event)).await {
            Ok(Ok(_)) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(elapsed) => elapsed.to_string(),
        };
        metrics.event_lost();
        warn!(object = announcement.about.name, reason = event.reason, problem, "cannot create an event");
    }
}

fn render(announcement: &Announcement, sequence: u32) -> CoreEvent {
    let about = &announcement.about;
    let name = text(about.name.as_ref());
    let millis = announcement.at.as_millis();
    let time = jiff::Timestamp::from_millisecond(millis).ok().map(Time);
    let unique =
        format!("{}.{millis:011x}{sequence:08x}", limited(name, NAME_LIMIT).trim_end_matches(['.', '-']));
    CoreEvent {
        metadata: ObjectMeta {
            name: Some(unique),
            namespace: about.namespace.clone(),
            ..ObjectMeta::default()
        },
        involved_object: (**about).clone(),
        reason: Some(announcement.note.reason.to_owned()),
        message: Some(limited(&announcement.note.message, MESSAGE_LIMIT).to_owned()),
        type_: Some(severity(announcement.note.severity).to_owned()),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        reporting_component: Some(COMPONENT.to_owned()),
        first_timestamp: time.clone(),
        last_timestamp: time,
        count: Some(1),
        ..CoreEvent::default()
    }
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    }
}

/// The longest beginning of `text` that has at most `limit` bytes.
fn limited(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(name: &str, event: Event) -> Announcement {
        let about = ObjectReference { name: Some(name.to_owned()), ..ObjectReference::default() };
        Announcement {
            about: Arc::new(about),
            note: event.into(),
            at: Timestamp::from_millis(1_700_000_000_000),
        }
    }

    #[test]
    fn an_event_looks_as_tools_of_this_api_expect() {
        let event = render(&announcement("web", Event::Paused), 7);
        assert_eq!(event.metadata.name.as_deref(), Some("web.18bcfe5680000000007"));
        assert_eq!(event.reason.as_deref(), Some("RolloutPaused"));
        assert_eq!(event.source.unwrap().component.as_deref(), Some("rollouts-controller"));
        assert_eq!((event.count, event.type_.as_deref()), (Some(1), Some("Normal")));
        assert_eq!(event.first_timestamp, event.last_timestamp);
    }

    #[test]
    fn long_names_and_messages_are_cut_to_what_the_api_accepts() {
        let event = Event::InvalidSpec { message: "ä".repeat(MESSAGE_LIMIT) };
        let event = render(&announcement(&"a".repeat(253), event), u32::MAX);
        assert!(event.metadata.name.unwrap().len() <= 253);
        assert_eq!(event.message.unwrap().len(), MESSAGE_LIMIT);
    }
}
