//! Whole passes over a world whose pods obey at once. Time, faults and slow pods are the simulator's business.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::effect::Annotations;
use super::snapshot::{ReplicaSet, Settings};
use super::workload::Referenced;
use super::{Effect, Plan, Snapshot, decide};
use crate::api::{AnalysisPhase, AnalysisRun, Rollout, RolloutStatus};
use crate::events::{AbortCause, Event};
use crate::units::{PodHash, ReplicaCount, Revision, Timestamp};

/// Sets some of these annotations, and takes others away.
fn annotate(stored: &mut BTreeMap<String, String>, annotations: Annotations) {
    for (key, value) in annotations {
        match value {
            Some(value) => stored.insert(key, value),
            None => stored.remove(&key),
        };
    }
}

/// A Rollout, its ReplicaSets and runs, and every reason announced so far.
pub(super) struct Bench {
    pub(super) snapshot: Snapshot,
    said: Vec<&'static str>,
    aborts: Vec<AbortCause>,
}

impl Bench {
    pub(super) fn new(replicas: i32, steps: &Value) -> Self {
        let rollout = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "api", "namespace": "shop", "uid": "u", "generation": 1},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "api"}},
                "strategy": {"canary": {"steps": steps}},
                "template": template("v1"),
            },
        });
        let template = json!({"metrics": [{
            "name": "success-rate", "interval": "1m", "count": 3, "successCondition": "result[0] >= 0.95",
            "provider": {"prometheus": {"address": "http://prometheus:9090", "query": "up"}},
        }]});
        let reference = serde_json::from_value(json!({"templateName": "success-rate"})).unwrap();
        let snapshot = Snapshot {
            leaves_route: false,
            now: Timestamp::from_millis(1_000_000),
            rollout: serde_json::from_value::<Rollout>(rollout).unwrap(),
            workload: Referenced::Nothing,
            replica_sets: vec![],
            analysis_runs: vec![],
            experiments: vec![],
            stable_template: None,
            templates: [(reference, serde_json::from_value(template).unwrap())].into(),
            services: [].into(),
            traffic: None,
            route_problems: Vec::new(),
            told: None,
            refusal: None,
            taken_names: [].into(),
            route_refusal: None,
            pods: crate::rollout::pods::Pods::default(),
            endpoints: crate::rollout::endpoints::Endpoints::default(),
            counts_pending_since: None,
            settings: Settings::default(),
        };
        Self { snapshot, said: vec![], aborts: vec![] }
    }

    /// Gives the canary a router whose route says that it has `share` of 100.
    pub(super) fn route(&mut self, share: u32) {
        let canary = self.snapshot.rollout.spec.strategy.as_mut().unwrap().canary.as_mut().unwrap();
        canary.canary_service = Some("canary".to_owned());
        canary.stable_service = Some("stable".to_owned());
        canary.traffic_routing = Some(serde_json::from_value(json!({"nginx": {}})).unwrap());
        self.snapshot.traffic = Some(crate::traffic::ObservedTraffic {
            shares: [("canary".to_owned(), share), ("stable".to_owned(), 100 - share)].into(),
            ..crate::traffic::ObservedTraffic::default()
        });
    }

    /// A few passes in which neither Services nor the route come along: the stable one selects the first revision, the
    /// canary's the one at `canary`, once it is there.
    pub(super) fn pass_with_the_canary_on(&mut self, canary: usize) {
        for _ in 0..6 {
            let sets = &self.snapshot.replica_sets;
            let leading_to = |index: usize| super::snapshot::Service {
                selector: [(
                    "rollouts-pod-template-hash".to_owned(),
                    sets.get(index).unwrap_or(&sets[0]).hash.to_string(),
                )]
                .into(),
                managed_by: Some("api".to_owned()),
                ports: vec![],
            };
            self.snapshot.services =
                [("canary".to_owned(), leading_to(canary)), ("stable".to_owned(), leading_to(0))].into();
            let plan = decide(&self.snapshot);
            self.apply(plan);
        }
    }

    /// Passes until nothing changes any more; Services and the route do at once what they are told.
    pub(super) fn obey(&mut self) {
        for _ in 0..12 {
            self.obey_once();
        }
    }

    /// One such pass.
    pub(super) fn obey_once(&mut self) {
        let plan = decide(&self.snapshot);
        for effect in plan.stages.iter().flatten() {
            match effect {
                Effect::SwitchService { name, to } => {
                    self.snapshot.services.insert(name.clone(), service(to.as_str()));
                }
                Effect::SetTraffic(target) => {
                    let rest = target.weight.rest_of(target.scale);
                    let shares = [(&target.canary, target.weight), (&target.stable, rest)];
                    let shares = shares.map(|(to, share)| (to.name.clone(), share.get()));
                    let managed = target.managed.iter();
                    let managed = managed.map(|route| (route.name.clone(), Some(route.clone()))).collect();
                    let traffic = self.snapshot.traffic.as_mut().unwrap();
                    (traffic.shares, traffic.managed) = (shares.into(), managed);
                }
                _ => {}
            }
        }
        self.apply(plan);
    }

    /// Makes passes until nothing is left to do.
    pub(super) fn settle(&mut self) -> Plan {
        for _ in 0..50 {
            let plan = decide(&self.snapshot);
            assert_eq!(plan, decide(&self.snapshot), "a pass is not reproducible");
            if plan.is_idle() && !plan.counts_pending {
                return plan;
            }
            if plan.is_idle() {
                self.snapshot.counts_pending_since = Some(Timestamp::from_millis(0));
                continue;
            }
            self.snapshot.counts_pending_since = None;
            self.apply(plan);
        }
        panic!("no rest after 50 passes; last announced: {:?}", &self.said[self.said.len() - 10..]);
    }

    pub(super) fn apply(&mut self, plan: Plan) {
        self.said.extend(plan.events.iter().map(Event::reason));
        self.aborts.extend(plan.events.iter().filter_map(|event| match event {
            Event::Aborted { why, .. } => Some(why.cause),
            _ => None,
        }));
        for effect in plan.stages.into_iter().flatten() {
            self.carry_out(effect);
        }
        if let Some(status) = plan.status {
            self.snapshot.rollout.status = Some(*status);
        }
        for set in &mut self.snapshot.replica_sets {
            (set.replicas, set.ready, set.available) = (set.size, set.size, set.size);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let sets = &mut self.snapshot.replica_sets;
        match effect {
            Effect::CreateReplicaSet(new) => sets.push(ReplicaSet {
                hash: PodHash::new(new.labels["rollouts-pod-template-hash"].clone()).unwrap(),
                template_hash: None,
                revision: Revision::parse(
                    new.annotations.get("rollout.argoproj.io/revision").map(String::as_str),
                ),
                revision_history: None,
                created_at: Some(self.snapshot.now),
                desired_annotation: new.annotations["rollout.argoproj.io/desired-replicas"].parse().ok(),
                size: new.replicas,
                replicas: ReplicaCount::ZERO,
                ready: ReplicaCount::ZERO,
                available: ReplicaCount::ZERO,
                observed: true,
                failure: None,
                min_ready_seconds: new.min_ready_seconds,
                scale_down_deadline: None,
                outcome: None,
                injected: crate::rollout::injection::Injected::default(),
                name: new.name,
            }),
            Effect::ScaleReplicaSet { name, from, to, desired, .. } => {
                let set = sets.iter_mut().find(|set| set.name == name).unwrap();
                assert_eq!(set.size, from);
                (set.size, set.desired_annotation) = (to, Some(desired.get()));
            }
            Effect::UpdateReplicaSet { name, annotations, .. } => {
                let set = sets.iter_mut().find(|set| set.name == name).unwrap();
                if let Some(Some(revision)) = annotations.get("rollout.argoproj.io/revision") {
                    set.revision = Revision::parse(Some(revision));
                }
                if let Some(deadline) = annotations.get("scale-down-deadline") {
                    set.scale_down_deadline = deadline.as_deref().and_then(Timestamp::parse);
                }
                if let Some(Some(outcome)) = annotations.get("rollout.argoproj.io/outcome") {
                    set.outcome = super::snapshot::Outcome::parse(outcome);
                }
            }
            Effect::AnnotateRollout { annotations } => {
                let stored = self.snapshot.rollout.metadata.annotations.get_or_insert_default();
                annotate(stored, annotations);
            }
            Effect::ScaleWorkload { from, to, note, .. } => {
                let Referenced::Found(workload) = &mut self.snapshot.workload else { panic!("no workload") };
                assert_eq!(workload.size, Some(from));
                (workload.size, workload.note) = (Some(to), Some(note));
                workload.generation += 1;
            }
            Effect::CreateAnalysisRun(run) => self.snapshot.analysis_runs.push(*run),
            Effect::TerminateAnalysisRun { name } => {
                self.run(&name).spec.terminate = Some(true);
                self.end(&name, AnalysisPhase::Successful);
            }
            Effect::DeleteReplicaSet { name } => sets.retain(|set| set.name != name),
            Effect::CreateExperiment(made) => self.snapshot.experiments.push(*made),
            Effect::TerminateExperiment { name } => self.experiment(&name).spec.terminate = Some(true),
            Effect::DeleteExperiment { name } => {
                self.snapshot.experiments.retain(|found| found.metadata.name.as_ref() != Some(&name));
            }
            Effect::DeleteAnalysisRun { .. }
            | Effect::SwitchService { .. }
            | Effect::SetTraffic(_)
            | Effect::GiveRoutesBack
            | Effect::AdjustTemplate(_)
            | Effect::MarkPod { .. }
            | Effect::EvictPod { .. } => {}
        }
    }

    fn experiment(&mut self, name: &str) -> &mut crate::api::Experiment {
        let mut found = self.snapshot.experiments.iter_mut();
        found.find(|found| found.metadata.name.as_deref() == Some(name)).unwrap()
    }

    fn run(&mut self, name: &str) -> &mut AnalysisRun {
        let found = self.snapshot.analysis_runs.iter_mut();
        found.into_iter().find(|run| run.metadata.name.as_deref() == Some(name)).unwrap()
    }

    fn end(&mut self, name: &str, phase: AnalysisPhase) {
        self.run(name).status.get_or_insert_default().phase = Some(phase);
    }

    fn last_run(&self) -> String {
        self.snapshot.analysis_runs.last().unwrap().metadata.name.clone().unwrap()
    }

    pub(super) fn status(&mut self) -> &mut RolloutStatus {
        self.snapshot.rollout.status.as_mut().unwrap()
    }

    pub(super) fn release(&mut self, tag: &str) {
        self.snapshot.rollout.spec.template = Some(template(tag));
        *self.snapshot.rollout.metadata.generation.as_mut().unwrap() += 1;
        self.said.clear();
    }

    pub(super) fn pass_seconds(&mut self, seconds: i64) {
        self.snapshot.now = Timestamp::from_millis(self.snapshot.now.as_millis() + seconds * 1000);
    }

    /// Phase, step, and pods of each revision: `Paused 1 [1:3 2:1]`.
    fn line(&mut self) -> String {
        let mut sets: Vec<_> =
            self.snapshot.replica_sets.iter().map(|set| (set.revision, set.size)).collect();
        sets.sort();
        let sets: Vec<_> = sets.iter().map(|(revision, size)| format!("{revision}:{size}")).collect();
        let status = self.status();
        format!(
            "{} {} [{}]",
            status.phase.clone().unwrap(),
            status.current_step_index.unwrap(),
            sets.join(" ")
        )
    }
}

