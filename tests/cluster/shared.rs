//! One control plane with a virtual node for all tests of this binary, each of which works in a namespace of its own.
//!
//! It lives on a thread of its own, because every test has a runtime that ends with it. Nobody stops it: its processes
//! end when this one does.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::wait::Condition;
use kube::runtime::watcher::{Event, watch_object};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Config, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serin::sandbox::control_plane::{Audit, ControlPlane, ControlPlaneOptions};
use serin::sandbox::node::{QuickWorkload, VirtualNode};
use serin::sandbox::tools::{Tool, ToolPlaces, Tools};
use tokio::time::timeout;

use crate::rights;
use crate::rollouts::merge;

/// The longest that a single change may take that a test waits for; a loaded machine needs a fraction of it.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// What a control plane is made of.
///
/// # Panics
/// When a tool is missing; the message says how to build it.
pub(crate) fn options() -> ControlPlaneOptions {
    let needed = [Tool::Etcd, Tool::ApiServer, Tool::ControllerManager];
    match Tools::locate(&ToolPlaces::from_environment(), &needed) {
        Ok(tools) => ControlPlaneOptions::new(tools),
        Err(error) => panic!("{error}"),
    }
}

/// A client of the shared control plane that may do everything.
pub(crate) fn client() -> Client {
    Client::try_from(config()).unwrap()
}

/// The configuration of [`client`]; a client of one's own belongs to the runtime of the test that makes it.
pub(crate) fn config() -> Config {
    access().config.clone()
}

/// The kubeconfig of the shared control plane, for processes.
pub(crate) fn kubeconfig() -> String {
    access().kubeconfig.clone()
}

/// What tests know of the shared control plane.
struct Access {
    config: Config,
    kubeconfig: String,
    audit_log: PathBuf,
}

static ACCESS: OnceLock<Access> = OnceLock::new();

fn access() -> &'static Access {
    ACCESS.get_or_init(run_forever)
}

/// Where requests to the shared control plane are written down; `None` when no test has needed it yet.
pub(crate) fn audit_log() -> Option<&'static Path> {
    ACCESS.get().map(|access| access.audit_log.as_path())
}

fn run_forever() -> Access {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let options = ControlPlaneOptions { audit: Audit::Requests, ..options() };
            let control_plane = match ControlPlane::start(options).await {
                Ok(control_plane) => control_plane,
                Err(error) => panic!("{error}"),
            };
            let workload = Arc::new(QuickWorkload::ready_after(Duration::from_millis(200)));
            let _node = VirtualNode::start(control_plane.client(), workload).await.unwrap();
            let access = Access {
                config: control_plane.config(),
                kubeconfig: control_plane.kubeconfig().to_owned(),
                audit_log: control_plane.audit_log(),
            };
            sender.send(access).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().expect("the control plane did not start; the reason is above")
}

/// A new namespace whose name starts with `prefix`, in which a controller has the rights of the chart.
pub(crate) async fn namespace(client: &Client, prefix: &str) -> String {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace =
        serde_json::from_value(json!({"metadata": {"generateName": format!("{prefix}-")}})).unwrap();
    let name = namespaces.create(&PostParams::default(), &namespace).await.unwrap().name_any();
    rights::grant(client, &name).await;
    name
}

/// Applies an object; `content` is merged into what names it.
pub(crate) async fn apply<K>(client: &Client, namespace: &str, name: &str, content: Value)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let mut object =
        json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name}});
    merge(&mut object, content);
    let api = Api::<K>::namespaced(client.clone(), namespace);
    api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await.unwrap();
}

/// Waits until `condition` holds for the object, and returns it as it was then.
pub(crate) async fn wait_for<K>(api: &Api<K>, name: &str, condition: impl Condition<K>) -> Option<K>
where
    K: Resource + Clone + Debug + Send + DeserializeOwned + 'static,
{
    let mut last = None;
    let holds = async {
        let mut states = pin!(watch_object(api.clone(), name).default_backoff());
        while let Some(state) = states.next().await {
            // A watch that breaks, as when the API server restarts, starts over.
            let Ok(object) = state else { continue };
            if condition.matches_object(object.as_ref()) {
                return object;
            }
            last = object;
        }
        unreachable!("a watch does not end");
    };
    let outcome = timeout(DEADLINE, holds).await;
    outcome.unwrap_or_else(|_| panic!("{name} is not as expected after {DEADLINE:?}: {last:#?}"))
}

