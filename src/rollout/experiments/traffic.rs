//! What the Experiment of a step gets of the traffic: what its templates ask for, at stable's cost, while it runs.
//!
//! A template gets its share once all of its pods are available and requests to its Service reach them. It keeps the share
//! for as long as one of them answers, and loses it as soon as the Experiment has ended or nobody wants it any more.

use std::collections::BTreeMap;

use super::super::endpoints;
use super::super::progress::Progress;
use super::super::snapshot::Snapshot;
use super::super::valid::{Routing, Step, Strategy};
use super::super::weights;
use super::super::world::World;
use super::{StepExperiment, find, is_stopped, phase, step_at};
use crate::api::experiment::TemplateStatus;
use crate::api::rollout_status::WeightDestination;
use crate::api::{AnalysisPhase, Experiment};
use crate::events::Event;
use crate::traffic::{Destination, ExperimentShare, ObservedTraffic, TrafficTarget};
use crate::units::{PodHash, ReplicaCount, Weight};

/// Status of a template whose pods are all available.
const RUNNING: &str = "Running";

/// What the Experiment of the current step gets beside the canary's `weight`, those that come first in full.
#[must_use]
pub(in crate::rollout) fn shares(
    world: &World,
    progress: &Progress,
    routing: &Routing,
    weight: Weight,
) -> Vec<ExperimentShare> {
    let Some((step, found)) = wanted(world, progress) else { return vec![] };
    let mut rest = weight.rest_of(routing.scale);
    let shares = step.templates.iter().filter_map(|template| {
        let weight = template.weight?.min(rest);
        let status = status_of(found, &template.name)?;
        let pods = ReplicaCount::from_status(template.replicas.unwrap_or(1));
        let name = status.service_name.clone()?;
        if weight == Weight::ZERO
            || is_emptied(found, &template.name)
            || !can_serve(world, status, &name, pods)
        {
            return None;
        }
        rest = weight.rest_of(rest);
        let hash = status.pod_template_hash.clone().and_then(PodHash::new);
        Some(ExperimentShare { to: Destination { name, hash }, weight })
    });
    shares.collect()
}

/// What the router should do while nothing else moves, where Experiments have traffic that they should not have any more.
pub(in crate::rollout) fn relieved(world: &World, progress: &Progress) -> Option<TrafficTarget> {
    let target = followed(world, progress)?;
    let observed = world.snapshot.traffic.as_ref()?;
    observed.experiments.keys().any(|name| target.experiment(name).is_none()).then_some(target)
}

/// What the router should do while nothing else moves, where Experiments have not what they should. The time of one runs on
/// while a person holds the update, and one without its share would judge nothing.
pub(in crate::rollout) fn followed(world: &World, progress: &Progress) -> Option<TrafficTarget> {
    let Strategy::Routed(routing) = &world.spec.strategy else { return None };
    let observed = world.snapshot.traffic.as_ref()?;
    if observed.is_unclear && world.snapshot.told.is_none() {
        // Nobody knows what the canary had, and it is not to lose it for this.
        return None;
    }
    let told = weights::told(world, progress, routing)?;
    let experiments = shares(world, progress, routing, told);
    let target = weights::target(world, progress, routing, told);
    let target = TrafficTarget { weight: told, experiments, ..target };
    (weights::has_destinations(routing) && !are_served(&target, observed)).then_some(target)
}

/// What is announced of what Experiments get; `None` where they have it.
pub(in crate::rollout) fn news(target: &TrafficTarget, observed: &ObservedTraffic) -> Option<Event> {
    let shares = target.experiments.iter().map(|share| (share.to.name.clone(), share.weight));
    (!are_served(target, observed)).then(|| Event::ExperimentsWeighted { shares: shares.collect() })
}

/// Whether Experiments have what they should of the traffic, and no others.
pub(in crate::rollout) fn are_served(target: &TrafficTarget, observed: &ObservedTraffic) -> bool {
    let wanted = target.experiments.iter().map(|share| (share.to.name.clone(), share.weight.get()));
    observed.experiments == wanted.collect()
}

