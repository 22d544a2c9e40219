//! Makes what does not exist an error, wherever an expression does not say what stands in for it.
//!
//! The expression crate reads an element, a field or a found value that does not exist as nil, and nil is unequal to
//! everything: `result[0] != 1` would hold for a query without data. So each statement is written anew: `a[0]` becomes
//! `_at(a, 0, n)`, and `a` and `first(a)` become `_some(a, n)` and `_some(first(a), n)`, where `n` is the number of the
//! place in a message. As written stay those that the expression itself asks about: `a[0] ?? 1`, `a[0] == nil`,
//! `isNil(a[0])`, `default(a[0], 1)`, `a[0]?.b`, and the value of a `let`, whose variable is then asked about in the same
//! way. What follows on a `?.` is `_opt(a, 'b', n)`: nil where `a` is nil, and like `_at` otherwise.

use std::ops::Range;

use super::builtin;
use super::tokens::{Kind, Token, tokenize};

/// Deepest nesting of a statement that was written anew, in which each step is a level of recursion.
const MAX_NESTING: usize = 40;
/// Functions that give nil when there is nothing to give.
const FINDERS: [&str; 9] = ["first", "last", "find", "findLast", "get", "max", "min", "mean", "median"];
/// Words that ask whether their argument exists.
const QUESTIONS: [&str; 2] = ["isNil", "default"];

/// What a number in a statement stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// What is looked into, as written.
    pub(super) whole: String,
    /// What is looked for in it, as written.
    pub(super) part: String,
}

/// Writes a statement anew. `text` is all of the expression, `tokens` are the statement's, `is_let` whether its value
/// gets a name; places that are looked at are added.
///
/// # Errors
///
/// The sentence that says what cannot be looked into.
pub(super) fn write(
    text: &str,
    tokens: &[Token<'_>],
    is_let: bool,
    places: &mut Vec<Place>,
) -> Result<String, String> {
    let after_block = tokens
        .windows(2)
        .any(|two| matches!(two, [brace, next] if brace.is("}") && next.is_one_of(&["[", ".", "?."])));
    if after_block {
        return Err("it looks into the value of a block; put brackets around the block".to_owned());
    }
    let mut writer = Writer { text, tokens, is_let, places, edits: Vec::new() };
    for begin in 0..tokens.len() {
        if let Some(term) = writer.term(begin) {
            writer.chain(&term);
        }
    }
    let strict = writer.finish();
    if nesting(&strict)? > MAX_NESTING {
        return Err("its brackets and the steps into its values are nested too deeply".to_owned());
    }
    Ok(strict)
}

fn nesting(text: &str) -> Result<usize, String> {
    let (mut depth, mut deepest) = (0_usize, 0);
    for token in tokenize(text)? {
        if token.is_one_of(&["(", "[", "{"]) {
            depth += 1;
            deepest = deepest.max(depth);
        } else if token.is_one_of(&[")", "]", "}"]) {
            depth = depth.saturating_sub(1);
        }
    }
    Ok(deepest)
}

/// A value that can be looked into, with the tokens it has.
struct Term {
    tokens: Range<usize>,
    /// Whether it takes all before it as its first argument.
    is_piped: bool,
}

/// A look into a value.
struct Step<'a> {
    tokens: Range<usize>,
    key: Key<'a>,
    /// Whether it begins with `?.`, which asks if there is something to look into.
    is_optional: bool,
}

enum Key<'a> {
    Field(&'a str),
    /// What is in the brackets.
    Element,
    /// Takes a part that always exists, or calls something.
    Free,
}

struct Edit {
    at: Range<usize>,
    new: String,
}

struct Writer<'a> {
    text: &'a str,
    tokens: &'a [Token<'a>],
    is_let: bool,
    places: &'a mut Vec<Place>,
    edits: Vec<Edit>,
}

impl<'a> Writer<'a> {
    fn is(&self, index: usize, texts: &[&str]) -> bool {
        self.tokens.get(index).is_some_and(|token| token.is_one_of(texts))
    }

    fn is_before(&self, index: usize, back: usize, texts: &[&str]) -> bool {
        index.checked_sub(back).is_some_and(|at| self.is(at, texts))
    }

