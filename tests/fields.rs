//! `docs/fields.md` lists every field of the API with what it means. The list comes from the definitions, and so from the comments
//! of `src/api`; `UPDATE=1 cargo test --test fields` rewrites it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and its functions are part of it"
)]
#![allow(clippy::format_push_string, reason = "a page is written line by line, and reads as one text")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use serin::api::crds;

const HEAD: &str = "# Every field

What each field means, with its unit and what holds when it is absent. The list comes from the definitions, which come from the
comments in `src/api`; `UPDATE=1 cargo test --test fields` rewrites it. What becomes of a manifest of Argo Rollouts is in
[compatibility.md](compatibility.md).

`kubectl explain rollout.spec.strategy.canary` shows the same in a terminal. A duration is text such as `30s`, `5m` or `1h30m`. What is
true or false is false when it is absent, where nothing else is said. A ClusterAnalysisTemplate has the fields of an AnalysisTemplate, and
no namespace.
";

/// The kinds, as headings and as definitions call them.
const KINDS: [(&str, &str); 4] = [
    ("Rollout", "rollouts"),
    ("AnalysisTemplate", "analysistemplates"),
    ("AnalysisRun", "analysisruns"),
    ("Experiment", "experiments"),
];

/// Fields that the controller refuses, wherever they are; `tests/compatibility.rs` and the tests of providers show it.
const REFUSED: [&str; 3] = ["appMesh", "kayenta", "plugin"];

/// The page while it is written.
#[derive(Default)]
struct Page {
    text: String,
    /// Objects that have a section, and its heading: an object that is in several places is told once.
    told: Vec<(Value, String)>,
    refused: BTreeSet<String>,
}

impl Page {
    /// The section of an object, and those of the objects in it that have none yet.
    fn section(&mut self, kind: &str, path: &str, schema: &Value, marks: &str) {
        self.text += &format!("\n{marks} {kind} {path}\n\n");
        let meaning = meaning(schema);
        if !meaning.is_empty() {
            self.text += &format!("{meaning}\n\n");
        }
        self.text += "| field | type | meaning |\n|---|---|---|\n";
        let mut below = Vec::new();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let (mark, part) = inner(field);
            let mut kind_of_value = type_of(field);
            let own = Some(meaning_of(field, part)).filter(|_| !REFUSED.contains(&name.as_str()));
            if own.is_none() {
                self.refused.insert(name.clone());
            } else if let Some(properties) = part.get("properties").filter(|_| !is_selector(part)) {
                let place = format!("{path}.{name}{mark}");
                let heading = self.heading(properties).unwrap_or_else(|| {
                    let heading = format!("{kind} {place}");
                    self.told.push((properties.clone(), heading.clone()));
                    below.push((place, part));
                    heading
                });
                kind_of_value = format!("[{kind_of_value}](#{})", slug(&heading));
            }
            let meaning = own.unwrap_or_else(|| "**refused**: not supported".to_owned());
            self.text += &format!("| `{name}` | {kind_of_value} | {meaning} |\n");
        }
        for (place, part) in below {
            self.section(kind, &place, part, "###");
        }
    }

    fn heading(&self, properties: &Value) -> Option<String> {
        self.told.iter().find(|(told, _)| told == properties).map(|(_, heading)| heading.clone())
    }
}

/// What the comment says, as a cell of a table.
fn meaning(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|")
}

fn meaning_of(field: &Value, part: &Value) -> String {
    let own = meaning(field);
    if own.is_empty() { meaning(part) } else { own }
}

/// The schema of what a list or a map has many of, and how a path says so.
fn inner(field: &Value) -> (&'static str, &Value) {
    match (field.get("items"), field.get("additionalProperties")) {
        (Some(items), _) => ("[]", items),
        (None, Some(values)) if values.is_object() => (".*", values),
        (None, _) => ("", field),
    }
}

fn is_selector(schema: &Value) -> bool {
    schema.pointer("/properties/matchExpressions").is_some()
}

/// The type in words.
fn type_of(schema: &Value) -> String {
    let is_set = |keyword: &str| schema.get(keyword).and_then(Value::as_bool) == Some(true);
    if is_set("x-kubernetes-int-or-string") {
        return "number or text".to_owned();
    }
    if is_selector(schema) {
        return "label selector".to_owned();
    }
    match inner(schema) {
        ("[]", items) => return format!("list of {}", many(&type_of(items))),
        (".*", values) => return format!("map to {}", type_of(values)),
        _ => {}
    }
    let is_any = schema.get("properties").is_none() && is_set("x-kubernetes-preserve-unknown-fields");
    match schema["type"].as_str() {
        Some("object") if is_any => "any",
        Some("object") => "object",
        Some("integer" | "number") => "number",
        Some("boolean") => "true or false",
        Some("string") if schema["format"] == "date-time" => "time",
        Some("string") => "text",
        other => panic!("{other:?} has no word: {schema}"),
    }
    .to_owned()
}

fn many(word: &str) -> String {
    match word {
        "object" | "number" | "text" => format!("{word}s"),
        word => word.to_owned(),
    }
}

/// The anchor of a heading.
fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_ascii_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn page() -> Page {
    let definitions = crds::all();
    let mut page = Page { text: HEAD.to_owned(), ..Page::default() };
    for (kind, plural) in KINDS {
        let (_, definition) = definitions.iter().find(|(name, _)| *name == plural).unwrap();
        let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties").unwrap();
        for part in ["spec", "status"].into_iter().filter(|part| schema.get(*part).is_some()) {
            page.section(kind, part, &schema[part], "##");
        }
    }
    page
}

#[test]
fn the_page_says_what_every_field_means() {
    let page = page();
    assert_eq!(page.refused.len(), REFUSED.len(), "a field that is refused is no field: {:?}", page.refused);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/fields.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &page.text).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(written == page.text, "docs/fields.md is stale: UPDATE=1 cargo test --test fields");
}

#[test]
fn no_field_is_without_a_meaning() {
    let silent: Vec<String> =
        page().text.lines().filter(|line| line.ends_with("|  |")).map(str::to_owned).collect();
    assert!(silent.is_empty(), "these fields have no comment: {silent:#?}");
}
