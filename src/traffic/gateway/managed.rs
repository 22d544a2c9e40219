//! Routes for some requests over all objects of a Rollout: where they are made, whether they are there, and what is in the
//! way.

use std::collections::BTreeMap;

use serde_json::Value;

use super::made::{Maker, Sight, owner, replaces_prefix};
use super::{By, FIELD, GatewayApi, asked};
use crate::api::canary_step::RouteMatch;
use crate::traffic::route::{at, items, text};
use crate::traffic::routers::Problem;
use crate::traffic::session;
use crate::traffic::{ManagedRoute, RouteKind, RouteName, Routes, Rule, Subject, TrafficTarget};

/// What the API takes of a route, and of a rule.
const MOST_RULES: usize = 16;
const MOST_MATCHES: usize = 128;
const MOST_IN_A_RULE: [(&str, usize); 2] = [("matches", 64), ("filters", 16)];
const MOST_HEADERS: usize = 16;
/// The longest name of a rule.
const LONGEST_NAME: usize = 253;

type Found = BTreeMap<String, Option<ManagedRoute>>;

impl GatewayApi {
    /// The routes that can have rules for some requests, once each.
    fn makers<'a>(&'a self, routes: &Routes, canary: &'a str) -> BTreeMap<RouteName, Maker<'a>> {
        let mut makers: BTreeMap<RouteName, Maker<'a>> = BTreeMap::new();
        for place in self.places(routes) {
            let kind = place.route.kind;
            if matches!(kind, RouteKind::HttpRoute | RouteKind::GrpcRoute) {
                let new = || Maker { router: self, kind, chosen: vec![], canary };
                makers.entry(place.route).or_insert_with(new).chosen.push(place.chosen);
            }
        }
        makers
    }

    /// Makes the rules that are wanted, and takes away those that are not.
    pub(super) fn render_managed(&self, routes: &mut Routes, target: &TrafficTarget) {
        for (name, maker) in self.makers(routes, &target.canary.name) {
            routes.edit(&name, |object| {
                if let Some(rules) = object.pointer_mut("/spec/rules").and_then(Value::as_array_mut) {
                    maker.render(rules, &target.managed);
                }
            });
        }
    }

    /// The route for some requests that a rule is of: it has its name, and the form that a step gives it. The name alone
    /// may be one that a user chose.
    pub(super) fn owner(&self, rule: &Value) -> Option<&str> {
        let name = owner(text(rule, &["name"]), &self.subject.managed_names)?;
        let is_ours =
            |backend: &Value| self.subject.names().into_iter().any(|service| self.is(service, backend));
        let is_for_headers = match items(rule, &["backendRefs"]) {
            [backend] => is_ours(backend) && asks_for_headers(rule),
            _ => false,
        };
        let mut filters = items(rule, &["filters"]).iter();
        let is_mirror = filters.any(|filter| is_ours(at(filter, &["requestMirror", "backendRef"])));
        (is_for_headers || is_mirror).then_some(name)
    }

    /// Whether an object has a rule that a step makes.
    pub(super) fn has_managed(&self, object: &Value) -> bool {
        items(object, &["spec", "rules"]).iter().any(|rule| self.owner(rule).is_some())
    }

    /// The routes for some requests that are there.
    pub(super) fn observe_managed(&self, routes: &Routes) -> Found {
        let mut found = observe(&self.subject, &sights(&self.makers(routes, &self.idle), routes));
        if let Some(session) = &self.subject.session {
            self.setters(routes)
                .into_iter()
                .for_each(|setters| session::observe(&mut found, session, setters));
        }
        found
    }

