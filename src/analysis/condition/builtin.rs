//! The functions and words of the expression language, and our versions of those that need a limit.
//!
//! A function is ours when its work or its result can grow faster than what it was given, when it runs a closure, or
//! when it reads the clock or the environment. All others run as the expression crate has them.

use std::sync::LazyLock;

use expr::{Environment, Program, Value};

use super::absent::Absences;
use super::budget::{Bindings, Budget, Refused};
use crate::units::Timestamp;

/// Functions that run a closure for each element.
const CLOSURES: [&str; 15] = [
    "all",
    "any",
    "one",
    "none",
    "map",
    "filter",
    "find",
    "findIndex",
    "findLast",
    "findLastIndex",
    "count",
    "sum",
    "reduce",
    "groupBy",
    "sortBy",
];
/// Functions that run as they are, after ours have taken their place.
const PLAIN: [&str; 59] = [
    "abs",
    "bitand",
    "bitnand",
    "bitnot",
    "bitor",
    "bitshl",
    "bitshr",
    "bitushr",
    "bitxor",
    "ceil",
    "concat",
    "date",
    "duration",
    "first",
    "flatten",
    "float",
    "floor",
    "fromBase64",
    "fromJSON",
    "fromPairs",
    "get",
    "hasPrefix",
    "hasSuffix",
    "indexOf",
    "int",
    "join",
    "keys",
    "last",
    "lastIndexOf",
    "len",
    "lower",
    "max",
    "mean",
    "median",
    "min",
    "now",
    "repeat",
    "replace",
    "reverse",
    "round",
    "sort",
    "split",
    "splitAfter",
    "string",
    "take",
    "timezone",
    "toBase64",
    "toJSON",
    "toPairs",
    "trim",
    "trimPrefix",
    "trimSuffix",
    "type",
    "uniq",
    "upper",
    "values",
    "asInt",
    "asFloat",
    "default",
];
/// Questions about one value.
const QUESTIONS: [&str; 3] = ["isNaN", "isInf", "isNil"];
/// Words that are neither functions nor variables.
const KEYWORDS: [&str; 15] = [
    "true",
    "false",
    "nil",
    "and",
    "or",
    "not",
    "in",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "let",
    "if",
    "else",
    "#",
];

/// The crate's own environment, for what runs as it is.
static PLAIN_ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(Environment::new);
/// The second of a pair, as a closure.
static SECOND: LazyLock<Option<Program>> = LazyLock::new(|| expr::compile("#[1]").ok());

/// Whether a function of that name exists.
pub(super) fn exists(name: &str) -> bool {
    takes_closure(name) || PLAIN.contains(&name) || QUESTIONS.contains(&name)
}

/// Whether a function of that name runs a closure.
pub(super) fn takes_closure(name: &str) -> bool {
    CLOSURES.contains(&name)
}

/// Whether a word is part of the language.
pub(super) fn is_keyword(word: &str) -> bool {
    KEYWORDS.contains(&word)
}

/// Whether a word begins with a word operator, for which the parser would take it.
pub(super) fn begins_with_operator(word: &str) -> bool {
    KEYWORDS.iter().any(|keyword| *keyword != "#" && word.starts_with(keyword))
}

