//! Objects as Argo Rollouts leaves them, through the caches and the core: nothing moves, and the next action goes on.
//!
//! The files in `tests/takeover` were captured from a real API server. Situations that were not captured are made from
//! them by changing what differs.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::caches::{Caches, Watched};
use super::snapshot::{self, Memory};
use super::store::Key;
use crate::api::labels::{OUTCOME, SCALE_DOWN_DEADLINE};
use crate::rollout::snapshot::Settings;
use crate::rollout::{self, Effect, Plan, Snapshot, pod_hash};
use crate::traffic::ObservedTraffic;
use crate::units::Timestamp;

/// What one effect does, in words.
fn told(effect: &Effect) -> String {
    match effect {
        Effect::ScaleReplicaSet { name, from, to, .. } => format!("scale {name} {from}->{to}"),
        Effect::UpdateReplicaSet { name, annotations, .. } => {
            format!("note on {name}: {:?}", annotations.keys().collect::<Vec<_>>())
        }
        Effect::SwitchService { name, to } => format!("switch {name} to {to}"),
        Effect::SetTraffic(target) => format!("traffic {}", target.weight),
        other => format!("{other:?}").chars().take(60).collect(),
    }
}

/// The captured objects of one situation.
struct Taken {
    objects: Vec<Value>,
    now: Timestamp,
    traffic: Option<ObservedTraffic>,
}

