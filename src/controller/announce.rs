//! Kubernetes Events: one per announcement, in order for each object, never in the way of a pass.
//!
//! They are not part of what must happen: an Event that the API server refuses, or that cannot be created for a while, is
//! logged, counted and dropped.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use k8s_openapi::api::core::v1::{Event as CoreEvent, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff;
use kube::api::PostParams;
use kube::core::Request;
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::apply::FIELD_MANAGER;
use super::clock::Clock;
use super::error::code;
use super::store::Identity;
use crate::analysis::RunEvent;
use crate::api::Rollout;
use crate::events::{AbortCause, Event, Severity};
use crate::metrics::Metrics;
use crate::units::Timestamp;

/// Events on their way at once; those of one object always wait for each other.
const LANES: usize = 4;
/// Events that may wait in a lane: more than 1,000 Rollouts make in one step.
const LANE_LENGTH: usize = 4096;
/// How long after its announcement an Event is tried again: longer than an API server takes to restart.
const KEEP: Duration = Duration::from_mins(3);
/// First and longest wait before it is.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// How long one attempt may take.
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
    /// What has taken an update back, where it tells of that.
    pub(crate) abort: Option<AbortCause>,
}

impl From<Event> for Note {
    fn from(event: Event) -> Self {
        let abort = match &event {
            Event::Aborted { why, .. } => Some(why.cause),
            _ => None,
        };
        Self { reason: event.reason(), message: event.to_string(), severity: event.severity(), abort }
    }
}

impl From<RunEvent> for Note {
    fn from(event: RunEvent) -> Self {
        Self { reason: event.reason, message: event.message, severity: event.severity, abort: None }
    }
}

/// The object of a kind that something is announced about.
pub(crate) fn about<K: Resource<DynamicType = ()>>(object: &Identity) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: Some(object.key.namespace.to_string()),
        name: Some(object.key.name.to_string()),
        uid: Some(object.uid.to_string()),
        resource_version: Some(object.version.to_string()),
        ..ObjectReference::default()
    }
}

struct Announcement {
    about: Arc<ObjectReference>,
    note: Note,
    at: Timestamp,
    /// When it is not tried any more.
    until: Instant,
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
            let (reason, severity) = (note.reason, note.severity.as_str());
            info!(kind = about.kind, namespace, name, reason, message = note.message, "announced");
            if about.kind.as_deref() == Some(&*Rollout::kind(&())) {
                self.metrics.event(namespace, name, severity, reason);
                if let Some(cause) = note.abort {
                    self.metrics.aborted(namespace, name, cause);
                }
            }
            let until = Instant::now() + KEEP;
            let announcement = Announcement { about: Arc::clone(&about), note, at: clock.now(), until };
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
    while let Some(announcement) = lane.recv().await {
        let event = render(&announcement, sequence.fetch_add(1, Ordering::Relaxed));
        let object = announcement.about.name.as_deref();
        match create(&client, &event, announcement.until).await {
            Ok(()) => {}
            Err(Lost::NamespaceGone) => {
                debug!(object, reason = event.reason, "no event, the namespace is being deleted");
            }
            Err(Lost::Refused(problem)) => {
                metrics.event_lost();
                warn!(object, reason = event.reason, problem, "cannot create an event");
            }
        }
    }
}

/// Why there is no Event.
#[derive(Debug)]
enum Lost {
    /// The namespace is being deleted, or is gone: nobody looks for Events there.
    NamespaceGone,
    /// What was in the way last.
    Refused(String),
}

/// Creates an Event, trying again until it is too late or of no use.
async fn create(client: &Client, event: &CoreEvent, until: Instant) -> Result<(), Lost> {
    let delays = ExponentialBuilder::default().with_jitter().with_min_delay(RETRY.0).with_max_delay(RETRY.1);
    let mut delays = delays.without_max_times().build();
    loop {
        let problem = match timeout(PATIENCE, post(client, event)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => match code(&error) {
                // The name is this Event's alone: an attempt that got no answer has made it.
                Some(409) => return Ok(()),
                _ if is_namespace_gone(&error) => return Err(Lost::NamespaceGone),
                Some(400..429) => return Err(Lost::Refused(error.to_string())),
                _ => error.to_string(),
            },
            Err(elapsed) => elapsed.to_string(),
        };
        let next = Instant::now() + delays.next().unwrap_or(RETRY.1);
        if next > until {
            return Err(Lost::Refused(problem));
        }
        sleep_until(next).await;
    }
}

