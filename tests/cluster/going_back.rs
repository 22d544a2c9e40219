//! Rollouts that go back from Serin to Argo Rollouts, and forth again, on the real control plane. The other controller is the
//! program that its project releases: it goes on with what Serin leaves, and no pod is created or deleted by the change.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::Condition;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use serin::api::{AnalysisPhase, AnalysisRun, Rollout, RolloutStatus};
use serin::units::Timestamp;
use tokio::time::timeout;

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{
    Subject, analysis_template, canary, is_in, is_observed, is_restored, merge, phase_of, template_of,
};
use crate::shared::{DEADLINE, client, kubeconfig, namespace, wait_for};
use crate::stub_prometheus::{Answer, StubPrometheus};

/// Without it, Argo Rollouts cannot read a status.
const AS_TEXT: &str = "--status-observed-generation=string";
/// Longer than a change of controllers takes on a loaded machine.
const A_WHILE: Duration = Duration::from_secs(20);
/// Until a user would ask again.
const PATIENCE: Duration = Duration::from_secs(2);
const SCALE_DOWN_DEADLINE: &str = "scale-down-deadline";
const WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";

/// A namespace whose Rollouts change their controller.
struct Place {
    client: Client,
    namespace: String,
}

impl Place {
    async fn new(prefix: &str) -> Self {
        let client = client();
        definitions_on_shared(&client).await;
        let namespace = namespace(&client, prefix).await;
        Self { client, namespace }
    }

    fn serin(&self, more: &[&str]) -> ControllerProcess {
        ControllerProcess::start(&kubeconfig(), &self.namespace, more)
    }

    fn argo_rollouts(&self) -> ControllerProcess {
        ControllerProcess::start_argo_rollouts(&kubeconfig(), &self.namespace)
    }

    /// Creates a Rollout of two pods.
    async fn create(&self, name: &'static str, mut spec: Value) -> Subject {
        merge(&mut spec, json!({"replicas": 2}));
        Subject::create_named(name, &self.client, &self.namespace, "v1", spec).await
    }

    async fn service(&self, name: &str, app: &str) {
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        let service = json!({
            "metadata": {"name": name}, "spec": {"selector": {"app": app}, "ports": [{"port": 80}]},
        });
        let service = serde_json::from_value(service).unwrap();
        services.create(&PostParams::default(), &service).await.unwrap();
    }

    /// The pods that nobody has deleted, by uid, with their names.
    async fn pods(&self) -> BTreeMap<String, String> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let pods = pods.list(&ListParams::default()).await.unwrap().into_iter();
        pods.filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .map(|pod| (pod.uid().unwrap(), pod.name_any()))
            .collect()
    }

    /// Ends a controller and starts another one. It works on every Rollout, and neither a pod nor the position of an update
    /// has changed then.
    async fn change(
        &self,
        from: ControllerProcess,
        to: fn(&Self) -> ControllerProcess,
        subjects: &[&Subject],
    ) -> ControllerProcess {
        from.stop().await;
        let (pods, positions) = (self.pods().await, positions(subjects).await);
        let controller = to(self);
        // Only who works on a Rollout writes down that it was seen.
        join_all(subjects.iter().map(|subject| insist(subject, async || touch(subject).await, is_observed)))
            .await;
        assert_eq!(self::positions(subjects).await, positions);
        assert_eq!(self.pods().await, pods, "something moved");
        controller
    }
}

