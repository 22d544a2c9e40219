//! Paths into an answer in Kubernetes' form, such as `{$.a.b[0]}`, bounded in what they may cost.
//!
//! A path is written anew in the form of the standard, RFC 9535, in which it is looked up. Deliberately absent:
//! functions, `{range}`, searches inside of searches, which take time that grows with the square of an answer, and lists
//! of anything but names and indices, which multiply what they find.

use jsonpath_rust::parser::model::JpQuery;
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::{QueryRef, js_path_process};
use serde_json::Value;

use crate::analysis::condition::MAX_VALUES;
use crate::analysis::value::size;

/// Longest path, in bytes.
const MAX_LENGTH: usize = 512;
/// Deepest nesting of brackets.
const MAX_NESTING: usize = 8;
/// Most names or indices in one pair of brackets.
const MAX_JOINED: usize = 32;
/// What ends a name besides `.` and a bracket.
const DELIMITERS: &str = " \t\r\n[](){}=!<>&|,?*@$'\"";

/// A path into an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    written: String,
    /// One step after the other; none for the whole answer.
    steps: Vec<JpQuery>,
}

impl Default for JsonPath {
    fn default() -> Self {
        Self { written: "{$}".to_owned(), steps: Vec::new() }
    }
}

impl JsonPath {
    /// Reads a path.
    ///
    /// # Errors
    ///
    /// What is wrong with it, so that the field's name and this make a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("has {} bytes; at most {MAX_LENGTH} are allowed", text.len()));
        }
        let refused = |why: &str| format!("'{text}' {why}");
        let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let inner = inner.ok_or_else(|| refused("is not a path in braces, for example {$.a.b[0]}"))?.trim();
        let path = inner.strip_prefix(['$', '@']).unwrap_or(inner);
        let mut reader = Reader { rest: path, searches: 0, depth: 0 };
        let translated = reader.path().map_err(|why| refused(&why))?;
        if !reader.rest.is_empty() {
            let why =
                format!("makes no sense from '{}' on; it is one path, for example {{$.a.b[0]}}", reader.rest);
            return Err(refused(&why));
        }
        match parse_json_path(&format!("${translated}")) {
            Ok(query) => {
                let steps = query.segments.into_iter().map(|segment| JpQuery::new(vec![segment]));
                Ok(Self { written: text.to_owned(), steps: steps.collect() })
            }
            Err(_) => Err(refused("cannot be read; examples are {$.a.b[0]} and {$.a[?(@.b==\"c\")].d}")),
        }
    }

    /// Whether it is the whole answer.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.steps.is_empty()
    }

    /// The part of an answer: what is found, by itself where it is one thing.
    ///
    /// # Errors
    ///
    /// One clause: nothing is there, or too much.
    pub fn select(&self, answer: Value) -> Result<Value, String> {
        if self.is_whole() {
            return Ok(answer);
        }
        let mut found = vec![&answer];
        for step in &self.steps {
            found = self.follow(step, &found)?;
        }
        if let [one] = found.as_slice() {
            return Ok((*one).clone());
        }
        let sizes = found.iter().map(|one| size(one));
        if sizes.sum::<usize>() > MAX_VALUES {
            return Err(self.too_much());
        }
        Ok(Value::Array(found.into_iter().cloned().collect()))
    }

    /// Where one step leads from all places where the steps before it led.
    fn follow<'a>(&self, step: &JpQuery, from: &[&'a Value]) -> Result<Vec<&'a Value>, String> {
        let mut found = Vec::new();
        for one in from {
            let next = js_path_process(step, *one);
            let next = next.map_err(|_| format!("{} cannot be looked up", self.written))?;
            found.extend(next.into_iter().map(QueryRef::val));
            if found.len() > MAX_VALUES {
                return Err(self.too_much());
            }
        }
        if found.is_empty() {
            return Err(format!("its answer has nothing at {}", self.written));
        }
        Ok(found)
    }

    fn too_much(&self) -> String {
        format!("its answer has more than {MAX_VALUES} values at {}; choose fewer", self.written)
    }
}

