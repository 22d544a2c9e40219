//! Conditions: expressions of the expr language on `result`, bounded in time and memory, with errors that say what to do.
//!
//! The language is the expression crate's, with the additions of this API: `asInt`, `asFloat`, `isNaN`, `isInf`,
//! `isNil` and `default(value, fallback)`. Deliberately absent: maps written out, `$env`, `let` inside closures, ranges
//! between computed numbers and local time, because the crate can neither interrupt nor count them.

mod budget;
mod builtin;
mod defaults;
mod elements;
mod places;
mod scan;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use budget::{Budget, Variables};

use super::value::{Value, number_text};
use crate::units::Timestamp;

/// Most numbers a condition can look at; a query that returns more is not a measurement of one thing.
pub const MAX_VALUES: usize = 10_000;
/// Deepest nesting of an answer that a condition can look at.
const MAX_DEPTH: usize = 14;

/// Checks that an expression can be read and stays within the limits, without running it.
///
/// # Errors
///
/// One sentence that names the expression and what is wrong with it.
pub fn check(expression: &str) -> Result<(), String> {
    let scanned = scan::scan(expression).map_err(|why| refusal(expression, &why))?;
    scanned.statements.iter().try_for_each(|statement| compile(expression, statement.text).map(drop))
}

/// Whether a condition holds for a value.
///
/// # Errors
///
/// One sentence a person understands: the condition cannot be read, takes too much work, does not give true or false,
/// or cannot say anything about this value, for example because the query returned no data.
pub fn holds(expression: &str, value: &Value, now: Timestamp) -> Result<bool, String> {
    if value.len() > MAX_VALUES {
        return Err(format!(
            "the query returned {} values; a condition can look at {MAX_VALUES} at most",
            value.len()
        ));
    }
    if matches!(value, Value::Json(json) if depth(json) > MAX_DEPTH) {
        return Err(format!("the answer is nested deeper than {MAX_DEPTH} levels; choose a part of it"));
    }
    let scanned = scan::scan(expression).map_err(|why| refusal(expression, &why))?;
    if let Some(index) = missing_index(&scanned, value) {
        return Err(no_such_index(value, index));
    }
    if let (Value::Json(json), false) = (value, scanned.guarded) {
        places::check(&scanned.places, json)?;
    }
    let result = match value {
        Value::Number(number) => expr::Value::Float(*number),
        Value::Numbers(numbers) => {
            expr::Value::Array(numbers.iter().copied().map(expr::Value::Float).collect())
        }
        Value::Json(json) => operand(json),
    };
    let variables = BTreeMap::from([("result".to_owned(), result)]);
    match evaluate(expression, &scanned, variables, now) {
        Ok(expr::Value::Bool(holds)) => Ok(holds),
        Ok(other) => Err(format!(
            "the condition '{expression}' must be true or false, but it gives {}",
            describe(&other)
        )),
        Err(_) if value.is_empty() => Err(no_such_index(value, 0)),
        Err(why) => Err(format!(
            "the condition '{expression}' cannot be applied to {}: {why}",
            shortened(&value.text())
        )),
    }
}

/// The field that a condition looks at and the answer does not have, as a sentence; it counts as nil.
#[must_use]
pub fn absent_field(expression: &str, value: &Value) -> Option<String> {
    let Value::Json(json) = value else { return None };
    let scanned = scan::scan(expression).ok()?;
    let place = places::absent(&scanned.places, json)?;
    Some(format!("the answer has no {place}, which counts as nil"))
}

/// JSON as an expression sees it: every number is a float.
fn operand(json: &serde_json::Value) -> expr::Value {
    match json {
        serde_json::Value::Null => expr::Value::Nil,
        serde_json::Value::Bool(truth) => expr::Value::Bool(*truth),
        serde_json::Value::Number(number) => expr::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => expr::Value::String(text.clone()),
        serde_json::Value::Array(items) => expr::Value::Array(items.iter().map(operand).collect()),
        serde_json::Value::Object(fields) => {
            expr::Value::Map(fields.iter().map(|(key, value)| (key.clone(), operand(value))).collect())
        }
    }
}

