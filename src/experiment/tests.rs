//! Whole passes over an obedient cluster: what is asked for happens, and time passes when a test says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Effect, ObjectKind, Obstacle, Plan, Route, Snapshot, Why, decide};
use crate::api::{AnalysisPhase, AnalysisRun, Experiment, ExperimentStatus};
use crate::rollout::injection::Injected;
use crate::rollout::snapshot::{ReplicaSet, Service};
use crate::units::{PodHash, ReplicaCount, Revision, Timestamp};

/// Most passes until nothing changes.
const PASSES: usize = 20;

/// Whether pods become available.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pods {
    Come,
    StayAway,
}

struct World {
    snapshot: Snapshot,
    pods: Pods,
    events: Vec<String>,
    writes: usize,
    wake: Option<Timestamp>,
}

fn template(name: &str) -> Value {
    json!({
        "name": name,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": "app:v1", "ports": [{"containerPort": 8080}]}]},
        },
    })
}

fn two_templates() -> Value {
    json!({"templates": [template("baseline"), template("canary")]})
}

fn with(mut spec: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

fn analysis(name: &str, required: bool) -> Value {
    json!({"name": name, "templateName": "errors", "requiredForCompletion": required})
}

impl World {
    fn new(spec: &Value) -> Self {
        let experiment: Experiment = serde_json::from_value(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment",
            "metadata": {"name": "try", "namespace": "shop", "uid": "1"}, "spec": spec,
        }))
        .unwrap();
        let metrics = json!({"metrics": [{"name": "errors", "provider": {"prometheus": {"query": "up"}}}]});
        let endless = json!({"args": [{"name": "hash"}], "metrics": [
            {"name": "errors", "interval": "10s", "provider": {"prometheus": {"query": "up{h='{{args.hash}}'}"}}},
        ]});
        let reference = |name: &str| serde_json::from_value(json!({"templateName": name})).unwrap();
        let snapshot = Snapshot {
            now: Timestamp::parse("2026-01-01T00:00:00Z").unwrap(),
            experiment,
            replica_sets: vec![],
            services: BTreeMap::new(),
            route: Route::LeadsTo(BTreeSet::new()),
            analysis_runs: vec![],
            templates: BTreeMap::from([
                (reference("errors"), serde_json::from_value(metrics).unwrap()),
                (reference("endless"), serde_json::from_value(endless).unwrap()),
            ]),
            obstacles: BTreeMap::new(),
            instance_id: None,
        };
        Self { snapshot, pods: Pods::Come, events: vec![], writes: 0, wake: None }
    }

    fn change(&mut self, spec: &Value) {
        self.snapshot.experiment.spec = serde_json::from_value(spec.clone()).unwrap();
    }

    /// Passes until nothing changes any more.
    fn settle(&mut self) -> &mut Self {
        for _ in 0..PASSES {
            let plan = decide(&self.snapshot);
            assert_eq!(plan, decide(&self.snapshot), "the same snapshot gives the same plan");
            self.wake = plan.wake_at;
            let before = self.counts();
            let idle = plan.is_idle();
            self.carry_out(plan);
            if idle && self.counts() == before {
                return self;
            }
        }
        panic!("it does not come to rest: {:#?}", self.snapshot.experiment.status);
    }

    fn counts(&self) -> Vec<(ReplicaCount, ReplicaCount)> {
        self.snapshot.replica_sets.iter().map(|set| (set.size, set.available)).collect()
    }

    fn carry_out(&mut self, plan: Plan) {
        if let Some(status) = plan.status {
            self.writes += 1;
            // As it comes back from the API server.
            let stored = serde_json::to_value(*status).unwrap();
            self.snapshot.experiment.status = Some(serde_json::from_value(stored).unwrap());
        }
        self.events
            .extend(plan.events.into_iter().map(|event| format!("{}: {}", event.reason, event.message)));
        for effect in plan.stages.into_iter().flatten() {
            self.make(effect);
        }
        for set in &mut self.snapshot.replica_sets {
            let up = if self.pods == Pods::Come { set.size } else { ReplicaCount::ZERO };
            (set.replicas, set.ready, set.available) = (set.size, up, up);
        }
    }

    fn make(&mut self, effect: Effect) {
        match effect {
            Effect::CreateReplicaSet(new) => self.snapshot.replica_sets.push(ReplicaSet {
                hash: PodHash::new(new.labels["rollouts-pod-template-hash"].clone()).unwrap(),
                template_hash: new
                    .annotations
                    .get("rollout.argoproj.io/template-hash")
                    .cloned()
                    .and_then(PodHash::new),
                name: new.name.clone(),
                revision: Revision::default(),
                revision_history: None,
                created_at: None,
                desired_annotation: None,
                size: new.replicas,
                replicas: ReplicaCount::ZERO,
                ready: ReplicaCount::ZERO,
                available: ReplicaCount::ZERO,
                observed: true,
                failure: None,
                min_ready_seconds: new.min_ready_seconds,
                scale_down_deadline: None,
                outcome: None,
                injected: Injected::default(),
            }),
            Effect::ScaleReplicaSet { name, from, to, annotations } => {
                let set = self.set(&name);
                assert_eq!(set.size, from);
                set.size = to;
                if annotations.contains_key("scale-down-deadline") {
                    set.scale_down_deadline = None;
                }
            }
            Effect::UpdateReplicaSet { name, annotations, .. } => {
                let at = annotations["scale-down-deadline"].as_ref().and_then(|text| Timestamp::parse(text));
                self.set(&name).scale_down_deadline = at;
            }
            Effect::CreateService(new) => {
                let service = Service { selector: new.selector, managed_by: None, ports: vec![] };
                self.snapshot.services.insert(new.name, service);
            }
            Effect::UpdateService { name, selector } => {
                let found = &mut self.snapshot.services.get_mut(&name).unwrap().selector;
                for (key, value) in selector {
                    found.remove(&key);
                    found.extend(value.map(|value| (key, value)));
                }
            }
            Effect::DeleteService { name } => assert!(self.snapshot.services.remove(&name).is_some()),
            Effect::CreateAnalysisRun(run) => self.snapshot.analysis_runs.push(*run),
            Effect::TerminateAnalysisRun { name } => self.run(&name).spec.terminate = Some(true),
        }
    }

    fn set(&mut self, name: &str) -> &mut ReplicaSet {
        self.snapshot.replica_sets.iter_mut().find(|set| set.name == name).unwrap()
    }

    fn run(&mut self, name: &str) -> &mut AnalysisRun {
        let mut runs = self.snapshot.analysis_runs.iter_mut();
        runs.find(|run| run.metadata.name.as_deref() == Some(name)).unwrap()
    }

    /// Ends a run that has measured, unless it is not to have.
    fn end_run(&mut self, name: &str, phase: &str, measured: i32) -> &mut Self {
        let results = json!([{"name": "errors", "phase": phase, "count": measured}]);
        let status = json!({"phase": phase, "message": "said so", "metricResults": results, "runSummary": {"count": 1}});
        self.run(name).status = Some(serde_json::from_value(status).unwrap());
        self.settle()
    }

    fn wait(&mut self, seconds: u64) -> &mut Self {
        self.snapshot.now = self.snapshot.now.plus(Duration::from_secs(seconds));
        self.settle()
    }

    fn status(&self) -> ExperimentStatus {
        self.snapshot.experiment.status.clone().unwrap()
    }

    fn phase(&self) -> &'static str {
        self.status().phase.map_or("", AnalysisPhase::as_str)
    }

    fn message(&self) -> String {
        self.status().message.unwrap_or_default()
    }

    /// The conditions that are true, with their reasons.
    fn told(&self) -> Vec<String> {
        let conditions = self.status().conditions.unwrap();
        let told = conditions.iter().filter(|condition| condition.status == "True");
        told.map(|told| format!("{}: {}", told.r#type, told.reason.as_deref().unwrap())).collect()
    }

    fn sizes(&self) -> Vec<(String, u32)> {
        self.snapshot.replica_sets.iter().map(|set| (set.name.clone(), set.size.get())).collect()
    }

    fn services(&self) -> Vec<&str> {
        self.snapshot.services.keys().map(String::as_str).collect()
    }

    /// The route of a Rollout leads to these Services.
    fn lead_to(&mut self, services: &[&str]) {
        self.snapshot.route = Route::LeadsTo(services.iter().map(ToString::to_string).collect());
    }

    fn runs(&self) -> Vec<&str> {
        self.snapshot.analysis_runs.iter().filter_map(|run| run.metadata.name.as_deref()).collect()
    }
}

#[test]
fn templates_run_side_by_side_for_a_time_once_all_are_available() {
    let mut world = World::new(&with(two_templates(), &json!({"duration": "5m"})));
    world.pods = Pods::StayAway;
    world.settle();
    assert_eq!(world.phase(), "Pending");
    assert_eq!(world.sizes(), [("try-baseline".to_owned(), 1), ("try-canary".to_owned(), 1)]);
    world.wait(60);
    world.pods = Pods::Come;
    world.wait(60);
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.status().available_at.unwrap().to_string(), "2026-01-01T00:02:00Z");
    world.wait(299);
    assert_eq!(world.phase(), "Running");
    world.wait(1);
    assert_eq!(world.phase(), "Successful");
    let states: Vec<_> =
        world.status().template_statuses.unwrap().into_iter().filter_map(|status| status.status).collect();
    assert_eq!(states, ["Successful", "Successful"]);
}

