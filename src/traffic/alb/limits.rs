//! What AWS takes in one rule of a load balancer. More than that is refused by AWS, which only the load balancer's controller
//! would get to know; then every later change of the Ingress is lost, too.
//!
//! The numbers are the quotas that AWS documents for Application Load Balancers; none of them can be raised.

use serde_json::Value;

use super::{Alb, uses_action};
use crate::api::canary_step::HeaderRoutingMatch;
use crate::traffic::route::{items, text};
use crate::traffic::{ManagedRoute, Rule};

/// Target groups of an action.
pub(super) const TARGET_GROUPS: usize = 5;
/// Values of all conditions of a rule.
const VALUES: usize = 5;
/// Characters of a condition's value.
const VALUE_LENGTH: usize = 128;
/// Characters of a header's name.
const NAME_LENGTH: usize = 40;

/// What is in the way of a route by header, whatever the Ingress.
pub(super) fn of_route(route: &ManagedRoute) -> Option<String> {
    let Rule::Header(headers) = &route.rule else { return None };
    let why = headers.iter().find_map(of_header)?;
    Some(format!("step setHeaderRoute \"{}\" {why}", route.name))
}

fn of_header(header: &HeaderRoutingMatch) -> Option<String> {
    let name = header.header_name.as_deref().unwrap_or_default();
    let value = header.header_value.as_ref().and_then(|value| value.exact.as_deref()).unwrap_or_default();
    let what = format!("compares header {name} with \"{value}\":");
    if name.chars().count() > NAME_LENGTH {
        return Some(format!("{what} AWS takes names of {NAME_LENGTH} characters at most"));
    }
    if value.chars().count() > VALUE_LENGTH {
        return Some(format!("{what} AWS takes values of {VALUE_LENGTH} characters at most"));
    }
    // AWS knows no way to write them as themselves.
    value
        .contains(['*', '?'])
        .then(|| format!("{what} to AWS, * and ? stand for any characters; leave them out"))
}

impl Alb {
    /// What is in the way of making routes by header in an Ingress: each has the conditions of its path besides.
    pub(super) fn crowd(&self, ingress: &Value) -> Option<String> {
        let rules = items(ingress, &["spec", "rules"]).iter();
        let of_paths = rules.flat_map(|rule| {
            let of_host = usize::from(!text(rule, &["host"]).is_empty());
            let paths = items(rule, &["http", "paths"]).iter().filter(|path| uses_action(path, &self.root));
            paths.map(move |path| of_host + patterns(path))
        });
        let most = of_paths.max()?;
        self.subject.managed.iter().find_map(|route| {
            let Rule::Header(headers) = &route.rule else { return None };
            let values = most + self.conditions(ingress, headers).iter().map(values).sum::<usize>();
            (values > VALUES).then(|| {
                format!(
                    "would have a rule with {values} values for host, path and headers, because of step setHeaderRoute \
                     \"{}\": AWS takes {VALUES} at most; compare fewer headers",
                    route.name
                )
            })
        })
    }
}

/// Patterns that the load balancer's controller makes of a path.
fn patterns(path: &Value) -> usize {
    let is_below =
        text(path, &["pathType"]) == "Prefix" && !text(path, &["path"]).trim_end_matches('/').is_empty();
    if is_below { 2 } else { 1 }
}

/// Values of a condition, whatever it is about.
fn values(condition: &Value) -> usize {
    let configs = condition.as_object().into_iter().flat_map(serde_json::Map::values);
    configs.map(|config| items(config, &["values"]).len()).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::traffic::{RouteKind, RouteName, Router, Routes, Subject};

    fn route(headers: &[(&str, &str)]) -> ManagedRoute {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| json!({"headerName": name, "headerValue": {"exact": value}}))
            .collect();
        ManagedRoute {
            name: "testers".to_owned(),
            rule: Rule::Header(serde_json::from_value(json!(headers)).unwrap()),
        }
    }

    #[test]
    fn a_header_that_aws_would_refuse_or_take_for_a_pattern_is_refused() {
        let check = |name: &str, value: &str, expected: &str| {
            let why = of_route(&route(&[("ok", "1"), (name, value)])).unwrap_or_default();
            assert_eq!(why.split_once(": ").map(|(_, why)| why).unwrap_or_default(), expected);
        };
        check("x", &"a".repeat(128), "");
        check("x", &"a".repeat(129), "AWS takes values of 128 characters at most");
        check(&"x".repeat(40), "a", "");
        check(&"x".repeat(41), "a", "AWS takes names of 40 characters at most");
        check("x", "v1.*", "to AWS, * and ? stand for any characters; leave them out");
        check("x", "v?", "to AWS, * and ? stand for any characters; leave them out");
    }

    /// Problems of an Ingress with one path, for a route that compares so many headers.
    fn problems(host: Option<&str>, path: (&str, &str), conditions: &Value, headers: usize) -> Vec<String> {
        let headers: Vec<_> =
            ["a", "b", "c", "d", "e"].into_iter().take(headers).map(|name| (name, "1")).collect();
        let subject = Subject {
            namespace: "shop".to_owned(),
            canary: "canary".to_owned(),
            stable: "stable".to_owned(),
            managed: vec![route(&headers)],
            managed_names: vec!["testers".to_owned()],
            ..Subject::default()
        };
        let spec = serde_json::from_value(json!({"ingress": "web", "servicePort": 80})).unwrap();
        let alb = Alb::new(subject, Some("stable".to_owned()), &spec);
        let backend = json!({"service": {"name": "stable", "port": {"name": "use-annotation"}}});
        let path = json!({"path": path.0, "pathType": path.1, "backend": backend});
        let annotations = json!({"alb.ingress.kubernetes.io/conditions.stable": conditions.to_string()});
        let ingress = json!({
            "metadata": {"annotations": annotations},
            "spec": {"rules": [{"host": host, "http": {"paths": [path]}}]},
        });
        let name = RouteName::new(RouteKind::Ingress, "shop", "web");
        let routes = Routes { objects: [(name, ingress)].into(), ..Routes::default() };
        alb.problems(&routes).into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn a_rule_has_five_values_with_those_of_host_and_path() {
        let none = json!([]);
        let own =
            json!([{"field": "source-ip", "sourceIpConfig": {"values": ["10.0.0.0/8", "192.168.0.0/16"]}}]);
        assert_eq!(problems(None, ("/", "Prefix"), &none, 4), [""; 0]);
        assert_eq!(problems(Some("shop.example"), ("/a", "Prefix"), &none, 2), [""; 0]);
        assert_eq!(problems(None, ("/a", "Exact"), &own, 2), [""; 0]);
        let crowded = problems(Some("shop.example"), ("/a", "Prefix"), &none, 3);
        assert_eq!(
            crowded,
            [
                "Ingress \"web\" would have a rule with 6 values for host, path and headers, because of step setHeaderRoute \
              \"testers\": AWS takes 5 at most; compare fewer headers"
            ]
        );
        assert_eq!(problems(None, ("/a", "Exact"), &own, 3).len(), 1);
        assert_eq!(problems(None, ("/", "Prefix"), &none, 5).len(), 1);
    }
}
