//! One pass over one Rollout: snapshot, decide, apply, and when to look again.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, trace, warn};

use super::apply::Writer;
use super::balancers::Balancers;
use super::caches::Caches;
use super::clock::Clock;
use super::departed::Rest;
use super::dispatch::Work;
use super::error::{Class, DEFECT, PassError};
use super::queue::{Next, Queue};
use super::records::{Readable, RolloutRecord};
use super::snapshot::{LEAVING_PATIENCE, Memory, Refusal};
use super::store::{Identity, Key, Stored};
use super::unreadable;
use super::wire::Unreadable;
use crate::events::Event;
use crate::metrics::{Metrics, Subject};
use crate::rollout::endpoints::Missing;
use crate::rollout::snapshot::{Settings, Told};
use crate::rollout::workload::Generations;
use crate::rollout::{Plan, Snapshot};

/// How long an older state may take to be replaced before it is looked at again anyway.
const STALE_PATIENCE: Duration = Duration::from_secs(1);
/// How soon a pass that only a person can help is tried again.
const USER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a ReplicaSet that was refused is not tried again.
const REFUSAL_PATIENCE: Duration = Duration::from_mins(1);
/// Names of one Rollout known to be taken; with more, something else is wrong.
const TAKEN_NAMES: usize = 16;
/// How soon a Rollout is looked at while the route of one that had its name before is not in order.
const NAMESAKE_PATIENCE: Duration = Duration::from_secs(30);
/// Share of the resync period by which Rollouts are spread, so that they do not all come at once.
const RESYNC_SPREAD: u32 = 10;

/// Decides about a Rollout.
pub type Decide = fn(&Snapshot) -> Plan;

/// Makes passes over Rollouts.
pub(crate) struct Rollouts {
    pub(crate) caches: Arc<Caches>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    pub(crate) settings: Settings,
    pub(crate) resync: Duration,
    pub(crate) decide: Decide,
    pub(crate) memories: Mutex<HashMap<Key, Memory>>,
    /// `None` where no load balancer is asked whether it follows.
    pub(crate) balancers: Option<Arc<Balancers>>,
}

impl Work for Rollouts {
    fn queue(&self) -> &Queue<Key> {
        &self.caches.rollout_queue
    }

    fn met_defect(&self, key: &Key) {
        self.metrics.pass_failed(Subject::Rollout, &key.namespace, &key.name, DEFECT);
    }
}

impl Rollouts {
    /// Looks at one Rollout and does what is due.
    pub(crate) async fn pass(&self, key: &Key) -> Next {
        let Some(known) = self.caches.rollouts.get(key) else {
            if let Some(departed) = self.caches.departed(key) {
                return self.let_go(key, &departed).await;
            }
            self.metrics.forget(Subject::Rollout, &key.namespace, &key.name);
            self.writer.unanswered.forget(Subject::Rollout, key);
            if let Some(traces) = &self.writer.traces {
                traces.forget(key);
            }
            self.remember(key, Memory::default());
            self.caches.notices.forget(key);
            if let Some(balancers) = &self.balancers {
                balancers.forget(key);
            }
            return Next::Forget;
        };
        let unfinished = self.let_go_of_namesake(key, &known).await;
        let begun = Instant::now();
        let readable = known.value.content.as_ref().ok();
        let generations = readable.map(|found| self.caches.generations(found, known.value.generation));
        let outcome = match &known.value.content {
            Ok(readable) => self.work(&known.identity, readable).await,
            Err(problem) => self.report(&known.identity, problem, known.value.generation).await,
        };
        self.metrics.pass(Subject::Rollout, &key.namespace, &key.name, begun.elapsed());
        let next = outcome.unwrap_or_else(|error| self.failed(key, generations.unwrap_or_default(), &error));
        match next {
            Next::After(wait) if unfinished => Next::After(wait.min(NAMESAKE_PATIENCE)),
            next => next,
        }
    }

    /// Does what is left to do for a Rollout of the same name that is gone; whether anything still is. An object that both
    /// have is the business of the one that is there.
    async fn let_go_of_namesake(&self, key: &Key, known: &Stored<RolloutRecord>) -> bool {
        let namesake = self.caches.departed(key).filter(|gone| gone.0.uid != known.identity.uid);
        let Some(namesake) = namesake else { return false };
        let rest = match self.caches.rest_of(&namesake, &(known.identity.clone(), &known.value)) {
            Rest::This(rest) => *rest,
            Rest::Unknown => return true,
            Rest::Nothing => {
                self.caches.forget_departed(&namesake.0);
                return false;
            }
        };
        // What is remembered is about the one that is there.
        let memory = self.memory(key);
        self.let_go(key, &(namesake.0.clone(), rest)).await;
        self.remember(key, memory);
        self.caches.departed(key).is_some()
    }