/// Whether the API server creates nothing in this namespace any more: a missing namespace is the one thing that the creation
/// of an Event does not find.
fn is_namespace_gone(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 404 || (status.code == 403 && causes.any(|cause| cause.reason == "NamespaceTerminating"))
}

/// Sends an Event; the answer is the same Event again, which nobody reads.
async fn post(client: &Client, event: &CoreEvent) -> kube::Result<()> {
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let request = Request::new(CoreEvent::url_path(&(), event.metadata.namespace.as_deref()));
    let body = serde_json::to_vec(event).map_err(kube::Error::SerdeError)?;
    let request = request.create(&parameters, body).map_err(kube::Error::BuildRequest)?;
    client.request_text(request).await.map(drop)
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
        type_: Some(announcement.note.severity.as_str().to_owned()),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        reporting_component: Some(COMPONENT.to_owned()),
        first_timestamp: time.clone(),
        last_timestamp: time,
        count: Some(1),
        ..CoreEvent::default()
    }
}

/// The longest beginning of `text` that has at most `limit` bytes.
fn limited(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;
    use crate::controller::stub::{self, Answer};
    use crate::events::AbortReason;

    fn announcement(name: &str, event: Event) -> Announcement {
        let about = ObjectReference { name: Some(name.to_owned()), ..ObjectReference::default() };
        Announcement {
            about: Arc::new(about),
            note: event.into(),
            at: Timestamp::from_millis(1_700_000_000_000),
            until: Instant::now(),
        }
    }

    /// Announces an Event to an API server that gives these answers; what was asked of it, and how many Events were lost.
    async fn announced(answers: Vec<Answer>) -> (usize, bool) {
        let answers = Arc::new(Mutex::new((0, answers.into_iter())));
        let server = Arc::clone(&answers);
        let client = stub::client(move |asked| {
            let mut server = server.lock().unwrap();
            server.0 += 1;
            server.1.next().unwrap_or(Some((201, asked.body)))
        });
        let (metrics, mut tasks) = (Arc::new(Metrics::default()), JoinSet::new());
        let announcer = Announcer::start(&client, &metrics, &mut tasks);
        let about = ObjectReference { namespace: Some("shop".to_owned()), ..ObjectReference::default() };
        announcer.announce(about, vec![Event::Paused.into()], Clock);
        drop(announcer);
        tasks.join_all().await;
        let asked = answers.lock().unwrap().0;
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &metrics.registry(Vec::new())).unwrap();
        (asked, text.contains("controller_events_lost_total 1"))
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_tried_again_while_that_may_help() {
        assert_eq!(announced(vec![None, stub::refused(500, ""), stub::refused(503, "")]).await, (4, false));
        assert_eq!(announced(vec![None, stub::refused(409, "")]).await, (2, false), "the first one arrived");
        assert_eq!(announced(vec![stub::refused(403, "")]).await, (1, true), "a right is missing");
        assert_eq!(announced(vec![stub::refused(404, "")]).await, (1, false), "the namespace is gone");
        let details =
            json!({"causes": [{"reason": "NamespaceTerminating", "message": "is being terminated"}]});
        let ends = stub::refused(403, "").map(|(code, mut status)| {
            status["details"] = details;
            (code, status)
        });
        assert_eq!(announced(vec![ends]).await, (1, false), "the namespace is being deleted");
        let (asked, is_lost) = announced(vec![stub::refused(500, ""); 1000]).await;
        assert!(is_lost && asked < 50, "{asked}");
    }

    #[tokio::test]
    async fn an_abort_is_counted_by_its_cause() {
        let client = stub::client(|asked| Some((201, asked.body)));
        let (metrics, mut tasks) = (Arc::new(Metrics::default()), JoinSet::new());
        let announcer = Announcer::start(&client, &metrics, &mut tasks);
        let why = AbortReason { cause: AbortCause::Deadline, text: String::new() };
        let aborted = Event::Aborted { revision: crate::units::Revision::parse(Some("2")), why };
        let about = ObjectReference {
            kind: Some("Rollout".to_owned()),
            namespace: Some("shop".to_owned()),
            name: Some("web".to_owned()),
            ..ObjectReference::default()
        };
        announcer.announce(about, vec![aborted.into()], Clock);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &metrics.registry(Vec::new())).unwrap();
        for (cause, count) in [("deadline", 1), ("person", 0)] {
            let line =
                format!("rollout_aborts_total{{namespace=\"shop\",name=\"web\",cause=\"{cause}\"}} {count}");
            assert!(text.contains(&line), "{line} not in {text}");
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
