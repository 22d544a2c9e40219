//! Where `build.sh --tests` puts what tests alone need: folders that are named after the files that pin what is in them.

use std::path::PathBuf;

use crate::shared::options;

/// The folder `parent` of the tools for what these files say, in the order in which `build.sh` hashes them.
pub(crate) fn folder(parent: &str, files: &[&str]) -> PathBuf {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    for file in files {
        hash.update(file.as_bytes());
    }
    let digest = hash.finish();
    let key = digest.as_ref().iter().take(8).fold(String::new(), |key, byte| format!("{key}{byte:02x}"));
    options().tools.folder().join(parent).join(key)
}
