//! Routes that steps make: copies of each HTTP route that leads to the Rollout but for what they match and where they lead,
//! right before that one, so that no other route loses its precedence. Their order is that of `managedRoutes`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::choice::{Chosen, List, Place};
use super::cookie;
use super::matches::{asked, narrowed, unclear};
use super::roles::{Roles, shown};
use crate::traffic::route::{at, items, set, text};
use crate::traffic::session::{self, Setters};
use crate::traffic::{ManagedRoute, Problem, Rule, Session, Subject};

/// The field of problems that are of no VirtualService alone.
const FIELD: &str = "istio";
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
        if self.bases.contains(&index) {
            return Kind::Base;
        }
        let made_for = self.chosen.made_for(self.roles, route);
        if made_for.into_iter().any(|found| self.is_of_a_base(found)) { Kind::Made } else { Kind::Other }
    }

    /// Whether a destination is at the Service of a base: subsets of another one may be called the same.
    fn is_of_a_base(&self, destination: &Value) -> bool {
        let service = self.roles.service(destination);
        let of_entry = |entry| {
            self.roles.of_entry(entry).is_some() && self.roles.service(at(entry, &["destination"])) == service
        };
        self.bases().any(|base| items(base, &["route"]).iter().any(of_entry))
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

    /// Whether the routes that steps make stand in order.
    fn is_in_order(&self) -> bool {
        let rank = |route: &&Value| self.chosen.made.iter().position(|name| name == name_of(route));
        self.groups().iter().all(|(_, made)| made.iter().is_sorted_by_key(rank))
    }

    /// Whether a step's route is there, wherever it has to be and nowhere else.
    fn has(&self, route: &ManagedRoute, canary: &str) -> bool {
        self.groups().iter().all(|(base, made)| {
            let made = made.iter().copied().filter(|found| name_of(found) == route.name);
            base.and_then(|base| self.made_of(base, route, canary)).iter().eq(made)
        })
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
        let matches = narrowed(base, &asked(&route.rule).ok()?);
        if matches.is_empty() {
            return None;
        }
        let mut made = base.clone();
        set(&mut made, &["name"], Some(json!(route.name)));
        // Istio refuses a match that asks for nothing.
        let are_all = matches.iter().any(|found| found.as_object().is_some_and(Map::is_empty));
        set(&mut made, &["match"], (!are_all).then_some(Value::Array(matches)));
        match &route.rule {
            Rule::Header(_) | Rule::Session(_) => {
                set(&mut canary, &["weight"], Some(json!(100)));
                set(&mut made, &["route"], Some(json!([canary])));
            }
            Rule::Mirror { percent, .. } => mirror(&mut made, at(&canary, &["destination"]), *percent),
        }
        Some(made)
    }

    fn bases(&self) -> impl Iterator<Item = &'a Value> {
        self.bases.iter().filter_map(|index| self.http.get(*index))
    }

    /// What sets the session's cookie; `None` without a session.
    fn setters(&self, canary: &str) -> Option<(&Session, Setters)> {
        let session = self.subject.session.as_ref()?;
        let bases = self.bases.iter().filter_map(|index| self.http.get(*index));
        Some((session, cookie::setters(self.roles, bases, session, canary)))
    }

    /// The routes that a step makes.
    fn made(&self, route: &ManagedRoute, canary: &str) -> Vec<Value> {
        self.bases().filter_map(|base| self.made_of(base, route, canary)).collect()
    }

    /// Why a step's route cannot be made here.
    fn why_not(&self, route: &ManagedRoute, asked: &[Value]) -> Option<Problem> {
        let (base, field) = self.bases().find_map(|base| Some((base, unclear(base, asked)?)))?;
        let message = format!(
            "cannot have the route {:?} of a step: {} asks for something of {field}, as the step does, and nobody can say \
             which requests are of both; correct one of them",
            route.name,
            shown(base)
        );
        Some(Problem::new(&self.chosen.field, self.chosen.wrong(List::Http, &message)))
    }

    /// What is in the way of the routes that steps make: others that are called the same.
    pub(super) fn taken(&self) -> Vec<String> {
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

/// The routes by steps that are there: `None` for one that is not as any step makes it, or not where it has to be.
pub(super) fn observe(makers: &[Maker<'_>], canary: &str) -> BTreeMap<String, Option<ManagedRoute>> {
    let made = makers.iter().flat_map(Maker::routes).filter(|(kind, _)| *kind == Kind::Made);
    let there: BTreeSet<&str> = made.map(|(_, route)| name_of(route)).collect();
    let are_in_order = makers.iter().all(Maker::is_in_order);
    let found = |name: &str| {
        let candidates = makers.first().into_iter().flat_map(|maker| &maker.subject.managed);
        let mut candidates = candidates.filter(|route| route.name == name && are_in_order);
        candidates.find(|route| makers.iter().all(|maker| maker.has(route, canary))).cloned()
    };
    let mut all = there.into_iter().map(|name| (name.to_owned(), found(name))).collect();
    for (session, setters) in makers.iter().filter_map(|maker| maker.setters(canary)) {
        session::observe(&mut all, session, setters);
    }
    all
}

/// What is in the way of the routes that steps make in these.
pub(super) fn problems(makers: &[Maker<'_>], subject: &Subject, canary: &str) -> Vec<Problem> {
    let problems = subject.managed.iter().flat_map(|route| problems_of_route(makers, route));
    let mut problems: Vec<_> = problems.collect();
    problems.dedup();
    if problems.is_empty() { alike(makers, subject, canary).into_iter().collect() } else { problems }
}

/// Two steps make the same of one route, so that which of them is there could not be told.
fn alike(makers: &[Maker<'_>], subject: &Subject, canary: &str) -> Option<Problem> {
    let made =
        |route: &ManagedRoute| makers.iter().map(|maker| maker.made(route, canary)).collect::<Vec<_>>();
    let is_alike = |(index, one): &(usize, &ManagedRoute)| {
        let mut others = subject.managed.iter().take(*index).filter(|other| other.name == one.name);
        others.any(|other| other.rule != one.rule && made(other) == made(one))
    };
    let (_, route) = subject.managed.iter().enumerate().find(is_alike)?;
    let message = format!(
        "the route {:?} is made by two steps in different ways that come to the same here: write both alike",
        route.name
    );
    Some(Problem::new(FIELD, message))
}

fn problems_of_route(makers: &[Maker<'_>], route: &ManagedRoute) -> Vec<Problem> {
    let name = &route.name;
    let asked = match asked(&route.rule) {
        Ok(asked) => asked,
        Err(why) => {
            return vec![Problem::new(FIELD, format!("cannot make the route {name:?} of a step: {why}"))];
        }
    };
    let unclear: Vec<_> = makers.iter().filter_map(|maker| maker.why_not(route, &asked)).collect();
    if !unclear.is_empty() {
        return unclear;
    }
    let is_missed = |(_, asked): &(usize, &Value)| {
        let mut bases = makers.iter().flat_map(Maker::bases);
        bases.all(|base| narrowed(base, std::slice::from_ref(asked)).is_empty())
    };
    let problem = |(index, _)| {
        let message = format!(
            "the route {name:?} of a step gets no requests by match[{index}]: no HTTP route that leads to both versions has \
             any; correct the match, or that route"
        );
        Problem::new(FIELD, message)
    };
    asked.iter().enumerate().filter(is_missed).map(problem).collect()
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
