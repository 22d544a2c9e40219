//! `a ?? b`: what stands in for a value that does not exist.

use super::tokens::Token;

/// Operators between two values.
const OPERATORS: [&str; 26] = [
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "&&",
    "||",
    "and",
    "or",
    "not",
    "in",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "+",
    "-",
    "*",
    "/",
    "%",
    "**",
    "^",
    "..",
    "|",
    "?",
];

/// Each `a ?? b` ends where its brackets do: the parser takes all that follows for a part of `b`, so that
/// `a ?? b && c` would leave out `c`.
pub(super) fn check(tokens: &[Token<'_>]) -> Result<(), String> {
    for (index, _) in tokens.iter().enumerate().filter(|(_, token)| token.is("??")) {
        let mut depth = 0_usize;
        let is_sign = |token: &Token<'_>| token.is_one_of(&["-", "+", "!", "not"]);
        for token in tokens.iter().skip(index + 1).skip_while(|token| is_sign(token)) {
            if token.is_one_of(&["(", "[", "{"]) {
                depth += 1;
            } else if depth == 0 && token.is_one_of(&[")", "]", "}", ",", ";", ":"]) {
                break;
            } else if token.is_one_of(&[")", "]", "}"]) {
                depth -= 1;
            } else if depth == 0 && token.is_one_of(&OPERATORS) {
                return Err(format!(
                    "'??' stands beside '{}'; put brackets around it, for example (result[0] ?? 0) < 5",
                    token.text
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scan::scan;

    #[test]
    fn a_default_value_has_brackets_around_it_where_more_follows() {
        for accepted in
            ["(result[0] ?? 0) < 5", "result[0] ?? 0", "max(result[0] ?? -1, result[1] ?? (1 + 2)) > 0"]
        {
            assert!(scan(accepted).is_ok(), "{accepted}");
        }
        for refused in [
            "(result[0] < 5) ?? false && result[1] < 5",
            "result[0] ?? 0 < 5",
            "isNil(result) ?? true ? 1 : 2",
        ] {
            let message = scan(refused).unwrap_err();
            assert!(message.contains("put brackets around it"), "{refused}: {message}");
        }
    }
}
