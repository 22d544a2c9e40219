//! Every router on the real API server: weights at each step, abort from each step, promotion, and what is wrong with its
//! objects.
//!
//! A router's file says which objects it has and where the canary's weight is in them; what has to hold is the same for
//! all, and is said here.

mod alb;
mod ambassador;
mod apisix;
mod contour;
pub(crate) mod definitions;
mod gateway;
mod istio;
mod nginx;
mod skipper;
mod smi;
mod stub_aws;
mod traefik;

use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::runtime::wait::Condition;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::controller_process::{ControllerProcess, definitions_on_shared};
use crate::rollouts::{Subject, is_in, merge, says};
use crate::shared::{client, kubeconfig, namespace, wait_for};

/// A kind of object: group, version, kind, plural.
pub(crate) type Kind = (&'static str, &'static str, &'static str, &'static str);

/// A router under test.
pub(crate) struct Case {
    /// Prefix of the namespace.
    pub(crate) name: &'static str,
    /// Definitions that the objects need: files below the folder of fetched definitions (`definitions.txt`) or below
    /// `routers/definitions`; `#Kind` picks one kind of a file.
    pub(crate) definitions: &'static [&'static str],
    /// Objects that users have before there is a Rollout; the Services `stable` and `canary` exist besides.
    pub(crate) objects: Vec<(Kind, Value)>,
    /// `trafficRouting`.
    pub(crate) routing: Value,
    /// Where the canary's weight is: kind and name of the object, and the place in it; behind `#`, the place in the JSON
    /// that is the text there.
    pub(crate) weight: (Kind, &'static str, &'static str),
}

/// A Rollout whose first version is stable, under a router.
pub(crate) struct Routed {
    pub(crate) subject: Subject,
    _controller: ControllerProcess,
    case: Case,
}

impl Routed {
    /// Deploys the first version. `spec` is merged into the Rollout's.
    pub(crate) async fn deploy(case: Case, spec: Value) -> Self {
        let routed = Self::create(case, spec).await;
        routed.subject.until_phase("Healthy").await;
        routed
    }

    /// Creates everything, and does not wait for the first version.
    pub(crate) async fn create(case: Case, spec: Value) -> Self {
        let start = |namespace: &str| ControllerProcess::start(&kubeconfig(), namespace, &[]);
        Self::create_under(start, case, spec).await
    }

    /// The same under a controller that `start` starts for a namespace.
    pub(crate) async fn create_under(
        start: impl FnOnce(&str) -> ControllerProcess,
        case: Case,
        spec: Value,
    ) -> Self {
        let client = client();
        definitions_on_shared(&client).await;
        definitions::install(&client, case.definitions).await;
        let namespace = namespace(&client, case.name).await;
        for name in ["stable", "canary"] {
            create_service(&client, &namespace, name).await;
        }
        for (kind, object) in &case.objects {
            create(&client, &namespace, *kind, object.clone()).await;
        }
        let controller = start(&namespace);
        let steps = json!([{"setWeight": 20}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]);
        let mut whole = json!({"strategy": {"canary": {
            "canaryService": "canary", "stableService": "stable", "steps": steps,
            "scaleDownDelaySeconds": 1, "abortScaleDownDelaySeconds": 1, "trafficRouting": case.routing,
        }}});
        merge(&mut whole, spec);
        let subject = Subject::create(&client, &namespace, "v1", whole).await;
        Self { subject, _controller: controller, case }
    }

    /// Waits until the canary has this weight, as the object says it.
    pub(crate) async fn until_weight(&self, expected: u64) {
        let number =
            |value: Value| value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        self.until(self.case.weight, move |value| number(value) == Some(expected)).await;
    }