impl Taken {
    fn read(situation: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/takeover")
            .join(situation)
            .with_extension("yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        let objects = serde_saphyr::from_multiple(&text).unwrap();
        let now = Timestamp::parse("2026-11-21T08:21:00Z").unwrap();
        Self { objects, now, traffic: None }
    }

    fn object(&mut self, kind: &str, name: &str) -> &mut Value {
        let is_it = |object: &&mut Value| object["kind"] == kind && object["metadata"]["name"] == name;
        self.objects.iter_mut().find(is_it).unwrap()
    }

    fn rollout(&mut self) -> &mut Value {
        self.object("Rollout", "r")
    }

    fn set(&mut self, name: &str) -> &mut Value {
        self.object("ReplicaSet", name)
    }

    /// Other steps, with the hash that belongs to them.
    fn with_steps(mut self, steps: Value) -> Self {
        let hash = pod_hash::steps_hash(Some(&steps));
        self.rollout()["spec"]["strategy"]["canary"]["steps"] = steps;
        self.rollout()["status"]["currentStepHash"] = json!(hash);
        self
    }

    /// A router that nothing is known of but its shares stands for the captured one.
    fn with_router(mut self, canary: u32, stable: u32) -> Self {
        self.rollout()["spec"]["strategy"]["canary"]["trafficRouting"] =
            json!({"plugins": {"simulated": {}}});
        let shares = [("canary".to_owned(), canary), ("stable".to_owned(), stable)].into();
        self.traffic = Some(ObservedTraffic { shares, ..ObservedTraffic::default() });
        self
    }

    fn snapshot(&self) -> Snapshot {
        let caches = Caches::new([Watched::Rollouts]);
        for object in self.objects.clone() {
            let kind = object["kind"].as_str().unwrap().to_owned();
            match kind.as_str() {
                "Rollout" => caches.rollout_event(Event::Apply(serde_json::from_value(object).unwrap())),
                "ReplicaSet" => {
                    caches.replica_set_event(Event::Apply(serde_json::from_value(object).unwrap()));
                }
                "Service" => caches.service_event(Event::Apply(serde_json::from_value(object).unwrap())),
                "AnalysisRun" => caches.run_event(Event::Apply(serde_json::from_value(object).unwrap())),
                "AnalysisTemplate" => {
                    caches.template_event(Event::Apply(serde_json::from_value(object).unwrap()));
                }
                other => panic!("no cache holds a {other}"),
            }
        }
        let known =
            caches.rollouts.get(&Key { namespace: Arc::from("default"), name: Arc::from("r") }).unwrap();
        let readable = known.value.content.as_ref().unwrap();
        let settings =
            Settings { router_plugins: BTreeSet::from(["simulated".to_owned()]), ..Settings::default() };
        let memory = Memory::default();
        let mut snapshot =
            snapshot::rollout(&caches, &known.identity, readable, &memory, self.now, &settings).unwrap();
        snapshot.traffic.clone_from(&self.traffic);
        snapshot
    }

    fn plan(&self) -> Plan {
        rollout::decide(&self.snapshot())
    }

    /// What the next pass does to the cluster, in words.
    fn effects(&self) -> Vec<String> {
        self.plan().stages.iter().flatten().map(told).collect()
    }

    /// The first pass moves nothing; what it writes into the status is `phase`, and the position stays.
    fn assert_continues(&self, phase: &str) {
        let plan = self.plan();
        assert_eq!(self.effects(), Vec::<String>::new(), "something moves");
        let before = self.snapshot().rollout.status.unwrap();
        let after = plan.status.map_or_else(|| before.clone(), |status| *status);
        assert_eq!(after.phase.as_deref(), Some(phase), "{:?}", after.message);
        let position = |status: &crate::api::RolloutStatus| {
            (
                status.current_pod_hash.clone(),
                status.stable_rs.clone(),
                status.current_step_index,
                status.current_step_hash.clone(),
                status.pause_conditions.clone(),
                status.abort,
            )
        };
        assert_eq!(position(&after), position(&before));
        let mut next = Self { objects: self.objects.clone(), now: self.now, traffic: self.traffic.clone() };
        next.rollout()["status"] = serde_json::to_value(after).unwrap();
        assert_eq!(next.effects(), Vec::<String>::new(), "something moves in the second pass");
        assert!(next.plan().status.is_none(), "the second pass writes again");
    }
}

#[test]
fn a_healthy_rollout_is_at_rest() {
    Taken::read("healthy").assert_continues("Healthy");
}

#[test]
fn a_paused_canary_waits_on_and_goes_on_when_it_is_promoted() {
    let mut taken = Taken::read("paused-basic");
    taken.assert_continues("Paused");
    taken.rollout()["status"]["pauseConditions"] = Value::Null;
    assert!(
        taken.effects().iter().any(|effect| effect.starts_with("scale r-6996b5b5b5")),
        "{:?}",
        taken.effects()
    );
}

#[test]
fn an_aborted_canary_stays_aborted_and_starts_again_when_it_is_retried() {
    let mut taken = Taken::read("aborted-basic");
    let noted: Vec<_> = taken.effects();
    assert_eq!(noted, [format!("note on r-6996b5b5b5: [{OUTCOME:?}]")], "no pod moves");
    taken.set("r-6996b5b5b5")["metadata"]["annotations"][OUTCOME] = json!("aborted");
    taken.assert_continues("Degraded");
    taken.rollout()["status"]["abort"] = Value::Null;
    assert!(
        taken.effects().iter().any(|effect| effect.starts_with("scale r-6996b5b5b5 0->")),
        "{:?}",
        taken.effects()
    );
}

#[test]
fn a_routed_canary_keeps_its_share_and_goes_on_when_it_is_promoted() {
    let mut taken = Taken::read("paused-istio").with_router(20, 80);
    taken.assert_continues("Paused");
    taken.rollout()["status"]["pauseConditions"] = Value::Null;
    assert_eq!(taken.effects(), ["scale r-6996b5b5b5 1->2"], "pods come before their share");
}

#[test]
fn a_preview_waits_on_and_is_switched_to_when_it_is_promoted() {
    let mut taken = Taken::read("bluegreen-before-switch");
    taken.assert_continues("Paused");
    taken.rollout()["status"]["pauseConditions"] = Value::Null;
    assert_eq!(taken.effects(), ["switch active to 6996b5b5b5"]);
}

#[test]
fn an_old_version_goes_when_the_delay_ends_that_was_begun_before() {
    let mut taken = Taken::read("bluegreen-before-switch");
    taken.object("Service", "active")["spec"]["selector"]["rollouts-pod-template-hash"] = json!("6996b5b5b5");
    let status = &mut taken.rollout()["status"];
    status["stableRS"] = json!("6996b5b5b5");
    status["blueGreen"]["activeSelector"] = json!("6996b5b5b5");
    status["pauseConditions"] = Value::Null;
    status["controllerPause"] = Value::Null;
    taken.set("r-ccf4b4fdd")["metadata"]["annotations"][SCALE_DOWN_DEADLINE] = json!("2026-11-21T08:21:30Z");
    taken.assert_continues("Healthy");
    let wake = taken.plan().wake.unwrap();
    assert_eq!(wake.at.to_string(), "2026-11-21T08:21:30Z");
    taken.now = wake.at;
    assert_eq!(taken.effects(), ["scale r-ccf4b4fdd 2->0"]);
}

#[test]
fn a_pause_with_a_duration_ends_at_the_time_that_was_set_before() {
    let steps = json!([{"setWeight": 25}, {"pause": {"duration": "5m"}}, {"setWeight": 75}]);
    let mut taken = Taken::read("paused-basic").with_steps(steps);
    taken.assert_continues("Paused");
    let started = taken.rollout()["status"]["pauseConditions"][0]["startTime"].clone();
    let ends = Timestamp::parse(started.as_str().unwrap()).unwrap().plus(std::time::Duration::from_mins(5));
    assert_eq!(taken.plan().wake.unwrap().at, ends);
    taken.now = ends;
    assert!(!taken.effects().is_empty());
}

#[test]
fn an_aborted_routed_canary_goes_when_its_delay_ends() {
    let mut taken = Taken::read("paused-istio").with_router(0, 100);
    let deadline = "2026-11-21T08:21:20Z";
    let status = &mut taken.rollout()["status"];
    status["abort"] = json!(true);
    status["abortedAt"] = json!("2026-11-21T08:20:50Z");
    status["currentStepIndex"] = json!(0);
    status["pauseConditions"] = Value::Null;
    status["controllerPause"] = Value::Null;
    taken.object("Service", "canary")["spec"]["selector"]["rollouts-pod-template-hash"] = json!("ccf4b4fdd");
    let annotations = &mut taken.set("r-6996b5b5b5")["metadata"]["annotations"];
    annotations[SCALE_DOWN_DEADLINE] = json!(deadline);
    annotations[OUTCOME] = json!("aborted");
    taken.assert_continues("Degraded");
    taken.now = Timestamp::parse(deadline).unwrap();
    assert_eq!(taken.effects(), ["scale r-6996b5b5b5 1->0"]);
}

#[test]
fn a_dynamically_scaled_stable_is_not_moved() {
    let mut taken = Taken::read("paused-istio").with_router(20, 80);
    let canary = &mut taken.rollout()["spec"]["strategy"]["canary"];
    canary["dynamicStableScale"] = json!(true);
    canary["scaleDownDelaySeconds"] = Value::Null;
    taken.assert_continues("Paused");
}

#[test]
fn a_canary_in_the_middle_of_its_scale_up_is_waited_for() {
    let mut taken = Taken::read("paused-basic");
    let status = &mut taken.rollout()["status"];
    status["currentStepIndex"] = json!(0);
    status["pauseConditions"] = Value::Null;
    status["controllerPause"] = Value::Null;
    taken.set("r-6996b5b5b5")["status"]["availableReplicas"] = json!(0);
    taken.set("r-6996b5b5b5")["status"]["readyReplicas"] = json!(0);
    assert_eq!(taken.effects(), Vec::<String>::new());
    assert_eq!(taken.plan().status.unwrap().phase.as_deref(), Some("Progressing"));
}

#[test]
fn an_update_past_its_deadline_stays_degraded_until_it_gains_something() {
    let mut taken = Taken::read("paused-basic");
    let status = &mut taken.rollout()["status"];
    status["currentStepIndex"] = json!(0);
    status["pauseConditions"] = Value::Null;
    status["controllerPause"] = Value::Null;
    status["availableReplicas"] = json!(3);
    status["readyReplicas"] = json!(3);
    for condition in status["conditions"].as_array_mut().unwrap() {
        if condition["type"] == "Progressing" {
            condition["status"] = json!("False");
            condition["reason"] = json!("ProgressDeadlineExceeded");
            condition["message"] = json!("ReplicaSet \"r-6996b5b5b5\" has timed out progressing.");
            condition["lastUpdateTime"] = json!("2026-11-21T08:00:00Z");
        }
    }
    taken.set("r-6996b5b5b5")["status"]["availableReplicas"] = json!(0);
    taken.set("r-6996b5b5b5")["status"]["readyReplicas"] = json!(0);
    assert_eq!(taken.effects(), Vec::<String>::new());
    assert_eq!(taken.plan().status.unwrap().phase.as_deref(), Some("Degraded"));
}

#[test]
fn a_running_background_analysis_is_watched_on() {
    let mut taken = Taken::read("paused-basic");
    taken.rollout()["spec"]["strategy"]["canary"]["analysis"] =
        json!({"templates": [{"templateName": "rate"}]});
    let run = "r-6996b5b5b5-2";
    taken.rollout()["status"]["canary"]["currentBackgroundAnalysisRunStatus"] =
        json!({"name": run, "status": "Running"});
    let owner = taken.set("r-6996b5b5b5")["metadata"]["ownerReferences"].clone();
    let metric = json!({
        "name": "rate", "interval": "10s", "successCondition": "result[0] > 0.9",
        "provider": {"prometheus": {"address": "http://prometheus:9090", "query": "up"}},
    });
    taken.objects.push(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate",
        "metadata": {"name": "rate", "namespace": "default", "uid": "t", "resourceVersion": "1"}, "spec": {"metrics": [metric]},
    }));
    taken.objects.push(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun",
        "metadata": {
            "name": run, "namespace": "default", "uid": "a", "resourceVersion": "1", "ownerReferences": owner,
            "labels": {"rollouts-pod-template-hash": "6996b5b5b5", "rollout-type": "Background"},
        },
        "spec": {"metrics": [metric]}, "status": {"phase": "Running", "startedAt": "2026-11-21T08:20:07Z"},
    }));
    taken.assert_continues("Paused");
    taken.objects.last_mut().unwrap()["status"]["phase"] = json!("Failed");
    assert_eq!(taken.plan().status.unwrap().abort, Some(true));
}

