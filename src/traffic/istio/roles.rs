//! Which role a destination in a VirtualService has.

use serde_json::Value;

use super::Istio;
use super::choice::Chosen;
use crate::traffic::route::{at, items, text};
use crate::traffic::weighted::Split;

/// The roles, as a VirtualService names them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Roles<'a> {
    /// What the roles' destinations are called, the canary's first.
    names: [&'a str; 2],
    /// The subsets that they are; `None` where they are Services.
    subsets: Option<&'a [String; 2]>,
    /// The namespace of the Services.
    services: &'a str,
    /// The namespace of the VirtualService.
    here: &'a str,
}

impl<'a> Roles<'a> {
    pub(super) fn new(router: &'a Istio, chosen: &'a Chosen) -> Self {
        Self {
            names: router.subject.names(),
            subsets: router.subsets.as_ref().map(|subsets| &subsets.names),
            services: &router.subject.namespace,
            here: &chosen.route.namespace,
        }
    }

    /// The name of the role that a destination has.
    pub(super) fn of(&self, destination: &Value) -> Option<&'a str> {
        let is_meant = |index: usize, name: &str| match self.subsets {
            Some(subsets) => subsets.get(index).is_some_and(|name| text(destination, &["subset"]) == name),
            None => self.service(destination) == (name, self.services),
        };
        let mut names = self.names.into_iter().enumerate();
        names.find(|(index, name)| is_meant(*index, name)).map(|(_, name)| name)
    }

    /// Whether a destination is the Service of this name, beside the Rollout's own.
    pub(super) fn is_service(&self, name: &str, destination: &Value) -> bool {
        self.service(destination) == (name, self.services)
    }

    /// The host of a Service beside the Rollout's own.
    pub(super) fn host(&self, name: &str) -> String {
        if self.here == self.services {
            name.to_owned()
        } else {
            format!("{name}.{}.svc.cluster.local", self.services)
        }
    }

    /// The name of the role that a route's entry leads to.
    pub(super) fn of_entry(&self, entry: &Value) -> Option<&'a str> {
        self.of(at(entry, &["destination"]))
    }

    /// The first of a route's entries that leads to the role of this name.
    pub(super) fn entry<'v>(&self, name: &str, route: &'v Value) -> Option<&'v Value> {
        items(route, &["route"]).iter().find(|entry| self.of_entry(entry) == Some(name))
    }

    /// The weights of a route; `None` where one of them is no number.
    pub(super) fn split(&self, route: &Value) -> Option<Split> {
        let weight = |found: &Value| if found.is_null() { Some(0) } else { found.as_u64() };
        let of_entry =
            |entry| Some((self.of_entry(entry).unwrap_or_default(), weight(at(entry, &["weight"]))?));
        let entries: Option<Vec<_>> = items(route, &["route"]).iter().map(of_entry).collect();
        Some(Split::of(entries?, self.names))
    }

    /// What is wrong with a route: it has to lead to both roles, once each.
    pub(super) fn problem(&self, route: &Value) -> Option<String> {
        let what = if self.subsets.is_some() { "subset" } else { "host" };
        let count =
            |name| items(route, &["route"]).iter().filter(|entry| self.of_entry(entry) == Some(name)).count();
        let name = self.names.into_iter().find(|name| count(name) != 1)?;
        let (shown, count) = (shown(route), count(name));
        let full = if self.subsets.is_none() && self.here != self.services {
            format!(
                ", in namespace {} by its whole name, {name}.{}.svc.cluster.local",
                self.here, self.services
            )
        } else {
            String::new()
        };
        let name = name.rsplit('/').next().unwrap_or(name);
        Some(format!("has {shown} with {count} destinations of the {what} {name}: it must have one{full}"))
    }

    /// The Service that a host is: its name, and the namespace that follows it, whatever the cluster's domain is. The name
    /// alone means one in the namespace of the VirtualService.
    pub(super) fn service<'v>(&self, destination: &'v Value) -> (&'v str, &'v str)
    where
        'a: 'v,
    {
        let mut labels = text(destination, &["host"]).split('.');
        (labels.next().unwrap_or_default(), labels.next().unwrap_or(self.here))
    }
}

/// How a route is called in messages.
pub(super) fn shown(route: &Value) -> String {
    match text(route, &["name"]) {
        "" => "a route".to_owned(),
        name => format!("route \"{name}\""),
    }
}
