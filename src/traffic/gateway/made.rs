//! Rules that steps make in one route: a copy of each rule that leads to both Services, for the requests that the step asks
//! for, so that everything else in it holds for these, too.
//!
//! They stand before all other rules, in the order of `managedRoutes`. That alone would not give the first of them
//! precedence: gateways prefer the match that asks for more, wherever its rule stands. A copy of a rule always asks for more
//! than the rule itself. Where a later copy asks for more than an earlier one, the earlier one gets a match for the requests
//! of both. A copy has no match for requests that belong to somebody else's rule.

use serde_json::{Value, json};

use super::matches::{Unclear, both, is_within, rank, refined};
use super::{Chosen, FIELD, GatewayApi, asked};
use crate::traffic::route::{at, items, set, text};
use crate::traffic::{ManagedRoute, RouteKind, Rule};

/// One route, as far as rules are made in it.
pub(super) struct Maker<'a> {
    pub(super) router: &'a GatewayApi,
    pub(super) kind: RouteKind,
    /// All that chooses it.
    pub(super) chosen: Vec<&'a Chosen>,
    /// The Service that is the canary's now.
    pub(super) canary: &'a str,
}

impl Maker<'_> {
    /// The field that names the route.
    pub(super) fn field(&self) -> &str {
        self.chosen.first().map_or(FIELD, |chosen| chosen.field.as_str())
    }

    /// Whether the route can have such a rule at all.
    pub(super) fn carries(&self, rule: &Rule) -> bool {
        self.chosen.iter().any(|chosen| carries(chosen, rule))
    }

    /// Whether a rule is copied for such a one.
    pub(super) fn is_source(&self, rule: &Rule, source: &Value) -> bool {
        let mut chosen = self.chosen.iter().filter(|chosen| carries(chosen, rule));
        chosen.any(|chosen| self.router.is_meant(chosen, source))
    }

    /// The rules that these routes are, beside those of others.
    pub(super) fn rules(&self, others: &[Value], routes: &[ManagedRoute]) -> Vec<Value> {
        let matches: Vec<_> = others.iter().map(|source| self.matches(others, source, routes)).collect();
        let of_route = |(index, route): (usize, &ManagedRoute)| {
            let of_source = others.iter().zip(&matches).filter_map(|(source, matches)| {
                let matches = matches.get(index).filter(|matches| !matches.is_empty())?;
                Some(self.copy(source, &route.rule, matches))
            });
            let named = of_source.enumerate().map(|(number, mut rule)| {
                let suffix = if number == 0 { String::new() } else { format!("-{number}") };
                set(&mut rule, &["name"], Some(json!(format!("{}{suffix}", route.name))));
                rule
            });
            named.collect::<Vec<_>>()
        };
        routes.iter().enumerate().flat_map(of_route).collect()
    }

    /// What the copies of a rule match, for each route.
    fn matches(&self, others: &[Value], source: &Value, routes: &[ManagedRoute]) -> Vec<Vec<Value>> {
        let mut all = vec![Vec::new(); routes.len()];
        for base in self.bases(source) {
            let mut later: Vec<Value> = Vec::new();
            for (route, matches) in routes.iter().zip(&mut all).rev() {
                if !self.is_source(&route.rule, source) {
                    continue;
                }
                let asked = asked::matches(&route.rule, self.kind).unwrap_or_default();
                let mut found: Vec<Value> =
                    asked.iter().filter_map(|asked| both(&base, asked).ok().flatten()).collect();
                let more = |one: &Value| {
                    let preferred = later.iter().filter(|later| rank(later) > rank(one));
                    preferred.filter_map(|later| refined(one, later)).collect::<Vec<_>>()
                };
                let more: Vec<_> = found.iter().flat_map(more).collect();
                found.extend(more);
                found.retain(|found| !self.is_taken(others, (source, &base), found));
                dedup(&mut found);
                later.extend(found.iter().cloned());
                matches.extend(found);
            }
        }
        all.iter_mut().for_each(dedup);
        all
    }

    /// Whether requests belong to a rule of somebody else's, which has them in preference to the one that is copied.
    fn is_taken(&self, others: &[Value], (source, base): (&Value, &Value), found: &Value) -> bool {
        let mut is_before = true;
        others.iter().any(|other| {
            is_before &= other != source;
            let is_ours = self.chosen.iter().any(|chosen| self.router.is_meant(chosen, other));
            !is_ours
                && self.bases(other).iter().any(|other| {
                    let (rank, than) = (rank(other), rank(base));
                    is_within(found, other) && (rank > than || (rank == than && is_before))
                })
        })
    }

    /// The matches of a rule; the API means all requests where there is none.
    pub(super) fn bases(&self, source: &Value) -> Vec<Value> {
        let all = json!({});
        let found = items(source, &["matches"]);
        let found = if found.is_empty() { vec![all] } else { found.to_vec() };
        let with_path = |mut base: Value| {
            if self.kind == RouteKind::HttpRoute {
                for (field, default) in [("type", "PathPrefix"), ("value", "/")] {
                    if at(&base, &["path", field]).is_null() {
                        set(&mut base, &["path", field], Some(json!(default)));
                    }
                }
            }
            base
        };
        found.into_iter().map(with_path).collect()
    }

    fn copy(&self, source: &Value, rule: &Rule, matches: &[Value]) -> Value {
        let mut copy = source.clone();
        set(&mut copy, &["matches"], Some(Value::Array(matches.to_vec())));
        let mut backends = items(source, &["backendRefs"]).iter();
        let Some(canary) = backends.find(|backend| self.router.is(self.canary, backend)) else { return copy };
        match rule {
            Rule::Header(_) | Rule::Session(_) => {
                let mut canary = canary.clone();
                set(&mut canary, &["weight"], Some(json!(1)));
                set(&mut copy, &["backendRefs"], Some(json!([canary])));
            }
            Rule::Mirror { percent, .. } => {
                let filter = json!({
                    "type": "RequestMirror",
                    "requestMirror": {"backendRef": reference(canary), "percent": percent},
                });
                let filters = items(source, &["filters"]).iter().cloned().chain([filter]).collect();
                set(&mut copy, &["filters"], Some(Value::Array(filters)));
            }
        }
        copy
    }

    /// Puts the rules that these routes are before all others, and takes away those that are not made any more.
    pub(super) fn render(&self, rules: &mut Vec<Value>, routes: &[ManagedRoute]) {
        let others = self.others(rules);
        let made = self.rules(&others, routes);
        *rules = made.into_iter().chain(others).collect();
    }

    /// The rules that no step makes.
    pub(super) fn others(&self, rules: &[Value]) -> Vec<Value> {
        let others = rules
            .iter()
            .filter(|rule| self.router.owner(rule).is_none() && !self.has_lost_its_name(rule, rules));
        others.cloned().collect()
    }

    /// Whether a rule is one that a step made, without the name that tells so: API servers whose definitions are older than
    /// names of rules lose it.
    pub(super) fn has_lost_its_name(&self, rule: &Value, rules: &[Value]) -> bool {
        let is_copy = |source: &Value, route: &ManagedRoute| {
            let others = [source.clone()];
            let made = self.rules(&others, std::slice::from_ref(route));
            let matches = items(rule, &["matches"]);
            made.iter().any(|made| {
                let asked = items(made, &["matches"]);
                without_details(made) == without_details(rule)
                    && asked.iter().all(|asked| matches.contains(asked))
            })
        };
        let mut routes = self.router.subject.managed.iter();
        at(rule, &["name"]).is_null()
            && self.could_be_made(rule)
            && routes.any(|route| rules.iter().any(|source| source != rule && is_copy(source, route)))
    }

    /// Whether a rule leads to the canary alone, or copies requests to it: cheap to see, and seldom true.
    fn could_be_made(&self, rule: &Value) -> bool {
        let is_canary = |backend: &Value| self.router.is(self.canary, backend);
        let is_mirror = |filter: &Value| is_canary(at(filter, &["requestMirror", "backendRef"]));
        matches!(items(rule, &["backendRefs"]), [backend] if is_canary(backend))
            || items(rule, &["filters"]).iter().any(is_mirror)
    }

    /// Why a rule cannot be copied for such requests; `None` where it can.
    pub(super) fn why_not(&self, source: &Value, asked: &[Value]) -> Option<String> {
        let unclear = "so that nobody can say which requests are meant";
        let of_two = |base: &Value, asked: &Value| match both(base, asked) {
            Ok(Some(met)) if replaces_prefix(source) && at(&met, &["path"]) != at(base, &["path"]) => Some(
                "replaces the prefix of its path, which is another one where the step asks for a path"
                    .to_owned(),
            ),
            Ok(_) => None,
            Err(Unclear::Path) => {
                Some(format!("and the step ask for different paths, one by a regular expression, {unclear}"))
            }
            Err(Unclear::Header(name)) => {
                Some(format!("and the step ask for different values of header {name:?}, {unclear}"))
            }
        };
        let bases = self.bases(source);
        bases.iter().find_map(|base| asked.iter().find_map(|asked| of_two(base, asked)))
    }
}

