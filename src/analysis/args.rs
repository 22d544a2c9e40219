//! Arguments: `{{args.name}}` in a metric is replaced by the argument's value, wherever it stands.
//!
//! The value of one may be a secret.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::metric::FieldError;
use super::secrets::{Found, Keyring, Secret, SecretKey, SecretSource};
use crate::api::analysis_template::Argument;

/// What stands for a secret where no secret is read: a spec is checked without them.
pub(super) const PLACEHOLDER: &str = "1";

/// Why arguments could not be put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// These secrets must be read first.
    Wanted(BTreeSet<SecretKey>),
    /// It cannot be done; the sentence says why.
    Refused(String),
}

/// Something whose arguments are put in.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved<T> {
    /// The thing.
    pub value: T,
    /// The secrets that are in it.
    pub secrets: Vec<Secret>,
}

#[derive(Clone, Debug, PartialEq)]
enum Source {
    Value(String),
    Secret(SecretKey),
}

/// The arguments of a run, each with a value or the name of a secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arguments(BTreeMap<String, Source>);

impl Arguments {
    /// Reads arguments; one without a value is a problem, and so is a field reference, which only a Rollout resolves.
    ///
    /// # Errors
    ///
    /// Every argument that has no value.
    pub fn parse(args: &[Argument]) -> Result<Self, Vec<FieldError>> {
        let mut sources = BTreeMap::new();
        let mut problems = Vec::new();
        for argument in args {
            match source(argument) {
                Ok(source) => drop(sources.insert(argument.name.clone(), source)),
                Err(problem) => problems.push(FieldError::new(format!("args.{}", argument.name), problem)),
            }
        }
        if problems.is_empty() { Ok(Self(sources)) } else { Err(problems) }
    }

    /// Names of the secret arguments that the texts of `thing` use.
    pub(super) fn secrets_used<T: Serialize>(&self, thing: &T) -> Vec<String> {
        let is_secret = |name: &String| matches!(self.0.get(name), Some(Source::Secret(_)));
        names_used(thing).into_iter().filter(is_secret).collect()
    }

    /// Puts the arguments into every text of `thing`.
    ///
    /// # Errors
    ///
    /// The secrets that must be read first, or the name of what is not an argument with a value.
    pub fn resolve<T: Serialize + DeserializeOwned>(
        &self,
        thing: &T,
        secrets: SecretSource<'_>,
    ) -> Result<Resolved<T>, Unresolved> {
        let mut json = serde_json::to_value(thing).map_err(|error| Unresolved::Refused(error.to_string()))?;
        let mut filling = Filling { arguments: self, keys: Keyring::new(secrets) };
        filling.walk(&mut json)?;
        let keys = filling.keys;
        if !keys.wanted.is_empty() {
            return Err(Unresolved::Wanted(keys.wanted));
        }
        let value = serde_json::from_value(json).map_err(|error| Unresolved::Refused(error.to_string()))?;
        Ok(Resolved { value, secrets: keys.used.into_iter().collect() })
    }
}

/// The text with each `{{tag}}` replaced by what `value` gives for it.
///
/// # Errors
/// The first error of `value`.
pub fn replace_tags<E>(text: &str, mut value: impl FnMut(&str) -> Result<String, E>) -> Result<String, E> {
    pieces(text)
        .map(|piece| match piece {
            Piece::Text(text) => Ok(text.to_owned()),
            Piece::Tag(tag) => value(tag),
        })
        .collect()
}

/// Names of all arguments that the texts of `thing` use.
#[must_use]
pub fn names_used<T: Serialize>(thing: &T) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if let Ok(json) = serde_json::to_value(thing) {
        collect_names(&json, &mut names);
    }
    names
}

