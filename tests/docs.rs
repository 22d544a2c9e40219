//! The documentation says what is: links lead somewhere, commands are taken by the programs, flags, files and values exist, and
//! manifests are what the API takes. `tests/cluster/docs.rs` runs the commands of the guide.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and its functions are part of it"
)]

#[path = "docs/pages.rs"]
mod pages;
#[path = "docs/shell.rs"]
mod shell;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use regex::Regex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serin::api::canary_step::CanaryStep;
use serin::api::{AnalysisRun, AnalysisTemplate, Experiment, Rollout, RolloutSpec};
use serin::cli::controller_args::ControllerArgs;
use serin::cli::crds::CrdsArgs;
use serin::cli::gitops_args::GitopsArgs;
use serin::cli::plugin::Arguments;
use serin::cli::sandbox::{DemoArgs, SandboxArgs};

use crate::pages::{Page, root};

/// The command line of `serin`, as `src/main.rs` has it.
#[derive(Parser)]
#[allow(dead_code, reason = "it is parsed, and never run")]
enum Serin {
    Controller(Box<ControllerArgs>),
    Gitops(GitopsArgs),
    Crds(CrdsArgs),
    Sandbox(SandboxArgs),
    Demo(DemoArgs),
}

/// Flags of other programs that pages name in a sentence.
const FOREIGN: [&str; 7] = ["--wait", "--grep", "--take-ownership", "--cascade", "--bins", "--test", "--for"];

/// Files and folders of the root that commands name.
const PLACES: [&str; 6] = ["charts", "crds", "analysis-templates", "scripts", "docs", "Containerfile"];

fn pages() -> Vec<Page> {
    let mut paths: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(PathBuf::from).into();
    for folder in ["docs", "docs/adr"] {
        paths.extend(listed(folder).filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    }
    paths.extend(
        listed("charts").map(|chart| chart.join("README.md")).filter(|path| root().join(path).exists()),
    );
    paths.sort();
    paths.into_iter().map(Page::read).collect()
}

/// What is in a folder, below the root.
fn listed(folder: &str) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().path().strip_prefix(root()).unwrap().to_owned())
}

fn assert_none(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

/// The anchors of a page's headings, as readers of Markdown make them.
fn anchors(page: &Page) -> BTreeSet<String> {
    let link = Regex::new(r"\[([^\]]*)\]\([^)]*\)").unwrap();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let prose = page.prose();
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchors = headings.map(|line| {
        let text = link.replace_all(line.trim_start_matches('#').trim(), "$1").to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let before = seen.entry(anchor.clone()).or_default();
        *before += 1;
        if *before == 1 { anchor } else { format!("{anchor}-{}", *before - 1) }
    });
    anchors.collect()
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut kept = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(kept.pop(), "{} leaves the repository", path.display()),
            part => kept.push(part),
        }
    }
    kept
}

#[test]
fn every_link_leads_to_a_file_and_to_a_heading_in_it() {
    let pages: BTreeMap<PathBuf, Page> = pages().into_iter().map(|page| (page.path.clone(), page)).collect();
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let code = Regex::new("`[^`\n]*`").unwrap();
    let mut wrong = Vec::new();
    for page in pages.values() {
        let prose = page.prose();
        for found in link.captures_iter(&code.replace_all(&prose, "")) {
            let target = &found[1];
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path =
                if file.is_empty() { page.path.clone() } else { normal(&page.path.with_file_name(file)) };
            let leads = if anchor.is_empty() {
                root().join(&path).is_file()
            } else {
                pages.get(&path).is_some_and(|page| anchors(page).contains(anchor))
            };
            wrong.extend((!leads).then(|| format!("{}: {target}", page.path.display())));
        }
    }
    assert_none("links that lead nowhere; one to a folder leads nowhere on the site", &wrong);
}

#[test]
fn every_page_has_its_place_on_the_site() {
    let order = fs::read_to_string(root().join("docs/site/conf.py")).unwrap();
    let is_placed = |page: &Page| {
        let name = page.path.with_extension("");
        let name = name.to_str().unwrap();
        name.starts_with("docs/adr/") || name == "docs/index" || order.contains(&format!("\"{name}\""))
    };
    let missing = pages().into_iter().filter(|page| !is_placed(page));
    let missing: Vec<_> = missing.map(|page| page.path.display().to_string()).collect();
    assert_none("pages that docs/site/conf.py does not name", &missing);
}

