//! One pass over one AnalysisRun: snapshot, decide, apply, measure, and when to look again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::announce::{Note, about};
use super::apply::Writer;
use super::caches::Caches;
use super::clock::Clock;
use super::difference::status_patch;
use super::dispatch::Work;
use super::error::{DEFECT, PassError};
use super::measure::Measurements;
use super::queue::{Next, Queue};
use super::reconcile::next_after;
use super::records::forget_measurements;
use super::specs::Specs;
use super::store::{Identity, Key};
use crate::analysis::secrets::Home;
use crate::analysis::{self, RunPlan, RunSnapshot, SecretKey, Secrets};
use crate::api::{AnalysisPhase, AnalysisRun, AnalysisRunStatus};
use crate::metrics::{Metrics, Subject};

/// How long reading one Secret may take.
const SECRET_TIMEOUT: Duration = Duration::from_secs(10);
/// Secrets read at once for one run.
const SECRETS_AT_ONCE: usize = 8;
/// Times that one pass may decide: it asks for the Secrets of its arguments, then for those that they name, then judges.
const SECRET_ROUNDS: usize = 4;

/// Decides about an AnalysisRun.
pub type DecideRun = fn(&RunSnapshot) -> RunPlan;

/// Makes passes over AnalysisRuns.
pub(crate) struct Runs {
    pub(crate) client: Client,
    pub(crate) caches: Arc<Caches>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) measurements: Arc<Measurements>,
    pub(crate) specs: Specs,
    pub(crate) clock: Clock,
    pub(crate) resync: Duration,
    pub(crate) decide: DecideRun,
}

impl Work for Runs {
    fn queue(&self) -> &Queue<Key> {
        &self.caches.run_queue
    }

    fn met_defect(&self, key: &Key) {
        self.metrics.pass_failed(Subject::AnalysisRun, &key.namespace, &key.name, DEFECT);
    }
}

impl Runs {
    /// Looks at one run and does what is due.
    pub(crate) async fn pass(&self, key: &Key) -> Next {
        if self.caches.runs.get(key).is_none() {
            self.measurements.stop(key);
            self.specs.forget(key);
            self.writer.unanswered.forget(Subject::AnalysisRun, key);
            self.metrics.forget(Subject::AnalysisRun, &key.namespace, &key.name);
            return Next::Forget;
        }
        let begun = Instant::now();
        let outcome = self.rounds(key).await;
        self.metrics.pass(Subject::AnalysisRun, &key.namespace, &key.name, begun.elapsed());
        outcome.unwrap_or_else(|error| {
            self.metrics.pass_failed(Subject::AnalysisRun, &key.namespace, &key.name, error.category());
            next_after(key, &error)
        })
    }

    /// Decides, and again as long as Secrets are asked for. They live as long as this pass.
    async fn rounds(&self, key: &Key) -> Result<Next, PassError> {
        let mut secrets = Secrets::new();
        for _ in 0..SECRET_ROUNDS {
            let Some(known) = self.caches.runs.get(key) else { return Ok(Next::Forget) };
            let (in_flight, samples) = self.measurements.of(&known.identity);
            let run = known.value.run(&known.identity);
            self.settle(&known.identity, &run);
            let spec = self.specs.of(key, &run.spec);
            let snapshot = RunSnapshot { now: self.clock.now(), run, spec, secrets, in_flight, samples };
            let plan = (self.decide)(&snapshot);
            let wanted = plan.secrets.clone();
            let next = self.next(&snapshot, &plan);
            self.carry_out(&known.identity, &snapshot, plan).await?;
            if wanted.is_empty() {
                return Ok(next);
            }
            secrets = snapshot.secrets;
            secrets.extend(self.read(&key.namespace, wanted).await);
        }
        Ok(Next::Backoff)
    }

