//! Figures that the caches know, rendered when somebody scrapes; they cost nothing in between.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::caches::Caches;
use super::records::{Figures, RolloutRecord, RunRecord};
use super::store::Stored;
use crate::api::AnalysisPhase;

/// Renders the caches.
pub(crate) struct Objects(pub(crate) Arc<Caches>);

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        rollouts(&mut encoder, &self.0.rollouts.all())?;
        runs(&mut encoder, &self.0.runs.all())?;
        let templates = self.0.templates.all().into_iter().chain(self.0.cluster_templates.all());
        let name = "analysis_template_info";
        let mut family = encoder.encode_descriptor(name, "An AnalysisTemplate", None, MetricType::Gauge)?;
        for template in templates {
            let key = template.identity.key;
            let labels = [("namespace", &*key.namespace), ("name", &*key.name)];
            ConstGauge::new(1_u64).encode(family.encode_family(&labels)?)?;
        }
        let queues = [("rollouts", self.0.rollout_queue.len()), ("analysisruns", self.0.run_queue.len())];
        let help = "Objects that are due or will be";
        let mut family = encoder.encode_descriptor("workqueue_depth", help, None, MetricType::Gauge)?;
        for (name, length) in queues {
            let length = u64::try_from(length).unwrap_or(u64::MAX);
            ConstGauge::new(length).encode(family.encode_family(&[("name", name)])?)?;
        }
        Ok(())
    }
}

/// One number of a Rollout.
type Count = fn(&Figures) -> i32;

fn rollouts(encoder: &mut DescriptorEncoder, all: &[Stored<RolloutRecord>]) -> fmt::Result {
    let unreadable = Figures { phase: "Degraded".to_owned(), ..Figures::default() };
    let figures =
        |of: &Stored<RolloutRecord>, show: &mut dyn FnMut(&Figures) -> fmt::Result| match &of.value.content {
            Ok(readable) => show(&readable.figures),
            Err(_) => show(&unreadable),
        };
    let mut family =
        encoder.encode_descriptor("rollout_info", "A Rollout and its phase", None, MetricType::Gauge)?;
    for rollout in all {
        let key = &rollout.identity.key;
        figures(rollout, &mut |figures| {
            let labels = [
                ("namespace", &*key.namespace),
                ("name", &*key.name),
                ("strategy", figures.strategy),
                ("traffic_router", &figures.traffic_router),
                ("phase", &figures.phase),
            ];
            one(family.encode_family(&labels)?)
        })?;
    }
    let kinds: [(&str, Count); 4] = [
        ("rollout_info_replicas_available", |figures| figures.available),
        ("rollout_info_replicas_unavailable", |figures| figures.unavailable),
        ("rollout_info_replicas_desired", |figures| figures.desired),
        ("rollout_info_replicas_updated", |figures| figures.updated),
    ];
    for (name, value) in kinds {
        let mut family = encoder.encode_descriptor(name, "Pods of a Rollout", None, MetricType::Gauge)?;
        for rollout in all {
            let key = &rollout.identity.key;
            figures(rollout, &mut |figures| {
                let labels = [("namespace", &*key.namespace), ("name", &*key.name)];
                ConstGauge::new(i64::from(value(figures))).encode(family.encode_family(&labels)?)
            })?;
        }
    }
    Ok(())
}

fn one(encoder: prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result {
    ConstGauge::new(1_u64).encode(encoder)
}

fn runs(encoder: &mut DescriptorEncoder, all: &[Stored<RunRecord>]) -> fmt::Result {
    let name = "analysis_run_info";
    let mut family =
        encoder.encode_descriptor(name, "An AnalysisRun and its phase", None, MetricType::Gauge)?;
    for run in all {
        let key = &run.identity.key;
        let phase = run.value.phase().map_or("", AnalysisPhase::as_str);
        let labels = [("namespace", &*key.namespace), ("name", &*key.name), ("phase", phase)];
        one(family.encode_family(&labels)?)?;
    }
    let (name, help) = ("analysis_run_metric_phase", "A metric of an AnalysisRun and its phase");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for run in all {
        let key = &run.identity.key;
        for figures in &run.value.figures {
            let labels = [
                ("namespace", &*key.namespace),
                ("name", &*key.name),
                ("metric", &figures.metric),
                ("type", &figures.provider),
                ("dry_run", if figures.dry_run { "true" } else { "false" }),
                ("phase", figures.phase.as_str()),
            ];
            one(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
