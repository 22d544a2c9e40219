//! What each router makes of its objects. A file of `tests/routers/` holds a canary and the objects that users have; the
//! file beside it with `.out` shows what becomes of them at each target. `UPDATE=1` rewrites those.
//!
//! What holds for every router is checked on every file: what was rendered is what is observed, rendering it again changes
//! nothing, and nothing that came without being asked for is lost on the way to no weight at all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and its functions are part of it"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use serin::api::Rollout;
use serin::api::labels::SESSION_COOKIE;
use serin::traffic::{
    Cookie, Destination, ExperimentShare, ManagedRoute, RouteKind, RouteName, Routers, Routes, Session,
    TrafficTarget, of_step, subsets,
};
use serin::units::{PodHash, Weight};

/// Shares of the canary that are shown, as parts of a hundred.
const SHOWN: [u32; 3] = [30, 100, 0];

struct Case {
    rollout: Rollout,
    routes: Routes,
}

impl Case {
    fn read(path: &Path) -> Self {
        let mut documents: Vec<Value> =
            serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap();
        let mut canary = documents.remove(0);
        let mut rollout = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "1"},
            "status": {"currentPodHash": "new"},
        });
        // No fields of a strategy, but of the Rollout that it is of.
        let template = canary.as_object_mut().unwrap().remove("template");
        if let Some(cookie) = canary.as_object_mut().unwrap().remove("sessionCookie") {
            rollout["metadata"]["annotations"] = json!({(SESSION_COOKIE): cookie});
        }
        rollout["spec"] = json!({"strategy": {"canary": canary}, "template": template});
        let objects = documents.into_iter().map(|object| (name_of(&object), object)).collect();
        Self {
            rollout: serde_json::from_value(rollout).unwrap(),
            routes: Routes { objects, ..Routes::default() },
        }
    }

    fn target(&self, percent: u32) -> TrafficTarget {
        let canary = self.rollout.spec.strategy.as_ref().unwrap().canary.as_ref().unwrap();
        let scale = canary.traffic_routing.as_ref().unwrap().max_traffic_weight.unwrap_or(100);
        let scale = u32::try_from(scale).unwrap();
        let pair =
            canary.ping_pong.as_ref().map_or([&canary.canary_service, &canary.stable_service], |pair| {
                [&pair.ping_service, &pair.pong_service]
            });
        let services = pair.map(|name| name.clone().unwrap_or_default());
        let [canary, stable] = subsets(canary.traffic_routing.as_ref().unwrap()).unwrap_or(services);
        let hash = |text: &str| PodHash::new(text.to_owned());
        TrafficTarget {
            canary: Destination { name: canary, hash: hash("new") },
            stable: Destination { name: stable, hash: hash("old") },
            weight: Weight::observed(percent * scale / 100),
            scale: Weight::observed(scale),
            managed: Vec::new(),
            experiments: vec![],
        }
    }

    /// The same Rollout once its status says that Experiments get these shares.
    fn with_experiments(&self, shares: &[(&str, u32)]) -> Rollout {
        let additional: Vec<_> =
            shares.iter().map(|(name, weight)| json!({"serviceName": name, "weight": weight})).collect();
        let nothing = json!({"weight": 0});
        let weights = json!({"canary": nothing, "stable": nothing, "additional": additional});
        let status = serde_json::from_value(json!({"canary": {"weights": weights}})).unwrap();
        Rollout { status: Some(status), ..self.rollout.clone() }
    }

    /// The routes for some requests that there are after each step that makes one or takes one away.
    fn managed(&self) -> Vec<Vec<ManagedRoute>> {
        let canary = self.rollout.spec.strategy.as_ref().unwrap().canary.as_ref().unwrap();
        let names = canary.traffic_routing.as_ref().unwrap().managed_routes.iter().flatten();
        let mut rules = BTreeMap::new();
        let after = |(name, rule)| {
            rules.insert(name, rule);
            let rule = |name: &String| rules.get(name).cloned().flatten();
            let of_name = |name: &String| Some(ManagedRoute { name: name.clone(), rule: rule(name)? });
            names.clone().filter_map(|route| of_name(&route.name)).collect()
        };
        let mut sets: Vec<Vec<ManagedRoute>> =
            canary.steps.iter().flatten().filter_map(of_step).map(after).collect();
        if let Some(cookie) = Cookie::of(&self.rollout).unwrap() {
            let route = ManagedRoute::of_session(Session::with(cookie, &self.rollout).unwrap());
            sets.push(vec![]);
            for set in &mut sets {
                set.push(route.clone());
            }
        }
        sets
    }
}

