//! Routes that steps make by header: for each, an action that forwards to the canary, the condition in an annotation beside
//! it, and a copy of every path that uses the root Service's action, right before that one, so that no other path loses its
//! precedence. Conditions and transforms of the root Service hold for its routes, too.
//!
//! A note on the Ingress names the annotations, by Rollout, so that a route is taken away also when nothing else tells of
//! it any more. What the note says of other Rollouts, or of anything but such routes, stays; so does what only has the name
//! of such a route.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Alb, annotate, annotation, is_backend, paths, uses_action};
use crate::api::canary_step::HeaderRoutingMatch;
use crate::traffic::route::set;
use crate::traffic::{ManagedRoute, Rule};

/// The note that names the annotations of routes.
const NOTE: &str = "rollouts.argoproj.io/managed-alb-annotations";
/// The whole of a route's traffic.
const ALL: u32 = 100;
/// What annotations of a route hold: the first two are always there.
const KINDS: [&str; 3] = ["actions", "conditions", "transforms"];

impl Alb {
    /// The routes by steps that are there: `None` for all of them when one is not as any step makes it, or not where it has
    /// to be.
    pub(super) fn observe_headers(&self, ingress: &Value) -> BTreeMap<String, Option<ManagedRoute>> {
        let there = self.there(ingress);
        if there.is_empty() {
            return BTreeMap::new();
        }
        // Where the roles alternate, each may be the canary's.
        let whole = self.subject.names().into_iter().find_map(|canary| {
            let is_made = |route: &&ManagedRoute| {
                let made = self.annotations(ingress, route, canary);
                made.iter().all(|(key, value)| says(ingress, key, value))
            };
            let of_name = |name: &String| {
                let mut candidates = self.subject.managed.iter().filter(|route| route.name == *name);
                candidates.find(is_made).cloned()
            };
            let found: Vec<_> = self.subject.managed_names.iter().filter_map(of_name).collect();
            let mut rendered = ingress.clone();
            self.render_headers(&mut rendered, canary, &found);
            (found.len() == there.len() && rendered == *ingress).then_some(found)
        });
        match whole {
            Some(found) => found.into_iter().map(|route| (route.name.clone(), Some(route))).collect(),
            None => there.into_iter().map(|name| (name, None)).collect(),
        }
    }

    /// Makes these routes, the one with precedence first, and takes away all others that steps make.
    pub(super) fn render_headers(&self, ingress: &mut Value, canary: &str, routes: &[ManagedRoute]) {
        let names = self.names(ingress);
        let wanted: Vec<_> =
            routes.iter().flat_map(|route| self.annotations(ingress, route, canary)).collect();
        let keys: Vec<&String> = wanted.iter().map(|(key, _)| key).collect();
        let known = names.iter().flat_map(|name| self.keys(name)).chain(self.noted(ingress).of_routes);
        for key in known.filter(|key| !keys.contains(&key)) {
            annotate(ingress, &key, None);
        }
        for (key, value) in &wanted {
            if !says(ingress, key, value) {
                annotate(ingress, key, Some(value.to_string()));
            }
        }
        self.note(ingress, &keys);
        self.render_paths(ingress, &names, routes);
    }

    /// What is in the way of making routes in an Ingress.
    pub(super) fn problem_of_headers(&self, ingress: &Value) -> Option<String> {
        let is_used =
            |name: &str| paths(ingress).any(|path| is_backend(path, name) && !uses_action(path, name));
        let is_taken =
            |name: &String| *name == self.root || is_used(name) || self.is_somebody_elses(ingress, name);
        let name = self.subject.managed_names.iter().find(|name| is_taken(name))?;
        Some(format!(
            "has rules or annotations for a backend {name:?} of somebody else's, which is what a step would call its own: \
             choose another name in managedRoutes"
        ))
    }

    /// The names of routes that are the Rollout's to make; never that of the action with the weights.
    fn names(&self, ingress: &Value) -> BTreeSet<String> {
        let named = self.subject.managed_names.iter();
        let ours = named.filter(|name| **name != self.root && !self.is_somebody_elses(ingress, name));
        self.noted(ingress).names.into_iter().chain(ours.cloned()).collect()
    }

