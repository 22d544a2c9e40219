//! One writer among several replicas, by a Lease; and the fence that stops a replica from writing once it may not.
//!
//! The Lease has the name that Argo Rollouts uses, so the two never write at the same time in one namespace of leaders.
//! Only the winner writes, but every replica keeps its caches warm: a takeover costs no listing.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use thiserror::Error;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::apply::FIELD_MANAGER;
use super::clock::Clock;
use super::error::code;
use super::lease::{Observed, held, released};
use super::options::LeaderElection;

/// Name of the Lease; a shard's name is added.
const LEASE: &str = "argo-rollouts-controller-lock";
/// Requests about the Lease that may hang, one after the other, before leadership is lost.
const ATTEMPTS: u32 = 4;
/// Longest part of a host name that goes into an identity.
const HOST_LENGTH: usize = 63;

/// The Lease went to another replica, or could not be renewed in time.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("leadership lost: {why}")]
pub struct LeadershipLost {
    why: String,
}

/// Whether this process may write, and until when an answer must have come.
#[derive(Clone, Debug)]
pub(crate) struct Fence(Arc<Mutex<State>>);

/// Whether a write may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    /// No.
    Denied,
    /// Yes.
    Granted,
    /// Yes, but nobody may wait for its answer any longer than this.
    GrantedUntil(Instant),
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open,
    /// Writes may begin until the first time and must be over at the second.
    Until(Instant, Instant),
}

impl Fence {
    /// A fence that lets nothing through yet.
    pub(crate) fn closed() -> Self {
        Self(Arc::new(Mutex::new(State::Closed)))
    }

    /// Lets everything through for good: there is no election.
    pub(crate) fn open(&self) {
        self.set(State::Open);
    }

    /// Whether a write may begin now.
    pub(crate) fn permit(&self) -> Permit {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Open => Permit::Granted,
            State::Until(begin, over) if Instant::now() < begin => Permit::GrantedUntil(over),
            State::Closed | State::Until(..) => Permit::Denied,
        }
    }

    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// Changes of the Lease as they happen.
type Changes = BoxStream<'static, watcher::Result<Event<Lease>>>;

/// How a candidate knows the Lease after a wait.
enum News {
    /// The watch brought it.
    Seen,
    /// It must be read.
    Ask,
}

/// One replica's part in the election.
pub(crate) struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    election: LeaderElection,
    fence: Fence,
    clock: Clock,
    observed: Option<Observed>,
    /// Whether the Lease was ever asked for: else there is nothing to give back.
    has_asked: bool,
}

impl Candidate {
    /// A replica that takes part for the shard `instance_id`.
    pub(crate) fn new(
        client: Client,
        election: LeaderElection,
        instance_id: &str,
        fence: Fence,
        clock: Clock,
    ) -> Self {
        let name = if instance_id.is_empty() { LEASE.to_owned() } else { format!("{LEASE}-{instance_id}") };
        let api = Api::namespaced(client, &election.namespace);
        Self { api, name, identity: identity(), election, fence, clock, observed: None, has_asked: false }
    }

    /// Waits until the Lease is ours.
    pub(crate) async fn win(&mut self) {
        let mut changes = Some(self.changes());
        let mut announced = None;
        let mut news = News::Ask;
        loop {
            let known = match news {
                News::Seen => Ok(()),
                News::Ask => self.look().await,
            };
            match known {
                Ok(()) if self.try_take().await => return,
                Ok(()) => {}
                Err(error) => warn!(lease = %self.name, %error, "cannot read the leader lease, trying again"),
            }
            let holder = self.observed.as_ref().and_then(Observed::holder).map(str::to_owned);
            if announced != holder {
                info!(lease = %self.name, leader = holder, "standing by, another replica leads");
                announced = holder;
            }
            news = self.wait(&mut changes).await;
        }
    }

    /// Keeps the Lease. Returns when it is lost; by then the fence is closed.
    pub(crate) async fn keep(&mut self) -> LeadershipLost {
        let mut renewed = Instant::now();
        loop {
            sleep_until(renewed + self.election.retry_period).await;
            let deadline = renewed + self.election.renew_deadline;
            match timeout_at(deadline, self.renew_until_done()).await {
                Ok(Ok(at)) => renewed = at,
                Ok(Err(lost)) => return self.lost(lost),
                Err(_) => return self.lost("no renewal got through in time".to_owned()),
            }
        }
    }

    /// Gives the Lease back, if it is ours.
    ///
    /// What is stored decides, not what was answered: a request whose answer nobody waited for may have taken or renewed
    /// the Lease, and one that is still on its way may do so between look and write, which is then tried once more.
    pub(crate) async fn release(&mut self) {
        self.fence.set(State::Closed);
        if !self.has_asked {
            return;
        }
        let mut given = self.give_back().await;
        if given.as_ref().is_err_and(|error| code(error) == Some(409)) {
            given = self.give_back().await;
        }
        if let Err(error) = given {
            warn!(lease = %self.name, %error, "cannot give the leader lease back, it will expire");
        }
    }

