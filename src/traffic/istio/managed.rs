//! Routes that steps make: copies of each HTTP route that leads to the Rollout but for what they match and where they lead,
//! right before that one, so that no other route loses its precedence. Their order is that of `managedRoutes`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::choice::{Chosen, List, Place};
use super::roles::Roles;
use crate::api::canary_step::{HeaderRoutingMatch, RouteMatch};
use crate::api::traffic_routing::StringMatch;
use crate::traffic::route::{at, items, set, text};
use crate::traffic::{ManagedRoute, Rule, Subject};

/// What `mirrorPercentage` was before, as whole percent.
const OLD_PERCENTAGES: [&str; 2] = ["mirrorPercent", "mirror_percent"];

/// The HTTP routes of a VirtualService, as far as steps make some of them.
pub(super) struct Maker<'a> {
    subject: &'a Subject,
    chosen: &'a Chosen,
    roles: Roles<'a>,
    /// The HTTP routes as they are.
    http: &'a [Value],
    /// Where those are that lead to the Rollout.
    bases: BTreeSet<usize>,
}

/// What a route is to the Rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It leads to the Rollout.
    Base,
    /// A step made it.
    Made,
    /// It is somebody else's.
    Other,
}

impl<'a> Maker<'a> {
    pub(super) fn new(
        subject: &'a Subject,
        chosen: &'a Chosen,
        roles: Roles<'a>,
        object: &'a Value,
        places: &[Place],
    ) -> Self {
        let bases = places.iter().filter(|(list, _)| *list == List::Http).map(|(_, index)| *index).collect();
        Self { subject, chosen, roles, http: List::Http.of(object), bases }
    }

    /// All routes, and what they are.
    fn routes(&self) -> impl Iterator<Item = (Kind, &'a Value)> {
        self.http.iter().enumerate().map(|(index, route)| (self.kind(index, route), route))
    }

    fn kind(&self, index: usize, route: &Value) -> Kind {
        let is_base = self.bases.contains(&index);
        match self.chosen.made_for(self.roles, route) {
            _ if is_base => Kind::Base,
            Some(destination) if self.is_of_a_base(destination) => Kind::Made,
            _ => Kind::Other,
        }
    }

    /// Whether a destination is at the Service of a base: subsets of another one may be called the same.
    fn is_of_a_base(&self, destination: &Value) -> bool {
        let service = self.roles.service(destination);
        let of_entry = |entry| {
            self.roles.of_entry(entry).is_some() && self.roles.service(at(entry, &["destination"])) == service
        };
        let mut bases = self.bases.iter().filter_map(|index| self.http.get(*index));
        bases.any(|base| items(base, &["route"]).iter().any(of_entry))
    }

    /// The HTTP routes, with those that are wanted and without those that steps make no more.
    pub(super) fn render(&self, routes: &[ManagedRoute], canary: &str) -> Vec<Value> {
        let routes: Vec<_> = routes.iter().filter(|route| self.chosen.made.contains(&route.name)).collect();
        let with_copies = |(kind, route): (Kind, &Value)| {
            let mut all = match kind {
                Kind::Base => {
                    routes.iter().filter_map(|wanted| self.made_of(route, wanted, canary)).collect()
                }
                Kind::Made | Kind::Other => Vec::new(),
            };
            all.extend((kind != Kind::Made).then(|| route.clone()));
            all
        };
        self.routes().flat_map(with_copies).collect()
    }

    /// The routes by steps that are there: `None` for one that is not as any step makes it, or not where it has to be.
    pub(super) fn observe(&self, canary: &str) -> BTreeMap<String, Option<ManagedRoute>> {
        let groups = self.groups();
        let there: BTreeSet<&str> =
            groups.iter().flat_map(|(_, made)| made).map(|route| name_of(route)).collect();
        let rank = |route: &&Value| self.chosen.made.iter().position(|name| name == name_of(route));
        let is_in_order = groups.iter().all(|(_, made)| made.iter().is_sorted_by_key(rank));
        let is_there = |route: &ManagedRoute| {
            groups.iter().all(|(base, made)| {
                let made = made.iter().copied().filter(|found| name_of(found) == route.name);
                base.and_then(|base| self.made_of(base, route, canary)).iter().eq(made)
            })
        };
        let found = |name: &str| {
            let mut candidates = self.subject.managed.iter().filter(|route| route.name == name);
            candidates.find(|route| is_in_order && is_there(route)).cloned()
        };
        there.into_iter().map(|name| (name.to_owned(), found(name))).collect()
    }

    /// Each base with the routes between it and the one before that steps made; last, those behind all bases.
    fn groups(&self) -> Vec<(Option<&'a Value>, Vec<&'a Value>)> {
        let (mut groups, mut made) = (Vec::new(), Vec::new());
        for (kind, route) in self.routes() {
            match kind {
                Kind::Base => groups.push((Some(route), std::mem::take(&mut made))),
                Kind::Made => made.push(route),
                Kind::Other => {}
            }
        }
        groups.push((None, made));
        groups
    }

