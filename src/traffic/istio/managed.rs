//! Routes that steps make: HTTP routes before all others, copies of those that lead to the Rollout but for what they match
//! and where they lead.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::choice::is_managed;
use crate::api::canary_step::{HeaderRoutingMatch, RouteMatch};
use crate::api::traffic_routing::StringMatch;
use crate::traffic::route::{at, items, set, text};
use crate::traffic::{ManagedRoute, Rule, Subject};

/// What `mirrorPercentage` was before, as whole percent.
const OLD_PERCENTAGES: [&str; 2] = ["mirrorPercent", "mirror_percent"];

/// The canary's entry in a route.
pub(super) type CanaryOf<'a> = &'a dyn Fn(&Value) -> Option<Value>;

/// The routes that a step makes of those that lead to the Rollout: one for each.
fn made(route: &ManagedRoute, bases: &[Value], canary: CanaryOf) -> Vec<Value> {
    let of_one = |base: &Value| {
        let mut made = base.clone();
        let mut canary = canary(base)?;
        set(&mut made, &["name"], Some(json!(route.name)));
        match &route.rule {
            Rule::Header(headers) => {
                set(&mut made, &["match"], Some(narrowed(base, &[headers_of(headers)])));
                set(&mut canary, &["weight"], Some(json!(100)));
                set(&mut made, &["route"], Some(json!([canary])));
            }
            Rule::Mirror { matches, percent } => {
                let matches: Vec<_> = matches.iter().map(match_of).collect();
                set(&mut made, &["match"], Some(narrowed(base, &matches)));
                mirror(&mut made, at(&canary, &["destination"]), *percent);
            }
        }
        Some(made)
    };
    bases.iter().filter_map(of_one).collect()
}

/// Copies requests to the canary, besides to wherever they are copied already. Percentages of the old kinds hold for the one
/// `mirror` of a route, and give way to the new.
fn mirror(route: &mut Value, canary: &Value, percent: u32) {
    let percentage = json!({"value": percent});
    let mut others = items(route, &["mirrors"]).to_vec();
    let other = at(route, &["mirror"]);
    if !other.is_null() {
        let mut entry = json!({"destination": other});
        set(&mut entry, &["percentage"], mirrored(route));
        others.push(entry);
    }
    for field in ["mirror", "mirrorPercentage"].into_iter().chain(OLD_PERCENTAGES) {
        set(route, &[field], None);
    }
    if others.is_empty() {
        set(route, &["mirror"], Some(canary.clone()));
        set(route, &["mirrorPercentage"], Some(percentage));
    } else {
        others.push(json!({"destination": canary, "percentage": percentage}));
        set(route, &["mirrors"], Some(Value::Array(others)));
    }
}

/// How much of a route goes to its `mirror`; `None` for everything.
fn mirrored(route: &Value) -> Option<Value> {
    let given = |field| Some(at(route, &[field])).filter(|found| !found.is_null());
    let old = || OLD_PERCENTAGES.into_iter().find_map(given).map(|percent| json!({"value": percent}));
    given("mirrorPercentage").cloned().or_else(old)
}

/// What a route matches, and one of `matches` besides; where both ask something of the same, the latter does.
fn narrowed(base: &Value, matches: &[Map<String, Value>]) -> Value {
    let all = [json!({})];
    let bases = Some(items(base, &["match"])).filter(|found| !found.is_empty()).unwrap_or(&all);
    let narrow = |base: &Value, wanted: &Map<String, Value>| {
        let mut narrow = base.clone();
        for (field, value) in wanted {
            match value.as_object().filter(|_| field == "headers") {
                Some(headers) => headers.iter().for_each(|(name, value)| {
                    set(&mut narrow, &["headers", name], Some(value.clone()));
                }),
                None => set(&mut narrow, &[field], Some(value.clone())),
            }
        }
        narrow
    };
    bases.iter().flat_map(|base| matches.iter().map(move |wanted| narrow(base, wanted))).collect()
}

fn headers_of(headers: &[HeaderRoutingMatch]) -> Map<String, Value> {
    let named =
        headers.iter().filter_map(|found| Some((found.header_name.as_ref()?, found.header_value.as_ref()?)));
    Map::from_iter([("headers".to_owned(), headers_by_name(named))])
}

fn match_of(found: &RouteMatch) -> Map<String, Value> {
    let texts = [("method", &found.method), ("uri", &found.path)];
    let texts =
        texts.into_iter().filter_map(|(field, value)| Some((field.to_owned(), text_of(value.as_ref()?))));
    let headers = found.headers.as_ref().filter(|headers| !headers.is_empty());
    texts.chain(headers.map(|headers| ("headers".to_owned(), headers_by_name(headers)))).collect()
}

/// Istio knows headers by their names in small letters.
fn headers_by_name<'a>(headers: impl IntoIterator<Item = (&'a String, &'a StringMatch)>) -> Value {
    headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), text_of(value))).collect()
}

/// What is empty counts as not given, and API servers refuse it beside another.
fn text_of(value: &StringMatch) -> Value {
    let kinds = [("exact", &value.exact), ("prefix", &value.prefix), ("regex", &value.regex)];
    let given = kinds.into_iter().filter_map(|(kind, text)| Some((kind, text.as_ref()?)));
    let given = given.filter(|(_, text)| !text.is_empty());
    Value::Object(given.map(|(kind, text)| (kind.to_owned(), json!(text))).collect())
}

/// Puts the routes that steps make before all others, and takes away those that are not made any more.
pub(super) fn render(
    http: &mut Vec<Value>,
    bases: &[Value],
    subject: &Subject,
    routes: &[ManagedRoute],
    canary: CanaryOf,
) {
    http.retain(|route| !is_managed(route, &subject.managed_names));
    http.splice(0..0, routes.iter().flat_map(|route| made(route, bases, canary)));
}

/// The routes by steps that are there: `None` for one that is not as any step makes it, or not where it has to be.
pub(super) fn observe(
    http: &[Value],
    bases: &[Value],
    subject: &Subject,
    canary: CanaryOf,
) -> BTreeMap<String, Option<ManagedRoute>> {
    let is_made = |route: &&Value| is_managed(route, &subject.managed_names);
    let there: Vec<&Value> = http.iter().filter(is_made).collect();
    let mut order: Vec<&str> = http.iter().take(there.len()).map(|route| text(route, &["name"])).collect();
    order.dedup();
    let of_name =
        |name: &str| there.iter().copied().filter(|route| text(route, &["name"]) == name).collect::<Vec<_>>();
    let names: Vec<&String> = subject.managed_names.iter().filter(|name| !of_name(name).is_empty()).collect();
    let is_in_order = order == names;
    let found = |name: &str| {
        let mut candidates = subject.managed.iter().filter(|route| route.name == name);
        candidates.find(|route| is_in_order && made(route, bases, canary).iter().eq(of_name(name))).cloned()
    };
    names.into_iter().map(|name| (name.clone(), found(name))).collect()
}
