//! Ambassador, which is called Emissary-ingress, too: a second `Mapping` beside the stable one takes the canary's share.
//!
//! The canary `Mapping` is a copy of the stable one that leads to the canary's Service and has a weight; the stable one has
//! none, and so gets what is left. It belongs to the Rollout and stays while there is no update, with a share of 0: that
//! cuts off no request, as deleting it would. A copy that has fallen behind its original would be a route of its own, and is
//! put right; labels that others give to the copy alone are theirs. Absent on purpose: routes by header and mirrors.

use serde_json::{Map, Value, json};

use super::route::{Controller, at, controller, set, take_over, text};
use super::routers::{Abilities, Problem, Router, Subject, both};
use super::weighted::Split;
use super::{Need, ObservedTraffic, RouteKind, RouteName, Routes, TrafficTarget};
use crate::api::labels::COPIED_LABELS;
use crate::api::traffic_routing::AmbassadorTrafficRouting;
use crate::units::Weight;

/// Where labels are.
const LABELS: &[&str] = &["metadata", "labels"];

/// The router.
#[derive(Debug)]
pub(super) struct Ambassador {
    subject: Subject,
    /// Stable Mappings, each with the field that names it.
    mappings: Vec<(String, String)>,
}

impl Ambassador {
    pub(super) fn new(subject: Subject, spec: &AmbassadorTrafficRouting) -> Self {
        let named = spec.mappings.iter().flatten().enumerate();
        let mappings = named.map(|(index, name)| (format!("ambassador.mappings[{index}]"), name.clone()));
        Self { subject, mappings: mappings.collect() }
    }

    fn route(&self, name: &str) -> RouteName {
        RouteName::new(RouteKind::Mapping, &self.subject.namespace, name)
    }

    fn canary_of(&self, stable: &str) -> RouteName {
        copy(&self.subject.namespace, stable)
    }

    /// The service of a stable Mapping, with another name in the place of the stable Service's; `None` where it leads
    /// elsewhere.
    fn service(&self, stable: &Value, name: &str) -> Option<String> {
        let Subject { stable: from, namespace, .. } = &self.subject;
        let service = text(stable, &["spec", "service"]);
        let start = service.find("://").map_or(0, |scheme| scheme + "://".len());
        let (scheme, address) = service.split_at_checked(start)?;
        let rest = address.strip_prefix(from)?;
        let (domain, _port) = rest.split_once(':').unwrap_or((rest, ""));
        let is_here = match domain.strip_prefix('.') {
            Some(domain) => domain.split('.').next() == Some(namespace),
            None => domain.is_empty(),
        };
        is_here.then(|| format!("{scheme}{name}{rest}"))
    }

    /// The canary Mapping as `known` but for what it has of the stable one, and its weight.
    fn canary_mapping(&self, stable: &Value, mut known: Value, canary: &str, percent: &Value) -> Value {
        let labels = copied_labels(stable, &known);
        set(&mut known, &["metadata", "labels"], (!labels.is_empty()).then(|| labels.into()));
        set(&mut known, &["spec"], Some(at(stable, &["spec"]).clone()).filter(|spec| !spec.is_null()));
        set(&mut known, &["spec", "service"], self.service(stable, canary).map(Value::String));
        set(&mut known, &["spec", "weight"], Some(percent.clone()));
        known
    }

    /// The canary Mapping as a stable one would be copied to it now, with the weight that it has.
    fn renewed(&self, stable: &Value, known: &Value) -> Value {
        let percent = at(known, &["spec", "weight"]);
        self.canary_mapping(stable, known.clone(), &self.subject.canary, percent)
    }

    /// The Rollout's own canary Mapping as it is, or a new one. One that nobody controls and that says what would be said
    /// is from another controller before this one.
    fn own(&self, routes: &Routes, stable: &Value, name: &RouteName) -> Option<Value> {
        let is_ours = |known: &&Value| {
            controller(known) == Controller::Nobody
                && known.get("spec") == self.renewed(stable, known).get("spec")
        };
        let Some(known) = routes.get(name).filter(is_ours) else { return routes.own(name, &self.subject) };
        let mut known = known.clone();
        // Whoever deletes a Rollout and wants to keep what it owns has just taken its name from it.
        if !self.subject.is_leaving {
            take_over(&mut known, &self.subject);
        }
        Some(known)
    }

