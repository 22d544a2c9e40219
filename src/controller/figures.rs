//! What the metrics show of each object, in the words that dashboards of this API know. Every word is from a closed set,
//! except names.

mod standing;

use crate::api::analysis_run::MetricResult;
use crate::api::analysis_template::Metric;
use crate::api::metric_provider::MetricProvider;
use crate::api::traffic_routing::TrafficRouting;
use crate::api::{AnalysisPhase, AnalysisRun, AnalysisTemplateSpec, Rollout, RolloutStatus};

pub(crate) use standing::Standing;

/// Where a Rollout stands, as its metrics call it: not the phase of its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RolloutPhase {
    /// The newest revision is stable and available.
    Completed,
    /// Something is going on.
    #[default]
    Progressing,
    /// It waits for a person or for time.
    Paused,
    /// The update made no progress for too long.
    Timeout,
    /// Pods cannot be created.
    Error,
    /// The update was taken back.
    Abort,
    /// The spec cannot be worked with.
    InvalidSpec,
}

impl RolloutPhase {
    /// Those that the older metric `rollout_phase` shows, each with 0 or 1.
    pub(crate) const OF_THE_OLDER_METRIC: [Self; 6] =
        [Self::Completed, Self::Progressing, Self::Paused, Self::Timeout, Self::Error, Self::Abort];

    /// Its name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "Completed",
            Self::Progressing => "Progressing",
            Self::Paused => "Paused",
            Self::Timeout => "Timeout",
            Self::Error => "Error",
            Self::Abort => "Abort",
            Self::InvalidSpec => "InvalidSpec",
        }
    }

    fn of(status: &RolloutStatus) -> Self {
        let condition = |kind: &str| status.conditions.iter().flatten().find(|found| found.r#type == kind);
        let is_true = |kind: &str| condition(kind).is_some_and(|found| found.status == "True");
        if is_true("InvalidSpec") {
            return Self::InvalidSpec;
        }
        match condition("Progressing").and_then(|found| found.reason.as_deref()) {
            Some("NewReplicaSetAvailable") => Self::Completed,
            Some("RolloutPaused") => Self::Paused,
            Some("ProgressDeadlineExceeded") => Self::Timeout,
            Some("RolloutAborted") => Self::Abort,
            _ if is_true("ReplicaFailure") => Self::Error,
            _ => Self::Progressing,
        }
    }
}

/// What the metrics show of a Rollout.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) strategy: &'static str,
    pub(crate) traffic_router: String,
    pub(crate) phase: RolloutPhase,
    pub(crate) desired: i32,
    pub(crate) available: i32,
    pub(crate) updated: i32,
    pub(crate) unavailable: i32,
    pub(crate) standing: Standing,
}

impl Figures {
    pub(crate) fn new(rollout: &Rollout) -> Self {
        let none = RolloutStatus::default();
        let status = rollout.status.as_ref().unwrap_or(&none);
        let strategy = rollout.spec.strategy.as_ref();
        let canary = strategy.and_then(|strategy| strategy.canary.as_ref());
        let routing = canary.and_then(|canary| canary.traffic_routing.as_ref());
        let (all, available) =
            (status.replicas.unwrap_or_default(), status.available_replicas.unwrap_or_default());
        Self {
            strategy: match strategy {
                Some(strategy) if strategy.blue_green.is_some() => "blueGreen",
                Some(strategy) if strategy.canary.is_some() => "canary",
                _ => "none",
            },
            traffic_router: routing.map(traffic_routers).unwrap_or_default(),
            phase: RolloutPhase::of(status),
            desired: rollout.spec.replicas.unwrap_or(1),
            available,
            updated: status.updated_replicas.unwrap_or_default(),
            unavailable: all.saturating_sub(available).max(0),
            standing: Standing::new(rollout, status),
        }
    }

    /// Those of a Rollout that cannot be read.
    pub(crate) fn unreadable() -> Self {
        Self { strategy: "none", phase: RolloutPhase::InvalidSpec, ..Self::default() }
    }
}

