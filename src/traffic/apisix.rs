//! Apache APISIX: weights of the backends in rules of an `ApisixRoute` that users have.
//!
//! Everything else in it stays as it is, other rules and backends included. A route by header is an `ApisixRoute` of the
//! Rollout's own, called what the step calls it: a copy of each of the rules that leads to the canary alone, asks for the
//! headers besides, and has the higher priority, the first of `managedRoutes` the highest. Whichever belong to the Rollout
//! and no step asks for are deleted. Absent on purpose: mirrors, which a plugin of the proxy makes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::managed::{Managed, ManagedRoute, Rule};
use super::route::{Controller, at, controller, items, set, text};
use super::routers::{Abilities, Problem, Router, Subject, both};
use super::weighted::{Backends, LARGEST_WEIGHT};
use super::{Need, ObservedTraffic, RouteKind, RouteName, Routes, TrafficTarget};
use crate::api::canary_step::HeaderRoutingMatch;
use crate::api::traffic_routing::ApisixTrafficRouting;
use crate::units::Weight;

/// The field that names the object.
const NAME: &str = "apisix.route.name";
/// The field that names its rules.
const RULES: &str = "apisix.route.rules";
/// A backend without a weight has this one.
const BACKENDS: Backends = Backends { service, default: 100 };

/// The router.
#[derive(Debug)]
pub(super) struct Apisix {
    subject: Subject,
    /// The route; `None` where the spec names none.
    route: Option<RouteName>,
    /// The names of its rules; none of them stands for each that leads to both Services.
    rules: Vec<String>,
}

impl Apisix {
    pub(super) fn new(subject: Subject, spec: &ApisixTrafficRouting) -> Self {
        let named = spec.route.as_ref().filter(|route| !route.name.is_empty());
        let route =
            named.map(|route| RouteName::new(RouteKind::ApisixRoute, &subject.namespace, &route.name));
        let rules = named.and_then(|route| route.rules.clone()).unwrap_or_default();
        Self { subject, route, rules }
    }

    fn is_meant(&self, rule: &Value) -> bool {
        if self.rules.is_empty() {
            let backends = items(rule, &["backends"]);
            self.subject
                .names()
                .iter()
                .all(|name| backends.iter().any(|backend| service(backend, "") == *name))
        } else {
            self.rules.iter().any(|name| name == text(rule, &["name"]))
        }
    }

