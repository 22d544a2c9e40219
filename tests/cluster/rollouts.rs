//! Rollouts of tests: how they are made, changed and waited for.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Event;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::Condition;
use kube::{Api, Client};
use serde_json::{Value, json};
use serin::api::{AnalysisTemplate, Rollout};

use crate::shared::{wait_for, wait_for_all};

/// One Rollout in a namespace of its own.
pub(crate) struct Subject {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) rollouts: Api<Rollout>,
    pub(crate) name: &'static str,
}

impl Subject {
    /// Creates a Rollout `web` of four pods that run `app:<tag>`.
    pub(crate) async fn create(client: &Client, namespace: &str, tag: &str, spec: Value) -> Self {
        Self::create_named("web", client, namespace, tag, spec).await
    }

    /// Creates a Rollout of four pods that run `app:<tag>`, beside others in the namespace.
    pub(crate) async fn create_named(
        name: &'static str,
        client: &Client,
        namespace: &str,
        tag: &str,
        spec: Value,
    ) -> Self {
        let this = Self::named(name, client, namespace);
        let mut rollout = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": name},
            "spec": {"replicas": 4, "selector": {"matchLabels": {"app": name}}, "template": template_of(name, tag)},
        });
        merge(&mut rollout["spec"], spec);
        let rollout = serde_json::from_value(rollout).unwrap();
        this.rollouts.create(&PostParams::default(), &rollout).await.unwrap();
        this
    }

    /// One that somebody else creates.
    pub(crate) fn named(name: &'static str, client: &Client, namespace: &str) -> Self {
        let rollouts = Api::namespaced(client.clone(), namespace);
        Self { client: client.clone(), namespace: namespace.to_owned(), rollouts, name }
    }

    /// Changes its spec.
    pub(crate) async fn change(&self, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.rollouts.patch(self.name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Changes its status, as clients of the API do.
    pub(crate) async fn change_status(&self, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.rollouts.patch_status(self.name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Ends a pause.
    pub(crate) async fn resume(&self) {
        self.change_status(json!({"pauseConditions": null})).await;
    }

    /// Asks for another version.
    pub(crate) async fn release(&self, tag: &str) {
        self.change(json!({"template": template_of(self.name, tag)})).await;
    }

    /// Waits until it is as `condition` says.
    pub(crate) async fn until(&self, condition: impl Condition<Rollout>) -> Rollout {
        Box::pin(wait_for(&self.rollouts, self.name, condition)).await.unwrap()
    }

    /// Waits for a phase that belongs to the spec as it is now.
    pub(crate) async fn until_phase(&self, phase: &'static str) -> Rollout {
        self.until(is_in(phase)).await
    }

    /// Sizes of its ReplicaSets by revision number, those without pods left out.
    pub(crate) async fn sizes(&self) -> Vec<(String, i32)> {
        let listed = self.sets().list(&ListParams::default()).await.unwrap();
        sizes(&listed.items)
    }

    /// Waits until its ReplicaSets have these sizes, those without pods left out: changes of ReplicaSets follow the status
    /// that tells of them.
    pub(crate) async fn until_sizes(&self, expected: &[(&str, i32)]) {
        let expected: Vec<_> =
            expected.iter().map(|(revision, size)| ((*revision).to_owned(), *size)).collect();
        let as_expected =
            |sets: &[Arc<ReplicaSet>]| (sizes(sets.iter().map(Arc::as_ref)) == expected).then_some(());
        wait_for_all(&self.sets(), &format!("sizes {expected:?}"), as_expected).await;
    }

    /// Waits until its ReplicaSets, with pods or without, have these revision numbers.
    pub(crate) async fn until_revisions(&self, expected: &[&str]) {
        let as_expected = |sets: &[Arc<ReplicaSet>]| {
            let mut revisions: Vec<_> = sets.iter().filter_map(|set| revision(set)).collect();
            revisions.sort_unstable();
            (revisions == expected).then_some(())
        };
        wait_for_all(&self.sets(), &format!("revisions {expected:?}"), as_expected).await;
    }

    fn sets(&self) -> Api<ReplicaSet> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits for an Event with this reason, and returns its message.
    pub(crate) async fn until_announced(&self, reason: &str) -> String {
        self.until_announced_after(0, reason).await.pop().unwrap().message
    }

    /// Waits for an Event with this reason among those that come after the first `known` ones. Returns these, up to it.
    pub(crate) async fn until_announced_after(&self, known: usize, reason: &str) -> Vec<Announcement> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let with_reason = |events: &[Arc<Event>]| {
            let all = announcements(events.iter().map(Arc::as_ref));
            let new = all.get(known..)?;
            let last = new.iter().position(|announcement| announcement.reason == reason)?;
            Some(new[..=last].to_vec())
        };
        wait_for_all(&events, reason, with_reason).await
    }

    /// Waits for an Event with this reason whose message contains `text`.
    pub(crate) async fn until_told(&self, reason: &str, text: &str) {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let told = |events: &[Arc<Event>]| {
            let all = announcements(events.iter().map(Arc::as_ref));
            all.iter().any(|told| told.reason == reason && told.message.contains(text)).then_some(())
        };
        wait_for_all(&events, &format!("{reason} with '{text}'"), told).await;
    }
}

/// An Event about a Rollout.
#[derive(Clone, Debug)]
pub(crate) struct Announcement {
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// The Events about Rollouts in the order in which they were created.
fn announcements<'a>(events: impl Iterator<Item = &'a Event>) -> Vec<Announcement> {
    let mut ours: Vec<_> =
        events.filter(|event| event.involved_object.kind.as_deref() == Some("Rollout")).collect();
    ours.sort_by_key(|event| event.metadata.resource_version.as_ref().unwrap().parse::<u64>().unwrap());
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    ours.iter()
        .map(|event| Announcement { reason: text(&event.reason), message: text(&event.message) })
        .collect()
}

fn revision(set: &ReplicaSet) -> Option<&str> {
    Some(set.metadata.annotations.as_ref()?.get("rollout.argoproj.io/revision")?.as_str())
}

fn sizes<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>) -> Vec<(String, i32)> {
    let size = |set: &ReplicaSet| Some((revision(set)?.to_owned(), set.spec.as_ref()?.replicas?));
    let mut sizes: Vec<_> = sets.into_iter().filter_map(size).filter(|(_, size)| *size > 0).collect();
    sizes.sort();
    sizes
}

/// The pod template of a Rollout `web`, whose image tag tells the virtual node what its pods do.
pub(crate) fn template(tag: &str) -> Value {
    template_of("web", tag)
}

/// The same of a Rollout of this name.
pub(crate) fn template_of(name: &str, tag: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": format!("app:{tag}")}]},
    })
}

