//! `PagerDuty`: version 2 of its Events API. The recipient is the name of a service whose integration key is known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_with::skip_serializing_none;

use super::{Notice, PATIENCE};
use crate::analysis::query::HttpRequest;
use crate::units::Timestamp;

/// Where `PagerDuty` takes events.
const API: &str = "https://events.pagerduty.com";

/// Longest summary that it takes, in bytes.
const MAX_SUMMARY: usize = 1_024;

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

/// What the API takes.
#[skip_serializing_none]
#[derive(Serialize)]
struct Alert<'a> {
    routing_key: &'a str,
    event_action: &'static str,
    dedup_key: &'a str,
    payload: Payload<'a>,
    client_url: Option<&'a str>,
}

#[skip_serializing_none]
#[derive(Serialize)]
struct Payload<'a> {
    summary: &'a str,
    severity: &'a str,
    source: &'a str,
    timestamp: Timestamp,
    component: Option<&'a str>,
    group: Option<&'a str>,
    class: Option<&'a str>,
}

pub(super) fn request(settings: &Settings, notice: &Notice<'_>, part: &Part) -> Result<HttpRequest, String> {
    let recipient = notice.recipient;
    let key = settings.service_keys.get(recipient);
    let key = key.ok_or_else(|| format!("serviceKeys has no '{recipient}': add it, or correct the name"))?;
    let summary = part.summary.as_deref().unwrap_or(&notice.message);
    let alert = Alert {
        routing_key: key,
        event_action: "trigger",
        // What is sent again is one alert.
        dedup_key: part.dedup_key.as_deref().unwrap_or(&notice.id),
        payload: Payload {
            summary: &summary[..summary.floor_char_boundary(MAX_SUMMARY)],
            severity: part.severity.as_deref().unwrap_or("warning"),
            source: part.source.as_deref().unwrap_or("serin"),
            timestamp: notice.at,
            component: part.component.as_deref(),
            group: part.group.as_deref(),
            class: part.class.as_deref(),
        },
        client_url: part.url.as_deref(),
    };
    let api = settings.api_url.as_deref().unwrap_or(API).trim_end_matches('/');
    Ok(HttpRequest::post(format!("{api}/v2/enqueue"), &json!(alert), PATIENCE))
}