    fn meant<'v>(&self, object: &'v Value) -> impl Iterator<Item = &'v Value> {
        items(object, &["spec", "http"]).iter().filter(|rule| self.is_meant(rule))
    }

    fn render_weights(&self, object: &mut Value, target: &TrafficTarget) {
        let http = object.pointer_mut("/spec/http").and_then(Value::as_array_mut);
        for rule in http.into_iter().flatten().filter(|rule| self.is_meant(rule)) {
            if let Some(backends) = rule.get_mut("backends").and_then(Value::as_array_mut) {
                BACKENDS.render(backends, &self.subject, target);
            }
        }
    }

    fn problems_of(&self, name: &str, object: &Value) -> Vec<Problem> {
        let absent = self.rules.iter().enumerate().filter_map(|(index, rule)| {
            let is_there = self.meant(object).any(|found| text(found, &["name"]) == rule);
            let message = format!(
                "ApisixRoute \"{name}\" has no rule \"{rule}\" in spec.http: add it, or correct the name"
            );
            (!is_there).then(|| Problem::new(format!("{RULES}[{index}]"), message))
        });
        let wrong = self.meant(object).filter_map(|rule| {
            let why = BACKENDS.problem(items(rule, &["backends"]), &self.subject)?;
            let rule = text(rule, &["name"]);
            let message = format!("rule \"{rule}\" of ApisixRoute \"{name}\" {why} in backends");
            Some(Problem::new(RULES, message))
        });
        let mut problems: Vec<_> = absent.chain(wrong).collect();
        if self.rules.is_empty() && self.meant(object).next().is_none() {
            let [canary, stable] = self.subject.names();
            let message = format!(
                "ApisixRoute \"{name}\" has no rule whose backends name both {canary} and {stable}: add both to one"
            );
            problems.push(Problem::new(RULES, message));
        }
        problems
    }

    /// Names of routes by header that are somebody else's.
    fn taken_names(&self, routes: &Routes) -> Vec<Problem> {
        let taken = self.subject.managed_names.iter().enumerate().filter_map(|(index, name)| {
            let message = format!(
                "ApisixRoute \"{name}\" exists and does not belong to this Rollout: choose another name in managedRoutes"
            );
            let is_anothers = routes.is_anothers(&self.named(name), &self.subject.rollout);
            is_anothers.then(|| Problem::new(format!("managedRoutes[{index}].name"), message))
        });
        taken.collect()
    }

    /// The route by header of this name.
    fn named(&self, name: &str) -> RouteName {
        RouteName::new(RouteKind::ApisixRoute, &self.subject.namespace, name)
    }

    /// What a route by header says, as a step makes it; `None` for a step that makes another one.
    fn made(&self, object: &Value, route: &ManagedRoute, canary: &str) -> Option<Value> {
        let Rule::Header(headers) = &route.rule else { return None };
        let names = &self.subject.managed_names;
        let later = names.iter().skip_while(|name| **name != route.name).count();
        let rules = self.meant(object).map(|rule| narrowed(rule, headers, later, canary)).collect();
        let mut spec = at(object, &["spec"]).clone();
        set(&mut spec, &["http"], Some(Value::Array(rules)));
        set(&mut spec, &["stream"], None);
        Some(spec)
    }

    /// The routes by header that are there: the objects that belong to the Rollout.
    fn there<'r>(&self, routes: &'r Routes) -> impl Iterator<Item = (&'r RouteName, &'r Value)> {
        routes.objects.iter().filter(|(name, object)| {
            name.kind == RouteKind::ApisixRoute
                && Some(*name) != self.route.as_ref()
                && controller(object) == Controller::Rollout(&self.subject.rollout)
        })
    }

    fn observe_headers(&self, routes: &Routes, object: &Value) -> BTreeMap<String, Option<ManagedRoute>> {
        let made_by_step = |name: &RouteName, found: &Value| {
            let mut candidates = self.subject.managed.iter().filter(|route| route.name == name.name);
            // Where the roles alternate, each may be the canary's.
            let is_made = |route: &&ManagedRoute| {
                let names = self.subject.names();
                names.iter().any(|canary| self.made(object, route, canary).as_ref() == found.get("spec"))
            };
            candidates.find(is_made).cloned()
        };
        self.there(routes).map(|(name, found)| (name.name.clone(), made_by_step(name, found))).collect()
    }

    fn render_headers(&self, routes: &mut Routes, object: &Value, target: &TrafficTarget) {
        let is_wanted = |name: &RouteName| target.managed.iter().any(|route| route.name == name.name);
        let there = self.there(routes).map(|(name, _)| name.clone());
        let over: Vec<_> = there.filter(|name| !is_wanted(name)).collect();
        for name in over {
            routes.objects.remove(&name);
        }
        for route in &target.managed {
            let name = self.named(&route.name);
            let Some(spec) = self.made(object, route, &target.canary.name) else { continue };
            let Some(mut own) = routes.own(&name, &self.subject) else { continue };
            set(&mut own, &["spec"], Some(spec));
            routes.objects.insert(name, own);
        }
    }
}