/// Whether the route leads to an Experiment, or may: what cannot be seen for sure is as it was told last.
pub(in crate::rollout) fn may_have_shares(snapshot: &Snapshot) -> bool {
    let Some(observed) = &snapshot.traffic else { return stored(snapshot).next().is_some() };
    !observed.experiments.is_empty() || (!is_clear(observed) && stored(snapshot).next().is_some())
}

/// Whether what is seen of the route is all that there is: what makes no sense, and what is not followed yet, may hide more.
fn is_clear(observed: &ObservedTraffic) -> bool {
    !observed.is_unclear && observed.verified != Some(false)
}

/// What the status says of Experiments. One stays there, with nothing, for as long as the route may lead to it: it is known
/// by this alone, and its pods stay as long.
pub(in crate::rollout) fn told(
    snapshot: &Snapshot,
    target: &TrafficTarget,
    observed: &ObservedTraffic,
) -> Vec<WeightDestination> {
    let shares = target.experiments.iter().map(|share| WeightDestination {
        weight: share.weight.to_status(),
        service_name: Some(share.to.name.clone()),
        pod_template_hash: share.to.hash.as_ref().map(ToString::to_string),
    });
    let hidden =
        stored(snapshot).filter(|_| !is_clear(observed)).filter_map(|share| share.service_name.clone());
    let mut others: Vec<String> = observed.experiments.keys().cloned().chain(hidden).collect();
    others.retain(|name| target.experiments.iter().all(|share| share.to.name != *name));
    others.sort();
    others.dedup();
    let over = others
        .into_iter()
        .map(|name| WeightDestination { service_name: Some(name), ..WeightDestination::default() });
    shares.chain(over).collect()
}

/// What the status says of Experiments while the router is told nothing: they are forgotten once the route leads there no more.
pub(in crate::rollout) fn still_told(
    told: Option<Vec<WeightDestination>>,
    observed: &ObservedTraffic,
) -> Option<Vec<WeightDestination>> {
    let mut told = told?;
    let is_known = |name: &String| observed.experiments.contains_key(name);
    told.retain(|share| !is_clear(observed) || share.service_name.as_ref().is_some_and(is_known));
    Some(told).filter(|told| !told.is_empty())
}

/// Services of the current Experiment that may get their first share, each with the pods that it takes.
pub(in crate::rollout) fn entering(snapshot: &Snapshot) -> BTreeMap<String, ReplicaCount> {
    let status = snapshot.rollout.status.as_ref();
    let recorded = status.and_then(|status| status.canary.as_ref()?.current_experiment.as_deref());
    let index = status.and_then(|status| usize::try_from(status.current_step_index?).ok());
    let step = index.and_then(|index| step_at(snapshot, index)?.experiment.as_ref());
    let found = recorded.and_then(|name| find(snapshot, name)).filter(|found| runs(found));
    let (Some(step), Some(found)) = (step, found) else { return BTreeMap::new() };
    let asking = step.templates.iter().flatten().filter(|template| template.weight.unwrap_or_default() > 0);
    let entering = asking.filter_map(|template| {
        let status = status_of(found, &template.name).filter(|status| is_whole(status))?;
        let name = status.service_name.clone().filter(|name| !has_share(snapshot, name))?;
        Some((name, ReplicaCount::from_status(template.replicas.unwrap_or(1))))
    });
    entering.collect()
}

/// The step and the Experiment that may have shares now.
fn wanted<'a>(world: &World<'a>, progress: &Progress) -> Option<(&'a StepExperiment, &'a Experiment)> {
    if progress.abort || progress.promote_full || world.snapshot.leaves_route {
        return None;
    }
    let Some(Step::Experiment(step)) = world.step(progress) else { return None };
    let found = find(world.snapshot, progress.experiment.as_ref()?)?;
    runs(found).then_some((step, found))
}

fn runs(found: &Experiment) -> bool {
    phase(found) == Some(AnalysisPhase::Running) && !is_stopped(found)
}

/// Whether the Service of a template can have a share now. A first one takes all pods, and that requests reach them.
fn can_serve(world: &World, status: &TemplateStatus, service: &str, pods: ReplicaCount) -> bool {
    let available = ReplicaCount::from_status(status.available_replicas.unwrap_or_default());
    if available == ReplicaCount::ZERO {
        return false;
    }
    let is_reached = || endpoints::reached_by_any(world, service).is_none_or(|reached| reached >= pods);
    has_share(world.snapshot, service) || (is_whole(status) && is_reached())
}