    /// What is in the way of the routes that steps make.
    pub(super) fn problems_of_managed(&self, routes: &Routes) -> Vec<Problem> {
        if self.subject.managed.is_empty() {
            return vec![];
        }
        let mut problems = self.problems_of_names();
        let makers = self.makers(routes, &self.idle);
        for route in &self.subject.managed {
            problems.extend(self.problems_of_route(routes, &makers, route));
        }
        for (name, maker) in &makers {
            let rules = rules_of(routes, name);
            let too_many = || self.subject.managed_sets.iter().find_map(|set| too_many(maker, rules, set));
            let why = nameless(maker, rules).or_else(|| is_name_taken(maker, rules)).or_else(too_many);
            let message = |why| format!("{} {:?} {why}", name.kind.as_str(), name.name);
            problems.extend(why.map(|why| Problem::new(maker.field(), message(why))));
        }
        problems.dedup();
        if problems.is_empty() {
            problems.extend(alike(&self.subject, &sights(&makers, routes)));
        }
        problems
    }

    fn problems_of_names(&self) -> Vec<Problem> {
        let names = &self.subject.managed_names;
        let problem = |(index, name): (usize, &String)| {
            let others: Vec<_> = names.iter().filter(|other| *other != name).cloned().collect();
            let message = if is_name(name) {
                let other = owner(name, &others)?;
                format!("is what the second rule for {other:?} is called: choose another name")
            } else {
                "is no name that a rule can have: use small letters, digits, - and .".to_owned()
            };
            Some(Problem::new(format!("managedRoutes[{index}].name"), format!("{name:?} {message}")))
        };
        names.iter().enumerate().filter_map(problem).collect()
    }

    fn problems_of_route(
        &self,
        routes: &Routes,
        makers: &BTreeMap<RouteName, Maker<'_>>,
        route: &ManagedRoute,
    ) -> Vec<Problem> {
        let carriers: Vec<_> = makers
            .iter()
            .filter(|(_, maker)| maker.carries(&route.rule))
            .map(|(name, maker)| Carrier { name, maker, others: maker.others(rules_of(routes, name)) })
            .collect();
        if carriers.is_empty() {
            return vec![self.nowhere(makers.is_empty(), route)];
        }
        let mut problems: Vec<_> = carriers.iter().filter_map(|carrier| carrier.why_not(route)).collect();
        // What no route of a kind can ask for is said once.
        problems.dedup_by(|next, one| next.message == one.message);
        // That no rule names both Services is said elsewhere.
        let is_any = carriers.iter().any(|carrier| carrier.sources(route).next().is_some());
        if problems.is_empty() && is_any {
            let missed = |part: &ManagedRoute| carriers.iter().all(|carrier| !carrier.makes(part));
            problems.extend(parts(route).iter().position(missed).map(|part| {
                let message = format!(
                    "the route {:?} of a step gets no requests by match[{part}]: no rule with both Services is for them, \
                     or another rule takes them; correct the match, or the rules",
                    route.name
                );
                Problem::new(FIELD, message)
            }));
        }
        problems
    }

    /// That no route can have such rules.
    fn nowhere(&self, are_without_http: bool, route: &ManagedRoute) -> Problem {
        let name = &route.name;
        let Some(chosen) = self.config.chosen.first().filter(|_| are_without_http) else {
            let message = format!(
                "has no route for the header route {name:?} of a step: name one under httpRoutes or grpcRoutes with \
                 useHeaderRoutes: true"
            );
            return Problem::new(FIELD, message);
        };
        let kind = chosen.kind.as_str();
        let which = match &chosen.by {
            By::Name(name) => format!("{kind} {name:?}"),
            By::Labels(_) => format!("a {kind}"),
        };
        let message = format!(
            "{which} cannot have the route {name:?} of a step, as it tells no requests apart: use a HTTPRoute or GRPCRoute, \
             or remove the step"
        );
        Problem::new(&chosen.field, message)
    }
}

