//! A judgement of Kayenta's as a measurement: begun once, and looked at until it ends.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Finding, Shared, exchange, http};
use crate::analysis::Value;
use crate::analysis::query::{HttpRequest, KayentaQuery};
use crate::units::format_duration;

/// Requests at once, of all judgements: each is short, and comes every quarter of a minute.
pub(super) const AT_ONCE: usize = 16;
/// Time between two looks at a judgement.
const LOOK: Duration = Duration::from_secs(15);
/// Looks in a row that may fail.
const FAILURES: u32 = 4;
/// How long a judgement may take.
const LONGEST: Duration = Duration::from_hours(1);
/// Where a measurement's metadata has the id of the judgement, by which Kayenta shows it.
const EXECUTION: &str = "canaryExecutionId";

/// Takes one measurement; takes as long as the judgement does.
pub(super) async fn measure(
    shared: &Shared,
    query: &KayentaQuery,
    finding: &mut Finding,
) -> Result<Value, String> {
    let place = format!("Kayenta at {}", http::shown(query.base()));
    match timeout(LONGEST, judge(shared, query, finding)).await {
        Err(_) => Err(format!("{place} did not end its judgement within {}", format_duration(LONGEST))),
        Ok(score) => score.map(Value::Number).map_err(|why| format!("{place}: {why}")),
    }
}

async fn judge(shared: &Shared, query: &KayentaQuery, finding: &mut Finding) -> Result<f64, String> {
    let config = query.config_in(&ask(shared, &query.configs(), finding).await?)?;
    let execution = KayentaQuery::begun_in(&ask(shared, &query.begin(&config), finding).await?)?;
    finding.note(EXECUTION, &execution);
    let mut failures = 0;
    loop {
        sleep(LOOK).await;
        match ask(shared, &query.look_at(&execution), finding).await {
            Ok(body) => {
                failures = 0;
                if let Some(score) = KayentaQuery::score_in(&body)? {
                    return Ok(score);
                }
            }
            // The judgement goes on while its server cannot be asked.
            Err(_) if failures < FAILURES => failures += 1,
            Err(why) => return Err(why),
        }
    }
}

async fn ask(shared: &Shared, request: &HttpRequest, finding: &mut Finding) -> Result<Vec<u8>, String> {
    // An error would mean that it was closed, which it never is.
    let _slot = shared.kayenta.acquire().await.ok();
    let url = http::parse_url(&request.url)?;
    let answer = exchange::ask(shared, request, url, &mut finding.hidden);
    timeout(request.timeout, answer)
        .await
        .unwrap_or_else(|_| Err(format!("it did not answer within {}", format_duration(request.timeout))))
}

#[cfg(test)]
mod tests;
