//! The command lines of etcd, the API server and the controller manager.
//!
//! Limits are raised so far that none of them is what a benchmark measures. Left out is what nothing here uses: the
//! scheduler, admission plugins that need watches of their own, the endpoints of the API server itself, and durability.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::ControlPlaneOptions;

/// The controllers that run: what owns pods, what cleans up, and what tests of delivery look at.
///
/// `endpointslice-controller` is not among them: it would retry without end to publish pods on loopback addresses, which
/// the API server refuses. HPAs and the life cycle of nodes have no input here either. `ControlPlaneOptions` can
/// add to them.
const CONTROLLERS: &str = "garbage-collector-controller,namespace-controller,serviceaccount-controller,\
    serviceaccount-token-controller,clusterrole-aggregation-controller,replicaset-controller,deployment-controller,\
    statefulset-controller,job-controller,cronjob-controller,disruption-controller";

/// Admission plugins that are off. `ServiceAccount` would make the first pods of a namespace wait for its account.
const DISABLED_ADMISSION: &str = "ServiceAccount,LimitRanger,ResourceQuota,DefaultTolerationSeconds,\
    MutatingAdmissionWebhook,ValidatingAdmissionWebhook,MutatingAdmissionPolicy,ValidatingAdmissionPolicy";

/// Where the processes of one control plane listen, all on loopback.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) etcd: u16,
    pub(super) etcd_peer: u16,
    pub(super) api_server: u16,
}

impl Ports {
    pub(super) fn etcd_address(self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.etcd))
    }
}

/// Whether the API server writes down every request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audit {
    /// Nothing is written.
    #[default]
    Off,
    /// One JSON line per finished request and per watch that begins, with user, verb, object and response code, in
    /// `audit.log` of the state folder.
    Requests,
}

/// Files in the state folder that several processes read.
pub(super) mod file {
    pub(crate) const AUTHORITY: &str = "authority.pem";
    pub(crate) const SERVER_CERTIFICATE: &str = "server.pem";
    pub(crate) const SERVER_KEY: &str = "server-key.pem";
    pub(crate) const TOKEN_KEY: &str = "token-key.pem";
    pub(crate) const TOKEN_PUBLIC_KEY: &str = "token-public-key.pem";
    pub(crate) const KUBECONFIG: &str = "kubeconfig";
    pub(crate) const AUDIT_POLICY: &str = "audit-policy.yaml";
    pub(crate) const AUDIT_LOG: &str = "audit.log";
}

/// Every finished request, and every watch as it begins, without bodies.
pub(super) const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\n\
    omitStages: [RequestReceived]\nrules:\n- level: Metadata\n";

/// Arguments of etcd.
pub(super) fn etcd(state: &Path, ports: Ports) -> Vec<String> {
    let client = format!("http://127.0.0.1:{}", ports.etcd);
    let peer = format!("http://127.0.0.1:{}", ports.etcd_peer);
    vec![
        option("data-dir", state.join("etcd").display()),
        option("listen-client-urls", &client),
        option("advertise-client-urls", &client),
        option("listen-peer-urls", &peer),
        option("initial-advertise-peer-urls", &peer),
        option("initial-cluster", format!("default={peer}")),
        // Its ports are held for it, see `HeldPorts`.
        option("socket-reuse-port", true),
        // Lost with the machine's power, which takes the sandbox along anyway.
        option("unsafe-no-fsync", true),
        option("log-level", "warn"),
        // A single member elects itself: no reason to wait the usual second for others.
        option("heartbeat-interval", 50),
        option("election-timeout", 250),
        option("snapshot-count", 50_000),
        option("watch-progress-notify-interval", "5s"),
    ]
}

/// Arguments of the API server.
pub(super) fn api_server(state: &Path, ports: Ports, options: &ControlPlaneOptions) -> Vec<String> {
    let in_state = |name: &str| state.join(name).display().to_string();
    let mut arguments = vec![
        option("etcd-servers", format!("http://127.0.0.1:{}", ports.etcd)),
        option("bind-address", "127.0.0.1"),
        // Nobody is told; without it, a machine that is offline has no address to tell and the server ends.
        option("advertise-address", "127.0.0.1"),
        option("secure-port", ports.api_server),
        option("permit-port-sharing", true),
        option("tls-cert-file", in_state(file::SERVER_CERTIFICATE)),
        option("tls-private-key-file", in_state(file::SERVER_KEY)),
        option("client-ca-file", in_state(file::AUTHORITY)),
        option("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
        option("service-account-signing-key-file", in_state(file::TOKEN_KEY)),
        option("service-account-key-file", in_state(file::TOKEN_PUBLIC_KEY)),
        option("authorization-mode", "RBAC"),
        option("service-cluster-ip-range", "10.96.0.0/16"),
        option("endpoint-reconciler-type", "none"),
        option("disable-admission-plugins", DISABLED_ADMISSION),
        // Stricter clusters have it: whoever sets `blockOwnerDeletion` must be allowed to change the owner's finalizers.
        option("enable-admission-plugins", "OwnerReferencesPermissionEnforcement"),
        option("max-requests-inflight", 3000),
        option("max-mutating-requests-inflight", 1500),
        option("profiling", false),
    ];
    arguments.extend(options.more_arguments.iter().cloned());
    if options.audit == Audit::Requests {
        arguments.push(option("audit-policy-file", in_state(file::AUDIT_POLICY)));
        arguments.push(option("audit-log-path", in_state(file::AUDIT_LOG)));
    }
    arguments
}

/// Arguments of the controller manager.
pub(super) fn controller_manager(
    state: &Path,
    more_controllers: &[String],
    endpoints_wait: Duration,
) -> Vec<String> {
    let in_state = |name: &str| state.join(name).display().to_string();
    let controllers = more_controllers.iter().fold(CONTROLLERS.to_owned(), |all, name| all + "," + name);
    let mut arguments = vec![
        option("kubeconfig", in_state(file::KUBECONFIG)),
        option("controllers", controllers),
        option("service-account-private-key-file", in_state(file::TOKEN_KEY)),
        option("root-ca-file", in_state(file::AUTHORITY)),
        option("leader-elect", false),
        option("endpointslice-updates-batch-period", format!("{}ms", endpoints_wait.as_millis())),
        // It serves nothing, so it needs no port.
        option("secure-port", 0),
        option("kube-api-qps", 5000),
        option("kube-api-burst", 10000),
        option("profiling", false),
    ];
    for queue in ["replicaset", "deployment", "gc", "namespace", "serviceaccount-token", "statefulset", "job"]
    {
        arguments.push(option(&format!("concurrent-{queue}-syncs"), 50));
    }
    arguments
}

fn option(name: &str, value: impl Display) -> String {
    format!("--{name}={value}")
}