#[test]
fn templates_that_say_the_same_have_pods_of_their_own() {
    let mut with_null = two_templates();
    for template in with_null["templates"].as_array_mut().unwrap() {
        template["template"]["metadata"]["annotations"] = Value::Null;
    }
    for spec in [two_templates(), with_null] {
        let mut world = World::new(&spec);
        world.settle();
        let hashes: BTreeSet<_> = world.snapshot.replica_sets.iter().map(|set| set.hash.clone()).collect();
        assert_eq!(hashes.len(), 2, "{spec}");
        let of_rollout = crate::rollout::pod_hash::pod_template_hash(&template("x")["template"], None);
        assert!(hashes.iter().all(|hash| hash.as_str() != of_rollout), "{spec}");
    }
}

#[test]
fn pods_of_one_hash_stay_together_while_a_route_leads_to_the_service_of_one() {
    let mut spec = with(two_templates(), &json!({"duration": "1m"}));
    spec["templates"][1]["service"] = json!({});
    let mut world = World::new(&spec);
    world.settle();
    // As Argo Rollouts makes them: the Service selects both.
    let hash = world.snapshot.replica_sets[1].hash.clone();
    world.snapshot.replica_sets[0].hash = hash;
    world.lead_to(&["try-canary"]);
    world.wait(60).wait(600);
    let sizes = |of: u32| [("try-baseline".to_owned(), of), ("try-canary".to_owned(), of)];
    assert_eq!(world.sizes(), sizes(1));
    world.lead_to(&[]);
    world.wait(600).wait(600);
    assert_eq!(world.sizes(), sizes(0));
}

