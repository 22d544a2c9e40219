//! Objects that routers are configured by: their kinds, and those that are known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

/// A kind of object that routes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// `Ingress` of `networking.k8s.io`.
    Ingress,
    /// `VirtualService` of `networking.istio.io`.
    VirtualService,
    /// `DestinationRule` of `networking.istio.io`.
    DestinationRule,
    /// `HTTPRoute` of `gateway.networking.k8s.io`.
    HttpRoute,
    /// `GRPCRoute` of `gateway.networking.k8s.io`.
    GrpcRoute,
    /// `TCPRoute` of `gateway.networking.k8s.io`.
    TcpRoute,
    /// `TLSRoute` of `gateway.networking.k8s.io`.
    TlsRoute,
    /// `HTTPProxy` of `projectcontour.io`.
    HttpProxy,
    /// `TraefikService` of `traefik.io`.
    TraefikService,
    /// `ApisixRoute` of `apisix.apache.org`.
    ApisixRoute,
    /// `TrafficSplit` of `split.smi-spec.io`.
    TrafficSplit,
    /// `Mapping` of `getambassador.io`.
    Mapping,
    /// `VirtualService` of `appmesh.k8s.aws`.
    AppMeshVirtualService,
    /// `VirtualRouter` of `appmesh.k8s.aws`.
    AppMeshVirtualRouter,
    /// `VirtualNode` of `appmesh.k8s.aws`.
    AppMeshVirtualNode,
}

/// How a kind is called.
struct Names {
    kind: &'static str,
    group: &'static str,
    versions: &'static [&'static str],
    plural: &'static str,
    resource: &'static str,
}

impl RouteKind {
    /// All kinds.
    pub const ALL: [Self; 15] = [
        Self::Ingress,
        Self::VirtualService,
        Self::DestinationRule,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::TcpRoute,
        Self::TlsRoute,
        Self::HttpProxy,
        Self::TraefikService,
        Self::ApisixRoute,
        Self::TrafficSplit,
        Self::Mapping,
        Self::AppMeshVirtualService,
        Self::AppMeshVirtualRouter,
        Self::AppMeshVirtualNode,
    ];

    const fn names(self) -> Names {
        match self {
            Self::Ingress => Names {
                kind: "Ingress",
                group: "networking.k8s.io",
                versions: &["v1"],
                plural: "ingresses",
                resource: "ingresses.networking.k8s.io",
            },
            Self::VirtualService => Names {
                kind: "VirtualService",
                group: "networking.istio.io",
                versions: &["v1", "v1beta1", "v1alpha3"],
                plural: "virtualservices",
                resource: "virtualservices.networking.istio.io",
            },
            Self::DestinationRule => Names {
                kind: "DestinationRule",
                group: "networking.istio.io",
                versions: &["v1", "v1beta1", "v1alpha3"],
                plural: "destinationrules",
                resource: "destinationrules.networking.istio.io",
            },
            Self::HttpRoute => Names {
                kind: "HTTPRoute",
                group: "gateway.networking.k8s.io",
                versions: &["v1", "v1beta1"],
                plural: "httproutes",
                resource: "httproutes.gateway.networking.k8s.io",
            },
            Self::GrpcRoute => Names {
                kind: "GRPCRoute",
                group: "gateway.networking.k8s.io",
                versions: &["v1", "v1alpha2"],
                plural: "grpcroutes",
                resource: "grpcroutes.gateway.networking.k8s.io",
            },
            Self::TcpRoute => Names {
                kind: "TCPRoute",
                group: "gateway.networking.k8s.io",
                versions: &["v1", "v1alpha2"],
                plural: "tcproutes",
                resource: "tcproutes.gateway.networking.k8s.io",
            },
            Self::TlsRoute => Names {
                kind: "TLSRoute",
                group: "gateway.networking.k8s.io",
                versions: &["v1", "v1alpha3", "v1alpha2"],
                plural: "tlsroutes",
                resource: "tlsroutes.gateway.networking.k8s.io",
            },
            Self::HttpProxy => Names {
                kind: "HTTPProxy",
                group: "projectcontour.io",
                versions: &["v1"],
                plural: "httpproxies",
                resource: "httpproxies.projectcontour.io",
            },
            Self::TraefikService => Names {
                kind: "TraefikService",
                group: "traefik.io",
                versions: &["v1alpha1"],
                plural: "traefikservices",
                resource: "traefikservices.traefik.io",
            },
            Self::ApisixRoute => Names {
                kind: "ApisixRoute",
                group: "apisix.apache.org",
                versions: &["v2"],
                plural: "apisixroutes",
                resource: "apisixroutes.apisix.apache.org",
            },
            Self::TrafficSplit => Names {
                kind: "TrafficSplit",
                group: "split.smi-spec.io",
                versions: &["v1alpha4", "v1alpha3", "v1alpha2", "v1alpha1"],
                plural: "trafficsplits",
                resource: "trafficsplits.split.smi-spec.io",
            },
            Self::Mapping => Names {
                kind: "Mapping",
                group: "getambassador.io",
                versions: &["v3alpha1", "v2"],
                plural: "mappings",
                resource: "mappings.getambassador.io",
            },
            Self::AppMeshVirtualService => Names {
                kind: "VirtualService",
                group: "appmesh.k8s.aws",
                versions: &["v1beta2"],
                plural: "virtualservices",
                resource: "virtualservices.appmesh.k8s.aws",
            },
            Self::AppMeshVirtualRouter => Names {
                kind: "VirtualRouter",
                group: "appmesh.k8s.aws",
                versions: &["v1beta2"],
                plural: "virtualrouters",
                resource: "virtualrouters.appmesh.k8s.aws",
            },
            Self::AppMeshVirtualNode => Names {
                kind: "VirtualNode",
                group: "appmesh.k8s.aws",
                versions: &["v1beta2"],
                plural: "virtualnodes",
                resource: "virtualnodes.appmesh.k8s.aws",
            },
        }
    }