    /// Waits until `fact` holds for what is at a place of an object.
    pub(crate) async fn until(&self, place: (Kind, &str, &'static str), fact: impl Fn(Value) -> bool + Sync) {
        let (kind, name, pointer) = place;
        let api = api(&self.subject.client, &self.subject.namespace, kind);
        let has = move |object: Option<&DynamicObject>| {
            let object = object.map(|object| serde_json::to_value(object).unwrap());
            object.and_then(|object| found(&object, pointer)).is_some_and(&fact)
        };
        Box::pin(wait_for(&api, name, has)).await;
    }

    /// Waits until no field of the users' object with the weight is noted as the controller's.
    async fn until_given_back(&self) {
        let (kind, name, _) = self.case.weight;
        if !self.case.objects.iter().any(|(of, object)| *of == kind && object["metadata"]["name"] == name) {
            return;
        }
        let is_given_back = |object: Option<&DynamicObject>| {
            let fields = object.and_then(|object| object.metadata.managed_fields.as_ref());
            fields.is_some_and(|fields| fields.iter().all(|entry| entry.manager.as_deref() != Some("serin")))
        };
        let objects = api(&self.subject.client, &self.subject.namespace, kind);
        Box::pin(wait_for(&objects, name, is_given_back)).await;
    }

    /// How often what the object with the weight asks for has been written; some are made with the first share only.
    async fn generation(&self) -> i64 {
        let (kind, name, _) = self.case.weight;
        let found = api(&self.subject.client, &self.subject.namespace, kind).get_opt(name).await.unwrap();
        found.and_then(|found| found.metadata.generation).unwrap_or_default()
    }

    pub(crate) async fn until_at_step(&self, step: i32) {
        let at = move |rollout: Option<&serin::api::Rollout>| {
            let status = rollout.and_then(|rollout| rollout.status.as_ref());
            status.is_some_and(|status| status.current_step_index == Some(step))
                && says("CanaryPauseStep").matches_object(rollout)
        };
        self.subject.until(at).await;
    }

    pub(crate) async fn resume(&self) {
        self.subject.resume().await;
    }

    /// Takes an abort back, and waits until the update is at its second pause.
    pub(crate) async fn retry(&self) {
        self.subject.change_status(json!({"abort": false, "abortedAt": null})).await;
        self.until_at_step(1).await;
        self.resume().await;
        self.until_at_step(3).await;
        self.until_weight(50).await;
    }
}

/// What is at a place of an object, or in the JSON of a text there.
fn found(object: &Value, place: &str) -> Option<Value> {
    let Some((outer, inner)) = place.split_once('#') else { return object.pointer(place).cloned() };
    let text: Value = serde_json::from_str(object.pointer(outer)?.as_str()?).ok()?;
    text.pointer(inner).cloned()
}

pub(crate) async fn create_service(client: &Client, namespace: &str, name: &str) {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let service = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }));
    services.create(&PostParams::default(), &service.unwrap()).await.unwrap();
}

/// The objects of a kind.
pub(crate) fn api(client: &Client, namespace: &str, kind: Kind) -> Api<DynamicObject> {
    let (group, version, kind, plural) = kind;
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Creates a user's object.
pub(crate) async fn create(client: &Client, namespace: &str, kind: Kind, mut object: Value) {
    object["apiVersion"] = json!(format!("{}/{}", kind.0, kind.1));
    object["kind"] = json!(kind.2);
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    api(client, namespace, kind).create(&PostParams::default(), &object).await.unwrap();
}

/// Changes a user's object as a sync engine would.
pub(crate) async fn change(client: &Client, namespace: &str, kind: Kind, name: &str, patch: Value) {
    let patch = Patch::Merge(patch);
    api(client, namespace, kind).patch(name, &PatchParams::default(), &patch).await.unwrap();
}

/// An update goes through all its steps; the next one is taken back from each of its steps.
pub(crate) async fn walk(case: Case) {
    // Weights in annotations do not count as asked for.
    let is_counted = case.weight.0.2 != "Ingress";
    let routed = Routed::deploy(case, json!({})).await;
    let subject = &routed.subject;
    let before = if is_counted { routed.generation().await } else { 0 };
    subject.release("v2").await;
    routed.until_at_step(1).await;
    routed.until_weight(20).await;
    routed.resume().await;
    routed.until_at_step(3).await;
    routed.until_weight(50).await;
    routed.resume().await;
    subject.until(is_in("Healthy")).await;
    routed.until_weight(0).await;
    routed.until_given_back().await;
    if is_counted {
        assert_eq!(
            routed.generation().await - before,
            4,
            "one write for each of the weights 20, 50, 100 and 0"
        );
    }

    subject.release("v3").await;
    routed.until_at_step(1).await;
    routed.until_weight(20).await;
    subject.change_status(json!({"abort": true})).await;
    routed.until_weight(0).await;
    subject.until(is_in("Degraded")).await;
    subject.until_sizes(&[("2", 4)]).await;

    routed.retry().await;
    subject.change_status(json!({"abort": true})).await;
    routed.until_weight(0).await;
    subject.until_sizes(&[("2", 4)]).await;
}

/// A pod template whose container listens where Services lead to.
pub(crate) fn template_with_port(tag: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [
        {"name": "main", "image": format!("app:{tag}"), "ports": [{"containerPort": 80}]},
    ]}})
}