/// What is wrong with a command, as far as it is ours.
fn complaint(words: &[String], page: &Page) -> Option<String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["kubectl", "serin", rest @ ..] => {
            let parsed = Arguments::try_parse_from([&["kubectl-serin"], rest].concat());
            parsed.err().filter(|error| !is_help(error)).map(|error| error.to_string())
        }
        ["serin", ..] => Serin::try_parse_from(&words).err().filter(|e| !is_help(e)).map(|e| e.to_string()),
        ["make", targets @ ..] => {
            let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
            let mut targets = targets.iter().filter(|word| !word.contains('='));
            targets
                .find(|target| !makefile.lines().any(|line| line.starts_with(&format!("{target}:"))))
                .map(|target| format!("no target {target}"))
        }
        ["helm", ..] => missing_file(&words, page).or_else(|| missing_value(&words)),
        _ => missing_file(&words, page),
    }
}

fn is_help(error: &clap::Error) -> bool {
    matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
}

/// A file that a command names and that neither the tree has nor the page makes.
fn missing_file(words: &[&str], page: &Page) -> Option<String> {
    let is_made = |word: &str| page.text.contains(&format!("cat > {word} <<"));
    let is_ours = |word: &str| word.split('/').next().is_some_and(|first| PLACES.contains(&first));
    let reads = ["kubectl", "helm"].contains(words.first()?);
    let given = words.windows(2).filter(|pair| reads && ["-f", "--values", "--filename"].contains(&pair[0]));
    let named = words.iter().copied().filter(|word| is_ours(word));
    let mut all = given.map(|pair| pair[1]).chain(named);
    all.find(|word| !root().join(word).exists() && !is_made(word)).map(|word| format!("no file {word}"))
}

/// A value that a command sets and that its chart does not have.
fn missing_value(words: &[&str]) -> Option<String> {
    let chart = words.iter().find(|word| word.starts_with("charts/"))?;
    let values = fs::read_to_string(root().join(chart).join("values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&values).unwrap();
    let set = words.windows(2).filter(|pair| pair[0] == "--set").map(|pair| pair[1]);
    let mut names = set.filter_map(|given| given.split_once('=')).map(|(name, _)| name);
    names
        .find(|name| values.pointer(&format!("/{}", name.replace('.', "/"))).is_none())
        .map(|name| format!("{chart} has no value {name}"))
}

#[test]
fn every_command_is_one_that_the_programs_take() {
    let mut wrong = Vec::new();
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.language == "sh") {
            for words in shell::commands(&block.text) {
                let complaint = complaint(&words, &page);
                wrong.extend(
                    complaint.map(|why| format!("{}: {}: {why}", page.path.display(), words.join(" "))),
                );
            }
        }
    }
    assert_none("commands that are none", &wrong);
}

/// The texts between backticks in the sentences of a page.
fn spans(page: &Page) -> Vec<String> {
    let code = Regex::new("`([^`\n]+)`").unwrap();
    code.captures_iter(&page.prose()).map(|found| found[1].to_owned()).collect()
}

#[test]
fn commands_in_sentences_are_commands() {
    let mut wrong = Vec::new();
    for page in pages() {
        let commands = spans(&page).into_iter().filter(|span| span.starts_with("kubectl serin "));
        for command in commands.filter(|command| !command.contains('[')) {
            let error = Arguments::try_parse_from(command.split(' ').skip(1)).err();
            // A sentence may speak of a command without its name.
            let error = error.filter(|error| {
                error.kind() != ErrorKind::MissingRequiredArgument && error.kind() != ErrorKind::TooFewValues
            });
            wrong.extend(error.map(|error| format!("{}: {command}: {error}", page.path.display())));
        }
    }
    assert_none("commands that are none", &wrong);
}

/// The flags of a command and of those below it.
fn flags(command: &clap::Command, found: &mut BTreeSet<String>) {
    for argument in command.get_arguments() {
        let names = argument.get_long().into_iter().chain(argument.get_all_aliases().into_iter().flatten());
        found.extend(names.map(|name| format!("--{name}")));
    }
    command.get_subcommands().for_each(|below| flags(below, found));
}

