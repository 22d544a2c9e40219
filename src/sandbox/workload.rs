//! What runs in the pods of the sandbox: applications that really serve HTTP, each on a loopback address of its own.
//!
//! Linux accepts a listener on any address of 127.0.0.0/8 without setup, so every pod has an address that differs from
//! every other pod's and the same port, as in a cluster. All of them are tasks of this process; a pod costs a listener.
//! The [`behaviour`] is named by the image's tag.

pub mod behaviour;
mod server;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::net::TcpListener;

use self::behaviour::{Behaviour, Start};
use self::server::Server;
use super::node::{Outcome, PodPlan, Workload};

/// The first half of the addresses of all pods.
pub type Network = [u8; 2];

/// The port of a pod that declares none.
pub const DEFAULT_PORT: u16 = 8080;
/// Pods get addresses in 127.20.0.0/16; other ranges stay free for other uses.
pub const LOOPBACK: Network = [127, 20];
/// Addresses tried for one pod. Those of other sandboxes on the machine are taken, and more than a few in a row only
/// when some program holds the port on every address.
const ATTEMPTS: u16 = 64;
/// From the start of a container whose tag says `crash` until it ends.
const CRASHES_AFTER: Duration = Duration::from_millis(200);

/// Why an application cannot listen.
#[derive(Debug, thiserror::Error)]
enum ListenError {
    /// No address has the port free.
    #[error(
        "port {port} is taken on {ATTEMPTS} addresses from {first} on; a program that listens on 0.0.0.0:{port} takes \
         it on all"
    )]
    PortTaken { port: u16, first: Ipv4Addr },
    /// Listening failed for another reason.
    #[error("listening on {address}: {source}")]
    Other { address: SocketAddr, source: io::Error },
}

/// The applications of all running pods, by the pod's uid. The sandbox' node starts and stops them.
#[derive(Debug)]
pub struct Applications {
    starts_after: Duration,
    network: Network,
    running: Mutex<BTreeMap<String, Server>>,
}

impl Default for Applications {
    /// Pods take a second to become ready, as long as a small service needs until its first probe.
    fn default() -> Self {
        Self::starting_after(Duration::from_secs(1))
    }
}

impl Workload for Applications {
    async fn start(&self, pod: &Pod) -> PodPlan {
        let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
        // A pod that does not serve has an address as well.
        let silent = PodPlan::serving(IpAddr::V4(pod_address(self.network, &uid, 0)), Duration::ZERO);
        let behaviour = match Behaviour::of_image(image(pod)) {
            Ok(behaviour) => behaviour,
            Err(error) => {
                tracing::warn!(pod = name, %error, "no such image");
                return PodPlan { outcome: Outcome::ImagePullBackOff, ..silent };
            }
        };
        let outcome = match behaviour.start {
            Start::ImageMissing => Outcome::ImagePullBackOff,
            Start::Crash => Outcome::crashes(CRASHES_AFTER),
            Start::NeverReady => Outcome::NeverReady,
            Start::Usual => return self.serve(pod, &uid, behaviour, self.starts_after, silent).await,
            Start::ReadyAfter(delay) => return self.serve(pod, &uid, behaviour, delay, silent).await,
        };
        // Ready later than it crashes, so never.
        PodPlan { outcome, ready_after: CRASHES_AFTER, ..silent }
    }

    /// A pod that is being deleted serves on until no request comes any more: clients need not have heard of the deletion
    /// yet. A well-kept service has a `preStop` hook for the same reason.
    async fn drained(&self, uid: &str) {
        let drain = self.lock().get(uid).map(Server::drain);
        if let Some(drain) = drain {
            drain.await;
        }
    }

    fn stop(&self, uid: &str) {
        drop(self.lock().remove(uid));
    }
}

impl Applications {
    /// Applications whose pods become ready `delay` after their start, unless their tag says otherwise.
    #[must_use]
    pub fn starting_after(delay: Duration) -> Self {
        Self { starts_after: delay, network: LOOPBACK, running: Mutex::default() }
    }

    /// The same with addresses of another network, all of which this machine has to have: objects of Kubernetes take no
    /// loopback addresses, so a proxy that reads them needs pods elsewhere.
    #[must_use]
    pub fn on(self, network: Network) -> Self {
        Self { network, ..self }
    }

