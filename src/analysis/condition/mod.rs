//! Conditions: expressions of the expr language on `result`, bounded in time and memory, with errors that say what to do.
//!
//! The language is the expression crate's, with the additions of this API: `asInt`, `asFloat`, `isNaN`, `isInf`,
//! `isNil` and `default(value, fallback)`. Deliberately absent: maps written out, `$env`, `let` inside closures, ranges
//! between computed numbers and local time, because the crate can neither interrupt nor count them.

mod absent;
mod budget;
mod builtin;
mod defaults;
mod scan;
mod strict;
mod tokens;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use absent::{Absence, Absences};
use budget::{Budget, Variables};
use strict::Place;

use super::value::{Value, number_text};
use crate::units::Timestamp;

/// Most numbers a condition can look at; a query that returns more is not a measurement of one thing.
pub const MAX_VALUES: usize = 10_000;
/// Deepest nesting of an answer that a condition can look at.
const MAX_DEPTH: usize = 14;

/// An expression that was read, to be applied to any number of values; copies share what was read.
#[derive(Clone, Debug)]
pub struct Condition(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    text: String,
    statements: Vec<Statement>,
    /// What one run of any part of it costs at most, in units of the budget.
    cost: u64,
    /// The places that the strict statements look at, by their number.
    places: Vec<Place>,
}

/// One statement, whose value later ones know by its name.
#[derive(Debug)]
struct Statement {
    name: Option<String>,
    /// With an error for each value that does not exist.
    strict: expr::Program,
    as_nil: expr::Program,
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Condition {}

/// What a condition says about a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it holds.
    pub holds: bool,
    /// What the answer does not have and the outcome hangs on, as a sentence: it was read as nil.
    pub absent: Option<String>,
}

impl Condition {
    /// Reads an expression and sees that it stays within the limits, without running it.
    ///
    /// # Errors
    ///
    /// One sentence that names the expression and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let scanned = scan::scan(text).map_err(|why| refusal(text, &why))?;
        let compiled = |statement: scan::Statement| {
            let as_nil = compile(text, &statement.text)?;
            Ok(Statement { name: statement.name, strict: compile(text, &statement.strict)?, as_nil })
        };
        let statements = scanned.statements.into_iter().map(compiled).collect::<Result<_, String>>()?;
        let (cost, places) = (scanned.cost, scanned.places);
        Ok(Self(Arc::new(Compiled { text: text.to_owned(), statements, cost, places })))
    }

    /// Whether it holds for a value.
    ///
    /// A field that does not exist, or is null, counts as nil, as the public API has it, and the outcome says so.
    ///
    /// # Errors
    ///
    /// One sentence a person understands: the condition takes too much work, does not give true or false, or cannot say
    /// anything about this value, for example because the query returned no data.
    pub fn holds(&self, value: &Value, now: Timestamp) -> Result<Outcome, String> {
        if value.len() > MAX_VALUES {
            return Err(format!(
                "the query returned {} values; a condition can look at {MAX_VALUES} at most",
                value.len()
            ));
        }
        if matches!(value, Value::Json(json) if depth(json) > MAX_DEPTH) {
            return Err(format!("the answer is nested deeper than {MAX_DEPTH} levels; choose a part of it"));
        }
        let absences = Absences::new(&self.0.places);
        let evaluated = self.evaluate(Reading::Strict, variables(value), &absences, now);
        let Some(absence) = absences.into_first() else {
            return truth(&self.0.text, value, evaluated).map(|holds| Outcome { holds, absent: None });
        };
        let why = without(value, &absence);
        if value.is_empty() || !absence.is_nil {
            return Err(why);
        }
        let as_nil = self.evaluate(Reading::AsNil, variables(value), &Absences::new(&[]), now);
        match as_nil {
            Ok(expr::Value::Bool(holds)) => Ok(Outcome { holds, absent: Some(why) }),
            Ok(_) | Err(_) => Err(why),
        }
    }

    /// Runs all statements. The error is the bare reason.
    fn evaluate(
        &self,
        reading: Reading,
        values: BTreeMap<String, expr::Value>,
        absences: &Absences<'_>,
        now: Timestamp,
    ) -> Result<expr::Value, String> {
        let budget = Budget::new(self.0.cost);
        let environment = builtin::environment(&budget, absences, now);
        let mut variables = Variables { values, budget: &budget };
        let mut last = expr::Value::Nil;
        for statement in &self.0.statements {
            let program = match reading {
                Reading::Strict => &statement.strict,
                Reading::AsNil => &statement.as_nil,
            };
            let run = catch_unwind(AssertUnwindSafe(|| environment.run(program, &variables)));
            last = match run {
                Err(_) => return Err("it cannot be evaluated".to_owned()),
                Ok(_) if budget.is_spent() => return Err(budget::Refused::TooMuchWork.to_string()),
                Ok(Err(error)) => return Err(error.to_string()),
                Ok(Ok(value)) => value,
            };
            if let Some(name) = &statement.name {
                budget.check_size(&last).map_err(|refused| refused.to_string())?;
                variables.values.insert(name.clone(), last.clone());
            }
        }
        Ok(last)
    }
}