    /// The canary's share by its Mapping; `None` for one without a weight that makes sense.
    fn shares(&self, stable: Option<&Value>, canary: Option<&Value>) -> Option<ObservedTraffic> {
        let whole = u64::from(Weight::FULL.get());
        let percent = canary.map_or(Some(0), |canary| at(canary, &["spec", "weight"]).as_u64())?;
        let pair = [percent, whole.checked_sub(percent)?];
        let observed = Split { pair, others: 0 }.observed(self.subject.names(), self.subject.scale);
        let is_behind =
            stable.zip(canary).is_some_and(|(stable, canary)| self.renewed(stable, canary) != *canary);
        Some(if is_behind { ObservedTraffic::unclear_with(observed.shares) } else { observed })
    }

    fn observe_one(&self, routes: &Routes, name: &str) -> Option<ObservedTraffic> {
        let (stable, canary) = (routes.get(&self.route(name)), routes.get(&self.canary_of(name)));
        stable.or(canary)?;
        Some(self.shares(stable, canary).unwrap_or_else(ObservedTraffic::unclear))
    }

    fn problem_of(&self, routes: &Routes, index: usize, name: &str) -> Option<String> {
        let Some(stable) = routes.get(&self.route(name)) else {
            return Some(format!(
                "Mapping \"{name}\" not found: create it in this namespace, or correct the name"
            ));
        };
        let canary = self.canary_of(name);
        let service = text(stable, &["spec", "service"]);
        let found = if self.mappings.iter().take(index).any(|(_, other)| other == name) {
            format!("names Mapping \"{name}\" twice: remove one")
        } else if !at(stable, &["spec", "weight"]).is_null() {
            format!(
                "Ambassador mapping \"{name}\" can not define weight: remove it, the canary's copy gets one"
            )
        } else if self.service(stable, "").is_none() {
            let wanted = &self.subject.stable;
            format!(
                "Mapping \"{name}\" leads to service {service:?}, not to the stable Service: name {wanted} there"
            )
        } else if self.own(routes, stable, &canary).is_none() && !self.subject.is_leaving {
            let name = canary.name;
            format!("Mapping \"{name}\" exists and does not belong to this Rollout: delete or rename it")
        } else {
            return None;
        };
        Some(found)
    }
}

impl Router for Ambassador {
    fn field(&self) -> &'static str {
        "ambassador"
    }

    fn abilities(&self) -> Abilities {
        Abilities { ping_pong: false, largest_scale: Weight::FULL }
    }

    fn needs(&self) -> Vec<Need> {
        let names = self.mappings.iter().flat_map(|(_, name)| [self.route(name), self.canary_of(name)]);
        names.map(Need::One).collect()
    }

    fn problems(&self, routes: &Routes) -> Vec<Problem> {
        if self.mappings.is_empty() {
            let message = "names no Mapping: name the one that leads to the stable Service";
            return vec![Problem::new("ambassador.mappings", message)];
        }
        let found = self.mappings.iter().enumerate().filter_map(|(index, (field, name))| {
            self.problem_of(routes, index, name).map(|message| Problem::new(field, message))
        });
        found.collect()
    }

    fn observe(&self, routes: &Routes) -> Option<ObservedTraffic> {
        let observed: Option<Vec<_>> =
            self.mappings.iter().map(|(_, name)| self.observe_one(routes, name)).collect();
        observed?.into_iter().reduce(both)
    }

    fn render(&self, routes: &mut Routes, target: &TrafficTarget) {
        // Rounded down, so that reading it gives the same share again, which is rounded up.
        let percent = target.weight.get() * Weight::FULL.get() / target.scale.get().max(1);
        for (_, name) in &self.mappings {
            let canary = self.canary_of(name);
            let Some(stable) = routes.get(&self.route(name)) else {
                // Without its original it would get all requests of its prefix that no other Mapping has.
                if !routes.is_anothers(&canary, &self.subject.rollout) {
                    routes.edit(&canary, |known| set(known, &["spec", "weight"], Some(json!(percent))));
                }
                continue;
            };
            let Some(known) = self.own(routes, stable, &canary) else { continue };
            let mut mapping = self.canary_mapping(stable, known, &target.canary.name, &json!(percent));
            let copied: Vec<&str> = fields(stable, LABELS).map(|(key, _)| key.as_str()).collect();
            let copied = Value::String(copied.join(","));
            set(&mut mapping, &["metadata", "annotations", COPIED_LABELS], Some(copied));
            routes.objects.insert(canary, mapping);
        }
    }
}

/// The canary Mapping of a stable one.
pub(super) fn copy(namespace: &str, stable: &str) -> RouteName {
    RouteName::made(RouteKind::Mapping, namespace, &format!("{stable}-canary"))
}