/// A route as it is, beside what steps would make of it.
pub(super) struct Sight<'a> {
    pub(super) maker: &'a Maker<'a>,
    rules: &'a [Value],
    others: Vec<Value>,
}

impl<'a> Sight<'a> {
    pub(super) fn new(maker: &'a Maker<'a>, rules: &'a [Value]) -> Self {
        Self { maker, rules, others: maker.others(rules) }
    }

    /// The rules of a route that a step makes.
    pub(super) fn there(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.rules.iter().filter(move |rule| self.maker.router.owner(rule) == Some(name))
    }

    /// The rules that one of these routes is.
    pub(super) fn made(&self, name: &str, routes: &[ManagedRoute]) -> Vec<Value> {
        let mut made = self.maker.rules(&self.others, routes);
        made.retain(|rule| self.maker.router.owner(rule) == Some(name));
        made
    }

    /// Whether the rules that steps make stand in order, and before those that they are copies of. Among the rules of others
    /// they may stand anywhere: several Rollouts put theirs to the front.
    pub(super) fn is_in_order(&self) -> bool {
        let names = &self.maker.router.subject.managed_names;
        let owner = |rule: &&Value| self.maker.router.owner(rule);
        let rank = |rule: &&Value| names.iter().position(|name| Some(name.as_str()) == owner(rule));
        let is_source = |rule: &&Value| {
            let mut chosen = self.maker.chosen.iter();
            chosen.any(|chosen| self.maker.router.is_meant(chosen, rule))
        };
        let made = self.rules.iter().filter(|rule| owner(rule).is_some());
        let mut behind = self.rules.iter().skip_while(|rule| !is_source(rule));
        made.is_sorted_by_key(|rule| rank(&rule)) && behind.all(|rule| owner(&rule).is_none())
    }
}