#[test]
fn an_empty_list_of_steps_is_none() {
    let mut taken = Taken::read("aborted-basic");
    taken.rollout()["spec"]["strategy"]["canary"]["steps"] = json!([]);
    taken.rollout()["status"]["currentStepHash"] = json!(pod_hash::steps_hash(None));
    taken.rollout()["status"]["currentStepIndex"] = Value::Null;
    taken.set("r-6996b5b5b5")["metadata"]["annotations"][OUTCOME] = json!("aborted");
    assert_eq!(taken.plan().status.unwrap().current_step_index, Some(0), "behind all of them");
    taken.rollout()["status"]["currentStepIndex"] = json!(0);
    taken.assert_continues("Degraded");
}

#[test]
fn old_revisions_are_kept_and_numbered_on() {
    let mut taken = Taken::read("paused-basic");
    for number in 0..8 {
        let mut old = taken.set("r-ccf4b4fdd").clone();
        old["metadata"]["name"] = json!(format!("r-old{number}"));
        old["metadata"]["uid"] = json!(format!("old{number}"));
        old["metadata"]["labels"]["rollouts-pod-template-hash"] = json!(format!("old{number}"));
        old["metadata"]["annotations"]["rollout.argoproj.io/revision"] = json!("0");
        old["spec"]["replicas"] = json!(0);
        old["status"] = json!({"replicas": 0, "observedGeneration": 9});
        taken.objects.push(old);
    }
    taken.assert_continues("Paused");
}

#[test]
fn a_replica_set_whose_hash_was_computed_otherwise_is_recognised_and_stays_so() {
    let mut taken = Taken::read("healthy");
    taken.rollout()["status"]["currentPodHash"] = json!("older");
    taken.rollout()["status"]["stableRS"] = json!("older");
    let generation = taken.rollout()["metadata"]["generation"].to_string();
    taken.rollout()["status"]["observedGeneration"] = json!(generation);
    let set = taken.set("r-ccf4b4fdd");
    set["metadata"]["labels"]["rollouts-pod-template-hash"] = json!("older");
    assert_eq!(taken.effects(), ["note on r-ccf4b4fdd: [\"rollout.argoproj.io/template-hash\"]"]);

    taken.set("r-ccf4b4fdd")["metadata"]["annotations"]["rollout.argoproj.io/template-hash"] =
        json!("ccf4b4fdd");
    taken.assert_continues("Healthy");
    let next: i64 = generation.parse::<i64>().unwrap() + 1;
    taken.rollout()["metadata"]["generation"] = json!(next);
    assert_eq!(taken.effects(), Vec::<String>::new(), "a change of something else is no new version");
}