#[test]
fn pods_of_a_template_that_was_taken_out_stay_while_a_route_leads_to_them_also_after_the_end() {
    let mut spec = with(two_templates(), &json!({"duration": "1m"}));
    spec["templates"][1]["service"] = json!({});
    let mut world = World::new(&spec);
    world.settle();
    world.lead_to(&["try-canary"]);
    spec["templates"].as_array_mut().unwrap().pop();
    world.change(&spec);
    world.settle();
    world.wait(60).wait(600);
    assert_eq!((world.phase(), world.sizes()[1].1), ("Successful", 1));
    world.lead_to(&[]);
    world.wait(600).wait(600);
    assert_eq!(world.sizes()[1].1, 0);
}

#[test]
fn at_rest_nothing_is_written() {
    let mut world = World::new(&with(two_templates(), &json!({"duration": "5m"})));
    world.settle();
    let writes = world.writes;
    world.wait(10).wait(10);
    assert_eq!(world.writes, writes);
    world.wait(300).wait(60);
    let writes = world.writes;
    world.wait(600);
    assert_eq!((world.writes, world.wake), (writes, None));
}

#[test]
fn pods_go_after_a_delay_and_their_service_before_them() {
    let mut spec = with(two_templates(), &json!({"duration": "1m", "scaleDownDelaySeconds": 20}));
    spec["templates"][1]["service"] = json!({});
    let mut world = World::new(&spec);
    world.settle();
    assert_eq!(world.services(), ["try-canary"]);
    world.wait(60);
    assert_eq!(world.phase(), "Successful");
    let deadline = world.snapshot.replica_sets[0].scale_down_deadline.unwrap();
    assert_eq!(deadline.to_string(), "2026-01-01T00:01:20Z");
    assert_eq!(world.wake, Some(deadline));
    world.wait(19);
    assert_eq!(world.sizes()[1].1, 1);
    assert_eq!(world.snapshot.services.len(), 1);
    world.snapshot.now = deadline;
    let stages = decide(&world.snapshot).stages;
    assert!(matches!(&stages[0][..], [Effect::DeleteService { .. }]), "{stages:?}");
    world.settle();
    assert!(world.snapshot.services.is_empty());
    assert_eq!(world.sizes().iter().map(|(_, size)| size).sum::<u32>(), 0);
    assert_eq!(world.status().template_statuses.unwrap()[1].replicas, Some(0));
}

