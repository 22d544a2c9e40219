//! The cookie that the canary's backend sets in the rules of an `HTTPRoute` that lead to both versions.

use serde_json::{Value, json};

use super::{Chosen, GatewayApi, Place};
use crate::traffic::route::{at, items, set, text};
use crate::traffic::session::{self, Setters};
use crate::traffic::{RouteKind, Routes, Session, TrafficTarget};

/// The kind of filter that adds headers to answers; a backend has one at most.
const FILTER: &str = "ResponseHeaderModifier";
/// Its field.
const FIELD: &str = "responseHeaderModifier";
/// The header that sets a cookie.
const NAME: &str = "Set-Cookie";

impl GatewayApi {
    /// Lets the canary's backend set the cookie for as long as there is a rule for it.
    pub(super) fn render_cookie(&self, route: &mut Value, chosen: &Chosen, target: &TrafficTarget) {
        let Some(session) = self.session_of(chosen) else { return };
        let rules = route.pointer_mut("/spec/rules").and_then(Value::as_array_mut);
        for rule in rules.into_iter().flatten().filter(|rule| self.is_meant(chosen, rule)) {
            let backends = rule.get_mut("backendRefs").and_then(Value::as_array_mut);
            for backend in backends.into_iter().flatten() {
                if let Some(service) = self.service(backend) {
                    render(backend, session, session::wanted(target, service));
                }
            }
        }
    }

    /// What sets the cookie in each route.
    pub(super) fn setters(&self, routes: &Routes) -> Vec<Setters> {
        self.places(routes).iter().filter_map(|place| self.setters_of(routes, place)).collect()
    }

    /// What is in the way of the cookie in a route: another one of the canary's.
    pub(super) fn problem_of_cookie(&self, rules: &[Value], chosen: &Chosen) -> Option<String> {
        let session = self.session_of(chosen)?;
        let meant = rules.iter().filter(|rule| self.is_meant(chosen, rule));
        let mut backends = meant.flat_map(|rule| items(rule, &["backendRefs"]));
        let is_canarys = |backend: &&Value| self.service(backend) == Some(self.idle.as_str());
        backends.find(|backend| is_canarys(backend) && has_anothers(session, backend))?;
        Some(format!(
            "adds a header {NAME} to answers of Service {} that is not the annotation's, and takes one only: remove it, or \
             the annotation",
            self.idle
        ))
    }

    fn session_of(&self, chosen: &Chosen) -> Option<&Session> {
        self.subject.session.as_ref().filter(|_| chosen.kind == RouteKind::HttpRoute)
    }

    fn setters_of(&self, routes: &Routes, place: &Place<'_>) -> Option<Setters> {
        let session = self.session_of(place.chosen)?;
        let rules = items(routes.get(&place.route)?, &["spec", "rules"]);
        let meant = rules.iter().filter(|rule| self.is_meant(place.chosen, rule));
        let backends: Vec<_> = meant.flat_map(|rule| items(rule, &["backendRefs"])).collect();
        let right = session.header();
        let is_right = |backend: &Value| match self.service(backend) {
            Some(service) if service == self.idle => cookies(backend).eq([right.as_str()]),
            Some(_) => !has_ours(session, backend),
            None => true,
        };
        let sets = |backend: &Value| self.service(backend).is_some() && has_ours(session, backend);
        Some(Setters {
            are_right: backends.iter().all(|backend| is_right(backend)),
            is_any: backends.iter().any(|backend| sets(backend)),
        })
    }
}

/// The cookies that a backend adds to answers.
fn cookies(backend: &Value) -> impl Iterator<Item = &str> {
    let filters = items(backend, &["filters"]).iter();
    let added = filters.flat_map(|filter| items(filter, &[FIELD, "add"]));
    added
        .filter(|added| text(added, &["name"]).eq_ignore_ascii_case(NAME))
        .map(|added| text(added, &["value"]))
}

fn has_ours(session: &Session, backend: &Value) -> bool {
    cookies(backend).any(|cookie| session.is_set_by(cookie))
}

fn has_anothers(session: &Session, backend: &Value) -> bool {
    cookies(backend).any(|cookie| !session.is_set_by(cookie))
}

/// Lets a backend set the cookie that is wanted, and none other of ours.
fn render(backend: &mut Value, ours: &Session, wanted: Option<&Session>) {
    let wanted = wanted.filter(|_| !has_anothers(ours, backend));
    if wanted.is_none() && !has_ours(ours, backend) {
        return;
    }
    let mut filters = items(backend, &["filters"]).to_vec();
    if wanted.is_some() && !filters.iter().any(is_modifier) {
        filters.push(json!({"type": FILTER, (FIELD): {}}));
    }
    for filter in filters.iter_mut().filter(|filter| is_modifier(filter)) {
        let mut added = items(filter, &[FIELD, "add"]).to_vec();
        added.retain(|added| !is_ours(ours, added));
        added.extend(wanted.map(|session| json!({"name": NAME, "value": session.header()})));
        set(filter, &[FIELD, "add"], (!added.is_empty()).then_some(Value::Array(added)));
    }
    // A filter that does nothing is not taken by the API.
    filters.retain(|filter| !is_modifier(filter) || at(filter, &[FIELD]) != &json!({}));
    set(backend, &["filters"], (!filters.is_empty()).then_some(Value::Array(filters)));
}

fn is_ours(session: &Session, added: &Value) -> bool {
    text(added, &["name"]).eq_ignore_ascii_case(NAME) && session.is_set_by(text(added, &["value"]))
}

fn is_modifier(filter: &Value) -> bool {
    text(filter, &["type"]) == FILTER
}