/// The labels of a copy: its original's, and those that it did not get from there.
fn copied_labels(stable: &Value, known: &Value) -> Map<String, Value> {
    let copied = at(known, &["metadata", "annotations", COPIED_LABELS]).as_str();
    // A copy that does not say so, as other controllers make them, has none of its own.
    let is_own = |key: &String| copied.is_some_and(|copied| !copied.split(',').any(|copied| copied == key));
    let own = fields(known, LABELS).filter(|(key, _)| is_own(key));
    own.chain(fields(stable, LABELS)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn fields<'a>(object: &'a Value, path: &[&str]) -> impl Iterator<Item = (&'a String, &'a Value)> {
    at(object, path).as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Destination;

    const STABLE: &str = "shop";

    fn ambassador() -> Ambassador {
        let subject = Subject {
            rollout: "web".to_owned(),
            uid: "1".to_owned(),
            namespace: "team".to_owned(),
            canary: "web-canary".to_owned(),
            stable: "web".to_owned(),
            scale: Weight::FULL,
            ..Subject::default()
        };
        Ambassador::new(subject, &serde_json::from_value(json!({"mappings": [STABLE]})).unwrap())
    }

    fn with(ambassador: &Ambassador, service: &str) -> Routes {
        let mapping = json!({
            "metadata": {"name": STABLE, "labels": {"host": "shop"}}, "spec": {"prefix": "/", "service": service},
        });
        Routes { objects: [(ambassador.route(STABLE), mapping)].into(), ..Routes::default() }
    }

    fn target(weight: u32, scale: u32) -> TrafficTarget {
        let [canary, stable] =
            ["web-canary", "web"].map(|name| Destination { name: name.to_owned(), ..Destination::default() });
        let [weight, scale] = [weight, scale].map(Weight::observed);
        TrafficTarget { canary, stable, weight, scale, managed: vec![], experiments: vec![] }
    }

    fn share(ambassador: &Ambassador, known: &Routes) -> Option<u32> {
        let observed = ambassador.observe(known).unwrap();
        (!observed.is_unclear).then(|| observed.shares["web-canary"])
    }

    #[test]
    fn the_name_in_a_service_gives_way_to_the_canarys_and_the_rest_of_it_stays() {
        let check = |service: &str, expected: Option<&str>| {
            let ambassador = ambassador();
            let mut known = with(&ambassador, service);
            assert_eq!(ambassador.problems(&known).is_empty(), expected.is_some(), "{service}");
            let Some(expected) = expected else { return };
            ambassador.render(&mut known, &target(20, 100));
            let canary = known.get(&ambassador.canary_of(STABLE)).unwrap();
            assert_eq!(canary["spec"]["service"], expected);
            assert_eq!(share(&ambassador, &known), Some(20));
        };
        check("web", Some("web-canary"));
        check("web:80", Some("web-canary:80"));
        check("https://web:443", Some("https://web-canary:443"));
        check("web.team", Some("web-canary.team"));
        check("grpc://web.team.svc.cluster.local:80", Some("grpc://web-canary.team.svc.cluster.local:80"));
        check("web.other:80", None);
        check("web2", None);
        check("web-canary", None);
        check("other://webs", None);
        check("", None);
    }

    #[test]
    fn a_share_of_any_whole_comes_back_from_whole_percents() {
        for scale in [1, 3, 7, 30, 64, 99, 100] {
            let mut ambassador = ambassador();
            ambassador.subject.scale = Weight::observed(scale);
            let mut known = with(&ambassador, "web");
            for weight in 0..=scale {
                ambassador.render(&mut known, &target(weight, scale));
                assert_eq!(share(&ambassador, &known), Some(weight), "{weight} of {scale}");
            }
        }
    }

    #[test]
    fn a_copy_that_differs_from_its_original_is_put_right() {
        let check = |edit: &dyn Fn(&mut Value, &mut Value), expected: Option<u32>| {
            let ambassador = ambassador();
            let mut known = with(&ambassador, "web");
            ambassador.render(&mut known, &target(20, 100));
            let [stable, canary] = [ambassador.route(STABLE), ambassador.canary_of(STABLE)];
            let mut mappings = [&stable, &canary].map(|name| known.get(name).unwrap().clone());
            let [of_stable, of_canary] = &mut mappings;
            edit(of_stable, of_canary);
            known.objects.extend([stable, canary].into_iter().zip(mappings));
            assert_eq!(share(&ambassador, &known), expected, "{known:?}");
            ambassador.render(&mut known, &target(20, 100));
            assert_eq!(share(&ambassador, &known), Some(20), "{known:?}");
        };
        check(&|_, canary| canary["spec"]["weight"] = json!(30), Some(30));
        check(&|_, canary| canary["metadata"]["annotations"]["a"] = json!("b"), Some(20));
        check(&|_, canary| canary["metadata"]["labels"]["added-by"] = json!("a webhook"), Some(20));
        check(&|_, canary| canary["metadata"]["labels"]["host"] = json!("other"), None);
        // One that does not say which labels are its original's.
        let forget = |canary: &mut Value| drop(canary["metadata"]["annotations"].take());
        check(&|_, canary| forget(canary), Some(20));
        check(&|_, canary| (forget(canary), canary["metadata"]["labels"]["other"] = json!("x")).1, None);
        check(&|_, canary| canary["spec"]["weight"] = json!(101), None);
        check(&|_, canary| canary["spec"]["weight"] = Value::Null, None);
        check(&|_, canary| canary["spec"]["service"] = json!("other"), None);
        check(&|stable, _| stable["spec"]["prefix"] = json!("/shop/"), None);
        check(&|stable, _| stable["metadata"]["labels"]["host"] = json!("other"), None);
        check(&|stable, _| drop(stable["metadata"].as_object_mut().unwrap().remove("labels")), None);
    }

    #[test]
    fn a_mapping_of_the_canarys_name_is_taken_over_only_where_it_is_a_copy_that_nobody_controls() {
        let check = |edit: &dyn Fn(&mut Value), is_taken_over: bool| {
            let ambassador = ambassador();
            let mut known = with(&ambassador, "web");
            ambassador.render(&mut known, &target(20, 100));
            let name = ambassador.canary_of(STABLE);
            known.edit(&name, |canary| {
                canary["metadata"]["ownerReferences"].take();
                edit(canary);
            });
            let before = known.clone();
            assert_eq!(ambassador.problems(&known).is_empty(), is_taken_over);
            ambassador.render(&mut known, &target(30, 100));
            if is_taken_over {
                assert_eq!(controller(known.get(&name).unwrap()), Controller::Rollout("web"));
                assert_eq!(share(&ambassador, &known), Some(30));
            } else {
                assert_eq!(known, before);
            }
        };
        check(&|_| {}, true);
        check(&|canary| canary["metadata"]["labels"] = json!({}), true);
        check(&|canary| canary["spec"]["prefix"] = json!("/other/"), false);
        let owner = json!([{"apiVersion": "v1", "kind": "Other", "name": "web", "controller": true}]);
        check(&|canary| canary["metadata"]["ownerReferences"] = owner.clone(), false);
    }

    #[test]
    fn a_router_without_a_mapping_says_so() {
        for spec in [json!({}), json!({"mappings": []})] {
            let ambassador = Ambassador::new(Subject::default(), &serde_json::from_value(spec).unwrap());
            let problems = ambassador.problems(&Routes::default()).into_iter().map(|problem| problem.field);
            assert_eq!(problems.collect::<Vec<_>>(), ["ambassador.mappings"]);
        }
    }

    #[test]
    fn a_rollout_that_is_being_deleted_makes_no_copy_again() {
        let mut ambassador = ambassador();
        ambassador.subject.is_leaving = true;
        let mut known = with(&ambassador, "web");
        ambassador.render(&mut known, &target(0, 100));
        assert_eq!(known, with(&ambassador, "web"));
        assert_eq!(share(&ambassador, &known), Some(0));
        assert_eq!(ambassador.problems(&known), []);
        ambassador.subject.is_leaving = false;
        ambassador.render(&mut known, &target(20, 100));
        let name = ambassador.canary_of(STABLE);
        known.edit(&name, |canary| drop(canary["metadata"]["ownerReferences"].take()));
        ambassador.subject.is_leaving = true;
        ambassador.render(&mut known, &target(0, 100));
        assert_eq!(share(&ambassador, &known), Some(0));
        assert_eq!(controller(known.get(&name).unwrap()), Controller::Nobody);
    }

    #[test]
    fn a_canary_mapping_whose_original_is_gone_loses_its_share() {
        let ambassador = ambassador();
        let mut known = with(&ambassador, "web");
        ambassador.render(&mut known, &target(20, 100));
        known.objects.remove(&ambassador.route(STABLE));
        assert_eq!(share(&ambassador, &known), Some(20));
        ambassador.render(&mut known, &target(0, 100));
        assert_eq!(share(&ambassador, &known), Some(0));
        known.objects.clear();
        assert!(ambassador.observe(&known).is_none());
    }
}