/// Reads a path from left to right and writes it in the standard's form.
struct Reader<'a> {
    rest: &'a str,
    searches: usize,
    depth: usize,
}

impl Reader<'_> {
    fn take(&mut self, prefix: &str) -> bool {
        self.rest.strip_prefix(prefix).map(|rest| self.rest = rest).is_some()
    }

    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let next = characters.next()?;
        self.rest = characters.as_str();
        Some(next)
    }

    /// As many steps as there are.
    fn path(&mut self) -> Result<String, String> {
        let mut path = String::new();
        loop {
            if self.take("..") {
                self.searches += 1;
                if self.searches > 1 || self.depth > 0 {
                    return Err("searches at every depth ('..') inside of another search".to_owned());
                }
                path.push_str("..");
                path.push_str(&self.after_dot()?);
            } else if self.take(".") {
                path.push_str(&self.after_dot()?);
            } else if self.rest.starts_with('[') {
                path.push_str(&self.brackets()?);
            } else {
                return Ok(path);
            }
        }
    }

    fn after_dot(&mut self) -> Result<String, String> {
        if self.rest.starts_with('[') {
            return self.brackets();
        }
        if self.take("*") {
            return Ok("[*]".to_owned());
        }
        let mut name = String::new();
        while let Some(next) =
            self.rest.chars().next().filter(|next| *next != '.' && !DELIMITERS.contains(*next))
        {
            self.next();
            // A dot in a name is written with a backslash before it.
            let character = if next == '\\' { self.next().unwrap_or(next) } else { next };
            name.push(character);
        }
        if name.is_empty() {
            return Err("has a '.' without a name after it".to_owned());
        }
        if name.contains(['\\', '\'']) {
            return Err(format!("has the name '{name}', which cannot be looked up"));
        }
        Ok(format!("['{name}']"))
    }

    /// What is in brackets, with the paths in it written anew.
    fn brackets(&mut self) -> Result<String, String> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err("is nested too deeply".to_owned());
        }
        self.next();
        let mut inside = String::from("[");
        let (mut open, mut joined, mut is_wide) = (0_usize, 1_usize, false);
        loop {
            let word = word(self.rest);
            let next = self.next().ok_or("has a bracket that is not closed")?;
            joined += usize::from(next == ',');
            is_wide |= matches!(next, '*' | '?' | ':');
            match next {
                ']' => break,
                '[' => return Err("has a bracket where none can be".to_owned()),
                '$' => return Err("begins a path with '$' inside of brackets; '@' is the element".to_owned()),
                '@' => {
                    inside.push('@');
                    inside.push_str(&self.path()?);
                }
                quote @ ('\'' | '"') => inside.push_str(&self.quoted(quote)?),
                '(' => {
                    open += 1;
                    if open > MAX_NESTING {
                        return Err("is nested too deeply".to_owned());
                    }
                    inside.push('(');
                }
                other => {
                    if let Some(name) = word.filter(|name| self.rest.get(name.len() - 1..).is_some_and(calls))
                    {
                        return Err(format!("calls '{name}'; there are no functions"));
                    }
                    inside.push(other);
                }
            }
        }
        if joined > MAX_JOINED || joined > 1 && is_wide {
            return Err(format!("joins more than names and indices, or more than {MAX_JOINED} of them"));
        }
        self.depth -= 1;
        inside.push(']');
        Ok(inside)
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::from(quote);
        loop {
            let next = self.next().ok_or("has a text that is not closed")?;
            text.push(next);
            if next == '\\' {
                text.extend(self.next());
            } else if next == quote {
                return Ok(text);
            }
        }
    }
}

/// The word that `text` begins with.
fn word(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    text.get(..end).filter(|word| !word.is_empty())
}