/// Whether what chooses a route lets it have such a rule.
fn carries(chosen: &Chosen, rule: &Rule) -> bool {
    let is_http = matches!(chosen.kind, RouteKind::HttpRoute | RouteKind::GrpcRoute);
    match rule {
        Rule::Header(_) => is_http && chosen.has_header_routes,
        Rule::Session(_) => chosen.kind == RouteKind::HttpRoute,
        Rule::Mirror { .. } => is_http,
    }
}

/// Which of these routes the name of a rule is for: it is the same, or the same and a number.
pub(super) fn owner<'a>(name: &str, names: &'a [String]) -> Option<&'a str> {
    let base = name.rsplit_once('-').filter(|(_, number)| number.bytes().all(|digit| digit.is_ascii_digit()));
    let base = base.filter(|(_, number)| !number.is_empty()).map(|(base, _)| base);
    let of = |wanted: &str| names.iter().map(String::as_str).find(|name| *name == wanted);
    of(name).or_else(|| of(base?))
}

/// A backend as a mirror refers to it, with what the API fills in.
fn reference(backend: &Value) -> Value {
    let mut reference = json!({"group": "", "kind": "Service"});
    for field in ["group", "kind", "name", "namespace", "port"] {
        let value = at(backend, &[field]);
        if !value.is_null() {
            set(&mut reference, &[field], Some(value.clone()));
        }
    }
    reference
}

/// What is left of a rule without what API servers of other versions may have lost or added, and without weights.
fn without_details(rule: &Value) -> Value {
    let mut rule = rule.clone();
    for field in ["name", "matches"] {
        set(&mut rule, &[field], None);
    }
    let of = |rule: &mut Value, list: &str, path: &[&str]| {
        let list = rule.get_mut(list).and_then(Value::as_array_mut);
        list.into_iter()
            .flatten()
            .filter(|item| !at(item, path).is_null())
            .for_each(|item| set(item, path, None));
    };
    of(&mut rule, "backendRefs", &["weight"]);
    of(&mut rule, "filters", &["requestMirror", "percent"]);
    rule
}

/// Whether a rule, or a backend in it, puts another prefix in the place of the one that it matches.
pub(super) fn replaces_prefix(rule: &Value) -> bool {
    let filters = items(rule, &["filters"]).iter();
    let of_backends = items(rule, &["backendRefs"]).iter().flat_map(|backend| items(backend, &["filters"]));
    let kind = |filter: &Value, field| text(filter, &[field, "path", "type"]) == "ReplacePrefixMatch";
    filters.chain(of_backends).any(|filter| kind(filter, "urlRewrite") || kind(filter, "requestRedirect"))
}

