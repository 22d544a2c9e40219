//! Slack: `chat.postMessage` of its Web API.

use serde::Deserialize;
use serde_json::{Value, json};

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

pub(super) fn request(settings: &Settings, notice: &Notice<'_>, part: Part) -> Result<HttpRequest, String> {
    let mut body = json!({"channel": notice.recipient, "text": notice.message});
    for (field, value) in [("attachments", part.attachments), ("blocks", part.blocks)] {
        if let Some(text) = value {
            body[field] = json_of(&format!("slack.{field}"), &text)?;
        }
    }
    if let Some(username) = &settings.username {
        body["username"] = json!(username);
    }
    if let Some(icon) = &settings.icon {
        let field = if icon.starts_with(':') { "icon_emoji" } else { "icon_url" };
        body[field] = json!(icon);
    }
    let api = settings.api_url.as_deref().unwrap_or(API).trim_end_matches('/');
    let request = HttpRequest::post(format!("{api}/chat.postMessage"), &body, PATIENCE);
    Ok(request.with_header("Authorization", format!("Bearer {}", settings.token)))
}

/// Slack answers 200 to what it does not take, too.
pub(super) fn accepts(body: &[u8]) -> Result<(), String> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| "its answer is no JSON".to_owned())?;
    if answer["ok"] == json!(true) {
        return Ok(());
    }
    Err(format!("it says {}", answer["error"].as_str().unwrap_or("nothing about why it does not take it")))
}
