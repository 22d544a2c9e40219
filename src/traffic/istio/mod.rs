//! Istio: weights of the destinations in the routes of VirtualServices, and, where the roles are subsets of one host, the
//! pods that the subsets of a DestinationRule select.
//!
//! A destination is known by its host, or by its subset where a DestinationRule is named. What else a route leads to keeps
//! its weight, and stable gets what is left; everything else stays as it is. The objects are users': they are neither made
//! nor deleted. Whether proxies follow cannot be asked.

mod choice;
mod cookie;
mod experiments;
mod managed;
mod matches;
mod roles;
mod subsets;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use self::choice::{Chosen, List, Place};
use self::managed::Maker;
use self::roles::Roles;
use self::subsets::Subsets;
pub use self::subsets::destinations as subsets;
use super::managed::{Managed, ManagedRoute};
use super::route::set;
use super::routers::{Abilities, Problem, Router, Subject, both};
use super::session;
use super::weighted::LARGEST_WEIGHT;
use super::{Need, ObservedTraffic, RouteName, Routes, Session, TrafficTarget};
use crate::api::traffic_routing::{IstioTrafficRouting, IstioVirtualService};
use crate::units::Weight;

/// The router.
#[derive(Debug)]
pub(super) struct Istio {
    subject: Subject,
    /// What the canary's destination may be called: either name where the roles alternate.
    canaries: Vec<String>,
    /// The VirtualServices.
    chosen: Vec<Chosen>,
    /// The subsets that are the roles; `None` where Services are.
    subsets: Option<Subsets>,
    /// What is wrong with the fields.
    problems: Vec<Problem>,
}

impl Istio {
    pub(super) fn new(subject: Subject, canaries: Vec<String>, spec: &IstioTrafficRouting) -> Self {
        let one = spec.virtual_service.iter().map(|found| ("istio.virtualService".to_owned(), found));
        let several = spec.virtual_services.iter().flatten().enumerate();
        let several = several.map(|(index, found)| (format!("istio.virtualServices[{index}]"), found));
        let chosen: Vec<_> =
            one.chain(several).map(|(field, found)| Chosen::read(field, found, &subject)).collect();
        let subsets = spec.destination_rule.as_ref().map(|rule| Subsets::new(rule, &subject.namespace));
        Self { problems: problems(spec, &chosen), subject, canaries, chosen, subsets }
    }

    fn places(&self, chosen: &Chosen, object: &Value) -> Option<Vec<Place>> {
        chosen.places(object, Roles::new(self, chosen)).ok()
    }