    async fn carry_out(
        &self,
        identity: &Identity,
        snapshot: &RunSnapshot,
        plan: RunPlan,
    ) -> Result<(), PassError> {
        let key = &identity.key;
        if plan.delete {
            debug!(run = %key, "outlived");
            self.specs.forget(key);
            return self.writer.delete_run(key).await;
        }
        let has_ended =
            plan.status.as_ref().is_some_and(|status| status.phase.is_some_and(AnalysisPhase::is_completed));
        let notes: Vec<_> = plan.events.into_iter().map(Note::from).collect();
        // Before the status that forgets them: what fails now is planned again.
        for name in &plan.delete_jobs {
            self.writer.delete_job(&key.namespace, name).await?;
        }
        if let Some(status) = plan.status {
            let written = self.write_status(identity, snapshot, &status).await;
            if let (Ok(()), Some(traces)) = (&written, &self.writer.traces) {
                traces.run(&self.caches, &snapshot.run, &status);
            }
            self.keep_unless_answered(key, *status, &notes, &written);
            written?;
        }
        if plan.secrets.is_empty() && !plan.keep_samples {
            self.measurements.recorded(key, snapshot.samples.len());
        }
        if has_ended || is_completed(&snapshot.run) {
            self.measurements.stop(key);
            self.specs.forget(key);
        }
        for request in plan.measure {
            self.measurements.begin(identity, request, &self.caches);
        }
        self.announce(identity, notes);
        Ok(())
    }

    fn announce(&self, run: &Identity, notes: Vec<Note>) {
        self.writer.announcer.announce(about::<AnalysisRun>(run), notes, self.clock);
    }

    /// Keeps what belongs to a status write that may have happened, in the form in which the caches will show it.
    fn keep_unless_answered(
        &self,
        run: &Key,
        mut status: AnalysisRunStatus,
        notes: &[Note],
        written: &Result<(), PassError>,
    ) {
        let unanswered = &self.writer.unanswered;
        match written {
            Ok(()) => unanswered.forget(Subject::AnalysisRun, run),
            Err(error) if error.may_have_happened() => {
                forget_measurements(&mut status);
                let status = serde_json::to_value(status).unwrap_or_default();
                unanswered.keep(Subject::AnalysisRun, run, status, notes.to_vec());
            }
            Err(_) => {}
        }
    }

    /// Announces what belongs to an earlier status write if the stored status shows that it happened after all.
    fn settle(&self, identity: &Identity, run: &AnalysisRun) {
        let stored = || serde_json::to_value(&run.status).unwrap_or_default();
        self.announce(identity, self.writer.unanswered.settle(Subject::AnalysisRun, &identity.key, stored));
    }

    /// The status is part of the object itself: AnalysisRuns have no status subresource.
    async fn write_status(
        &self,
        identity: &Identity,
        snapshot: &RunSnapshot,
        next: &AnalysisRunStatus,
    ) -> Result<(), PassError> {
        let encode = |source| PassError::Encoding { object: identity.key.clone(), source };
        let patch = status_patch(identity.version, snapshot.run.status.as_ref(), next).map_err(encode)?;
        let Some(patch) = patch else { return Ok(()) };
        let action = || format!("write the status of AnalysisRun {}", identity.key);
        self.writer.patch_run(&identity.key, &patch, action).await
    }

    fn next(&self, snapshot: &RunSnapshot, plan: &RunPlan) -> Next {
        match plan.wake_at {
            // Nothing but a change can make a finished run interesting again.
            None if plan.is_idle() && is_completed(&snapshot.run) => Next::Forget,
            None => Next::After(self.resync),
            Some(at) => Next::After((at.since(snapshot.now) + Duration::from_millis(1)).min(self.resync)),
        }
    }

    /// Reads Secrets by name, each once.
    async fn read(&self, run_namespace: &str, wanted: BTreeSet<SecretKey>) -> Secrets {
        let mut by_name = BTreeMap::<_, Vec<_>>::new();
        for key in wanted {
            by_name.entry((key.home, key.name.clone())).or_default().push(key);
        }
        let read = by_name.into_iter().map(async |((home, name), keys)| {
            let namespace = match home {
                Home::Run => run_namespace,
                Home::Controller => self.client.default_namespace(),
            };
            let secret = self.read_one(namespace, &name).await.map_err(|why| match home {
                Home::Run => why,
                Home::Controller => format!("{why} (in namespace {namespace})"),
            });
            let value = |key: SecretKey| {
                let value = secret.as_ref().map_err(Clone::clone).and_then(|secret| value(secret, &key));
                (key, value)
            };
            keys.into_iter().map(value).collect::<Vec<_>>()
        });
        stream::iter(read).buffer_unordered(SECRETS_AT_ONCE).flat_map(stream::iter).collect().await
    }

