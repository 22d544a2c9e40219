//! Figures that the caches know, rendered when somebody scrapes; they cost nothing in between.

mod standing;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::caches::Caches;
use super::figures::{Figures, RolloutPhase};
use super::records::{ExperimentRecord, RolloutRecord, RunRecord, TemplateRecord};
use super::store::{Key, Stored};
use crate::api::AnalysisPhase;

/// The phases of an AnalysisRun, of its metrics, and of an Experiment.
const PHASES: [AnalysisPhase; 6] = [
    AnalysisPhase::Pending,
    AnalysisPhase::Error,
    AnalysisPhase::Failed,
    AnalysisPhase::Successful,
    AnalysisPhase::Running,
    AnalysisPhase::Inconclusive,
];

/// Renders the caches.
pub(crate) struct Objects(pub(crate) Arc<Caches>);

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let all = self.0.rollouts.all();
        rollouts(&mut encoder, &all)?;
        standing::encode(&mut encoder, &self.0, &all)?;
        runs(&mut encoder, &self.0.runs.all())?;
        let templates = self.0.templates.all().into_iter().chain(self.0.cluster_templates.all());
        self::templates(&mut encoder, &templates.collect::<Vec<_>>())?;
        experiments(&mut encoder, &self.0.experiments.all())?;
        let queues = [
            ("rollouts", &self.0.rollout_queue),
            ("analysisruns", &self.0.run_queue),
            ("experiments", &self.0.experiment_queue),
        ];
        let help = "Objects that are due";
        let mut family = encoder.encode_descriptor("workqueue_depth", help, None, MetricType::Gauge)?;
        for (name, queue) in queues {
            let length = u64::try_from(queue.due()).unwrap_or(u64::MAX);
            ConstGauge::new(length).encode(family.encode_family(&[("name", name)])?)?;
        }
        let (name, help) = ("workqueue_wait_seconds", "How long the object that is due longest has waited");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (name, queue) in queues {
            let wait = queue.wait().as_secs_f64();
            ConstGauge::new(wait).encode(family.encode_family(&[("name", name)])?)?;
        }
        Ok(())
    }
}

/// One number of a Rollout.
type Count = fn(&Figures) -> i32;

