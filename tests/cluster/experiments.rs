//! Experiments on their own: pods side by side, judged, and gone again.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Event, Pod, Service};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::Condition;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use serin::api::{AnalysisPhase, AnalysisRun, Experiment, ExperimentStatus};

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, analysis_template, canary, is_restored, message_of};
use crate::shared::{client, follow, kubeconfig, namespace, next, wait_for, wait_for_all};
use crate::stub_prometheus::{Answer, StubPrometheus};

/// Experiments of one namespace, and the controller that takes care of them.
pub(crate) struct Laboratory {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) experiments: Api<Experiment>,
    pub(crate) controller: ControllerProcess,
}

impl Laboratory {
    pub(crate) async fn open(prefix: &str) -> Self {
        let client = client();
        definitions_on_shared(&client).await;
        let namespace = namespace(&client, prefix).await;
        let controller = ControllerProcess::start(&kubeconfig(), &namespace, &[]);
        let experiments = Api::namespaced(client.clone(), &namespace);
        Self { client, namespace, experiments, controller }
    }

    async fn create(&self, spec: Value) {
        let experiment = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment", "metadata": {"name": "try"}, "spec": spec,
        });
        let experiment = serde_json::from_value(experiment).unwrap();
        self.experiments.create(&PostParams::default(), &experiment).await.unwrap();
    }

    async fn change(&self, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.experiments.patch("try", &PatchParams::default(), &patch).await.unwrap();
    }

    async fn until(&self, condition: impl Condition<Experiment>) -> ExperimentStatus {
        let found = Box::pin(wait_for(&self.experiments, "try", condition)).await.unwrap();
        found.status.unwrap_or_default()
    }

    async fn until_phase(&self, phase: AnalysisPhase) -> ExperimentStatus {
        self.until(move |found: Option<&Experiment>| status(found).phase == Some(phase)).await
    }

    async fn until_says(&self, text: &'static str) -> ExperimentStatus {
        self.until(move |found: Option<&Experiment>| says(&status(found), text)).await
    }

    /// Waits until its ReplicaSets have these sizes, by name.
    async fn until_sizes(&self, expected: &[(&str, i32)]) {
        let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let as_expected = |sets: &[Arc<ReplicaSet>]| {
            let mut sizes: Vec<_> = sets.iter().map(|set| (set.name_any(), size(set))).collect();
            sizes.sort();
            let expected: Vec<_> = expected.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect();
            (sizes == expected).then_some(())
        };
        wait_for_all(&sets, &format!("sizes {expected:?}"), as_expected).await;
    }

    /// Waits until no ReplicaSet that an Experiment owns has a size.
    async fn until_no_pods_of_experiments(&self) {
        let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let is_gone = |sets: &[Arc<ReplicaSet>]| {
            let is_ours = |set: &&Arc<ReplicaSet>| set.owner_references()[0].kind == "Experiment";
            sets.iter().filter(is_ours).all(|set| size(set) == 0).then_some(())
        };
        wait_for_all(&sets, "no pods of Experiments", is_gone).await;
    }

    async fn run(&self, name: &str, condition: impl Condition<AnalysisRun>) -> AnalysisRun {
        let runs: Api<AnalysisRun> = Api::namespaced(self.client.clone(), &self.namespace);
        wait_for(&runs, name, condition).await.unwrap()
    }

    /// A template of an analysis that asks this server.
    pub(crate) async fn judge(&self, server: &StubPrometheus) {
        let once = json!({"interval": null, "count": null});
        analysis_template(&self.client, &self.namespace, "success-rate", &server.url(), once).await;
    }
}

/// What tools that know no phases are told of what has failed.
fn is_stalled(conditions: Option<&Vec<serin::api::Condition>>) -> bool {
    let told = conditions.into_iter().flatten().filter(|condition| condition.status == "True");
    told.map(|condition| condition.r#type.as_str()).eq(["Stalled"])
}

fn status(found: Option<&Experiment>) -> ExperimentStatus {
    found.and_then(|found| found.status.clone()).unwrap_or_default()
}

fn says(status: &ExperimentStatus, text: &str) -> bool {
    let of_templates = status.template_statuses.iter().flatten().map(|template| &template.message);
    [&status.message].into_iter().chain(of_templates).flatten().any(|message| message.contains(text))
}

fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default()
}