    /// What makes routes in a VirtualService; `None` where it is not clear which of its routes lead to the Rollout.
    fn maker<'a>(&'a self, chosen: &'a Chosen, object: &'a Value) -> Option<Maker<'a>> {
        let places = self.places(chosen, object)?;
        Some(Maker::new(&self.subject, chosen, Roles::new(self, chosen), object, &places))
    }

    fn makers<'a>(&'a self, routes: &'a Routes) -> Vec<Maker<'a>> {
        let maker = |chosen: &'a Chosen| self.maker(chosen, routes.get(&chosen.route)?);
        self.chosen.iter().filter_map(maker).collect()
    }

    fn observe_route(&self, roles: Roles<'_>, route: &Value) -> ObservedTraffic {
        let scale = self.subject.scale;
        let shares = roles.split(route).and_then(|split| split.shares_of_whole(scale));
        shares.map_or_else(ObservedTraffic::unclear, |shares| ObservedTraffic {
            shares: self.subject.names().map(str::to_owned).into_iter().zip(shares).collect(),
            experiments: experiments::of(roles, route, &self.subject.experiments),
            ..ObservedTraffic::default()
        })
    }

    fn observe_one(&self, routes: &Routes, chosen: &Chosen) -> Option<ObservedTraffic> {
        let object = routes.get(&chosen.route)?;
        let places = self.places(chosen, object)?;
        let meant = places.iter().filter_map(|(list, index)| list.of(object).get(*index));
        let roles = Roles::new(self, chosen);
        meant.map(|route| self.observe_route(roles, route)).reduce(both)
    }

    /// The routes by steps that are there.
    fn observe_managed(&self, routes: &Routes) -> BTreeMap<String, Option<ManagedRoute>> {
        if self.subject.managed_names.is_empty() {
            return BTreeMap::new();
        }
        let makers = self.makers(routes);
        let observed = self.canaries.iter().map(|canary| managed::observe(&makers, canary));
        let is_whole = |found: &BTreeMap<_, Option<_>>| found.values().all(Option::is_some);
        observed.reduce(|one, other| if is_whole(&one) { one } else { other }).unwrap_or_default()
    }

    fn problems_of_managed(&self, routes: &Routes) -> Vec<Problem> {
        let canary = self.canaries.first().map(String::as_str).unwrap_or_default();
        managed::problems(&self.makers(routes), &self.subject, canary)
    }

    fn render_one(&self, object: &mut Value, chosen: &Chosen, target: &TrafficTarget) {
        let Some(places) = self.places(chosen, object) else { return };
        let roles = Roles::new(self, chosen);
        for (list, index) in &places {
            let route = object.pointer_mut(&format!("/spec/{}/{index}", list.field()));
            if let Some(route) = route {
                render_route(roles, route, target, &self.subject.experiments);
                if let (Some(session), List::Http) = (&self.subject.session, list) {
                    render_cookie(roles, route, session, target);
                }
            }
        }
        let made = self.maker(chosen, object).map(|maker| maker.render(&target.managed, &target.canary.name));
        let http = object.pointer_mut("/spec/http").and_then(Value::as_array_mut);
        if let (Some(made), Some(http)) = (made, http) {
            *http = made;
        }
    }

    fn problems_of(&self, routes: &Routes, chosen: &Chosen) -> Vec<Problem> {
        let problem = |message: String| Problem::new(&chosen.field, message);
        let (name, namespace) = (&chosen.route.name, &chosen.route.namespace);
        let Some(object) = routes.get(&chosen.route) else {
            let elsewhere = if *namespace == self.subject.namespace {
                ""
            } else {
                "; a controller that runs with --namespaced looks into its own namespace only"
            };
            return vec![problem(format!(
                "VirtualService \"{name}\" not found in namespace {namespace}: create it, or correct the name{elsewhere}"
            ))];
        };
        let roles = Roles::new(self, chosen);
        let places = match chosen.places(object, roles) {
            Ok(places) => places,
            Err(message) => return vec![problem(message)],
        };
        let wrong = places.iter().filter_map(|(list, index)| {
            let route = list.of(object).get(*index)?;
            let session = self.subject.session.as_ref().filter(|_| *list == List::Http);
            let another = || cookie::problem(roles, route, session?, &self.canaries);
            let of_experiments = || experiments::problem(roles, route, &self.subject);
            let message = roles.problem(route).or_else(another).or_else(of_experiments)?;
            Some(problem(chosen.wrong(*list, &message)))
        });
        let lacks_http =
            !self.subject.managed.is_empty() && places.iter().all(|(list, _)| *list != List::Http);
        let lacks_http = lacks_http.then(|| {
            problem(format!("VirtualService \"{name}\" has no HTTP route that setHeaderRoute or setMirrorRoute could begin with"))
        });
        let maker = Maker::new(&self.subject, chosen, roles, object, &places);
        let ambiguous = chosen.ambiguous(&self.subject).map(|name| {
            let message = format!(
                "leads to the Rollout by route {name:?}, which steps make, too: choose another name in managedRoutes"
            );
            Problem::new(format!("{}.routes", chosen.field), message)
        });
        wrong.chain(lacks_http).chain(ambiguous).chain(maker.taken().into_iter().map(problem)).collect()
    }
}

