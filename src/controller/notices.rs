//! Delivers the notifications that stand in the statuses of Rollouts, beside all passes: a service that does not answer
//! keeps no Rollout waiting. What was delivered is taken out of the status by the Rollout's next pass, which alone writes it.

mod config;
mod tries;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret as SecretObject;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

pub(crate) use self::config::{Loaded, follow};
use self::tries::Tries;
use super::announce::{Note, about};
use super::apply::Writer;
use super::caches::Caches;
use super::clock::Clock;
use super::queue::{Next, Queue};
use super::records::{Readable, owned_by};
use super::store::{Identity, Key, OwnerKind};
use crate::analysis::Secret;
use crate::api::rollout_status::PendingNotification;
use crate::api::{Rollout, RolloutStatus};
use crate::events::Event;
use crate::metrics::Metrics;
use crate::notify::{self, outbox, service};
use crate::providers::Providers;

/// How long reading the Secret may take.
const SECRET_PATIENCE: Duration = Duration::from_secs(10);

/// What notifications are made of, and which were delivered and still stand in a status.
pub(crate) struct Notices {
    /// `None` until it is known, or known that it cannot be read.
    config: watch::Sender<Option<Arc<Loaded>>>,
    pub(crate) queue: Queue<Key>,
    delivered: Mutex<HashMap<Key, BTreeSet<String>>>,
}

impl Notices {
    pub(crate) fn new() -> Self {
        Self { config: watch::channel(None).0, queue: Queue::new(), delivered: Mutex::default() }
    }

    /// The configuration as it is now.
    fn config(&self) -> Arc<Loaded> {
        self.config.borrow().clone().unwrap_or_default()
    }

    /// Waits until the configuration is known, or known to be out of reach: what happens before would be told to nobody.
    pub(crate) async fn loaded(&self) {
        // An error means that nobody will ever know.
        let _ = self.config.subscribe().wait_for(Option::is_some).await;
    }

    /// The status to be written, with the notifications that are pending from then on; `None` where that changes nothing, and
    /// neither does the plan.
    pub(crate) fn with_pending(
        &self,
        rollout: &Identity,
        of: &Rollout,
        planned: Option<&RolloutStatus>,
        events: &[Event],
        clock: Clock,
    ) -> Option<RolloutStatus> {
        let stored = of.status.as_ref();
        let mut next = planned.or(stored).cloned().unwrap_or_default();
        let delivered = self.delivered().get(&rollout.key).cloned().unwrap_or_default();
        outbox::update(&mut next, &self.config().config, of, events, &delivered, clock.now());
        let is_news = planned.is_some() || stored.map(pending_of) != Some(pending_of(&next));
        (is_news && (planned.is_some() || stored.is_some())).then_some(next)
    }

    /// Whether something that was delivered may still stand in the status of a Rollout.
    pub(crate) fn has_delivered(&self, rollout: &Key) -> bool {
        self.delivered().contains_key(rollout)
    }

    /// Forgets what stands in the status no more.
    pub(crate) fn settle(&self, rollout: &Key, status: Option<&RolloutStatus>) {
        let mut delivered = self.delivered();
        let Some(known) = delivered.get_mut(rollout) else { return };
        let pending = status.map(pending_of).unwrap_or_default();
        known.retain(|id| pending.iter().any(|one| one.id == *id));
        if known.is_empty() {
            delivered.remove(rollout);
        }
    }

    fn set_delivered(&self, rollout: &Key, id: &str) {
        self.delivered().entry(rollout.clone()).or_default().insert(id.to_owned());
    }

    fn is_delivered(&self, rollout: &Key, id: &str) -> bool {
        self.delivered().get(rollout).is_some_and(|known| known.contains(id))
    }

    fn delivered(&self) -> MutexGuard<'_, HashMap<Key, BTreeSet<String>>> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is pending by a status.
fn pending_of(status: &RolloutStatus) -> &[PendingNotification] {
    status.pending_notifications.as_deref().unwrap_or_default()
}

/// Delivers.
pub(crate) struct Notifier {
    pub(crate) client: Client,
    pub(crate) caches: Arc<Caches>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) providers: Providers,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    tries: Tries,
}

