//! The action of a rule: JSON in an annotation, which the load balancer's controller reads without regard to the case of
//! its keys. Keys that are there keep their spelling, and what is not of the Rollout stays as it is.

use serde_json::{Map, Value, json};

use super::limits::TARGET_GROUPS;
use crate::traffic::TrafficTarget;
use crate::traffic::route::{at, set};

/// The only kind of action that has weights.
const FORWARD: &str = "forward";

/// What a rule does with its requests.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Action(Value);

/// What the Rollout says of its action besides the weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// The port of both Services, as text.
    pub(super) port: String,
    /// Whether a client stays with one of them.
    pub(super) stickiness: Stickiness,
}

/// Whether a client stays with the target group that it came to first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stickiness {
    /// As the action says.
    AsItIs,
    /// No.
    Off,
    /// For so many seconds.
    Seconds(i64),
}

impl Action {
    /// The action that forwards nothing to nobody yet.
    pub(super) fn new() -> Self {
        Self(json!({"Type": FORWARD, "ForwardConfig": {"TargetGroups": []}}))
    }

    /// Reads what an annotation says, for two Services that are to get their weights in it, beside those of Experiments.
    ///
    /// # Errors
    /// What is in the way of that.
    pub(super) fn read(text: &str, services: [&str; 2], experiments: &[String]) -> Result<Self, String> {
        let action: Value = serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?;
        let groups = field(field(&action, "ForwardConfig"), "TargetGroups");
        let has_shape = action.is_object() && (groups.is_array() || groups.is_null());
        if !has_shape {
            return Err("is no action: its forwardConfig must have a list of targetGroups".to_owned());
        }
        let kind = field(&action, "Type");
        if !kind.is_null() && kind != FORWARD {
            return Err(format!("is of the type {kind}: weights need the type \"{FORWARD}\""));
        }
        if !field(&action, "TargetGroupARN").is_null() {
            let message = "forwards everything to a targetGroupARN: name it in forwardConfig.targetGroups, with a weight";
            return Err(message.to_owned());
        }
        let action = Self(action);
        action.check_groups(services, experiments)?;
        Ok(action)
    }

    /// As an annotation has it.
    pub(super) fn text(&self) -> String {
        self.0.to_string()
    }

    /// The target groups by the Service and the weight of each, the Service being empty for another kind of group; `None`
    /// where the load balancer's controller would refuse the weights.
    pub(super) fn weights(&self) -> Option<Vec<(&str, u64)>> {
        let groups = self.groups();
        let weight = |group| {
            let weight = field(group, "Weight");
            // A target group that is alone gets everything, and needs no weight.
            let weight = if weight.is_null() && groups.len() == 1 { 1 } else { weight.as_u64()? };
            Some((field(group, "ServiceName").as_str().unwrap_or_default(), weight))
        };
        groups.iter().map(weight).collect()
    }

    /// Makes it say everything but the weights.
    pub(super) fn settle(&mut self, services: [&str; 2], settings: &Settings) {
        put(&mut self.0, "Type", FORWARD.into());
        let mut groups = self.groups().to_vec();
        let ours = groups.iter_mut().filter(|group| services.iter().any(|name| is_of(name, group)));
        for group in ours.filter(|group| port(group) != settings.port) {
            put(group, "ServicePort", settings.port.as_str().into());
        }
        self.set_groups(groups);
        self.stick(settings.stickiness);
    }

    /// Gives both Services, and those of Experiments, their weights. One of the two without any is there, too, so that its
    /// pods are known to the load balancer before requests come; of `experiments`, those without one go.
    pub(super) fn set_weights(
        &mut self,
        target: &TrafficTarget,
        settings: &Settings,
        experiments: &[String],
    ) {
        let mut groups = self.groups().to_vec();
        let is_over = |group: &Value| {
            experiments.iter().any(|name| is_of(name, group) && target.experiment(name).is_none())
        };
        groups.retain(|group| !is_over(group));
        let pair = [(&target.canary, target.weight), (&target.stable, target.stable_weight())];
        let of_experiments = target.experiments.iter().map(|share| (&share.to, share.weight));
        for (destination, weight) in pair.into_iter().chain(of_experiments) {
            let service = destination.name.as_str();
            match groups.iter_mut().find(|group| is_of(service, group)) {
                Some(group) => put(group, "Weight", weight.get().into()),
                None => groups.push(json!({
                    "ServiceName": service, "ServicePort": settings.port, "Weight": weight.get(),
                })),
            }
        }
        self.set_groups(groups);
    }

    fn stick(&mut self, stickiness: Stickiness) {
        let mut config = field(&self.0, "ForwardConfig").clone();
        let mut found = field(&config, "TargetGroupStickinessConfig").clone();
        let is_sticky = field(&found, "Enabled") == true;
        match stickiness {
            Stickiness::Off if is_sticky => put(&mut found, "Enabled", false.into()),
            Stickiness::Seconds(seconds) => {
                put(&mut found, "Enabled", true.into());
                put(&mut found, "DurationSeconds", seconds.into());
            }
            Stickiness::AsItIs | Stickiness::Off => return,
        }
        put(&mut config, "TargetGroupStickinessConfig", found);
        put(&mut self.0, "ForwardConfig", config);
    }