/// The text that a string literal stands for.
pub(super) fn text_of(literal: &str) -> Option<String> {
    match expr::eval(literal, &expr::Context::default()) {
        Ok(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// The environment of one evaluation.
pub(super) fn environment<'a>(
    budget: &'a Budget,
    absences: &'a Absences<'a>,
    now: Timestamp,
) -> Environment<'a> {
    let mut environment = Environment::new();
    absences.add_to(&mut environment);
    for name in CLOSURES {
        environment.add_function(name, move |call| {
            let Some(closure) = call.predicate else {
                return PLAIN_ENVIRONMENT.eval_func(call.ctx, name, call.args, None);
            };
            let run = Closure { budget, environment: call.env, scope: call.ctx, program: closure };
            if name == "reduce" { run.reduce(call.args) } else { run.each(name, call.args) }
        });
    }
    add_growing(&mut environment, budget);
    add_averages(&mut environment);
    add_time(&mut environment, now);
    add_questions(&mut environment);
    environment
}

/// A closure and all it needs to run.
struct Closure<'a, 'b> {
    budget: &'a Budget,
    environment: &'a Environment<'b>,
    scope: &'a dyn expr::ContextProvider,
    program: &'a Program,
}

impl Closure<'_, '_> {
    /// Runs the closure for each element of the first argument, then the crate's function over the results.
    fn each(&self, name: &str, args: Vec<Value>) -> expr::Result<Value> {
        let mut args = args.into_iter();
        let (first, others) = (args.next(), args);
        let Some(Value::Array(elements)) = first else {
            return Err(expr::Error::ExprError(format!("{name}() takes a list as its first argument")));
        };
        if name == "groupBy" {
            self.budget.spend_square(elements.len())?;
        }
        let mut pairs = Vec::with_capacity(elements.len());
        for (index, element) in elements.into_iter().enumerate() {
            let result = self.run([("#", element.clone()), ("#index", index.into())])?;
            pairs.push(if name == "map" { result } else { Value::Array(vec![element, result]) });
        }
        if name == "map" {
            return Ok(Value::Array(pairs));
        }
        let args = std::iter::once(Value::Array(pairs)).chain(others).collect();
        let found = PLAIN_ENVIRONMENT.eval_func(self.scope, name, args, SECOND.as_ref())?;
        Ok(match name {
            "find" | "findLast" => first_of_pair(found),
            "filter" | "sortBy" => first_of_pairs(found),
            "groupBy" => groups(found),
            _ => found,
        })
    }

    fn reduce(&self, args: Vec<Value>) -> expr::Result<Value> {
        let mut args = args.into_iter();
        let (Some(Value::Array(elements)), initial) = (args.next(), args.next()) else {
            return Err(expr::Error::ExprError("reduce() takes a list as its first argument".to_owned()));
        };
        let mut elements = elements.into_iter().enumerate();
        let Some(mut sum) = initial.or_else(|| elements.next().map(|(_, first)| first)) else {
            return Err(expr::Error::ExprError(
                "reduce() of an empty list needs an initial value".to_owned(),
            ));
        };
        for (index, element) in elements {
            sum = self.run([("#", element), ("#acc", sum), ("#index", index.into())])?;
            self.budget.check_size(&sum)?;
        }
        Ok(sum)
    }

    fn run<const N: usize>(&self, values: [(&'static str, Value); N]) -> expr::Result<Value> {
        self.budget.spend_run()?;
        let scope = Bindings { parent: self.scope, budget: self.budget, values };
        self.environment.run(self.program, &scope)
    }
}

fn first_of_pair(pair: Value) -> Value {
    match pair {
        Value::Array(pair) => pair.into_iter().next().unwrap_or_default(),
        other => other,
    }
}

fn first_of_pairs(pairs: Value) -> Value {
    match pairs {
        Value::Array(pairs) => Value::Array(pairs.into_iter().map(first_of_pair).collect()),
        other => other,
    }
}

fn groups(groups: Value) -> Value {
    match groups {
        Value::KeyedMap(groups) => {
            Value::KeyedMap(groups.into_iter().map(|(key, group)| (key, first_of_pairs(group))).collect())
        }
        other => other,
    }
}

/// Functions whose result or work can grow faster than what they are given.
fn add_growing<'a>(environment: &mut Environment<'a>, budget: &'a Budget) {
    for name in ["uniq", "fromPairs", "repeat", "join", "replace"] {
        environment.add_function(name, move |call| {
            match (name, call.args.as_slice()) {
                ("uniq" | "fromPairs", [Value::Array(list), ..]) => budget.spend_square(list.len())?,
                ("repeat", [Value::String(text), Value::Integer(count)]) => {
                    budget.check_text(text.len().saturating_mul(usize::try_from(*count).unwrap_or(0)))?;
                }
                ("join", [Value::Array(list), Value::String(separator)]) => {
                    budget.check_text(list.len().saturating_mul(separator.len()))?;
                }
                ("replace", [Value::String(text), _, Value::String(to), ..]) => {
                    budget.check_text(text.len().saturating_add(1).saturating_mul(to.len()))?;
                }
                _ => {}
            }
            PLAIN_ENVIRONMENT.eval_func(call.ctx, name, call.args, None)
        });
    }
}

/// Averages, which of nothing are not 0.
fn add_averages(environment: &mut Environment<'_>) {
    for name in ["mean", "median"] {
        environment.add_function(name, move |call| {
            let is_empty = call.args.iter().all(|value| value.as_array().is_some_and(<[Value]>::is_empty));
            if is_empty {
                Ok(Value::Nil)
            } else {
                PLAIN_ENVIRONMENT.eval_func(call.ctx, name, call.args, None)
            }
        });
    }
}

/// Functions of time: `now` is the time of the pass, and there is no local time zone.
fn add_time(environment: &mut Environment<'_>, now: Timestamp) {
    environment.add_function("now", move |call| {
        if !call.args.is_empty() {
            return Err(expr::Error::ExprError("now() takes no arguments".to_owned()));
        }
        let text = chrono::DateTime::from_timestamp_millis(now.as_millis()).unwrap_or_default().to_rfc3339();
        PLAIN_ENVIRONMENT.eval_func(call.ctx, "date", vec![Value::String(text)], None)
    });
    for name in ["date", "timezone"] {
        environment.add_function(name, move |call| {
            if call.args.iter().any(|value| value.as_string() == Some("Local")) {
                return Err(expr::Error::ExprError(format!("{name}(): there is no local time zone here")));
            }
            PLAIN_ENVIRONMENT.eval_func(call.ctx, name, call.args, None)
        });
    }
}

/// Conversions and questions that conditions have besides the language's own functions.
fn add_questions(environment: &mut Environment<'_>) {
    environment.add_function("asInt", |call| convert("asInt", "int", call.ctx, call.args));
    environment.add_function("asFloat", |call| convert("asFloat", "float", call.ctx, call.args));
    environment.add_function("isNil", |call| Ok(Value::Bool(one("isNil", call.args)?.is_nil())));
    environment.add_function("isNaN", |call| {
        Ok(Value::Bool(matches!(one("isNaN", call.args)?, Value::Float(number) if number.is_nan())))
    });
    environment.add_function("isInf", |call| {
        Ok(Value::Bool(matches!(one("isInf", call.args)?, Value::Float(number) if number.is_infinite())))
    });
    environment.add_function("default", |call| {
        let mut args = call.args.into_iter();
        match (args.next(), args.next(), args.next()) {
            (Some(Value::Nil), Some(fallback), None) => Ok(fallback),
            (Some(value), Some(_), None) => Ok(value),
            _ => Err(expr::Error::ExprError("default() takes a value and what stands in for it".to_owned())),
        }
    });
}

fn convert(
    name: &str,
    plain: &str,
    scope: &dyn expr::ContextProvider,
    args: Vec<Value>,
) -> expr::Result<Value> {
    let value = one(name, args)?;
    let text = value.to_string();
    PLAIN_ENVIRONMENT
        .eval_func(scope, plain, vec![value], None)
        .map_err(|_| expr::Error::ExprError(format!("{name}({text}): not a number")))
}

fn one(name: &str, args: Vec<Value>) -> expr::Result<Value> {
    let mut args = args.into_iter();
    match (args.next(), args.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(expr::Error::ExprError(format!("{name}() takes one value"))),
    }
}

impl From<Refused> for expr::Error {
    fn from(refused: Refused) -> Self {
        Self::ExprError(refused.to_string())
    }
}