#[test]
fn pods_and_their_service_stay_while_a_route_leads_to_them_and_a_delay_longer() {
    let mut spec = with(two_templates(), &json!({"duration": "1m", "scaleDownDelaySeconds": 20}));
    spec["templates"][1]["service"] = json!({});
    for unknown in [false, true] {
        let mut world = World::new(&spec);
        world.settle();
        world.lead_to(&["try-canary"]);
        if unknown {
            world.snapshot.route = Route::Unknown;
        }
        world.wait(60).wait(600);
        let sizes = [("try-baseline".to_owned(), 0), ("try-canary".to_owned(), 1)];
        assert_eq!(
            (world.phase(), world.sizes(), world.services()),
            ("Successful", sizes.into(), vec!["try-canary"])
        );
        assert_eq!((world.wake, world.snapshot.replica_sets[1].scale_down_deadline), (None, None));
        world.lead_to(&[]);
        world.settle();
        assert_eq!(world.wake.unwrap().to_string(), "2026-01-01T00:11:20Z");
        world.wait(19);
        assert_eq!(world.services(), ["try-canary"]);
        world.wait(1);
        assert_eq!((world.sizes()[1].1, world.services().len()), (0, 0));
    }
}

#[test]
fn a_route_that_leads_to_pods_again_takes_their_deadline_back() {
    let mut spec = with(two_templates(), &json!({"duration": "1m"}));
    spec["templates"][1]["service"] = json!({});
    let mut world = World::new(&spec);
    world.settle().wait(60);
    assert!(world.snapshot.replica_sets[1].scale_down_deadline.is_some());
    world.lead_to(&["try-canary"]);
    world.wait(100);
    assert_eq!((world.sizes()[1].1, world.snapshot.replica_sets[1].scale_down_deadline), (1, None));
}

#[test]
fn an_edit_leaves_a_pod_where_a_route_leads() {
    let mut spec = two_templates();
    spec["templates"][1]["service"] = json!({});
    let mut world = World::new(&spec);
    world.settle();
    world.lead_to(&["try-canary"]);
    spec["templates"][1]["replicas"] = json!(0);
    world.change(&spec);
    world.settle();
    assert_eq!(world.sizes()[1].1, 1);
    world.change(&json!({"templates": [template("baseline")]}));
    world.settle();
    assert_eq!((world.sizes()[1].1, world.services()), (1, vec!["try-canary"]));
    world.lead_to(&[]);
    world.settle();
    assert_eq!(world.sizes()[1].1, 0);
}

#[test]
fn a_service_is_made_after_its_pods_and_selects_them_again() {
    let mut spec = two_templates();
    spec["templates"][1]["service"] = json!({});
    let mut world = World::new(&spec);
    let first = decide(&world.snapshot).stages;
    assert!(first.iter().flatten().all(|effect| matches!(effect, Effect::CreateReplicaSet(_))), "{first:?}");
    world.settle();
    let right = world.snapshot.services.clone();
    let hash = world.snapshot.replica_sets[1].hash.to_string();
    assert_eq!(right["try-canary"].selector["rollouts-pod-template-hash"], hash);
    let selector =
        BTreeMap::from([("app".to_owned(), "shop".to_owned()), ("old".to_owned(), "yes".to_owned())]);
    world.snapshot.services.get_mut("try-canary").unwrap().selector = selector;
    let plan = decide(&world.snapshot);
    world.carry_out(plan);
    assert_eq!(world.status().template_statuses.unwrap()[1].status.as_deref(), Some("Progressing"));
    world.settle();
    assert_eq!((world.snapshot.services.clone(), world.phase()), (right, "Running"));
}

