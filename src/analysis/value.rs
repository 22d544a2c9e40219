//! What a provider measures: numbers, and how they are written into a status.

use std::fmt::Write as _;

/// Longest text of a value in a status, in characters; a value of thousands of series must not fill the object.
const MAX_TEXT: usize = 1_000;

/// One measured value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A single number.
    Number(f64),
    /// Several numbers, in the order in which the provider gave them; may be empty.
    Numbers(Vec<f64>),
}

impl Value {
    /// Whether the provider found nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Numbers(numbers) if numbers.is_empty())
    }

    /// Whether one of the numbers is not a number.
    #[must_use]
    pub fn has_nan(&self) -> bool {
        match self {
            Self::Number(number) => number.is_nan(),
            Self::Numbers(numbers) => numbers.iter().any(|number| number.is_nan()),
        }
    }

    /// How many numbers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Number(_) => 1,
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// The text a status holds: `0.95`, `[0.95,1]`, `NaN`; long lists end in `… (N values)`.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Number(number) => number_text(*number),
            Self::Numbers(numbers) => list_text(numbers),
        }
    }
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
        ] {
            assert_eq!(value.text(), text);
        }
    }

    #[test]
    fn a_long_list_does_not_fill_the_status() {
        let text = Value::Numbers(vec![0.123_456_789; 10_000]).text();
        assert!(text.len() < 1_100, "{}", text.len());
        assert!(text.ends_with("… (10000 values)]"), "{text}");
    }
}
