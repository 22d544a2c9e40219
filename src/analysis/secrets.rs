//! Secrets: where they are, how they are asked for, and texts that are never shown.
//!
//! The core names the keys it needs; the shell reads them. What they contain never shows in a message.

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::{AhoCorasick, MatchKind};

use crate::api::analysis_template::SecretKeyRef;

/// What stands for a secret in everything people see.
pub const HIDDEN: &str = "*****";

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Secret(String);

impl Secret {
    /// Text that is never shown.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever sends it where it belongs.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Replaces every secret in a text by `*****`.
#[must_use]
pub fn redact(text: &str, secrets: &[Secret]) -> String {
    Redactor::new(secrets.iter().map(Secret::reveal)).redact(text)
}

/// Replaces texts by `*****`, all of them in one pass: how long that takes hangs on the text alone.
#[derive(Clone)]
pub struct Redactor(Option<AhoCorasick>);

impl Redactor {
    /// Replaces these; of two that begin at one place, the longer.
    pub fn new<'a>(hidden: impl Iterator<Item = &'a str>) -> Self {
        let hidden = hidden.filter(|text| !text.is_empty());
        // It fails for more texts than memory holds.
        Self(AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(hidden).ok())
    }

    /// The text with each of them replaced.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let Some(all) = &self.0 else { return HIDDEN.to_owned() };
        let mut shown = String::with_capacity(text.len());
        all.replace_all_with(text, &mut shown, |_, _, shown| {
            shown.push_str(HIDDEN);
            true
        });
        shown
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

/// Whose namespace a Secret is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Home {
    /// The run's.
    Run,
    /// The controller's.
    Controller,
}

/// One key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretKey {
    /// Whose namespace it is in.
    pub home: Home,
    /// Name of the Secret.
    pub name: String,
    /// Key in it.
    pub key: String,
}

impl From<&SecretKeyRef> for SecretKey {
    fn from(wire: &SecretKeyRef) -> Self {
        Self { home: Home::Run, name: wire.name.clone(), key: wire.key.clone() }
    }
}

/// Keys as far as the shell has read them: `None` for one that its Secret does not have; the error says why the Secret
/// cannot be read.
pub type Secrets = BTreeMap<SecretKey, Result<Option<Secret>, String>>;

/// Where the values of keys come from.
#[derive(Clone, Copy, Debug)]
pub enum SecretSource<'a> {
    /// A harmless value stands for each, so that a spec can be checked.
    Placeholder,
    /// They were read.
    Read(&'a Secrets),
}

/// Gives the values of keys, and remembers which were given and which must be read first.
#[derive(Debug)]
pub struct Keyring<'a> {
    source: SecretSource<'a>,
    /// Secrets that were given.
    pub used: BTreeSet<Secret>,
    /// Keys that must be read first.
    pub wanted: BTreeSet<SecretKey>,
}

impl<'a> Keyring<'a> {
    /// Gives what `source` has.
    #[must_use]
    pub const fn new(source: SecretSource<'a>) -> Self {
        Self { source, used: BTreeSet::new(), wanted: BTreeSet::new() }
    }

    /// A key's value, which is kept out of everything people see.
    ///
    /// # Errors
    ///
    /// One sentence: why the Secret cannot be read.
    pub fn secret(&mut self, key: &SecretKey) -> Result<Found, String> {
        let found = self.open(key)?;
        if let Found::Value(value) = &found {
            self.used.insert(Secret::new(value));
        }
        Ok(found)
    }

    /// A key's value that may be seen, as the address of a server.
    ///
    /// # Errors
    ///
    /// One sentence: why the Secret cannot be read.
    pub fn open(&mut self, key: &SecretKey) -> Result<Found, String> {
        let SecretSource::Read(secrets) = self.source else { return Ok(Found::Unread) };
        match secrets.get(key) {
            Some(Ok(Some(secret))) => Ok(Found::Value(secret.0.clone())),
            Some(Ok(None)) => Ok(Found::Nothing),
            Some(Err(why)) => Err(why.clone()),
            None => {
                self.wanted.insert(key.clone());
                Ok(Found::Unread)
            }
        }
    }
}

/// What a key has.
#[derive(Clone, PartialEq, Eq)]
pub enum Found {
    /// Its value.
    Value(String),
    /// Its Secret does not have it.
    Nothing,
    /// It is not read (yet): something harmless stands for it.
    Unread,
}
