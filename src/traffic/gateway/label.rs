//! The label that a route carries while an update is under way, so that sync engines leave its weights alone, and the
//! annotation that says whose: the label goes with the last Rollout of a route that several share.

use serde_json::{Value, json};

use crate::traffic::plugin::Settings;
use crate::traffic::route::{set, text};

const KEY: &str = "rollouts.argoproj.io/gatewayapi-canary";
const VALUE: &str = "in-progress";
const ACTIVE: &str = "rollouts.argoproj.io/gatewayapi-active-rollouts";

/// What a Rollout marks its routes with.
#[derive(Debug)]
pub(super) struct Label {
    key: String,
    value: String,
    annotation: String,
    /// The Rollout as the annotation names it.
    rollout: String,
}

impl Label {
    /// Reads the fields that it has in the configuration; `None` when it is switched off.
    pub(super) fn read(settings: &mut Settings, rollout: String) -> Option<Self> {
        let is_off = settings.flag("disableInProgressLabel");
        let mut given = |name: &str, default: &str| settings.text(name).unwrap_or_else(|| default.to_owned());
        let label = Self {
            key: given("inProgressLabelKey", KEY),
            value: given("inProgressLabelValue", VALUE),
            annotation: given("activeRolloutsAnnotationKey", ACTIVE),
            rollout,
        };
        (!is_off).then_some(label)
    }

    /// Whether an object says that the Rollout has an update under way.
    pub(super) fn is_on(&self, object: &Value) -> bool {
        self.active(object).any(|name| name == self.rollout)
    }

    /// Marks an object for an update.
    pub(super) fn put_on(&self, object: &mut Value) {
        let others = self.active(object).filter(|name| *name != self.rollout);
        let mut active: Vec<_> = others.chain([self.rollout.as_str()]).map(str::to_owned).collect();
        active.sort();
        set(object, &["metadata", "annotations", &self.annotation], Some(json!(active.join(","))));
        set(object, &["metadata", "labels", &self.key], Some(json!(self.value)));
    }

    /// Takes the mark of an update off an object, unless another Rollout needs it.
    pub(super) fn take_off(&self, object: &mut Value) {
        let active: Vec<_> =
            self.active(object).filter(|name| *name != self.rollout).map(str::to_owned).collect();
        let is_needed = !active.is_empty();
        let has = |field: &str, key: &str| !text(object, &["metadata", field, key]).is_empty();
        let [is_annotated, is_labelled] = [has("annotations", &self.annotation), has("labels", &self.key)];
        if is_annotated {
            let rest = is_needed.then(|| json!(active.join(",")));
            set(object, &["metadata", "annotations", &self.annotation], rest);
        }
        if is_labelled && !is_needed {
            set(object, &["metadata", "labels", &self.key], None);
        }
    }

    fn active<'o>(&self, object: &'o Value) -> impl Iterator<Item = &'o str> {
        let names = text(object, &["metadata", "annotations", &self.annotation]).split(',').map(str::trim);
        names.filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(rollout: &str) -> Label {
        Label::read(&mut Settings::new("p", &Value::Null), rollout.to_owned()).unwrap()
    }

    #[test]
    fn the_label_goes_with_the_last_rollout() {
        let (one, other) = (label("shop/one"), label("shop/other"));
        let untouched = json!({"metadata": {"name": "route"}});
        let mut route = untouched.clone();
        one.take_off(&mut route);
        assert_eq!(route, untouched);
        other.put_on(&mut route);
        one.put_on(&mut route);
        one.put_on(&mut route);
        assert_eq!(text(&route, &["metadata", "annotations", ACTIVE]), "shop/one,shop/other");
        one.take_off(&mut route);
        assert!(other.is_on(&route) && !one.is_on(&route));
        assert_eq!(text(&route, &["metadata", "labels", KEY]), VALUE);
        other.take_off(&mut route);
        assert_eq!(route, json!({"metadata": {"name": "route", "labels": {}, "annotations": {}}}));
    }
}
