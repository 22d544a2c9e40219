//! The AWS Load Balancer Controller: weights of the target groups in the action of an Ingress's rules.
//!
//! The action is an annotation in JSON, named after the root Service, and rules use it whose backend has that name and the
//! port `use-annotation`. What else the action says, and target groups that are not of the Rollout, stay as they are; so
//! does the rest of the Ingress, but for routes by header. Ingresses are users' objects: they are neither made nor deleted.
//! Absent on purpose: mirrors, which the load balancer does not have.

mod action;
mod header;
mod limits;
pub mod verification;

use serde_json::Value;

use self::action::{Action, Settings, Stickiness};
use self::verification::Question;
use super::managed::Managed;
use super::route::{at, items, set, text};
use super::routers::{Abilities, Problem, Router, Subject, both};
use super::weighted::Split;
use super::{Need, ObservedTraffic, RouteKind, RouteName, Routes, TrafficTarget};
use crate::api::traffic_routing::{AlbTrafficRouting, StickinessConfig};
use crate::units::Weight;

/// Prefix of the annotations unless the spec says otherwise.
const PREFIX: &str = "alb.ingress.kubernetes.io";
/// The name of a backend's port that stands for an action.
const USE_ANNOTATION: &str = "use-annotation";
/// The largest weight that the load balancer takes.
const LARGEST_WEIGHT: u32 = 999;
/// Longest time that the load balancer keeps a client for.
const LONGEST_SECONDS: i64 = 604_800;

/// The router.
#[derive(Debug)]
pub(super) struct Alb {
    subject: Subject,
    prefix: String,
    /// The Service that the action is named after; empty where the spec does not tell.
    root: String,
    /// Ingresses, each with the field that names it.
    ingresses: Vec<(String, String)>,
    settings: Settings,
    /// What is wrong with the fields.
    problems: Vec<Problem>,
}

impl Alb {
    /// The router of a Rollout whose stable Service has this name for good; `None` where two of them alternate.
    pub(super) fn new(subject: Subject, stable: Option<String>, spec: &AlbTrafficRouting) -> Self {
        let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let one = given(&spec.ingress).map(|name| ("alb.ingress".to_owned(), name));
        let several = spec.ingresses.iter().flatten().enumerate();
        let several = several.map(|(index, name)| (format!("alb.ingresses[{index}]"), name.clone()));
        let ingresses: Vec<_> = one.into_iter().chain(several).collect();
        let mut problems = problems(spec, &ingresses);
        let root = given(&spec.root_service).or(stable).unwrap_or_else(|| {
            let message =
                "Root service field is required for the configuration with ALB and ping-pong feature enabled";
            problems.push(Problem::new("alb.rootService", message));
            String::new()
        });
        let settings = Settings {
            port: spec.service_port.unwrap_or_default().to_string(),
            stickiness: stickiness(spec.stickiness_config.as_ref()),
        };
        let port = subject.asked.lacks_port(spec.service_port.map(i64::from));
        problems.extend(port.map(|why| Problem::new("alb.servicePort", why)));
        let of_routes = subject.managed.iter().filter_map(limits::of_route);
        problems.extend(of_routes.map(|why| Problem::new("alb", why)));
        let prefix = given(&spec.annotation_prefix).unwrap_or_else(|| PREFIX.to_owned());
        Self { subject, prefix, root, ingresses, settings, problems }
    }

    fn route(&self, name: &str) -> RouteName {
        RouteName::new(RouteKind::Ingress, &self.subject.namespace, name)
    }

    /// The annotation that holds something of this name.
    fn key(&self, kind: &str, name: &str) -> String {
        format!("{}/{kind}.{name}", self.prefix)
    }

    /// The annotation that holds the action.
    fn root_key(&self) -> String {
        self.key("actions", &self.root)
    }

    /// The action of an Ingress; a new one where there is none.
    fn action(&self, ingress: &Value) -> Result<Action, String> {
        let found = annotation(ingress, &self.root_key());
        found.map_or_else(
            || Ok(Action::new()),
            |text| Action::read(text, self.subject.names(), &self.subject.experiments),
        )
    }

    fn observe_one(&self, routes: &Routes, name: &str) -> Option<ObservedTraffic> {
        let ingress = routes.get(&self.route(name))?;
        let action = self.action(ingress).ok()?;
        let mut settled = action.clone();
        settled.settle(self.subject.names(), &self.settings);
        let observed = action.weights().filter(|_| settled == action).map(|weights| {
            let (experiments, others) = self.subject.split_experiments(weights);
            let split = Split::of(others, self.subject.names()).with_experiments(&experiments);
            let observed = split.observed(self.subject.names(), self.subject.scale);
            ObservedTraffic { experiments, ..observed }
        });
        let managed = self.observe_headers(ingress);
        Some(ObservedTraffic { managed, ..observed.unwrap_or_else(ObservedTraffic::unclear) })
    }

    fn render_one(&self, ingress: &mut Value, target: &TrafficTarget) {
        let Ok(before) = self.action(ingress) else { return };
        let mut action = before.clone();
        action.settle(self.subject.names(), &self.settings);
        action.set_weights(target, &self.settings, &self.subject.experiments);
        if action != before {
            annotate(ingress, &self.root_key(), Some(action.text()));
        }
        self.render_headers(ingress, &target.canary.name, &target.managed);
    }

    fn has_rules(&self, ingress: &Value) -> bool {
        paths(ingress).any(|path| uses_action(path, &self.root))
    }

