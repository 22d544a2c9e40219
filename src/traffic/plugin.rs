//! Configuration of a router that other controllers know as a plugin: read field by field, everything wrong with it at once.
//!
//! Names of fields are told apart without regard to case: whoever read them before did so, and manifests rely on it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::routers::Problem;

/// What one object of the configuration says. Fields that nobody has asked for are named by [`Settings::finish`].
#[derive(Debug)]
pub(super) struct Settings<'a> {
    path: String,
    /// By the name in small letters: the name as it is written, and the value.
    fields: BTreeMap<String, (&'a str, &'a Value)>,
    problems: Vec<Problem>,
}

impl<'a> Settings<'a> {
    /// Reads what is at `path` below `trafficRouting`.
    pub(super) fn new(path: impl Into<String>, value: &'a Value) -> Self {
        let path = path.into();
        let mut problems = Vec::new();
        if !value.is_object() && !value.is_null() {
            problems.push(Problem::new(&path, "must be an object"));
        }
        let fields = value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), (name.as_str(), value)));
        Self { fields: fields.collect(), path, problems }
    }

    /// Where a field is.
    pub(super) fn place(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// Something else is wrong with a field.
    pub(super) fn refuse(&mut self, name: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(self.place(name), message));
    }

    /// Adds what is wrong with a part of it.
    pub(super) fn include(&mut self, problems: Vec<Problem>) {
        self.problems.extend(problems);
    }

    /// A field that nobody has asked for before.
    pub(super) fn take(&mut self, name: &str) -> Option<&'a Value> {
        self.fields.remove(&name.to_ascii_lowercase()).map(|(_, value)| value)
    }

    /// Text; an empty one is as good as none.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let value = self.take(name)?;
        let text = value.as_str();
        if text.is_none() {
            self.refuse(name, "must be text");
        }
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// True or false; false where it is absent.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        let Some(value) = self.take(name) else { return false };
        value.as_bool().unwrap_or_else(|| {
            self.refuse(name, "must be true or false");
            false
        })
    }

    /// The items of a list, each with its place; none where it is absent.
    pub(super) fn items(&mut self, name: &str) -> Vec<(String, &'a Value)> {
        let Some(value) = self.take(name) else { return vec![] };
        let Some(items) = value.as_array() else {
            self.refuse(name, "must be a list");
            return vec![];
        };
        let place = self.place(name);
        items.iter().enumerate().map(|(index, item)| (format!("{place}[{index}]"), item)).collect()
    }

    /// A list of texts, each with its place.
    pub(super) fn texts(&mut self, name: &str) -> Vec<(String, String)> {
        let mut texts = Vec::new();
        for (place, item) in self.items(name) {
            match item.as_str() {
                Some(text) => texts.push((place, text.to_owned())),
                None => self.problems.push(Problem::new(place, "must be text")),
            }
        }
        texts
    }

    /// What is wrong with it. A field that nobody has asked for would have no effect.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        let unknown = self.fields.values().map(|(name, _)| {
            let message = "is not supported yet; remove it to let this Rollout run";
            Problem::new(format!("{}.{name}", self.path), message)
        });
        self.problems.extend(unknown);
        self.problems
    }
}

/// A field of a configuration as [`Settings`] reads it: whatever the case of its name, and not null.
pub(super) fn field_mut<'v>(config: &'v mut Value, name: &str) -> Option<&'v mut Value> {
    let fields = config.as_object_mut()?.iter_mut();
    let mut fields = fields.filter(|(known, value)| known.eq_ignore_ascii_case(name) && !value.is_null());
    fields.next_back().map(|(_, value)| value)
}

/// Reduces a list of a configuration to those names that are kept; whether any is.
pub(super) fn reduce(config: &mut Value, list: &str, keeps: impl Fn(&str) -> bool) -> bool {
    let Some(names) = field_mut(config, list).and_then(Value::as_array_mut) else { return false };
    names.retain(|name| name.as_str().is_some_and(&keeps));
    !names.is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_wrong_with_a_configuration_is_said_at_once() {
        let value = json!({
            "HTTPRoute": "web", "namespace": 3, "flag": "yes", "list": {}, "names": ["a", 1], "new": true, "none": null,
        });
        let mut settings = Settings::new("plugins.p", &value);
        assert_eq!(settings.text("httpRoute").as_deref(), Some("web"));
        assert_eq!(settings.text("namespace"), None);
        assert!(!settings.flag("flag"));
        assert!(settings.items("list").is_empty());
        assert_eq!(settings.texts("names"), [("plugins.p.names[0]".to_owned(), "a".to_owned())]);
        let problems: Vec<_> = settings.finish().into_iter().map(|problem| problem.field).collect();
        assert_eq!(
            problems,
            [
                "plugins.p.namespace",
                "plugins.p.flag",
                "plugins.p.list",
                "plugins.p.names[1]",
                "plugins.p.new"
            ]
        );
    }
}