/// A Service of the Rollout's that leads to the pods of this hash.
pub(super) fn service(hash: &str) -> super::snapshot::Service {
    super::snapshot::Service {
        selector: [("rollouts-pod-template-hash".to_owned(), hash.to_owned())].into(),
        managed_by: Some("api".to_owned()),
        ports: vec![],
    }
}

fn template(tag: &str) -> Value {
    json!({"metadata": {"labels": {"app": "api"}}, "spec": {"containers": [{"name": "api", "image": format!("api:{tag}")}]}})
}

pub(super) fn steps() -> Value {
    json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {"duration": "5m"}}])
}

#[test]
fn a_first_deploy_runs_no_steps_and_ends_healthy() {
    let mut bench = Bench::new(4, &steps());
    bench.settle();
    assert_eq!(bench.line(), "Healthy 4 [1:4]");
    assert_eq!(
        bench.said,
        [
            "RolloutAddedToInformer",
            "RolloutUpdated",
            "NewReplicaSetCreated",
            "RolloutNotCompleted",
            "ScalingReplicaSet",
            "RolloutCompleted"
        ]
    );
}

#[test]
fn a_canary_walks_its_steps_and_becomes_stable() {
    let mut bench = Bench::new(4, &steps());
    bench.settle();
    bench.release("v2");
    bench.settle();
    assert_eq!(bench.line(), "Paused 1 [1:3 2:1]");
    assert_eq!(
        bench.said,
        [
            "RolloutUpdated",
            "NewReplicaSetCreated",
            "RolloutNotCompleted",
            "ScalingReplicaSet",
            "ScalingReplicaSet",
            "RolloutStepCompleted",
            "RolloutPaused"
        ]
    );
    bench.status().pause_conditions = None;
    let plan = bench.settle();
    assert_eq!(bench.line(), "Paused 3 [1:2 2:2]");
    assert_eq!(plan.wake.unwrap().at, bench.snapshot.now.plus(std::time::Duration::from_mins(5)));
    bench.pass_seconds(300);
    bench.settle();
    assert_eq!(bench.line(), "Healthy 4 [1:0 2:4]");
}