    fn problem_of(&self, routes: &Routes, field: &str, name: &str) -> Option<Problem> {
        let Some(ingress) = routes.get(&self.route(name)) else {
            let message =
                format!("Ingress \"{name}\" not found: create it in this namespace, or correct the name");
            return Some(Problem::new(field, message));
        };
        if !self.has_rules(ingress) {
            let service = &self.root;
            let message = format!(
                "ingress `{name}` has no rules using service {service} backend with the port name {USE_ANNOTATION}"
            );
            return Some(Problem::new(field, message));
        }
        if let Some(why) = self.problem_of_headers(ingress).or_else(|| self.crowd(ingress)) {
            return Some(Problem::new(field, format!("Ingress \"{name}\" {why}")));
        }
        let key = self.root_key();
        let message = match self.action(ingress) {
            Err(why) => format!("annotation {key} of Ingress \"{name}\" {why}; without it, one is made"),
            Ok(action) => {
                let why = action.crowd(
                    self.subject.names(),
                    &self.subject.experiments,
                    self.subject.asked.services,
                )?;
                format!("annotation {key} of Ingress \"{name}\" {why}")
            }
        };
        Some(Problem::new(field, message))
    }
}

impl Router for Alb {
    fn field(&self) -> &'static str {
        "alb"
    }

    fn abilities(&self) -> Abilities {
        Abilities { ping_pong: true, largest_scale: Weight::observed(LARGEST_WEIGHT) }
    }

    fn managed(&self) -> Managed {
        Managed::ExactHeaders
    }

    fn lacks_sessions(&self) -> Option<&'static str> {
        Some("set trafficRouting.alb.stickinessConfig")
    }

    fn serves_experiments(&self) -> bool {
        true
    }

    fn needs(&self) -> Vec<Need> {
        self.ingresses.iter().map(|(_, name)| Need::One(self.route(name))).collect()
    }

    fn problems(&self, routes: &Routes) -> Vec<Problem> {
        let mut problems = self.problems.clone();
        if !self.root.is_empty() {
            let found =
                self.ingresses.iter().filter_map(|(field, name)| self.problem_of(routes, field, name));
            problems.extend(found);
        }
        problems
    }

    fn observe(&self, routes: &Routes) -> Option<ObservedTraffic> {
        let observed: Option<Vec<_>> =
            self.ingresses.iter().map(|(_, name)| self.observe_one(routes, name)).collect();
        observed?.into_iter().reduce(both)
    }

    fn questions(&self, routes: &Routes) -> Vec<Question> {
        self.questions_of(routes)
    }

    fn render(&self, routes: &mut Routes, target: &TrafficTarget) {
        for (_, name) in &self.ingresses {
            routes.edit(&self.route(name), |ingress| self.render_one(ingress, target));
        }
    }
}

fn paths(ingress: &Value) -> impl Iterator<Item = &Value> {
    items(ingress, &["spec", "rules"]).iter().flat_map(|rule| items(rule, &["http", "paths"]))
}

fn annotation<'a>(ingress: &'a Value, key: &str) -> Option<&'a str> {
    at(ingress, &["metadata", "annotations", key]).as_str()
}

fn annotate(ingress: &mut Value, key: &str, value: Option<String>) {
    if annotation(ingress, key) != value.as_deref() {
        set(ingress, &["metadata", "annotations", key], value.map(Value::String));
    }
}

/// Whether a path has the action of this name as its backend.
fn uses_action(path: &Value, name: &str) -> bool {
    is_backend(path, name) && text(path, &["backend", "service", "port", "name"]) == USE_ANNOTATION
}

/// Whether a path has a Service or an action of this name as its backend.
fn is_backend(path: &Value, name: &str) -> bool {
    text(path, &["backend", "service", "name"]) == name
}

fn stickiness(spec: Option<&StickinessConfig>) -> Stickiness {
    match spec {
        None => Stickiness::AsItIs,
        Some(spec) if spec.enabled == Some(true) => {
            Stickiness::Seconds(spec.duration_seconds.unwrap_or_default())
        }
        Some(_) => Stickiness::Off,
    }
}

/// What is wrong with the fields themselves.
fn problems(spec: &AlbTrafficRouting, ingresses: &[(String, String)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |field: &str, message: String| problems.push(Problem::new(field, message));
    let has_several = spec.ingresses.as_ref().is_some_and(|several| !several.is_empty());
    let has_one = spec.ingress.as_ref().is_some_and(|one| !one.is_empty());
    if has_one && has_several {
        let message = "ingress and ingresses cannot both be set: name all of them in ingresses";
        refuse("alb.ingresses", message.to_owned());
    }
    if ingresses.is_empty() {
        let message = "names no Ingress: name the one whose rules lead to the Services";
        refuse("alb.ingress", message.to_owned());
    }
    for (index, (field, name)) in ingresses.iter().enumerate() {
        if ingresses.iter().take(index).any(|(_, other)| other == name) {
            refuse(field, format!("names Ingress \"{name}\" twice: remove one"));
        }
    }
    let port = spec.service_port.unwrap_or_default();
    if !(1..=65_535).contains(&port) {
        refuse("alb.servicePort", format!("must be from 1 to 65535, not {port}"));
    }
    if let Stickiness::Seconds(seconds) = stickiness(spec.stickiness_config.as_ref())
        && !(1..=LONGEST_SECONDS).contains(&seconds)
    {
        let message = format!("must be from 1 to {LONGEST_SECONDS}, not {seconds}");
        refuse("alb.stickinessConfig.durationSeconds", message);
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_router_without_an_ingress_says_so() {
        for spec in [json!({"servicePort": 80}), json!({"servicePort": 80, "ingress": "", "ingresses": []})] {
            let spec = serde_json::from_value(spec).unwrap();
            let router = Alb::new(Subject::default(), Some("stable".to_owned()), &spec);
            let problems = router.problems(&Routes::default());
            let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
            assert_eq!(fields, ["alb.ingress"]);
        }
    }
}
