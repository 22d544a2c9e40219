//! Reads an expression as tokens and refuses what could run for long, before anything is parsed or run.
//!
//! The expression crate has no budget of its own, cannot be interrupted, and its parser tries some forms twice per
//! level of nesting. So the limits are static: length, number of tokens, nesting, ranges written out in numbers. What
//! depends on data is counted while it runs, in `budget`.

use super::strict::{self, Place};
use super::tokens::{Kind, Token, tokenize, with_elements};
use super::{builtin, defaults};

/// Longest expression, in bytes. The longest conditions seen in the field have a few hundred.
const MAX_LENGTH: usize = 2_048;
/// Most tokens: a chain of operators is one level of recursion per operator.
const MAX_TOKENS: usize = 300;
/// Deepest nesting of brackets, and most ternaries, each a level of recursion too.
const MAX_NESTING: usize = 16;
/// Deepest nesting of square brackets: the parser tries an index twice, as a slice and as an index, at each level.
const MAX_SQUARE_NESTING: usize = 4;
/// Most `if`s: the parser tries them twice.
const MAX_IFS: usize = 4;
/// Most `matches`, each of which compiles a regular expression.
const MAX_MATCHES: usize = 4;
/// Largest compiled regular expression, in bytes.
const MAX_REGEX_SIZE: usize = 1 << 18;
/// Most elements of all ranges `a..b` of an expression together; each run of a closure pays for them.
const MAX_RANGE: u64 = 500;

/// One statement: `let name = text;`, or the final expression when `name` is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) name: Option<String>,
    pub(super) text: String,
    /// The same, with an error for each value that does not exist.
    pub(super) strict: String,
}

/// An expression within the static limits.
#[derive(Clone, Debug)]
pub(super) struct Scanned {
    pub(super) statements: Vec<Statement>,
    /// What one run of any part of it costs at most, in units of the budget.
    pub(super) cost: u64,
    /// The places that the strict statements look at, by their number.
    pub(super) places: Vec<Place>,
}

/// Reads `text`.
///
/// # Errors
///
/// The sentence that says what is refused and why.
pub(super) fn scan(text: &str) -> Result<Scanned, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("it has {} bytes; at most {MAX_LENGTH} are allowed", text.len()));
    }
    let tokens = tokenize(text)?;
    if tokens.is_empty() {
        return Err("it is empty".to_owned());
    }
    if tokens.len() > MAX_TOKENS {
        return Err(format!("it has {} words and symbols; at most {MAX_TOKENS} are allowed", tokens.len()));
    }
    let text = &with_elements(text, &tokens);
    let tokens = tokenize(text)?;
    check_nesting(&tokens)?;
    check_forms(&tokens)?;
    let ranges = check_ranges(&tokens)?;
    check_patterns(&tokens)?;
    defaults::check(&tokens)?;
    let mut places = Vec::new();
    let statements = split(text, &tokens, &mut places)?;
    check_names(&tokens, &statements)?;
    Ok(Scanned {
        statements,
        cost: (tokens.len() as u64 / 2).saturating_add(4).saturating_add(ranges),
        places,
    })
}

/// Brackets pair up, and nothing is nested deeper than the parser can take.
fn check_nesting(tokens: &[Token<'_>]) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    for token in tokens.iter().filter(|token| token.kind == Kind::Symbol) {
        match token.text {
            "(" | "[" | "{" => open.push(token.text),
            ")" | "]" | "}" => {
                let expected = match open.pop() {
                    Some("(") => ")",
                    Some("[") => "]",
                    Some(_) => "}",
                    None => return Err(format!("'{}' closes nothing", token.text)),
                };
                if token.text != expected {
                    return Err(format!("'{}' stands where '{expected}' is expected", token.text));
                }
            }
            _ => {}
        }
        let squares = open.iter().filter(|bracket| **bracket == "[").count();
        if open.len() > MAX_NESTING || squares > MAX_SQUARE_NESTING {
            return Err("its brackets are nested too deeply".to_owned());
        }
    }
    match open.pop() {
        Some(bracket) => Err(format!("'{bracket}' is not closed")),
        None => Ok(()),
    }
}