impl Router for Apisix {
    fn field(&self) -> &'static str {
        "apisix"
    }

    fn abilities(&self) -> Abilities {
        Abilities { ping_pong: true, largest_scale: Weight::observed(LARGEST_WEIGHT) }
    }

    fn managed(&self) -> Managed {
        Managed::Headers
    }

    /// All of the namespace: a route by header that the spec does not name any more has to be found, too.
    fn needs(&self) -> Vec<Need> {
        let all = |route: &RouteName| Need::All { kind: route.kind, namespace: route.namespace.clone() };
        self.route.iter().map(all).collect()
    }

    fn edits(&self, _routes: &Routes) -> Vec<RouteName> {
        self.route.iter().cloned().collect()
    }

    fn problems(&self, routes: &Routes) -> Vec<Problem> {
        let Some(route) = &self.route else {
            let message = "names no ApisixRoute: set it to the one whose rules lead to the Services";
            return vec![Problem::new(NAME, message)];
        };
        let name = &route.name;
        let mut problems = self.taken_names(routes);
        if let Some(object) = routes.get(route) {
            problems.extend(self.problems_of(name, object));
        } else {
            let message =
                format!("ApisixRoute \"{name}\" not found: create it in this namespace, or correct the name");
            problems.push(Problem::new(NAME, message));
        }
        problems
    }

    fn observe(&self, routes: &Routes) -> Option<ObservedTraffic> {
        let object = routes.get(self.route.as_ref()?)?;
        let shares = self.meant(object).map(|rule| BACKENDS.observe(&receivers(rule), &self.subject));
        let observed = shares.reduce(both)?;
        Some(ObservedTraffic { managed: self.observe_headers(routes, object), ..observed })
    }

    fn render(&self, routes: &mut Routes, target: &TrafficTarget) {
        let Some(route) = &self.route else { return };
        routes.edit(route, |object| self.render_weights(object, target));
        if let Some(object) = routes.get(route).cloned() {
            self.render_headers(routes, &object, target);
        }
    }
}

/// A backend is always a Service of the route's namespace.
fn service<'v>(backend: &'v Value, _namespace: &str) -> &'v str {
    text(backend, &["serviceName"])
}

/// Whoever a rule gives a share to: its backends, and upstreams, which are no Services.
fn receivers(rule: &Value) -> Vec<Value> {
    items(rule, &["backends"]).iter().chain(items(rule, &["upstreams"])).cloned().collect()
}

/// A copy of a rule for requests with these headers, which leads to the canary alone.
fn narrowed(rule: &Value, headers: &[HeaderRoutingMatch], above: usize, canary: &str) -> Value {
    let mut made = rule.clone();
    let priority = at(rule, &["priority"]).as_i64().unwrap_or_default();
    let above = i64::try_from(above).unwrap_or(i64::MAX);
    set(&mut made, &["priority"], Some(json!(priority.saturating_add(above))));
    // All of them have to hold.
    let exprs = items(rule, &["match", "exprs"]).iter().cloned();
    let exprs = exprs.chain(headers.iter().map(expression)).collect();
    set(&mut made, &["match", "exprs"], Some(Value::Array(exprs)));
    let backends = items(rule, &["backends"]).iter().filter(|backend| service(backend, "") == canary);
    let backends = backends.cloned().map(|mut backend| {
        set(&mut backend, &["weight"], None);
        backend
    });
    set(&mut made, &["backends"], Some(Value::Array(backends.collect())));
    set(&mut made, &["upstreams"], None);
    made
}

