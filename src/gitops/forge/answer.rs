//! An answer of a forge: what it brings, or what it says went wrong.

use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::{Kind, Opened, State, cut, escape};

/// How much is quoted of what a forge says, in characters.
pub(super) const LONGEST: usize = 200;
/// How many messages are taken of one answer, and how deep they may be.
const MESSAGES: usize = 4;

/// An answer, whatever its status.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// HTTP's status, as 200.
    pub status: u16,
    /// Its content.
    pub body: &'a [u8],
}

/// Why an answer brings nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The forge refused.
    Refused {
        /// HTTP's status.
        status: u16,
        /// What it said, on one line; nothing where it said nothing that can be read.
        said: String,
    },
    /// What came is not what the forge documents.
    Unreadable(String),
}

impl std::fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Answer<'_> {
    /// What a good answer brings.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T, Failure> {
        if !(200..300).contains(&self.status) {
            return Err(Failure::Refused { status: self.status, said: self.said() });
        }
        serde_json::from_slice(self.body).map_err(|why| {
            Failure::Unreadable(if self.body.trim_ascii_start().first() == Some(&b'<') {
                "it answered a page in place of JSON; is forge.api right?".to_owned()
            } else {
                let why = cut(&escape::visible(&why.to_string()), LONGEST);
                format!("its answer describes no pull request: {why}; are forge.kind and forge.api right?")
            })
        })
    }

    /// What the forge said, on one line of bounded length.
    pub(super) fn said(self) -> String {
        let mut messages = Vec::new();
        if let Ok(body) = serde_json::from_slice::<Value>(self.body) {
            collect(&body, MESSAGES, &mut messages);
        }
        cut(&messages.join("; "), LONGEST)
    }
}

/// The messages of an answer, in the fields in which one forge or another has them; `base` is GitLab's for the whole.
fn collect(value: &Value, depth: usize, messages: &mut Vec<String>) {
    if depth == 0 || messages.len() >= MESSAGES {
        return;
    }
    match value {
        Value::String(text) => {
            let text = escape::visible(text);
            if !text.is_empty() && !messages.contains(&text) {
                messages.push(text);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, depth - 1, messages)),
        Value::Object(fields) => {
            let known = ["message", "error", "error_description", "errors", "base"];
            known
                .iter()
                .filter_map(|key| fields.get(*key))
                .for_each(|field| collect(field, depth - 1, messages));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl Failure {
    /// One clause for people: what the forge said, and what to change.
    pub(super) fn told(&self, kind: Kind) -> String {
        let (status, said) = match self {
            Self::Refused { status, said } => (*status, said),
            Self::Unreadable(why) => return why.clone(),
        };
        let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
        let rights = kind.rights();
        let hint = match status {
            301 | 302 | 303 | 307 | 308 => {
                "; the repository or the API has moved: write its new address into url or forge.api"
                    .to_owned()
            }
            401 => format!("; the token is wrong, revoked or expired: make a new one with {rights}"),
            403 => format!("; the token needs {rights}"),
            404 => format!(
                "; there is no such repository or branch, or the token does not see it: it needs {rights}"
            ),
            429 => "; it was asked too often".to_owned(),
            _ => String::new(),
        };
        format!("it answered {status}{said}{hint}")
    }
}

/// A pull request that an answer describes.
pub(super) fn opened(number: u64, url: &str, state: State) -> Result<Opened, Failure> {
    let page = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
    let url = page.ok_or_else(|| Failure::Unreadable(format!("pull request {number} has no page")))?;
    Ok(Opened { number, url, state })
}