/// A spec whose second step gives two templates of an Experiment 10 and 5 % beside the canary's 20.
pub(crate) fn with_an_experiment() -> Value {
    let templates = json!([
        {"name": "baseline", "specRef": "stable", "weight": 10},
        {"name": "candidate", "specRef": "canary", "weight": 5},
    ]);
    let experiment = json!({"templates": templates, "scaleDownDelaySeconds": 1});
    let steps = json!([{"setWeight": 20}, {"experiment": experiment}]);
    json!({"template": template_with_port("v1"), "strategy": {"canary": {"steps": steps}}})
}

/// While somebody applies Git's objects again and again, the update still ends, and the objects end as Git has them.
pub(crate) async fn survive_a_second_writer(case: Case) {
    let objects = case.objects.clone();
    let steps = json!([{"setWeight": 20}, {"pause": {"duration": "2s"}}, {"setWeight": 50}, {"pause": {"duration": "2s"}}]);
    let routed = Routed::deploy(case, json!({"strategy": {"canary": {"steps": steps}}})).await;
    let subject = &routed.subject;
    let sync = async || {
        for (kind, object) in &objects {
            apply(&subject.client, &subject.namespace, *kind, object.clone()).await;
        }
    };
    let syncs = async {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            sync().await;
        }
    };
    subject.release("v2").await;
    tokio::select! {
        () = syncs => {}
        _ = subject.until(is_in("Healthy")) => {}
    }
    sync().await;
    routed.until_weight(0).await;
    for (kind, object) in &objects {
        let name = object["metadata"]["name"].as_str().unwrap();
        let is_as_git_has_it = |found: Option<&DynamicObject>| {
            found.is_some_and(|found| contains(&found.data["spec"], &object["spec"]))
        };
        Box::pin(wait_for(&api(&subject.client, &subject.namespace, *kind), name, is_as_git_has_it)).await;
    }
    routed.until_given_back().await;
}

/// A Rollout that is deleted in mid-update leaves everything on stable.
pub(crate) async fn leave_in_order(case: Case) {
    let routed = Routed::deploy(case, json!({})).await;
    let subject = &routed.subject;
    subject.release("v2").await;
    routed.until_at_step(1).await;
    routed.until_weight(20).await;
    subject.rollouts.delete(subject.name, &DeleteParams::default()).await.unwrap();
    routed.until_weight(0).await;
    routed.until_given_back().await;
}

/// Applies an object as a sync engine does.
async fn apply(client: &Client, namespace: &str, kind: Kind, mut object: Value) {
    object["apiVersion"] = json!(format!("{}/{}", kind.0, kind.1));
    object["kind"] = json!(kind.2);
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    let parameters = PatchParams::apply("git").force();
    api(client, namespace, kind).patch(&name, &parameters, &Patch::Apply(object)).await.unwrap();
}

/// Whether everything in `part` is in `whole`, too.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| contains(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        (whole, part) => whole == part,
    }
}