    async fn work(&self, identity: &Identity, readable: &Readable) -> Result<Next, PassError> {
        let key = &identity.key;
        let needs = readable.routes();
        if !self.caches.are_routes_listed(needs) {
            // Whatever they say is about to be known, or that they cannot be read.
            return Ok(Next::After(self.resync));
        }
        self.writer.settle_routes(needs).await?;
        let mut memory = self.memory(key);
        self.settle_sizes(key, &mut memory).await?;
        let mut snapshot = self.seen(identity, readable, &mut memory).await?;
        let now = snapshot.now;
        self.writer.settle(identity, || serde_json::to_value(&snapshot.rollout.status).unwrap_or_default());
        // What is known of load balancers is about the Rollout that is there.
        let is_there = snapshot.rollout.metadata.deletion_timestamp.is_none();
        if let Some(balancers) = self.balancers.as_ref().filter(|_| is_there) {
            balancers.look(identity, &mut snapshot);
        }
        trace!(rollout = %key, ?snapshot, "snapshot");
        let plan = (self.decide)(&snapshot);
        if let (None, Some(status)) = (&plan.status, &snapshot.rollout.status) {
            self.metrics.status(&key.namespace, &key.name, status, now);
        }
        let wake = plan.wake.map(|wake| wake.at);
        let pending = (plan.counts_pending && plan.status.is_none())
            .then(|| memory.counts_pending_since.unwrap_or(snapshot.now));
        let leaving_since = memory.leaving_since(&snapshot.rollout, snapshot.leaves_route, now);
        let refusal = memory.refusal.filter(|_| snapshot.refusal.is_some());
        let retry = refusal.as_ref().map(|refusal| refusal.until).filter(|until| *until > now);
        let refused = memory.refused_evictions.filter(|_| snapshot.pods.listed.is_some());
        // Where the router is told nothing any more, nothing is refused.
        let route_refusal = memory.route_refusal.filter(|_| plan.traffic().is_some());
        let give_up = leaving_since.filter(|_| snapshot.leaves_route).map(|at| at.plus(LEAVING_PATIENCE));
        let remembered = Memory {
            leaving_since,
            counts_pending_since: pending,
            refusal,
            route_refusal,
            refused_evictions: refused,
            missing_endpoints: Missing::after(memory.missing_endpoints, plan.missing_endpoints, now),
            ..memory
        };
        self.remember(key, remembered);
        let notices = &self.caches.notices;
        if is_there {
            notices.settle(key, snapshot.rollout.status.as_ref());
        }
        if !plan.is_idle() || is_there && notices.has_news(key) {
            debug!(rollout = %key, stages = plan.stages.len(), events = plan.events.len(), ?wake, "plan");
            let creates = plan.creates_replica_set();
            let made = self.writer.carry_out(&snapshot.rollout, plan).await?;
            let mut memory = self.memory(key);
            memory.refused_evictions = made.evictions.remembered(refused, now);
            memory.doubtful = made.doubtful;
            if let Some(target) = made.traffic {
                memory.told = Some(Told::next(memory.told.as_ref(), target, now));
                memory.route_refusal = None;
            }
            if creates && made.outcome.is_ok() {
                memory.refusal = None;
            }
            self.remember(key, memory);
            made.outcome?;
        }
        let wakes = wake
            .into_iter()
            .chain(retry)
            .chain(give_up)
            .map(|at| at.since(self.clock.now()) + Duration::from_millis(1));
        Ok(Next::After(wakes.chain([self.resync_of(key)]).min().unwrap_or(self.resync)))
    }

    /// Reads the ReplicaSets whose sizes are in doubt: on an older view there could be more pods than a decision counts.
    async fn settle_sizes(&self, key: &Key, memory: &mut Memory) -> Result<(), PassError> {
        for name in std::mem::take(&mut memory.doubtful) {
            match self.writer.read_replica_set(&Key::new(&key.namespace, &name)).await {
                // One that may not be read is seen as soon as the watch has it.
                Err(error) if error.category() == "forbidden" => {
                    warn!(rollout = %key, %error, "a size is not known for sure");
                }
                read => read?,
            }
        }
        Ok(())
    }

