//! What golden files cannot show: objects that somebody else edited, and those that are in the way.

use serde_json::{Value, json};

use crate::traffic::{
    Destination, ManagedRoute, RouteKind, RouteName, Routers, Routes, TrafficTarget, of_step,
};
use crate::units::Weight;

/// A Rollout with one VirtualService.
struct Case {
    routers: Routers,
    routes: Routes,
    name: RouteName,
}

impl Case {
    /// With `fields` of the canary, and these HTTP routes.
    fn new(fields: &Value, managed: &[&str], chosen: &[&str], http: &Value) -> Self {
        let managed: Vec<_> = managed.iter().map(|name| json!({"name": name})).collect();
        let routing = json!({
            "managedRoutes": managed, "istio": {"virtualService": {"name": "web", "routes": chosen}},
        });
        let mut canary =
            json!({"canaryService": "canary", "stableService": "stable", "trafficRouting": routing});
        canary.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let rollout = json!({
            "metadata": {"name": "web", "namespace": "shop"}, "spec": {"strategy": {"canary": canary}},
        });
        let rollout = serde_json::from_value(rollout).unwrap();
        let name = RouteName::new(RouteKind::VirtualService, "shop", "web");
        let objects = [(name.clone(), json!({"spec": {"http": http}}))].into();
        Self { routers: Routers::of(&rollout), routes: Routes { objects, ..Routes::default() }, name }
    }

    fn http(&mut self) -> &mut Vec<Value> {
        self.routes.objects.get_mut(&self.name).unwrap()["spec"]["http"].as_array_mut().unwrap()
    }

    fn render(&mut self, [canary, stable]: [&str; 2], managed: &[ManagedRoute]) {
        let destination = |name: &str| Destination { name: name.to_owned(), hash: None };
        let target = TrafficTarget {
            canary: destination(canary),
            stable: destination(stable),
            weight: Weight::observed(20),
            scale: Weight::FULL,
            managed: managed.to_vec(),
            experiments: vec![],
        };
        self.routers.render(&mut self.routes, &target);
    }

    fn managed(&self) -> Vec<(String, Option<ManagedRoute>)> {
        self.routers.observe(&self.routes).unwrap().managed.into_iter().collect()
    }
}

const ROLES: [&str; 2] = ["canary", "stable"];

/// A step that makes a route by a header.
fn step(name: &str) -> Value {
    json!({"setHeaderRoute": {"name": name, "match": [{"headerName": "x", "headerValue": {"exact": "1"}}]}})
}

fn header(name: &str) -> ManagedRoute {
    let (name, rule) = of_step(&serde_json::from_value(step(name)).unwrap()).unwrap();
    ManagedRoute { name, rule: rule.unwrap() }
}

fn both(name: &str) -> Value {
    json!({"name": name, "route": [{"destination": {"host": "stable"}}, {"destination": {"host": "canary"}}]})
}

#[test]
fn a_route_that_leads_to_stable_is_right_only_where_roles_alternate() {
    let beta = || vec![header("beta")];
    let check = |fields: Value, expected: Option<ManagedRoute>| {
        let mut case = Case::new(&fields, &["beta"], &["main"], &json!([both("main")]));
        case.render(ROLES, &beta());
        assert_eq!(case.managed(), [("beta".to_owned(), Some(header("beta")))]);
        case.http()[0]["route"][0]["destination"]["host"] = json!("stable");
        assert_eq!(case.managed(), [("beta".to_owned(), expected)]);
    };
    let steps = json!([step("beta")]);
    check(json!({"steps": steps}), None);
    let pair = json!({"pingService": "canary", "pongService": "stable"});
    check(json!({"steps": steps, "pingPong": pair}), Some(header("beta")));
}

#[test]
fn a_route_that_leads_to_the_rollout_is_never_one_that_steps_make() {
    let http = json!([both("main")]);
    let mut case = Case::new(&json!({"steps": [step("main")]}), &["main"], &["main"], &http);
    assert_eq!(case.routers.problems(&case.routes).len(), 1);
    case.render(ROLES, &[header("main")]);
    assert_eq!(case.http().len(), 1);
    assert_eq!(case.managed(), []);
}

#[test]
fn what_somebody_else_has_by_the_name_of_a_route_stays() {
    let check = |foreign: Value| {
        let http = json!([foreign, both("main")]);
        let mut case = Case::new(&json!({"steps": [step("beta")]}), &["beta"], &["main"], &http);
        assert_eq!(case.routers.problems(&case.routes).len(), 1, "{foreign}");
        assert_eq!(case.managed(), [], "{foreign}");
        case.render(ROLES, &[]);
        assert_eq!(case.http()[0], foreign);
        assert_eq!(case.http().len(), 2, "{foreign}");
    };
    check(both("beta"));
    check(json!({"name": "beta", "route": [{"destination": {"host": "canary"}}]}));
    check(json!({"name": "beta", "redirect": {"uri": "/"}}));
    let testers = json!([{"headers": {"x": {"exact": "1"}}}]);
    check(json!({"name": "beta", "match": testers, "route": [{"destination": {"host": "canary.other"}}]}));
    check(
        json!({"name": "beta", "match": testers, "route": [{"destination": {"host": "other"}}], "mirror": {"host": "audit"}}),
    );
}

#[test]
fn a_route_by_a_step_may_stand_among_those_of_others_before_what_it_is_a_copy_of() {
    let http = json!([both("api"), {"name": "docs", "redirect": {"uri": "/"}}, both("main")]);
    let (names, chosen) = (["beta", "staff"], ["api", "main"]);
    let steps = json!({"steps": [step("beta"), step("staff")]});
    let all = || [header("beta"), header("staff")];
    let check = |edit: &dyn Fn(&mut Vec<Value>), expected: [bool; 2]| {
        let mut case = Case::new(&steps, &names, &chosen, &http);
        case.render(ROLES, &all());
        let rendered = case.http().clone();
        edit(case.http());
        let found: Vec<_> = case.managed().into_iter().map(|(_, found)| found.is_some()).collect();
        assert_eq!(found, expected, "{:#?}", case.http());
        case.render(ROLES, &all());
        case.http().retain(|route| route["name"] != "foreign");
        assert_eq!(*case.http(), rendered);
    };
    let foreign = json!({"name": "foreign", "redirect": {"uri": "/"}});
    check(&|_| {}, [true, true]);
    check(&|http| http.insert(0, foreign.clone()), [true, true]);
    check(&|http| http.insert(1, foreign.clone()), [true, true]);
    check(&|http| http.insert(2, foreign.clone()), [true, true]);
    check(&|http| http.swap(0, 1), [false, false]);
    check(&|http| http.swap(1, 2), [false, false]);
    check(&|http| http[1]["timeout"] = json!("1s"), [true, false]);
    check(&|http| drop(http.remove(0)), [false, true]);
}
