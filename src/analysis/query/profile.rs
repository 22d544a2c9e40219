//! The Secret that a provider's credentials are in.

use crate::analysis::metric::FieldError;
use crate::analysis::secrets::{Found, Home, Keyring, SecretKey};

/// A Secret, and what was found wrong with it.
pub(super) struct Profile<'a, 'b> {
    home: Home,
    name: String,
    /// The field that names it, for messages.
    field: &'static str,
    keys: &'a mut Keyring<'b>,
    problems: Vec<FieldError>,
}

impl<'a, 'b> Profile<'a, 'b> {
    /// A Secret of the controller's, whose name `field` may give.
    pub(super) fn of_controller(field: &'static str, name: String, keys: &'a mut Keyring<'b>) -> Self {
        Self { home: Home::Controller, name, field, keys, problems: Vec::new() }
    }

    /// The Secret of that name in the run's namespace in place of it.
    pub(super) fn of_run(mut self) -> Self {
        self.home = Home::Run;
        self
    }

    fn key(&self, key: &str) -> SecretKey {
        SecretKey { home: self.home, name: self.name.clone(), key: key.to_owned() }
    }

    fn problem(&mut self, problem: String) {
        let problem = FieldError::new(self.field, problem);
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// What must be there and is never shown; empty, with a problem noted, when it is not.
    pub(super) fn secret(&mut self, key: &str) -> String {
        let found = self.keys.secret(&self.key(key));
        self.required(key, found, "unread")
    }

    /// What must be there and may be seen; `stand_in` is taken for it while it is unread.
    pub(super) fn open(&mut self, key: &str, stand_in: &str) -> String {
        let found = self.keys.open(&self.key(key));
        self.required(key, found, stand_in)
    }

    /// What may be there and may be seen.
    pub(super) fn optional(&mut self, key: &str) -> Option<String> {
        let found = self.keys.open(&self.key(key));
        self.if_there(found)
    }

    /// What may be there and is never shown.
    pub(super) fn hidden(&mut self, key: &str) -> Option<String> {
        let found = self.keys.secret(&self.key(key));
        self.if_there(found)
    }

    fn if_there(&mut self, found: Result<Found, String>) -> Option<String> {
        match found {
            Ok(Found::Value(text)) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Ok(Found::Nothing | Found::Unread) => None,
            Err(why) => {
                self.problem(why);
                None
            }
        }
    }

    fn required(&mut self, key: &str, found: Result<Found, String>, stand_in: &str) -> String {
        let missing = || format!("names Secret '{}', which has no key '{key}'", self.name);
        let problem = match found {
            Ok(Found::Unread) => return stand_in.to_owned(),
            Ok(Found::Value(text)) if !text.trim().is_empty() => return text.trim().to_owned(),
            Ok(Found::Value(_) | Found::Nothing) => missing(),
            Err(why) => why,
        };
        self.problem(problem);
        String::new()
    }

    /// What was found wrong.
    pub(super) fn into_problems(self) -> Vec<FieldError> {
        self.problems
    }
}
