//! Slack: `chat.postMessage` of its Web API.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use serde_with::skip_serializing_none;

use super::{Notice, PATIENCE, json_of};
use crate::analysis::query::HttpRequest;

/// Where Slack is.
const API: &str = "https://slack.com/api";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Settings {
    token: String,
    username: Option<String>,
    /// `:emoji:` or a URL.
    icon: Option<String>,
    #[serde(rename = "apiURL")]
    api_url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Part {
    /// JSON.
    attachments: Option<String>,
    /// JSON.
    blocks: Option<String>,
}

/// What `chat.postMessage` takes.
#[skip_serializing_none]
#[derive(Serialize)]
struct Message<'a> {
    channel: &'a str,
    text: &'a str,
    attachments: Option<Value>,
    blocks: Option<Value>,
    username: Option<&'a str>,
    icon_emoji: Option<&'a str>,
    icon_url: Option<&'a str>,
}

/// What it answers.
#[derive(Deserialize)]
struct Answer {
    ok: bool,
    error: Option<String>,
}

pub(super) fn request(settings: &Settings, notice: &Notice<'_>, part: &Part) -> Result<HttpRequest, String> {
    let json = |field, text: &Option<String>| text.as_ref().map(|text| json_of(field, text)).transpose();
    let (icon_emoji, icon_url) = match settings.icon.as_deref() {
        Some(icon) if icon.starts_with(':') => (Some(icon), None),
        icon => (None, icon),
    };
    let message = Message {
        channel: notice.recipient,
        text: &notice.message,
        attachments: json("slack.attachments", &part.attachments)?,
        blocks: json("slack.blocks", &part.blocks)?,
        username: settings.username.as_deref(),
        icon_emoji,
        icon_url,
    };
    let api = settings.api_url.as_deref().unwrap_or(API).trim_end_matches('/');
    let request = HttpRequest::post(format!("{api}/chat.postMessage"), &json!(message), PATIENCE);
    Ok(request.with_header("Authorization", format!("Bearer {}", settings.token)))
}

/// Slack answers 200 to what it does not take, too.
pub(super) fn accepts(body: &[u8]) -> Result<(), String> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| "its answer is no JSON".to_owned())?;
    if answer.ok {
        return Ok(());
    }
    Err(format!("it says {}", answer.error.as_deref().unwrap_or("nothing about why it does not take it")))
}
