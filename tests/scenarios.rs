//! Every scenario is played and its transcript compared. `UPDATE=1 cargo test --test scenarios` rewrites the transcripts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, and its functions are part of it"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Separates the script from the transcript.
const SEPARATOR: &str = "----\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Manifests are named from the folder of the tests.
fn manifest(name: &str) -> Option<String> {
    fs::read_to_string(root().join(name)).ok()
}

/// The transcript of a script.
fn play(script: &str) -> String {
    serin::sim::play(script, &manifest).unwrap()
}

/// The first line in which two texts differ, with both versions of it.
fn first_difference(expected: &str, actual: &str) -> Option<String> {
    let (mut expected, mut actual) = (expected.lines(), actual.lines());
    for number in 1.. {
        match (expected.next(), actual.next()) {
            (None, None) => return None,
            (expected, actual) if expected == actual => {}
            (expected, actual) => {
                let (expected, actual) = (expected.unwrap_or("(end)"), actual.unwrap_or("(end)"));
                return Some(format!(
                    "line {number} of the transcript\n  expected:{expected}\n  but was: {actual}"
                ));
            }
        }
    }
    None
}

fn check(script: &str, expected: &str) -> Result<(), String> {
    let actual = play(script);
    if actual.lines().any(|line| line.split_whitespace().nth(1) == Some("error")) {
        return Err(format!("something went wrong:\n{actual}"));
    }
    first_difference(expected, &actual).map_or(Ok(()), Err)
}

fn scenarios() -> Vec<PathBuf> {
    let folder = fs::read_dir(root().join("scenarios")).unwrap();
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

#[test]
fn every_scenario_reads_as_it_is_written_down() {
    #[expect(clippy::disallowed_methods, reason = "tests are rewritten on demand")]
    let update = std::env::var("UPDATE").is_ok();
    let mut failures = Vec::new();
    for path in scenarios() {
        let text = fs::read_to_string(&path).unwrap();
        let (script, expected) = text.split_once(SEPARATOR).unwrap_or((&text, ""));
        if update {
            fs::write(&path, format!("{script}{SEPARATOR}{}", play(script))).unwrap();
        } else if let Err(difference) = check(script, expected) {
            failures.push(format!("{}: {difference}", path.display()));
        }
    }
    assert!(failures.is_empty(), "{}\n(UPDATE=1 rewrites the transcripts)", failures.join("\n"));
}

#[test]
fn a_scenario_plays_the_same_every_time() {
    for path in scenarios() {
        let text = fs::read_to_string(&path).unwrap();
        let (script, _) = text.split_once(SEPARATOR).unwrap_or((&text, ""));
        // Played often enough by itself.
        let script = script.replace("crash everywhere\n", "");
        assert_eq!(play(&script), play(&script), "{}", path.display());
    }
}