/// The value as a variable of an expression.
fn variables(value: &Value) -> BTreeMap<String, expr::Value> {
    let result = match value {
        Value::Number(number) => expr::Value::Float(*number),
        Value::Numbers(numbers) => {
            expr::Value::Array(numbers.iter().copied().map(expr::Value::Float).collect())
        }
        Value::Json(json) => operand(json),
        Value::Job(_) => expr::Value::Nil,
    };
    BTreeMap::from([("result".to_owned(), result)])
}

fn truth(expression: &str, value: &Value, evaluated: Result<expr::Value, String>) -> Result<bool, String> {
    match evaluated {
        Ok(expr::Value::Bool(holds)) => Ok(holds),
        Ok(other) => Err(format!(
            "the condition '{expression}' must be true or false, but it gives {}",
            describe(&other)
        )),
        Err(_) if value.is_empty() => Err(no_data("result[0]")),
        Err(why) => Err(format!(
            "the condition '{expression}' cannot be applied to {}: {why}",
            shortened(&value.text())
        )),
    }
}

/// Why nothing can be said without a part of the value.
fn without(value: &Value, absence: &Absence) -> String {
    if value.is_empty() {
        return no_data(&absence.place);
    }
    if absence.is_nil {
        let place = &absence.place;
        return format!("{}; ({place} ?? false) in the condition can say what that means", absence.why);
    }
    absence.why.clone()
}

