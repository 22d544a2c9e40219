//! Which routes of a VirtualService are edited.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::traffic_routing::{IstioVirtualService, TcpRoute, TlsRoute};
use crate::traffic::route::{at, items, text};
use crate::traffic::{RouteKind, RouteName};

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
    pub(super) fn read(field: String, spec: &IstioVirtualService, namespace: &str) -> Self {
        let (name, namespace) = spec.name.rsplit_once('.').unwrap_or((&spec.name, namespace));
        Self {
            field,
            route: RouteName::new(RouteKind::VirtualService, namespace, name),
            http: spec.routes.clone().unwrap_or_default(),
            tls: spec.tls_routes.clone().unwrap_or_default(),
            tcp: spec.tcp_routes.clone().unwrap_or_default(),
        }
    }

    /// The routes that are meant, apart from those of the names in `managed`, which are made by steps.
    ///
    /// # Errors
    /// What is wrong when it is not clear which are.
    pub(super) fn places(&self, object: &Value, managed: &[String]) -> Result<Vec<Place>, String> {
        let chosen = if self.http.is_empty() && self.tls.is_empty() && self.tcp.is_empty() {
            self.only(object, managed)?
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
    fn only(&self, object: &Value, managed: &[String]) -> Result<Vec<Place>, String> {
        let mut places = Vec::new();
        for list in List::ALL {
            let routes = list.of(object).iter().enumerate();
            let mut routes = routes.filter(|(_, route)| !is_managed(route, managed));
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

/// Whether a route has one of the names of those that steps make.
pub(super) fn is_managed(route: &Value, managed: &[String]) -> bool {
    at(route, &["name"]).as_str().is_some_and(|name| managed.iter().any(|managed| managed == name))
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
