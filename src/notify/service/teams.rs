//! Microsoft Teams: message cards to incoming webhooks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use serde_with::skip_serializing_none;

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

/// A message card.
#[skip_serializing_none]
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Card<'a> {
    #[serde(rename = "@type")]
    r#type: &'static str,
    #[serde(rename = "@context")]
    context: &'static str,
    text: &'a str,
    title: Option<&'a str>,
    summary: Option<&'a str>,
    theme_color: Option<&'a str>,
    sections: Option<Vec<Value>>,
    potential_action: Option<Value>,
}

pub(super) fn request(settings: &Settings, notice: &Notice<'_>, part: &Part) -> Result<HttpRequest, String> {
    let recipient = notice.recipient;
    let url = settings.recipient_urls.get(recipient);
    let url =
        url.ok_or_else(|| format!("recipientUrls has no '{recipient}': add it, or correct the name"))?;
    Ok(HttpRequest::post(url.clone(), &card(notice, part)?, PATIENCE))
}

fn card(notice: &Notice<'_>, part: &Part) -> Result<Value, String> {
    if let Some(whole) = &part.template {
        return json_of("teams.template", whole);
    }
    let action = part.potential_action.as_ref();
    let sections = sections(part)?;
    Ok(json!(Card {
        r#type: "MessageCard",
        context: "https://schema.org/extensions",
        text: part.text.as_deref().unwrap_or(&notice.message),
        title: part.title.as_deref(),
        summary: part.summary.as_deref(),
        theme_color: part.theme_color.as_deref(),
        sections: (!sections.is_empty()).then_some(sections),
        potential_action: action.map(|text| json_of("teams.potentialAction", text)).transpose()?,
    }))
}

/// The sections of the template, and one of its facts.
fn sections(part: &Part) -> Result<Vec<Value>, String> {
    let mut sections = match part.sections.as_ref().map(|text| json_of("teams.sections", text)).transpose()? {
        None => vec![],
        Some(Value::Array(sections)) => sections,
        Some(_) => return Err("teams.sections is no list once it is rendered".to_owned()),
    };
    if let Some(facts) = &part.facts {
        sections.push(json!({"facts": json_of("teams.facts", facts)?}));
    }
    Ok(sections)
}

/// An incoming webhook answers 200 to what it does not take, too: `1`, or nothing, says that it was taken.
pub(super) fn accepts(body: &[u8]) -> Result<(), String> {
    let answer = String::from_utf8_lossy(body);
    match answer.trim() {
        "" | "1" => Ok(()),
        other => Err(format!("it says {}", other.chars().take(200).collect::<String>())),
    }
}
