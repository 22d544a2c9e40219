//! Which announcements a pass may make: those of effects only when the effect was made.

use crate::events::Event;
use crate::rollout::Effect;

/// The announcements that are true once `made` was made. The others are left to the pass that makes their effects.
#[must_use]
pub fn told(events: Vec<Event>, made: &[&Effect]) -> Vec<Event> {
    let is_true =
        |event: &Event| !event.tells_of_an_effect() || made.iter().any(|effect| is_told_by(effect, event));
    events.into_iter().filter(is_true).collect()
}

fn is_told_by(effect: &Effect, event: &Event) -> bool {
    match effect {
        Effect::CreateReplicaSet(new) => match event {
            Event::NewReplicaSetCreated { name, .. } | Event::Scaling { name, .. } => *name == new.name,
            _ => false,
        },
        Effect::ScaleReplicaSet { name: scaled, .. } => {
            matches!(event, Event::Scaling { name, .. } if name == scaled)
        }
        Effect::SwitchService { name: switched, .. } => {
            matches!(event, Event::SwitchService { name, .. } if name == switched)
        }
        Effect::SetTraffic(_) => {
            matches!(
                event,
                Event::WeightUpdated { .. }
                    | Event::ExperimentsWeighted { .. }
                    | Event::RoutesUpdated { .. }
                    | Event::WeightReverted { .. }
                    | Event::RouteRestored
            )
        }
        Effect::ScaleWorkload { name: scaled, .. } => {
            matches!(event, Event::WorkloadScaling { name, .. } if name == scaled)
        }
        Effect::UpdateReplicaSet { .. }
        | Effect::AdjustTemplate(_)
        | Effect::GiveRoutesBack
        | Effect::MarkPod { .. }
        | Effect::EvictPod { .. }
        | Effect::DeleteReplicaSet { .. }
        | Effect::AnnotateRollout { .. }
        | Effect::CreateAnalysisRun(_)
        | Effect::TerminateAnalysisRun { .. }
        | Effect::DeleteAnalysisRun { .. }
        | Effect::CreateExperiment(_)
        | Effect::TerminateExperiment { .. }
        | Effect::DeleteExperiment { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{ReplicaCount, Revision};

    #[test]
    fn effects_that_were_not_made_are_not_told_of_and_all_else_is() {
        let scaling = |name: &str| Event::Scaling {
            name: name.to_owned(),
            revision: Revision::parse(Some("1")),
            from: ReplicaCount::ZERO,
            to: ReplicaCount::ZERO,
        };
        let made = Effect::ScaleReplicaSet {
            name: "made".to_owned(),
            from: ReplicaCount::ZERO,
            to: ReplicaCount::ZERO,
            desired: ReplicaCount::ZERO,
            annotations: [].into(),
        };
        let events = vec![scaling("made"), scaling("failed"), Event::Paused];
        assert_eq!(told(events, &[&made]), [scaling("made"), Event::Paused]);
    }
}
