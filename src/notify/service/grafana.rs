//! Grafana: annotations. The recipient is a tag, or several by `|`.

use serde::Deserialize;
use serde_json::json;

use super::{Notice, PATIENCE};
use crate::analysis::query::HttpRequest;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Settings {
    /// Its API, for example `https://grafana.example.com/api`.
    api_url: String,
    api_key: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// More tags, by `|`.
    tags: Option<String>,
}

pub(super) fn request(settings: &Settings, notice: &Notice<'_>, part: &Part) -> HttpRequest {
    let tags = notice.recipient.split('|').chain(part.tags.iter().flat_map(|tags| tags.split('|')));
    let tags: Vec<_> = tags.map(str::trim).filter(|tag| !tag.is_empty()).collect();
    let body = json!({"time": notice.at.as_millis(), "tags": tags, "text": notice.message});
    let url = format!("{}/annotations", settings.api_url.trim_end_matches('/'));
    HttpRequest::post(url, &body, PATIENCE)
        .with_header("Authorization", format!("Bearer {}", settings.api_key))
}
