//! What is counted, under the names that dashboards of this API know, in the text format of Prometheus.
//!
//! Labels that name an object appear only on figures of Rollouts, AnalysisRuns and Experiments, and go with the object. Figures that
//! the caches know already are not kept here: whoever has them registers a collector, read when somebody scrapes.

mod delivery;
mod notices;
mod process;
mod updates;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::api::RolloutStatus;
use crate::api::rollout_status::PendingNotification;
use crate::events::AbortCause;
use crate::rollout::status::Finished;
use crate::units::Timestamp;
use delivery::Delivery;
use notices::Attempts;
use process::Process;
use updates::Updates;

/// Upper ends of the buckets of a pass, in seconds.
const PASS_BUCKETS: [f64; 6] = [0.001, 0.01, 0.15, 0.25, 0.5, 1.0];

/// What a request to the API server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads many.
    List,
    /// Follows changes.
    Watch,
    /// Creates an object.
    Create,
    /// Replaces an object.
    Update,
    /// Changes parts of an object.
    Patch,
    /// Deletes an object.
    Delete,
    /// Anything else.
    Unknown,
}

impl EncodeLabelValue for Verb {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> fmt::Result {
        EncodeLabelValue::encode(&format!("{self:?}").as_str(), encoder)
    }
}

/// A kind of object that passes are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Rollouts.
    Rollout,
    /// AnalysisRuns.
    AnalysisRun,
    /// Experiments.
    Experiment,
}

impl Subject {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Rollout => "rollout",
            Self::AnalysisRun => "analysis_run",
            Self::Experiment => "experiment",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    kind: &'static str,
    verb: Verb,
    status_code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteBackLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    kind: &'static str,
    category: &'static str,
}

/// Figures of one object.
#[derive(Debug)]
struct ObjectFigures {
    passes: Histogram,
    errors: u64,
    events: BTreeMap<(&'static str, &'static str), u64>,
    delivery: Delivery,
    /// `None` before the first.
    notices: Option<Attempts>,
}

impl Default for ObjectFigures {
    fn default() -> Self {
        Self {
            passes: Histogram::new(PASS_BUCKETS),
            errors: 0,
            events: BTreeMap::new(),
            delivery: Delivery::default(),
            notices: None,
        }
    }
}

type Objects = BTreeMap<(Subject, String, String), ObjectFigures>;

/// All counters of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    events_lost: Counter,
    spans_dropped: Counter,
    write_backs: Family<WriteBackLabels, Counter>,
    leader: Gauge,
    updates: Updates,
    objects: Mutex<Objects>,
}

impl Metrics {
    /// Counts a request to the API server; `status` is `None` when there was no answer.
    pub fn request(&self, verb: Verb, kind: &'static str, status: Option<u16>) {
        self.requests
            .get_or_create(&RequestLabels { kind, verb, status_code: status.unwrap_or_default() })
            .inc();
    }

    /// Notes how long a pass over an object took.
    pub fn pass(&self, subject: Subject, namespace: &str, name: &str, took: Duration) {
        self.figures(subject, namespace, name, |figures| figures.passes.observe(took.as_secs_f64()));
    }

    /// Counts a pass that did not get through; `category` comes from a closed set.
    pub fn pass_failed(&self, subject: Subject, namespace: &str, name: &str, category: &'static str) {
        self.errors.get_or_create(&ErrorLabels { kind: subject.prefix(), category }).inc();
        self.figures(subject, namespace, name, |figures| figures.errors += 1);
    }