/// Waits until `fact` finds something in the objects of a kind, and returns it.
pub(crate) async fn wait_for_all<K, T>(api: &Api<K>, what: &str, fact: impl Fn(&[Arc<K>]) -> Option<T>) -> T
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + DeserializeOwned + 'static,
{
    let (store, writer) = reflector::store();
    let holds = async {
        let changes = watcher(api.clone(), watcher::Config::default()).default_backoff().reflect(writer);
        let mut changes = pin!(changes);
        while changes.next().await.is_some() {
            // Before the first list is complete, objects would only seem to be missing.
            if store.wait_until_ready().now_or_never().is_some()
                && let Some(found) = fact(&store.state())
            {
                return found;
            }
        }
        unreachable!("a watch does not end");
    };
    let outcome = timeout(DEADLINE, holds).await;
    outcome.unwrap_or_else(|_| panic!("{what}: not after {DEADLINE:?}: {:#?}", store.state()))
}

/// Every state of the objects of a kind from now on. Returns once the watch has begun, so that nothing that is changed
/// afterwards is missed.
pub(crate) async fn follow<K>(api: &Api<K>) -> impl Stream<Item = K> + Unpin + use<K>
where
    K: Resource + Clone + Debug + Send + DeserializeOwned + 'static,
{
    let changes = watcher(api.clone(), watcher::Config::default()).default_backoff();
    let mut changes = Box::pin(changes.filter_map(async |change| change.ok()));
    let begun = async {
        while let Some(change) = changes.next().await {
            if matches!(change, Event::InitDone) {
                return;
            }
        }
    };
    timeout(DEADLINE, begun).await.expect("the watch does not begin");
    Box::pin(changes.filter_map(async |change| match change {
        Event::Apply(object) | Event::InitApply(object) => Some(object),
        Event::Init | Event::InitDone | Event::Delete(_) => None,
    }))
}

/// The next of the states that [`follow`] gives.
pub(crate) async fn next<K>(states: &mut (impl Stream<Item = K> + Unpin)) -> K {
    let next = timeout(DEADLINE, states.next()).await.expect("nothing changes any more");
    next.expect("a watch does not end")
}

/// Two addresses that nobody else gets, for servers that cannot be asked which port they have: the address of loopback is
/// this process' own, by its id.
pub(crate) fn own_addresses() -> [SocketAddr; 2] {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    // Process ids have 22 bits; the rest keeps clear of 127.0.0.1 and of the pods of sandboxes.
    let address = Ipv4Addr::new(127, 64 | high, middle, low);
    let held = [(); 2].map(|()| TcpListener::bind((address, 0)).unwrap());
    held.map(|listener| listener.local_addr().unwrap())
}

/// A Deployment of one container, whose image tag tells the virtual node what its pods do.
pub(crate) async fn deploy(
    client: &Client,
    namespace: &str,
    name: &str,
    tag: &str,
    replicas: i32,
) -> Api<Deployment> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let labels = json!({"app": name});
    let deployment = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": format!("app:{tag}")}]},
            },
        },
    }))
    .unwrap();
    deployments.create(&PostParams::default(), &deployment).await.unwrap();
    deployments
}

/// Holds once the Deployment has this many ready pods and no others.
pub(crate) fn is_ready(replicas: i32) -> impl Condition<Deployment> {
    move |deployment: Option<&Deployment>| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        status.is_some_and(|status| {
            status.ready_replicas == Some(replicas) && status.replicas == Some(replicas)
        })
    }
}

/// The pods with the label `app=<name>`, by name.
pub(crate) async fn pods(client: &Client, namespace: &str, app: &str) -> BTreeMap<String, Pod> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let listed = pods.list(&ListParams::default().labels(&format!("app={app}"))).await.unwrap();
    listed.items.into_iter().map(|pod| (pod.name_any(), pod)).collect()
}

/// Holds while a pod takes requests.
pub(crate) fn is_pod_ready(pod: Option<&Pod>) -> bool {
    let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
    conditions.is_some_and(|all| {
        all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}