#[test]
fn a_template_that_is_not_available_in_time_fails_the_experiment() {
    let mut world = World::new(&with(two_templates(), &json!({"progressDeadlineSeconds": 30})));
    world.pods = Pods::StayAway;
    world.settle();
    assert_eq!(world.wake.unwrap().to_string(), "2026-01-01T00:00:30Z");
    world.wait(29);
    assert_eq!(world.phase(), "Pending");
    world.wait(1);
    assert_eq!(world.phase(), "Failed");
    assert_eq!(world.message(), "Template 'baseline' exceeded its progressDeadlineSeconds (30)");
    world.wait(30);
    assert_eq!(world.sizes().iter().map(|(_, size)| size).sum::<u32>(), 0);
}

#[test]
fn runs_begin_once_pods_are_available_and_one_that_fails_ends_the_experiment() {
    let analyses = json!([analysis("errors", false), analysis("more", true)]);
    let mut world = World::new(&with(two_templates(), &json!({"duration": "5m", "analyses": analyses})));
    world.pods = Pods::StayAway;
    world.settle();
    assert!(world.runs().is_empty());
    world.pods = Pods::Come;
    world.settle();
    assert_eq!(world.runs(), ["try-errors", "try-more"]);
    world.end_run("try-errors", "Failed", 1);
    assert_eq!(world.phase(), "Failed");
    assert_eq!(world.message(), "analysis 'errors' is Failed: said so");
    assert_eq!(world.run("try-more").spec.terminate, Some(true));
}

#[test]
fn all_required_analyses_together_end_the_experiment_and_optional_ones_are_stopped() {
    let analyses = json!([analysis("a", true), analysis("b", true), analysis("c", false)]);
    let mut world = World::new(&with(two_templates(), &json!({"analyses": analyses})));
    world.settle().end_run("try-a", "Successful", 1);
    assert_eq!(world.phase(), "Running");
    world.end_run("try-b", "Successful", 1);
    assert_eq!(world.phase(), "Successful");
    assert_eq!(world.run("try-c").spec.terminate, Some(true));
}

#[test]
fn a_required_analysis_is_waited_for_past_the_duration_and_an_optional_one_is_not() {
    let spec =
        |required| with(two_templates(), &json!({"duration": "1m", "analyses": [analysis("a", required)]}));
    let mut world = World::new(&spec(true));
    world.settle().wait(120);
    assert_eq!(
        (world.phase(), world.message().as_str()),
        ("Running", "waiting for the required analysis 'a' to end")
    );
    world.end_run("try-a", "Inconclusive", 1);
    assert_eq!(world.phase(), "Inconclusive");
    let mut world = World::new(&spec(false));
    world.settle().wait(120);
    assert_eq!(world.phase(), "Successful");
}

#[test]
fn a_required_analysis_without_an_end_lasts_for_the_duration() {
    let endless = json!({
        "name": "a", "templateName": "endless", "requiredForCompletion": true,
        "args": [{"name": "hash", "value": "{{templates.canary.podTemplateHash}}"}],
    });
    let mut world = World::new(&with(two_templates(), &json!({"duration": "1m", "analyses": [endless]})));
    world.settle().wait(59);
    assert_eq!(world.run("try-a").spec.terminate, None);
    let hash = world.snapshot.replica_sets[1].hash.to_string();
    let args = world.run("try-a").spec.args.clone().unwrap();
    assert_eq!(args[0].value, Some(hash));
    world.wait(1);
    assert_eq!((world.phase(), world.run("try-a").spec.terminate), ("Running", Some(true)));
    world.end_run("try-a", "Successful", 6);
    assert_eq!(world.phase(), "Successful");
    // Without a duration it gets an end of its own.
    let mut spec = serde_json::to_value(&world.snapshot.experiment.spec).unwrap();
    spec.as_object_mut().unwrap().remove("duration");
    let mut world = World::new(&spec);
    world.settle();
    assert!(world.run("try-a").spec.metrics.as_ref().unwrap()[0].count.is_some());
}