    /// Those of them that are there, wholly or in part.
    fn there(&self, ingress: &Value) -> BTreeSet<String> {
        let noted = self.noted(ingress).names;
        let is_there = |name: &String| noted.contains(name) || self.has_some(ingress, name);
        self.names(ingress).into_iter().filter(is_there).collect()
    }

    /// Whether something of this name is there that no step of the Rollout made: another Rollout's route, or a user's
    /// action.
    fn is_somebody_elses(&self, ingress: &Value, name: &str) -> bool {
        let [key, ..] = self.keys(name);
        let leads_to = |service: &str| says(ingress, &key, &self.action_to(service));
        self.has_some(ingress, name)
            && !self.noted(ingress).names.contains(name)
            && !self.subject.names().into_iter().any(leads_to)
    }

    /// Whether an Ingress has something of a route of this name.
    fn has_some(&self, ingress: &Value, name: &str) -> bool {
        self.keys(name).iter().any(|key| annotation(ingress, key).is_some())
            || paths(ingress).any(|path| uses_action(path, name))
    }

    fn keys(&self, name: &str) -> [String; 3] {
        KINDS.map(|kind| self.key(kind, name))
    }

    /// The action that forwards everything to a Service.
    fn action_to(&self, service: &str) -> Value {
        let group = json!({"ServiceName": service, "ServicePort": self.settings.port, "Weight": ALL});
        json!({"Type": "forward", "ForwardConfig": {"TargetGroups": [group]}})
    }

    /// The conditions of a route: those that the root Service has hold for it, too.
    pub(super) fn conditions(&self, ingress: &Value, headers: &[HeaderRoutingMatch]) -> Vec<Value> {
        let of_root = annotation(ingress, &self.key("conditions", &self.root)).and_then(parse::<Vec<Value>>);
        of_root.into_iter().flatten().chain(headers.iter().map(condition)).collect()
    }

    /// The annotations that a route is made of.
    fn annotations(&self, ingress: &Value, route: &ManagedRoute, canary: &str) -> Vec<(String, Value)> {
        let Rule::Header(headers) = &route.rule else { return vec![] };
        let conditions = Value::Array(self.conditions(ingress, headers));
        let transforms = annotation(ingress, &self.key("transforms", &self.root)).and_then(parse);
        let values = [Some(self.action_to(canary)), Some(conditions), transforms];
        let keys = self.keys(&route.name).into_iter().zip(values);
        keys.filter_map(|(key, value)| Some((key, value?))).collect()
    }

    fn render_paths(&self, ingress: &mut Value, names: &BTreeSet<String>, routes: &[ManagedRoute]) {
        let Some(rules) = ingress.pointer_mut("/spec/rules").and_then(Value::as_array_mut) else { return };
        rules.retain_mut(|rule| {
            let Some(paths) = rule.pointer_mut("/http/paths").and_then(Value::as_array_mut) else {
                return true;
            };
            let had_some = !paths.is_empty();
            paths.retain(|path| !names.iter().any(|name| uses_action(path, name)));
            *paths = paths.drain(..).flat_map(|path| self.with_copies(path, routes)).collect();
            // What is left of a rule whose own paths are gone would be refused by the API server.
            !(had_some && paths.is_empty())
        });
    }

    /// A path behind its copies for routes.
    fn with_copies(&self, path: Value, routes: &[ManagedRoute]) -> Vec<Value> {
        let routes = if uses_action(&path, &self.root) { routes } else { &[] };
        let copy = |route: &ManagedRoute| {
            let mut copy = path.clone();
            set(&mut copy, &["backend", "service", "name"], Some(json!(route.name)));
            copy
        };
        let copies: Vec<_> = routes.iter().map(copy).collect();
        copies.into_iter().chain([path]).collect()
    }