fn depth(json: &serde_json::Value) -> usize {
    1 + match json {
        serde_json::Value::Array(items) => items.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(fields) => fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The time that an expression such as `now() - duration("5m")` stands for.
///
/// # Errors
///
/// One sentence: the expression cannot be read, or does not give a time.
pub fn time(expression: &str, now: Timestamp) -> Result<Timestamp, String> {
    let scanned = scan::scan(expression).map_err(|why| refusal(expression, &why))?;
    match evaluate(expression, &scanned, BTreeMap::new(), now) {
        Ok(expr::Value::DateTime(time)) => Ok(Timestamp::from_millis(time.timestamp_millis())),
        Ok(other) => Err(format!(
            "'{expression}' must give a time, for example now() - duration(\"5m\"), but it gives {}",
            describe(&other)
        )),
        Err(why) => Err(format!("'{expression}' gives no time: {why}")),
    }
}

fn refusal(expression: &str, why: &str) -> String {
    format!("the condition '{}' is not accepted: {why}", shortened(expression))
}

fn shortened(expression: &str) -> String {
    const LONGEST: usize = 200;
    if expression.chars().count() <= LONGEST {
        return expression.to_owned();
    }
    expression.chars().take(LONGEST).chain(['…']).collect()
}

/// An index that does not exist, when the condition has no word for missing data: a literal one of `result`, or any
/// when there is no data at all.
///
/// The crate reads such an index as nil, so that `result[0] != 1` would hold for a query without data.
fn missing_index(scanned: &scan::Scanned<'_>, value: &Value) -> Option<i64> {
    let length = match value {
        Value::Number(_) => return None,
        Value::Numbers(numbers) => numbers.len(),
        Value::Json(json) => json.as_array()?.len(),
    };
    if scanned.guarded {
        return None;
    }
    let count = i64::try_from(length).unwrap_or(i64::MAX);
    let missing = scanned.indices.iter().copied().find(|index| !(-count..count).contains(index));
    missing.or((count == 0 && scanned.needs_elements).then_some(0))
}

fn no_such_index(value: &Value, index: i64) -> String {
    if value.is_empty() {
        return format!(
            "the query returned no data, so result[{index}] does not exist; does the metric exist and is there traffic? \
             A condition can allow for it: len(result) == 0 || result[{index}] >= 0.95"
        );
    }
    let count = match value {
        Value::Json(serde_json::Value::Array(items)) => items.len(),
        Value::Number(_) | Value::Numbers(_) | Value::Json(_) => value.len(),
    };
    format!("the query returned {count} values, so result[{index}] does not exist")
}

/// Compiles one statement of `expression`.
fn compile(expression: &str, statement: &str) -> Result<expr::Program, String> {
    let compiled = catch_unwind(AssertUnwindSafe(|| expr::compile(statement)));
    match compiled {
        Ok(Ok(program)) => Ok(program),
        Ok(Err(error)) => Err(refusal(expression, &position(statement, &error.to_string()))),
        Err(_) => Err(refusal(expression, "it cannot be read")),
    }
}

/// Where parsing stopped, from the parser's own report, whose first line is ` --> line:column`.
fn position(statement: &str, report: &str) -> String {
    let place = report.lines().find_map(|line| line.trim().strip_prefix("--> ")?.split_once(':'));
    let Some((line, column)) =
        place.and_then(|(l, c)| Some((l.parse::<usize>().ok()?, c.parse::<usize>().ok()?)))
    else {
        return report.lines().next().unwrap_or("it cannot be read").to_owned();
    };
    let rest: String =
        statement.lines().nth(line.saturating_sub(1)).unwrap_or_default().chars().skip(column - 1).collect();
    if rest.trim().is_empty() {
        "it ends too early".to_owned()
    } else {
        format!("it makes no sense from '{rest}' on")
    }
}

/// Runs all statements. The error is the bare reason.
fn evaluate(
    expression: &str,
    scanned: &scan::Scanned<'_>,
    values: BTreeMap<String, expr::Value>,
    now: Timestamp,
) -> Result<expr::Value, String> {
    let budget = Budget::new(scanned.cost);
    let environment = builtin::environment(&budget, now);
    let mut variables = Variables { values, budget: &budget };
    let mut last = expr::Value::Nil;
    for statement in &scanned.statements {
        let program = compile(expression, statement.text)?;
        let run = catch_unwind(AssertUnwindSafe(|| environment.run(&program, &variables)));
        last = match run {
            Err(_) => return Err("it cannot be evaluated".to_owned()),
            Ok(_) if budget.is_spent() => return Err(budget::Refused::TooMuchWork.to_string()),
            Ok(Err(error)) => return Err(error.to_string()),
            Ok(Ok(value)) => value,
        };
        if let Some(name) = statement.name {
            budget.check_size(&last).map_err(|refused| refused.to_string())?;
            variables.values.insert(name.to_owned(), last.clone());
        }
    }
    Ok(last)
}

fn describe(value: &expr::Value) -> String {
    match value {
        expr::Value::Float(number) => format!("the number {}", number_text(*number)),
        expr::Value::Integer(number) => format!("the number {number}"),
        expr::Value::Nil => "nothing (nil)".to_owned(),
        expr::Value::String(_) => "a text".to_owned(),
        expr::Value::Array(_) | expr::Value::Bytes(_) => "a list".to_owned(),
        expr::Value::Map(_) | expr::Value::KeyedMap(_) => "a map".to_owned(),
        expr::Value::Bool(_) => "true or false".to_owned(),
        _ => "a time or a duration".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn on(expression: &str, numbers: &[f64]) -> Result<bool, String> {
        holds(expression, &Value::Numbers(numbers.to_vec()), Timestamp::from_millis(NOW))
    }

    #[test]
    fn conditions_of_the_field_hold_as_written() {
        for (expression, numbers, expected) in [
            ("result[0] >= 0.95", vec![0.95], true),
            ("result[0] >= 0.95", vec![0.949], false),
            ("all(result, # < 5)", vec![1.0, 2.0], true),
            ("all(result, {# < 2})", vec![1.0, 2.0], false),
            ("any(result, {# > 1}) && len(result) == 2", vec![1.0, 2.0], true),
            ("default(result[0], 0) < 5", vec![], true),
            ("(result[0] ?? 0) < 5", vec![], true),
            ("len(result) == 0 || result[0] >= 0.95", vec![], true),
            ("isNaN(result[0]) || result[0] > 1", vec![f64::NAN], true),
            ("isInf(result[0])", vec![f64::INFINITY], true),
            ("isNil(result[7])", vec![1.0], true),
            ("asInt(result[0]) == 3", vec![3.7], true),
            ("asFloat('0.5') < result[0]", vec![0.6], true),
            ("filter(result, # > 1)[0] == 2", vec![1.0, 2.0, 3.0], true),
            ("count(result, # > 1) == 2 && sum(result) == 6", vec![1.0, 2.0, 3.0], true),
            ("sum(map(result, # * 2)) == 12", vec![1.0, 2.0, 3.0], true),
            ("find(result, # > 1) == 2 && findIndex(result, # > 1) == 1", vec![1.0, 2.0, 3.0], true),
            ("findLast(result, # > 1) == 3 && findLastIndex(result, # < 3) == 1", vec![1.0, 2.0, 3.0], true),
            ("one(result, # > 2) && none(result, # > 3)", vec![1.0, 2.0, 3.0], true),
            (
                "reduce(result, #acc + #, 10) == 16 && reduce(result, #acc + #) == 6",
                vec![1.0, 2.0, 3.0],
                true,
            ),
            ("sortBy(result, -#)[0] == 3 && sortBy(result, {#}, 'desc')[0] == 3", vec![1.0, 2.0, 3.0], true),
            (
                "len(groupBy(result, # > 1)) == 2 && groupBy(result, # > 1)[true][0] == 2",
                vec![1.0, 2.0, 3.0],
                true,
            ),
            ("let p = mean(result); p > 1.9 and p < 2.1", vec![1.0, 2.0, 3.0], true),
            ("result[0] in 1..5 ? true : false", vec![3.0], true),
            ("result | filter(# > 1) | len() == 1", vec![1.0, 2.0], true),
            ("if result[0] > 1 { true } else { false }", vec![2.0], true),
            ("'canary' matches '^can' and not ('a' contains 'b')", vec![], true),
            ("max(result) <= 3 && median(result) == 2 && result[-1] == 3", vec![1.0, 2.0, 3.0], true),
            ("any(1..500, # == 3)", vec![], true),
            ("now() - duration('1h') < now() && now().Year() == 2023", vec![], true),
        ] {
            assert_eq!(on(expression, &numbers), Ok(expected), "{expression} on {numbers:?}");
        }
        assert_eq!(holds("result > 0.5", &Value::Number(0.6), Timestamp::from_millis(NOW)), Ok(true));
    }

    #[test]
    fn an_empty_result_is_explained_and_never_a_verdict() {
        for expression in [
            "result[0] >= 0.95",
            "result[0] != 1",
            "result[0] == result[0]",
            "first(result) > 1",
            "not (last(result) == 1)",
            "max(result) != 1",
            "min(map(result, # * 2)) != 1",
            "let r = result; r[0] != 1",
            "let i = 0; result[i] != 1",
            "result[1 - 1] != 1",
            "filter(result, # > 1)[0] != 2",
        ] {
            let message = on(expression, &[]).unwrap_err();
            assert!(
                message.starts_with("the query returned no data, so result[0] does not exist;"),
                "{message}"
            );
        }
        for (expression, index) in [("result[2] > 1", 2), ("result[-2] != 1", -2)] {
            assert_eq!(
                on(expression, &[1.0]).unwrap_err(),
                format!("the query returned 1 values, so result[{index}] does not exist")
            );
        }
        assert!(
            on("result[-1] != 1", &[]).unwrap_err().starts_with("the query returned no data, so result[-1]")
        );
        assert_eq!(on("all(result[0:2], # in [1, 2])", &[]), Ok(true));
    }

    fn on_json(expression: &str) -> Result<bool, String> {
        let json = serde_json::json!({
            "ok": true, "rate": 1, "name": "x", "none": null, "empty": [],
            "list": [{"Values": [0.5, 2]}], "a.b": {"c": 3}
        });
        holds(expression, &Value::Json(json), Timestamp::from_millis(NOW))
    }

    #[test]
    fn a_condition_looks_into_an_answer() {
        for (expression, expected) in [
            ("result.ok == true", true),
            ("result.ok && result.rate >= 0.95", true),
            ("result.rate == 1 && result.name == 'x'", true),
            ("result.list[0].Values[0] < 0.6", true),
            ("result['a.b'].c == 3", true),
            ("all(result.list[0].Values, # > 0)", true),
            ("result.none == nil", true),
            ("result.missing == true", false),
            ("len(result.empty) == 0", true),
        ] {
            assert_eq!(on_json(expression), Ok(expected), "{expression}");
        }
        let list = Value::Json(serde_json::json!([{"Values": [1]}]));
        assert_eq!(holds("result[0].Values[0] == 1", &list, Timestamp::from_millis(NOW)), Ok(true));
        let text = Value::Json(serde_json::json!("ok"));
        assert_eq!(holds("result == 'ok'", &text, Timestamp::from_millis(NOW)), Ok(true));
    }

    #[test]
    fn what_an_answer_does_not_have_is_never_taken_for_a_value() {
        for (expression, message) in [
            ("result.empty[0] != 1", "result.empty has 0 values, so result.empty[0] does not exist"),
            (
                "result.list[0].Values[2] != 1",
                "result.list[0].Values has 2 values, so result.list[0].Values[2] does not exist",
            ),
            ("result.missing.x != 1", "the answer has no result.missing, so result.missing.x does not exist"),
            ("result.none.x != 1", "result.none is null, so result.none.x does not exist"),
        ] {
            assert_eq!(on_json(expression).unwrap_err(), message, "{expression}");
        }
        assert!(on_json("result.missing > 1").is_err());
        let empty = Value::Json(serde_json::json!([]));
        let message = holds("result[0].x != 1", &empty, Timestamp::from_millis(NOW)).unwrap_err();
        assert!(message.starts_with("the query returned no data"), "{message}");
    }

    #[test]
    fn a_condition_must_give_true_or_false() {
        assert_eq!(
            on("result[0]", &[0.95]).unwrap_err(),
            "the condition 'result[0]' must be true or false, but it gives the number 0.95"
        );
        assert!(on("result >= 0.95", &[0.95]).unwrap_err().contains("cannot be applied to [0.95]"));
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_place() {
        for (expression, part) in [
            ("result[0] >=", "it ends too early"),
            ("result[0] >= 0.95 0.9", "it makes no sense from"),
            ("result[0] => 0.95", "'=='"),
            ("", "it is empty"),
            ("result[0", "'[' is not closed"),
            ("result[0] > 'x", "unexpected character"),
            ("result[0] > 99999999999999999999", "invalid integer"),
        ] {
            let message = check(expression).unwrap_err();
            assert!(message.contains(part), "{expression}: {message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn expressions_that_would_run_for_long_are_refused() {
        let many = vec![1.0; MAX_VALUES];
        for expression in [
            "map(1..100000000, # * 2)[0] == 2",
            "any(1..900, {any(1..900, {any(1..900, # < 0)})})",
            "any(result, {any(result, # < 0)})",
            "len(map(result, {result})) > 0",
            "len(repeat('abcdefgh', 1000000)) > 0",
            "len(reduce(1..100, #acc + #acc, 'abcdefgh')) > 0",
            "len(reduce(1..100, [#acc], 1)) > 0",
            "len(reduce(1..100, concat(#acc, #acc), [1])) > 0",
            "let a = [result,result]; let b = [a,a]; let c = [b,b,b,b]; len(c) > 0",
            "let a = repeat('x', 9000); len(replace(a, 'x', a)) > 0",
            "let a = map(1..900, {'x'}); len(join(a, repeat('y', 900))) > 0",
            "len(uniq(map(result, #index))) > 0",
            "len(groupBy(result, #)) > 0",
        ] {
            let message = on(expression, &many).unwrap_err();
            assert!(
                ["at most", "too much work", "too large"].iter().any(|part| message.contains(part)),
                "{expression}: {message}"
            );
        }
        assert_eq!(on("all(result, # < 5) && any(result, # > 0)", &many), Ok(true));
        let growing = on("len(reduce(1..100, concat(#acc, #acc), [1])) > 0", &[1.0]).unwrap_err();
        assert!(growing.ends_with("it builds a value that is too large"), "{growing}");
        assert!(on("result[0] > 0", &vec![1.0; MAX_VALUES + 1]).unwrap_err().contains("10000 at most"));
    }

    #[test]
    fn range_ends_are_times_that_follow_the_given_now() {
        let now = Timestamp::from_millis(NOW);
        assert_eq!(time("now()", now), Ok(now));
        assert_eq!(time("now() - duration('5m')", now), Ok(Timestamp::from_millis(NOW - 300_000)));
        assert!(time("duration('5m')", now).unwrap_err().contains("must give a time"));
        assert!(time("timezone('Local')", now).unwrap_err().contains("no local time zone"));
    }
}