/// The routes for some requests that are there: `None` for one that is not as any step makes it, or not where it has to be.
pub(super) fn observe(subject: &Subject, sights: &[Sight<'_>]) -> Found {
    let is_there = |name: &&String| sights.iter().any(|sight| sight.there(name).next().is_some());
    let are_in_order = sights.iter().all(Sight::is_in_order);
    // What a route is made of depends on those after it.
    let mut later: Vec<ManagedRoute> = Vec::new();
    let mut found = Found::new();
    for name in subject.managed_names.iter().filter(is_there).rev() {
        let is_it = |candidate: &&ManagedRoute| {
            let with_it: Vec<_> = [*candidate].into_iter().chain(&later).cloned().collect();
            candidate.name == *name
                && sights.iter().all(|sight| sight.made(name, &with_it).iter().eq(sight.there(name)))
        };
        let route = subject.managed.iter().find(is_it).filter(|_| are_in_order).cloned();
        later.splice(0..0, route.clone());
        found.insert(name.clone(), route);
    }
    found
}

/// Two steps make the same of one route, so that which of them is there could not be told.
fn alike(subject: &Subject, sights: &[Sight<'_>]) -> Option<Problem> {
    let is_alike = |set: &Vec<ManagedRoute>, route: &ManagedRoute, other: &ManagedRoute| {
        let with_other =
            set.iter().map(|known| if known.name == other.name { other } else { known }).cloned();
        let with_other: Vec<_> = with_other.collect();
        sights.iter().all(|sight| sight.made(&route.name, set) == sight.made(&route.name, &with_other))
    };
    let has_twin = |set: &Vec<ManagedRoute>, route: &ManagedRoute| {
        let mut others = subject.managed.iter().filter(|other| other.name == route.name);
        others.any(|other| other.rule != route.rule && is_alike(set, route, other))
    };
    let twin = |set: &Vec<ManagedRoute>| set.iter().find(|route| has_twin(set, route)).cloned();
    let route = subject.managed_sets.iter().find_map(twin)?;
    Some(Problem::new(
        FIELD,
        format!(
            "the route {:?} is made by two steps in different ways that come to the same here: write both alike",
            route.name
        ),
    ))
}

/// The routes as they are.
fn sights<'a>(makers: &'a BTreeMap<RouteName, Maker<'a>>, routes: &'a Routes) -> Vec<Sight<'a>> {
    makers.iter().map(|(name, maker)| Sight::new(maker, rules_of(routes, name))).collect()
}

/// A route that can have the rules of a managed route.
struct Carrier<'a> {
    name: &'a RouteName,
    maker: &'a Maker<'a>,
    /// The rules that no step makes.
    others: Vec<Value>,
}

impl Carrier<'_> {
    fn sources<'s>(&'s self, route: &'s ManagedRoute) -> impl Iterator<Item = (usize, &'s Value)> {
        self.others.iter().enumerate().filter(|(_, other)| self.maker.is_source(&route.rule, other))
    }

    fn makes(&self, route: &ManagedRoute) -> bool {
        !self.maker.rules(&self.others, std::slice::from_ref(route)).is_empty()
    }

    /// Why the rules of the route cannot be copied for the requests of a managed one.
    fn why_not(&self, route: &ManagedRoute) -> Option<Problem> {
        let asked = match asked::matches(&route.rule, self.maker.kind) {
            Ok(asked) => asked,
            Err(why) => {
                return Some(Problem::new(
                    FIELD,
                    format!("cannot make the route {:?} of a step: {why}", route.name),
                ));
            }
        };
        let why = self.sources(route).find_map(|(index, source)| {
            let why = self.maker.why_not(source, &asked)?;
            Some(format!("{} {why}", label(source, index)))
        })?;
        let (kind, name) = (self.name.kind.as_str(), &self.name.name);
        let message = format!("{kind} {name:?} cannot have the route {:?} of a step: {why}", route.name);
        Some(Problem::new(self.maker.field(), message))
    }
}

fn rules_of<'a>(routes: &'a Routes, name: &RouteName) -> &'a [Value] {
    routes.get(name).map_or(&[], |object| items(object, &["spec", "rules"]))
}

