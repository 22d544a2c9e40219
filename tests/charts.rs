//! What Helm makes of the charts. A file of `tests/charts/serin` holds values; the one beside it with `.out` shows the objects
//! that they become, but for the definitions. `UPDATE=1` rewrites those. The files of `tests/charts/refused` hold values that
//! are wrong; their first line is the complaint.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and its functions are part of it"
)]

#[path = "charts/gitops.rs"]
mod gitops;
#[path = "cluster/helm.rs"]
mod helm;
#[path = "charts/library.rs"]
mod library;
#[path = "charts/observability.rs"]
mod observability;
#[path = "cluster/pinned.rs"]
#[allow(dead_code, reason = "other tests look for more than programs")]
mod pinned;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::helm::{charts, render};

/// The files below `tests/charts` with values.
fn values(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/charts").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

fn render_with(values: &Path, more: &[&str]) -> Result<String, String> {
    render("delivery", &[&["--values", values.to_str().unwrap()], more].concat())
}

#[test]
fn charts_are_as_helm_wants_them() {
    for entry in fs::read_dir(charts()).unwrap() {
        let chart = entry.unwrap().path();
        // A chart without an image has nothing to run, which is what it says when it is linted as it stands.
        let image = if chart == helm::chart() { "--set=image.repository=serin" } else { "--quiet" };
        let linted = helm::helm(&["lint", "--strict", "--kube-version=1.33", image, chart.to_str().unwrap()]);
        linted.unwrap_or_else(|complaint| panic!("{complaint}"));
    }
}

#[test]
fn values_become_the_objects_that_are_shown() {
    for file in values("serin") {
        let rendered = render_with(&file, &["--set=crds.install=false"]).unwrap() + "\n";
        let out = file.with_extension("out");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&out, &rendered).unwrap();
        }
        let written = fs::read_to_string(&out).unwrap_or_default();
        assert!(written == rendered, "{} is stale: UPDATE=1 cargo test --test charts", out.display());
    }
}

#[test]
fn wrong_values_are_refused_by_the_name_of_the_field() {
    for file in values("refused") {
        let text = fs::read_to_string(&file).unwrap();
        let expected = text.lines().next().unwrap().trim_start_matches("# ");
        let complaint = render_with(&file, &[]).expect_err(expected);
        assert!(complaint.contains(expected), "{}: {complaint}", file.display());
    }
}

#[test]
fn without_an_image_nothing_is_rendered() {
    let complaint = render("delivery", &[]).unwrap_err();
    assert!(complaint.contains("at '/image/repository': minLength"), "{complaint}");
}

#[test]
fn every_value_is_in_the_schema_and_every_field_of_the_schema_is_a_value() {
    let read = |name: &str| fs::read_to_string(helm::chart().join(name)).unwrap();
    let values: Value = serde_saphyr::from_str(&read("values.yaml")).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let mut problems = Vec::new();
    compare("", &values, &schema, &mut problems);
    // Helm hands values of that name to every chart of a tree; this one has no use for them.
    assert_eq!(problems, [".global is in the schema alone"]);
}

/// Compares an object of the values with its schema, and those below it.
fn compare(path: &str, values: &Value, schema: &Value, problems: &mut Vec<String>) {
    let Some(fields) = schema["properties"].as_object() else { return };
    let values = values.as_object().unwrap();
    for (name, field) in fields {
        let path = format!("{path}.{name}");
        match values.get(name) {
            None => problems.push(format!("{path} is in the schema alone")),
            Some(value) => compare(&path, value, field, problems),
        }
    }
    let alone = values.keys().filter(|name| !fields.contains_key(*name));
    problems.extend(alone.map(|name| format!("{path}.{name} is a value alone")));
    let closed = schema["additionalProperties"] == Value::Bool(false);
    problems.extend((!closed).then(|| format!("{path} takes fields that nobody reads")));
}

#[test]
fn the_definitions_are_those_of_the_code_and_stay_when_the_chart_goes() {
    let rendered = render("delivery", &["--set=image.repository=serin"]).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&rendered).unwrap();
    let is_definition = |object: &Value| object["kind"] == "CustomResourceDefinition";
    let mut installed: Vec<Value> = documents.into_iter().filter(is_definition).collect();
    for definition in &mut installed {
        let annotations = definition["metadata"]["annotations"].as_object_mut().unwrap();
        assert_eq!(annotations.remove("helm.sh/resource-policy"), Some("keep".into()));
        if annotations.is_empty() {
            definition["metadata"].as_object_mut().unwrap().remove("annotations");
        }
    }
    let name = |definition: &Value| definition["metadata"]["name"].as_str().unwrap().to_owned();
    let mut expected: Vec<Value> =
        serin::api::crds::all().into_iter().map(|(_, definition)| definition).collect();
    for definitions in [&mut installed, &mut expected] {
        definitions.sort_by_key(name);
    }
    assert_eq!(installed.iter().map(name).collect::<Vec<_>>(), expected.iter().map(name).collect::<Vec<_>>());
    assert!(installed == expected, "a definition of the chart differs from that of the code");
}

#[test]
fn the_image_is_built_by_the_pinned_toolchain_and_runs_as_the_user_of_the_chart() {
    let read = |name: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let (recipe, toolchain) = (read("Containerfile"), read("rust-toolchain.toml"));
    let channel =
        toolchain.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"')).unwrap();
    for line in [format!("FROM rust:{channel}-alpine AS build"), format!("ENV RUSTUP_TOOLCHAIN={channel}")] {
        assert!(recipe.lines().any(|said| said == line), "{line} is not in Containerfile");
    }
    let rendered = render("delivery", &["--set=image.repository=serin"]).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&rendered).unwrap();
    let deployment = documents.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let context = &deployment["spec"]["template"]["spec"]["securityContext"];
    let user = format!("USER {}:{}", context["runAsUser"], context["runAsGroup"]);
    assert!(recipe.lines().any(|said| said == user), "{user} is not in Containerfile");
}
