//! Amazon CloudWatch: `GetMetricData`, page by page.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::super::{Finding, Shared};
use super::query_api::{AskedBy, Members, Service};
use crate::analysis::Value;
use crate::analysis::query::{CloudWatchQuery, CloudWatchResult};
use crate::units::format_duration;

/// Where it is, for whoever waits for the same server; the region is always the controller's.
pub(in crate::providers) const ADDRESS: &str = "https://monitoring.amazonaws.com";

const SERVICE: Service =
    Service { name: "monitoring", endpoint: "CLOUDWATCH", version: "2010-08-01", asked_by: AskedBy::Metrics };
/// How long a measurement may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most pages that are read; a query that needs more does not measure one thing.
const MAX_PAGES: usize = 10;

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "GetMetricDataResult")]
    page: Page,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    metric_data_results: Members<Entry>,
    next_token: Option<String>,
    #[serde(default)]
    messages: Members<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    id: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    status_code: String,
    #[serde(default)]
    timestamps: Members<String>,
    #[serde(default)]
    values: Members<f64>,
    #[serde(default)]
    messages: Members<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    #[serde(default)]
    code: String,
    #[serde(default)]
    value: String,
}

impl Message {
    fn into_parts(self) -> (String, String) {
        (self.code, self.value)
    }
}

/// Takes one measurement.
pub(in crate::providers) async fn measure(
    shared: &Shared,
    query: &CloudWatchQuery,
    finding: &mut Finding,
) -> Result<Value, String> {
    let region = shared.aws.region(None, "").map_err(|why| format!("CloudWatch cannot be asked: {why}"))?;
    let place = format!("CloudWatch in {region}");
    match tokio::time::timeout(TIMEOUT, ask(shared, query, &region, finding)).await {
        Err(_) => Err(format!("{place} did not answer within {}", format_duration(TIMEOUT))),
        Ok(found) => found.and_then(CloudWatchQuery::value).map_err(|why| format!("{place}: {why}")),
    }
}

/// The results of all pages, in the order in which they first come.
async fn ask(
    shared: &Shared,
    query: &CloudWatchQuery,
    region: &str,
    finding: &mut Finding,
) -> Result<Vec<CloudWatchResult>, String> {
    let mut found: Vec<CloudWatchResult> = Vec::new();
    let mut places = BTreeMap::new();
    let mut next = None;
    for _ in 0..MAX_PAGES {
        let from = next.take().map(|token| ("NextToken".to_owned(), token));
        let parameters: Vec<_> = query.parameters.iter().cloned().chain(from).collect();
        let Answer { page } =
            shared.aws.ask(&shared.clients, SERVICE, region, "GetMetricData", &parameters).await?;
        let messages =
            page.messages.member.into_iter().map(|Message { code, value }| format!("{code}: {value}"));
        let messages: Vec<_> = messages.collect();
        if !messages.is_empty() {
            finding.note("messages", &messages.join("; "));
        }
        for entry in page.metric_data_results.member {
            let place = *places.entry((entry.id.clone(), entry.label.clone())).or_insert(found.len());
            match found.get_mut(place) {
                Some(before) => more(before, entry),
                None => found.push(result(entry)),
            }
        }
        next = page.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
    Err(format!("it has more than {MAX_PAGES} pages of results"))
}

fn result(entry: Entry) -> CloudWatchResult {
    CloudWatchResult {
        id: entry.id,
        label: entry.label,
        status: entry.status_code,
        times: entry.timestamps.member,
        values: entry.values.member,
        messages: entry.messages.member.into_iter().map(Message::into_parts).collect(),
    }
}

/// A result goes on where it ended on the page before.
fn more(before: &mut CloudWatchResult, entry: Entry) {
    before.status = entry.status_code;
    before.times.extend(entry.timestamps.member);
    before.values.extend(entry.values.member);
    before.messages.extend(entry.messages.member.into_iter().map(Message::into_parts));
}