#[test]
fn an_aborted_canary_returns_every_pod_to_stable_and_can_be_retried() {
    let mut bench = Bench::new(4, &steps());
    bench.settle();
    bench.release("v2");
    bench.settle();
    bench.status().abort = Some(true);
    bench.settle();
    assert_eq!(bench.line(), "Degraded 0 [1:4 2:0]");
    assert_eq!(
        bench.status().message.clone().unwrap(),
        "RolloutAborted: Rollout aborted update to revision 2"
    );
    assert_eq!(bench.aborts, [AbortCause::Person]);
    assert!(bench.status().aborted_at.is_some());
    bench.status().abort = None;
    bench.settle();
    assert_eq!(bench.line(), "Paused 1 [1:3 2:1]");
    assert!(bench.status().aborted_at.is_none());
}

#[test]
fn an_abort_where_nothing_is_in_progress_changes_nothing() {
    let mut bench = Bench::new(4, &steps());
    bench.settle();
    let before = bench.status().clone();
    bench.status().abort = Some(true);
    bench.settle();
    assert_eq!(*bench.status(), before);
}

#[test]
fn a_full_promotion_skips_the_rest() {
    let mut bench = Bench::new(4, &steps());
    bench.settle();
    bench.release("v2");
    bench.settle();
    bench.status().promote_full = Some(true);
    bench.settle();
    assert_eq!(bench.line(), "Healthy 4 [1:0 2:4]");
    assert_eq!(bench.status().promote_full, None);
}

