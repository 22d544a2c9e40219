//! Steady load on one host name through the proxy, counted by the version that answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serin::api::Rollout;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::plane::EDGE;
use crate::shared::DEADLINE;
use crate::shop::Users;

/// Users who each wait for their answer before they ask again.
const USERS: usize = 8;
/// Between an answer and the next request: some hundred requests a second of all users together.
const PAUSE: Duration = Duration::from_millis(15);
/// Failed requests that are told in full.
const TOLD: usize = 5;

type Http = Client<HttpConnector, Body>;

/// What came back so far.
#[derive(Clone, Debug, Default)]
struct Tally {
    /// Answers by the version of the pod.
    answers: BTreeMap<String, u64>,
    /// Requests without the answer of a pod, and what came instead.
    failures: Vec<String>,
}

impl Tally {
    fn total(&self) -> u64 {
        self.answers.values().sum::<u64>() + u64::try_from(self.failures.len()).unwrap()
    }
}

/// Requests that go on until this is dropped.
pub(super) struct Load {
    tally: Arc<Mutex<Tally>>,
    counted: watch::Receiver<()>,
    users: Vec<JoinHandle<()>>,
    host: String,
    /// Versions by the hash of their pods.
    versions: Mutex<BTreeMap<String, String>>,
}

impl Load {
    /// Begins once the first request for `host` is answered, since a new route takes its time.
    pub(super) async fn start(host: &str) -> Self {
        let http: Http = Client::builder(TokioExecutor::new()).build_http();
        let answered = async {
            while ask(&http, host).await.is_err() {
                sleep(PAUSE).await;
            }
        };
        timeout(DEADLINE, answered).await.unwrap_or_else(|_| panic!("no request for {host} is answered"));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (count, counted) = watch::channel(());
        let user = |_| {
            let (http, host, tally, count) =
                (http.clone(), host.to_owned(), Arc::clone(&tally), count.clone());
            tokio::spawn(async move {
                loop {
                    let answer = ask(&http, &host).await;
                    record(&mut tally.lock().unwrap(), answer);
                    count.send_replace(());
                    sleep(PAUSE).await;
                }
            })
        };
        let users = (0..USERS).map(user).collect();
        Self { tally, counted, users, host: host.to_owned(), versions: Mutex::default() }
    }

    fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// The version whose pods have this hash, which was wanted before.
    fn version(&self, hash: Option<String>) -> String {
        self.versions.lock().unwrap()[&hash.unwrap()].clone()
    }
}

impl Users for Load {
    async fn next(&self, count: u64) -> BTreeMap<String, u64> {
        let before = self.tally();
        let mut counted = self.counted.clone();
        let all = async {
            while self.tally().total() < before.total() + count {
                counted.changed().await.unwrap();
            }
        };
        timeout(DEADLINE, all).await.expect("requests do not go on");
        let mut since = self.tally().answers;
        for (version, count) in &mut since {
            *count -= before.answers.get(version).copied().unwrap_or_default();
        }
        since.retain(|_, count| *count > 0);
        since
    }

    fn wanted(&self, rollout: &Rollout) -> String {
        let template = rollout.spec.template.as_ref().unwrap();
        let image = template["spec"]["containers"][0]["image"].as_str().unwrap();
        let (_, tag) = image.split_once(':').unwrap();
        let version = tag.split('-').next().unwrap().to_owned();
        let hash = rollout.status.as_ref().unwrap().current_pod_hash.clone().unwrap();
        self.versions.lock().unwrap().insert(hash, version.clone());
        version
    }

    fn stable(&self, rollout: &Rollout) -> String {
        self.version(rollout.status.as_ref().unwrap().stable_rs.clone())
    }

    fn assert_unfailing(&self, when: &str) {
        let Tally { answers, failures } = self.tally();
        let told: Vec<_> = failures.iter().take(TOLD).collect();
        let (host, failed) = (&self.host, failures.len());
        assert!(failures.is_empty(), "{host} {when}: {failed} requests failed beside {answers:?}: {told:#?}");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.users.iter().for_each(JoinHandle::abort);
    }
}

fn record(tally: &mut Tally, answer: Result<String, String>) {
    match answer {
        Ok(version) => *tally.answers.entry(version).or_default() += 1,
        Err(failure) => tally.failures.push(failure),
    }
}

/// What a pod has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The version, which is the first word of its tag.
    pub(super) version: String,
    /// The cookie that it sets.
    pub(super) cookie: Option<String>,
}

/// One request, of a user who has this cookie.
pub(super) async fn ask_once(host: &str, cookie: &str) -> Result<Answer, String> {
    exchange(&Client::builder(TokioExecutor::new()).build_http(), host, cookie).await
}

async fn ask(http: &Http, host: &str) -> Result<String, String> {
    exchange(http, host, "").await.map(|answer| answer.version)
}

async fn exchange(http: &Http, host: &str, cookie: &str) -> Result<Answer, String> {
    let request = Request::get(format!("http://{EDGE}/")).header("host", host).header("cookie", cookie);
    let request = request.body(Body::empty()).unwrap();
    let exchange = async {
        let answer = http.request(request).await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status();
        let cookie = answer.headers().get("set-cookie").map(|value| value.to_str().unwrap());
        let cookie = cookie.and_then(|cookie| cookie.split(';').next()).map(str::to_owned);
        let body =
            to_bytes(Body::new(answer.into_body()), usize::MAX).await.map_err(|error| error.to_string())?;
        let body = String::from_utf8_lossy(&body).into_owned();
        let tag = body.split_whitespace().nth(1).and_then(|tag| tag.split('-').next());
        match tag {
            Some(version) if status.is_success() => Ok(Answer { version: version.to_owned(), cookie }),
            _ => Err(format!("{status} {body}")),
        }
    };
    timeout(DEADLINE, exchange).await.unwrap_or_else(|_| Err("no answer".to_owned()))
}