    /// What the note says of this Rollout.
    fn noted(&self, ingress: &Value) -> Noted {
        let note = annotation(ingress, NOTE).and_then(parse::<Map<String, Value>>).unwrap_or_default();
        let keys = note.get(&self.subject.rollout).cloned();
        let keys: Vec<String> = keys.and_then(|keys| serde_json::from_value(keys).ok()).unwrap_or_default();
        let of_kind = |kind: &str| keys.iter().filter_map(|key| name_of(key, kind)).collect::<BTreeSet<_>>();
        // An action alone is one with weights.
        let mut names = of_kind("actions");
        let conditions = of_kind("conditions");
        names.retain(|name| conditions.contains(name) && **name != self.root);
        let names: BTreeSet<_> = names.into_iter().map(str::to_owned).collect();
        let is_of_route = |key: &String| {
            let mut of_kinds = KINDS.into_iter().filter_map(|kind| name_of(key, kind));
            of_kinds.any(|name| names.contains(name))
        };
        let (of_routes, others) = keys.iter().cloned().partition(is_of_route);
        Noted { names, of_routes, others }
    }

    /// Notes the annotations of routes.
    fn note(&self, ingress: &mut Value, keys: &[&String]) {
        let noted = self.noted(ingress);
        if noted.of_routes.iter().eq(keys.iter().copied()) {
            return;
        }
        let keys: Vec<_> = noted.others.iter().chain(keys.iter().copied()).collect();
        let mut note = annotation(ingress, NOTE).and_then(parse).unwrap_or_else(|| json!({}));
        set(&mut note, &[&self.subject.rollout], (!keys.is_empty()).then(|| json!(keys)));
        let is_empty = note.as_object().is_none_or(Map::is_empty);
        annotate(ingress, NOTE, (!is_empty).then(|| note.to_string()));
    }
}

/// What the note says of one Rollout.
struct Noted {
    /// The names of its routes.
    names: BTreeSet<String>,
    /// The annotations of those.
    of_routes: Vec<String>,
    /// Other annotations.
    others: Vec<String>,
}

fn condition(header: &HeaderRoutingMatch) -> Value {
    let value = header.header_value.as_ref().and_then(|value| value.exact.as_ref());
    let config = json!({"httpHeaderName": header.header_name, "values": [value]});
    json!({"field": "http-header", "httpHeaderConfig": config})
}

