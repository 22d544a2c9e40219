//! Whether AWS load balancers were seen to follow their Ingresses: asked in the background, and only while something of a
//! Rollout waits for it.
//!
//! What was seen holds until an Ingress says something else, or a Service leads to another version; a pass only looks at it.
//! Kept in memory alone: after a crash or a change of leader the load balancer is asked again. It never follows by default:
//! what cannot be asked holds traffic and pods where they are, and the Rollout says why.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use kube::Client;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::caches::Caches;
use super::endpoints;
use super::store::{Identity, Key};
use crate::api::labels::POD_TEMPLATE_HASH;
use crate::providers::LoadBalancers;
use crate::rollout::{Snapshot, verified};
use crate::traffic::verification::{Pods, Question, Selection};
use crate::traffic::{Followed, Routers};

/// Load balancers asked at once: an account has one limit for all requests about them.
const AT_ONCE: usize = 4;
/// Times between two looks at one that does not follow yet; its controller takes seconds.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(15));
/// The same at one that cannot be asked.
const PATIENCE_AFTER_FAILURE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));
/// How long one may be late before the Rollout says so.
const USUAL: Duration = Duration::from_secs(30);

/// Asks load balancers.
pub(crate) struct Balancers {
    reader: LoadBalancers,
    /// The tag that names what a target group is for.
    tag: String,
    client: Client,
    caches: Arc<Caches>,
    slots: Semaphore,
    checks: Mutex<HashMap<Key, Check>>,
}

/// What was asked for one Rollout, and what was seen.
struct Check {
    about: About,
    followed: Followed,
    /// Dropped with the check, and its request with it.
    _task: JoinSet<()>,
}

/// What has to be followed.
#[derive(Clone, Debug, PartialEq)]
struct About {
    uid: Arc<str>,
    questions: Vec<Question>,
    /// What each Service selects.
    selectors: BTreeMap<String, BTreeMap<String, String>>,
}

/// What one look has shown.
enum Look {
    Follows,
    Late(String),
    Failed(String),
}

impl About {
    fn selection(&self, services: [&str; 2]) -> Selection {
        let hash = |service: &str| self.selectors.get(service)?.get(POD_TEMPLATE_HASH);
        let [canary, stable] = services.map(hash);
        if canary.is_some() && canary == stable { Selection::Same } else { Selection::Apart }
    }
}

impl Balancers {
    pub(crate) fn new(reader: LoadBalancers, tag: String, client: Client, caches: Arc<Caches>) -> Self {
        Self { reader, tag, client, caches, slots: Semaphore::new(AT_ONCE), checks: Mutex::default() }
    }

    /// Puts into a Rollout's snapshot whether its load balancers were seen to follow, and asks them where that is not known.
    pub(crate) fn look(self: &Arc<Self>, rollout: &Identity, snapshot: &mut Snapshot) {
        let questions = if verified::is_needed(snapshot) {
            let routers = Routers::of(&snapshot.rollout);
            routers.questions(&self.caches.routes(&routers.needs()))
        } else {
            vec![]
        };
        if questions.is_empty() {
            return self.forget(&rollout.key);
        }
        let services = snapshot.services.iter();
        let selectors = services.map(|(name, service)| (name.clone(), service.selector.clone())).collect();
        let about = About { uid: Arc::clone(&rollout.uid), questions, selectors };
        let followed = self.followed(&rollout.key, about);
        snapshot.traffic = snapshot.traffic.take().map(|traffic| traffic.and_followed(followed));
    }

    /// Nothing is asked for a Rollout any more.
    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn followed(self: &Arc<Self>, key: &Key, about: About) -> Followed {
        let mut checks = self.lock();
        if let Some(check) = checks.get(key).filter(|check| check.about == about) {
            return check.followed.clone();
        }
        let mut task = JoinSet::new();
        let followed = if let Some(question) = about.questions.iter().find(|question| question.host.is_none())
        {
            // Once it has one, the Ingress says so.
            Followed::No(format!("Ingress {} has no load balancer yet", question.ingress))
        } else {
            task.spawn(watch(Arc::downgrade(self), key.clone(), about.clone()));
            Followed::NotYet
        };
        checks.insert(key.clone(), Check { about, followed: followed.clone(), _task: task });
        followed
    }

    async fn ask(&self, key: &Key, about: &About) -> Look {
        // An error would mean that the semaphore was closed, which it never is.
        let _slot = self.slots.acquire().await.ok();
        for question in &about.questions {
            let Some(host) = &question.host else { continue };
            let services: Vec<&str> = question.all().map(|share| share.service.as_str()).collect();
            let addresses = match endpoints::addresses(&self.client, &key.namespace, &services).await {
                Ok(addresses) => addresses,
                Err(why) => {
                    return Look::Failed(format!("the endpoints of its Services are not known: {why}"));
                }
            };
            let pods = Pods {
                addresses,
                selection: about.selection(question.shares.each_ref().map(|share| share.service.as_str())),
            };
            let of = |why: String| format!("the load balancer of Ingress {}: {why}", question.ingress);
            match self.reader.read(host, question, &self.tag).await {
                Ok(balancer) => match question.answer(&balancer, &pods) {
                    Ok(()) => {}
                    Err(why) => return Look::Late(of(why)),
                },
                Err(why) => return Look::Failed(of(format!("AWS cannot be asked: {why}"))),
            }
        }
        Look::Follows
    }

    /// Whether this is news.
    fn note(&self, key: &Key, about: &About, followed: Followed) -> bool {
        let mut checks = self.lock();
        let Some(check) = checks.get_mut(key).filter(|check| check.about == *about) else { return false };
        let is_news = check.followed != followed;
        check.followed = followed;
        is_news
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Check>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks until all follow; the Rollout is looked at whenever there is news.
async fn watch(balancers: Weak<Balancers>, key: Key, about: About) {
    let since = Instant::now();
    let (mut late, mut failed) = (PATIENCE.0, PATIENCE_AFTER_FAILURE.0);
    loop {
        // Nobody asks for it any more once the process has stopped making passes.
        let Some(asking) = balancers.upgrade() else { return };
        let (followed, wait) = match asking.ask(&key, &about).await {
            Look::Follows => (Followed::Yes, None),
            Look::Late(why) => {
                debug!(rollout = %key, why, "a load balancer does not follow yet");
                failed = PATIENCE_AFTER_FAILURE.0;
                let followed = if since.elapsed() < USUAL { Followed::NotYet } else { Followed::No(why) };
                (followed, Some(grown(&mut late, PATIENCE.1)))
            }
            Look::Failed(why) => {
                warn!(rollout = %key, why, "a load balancer cannot be asked");
                (Followed::No(why), Some(grown(&mut failed, PATIENCE_AFTER_FAILURE.1)))
            }
        };
        if asking.note(&key, &about, followed) {
            asking.caches.rollout_queue.add(&key);
        }
        drop(asking);
        let Some(wait) = wait else { return };
        sleep(wait).await;
    }
}

/// A time to wait; the next one is twice as long, up to a limit.
fn grown(wait: &mut Duration, limit: Duration) -> Duration {
    std::mem::replace(wait, (*wait * 2).min(limit))
}
