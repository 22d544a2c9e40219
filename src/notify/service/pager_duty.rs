//! `PagerDuty`: version 2 of its Events API. The recipient is the name of a service whose integration key is known.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::{Notice, PATIENCE};
use crate::analysis::query::HttpRequest;

/// Where `PagerDuty` takes events.
const API: &str = "https://events.pagerduty.com";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Settings {
    /// The integration key of each service.
    service_keys: BTreeMap<String, String>,
    /// Where it is, when not at `API`.
    #[serde(rename = "apiURL")]
    api_url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Part {
    summary: Option<String>,
    severity: Option<String>,
    source: Option<String>,
    component: Option<String>,
    group: Option<String>,
    class: Option<String>,
    url: Option<String>,
    dedup_key: Option<String>,
}

pub(super) fn request(settings: &Settings, notice: &Notice<'_>, part: &Part) -> Result<HttpRequest, String> {
    let recipient = notice.recipient;
    let key = settings.service_keys.get(recipient);
    let key = key.ok_or_else(|| format!("serviceKeys has no '{recipient}': add it, or correct the name"))?;
    let mut payload = json!({
        "summary": part.summary.as_deref().unwrap_or(&notice.message),
        "severity": part.severity.as_deref().unwrap_or("warning"),
        "source": part.source.as_deref().unwrap_or("serin"),
        "timestamp": notice.at,
    });
    for (field, value) in [("component", &part.component), ("group", &part.group), ("class", &part.class)] {
        if let Some(text) = value {
            payload[field] = json!(text);
        }
    }
    // What is sent again is one alert.
    let dedup_key = part.dedup_key.as_ref().unwrap_or(&notice.id);
    let mut body =
        json!({"routing_key": key, "event_action": "trigger", "dedup_key": dedup_key, "payload": payload});
    if let Some(url) = &part.url {
        body["client_url"] = json!(url);
    }
    let api = settings.api_url.as_deref().unwrap_or(API).trim_end_matches('/');
    Ok(HttpRequest::post(format!("{api}/v2/enqueue"), &body, PATIENCE))
}