/// The routers of a canary, by comma.
fn traffic_routers(routing: &TrafficRouting) -> String {
    let routers = [
        ("ALB", routing.alb.is_some()),
        ("Ambassador", routing.ambassador.is_some()),
        ("Apisix", routing.apisix.is_some()),
        ("AppMesh", routing.app_mesh.is_some()),
        ("Istio", routing.istio.is_some()),
        ("Nginx", routing.nginx.is_some()),
        ("Plugins", routing.plugins.is_some()),
        ("SMI", routing.smi.is_some()),
        ("Traefik", routing.traefik.is_some()),
    ];
    let names: Vec<_> = routers.into_iter().filter(|(_, used)| *used).map(|(name, _)| name).collect();
    names.join(",")
}

/// What the metrics show of one metric of a run or of a template.
#[derive(Debug, PartialEq)]
pub(crate) struct MetricFigures {
    pub(crate) metric: String,
    pub(crate) provider: &'static str,
    /// Whether it is measured without deciding, and its phase; `None` in a template, and before the first measurement.
    pub(crate) result: Option<(bool, AnalysisPhase)>,
    /// The latest value that was measured, where it is one finite number.
    pub(crate) value: Option<f64>,
    /// How many measurements had each verdict.
    pub(crate) measurements: [(AnalysisPhase, i32); 4],
}

impl MetricFigures {
    /// Those of a run, metric by metric.
    pub(crate) fn of_run(run: &AnalysisRun) -> Vec<Self> {
        let results = || run.status.iter().filter_map(|status| status.metric_results.as_ref()).flatten();
        let result = |name: &str| results().find(|result| result.name == name);
        let figures = |metric: &Metric| match result(&metric.name) {
            Some(result) => Self {
                result: Some((result.dry_run == Some(true), result.phase)),
                value: latest_number(result),
                measurements: measurements(Some(result)),
                ..Self::new(metric)
            },
            None => Self::new(metric),
        };
        run.spec.metrics.iter().flatten().map(figures).collect()
    }

    /// Those of a template, metric by metric.
    pub(crate) fn of_template(spec: &AnalysisTemplateSpec) -> Vec<Self> {
        spec.metrics.iter().flatten().map(Self::new).collect()
    }

    fn new(metric: &Metric) -> Self {
        Self {
            metric: metric.name.clone(),
            provider: provider(&metric.provider),
            result: None,
            value: None,
            measurements: measurements(None),
        }
    }
}