#[test]
fn a_person_can_end_it_and_what_came_to_no_verdict_is_inconclusive() {
    let check = |analyses: &Value, pods, expected: &str| {
        let mut world = World::new(&with(two_templates(), &json!({"analyses": analyses})));
        world.pods = pods;
        world.settle();
        world.snapshot.experiment.spec.terminate = Some(true);
        world.settle();
        assert_eq!(format!("{}: {}", world.phase(), world.message()), expected);
        world.wait(30);
        assert_eq!(world.sizes().iter().map(|(_, size)| size).sum::<u32>(), 0);
    };
    check(&json!([]), Pods::Come, "Successful: terminated");
    check(&json!([analysis("a", false)]), Pods::Come, "Successful: terminated");
    check(
        &json!([analysis("a", true)]),
        Pods::Come,
        "Inconclusive: terminated before the required analysis 'a' came to a verdict",
    );
    check(&json!([]), Pods::StayAway, "Inconclusive: terminated before all templates were available");
}

#[test]
fn a_required_run_that_was_stopped_before_it_measured_is_no_verdict() {
    let mut world = World::new(&with(two_templates(), &json!({"analyses": [analysis("a", true)]})));
    world.settle();
    world.run("try-a").spec.terminate = Some(true);
    world.end_run("try-a", "Successful", 0);
    assert_eq!(world.phase(), "Inconclusive");
}

#[test]
fn an_invalid_spec_is_said_and_heals() {
    let mut spec =
        with(two_templates(), &json!({"progressDeadlineSeconds": 30, "analyses": [analysis("a", true)]}));
    spec["templates"][1]["name"] = json!("baseline");
    spec["analyses"][0]["templateName"] = json!("missing");
    let mut world = World::new(&spec);
    world.settle();
    assert_eq!((world.phase(), world.sizes().len()), ("Pending", 0));
    assert_eq!(world.told(), ["InvalidExperimentSpec: InvalidSpec", "Stalled: InvalidSpec"]);
    for part in [
        "InvalidSpec: spec.templates[1].name: 'baseline' is the name of another one too",
        "spec.analyses[0]: AnalysisTemplate 'missing' not found",
    ] {
        assert!(world.message().contains(part), "{}", world.message());
    }
    let told = world.events.iter().filter(|event| event.starts_with("InvalidSpec")).count();
    let writes = world.writes;
    world.wait(600);
    assert_eq!((told, world.writes), (1, writes));
    world.change(&with(two_templates(), &json!({"progressDeadlineSeconds": 30})));
    world.settle();
    assert_eq!((world.phase(), world.message().as_str()), ("Running", ""));
    assert_eq!(world.told(), ["Reconciling: Running", "Progressing: ExperimentRunning"]);
}

#[test]
fn time_in_which_the_spec_was_invalid_does_not_count_against_its_pods() {
    let spec = with(two_templates(), &json!({"progressDeadlineSeconds": 30}));
    let mut world = World::new(&spec);
    world.pods = Pods::StayAway;
    world.settle();
    world.change(&with(spec.clone(), &json!({"duration": "soon"})));
    world.wait(600);
    assert!(world.message().contains("spec.duration: 'soon' is not a time"));
    world.change(&spec);
    world.settle();
    assert_eq!(world.phase(), "Pending");
    world.wait(30);
    assert_eq!(world.phase(), "Failed");
}

