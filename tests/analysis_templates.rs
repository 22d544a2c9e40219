//! The templates of `analysis-templates/`: each makes a run, all of them join in one, and they can be tried by hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and its functions are part of it"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use serin::analysis::args::Arguments;
use serin::analysis::lint::lint;
use serin::analysis::secrets::SecretSource;
use serin::analysis::template::{MergedAnalysis, Templates, Usage, merge};
use serin::api::analysis_template::{AnalysisTemplateRef, Argument};
use serin::api::{AnalysisTemplate, AnalysisTemplateSpec};
use serin::events::RunKind;

/// What a Rollout fills in, and with what here.
const FILLED: [(&str, &str); 3] = [("rollout", "web"), ("namespace", "shop"), ("canary-hash", "abc&123")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("analysis-templates")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    files
}

/// The name of a file, and what it holds.
fn template(file: &Path) -> (String, AnalysisTemplate) {
    let object: Value = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let template: AnalysisTemplate = serde_json::from_value(object.clone()).unwrap();
    // A field that the API does not know would be lost on the way.
    assert_eq!(serde_json::to_value(&template).unwrap(), object, "{}", file.display());
    (file.file_stem().unwrap().to_str().unwrap().to_owned(), template)
}

/// The run that a Rollout makes of these templates.
fn run_of(templates: &[(String, AnalysisTemplateSpec)]) -> MergedAnalysis {
    let reference =
        |name: &String| AnalysisTemplateRef { template_name: Some(name.clone()), cluster_scope: None };
    let references: Vec<_> = templates.iter().map(|(name, _)| reference(name)).collect();
    let lookup: Templates = templates.iter().map(|(name, spec)| (reference(name), spec.clone())).collect();
    let args = FILLED.map(|(name, value)| json!({"name": name, "value": value}));
    let args = args.map(|argument| serde_json::from_value::<Argument>(argument).unwrap());
    let usage = Usage { templates: &references, args: &args, ..Usage::default() };
    merge(RunKind::Step, &usage, &lookup).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn try_out(file: &Path, arguments: &[String]) -> Output {
    Command::new(root().join("scripts/try-template.sh")).arg(file).args(arguments).output().unwrap()
}

fn filled() -> Vec<String> {
    FILLED.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[test]
fn each_template_has_the_name_of_its_file_and_makes_a_run_without_advice() {
    for file in files() {
        let (name, template) = template(&file);
        assert_eq!(template.metadata.name.as_ref(), Some(&name));
        let merged = run_of(&[(name.clone(), template.spec)]);
        assert_eq!(merged.advice, [], "{name}");
        assert_eq!(lint(&merged.spec.metrics.unwrap()), [], "{name}");
    }
}

#[test]
fn all_templates_join_in_one_run() {
    let templates: Vec<_> = files().iter().map(|file| template(file)).collect();
    let templates: Vec<_> = templates.into_iter().map(|(name, template)| (name, template.spec)).collect();
    let metrics = run_of(&templates).spec.metrics.unwrap();
    assert!(metrics.len() >= templates.len(), "{metrics:?}");
}

#[test]
fn only_what_a_rollout_fills_in_has_no_default() {
    for file in files() {
        let (name, template) = template(&file);
        let args = template.spec.args.unwrap();
        let open: BTreeSet<_> =
            args.iter().filter(|arg| arg.value.is_none()).map(|arg| arg.name.as_str()).collect();
        assert_eq!(open, FILLED.iter().map(|(name, _)| *name).collect(), "{name}");
    }
}

#[test]
fn the_script_prints_the_queries_that_a_run_asks() {
    for file in files() {
        let (name, template) = template(&file);
        let spec = run_of(&[(name.clone(), template.spec)]).spec;
        let arguments = Arguments::parse(spec.args.as_deref().unwrap()).unwrap();
        let query = |metric: Value| metric.pointer("/provider/prometheus/query").unwrap().clone();
        let queries = spec.metrics.unwrap().into_iter().map(|metric| {
            let metric = serde_json::to_value(metric).unwrap();
            let metric: Value = arguments.resolve(&metric, SecretSource::Placeholder).unwrap().value;
            query(metric).as_str().unwrap().to_owned()
        });
        let queries = queries.collect::<Vec<_>>().join("\n");
        let output = try_out(&file, &filled());
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), queries, "{name}");
    }
}

#[test]
fn the_script_names_what_is_missing_and_what_no_template_has() {
    let file = root().join("analysis-templates/success-rate.yaml");
    let told = |arguments: &[&str]| {
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let output = try_out(&file, &arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(
        told(&["namespace=shop", "canary-hash=abc"]).contains("'rollout' has no value; add rollout=VALUE")
    );
    assert!(told(&["rollout=web", "hash=abc"]).contains("has no argument 'hash'"));
    assert!(told(&["rollout"]).contains("'rollout' is not ARGUMENT=VALUE"));
}
