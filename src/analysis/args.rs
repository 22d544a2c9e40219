//! Arguments: `{{args.name}}` in a metric is replaced by the argument's value, wherever it stands.
//!
//! Secrets are asked for by name; the shell reads them. What they contain never shows in a message.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::metric::FieldError;
use crate::api::analysis_template::{Argument, SecretKeyRef};

/// What stands for a secret where no secret is read: a spec is checked without them.
const PLACEHOLDER: &str = "1";
/// What stands for a secret in everything people see.
const HIDDEN: &str = "*****";

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Secret(String);

impl Secret {
    /// Text that is never shown.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever sends it where it belongs.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Replaces every secret in a text by `*****`.
#[must_use]
pub fn redact(text: &str, secrets: &[Secret]) -> String {
    let mut longest_first: Vec<&Secret> = secrets.iter().filter(|secret| !secret.0.is_empty()).collect();
    longest_first.sort_by_key(|secret| std::cmp::Reverse(secret.0.len()));
    longest_first.into_iter().fold(text.to_owned(), |text, secret| text.replace(&secret.0, HIDDEN))
}

/// Secrets by name, as far as the shell has read them; the error says why one cannot be read.
pub type Secrets = BTreeMap<SecretKeyRef, Result<String, String>>;

/// Where the values of secret arguments come from.
#[derive(Clone, Copy, Debug)]
pub enum SecretSource<'a> {
    /// A harmless value stands for each, so that a spec can be checked.
    Placeholder,
    /// They were read.
    Read(&'a Secrets),
}

/// Why arguments could not be put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// These secrets must be read first.
    Wanted(BTreeSet<SecretKeyRef>),
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
    Secret(SecretKeyRef),
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
        let mut filling =
            Filling { arguments: self, source: secrets, used: Vec::new(), wanted: BTreeSet::new() };
        filling.walk(&mut json)?;
        if !filling.wanted.is_empty() {
            return Err(Unresolved::Wanted(filling.wanted));
        }
        let value = serde_json::from_value(json).map_err(|error| Unresolved::Refused(error.to_string()))?;
        Ok(Resolved { value, secrets: filling.used })
    }
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
        Some((Some(secret), _)) => Ok(Source::Secret(secret.clone())),
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
    source: SecretSource<'a>,
    used: Vec<Secret>,
    wanted: BTreeSet<SecretKeyRef>,
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
        let mut filled = String::with_capacity(text.len());
        for piece in pieces(text) {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Tag(tag) => filled.push_str(&self.value(tag)?),
            }
        }
        Ok(filled)
    }

    fn value(&mut self, tag: &str) -> Result<String, Unresolved> {
        let Some(name) = tag.strip_prefix("args.") else {
            return Err(Unresolved::Refused(format!(
                "{{{{{tag}}}}} cannot be resolved; arguments are {{{{args.name}}}}"
            )));
        };
        match (self.arguments.0.get(name), self.source) {
            (None, _) => Err(Unresolved::Refused(format!("args.{name} was not resolved"))),
            (Some(Source::Value(value)), _) => Ok(value.clone()),
            (Some(Source::Secret(_)), SecretSource::Placeholder) => Ok(PLACEHOLDER.to_owned()),
            (Some(Source::Secret(key)), SecretSource::Read(secrets)) => match secrets.get(key) {
                Some(Ok(value)) => {
                    self.used.push(Secret::new(value.clone()));
                    Ok(value.clone())
                }
                Some(Err(why)) => Err(Unresolved::Refused(format!(
                    "args.{name} was not resolved: key '{}' of Secret '{}': {why}",
                    key.key, key.name
                ))),
                None => {
                    self.wanted.insert(key.clone());
                    Ok(String::new())
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn arguments(json: Value) -> Result<Arguments, Vec<FieldError>> {
        Arguments::parse(&serde_json::from_value::<Vec<Argument>>(json).unwrap())
    }

    fn key() -> SecretKeyRef {
        SecretKeyRef { name: "prometheus".to_owned(), key: "token".to_owned() }
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
        let read = Secrets::from([(key(), Ok("s3cret".to_owned()))]);
        let resolved = secret_argument().resolve(&thing, SecretSource::Read(&read)).unwrap();
        assert_eq!(resolved.value, json!("Bearer s3cret"));
        assert_eq!(redact("401 for Bearer s3cret", &resolved.secrets), "401 for Bearer *****");
        assert_eq!(format!("{:?}", resolved.secrets), "[*****]");
    }

    #[test]
    fn a_secret_that_cannot_be_read_is_named_with_its_reason() {
        let read = Secrets::from([(key(), Err("not found".to_owned()))]);
        assert_eq!(
            secret_argument().resolve(&json!("{{args.token}}"), SecretSource::Read(&read)),
            Err(Unresolved::Refused(
                "args.token was not resolved: key 'token' of Secret 'prometheus': not found".to_owned()
            ))
        );
    }
}