    async fn give_back(&mut self) -> kube::Result<()> {
        self.look().await?;
        let Some(observed) = self.observed.take().filter(|seen| seen.holder() == Some(&self.identity)) else {
            return Ok(());
        };
        let lease = released(&observed.lease, self.clock.now());
        self.in_time(self.api.replace(&self.name, &post(), &lease)).await?;
        info!(lease = %self.name, "leader lease given back");
        Ok(())
    }

    /// A request with a time limit of its own, so that one which hangs leaves time for others before leadership is lost.
    async fn in_time<T>(&self, request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
        let answer = timeout(self.election.renew_deadline / ATTEMPTS, request).await;
        answer.unwrap_or_else(|late| Err(kube::Error::Service(late.into())))
    }

    fn lost(&self, why: String) -> LeadershipLost {
        self.fence.set(State::Closed);
        LeadershipLost { why }
    }

    /// Reads the Lease; one that does not exist is free.
    async fn look(&mut self) -> kube::Result<()> {
        let lease = self.in_time(self.api.get_opt(&self.name)).await?;
        let known = self.observed.take();
        self.observed = lease.map(|lease| Observed::update(known, lease, Instant::now()));
        Ok(())
    }

    /// Takes the Lease if it is free. An attempt that another replica was faster with changes nothing.
    async fn try_take(&mut self) -> bool {
        let now = Instant::now();
        let usual = self.election.lease_duration;
        if self.observed.as_ref().is_some_and(|seen| seen.free_at(&self.identity, usual) > now) {
            return false;
        }
        match self.write(now).await {
            Ok(()) => {
                info!(lease = %self.name, identity = %self.identity, "leading");
                true
            }
            Err(error) => {
                if !matches!(code(&error), Some(409)) {
                    warn!(lease = %self.name, %error, "cannot take the leader lease, trying again");
                }
                false
            }
        }
    }

    /// Writes the Lease as ours and opens the fence for as long as that holds, counted from before the request.
    async fn write(&mut self, begun: Instant) -> kube::Result<()> {
        let known = self.observed.as_ref().map(|seen| &seen.lease);
        let lease = held(known, &self.name, &self.identity, self.election.lease_duration, self.clock.now());
        self.has_asked = true;
        let written = match known {
            Some(_) => self.in_time(self.api.replace(&self.name, &post(), &lease)).await?,
            None => self.in_time(self.api.create(&post(), &lease)).await?,
        };
        self.observed = Some(Observed::update(None, written, begun));
        self.fence
            .set(State::Until(begun + self.election.renew_deadline, begun + self.election.lease_duration));
        Ok(())
    }

    /// Renews, again and again until it works. The error says that somebody else holds the Lease.
    async fn renew_until_done(&mut self) -> Result<Instant, String> {
        loop {
            let begun = Instant::now();
            match self.write(begun).await {
                Ok(()) => return Ok(begun),
                Err(error) => {
                    debug!(lease = %self.name, %error, "cannot renew the leader lease, trying again");
                }
            }
            // Changed under us, or gone, or an answer was lost: what is stored decides.
            if self.look().await.is_ok() {
                let holder = self.observed.as_ref().and_then(Observed::holder);
                if let Some(other) = holder.filter(|holder| *holder != self.identity) {
                    return Err(format!("{other} leads"));
                }
            }
            sleep_until(begun + self.election.retry_period / 4).await;
        }
    }

    /// Waits for a change of the Lease, its expiry, or the next attempt.
    async fn wait(&mut self, changes: &mut Option<Changes>) -> News {
        let poll = Instant::now() + self.election.retry_period;
        let free =
            self.observed.as_ref().map(|seen| seen.free_at(&self.identity, self.election.lease_duration));
        // With a watch, nothing needs to be polled until the Lease expires; its changes come by themselves.
        let until = match (&changes, free) {
            (Some(_), Some(free)) => free.max(Instant::now() + self.election.retry_period / 4),
            _ => poll,
        };
        let Some(stream) = changes else {
            sleep_until(until).await;
            return News::Ask;
        };
        loop {
            tokio::select! {
                () = sleep_until(until) => return News::Ask,
                event = stream.next() => match event {
                    Some(Ok(Event::Apply(lease) | Event::InitApply(lease))) => {
                        let known = self.observed.take();
                        self.observed = Some(Observed::update(known, lease, Instant::now()));
                        return News::Seen;
                    }
                    Some(Ok(Event::Delete(_))) => return News::Ask,
                    Some(Ok(Event::Init | Event::InitDone)) => {}
                    Some(Err(_)) | None => {
                        debug!(lease = %self.name, "the leader lease cannot be watched, asking now and then");
                        *changes = None;
                        return News::Ask;
                    }
                },
            }
        }
    }

    fn changes(&self) -> Changes {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        watcher(self.api.clone(), config).boxed()
    }
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// A name for this process that no other process has: the host's, and something random.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().take(HOST_LENGTH).collect();
    let random = RandomState::new().hash_one(std::process::id());
    format!("{}_{random:016x}", if host.is_empty() { "serin" } else { &host })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use http::Method;
    use serde_json::Value;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::controller::stub::{self, Answer, Asked};

