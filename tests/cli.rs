//! The plugin's pictures, paragraphs and patches, on objects as an API server holds them.
//!
//! Each file `tests/cli/NAME.yaml` is a situation; `NAME.txt` is what users see of it. `UPDATE=1 cargo test --test cli`
//! writes the texts anew; read the difference before you commit it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and its functions are part of it"
)]
#![allow(
    clippy::format_push_string,
    clippy::too_many_lines,
    reason = "lists of situations are long, and read as one text"
)]

use std::fs;
use std::path::PathBuf;

use kube::core::DynamicObject;
use serde_json::{Value, json};
use serin::api::Rollout;
use serin::commands::{self, Answer, Body, ImageChange, Part, Promotion, Target, ToRevision};
use serin::units::{Revision, Timestamp};
use serin::view::{self, Columns, Detail, Limits, Observed, Paint};

/// The moment at which every situation is looked at.
const NOW: &str = "2026-11-21T08:23:27Z";

fn now() -> Timestamp {
    Timestamp::parse(NOW).unwrap()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cli").join(name)
}

/// The objects of a situation, as plain JSON.
struct Situation(Vec<Value>);

impl Situation {
    fn load(name: &str) -> Self {
        let text = fs::read_to_string(path(&format!("{name}.yaml"))).unwrap();
        Self(serde_saphyr::from_multiple(&text).unwrap())
    }

    /// The situation with its Rollout changed by a merge patch.
    fn with(mut self, patch: &Value) -> Self {
        let rollout = self.0.iter_mut().find(|object| object["kind"] == "Rollout").unwrap();
        merge(rollout, patch);
        self
    }

    fn of<T: serde::de::DeserializeOwned>(&self, kind: &str) -> Vec<T> {
        let objects = self.0.iter().filter(|object| object["kind"] == kind);
        objects.map(|object| serde_json::from_value(object.clone()).unwrap()).collect()
    }

    fn rollout(&self) -> Rollout {
        self.of("Rollout").remove(0)
    }

    /// The pod template as it stands, wherever it is written.
    fn template(&self) -> Value {
        let written = self.rollout().spec.template;
        let deployments = || self.of::<Value>("Deployment").remove(0)["spec"]["template"].clone();
        written.unwrap_or_else(deployments)
    }

    fn observed(&self) -> Observed {
        Observed {
            rollout: self.rollout(),
            replica_sets: self.of("ReplicaSet"),
            pods: self.of("Pod"),
            analysis_runs: self.of("AnalysisRun"),
            experiments: self.of("Experiment"),
        }
    }

    fn tree(&self) -> String {
        self.rendered(Detail::Full)
    }

    fn rendered(&self, detail: Detail) -> String {
        plain(&view::render(&view::tree(&self.observed()), now(), detail))
    }

    fn why(&self) -> String {
        view::why(&self.observed(), now())
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let fields = target.as_object_mut().unwrap();
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key).or_insert(Value::Null), change);
        }
    }
}

fn plain(text: &view::Text) -> String {
    text.paint(Paint::Plain, Limits::NONE).join("\n") + "\n"
}

/// Compares with the stored text, or stores it.
fn check(file: &str, seen: &str) {
    let file = path(file);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, seen).unwrap();
    }
    let stored = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(stored, seen, "{} differs; UPDATE=1 stores the new text", file.display());
}

fn check_tree(name: &str) {
    let situation = Situation::load(name);
    check(&format!("{name}.txt"), &format!("{}\n{}\n", situation.tree(), situation.why()));
}

#[test]
fn a_healthy_rollout_is_shown() {
    check_tree("healthy");
}

#[test]
fn a_paused_rollout_is_shown() {
    check_tree("paused");
}

#[test]
fn a_rollout_with_the_template_of_a_workload_is_shown() {
    check_tree("workload");
    let scaled = json!({"spec": {"workloadRef": {"scaleDown": "progressively"}}});
    let tree = Situation::load("workload").with(&scaled).tree();
    assert!(tree.contains("Workload:        Deployment d (scaled down progressively)"), "{tree}");
}

