//! Which routes of a VirtualService are edited.

use std::collections::BTreeSet;

use serde_json::Value;

use super::roles::Roles;
use crate::api::traffic_routing::{IstioVirtualService, TcpRoute, TlsRoute};
use crate::traffic::route::{at, items, text};
use crate::traffic::{RouteKind, RouteName, Subject};

/// A VirtualService, and which of its routes are meant.
#[derive(Debug)]
pub(super) struct Chosen {
    /// The field that names it.
    pub(super) field: String,
    /// Its name.
    pub(super) route: RouteName,
    http: Vec<String>,
    tls: Vec<TlsRoute>,
    tcp: Vec<TcpRoute>,
    /// The names of routes that are the steps' to make.
    pub(super) made: Vec<String>,
}

/// Lists of routes in a VirtualService.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum List {
    Http,
    Tls,
    Tcp,
}

impl List {
    const ALL: [Self; 3] = [Self::Http, Self::Tls, Self::Tcp];

    /// Its field below `spec`.
    pub(super) const fn field(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
        }
    }

    /// The field of the Rollout that names routes of it.
    const fn chooser(self) -> &'static str {
        match self {
            Self::Http => "routes",
            Self::Tls => "tlsRoutes",
            Self::Tcp => "tcpRoutes",
        }
    }

    /// The routes in it.
    pub(super) fn of(self, object: &Value) -> &[Value] {
        items(object, &["spec", self.field()])
    }
}

/// A route in a VirtualService: its list, and its position there.
pub(super) type Place = (List, usize);

impl Chosen {
    /// What a field of the Rollout says; the VirtualService may be in another namespace than the Rollout's.
    pub(super) fn read(field: String, spec: &IstioVirtualService, subject: &Subject) -> Self {
        let is_chosen = |name: &&String| spec.routes.as_ref().is_some_and(|routes| routes.contains(name));
        Self {
            field,
            route: route(&spec.name, &subject.namespace),
            http: spec.routes.clone().unwrap_or_default(),
            tls: spec.tls_routes.clone().unwrap_or_default(),
            tcp: spec.tcp_routes.clone().unwrap_or_default(),
            made: subject.managed_names.iter().filter(|name| !is_chosen(name)).cloned().collect(),
        }
    }

