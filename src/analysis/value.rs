//! What a provider measures: numbers or JSON, and how they are written into a status.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::query::JobEnd;

/// Longest text of a value in a status, in characters; a value of thousands of series must not fill the object.
const MAX_TEXT: usize = 1_000;

/// One measured value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A single number.
    Number(f64),
    /// Several numbers, in the order in which the provider gave them; may be empty.
    Numbers(Vec<f64>),
    /// Anything else that an answer can hold: a map, a list, a text, true or false, null.
    Json(Json),
    /// How a Job ended, which no condition looks at.
    Job(JobEnd),
}

impl Value {
    /// The newest point of each series; of one series, by itself; nil when there is none.
    #[must_use]
    pub fn newest(mut numbers: Vec<f64>) -> Self {
        match (numbers.pop(), numbers.is_empty()) {
            (None, _) => Self::Json(Json::Null),
            (Some(one), true) => Self::Number(one),
            (Some(last), false) => {
                numbers.push(last);
                Self::Numbers(numbers)
            }
        }
    }

    /// Whether the provider found nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Number(_) | Self::Job(_) => false,
            Self::Numbers(numbers) => numbers.is_empty(),
            Self::Json(json) => json.is_null() || json.as_array().is_some_and(Vec::is_empty),
        }
    }

    /// Whether there is nothing to judge: nothing at all, or 0/0 alone.
    #[must_use]
    pub fn is_no_data(&self) -> bool {
        match self {
            Self::Number(number) => number.is_nan(),
            Self::Numbers(numbers) => numbers.iter().all(|number| number.is_nan()),
            Self::Json(_) | Self::Job(_) => self.is_empty(),
        }
    }

    /// Whether one of the numbers is not a number.
    #[must_use]
    pub fn has_nan(&self) -> bool {
        match self {
            Self::Number(number) => number.is_nan(),
            Self::Numbers(numbers) => numbers.iter().any(|number| number.is_nan()),
            Self::Json(_) | Self::Job(_) => false,
        }
    }

    /// How many values there are at all depths, a long text counting for several.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Number(_) | Self::Job(_) => 1,
            Self::Numbers(numbers) => numbers.len(),
            Self::Json(json) => size(json),
        }
    }

    /// The text a status holds: `0.95`, `[0.95,1]`, `NaN`; long lists end in `… (N values)`.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Number(number) => number_text(*number),
            Self::Numbers(numbers) => list_text(numbers),
            Self::Json(json) => cut(&json.to_string()),
            Self::Job(_) => String::new(),
        }
    }
}

/// Values in `json`, itself included; a text counts one more for every 8 bytes.
pub(super) fn size(json: &Json) -> usize {
    1 + match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
        Json::String(text) => text.len() / 8,
        Json::Array(items) => items.iter().map(size).sum(),
        Json::Object(fields) => fields.iter().map(|(key, value)| key.len() / 8 + size(value)).sum(),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_TEXT {
        return text.to_owned();
    }
    text.chars().take(MAX_TEXT).chain(['…']).collect()
}

/// A number without exponent, as the query language writes it: `NaN`, `+Inf`, `-Inf`, `0.95`.
#[must_use]
pub fn number_text(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    number.to_string()
}

fn list_text(numbers: &[f64]) -> String {
    let mut text = String::from("[");
    for (index, number) in numbers.iter().enumerate() {
        if text.len() > MAX_TEXT {
            let _ = write!(text, ",… ({} values)", numbers.len());
            break;
        }
        if index > 0 {
            text.push(',');
        }
        text.push_str(&number_text(*number));
    }
    text.push(']');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_written_as_the_query_language_writes_them() {
        for (value, text) in [
            (Value::Number(0.95), "0.95"),
            (Value::Number(1.0), "1"),
            (Value::Number(f64::NAN), "NaN"),
            (Value::Numbers(vec![]), "[]"),
            (Value::Numbers(vec![0.95]), "[0.95]"),
            (Value::Numbers(vec![0.95, 1.0]), "[0.95,1]"),
            (Value::Numbers(vec![f64::INFINITY, f64::NEG_INFINITY, f64::NAN]), "[+Inf,-Inf,NaN]"),
            (Value::Number(1e-7), "0.0000001"),
            (Value::Json(json!({"list": [1, 2.5, null, true]})), r#"{"list":[1,2.5,null,true]}"#),
            (Value::Json(json!("text")), r#""text""#),
        ] {
            assert_eq!(value.text(), text);
        }
    }

    #[test]
    fn a_long_list_does_not_fill_the_status() {
        let text = Value::Numbers(vec![0.123_456_789; 10_000]).text();
        assert!(text.len() < 1_100, "{}", text.len());
        assert!(text.ends_with("… (10000 values)]"), "{text}");
        assert_eq!(Value::Json(json!("ü".repeat(5_000))).text().chars().count(), MAX_TEXT + 1);
    }
}
