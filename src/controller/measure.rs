//! Measurements on their way, and what they found until a run's status says so.
//!
//! Kept in memory alone: after a crash or a change of leader they are taken again. They stop with the run.

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use tokio::task::JoinSet;
use tracing::{debug, error};

use super::asked::{self, Asked};
use super::caches::Caches;
use super::clock::Clock;
use super::slots::{RunSlots, Slots};
use super::store::{Identity, Key};
use crate::analysis::{MeasureRequest, Sample};
use crate::providers::{Provider, Providers};

/// What is going on for one run.
struct Live {
    uid: Arc<str>,
    in_flight: BTreeSet<String>,
    samples: Vec<Sample>,
    slots: RunSlots,
    /// Dropped with the run, and its measurements with it.
    tasks: JoinSet<()>,
}

/// All measurements.
pub(crate) struct Measurements {
    providers: Providers,
    slots: Slots,
    asked: Asked,
    clock: Clock,
    live: Mutex<HashMap<Key, Live>>,
}

impl Measurements {
    /// Measurements by `providers`, at most `per_server` of one server at once.
    pub(crate) fn new(providers: Providers, per_server: usize, clock: Clock) -> Self {
        let (slots, asked) = (Slots::new(per_server), Asked::default());
        Self { providers, slots, asked, clock, live: Mutex::new(HashMap::new()) }
    }

    /// Names of the metrics being measured, and the samples that wait to be recorded.
    pub(crate) fn of(&self, run: &Identity) -> (BTreeSet<String>, Vec<Sample>) {
        let mut all = self.lock();
        match all.get_mut(&run.key) {
            Some(live) if live.uid == run.uid => {
                while live.tasks.try_join_next().is_some() {}
                (live.in_flight.clone(), live.samples.clone())
            }
            Some(_) => {
                // Another run of the same name.
                all.remove(&run.key);
                (BTreeSet::new(), Vec::new())
            }
            None => (BTreeSet::new(), Vec::new()),
        }
    }

    /// The first `recorded` samples are in the run's status, or of no use to it.
    pub(crate) fn recorded(&self, run: &Key, recorded: usize) {
        let mut all = self.lock();
        if let Some(live) = all.get_mut(run) {
            live.samples.drain(..recorded.min(live.samples.len()));
            if live.samples.is_empty() && live.in_flight.is_empty() {
                all.remove(run);
            }
        }
    }

    /// The run has ended or is gone: nothing more is measured for it.
    pub(crate) fn stop(&self, run: &Key) {
        self.lock().remove(run);
    }

    /// Takes a measurement, and queues the run once it is taken.
    pub(crate) fn begin(self: &Arc<Self>, run: &Identity, request: MeasureRequest, caches: &Arc<Caches>) {
        let server = self.providers.server(&request);
        let mut all = self.lock();
        let live = all.entry(run.key.clone()).or_insert_with(|| Live {
            uid: Arc::clone(&run.uid),
            in_flight: BTreeSet::new(),
            samples: Vec::new(),
            slots: RunSlots::new(),
            tasks: JoinSet::new(),
        });
        if !live.in_flight.insert(request.metric.clone()) {
            return;
        }
        debug!(run = %run.key, metric = request.metric, "measuring");
        let (measurements, caches, run) = (Arc::clone(self), Arc::clone(caches), run.clone());
        let slots = live.slots.clone();
        live.tasks.spawn(async move {
            let sample = match server {
                Some(server) => measurements.ask(server, &slots, &request).await,
                // A Job may take hours, and costs no more than a watch.
                None => measurements.take(&request).await,
            };
            measurements.taken(&run, sample);
            caches.run_queue.add(&run.key);
        });
    }

    /// Takes a measurement once there is a slot for it, or waits for the answer of an equal one that is under way.
    async fn ask(self: &Arc<Self>, server: String, slots: &RunSlots, request: &MeasureRequest) -> Sample {
        let _slot = slots.take().await;
        if !request.query.only_reads() {
            let _slot = self.slots.take(&server).await;
            return self.take(request).await;
        }
        let answer = self.asked.answer(&server, request, || {
            let (measurements, request, server) = (Arc::clone(self), request.clone(), server.clone());
            let take = async move {
                let _slot = measurements.slots.take(&server).await;
                measurements.take(&request).await
            };
            take.boxed()
        });
        let sample = asked::sample(answer.await, request);
        self.asked.sweep(&server);
        sample
    }

    async fn take(&self, request: &MeasureRequest) -> Sample {
        let measured = AssertUnwindSafe(self.providers.measure(request)).catch_unwind().await;
        measured.unwrap_or_else(|_| {
            error!(metric = request.metric, "a measurement met a defect");
            Sample {
                metric: request.metric.clone(),
                started_at: request.at,
                finished_at: self.clock.now(),
                result: Err("the provider met a defect; the controller's log has the details".to_owned()),
                metadata: std::collections::BTreeMap::new(),
            }
        })
    }

    fn taken(&self, run: &Identity, sample: Sample) {
        let mut all = self.lock();
        if let Some(live) = all.get_mut(&run.key).filter(|live| live.uid == run.uid) {
            live.in_flight.remove(&sample.metric);
            live.samples.push(sample);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::ProviderOptions;
    use crate::units::Timestamp;

    fn run(uid: &str) -> Identity {
        Identity { key: Key::new("shop", "run"), uid: uid.into(), version: 1 }
    }

    fn sample(metric: &str) -> Sample {
        let at = Timestamp::from_millis(0);
        let result = Err("no answer".to_owned());
        Sample {
            metric: metric.to_owned(),
            started_at: at,
            finished_at: at,
            result,
            metadata: std::collections::BTreeMap::default(),
        }
    }

    fn with_samples(metrics: &[&str]) -> Measurements {
        let measurements = Measurements::new(Providers::new(ProviderOptions::default()), 1, Clock);
        let live = Live {
            uid: "1".into(),
            in_flight: metrics.iter().map(ToString::to_string).collect(),
            samples: Vec::new(),
            slots: RunSlots::new(),
            tasks: JoinSet::new(),
        };
        measurements.lock().insert(run("1").key, live);
        for metric in metrics {
            measurements.taken(&run("1"), sample(metric));
        }
        measurements
    }

    #[tokio::test]
    async fn a_sample_waits_until_it_is_recorded_and_a_later_one_is_not_lost_with_it() {
        let measurements = with_samples(&["a", "b"]);
        assert_eq!(measurements.of(&run("1")).1.len(), 2);
        measurements.recorded(&run("1").key, 1);
        assert_eq!(measurements.of(&run("1")), (BTreeSet::new(), vec![sample("b")]));
        measurements.recorded(&run("1").key, 1);
        assert!(measurements.lock().is_empty());
    }

    #[tokio::test]
    async fn samples_of_a_run_that_was_deleted_are_not_those_of_the_next_of_its_name() {
        let measurements = with_samples(&["a"]);
        assert_eq!(measurements.of(&run("2")), (BTreeSet::new(), Vec::new()));
        measurements.taken(&run("1"), sample("late"));
        assert!(measurements.lock().is_empty());
    }
}
