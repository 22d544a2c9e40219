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
use self::tries::{Tries, is_given_up};
use super::announce::{Note, about};
use super::apply::Writer;
use super::caches::Caches;
use super::clock::Clock;
use super::dispatch::Work;
use super::error::DEFECT;
use super::queue::{Next, Queue};
use super::records::owned_by;
use super::slots::Slots;
use super::store::{Identity, Key, OwnerKind};
use crate::analysis::Secret;
use crate::api::rollout_status::PendingNotification;
use crate::api::{Rollout, RolloutStatus};
use crate::events::Event;
use crate::metrics::{Metrics, Subject};
use crate::notify::{self, outbox, service};
use crate::providers::Providers;
use crate::units::Timestamp;

/// Notifications on their way to one service at once: a service that does not answer holds no others up.
const TO_ONE_SERVICE: usize = 4;
/// How soon a notification is looked at again whose service is busy.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);
/// How soon one is looked at again that cannot be made; a change of the configuration comes first.
const UNMADE_PATIENCE: Duration = Duration::from_mins(1);
/// How long reading the Secret may take.
const SECRET_PATIENCE: Duration = Duration::from_secs(10);

/// What notifications are made of, and which were delivered and still stand in a status.
pub(crate) struct Notices {
    /// `None` until it is known, or known that it cannot be read.
    config: watch::Sender<Option<Arc<Loaded>>>,
    pub(crate) queue: Queue<Key>,
    news: Mutex<HashMap<Key, News>>,
}

/// What the next status of a Rollout has to say of notifications.
#[derive(Default)]
struct News {
    /// Those that were delivered and still stand in the status.
    delivered: BTreeSet<String>,
    /// Changes that were made since its last status: before, they could only have been promised.
    made: Vec<Event>,
}

impl News {
    fn is_none(&self) -> bool {
        self.delivered.is_empty() && self.made.is_empty()
    }
}

impl Notices {
    pub(crate) fn new() -> Self {
        Self { config: watch::channel(None).0, queue: Queue::new(), news: Mutex::default() }
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

    /// The status to be written, with the notifications that are pending from then on, and those that are not noted, with the
    /// reason; no status where that changes nothing, and neither does the plan. `events` are those that are true once it is
    /// written. A Rollout that goes has no status any more.
    pub(crate) fn with_pending(
        &self,
        rollout: &Identity,
        of: &Rollout,
        planned: Option<&RolloutStatus>,
        events: &[Event],
        clock: Clock,
    ) -> (Option<RolloutStatus>, Vec<String>) {
        if of.metadata.deletion_timestamp.is_some() {
            return (planned.cloned(), vec![]);
        }
        let stored = of.status.as_ref();
        let mut next = planned.or(stored).cloned().unwrap_or_default();
        let news = self.news();
        let news = news.get(&rollout.key);
        let delivered = news.map(|news| news.delivered.clone()).unwrap_or_default();
        let made = news.into_iter().flat_map(|news| news.made.clone());
        let events: Vec<_> = made.chain(events.iter().cloned()).collect();
        let config = &self.config().config;
        let problems = outbox::update(&mut next, config, of, &events, &delivered, clock.now());
        let is_news = stored.map(pending_of) != Some(pending_of(&next)) && stored.is_some();
        ((planned.is_some() || is_news).then_some(next), problems)
    }

    /// Changes were made that somebody may have subscribed to. Whether that asks for another status.
    pub(crate) fn made(&self, rollout: &Key, of: &Rollout, events: Vec<Event>) -> bool {
        let mut tried = RolloutStatus::default();
        let (config, none) = (self.config(), BTreeSet::new());
        let is_there = of.metadata.deletion_timestamp.is_none();
        let epoch = Timestamp::from_millis(0);
        outbox::update(&mut tried, &config.config, of, &events, &none, epoch);
        let is_told = is_there && tried.pending_notifications.is_some();
        if is_told {
            self.news().entry(rollout.clone()).or_default().made.extend(events);
        }
        is_told
    }

    /// Changes that were made stand in a status now.
    pub(crate) fn noted(&self, rollout: &Key) {
        if let Some(news) = self.news().get_mut(rollout) {
            news.made.clear();
        }
    }

    /// Whether the next status of a Rollout has to say something of notifications.
    pub(crate) fn has_news(&self, rollout: &Key) -> bool {
        self.news().get(rollout).is_some_and(|news| !news.is_none())
    }

    /// Forgets what stands in the status no more.
    pub(crate) fn settle(&self, rollout: &Key, status: Option<&RolloutStatus>) {
        let mut all = self.news();
        let Some(news) = all.get_mut(rollout) else { return };
        let pending = status.map(pending_of).unwrap_or_default();
        news.delivered.retain(|id| pending.iter().any(|one| one.id == *id));
        if news.is_none() {
            all.remove(rollout);
        }
    }

    /// The Rollout is gone.
    pub(crate) fn forget(&self, rollout: &Key) {
        self.news().remove(rollout);
    }

    /// Configures a service, and one template for a trigger.
    #[cfg(test)]
    pub(crate) fn configure(&self, trigger: &str) {
        let trigger = format!("trigger.{trigger}");
        let entries =
            [("service.slack", "token: x"), (&trigger, "- send: [told]"), ("template.told", "message: x")];
        let config =
            notify::Config::parse(&entries.map(|(key, text)| (key.to_owned(), text.to_owned())).into());
        self.config.send_replace(Some(Arc::new(Loaded { config, about: None })));
    }

    fn set_delivered(&self, rollout: &Key, id: &str) {
        self.news().entry(rollout.clone()).or_default().delivered.insert(id.to_owned());
    }

    fn is_delivered(&self, rollout: &Key, id: &str) -> bool {
        self.news().get(rollout).is_some_and(|news| news.delivered.contains(id))
    }

    fn news(&self) -> MutexGuard<'_, HashMap<Key, News>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
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
    slots: Slots,
}

impl Work for Notifier {
    fn queue(&self) -> &Queue<Key> {
        &self.caches.notices.queue
    }