/// A canary strategy of these steps.
pub(crate) fn canary(steps: Value) -> Value {
    json!({"strategy": {"canary": {"steps": steps}}})
}

/// Creates a template of one metric; `changes` are merged into the metric.
pub(crate) async fn analysis_template(
    client: &Client,
    namespace: &str,
    name: &str,
    address: &str,
    changes: Value,
) {
    let mut metric = json!({
        "name": "success-rate", "interval": "1s", "count": 2, "successCondition": "result[0] >= 0.95",
        "provider": {"prometheus": {"address": address, "query": "up"}},
    });
    merge(&mut metric, changes);
    metric.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let template = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": name},
        "spec": {"metrics": [metric]},
    });
    let templates: Api<AnalysisTemplate> = Api::namespaced(client.clone(), namespace);
    let apply = PatchParams::apply("test").force();
    templates.patch(name, &apply, &Patch::Apply(template)).await.unwrap();
}

/// Holds in a phase that was computed from the spec as it is now.
pub(crate) fn is_in(phase: &'static str) -> impl Condition<Rollout> {
    move |rollout: Option<&Rollout>| {
        rollout.is_some_and(|rollout| is_observed(rollout) && phase_of(rollout) == phase)
    }
}

/// Holds once the status was computed from the spec as it is now.
pub(crate) fn is_observed_now() -> impl Condition<Rollout> {
    |rollout: Option<&Rollout>| rollout.is_some_and(is_observed)
}

/// Holds while the message contains `text`.
pub(crate) fn says(text: &'static str) -> impl Condition<Rollout> {
    move |rollout: Option<&Rollout>| rollout.is_some_and(|rollout| message_of(rollout).contains(text))
}

/// Holds once an aborted update has no pod left and stable has all of its `replicas`. The sum alone would not tell: a canary
/// beside a smaller stable has the same.
pub(crate) fn is_restored(replicas: i32) -> impl Condition<Rollout> {
    move |rollout: Option<&Rollout>| {
        let status = rollout.and_then(|rollout| rollout.status.as_ref());
        status.is_some_and(|status| {
            (status.updated_replicas, status.available_replicas) == (Some(0), Some(replicas))
        })
    }
}

/// The message of its status.
pub(crate) fn message_of(rollout: &Rollout) -> String {
    rollout.status.as_ref().and_then(|status| status.message.clone()).unwrap_or_default()
}

/// The phase of its status.
pub(crate) fn phase_of(rollout: &Rollout) -> &str {
    rollout.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether its status belongs to the spec as it is now.
pub(crate) fn is_observed(rollout: &Rollout) -> bool {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    let observed = rollout.status.as_ref().and_then(|status| status.observed_generation.clone());
    let generation = rollout.metadata.generation.unwrap_or_default();
    match observed {
        Some(IntOrString::Int(observed)) => i64::from(observed) == generation,
        Some(IntOrString::String(observed)) => observed == generation.to_string(),
        None => false,
    }
}

/// Puts `from` into `into`, object by object.
pub(crate) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