    async fn serve(
        &self,
        pod: &Pod,
        uid: &str,
        behaviour: Behaviour,
        delay: Duration,
        silent: PodPlan,
    ) -> PodPlan {
        match listen(self.network, uid, port(pod)).await {
            Ok((listener, address)) => {
                let server = Server::start(listener, address, &greeting(pod), behaviour);
                self.lock().insert(uid.to_owned(), server);
                PodPlan::serving(address.ip(), delay)
            }
            Err(error) => {
                tracing::error!(pod = pod.name_any(), %error, "the demo application cannot listen");
                PodPlan { outcome: Outcome::NeverReady, ..silent }
            }
        }
    }

    /// Where the application of a pod listens; `None` when none runs.
    #[must_use]
    pub fn address(&self, uid: &str) -> Option<SocketAddr> {
        self.lock().get(uid).map(Server::address)
    }

    /// How many applications run.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Server>> {
        // The map is whole after every statement that changes it.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The image of a pod's first container, which is the one that matters here.
#[must_use]
pub fn image(pod: &Pod) -> &str {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    containers.first().and_then(|container| container.image.as_deref()).unwrap_or_default()
}

/// The port a pod serves on: the first that its first container declares.
#[must_use]
pub fn port(pod: &Pod) -> u16 {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let ports = containers.first().and_then(|container| container.ports.as_deref()).unwrap_or_default();
    ports.first().and_then(|port| u16::try_from(port.container_port).ok()).unwrap_or(DEFAULT_PORT)
}

/// A port that pods can serve on: the usual one, or one of the next few when a program of this machine holds it on every
/// address. Manifests that name a port of their own need that one.
#[must_use]
pub fn free_port() -> u16 {
    let [first, second] = LOOPBACK;
    let probe = Ipv4Addr::new(first, second, u8::MAX, u8::MAX);
    let is_free = |port: &u16| std::net::TcpListener::bind((probe, *port)).is_ok();
    (DEFAULT_PORT..DEFAULT_PORT + ATTEMPTS).find(is_free).unwrap_or(DEFAULT_PORT)
}

fn greeting(pod: &Pod) -> String {
    format!("{} {}", pod.metadata.name.as_deref().unwrap_or_default(), behaviour::tag(image(pod)))
}

/// Listens on the first free address of the pod's series.
async fn listen(network: Network, uid: &str, port: u16) -> Result<(TcpListener, SocketAddr), ListenError> {
    for attempt in 0..ATTEMPTS {
        let address = SocketAddr::from((pod_address(network, uid, attempt), port));
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok((listener, address)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => return Err(ListenError::Other { address, source }),
        }
    }
    Err(ListenError::PortTaken { port, first: pod_address(network, uid, 0) })
}

/// The address of a pod at the given attempt. It depends on the uid alone, so that pods of several sandboxes on one
/// machine rarely meet; a last byte of 0 or 255 is left out for clarity's sake.
fn pod_address(network: Network, uid: &str, attempt: u16) -> Ipv4Addr {
    // FNV-1a, spread well enough over two bytes by folding the halves together.
    let hash =
        uid.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    let number = u32::from(u16::from_be_bytes([a ^ c, b ^ d]).wrapping_add(attempt));
    let high = u8::try_from(number / 254 % 256).unwrap_or_default();
    let low = u8::try_from(number % 254 + 1).unwrap_or(1);
    let [first, second] = network;
    Ipv4Addr::new(first, second, high, low)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_stay_in_the_network_and_attempts_differ() {
        let mut seen = BTreeSet::new();
        for attempt in 0..ATTEMPTS {
            let [a, b, _, d] = pod_address(LOOPBACK, "0f3c-uid", attempt).octets();
            assert_eq!([a, b], LOOPBACK);
            assert!((1..=254).contains(&d));
            seen.insert(pod_address(LOOPBACK, "0f3c-uid", attempt));
        }
        assert_eq!(seen.len(), usize::from(ATTEMPTS));
    }

    #[test]
    fn few_of_many_pods_meet_at_their_first_attempt() {
        let first: BTreeSet<_> =
            (0..1000).map(|pod| pod_address(LOOPBACK, &format!("uid-{pod:04}"), 0)).collect();
        assert!(first.len() > 950, "{}", first.len());
    }

    #[test]
    fn the_port_is_the_first_that_the_pod_declares() {
        let pod = |containers: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"spec": {"containers": containers}})).unwrap()
        };
        let declared = json!([{"name": "a", "ports": [{"containerPort": 9000}, {"containerPort": 9001}]}]);
        assert_eq!(port(&pod(declared)), 9000);
        assert_eq!(port(&pod(json!([{"name": "a"}]))), DEFAULT_PORT);
        assert_eq!(port(&Pod::default()), DEFAULT_PORT);
    }
}
