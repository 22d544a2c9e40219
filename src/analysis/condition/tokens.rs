//! The words and symbols that an expression is made of.

use super::builtin;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a word operator.
    Word,
    /// A name after a `.`, which may look like any word.
    Member,
    /// A whole number in decimal digits.
    Int,
    /// Any other number.
    Number,
    /// A string in any kind of quotes.
    Text,
    /// An operator or a bracket.
    Symbol,
}

/// A piece of the expression.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) start: usize,
}

impl Token<'_> {
    pub(super) fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Symbol | Kind::Word) && self.text == text
    }

    pub(super) fn is_one_of(&self, texts: &[&str]) -> bool {
        texts.iter().any(|text| self.is(text))
    }

    /// Whether it can be the end of a value that is looked into.
    pub(super) fn ends_value(&self) -> bool {
        match self.kind {
            Kind::Word => !builtin::is_keyword(self.text) || self.text == "#",
            Kind::Member | Kind::Text => true,
            Kind::Int | Kind::Number => false,
            Kind::Symbol => self.is_one_of(&[")", "]", "}"]),
        }
    }
}

/// Writes `.name`, short for a field of a closure's element, in full: the crate knows it only where nothing follows.
pub(super) fn with_elements(text: &str, tokens: &[Token<'_>]) -> String {
    let mut full = text.to_owned();
    for (index, token) in tokens.iter().enumerate().rev().filter(|(_, token)| token.is(".")) {
        let before = index.checked_sub(1).and_then(|at| tokens.get(at));
        let is_name = tokens.get(index + 1).is_some_and(|next| next.kind == Kind::Member);
        if is_name && before.is_some_and(|before| !before.ends_value()) {
            full.insert(token.start, '#');
        }
    }
    full
}

pub(super) fn tokenize(text: &str) -> Result<Vec<Token<'_>>, String> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        if let Some(length) = blank(rest)? {
            at += length;
            continue;
        }
        let (kind, length) = token(rest, byte)
            .ok_or_else(|| format!("unexpected character at position {}{}", at + 1, near(text, at)))?;
        let piece = text.get(at..at + length).ok_or("it is cut inside a character")?;
        let is_member =
            kind == Kind::Word && tokens.last().is_some_and(|dot: &Token<'_>| dot.is_one_of(&[".", "?."]));
        let kind = if is_member { Kind::Member } else { kind };
        tokens.push(Token { kind, text: piece, start: at });
        at += length;
    }
    Ok(tokens)
}

/// Length of the white space or comment that `rest` begins with.
fn blank(rest: &[u8]) -> Result<Option<usize>, String> {
    if rest.first().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
        return Ok(Some(1));
    }
    if rest.starts_with(b"//") {
        return Ok(Some(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())));
    }
    if rest.starts_with(b"/*") {
        let end = rest.windows(2).skip(2).position(|pair| pair == b"*/");
        return end.map(|end| Some(end + 4)).ok_or_else(|| "a comment is not closed".to_owned());
    }
    Ok(None)
}

/// Kind and length of the token that `rest` begins with; `first` is its first byte.
fn token(rest: &[u8], first: u8) -> Option<(Kind, usize)> {
    match first {
        b'"' | b'\'' => quoted(rest, first, 0),
        b'`' => rest.iter().skip(1).position(|byte| *byte == b'`').map(|end| (Kind::Text, end + 2)),
        b'b' | b'B' if rest.get(1).is_some_and(|byte| matches!(byte, b'"' | b'\'')) => {
            quoted(rest, *rest.get(1)?, 1)
        }
        b'0'..=b'9' => Some(number(rest)),
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | b'#' => Some((
            Kind::Word,
            1 + run_of(rest.get(1..)?, |byte| byte.is_ascii_alphanumeric() || byte == b'_'),
        )),
        _ => symbol(rest).map(|length| (Kind::Symbol, length)),
    }
}

fn run_of(bytes: &[u8], accept: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| accept(**byte)).count()
}

/// A string whose opening quote is at `skip`.
fn quoted(rest: &[u8], quote: u8, skip: usize) -> Option<(Kind, usize)> {
    let mut at = skip + 1;
    loop {
        match *rest.get(at)? {
            b'\\' => at += 2,
            b'\n' | b'\r' => return None,
            byte if byte == quote => return Some((Kind::Text, at + 1)),
            _ => at += 1,
        }
    }
}

fn number(rest: &[u8]) -> (Kind, usize) {
    let digits = |from: usize| {
        run_of(rest.get(from..).unwrap_or_default(), |byte| byte.is_ascii_digit() || byte == b'_')
    };
    let mut length = digits(0);
    let mut kind =
        if rest.get(..length).unwrap_or_default().contains(&b'_') { Kind::Number } else { Kind::Int };
    if length == 1 && rest.get(1).is_some_and(|byte| matches!(byte, b'x' | b'X' | b'o' | b'O' | b'b' | b'B'))
    {
        let word = run_of(rest, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
        return (Kind::Number, word);
    }
    if rest.get(length) == Some(&b'.') && rest.get(length + 1) != Some(&b'.') {
        kind = Kind::Number;
        length += 1;
        length += digits(length);
    }
    if rest.get(length).is_some_and(|byte| matches!(byte, b'e' | b'E')) {
        let sign = usize::from(rest.get(length + 1).is_some_and(|byte| matches!(byte, b'+' | b'-')));
        let exponent = digits(length + 1 + sign);
        if exponent > 0 {
            kind = Kind::Number;
            length += 1 + sign + exponent;
        }
    }
    (kind, length)
}

fn symbol(rest: &[u8]) -> Option<usize> {
    const PAIRS: [&[u8]; 10] = [b"..", b"?.", b"??", b"==", b"!=", b"<=", b">=", b"&&", b"||", b"**"];
    if PAIRS.iter().any(|pair| rest.starts_with(pair)) {
        return Some(2);
    }
    b"()[]{}.,:;?+-*/%^<>=!|".contains(rest.first()?).then_some(1)
}

/// The text from `at` on, quoted, for a message; empty at the end.
pub(super) fn near(text: &str, at: usize) -> String {
    let rest: String = text.get(at..).unwrap_or_default().chars().take(20).collect();
    if rest.is_empty() { String::new() } else { format!(", near '{rest}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(expression: &str) -> Vec<&str> {
        tokenize(expression).unwrap().into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn tokens_are_the_grammars() {
        assert_eq!(texts("result[0]>=0.95"), ["result", "[", "0", "]", ">=", "0.95"]);
        assert_eq!(texts("1..3 /* x */ // y"), ["1", "..", "3"]);
        assert_eq!(texts(r#"'a\'b' "c..d" `e`"#), [r"'a\'b'", r#""c..d""#, "`e`"]);
        assert_eq!(
            texts("1.5e-3 0x1F 1_000 a?.b ?? c"),
            ["1.5e-3", "0x1F", "1_000", "a", "?.", "b", "??", "c"]
        );
        assert_eq!(texts("b'..' && #acc"), ["b'..'", "&&", "#acc"]);
    }
}