#[test]
fn a_paused_rollout_with_a_router_is_shown() {
    check_tree("routed");
}

#[test]
fn an_aborted_rollout_is_shown() {
    check_tree("aborted");
}

#[test]
fn a_blue_green_rollout_before_its_switch_is_shown() {
    check_tree("blue-green");
}

#[test]
fn pods_that_cannot_pull_their_image_are_shown() {
    check_tree("bad-image");
}

#[test]
fn running_analysis_is_shown_with_its_measurements() {
    check_tree("analysis");
}

#[test]
fn a_failed_analysis_is_shown_with_its_measurements() {
    check_tree("failed-analysis");
}

#[test]
fn an_experiment_is_shown_with_its_templates_and_analyses() {
    check_tree("experiment");
    let Observed { experiments, replica_sets, pods, analysis_runs, .. } =
        Situation::load("experiment").observed();
    let found = view::experiment(&experiments[0], &replica_sets, &pods, &analysis_runs);
    let tree = plain(&view::render_experiment(&found, now(), Detail::Full));
    let of_all = plain(&view::list_experiments(&experiments, Columns::WithNamespace, now()));
    check("experiment-alone.txt", &format!("{tree}\n{of_all}"));
}

#[test]
fn an_experiment_is_ended_and_begun_again_as_clients_of_this_api_do() {
    let mut experiment = Situation::load("experiment").observed().experiments.remove(0);
    let mut seen = String::new();
    for phase in ["Running", "Failed"] {
        experiment.status = Some(serde_json::from_value(json!({"phase": phase})).unwrap());
        seen += &format!("{phase}\n{}", written(commands::terminate_experiment(&experiment)));
        seen += &written(commands::retry_experiment(&experiment));
    }
    experiment.spec.terminate = Some(true);
    seen += &written(commands::retry_experiment(&experiment));
    let run = Situation::load("experiment").observed().analysis_runs.remove(0);
    seen += &written(commands::terminate_run(&run));
    check("experiment-commands.txt", &seen);
}

#[test]
fn many_pods_are_folded_and_those_in_trouble_come_first() {
    let mut situation = Situation::load("bad-image");
    let pods: Vec<Value> = situation.0.iter().filter(|object| object["kind"] == "Pod").cloned().collect();
    for (index, pod) in (0..40).flat_map(|round| pods.iter().map(move |pod| (round, pod))) {
        let mut pod = pod.clone();
        let name = format!("{}-{index}", pod["metadata"]["name"].as_str().unwrap());
        pod["metadata"]["name"] = json!(name);
        if name.ends_with("h2c8v-39") {
            pod["status"]["containerStatuses"][0]["state"] =
                json!({"waiting": {"reason": "CrashLoopBackOff"}});
        }
        situation.0.push(pod);
    }
    check("many-pods.txt", &situation.tree());
}

#[test]
fn a_small_terminal_shows_what_matters() {
    check("compact.txt", &Situation::load("failed-analysis").rendered(Detail::Compact));
}

#[test]
fn objects_of_others_are_not_shown() {
    let mut situation = Situation::load("healthy");
    let alone = situation.tree();
    let others = ["paused", "analysis", "bad-image"].map(Situation::load);
    situation
        .0
        .extend(others.into_iter().flat_map(|other| other.0).filter(|object| object["kind"] != "Rollout"));
    assert_eq!(situation.tree(), alone);
}

#[test]
fn rollouts_are_listed_by_namespace_and_name() {
    let names = ["paused", "analysis", "aborted", "bad-image", "blue-green", "healthy"];
    let rollouts: Vec<Rollout> = names.map(|name| Situation::load(name).rollout()).to_vec();
    let one = plain(&view::list(&rollouts, Columns::WithoutNamespace));
    let all = plain(&view::list(&rollouts, Columns::WithNamespace));
    check("list.txt", &format!("{one}\n{all}"));
}