    async fn read_one(&self, namespace: &str, name: &str) -> Result<Secret, String> {
        let api = Api::<Secret>::namespaced(self.client.clone(), namespace);
        match timeout(SECRET_TIMEOUT, api.get_opt(name)).await {
            Ok(Ok(Some(secret))) => Ok(secret),
            Ok(Ok(None)) => Err(format!("Secret '{name}' does not exist")),
            Ok(Err(kube::Error::Api(status))) => {
                Err(format!("cannot read Secret '{name}': {}", status.message))
            }
            Ok(Err(_)) => Err(format!("cannot read Secret '{name}': the API server cannot be reached")),
            Err(_) => Err(format!("cannot read Secret '{name}': no answer in time")),
        }
    }
}

/// A key's value, `None` when the Secret does not have it.
fn value(secret: &Secret, key: &SecretKey) -> Result<Option<analysis::Secret>, String> {
    let Some(bytes) = secret.data.as_ref().and_then(|data| data.get(&key.key)) else { return Ok(None) };
    let text = std::str::from_utf8(&bytes.0)
        .map_err(|_| format!("key '{}' of Secret '{}' is not text", key.key, key.name))?;
    Ok(Some(analysis::Secret::new(text)))
}

fn is_completed(run: &AnalysisRun) -> bool {
    run.status.as_ref().and_then(|status| status.phase).is_some_and(AnalysisPhase::is_completed)
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use serde_json::json;
    use tokio::task::JoinSet;

    use super::super::apply::tests::writer;
    use super::super::stub;
    use super::*;
    use crate::providers::{ProviderOptions, Providers};

    #[test]
    fn a_secret_that_lacks_a_key_or_is_not_text_is_told_without_its_content() {
        let secret: Secret =
            serde_json::from_value(json!({"data": {"good": "c2VjcmV0", "bad": "/w=="}})).unwrap();
        let read = |key: &str| {
            value(&secret, &SecretKey { home: Home::Run, name: "auth".to_owned(), key: key.to_owned() })
        };
        assert_eq!(read("good"), Ok(Some(analysis::Secret::new("secret"))));
        assert_eq!(read("none"), Ok(None));
        assert_eq!(read("bad").unwrap_err(), "key 'bad' of Secret 'auth' is not text");
    }

    #[tokio::test]
    async fn a_spec_is_kept_until_its_run_has_ended_or_is_gone() {
        let caches = Arc::new(Caches::new([]));
        let mut tasks = JoinSet::new();
        let writer = Arc::new(writer(stub::client(|_| stub::refused(404, "api")), &mut tasks));
        let providers = Providers::new(ProviderOptions::default());
        let runs = Runs {
            client: writer.client.clone(),
            caches: Arc::clone(&caches),
            metrics: Arc::default(),
            measurements: Arc::new(Measurements::new(providers, 1, Clock)),
            specs: Specs::default(),
            clock: Clock,
            resync: Duration::from_mins(5),
            decide: analysis::decide,
            writer,
        };
        let run = |version: &str, phase: &str| {
            let metric = json!({"name": "m", "initialDelay": "1h", "provider": {"prometheus": {"address": "http://localhost:1", "query": "up"}}});
            let metadata =
                json!({"name": "api", "namespace": "shop", "uid": "1", "resourceVersion": version});
            let status = json!({"phase": phase, "startedAt": Clock.now().whole_seconds()});
            serde_json::from_value(
                json!({"metadata": metadata, "spec": {"metrics": [metric]}, "status": status}),
            )
            .unwrap()
        };
        let key = Key::new("shop", "api");
        caches.run_event(Event::Apply(run("1", "Running")));
        runs.pass(&key).await;
        let known = runs.specs.known(&key).unwrap();
        caches.run_event(Event::Apply(run("2", "Running")));
        runs.pass(&key).await;
        assert!(runs.specs.known(&key).unwrap().is_same(&known), "it was read again");
        caches.run_event(Event::Apply(run("3", "Failed")));
        runs.pass(&key).await;
        assert!(runs.specs.known(&key).is_none());
        caches.run_event(Event::Apply(run("4", "Running")));
        runs.pass(&key).await;
        caches.run_event(Event::Delete(run("5", "Running")));
        runs.pass(&key).await;
        assert!(runs.specs.known(&key).is_none());
    }
}
