//! Where `build.sh --tests` puts what tests alone need: folders that are named after what pins what is in them.

use std::path::PathBuf;

use serin::sandbox::tools::ToolPlaces;

/// What `build.sh` builds for tests alone.
const PROGRAMS: &str = include_str!("programs.txt");

/// The folder `parent` of the tools for what these files say, in the order in which `build.sh` hashes them.
pub(crate) fn folder(parent: &str, files: &[&str]) -> PathBuf {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    for file in files {
        hash.update(file.as_bytes());
    }
    let digest = hash.finish();
    let key = digest.as_ref().iter().take(8).fold(String::new(), |key, byte| format!("{key}{byte:02x}"));
    let tools = ToolPlaces::from_environment().folder().expect("set SERIN_TOOLS, SERIN_CACHE or HOME");
    tools.join(parent).join(key)
}

/// What `definitions.txt` pins.
pub(crate) fn definitions() -> PathBuf {
    folder("definitions", &[include_str!("definitions.txt")])
}

/// A program that `programs.txt` pins.
///
/// # Panics
/// When it is missing; the message says how to build it.
pub(crate) fn program(name: &str) -> PathBuf {
    let line = PROGRAMS.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
    let program = folder("programs", &[line, "\n"]).join(name);
    assert!(
        program.is_file(),
        "{} is missing; build what is missing with `make test-tools`",
        program.display()
    );
    program
}