fn name_of(object: &Value) -> RouteName {
    let group = object["apiVersion"].as_str().unwrap().split('/').next().unwrap();
    let is_it = |kind: &RouteKind| object["kind"] == kind.as_str() && kind.group() == group;
    let kind = RouteKind::ALL.into_iter().find(is_it);
    let kind = kind.unwrap_or_else(|| panic!("no router knows {}", object["kind"]));
    let text = |field: &str| object["metadata"][field].as_str();
    RouteName::new(kind, text("namespace").unwrap_or("shop"), text("name").unwrap())
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/routers");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The objects that a target changes, as they are then.
fn shown(case: &Case) -> String {
    let routers = Routers::of(&case.rollout);
    let mut text = String::new();
    let mut objects = case.routes.clone();
    let problems = routers.problems(&objects);
    for problem in &problems {
        writeln!(text, "! trafficRouting.{}: {}", problem.field, problem.message).unwrap();
    }
    if !problems.is_empty() {
        return text;
    }
    let sets = case.managed().into_iter().map(|managed| (30, managed));
    for (percent, managed) in sets.chain(SHOWN.map(|percent| (percent, vec![]))) {
        let before = objects.clone();
        let names: Vec<_> = managed.iter().map(|route| route.name.as_str()).collect();
        let names = if names.is_empty() { String::new() } else { format!(", {}", names.join(", ")) };
        routers.render(&mut objects, &TrafficTarget { managed, ..case.target(percent) });
        writeln!(text, "## {percent} of 100{names}").unwrap();
        for (name, object) in objects.objects.iter().filter(|(name, object)| before.get(name) != Some(object))
        {
            let object = serde_saphyr::to_string(object).unwrap();
            writeln!(text, "# {name}\n{}", object.trim_end()).unwrap();
        }
        for name in before.objects.keys().filter(|name| objects.get(name).is_none()) {
            writeln!(text, "# {name}: deleted").unwrap();
        }
    }
    text
}

#[test]
fn routers_make_of_their_objects_what_is_shown() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for path in files() {
        let text = shown(&Case::read(&path));
        let out = path.with_extension("out");
        if update {
            fs::write(&out, &text).unwrap();
        } else if fs::read_to_string(&out).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", out.display()));
        }
    }
    assert!(wrong.is_empty(), "UPDATE=1 rewrites what differs:\n{}", wrong.join("\n"));
}

/// Whether a case has objects that its router cannot work with.
fn is_refused(case: &Case) -> bool {
    !Routers::of(&case.rollout).problems(&case.routes).is_empty()
}

#[test]
fn what_was_rendered_is_observed_and_rendering_it_again_changes_nothing() {
    for path in files() {
        let case = Case::read(&path);
        if is_refused(&case) {
            continue;
        }
        let routers = Routers::of(&case.rollout);
        let mut objects = case.routes.clone();
        for managed in case.managed().into_iter().chain([vec![]]) {
            for percent in (0..=100).chain([7, 93, 0]) {
                let target = TrafficTarget { managed: managed.clone(), ..case.target(percent) };
                routers.render(&mut objects, &target);
                check_observed(&path, &routers, &objects, &target);
            }
        }
        let mut never = case.routes.clone();
        routers.render(&mut never, &case.target(30));
        routers.render(&mut never, &case.target(0));
        assert_eq!(objects, never, "{}: nothing is left of the routes for some requests", path.display());
    }
}

