//! How the objects that routers are configured by split requests. Pure: objects in, splits out.
//!
//! They are read as the documentation of their routers says, and not by what the controller reads them with: one mistake
//! would hide another. Every request is a `GET /` without headers that a route could ask for. Absent on purpose: objects
//! that lead to others of their kind, which lead nowhere here.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use kube::ResourceExt;
use kube::api::DynamicObject;
use regex::Regex;
use serde_json::Value;

use super::routes::Endpoint;
use crate::traffic::RouteKind;

/// The namespace of a route that names none.
const NAMESPACE: &str = "default";
/// What every request asks for.
const METHOD: &str = "GET";
const PATH: &str = "/";
/// Parts of a match that every request is in, whatever they say.
const ALWAYS: [&str; 3] = ["name", "ignoreUriCase", "withoutHeaders"];
/// The parts of the whole where a canary Ingress says nothing else.
const PERCENT: u64 = 100;
const NGINX: &str = "nginx.ingress.kubernetes.io";
const ALB: &str = "alb.ingress.kubernetes.io";

/// A kind of route whose weights are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Istio: the first HTTP route that takes a request, and subsets of its rules for destinations.
    VirtualService,
    /// NGINX, with its canary; and AWS load balancers, by their forward actions.
    Ingress,
    /// Traefik: a weighted one.
    TraefikService,
    /// SMI.
    TrafficSplit,
}

impl Kind {
    const ALL: [Self; 4] = [Self::VirtualService, Self::Ingress, Self::TraefikService, Self::TrafficSplit];

    fn object(self) -> RouteKind {
        match self {
            Self::VirtualService => RouteKind::VirtualService,
            Self::Ingress => RouteKind::Ingress,
            Self::TraefikService => RouteKind::TraefikService,
            Self::TrafficSplit => RouteKind::TrafficSplit,
        }
    }
}

/// A route that requests are sent to, written `<kind>/<name>` or `<kind>/<namespace>/<name>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteReference {
    kind: Kind,
    pub(super) namespace: String,
    name: String,
}

/// Why a text names no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteReferenceError {
    /// It has another form.
    #[error("write <kind>/<name> or <kind>/<namespace>/<name>, as in virtualservice/shop")]
    Form,
    /// It is of a kind whose weights are not known.
    #[error("requests cannot follow a {0:?}: use virtualservice, ingress, traefikservice or trafficsplit")]
    Kind(String),
}

impl FromStr for RouteReference {
    type Err = RouteReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let (kind, namespace, name) = match parts[..] {
            [kind, name] => (kind, NAMESPACE, name),
            [kind, namespace, name] => (kind, namespace, name),
            _ => return Err(RouteReferenceError::Form),
        };
        if namespace.is_empty() || name.is_empty() {
            return Err(RouteReferenceError::Form);
        }
        let is_it = |known: &Kind| known.object().as_str().eq_ignore_ascii_case(kind);
        let known = Kind::ALL.into_iter().find(is_it);
        let kind = known.ok_or_else(|| RouteReferenceError::Kind(kind.to_owned()))?;
        Ok(Self { kind, namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for RouteReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.object().as_str(), self.namespace, self.name)
    }
}

impl RouteReference {
    /// The kinds of the objects that say how it splits requests.
    pub(super) fn kinds(&self) -> Vec<RouteKind> {
        match self.kind {
            Kind::VirtualService => vec![RouteKind::VirtualService, RouteKind::DestinationRule],
            Kind::Ingress | Kind::TraefikService | Kind::TrafficSplit => vec![self.kind.object()],
        }
    }

    /// How it splits requests; `None` while there is no such object.
    #[must_use]
    pub fn split(&self, objects: &Objects) -> Option<Split> {
        let object =
            objects.of(self.kind.object(), &self.namespace).find(|object| object.name_any() == self.name)?;
        let backends = match self.kind {
            Kind::VirtualService => self.virtual_service(object, objects),
            Kind::Ingress => self.ingress(object, objects),
            Kind::TraefikService => self.traefik_service(object),
            Kind::TrafficSplit => {
                let of = |backend| self.backend(text(backend, "/service"), weight(backend, 0));
                list(&object.data, "/spec/backends").iter().map(of).collect()
            }
        };
        Some(Split { route: self.to_string(), backends })
    }

    /// A Service of the same namespace.
    fn backend(&self, service: &str, weight: u64) -> Backend {
        let service = format!("{}/{service}", self.namespace);
        Backend { service, weight, subset: Subset::Everyone }
    }