    fn met_defect(&self, key: &Key) {
        self.metrics.pass_failed(Subject::Rollout, &key.namespace, &key.name, DEFECT);
    }
}

impl Notifier {
    pub(crate) fn new(
        client: Client,
        caches: Arc<Caches>,
        writer: Arc<Writer>,
        providers: Providers,
    ) -> Self {
        let (metrics, clock) = (Arc::clone(&writer.metrics), writer.clock);
        Self {
            client,
            caches,
            writer,
            providers,
            metrics,
            clock,
            tries: Tries::default(),
            slots: Slots::new(TO_ONE_SERVICE),
        }
    }

    /// Delivers what is pending for one Rollout: to each recipient in order, to all of them at once.
    pub(crate) async fn pass(&self, key: &Key) -> Next {
        let Some((identity, rollout)) = self.rollout(key) else {
            self.tries.forget(key);
            return Next::Forget;
        };
        let pending = rollout.status.as_ref().map(pending_of).unwrap_or_default();
        let is_open = |one: &&PendingNotification| !self.caches.notices.is_delivered(key, &one.id);
        let mut by_destination = BTreeMap::<_, Vec<_>>::new();
        for one in pending.iter().take(outbox::MAX_PENDING).filter(is_open) {
            by_destination.entry((one.service.clone(), one.recipient.clone())).or_default().push(one);
        }
        if by_destination.is_empty() {
            self.tries.forget(key);
            return Next::Forget;
        }
        let now = self.clock.now();
        let waits = by_destination.keys().filter_map(|to| self.tries.wait(key, to, now));
        let mut next = waits.min();
        by_destination.retain(|to, _| self.tries.wait(key, to, now).is_none());
        if !by_destination.is_empty() {
            let (about, secrets) = (self.about(&identity, &rollout), self.secrets().await);
            let known = Known { about, secrets, config: self.caches.notices.config() };
            let sent = by_destination.iter().map(|(to, all)| self.deliver_all(&identity, to, all, &known));
            next = join_all(sent).await.into_iter().flatten().chain(next).min();
        }
        next.map_or(Next::Forget, Next::After)
    }

    /// A Rollout that is there and can be read.
    fn rollout(&self, key: &Key) -> Option<(Identity, Rollout)> {
        let found = self.caches.rollouts.get(key)?;
        let rollout = found.value.content.as_ref().ok()?.rollout(&found.identity).ok()?;
        Some((found.identity.clone(), rollout))
    }

    /// Delivers to one recipient until the service does not take one; when to go on then. What cannot be made keeps nothing
    /// else waiting.
    async fn deliver_all(
        &self,
        rollout: &Identity,
        to: &(String, String),
        all: &[&PendingNotification],
        known: &Known,
    ) -> Option<Duration> {
        let (key, mut again) = (&rollout.key, None);
        for one in all {
            let begun = Instant::now();
            let made = known
                .secrets
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|secrets| service::delivery(&known.config.config, one, &known.about, secrets));
            // Without the Secret it may be that only the API server is away.
            let (outcome, is_tried) = match made {
                Ok(delivery) => match self.send(&one.service, &delivery, known).await {
                    Some(outcome) => (outcome, true),
                    None => return Some(BUSY_PATIENCE),
                },
                Err(problem) => (Err(problem), known.secrets.is_err()),
            };
            if self.caches.rollouts.get(key).is_some() {
                let name = [&*key.namespace, &*key.name];
                self.metrics.notified(name, one, outcome.is_ok(), begun.elapsed());
            }
            let failures = is_tried.then(|| self.tries.count(key, to));
            match outcome {
                Ok(()) => {
                    info!(rollout = %key, service = one.service, reason = one.reason, "notified");
                    self.tries.succeeded(key, to);
                    self.take_out(key, one);
                }
                Err(problem) if is_given_up(one, failures, self.clock.now()) => {
                    let message = format!(
                        "The notification of {} for '{}' by {} is given up: {problem}",
                        one.reason, one.recipient, one.service
                    );
                    self.announce(rollout, vec![message]);
                    self.take_out(key, one);
                }
                Err(problem) => {
                    warn!(rollout = %key, service = one.service, reason = one.reason, problem, "cannot notify");
                    if is_tried {
                        return Some(self.tries.failed(key, to, self.clock.now()));
                    }
                    again = Some(UNMADE_PATIENCE);
                }
            }
        }
        again
    }

