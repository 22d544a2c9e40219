//! Where a rollout stands as its users should see it: the stored phase, unless the status is behind the spec.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::text::Sign;
use crate::api::Rollout;
use crate::api::conditions::Condition;
use crate::api::labels::WORKLOAD_GENERATION;

/// The phase of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// All is as the spec says.
    Healthy,
    /// Under way.
    Progressing,
    /// Waiting for a time or a person.
    Paused,
    /// Something went wrong.
    Degraded,
    /// The controller has not said.
    Unknown,
}

impl Phase {
    /// The phase's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Progressing => "Progressing",
            Self::Paused => "Paused",
            Self::Degraded => "Degraded",
            Self::Unknown => "Unknown",
        }
    }

    /// The phase's icon.
    #[must_use]
    pub const fn sign(self) -> Sign {
        match self {
            Self::Healthy => Sign::Good,
            Self::Progressing => Sign::Moving,
            Self::Paused => Sign::Paused,
            Self::Degraded => Sign::Bad,
            Self::Unknown => Sign::Unknown,
        }
    }

    fn parse(text: &str) -> Self {
        let all = [Self::Healthy, Self::Progressing, Self::Paused, Self::Degraded];
        all.into_iter().find(|phase| phase.as_str() == text).unwrap_or(Self::Unknown)
    }
}

/// A phase and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The phase.
    pub phase: Phase,
    /// Why; empty when there is nothing to say.
    pub message: String,
}

/// How the status relates to the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The status was computed from this spec.
    Current,
    /// The status was computed from an earlier spec, or there is none yet.
    Behind {
        /// The generation it was computed from; `None` without a status.
        seen: Option<i64>,
    },
}

/// Whether the controller has seen the spec as it is. A stored generation that is not a number counts as seen, as does
/// one from the future (a restored backup).
#[must_use]
pub fn observation(rollout: &Rollout) -> Observation {
    let status = rollout.status.as_ref();
    let Some(stored) = status.and_then(|status| status.observed_generation.as_ref()) else {
        return Observation::Behind { seen: None };
    };
    match (number(stored), rollout.metadata.generation) {
        (Some(seen), Some(generation)) if seen < generation => Observation::Behind { seen: Some(seen) },
        _ => Observation::Current,
    }
}

/// Where the rollout stands. Three states are not stored, because only a reader can see them: a spec or a workload that
/// the controller has not seen yet, and a pause that a user has ended while the controller has not gone on yet.
#[must_use]
pub fn standing(rollout: &Rollout) -> Standing {
    let waiting = |message: &str| Standing { phase: Phase::Progressing, message: message.to_owned() };
    if observation(rollout) != Observation::Current {
        return waiting("waiting for rollout spec update to be observed");
    }
    if !workload_is_observed(rollout) {
        return waiting("waiting for rollout spec update to be observed for the reference workload");
    }
    if is_unpausing(rollout) {
        return waiting("waiting for rollout to unpause");
    }
    let status = rollout.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).map_or(Phase::Unknown, Phase::parse);
    Standing { phase, message: status.and_then(|status| status.message.clone()).unwrap_or_default() }
}

/// Whether a user has ended a pause and the controller has not taken it up yet.
pub(super) fn is_unpausing(rollout: &Rollout) -> bool {
    rollout.status.as_ref().is_some_and(|status| {
        status.controller_pause == Some(true)
            && status.pause_conditions.as_ref().is_none_or(Vec::is_empty)
            && status.abort != Some(true)
            && rollout.spec.paused != Some(true)
    })
}

/// The condition of a type.
pub(super) fn condition<'a>(rollout: &'a Rollout, wanted: &str) -> Option<&'a Condition> {
    let conditions = rollout.status.as_ref()?.conditions.as_deref().unwrap_or_default();
    conditions.iter().find(|condition| condition.r#type == wanted)
}

fn workload_is_observed(rollout: &Rollout) -> bool {
    let generation = rollout.annotations().get(WORKLOAD_GENERATION);
    let generation = generation.and_then(|text| text.parse::<i64>().ok());
    let status = rollout.status.as_ref();
    let seen = status.and_then(|status| status.workload_observed_generation.as_ref()).and_then(number);
    rollout.spec.workload_ref.is_none() || seen.zip(generation).is_none_or(|(seen, wanted)| seen >= wanted)
}

fn number(stored: &IntOrString) -> Option<i64> {
    match stored {
        IntOrString::Int(number) => Some(i64::from(*number)),
        IntOrString::String(text) => text.parse().ok(),
    }
}