    /// Does what is left to do for a Rollout that is gone.
    async fn let_go(&self, key: &Key, (identity, record): &(Identity, RolloutRecord)) -> Next {
        let outcome = async {
            match &record.content {
                // It may only have left for another shard.
                Ok(readable) if self.writer.is_gone(identity).await? => {
                    let is_known = self.caches.are_routes_listed(readable.routes());
                    // First its share is taken away, then its fields are given back.
                    for _ in 0..2 {
                        self.work(identity, readable).await?;
                    }
                    Ok(is_known)
                }
                Ok(_) | Err(_) => Ok(true),
            }
        };
        match outcome.await {
            Ok(true) => {
                self.caches.forget_departed(identity);
                Next::After(Duration::ZERO)
            }
            Ok(false) => Next::BackoffFrom(STALE_PATIENCE),
            Err(error) => next_after(key, &error),
        }
    }

    /// Tells that the Rollout cannot be read, once.
    async fn report(
        &self,
        identity: &Identity,
        problem: &Unreadable,
        generation: Option<i64>,
    ) -> Result<Next, PassError> {
        self.writer.settle(identity, || problem.status.clone());
        let next = unreadable::status(&problem.status, &problem.error, generation, self.clock.now());
        let message = format!("The Rollout cannot be read: {}", problem.error);
        let news = !unreadable::is_announced(&problem.status, &next);
        let events: Vec<_> = news.then_some(Event::InvalidSpec { message }).into_iter().collect();
        self.writer.write_status(identity, &problem.status, &next, &events).await?;
        self.writer.announce(identity, events);
        Ok(Next::After(self.resync))
    }

    fn failed(&self, key: &Key, generations: Generations, error: &PassError) -> Next {
        self.metrics.pass_failed(Subject::Rollout, &key.namespace, &key.name, error.category());
        if let PassError::Refused { message } = error {
            let until = self.clock.now().plus(REFUSAL_PATIENCE);
            let refusal = Some(Refusal { message: message.clone(), generations, until });
            self.remember(key, Memory { refusal, ..self.memory(key) });
            return Next::After(Duration::ZERO);
        }
        if let PassError::RouteRefused { message } = error {
            let memory = self.memory(key);
            let is_news = memory.route_refusal.is_none();
            self.remember(key, Memory { route_refusal: Some(message.clone()), ..memory });
            if is_news {
                // The status has to tell at once; of other words for the same, in its turn.
                if let Some(known) = self.caches.rollouts.get(key) {
                    self.writer
                        .announce(&known.identity, vec![Event::RouterRefused { message: message.clone() }]);
                }
                return Next::After(Duration::ZERO);
            }
        }
        if let PassError::NameTaken { name, .. } = error {
            let mut memory = self.memory(key);
            if memory.taken_names.len() < TAKEN_NAMES && memory.taken_names.insert(name.clone()) {
                warn!(rollout = %key, name, "a name is taken by an object of somebody else, trying another one");
                self.remember(key, memory);
                return Next::After(Duration::ZERO);
            }
        }
        next_after(key, error)
    }

    fn memory(&self, key: &Key) -> Memory {
        let memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        memories.get(key).cloned().unwrap_or_default()
    }

    fn remember(&self, key: &Key, memory: Memory) {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        if memory == Memory::default() {
            memories.remove(key);
        } else {
            memories.insert(key.clone(), memory);
        }
    }

    /// The resync period, a little shorter for each Rollout by another amount.
    fn resync_of(&self, key: &Key) -> Duration {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let share = u32::try_from(hasher.finish() % 1000).unwrap_or_default();
        self.resync.saturating_sub(self.resync * share / 1000 / RESYNC_SPREAD)
    }
}

