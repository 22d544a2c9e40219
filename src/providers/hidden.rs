//! Secrets kept out of what people see, in every form in which they come back.
//!
//! A server repeats what it was sent in the form in which it got it: trimmed, percent-encoded in a URL, or escaped in
//! JSON. So text is searched for all of these forms, and before it is cut: half a secret cannot be found any more.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use url::{Url, form_urlencoded};

use crate::analysis::secrets::{HIDDEN, Redactor};
use crate::analysis::value::number_text;
use crate::analysis::{Secret, Value};

/// What must not be seen.
#[derive(Clone, Debug)]
pub(super) struct Hidden {
    forms: BTreeSet<Secret>,
    redactor: Redactor,
}

impl Default for Hidden {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Hidden {
    /// Hides these secrets.
    pub(super) fn new(secrets: &[Secret]) -> Self {
        let all: BTreeSet<&Secret> = secrets.iter().collect();
        Self::of(all.into_iter().flat_map(|secret| forms(secret.reveal())).map(Secret::new).collect())
    }

    fn of(forms: BTreeSet<Secret>) -> Self {
        let redactor = Redactor::new(forms.iter().map(Secret::reveal));
        Self { forms, redactor }
    }

    /// Hides one more.
    pub(super) fn add(&mut self, secret: &Secret) {
        let known = std::mem::take(&mut self.forms);
        *self =
            Self::of(known.into_iter().chain(forms(secret.reveal()).into_iter().map(Secret::new)).collect());
    }

    /// The text with every secret replaced.
    pub(super) fn redact(&self, text: &str) -> String {
        self.redactor.redact(text)
    }

    /// The value with every secret in its texts replaced, before anyone judges or shows it.
    pub(super) fn clean(&self, value: Value) -> Value {
        match value {
            Value::Json(json) => Value::Json(self.clean_json(json)),
            Value::Number(number) if self.is_all(&number_text(number)) => Value::Json(HIDDEN.into()),
            Value::Number(_) | Value::Numbers(_) | Value::Job(_) => value,
        }
    }

    fn clean_json(&self, json: Json) -> Json {
        match json {
            Json::String(text) => Json::String(self.redact(&text)),
            Json::Array(items) => items.into_iter().map(|item| self.clean_json(item)).collect(),
            Json::Object(fields) => {
                fields.into_iter().map(|(key, value)| (self.redact(&key), self.clean_json(value))).collect()
            }
            Json::Number(number) if self.is_all(&number.to_string()) => HIDDEN.into(),
            Json::Null | Json::Bool(_) | Json::Number(_) => json,
        }
    }

    /// Whether a text is a secret. Of a number, a piece that happens to be one says nothing.
    fn is_all(&self, text: &str) -> bool {
        self.redact(text) == HIDDEN
    }

    /// Whether a text holds a secret.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.redact(text) != text
    }
}

/// The forms that a secret takes on its way.
fn forms(secret: &str) -> BTreeSet<String> {
    let trimmed = secret.trim();
    let mut forms: BTreeSet<String> =
        [secret, trimmed].into_iter().flat_map(encoded).chain([trimmed.to_ascii_lowercase()]).collect();
    forms.retain(|form| !form.is_empty());
    forms
}

fn encoded(text: &str) -> Vec<String> {
    let in_form: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let in_json = serde_json::Value::from(text).to_string();
    let in_json = in_json.trim_start_matches('"').trim_end_matches('"').to_owned();
    let mut forms = vec![text.to_owned(), in_form.replace('+', "%20"), in_form, in_json];
    if let Ok(mut url) = Url::parse("http://host") {
        url.set_path(text);
        forms.push(url.path().trim_start_matches('/').to_owned());
        url.set_query(Some(text));
        forms.extend(url.query().map(str::to_owned));
        let _ = url.set_password(Some(text));
        forms.extend(url.password().map(str::to_owned));
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_in_every_form_in_which_it_comes_back() {
        let hidden = Hidden::new(&[Secret::new(" pa ss/\"Wörd\"=\n"), Secret::new("")]);
        for text in [
            " pa ss/\"Wörd\"=\n",
            "pa ss/\"Wörd\"=",
            "pa+ss%2F%22W%C3%B6rd%22%3D",
            "pa%20ss%2F%22W%C3%B6rd%22%3D",
            "pa%20ss/%22W%C3%B6rd%22=",
            "pa ss/\\\"Wörd\\\"=",
        ] {
            assert_eq!(hidden.redact(&format!("<{text}>")), "<*****>", "{text}");
        }
        assert_eq!(hidden.redact("nothing"), "nothing");
    }
}