#[test]
fn going_back_to_stable_in_mid_update_skips_the_steps() {
    let mut bench = Bench::new(4, &steps());
    bench.settle();
    bench.release("v2");
    bench.settle();
    bench.release("v1");
    bench.settle();
    assert_eq!(bench.line(), "Healthy 4 [2:0 3:4]");
    assert!(bench.said.contains(&"SkipSteps"), "{:?}", bench.said);
}

#[test]
fn a_third_version_in_mid_update_drains_the_second() {
    let mut bench = Bench::new(4, &steps());
    bench.settle();
    bench.release("v2");
    bench.settle();
    bench.release("v3");
    bench.settle();
    assert_eq!(bench.line(), "Paused 1 [1:3 2:0 3:1]");
}

fn with_analysis() -> Value {
    json!([{"setWeight": 25}, {"analysis": {"templates": [{"templateName": "success-rate"}]}}])
}

#[test]
fn a_failed_analysis_aborts_and_its_run_is_named_in_the_message() {
    let mut bench = Bench::new(4, &with_analysis());
    bench.settle();
    bench.release("v2");
    bench.settle();
    assert_eq!(bench.line(), "Progressing 1 [1:3 2:1]");
    let run = bench.last_run();
    bench.end(&run, AnalysisPhase::Failed);
    bench.settle();
    assert_eq!(bench.line(), "Degraded 0 [1:4 2:0]");
    assert!(bench.status().message.clone().unwrap().contains(&run));
    assert_eq!(bench.aborts, [AbortCause::Analysis]);
    bench.status().abort = None;
    bench.settle();
    assert_eq!(bench.last_run(), format!("{run}.1"), "a retry takes a fresh run");
    let run = bench.last_run();
    bench.end(&run, AnalysisPhase::Successful);
    bench.settle();
    assert_eq!(bench.line(), "Healthy 2 [1:0 2:4]");
}

