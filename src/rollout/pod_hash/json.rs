//! A JSON value as Go's `json.Marshal` writes it after decoding it into a struct.
//!
//! What Go would refuse to decode (a number where a string belongs, a quantity that is none) is written as it
//! stands: such an object has no Go hash to agree with, but it must have a stable one. Deliberately absent: matching
//! of field names without regard to case, which the API server's schema leaves no room for.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Number, Value};

use super::layout::{Field, Kind, Layout, Presence};
use super::quantity;

/// Go's zero time in seconds since 1970: the first second of the year 1.
const GO_ZERO_TIME: i64 = -62_135_596_800;

/// The text that Go writes for `value` decoded as `kind`; `None` and `null` are Go's zero value.
pub(super) fn go_json(kind: &Kind, value: Option<&Value>) -> String {
    let mut out = String::with_capacity(1024);
    write_value(&mut out, kind, value.unwrap_or(&Value::Null));
    out
}

fn write_value(out: &mut String, kind: &Kind, value: &Value) {
    match (kind, value) {
        (Kind::Struct(layout), Value::Null) => write_struct(out, layout, &Map::new()),
        (Kind::Struct(layout), Value::Object(fields)) => write_struct(out, layout, fields),
        (Kind::List(_) | Kind::Map(_) | Kind::Time | Kind::Raw, Value::Null) => out.push_str("null"),
        (Kind::List(item), Value::Array(items)) => write_list(out, item, items),
        (Kind::Map(item), Value::Object(entries)) => write_map(out, item, entries),
        (Kind::Text, Value::Null) => out.push_str("\"\""),
        (Kind::Bool, Value::Null) => out.push_str("false"),
        (Kind::Int | Kind::IntOrString, Value::Null) => out.push('0'),
        (Kind::Quantity, Value::Null) => out.push_str("\"0\""),
        (Kind::Quantity, Value::String(text)) => write_quantity(out, text),
        (Kind::Quantity, Value::Number(number)) => write_quantity(out, &number_text(number)),
        (Kind::Time, Value::String(text)) => write_time(out, text),
        _ => write_raw(out, value),
    }
}

fn write_struct(out: &mut String, layout: &Layout, fields: &Map<String, Value>) {
    out.push('{');
    let mut separator = "";
    for field in layout {
        let present = fields.get(field.name);
        let value = present.unwrap_or(&Value::Null);
        if is_left_out(field, value) && !is_raw_null(field, present) {
            continue;
        }
        out.push_str(separator);
        separator = ",";
        write_string(out, field.name);
        out.push(':');
        if field.presence == Presence::Nullable && value.is_null() {
            out.push_str("null");
        } else {
            write_value(out, &field.kind, value);
        }
    }
    out.push('}');
}

fn is_left_out(field: &Field, value: &Value) -> bool {
    match field.presence {
        Presence::Always | Presence::Nullable => false,
        Presence::NonNil => value.is_null(),
        Presence::NonEmpty => is_empty(&field.kind, value),
    }
}

/// Whether it is a `null` that Go keeps as text: raw JSON by value does not become nil.
fn is_raw_null(field: &Field, present: Option<&Value>) -> bool {
    matches!((&field.kind, field.presence, present), (Kind::Raw, Presence::NonEmpty, Some(Value::Null)))
}

/// Whether `omitempty` leaves out the value. A value of the wrong type is not empty.
fn is_empty(kind: &Kind, value: &Value) -> bool {
    match (kind, value) {
        (_, Value::Null) => true,
        (Kind::Text, Value::String(text)) => text.is_empty(),
        (Kind::Bool, Value::Bool(flag)) => !flag,
        (Kind::Int, Value::Number(number)) => number.as_f64() == Some(0.0),
        (Kind::List(_), Value::Array(items)) => items.is_empty(),
        (Kind::Map(_), Value::Object(entries)) => entries.is_empty(),
        (Kind::Time, Value::String(text)) => parse_time(text).is_some_and(is_zero_time),
        _ => false,
    }
}

fn write_list(out: &mut String, item: &Kind, items: &[Value]) {
    out.push('[');
    for (index, value) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_value(out, item, value);
    }
    out.push(']');
}

fn write_map(out: &mut String, item: &Kind, entries: &Map<String, Value>) {
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| *key);
    out.push('{');
    for (index, (key, value)) in sorted.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(out, key);
        out.push(':');
        write_value(out, item, value);
    }
    out.push('}');
}

/// Writes `value` without looking at what it means, keys sorted.
fn write_raw(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number_text(number)),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => write_list(out, &Kind::Raw, items),
        Value::Object(entries) => write_map(out, &Kind::Raw, entries),
    }
}

/// Writes `text` with Go's escapes, which include `<`, `>`, `&` and the two Unicode line separators.
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// The text that Go writes for a number: shortest form, an exponent only below 1e-6 and from 1e21.
fn number_text(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() => float_text(float),
        _ => number.to_string(),
    }
}

fn float_text(float: f64) -> String {
    let magnitude = float.abs();
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        return float.to_string();
    }
    let text = format!("{float:e}");
    if magnitude < 1.0 { text } else { text.replace('e', "e+") }
}

/// Writes a quantity in canonical form, or as it stands when it is malformed.
fn write_quantity(out: &mut String, text: &str) {
    // Kubernetes trims the JSON text, in which control characters are escapes and therefore not white space.
    let trimmed = text.trim_matches(|c: char| c.is_whitespace() && !c.is_ascii_control());
    write_string(out, quantity::canonical(trimmed).as_deref().unwrap_or(text));
}

/// Writes a time in UTC with whole seconds, or as it stands when it is malformed.
fn write_time(out: &mut String, text: &str) {
    match parse_time(text) {
        Some(time) if is_zero_time(time) => out.push_str("null"),
        Some(time) => write_string(out, &time.to_rfc3339_opts(SecondsFormat::Secs, true)),
        None => write_string(out, text),
    }
}

fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}

fn is_zero_time(time: DateTime<Utc>) -> bool {
    time.timestamp() == GO_ZERO_TIME && time.timestamp_subsec_nanos() == 0
}