    /// What becomes of a write of the Lease.
    #[derive(Clone, Copy, Debug)]
    enum Fate {
        /// It never arrives.
        Lost,
        /// It is carried out, but its answer never arrives.
        Unanswered,
        /// It arrives once somebody has read the Lease, and is not answered.
        Late,
    }

    /// The API server, as far as one Lease goes.
    #[derive(Default)]
    struct Server {
        lease: Option<Value>,
        version: u64,
        writes: usize,
        fates: VecDeque<Fate>,
        late: Option<Value>,
    }

    impl Server {
        fn answer(&mut self, asked: Asked) -> Answer {
            if asked.method == Method::GET {
                let found =
                    self.lease.clone().map_or_else(|| stub::refused(404, ""), |lease| Some((200, lease)));
                if let Some(late) = self.late.take() {
                    self.write(late);
                }
                return found;
            }
            match self.fates.pop_front() {
                None => self.write(asked.body),
                Some(Fate::Lost) => None,
                Some(Fate::Unanswered) => {
                    self.write(asked.body);
                    None
                }
                Some(Fate::Late) => {
                    self.late = Some(asked.body);
                    None
                }
            }
        }

        fn write(&mut self, mut lease: Value) -> Answer {
            let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
            if self.lease.as_ref().is_some_and(|stored| version(stored) != version(&lease)) {
                return stub::refused(409, "");
            }
            (self.version, self.writes) = (self.version + 1, self.writes + 1);
            lease["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.lease = Some(lease.clone());
            Some((200, lease))
        }

        fn holder(&self) -> Option<&str> {
            self.lease.as_ref()?["spec"]["holderIdentity"].as_str()
        }
    }

    fn candidate(server: &Arc<Mutex<Server>>) -> Candidate {
        let server = Arc::clone(server);
        let client = stub::client(move |asked| {
            // A candidate that cannot list, to watch, asks now and then.
            let is_listing = asked.method == Method::GET && asked.path.ends_with("/leases");
            if is_listing { None } else { server.lock().unwrap().answer(asked) }
        });
        Candidate::new(client, LeaderElection::in_namespace("serin"), "", Fence::closed(), Clock)
    }

    /// A server, and a candidate that leads and has just tried to renew, with the given fates of its requests.
    async fn leader(fates: &[Fate]) -> (Arc<Mutex<Server>>, Candidate) {
        let server = Arc::new(Mutex::new(Server::default()));
        let mut candidate = candidate(&server);
        timeout(Duration::from_secs(1), candidate.win()).await.unwrap();
        server.lock().unwrap().fates.extend(fates);
        let period = candidate.election.retry_period + Duration::from_millis(1);
        assert!(timeout(period, candidate.keep()).await.is_err(), "leads on");
        (server, candidate)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_whose_renewal_was_on_its_way_is_given_back() {
        for fates in [&[][..], &[Fate::Lost], &[Fate::Unanswered], &[Fate::Late]] {
            let (server, mut candidate) = leader(fates).await;
            candidate.release().await;
            assert_eq!(server.lock().unwrap().holder(), Some(""), "{fates:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_won_without_an_answer_is_given_back() {
        let server = Arc::new(Mutex::new(Server::default()));
        server.lock().unwrap().fates.push_back(Fate::Unanswered);
        let mut candidate = candidate(&server);
        assert!(timeout(Duration::from_secs(1), candidate.win()).await.is_err());
        candidate.release().await;
        assert_eq!(server.lock().unwrap().holder(), Some(""));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_another_replica_holds_is_left_to_it() {
        let (server, mut candidate) = leader(&[]).await;
        let mut taken = server.lock().unwrap().lease.clone().unwrap();
        taken["spec"]["holderIdentity"] = "other".into();
        server.lock().unwrap().write(taken);
        candidate.release().await;
        assert_eq!(server.lock().unwrap().holder(), Some("other"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_that_hangs_does_not_cost_the_leadership() {
        let (server, mut candidate) = leader(&[]).await;
        server.lock().unwrap().fates.extend([Fate::Lost, Fate::Unanswered]);
        let before = server.lock().unwrap().writes;
        tokio::select! {
            lost = candidate.keep() => panic!("{lost}"),
            () = sleep(Duration::from_secs(30)) => {}
        }
        assert!(server.lock().unwrap().writes > before + 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_could_not_renew_in_time_may_not_begin_a_write() {
        let fence = Fence::closed();
        assert_eq!(fence.permit(), Permit::Denied);
        let now = Instant::now();
        let (begin, over) = (now + Duration::from_secs(10), now + Duration::from_secs(15));
        fence.set(State::Until(begin, over));
        assert_eq!(fence.permit(), Permit::GrantedUntil(over));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(fence.permit(), Permit::Denied);
    }

    #[test]
    fn two_processes_on_one_host_have_different_names() {
        assert_ne!(identity(), identity());
    }
}