    fn groups(&self) -> &[Value] {
        field(field(&self.0, "ForwardConfig"), "TargetGroups").as_array().map_or(&[], Vec::as_slice)
    }

    fn set_groups(&mut self, groups: Vec<Value>) {
        let mut config = field(&self.0, "ForwardConfig").clone();
        put(&mut config, "TargetGroups", Value::Array(groups));
        put(&mut self.0, "ForwardConfig", config);
    }

    /// Why target groups of so many more Services have no place beside those of others.
    pub(super) fn crowd(&self, services: [&str; 2], experiments: &[String], asked: usize) -> Option<String> {
        let others = self.others(services, experiments).count();
        let groups = others + services.len() + asked;
        (groups > TARGET_GROUPS).then(|| {
            format!(
                "would have {groups} target groups with those of {} and of {asked} templates of step experiment: AWS takes \
                 {TARGET_GROUPS} at most; remove some, or give fewer templates a weight",
                services.join(", ")
            )
        })
    }

    /// The target groups of others than these Services and Experiments.
    fn others<'a>(
        &'a self,
        services: [&'a str; 2],
        experiments: &'a [String],
    ) -> impl Iterator<Item = &'a Value> {
        let known = move || services.into_iter().chain(experiments.iter().map(String::as_str));
        self.groups().iter().filter(move |group| !known().any(|name| is_of(name, group)))
    }

    fn check_groups(&self, services: [&str; 2], experiments: &[String]) -> Result<(), String> {
        let count = |name: &str| self.groups().iter().filter(|group| is_of(name, group)).count();
        if let Some(service) = services.into_iter().find(|name| count(name) > 1) {
            return Err(format!(
                "names Service {service} twice, so that its weight would count twice: remove one"
            ));
        }
        let groups = self.others(services, experiments).count() + services.len();
        if groups > TARGET_GROUPS {
            return Err(format!(
                "would have {groups} target groups with those of {}: AWS takes {TARGET_GROUPS} at most; remove some",
                services.join(" and ")
            ));
        }
        match self.others(services, experiments).find(|group| field(group, "Weight").as_u64().is_none()) {
            Some(group) => {
                Err(format!("gives the target group {group} no weight: it needs one beside others"))
            }
            None => Ok(()),
        }
    }
}

/// Whether a target group is that of a Service.
fn is_of(service: &str, group: &Value) -> bool {
    field(group, "ServiceName") == service
}

/// The port of a target group, as text, whichever way it is written.
fn port(group: &Value) -> String {
    let port = field(group, "ServicePort");
    port.as_str().map_or_else(|| port.to_string(), str::to_owned)
}

/// A field, in whichever case its name is written; where it is there twice, the last one counts.
fn field<'a>(object: &'a Value, name: &str) -> &'a Value {
    at(object, &[spelled(object, name)])
}

fn put(object: &mut Value, name: &str, value: Value) {
    let name = spelled(object, name).to_owned();
    set(object, &[&name], Some(value));
}