/// Situations that differ in the Rollout only: a name, a base, and a merge patch on the Rollout.
fn variants() -> Vec<(&'static str, &'static str, Value)> {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
               "lastUpdateTime": "2026-11-21T08:20:07Z"})
    };
    let timed = json!([{"setWeight": 25}, {"pause": {"duration": "5m"}}, {"setWeight": 75}]);
    let timed_at = |at: &str| {
        json!({"spec": {"strategy": {"canary": {"steps": timed}}},
               "status": {"pauseConditions": [{"reason": "CanaryPauseStep", "startTime": at}]}})
    };
    let deadline = "ReplicaSet \"x\" has timed out progressing.";
    vec![
        (
            "no status yet",
            "healthy",
            json!({"metadata": {"generation": 1, "creationTimestamp": "2026-11-21T08:23:25Z"},
            "status": null}),
        ),
        ("no status for long", "healthy", json!({"metadata": {"generation": 1}, "status": null})),
        (
            "a spec that is not observed",
            "paused",
            json!({"metadata": {"generation": 9, "managedFields": [
            {"manager": "kubectl", "operation": "Update", "time": "2026-11-21T08:20:00Z"},
            {"manager": "serin", "operation": "Update", "subresource": "status", "time": "2026-11-21T08:23:00Z"}]}}),
        ),
        ("an observed generation that is a number", "healthy", json!({"status": {"observedGeneration": 2}})),
        (
            "an observed generation that is no number",
            "healthy",
            json!({"status": {"observedGeneration": "5f7b"}}),
        ),
        (
            "an invalid spec",
            "paused",
            json!({"status": {"phase": "Degraded", "message": "InvalidSpec: the message", "conditions": [condition("InvalidSpec", "True",
            "InvalidSpec", "spec.strategy.canary.steps[1].analysis: AnalysisTemplate 'success-rate' does not exist")]}}),
        ),
        ("held by hand", "paused", json!({"spec": {"paused": true}})),
        ("the pause was ended", "paused", json!({"status": {"pauseConditions": null}})),
        ("a pause with an end", "paused", timed_at("2026-11-21T08:20:07Z")),
        ("a pause that should have ended", "paused", timed_at("2026-11-21T08:10:07Z")),
        (
            "no verdict",
            "analysis",
            json!({"status": {"pauseConditions": [
            {"reason": "InconclusiveAnalysisRun", "startTime": "2026-11-21T08:23:00Z"}]}}),
        ),
        (
            "an experiment without a verdict",
            "experiment",
            json!({"status": {"pauseConditions": [
            {"reason": "InconclusiveExperiment", "startTime": "2026-11-21T08:23:00Z"}]}}),
        ),
        (
            "a blue-green switch with an end",
            "blue-green",
            json!({"spec": {"strategy": {"blueGreen": {
            "autoPromotionEnabled": true, "autoPromotionSeconds": 600}}}}),
        ),
        (
            "out of time",
            "bad-image",
            json!({"status": {"phase": "Degraded", "conditions": [
            condition("Progressing", "False", "ProgressDeadlineExceeded", deadline)]}}),
        ),
        ("out of time soon, with an abort", "bad-image", json!({"spec": {"progressDeadlineAbort": true}})),
        (
            "a restart",
            "healthy",
            json!({"spec": {"restartAt": "2026-11-21T08:23:00Z"},
            "status": {"phase": "Progressing", "message": "rollout is restarting"}}),
        ),
        (
            "old pods that end",
            "healthy",
            json!({"status": {"phase": "Progressing",
            "message": "old replicas are pending termination"}}),
        ),
        ("analysis that has not begun", "analysis", json!({"status": {"canary": null}})),
        ("a phase of the future", "healthy", json!({"status": {"phase": "Meditating"}})),
    ]
}

#[test]
fn every_wait_is_explained() {
    let mut seen = String::new();
    for (name, base, patch) in variants() {
        let situation = Situation::load(base).with(&patch);
        let standing = view::standing(&situation.rollout());
        let phase = standing.phase.as_str();
        seen += &format!("{name} [{phase}: {}]\n  {}\n\n", standing.message, situation.why());
    }
    check("why.txt", &seen);
}