#[test]
fn each_field_that_cannot_be_worked_with_is_named() {
    let mut spec = json!({
        "duration": "-1", "progressDeadlineSeconds": 0, "scaleDownDelaySeconds": -1,
        "templates": [template("a"), {"name": ""}, template("b"), template(&"c".repeat(60))],
        "analyses": [
            {"name": "x", "templateName": "errors", "args": [{"name": "v", "value": "{{templates.z.podTemplateHash}}"}]},
            {"name": "x", "templateName": "errors", "args": [{"name": "v", "value": "{{experiment.finishedAt}}"}]},
            {"name": "No Name", "templateName": "errors"},
        ],
        "dryRun": [{"metricName": "none"}],
    });
    spec["templates"][0]["service"] = json!({"name": "a"});
    spec["templates"][2]["service"] = json!({"name": "a"});
    spec["templates"][3]["service"] = json!({});
    spec["templates"][0]["replicas"] = json!(-1);
    spec["templates"][0]["template"]["spec"]["containers"][0]["ports"] = json!([]);
    let mut world = World::new(&spec);
    world.settle();
    let message = world.message();
    for field in [
        "spec.duration: '-1'",
        "spec.progressDeadlineSeconds: must be greater",
        "spec.scaleDownDelaySeconds: must be 0 or more",
        "spec.templates[0].replicas: must be 0 or more",
        "spec.templates[0].service: needs a port",
        "spec.templates[1].name: is missing",
        "spec.templates[1].selector: is empty",
        "spec.templates[1].template: is missing",
        "spec.analyses[1].name: 'x'",
        "spec.analyses[0].args[0].value: {{templates.z.podTemplateHash}} has no value; known are",
        "spec.analyses[1].args[0].value: {{experiment.finishedAt}} has no value: set spec.duration",
        "spec.dryRun[0].metricName: 'none' matches no metric",
        "spec.analyses[2].name: 'No Name' becomes part of the name of an object",
        "spec.templates[2].service.name: 'a' is the Service of another template too",
        "spec.templates[3].service.name: a Service cannot be called 'try-ccc",
    ] {
        assert!(message.contains(field), "{field} is not in {message}");
    }
}

#[test]
fn a_duration_of_nothing_is_refused() {
    let mut world = World::new(&with(two_templates(), &json!({"duration": "0s"})));
    world.settle();
    assert!(
        world.message().starts_with("InvalidSpec: spec.duration: must be more than 0"),
        "{}",
        world.message()
    );
}

fn refused(world: &mut World, kind: ObjectKind, name: &str, seconds: u64) {
    let retry_at = world.snapshot.now.plus(Duration::from_secs(seconds));
    let obstacle = Obstacle { why: Why::Refused("quota".to_owned()), retry_at };
    world.snapshot.obstacles.insert((kind, name.to_owned()), obstacle);
}

#[test]
fn an_analysis_that_was_never_made_is_no_success() {
    for required in [false, true] {
        let spec = json!({"duration": "1m", "analyses": [analysis("a", required)]});
        let mut world = World::new(&with(two_templates(), &spec));
        refused(&mut world, ObjectKind::AnalysisRun, "try-a", 3600);
        world.settle().wait(59);
        let why = "cannot create AnalysisRun 'try-a': quota";
        assert_eq!((world.phase(), &*world.message()), ("Running", why));
        world.wait(1);
        assert_eq!((world.phase(), &*world.message()), ("Error", why));
    }
}

#[test]
fn an_analysis_that_cannot_be_made_is_not_waited_for_for_ever() {
    let spec = json!({"progressDeadlineSeconds": 30, "analyses": [analysis("a", true)]});
    let mut world = World::new(&with(two_templates(), &spec));
    refused(&mut world, ObjectKind::AnalysisRun, "try-a", 3600);
    world.settle();
    assert_eq!(world.wake.unwrap().to_string(), "2026-01-01T00:00:30Z");
    world.wait(29);
    assert_eq!(world.phase(), "Running");
    world.wait(1);
    assert_eq!((world.phase(), &*world.message()), ("Error", "cannot create AnalysisRun 'try-a': quota"));
}

#[test]
fn a_name_that_was_taken_is_tried_again_later() {
    let mut world = World::new(&two_templates());
    let taken = (ObjectKind::ReplicaSet, "try-canary".to_owned());
    let retry_at = world.snapshot.now.plus(Duration::from_mins(1));
    world.snapshot.obstacles.insert(taken, Obstacle { why: Why::Taken, retry_at });
    assert!(world.snapshot.is_taken(ObjectKind::ReplicaSet, "try-canary"));
    world.snapshot.now = retry_at;
    world.settle();
    assert_eq!(world.sizes()[1].0, "try-canary");
}