fn spelled<'a>(object: &'a Value, name: &'a str) -> &'a str {
    let mut keys = object.as_object().into_iter().flat_map(Map::keys);
    keys.rfind(|key| key.eq_ignore_ascii_case(name)).map_or(name, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Destination;
    use crate::traffic::weighted::Split;
    use crate::units::Weight;

    const SERVICES: [&str; 2] = ["canary", "stable"];

    fn settings(stickiness: Stickiness) -> Settings {
        Settings { port: "80".to_owned(), stickiness }
    }

    /// What becomes of an action at 30 of 100.
    fn rendered(action: &Value, stickiness: Stickiness) -> Value {
        let mut action = Action::read(&action.to_string(), SERVICES, &[]).unwrap();
        let destination = |name: &str| Destination { name: name.to_owned(), hash: None };
        let target = TrafficTarget {
            canary: destination("canary"),
            stable: destination("stable"),
            weight: Weight::observed(30),
            scale: Weight::FULL,
            managed: vec![],
            experiments: vec![],
        };
        action.settle(SERVICES, &settings(stickiness));
        action.set_weights(&target, &settings(stickiness), &[]);
        action.0
    }

    #[test]
    fn keys_keep_their_spelling_and_ports_their_kind() {
        let action = json!({"type": "forward", "note": 1, "forwardConfig": {"targetGroups": [
            {"serviceName": "stable", "servicePort": 80, "weight": 100},
            {"targetGroupARN": "arn:old", "weight": 5},
            {"serviceName": "canary", "servicePort": "http", "weight": 0},
        ]}});
        let expected = json!({"type": "forward", "note": 1, "forwardConfig": {"targetGroups": [
            {"serviceName": "stable", "servicePort": 80, "weight": 70},
            {"targetGroupARN": "arn:old", "weight": 5},
            {"serviceName": "canary", "servicePort": "80", "weight": 30},
        ]}});
        assert_eq!(rendered(&action, Stickiness::AsItIs), expected);
    }

    #[test]
    fn clients_stay_as_long_as_the_spec_says() {
        let check = |found: &Value, stickiness: Stickiness, expected: &Value| {
            let mut config = json!({"TargetGroups": []});
            set(&mut config, &["targetGroupStickinessConfig"], Some(found.clone()));
            let rendered = rendered(&json!({"Type": "forward", "ForwardConfig": config}), stickiness);
            assert_eq!(
                field(field(&rendered, "ForwardConfig"), "TargetGroupStickinessConfig"),
                expected,
                "{found}"
            );
        };
        let sticky = json!({"enabled": true, "durationSeconds": 60, "note": 1});
        check(&sticky, Stickiness::AsItIs, &sticky);
        check(&sticky, Stickiness::Seconds(60), &sticky);
        let longer = json!({"enabled": true, "durationSeconds": 90, "note": 1});
        check(&sticky, Stickiness::Seconds(90), &longer);
        check(&sticky, Stickiness::Off, &json!({"enabled": false, "durationSeconds": 60, "note": 1}));
        check(&Value::Null, Stickiness::Off, &Value::Null);
        check(&Value::Null, Stickiness::Seconds(9), &json!({"Enabled": true, "DurationSeconds": 9}));
    }

    #[test]
    fn weights_are_read_as_the_load_balancer_takes_them() {
        let check = |groups: Value, expected: Option<([u64; 2], u64)>| {
            let action = json!({"Type": "forward", "ForwardConfig": {"TargetGroups": groups}});
            let action = Action::read(&action.to_string(), SERVICES, &[]).unwrap();
            let split = action.weights().map(|weights| Split::of(weights, SERVICES));
            assert_eq!(split.map(|split| (split.pair, split.others)), expected, "{action:?}");
        };
        let group =
            |name: &str, weight: Value| json!({"ServiceName": name, "ServicePort": "80", "Weight": weight});
        check(json!([]), Some(([0, 0], 0)));
        check(json!([group("stable", Value::Null)]), Some(([0, 1], 0)));
        check(json!([group("stable", json!(7)), group("docs", json!(3))]), Some(([0, 7], 3)));
        check(json!([group("stable", json!(7)), group("canary", Value::Null)]), None);
        check(json!([group("stable", json!("7"))]), None);
    }

    #[test]
    fn an_action_that_cannot_have_the_weights_is_refused() {
        let check = |text: &str, expected: &str| {
            let message = Action::read(text, SERVICES, &[]).unwrap_err();
            assert!(message.contains(expected), "{message}");
        };
        check("{", "is no JSON");
        check("[]", "is no action");
        check(r#"{"ForwardConfig": {"TargetGroups": {}}}"#, "must have a list");
        check(r#"{"type": "redirect"}"#, "of the type \"redirect\"");
        check(r#"{"type": "forward", "targetGroupARN": "arn:old"}"#, "to a targetGroupARN");
        let stable = r#"{"serviceName": "stable", "weight": 1}"#;
        let groups = |groups: &str| {
            format!(r#"{{"type": "forward", "forwardConfig": {{"targetGroups": [{groups}]}}}}"#)
        };
        check(&groups(&format!("{stable}, {stable}")), "names Service stable twice");
        check(&groups(r#"{"serviceName": "docs"}"#), "no weight");
        let others = |count: usize| vec![r#"{"serviceName": "docs", "weight": 1}"#; count].join(", ");
        assert!(Action::read(&groups(&others(3)), SERVICES, &[]).is_ok());
        check(
            &groups(&others(4)),
            "would have 6 target groups with those of canary and stable: AWS takes 5 at most",
        );
    }

    #[test]
    fn target_groups_of_experiments_take_the_place_that_is_kept_for_them() {
        let group = |name: &str| json!({"serviceName": name, "servicePort": 80, "weight": 1});
        let check = |others: &[&str], asked: usize, is_crowded: bool| {
            let groups: Vec<_> =
                ["canary", "stable", "try-a"].iter().chain(others).map(|name| group(name)).collect();
            let action = json!({"type": "forward", "forwardConfig": {"targetGroups": groups}});
            let experiments = ["try-a".to_owned()];
            let action = Action::read(&action.to_string(), SERVICES, &experiments).unwrap();
            assert_eq!(action.crowd(SERVICES, &experiments, asked).is_some(), is_crowded, "{others:?}");
        };
        check(&["docs"], 2, false);
        check(&["docs", "old"], 1, false);
        check(&["docs", "old"], 2, true);
        check(&["docs", "old", "older"], 0, false);
    }
}