fn written(answer: Answer) -> String {
    let (patches, done) = match answer {
        Answer::Nothing { why } => return format!("  nothing: {why}\n"),
        Answer::Refused { why } => return format!("  refused: {why}\n"),
        Answer::Write { patches, done } => (patches, done),
    };
    let mut lines = String::new();
    for patch in patches {
        let target = match patch.target {
            Target::Rollout => "rollout".to_owned(),
            Target::Experiment(name) => format!("experiment {name}"),
            Target::AnalysisRun(name) => format!("analysisrun {name}"),
            Target::Workload { api_version, kind, name } => format!("{api_version} {kind} {name}"),
        };
        let part = if patch.part == Part::Status { "/status" } else { "" };
        let only_at = patch.only_at.map_or_else(String::new, |version| format!(" only at {version}"));
        let (kind, body) = match patch.body {
            Body::Merge(body) => ("merge", body),
            Body::Json(operations) => ("json", Value::Array(operations)),
        };
        lines += &format!("  {target}{part}{only_at} {kind} {body}\n");
    }
    lines + &format!("  says: {done}\n")
}

#[test]
fn every_command_writes_what_clients_of_this_api_write() {
    let situations = [
        ("healthy", json!({})),
        ("paused", json!({})),
        ("aborted", json!({})),
        ("blue-green", json!({})),
        ("analysis", json!({})),
        ("paused", json!({"spec": {"paused": true}})),
        ("paused", json!({"status": {"pauseConditions": null}})),
        ("healthy", json!({"spec": {"paused": true}})),
        (
            "analysis",
            json!({"status": {"canary": {"currentStepAnalysisRunStatus": {"status": "Inconclusive"}},
            "pauseConditions": [{"reason": "InconclusiveAnalysisRun", "startTime": "2026-11-21T08:23:00Z"}]}}),
        ),
        ("analysis", json!({"status": {"currentStepIndex": 6}})),
        ("workload", json!({})),
    ];
    let mut seen = String::new();
    for (name, patch) in situations {
        let situation = Situation::load(name).with(&patch);
        let rollout = situation.rollout();
        let sets: Vec<DynamicObject> = situation.of("ReplicaSet");
        let template = situation.template();
        let image = |text: &str| [text.parse::<ImageChange>().unwrap()];
        seen += &format!("{name} {patch}\n");
        for (command, answer) in [
            ("abort", commands::abort(&rollout)),
            ("retry", commands::retry(&rollout)),
            ("promote", commands::promote(&rollout, Promotion::Step)),
            ("promote --full", commands::promote(&rollout, Promotion::Full)),
            ("pause", commands::pause(&rollout)),
            ("restart", commands::restart(&rollout, now())),
            ("undo", commands::undo(&rollout, &template, &sets, ToRevision::Previous)),
            (
                "undo --to-revision 2",
                commands::undo(&rollout, &template, &sets, ToRevision::Number(Revision::parse(Some("2")))),
            ),
            (
                "undo --to-revision 7",
                commands::undo(&rollout, &template, &sets, ToRevision::Number(Revision::parse(Some("7")))),
            ),
            ("set image *=app:v2", commands::set_image(&rollout, &template, &image("*=app:v2"))),
            ("set image c=app:v3", commands::set_image(&rollout, &template, &image("c=app:v3"))),
        ] {
            seen += &format!(" {command}\n{}", written(answer));
        }
        seen += "\n";
    }
    check("commands.txt", &seen);
}

/// The template that `undo` writes.
fn undone(situation: &Situation) -> Value {
    let sets: Vec<DynamicObject> = situation.of("ReplicaSet");
    let template = situation.template();
    let undone = commands::undo(&situation.rollout(), &template, &sets, ToRevision::Previous);
    let Answer::Write { patches, .. } = undone else { panic!("nothing is written") };
    let Body::Json(operations) = &patches[0].body else { panic!("not a JSON patch") };
    operations[0]["value"].clone()
}

