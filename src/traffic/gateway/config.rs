//! What `plugins["argoproj-labs/gatewayAPI"]` may say.

use serde_json::Value;

use super::label::Label;
use super::selector::Selector;
use crate::traffic::plugin::{Settings, field_mut};
use crate::traffic::routers::Problem;
use crate::traffic::{RouteKind, RouteName};

/// Prefix of the fields of each kind of route.
const KINDS: [(RouteKind, &str); 4] = [
    (RouteKind::HttpRoute, "httpRoute"),
    (RouteKind::GrpcRoute, "grpcRoute"),
    (RouteKind::TcpRoute, "tcpRoute"),
    (RouteKind::TlsRoute, "tlsRoute"),
];

/// The configuration of one Rollout.
#[derive(Debug)]
pub(super) struct Config {
    /// Namespace of the routes.
    pub(super) namespace: String,
    /// Which routes.
    pub(super) chosen: Vec<Chosen>,
    /// What routes are marked with while an update is under way; `None` when they are not.
    pub(super) label: Option<Label>,
    /// What is wrong with the configuration.
    pub(super) problems: Vec<Problem>,
}

/// One way to say which routes are meant.
#[derive(Debug)]
pub(super) struct Chosen {
    /// The field that says it.
    pub(super) field: String,
    /// Kind of the routes.
    pub(super) kind: RouteKind,
    /// Which of them.
    pub(super) by: By,
    /// Name of the only rule that is meant; `None` for all that lead to both Services.
    pub(super) rule: Option<String>,
    /// Whether steps make routes by header in it.
    pub(super) has_header_routes: bool,
}

/// How routes are chosen.
#[derive(Debug)]
pub(super) enum By {
    /// One by its name.
    Name(String),
    /// All with these labels.
    Labels(Selector),
}

impl Config {
    /// Reads what is at `path`. `rollout` is the Rollout's namespace and name.
    pub(super) fn read(path: &str, value: &Value, rollout: [&str; 2]) -> Self {
        let mut settings = Settings::new(path, value);
        let [own, name] = rollout;
        let namespace = namespace(&mut settings, own);
        let mut chosen = Vec::new();
        for (kind, prefix) in KINDS {
            read_named(&mut settings, kind, prefix, &mut chosen);
        }
        for (kind, prefix) in KINDS {
            read_selected(&mut settings, kind, prefix, &mut chosen);
        }
        let label = Label::read(&mut settings, format!("{own}/{name}"));
        // Where others keep the state of header routes, which is in the route itself here: nobody can miss it.
        settings.text("configMap");
        let mut problems = settings.finish();
        if chosen.is_empty() && problems.is_empty() {
            let message =
                "names no route: set httpRoute, httpRoutes or httpRouteSelector, or those of another kind";
            problems.push(Problem::new(path, message));
        }
        Self { namespace, chosen, label, problems }
    }
}

/// Where the routes are: beside the Rollout, unless the configuration says otherwise.
fn namespace(settings: &mut Settings, own: &str) -> String {
    settings.text("namespace").unwrap_or_else(|| own.to_owned())
}

/// Reduces a configuration to those routes that are kept, and all that are chosen by label; whether any is.
pub(in crate::traffic) fn reduce(config: &mut Value, own: &str, keeps: &dyn Fn(&RouteName) -> bool) -> bool {
    let namespace = namespace(&mut Settings::new("", config), own);
    for (kind, prefix) in KINDS {
        let is_kept =
            |name: Option<&str>| name.is_some_and(|name| keeps(&RouteName::new(kind, &namespace, name)));
        if let Some(named) = field_mut(config, prefix).filter(|named| !is_kept(named.as_str())) {
            // As good as absent, and so is the rule in it.
            *named = Value::Null;
            if let Some(rule) = field_mut(config, &format!("{prefix}RuleName")) {
                *rule = Value::Null;
            }
        }
        let several = field_mut(config, &format!("{prefix}s")).and_then(Value::as_array_mut);
        if let Some(routes) = several {
            routes.retain_mut(|route| is_kept(field_mut(route, "name").and_then(|name| name.as_str())));
        }
    }
    !Config::read("", config, [own, ""]).chosen.is_empty()
}

fn read_named(settings: &mut Settings, kind: RouteKind, prefix: &str, chosen: &mut Vec<Chosen>) {
    let knows_headers = matches!(kind, RouteKind::HttpRoute | RouteKind::GrpcRoute);
    let rule_field = format!("{prefix}RuleName");
    let rule = settings.text(&rule_field);
    match settings.text(prefix) {
        Some(name) => {
            let field = settings.place(prefix);
            chosen.push(Chosen { field, kind, by: By::Name(name), rule, has_header_routes: knows_headers });
        }
        None if rule.is_some() => {
            settings.refuse(&rule_field, format!("has no effect without {prefix}: set that, or remove it"));
        }
        None => {}
    }
    for (field, item) in settings.items(&format!("{prefix}s")) {
        let mut route = Settings::new(field.as_str(), item);
        let has_header_routes = route.flag("useHeaderRoutes");
        if has_header_routes && !knows_headers {
            let message = format!("has no effect, as a {} knows no headers: remove it", kind.as_str());
            route.refuse("useHeaderRoutes", message);
        }
        let rule = route.text("ruleName");
        match route.text("name") {
            Some(name) => chosen.push(Chosen { field, kind, by: By::Name(name), rule, has_header_routes }),
            None => route.refuse("name", format!("must name a {}", kind.as_str())),
        }
        settings.include(route.finish());
    }
}

fn read_selected(settings: &mut Settings, kind: RouteKind, prefix: &str, chosen: &mut Vec<Chosen>) {
    let name = format!("{prefix}Selector");
    let field = settings.place(&name);
    let Some(value) = settings.take(&name) else { return };
    let (selector, problems) = Selector::read(&field, value);
    settings.include(problems);
    chosen.push(Chosen { field, kind, by: By::Labels(selector), rule: None, has_header_routes: false });
}
