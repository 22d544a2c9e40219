//! A virtual node: takes every pod that no scheduler has placed and drives its status as a kubelet would.
//!
//! One watch on all pods, one task per pod, one request per transition: binding, running, ready, gone. What the pods do
//! is up to a [`Workload`]; [`QuickWorkload`] does nothing but change status. Left out: probes, volumes, logs, resources,
//! taints, eviction and heartbeats (no controller looks at them here).

mod life;
mod plan;
mod quick;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{Stream, StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(in crate::sandbox) use self::life::now;
use self::life::{Farewell, Kubelet};
pub use self::plan::{Outcome, PodPlan, Workload};
pub use self::quick::QuickWorkload;

/// The name of the node.
pub const NODE_NAME: &str = "sandbox";

/// Who the node is to server-side apply.
const FIELD_MANAGER: &str = "serin-sandbox";

/// Pods that the node says it can run; nothing enforces it.
const POD_CAPACITY: u32 = 100_000;

/// A running node. Dropping it stops it: pods keep their last status, and nobody takes new ones.
#[derive(Debug)]
pub struct VirtualNode {
    task: JoinHandle<()>,
}

impl VirtualNode {
    /// Registers the node and starts to take pods. `client` needs to be an administrator's. Pods that another node object
    /// of this name has already run start anew.
    ///
    /// # Errors
    /// When the API server refuses the node object.
    pub async fn start<W: Workload>(client: Client, workload: Arc<W>) -> Result<Self, kube::Error> {
        register(&client).await?;
        let pods: Api<Pod> = Api::all(client.clone());
        let events = watcher(pods, watcher::Config::default().streaming_lists())
            .modify(|pod| pod.metadata.managed_fields = None)
            .default_backoff();
        let kubelet = Arc::new(Kubelet::new(client, workload));
        Ok(Self { task: tokio::spawn(follow(events, kubelet)) })
    }
}

impl Drop for VirtualNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Creates the node object, or takes over the one that is there.
async fn register(client: &Client) -> Result<(), kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let labels = json!({
        "kubernetes.io/hostname": NODE_NAME, "kubernetes.io/os": "linux", "kubernetes.io/arch": std::env::consts::ARCH,
    });
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE_NAME, "labels": labels}});
    nodes.patch(NODE_NAME, &params, &Patch::Apply(node)).await?;
    let resources = json!({"cpu": "1000", "memory": "4Ti", "pods": POD_CAPACITY.to_string()});
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "the sandbox takes pods",
        "lastTransitionTime": life::now(), "lastHeartbeatTime": life::now(),
    });
    let status = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE_NAME},
        "status": {
            "capacity": resources, "allocatable": resources, "conditions": [ready],
            "addresses": [{"type": "InternalIP", "address": status::HOST_ADDRESS}],
        },
    });
    nodes.patch_status(NODE_NAME, &params, &Patch::Apply(status)).await?;
    Ok(())
}

/// A pod that the node has taken.
struct Taken {
    /// Tells its life that the pod is being deleted; `None` once told. Dropped, it says that the pod is gone.
    farewell: Option<oneshot::Sender<Farewell>>,
}

/// The pods of the node by `metadata.uid`, and the lives that belong to them.
struct Roster<W> {
    kubelet: Arc<Kubelet<W>>,
    taken: BTreeMap<String, Taken>,
    /// Uids seen since the watch started over; `None` between restarts.
    relisted: Option<BTreeSet<String>>,
}

/// Follows the watch for as long as the node lives.
async fn follow<W: Workload>(
    events: impl Stream<Item = watcher::Result<watcher::Event<Pod>>>,
    kubelet: Arc<Kubelet<W>>,
) {
    let mut roster = Roster { kubelet, taken: BTreeMap::new(), relisted: None };
    pin_mut!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => roster.see(event),
            Err(error) => tracing::debug!(%error, "watching pods; trying again"),
        }
    }
}

impl<W: Workload> Roster<W> {
    fn see(&mut self, event: watcher::Event<Pod>) {
        match event {
            watcher::Event::Apply(pod) => self.see_pod(&pod),
            watcher::Event::Delete(pod) => {
                self.taken.remove(&pod.uid().unwrap_or_default());
            }
            watcher::Event::Init => self.relisted = Some(BTreeSet::new()),
            watcher::Event::InitApply(pod) => {
                if let (Some(relisted), Some(uid)) = (&mut self.relisted, pod.uid()) {
                    relisted.insert(uid);
                }
                self.see_pod(&pod);
            }
            watcher::Event::InitDone => {
                if let Some(relisted) = self.relisted.take() {
                    self.taken.retain(|uid, _| relisted.contains(uid));
                }
            }
        }
    }

    fn see_pod(&mut self, pod: &Pod) {
        let Some(uid) = pod.uid() else { return };
        if !self.taken.contains_key(&uid) && is_ours(pod) {
            let (farewell, told) = oneshot::channel();
            tokio::spawn(Arc::clone(&self.kubelet).live(pod.clone(), told));
            self.taken.insert(uid.clone(), Taken { farewell: Some(farewell) });
        }
        if let (Some(_), Some(taken)) = (&pod.metadata.deletion_timestamp, self.taken.get_mut(&uid))
            && let Some(farewell) = taken.farewell.take()
        {
            // The life may have ended already; then nobody needs to be told.
            let _ = farewell.send(Farewell::of(pod));
        }
    }
}

/// Whether the node should run the pod: it does already, or nobody does and nothing holds it back.
fn is_ours(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let held_back = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    match spec.node_name.as_deref().unwrap_or_default() {
        "" => !held_back && pod.metadata.deletion_timestamp.is_none(),
        node => node == NODE_NAME && (!has_finished(pod) || pod.metadata.deletion_timestamp.is_some()),
    }
}

fn has_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn check(fields: &Value, expected: bool) {
        let mut pod = json!({"metadata": {}, "spec": {"containers": []}});
        for part in ["metadata", "spec", "status"] {
            if let Some(Value::Object(part_fields)) = fields.get(part) {
                for (name, value) in part_fields {
                    pod[part][name] = value.clone();
                }
            }
        }
        assert_eq!(is_ours(&serde_json::from_value(pod).unwrap()), expected, "{fields}");
    }

    #[test]
    fn the_node_takes_what_nobody_else_has_and_nothing_holds_back() {
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        check(&json!({}), true);
        check(&json!({"spec": {"nodeName": "sandbox"}}), true);
        check(&json!({"spec": {"nodeName": "elsewhere"}}), false);
        check(&json!({"spec": {"schedulingGates": [{"name": "quota"}]}}), false);
        check(&json!({"metadata": deleted}), false);
        check(&json!({"metadata": deleted, "spec": {"nodeName": "sandbox"}}), true);
        check(&json!({"spec": {"nodeName": "sandbox"}, "status": {"phase": "Succeeded"}}), false);
        check(
            &json!({"metadata": deleted, "spec": {"nodeName": "sandbox"}, "status": {"phase": "Failed"}}),
            true,
        );
    }
}