fn calls(rest: &str) -> bool {
    rest.trim_start().starts_with('(')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn select(path: &str) -> Result<Value, String> {
        JsonPath::parse(path)?.select(json!({
            "ok": true, "rate": 0.5, "my-key": 1, "a.b": 2, "none": null, "it's": 3,
            "list": [{"name": "x", "n": 1, "in-side": [1]}, {"name": "y z", "n": 2}, {"name": "q", "n": 3}],
            "deep": {"er": {"n": 4}}
        }))
    }

    #[test]
    fn paths_of_kubernetes_find_what_they_find_there() {
        for (path, expected) in [
            ("{$.ok}", json!(true)),
            ("{.ok}", json!(true)),
            ("{ $.rate }", json!(0.5)),
            ("{$.none}", json!(null)),
            ("{$.my-key}", json!(1)),
            ("{$['my-key']}", json!(1)),
            (r"{$.a\.b}", json!(2)),
            (r#"{$["a.b"]}"#, json!(2)),
            ("{$.list[0].name}", json!("x")),
            ("{$.list[-1].n}", json!(3)),
            ("{$.list[*].n}", json!([1, 2, 3])),
            ("{$.list[0:2].n}", json!([1, 2])),
            ("{$.list[0,2].n}", json!([1, 3])),
            ("{$.list[0]['name','n']}", json!(["x", 1])),
            ("{$.deep.*.n}", json!(4)),
            (r#"{$.list[?(@.name=="y z")].n}"#, json!(2)),
            ("{$.list[?(@.name == 'q' || @.n < 2)].n}", json!([1, 3])),
            ("{$.list[?(@.in-side)].n}", json!(1)),
            ("{$.list[?(@.in-side[0]==1)].n}", json!(1)),
            ("{$..er.n}", json!(4)),
        ] {
            assert_eq!(select(path), Ok(expected), "{path}");
        }
        assert_eq!(select("{$}").unwrap()["ok"], json!(true));
        assert_eq!(select("{$.list.x}").unwrap_err(), "its answer has nothing at {$.list.x}");
        assert_eq!(select("{$.list[7]}").unwrap_err(), "its answer has nothing at {$.list[7]}");
    }

    #[test]
    fn what_is_found_is_bounded_before_it_is_copied() {
        let wide = json!({"list": vec![json!({"n": [1, 2, 3]}); 4_000]});
        let select = |path: &str| JsonPath::parse(path).unwrap().select(wide.clone());
        let refused = |path: &str| format!("its answer has more than 10000 values at {path}; choose fewer");
        for path in ["{$..*}", "{$.list[*].n[*]}", "{$.list[*].n}"] {
            assert_eq!(select(path).unwrap_err(), refused(path));
        }
        assert_eq!(select("{$.list[*].n[0]}").unwrap().as_array().map(Vec::len), Some(4_000));
        let indices = vec!["0"; 33].join(",");
        assert!(JsonPath::parse(&format!("{{$.list[{indices}]}}")).unwrap_err().contains("more than 32"));
    }

    #[test]
    fn what_is_no_path_is_refused_with_the_reason() {
        for (path, part) in [
            ("$.ok", "is not a path in braces"),
            ("{$.ok} {$.rate}", "makes no sense from '} {$.rate' on"),
            ("{range $.list[*]}{.n}{end}", "makes no sense from 'range"),
            ("{$.list[0}", "a bracket that is not closed"),
            ("{$.}", "'.' without a name"),
            ("{$..}", "'.' without a name"),
            ("{$..a..b}", "inside of another search"),
            ("{$.list[?(@..n)]}", "inside of another search"),
            ("{$.list[?($.ok)]}", "'@' is the element"),
            ("{$.list[?(search(@.name, '.*'))]}", "calls 'search'"),
            ("{$.list[?(@.name=~'x')]}", "cannot be read"),
            ("{$.list[x]}", "cannot be read"),
            ("{$[*,*][*,*]}", "joins more than names and indices"),
            ("{$.list[?(@.n[*,*])]}", "joins more than names and indices"),
            ("{$.it's}", "makes no sense from ''s' on"),
        ] {
            let why = JsonPath::parse(path).unwrap_err();
            assert!(why.contains(part), "{path}: {why}");
        }
        assert!(JsonPath::parse(&format!("{{${}}}", ".a".repeat(300))).unwrap_err().contains("at most 512"));
        let deep = format!("{{$.a{}{}}}", "[?(@".repeat(9), ")]".repeat(9));
        assert!(JsonPath::parse(&deep).unwrap_err().contains("nested too deeply"));
    }
}