fn no_data(place: &str) -> String {
    format!(
        "the query returned no data, so {place} does not exist; does the metric exist and is there traffic? \
         A condition can allow for it: len(result) == 0 || result[0] >= 0.95"
    )
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
    let read = Condition::parse(expression)?;
    let absences = Absences::new(&read.0.places);
    match read.evaluate(Reading::Strict, BTreeMap::new(), &absences, now) {
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

/// How a value that does not exist is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// As an error.
    Strict,
    /// As nil.
    AsNil,
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

    fn check(expression: &str) -> Result<(), String> {
        Condition::parse(expression).map(drop)
    }

    fn judged(expression: &str, value: &Value) -> Result<bool, String> {
        let outcome = Condition::parse(expression)?.holds(value, Timestamp::from_millis(NOW))?;
        outcome.absent.map_or(Ok(outcome.holds), Err)
    }

    fn on(expression: &str, numbers: &[f64]) -> Result<bool, String> {
        judged(expression, &Value::Numbers(numbers.to_vec()))
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
        assert_eq!(judged("result > 0.5", &Value::Number(0.6)), Ok(true));
    }

    #[test]
    fn an_empty_result_is_explained_and_never_a_verdict() {
        for (expression, place) in [
            ("result[0] >= 0.95", "result[0]"),
            ("result[0] != 1", "result[0]"),
            ("result[0] == result[0]", "result[0]"),
            ("first(result) > 1", "first(result)"),
            ("not (last(result) == 1)", "last(result)"),
            ("max(result) != 1", "max(result)"),
            ("min(map(result, # * 2)) != 1", "min(map(result, # * 2))"),
            ("let r = result; r[0] != 1", "r[0]"),
            ("let i = 0; result[i] != 1", "result[i]"),
            ("result[1 - 1] != 1", "result[1 - 1]"),
            ("filter(result, # > 1)[0] != 2", "filter(result, # > 1)[0]"),
            ("result | first() != 2", "first()"),
            ("let f = first(result); f != 2", "f"),
            ("mean(result) < 0.05", "mean(result)"),
            ("find(result, # > 1) != 2", "find(result, # > 1)"),
            ("len(result) == 1 or (result)[0] != 2", "(result)[0]"),
        ] {
            let message = on(expression, &[]).unwrap_err();
            let expected = format!("the query returned no data, so {place} does not exist;");
            assert!(message.starts_with(&expected), "{expression}: {message}");
        }
        for (expression, index) in [("result[2] > 1", 2), ("result[-2] != 1", -2)] {
            assert_eq!(
                on(expression, &[1.0]).unwrap_err(),
                format!("result has 1 value, so result[{index}] does not exist")
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
            "list": [{"Values": [0.5, 2]}], "a.b": {"c": 3}, "matches": {"in": 1, "let": {"x": 1}}
        });
        judged(expression, &Value::Json(json))
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
            ("len(result.empty) == 0", true),
            ("len(result.empty) > 0 && result.empty[0] != 1", false),
            ("result.missing == nil && nil == result.none", true),
            ("(result.missing ?? 'x') != 'y'", true),
            ("isNil(result.missing) || result.missing.x == 1", true),
            ("default((result.missing), 7) == 7", true),
            ("result.missing | isNil()", true),
            ("let m = result.missing; m == nil || m.x == 1", true),
            ("'missing' in result && result.missing != 1", false),
            ("result.list[-1]['Values'][-1] == 2 && result.list[0:1][0].Values[1] == 2", true),
            ("all(result.list[0].Values, {# >= 0.5}) && all(result.list, {.Values[1] == 2})", true),
            ("count(result.list, .Values[0] < 1) == 1 && map(result.list, .Values)[0][1] == 2", true),
            ("result.list?.[7] == nil", true),
            ("(result.missing?.status ?? 'ok') != 'bad'", true),
            ("result.missing?.code == nil && result.missing?.code.x[0] == nil", true),
            ("result.missing?.code != 500", true),
            ("result?.list?.[0].Values?.[1] == 2", true),
            ("result.matches.in == 1 && result.matches.let.x > 0", true),
            ("all([result.matches], .in == 1)", true),
            ("(result.list | first()).Values[0] == 0.5", true),
            ("result.list | first().Values[0] == 0.5", true),
            ("filter(result.list, #.Values[0] < 1)[0].Values[1] == 2", true),
            ("(if result.ok { result.list } else { [] })[0].Values[0] == 0.5", true),
            ("result.list[result.rate == 1 ? 0 : 1].Values[0] == 0.5", true),
        ] {
            assert_eq!(on_json(expression), Ok(expected), "{expression}");
        }
        let list = Value::Json(serde_json::json!([{"Values": [1]}]));
        assert_eq!(judged("result[0].Values[0] == 1", &list), Ok(true));
        let text = Value::Json(serde_json::json!("ok"));
        assert_eq!(judged("result == 'ok'", &text), Ok(true));
    }

    #[test]
    fn what_an_answer_does_not_have_is_never_taken_for_a_value() {
        for (expression, part) in [
            ("result.empty[0] != 1", "result.empty has 0 values, so result.empty[0] does not exist"),
            (
                "result.list[0].Values[2] != 1",
                "result.list[0].Values has 2 values, so result.list[0].Values[2] does not exist",
            ),
            ("first(result.empty) != 1", "first(result.empty) does not exist"),
            ("find(result.list, .x == 1) != 1", "the answer has no #.x"),
            (
                "filter(result.list[0].Values, # > 9)[0] != 1",
                "filter(result.list[0].Values, # > 9) has 0 values",
            ),
            ("let l = result.empty; l[0] != 1", "l has 0 values, so l[0] does not exist"),
            ("len(result.list) > 0 && result.empty[0] != 1", "result.empty has 0 values"),
            (
                "result.missing != 1",
                "the answer has no result.missing; (result.missing ?? false) in the cond",
            ),
            ("'bad' != result.missing", "the answer has no result.missing;"),
            ("result.missing not in ['bad']", "the answer has no result.missing;"),
            ("(result.none) != 1", "result.none is null; (result.none ?? false)"),
            ("let m = result.missing; m != 1", "m is null;"),
            ("result.missing.x != 1", "the answer has no result.missing;"),
            ("result.none.x != 1", "result.none is null;"),
            ("result?.missing != 1", "the answer has no result?.missing;"),
            ("result.list?.[7] != 1", "result.list has 1 value, so result.list?.[7] does not exist"),
            ("let m = result.missing; (m) != 1", "m is null;"),
            ("let m = result.missing; [m] != [1]", "m is null;"),
            ("(true ? result.none : 0) != 1", "result.none is null;"),
            ("string(result.missing) != 'bad'", "the answer has no result.missing;"),
            ("get(result, 'missing') != 1", "get(result, 'missing') does not exist"),
            ("mean(result.empty) < 1", "mean(result.empty) does not exist"),
            ("median(result.empty) > 1", "median(result.empty) does not exist"),
            ("first(result.empty).x != 1", "first(result.empty) does not exist"),
            ("any([result], #.missing != 1)", "the answer has no #.missing;"),
            ("if 1 != result.missing { true } else { false }", "the answer has no result.missing;"),
        ] {
            let message = on_json(expression).unwrap_err();
            assert!(message.starts_with(part), "{expression}: {message}");
        }
        assert!(on_json("result.missing > 1").is_err());
        assert!(on_json("'x' not in map([result], .missing)").is_err());
        assert!(check(".x == 1").is_err());
        let empty = Value::Json(serde_json::json!([]));
        let message = judged("result[0].x != 1", &empty).unwrap_err();
        assert!(message.starts_with("the query returned no data"), "{message}");
        let message = judged("result != 'bad'", &Value::Json(serde_json::Value::Null)).unwrap_err();
        assert!(message.starts_with("the query returned no data, so result does not exist"), "{message}");
        for expression in
            ["(result) != 1", "(true ? result : 0) != 1", "string(result) != 'bad'", "[result] != [1]"]
        {
            assert!(judged(expression, &Value::Json(serde_json::Value::Null)).is_err(), "{expression}");
        }
        assert_eq!(judged("result == nil", &Value::Json(serde_json::Value::Null)), Ok(true));
    }

    #[test]
    fn a_place_is_as_deep_as_the_parser_can_take() {
        let deep = |steps: usize| format!("result{} == nil", ".a".repeat(steps));
        assert_eq!(check(&deep(40)), Ok(()));
        assert!(check(&deep(42)).unwrap_err().contains("nested too deeply"));
        assert!(check("(if true { result } else { result })[0] > 1").is_ok());
        assert!(check("if true { result } else { result }[0] > 1").unwrap_err().contains("brackets around"));
        let wide = format!("{}1{}", "result[0][".repeat(4), "]".repeat(4));
        assert_eq!(check(&format!("{wide} == 1")), Ok(()));
        let groups = format!("{}result{} == 1", "(".repeat(15), ".a.a)".repeat(15));
        let small = std::thread::Builder::new().stack_size(2 << 20);
        let checked =
            small.spawn(move || (check(&groups), check(&deep(40)), on_json(&deep(40)))).unwrap().join();
        let (groups, deep, judged) = checked.unwrap();
        assert!(
            groups.is_err_and(|why| why.contains("nested too deeply")) && deep.is_ok() && judged.is_err()
        );
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