#[test]
fn undo_restores_the_template_as_its_author_wrote_it() {
    let written = json!({
        "metadata": {"labels": {"app": "r"}},
        "spec": {"containers": [{"name": "c", "image": "app:v1", "resources": {}}], "terminationGracePeriodSeconds": 1},
    });
    assert_eq!(undone(&Situation::load("aborted")), written);
}

#[test]
fn undo_takes_out_what_the_role_of_a_revision_put_on_its_pods() {
    let mut situation = Situation::load("aborted");
    let stable = situation.0.iter_mut().find(|object| object["metadata"]["name"] == "r-ccf4b4fdd").unwrap();
    stable["metadata"]["annotations"]["rollout.argoproj.io/ephemeral-metadata"] =
        json!(r#"{"labels":{"role":"stable"},"annotations":{"note":"x"}}"#);
    stable["spec"]["template"]["metadata"] = json!({"labels": {"app": "r", "role": "stable", "rollouts-pod-template-hash": "ccf4b4fdd"},
               "annotations": {"note": "x"}});
    assert_eq!(undone(&situation)["metadata"], json!({"labels": {"app": "r"}}));
}

#[test]
fn undo_keeps_a_pull_policy_whose_default_is_another_for_the_old_image() {
    let mut situation = Situation::load("aborted");
    let stable = situation.0.iter_mut().find(|object| object["metadata"]["name"] == "r-ccf4b4fdd").unwrap();
    stable["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:latest");
    let container = undone(&situation)["spec"]["containers"][0].clone();
    assert_eq!(
        container,
        json!({"name": "c", "image": "app:latest", "imagePullPolicy": "IfNotPresent", "resources": {}})
    );
}

#[test]
fn undo_of_a_replica_set_that_a_deployment_owns_keeps_the_deployments_hash() {
    let mut situation = Situation::load("workload");
    let deployment = situation.0.iter_mut().find(|object| object["kind"] == "Deployment").unwrap();
    deployment["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] = json!("898f4fb46");
    let labels = undone(&situation)["metadata"]["labels"].clone();
    assert_eq!(labels, json!({"app": "r", "pod-template-hash": "898f4fb46"}));
}

#[test]
fn undo_to_the_running_version_puts_a_workload_back_that_the_controller_has_not_seen_yet() {
    let mut situation = Situation::load("workload");
    let deployment = situation.0.iter_mut().find(|object| object["kind"] == "Deployment").unwrap();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:v3");
    let sets: Vec<DynamicObject> = situation.of("ReplicaSet");
    let second = ToRevision::Number(Revision::parse(Some("2")));
    let undone = commands::undo(&situation.rollout(), &situation.template(), &sets, second);
    assert!(matches!(undone, Answer::Write { .. }), "{undone:?}");
}

#[test]
fn undo_learns_nothing_from_a_spec_that_is_not_observed() {
    let situation = Situation::load("aborted").with(&json!({"metadata": {"generation": 9}}));
    assert_eq!(undone(&situation)["spec"]["restartPolicy"], "Always");
}

#[test]
fn an_analysis_without_a_verdict_is_named() {
    let mut situation = Situation::load("analysis")
        .with(&json!({"status": {"phase": "Paused", "pauseConditions": [
        {"reason": "InconclusiveAnalysisRun", "startTime": "2026-11-21T08:23:00Z"}]}}));
    let run = situation.0.iter_mut().find(|object| object["metadata"]["name"] == "api-server-7d9c8b6f5d-3-4");
    merge(&mut run.unwrap()["status"], &json!({"phase": "Inconclusive", "message": "metric is unsure"}));
    let expected =
        "came to no verdict (AnalysisRun 'api-server-7d9c8b6f5d-3-4' is Inconclusive: metric is unsure)";
    assert!(situation.why().contains(expected), "{}", situation.why());
}