    /// Counts an announcement about a Rollout.
    pub fn event(&self, namespace: &str, name: &str, r#type: &'static str, reason: &'static str) {
        self.figures(Subject::Rollout, namespace, name, |figures| {
            *figures.events.entry((r#type, reason)).or_default() += 1;
        });
    }

    /// Notes an attempt to send a notification about a Rollout.
    pub fn notified(
        &self,
        [namespace, name]: [&str; 2],
        notification: &PendingNotification,
        succeeded: bool,
        took: Duration,
    ) {
        self.figures(Subject::Rollout, namespace, name, |figures| {
            figures.notices.get_or_insert_default().note(notification, succeeded, took);
        });
    }

    /// Counts an update that was taken back.
    pub fn aborted(&self, namespace: &str, name: &str, cause: AbortCause) {
        self.figures(Subject::Rollout, namespace, name, |figures| figures.delivery.aborted(cause));
    }

    /// Notes how an update of a Rollout ended and how long it took.
    pub fn update_finished(&self, namespace: &str, name: &str, update: &Finished) {
        self.updates.observe(update);
        let completion = update.completion;
        self.figures(Subject::Rollout, namespace, name, |figures| figures.delivery.finished(completion));
    }

    /// Notes the status that a Rollout has now.
    pub fn status(&self, namespace: &str, name: &str, status: &RolloutStatus, now: Timestamp) {
        self.figures(Subject::Rollout, namespace, name, |figures| {
            if let Some(outage) = figures.delivery.status(status, now) {
                self.updates.restored(outage);
            }
        });
    }

    /// From now on this process makes passes; it ends when it no longer may.
    pub fn leads(&self) {
        self.leader.set(1);
    }

    /// Counts an announcement that could not be made.
    pub fn event_lost(&self) {
        self.events_lost.inc();
    }

    /// Counts spans that the collector of traces did not get.
    pub fn spans_dropped(&self, count: u64) {
        self.spans_dropped.inc_by(count);
    }

    /// Counts what became of an abort in Git; `reason` is that of its Event.
    pub fn written_back(&self, reason: &'static str) {
        self.write_backs.get_or_create(&WriteBackLabels { reason }).inc();
    }

    /// The object is gone: so are its figures.
    pub fn forget(&self, subject: Subject, namespace: &str, name: &str) {
        self.objects().remove(&(subject, namespace.to_owned(), name.to_owned()));
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn figures(
        &self,
        subject: Subject,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut ObjectFigures),
    ) {
        let mut objects = self.objects();
        change(objects.entry((subject, namespace.to_owned(), name.to_owned())).or_default());
    }

    /// A registry of what every process counts that talks to the API server.
    fn registry_of_requests(&self) -> Registry {
        let mut registry = Registry::default();
        let requests = "Requests to the API server, by resource, verb and status code (0: no answer)";
        registry.register("controller_clientset_k8s_request", requests, self.requests.clone());
        registry.register(
            "controller_events_lost",
            "Events that could not be created",
            self.events_lost.clone(),
        );
        registry
    }

    /// A registry of what the write-back to Git counts. It has no leader.
    #[must_use]
    pub fn registry_of_write_backs(&self) -> Registry {
        let mut registry = self.registry_of_requests();
        let write_backs = "What became of aborts in Git, by reason of its Event";
        registry.register("gitops_write_backs", write_backs, self.write_backs.clone());
        registry.register_collector(Box::new(Process));
        registry
    }

    /// A registry with everything that the controller counts, and with `collectors`.
    #[must_use]
    pub fn registry(self: std::sync::Arc<Self>, collectors: Vec<Box<dyn Collector>>) -> Registry {
        let mut registry = self.registry_of_requests();
        registry.register(
            "controller_pass_errors",
            "Passes that did not get through, by category",
            self.errors.clone(),
        );
        registry.register(
            "controller_spans_dropped",
            "Spans of deliveries that the collector did not get",
            self.spans_dropped.clone(),
        );
        let leader = "Whether this replica makes passes (1) or stands by (0)";
        registry.register("controller_leader", leader, self.leader.clone());
        self.updates.register(&mut registry);
        registry.register_collector(Box::new(self));
        registry.register_collector(Box::new(Process));
        for collector in collectors {
            registry.register_collector(collector);
        }
        registry
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let objects = self.objects();
        for subject in [Subject::Rollout, Subject::AnalysisRun, Subject::Experiment] {
            let mine = || objects.iter().filter(|((of, _, _), _)| *of == subject);
            let prefix = subject.prefix();
            let name = format!("{prefix}_reconcile");
            let mut family =
                encoder.encode_descriptor(&name, "Seconds a pass took", None, MetricType::Histogram)?;
            for ((_, namespace, name), figures) in mine() {
                figures.passes.encode(family.encode_family(&object_labels(namespace, name))?)?;
            }
            let name = format!("{prefix}_reconcile_error");
            let help = "Passes that did not get through";
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            for ((_, namespace, name), figures) in mine() {
                let labels = object_labels(namespace, name);
                ConstGauge::new(figures.errors).encode(family.encode_family(&labels)?)?;
            }
        }
        notices::encode(&mut encoder, &objects)?;
        encode_events(&mut encoder, &objects)?;
        let rollouts = objects.iter().filter(|((of, _, _), _)| *of == Subject::Rollout);
        let rollouts: Vec<delivery::Shown<'_>> = rollouts
            .map(|((_, namespace, name), figures)| (namespace.as_str(), name.as_str(), &figures.delivery))
            .collect();
        delivery::encode(&mut encoder, &rollouts)
    }
}

fn object_labels<'a>(namespace: &'a str, name: &'a str) -> [(&'static str, &'a str); 2] {
    [("namespace", namespace), ("name", name)]
}

fn encode_events(encoder: &mut DescriptorEncoder, objects: &Objects) -> fmt::Result {
    let mut family =
        encoder.encode_descriptor("rollout_events", "Events announced", None, MetricType::Counter)?;
    for ((_, namespace, name), figures) in objects {
        for ((r#type, reason), count) in &figures.events {
            let labels = [
                ("namespace", namespace.as_str()),
                ("name", name.as_str()),
                ("type", *r#type),
                ("reason", *reason),
            ];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus_client::encoding::text::encode;

    use super::*;

    fn text(metrics: &Arc<Metrics>) -> String {
        let mut text = String::new();
        encode(&mut text, &Arc::clone(metrics).registry(Vec::new())).unwrap();
        text
    }

    #[test]
    fn requests_are_counted_without_naming_objects() {
        let metrics = Arc::new(Metrics::default());
        metrics.request(Verb::Patch, "rollouts", Some(200));
        metrics.request(Verb::Patch, "rollouts", Some(200));
        let line =
            "controller_clientset_k8s_request_total{kind=\"rollouts\",verb=\"Patch\",status_code=\"200\"} 2";
        assert!(text(&metrics).contains(line), "{}", text(&metrics));
    }

    #[test]
    fn figures_of_an_object_go_with_it() {
        let metrics = Arc::new(Metrics::default());
        metrics.event("shop", "web", "Normal", "RolloutCompleted");
        metrics.pass(Subject::Rollout, "shop", "web", Duration::from_millis(5));
        metrics.pass_failed(Subject::Rollout, "shop", "web", "conflict");
        let before = text(&metrics);
        for line in [
            "rollout_events_total{namespace=\"shop\",name=\"web\",type=\"Normal\",reason=\"RolloutCompleted\"} 1",
            "rollout_reconcile_count{namespace=\"shop\",name=\"web\"} 1",
            "rollout_reconcile_error{namespace=\"shop\",name=\"web\"} 1",
            "controller_pass_errors_total{kind=\"rollout\",category=\"conflict\"} 1",
            // Nothing of the kind has happened, and an increase has to show the first.
            "rollout_aborts_total{namespace=\"shop\",name=\"web\",cause=\"analysis\"} 0",
            "rollout_updates_total{namespace=\"shop\",name=\"web\",result=\"Promoted\"} 0",
        ] {
            assert!(before.contains(line), "{line} not in {before}");
        }
        metrics.forget(Subject::Rollout, "shop", "web");
        assert!(!text(&metrics).contains("shop"));
    }

    #[test]
    fn a_replica_tells_whether_it_leads() {
        let metrics = Arc::new(Metrics::default());
        assert!(text(&metrics).contains("controller_leader 0\n"));
        metrics.leads();
        assert!(text(&metrics).contains("controller_leader 1\n"));
    }
}