#[test]
fn an_analysis_without_a_verdict_waits_for_a_person() {
    let mut bench = Bench::new(4, &with_analysis());
    bench.settle();
    bench.release("v2");
    bench.settle();
    let run = bench.last_run();
    bench.end(&run, AnalysisPhase::Inconclusive);
    bench.settle();
    assert_eq!(bench.line(), "Paused 1 [1:3 2:1]");
    assert_eq!(bench.status().pause_conditions.clone().unwrap()[0].reason, "InconclusiveAnalysisRun");
    bench.status().pause_conditions = None;
    bench.settle();
    assert_eq!(bench.last_run(), format!("{run}.1"));
}

#[test]
fn an_analysis_stopped_before_it_measured_is_no_success() {
    let mut bench = Bench::new(4, &with_analysis());
    bench.settle();
    bench.release("v2");
    bench.settle();
    let run = bench.last_run();
    bench.run(&run).spec.terminate = Some(true);
    bench.end(&run, AnalysisPhase::Successful);
    bench.settle();
    assert_eq!(bench.line(), "Paused 1 [1:3 2:1]");
}

#[test]
fn every_problem_of_a_spec_is_named_at_once_and_nothing_moves() {
    let mut bench = Bench::new(4, &steps());
    bench.settle();
    let spec = &mut bench.snapshot.rollout.spec;
    spec.replicas = Some(-1);
    spec.revision_history_limit = Some(-1);
    let canary = spec.strategy.as_mut().unwrap().canary.as_mut().unwrap();
    canary.steps.as_mut().unwrap()[0].set_weight = Some(101);
    bench.settle();
    let message = bench.status().message.clone().unwrap();
    for field in ["spec.revisionHistoryLimit", "spec.replicas", "spec.strategy.canary.steps[0].setWeight"] {
        assert!(message.contains(field), "{message}");
    }
    assert_eq!(bench.snapshot.replica_sets[0].size, ReplicaCount::new(4));
}

#[test]
fn a_missing_template_is_named_and_heals_when_it_appears() {
    let mut bench = Bench::new(4, &with_analysis());
    let templates = std::mem::take(&mut bench.snapshot.templates);
    bench.settle();
    let message = bench.status().message.clone().unwrap();
    assert!(message.contains("AnalysisTemplate 'success-rate' not found"), "{message}");
    bench.snapshot.templates = templates;
    bench.settle();
    assert_eq!(bench.line(), "Healthy 2 [1:4]");
}