/// What the status says of where each of them stands.
async fn positions(subjects: &[&Subject]) -> BTreeMap<&'static str, Value> {
    let fields = [
        "phase",
        "message",
        "currentPodHash",
        "stableRS",
        "currentStepHash",
        "currentStepIndex",
        "pauseConditions",
        "abort",
        "abortedAt",
    ];
    let position = async |subject: &&Subject| {
        let rollout = subject.rollouts.get(subject.name).await.unwrap();
        let rollout = serde_json::to_value(rollout).unwrap();
        let mut status = rollout["status"].clone();
        // Argo Rollouts says no position where no steps are listed.
        if rollout["spec"]["strategy"]["canary"]["steps"] == json!([]) {
            status["currentStepIndex"] = Value::Null;
        }
        // Whether something is false or absent makes no difference.
        let position = fields.map(|field| (field, status[field].clone()));
        let position = position.into_iter().filter(|(_, value)| !value.is_null() && *value != json!(false));
        (subject.name, position.collect())
    };
    join_all(subjects.iter().map(position)).await.into_iter().collect()
}

async fn status(subject: &Subject) -> RolloutStatus {
    subject.rollouts.get(subject.name).await.unwrap().status.unwrap()
}

/// Changes a part of its spec that moves nothing.
async fn touch(subject: &Subject) {
    let rollout = subject.rollouts.get(subject.name).await.unwrap();
    let limit = rollout.spec.revision_history_limit.unwrap_or(100);
    subject.change(json!({"revisionHistoryLimit": limit - 1})).await;
}

/// Does what a user does, until the Rollout has moved. Argo Rollouts overlooks a change that comes right after a write of its
/// own, until the next one, and can begin a pause anew: it is told again.
async fn insist(subject: &Subject, act: impl AsyncFn(), has_moved: impl Fn(&Rollout) -> bool) {
    let moved = |rollout: Option<&Rollout>| rollout.is_some_and(&has_moved);
    let told = async {
        act().await;
        while timeout(PATIENCE, subject.until(moved)).await.is_err() {
            act().await;
            touch(subject).await;
        }
    };
    timeout(DEADLINE, told).await.unwrap_or_else(|_| panic!("{} does not move", subject.name));
}

async fn promote(subject: &Subject) {
    let stands = |rollout: &Rollout| {
        let status = rollout.status.as_ref().unwrap();
        (status.current_step_index, status.controller_pause.unwrap_or_default())
    };
    let before = stands(&subject.rollouts.get(subject.name).await.unwrap());
    let unpause = async || subject.resume().await;
    insist(subject, unpause, |rollout| stands(rollout) != before).await;
}

async fn retry(subject: &Subject) {
    let retry = async || subject.change_status(json!({"abort": false})).await;
    insist(subject, retry, |rollout| phase_of(rollout) != "Degraded").await;
}

async fn release(subject: &Subject, tag: &str) {
    let hash = |rollout: &Rollout| rollout.status.as_ref().unwrap().current_pod_hash.clone();
    let before = hash(&subject.rollouts.get(subject.name).await.unwrap());
    insist(subject, async || subject.release(tag).await, |rollout| hash(rollout) != before).await;
}

async fn until_all(subjects: &[&Subject], phase: &'static str) {
    join_all(subjects.iter().map(|subject| subject.until_phase(phase))).await;
}