fn check_observed(path: &Path, routers: &Routers, objects: &Routes, target: &TrafficTarget) {
    let at = format!("{}: {} and {:?}", path.display(), target.weight, target.managed);
    let observed = routers.observe(objects).unwrap();
    let share = |name: &str| observed.shares.get(name).copied().unwrap_or_default();
    let seen = (share(&target.canary.name), share(&target.stable.name));
    assert_eq!(seen, (target.weight.get(), target.weight.rest_of(target.scale).get()), "{at}");
    let managed = target.managed.iter().map(|route| (route.name.clone(), Some(route.clone()))).collect();
    assert_eq!(observed.managed, managed, "{at}");
    assert_ne!(observed.verified, Some(false), "{at}");
    let mut again = objects.clone();
    routers.render(&mut again, target);
    assert_eq!(&again, objects, "{at}: again");
}

/// What Experiments get in the cases below.
const EXPERIMENTS: [(&str, u32); 2] = [("try-baseline", 5), ("try-candidate", 10)];

#[test]
fn experiments_have_their_part_of_stables_share_and_leave_nothing_behind() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for path in files() {
        let case = Case::read(&path);
        let before = Routers::of(&case.rollout);
        if is_refused(&case) || !before.serve_experiments() {
            continue;
        }
        let experiments = EXPERIMENTS.map(|(name, weight)| ExperimentShare {
            to: Destination { name: name.to_owned(), hash: None },
            weight: Weight::observed(weight),
        });
        let target = TrafficTarget { experiments: experiments.to_vec(), ..case.target(30) };
        let mut objects = case.routes.clone();
        before.render(&mut objects, &target);
        let during = Routers::of(&case.with_experiments(&EXPERIMENTS));
        check_observed(&path, &during, &objects, &target);
        let seen = during.observe(&objects).unwrap().experiments;
        assert_eq!(
            seen,
            EXPERIMENTS.map(|(name, weight)| (name.to_owned(), weight)).into(),
            "{}",
            path.display()
        );
        let out = path.with_extension("experiments.out");
        let text: String =
            objects.objects.values().map(|object| serde_saphyr::to_string(object).unwrap()).collect();
        if update {
            fs::write(&out, &text).unwrap();
        } else if fs::read_to_string(&out).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", out.display()));
        }
        during.render(&mut objects, &case.target(30));
        let mut never = case.routes.clone();
        before.render(&mut never, &case.target(30));
        assert_eq!(objects, never, "{}: something is left of the Experiments", path.display());
    }
    assert!(wrong.is_empty(), "UPDATE=1 rewrites what differs:\n{}", wrong.join("\n"));
}

#[test]
fn the_cookie_that_is_set_is_the_one_that_has_a_route() {
    let mut count = 0;
    for path in files() {
        let case = Case::read(&path);
        let Some(cookie) = Cookie::of(&case.rollout).unwrap().filter(|_| !is_refused(&case)) else {
            continue;
        };
        // The status that is stored still tells of the canary before.
        let mut later = case.rollout.clone();
        later.status.as_mut().unwrap().current_pod_hash = Some("later".to_owned());
        let managed = vec![ManagedRoute::of_session(Session::with(cookie, &later).unwrap())];
        let mut objects = case.routes.clone();
        Routers::of(&case.rollout).render(&mut objects, &TrafficTarget { managed, ..case.target(30) });
        let text = serde_json::to_string(&objects.objects.values().collect::<Vec<_>>()).unwrap();
        let is_right = text.contains("=later; Path=/") && !text.contains("=new; Path=/");
        assert!(is_right, "{}: {text}", path.display());
        count += 1;
    }
    assert!(count > 1);
}

#[test]
fn objects_that_nobody_can_read_are_no_weight_and_no_problem() {
    for path in files() {
        let mut case = Case::read(&path);
        let routers = Routers::of(&case.rollout);
        case.routes.unlisted.extend(routers.needs().iter().map(serin::traffic::Need::kind));
        assert_eq!(routers.observe(&case.routes), None, "{}", path.display());
        assert_eq!(routers.problems(&case.routes), [], "{}", path.display());
    }
}