#[test]
fn a_paused_spec_freezes_the_update_but_follows_replicas() {
    let mut bench = Bench::new(4, &steps());
    bench.settle();
    bench.release("v2");
    bench.settle();
    bench.snapshot.rollout.spec.paused = Some(true);
    bench.snapshot.rollout.spec.replicas = Some(8);
    bench.settle();
    assert_eq!(bench.line(), "Paused 1 [1:6 2:2]");
}

#[test]
fn a_failed_run_is_kept_until_the_status_tells_of_the_abort() {
    let mut bench = Bench::new(4, &with_analysis());
    let none = json!({"unsuccessfulRunHistoryLimit": 0});
    bench.snapshot.rollout.spec.analysis = Some(serde_json::from_value(none).unwrap());
    bench.settle();
    bench.release("v2");
    bench.settle();
    let run = bench.last_run();
    bench.end(&run, AnalysisPhase::Failed);
    let deletes = |plan: &Plan| {
        let mut effects = plan.stages.iter().flatten();
        effects.any(|effect| matches!(effect, Effect::DeleteAnalysisRun { .. }))
    };
    let plan = decide(&bench.snapshot);
    assert!(plan.status.as_ref().unwrap().abort == Some(true) && !deletes(&plan));
    bench.apply(plan);
    assert!(deletes(&decide(&bench.snapshot)));
}

#[test]
fn an_analysis_stopped_before_it_measured_every_metric_is_no_success() {
    let mut bench = Bench::new(4, &with_analysis());
    bench.settle();
    bench.release("v2");
    bench.settle();
    let run = bench.last_run();
    let status = json!({
        "phase": "Successful", "message": "Run Terminated", "runSummary": {"count": 2, "successful": 1},
        "metricResults": [{"name": "early", "phase": "Successful", "count": 1, "successful": 1}],
    });
    bench.run(&run).spec.terminate = Some(true);
    bench.run(&run).status = Some(serde_json::from_value(status).unwrap());
    bench.settle();
    assert_eq!(bench.line(), "Paused 1 [1:3 2:1]");
}

#[test]
fn a_superseded_canary_gives_its_service_to_stable_until_the_next_one_answers() {
    let mut bench = Bench::new(4, &steps());
    bench.settle();
    bench.release("v2");
    bench.settle();
    let superseded = bench.snapshot.replica_sets[1].hash.clone();
    let canary = bench.snapshot.rollout.spec.strategy.as_mut().unwrap().canary.as_mut().unwrap();
    canary.canary_service = Some("api-canary".to_owned());
    let selector = [("rollouts-pod-template-hash".to_owned(), superseded.to_string())].into();
    let service = super::snapshot::Service { selector, managed_by: Some("api".to_owned()), ports: vec![] };
    bench.snapshot.services.insert("api-canary".to_owned(), service);
    bench.release("v3");
    let stable = bench.snapshot.replica_sets[0].hash.clone();
    let effects = decide(&bench.snapshot).stages.into_iter().flatten();
    let switches: Vec<_> = effects.filter(|effect| matches!(effect, Effect::SwitchService { .. })).collect();
    assert_eq!(switches, [Effect::SwitchService { name: "api-canary".to_owned(), to: stable }]);
}

#[test]
fn a_duration_is_never_the_only_reason_for_a_write() {
    let mut bench = Bench::new(4, &steps());
    bench.settle();
    bench.release("v2");
    bench.settle();
    let duration = &mut bench.snapshot.rollout.status.as_mut().unwrap().duration;
    let duration = duration.as_mut().expect("an update is timed");
    assert!(duration.manual_pause_started_at.take().is_some(), "a person is waited for");
    let plan = decide(&bench.snapshot);
    assert!(plan.is_idle() && !plan.counts_pending && plan.finished.is_empty());
    bench.snapshot.rollout.metadata.generation = Some(9);
    let plan = decide(&bench.snapshot);
    let told = plan.status.unwrap().duration.unwrap();
    assert!(told.manual_pause_started_at.is_some(), "it comes with the next change");
}