    /// Whether the token before `index` ends a value.
    fn follows_value(&self, index: usize) -> bool {
        if self.is_before(index, 2, &[".", "?."]) {
            return true;
        }
        let before = index.checked_sub(1).and_then(|at| self.tokens.get(at));
        before.is_some_and(Token::ends_value)
    }

    /// The value that begins at a token.
    fn term(&self, begin: usize) -> Option<Term> {
        let token = self.tokens.get(begin)?;
        let is_name = token.kind == Kind::Word && (!builtin::is_keyword(token.text) || token.text == "#");
        let is_group = token.is_one_of(&["(", "["]) && !self.follows_value(begin);
        if self.is_before(begin, 1, &[".", "?."]) || !(is_name || is_group) {
            return None;
        }
        let opens = if is_name { begin + 1 } else { begin };
        let end = if is_group || self.is(opens, &["("]) { self.close(opens)? + 1 } else { opens };
        Some(Term { tokens: begin..end, is_piped: self.is_before(begin, 1, &["|"]) })
    }

    /// The bracket that closes the one at `open`.
    fn close(&self, open: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for (index, token) in self.tokens.iter().enumerate().skip(open) {
            if token.is_one_of(&["(", "[", "{"]) {
                depth += 1;
            } else if token.is_one_of(&[")", "]", "}"]) {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(index);
                }
            }
        }
        None
    }

    /// The step that begins at a token.
    fn step(&self, at: usize) -> Option<Step<'a>> {
        let is_optional = self.is(at, &["?."]);
        let dots = usize::from(is_optional || self.is(at, &["."]));
        let open = at + dots;
        if self.is(open, &["["]) && dots == usize::from(is_optional) {
            let close = self.close(open)?;
            let key = if self.is_slice(open + 1..close) { Key::Free } else { Key::Element };
            return Some(Step { tokens: at..close + 1, key, is_optional });
        }
        let name = self.tokens.get(open).filter(|token| dots == 1 && token.kind == Kind::Member)?;
        if self.is(open + 1, &["("]) {
            return Some(Step { tokens: at..self.close(open + 1)? + 1, key: Key::Free, is_optional });
        }
        Some(Step { tokens: at..open + 1, key: Key::Field(name.text), is_optional })
    }

    /// Whether the inside of brackets holds a `:` that belongs to no choice.
    fn is_slice(&self, inside: Range<usize>) -> bool {
        let mut depth = 0_usize;
        for token in self.tokens.get(inside).unwrap_or_default() {
            if depth == 0 && token.is("?") {
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

    /// Writes a value and the steps into it anew.
    fn chain(&mut self, term: &Term) {
        let mut steps = Vec::new();
        let mut end = term.tokens.end;
        while let Some(step) = self.step(end) {
            end = step.tokens.end;
            steps.push(step);
        }
        let is_asked = self.is_asked(term.tokens.start, end);
        let asks = |next: Option<&Step<'_>>| next.map_or(is_asked, |next| next.is_optional);
        // What is wrapped later is around what was wrapped before.
        let mut opened = Vec::new();
        if !asks(steps.first()) && self.may_be_nil(term) && (steps.is_empty() || self.is_call(term)) {
            opened.push(self.wrap_value(term));
        }
        let mut follows_optional = false;
        for (index, step) in steps.iter().enumerate() {
            follows_optional |= step.is_optional;
            if !asks(steps.get(index + 1)) {
                opened.push(self.wrap_step(term, step, follows_optional));
            } else if follows_optional && !step.is_optional && !matches!(step.key, Key::Free) {
                self.make_optional(step);
            }
        }
        let start = self.range(&term.tokens).start;
        self.edit(start..start, opened.into_iter().rev().collect());
    }

    /// Lets a step lead to nil where there is nothing to look into.
    fn make_optional(&mut self, step: &Step<'_>) {
        let first = self.range(&(step.tokens.start..step.tokens.start + 1));
        let replaced = if matches!(step.key, Key::Field(_)) { first } else { first.start..first.start };
        self.edit(replaced, "?.".to_owned());
    }

    /// Whether the expression asks itself if the value of these tokens exists.
    fn is_asked(&self, mut begin: usize, mut end: usize) -> bool {
        while self.is_before(begin, 1, &["("]) && self.is(end, &[")"]) && !self.follows_value(begin - 1) {
            (begin, end) = (begin - 1, end + 1);
        }
        let is_argument = self.is_before(begin, 1, &["("])
            && self.is_before(begin, 2, &QUESTIONS)
            && self.is(end, &[")", ","]);
        let is_first = begin == 0 || self.is_before(begin, 1, &["(", "[", "{", ",", ":", "?", ";", "="]);
        let is_piped = self.is(end, &["|"]) && self.is(end + 1, &QUESTIONS) && is_first;
        let is_compared = self.is(end, &["==", "!="]) && self.is(end + 1, &["nil"])
            || self.is_before(begin, 1, &["==", "!="]) && self.is_before(begin, 2, &["nil"]);
        let is_named = self.is_let && begin == 0 && end == self.tokens.len();
        self.is(end, &["??"]) || is_argument || is_piped || is_compared || is_named
    }

    fn is_call(&self, term: &Term) -> bool {
        self.is(term.tokens.start + 1, &["("])
    }

    /// Whether a value can be nil before anything is looked up in it.
    fn may_be_nil(&self, term: &Term) -> bool {
        let begin = term.tokens.start;
        !self.is(begin, &["(", "["]) && (!self.is_call(term) || self.is(begin, &FINDERS))
    }

    /// Closes the function around a value; gives what opens it.
    fn wrap_value(&mut self, term: &Term) -> &'static str {
        let number = self.place(&term.tokens, &term.tokens);
        let end = self.range(&term.tokens).end;
        if term.is_piped {
            self.edit(end..end, format!("|_some({number})"));
            return "";
        }
        self.edit(end..end, format!(",{number})"));
        "_some("
    }

    /// Makes a step the arguments of a function, and closes it; gives what opens it.
    fn wrap_step(&mut self, term: &Term, step: &Step<'_>, follows_optional: bool) -> &'static str {
        if matches!(step.key, Key::Free) {
            return "";
        }
        let (first, last) = (step.tokens.start, step.tokens.end - 1);
        let number = self.place(&(term.tokens.start..first), &(term.tokens.start..last + 1));
        let function = if follows_optional { "_opt(" } else { "_at(" };
        let before = if term.is_piped { format!("|{function}") } else { ",".to_owned() };
        if let Key::Field(name) = step.key {
            self.edit(self.range(&step.tokens), format!("{before}'{name}',{number})"));
        } else {
            let open = self.range(&(first..first + 1 + usize::from(step.is_optional)));
            let close = self.range(&(last..last + 1));
            self.edit(open, before);
            self.edit(close, format!(",{number})"));
        }
        if term.is_piped { "" } else { function }
    }

    /// The number of a new place.
    fn place(&mut self, whole: &Range<usize>, part: &Range<usize>) -> usize {
        let written = |tokens: &Range<usize>| {
            let text = self.text.get(self.range(tokens)).unwrap_or_default();
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        let place = Place { whole: written(whole), part: written(part) };
        self.places.push(place);
        self.places.len() - 1
    }

    /// Where these tokens are in the text.
    fn range(&self, tokens: &Range<usize>) -> Range<usize> {
        let start = self.tokens.get(tokens.start).map_or(self.text.len(), |token| token.start);
        let last = tokens.end.checked_sub(1).and_then(|at| self.tokens.get(at));
        start..last.map_or(start, |token| token.start + token.text.len())
    }

    fn edit(&mut self, at: Range<usize>, new: String) {
        self.edits.push(Edit { at, new });
    }

    /// The statement with everything edited.
    fn finish(mut self) -> String {
        let all = self.range(&(0..self.tokens.len()));
        // What is put in before a token comes before what replaces it, in the order in which it was asked for.
        self.edits.sort_by_key(|edit| (edit.at.start, !edit.at.is_empty()));
        let (mut written, mut from) = (String::new(), all.start);
        for edit in &self.edits {
            written.push_str(self.text.get(from..edit.at.start).unwrap_or_default());
            written.push_str(&edit.new);
            from = edit.at.end;
        }
        written.push_str(self.text.get(from..all.end).unwrap_or_default());
        written
    }
}
