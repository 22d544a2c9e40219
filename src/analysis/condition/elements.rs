//! Which single elements of a list an expression looks at: what a list without data does not have.

use super::builtin;
use super::scan::{Kind, Token};

/// The numbers k of each `result[k]`.
pub(super) fn indices(tokens: &[Token<'_>]) -> Vec<i64> {
    let begins = |list: &[Token<'_>]| matches!(list, [name, open, ..] if name.is("result") && open.is("["));
    let found = tokens.windows(4).filter(|four| begins(four)).filter_map(|four| match four {
        [_, _, number, close] if number.kind == Kind::Int && close.is("]") => number.text.parse().ok(),
        _ => None,
    });
    let negative = tokens.windows(5).filter(|five| begins(five)).filter_map(|five| match five {
        [_, _, minus, number, close] if minus.is("-") && number.kind == Kind::Int && close.is("]") => {
            number.text.parse::<i64>().ok().map(|number| -number)
        }
        _ => None,
    });
    found.chain(negative).collect()
}

/// Whether there is an index that is no slice, or a function that takes one element out of a list.
pub(super) fn are_needed(tokens: &[Token<'_>]) -> bool {
    let is_operand = |token: &Token<'_>| match token.kind {
        Kind::Word => !builtin::is_keyword(token.text),
        Kind::Text => true,
        Kind::Int | Kind::Number => false,
        Kind::Symbol => token.is_one_of(&[")", "]", "}"]),
    };
    tokens.iter().enumerate().any(|(index, token)| {
        let before = index.checked_sub(1).and_then(|at| tokens.get(at));
        let rest = tokens.get(index + 1..).unwrap_or_default();
        if token.is_one_of(&["first", "last", "max", "min"]) {
            return rest.first().is_some_and(|next| next.is("("));
        }
        token.is("[") && before.is_some_and(is_operand) && !is_slice(rest)
    })
}

/// Whether the brackets that `rest` is the inside of hold a `:` that belongs to no choice.
fn is_slice(rest: &[Token<'_>]) -> bool {
    let mut depth = 0_usize;
    for token in rest {
        if depth == 0 && token.is_one_of(&["]", "?"]) {
            return false;
        } else if depth == 0 && token.is(":") {
            return true;
        } else if token.is_one_of(&["(", "[", "{"]) {
            depth += 1;
        } else if token.is_one_of(&[")", "]", "}"]) {
            depth = depth.saturating_sub(1);
        }
    }
    false
}