fn rollouts(encoder: &mut DescriptorEncoder, all: &[Stored<RolloutRecord>]) -> fmt::Result {
    let unreadable = Figures::unreadable();
    let all: Vec<_> = all
        .iter()
        .map(|rollout| {
            let figures = rollout.value.content.as_ref().map_or(&unreadable, |readable| &readable.figures);
            (&rollout.identity.key, figures)
        })
        .collect();
    let help = "A Rollout and where it stands";
    let mut family = encoder.encode_descriptor("rollout_info", help, None, MetricType::Gauge)?;
    for (key, figures) in &all {
        let labels = [
            ("namespace", &*key.namespace),
            ("name", &*key.name),
            ("strategy", figures.strategy),
            ("traffic_router", &figures.traffic_router),
            ("phase", figures.phase.as_str()),
        ];
        one(family.encode_family(&labels)?)?;
    }
    let kinds: [(&str, Count); 4] = [
        ("rollout_info_replicas_available", |figures| figures.available),
        ("rollout_info_replicas_unavailable", |figures| figures.unavailable),
        ("rollout_info_replicas_desired", |figures| figures.desired),
        ("rollout_info_replicas_updated", |figures| figures.updated),
    ];
    for (name, value) in kinds {
        let mut family = encoder.encode_descriptor(name, "Pods of a Rollout", None, MetricType::Gauge)?;
        for (key, figures) in &all {
            let labels = [("namespace", &*key.namespace), ("name", &*key.name)];
            ConstGauge::new(i64::from(value(figures))).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Whether a Rollout stands here; older form of rollout_info";
    let mut family = encoder.encode_descriptor("rollout_phase", help, None, MetricType::Gauge)?;
    for (key, figures) in &all {
        for phase in RolloutPhase::OF_THE_OLDER_METRIC {
            let labels = [
                ("namespace", &*key.namespace),
                ("name", &*key.name),
                ("strategy", figures.strategy),
                ("phase", phase.as_str()),
            ];
            whether(phase == figures.phase, family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn one(encoder: MetricEncoder<'_>) -> fmt::Result {
    ConstGauge::new(1_u64).encode(encoder)
}

fn whether(fact: bool, encoder: MetricEncoder<'_>) -> fmt::Result {
    ConstGauge::new(u64::from(fact)).encode(encoder)
}

fn runs(encoder: &mut DescriptorEncoder, all: &[Stored<RunRecord>]) -> fmt::Result {
    let phases: Vec<_> = all.iter().map(|run| (&run.identity.key, run.value.phase())).collect();
    self::phases(encoder, "analysis_run", "An AnalysisRun", &phases)?;
    run_metrics(encoder, all)
}

fn experiments(encoder: &mut DescriptorEncoder, all: &[Stored<ExperimentRecord>]) -> fmt::Result {
    let phases: Vec<_> = all.iter().map(|found| (&found.identity.key, found.value.phase)).collect();
    self::phases(encoder, "experiment", "An Experiment", &phases)
}

/// The phase of each object of a kind, in both forms.
fn phases(
    encoder: &mut DescriptorEncoder,
    kind: &str,
    object: &str,
    all: &[(&Key, Option<AnalysisPhase>)],
) -> fmt::Result {
    let (name, help) = (format!("{kind}_info"), format!("{object} and its phase"));
    let mut family = encoder.encode_descriptor(&name, &help, None, MetricType::Gauge)?;
    for (key, phase) in all {
        let phase = phase.map_or("", AnalysisPhase::as_str);
        let labels = [("namespace", &*key.namespace), ("name", &*key.name), ("phase", phase)];
        one(family.encode_family(&labels)?)?;
    }
    let help = format!("Whether {object} has this phase; older form of {name}");
    let name = format!("{kind}_phase");
    let mut family = encoder.encode_descriptor(&name, &help, None, MetricType::Gauge)?;
    for (key, current) in all {
        for phase in PHASES {
            let labels = [("namespace", &*key.namespace), ("name", &*key.name), ("phase", phase.as_str())];
            let is_current = phase == current.unwrap_or(AnalysisPhase::Pending);
            whether(is_current, family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn run_metrics(encoder: &mut DescriptorEncoder, all: &[Stored<RunRecord>]) -> fmt::Result {
    let metrics = || all.iter().flat_map(|run| run.value.figures.iter().map(|of| (&run.identity.key, of)));
    let (name, help) = ("analysis_run_metric_type", "A metric of an AnalysisRun and its provider");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (key, figures) in metrics() {
        let labels = [
            ("namespace", &*key.namespace),
            ("name", &*key.name),
            ("metric", &figures.metric),
            ("type", figures.provider),
        ];
        one(family.encode_family(&labels)?)?;
    }
    let (name, help) = ("analysis_run_metric_phase", "Whether a metric of an AnalysisRun has this phase");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (key, figures) in metrics() {
        let Some((dry_run, current)) = figures.result else { continue };
        for phase in PHASES {
            let labels = [
                ("namespace", &*key.namespace),
                ("name", &*key.name),
                ("metric", &figures.metric),
                ("type", figures.provider),
                ("dry_run", if dry_run { "true" } else { "false" }),
                ("phase", phase.as_str()),
            ];
            whether(phase == current, family.encode_family(&labels)?)?;
        }
    }
    let (name, help) = ("analysis_run_metric_value", "The latest value of a metric of an AnalysisRun");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (key, figures) in metrics() {
        let Some(value) = figures.value else { continue };
        let labels = [
            ("namespace", &*key.namespace),
            ("name", &*key.name),
            ("metric", &figures.metric),
            ("type", figures.provider),
        ];
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    let (name, help) = ("analysis_run_metric_measurements", "Measurements of a metric of an AnalysisRun");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (key, figures) in metrics().filter(|(_, figures)| figures.result.is_some()) {
        for (phase, count) in figures.measurements {
            let labels = [
                ("namespace", &*key.namespace),
                ("name", &*key.name),
                ("metric", &figures.metric),
                ("type", figures.provider),
                ("phase", phase.as_str()),
            ];
            ConstGauge::new(i64::from(count)).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn templates(encoder: &mut DescriptorEncoder, all: &[Stored<TemplateRecord>]) -> fmt::Result {
    let (name, help) = ("analysis_template_info", "An AnalysisTemplate");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for template in all {
        let key = &template.identity.key;
        one(family.encode_family(&[("namespace", &*key.namespace), ("name", &*key.name)])?)?;
    }
    let (name, help) = ("analysis_template_metric_info", "A metric of an AnalysisTemplate and its provider");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for template in all {
        let key = &template.identity.key;
        for figures in &template.value.figures {
            let labels = [
                ("namespace", &*key.namespace),
                ("name", &*key.name),
                ("type", figures.provider),
                ("metric", &figures.metric),
            ];
            one(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn read<T: DeserializeOwned>(mut object: Value) -> T {
        object["metadata"] = json!({"namespace": "shop", "name": "web", "uid": "1", "resourceVersion": "1"});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn queries_of_existing_dashboards_find_their_series() {
        let caches = Arc::new(Caches::new([]));
        let aborted = json!([{"type": "Progressing", "status": "False", "reason": "RolloutAborted"}]);
        caches.rollout_event(Event::Apply(read(
            json!({"spec": {"replicas": 3, "strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {}}]}}},
                "status": {"conditions": aborted, "stableRS": "a", "currentPodHash": "b", "currentStepIndex": 1,
                    "replicas": 4, "updatedReplicas": 1}}),
        )));
        let metrics = json!([{"name": "errors", "provider": {"prometheus": {}}}]);
        let results = json!([{"name": "errors", "phase": "Failed", "failed": 1,
            "measurements": [{"phase": "Failed", "value": "[0.25]"}]}]);
        caches.run_event(Event::Apply(read(
            json!({"spec": {"metrics": metrics}, "status": {"phase": "Failed", "metricResults": results}}),
        )));
        caches.template_event(Event::Apply(read(json!({"spec": {"metrics": metrics}}))));
        caches.experiment_event(Event::Apply(read(json!({"spec": {}, "status": {"phase": "Running"}}))));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Objects(caches)));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for series in [
            r#"rollout_info{N,strategy="canary",traffic_router="",phase="Abort"} 1"#,
            "rollout_info_replicas_desired{N} 3",
            r#"rollout_weight{N,role="canary"} 25.0"#,
            r#"rollout_weight{N,role="stable"} 75.0"#,
            "rollout_current_step{N} 1",
            "rollout_steps{N} 2",
            r#"rollout_revision_info{N,revision="",role="canary",hash="b"} 1"#,
            r#"rollout_revision_info{N,revision="",role="stable",hash="a"} 1"#,
            r#"analysis_run_metric_value{N,metric="errors",type="Prometheus"} 0.25"#,
            r#"analysis_run_metric_measurements{N,metric="errors",type="Prometheus",phase="Failed"} 1"#,
            r#"analysis_run_metric_measurements{N,metric="errors",type="Prometheus",phase="Error"} 0"#,
            r#"rollout_phase{N,strategy="canary",phase="Abort"} 1"#,
            r#"rollout_phase{N,strategy="canary",phase="Completed"} 0"#,
            r#"analysis_run_info{N,phase="Failed"} 1"#,
            r#"analysis_run_phase{N,phase="Failed"} 1"#,
            r#"analysis_run_phase{N,phase="Running"} 0"#,
            r#"analysis_run_metric_type{N,metric="errors",type="Prometheus"} 1"#,
            r#"analysis_run_metric_phase{N,metric="errors",type="Prometheus",dry_run="false",phase="Failed"} 1"#,
            r#"analysis_run_metric_phase{N,metric="errors",type="Prometheus",dry_run="false",phase="Error"} 0"#,
            r#"experiment_info{N,phase="Running"} 1"#,
            r#"experiment_phase{N,phase="Running"} 1"#,
            r#"experiment_phase{N,phase="Failed"} 0"#,
            "analysis_template_info{N} 1",
            r#"workqueue_wait_seconds{name="experiments"}"#,
            r#"analysis_template_metric_info{N,type="Prometheus",metric="errors"} 1"#,
        ] {
            let series = series.replace('N', r#"namespace="shop",name="web""#);
            assert!(text.contains(&series), "{series} is not in\n{text}");
        }
    }
}