fn collect_names(json: &Value, names: &mut BTreeSet<String>) {
    match json {
        Value::String(text) => {
            names.extend(pieces(text).filter_map(|piece| match piece {
                Piece::Tag(tag) => tag.strip_prefix("args.").map(str::to_owned),
                Piece::Text(_) => None,
            }));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
        Value::Object(fields) => fields.values().for_each(|field| collect_names(field, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn source(argument: &Argument) -> Result<Source, String> {
    if let Some(value) = &argument.value {
        return Ok(Source::Value(value.clone()));
    }
    match argument.value_from.as_ref().map(|from| (&from.secret_key_ref, &from.field_ref)) {
        Some((Some(secret), _)) => Ok(Source::Secret(secret.into())),
        Some((None, Some(_))) => {
            Err("was not resolved: valueFrom.fieldRef works in the Rollout's analysis arguments only"
                .to_owned())
        }
        Some((None, None)) | None => Err("was not resolved".to_owned()),
    }
}

/// A text is literal pieces and `{{tags}}`.
enum Piece<'a> {
    Text(&'a str),
    Tag(&'a str),
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut parts = text.split("{{");
    let first = parts.next().map(Piece::Text);
    first.into_iter().chain(parts.flat_map(|part| match part.split_once("}}") {
        Some((tag, rest)) => [Piece::Tag(tag.trim()), Piece::Text(rest)],
        None => [Piece::Text("{{"), Piece::Text(part)],
    }))
}

struct Filling<'a> {
    arguments: &'a Arguments,
    keys: Keyring<'a>,
}

impl Filling<'_> {
    fn walk(&mut self, json: &mut Value) -> Result<(), Unresolved> {
        match json {
            Value::String(text) if text.contains("{{") => *text = self.fill(text)?,
            Value::Array(items) => {
                for item in items {
                    self.walk(item)?;
                }
            }
            Value::Object(fields) => {
                for field in fields.values_mut() {
                    self.walk(field)?;
                }
            }
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        Ok(())
    }

    fn fill(&mut self, text: &str) -> Result<String, Unresolved> {
        replace_tags(text, |tag| self.value(tag))
    }

    fn value(&mut self, tag: &str) -> Result<String, Unresolved> {
        let Some(name) = tag.strip_prefix("args.") else {
            return Err(Unresolved::Refused(format!(
                "{{{{{tag}}}}} cannot be resolved; arguments are {{{{args.name}}}}"
            )));
        };
        let unresolved = |why: String| Unresolved::Refused(format!("args.{name} was not resolved{why}"));
        let key = match self.arguments.0.get(name) {
            None => return Err(unresolved(String::new())),
            Some(Source::Value(value)) => return Ok(value.clone()),
            Some(Source::Secret(key)) => key,
        };
        match self.keys.secret(key) {
            Ok(Found::Value(value)) => Ok(value),
            Ok(Found::Unread) => Ok(PLACEHOLDER.to_owned()),
            Ok(Found::Nothing) => {
                Err(unresolved(format!(": Secret '{}' has no key '{}'", key.name, key.key)))
            }
            Err(why) => Err(unresolved(format!(": {why}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::secrets::{Home, Secrets, redact};
    use super::*;
    use serde_json::json;

    fn arguments(json: Value) -> Result<Arguments, Vec<FieldError>> {
        Arguments::parse(&serde_json::from_value::<Vec<Argument>>(json).unwrap())
    }

    fn key() -> SecretKey {
        SecretKey { home: Home::Run, name: "prometheus".to_owned(), key: "token".to_owned() }
    }

    fn secret_argument() -> Arguments {
        arguments(
            json!([{"name": "token", "valueFrom": {"secretKeyRef": {"name": "prometheus", "key": "token"}}}]),
        )
        .unwrap()
    }

    #[test]
    fn arguments_are_put_in_wherever_they_stand() {
        let arguments =
            arguments(json!([{"name": "service", "value": "a \"b\""}, {"name": "n", "value": "3"}])).unwrap();
        let thing = json!({"query": "up{s='{{args.service}}'} {{ args.n }}", "list": ["{{args.n}}"], "n": 1, "odd": "a}} {{"});
        let resolved = arguments.resolve(&thing, SecretSource::Placeholder).unwrap();
        assert_eq!(
            resolved.value,
            json!({"query": "up{s='a \"b\"'} 3", "list": ["3"], "n": 1, "odd": "a}} {{"})
        );
    }

    #[test]
    fn what_has_no_value_is_named() {
        let refused =
            |thing: Value| Arguments::default().resolve(&thing, SecretSource::Placeholder).unwrap_err();
        assert_eq!(refused(json!("{{args.x}}")), Unresolved::Refused("args.x was not resolved".to_owned()));
        assert!(matches!(refused(json!("{{pod}}")), Unresolved::Refused(why) if why.contains("{{pod}}")));
        let problems = arguments(json!([
            {"name": "a"}, {"name": "b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
        ]))
        .unwrap_err();
        assert_eq!(problems[0].to_string(), "args.a was not resolved");
        assert!(problems[1].to_string().starts_with("args.b was not resolved: valueFrom.fieldRef works in"));
    }

    #[test]
    fn secrets_are_asked_for_then_put_in_and_never_shown() {
        let thing = json!("Bearer {{args.token}}");
        let none = Secrets::new();
        assert_eq!(
            secret_argument().resolve(&thing, SecretSource::Read(&none)),
            Err(Unresolved::Wanted(BTreeSet::from([key()])))
        );
        let read = Secrets::from([(key(), Ok(Some(Secret::new("s3cret"))))]);
        let resolved = secret_argument().resolve(&thing, SecretSource::Read(&read)).unwrap();
        assert_eq!(resolved.value, json!("Bearer s3cret"));
        assert_eq!(redact("401 for Bearer s3cret", &resolved.secrets), "401 for Bearer *****");
        assert_eq!(format!("{:?}", resolved.secrets), "[*****]");
    }

    #[test]
    fn a_secret_that_cannot_be_read_is_named_with_its_reason() {
        for (read, message) in [
            (Err("Secret 'prometheus' does not exist".to_owned()), "Secret 'prometheus' does not exist"),
            (Ok(None), "Secret 'prometheus' has no key 'token'"),
        ] {
            let read = Secrets::from([(key(), read)]);
            assert_eq!(
                secret_argument().resolve(&json!("{{args.token}}"), SecretSource::Read(&read)),
                Err(Unresolved::Refused(format!("args.token was not resolved: {message}")))
            );
        }
    }
}