/// Waits until a pause with a duration is over. It began when it had begun before, and did not end before its time.
async fn until_over(subject: &Subject, since: Timestamp) {
    let over = subject
        .until(|rollout: Option<&Rollout>| {
            let pauses = rollout.unwrap().status.as_ref().unwrap().pause_conditions.iter().flatten();
            pauses.for_each(|pause| assert_eq!(pause.start_time, since, "the pause began anew"));
            is_in("Healthy").matches_object(rollout)
        })
        .await;
    let conditions = over.status.unwrap().conditions.unwrap();
    let paused = conditions.iter().find(|condition| condition.r#type == "Paused").unwrap();
    let ended = paused.last_transition_time.unwrap();
    assert!(ended.since(since) >= A_WHILE, "paused since {since}, it went on at {ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn canaries_go_back_and_forth_and_each_goes_on_where_it_was() {
    let place = Place::new("back-canary").await;
    let serin = place.serin(&[AS_TEXT]);
    let steps = || canary(json!([{"setWeight": 50}, {"pause": {}}]));
    let at_rest = place.create("at-rest", steps()).await;
    let unstepped = place.create("unstepped", canary(json!([]))).await;
    let mut marked = steps();
    merge(
        &mut marked["strategy"]["canary"],
        json!({
            "canaryMetadata": {"labels": {"role": "canary"}}, "stableMetadata": {"labels": {"role": "stable"}},
            "antiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": {"weight": 10}},
        }),
    );
    let paused = place.create("paused", marked).await;
    let aborted = place.create("aborted", steps()).await;
    let timed = canary(json!([{"setWeight": 50}, {"pause": {"duration": A_WHILE.as_secs()}}]));
    let timed = place.create("timed", timed).await;
    let workloads = workload(&place).await;
    let reference = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "referring"});
    let mut referring = steps();
    merge(&mut referring, json!({"template": null, "selector": null, "workloadRef": reference}));
    let referring = place.create("referring", referring).await;
    let all = [&at_rest, &unstepped, &paused, &aborted, &timed, &referring];
    until_all(&all, "Healthy").await;
    for subject in [&paused, &aborted, &timed] {
        subject.release("v2").await;
    }
    let template = Patch::Merge(json!({"spec": {"template": template_of("referring", "v2")}}));
    workloads.patch("referring", &PatchParams::default(), &template).await.unwrap();
    until_all(&[&paused, &aborted, &timed, &referring], "Paused").await;
    aborted.change_status(json!({"abort": true})).await;
    aborted.until(is_restored(2)).await;
    let since = status(&timed).await.pause_conditions.unwrap()[0].start_time;

    let argo_rollouts = place.change(serin, Place::argo_rollouts, &all).await;
    release(&at_rest, "v2").await;
    release(&unstepped, "v2").await;
    retry(&aborted).await;
    for subject in [&paused, &referring] {
        promote(subject).await;
    }
    until_all(&[&unstepped, &paused, &referring], "Healthy").await;
    until_all(&[&at_rest, &aborted], "Paused").await;
    until_over(&timed, since).await;

    let _serin = place.change(argo_rollouts, |place| place.serin(&[]), &all).await;
    for subject in [&at_rest, &aborted] {
        promote(subject).await;
    }
    until_all(&all, "Healthy").await;
    for subject in all {
        subject.until(is_ready()).await;
    }
    // When it ended was not written down; a time that goes on would be told as that of the next update.
    assert_eq!(status(&paused).await.duration, None);
}

/// Creates a Deployment without pods, for a Rollout that refers to it.
async fn workload(place: &Place) -> Api<Deployment> {
    let workloads: Api<Deployment> = Api::namespaced(place.client.clone(), &place.namespace);
    let workload = json!({
        "metadata": {"name": "referring"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "referring"}},
            "template": template_of("referring", "v1"),
        },
    });
    workloads.create(&PostParams::default(), &serde_json::from_value(workload).unwrap()).await.unwrap();
    workloads
}

