//! How far the updates of Rollouts have come: weights, steps, and the revisions in play.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::one;
use crate::controller::caches::Caches;
use crate::controller::figures::Standing;
use crate::controller::records::{RolloutRecord, owned_by};
use crate::controller::store::{Identity, Key, OwnerKind, Stored};

/// Roles of revisions, as metrics call them: also the preview of a blue-green update is a canary.
const CANARY: &str = "canary";
const STABLE: &str = "stable";

/// Renders the standing of every Rollout that can be read.
pub(super) fn encode(
    encoder: &mut DescriptorEncoder,
    caches: &Caches,
    all: &[Stored<RolloutRecord>],
) -> fmt::Result {
    let all: Vec<(&Identity, &Standing)> = all
        .iter()
        .filter_map(|found| Some((&found.identity, &found.value.content.as_ref().ok()?.figures.standing)))
        .collect();
    weights(encoder, &all)?;
    steps(encoder, &all)?;
    revisions(encoder, caches, &all)
}

fn labels(key: &Key) -> [(&'static str, &str); 2] {
    [("namespace", &*key.namespace), ("name", &*key.name)]
}

fn weights(encoder: &mut DescriptorEncoder, all: &[(&Identity, &Standing)]) -> fmt::Result {
    let help = "Percent of the requests that go to a version";
    let mut family = encoder.encode_descriptor("rollout_weight", help, None, MetricType::Gauge)?;
    for (identity, standing) in all {
        let Some((canary, stable)) = standing.weights else { continue };
        let [namespace, name] = labels(&identity.key);
        for (role, weight) in [(CANARY, canary), (STABLE, stable)] {
            ConstGauge::new(weight).encode(family.encode_family(&[namespace, name, ("role", role)])?)?;
        }
    }
    Ok(())
}

fn steps(encoder: &mut DescriptorEncoder, all: &[(&Identity, &Standing)]) -> fmt::Result {
    let steps = || all.iter().filter_map(|(identity, standing)| Some((&identity.key, standing.step?)));
    let help = "Position of a Rollout in its steps, from 0; their number once all are done";
    let mut family = encoder.encode_descriptor("rollout_current_step", help, None, MetricType::Gauge)?;
    for (key, (index, _)) in steps() {
        ConstGauge::new(i64::from(index)).encode(family.encode_family(&labels(key))?)?;
    }
    let help = "Steps of a Rollout";
    let mut family = encoder.encode_descriptor("rollout_steps", help, None, MetricType::Gauge)?;
    for (key, (_, count)) in steps() {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        ConstGauge::new(count).encode(family.encode_family(&labels(key))?)?;
    }
    Ok(())
}

fn revisions(
    encoder: &mut DescriptorEncoder,
    caches: &Caches,
    all: &[(&Identity, &Standing)],
) -> fmt::Result {
    let help = "A revision in play and its pod hash";
    let mut family = encoder.encode_descriptor("rollout_revision_info", help, None, MetricType::Gauge)?;
    for (identity, standing) in all {
        let sets = caches.replica_sets.linked(&owned_by(OwnerKind::Rollout, identity));
        for (role, hash) in [(CANARY, &standing.canary), (STABLE, &standing.stable)] {
            let Some(hash) = hash.as_deref() else { continue };
            let mut views = sets.iter().filter_map(|found| found.value.view.as_ref());
            let set = views.find(|set| set.hash.as_str() == hash);
            let revision = set.map(|set| set.revision.to_string()).unwrap_or_default();
            let [namespace, name] = labels(&identity.key);
            let revision = ("revision", revision.as_str());
            one(family.encode_family(&[namespace, name, revision, ("role", role), ("hash", hash)])?)?;
        }
    }
    Ok(())
}