    /// Its name as a manifest writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.names().kind
    }

    /// Its API group.
    #[must_use]
    pub const fn group(self) -> &'static str {
        self.names().group
    }

    /// Its API versions, the one to prefer first; a cluster may serve any of them.
    #[must_use]
    pub const fn versions(self) -> &'static [&'static str] {
        self.names().versions
    }

    /// Its plural, as in URLs.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        self.names().plural
    }

    /// Its name as a CustomResourceDefinition is named.
    #[must_use]
    pub const fn resource(self) -> &'static str {
        self.names().resource
    }
}

/// An object that routes traffic, by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteName {
    /// Its kind.
    pub kind: RouteKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl RouteName {
    /// The name of an object.
    #[must_use]
    pub fn new(kind: RouteKind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// Objects that a router looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// One object, which need not exist.
    One(RouteName),
    /// Every object of a kind in a namespace.
    All {
        /// The kind.
        kind: RouteKind,
        /// The namespace.
        namespace: String,
    },
}

impl Need {
    /// The kind of the objects.
    #[must_use]
    pub const fn kind(&self) -> RouteKind {
        match self {
            Self::One(name) => name.kind,
            Self::All { kind, .. } => *kind,
        }
    }

    /// Whether an object is among those that are needed.
    #[must_use]
    pub fn covers(&self, name: &RouteName) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::All { kind, namespace } => (*kind, namespace) == (name.kind, &name.namespace),
        }
    }
}

/// The objects that a router needs, as far as they are known. A router changes traffic by editing them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    /// Objects as the API server shows them; one that does not exist is absent.
    pub objects: BTreeMap<RouteName, Value>,
    /// Kinds that have not been listed yet, so that nothing can be said about their objects.
    pub unlisted: BTreeSet<RouteKind>,
    /// Kinds that cannot be listed, with what is in the way.
    pub unreadable: BTreeMap<RouteKind, String>,
}

impl Routes {
    /// An object; `None` while there is none.
    #[must_use]
    pub fn get(&self, name: &RouteName) -> Option<&Value> {
        self.objects.get(name)
    }

    /// Whether every kind is known, so that an absent object does not exist.
    #[must_use]
    pub fn are_known(&self) -> bool {
        self.unlisted.is_empty() && self.unreadable.is_empty()
    }

    /// Edits an object that exists.
    pub fn edit(&mut self, name: &RouteName, edit: impl FnOnce(&mut Value)) {
        if let Some(object) = self.objects.get_mut(name) {
            edit(object);
        }
    }
}

/// What is at `path`; null where there is nothing.
pub(super) fn at<'a>(object: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().try_fold(object, |found, key| found.get(key)).unwrap_or(&Value::Null)
}

/// The text at `path`; empty where there is none.
pub(super) fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    at(object, path).as_str().unwrap_or_default()
}

/// The items of the list at `path`; none where there is none.
pub(super) fn items<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path).as_array().map_or(&[], Vec::as_slice)
}

/// Sets the field at `path`, or removes it. Objects on the way are made, and anything else there gives way to one.
pub fn set(object: &mut Value, path: &[&str], value: Option<Value>) {
    let Some((field, rest)) = path.split_first() else { return };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Some(fields) = object.as_object_mut() else { return };
    match (rest.is_empty(), value) {
        (true, Some(value)) => drop(fields.insert((*field).to_owned(), value)),
        (true, None) => drop(fields.remove(*field)),
        (false, value) => set(fields.entry(*field).or_insert(Value::Null), rest, value),
    }
}

/// Who controls an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller<'a> {
    /// Nobody.
    Nobody,
    /// The Rollout of this name.
    Rollout(&'a str),
    /// Something else.
    Other,
}

/// Who controls an object.
pub(super) fn controller(object: &Value) -> Controller<'_> {
    let owners = items(object, &["metadata", "ownerReferences"]);
    let Some(owner) = owners.iter().find(|owner| at(owner, &["controller"]) == true) else {
        return Controller::Nobody;
    };
    let is_rollout =
        text(owner, &["kind"]) == "Rollout" && text(owner, &["apiVersion"]).starts_with("argoproj.io/");
    if is_rollout { Controller::Rollout(text(owner, &["name"])) } else { Controller::Other }
}