/// The name behind `<prefix>/<kind>.` in the key of an annotation.
fn name_of<'a>(key: &'a str, kind: &str) -> Option<&'a str> {
    key.split_once('/')?.1.strip_prefix(kind)?.strip_prefix('.')
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// Whether an annotation says this, however it is written.
fn says(ingress: &Value, key: &str, value: &Value) -> bool {
    annotation(ingress, key).and_then(parse::<Value>).as_ref() == Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::{RouteKind, RouteName, Router, Routes, Subject};

    fn route(name: &str, value: &str) -> ManagedRoute {
        let header = json!([{"headerName": "x", "headerValue": {"exact": value}}]);
        ManagedRoute { name: name.to_owned(), rule: Rule::Header(serde_json::from_value(header).unwrap()) }
    }

    fn alb(managed_names: &[&str]) -> Alb {
        let subject = Subject {
            rollout: "web".to_owned(),
            namespace: "shop".to_owned(),
            canary: "canary".to_owned(),
            stable: "stable".to_owned(),
            managed: vec![route("testers", "1"), route("testers", "2"), route("staff", "1")],
            managed_names: managed_names.iter().map(|name| (*name).to_owned()).collect(),
            ..Subject::default()
        };
        let spec = serde_json::from_value(json!({"ingress": "web", "servicePort": 80})).unwrap();
        Alb::new(subject, Some("stable".to_owned()), &spec)
    }

    fn path(path: &str, service: &str) -> Value {
        json!({"path": path, "backend": {"service": {"name": service, "port": {"name": "use-annotation"}}}})
    }

    fn ingress(paths: &[Value]) -> Value {
        json!({"metadata": {"annotations": {"other": "1"}}, "spec": {"rules": [{"http": {"paths": paths}}]}})
    }

    /// An Ingress with these routes by `alb`.
    fn with(alb: &Alb, routes: &[ManagedRoute]) -> Value {
        let mut ingress = ingress(&[path("/docs", "docs"), path("/", "stable")]);
        alb.render_headers(&mut ingress, "canary", routes);
        ingress
    }

    fn observed(alb: &Alb, ingress: &Value) -> Vec<(String, Option<ManagedRoute>)> {
        alb.observe_headers(ingress).into_iter().collect()
    }

    #[test]
    fn routes_come_right_before_what_they_are_copies_of_and_go_again() {
        let alb = alb(&["staff", "testers"]);
        let routes = [route("staff", "1"), route("testers", "2")];
        let mut ingress = with(&alb, &routes);
        let found: Vec<_> = paths(&ingress).map(|path| path["backend"]["service"]["name"].clone()).collect();
        assert_eq!(found, ["docs", "staff", "testers", "stable"]);
        let expected = routes.map(|route| (route.name.clone(), Some(route)));
        assert_eq!(observed(&alb, &ingress), expected);
        let again = {
            let mut again = ingress.clone();
            alb.render_headers(&mut again, "canary", &[route("staff", "1"), route("testers", "2")]);
            again
        };
        assert_eq!(again, ingress);
        alb.render_headers(&mut ingress, "canary", &[]);
        assert_eq!(ingress, with(&alb, &[]));
        assert_eq!(observed(&alb, &ingress), []);
    }

    #[test]
    fn where_roles_alternate_a_route_leads_to_whichever_is_the_canary() {
        let alb = alb(&["testers"]);
        let mut ingress = with(&alb, &[route("testers", "1")]);
        alb.render_headers(&mut ingress, "stable", &[route("testers", "1")]);
        assert_eq!(observed(&alb, &ingress), [("testers".to_owned(), Some(route("testers", "1")))]);
        assert_ne!(ingress, with(&alb, &[route("testers", "1")]));
    }

    #[test]
    fn a_route_that_is_not_as_it_was_made_is_none_of_the_steps() {
        let alb = alb(&["staff", "testers"]);
        let check = |edit: &dyn Fn(&mut Value)| {
            let mut ingress = with(&alb, &[route("testers", "1")]);
            edit(&mut ingress);
            assert_eq!(observed(&alb, &ingress), [("testers".to_owned(), None)], "{ingress}");
        };
        check(&|ingress| ingress["spec"]["rules"][0]["http"]["paths"].as_array_mut().unwrap().swap(1, 2));
        check(&|ingress| {
            drop(ingress["spec"]["rules"][0]["http"]["paths"].as_array_mut().unwrap().remove(1));
        });
        check(&|ingress| {
            annotate(ingress, "alb.ingress.kubernetes.io/conditions.testers", Some("[]".to_owned()));
        });
        check(&|ingress| annotate(ingress, "alb.ingress.kubernetes.io/actions.testers", None));
        check(&|ingress| annotate(ingress, NOTE, None));
    }

    #[test]
    fn a_route_that_the_rollout_does_not_name_any_more_is_known_by_the_note() {
        let mut ingress = with(&alb(&["testers"]), &[route("testers", "1")]);
        let alb = alb(&[]);
        assert_eq!(observed(&alb, &ingress), [("testers".to_owned(), None)]);
        alb.render_headers(&mut ingress, "canary", &[]);
        assert_eq!(ingress, with(&alb, &[]));
    }

    #[test]
    fn what_the_note_says_of_others_stays() {
        let alb = alb(&["testers"]);
        let note = json!({"api": ["x/actions.api"], "web": ["alb.ingress.kubernetes.io/actions.stable", "x/actions.old"]});
        let noted = |ingress: &Value| annotation(ingress, NOTE).and_then(parse::<Value>).unwrap();
        let mut ingress = ingress(&[path("/", "stable"), path("/old", "old")]);
        annotate(&mut ingress, NOTE, Some(note.to_string()));
        assert_eq!(observed(&alb, &ingress), []);
        alb.render_headers(&mut ingress, "canary", &[route("testers", "1")]);
        let keys = alb.keys("testers");
        assert_eq!(noted(&ingress)["web"], json!([note["web"][0], note["web"][1], keys[0], keys[1]]));
        assert_eq!(noted(&ingress)["api"], note["api"]);
        alb.render_headers(&mut ingress, "canary", &[]);
        assert_eq!(noted(&ingress), note);
        assert_eq!(paths(&ingress).count(), 2);
    }

    #[test]
    fn conditions_of_the_root_service_hold_for_its_routes() {
        let alb = alb(&["testers"]);
        let mut ingress = with(&alb, &[]);
        let own = json!([{"field": "query-string"}]);
        annotate(&mut ingress, &alb.key("conditions", "stable"), Some(own.to_string()));
        alb.render_headers(&mut ingress, "canary", &[route("testers", "1")]);
        let found: Value = annotation(&ingress, &alb.keys("testers")[1]).and_then(parse).unwrap();
        assert_eq!(found[0], own[0]);
        assert_eq!(found[1]["httpHeaderConfig"], json!({"httpHeaderName": "x", "values": ["1"]}));
    }

    #[test]
    fn transforms_of_the_root_service_hold_for_its_routes() {
        let alb = alb(&["testers"]);
        let key = alb.key("transforms", "testers");
        let mut ingress = with(&alb, &[]);
        annotate(
            &mut ingress,
            &alb.key("transforms", "stable"),
            Some(r#"[ {"type": "url-rewrite"} ]"#.to_owned()),
        );
        let before = ingress.clone();
        alb.render_headers(&mut ingress, "canary", &[route("testers", "1")]);
        assert_eq!(annotation(&ingress, &key), Some(r#"[{"type":"url-rewrite"}]"#));
        assert_eq!(observed(&alb, &ingress), [("testers".to_owned(), Some(route("testers", "1")))]);
        annotate(&mut ingress, &key, None);
        assert_eq!(observed(&alb, &ingress), [("testers".to_owned(), None)]);
        alb.render_headers(&mut ingress, "canary", &[]);
        assert_eq!(ingress, before);
    }

    #[test]
    fn a_rule_whose_own_paths_are_gone_goes() {
        let alb = alb(&["testers"]);
        let mut ingress = with(&alb, &[route("testers", "1")]);
        ingress["spec"]["rules"][0]["http"]["paths"]
            .as_array_mut()
            .unwrap()
            .retain(|path| uses_action(path, "testers"));
        alb.render_headers(&mut ingress, "canary", &[]);
        assert_eq!(ingress["spec"]["rules"], json!([]));
    }

    /// Whether `alb` is kept from working with an Ingress.
    fn is_refused(alb: &Alb, ingress: &Value) -> bool {
        let name = RouteName::new(RouteKind::Ingress, "shop", "web");
        let known = Routes { objects: [(name, ingress.clone())].into(), ..Routes::default() };
        !alb.problems(&known).is_empty()
    }

    #[test]
    fn what_somebody_else_has_by_the_name_of_a_route_stays() {
        let alb = alb(&["testers"]);
        let check = |ingress: &Value| {
            assert!(is_refused(&alb, ingress), "{ingress}");
            assert_eq!(observed(&alb, ingress), [], "{ingress}");
            let mut after = ingress.clone();
            alb.render_headers(&mut after, "canary", &[]);
            assert_eq!(after, *ingress);
        };
        let redirect = Some(r#"{"type": "redirect"}"#.to_owned());
        let mut own = ingress(&[path("/old", "testers"), path("/", "stable")]);
        check(&own);
        annotate(&mut own, &alb.key("actions", "testers"), redirect);
        check(&own);
        let mut other = super::tests::alb(&["testers"]);
        other.subject.rollout = "api".to_owned();
        other.subject.canary = "api-canary".to_owned();
        let mut of_another = ingress(&[path("/", "stable")]);
        other.render_headers(&mut of_another, "api-canary", &[route("testers", "1")]);
        check(&of_another);
        assert!(!is_refused(&other, &of_another));
    }

    #[test]
    fn a_route_that_lost_its_note_is_known_by_where_it_leads() {
        let alb = alb(&["testers"]);
        let mut ingress = with(&alb, &[route("testers", "1")]);
        annotate(&mut ingress, NOTE, None);
        assert!(!is_refused(&alb, &ingress));
        alb.render_headers(&mut ingress, "canary", &[]);
        assert_eq!(ingress, with(&alb, &[]));
    }

    #[test]
    fn a_route_may_not_have_the_name_of_a_backend() {
        let check = |name: &str, expected: bool| {
            let mut docs = path("/docs", "docs");
            docs["backend"]["service"]["port"] = json!({"number": 80});
            assert_eq!(is_refused(&alb(&[name]), &ingress(&[path("/", "stable"), docs])), expected, "{name}");
        };
        check("testers", false);
        check("docs", true);
        check("stable", true);
    }
}