    /// A route that is meant and has the name of one that steps make.
    pub(super) fn ambiguous<'a>(&'a self, subject: &Subject) -> Option<&'a str> {
        self.http
            .iter()
            .map(String::as_str)
            .find(|name| subject.managed_names.iter().any(|made| made == name))
    }

    /// The roles' destinations that an HTTP route leads and mirrors to as those do that steps make; none for another route.
    /// The name alone may be one that a user chose.
    pub(super) fn made_for<'v>(&self, roles: Roles<'_>, route: &'v Value) -> Vec<&'v Value> {
        if self.made.iter().all(|name| name != text(route, &["name"])) {
            return vec![];
        }
        let led = match items(route, &["route"]) {
            [entry] if asks_for_headers(route) => Some(at(entry, &["destination"])),
            _ => None,
        };
        let mirrors = items(route, &["mirrors"]).iter().map(|mirror| at(mirror, &["destination"]));
        let all = led.into_iter().chain(mirrors).chain([at(route, &["mirror"])]);
        all.filter(|destination| roles.of(destination).is_some()).collect()
    }

    /// The routes that are meant, apart from those that steps make.
    ///
    /// # Errors
    /// What is wrong when it is not clear which are.
    pub(super) fn places(&self, object: &Value, roles: Roles<'_>) -> Result<Vec<Place>, String> {
        let chosen = if self.http.is_empty() && self.tls.is_empty() && self.tcp.is_empty() {
            self.only(object, roles)?
        } else {
            let http = self.http.iter().map(|name| self.by_name(object, name));
            let tls = self.tls.iter().map(|wanted| self.by_match(object, List::Tls, |m| is_tls(wanted, m)));
            let tcp = self.tcp.iter().map(|wanted| {
                self.by_match(object, List::Tcp, |found| wanted.port.is_none_or(|port| has_port(port, found)))
            });
            http.chain(tls).chain(tcp).collect::<Result<Vec<_>, _>>()?.concat()
        };
        let chosen: BTreeSet<_> = chosen.into_iter().collect();
        Ok(chosen.into_iter().collect())
    }

    /// Without a choice, each list has one route at most.
    fn only(&self, object: &Value, roles: Roles<'_>) -> Result<Vec<Place>, String> {
        let mut places = Vec::new();
        for list in List::ALL {
            let routes = list.of(object).iter().enumerate();
            let mut routes =
                routes.filter(|(_, route)| list != List::Http || self.made_for(roles, route).is_empty());
            places.extend(routes.next().map(|(index, _)| (list, index)));
            if routes.next().is_some() {
                let message =
                    format!("has several: name those that lead to the Rollout in {}", list.chooser());
                return Err(self.wrong(list, &message));
            }
        }
        if places.is_empty() { Err(self.wrong(List::Http, "has none: add one")) } else { Ok(places) }
    }

    fn by_name(&self, object: &Value, name: &str) -> Result<Vec<Place>, String> {
        let routes = List::Http.of(object).iter().enumerate();
        let found = routes.filter(|(_, route)| text(route, &["name"]) == name);
        let found: Vec<_> = found.map(|(index, _)| (List::Http, index)).collect();
        if found.is_empty() {
            let message = format!("has no route \"{name}\": add it, or correct the name");
            return Err(self.wrong(List::Http, &message));
        }
        Ok(found)
    }

    fn by_match(
        &self,
        object: &Value,
        list: List,
        is_meant: impl Fn(&Value) -> bool,
    ) -> Result<Vec<Place>, String> {
        let routes = list.of(object).iter().enumerate();
        let found = routes.filter(|(_, route)| items(route, &["match"]).iter().any(&is_meant));
        let found: Vec<_> = found.map(|(index, _)| (list, index)).collect();
        if found.is_empty() {
            let message =
                format!("has no route that matches {}: add it, or correct the field", list.chooser());
            return Err(self.wrong(list, &message));
        }
        Ok(found)
    }

    /// A message about a list of the VirtualService.
    pub(super) fn wrong(&self, list: List, message: &str) -> String {
        let (title, name) = (list.title(), &self.route.name);
        format!("Istio VirtualService has invalid {title} routes. Error: \"{name}\" {message}")
    }
}

/// The VirtualService that a field means: it names its namespace, too, where that is not the Rollout's.
pub(super) fn route(name: &str, own: &str) -> RouteName {
    let (name, namespace) = name.rsplit_once('.').unwrap_or((name, own));
    RouteName::new(RouteKind::VirtualService, namespace, name)
}

/// Whether a route is only for requests with some header.
fn asks_for_headers(route: &Value) -> bool {
    let matches = items(route, &["match"]);
    let has_headers = |found: &Value| at(found, &["headers"]).as_object().is_some_and(|all| !all.is_empty());
    !matches.is_empty() && matches.iter().all(has_headers)
}

fn has_port(port: i64, found: &Value) -> bool {
    at(found, &["port"]).as_i64() == Some(port)
}

fn is_tls(wanted: &TlsRoute, found: &Value) -> bool {
    let hosts: BTreeSet<_> = items(found, &["sniHosts"]).iter().filter_map(Value::as_str).collect();
    let asked = wanted.sni_hosts.as_ref().filter(|hosts| !hosts.is_empty());
    let has_hosts =
        asked.is_none_or(|asked| asked.iter().map(String::as_str).collect::<BTreeSet<_>>() == hosts);
    has_hosts && wanted.port.is_none_or(|port| has_port(port, found))
}
