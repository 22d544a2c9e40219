//! Rules about the source tree that no compiler checks. A rule that fails prints the place and the mend.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and its functions are part of it"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules from the bottom up; a module may use those of its own layer and below.
const LAYERS: [&[&str]; 11] = [
    &["units"],
    &["api"],
    &["events"],
    &["analysis", "traffic"],
    &["rollout"],
    &["experiment"],
    &["notify"],
    &["trace"],
    &["gitops"],
    &["view", "commands", "sim"],
    &["providers", "controller", "metrics", "write_back", "cli", "sandbox"],
];

/// Modules that decide; they do no I/O and read no clock.
const PURE: [&str; 13] = [
    "units",
    "api",
    "events",
    "analysis",
    "traffic",
    "rollout",
    "experiment",
    "notify",
    "trace",
    "gitops",
    "view",
    "commands",
    "sim",
];

/// What a pure module may not name.
const IMPURE: [&str; 10] = [
    "tokio::",
    "kube::Client",
    "kube::Api",
    "kube::client",
    "axum::",
    "reqwest::",
    "std::env",
    "std::fs",
    "std::net",
    "rand::",
];

/// Longest file without its tests.
const LINES: usize = 400;

/// A source file: its path below `src`, and its lines without the in-file tests.
struct Source {
    path: String,
    lines: Vec<String>,
}

impl Source {
    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap()
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    files.sort();
    let read = |file: PathBuf| Source {
        path: file.strip_prefix(&root).unwrap().display().to_string(),
        lines: fs::read_to_string(&file)
            .unwrap()
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .map(str::to_owned)
            .collect(),
    };
    files.into_iter().map(read).filter(|source| !source.path.ends_with("tests.rs")).collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// The modules of this crate that a line names.
fn named(line: &str) -> Vec<&str> {
    let code = line.split("//").next().unwrap_or_default();
    let after = code.split("crate::").skip(1).chain(code.split("serin::").skip(1));
    after
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
        .collect()
}

fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}\n{}", broken.join("\n"));
}

#[test]
fn modules_use_only_their_own_layer_and_those_below() {
    let mut broken = Vec::new();
    for source in sources() {
        let Some(own) = layer(source.module()) else { continue };
        for (number, line) in source.lines.iter().enumerate() {
            for used in named(line) {
                if layer(used).is_some_and(|used| used > own) {
                    broken.push(format!("src/{}:{}: uses {used}", source.path, number + 1));
                }
            }
        }
    }
    assert_none(
        "a lower layer uses a higher one; move the type down or the caller up (ARCHITECTURE.md)",
        &broken,
    );
}

#[test]
fn modules_that_decide_do_no_io() {
    let mut broken = Vec::new();
    for source in sources().into_iter().filter(|source| PURE.contains(&source.module())) {
        for (number, line) in source.lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(name) = IMPURE.iter().find(|name| code.contains(*name)) {
                broken.push(format!("src/{}:{}: names {name}", source.path, number + 1));
            }
        }
    }
    assert_none("a pure module does I/O; pass the fact in through the snapshot", &broken);
}

#[test]
fn values_are_measured_only_on_behalf_of_the_controller() {
    let callers = ["providers", "controller", "write_back", "cli", "sandbox", "main", "bin"];
    let mut broken = Vec::new();
    for source in sources().into_iter().filter(|source| !callers.contains(&source.module())) {
        let uses = source.lines.iter().any(|line| named(line).contains(&"providers"));
        broken.extend(uses.then(|| format!("src/{}", source.path)));
    }
    assert_none("providers do I/O and belong to the shell", &broken);
}

#[test]
fn files_are_short_enough_to_read() {
    let long = sources().into_iter().filter(|source| source.lines.len() > LINES);
    let broken: Vec<_> =
        long.map(|source| format!("src/{}: {} lines", source.path, source.lines.len())).collect();
    assert_none("a file has more than 400 lines without its tests; split it by question", &broken);
}

#[test]
fn files_begin_by_saying_what_they_are() {
    let silent = sources()
        .into_iter()
        .filter(|source| !source.lines.first().is_some_and(|line| line.starts_with("//!")));
    let broken: Vec<_> = silent.map(|source| format!("src/{}", source.path)).collect();
    assert_none("a file has no //! line", &broken);
}

#[test]
fn nothing_is_left_unfinished() {
    let marks =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("unimpl", "emented!"), concat!("#[ig", "nore")];
    let mut broken = Vec::new();
    for source in sources() {
        for (number, line) in source.lines.iter().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(*mark)) {
                broken.push(format!("src/{}:{}: {mark}", source.path, number + 1));
            }
        }
    }
    assert_none("finish it, or refuse the input by name", &broken);
}