/// Whether somebody has taken all pods from a template of an Experiment.
fn is_emptied(found: &Experiment, template: &str) -> bool {
    let mut templates = found.spec.templates.iter().flatten();
    templates.any(|given| given.name == template && given.replicas == Some(0))
}

fn is_whole(status: &TemplateStatus) -> bool {
    status.status.as_deref() == Some(RUNNING)
}

/// Whether the route leads to a Service already.
fn has_share(snapshot: &Snapshot, service: &str) -> bool {
    let Some(observed) = &snapshot.traffic else { return false };
    // Where the route makes no sense, it is about to say again what it was told last.
    let was_told = |share: &WeightDestination| {
        share.weight > 0 && share.service_name.as_deref() == Some(service) && observed.is_unclear
    };
    observed.experiments.contains_key(service) || stored(snapshot).any(was_told)
}

/// What the stored status says of Experiments.
fn stored(snapshot: &Snapshot) -> impl Iterator<Item = &WeightDestination> {
    let canary = snapshot.rollout.status.as_ref().and_then(|status| status.canary.as_ref());
    canary.and_then(|canary| canary.weights.as_ref()?.additional.as_ref()).into_iter().flatten()
}

fn status_of<'a>(found: &'a Experiment, template: &str) -> Option<&'a TemplateStatus> {
    let statuses = found.status.as_ref()?.template_statuses.as_deref().unwrap_or_default();
    statuses.iter().find(|status| status.name == template)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::rollout::deadline::Deadline;
    use crate::rollout::endpoints::{Behind, Reading};
    use crate::rollout::tests::Bench;
    use crate::rollout::{Effect, decide};

    /// A canary with 20 of 100 at a step whose Experiment runs and asks for 15, with the Experiment's name. The route gives
    /// it nothing yet.
    fn running() -> (Bench, String) {
        let templates = json!([
            {"name": "a", "specRef": "stable", "weight": 10}, {"name": "b", "specRef": "canary", "weight": 5},
        ]);
        let mut bench = Bench::new(5, &json!([]));
        bench.settle();
        bench.route(20);
        let spec = &mut bench.snapshot.rollout.spec;
        let canary = spec.strategy.as_mut().unwrap().canary.as_mut().unwrap();
        canary.traffic_routing = Some(serde_json::from_value(json!({"smi": {}})).unwrap());
        let steps = json!([{"setWeight": 20}, {"experiment": {"templates": templates}}]);
        canary.steps = Some(serde_json::from_value(steps).unwrap());
        bench.release("v2");
        let template = bench.snapshot.rollout.spec.template.as_mut().unwrap();
        template["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80}]);
        bench.snapshot.stable_template = Some(template.clone());
        bench.pass_with_the_canary_on(1);
        let name = bench.status().canary.clone().unwrap().current_experiment.unwrap();
        let status = |name: &str| json!({"name": name, "status": "Running", "availableReplicas": 1, "serviceName": format!("try-{name}"), "podTemplateHash": name});
        let status = json!({"phase": "Running", "templateStatuses": [status("a"), status("b")]});
        bench.snapshot.experiments[0].status = Some(serde_json::from_value(status).unwrap());
        (bench, name)
    }

    /// What the router is told of Experiments; `None` when it is told nothing.
    fn told(bench: &Bench) -> Option<Vec<(String, u32)>> {
        let plan = decide(&bench.snapshot);
        let shares = &plan.traffic()?.experiments;
        Some(shares.iter().map(|share| (share.to.name.clone(), share.weight.get())).collect())
    }

    fn both() -> Vec<(String, u32)> {
        vec![("try-a".to_owned(), 10), ("try-b".to_owned(), 5)]
    }

    /// The route gives Experiments their shares, and the status tells of it.
    fn follow(bench: &mut Bench) {
        let plan = decide(&bench.snapshot);
        bench.apply(plan);
        bench.snapshot.traffic = Some(ObservedTraffic {
            experiments: both().into_iter().collect(),
            ..bench.snapshot.traffic.clone().unwrap()
        });
    }

    fn end(bench: &mut Bench, phase: AnalysisPhase) {
        bench.snapshot.experiments[0].status.as_mut().unwrap().phase = Some(phase);
    }

    #[test]
    fn an_experiment_gets_its_weights_from_stable_while_it_runs() {
        let (mut bench, _) = running();
        let target = decide(&bench.snapshot).traffic().cloned().unwrap();
        assert_eq!((target.weight.get(), target.stable_weight().get()), (20, 65));
        assert_eq!(told(&bench), Some(both()));
        follow(&mut bench);
        let additional = bench.status().canary.clone().unwrap().weights.unwrap().additional.unwrap();
        assert_eq!(additional.iter().map(|share| share.weight).collect::<Vec<_>>(), [10, 5]);
        assert_eq!(told(&bench), None, "it has them");
    }

    /// Of the first template's pods, so many are available, and its status is this.
    fn stands(bench: &mut Bench, status: &str, available: i32) {
        let found = bench.snapshot.experiments[0].status.as_mut().unwrap();
        let template = &mut found.template_statuses.as_mut().unwrap()[0];
        template.status = Some(status.to_owned());
        template.available_replicas = Some(available);
    }

    #[test]
    fn a_first_share_takes_all_pods_and_goes_when_none_is_left() {
        let (mut bench, _) = running();
        stands(&mut bench, "Progressing", 1);
        assert_eq!(told(&bench), Some(vec![("try-b".to_owned(), 5)]));
        stands(&mut bench, "Running", 0);
        assert_eq!(told(&bench), Some(vec![("try-b".to_owned(), 5)]));
        stands(&mut bench, "Running", 1);
        follow(&mut bench);
        stands(&mut bench, "Progressing", 1);
        assert_eq!(told(&bench), None, "one that is not ready is no reason to take the share away");
        stands(&mut bench, "Progressing", 0);
        assert_eq!(told(&bench), Some(vec![("try-b".to_owned(), 5)]));
    }

    #[test]
    fn a_first_share_waits_until_pods_are_published_behind_the_service() {
        let (mut bench, name) = running();
        assert_eq!(entering(&bench.snapshot).len(), 2);
        assert!(endpoints::are_needed(&bench.snapshot));
        let publish = |bench: &mut Bench, pods: &[(&str, u32)]| {
            let of = |(service, count): &(&str, u32)| {
                let pods = [(format!("{name}-{service}"), ReplicaCount::new(*count))];
                ((*service).to_owned(), pods.into())
            };
            let of_stable = (bench.snapshot.replica_sets[0].name.clone(), ReplicaCount::new(5));
            let stable = ("stable".to_owned(), [of_stable].into());
            let behind = pods.iter().map(of).chain([stable]).collect();
            bench.snapshot.endpoints.reading = Reading::Found(behind);
        };
        publish(&mut bench, &[]);
        assert_eq!(told(&bench), None, "a Service that nothing is published of yet is new");
        let plan = decide(&bench.snapshot);
        assert_eq!(plan.missing_endpoints, ReplicaCount::new(2));
        assert_eq!(plan.wake.map(|wake| wake.why), Some(Deadline::Endpoints));
        publish(&mut bench, &[("try-a", 0), ("try-b", 1)]);
        assert_eq!(told(&bench), Some(vec![("try-b".to_owned(), 5)]));
        publish(&mut bench, &[("try-a", 1), ("try-b", 1)]);
        follow(&mut bench);
        publish(&mut bench, &[("try-a", 0), ("try-b", 0)]);
        assert_eq!(told(&bench), None, "it was the first one that waited");
        assert!(entering(&bench.snapshot).is_empty());
    }

    #[test]
    fn a_first_share_waits_for_endpoints_that_cannot_be_read_but_not_for_ever() {
        let (mut bench, _) = running();
        let since = bench.snapshot.now;
        bench.snapshot.endpoints.reading = Reading::Unreadable { since };
        assert_eq!(told(&bench), None);
        bench.pass_seconds(31);
        assert_eq!(told(&bench), Some(both()));
        bench.snapshot.endpoints.reading = Reading::Found(Behind::new());
        assert_eq!(told(&bench), Some(both()), "nobody publishes anything");
    }

    #[test]
    fn an_update_that_is_taken_back_or_promoted_takes_all_shares_back_at_once() {
        type Act = fn(&mut Bench);
        let promote: Act = |bench| bench.status().current_step_index = Some(2);
        let acts: [Act; 3] = [
            |bench| bench.status().abort = Some(true),
            |bench| bench.status().promote_full = Some(true),
            promote,
        ];
        for act in acts {
            let (mut bench, _) = running();
            follow(&mut bench);
            act(&mut bench);
            assert_eq!(told(&bench), Some(vec![]));
        }
    }

    #[test]
    fn an_experiment_gets_its_share_while_a_person_holds_the_update() {
        let (mut bench, _) = running();
        bench.snapshot.rollout.spec.paused = Some(true);
        assert_eq!(told(&bench), Some(both()), "its time runs on");
        bench.snapshot.rollout.spec.paused = None;
        let pause = json!([{"reason": "InconclusiveAnalysisRun", "startTime": "2026-01-01T00:00:00Z"}]);
        bench.status().pause_conditions = Some(serde_json::from_value(pause).unwrap());
        bench.status().controller_pause = Some(true);
        assert_eq!(told(&bench), None, "nobody knows whether the new version is well");
    }

    #[test]
    fn a_template_that_somebody_takes_all_pods_from_loses_its_share() {
        let (mut bench, _) = running();
        follow(&mut bench);
        bench.snapshot.experiments[0].spec.templates.as_mut().unwrap()[0].replicas = Some(0);
        assert_eq!(told(&bench), Some(vec![("try-b".to_owned(), 5)]));
    }

    #[test]
    fn an_experiment_that_is_being_deleted_or_was_edited_to_nonsense_loses_its_shares() {
        type Act = fn(&mut Experiment);
        let acts: [Act; 2] = [
            |found| {
                let at = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
                found.metadata.deletion_timestamp = Some(at);
            },
            |found| {
                let condition = json!([{"type": "InvalidExperimentSpec", "status": "True"}]);
                found.status.as_mut().unwrap().conditions = Some(serde_json::from_value(condition).unwrap());
            },
        ];
        for act in acts {
            let (mut bench, _) = running();
            follow(&mut bench);
            bench.snapshot.rollout.spec.paused = Some(true);
            act(&mut bench.snapshot.experiments[0]);
            assert_eq!(told(&bench), Some(vec![]));
        }
    }

    #[test]
    fn an_experiment_that_ends_gets_nothing_however_it_ends_and_whatever_is_held() {
        for phase in [AnalysisPhase::Successful, AnalysisPhase::Failed, AnalysisPhase::Inconclusive] {
            let (mut bench, _) = running();
            follow(&mut bench);
            end(&mut bench, phase);
            assert_eq!(told(&bench), Some(vec![]), "{phase}");
        }
        let (mut bench, _) = running();
        follow(&mut bench);
        bench.snapshot.rollout.spec.paused = Some(true);
        assert_eq!(told(&bench), None, "a hold leaves what goes on");
        end(&mut bench, AnalysisPhase::Inconclusive);
        assert_eq!(told(&bench), Some(vec![]), "held by hand");
        bench.snapshot.rollout.spec.min_ready_seconds = Some(-1);
        let plan = decide(&bench.snapshot);
        let target = plan.traffic().unwrap();
        assert_eq!((target.weight.get(), target.experiments.len()), (20, 0), "the spec is invalid");
    }

    /// Services of Experiments that the status names.
    fn known(bench: &mut Bench) -> Vec<String> {
        let additional = bench.status().canary.clone().unwrap().weights.unwrap().additional;
        additional.into_iter().flatten().filter_map(|share| share.service_name).collect()
    }

    /// A pass after which the route says this.
    fn pass(bench: &mut Bench, traffic: Option<ObservedTraffic>) {
        let plan = decide(&bench.snapshot);
        bench.apply(plan);
        bench.snapshot.traffic = traffic;
        let plan = decide(&bench.snapshot);
        bench.apply(plan);
    }

    #[test]
    fn what_had_a_share_is_known_until_the_route_leads_there_no_more() {
        for is_held in [false, true] {
            let (mut bench, _) = running();
            follow(&mut bench);
            bench.snapshot.rollout.spec.paused = Some(is_held);
            end(&mut bench, AnalysisPhase::Inconclusive);
            let led = bench.snapshot.traffic.clone().unwrap();
            let left = ObservedTraffic { experiments: BTreeMap::new(), ..led.clone() };
            let nowhere = ObservedTraffic { is_unclear: true, ..left.clone() };
            let late = ObservedTraffic { verified: Some(false), ..left.clone() };
            for hiding in [Some(led), None, Some(nowhere), Some(late)] {
                pass(&mut bench, hiding.clone());
                assert_eq!(known(&mut bench), ["try-a", "try-b"], "{hiding:?}");
            }
            pass(&mut bench, Some(left));
            assert_eq!(known(&mut bench), [""; 0]);
        }
    }

    #[test]
    fn a_route_that_makes_no_sense_takes_no_share_away() {
        let (mut bench, _) = running();
        follow(&mut bench);
        bench.snapshot.endpoints.reading = Reading::Unreadable { since: bench.snapshot.now };
        bench.snapshot.traffic.as_mut().unwrap().experiments.clear();
        bench.snapshot.traffic.as_mut().unwrap().is_unclear = true;
        assert_eq!(told(&bench), Some(both()));
    }

    #[test]
    fn a_route_that_is_left_loses_the_shares_first_and_the_experiment_goes_on() {
        let (mut bench, name) = running();
        follow(&mut bench);
        assert!(bench.status().canary.clone().unwrap().route.is_some());
        bench.snapshot.leaves_route = true;
        bench.snapshot.traffic.as_mut().unwrap().shares =
            [("canary".to_owned(), 0), ("stable".to_owned(), 100)].into();
        let plan = decide(&bench.snapshot);
        assert_eq!(plan.traffic().map(|target| target.experiments.len()), Some(0));
        let stops = Effect::TerminateExperiment { name };
        assert!(!plan.stages.iter().flatten().any(|effect| *effect == stops));
        bench.apply(plan);
        assert!(bench.status().canary.clone().unwrap().route.is_some(), "the route still leads to them");
        bench.snapshot.traffic.as_mut().unwrap().experiments.clear();
        let plan = decide(&bench.snapshot);
        bench.apply(plan);
        assert!(bench.status().canary.clone().unwrap().route.is_none());
    }

    #[test]
    fn a_rollout_that_is_deleted_leaves_no_share_behind() {
        let (mut bench, _) = running();
        follow(&mut bench);
        let metadata = &mut bench.snapshot.rollout.metadata;
        metadata.deletion_timestamp = Some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
        let target = decide(&bench.snapshot).traffic().cloned().unwrap();
        assert_eq!((target.weight.get(), target.experiments.len()), (0, 0));
        bench.snapshot.rollout.metadata.finalizers = Some(vec!["orphan".to_owned()]);
        let canary = bench.snapshot.rollout.spec.strategy.as_mut().unwrap().canary.as_mut().unwrap();
        canary.dynamic_stable_scale = Some(true);
        bench.snapshot.replica_sets[0].available = ReplicaCount::new(4);
        let target = decide(&bench.snapshot).traffic().cloned().unwrap();
        assert_eq!(
            (target.weight.get(), target.experiments.len()),
            (20, 0),
            "the canary keeps its pods, and its share"
        );
    }

    #[test]
    fn shares_are_what_is_left_beside_the_canary() {
        let (mut bench, _) = running();
        bench.snapshot.traffic.as_mut().unwrap().shares =
            [("canary".to_owned(), 88), ("stable".to_owned(), 12)].into();
        bench.snapshot.rollout.spec.paused = Some(true);
        bench.snapshot.traffic.as_mut().unwrap().experiments = [("try-gone".to_owned(), 1)].into();
        assert_eq!(told(&bench), Some(vec![("try-a".to_owned(), 10), ("try-b".to_owned(), 2)]));
    }
}