    /// The route that a step makes of one that leads to the Rollout.
    fn made_of(&self, base: &Value, route: &ManagedRoute, canary: &str) -> Option<Value> {
        let mut canary = self.roles.entry(canary, base)?.clone();
        let mut made = base.clone();
        set(&mut made, &["name"], Some(json!(route.name)));
        match &route.rule {
            Rule::Header(headers) => {
                set(&mut made, &["match"], Some(narrowed(base, &[headers_of(headers)])));
                set(&mut canary, &["weight"], Some(json!(100)));
                set(&mut made, &["route"], Some(json!([canary])));
            }
            Rule::Mirror { matches, percent } => {
                let matches: Vec<_> = matches.iter().map(match_of).collect();
                set(&mut made, &["match"], Some(narrowed(base, &matches)));
                mirror(&mut made, at(&canary, &["destination"]), *percent);
            }
        }
        Some(made)
    }

    /// What is in the way of the routes that steps make: others that are called the same.
    pub(super) fn problems(&self) -> Vec<String> {
        let others = self.routes().filter(|(kind, _)| *kind != Kind::Made);
        let names = others.map(|(_, route)| text(route, &["name"]));
        let taken = names.filter(|name| self.chosen.made.iter().any(|made| made == name));
        let message = |name| {
            let message = format!(
                "has a route {name:?} that no step of this Rollout made, and one would call its own so: choose another name \
                 in managedRoutes"
            );
            self.chosen.wrong(List::Http, &message)
        };
        taken.map(message).collect()
    }
}

fn name_of(route: &Value) -> &str {
    text(route, &["name"])
}

/// Copies requests to the canary, besides to wherever they are copied already. Percentages of the old kinds hold for the one
/// `mirror` of a route, and give way to the new.
fn mirror(route: &mut Value, canary: &Value, percent: u32) {
    let percentage = json!({"value": percent});
    let mut others = items(route, &["mirrors"]).to_vec();
    let other = at(route, &["mirror"]);
    if !other.is_null() {
        let mut entry = json!({"destination": other});
        set(&mut entry, &["percentage"], mirrored(route));
        others.push(entry);
    }
    for field in ["mirror", "mirrorPercentage"].into_iter().chain(OLD_PERCENTAGES) {
        set(route, &[field], None);
    }
    if others.is_empty() {
        set(route, &["mirror"], Some(canary.clone()));
        set(route, &["mirrorPercentage"], Some(percentage));
    } else {
        others.push(json!({"destination": canary, "percentage": percentage}));
        set(route, &["mirrors"], Some(Value::Array(others)));
    }
}

/// How much of a route goes to its `mirror`; `None` for everything.
fn mirrored(route: &Value) -> Option<Value> {
    let given = |field| Some(at(route, &[field])).filter(|found| !found.is_null());
    let old = || OLD_PERCENTAGES.into_iter().find_map(given).map(|percent| json!({"value": percent}));
    given("mirrorPercentage").cloned().or_else(old)
}

/// What a route matches, and one of `matches` besides; where both ask something of the same, the latter does.
fn narrowed(base: &Value, matches: &[Map<String, Value>]) -> Value {
    let all = [json!({})];
    let bases = Some(items(base, &["match"])).filter(|found| !found.is_empty()).unwrap_or(&all);
    let narrow = |base: &Value, wanted: &Map<String, Value>| {
        let mut narrow = base.clone();
        for (field, value) in wanted {
            match value.as_object().filter(|_| field == "headers") {
                Some(headers) => headers.iter().for_each(|(name, value)| {
                    set(&mut narrow, &["headers", name], Some(value.clone()));
                }),
                None => set(&mut narrow, &[field], Some(value.clone())),
            }
        }
        narrow
    };
    bases.iter().flat_map(|base| matches.iter().map(move |wanted| narrow(base, wanted))).collect()
}

fn headers_of(headers: &[HeaderRoutingMatch]) -> Map<String, Value> {
    let named =
        headers.iter().filter_map(|found| Some((found.header_name.as_ref()?, found.header_value.as_ref()?)));
    Map::from_iter([("headers".to_owned(), headers_by_name(named))])
}

fn match_of(found: &RouteMatch) -> Map<String, Value> {
    let texts = [("method", &found.method), ("uri", &found.path)];
    let texts =
        texts.into_iter().filter_map(|(field, value)| Some((field.to_owned(), text_of(value.as_ref()?))));
    let headers = found.headers.as_ref().filter(|headers| !headers.is_empty());
    texts.chain(headers.map(|headers| ("headers".to_owned(), headers_by_name(headers)))).collect()
}

/// Istio knows headers by their names in small letters.
fn headers_by_name<'a>(headers: impl IntoIterator<Item = (&'a String, &'a StringMatch)>) -> Value {
    headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), text_of(value))).collect()
}

/// What is empty counts as not given, and API servers refuse it beside another.
fn text_of(value: &StringMatch) -> Value {
    let kinds = [("exact", &value.exact), ("prefix", &value.prefix), ("regex", &value.regex)];
    let given = kinds.into_iter().filter_map(|(kind, text)| Some((kind, text.as_ref()?)));
    let given = given.filter(|(_, text)| !text.is_empty());
    Value::Object(given.map(|(kind, text)| (kind.to_owned(), json!(text))).collect())
}