/// The latest value of a metric; Prometheus gives a list even where there is one number.
fn latest_number(result: &MetricResult) -> Option<f64> {
    let value = result.measurements.iter().flatten().rev().find_map(|measured| measured.value.as_deref())?;
    let value = value.trim();
    let inner = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(value);
    inner.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Measurements of a metric by verdict.
fn measurements(result: Option<&MetricResult>) -> [(AnalysisPhase, i32); 4] {
    let count = |of: fn(&MetricResult) -> Option<i32>| result.and_then(of).unwrap_or_default();
    [
        (AnalysisPhase::Successful, count(|result| result.successful)),
        (AnalysisPhase::Failed, count(|result| result.failed)),
        (AnalysisPhase::Inconclusive, count(|result| result.inconclusive)),
        (AnalysisPhase::Error, count(|result| result.error)),
    ]
}

/// The name of a provider.
fn provider(provider: &MetricProvider) -> &'static str {
    let providers = [
        ("Prometheus", provider.prometheus.is_some()),
        ("Job", provider.job.is_some()),
        ("Kayenta", provider.kayenta.is_some()),
        ("Web", provider.web.is_some()),
        ("Datadog", provider.datadog.is_some()),
        ("Wavefront", provider.wavefront.is_some()),
        ("NewRelic", provider.new_relic.is_some()),
        ("CloudWatch", provider.cloud_watch.is_some()),
        ("Graphite", provider.graphite.is_some()),
        ("Influxdb", provider.influxdb.is_some()),
        ("skywalking", provider.skywalking.is_some()),
        ("Dynatrace", provider.dynatrace.is_some()),
        ("Splunk", provider.splunk.is_some()),
        ("Stackdriver", provider.stackdriver.is_some()),
        ("RPCPlugin", provider.plugin.is_some()),
    ];
    providers.into_iter().find(|(_, used)| *used).map_or("Unknown Provider", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn figures(status: &Value) -> Figures {
        let strategy = json!({"canary": {"trafficRouting": {"istio": {}, "alb": {"ingress": "i", "servicePort": 80},
            "managedRoutes": [{"name": "r"}]}}});
        let rollout = json!({"metadata": {}, "spec": {"strategy": strategy}, "status": status});
        Figures::new(&serde_json::from_value(rollout).unwrap())
    }

    fn phase(conditions: &[(&str, &str, &str)]) -> &'static str {
        let condition = |(kind, status, reason): &(&str, &str, &str)| json!({"type": kind, "status": status, "reason": reason});
        let conditions: Vec<_> = conditions.iter().map(condition).collect();
        figures(&json!({"conditions": conditions})).phase.as_str()
    }

    #[test]
    fn a_rollout_stands_where_dashboards_look_for_it() {
        for (reason, expected) in [
            ("NewReplicaSetAvailable", "Completed"),
            ("ReplicaSetUpdated", "Progressing"),
            ("RolloutPaused", "Paused"),
            ("ProgressDeadlineExceeded", "Timeout"),
            ("RolloutAborted", "Abort"),
        ] {
            assert_eq!(phase(&[("InvalidSpec", "False", ""), ("Progressing", "True", reason)]), expected);
        }
        assert_eq!(phase(&[("Progressing", "True", "x"), ("ReplicaFailure", "True", "")]), "Error");
        assert_eq!(
            phase(&[("Progressing", "True", "RolloutAborted"), ("InvalidSpec", "True", "")]),
            "InvalidSpec"
        );
        assert_eq!(phase(&[]), "Progressing");
        assert_eq!(figures(&json!({})).traffic_router, "ALB,Istio");
    }

    #[test]
    fn no_status_is_too_odd_for_the_figures() {
        let figures = figures(&json!({"replicas": i32::MAX, "availableReplicas": i32::MIN}));
        assert_eq!((figures.unavailable, figures.desired), (i32::MAX, 1));
    }

    #[test]
    fn a_metric_is_shown_before_it_is_measured() {
        let run: AnalysisRun = serde_json::from_value(json!({
            "metadata": {},
            "spec": {"metrics": [
                {"name": "a", "provider": {"prometheus": {}}}, {"name": "b", "provider": {"newRelic": {}}},
            ]},
            "status": {"phase": "Running", "metricResults": [{"name": "a", "phase": "Failed", "dryRun": true}]},
        }))
        .unwrap();
        let figures = MetricFigures::of_run(&run);
        let shown: Vec<_> =
            figures.iter().map(|of| (of.metric.as_str(), of.provider, of.result, of.value)).collect();
        let failed = Some((true, AnalysisPhase::Failed));
        assert_eq!(shown, [("a", "Prometheus", failed, None), ("b", "NewRelic", None, None)]);
    }

    #[test]
    fn the_latest_value_of_a_metric_is_shown_where_it_is_a_number() {
        let latest = |values: Value| {
            let measured = |value: &Value| json!({"phase": "Successful", "value": value});
            let measurements: Vec<_> = values.as_array().unwrap().iter().map(measured).collect();
            let result = json!({"name": "a", "phase": "Running", "measurements": measurements});
            latest_number(&serde_json::from_value(result).unwrap())
        };
        assert_eq!(latest(json!(["[0.5]", "[0.75]"])), Some(0.75));
        assert_eq!(latest(json!(["3"])), Some(3.0));
        assert_eq!(latest(json!(["3", null])), Some(3.0));
        for none in [json!([]), json!(["[1,2]"]), json!(["NaN"]), json!(["true"]), json!(["{\"a\":1}"])] {
            assert_eq!(latest(none.clone()), None, "{none}");
        }
    }
}
