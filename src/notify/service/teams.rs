//! Microsoft Teams: message cards to incoming webhooks.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Notice, PATIENCE, json_of};
use crate::analysis::query::HttpRequest;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Settings {
    /// The URL of each recipient's webhook.
    recipient_urls: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Part {
    title: Option<String>,
    summary: Option<String>,
    text: Option<String>,
    theme_color: Option<String>,
    /// JSON, as are the next two.
    facts: Option<String>,
    sections: Option<String>,
    potential_action: Option<String>,
    /// JSON of the whole card, in place of all others.
    template: Option<String>,
}

pub(super) fn request(settings: &Settings, notice: &Notice<'_>, part: Part) -> Result<HttpRequest, String> {
    let recipient = notice.recipient;
    let url = settings.recipient_urls.get(recipient);
    let url =
        url.ok_or_else(|| format!("recipientUrls has no '{recipient}': add it, or correct the name"))?;
    Ok(HttpRequest::post(url.clone(), &card(notice, part)?, PATIENCE))
}

fn card(notice: &Notice<'_>, part: Part) -> Result<Value, String> {
    if let Some(whole) = part.template {
        return json_of("teams.template", &whole);
    }
    let mut card = json!({
        "@type": "MessageCard", "@context": "https://schema.org/extensions",
        "text": part.text.as_deref().unwrap_or(&notice.message),
    });
    for (field, value) in [("title", part.title), ("summary", part.summary), ("themeColor", part.theme_color)]
    {
        if let Some(text) = value {
            card[field] = json!(text);
        }
    }
    let mut sections = match &part.sections {
        Some(text) => json_of("teams.sections", text)?,
        None => json!([]),
    };
    if let (Some(facts), Some(sections)) = (&part.facts, sections.as_array_mut()) {
        sections.push(json!({"facts": json_of("teams.facts", facts)?}));
    }
    if sections.as_array().is_none_or(|sections| !sections.is_empty()) {
        card["sections"] = sections;
    }
    if let Some(actions) = &part.potential_action {
        card["potentialAction"] = json_of("teams.potentialAction", actions)?;
    }
    Ok(card)
}