#[test]
fn flags_that_are_named_exist_and_those_of_the_controller_are_named() {
    let own = ["--help", "--version"];
    let mut known: BTreeSet<String> = FOREIGN.iter().chain(&own).map(|flag| (*flag).to_owned()).collect();
    flags(&Serin::command(), &mut known);
    flags(&Arguments::command(), &mut known);
    let flag = Regex::new(r"(?:^|[\s(])(--[a-zA-Z][\w-]*)").unwrap();
    let mut wrong = Vec::new();
    for page in pages() {
        for span in spans(&page) {
            let unknown =
                flag.captures_iter(&span).map(|found| found[1].to_owned()).find(|f| !known.contains(f));
            wrong.extend(unknown.map(|flag| format!("{}: {flag}", page.path.display())));
        }
    }
    assert_none("flags that no program has", &wrong);

    let serin = Serin::command();
    let controller = serin.find_subcommand("controller").unwrap();
    // Those without effect have a heading of their own.
    let works =
        |argument: &&clap::Arg| argument.get_help_heading().is_none() && argument.get_long() != Some("help");
    let own = controller.get_arguments().filter(works).filter_map(|argument| argument.get_long());
    let told = spans(&Page::read("docs/operating.md"));
    let untold = own.filter(|name| !told.contains(&format!("--{name}"))).map(str::to_owned);
    assert_none("flags that docs/operating.md does not name", &untold.collect::<Vec<_>>());
}

#[test]
fn every_reason_of_an_event_is_told() {
    let source = fs::read_to_string(root().join("src/events.rs")).unwrap();
    let reasons =
        source.split("pub const fn reason").nth(1).unwrap().split("/// Whether it tells").next().unwrap();
    let runs = source.split("const fn analysis_run_reason").nth(1).unwrap().split("\n}").next().unwrap();
    let word = Regex::new(r#"=> "([A-Z][A-Za-z]+)""#).unwrap();
    let told = spans(&Page::read("docs/operating.md"));
    let all = word.captures_iter(reasons).chain(word.captures_iter(runs)).map(|found| found[1].to_owned());
    let untold: Vec<_> = all.filter(|reason| !told.contains(reason)).collect();
    assert_none("reasons that docs/operating.md does not tell", &untold);
}

/// Whether everything of a manifest is a field of its type.
fn check<T: Serialize + DeserializeOwned>(manifest: &Value) -> Result<(), String> {
    let read: T = serde_path_to_error::deserialize(manifest).map_err(|error| error.to_string())?;
    let known = serde_json::to_value(read).unwrap();
    dropped("", manifest, &known).map_or(Ok(()), |path| Err(format!("{path} is no field")))
}

/// The path of what is in the one and not in the other.
fn dropped(path: &str, manifest: &Value, known: &Value) -> Option<String> {
    match (manifest, known) {
        (Value::Object(fields), _) => {
            fields.iter().filter(|(_, value)| !value.is_null()).find_map(|(name, value)| {
                let path = format!("{path}.{name}");
                match known.get(name) {
                    Some(known) => dropped(&path, value, known),
                    None => Some(path),
                }
            })
        }
        (Value::Array(items), Value::Array(known)) => {
            items.iter().zip(known).find_map(|(item, known)| dropped(&format!("{path}[]"), item, known))
        }
        _ => None,
    }
}

/// What is wrong with a manifest, or with a part of one.
fn wrong_manifest(manifest: &Value) -> Option<String> {
    let whole = |kind: &str| manifest["kind"] == kind;
    match manifest {
        Value::Array(steps) => steps.iter().find_map(|step| check::<CanaryStep>(step).err()),
        _ if whole("Rollout") => check::<Rollout>(manifest).err(),
        _ if whole("AnalysisTemplate") => check::<AnalysisTemplate>(manifest).err(),
        _ if whole("AnalysisRun") => check::<AnalysisRun>(manifest).err(),
        _ if whole("Experiment") => check::<Experiment>(manifest).err(),
        _ if manifest.get("strategy").is_some() => check::<RolloutSpec>(manifest).err(),
        _ => None,
    }
}

#[test]
fn every_manifest_is_one_that_the_api_takes() {
    let mut wrong = Vec::new();
    for page in pages() {
        // What is meant for Helm is no YAML yet.
        let blocks =
            page.blocks().into_iter().filter(|block| block.language == "yaml" && !block.text.contains("{{"));
        for block in blocks {
            let text = block.text.replace("{...}", "{}");
            let manifests: Result<Vec<Value>, _> = serde_saphyr::from_multiple(&text);
            let complaint = match &manifests {
                Ok(manifests) => manifests.iter().find_map(wrong_manifest),
                Err(error) => Some(error.to_string()),
            };
            wrong.extend(complaint.map(|why| format!("{}: {why}\n{text}", page.path.display())));
        }
    }
    assert_none("manifests that the API does not take", &wrong);
}