    fn virtual_service(&self, object: &DynamicObject, objects: &Objects) -> Vec<Backend> {
        let route = list(&object.data, "/spec/http").iter().find(|route| takes(route));
        let entries = route.map_or(&[][..], |route| list(route, "/route"));
        let backend = |entry: &Value| {
            let service = self.service_of(text(entry, "/destination/host"));
            let subset = match text(entry, "/destination/subset") {
                "" => Subset::Everyone,
                name => self.subset(objects, &service, name),
            };
            // The only one gets everything, whatever its weight.
            let weight = if entries.len() == 1 { 1 } else { weight(entry, 0) };
            Backend { service, weight, subset }
        };
        entries.iter().map(backend).collect()
    }

    /// The Service that a host is, by its short name or with its namespace.
    fn service_of(&self, host: &str) -> String {
        let mut parts = host.split('.');
        let name = parts.next().unwrap_or_default();
        format!("{}/{name}", parts.next().unwrap_or(&self.namespace))
    }

    fn subset(&self, objects: &Objects, service: &str, name: &str) -> Subset {
        let rules = objects.of(RouteKind::DestinationRule, &self.namespace);
        let rules = rules.filter(|rule| self.service_of(text(&rule.data, "/spec/host")) == service);
        let mut subsets = rules.flat_map(|rule| list(&rule.data, "/spec/subsets"));
        let Some(subset) = subsets.find(|subset| text(subset, "/name") == name) else {
            return Subset::Nobody;
        };
        let labels = subset.get("labels").and_then(Value::as_object).into_iter().flatten();
        let label =
            |(key, value): (&String, &Value)| (key.clone(), value.as_str().unwrap_or_default().to_owned());
        Subset::Labelled(labels.map(label).collect())
    }

    fn ingress(&self, object: &DynamicObject, objects: &Objects) -> Vec<Backend> {
        let Some((host, main)) = front(object) else { return vec![] };
        let main = self.forwards(object, main);
        let others = objects.of(RouteKind::Ingress, &self.namespace);
        let is_canary = |other: &&DynamicObject| annotation(other, NGINX, "canary") == Some("true");
        let canaries = others.filter(is_canary).filter_map(|other| Some((other, front(other)?)));
        let Some((canary, (_, backend))) = canaries.into_iter().find(|(_, (other, _))| *other == host) else {
            return main;
        };
        let number = |key, default| {
            annotation(canary, NGINX, key).map_or(Some(default), |number| number.parse::<u64>().ok())
        };
        let (Some(weight), Some(whole)) =
            (number("canary-weight", 0), number("canary-weight-total", PERCENT))
        else {
            return main;
        };
        let rest = main.into_iter().map(|main| Backend { weight: whole.saturating_sub(weight), ..main });
        rest.chain([self.backend(text(backend, "/service/name"), weight.min(whole))]).collect()
    }

    /// The Services behind a backend of an Ingress: more than one where an action of the load balancer says so.
    fn forwards(&self, object: &DynamicObject, backend: &Value) -> Vec<Backend> {
        let name = text(backend, "/service/name");
        if text(backend, "/service/port/name") != "use-annotation" {
            return vec![self.backend(name, 1)];
        }
        let action = annotation(object, ALB, &format!("actions.{name}")).unwrap_or_default();
        let action: Value = serde_json::from_str(action).unwrap_or_default();
        let groups = field(field(&action, "forwardConfig"), "targetGroups").as_array();
        let of = |group| {
            let service = field(group, "serviceName").as_str().unwrap_or_default();
            self.backend(service, field(group, "weight").as_u64().unwrap_or(1))
        };
        groups.into_iter().flatten().map(of).collect()
    }

    fn traefik_service(&self, object: &DynamicObject) -> Vec<Backend> {
        let backend = |entry: &Value| {
            let namespace = Some(text(entry, "/namespace")).filter(|namespace| !namespace.is_empty());
            let service = format!("{}/{}", namespace.unwrap_or(&self.namespace), text(entry, "/name"));
            let subset = match text(entry, "/kind") {
                "" | "Service" => Subset::Everyone,
                _ => Subset::Nobody,
            };
            Backend { service, weight: weight(entry, 1), subset }
        };
        list(&object.data, "/spec/weighted/services").iter().map(backend).collect()
    }
}

/// The objects that routes are made of.
#[derive(Clone, Debug, Default)]
pub struct Objects(pub Vec<(RouteKind, DynamicObject)>);

impl Objects {
    fn of<'a>(&'a self, kind: RouteKind, namespace: &'a str) -> impl Iterator<Item = &'a DynamicObject> {
        let is_it = move |(known, object): &&(RouteKind, DynamicObject)| {
            *known == kind && object.metadata.namespace.as_deref() == Some(namespace)
        };
        self.0.iter().filter(is_it).map(|(_, object)| object)
    }
}

/// How a route splits requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The route.
    pub route: String,
    /// Where it leads; nowhere without any weight.
    pub backends: Vec<Backend>,
}

/// Where a share of a route's requests goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// `<namespace>/<name>` of the Service.
    pub service: String,
    /// Its part of the sum of all weights.
    pub weight: u64,
    subset: Subset,
}

