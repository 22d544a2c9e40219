//! The simulator's model of the API server against the real one: the same requests get the same answers.
//!
//! Requests are generated, from a fixed seed: writes with and without preconditions, right and wrong ones, of objects that
//! exist and of some that do not.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use serin::api::{AnalysisRun, Rollout};
use serin::rollout::effect::NewReplicaSet;
use serin::sim::caches::Writer;
use serin::sim::cluster::Part;
use serin::sim::{ApiError, Cluster};
use serin::units::{PodHash, ReplicaCount};

use crate::controller_process::definitions_on_shared;
use crate::shared::{client, namespace};

/// Requests of one run; each takes the real server a few milliseconds.
const REQUESTS: usize = 200;

/// Which version a write expects.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Any,
    Current,
    Stale,
}

/// One request.
#[derive(Clone, Debug)]
enum Request {
    Status(i32, Expected),
    Spec(i32, Expected),
    CreateSet(&'static str),
    Scale(&'static str, u32, u32),
    Annotate(&'static str, Option<&'static str>),
    DeleteSet(&'static str),
    CreateRun(&'static str),
    Terminate(&'static str),
    DeleteRun(&'static str),
    Switch(&'static str),
}

/// What the server answers.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// Done; of a Rollout, whether it has another version and which generation.
    Done(Option<(bool, i64)>),
    Conflict,
    NotFound,
    Exists,
}

fn requests() -> impl Strategy<Value = Request> {
    let expected = prop::sample::select(vec![Expected::Any, Expected::Current, Expected::Stale]);
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    prop_oneof![
        (0..4, expected.clone()).prop_map(|(value, expected)| Request::Status(value, expected)),
        (0..4, expected).prop_map(|(value, expected)| Request::Spec(value, expected)),
        name().prop_map(Request::CreateSet),
        (name(), 0_u32..2, 0_u32..2).prop_map(|(name, from, to)| Request::Scale(name, from, to)),
        (name(), prop::sample::select(vec![None, Some("x"), Some("y")]))
            .prop_map(|(name, value)| Request::Annotate(name, value)),
        name().prop_map(Request::DeleteSet),
        name().prop_map(Request::CreateRun),
        name().prop_map(Request::Terminate),
        name().prop_map(Request::DeleteRun),
        prop::sample::select(vec!["active", "missing"]).prop_map(Request::Switch),
    ]
}

fn rollout() -> Value {
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template()},
    })
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "app:v1"}]}})
}

fn run(name: &str) -> AnalysisRun {
    serde_json::from_value(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": name}, "spec": {},
    }))
    .unwrap()
}

/// The model.
struct Model {
    cluster: Cluster,
    stale: String,
}

impl Model {
    fn new() -> Self {
        let mut cluster = Cluster::new(serin::sim::start());
        cluster.apply_rollout(&rollout()).unwrap();
        cluster.put_service("active", BTreeMap::from([("app".to_owned(), "web".to_owned())]));
        Self { cluster, stale: "0".to_owned() }
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let writer = Writer::Controller;
        let cluster = &mut self.cluster;
        let done = match request {
            Request::Status(value, expected) => {
                return self.patch(&json!({"status": {"collisionCount": value}}), Part::Status, *expected);
            }
            Request::Spec(value, expected) => {
                return self.patch(&json!({"spec": {"minReadySeconds": value}}), Part::Main, *expected);
            }
            Request::CreateSet(name) => cluster.create_replica_set(&new_set(name), writer),
            Request::Scale(name, from, to) => {
                let (from, to) = (ReplicaCount::new(*from), ReplicaCount::new(*to));
                cluster.scale_replica_set(name, (from, to), to, &BTreeMap::new(), writer)
            }
            Request::Annotate(name, value) => {
                let annotations = [("note".to_owned(), value.map(str::to_owned))].into();
                cluster.update_replica_set(name, &annotations, None, writer)
            }
            Request::DeleteSet(name) => cluster.delete_replica_set(name, writer),
            Request::CreateRun(name) => cluster.create_run(&run(name), writer),
            Request::Terminate(name) => cluster.terminate_run(name, writer),
            Request::DeleteRun(name) => cluster.delete_run(name, writer),
            Request::Switch(name) => {
                cluster.switch_service(name, &PodHash::new("abc").unwrap(), "web", writer)
            }
        };
        done.map_or_else(|error| refusal(&error), |()| Answer::Done(None))
    }

    fn patch(&mut self, patch: &Value, part: Part, expected: Expected) -> Answer {
        let version = self.cluster.rollout().unwrap().metadata.resource_version.clone().unwrap();
        let wanted = match expected {
            Expected::Any => None,
            Expected::Current => Some(version.clone()),
            Expected::Stale => Some(self.stale.clone()),
        };
        match self.cluster.patch_rollout(patch, part, wanted.as_deref(), Writer::Controller) {
            Err(error) => refusal(&error),
            Ok(written) => {
                let changed = written != version;
                if changed {
                    self.stale = version;
                }
                Answer::Done(Some((changed, self.cluster.rollout().unwrap().metadata.generation.unwrap())))
            }
        }
    }
}

fn refusal(error: &ApiError) -> Answer {
    match error {
        ApiError::Conflict => Answer::Conflict,
        ApiError::NotFound => Answer::NotFound,
        ApiError::AlreadyExists => Answer::Exists,
        other => panic!("{other}"),
    }
}