impl Router for Istio {
    fn field(&self) -> &'static str {
        "istio"
    }

    fn abilities(&self) -> Abilities {
        Abilities { ping_pong: self.subsets.is_none(), largest_scale: Weight::observed(LARGEST_WEIGHT) }
    }

    fn managed(&self) -> Managed {
        Managed::HeadersAndMirrors
    }

    fn lacks_sessions(&self) -> Option<&'static str> {
        None
    }

    fn serves_experiments(&self) -> bool {
        // Beside subsets, too, a route leads to the Service of a template: it selects the template's pods by itself.
        true
    }

    fn needs(&self) -> Vec<Need> {
        let rule = self.subsets.iter().map(|subsets| subsets.rule().clone());
        self.chosen.iter().map(|chosen| chosen.route.clone()).chain(rule).map(Need::One).collect()
    }

    fn edits(&self, _routes: &Routes) -> Vec<RouteName> {
        // Not the rule of the subsets: its labels stay others than those of whoever applies it.
        self.chosen.iter().map(|chosen| chosen.route.clone()).collect()
    }

    fn problems(&self, routes: &Routes) -> Vec<Problem> {
        // What is wrong with the objects depends on the fields.
        if !self.problems.is_empty() {
            return self.problems.clone();
        }
        let found = self.chosen.iter().flat_map(|chosen| self.problems_of(routes, chosen));
        let of_rule = self.subsets.iter().flat_map(|subsets| subsets.problems(routes, &self.subject));
        let problems: Vec<_> = found.chain(of_rule).collect();
        if problems.is_empty() { self.problems_of_managed(routes) } else { problems }
    }

    fn observe(&self, routes: &Routes) -> Option<ObservedTraffic> {
        let observed: Option<Vec<_>> =
            self.chosen.iter().map(|chosen| self.observe_one(routes, chosen)).collect();
        let observed = observed?.into_iter().reduce(both)?;
        let observed = ObservedTraffic { managed: self.observe_managed(routes), ..observed };
        let Some(subsets) = &self.subsets else { return Some(observed) };
        let behind = subsets.behind(routes, self.subject.names())?;
        Some(ObservedTraffic { behind, owner: subsets.owner(routes).map(str::to_owned), ..observed })
    }

    fn render(&self, routes: &mut Routes, target: &TrafficTarget) {
        for chosen in &self.chosen {
            routes.edit(&chosen.route, |object| self.render_one(object, chosen, target));
        }
        if let Some(subsets) = &self.subsets {
            subsets.render(routes, &self.subject, target);
        }
    }
}

/// Reduces the fields to those VirtualServices that are kept; whether any is.
pub(super) fn reduce(
    spec: &mut IstioTrafficRouting,
    namespace: &str,
    keeps: &dyn Fn(&RouteName) -> bool,
) -> bool {
    let is_kept = |found: &IstioVirtualService| keeps(&choice::route(&found.name, namespace));
    spec.virtual_service.take_if(|found| !is_kept(found));
    spec.virtual_services.iter_mut().for_each(|several| several.retain(is_kept));
    spec.virtual_service.is_some() || spec.virtual_services.as_ref().is_some_and(|found| !found.is_empty())
}

/// Gives the roles in a route, and Experiments, their weights. What others have is stable's loss.
fn render_route(roles: Roles<'_>, route: &mut Value, target: &TrafficTarget, known: &[String]) {
    experiments::render(roles, route, target, known);
    let others = roles.split(route).map_or(0, |split| split.others);
    let rest = u64::from(target.weight.rest_of(target.scale).get()).saturating_sub(others);
    let entries = route.get_mut("route").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        let weight = match roles.of_entry(entry) {
            Some(name) if name == target.canary.name => json!(target.weight.get()),
            Some(_) => json!(rest),
            None => continue,
        };
        set(entry, &["weight"], Some(weight));
    }
}

/// Lets the canary's destination in a route set the cookie for as long as there is a route for it.
fn render_cookie(roles: Roles<'_>, route: &mut Value, session: &Session, target: &TrafficTarget) {
    let entries = route.get_mut("route").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        if let Some(name) = roles.of_entry(entry) {
            cookie::render(entry, session, session::wanted(target, name));
        }
    }
}

/// What is wrong with the fields themselves.
fn problems(spec: &IstioTrafficRouting, chosen: &[Chosen]) -> Vec<Problem> {
    if spec.virtual_service.is_some()
        && spec.virtual_services.as_ref().is_some_and(|several| !several.is_empty())
    {
        let message =
            "virtualService and virtualServices cannot both be set: name all of them in virtualServices";
        return vec![Problem::new("istio.virtualServices", message)];
    }
    if chosen.is_empty() {
        let message = "names no VirtualService: name the one that leads to both versions";
        return vec![Problem::new("istio.virtualService", message)];
    }
    if let Some(rule) = &spec.destination_rule
        && rule.canary_subset_name == rule.stable_subset_name
        && let Some(name) = rule.canary_subset_name.as_ref().filter(|name| !name.is_empty())
    {
        let message = format!("is \"{name}\", as stableSubsetName is: each role needs a subset of its own");
        return vec![Problem::new("istio.destinationRule.canarySubsetName", message)];
    }
    let twice = chosen
        .iter()
        .enumerate()
        .filter(|(index, one)| chosen.iter().take(*index).any(|other| other.route == one.route));
    let twice = twice.map(|(_, one)| {
        Problem::new(&one.field, format!("names VirtualService \"{}\" twice: remove one", one.route.name))
    });
    twice.collect()
}

#[cfg(test)]
mod tests;