/// Which pods of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subset {
    Everyone,
    Labelled(BTreeMap<String, String>),
    /// Of a subset that nobody has defined.
    Nobody,
}

impl Backend {
    pub(super) fn takes(&self, endpoint: &Endpoint) -> bool {
        match &self.subset {
            Subset::Everyone => true,
            Subset::Labelled(labels) => {
                labels.iter().all(|(key, value)| endpoint.labels.get(key) == Some(value))
            }
            Subset::Nobody => false,
        }
    }
}

impl Split {
    /// The sum of the weights.
    pub(super) fn whole(&self) -> u64 {
        self.backends.iter().map(|backend| backend.weight).sum()
    }

    /// Where the request goes that has this number below the whole.
    pub(super) fn at(&self, number: u64) -> Option<&Backend> {
        let mut end = 0;
        self.backends.iter().find(|backend| {
            end += backend.weight;
            number < end
        })
    }
}

/// The host and the backend of the requests in the rules of an Ingress.
fn front(object: &DynamicObject) -> Option<(&str, &Value)> {
    let of_rule = |rule| {
        let path = list(rule, "/http/paths").iter().find(|path| text(path, "/path") == PATH)?;
        Some((text(rule, "/host"), path.get("backend")?))
    };
    list(&object.data, "/spec/rules").iter().find_map(of_rule)
}

/// Whether the requests are among those of an HTTP route of Istio.
fn takes(route: &Value) -> bool {
    let matches = list(route, "/match");
    let is_met = |(key, value): (&String, &Value)| match key.as_str() {
        "uri" => is_matched(value, PATH),
        "method" => is_matched(value, METHOD),
        other => ALWAYS.contains(&other),
    };
    matches.is_empty() || matches.iter().any(|found| found.as_object().into_iter().flatten().all(is_met))
}

/// Whether a match of Istio's takes a text.
fn is_matched(found: &Value, actual: &str) -> bool {
    let is_met = |(how, value): (&String, &Value)| {
        let value = value.as_str().unwrap_or_default();
        match how.as_str() {
            "exact" => actual == value,
            "prefix" => actual.starts_with(value),
            "regex" => Regex::new(&format!("^(?:{value})$")).is_ok_and(|regex| regex.is_match(actual)),
            _ => false,
        }
    };
    found.as_object().into_iter().flatten().all(is_met)
}

fn annotation<'a>(object: &'a DynamicObject, prefix: &str, key: &str) -> Option<&'a str> {
    object.annotations().get(&format!("{prefix}/{key}")).map(String::as_str)
}

/// A field of an action; their controller reads names in any case.
fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    let mut fields = value.as_object().into_iter().flatten();
    let found = fields.find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map_or(&Value::Null, |(_, value)| value)
}