fn dedup(matches: &mut Vec<Value>) {
    let mut seen: Vec<Value> = Vec::new();
    for found in matches.drain(..) {
        if !seen.contains(&found) {
            seen.push(found);
        }
    }
    *matches = seen;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::managed;
    use super::*;
    use crate::api::canary_step::HeaderRoutingMatch;
    use crate::api::traffic_routing::PluginConfig;
    use crate::traffic::Subject;
    use crate::units::Weight;

    fn header(name: &str, asked: &[&str]) -> ManagedRoute {
        let matches =
            asked.iter().map(|header| json!({"headerName": header, "headerValue": {"exact": "yes"}}));
        let matches: Vec<HeaderRoutingMatch> = serde_json::from_value(matches.collect()).unwrap();
        ManagedRoute { name: name.to_owned(), rule: Rule::Header(matches) }
    }

    fn mirror(name: &str, matches: Value) -> ManagedRoute {
        let matches = serde_json::from_value(matches).unwrap();
        ManagedRoute { name: name.to_owned(), rule: Rule::Mirror { matches, percent: 10 } }
    }

    fn gateway(managed: &[ManagedRoute]) -> GatewayApi {
        let subject = Subject {
            rollout: "web".to_owned(),
            namespace: "shop".to_owned(),
            canary: "canary".to_owned(),
            stable: "stable".to_owned(),
            scale: Weight::FULL,
            managed: managed.to_vec(),
            managed_names: managed.iter().map(|route| route.name.clone()).collect(),
            managed_sets: vec![managed.to_vec()],
            ..Subject::default()
        };
        GatewayApi::new(subject, "canary".to_owned(), &PluginConfig(json!({"httpRoute": "web"})))
    }

    fn maker(router: &GatewayApi) -> Maker<'_> {
        let chosen = router.config.chosen.iter().collect();
        Maker { router, kind: RouteKind::HttpRoute, chosen, canary: "canary" }
    }

    fn observed(maker: &Maker<'_>, rules: &[Value]) -> BTreeMap<String, Option<ManagedRoute>> {
        managed::observe(&maker.router.subject, &[Sight::new(maker, rules)])
    }

    fn both() -> Value {
        json!([{"name": "stable", "port": 80}, {"name": "canary", "port": 80}])
    }

    fn path(kind: &str, value: &str) -> Value {
        json!({"path": {"type": kind, "value": value}})
    }

    /// A request: path, method, names of headers that say yes.
    type Request<'a> = (&'a str, &'a str, &'a [&'a str]);

    fn takes(found: &Value, (path, method, headers): Request<'_>) -> bool {
        let wanted = found["path"]["value"].as_str().unwrap_or("/");
        let is_path = match found["path"]["type"].as_str() {
            Some("Exact") => path == wanted,
            _ => path == wanted || path.starts_with(&format!("{}/", wanted.trim_end_matches('/'))),
        };
        let has = |asked: &Value| headers.contains(&asked["name"].as_str().unwrap());
        is_path
            && found["method"].as_str().is_none_or(|wanted| wanted == method)
            && items(found, &["headers"]).iter().all(has)
    }

    /// The rule that a gateway takes, by the words of the API.
    fn taken(rules: &[Value], request: Request<'_>) -> String {
        let (mut best, mut best_rank) = (None, None);
        for rule in rules {
            let all = [json!({})];
            let matches = Some(items(rule, &["matches"])).filter(|found| !found.is_empty()).unwrap_or(&all);
            for found in matches.iter().filter(|found| takes(found, request)) {
                let length = found["path"]["value"].as_str().unwrap_or("/").len();
                let is_exact = found["path"]["type"] == "Exact";
                let count = items(found, &["headers"]).len();
                let rank = Some((is_exact, length, !found["method"].is_null(), count));
                if rank > best_rank {
                    (best, best_rank) = (rule["name"].as_str(), rank);
                }
            }
        }
        best.unwrap_or_default().to_owned()
    }

    #[test]
    fn the_first_of_managed_routes_has_precedence_whatever_the_others_ask_for() {
        let routes = [
            header("testers", &["x-tester"]),
            mirror("shadow", json!([{"method": {"exact": "GET"}, "path": {"prefix": "/api"}}])),
            header("beta", &["x-beta", "x-region"]),
            mirror(
                "copies",
                json!([{"path": {"exact": "/api/a"}}, {"headers": {"x-beta": {"exact": "yes"}}}]),
            ),
        ];
        let gateway = gateway(&routes);
        let mut rules = vec![
            json!({"name": "docs", "matches": [path("PathPrefix", "/docs")], "backendRefs": [{"name": "docs"}]}),
            json!({"name": "pages", "backendRefs": both()}),
            json!({"name": "api", "matches": [path("PathPrefix", "/api")], "backendRefs": both()}),
        ];
        maker(&gateway).render(&mut rules, &routes);
        let headers: [&[&str]; 6] = [
            &[],
            &["x-tester"],
            &["x-beta"],
            &["x-beta", "x-region"],
            &["x-tester", "x-beta", "x-region"],
            &["x-tester", "x-beta"],
        ];
        for asked in ["/", "/api", "/api/a", "/api/b", "/apis", "/docs", "/docs/api"] {
            for method in ["GET", "POST"] {
                for headers in headers {
                    let has = |name: &&str| headers.contains(name);
                    let is_api = asked == "/api" || asked.starts_with("/api/");
                    let expected = match () {
                        () if asked.starts_with("/docs") => "docs",
                        () if has(&"x-tester") => "testers",
                        () if is_api && method == "GET" => "shadow",
                        () if has(&"x-beta") && has(&"x-region") => "beta",
                        () if asked == "/api/a" || has(&"x-beta") => "copies",
                        () if is_api => "api",
                        () => "pages",
                    };
                    let request = (asked, method, headers);
                    let taken = taken(&rules, request);
                    let names = &gateway.subject.managed_names;
                    let name = owner(&taken, names).unwrap_or(&taken);
                    assert_eq!(name, expected, "{request:?}: {rules:#?}");
                }
            }
        }
    }

    #[test]
    fn a_rule_is_known_again_only_as_a_step_makes_it() {
        let routes = [header("testers", &["x-tester"]), mirror("shadow", json!([{}]))];
        let gateway = gateway(&routes);
        let maker = maker(&gateway);
        let mut rules = vec![json!({"name": "pages", "backendRefs": both()})];
        maker.render(&mut rules, &routes);
        let [testers, shadow] = &routes;
        let check = |edit: &dyn Fn(&mut Vec<Value>), expected: [Option<&ManagedRoute>; 2]| {
            let mut rules = rules.clone();
            edit(&mut rules);
            let found: Vec<_> = observed(&maker, &rules).into_values().collect();
            let [testers, shadow] = expected.map(Option::<&ManagedRoute>::cloned);
            assert_eq!(found, [shadow, testers], "{rules:#?}");
        };
        check(&|_| {}, [Some(testers), Some(shadow)]);
        check(&|rules| rules[0]["backendRefs"][0]["weight"] = json!(0), [None, Some(shadow)]);
        check(&|rules| rules[1]["filters"][0]["requestMirror"]["percent"] = json!(11), [Some(testers), None]);
        check(&|rules| rules[2]["timeouts"] = json!({"request": "1s"}), [None, None]);
        check(&|rules| rules.swap(0, 1), [None, None]);
        check(&|rules| rules.rotate_left(1), [None, None]);
        let other = json!({"name": "other", "matches": [path("Exact", "/other")], "backendRefs": [{"name": "other"}]});
        check(&|rules| rules.insert(0, other.clone()), [Some(testers), Some(shadow)]);
        rules.remove(0);
        assert_eq!(observed(&maker, &rules), [("shadow".to_owned(), Some(shadow.clone()))].into());
    }

    #[test]
    fn a_rule_that_lost_its_name_is_known_by_what_it_is() {
        let routes =
            [header("testers", &["x-tester"]), mirror("shadow", json!([{"path": {"prefix": "/a"}}]))];
        let gateway = gateway(&routes);
        let maker = maker(&gateway);
        let user = json!({"backendRefs": both()});
        let mut rules = vec![user.clone()];
        maker.render(&mut rules, &routes);
        for rule in &mut rules {
            rule.as_object_mut().unwrap().remove("name");
        }
        let lost: Vec<_> = rules.iter().map(|rule| maker.has_lost_its_name(rule, &rules)).collect();
        assert_eq!(lost, [true, true, false]);
        maker.render(&mut rules, &[]);
        assert_eq!(rules, [user]);
    }
}
