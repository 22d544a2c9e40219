//! Whether gateways were seen to follow a route: what `status.parents` says.
//!
//! A parent counts when the route still asks for it, when some controller reported on it, and when that report says which
//! generation it is about. One that does not take the route in at all has none of its traffic, and does not count either.
//! Where no parent counts, nothing can be said: a route without a controller, or with one that does not report, must not
//! hold a rollout. While a report is about an older generation, the weights are not in force yet.

use serde_json::Value;

use crate::traffic::RouteName;
use crate::traffic::report::Report;
use crate::traffic::route::{at, items, text};

/// Why a parent has no part in a route; anything else that it does not accept is about what the route says.
const ELSEWHERE: [&str; 3] = ["NotAllowedByListeners", "NoMatchingListenerHostname", "NoMatchingParent"];

/// Whether every parent that counts follows the route as it is; `None` when none counts.
pub(super) fn report(name: &RouteName, route: &Value) -> Option<Report> {
    let generation = at(route, &["metadata", "generation"]).as_i64().unwrap_or_default();
    let asked = items(route, &["spec", "parentRefs"]);
    let namespace = text(route, &["metadata", "namespace"]);
    let parents = items(route, &["status", "parents"]).iter();
    let parents = parents.filter(|parent| {
        let of = at(parent, &["parentRef"]);
        asked.iter().any(|asked| is_same(asked, of, namespace))
    });
    parents.filter_map(|parent| report_of(parent, name, generation)).max()
}

/// Whether two references are to the same parent.
fn is_same(one: &Value, other: &Value, namespace: &str) -> bool {
    let key = |parent: &Value| {
        let given = |field: &str, default: &str| at(parent, &[field]).as_str().unwrap_or(default).to_owned();
        let texts = [
            given("group", "gateway.networking.k8s.io"),
            given("kind", "Gateway"),
            given("namespace", namespace),
            given("name", ""),
            given("sectionName", ""),
        ];
        (texts, at(parent, &["port"]).as_i64())
    };
    key(one) == key(other)
}

fn report_of(parent: &Value, name: &RouteName, generation: i64) -> Option<Report> {
    let conditions = items(parent, &["conditions"]);
    let condition = |name: &str| conditions.iter().find(|condition| text(condition, &["type"]) == name);
    let accepted = condition("Accepted")?;
    let is_current = |condition: &Value| {
        at(condition, &["observedGeneration"]).as_i64().map(|observed| observed >= generation)
    };
    let is_true = |condition: &Value| text(condition, &["status"]) == "True";
    if !is_current(accepted)? {
        return Some(Report::Lags);
    }
    let of = at(parent, &["parentRef"]);
    let kind = at(of, &["kind"]).as_str().unwrap_or("Gateway");
    let refuses =
        |condition: &Value| Report::refuses(&format!("{kind} {}", text(of, &["name"])), name, condition);
    if !is_true(accepted) {
        return (!ELSEWHERE.contains(&text(accepted, &["reason"]))).then(|| refuses(accepted));
    }
    // A reference that leads nowhere may be one of ours.
    Some(match condition("ResolvedRefs") {
        Some(resolved) if is_current(resolved) == Some(false) => Report::Lags,
        Some(resolved) if !is_true(resolved) => refuses(resolved),
        Some(_) | None => Report::Follows,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::traffic::RouteKind;

    fn condition(name: &str, status: &str, reason: &str, observed: i64) -> Value {
        json!({"type": name, "status": status, "reason": reason, "message": "why", "observedGeneration": observed})
    }

    fn parent(name: &str, conditions: &[Value]) -> Value {
        json!({"parentRef": {"name": name}, "controllerName": "example.com/gateway", "conditions": conditions})
    }

    fn check(parents: &[Value], expected: Option<Report>) {
        let route = json!({
            "metadata": {"namespace": "shop", "generation": 3},
            "spec": {"parentRefs": [
                {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge", "namespace": "shop"},
                {"name": "inner"},
            ]},
            "status": {"parents": parents},
        });
        let name = RouteName::new(RouteKind::HttpRoute, "shop", "web");
        let expected = (parents, expected);
        assert_eq!((parents, report(&name, &route)), expected);
    }

    fn refusal(why: &str) -> Report {
        Report::Refuses(format!("Gateway {why}: why"))
    }

    #[test]
    fn a_route_is_followed_when_every_parent_that_counts_follows_it() {
        let accepted = |observed| condition("Accepted", "True", "Accepted", observed);
        let resolved = |observed| condition("ResolvedRefs", "True", "ResolvedRefs", observed);
        let edge = |conditions: &[Value]| parent("edge", conditions);
        check(&[], None);
        check(&[edge(&[])], None);
        check(&[edge(&[json!({"type": "Accepted", "status": "True"})])], None);
        check(&[edge(&[accepted(3)])], Some(Report::Follows));
        check(&[edge(&[accepted(3), resolved(3)])], Some(Report::Follows));
        check(&[edge(&[accepted(2), resolved(2)])], Some(Report::Lags));
        check(&[edge(&[accepted(3), resolved(2)])], Some(Report::Lags));
        check(
            &[edge(&[accepted(3), condition("ResolvedRefs", "False", "BackendNotFound", 3)])],
            Some(refusal("edge reports ResolvedRefs=False on HTTPRoute web: BackendNotFound")),
        );
        check(&[edge(&[accepted(3)]), parent("inner", &[accepted(2)])], Some(Report::Lags));
        check(&[edge(&[accepted(3)]), parent("inner", &[])], Some(Report::Follows));
        check(&[edge(&[accepted(3)]), parent("gone", &[accepted(1)])], Some(Report::Follows));
    }

    #[test]
    fn a_parent_that_has_no_part_in_a_route_does_not_count() {
        let refused = |reason: &str| parent("inner", &[condition("Accepted", "False", reason, 3)]);
        let accepted = parent("edge", &[condition("Accepted", "True", "Accepted", 3)]);
        check(&[refused("NotAllowedByListeners")], None);
        check(&[accepted.clone(), refused("NotAllowedByListeners")], Some(Report::Follows));
        check(
            &[accepted, refused("UnsupportedValue")],
            Some(refusal("inner reports Accepted=False on HTTPRoute web: UnsupportedValue")),
        );
    }
}