fn template(name: &str, tag: &str) -> Value {
    json!({
        "name": name,
        "selector": {"matchLabels": {"app": "web", "side": name}},
        "template": {
            "metadata": {"labels": {"app": "web", "side": name}},
            "spec": {"containers": [{
                "name": "main", "image": format!("app:{tag}"), "ports": [{"containerPort": 8080}],
            }]},
        },
    })
}

fn pair() -> Value {
    json!([template("baseline", "v1"), template("canary", "v2")])
}

fn analysis(required: bool) -> Value {
    json!({"name": "judge", "templateName": "success-rate", "requiredForCompletion": required})
}

fn never_stopped(run: Option<&AnalysisRun>) -> bool {
    run.is_some_and(|run| run.spec.terminate.is_none())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_templates_run_behind_a_service_for_their_time_and_go_after_the_delay() {
    let lab = Laboratory::open("experiment").await;
    let mut templates = pair();
    templates[1]["service"] = json!({});
    templates[1]["replicas"] = json!(2);
    lab.create(json!({"templates": templates, "duration": "1s", "scaleDownDelaySeconds": 1})).await;
    let running = lab.until_phase(AnalysisPhase::Running).await;
    assert!(running.available_at.is_some());
    lab.until_sizes(&[("try-baseline", 1), ("try-canary", 2)]).await;

    let services: Api<Service> = Api::namespaced(lab.client.clone(), &lab.namespace);
    let service = services.get("try-canary").await.unwrap();
    let spec = service.spec.clone().unwrap();
    let statuses = running.template_statuses.unwrap();
    let hash = statuses[1].pod_template_hash.clone().unwrap();
    assert_eq!(spec.selector.unwrap()["rollouts-pod-template-hash"], hash);
    assert_eq!(spec.ports.unwrap()[0].port, 8080);
    assert_eq!(service.owner_references()[0].kind, "Experiment");
    assert_eq!(statuses[1].available_replicas, Some(2));

    lab.until_phase(AnalysisPhase::Successful).await;
    lab.until_sizes(&[("try-baseline", 0), ("try-canary", 0)]).await;
    wait_for(&services, "try-canary", |found: Option<&Service>| found.is_none()).await;
    let emptied = |found: Option<&Experiment>| {
        status(found).template_statuses.iter().flatten().all(|template| template.replicas == Some(0))
    };
    lab.until(emptied).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_selects_something_else_is_put_right() {
    let lab = Laboratory::open("selector").await;
    let mut templates = pair();
    templates[1]["service"] = json!({});
    lab.create(json!({"templates": templates})).await;
    lab.until_phase(AnalysisPhase::Running).await;
    let services: Api<Service> = Api::namespaced(lab.client.clone(), &lab.namespace);
    let selector = |service: &Service| service.spec.as_ref().and_then(|spec| spec.selector.clone());
    let right = selector(&services.get("try-canary").await.unwrap());
    let wrong = json!({"spec": {"selector": {"app": "shop", "more": "yes", "side": null}}});
    let wrong = services.patch("try-canary", &PatchParams::default(), &Patch::Merge(wrong)).await.unwrap();
    assert_ne!(selector(&wrong), right);
    let is_right = |found: Option<&Service>| found.is_some_and(|found| selector(found) == right);
    wait_for(&services, "try-canary", is_right).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analysis_that_fails_ends_it_and_one_that_is_required_ends_it_well() {
    let server = StubPrometheus::start(Answer::Value(1.0));
    let lab = Laboratory::open("judged").await;
    lab.judge(&server).await;
    lab.create(json!({"templates": pair(), "analyses": [analysis(true)]})).await;
    let ended = lab.until_phase(AnalysisPhase::Successful).await;
    assert_eq!(ended.analysis_runs.unwrap()[0].analysis_run.as_deref(), Some("try-judge"));
    lab.run("try-judge", never_stopped).await;

    let lab = Laboratory::open("failed").await;
    lab.judge(&server).await;
    server.answer(Answer::Value(0.5));
    lab.create(json!({"templates": pair(), "duration": "1h", "analyses": [analysis(false)]})).await;
    let ended = lab.until_phase(AnalysisPhase::Failed).await;
    assert!(says(&ended, "analysis 'judge' is Failed: "), "{ended:?}");
    assert!(says(&ended, "failed (1) > failureLimit (0)"), "{ended:?}");
    assert!(is_stalled(ended.conditions.as_ref()), "{ended:?}");
    let has_failed = |run: Option<&AnalysisRun>| {
        run.and_then(|run| run.status.as_ref()).is_some_and(|status| is_stalled(status.conditions.as_ref()))
    };
    lab.run("try-judge", has_failed).await;

    // What has ended begins again when its status is taken away.
    server.answer(Answer::Value(1.0));
    let patch = Patch::Merge(json!({"status": null}));
    lab.experiments.patch("try", &PatchParams::default(), &patch).await.unwrap();
    lab.until_phase(AnalysisPhase::Running).await;
    lab.run("try-judge.1", never_stopped).await;
    lab.change(json!({"terminate": true})).await;
    lab.until_phase(AnalysisPhase::Successful).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_do_not_come_fail_it_at_the_deadline() {
    let lab = Laboratory::open("late").await;
    let templates = json!([template("baseline", "v1"), template("canary", "never")]);
    let deadline = json!({
        "templates": templates, "progressDeadlineSeconds": 2, "scaleDownDelaySeconds": 0, "duration": "1h",
    });
    lab.create(deadline).await;
    let ended = lab.until_phase(AnalysisPhase::Failed).await;
    assert_eq!(ended.message.as_deref(), Some("Template 'canary' exceeded its progressDeadlineSeconds (2)"));
    assert_eq!(ended.available_at, None);
    lab.until_sizes(&[("try-baseline", 0), ("try-canary", 0)]).await;
    let events: Api<Event> = Api::namespaced(lab.client.clone(), &lab.namespace);
    let told = |events: &[Arc<Event>]| {
        let is_failed = |event: &Arc<Event>| event.reason.as_deref() == Some("ExperimentFailed");
        events.iter().find(|event| is_failed(event)).map(|event| event.involved_object.name.clone())
    };
    assert_eq!(wait_for_all(&events, "ExperimentFailed", told).await.as_deref(), Some("try"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_and_heals() {
    let lab = Laboratory::open("wrong").await;
    let services: Api<Service> = Api::namespaced(lab.client.clone(), &lab.namespace);
    let foreign = json!({"metadata": {"name": "shop"}, "spec": {"ports": [{"port": 80}]}});
    services.create(&PostParams::default(), &serde_json::from_value(foreign).unwrap()).await.unwrap();
    let sets: Api<ReplicaSet> = Api::namespaced(lab.client.clone(), &lab.namespace);
    let foreign = json!({
        "metadata": {"name": "try-baseline", "labels": {"app": "foreign"}},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "foreign"}}, "template": {
            "metadata": {"labels": {"app": "foreign"}},
            "spec": {"containers": [{"name": "main", "image": "app:v1"}]},
        }},
    });
    sets.create(&PostParams::default(), &serde_json::from_value(foreign).unwrap()).await.unwrap();

    lab.create(json!({"templates": pair(), "analyses": [analysis(true)], "duration": "soon"})).await;
    lab.until_says("InvalidSpec: spec.duration: 'soon' is not a time").await;
    lab.until_says("spec.analyses[0]: AnalysisTemplate 'success-rate' not found").await;
    let server = StubPrometheus::start(Answer::Value(1.0));
    let mut templates = pair();
    templates[0]["service"] = json!({"name": "shop"});
    templates[1]["template"]["spec"]["restartPolicy"] = json!("Sometimes");
    lab.change(json!({"templates": templates, "duration": null})).await;
    // The template's appearance is enough.
    lab.judge(&server).await;
    lab.until_says("Service 'shop' exists and does not belong to this Experiment").await;
    lab.until_says("Unsupported value: \"Sometimes\"").await;
    templates[0]["service"] = json!({"name": "free"});
    templates[1] = template("canary", "v2");
    lab.change(json!({"templates": templates})).await;
    let ended = lab.until_phase(AnalysisPhase::Successful).await;
    assert!(!says(&ended, "shop"), "{ended:?}");
    lab.until_sizes(&[("try-baseline", 0), ("try-baseline-1", 1), ("try-canary", 1)]).await;
    assert!(services.get("shop").await.unwrap().spec.unwrap().selector.is_none(), "it is somebody else's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_killed_again_and_again_makes_everything_once() {
    let server = StubPrometheus::start(Answer::Value(1.0));
    let mut lab = Laboratory::open("killed").await;
    lab.judge(&server).await;
    let mut states = follow(&lab.experiments).await;
    lab.create(json!({"templates": pair(), "analyses": [analysis(true)], "scaleDownDelaySeconds": 0})).await;
    let mut phases = vec![];
    loop {
        let found = next(&mut states).await;
        let phase = found.status.and_then(|status| status.phase);
        if phases.last() != Some(&phase) {
            phases.push(phase);
            lab.controller.kill_and_restart().await;
        }
        if phase.is_some_and(AnalysisPhase::is_completed) {
            break;
        }
    }
    assert_eq!(phases.last(), Some(&Some(AnalysisPhase::Successful)), "{phases:?}");
    lab.until_sizes(&[("try-baseline", 0), ("try-canary", 0)]).await;
    let runs: Api<AnalysisRun> = Api::namespaced(lab.client.clone(), &lab.namespace);
    assert_eq!(runs.list(&ListParams::default()).await.unwrap().items.len(), 1);
}

/// A Rollout whose step runs an Experiment of both versions, Healthy.
async fn stepped(lab: &Laboratory, experiment: Value) -> Subject {
    let spec = canary(json!([{"setWeight": 25}, {"experiment": experiment}]));
    let subject = Subject::create(&lab.client, &lab.namespace, "v1", spec).await;
    subject.until_phase("Healthy").await;
    subject
}

fn of_both(analyses: Value) -> Value {
    json!({
        "templates": [
            {"name": "baseline", "specRef": "stable", "metadata": {"labels": {"side": "baseline"}}},
            {"name": "candidate", "specRef": "canary", "replicas": 2},
        ],
        "analyses": analyses, "scaleDownDelaySeconds": 0,
    })
}

/// The only Experiment of a Rollout that is like this.
async fn made(lab: &Laboratory, what: &str, is_such: impl Fn(&Experiment) -> bool) -> Experiment {
    wait_for_all(&lab.experiments, what, |all| {
        all.iter().find(|found| is_such(found)).map(|found| (**found).clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_runs_an_experiment_and_goes_on_or_back_by_its_end() {
    let server = StubPrometheus::start(Answer::Value(1.0));
    let lab = Laboratory::open("step").await;
    lab.judge(&server).await;
    let hash = json!([{"name": "hash", "value": "{{templates.candidate.podTemplateHash}}"}]);
    let mut analysis = analysis(true);
    analysis["args"] = hash;
    let subject = stepped(&lab, of_both(json!([analysis]))).await;

    subject.release("v2").await;
    let has_ended = |found: &Experiment| {
        found.status.as_ref().is_some_and(|status| status.phase == Some(AnalysisPhase::Successful))
    };
    let ended = made(&lab, "a successful Experiment", has_ended).await;
    let images = ended.spec.templates.iter().flatten().map(|template| {
        template.template.as_ref().unwrap().pointer("/spec/containers/0/image").cloned().unwrap()
    });
    let images: Vec<_> = images.collect();
    assert_eq!(images, [json!("app:v1"), json!("app:v2")]);
    let baseline = &ended.spec.templates.as_ref().unwrap()[0];
    let selected = baseline.selector.clone().unwrap().match_labels.unwrap();
    assert_eq!(selected.into_keys().collect::<Vec<_>>(), ["app", "side"]);
    assert!(
        baseline.template.as_ref().unwrap().pointer("/metadata/labels/rollouts-pod-template-hash").is_none()
    );
    let healthy = subject.until_phase("Healthy").await;
    assert_eq!(healthy.status.unwrap().canary.unwrap().current_experiment, None);

    server.answer(Answer::Value(0.5));
    subject.release("v3").await;
    let taken_back = subject.until_phase("Degraded").await;
    let message = message_of(&taken_back);
    assert!(message.contains("Experiment analysis phase is error/failed: Experiment 'web-"), "{message}");
    assert!(message.contains("analysis 'judge' is Failed"), "{message}");
    subject.until(is_restored(4)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_without_a_verdict_waits_for_a_person_and_goes_with_its_step() {
    let server = StubPrometheus::start(Answer::Value(1.0));
    let lab = Laboratory::open("undecided").await;
    // Neither condition holds, so nothing is decided.
    let neither = json!({
        "interval": null, "count": null, "successCondition": "result[0] > 1", "failureCondition": "result[0] < 1",
    });
    analysis_template(&lab.client, &lab.namespace, "success-rate", &server.url(), neither).await;
    let subject = stepped(&lab, of_both(json!([analysis(true)]))).await;
    subject.release("v2").await;
    let paused = subject.until_phase("Paused").await;
    let status = paused.status.unwrap();
    assert_eq!(status.pause_conditions.unwrap()[0].reason, "InconclusiveExperiment");
    let first = status.canary.unwrap().current_experiment.unwrap();

    // Another one is begun, without an answer yet; and it is stopped when its step is left.
    server.answer(Answer::Value(1.0));
    let never = json!({"initialDelay": "1h", "interval": null, "count": null});
    analysis_template(&lab.client, &lab.namespace, "success-rate", &server.url(), never).await;
    subject.resume().await;
    let is_second = |found: &Experiment| found.name_any() == format!("{first}-1");
    let second = made(&lab, "a second Experiment", |found| {
        is_second(found) && status_of(found) == Some(AnalysisPhase::Running)
    })
    .await;
    subject.change_status(json!({"abort": true})).await;
    let stopped = made(&lab, "it is stopped", |found| {
        is_second(found) && status_of(found).is_some_and(AnalysisPhase::is_completed)
    })
    .await;
    assert_eq!((second.spec.terminate, stopped.spec.terminate), (None, Some(true)));
    subject.until(is_restored(4)).await;
    lab.until_no_pods_of_experiments().await;
}

fn status_of(found: &Experiment) -> Option<AnalysisPhase> {
    found.status.as_ref().and_then(|status| status.phase)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_that_argo_rollouts_began_goes_on_without_a_pod_moved() {
    let server = StubPrometheus::start(Answer::Value(1.0));
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "taken-experiment").await;
    let controller = ControllerProcess::start_argo_rollouts(&kubeconfig(), &namespace);
    let experiments = Api::namespaced(client.clone(), &namespace);
    let mut lab = Laboratory { client, namespace, experiments, controller };
    let long = json!({"initialDelay": "1h", "interval": null, "count": null});
    analysis_template(&lab.client, &lab.namespace, "success-rate", &server.url(), long).await;
    let mut templates = pair();
    templates[1]["service"] = json!({});
    lab.create(json!({"templates": templates, "analyses": [analysis(false)], "scaleDownDelaySeconds": 0}))
        .await;
    let begun = lab.until_phase(AnalysisPhase::Running).await;
    let is_going = |run: Option<&AnalysisRun>| run.is_some_and(|run| run.status.is_some());
    let run = lab.run("try-judge", is_going).await;
    let before = pods(&lab).await;
    let ours = ControllerProcess::start(&kubeconfig(), &lab.namespace, &[]);
    std::mem::replace(&mut lab.controller, ours).stop().await;

    lab.change(json!({"duration": "2h"})).await;
    let events: Api<Event> = Api::namespaced(lab.client.clone(), &lab.namespace);
    // A template that changes too late is told of: so this controller has looked.
    let mut late = pair();
    late[0]["replicas"] = json!(2);
    late[1]["service"] = json!({});
    lab.change(json!({"templates": late})).await;
    lab.until_sizes(&[("try-baseline", 2), ("try-canary", 1)]).await;
    let told = |events: &[Arc<Event>]| {
        let is_scaled = |event: &Arc<Event>| {
            event.message.as_deref() == Some("Scaled up ReplicaSet try-baseline from 1 to 2")
        };
        events.iter().any(is_scaled).then_some(())
    };
    wait_for_all(&events, "it was scaled by this controller", told).await;
    let after = pods(&lab).await;
    assert!(before.is_subset(&after), "{before:?} {after:?}");
    let status = lab.until_phase(AnalysisPhase::Running).await;
    assert_eq!(status.available_at, begun.available_at);
    let hashes = |status: &ExperimentStatus| -> Vec<Option<String>> {
        let templates = status.template_statuses.iter().flatten();
        templates.map(|template| template.pod_template_hash.clone()).collect()
    };
    let pairs = hashes(&status).into_iter().zip(hashes(&begun));
    assert!(pairs.filter(|(_, told)| told.is_some()).all(|(hash, told)| hash == told));
    assert_eq!(lab.run("try-judge", is_going).await.uid(), run.uid());

    lab.change(json!({"terminate": true})).await;
    lab.until_phase(AnalysisPhase::Successful).await;
    lab.until_sizes(&[("try-baseline", 0), ("try-canary", 0)]).await;
    let services: Api<Service> = Api::namespaced(lab.client.clone(), &lab.namespace);
    wait_for(&services, "try-canary", |found: Option<&Service>| found.is_none()).await;
}

/// The uids of all pods.
async fn pods(lab: &Laboratory) -> BTreeSet<String> {
    let pods: Api<Pod> = Api::namespaced(lab.client.clone(), &lab.namespace);
    let listed = pods.list(&ListParams::default()).await.unwrap();
    listed.into_iter().map(|pod| pod.uid().unwrap()).collect()
}