#[test]
fn a_name_that_is_taken_is_avoided_for_pods_and_said_for_a_service() {
    let mut spec = two_templates();
    spec["templates"][0]["service"] = json!({"name": "shop"});
    let mut world = World::new(&spec);
    let retry_at = world.snapshot.now.plus(Duration::from_mins(1));
    for (kind, name) in [(ObjectKind::ReplicaSet, "try-baseline"), (ObjectKind::Service, "shop")] {
        let obstacle = Obstacle { why: Why::Taken, retry_at };
        world.snapshot.obstacles.insert((kind, name.to_owned()), obstacle);
    }
    world.settle();
    assert_eq!(world.sizes()[0].0, "try-baseline-1");
    let status = world.status().template_statuses.unwrap()[0].clone();
    assert_eq!(status.collision_count, Some(1));
    assert!(
        status.message.unwrap().starts_with("Service 'shop' exists and does not belong to this Experiment")
    );
    assert_eq!((world.phase(), world.wake), ("Pending", Some(retry_at)));
    let message = world.message();
    assert!(
        message.starts_with("template 'baseline': Service 'shop' exists and does not belong"),
        "{message}"
    );
    // What is known only from the status stays after a restart.
    world.snapshot.obstacles.clear();
    world.settle();
    assert_eq!(world.sizes().len(), 2);
    assert_eq!(world.phase(), "Running");
}

#[test]
fn pods_that_are_refused_are_tried_again_and_the_reason_is_said() {
    let mut world = World::new(&two_templates());
    let retry_at = world.snapshot.now.plus(Duration::from_mins(1));
    let obstacle = Obstacle { why: Why::Refused("quota".to_owned()), retry_at };
    world.snapshot.obstacles.insert((ObjectKind::ReplicaSet, "try-canary".to_owned()), obstacle);
    world.settle();
    let status = world.status().template_statuses.unwrap()[1].clone();
    assert_eq!(status.message.as_deref(), Some("cannot create ReplicaSet 'try-canary': quota"));
    assert_eq!(world.sizes().len(), 1);
    world.wait(60);
    assert_eq!(world.sizes().len(), 2);
}

#[test]
fn a_template_that_is_changed_too_late_is_told_so_and_a_size_is_followed() {
    let mut world = World::new(&two_templates());
    world.settle();
    let mut spec = two_templates();
    spec["templates"][0]["replicas"] = json!(3);
    spec["templates"][1]["template"]["spec"]["containers"][0]["image"] = json!("app:v2");
    world.change(&spec);
    world.settle();
    assert_eq!(world.sizes()[0].1, 3);
    let message = world.status().template_statuses.unwrap()[1].message.clone().unwrap();
    assert!(message.contains("has no effect"), "{message}");
    assert_eq!(world.phase(), "Running");
    // And one that is not named any more goes.
    world.change(&json!({"templates": [template("canary")]}));
    world.settle();
    assert_eq!(world.sizes(), [("try-baseline".to_owned(), 0), ("try-canary".to_owned(), 1)]);
}

#[test]
fn an_experiment_that_is_retried_starts_again_with_runs_of_its_own() {
    let mut world = World::new(&with(two_templates(), &json!({"analyses": [analysis("a", true)]})));
    world.settle().end_run("try-a", "Failed", 1).wait(10);
    assert_eq!(world.phase(), "Failed");
    world.snapshot.experiment.status = None;
    world.settle();
    assert_eq!(world.phase(), "Running");
    assert_eq!(world.runs(), ["try-a", "try-a.1"]);
    assert!(world.snapshot.replica_sets.iter().all(|set| set.scale_down_deadline.is_none()));
}

#[test]
fn what_happens_is_announced_once() {
    let mut world = World::new(&with(two_templates(), &json!({"analyses": [analysis("a", true)]})));
    world.settle().end_run("try-a", "Successful", 1).wait(60);
    assert_eq!(
        world.events,
        [
            "TemplateProgressing: Template 'baseline' is Progressing",
            "TemplateProgressing: Template 'canary' is Progressing",
            "ExperimentPending: Experiment is Pending",
            "TemplateRunning: Template 'baseline' is Running",
            "TemplateRunning: Template 'canary' is Running",
            "ExperimentRunning: Experiment is Running",
            "TemplateSuccessful: Template 'baseline' is Successful",
            "TemplateSuccessful: Template 'canary' is Successful",
            "AnalysisRunSuccessful: Analysis 'a' is Successful (AnalysisRun 'try-a'): said so",
            "ExperimentSuccessful: Experiment is Successful",
        ]
    );
}