    /// Sends one; `None` while as many as may be are on their way to the service.
    async fn send(
        &self,
        service: &str,
        delivery: &service::Delivery,
        known: &Known,
    ) -> Option<Result<(), String>> {
        let _slot = self.slots.try_take(service)?;
        let secrets: Vec<_> = known.secrets.iter().flat_map(BTreeMap::values).cloned().collect();
        Some(self.providers.deliver(delivery, &secrets, self.clock.now()).await)
    }

    fn take_out(&self, key: &Key, one: &PendingNotification) {
        self.caches.notices.set_delivered(key, &one.id);
        self.caches.rollout_queue.add(key);
    }

    fn announce(&self, rollout: &Identity, messages: Vec<String>) {
        let note = |message| Note::from(Event::NotificationFailed { message });
        let notes = messages.into_iter().map(note).collect();
        self.writer.announcer.announce(about::<Rollout>(rollout), notes, self.clock);
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

    fn rollout(pending: &[&str]) -> Rollout {
        let one = |id: &&str| {
            json!({"id": id, "type": "Normal", "reason": "RolloutPaused", "service": "slack", "recipient": "ops",
                "template": "told", "message": "m", "at": Timestamp::from_millis(0)})
        };
        let pending: Vec<_> = pending.iter().map(one).collect();
        let annotations = json!({"notifications.argoproj.io/subscribe.on-rollout-paused.slack": "ops"});
        serde_json::from_value(json!({
            "metadata": {"name": "api", "namespace": "shop", "uid": "1", "resourceVersion": "5", "annotations": annotations},
            "spec": {}, "status": {"phase": "Paused", "pendingNotifications": pending},
        }))
        .unwrap()
    }

    fn notices() -> Notices {
        let notices = Notices::new();
        notices.configure("on-rollout-paused");
        notices
    }

    fn ids(status: &RolloutStatus) -> Vec<String> {
        pending_of(status).iter().map(|one| one.id.clone()).collect()
    }

    #[test]
    fn what_was_delivered_is_written_out_of_the_status_once_and_then_forgotten() {
        let (notices, rollout) = (notices(), rollout(&["a", "b"]));
        let identity = Identity::of(&rollout.metadata);
        let status = |events: &[Event]| notices.with_pending(&identity, &rollout, None, events, Clock).0;
        assert_eq!(status(&[]), None, "nothing changes");
        assert_eq!(ids(&status(&[Event::Paused]).unwrap()), ["a", "b", "1-5-0-0"]);
        notices.set_delivered(&identity.key, "a");
        assert!(notices.has_news(&identity.key) && notices.is_delivered(&identity.key, "a"));
        let next = status(&[]).unwrap();
        assert_eq!((ids(&next), next.phase.as_deref()), (vec!["b".to_owned()], Some("Paused")));
        notices.settle(&identity.key, rollout.status.as_ref());
        assert!(notices.has_news(&identity.key), "it still stands there");
        notices.settle(&identity.key, Some(&next));
        assert!(!notices.has_news(&identity.key));
    }

    #[test]
    fn a_change_is_noted_once_it_was_made_and_only_where_somebody_has_subscribed() {
        let (notices, rollout) = (notices(), rollout(&[]));
        let identity = Identity::of(&rollout.metadata);
        assert!(!notices.made(&identity.key, &rollout, vec![Event::Resumed]));
        assert!(notices.made(&identity.key, &rollout, vec![Event::Paused]));
        let status = || notices.with_pending(&identity, &rollout, None, &[], Clock).0;
        assert_eq!(ids(&status().unwrap()), ["1-5-0-0"]);
        assert_eq!(ids(&status().unwrap()), ["1-5-0-0"], "until that is written");
        notices.noted(&identity.key);
        assert_eq!(status(), None);
    }

    #[test]
    fn a_notification_is_given_up_after_an_hour_and_some_failures_of_this_process() {
        let pending = rollout(&["a"]).status.unwrap().pending_notifications.unwrap();
        let at = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
        let given_up = |failures, minutes| is_given_up(&pending[0], failures, at(minutes));
        assert!(!given_up(Some(30), 59) && !given_up(None, 59));
        assert!(!given_up(Some(4), 600) && given_up(Some(5), 60) && given_up(None, 60));
    }

    #[test]
    fn a_rollout_that_goes_gets_no_status_for_the_sake_of_notifications() {
        let (notices, mut rollout) = (notices(), rollout(&["a"]));
        let identity = Identity::of(&rollout.metadata);
        notices.set_delivered(&identity.key, "a");
        rollout.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        ));
        assert_eq!(notices.with_pending(&identity, &rollout, None, &[Event::Paused], Clock), (None, vec![]));
        assert!(!notices.made(&identity.key, &rollout, vec![Event::Paused]));
        notices.forget(&identity.key);
        assert!(!notices.has_news(&identity.key));
    }
}
