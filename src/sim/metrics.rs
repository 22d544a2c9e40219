//! What the metrics server answers: computed from the traffic that the pods serve, unless the script says otherwise.

use std::collections::BTreeMap;

use super::cluster::Cluster;

/// An answer to a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// An instant vector; empty when no series matches.
    Vector(Vec<f64>),
    /// No answer, and why.
    Error(String),
}

/// Where the answer to a metric's query comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Share of all requests that succeed; every ready pod gets as many. 0/0 without a ready pod.
    Blended,
    /// Share of the canary's requests that succeed. 0/0 without a ready pod of it.
    Canary,
    /// As the script says.
    Fixed(Reading),
}

/// The metrics server.
#[derive(Clone, Debug, Default)]
pub struct MetricsServer {
    sources: BTreeMap<String, Source>,
    down: Option<String>,
}

impl MetricsServer {
    /// From now on the metric's query is answered from `source`.
    pub fn set(&mut self, metric: &str, source: Source) {
        self.sources.insert(metric.to_owned(), source);
    }

    /// From now on every query ends in this error; `None` when the server is back.
    pub fn set_down(&mut self, error: Option<String>) {
        self.down = error;
    }

    /// The answer to a metric's query now.
    #[must_use]
    pub fn query(&self, metric: &str, cluster: &Cluster) -> Reading {
        if let Some(error) = &self.down {
            return Reading::Error(error.clone());
        }
        match self.sources.get(metric).unwrap_or(&Source::Blended) {
            Source::Blended => Reading::Vector(vec![success_rate(cluster, |_| true)]),
            Source::Canary => {
                let status = cluster.rollout().and_then(|rollout| rollout.status.as_ref());
                let current = status.and_then(|status| status.current_pod_hash.clone());
                Reading::Vector(vec![success_rate(cluster, |hash| current.as_deref() == Some(hash))])
            }
            Source::Fixed(reading) => reading.clone(),
        }
    }
}

/// Successful requests over all requests of the chosen revisions, rounded to what a dashboard shows.
fn success_rate(cluster: &Cluster, chosen: impl Fn(&str) -> bool) -> f64 {
    let (mut pods, mut successes) = (0.0, 0.0);
    for revision in cluster.revisions().iter().filter(|revision| chosen(&revision.hash)) {
        let ready = f64::from(u32::try_from(revision.ready).unwrap_or(u32::MAX));
        pods += ready;
        successes += ready * (1.0 - cluster.image(&revision.tag).error_rate);
    }
    (successes / pods * 10_000.0).round() / 10_000.0
}