impl Notifier {
    pub(crate) fn new(
        client: Client,
        caches: Arc<Caches>,
        writer: Arc<Writer>,
        providers: Providers,
    ) -> Self {
        let (metrics, clock) = (Arc::clone(&writer.metrics), writer.clock);
        Self { client, caches, writer, providers, metrics, clock, tries: Tries::default() }
    }

    /// Delivers what is pending for one Rollout: to each recipient in order, to all of them at once.
    pub(crate) async fn pass(&self, key: &Key) -> Next {
        let notices = &self.caches.notices;
        let found = self.caches.rollouts.get(key);
        let found =
            found.as_ref().and_then(|found| Some((&found.identity, found.value.content.as_ref().ok()?)));
        let Some((identity, rollout)) =
            found.and_then(|(known, readable)| Some((known, read(known, readable)?)))
        else {
            self.tries.forget(key);
            return Next::Forget;
        };
        let pending = rollout.status.as_ref().map(pending_of).unwrap_or_default();
        let open: Vec<_> = pending.iter().filter(|one| !notices.is_delivered(key, &one.id)).collect();
        if open.is_empty() {
            self.tries.forget(key);
            return Next::Forget;
        }
        let mut by_destination = BTreeMap::<_, Vec<_>>::new();
        for one in open {
            by_destination.entry((one.service.clone(), one.recipient.clone())).or_default().push(one);
        }
        let known = Known {
            about: self.about(identity, &rollout),
            secrets: self.secrets().await,
            config: notices.config(),
        };
        let waits = by_destination.iter().map(|(to, all)| self.deliver_all(identity, to, all, &known));
        let wait = join_all(waits).await.into_iter().flatten().min();
        wait.map_or(Next::Forget, Next::After)
    }

    /// Delivers to one recipient until something is in the way; when to go on then.
    async fn deliver_all(
        &self,
        rollout: &Identity,
        to: &(String, String),
        all: &[&PendingNotification],
        known: &Known,
    ) -> Option<Duration> {
        let key = &rollout.key;
        for one in all {
            if let Some(wait) = self.tries.wait(key, to, self.clock.now()) {
                return Some(wait);
            }
            let begun = Instant::now();
            let outcome = self.deliver(one, known).await;
            let is_late = self.clock.now() >= one.at.plus(outbox::PATIENCE);
            self.metrics.notified([&key.namespace, &key.name], one, outcome.is_ok(), begun.elapsed());
            match outcome {
                Ok(()) => {
                    info!(rollout = %key, service = one.service, recipient = one.recipient, reason = one.reason, "notified");
                    self.tries.succeeded(key, to);
                }
                Err(problem) if is_late => {
                    let message = format!(
                        "The notification of {} for {} by {} is given up: {problem}",
                        one.reason,
                        shown(&one.recipient),
                        one.service
                    );
                    let notes = vec![Note::from(Event::NotificationFailed { message })];
                    self.writer.announcer.announce(about::<Rollout>(rollout), notes, self.clock);
                }
                Err(problem) => {
                    warn!(rollout = %key, service = one.service, recipient = one.recipient, reason = one.reason, problem, "cannot notify");
                    return Some(self.tries.failed(key, to, self.clock.now()));
                }
            }
            self.caches.notices.set_delivered(key, &one.id);
            self.caches.rollout_queue.add(key);
        }
        None
    }

    async fn deliver(&self, one: &PendingNotification, known: &Known) -> Result<(), String> {
        let secrets = known.secrets.as_ref().map_err(Clone::clone)?;
        let deliveries = service::deliveries(&known.config.config, one, &known.about, secrets)?;
        let hidden: Vec<_> = secrets.values().cloned().collect();
        for delivery in deliveries {
            self.providers.deliver(&delivery, &hidden, self.clock.now()).await?;
        }
        Ok(())
    }

    /// What templates know of a Rollout.
    fn about(&self, identity: &Identity, rollout: &Rollout) -> Value {
        let runs = self.caches.runs.linked(&owned_by(OwnerKind::Rollout, identity));
        let runs: Vec<_> = runs.into_iter().map(|found| found.value.run(&found.identity)).collect();
        json!({"rollout": rollout, "analysisRuns": runs})
    }

