//! The places of an answer that an expression names, such as `result.list[0].name`, and which of them do not exist.
//!
//! The crate reads what does not exist as nil, so that `result.list[0].name != 1` would hold for an empty list.

use serde_json::Value;

use super::builtin;
use super::scan::{Kind, Token};

/// One step into an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A field of a map.
    Field(String),
    /// An element of a list, from its end when negative.
    Element(i64),
}

/// The steps of every place that begins at `result` and is written out.
pub(super) fn of(tokens: &[Token<'_>]) -> Vec<Vec<Step>> {
    let begins = tokens.iter().enumerate().filter(|(index, token)| {
        let before = index.checked_sub(1).and_then(|at| tokens.get(at));
        token.is("result") && !before.is_some_and(|token| token.is_one_of(&[".", "?."]))
    });
    begins.map(|(index, _)| steps(tokens.get(index + 1..).unwrap_or_default())).collect()
}

fn steps(mut rest: &[Token<'_>]) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some((step, length)) = step(rest) {
        steps.push(step);
        rest = rest.get(length..).unwrap_or_default();
    }
    steps
}

/// The step that `rest` begins with, and its length in tokens.
fn step(rest: &[Token<'_>]) -> Option<(Step, usize)> {
    match rest {
        [dot, name, ..] if dot.is(".") && name.kind == Kind::Word => {
            Some((Step::Field(name.text.to_owned()), 2))
        }
        [open, name, close, ..] if open.is("[") && name.kind == Kind::Text && close.is("]") => {
            Some((Step::Field(builtin::text_of(name.text)?), 3))
        }
        [open, number, close, ..] if open.is("[") && number.kind == Kind::Int && close.is("]") => {
            Some((Step::Element(number.text.parse().ok()?), 3))
        }
        [open, minus, number, close, ..]
            if open.is("[") && minus.is("-") && number.kind == Kind::Int && close.is("]") =>
        {
            Some((Step::Element(-number.text.parse::<i64>().ok()?), 4))
        }
        _ => None,
    }
}

/// Whether each place can be looked at: only the last step may lead to nothing, and only from a map.
///
/// # Errors
///
/// The sentence that says which place does not exist.
pub(super) fn check(places: &[Vec<Step>], answer: &Value) -> Result<(), String> {
    places.iter().try_for_each(|place| walk(place, answer).map(drop))
}

/// The first place whose last step leads to nothing.
pub(super) fn absent(places: &[Vec<Step>], answer: &Value) -> Option<String> {
    places.iter().find_map(|place| walk(place, answer).ok().flatten())
}

/// `Some` with the written place when its last step leads to nothing.
fn walk(place: &[Step], answer: &Value) -> Result<Option<String>, String> {
    let (mut at, mut written) = (Some(answer), "result".to_owned());
    for step in place {
        let next = format!("{written}{}", shown(step));
        let here = match at {
            None => return Err(format!("the answer has no {written}, so {next} does not exist")),
            Some(Value::Null) => return Err(format!("{written} is null, so {next} does not exist")),
            Some(here) => here,
        };
        at = match (here, step) {
            (Value::Object(fields), Step::Field(name)) => fields.get(name),
            (Value::Array(items), Step::Element(index)) => {
                let found = element(items, *index);
                if found.is_none() {
                    return Err(format!("{written} has {} values, so {next} does not exist", items.len()));
                }
                found
            }
            // A step that does not fit: the evaluation says so.
            _ => return Ok(None),
        };
        written = next;
    }
    Ok(at.is_none().then_some(written))
}

fn element(items: &[Value], index: i64) -> Option<&Value> {
    let position = usize::try_from(index.unsigned_abs()).ok()?;
    let position = if index < 0 { items.len().checked_sub(position)? } else { position };
    items.get(position)
}

fn shown(step: &Step) -> String {
    match step {
        Step::Field(name) if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
            format!(".{name}")
        }
        Step::Field(name) => format!("['{name}']"),
        Step::Element(index) => format!("[{index}]"),
    }
}
