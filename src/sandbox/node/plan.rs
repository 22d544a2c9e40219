//! What a pod of the virtual node does: asked of a [`Workload`], answered as a [`PodPlan`].

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

/// What runs in the pods.
pub trait Workload: Send + Sync + 'static {
    /// Starts the pod and says what will become of it. Called once per pod, after it was bound to the node; calls for
    /// different pods overlap. It may wait, for example for a socket; the pod stays `Pending` meanwhile.
    fn start(&self, pod: &Pod) -> impl Future<Output = PodPlan> + Send;

    /// Returns when the pod with this `metadata.uid`, which is being deleted, has no more work; it serves until then. The
    /// node waits for the grace period of the pod at most.
    fn drained(&self, uid: &str) -> impl Future<Output = ()> + Send {
        let _ = uid;
        std::future::ready(())
    }

    /// Ends the pod with this `metadata.uid`; it need not have been started. Called at least once for every pod, just
    /// before its object goes away.
    fn stop(&self, uid: &str);
}

/// The life of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlan {
    /// The pod's address, as its status shows it.
    pub ip: IpAddr,
    /// From the start of the containers, also after a restart, until they are ready. Zero is ready at once.
    pub ready_after: Duration,
    /// How it goes on.
    pub outcome: Outcome,
}

impl PodPlan {
    /// A pod that serves at `ip` once it is ready.
    #[must_use]
    pub fn serving(ip: IpAddr, ready_after: Duration) -> Self {
        Self { ip, ready_after, outcome: Outcome::Serves }
    }
}

/// What becomes of a pod's containers; all of them do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They run until the pod is deleted.
    Serves,
    /// They run, but never become ready.
    NeverReady,
    /// They end by themselves, ready before that if `ready_after` is shorter than `after`. The pod's `restartPolicy`
    /// says whether they start again; the first time at once, then after a growing delay in `CrashLoopBackOff`.
    Exits {
        /// From the start of the containers until they end.
        after: Duration,
        /// Exit code, 0 is success.
        code: i32,
        /// Restarts, after which they stay in `CrashLoopBackOff`.
        restarts: u32,
    },
    /// Their image cannot be pulled: the pod stays `Pending`.
    ImagePullBackOff,
}

impl Outcome {
    /// Containers that crash `after` each start, as often as they are started.
    #[must_use]
    pub fn crashes(after: Duration) -> Self {
        Self::Exits { after, code: 1, restarts: u32::MAX }
    }
}