fn weight(entry: &Value, default: u64) -> u64 {
    entry.get("weight").and_then(Value::as_u64).unwrap_or(default)
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects(all: &[Value]) -> Objects {
        let read = |object: &Value| {
            let kind = RouteKind::ALL.into_iter().find(|kind| object["kind"] == kind.as_str()).unwrap();
            let mut object = object.clone();
            object["apiVersion"] = json!("v1");
            object["metadata"]["namespace"] = json!("n");
            (kind, serde_json::from_value(object).unwrap())
        };
        Objects(all.iter().map(read).collect())
    }

    fn check(route: &str, all: &[Value], expected: &[(&str, u64)]) -> Split {
        let route: RouteReference = route.parse().unwrap();
        let split = route.split(&objects(all)).unwrap();
        let found: Vec<_> =
            split.backends.iter().map(|backend| (backend.service.as_str(), backend.weight)).collect();
        assert_eq!(found, expected);
        split
    }

    fn virtual_service(http: &Value) -> Value {
        json!({"kind": "VirtualService", "metadata": {"name": "shop"}, "spec": {"http": http}})
    }

    #[test]
    fn the_first_http_route_that_takes_the_request_splits_it() {
        let to = |host: &str, weight: u64| json!({"destination": {"host": host}, "weight": weight});
        let http = json!([
            {"match": [{"uri": {"prefix": "/docs"}}], "route": [to("docs", 100)]},
            {"match": [{"headers": {"x-tester": {"exact": "yes"}}}], "route": [to("canary", 100)]},
            {"match": [{"method": {"exact": "POST"}}, {"uri": {"regex": "/.*"}, "method": {"exact": "GET"}}],
             "route": [to("stable", 70), to("canary.other.svc.cluster.local", 30)]},
            {"route": [to("late", 100)]},
        ]);
        check("virtualservice/n/shop", &[virtual_service(&http)], &[("n/stable", 70), ("other/canary", 30)]);
        let only = json!([{"route": [to("stable", 0)]}]);
        check("VirtualService/n/shop", &[virtual_service(&only)], &[("n/stable", 1)]);
        check("virtualservice/n/shop", &[virtual_service(&json!([]))], &[]);
    }

    #[test]
    fn a_subset_is_the_pods_with_its_labels() {
        let to = |subset: &str| json!({"destination": {"host": "web", "subset": subset}, "weight": 50});
        let rule = json!({
            "kind": "DestinationRule", "metadata": {"name": "web"},
            "spec": {"host": "web.n.svc.cluster.local", "subsets": [{"name": "canary", "labels": {"hash": "new"}}]},
        });
        let all = [virtual_service(&json!([{"route": [to("canary"), to("missing")]}])), rule];
        let split = check("virtualservice/n/shop", &all, &[("n/web", 50), ("n/web", 50)]);
        let endpoint = |hash: &str| Endpoint {
            address: ([127, 0, 0, 1], 80).into(),
            revision: String::new(),
            labels: [("hash".to_owned(), hash.to_owned())].into(),
        };
        let takes = |hash| [0, 99].map(|number| split.at(number).unwrap().takes(&endpoint(hash)));
        assert_eq!((takes("new"), takes("old")), ([true, false], [false, false]));
    }

    #[test]
    fn a_canary_ingress_has_its_weight_of_the_rest() {
        let ingress = |name: &str, service: &str, annotations: &Value| {
            let backend = json!({"service": {"name": service, "port": {"number": 80}}});
            json!({
                "kind": "Ingress", "metadata": {"name": name, "annotations": annotations},
                "spec": {"rules": [{"host": "shop.example", "http": {"paths": [{"path": "/", "backend": backend}]}}]},
            })
        };
        let canary = |weight: &str| {
            let annotation = |key| format!("nginx.ingress.kubernetes.io/{key}");
            ingress(
                "c",
                "canary",
                &json!({
                    (annotation("canary")): "true", (annotation("canary-weight")): weight,
                    (annotation("canary-weight-total")): "1000",
                }),
            )
        };
        let stable = || ingress("shop", "stable", &json!({}));
        check("ingress/n/shop", &[stable()], &[("n/stable", 1)]);
        check("ingress/n/shop", &[canary("5"), stable()], &[("n/stable", 995), ("n/canary", 5)]);
        check("ingress/n/shop", &[canary("many"), stable()], &[("n/stable", 1)]);
    }

    #[test]
    fn an_action_of_a_load_balancer_splits_by_its_target_groups() {
        let action = json!({"type": "forward", "forwardConfig": {"targetGroups": [
            {"ServiceName": "stable", "ServicePort": "80", "Weight": 85}, {"serviceName": "canary", "weight": 15},
        ]}});
        let backend = json!({"service": {"name": "root", "port": {"name": "use-annotation"}}});
        let ingress = json!({
            "kind": "Ingress",
            "metadata": {"name": "shop", "annotations": {"alb.ingress.kubernetes.io/actions.root": action.to_string()}},
            "spec": {"rules": [{"http": {"paths": [{"path": "/", "backend": backend}]}}]},
        });
        check("ingress/n/shop", &[ingress], &[("n/stable", 85), ("n/canary", 15)]);
    }

    #[test]
    fn weighted_services_and_splits_say_it_in_lists() {
        let services = json!([{"name": "stable"}, {"name": "canary", "weight": 3, "kind": "Service"}]);
        let service = json!({
            "kind": "TraefikService", "metadata": {"name": "shop"}, "spec": {"weighted": {"services": services}},
        });
        check("traefikservice/n/shop", &[service], &[("n/stable", 1), ("n/canary", 3)]);
        let split = json!({
            "kind": "TrafficSplit", "metadata": {"name": "shop"},
            "spec": {"backends": [{"service": "canary", "weight": 0}, {"service": "stable", "weight": 100}]},
        });
        let split = check("trafficsplit/n/shop", &[split], &[("n/canary", 0), ("n/stable", 100)]);
        assert_eq!(
            (split.whole(), split.at(0).unwrap().service.as_str(), split.at(100)),
            (100, "n/stable", None)
        );
    }

    #[test]
    fn a_route_is_named_by_kind_and_name() {
        let parsed = |text: &str| text.parse::<RouteReference>().map(|route| route.to_string());
        assert_eq!(parsed("virtualservice/shop").unwrap(), "VirtualService default/shop");
        assert_eq!(parsed("TrafficSplit/n/shop").unwrap(), "TrafficSplit n/shop");
        for text in ["shop", "ingress/", "ingress/n/", "a/b/c/d"] {
            assert_eq!(parsed(text), Err(RouteReferenceError::Form), "{text}");
        }
        assert_eq!(parsed("service/shop"), Err(RouteReferenceError::Kind("service".to_owned())));
    }
}