fn expression(header: &HeaderRoutingMatch) -> Value {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let value = header.header_value.as_ref();
    let exact = value.and_then(|value| given(&value.exact)).map(|exact| ("Equal", exact));
    let prefix = value.and_then(|value| given(&value.prefix));
    let prefix = prefix.map(|prefix| ("RegexMatch", format!("^{}", regex::escape(&prefix))));
    let regex = value.and_then(|value| given(&value.regex)).map(|regex| ("RegexMatch", regex));
    let (op, value) = exact.or(prefix).or(regex).unwrap_or_default();
    json!({"subject": {"scope": "Header", "name": header.header_name}, "op": op, "value": value})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Destination;

    fn route(name: &str, value: &Value) -> ManagedRoute {
        let header = json!([{"headerName": "X-Tester", "headerValue": value}]);
        ManagedRoute { name: name.to_owned(), rule: Rule::Header(serde_json::from_value(header).unwrap()) }
    }

    fn routes_by_header() -> Vec<ManagedRoute> {
        vec![
            route("staff", &json!({"exact": "1"})),
            route("testers", &json!({"exact": "", "prefix": "a.b"})),
            route("testers", &json!({"regex": "^a"})),
        ]
    }

    fn apisix(managed_names: &[&str]) -> Apisix {
        let subject = Subject {
            rollout: "web".to_owned(),
            namespace: "team".to_owned(),
            canary: "canary".to_owned(),
            stable: "stable".to_owned(),
            scale: Weight::FULL,
            managed: routes_by_header(),
            managed_names: managed_names.iter().map(|name| (*name).to_owned()).collect(),
            ..Subject::default()
        };
        Apisix::new(subject, &serde_json::from_value(json!({"route": {"name": "shop"}})).unwrap())
    }

    fn rule(backends: &Value) -> Value {
        json!({"name": "all", "priority": 5, "match": {"paths": ["/*"]}, "backends": backends})
    }

    fn backends() -> Value {
        json!([{"serviceName": "stable", "servicePort": 80}, {"serviceName": "canary", "servicePort": 80}])
    }

    fn with(rules: &[Value]) -> Routes {
        let object =
            json!({"metadata": {"name": "shop"}, "spec": {"http": rules, "stream": [{"name": "s"}]}});
        Routes { objects: [(apisix(&[]).named("shop"), object)].into(), ..Routes::default() }
    }

    fn target(canary: &str, stable: &str, managed: &[ManagedRoute]) -> TrafficTarget {
        let [canary, stable] =
            [canary, stable].map(|name| Destination { name: name.to_owned(), ..Destination::default() });
        let weight = Weight::observed(20);
        TrafficTarget {
            canary,
            stable,
            weight,
            scale: Weight::FULL,
            managed: managed.to_vec(),
            experiments: vec![],
        }
    }

    fn observed(apisix: &Apisix, known: &Routes) -> Vec<(String, Option<ManagedRoute>)> {
        apisix.observe(known).unwrap().managed.into_iter().collect()
    }

    #[test]
    fn a_backend_without_a_weight_counts_a_hundred_and_upstreams_have_shares_too() {
        let check = |edit: &dyn Fn(&mut Value), expected: Option<u32>| {
            let mut rule = rule(&backends());
            edit(&mut rule);
            let observed = apisix(&[]).observe(&with(&[rule.clone()])).unwrap();
            let share = (!observed.is_unclear).then(|| observed.shares["canary"]);
            assert_eq!(share, expected, "{rule}");
        };
        check(&|_| {}, Some(50));
        check(&|rule| rule["backends"][0]["weight"] = json!(300), Some(25));
        check(&|rule| rule["backends"][1]["weight"] = json!(0), Some(0));
        check(&|rule| rule["backends"][1]["weight"] = json!("10"), None);
        check(&|rule| rule["upstreams"] = json!([{"name": "external"}]), None);
        check(&|rule| rule["upstreams"] = json!([{"name": "external", "weight": 0}]), Some(50));
    }

    #[test]
    fn without_names_each_rule_that_leads_to_both_is_meant() {
        let docs = json!({"name": "docs", "backends": [{"serviceName": "stable", "weight": 7}]});
        let mut known = with(&[docs.clone(), rule(&backends())]);
        let apisix = apisix(&[]);
        assert_eq!(apisix.problems(&known), []);
        apisix.render(&mut known, &target("canary", "stable", &[]));
        let object = known.get(&apisix.named("shop")).unwrap();
        assert_eq!(object["spec"]["http"][0], docs);
        let weights = items(object, &["spec", "http"])[1]["backends"].as_array().unwrap();
        assert_eq!(weights.iter().map(|backend| backend["weight"].clone()).collect::<Vec<_>>(), [80, 20]);
    }

    #[test]
    fn a_route_by_header_asks_for_all_that_its_rule_asks_for_and_more() {
        let check = |route: &ManagedRoute, priority: i64, op: &str, value: &str| {
            let apisix = apisix(&["staff", "testers"]);
            let known = json!({"subject": {"scope": "Query", "name": "v"}, "op": "Equal", "value": "2"});
            let mut base = rule(&backends());
            base["match"]["exprs"] = json!([known]);
            base["upstreams"] = json!([{"name": "external", "weight": 0}]);
            let mut routes = with(&[base]);
            apisix.render(&mut routes, &target("canary", "stable", std::slice::from_ref(route)));
            let made = routes.get(&apisix.named(&route.name)).unwrap();
            let subject = json!({"scope": "Header", "name": "X-Tester"});
            let wanted = json!({"subject": subject, "op": op, "value": value});
            let rule = json!({
                "name": "all", "priority": priority, "match": {"paths": ["/*"], "exprs": [known, wanted]},
                "backends": [{"serviceName": "canary", "servicePort": 80}],
            });
            assert_eq!(made["spec"], json!({"http": [rule]}));
            assert_eq!(controller(made), Controller::Rollout("web"));
            assert_eq!(observed(&apisix, &routes), [(route.name.clone(), Some(route.clone()))]);
        };
        let [staff, by_prefix, by_regex] = <[_; 3]>::try_from(routes_by_header()).unwrap();
        check(&staff, 7, "Equal", "1");
        check(&by_prefix, 6, "RegexMatch", r"^a\.b");
        check(&by_regex, 6, "RegexMatch", "^a");
    }

    #[test]
    fn a_route_by_header_that_is_not_as_it_was_made_is_none_of_the_steps_and_goes() {
        let check = |managed_names: &[&str], edit: &dyn Fn(&mut Value, &mut Value)| {
            let apisix = apisix(&["testers"]);
            let staff = routes_by_header().remove(1);
            let mut known = with(&[rule(&backends())]);
            apisix.render(&mut known, &target("canary", "stable", &[staff]));
            let [base, made] = ["shop", "testers"].map(|name| apisix.named(name));
            let mut objects = [&base, &made].map(|name| known.get(name).unwrap().clone());
            let [of_base, of_made] = &mut objects;
            edit(of_base, of_made);
            known.objects.extend([base, made.clone()].into_iter().zip(objects));
            let apisix = super::tests::apisix(managed_names);
            assert_eq!(observed(&apisix, &known), [("testers".to_owned(), None)]);
            apisix.render(&mut known, &target("canary", "stable", &[]));
            assert_eq!(known.get(&made), None);
        };
        check(&["testers"], &|_, made| made["spec"]["http"][0]["priority"] = json!(1));
        check(&["testers"], &|_, made| {
            made["spec"]["http"][0]["backends"][0]["serviceName"] = json!("other");
        });
        check(&["testers"], &|base, _| base["spec"]["http"][0]["match"]["paths"] = json!(["/shop/*"]));
        check(&[], &|_, _| {});
    }

    #[test]
    fn where_roles_alternate_a_route_leads_to_whichever_is_the_canary() {
        let apisix = apisix(&["staff"]);
        let staff = routes_by_header().remove(0);
        let mut known = with(&[rule(&backends())]);
        apisix.render(&mut known, &target("stable", "canary", std::slice::from_ref(&staff)));
        assert_eq!(observed(&apisix, &known), [("staff".to_owned(), Some(staff))]);
        assert_eq!(apisix.observe(&known).unwrap().shares["stable"], 20);
    }

    #[test]
    fn what_somebody_else_has_by_the_name_of_a_route_stays() {
        let apisix = apisix(&["staff"]);
        let mut known = with(&[rule(&backends())]);
        known.objects.insert(apisix.named("staff"), json!({"spec": {"http": []}}));
        let fields: Vec<_> = apisix.problems(&known).into_iter().map(|problem| problem.field).collect();
        assert_eq!(fields, ["managedRoutes[0].name"]);
        assert_eq!(observed(&apisix, &known), []);
        let before = known.get(&apisix.named("staff")).cloned();
        apisix.render(&mut known, &target("canary", "stable", &routes_by_header()[..1]));
        assert_eq!(known.get(&apisix.named("staff")).cloned(), before);
    }

    #[test]
    fn a_router_without_a_route_says_so() {
        for spec in [json!({}), json!({"route": {"name": "", "rules": ["all"]}})] {
            let apisix = Apisix::new(Subject::default(), &serde_json::from_value(spec).unwrap());
            let fields = apisix.problems(&Routes::default()).into_iter().map(|problem| problem.field);
            assert_eq!(fields.collect::<Vec<_>>(), [NAME]);
            assert_eq!(apisix.needs(), []);
        }
    }
}