/// Holds once the condition that other tools read says so; only Serin writes it.
fn is_ready() -> impl Condition<Rollout> {
    |rollout: Option<&Rollout>| {
        let status = rollout.and_then(|rollout| rollout.status.as_ref());
        let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        let mut ready = conditions.filter(|condition| condition.r#type == "Ready");
        ready.any(|condition| condition.status == "True")
    }
}

/// Holds once the form of the observed generation is one that Argo Rollouts can read.
fn is_text() -> impl Condition<Rollout> {
    |rollout: Option<&Rollout>| {
        let status = rollout.and_then(|rollout| rollout.status.as_ref());
        status.is_some_and(|status| matches!(status.observed_generation, Some(IntOrString::String(_))))
    }
}

/// Creates a blue-green Rollout with its two Services.
async fn blue_green(place: &Place, name: &'static str, changes: Value) -> Subject {
    let (active, preview) = (format!("{name}-active"), format!("{name}-preview"));
    for service in [&active, &preview] {
        place.service(service, name).await;
    }
    let mut strategy = json!({"activeService": active, "previewService": preview, "scaleDownDelaySeconds": A_WHILE.as_secs()});
    merge(&mut strategy, changes);
    place.create(name, json!({"strategy": {"blueGreen": strategy}})).await
}

/// Waits until an old version is gone. It had the time to go that it had before, and did not go before it.
async fn until_gone(place: &Place, name: &str, at: &str) {
    let sets: Api<ReplicaSet> = Api::namespaced(place.client.clone(), &place.namespace);
    let is_gone = |set: Option<&ReplicaSet>| {
        let set = set.unwrap();
        let is_gone = set.spec.as_ref().unwrap().replicas == Some(0);
        assert!(
            is_gone || set.annotations()[SCALE_DOWN_DEADLINE] == at,
            "its time is another one: {:?}",
            set.annotations()
        );
        is_gone
    };
    let set = wait_for(&sets, name, is_gone).await.unwrap();
    let written = set.managed_fields().iter().filter(|entry| entry.subresource.is_none());
    let gone = written.filter_map(|entry| entry.time.as_ref()).map(Timestamp::from).max().unwrap();
    assert!(gone >= Timestamp::parse(at).unwrap(), "it was to go at {at}, it went at {gone}");
}

/// The ReplicaSet of a version, with the time at which it goes.
async fn leaving(subject: &Subject, hash: &str) -> (String, String) {
    let sets: Api<ReplicaSet> = Api::namespaced(subject.client.clone(), &subject.namespace);
    let name = format!("{}-{hash}", subject.name);
    let has_time = |set: Option<&ReplicaSet>| set.unwrap().annotations().contains_key(SCALE_DOWN_DEADLINE);
    let set = wait_for(&sets, &name, has_time).await.unwrap();
    (name, set.annotations()[SCALE_DOWN_DEADLINE].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_waits_and_an_old_version_goes_at_its_time_whoever_controls_them() {
    let place = Place::new("back-blue").await;
    let serin = place.serin(&[]);
    let preview = blue_green(&place, "preview", json!({"autoPromotionEnabled": false})).await;
    let switched = blue_green(&place, "switched", json!({})).await;
    let all = [&preview, &switched];
    until_all(&all, "Healthy").await;
    let first = status(&switched).await.stable_rs.unwrap();
    preview.release("v2").await;
    switched.release("v2").await;
    preview.until_phase("Paused").await;
    let (old, at) = leaving(&switched, &first).await;
    switched.until_phase("Healthy").await;
    // What the guide asks for: until now the form was the other one.
    serin.stop().await;
    let serin = place.serin(&[AS_TEXT]);
    for subject in all {
        subject.until(is_text()).await;
    }

    let argo_rollouts = place.change(serin, Place::argo_rollouts, &all).await;
    until_gone(&place, &old, &at).await;
    let first = status(&preview).await.stable_rs.unwrap();
    promote(&preview).await;
    let promoted = preview.until_phase("Healthy").await.status.unwrap();
    assert_eq!(promoted.blue_green.unwrap().active_selector, promoted.current_pod_hash);
    let (old, at) = leaving(&preview, &first).await;

    let _serin = place.change(argo_rollouts, |place| place.serin(&[]), &all).await;
    assert_eq!(leaving(&preview, &first).await, (old, at));
    release(&preview, "v3").await;
    preview.until_phase("Paused").await;
}

/// Waits until the AnalysisRun that belongs to the update has measured more often than `before`; gives the number.
async fn measured(subject: &Subject, before: i32) -> (String, i32) {
    let status = status(subject).await.canary.unwrap().current_background_analysis_run_status.unwrap();
    let runs: Api<AnalysisRun> = Api::namespaced(subject.client.clone(), &subject.namespace);
    let count = |run: Option<&AnalysisRun>| {
        let status = run
            .and_then(|run| run.status.as_ref())
            .filter(|status| status.phase == Some(AnalysisPhase::Running));
        status.and_then(|status| status.metric_results.as_ref()?.first()?.count).unwrap_or_default()
    };
    let run = wait_for(&runs, &status.name, |run: Option<&AnalysisRun>| count(run) > before).await;
    (status.name, count(run.as_ref()))
}

/// Waits until the canary Ingress sends this share to the new version.
async fn until_share(place: &Place, share: &'static str) {
    let ingresses: Api<Ingress> = Api::namespaced(place.client.clone(), &place.namespace);
    let has_share = move |ingress: Option<&Ingress>| {
        ingress.is_some_and(|ingress| ingress.annotations().get(WEIGHT).is_some_and(|weight| weight == share))
    };
    wait_for(&ingresses, "routed-routed-canary", has_share).await;
}

/// A Rollout of two pauses whose traffic NGINX splits, with an analysis beside its steps.
async fn routed(place: &Place) -> Subject {
    for service in ["routed-stable", "routed-canary"] {
        place.service(service, "routed").await;
    }
    let backend = json!({"service": {"name": "routed-stable", "port": {"number": 80}}});
    let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
    let ingress = json!({
        "metadata": {"name": "routed"},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": "shop.example", "http": {"paths": [path]}}]},
    });
    let ingresses: Api<Ingress> = Api::namespaced(place.client.clone(), &place.namespace);
    ingresses.create(&PostParams::default(), &serde_json::from_value(ingress).unwrap()).await.unwrap();
    let mut spec = canary(json!([{"setWeight": 30}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]));
    merge(
        &mut spec["strategy"]["canary"],
        json!({
            "canaryService": "routed-canary", "stableService": "routed-stable",
            "trafficRouting": {"nginx": {"stableIngress": "routed"}},
            "analysis": {"templates": [{"templateName": "success-rate"}], "startingStep": 1},
        }),
    );
    place.create("routed", spec).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_routed_canary_keeps_its_share_and_its_analysis_goes_on_whoever_controls_it() {
    let place = Place::new("back-routed").await;
    let prometheus = StubPrometheus::start(Answer::Value(1.0));
    let endless = json!({"count": null});
    analysis_template(&place.client, &place.namespace, "success-rate", &prometheus.url(), endless).await;
    let serin = place.serin(&[AS_TEXT]);
    let subject = routed(&place).await;
    subject.until_phase("Healthy").await;
    subject.release("v2").await;
    subject.until_phase("Paused").await;
    until_share(&place, "30").await;
    let (run, count) = measured(&subject, 0).await;

    let argo_rollouts = place.change(serin, Place::argo_rollouts, &[&subject]).await;
    until_share(&place, "30").await;
    let (same, _) = measured(&subject, count).await;
    assert_eq!(same, run);
    promote(&subject).await;
    subject.until(is_at(3)).await;
    until_share(&place, "60").await;
    promote(&subject).await;
    subject.until_phase("Healthy").await;
    // A run that Argo Rollouts makes.
    release(&subject, "v3").await;
    subject.until(is_at(1)).await;
    until_share(&place, "30").await;
    let (run, count) = measured(&subject, 0).await;

    let _serin = place.change(argo_rollouts, |place| place.serin(&[]), &[&subject]).await;
    let (same, _) = measured(&subject, count).await;
    assert_eq!(same, run);
    promote(&subject).await;
    subject.until(is_at(3)).await;
    until_share(&place, "60").await;
    promote(&subject).await;
    subject.until_phase("Healthy").await;
}

/// Holds once it is paused at this step.
fn is_at(step: i32) -> impl Condition<Rollout> {
    move |rollout: Option<&Rollout>| {
        let status = rollout.and_then(|rollout| rollout.status.as_ref());
        status.is_some_and(|status| status.current_step_index == Some(step))
            && is_in("Paused").matches_object(rollout)
    }
}
