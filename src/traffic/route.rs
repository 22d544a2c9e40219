//! Objects that routers are configured by: their kinds, and those that are known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value, json};

use super::Subject;

/// Most characters of an object's name.
const NAME_LIMIT: usize = 253;

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
    /// `RouteGroup` of `zalando.org`.
    RouteGroup,
    /// `TraefikService` of `traefik.io`.
    TraefikService,
    /// `ApisixRoute` of `apisix.apache.org`.
    ApisixRoute,
    /// `TrafficSplit` of `split.smi-spec.io`.
    TrafficSplit,
    /// `Mapping` of `getambassador.io`.
    Mapping,
}

/// How a kind is called.
struct Names {
    kind: &'static str,
    group: &'static str,
    versions: &'static [&'static str],
    plural: &'static str,
    resource: &'static str,
}

macro_rules! names {
    ($kind:literal, $group:literal, $versions:expr, $plural:literal) => {
        Names {
            kind: $kind,
            group: $group,
            versions: $versions,
            plural: $plural,
            resource: concat!($plural, ".", $group),
        }
    };
}

impl RouteKind {
    /// All kinds.
    pub const ALL: [Self; 13] = [
        Self::Ingress,
        Self::VirtualService,
        Self::DestinationRule,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::TcpRoute,
        Self::TlsRoute,
        Self::HttpProxy,
        Self::RouteGroup,
        Self::TraefikService,
        Self::ApisixRoute,
        Self::TrafficSplit,
        Self::Mapping,
    ];

    const fn names(self) -> Names {
        match self {
            Self::Ingress => names!("Ingress", "networking.k8s.io", &["v1"], "ingresses"),
            Self::VirtualService => names!(
                "VirtualService",
                "networking.istio.io",
                &["v1", "v1beta1", "v1alpha3"],
                "virtualservices"
            ),
            Self::DestinationRule => names!(
                "DestinationRule",
                "networking.istio.io",
                &["v1", "v1beta1", "v1alpha3"],
                "destinationrules"
            ),
            Self::HttpRoute => {
                names!("HTTPRoute", "gateway.networking.k8s.io", &["v1", "v1beta1"], "httproutes")
            }
            Self::GrpcRoute => {
                names!("GRPCRoute", "gateway.networking.k8s.io", &["v1", "v1alpha2"], "grpcroutes")
            }
            Self::TcpRoute => {
                names!("TCPRoute", "gateway.networking.k8s.io", &["v1", "v1alpha2"], "tcproutes")
            }
            Self::TlsRoute => {
                names!("TLSRoute", "gateway.networking.k8s.io", &["v1", "v1alpha3", "v1alpha2"], "tlsroutes")
            }
            Self::HttpProxy => names!("HTTPProxy", "projectcontour.io", &["v1"], "httpproxies"),
            Self::RouteGroup => names!("RouteGroup", "zalando.org", &["v1"], "routegroups"),
            Self::TraefikService => names!("TraefikService", "traefik.io", &["v1alpha1"], "traefikservices"),
            Self::ApisixRoute => names!("ApisixRoute", "apisix.apache.org", &["v2"], "apisixroutes"),
            Self::TrafficSplit => names!(
                "TrafficSplit",
                "split.smi-spec.io",
                &["v1alpha4", "v1alpha3", "v1alpha2", "v1alpha1"],
                "trafficsplits"
            ),
            Self::Mapping => names!("Mapping", "getambassador.io", &["v3alpha1", "v2", "v1"], "mappings"),
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

    /// The name of an object that is made, cut off where it is longer than names may be.
    pub(super) fn made(kind: RouteKind, namespace: &str, name: &str) -> Self {
        let name: String = name.chars().take(NAME_LIMIT).collect();
        Self::new(kind, namespace, name.trim_end_matches(['-', '.']))
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
    /// Objects that are being deleted: nobody edits them any more, and routers may still follow them.
    pub going: BTreeSet<RouteName>,
    /// Kinds that have not been listed yet, so that nothing can be said about their objects.
    pub unlisted: BTreeSet<RouteKind>,
    /// Kinds that cannot be listed, with what is in the way.
    pub unreadable: BTreeMap<RouteKind, String>,
    /// In which version kinds are served, where it is known.
    pub versions: BTreeMap<RouteKind, String>,
    /// Objects of users with fields that are noted as ours since we changed them (`metadata.managedFields`).
    pub held: BTreeSet<RouteName>,
}

impl Routes {
    /// Adds an object; `None` for one that is being deleted.
    pub(crate) fn add(&mut self, name: RouteName, object: Option<Value>) {
        match object {
            Some(object) => drop(self.objects.insert(name, object)),
            None => drop(self.going.insert(name)),
        }
    }

    /// An object; `None` while there is none.
    #[must_use]
    pub fn get(&self, name: &RouteName) -> Option<&Value> {
        self.objects.get(name)
    }

    /// Whether an object may still be followed by a router; known only where its kind is.
    #[must_use]
    pub fn exists(&self, name: &RouteName) -> bool {
        self.objects.contains_key(name) || self.going.contains(name)
    }

    /// Whether every kind is known, so that an absent object does not exist.
    #[must_use]
    pub fn are_known(&self) -> bool {
        self.unlisted.is_empty() && self.unreadable.is_empty()
    }

    /// The version that objects of a kind have here; the one to prefer where that is not known.
    #[must_use]
    pub fn version(&self, kind: RouteKind) -> &str {
        let known = self.versions.get(&kind).map(String::as_str);
        known.or_else(|| kind.versions().first().copied()).unwrap_or_default()
    }

    /// Whether an object of this name exists that does not belong to the Rollout.
    pub(super) fn is_anothers(&self, name: &RouteName, rollout: &str) -> bool {
        self.get(name).is_some_and(|object| controller(object) != Controller::Rollout(rollout))
    }

    /// The Rollout's own object of this name as it is, or a new one; `None` where the name is another's, or where a new one
    /// would come after the Rollout is gone.
    pub(super) fn own(&self, name: &RouteName, subject: &Subject) -> Option<Value> {
        match self.get(name) {
            Some(known) => (!self.is_anothers(name, &subject.rollout)).then(|| known.clone()),
            None => (!subject.is_leaving).then(|| self.new_object(name, subject)),
        }
    }

    fn new_object(&self, name: &RouteName, subject: &Subject) -> Value {
        let mut object = json!({
            "apiVersion": format!("{}/{}", name.kind.group(), self.version(name.kind)),
            "kind": name.kind.as_str(),
        });
        take_over(&mut object, subject);
        object
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

/// Makes an object that nobody controls the Rollout's own.
pub(super) fn take_over(object: &mut Value, subject: &Subject) {
    let owner = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": subject.rollout, "uid": subject.uid,
        "controller": true, "blockOwnerDeletion": true,
    });
    let owners = items(object, &["metadata", "ownerReferences"]);
    let owners = owners.iter().cloned().chain([owner]).collect();
    set(object, &["metadata", "ownerReferences"], Some(Value::Array(owners)));
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