/// The route with one of its matches each.
fn parts(route: &ManagedRoute) -> Vec<ManagedRoute> {
    let part = |rule: Rule| ManagedRoute { name: route.name.clone(), rule };
    match &route.rule {
        Rule::Header(_) | Rule::Session(_) => vec![route.clone()],
        Rule::Mirror { matches, percent } => {
            let one = |found: &RouteMatch| Rule::Mirror { matches: vec![found.clone()], percent: *percent };
            matches.iter().map(one).map(part).collect()
        }
    }
}

/// A rule of somebody else's that has the name of one that steps make.
fn is_name_taken(maker: &Maker<'_>, rules: &[Value]) -> Option<String> {
    let names = &maker.router.subject.managed_names;
    let taken = rules.iter().find_map(|rule| {
        let name = text(rule, &["name"]);
        owner(name, names).filter(|_| maker.router.owner(rule).is_none()).map(|_| name)
    })?;
    Some(format!(
        "has a rule {taken:?} of somebody else's, which is what a step would call its own: choose another name in \
         managedRoutes"
    ))
}

/// Whether a rule is only for requests with some header.
fn asks_for_headers(rule: &Value) -> bool {
    let matches = items(rule, &["matches"]);
    !matches.is_empty() && matches.iter().all(|found| !items(found, &["headers"]).is_empty())
}

/// How a rule is called.
fn label(rule: &Value, index: usize) -> String {
    match text(rule, &["name"]) {
        "" => format!("its rule {}", index.saturating_add(1)),
        name => format!("its rule {name:?}"),
    }
}

/// What is wrong where rules that steps make have lost their names.
fn nameless(maker: &Maker<'_>, rules: &[Value]) -> Option<String> {
    let is_nameless = rules.iter().any(|rule| maker.has_lost_its_name(rule, rules));
    is_nameless.then(|| {
        "has a rule without a name that is what a step makes: the cluster's definitions of the Gateway API are older than \
         names of rules (v1.4); install newer ones and remove that rule"
            .to_owned()
    })
}

/// What the API would not take of a route with the rules of a set.
fn too_many(maker: &Maker<'_>, rules: &[Value], set: &[ManagedRoute]) -> Option<String> {
    let others = maker.others(rules);
    let made = maker.rules(&others, set);
    let all = made.len().saturating_add(others.len());
    let names: Vec<_> = set.iter().map(|route| route.name.as_str()).collect();
    let with = format!("with the routes of steps ({})", names.join(", "));
    if made.is_empty() {
        return None;
    }
    if all > MOST_RULES {
        return Some(format!(
            "would have {all} rules {with}, and the API takes {MOST_RULES}: split it, or use fewer routes"
        ));
    }
    let matches: usize = made.iter().chain(&others).map(|rule| maker.bases(rule).len()).sum();
    if matches > MOST_MATCHES {
        return Some(format!(
            "would have {matches} matches {with}, and the API takes {MOST_MATCHES}: use fewer matches"
        ));
    }
    made.iter().find_map(too_much).map(|why| format!("{why} {with}"))
}

/// What the API would not take of a rule.
fn too_much(rule: &Value) -> Option<String> {
    for (field, most) in MOST_IN_A_RULE {
        let count = items(rule, &[field]).len();
        if count > most {
            return Some(format!("would have {count} {field} in one rule, where the API takes {most},"));
        }
    }
    let headers = items(rule, &["matches"]).iter().map(|found| items(found, &["headers"]).len()).max();
    if let Some(count) = headers.filter(|count| *count > MOST_HEADERS) {
        return Some(format!("would have {count} headers in one match, where the API takes {MOST_HEADERS},"));
    }
    (replaces_prefix(rule) && items(rule, &["matches"]).len() > 1).then(|| {
        "replaces the prefix of a path, so that the API takes one match in a rule, and would have more"
            .to_owned()
    })
}

/// Whether a rule can be called so.
fn is_name(name: &str) -> bool {
    let is_end = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let is_label = |label: &str| {
        label.starts_with(is_end)
            && label.ends_with(is_end)
            && label.chars().all(|letter| is_end(letter) || letter == '-')
    };
    name.len() <= LONGEST_NAME && name.split('.').all(is_label)
}