    /// The keys of the Secret; none where there is no Secret.
    async fn secrets(&self) -> Result<BTreeMap<String, Secret>, String> {
        let api = Api::<SecretObject>::default_namespaced(self.client.clone());
        let name = notify::SECRET;
        let found = match timeout(SECRET_PATIENCE, api.get_opt(name)).await {
            Ok(Ok(found)) => found,
            Ok(Err(kube::Error::Api(status))) => {
                return Err(format!("cannot read Secret '{name}': {}", status.message));
            }
            Ok(Err(_)) => {
                return Err(format!("cannot read Secret '{name}': the API server cannot be reached"));
            }
            Err(_) => return Err(format!("cannot read Secret '{name}': no answer in time")),
        };
        let data = found.and_then(|found| found.data).unwrap_or_default();
        // A key that is no text cannot be put into one.
        let text = |(key, bytes): (String, k8s_openapi::ByteString)| {
            Some((key, Secret::new(String::from_utf8(bytes.0).ok()?)))
        };
        Ok(data.into_iter().filter_map(text).collect())
    }
}

/// What all notifications of one pass are made of.
struct Known {
    about: Value,
    secrets: Result<BTreeMap<String, Secret>, String>,
    config: Arc<Loaded>,
}

fn read(identity: &Identity, readable: &Readable) -> Option<Rollout> {
    readable.rollout(identity).ok()
}

fn shown(recipient: &str) -> &str {
    if recipient.is_empty() { "everybody" } else { recipient }
}

/// Says what is wrong with the configuration as an Event about it, each time that it changes.
pub(crate) async fn tell_problems(caches: Arc<Caches>, writer: Arc<Writer>, clock: Clock) {
    let mut changes = caches.notices.config.subscribe();
    changes.mark_changed();
    while changes.changed().await.is_ok() {
        let Some(loaded) = changes.borrow_and_update().clone() else { continue };
        let note = |problem: &String| Note {
            reason: "InvalidNotificationConfig",
            message: problem.clone(),
            severity: crate::events::Severity::Warning,
            abort: None,
        };
        let notes: Vec<_> = loaded.config.problems.iter().map(note).collect();
        if let Some(about) = &loaded.about {
            writer.announcer.announce(about.clone(), notes, clock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Timestamp;

    fn rollout(pending: &[&str]) -> Rollout {
        let one = |id: &&str| {
            json!({"id": id, "type": "Normal", "reason": "RolloutPaused", "service": "slack", "recipient": "ops",
                "message": "m", "at": Timestamp::from_millis(0)})
        };
        let pending: Vec<_> = pending.iter().map(one).collect();
        let annotations = json!({"notifications.argoproj.io/subscribe.on-rollout-paused.slack": "ops"});
        serde_json::from_value(json!({
            "metadata": {"name": "api", "namespace": "shop", "uid": "1", "resourceVersion": "5", "annotations": annotations},
            "spec": {}, "status": {"phase": "Paused", "pendingNotifications": pending},
        }))
        .unwrap()
    }

    #[test]
    fn what_was_delivered_is_written_out_of_the_status_once_and_then_forgotten() {
        let (notices, rollout) = (Notices::new(), rollout(&["a", "b"]));
        let identity = Identity::of(&rollout.metadata);
        let status = |events: &[Event]| notices.with_pending(&identity, &rollout, None, events, Clock);
        let ids =
            |status: &RolloutStatus| pending_of(status).iter().map(|one| one.id.clone()).collect::<Vec<_>>();
        assert_eq!(status(&[]), None, "nothing changes");
        assert_eq!(ids(&status(&[Event::Paused]).unwrap()), ["a", "b", "5-0-0"]);
        notices.set_delivered(&identity.key, "a");
        assert!(notices.has_delivered(&identity.key) && notices.is_delivered(&identity.key, "a"));
        let next = status(&[]).unwrap();
        assert_eq!((ids(&next), next.phase.as_deref()), (vec!["b".to_owned()], Some("Paused")));
        notices.settle(&identity.key, rollout.status.as_ref());
        assert!(notices.has_delivered(&identity.key), "it still stands there");
        notices.settle(&identity.key, Some(&next));
        assert!(!notices.has_delivered(&identity.key));
    }
}