/// When to look again after a failure.
pub(crate) fn next_after(key: &Key, error: &PassError) -> Next {
    let category = error.category();
    match error.class() {
        Class::Retry => {
            warn!(object = %key, category, %error, "pass failed, trying again");
            Next::Backoff
        }
        // The change that is on its way is looked at as it comes; nothing has failed that a longer wait would help.
        Class::WaitForChange if category == "conflict" => {
            debug!(object = %key, category, %error, "pass dropped, a change is on its way");
            Next::After(STALE_PATIENCE)
        }
        Class::WaitForChange => {
            debug!(object = %key, category, %error, "pass dropped, a change is on its way");
            Next::BackoffFrom(STALE_PATIENCE)
        }
        Class::NeedsUser => {
            error!(object = %key, category, %error, "pass failed, somebody must help");
            Next::BackoffFrom(USER_PATIENCE)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use kube::Client;
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};
    use tokio::task::JoinSet;

    use super::*;
    use crate::controller::apply::tests::writer;
    use crate::controller::caches::Watched;
    use crate::controller::stub;
    use crate::rollout;
    use crate::traffic::RouteKind;

    /// Passes over what these caches hold.
    pub(in crate::controller) fn rollouts(
        caches: &Arc<Caches>,
        client: Client,
        tasks: &mut JoinSet<()>,
    ) -> Rollouts {
        Rollouts {
            caches: Arc::clone(caches),
            writer: Arc::new(writer(client, tasks)),
            metrics: Arc::default(),
            clock: Clock,
            settings: Settings::default(),
            resync: Duration::from_mins(5),
            decide: rollout::decide,
            memories: Mutex::default(),
            balancers: None,
        }
    }

    /// A Rollout is gone, and one of its name with this router is there; whether the one before is still remembered after a
    /// pass, and when the next is. Which Ingresses there are is known, or not yet.
    async fn after_a_pass(routing: Value, are_known: bool) -> (bool, Next) {
        let object = |uid: &str, version: &str, routing: &Value| {
            serde_json::from_value(json!({
                "metadata": {"name": "web", "namespace": "shop", "uid": uid, "resourceVersion": version},
                "spec": {"strategy": {"canary": {
                    "canaryService": "canary", "stableService": "stable", "trafficRouting": routing,
                }}},
            }))
            .unwrap()
        };
        let caches = Arc::new(Caches::new([Watched::Rollouts]));
        let before = json!({"nginx": {"stableIngress": "shop"}});
        caches.rollout_event(Event::Apply(object("1", "1", &before)));
        caches.rollout_event(Event::Delete(object("1", "2", &before)));
        caches.rollout_event(Event::Apply(object("2", "3", &routing)));
        if are_known {
            caches.list_routes(RouteKind::Ingress, "shop", std::iter::empty());
        }
        let mut tasks = JoinSet::new();
        let rollouts = rollouts(&caches, stub::client(|_| stub::refused(404, "web")), &mut tasks);
        let key = Key::new("shop", "web");
        let next = rollouts.pass(&key).await;
        (caches.departed(&key).is_some(), next)
    }

    #[tokio::test]
    async fn a_size_in_doubt_is_read_before_anything_is_decided() {
        let caches = Arc::new(Caches::new([Watched::Rollouts]));
        let rollout = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "1", "resourceVersion": "1"},
            "spec": {},
        });
        caches.rollout_event(Event::Apply(serde_json::from_value(rollout).unwrap()));
        let key = Key::new("shop", "web");
        // Without an answer nothing is decided; then the status is written.
        for (code, asked, is_settled) in [(500, 1, false), (404, 2, true), (403, 2, true)] {
            let paths = Arc::new(Mutex::new(Vec::new()));
            let log = Arc::clone(&paths);
            let client = stub::client(move |asked| {
                let name = asked.path.rsplit('/').next().unwrap_or_default().to_owned();
                log.lock().unwrap().push(name.clone());
                stub::refused(code, &name)
            });
            let rollouts = rollouts(&caches, client, &mut JoinSet::new());
            rollouts.remember(&key, Memory { doubtful: ["web-1".to_owned()].into(), ..Memory::default() });
            rollouts.pass(&key).await;
            assert_eq!(rollouts.memory(&key).doubtful.is_empty(), is_settled);
            let paths = paths.lock().unwrap();
            assert_eq!((paths[0].as_str(), paths.len()), ("web-1", asked), "{paths:?}");
        }
    }

    #[tokio::test]
    async fn a_rollout_looks_after_the_route_of_one_that_had_its_name() {
        let routing = json!({"nginx": {"stableIngress": "shop"}});
        let (is_remembered, _) = after_a_pass(routing.clone(), true).await;
        assert!(!is_remembered);
        let (is_remembered, _) = after_a_pass(routing, false).await;
        assert!(is_remembered, "a label may choose anything");
    }

    #[tokio::test]
    async fn the_route_of_one_that_had_the_name_of_a_rollout_is_put_in_order_too() {
        let (is_remembered, next) = after_a_pass(json!({"nginx": {"stableIngress": "other"}}), false).await;
        assert!(is_remembered, "nobody knows what its Ingress says");
        assert!(matches!(next, Next::After(wait) if wait <= NAMESAKE_PATIENCE));
    }
}