/// Forms that are refused whatever their content.
fn check_forms(tokens: &[Token<'_>]) -> Result<(), String> {
    let count = |text: &str| tokens.iter().filter(|token| token.is(text)).count();
    if count("?") + count("??") + count("?.") > MAX_NESTING {
        return Err(format!("it has more than {MAX_NESTING} choices ('?', '??', '?.')"));
    }
    if count("if") > MAX_IFS {
        return Err(format!("it has more than {MAX_IFS} 'if'"));
    }
    if tokens.iter().any(|token| token.kind == Kind::Word && token.text.starts_with('$')) {
        return Err("names that begin with '$' do not exist here; the value is called 'result'".to_owned());
    }
    let map = tokens.windows(3).any(|three| {
        matches!(three, [brace, key, colon]
            if brace.is("{") && matches!(key.kind, Kind::Word | Kind::Text) && colon.is(":"))
    });
    if map || tokens.windows(2).any(|two| matches!(two, [open, close] if open.is("{") && close.is("}"))) {
        return Err("maps cannot be written in a condition".to_owned());
    }
    Ok(())
}

/// Each range is between two plain numbers, and nothing binds tighter than it; gives the elements of all together.
fn check_ranges(tokens: &[Token<'_>]) -> Result<u64, String> {
    let mut total: u64 = 0;
    for (index, _) in tokens.iter().enumerate().filter(|(_, token)| token.is("..")) {
        let around = |back: usize| index.checked_sub(back).and_then(|at| tokens.get(at));
        let before = around(2).is_none_or(|token| {
            token.is_one_of(&["(", "[", "{", ",", ":", ";", "=", "in", "&&", "and", "||", "or"])
        });
        let after = tokens.get(index + 2).is_none_or(|token| {
            token.is_one_of(&[")", "]", "}", ",", ":", ";", "?", "&&", "and", "||", "or"])
        });
        let (start, end) = (around(1).and_then(whole_number), tokens.get(index + 1).and_then(whole_number));
        let (Some(start), Some(end), true, true) = (start, end, before, after) else {
            return Err(
                "a range 'a..b' must stand between two whole numbers, in brackets of its own, for example (1..10)"
                    .to_owned(),
            );
        };
        total = total.saturating_add(end.saturating_add(1).saturating_sub(start));
    }
    if total > MAX_RANGE {
        return Err(format!("its ranges have {total} elements; at most {MAX_RANGE} are allowed"));
    }
    Ok(total)
}

fn whole_number(token: &Token<'_>) -> Option<u64> {
    (token.kind == Kind::Int).then(|| token.text.parse().unwrap_or(u64::MAX))
}

/// Each `matches` has a pattern written out, small enough to compile in no time.
fn check_patterns(tokens: &[Token<'_>]) -> Result<(), String> {
    let positions: Vec<usize> =
        tokens.iter().enumerate().filter(|(_, token)| token.is("matches")).map(|(index, _)| index).collect();
    if positions.len() > MAX_MATCHES {
        return Err(format!("it has more than {MAX_MATCHES} 'matches'"));
    }
    for index in positions {
        let after = tokens.get(index + 2).is_none_or(|token| {
            token.is_one_of(&[")", "]", "}", ",", ":", ";", "?", "&&", "and", "||", "or"])
        });
        let Some(pattern) = tokens.get(index + 1).filter(|token| token.kind == Kind::Text && after) else {
            return Err("the pattern after 'matches' must be a text written out".to_owned());
        };
        let pattern = builtin::text_of(pattern.text)
            .ok_or_else(|| format!("the pattern {} is not a text", pattern.text))?;
        if let Err(error) = regex::RegexBuilder::new(&pattern).size_limit(MAX_REGEX_SIZE).build() {
            return Err(match error {
                regex::Error::CompiledTooBig(_) => format!("the pattern '{pattern}' is too large"),
                _ => format!("'{pattern}' is not a regular expression"),
            });
        }
    }
    Ok(())
}

/// Splits `let a = …; let b = …; expression` into its statements; `let` exists nowhere else.
fn split<'a>(text: &'a str, tokens: &[Token<'a>], places: &mut Vec<Place>) -> Result<Vec<Statement>, String> {
    let mut statements = Vec::new();
    let parts: Vec<&[Token<'a>]> = tokens.split(|token| token.is(";")).collect();
    let last = parts.len().saturating_sub(1);
    let mut start = 0;
    for (index, part) in parts.into_iter().enumerate() {
        let end = part.last().map_or(start, |token| token.start + token.text.len());
        let (name, body) = match part {
            [word, name, equals, body @ ..] if index < last && word.is("let") && equals.is("=") => {
                (Some(name.text), body)
            }
            body if index == last => (None, body),
            _ => return Err("';' ends a 'let name = value' and nothing else".to_owned()),
        };
        if body.iter().any(|token| token.is("let") || token.is("=")) {
            return Err("'=' belongs to a 'let' at the beginning of the expression; to compare, write '=='"
                .to_owned());
        }
        check_balanced(body)?;
        let from = body.first().map_or(end, |token| token.start);
        let plain = text.get(from..end).unwrap_or_default();
        if plain.trim().is_empty() {
            return Err("it ends too early".to_owned());
        }
        let strict = strict::write(text, body, name.is_some(), places)?;
        let name = name.map(str::to_owned);
        statements.push(Statement { name, text: plain.to_owned(), strict });
        start = end + 1;
    }
    Ok(statements)
}

/// A statement does not begin or end inside brackets.
fn check_balanced(tokens: &[Token<'_>]) -> Result<(), String> {
    check_nesting(tokens).map_err(|_| "';' cannot stand inside brackets".to_owned())
}

/// Every function exists, and every variable where no closure brings names of its own.
fn check_names(tokens: &[Token<'_>], statements: &[Statement]) -> Result<(), String> {
    let calls = |index: usize| tokens.get(index + 1).is_some_and(|token| token.is("("));
    let closures = tokens.iter().any(|token| token.kind == Kind::Word && builtin::takes_closure(token.text));
    for (index, token) in tokens.iter().enumerate().filter(|(_, token)| token.kind == Kind::Word) {
        if builtin::is_keyword(token.text) {
            continue;
        }
        if calls(index) {
            if !builtin::exists(token.text) {
                return Err(format!("there is no function '{}'", token.text));
            }
            continue;
        }
        let known =
            token.text == "result" || statements.iter().any(|one| one.name.as_deref() == Some(token.text));
        // The parser takes `matchesx` for `matches x`: a name may not hide an operator, even among a closure's names.
        if !known && (!closures || builtin::begins_with_operator(token.text)) {
            return Err(format!("there is no variable '{}'; the value is called 'result'", token.text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn let_statements_are_split_at_the_top_only() {
        let scanned = scan("let a = result[0]; let b = a * 2; b > 1").unwrap();
        let names: Vec<_> =
            scanned.statements.iter().map(|one| (one.name.as_deref(), one.text.as_str())).collect();
        assert_eq!(names, [(Some("a"), "result[0]"), (Some("b"), "a * 2"), (None, "b > 1")]);
        for refused in ["map(result, {let x = #; x})", "letx = 1; x", "result = 1", "1;2", "let a = 1;"] {
            assert!(scan(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn ranges_are_small_and_between_plain_numbers() {
        for accepted in ["len(1..10) > 2", "result[0] in 1..5", "5 in [1..3, 4..6]", "any(1..500, # == 3)"] {
            assert!(scan(accepted).is_ok(), "{accepted}");
        }
        for refused in [
            "map(1..100000000, # * 2)",
            "1..result[0]",
            "len(1..3*100000000)",
            "len(1..5 | sum())",
            "len(1..0x7fffffff)",
            "len(1..1_000_000_000)",
            "len(9..5..100000000)",
            "map(1..900, {map(1..900, # * 2)})",
            "len((1..5)..100000000)",
            "1...5",
            "len(1../**/100000000)",
        ] {
            assert!(scan(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_before_it_is_parsed() {
        for (open, close) in [("(", ")"), ("[", "]"), ("f(", ")"), ("result[", "]")] {
            let expression = format!("{}1{}", open.repeat(50), close.repeat(50));
            assert_eq!(scan(&expression).unwrap_err(), "its brackets are nested too deeply");
        }
        assert!(scan(&"result[0] ? 1 : ".repeat(20)).is_err());
        assert!(scan(&format!("1{}", "+1".repeat(500))).is_err());
        assert!(scan(&"x".repeat(5_000)).is_err());
    }

    #[test]
    fn patterns_are_written_out_and_small() {
        assert!(scan("'abc' matches '^a.c$'").is_ok());
        for refused in [
            "'a' matches result",
            r"'a' matches '(\\w{1000}){1000}'",
            "'a' matches 'x' + 'y'",
            "'a' matches '('",
        ] {
            assert!(scan(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn unknown_names_are_named() {
        assert_eq!(
            scan("results[0] > 1").unwrap_err(),
            "there is no variable 'results'; the value is called 'result'"
        );
        assert_eq!(scan("average(result) > 1").unwrap_err(), "there is no function 'average'");
        assert!(scan("$env.result > 1").is_err());
        assert!(scan("{a: result}.a > 1").is_err());
    }
}