/// An update whose step runs an Experiment of both versions, with the name of the Experiment.
fn at_an_experiment() -> (Bench, String) {
    let steps = json!([{"experiment": {"templates": [
        {"name": "a", "specRef": "stable"}, {"name": "b", "specRef": "canary", "metadata": {"labels": {"side": "b"}}},
    ]}}, {"pause": {}}]);
    let mut bench = Bench::new(4, &steps);
    bench.settle();
    bench.release("v2");
    bench.settle();
    let name = bench.status().canary.clone().unwrap().current_experiment.unwrap();
    (bench, name)
}

#[test]
fn an_experiment_waits_for_the_template_of_stable_and_is_made_of_both() {
    let (mut bench, name) = at_an_experiment();
    assert!(bench.snapshot.experiments.is_empty());
    assert!(super::experiments::is_stable_template_needed(&bench.snapshot));
    let wake = decide(&bench.snapshot).wake.unwrap();
    assert_eq!(wake.why, super::deadline::Deadline::ExperimentTemplate);
    bench.snapshot.stable_template = Some(template("v1"));
    bench.settle();
    let made = bench.experiment(&name).clone();
    assert!(!super::experiments::is_stable_template_needed(&bench.snapshot));
    let templates = made.spec.templates.unwrap();
    let image = |index: usize| {
        templates[index].template.as_ref().unwrap().pointer("/spec/containers/0/image").cloned().unwrap()
    };
    assert!(image(0) != image(1));
    let selector = templates[1].selector.clone().unwrap().match_labels.unwrap();
    assert_eq!(selector.get("side").map(String::as_str), Some("b"));
    assert_eq!(made.metadata.owner_references.unwrap()[0].kind, "Rollout");
}

#[test]
fn an_edit_of_another_step_leaves_an_experiment_and_an_edit_of_its_own_begins_another() {
    let (mut bench, name) = at_an_experiment();
    bench.snapshot.stable_template = Some(template("v1"));
    bench.settle();
    let steps = |bench: &mut Bench, change: fn(&mut Vec<crate::api::canary_step::CanaryStep>)| {
        let canary = bench.snapshot.rollout.spec.strategy.as_mut().unwrap().canary.as_mut().unwrap();
        change(canary.steps.as_mut().unwrap());
        bench.settle();
        bench.status().canary.clone().unwrap().current_experiment.unwrap()
    };
    assert_eq!(steps(&mut bench, |steps| drop(steps.pop())), name);
    assert_eq!(bench.experiment(&name).spec.terminate, None);
    let next = steps(&mut bench, |steps| {
        steps[0].experiment.as_mut().unwrap().duration = Some("5m".to_owned());
    });
    assert_eq!((next.as_str(), bench.experiment(&name).spec.terminate), (&*format!("{name}-1"), Some(true)));
}

#[test]
fn experiments_that_have_ended_are_deleted_beyond_the_limit_once_their_pods_are_gone() {
    let (mut bench, _) = at_an_experiment();
    let ended = |index: usize, pods: i32| -> crate::api::Experiment {
        let templates = json!([{"name": "a", "replicas": pods}]);
        serde_json::from_value(json!({
            "metadata": {"name": format!("old-{index}"), "creationTimestamp": format!("2026-01-0{index}T00:00:00Z")},
            "spec": {}, "status": {"phase": "Failed", "templateStatuses": templates},
        }))
        .unwrap()
    };
    bench.snapshot.experiments = (1..=7).map(|index| ended(index, i32::from(index == 1))).collect();
    bench.settle();
    let left: Vec<_> =
        bench.snapshot.experiments.iter().filter_map(|found| found.metadata.name.clone()).collect();
    assert_eq!(left, ["old-1", "old-3", "old-4", "old-5", "old-6", "old-7"]);
}