fn new_set(name: &str) -> NewReplicaSet {
    let labels = BTreeMap::from([
        ("app".to_owned(), "web".to_owned()),
        ("rollouts-pod-template-hash".to_owned(), name.to_owned()),
    ]);
    let selector = serde_json::from_value(json!({ "matchLabels": labels })).unwrap();
    let mut template = template();
    template["metadata"]["labels"] = json!(labels);
    NewReplicaSet {
        name: name.to_owned(),
        labels,
        annotations: BTreeMap::from([("made".to_owned(), "here".to_owned())]),
        selector,
        template,
        replicas: ReplicaCount::ZERO,
        min_ready_seconds: 0,
    }
}

/// The real server.
struct Real {
    rollouts: Api<Rollout>,
    sets: Api<ReplicaSet>,
    runs: Api<AnalysisRun>,
    services: Api<Service>,
    current: String,
    stale: String,
}

impl Real {
    async fn new(client: Client, namespace: &str) -> Self {
        let rollouts: Api<Rollout> = Api::namespaced(client.clone(), namespace);
        let services: Api<Service> = Api::namespaced(client.clone(), namespace);
        let service = json!({"metadata": {"name": "active"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
        services.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();
        let created = serde_json::from_value(rollout()).unwrap();
        let created = rollouts.create(&PostParams::default(), &created).await.unwrap();
        Self {
            rollouts,
            services,
            sets: Api::namespaced(client.clone(), namespace),
            runs: Api::namespaced(client, namespace),
            current: created.resource_version().unwrap(),
            stale: "1".to_owned(),
        }
    }

    async fn answer(&mut self, request: &Request) -> Answer {
        let (post, patch, delete) =
            (PostParams::default(), PatchParams::default(), DeleteParams::background());
        let done = match request {
            Request::Status(value, expected) => {
                return self
                    .patch(json!({"status": {"collisionCount": value}}), Part::Status, *expected)
                    .await;
            }
            Request::Spec(value, expected) => {
                return self.patch(json!({"spec": {"minReadySeconds": value}}), Part::Main, *expected).await;
            }
            Request::CreateSet(name) => self.sets.create(&post, &set_object(name)).await.map(|_| ()),
            Request::Scale(name, from, to) => {
                let operations = serde_json::from_value(json!([
                    {"op": "test", "path": "/spec/replicas", "value": from},
                    {"op": "replace", "path": "/spec/replicas", "value": to},
                ]));
                let change = Patch::Json::<()>(operations.unwrap());
                self.sets.patch(name, &patch, &change).await.map(|_| ())
            }
            Request::Annotate(name, value) => {
                let change = Patch::Merge(json!({"metadata": {"annotations": {"note": value}}}));
                self.sets.patch(name, &patch, &change).await.map(|_| ())
            }
            Request::DeleteSet(name) => self.sets.delete(name, &delete).await.map(|_| ()),
            Request::CreateRun(name) => self.runs.create(&post, &run(name)).await.map(|_| ()),
            Request::Terminate(name) => {
                let change = Patch::Merge(json!({"spec": {"terminate": true}}));
                self.runs.patch(name, &patch, &change).await.map(|_| ())
            }
            Request::DeleteRun(name) => self.runs.delete(name, &delete).await.map(|_| ()),
            Request::Switch(name) => {
                let change =
                    Patch::Merge(json!({"spec": {"selector": {"rollouts-pod-template-hash": "abc"}}}));
                self.services.patch(name, &patch, &change).await.map(|_| ())
            }
        };
        done.map_or_else(|error| code(&error), |()| Answer::Done(None))
    }

    async fn patch(&mut self, mut change: Value, part: Part, expected: Expected) -> Answer {
        match expected {
            Expected::Any => {}
            Expected::Current => change["metadata"] = json!({"resourceVersion": self.current}),
            Expected::Stale => change["metadata"] = json!({"resourceVersion": self.stale}),
        }
        let (parameters, change) = (PatchParams::default(), Patch::Merge(change));
        let patched = match part {
            Part::Main => self.rollouts.patch("web", &parameters, &change).await,
            Part::Status => self.rollouts.patch_status("web", &parameters, &change).await,
        };
        match patched {
            Err(error) => code(&error),
            Ok(patched) => {
                let version = patched.resource_version().unwrap();
                let changed = version != self.current;
                if changed {
                    self.stale = std::mem::replace(&mut self.current, version);
                }
                Answer::Done(Some((changed, patched.metadata.generation.unwrap())))
            }
        }
    }
}

fn set_object(name: &str) -> ReplicaSet {
    let new = new_set(name);
    serde_json::from_value(json!({
        "metadata": {"name": new.name, "labels": new.labels, "annotations": new.annotations},
        "spec": {"replicas": 0, "selector": new.selector, "template": new.template},
    }))
    .unwrap()
}

fn code(error: &kube::Error) -> Answer {
    match error {
        kube::Error::Api(status) if status.reason == "AlreadyExists" => Answer::Exists,
        // A failed test of a JSON patch is answered as an invalid request; it means the same.
        kube::Error::Api(status) if status.code == 409 || status.code == 422 => Answer::Conflict,
        kube::Error::Api(status) if status.code == 404 => Answer::NotFound,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_of_the_api_server_answers_as_the_real_one() {
    let client = client();
    definitions_on_shared(&client).await;
    let namespace = namespace(&client, "model").await;
    let (mut model, mut real) = (Model::new(), Real::new(client, &namespace).await);
    let mut runner =
        TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut asked = Vec::new();
    for _ in 0..REQUESTS {
        let request = requests().new_tree(&mut runner).unwrap().current();
        asked.push(request.clone());
        let (expected, answer) = (real.answer(&request).await, model.answer(&request));
        assert_eq!(answer, expected, "after {asked:#?}");
    }
}
