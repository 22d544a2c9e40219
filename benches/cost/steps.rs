//! Whether every Rollout of a fleet went through every step, by what it announced and by its status.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Event;
use kube::api::{ListParams, ObjectList};
use kube::{Api, Client};
use serde_json::Value;
use serin::api::Rollout;

/// Steps of every Rollout here.
const STEPS: u64 = 5;
/// Those that are pauses, counted from 1.
const PAUSES: [u64; 2] = [2, 4];
/// How long Events may come after what they tell of.
const EVENTS_PATIENCE: Duration = Duration::from_mins(3);
/// Objects in one answer.
const PAGE: u32 = 500;

/// What a fleet announced about one update.
pub(crate) struct Told {
    /// Whole seconds from the end of the step before it to the end of a pause, the least of all.
    pub(crate) shortest_pause: i64,
    /// How long after the beginning the last announcement arrived.
    pub(crate) after: Duration,
}

/// A step that is told to be done, and when, in seconds.
type Step = (u64, i64);

/// Waits until all Rollouts have told of all their steps.
///
/// # Errors
/// When a Rollout skipped a step, went through one twice or out of turn, or is not where it should be.
pub(crate) async fn check(client: &Client, count: usize) -> Result<Told> {
    let begun = Instant::now();
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    let told = loop {
        let told = completed(&events).await?;
        let complete = told.values().filter(|steps| steps.len() as u64 >= STEPS).count();
        if complete >= count || begun.elapsed() > EVENTS_PATIENCE {
            break told;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    let after = begun.elapsed();
    let rollouts = pages(&Api::<Rollout>::namespaced(client.clone(), "default"), "").await?;
    let mut wrong = Vec::new();
    if rollouts.len() != count {
        wrong.push(format!("there are {} Rollouts", rollouts.len()));
    }
    for rollout in &rollouts {
        let name = rollout.metadata.name.as_deref().unwrap_or_default();
        let steps = told.get(name).map_or(&[][..], Vec::as_slice);
        if !steps.iter().map(|step| step.0).eq(1..=STEPS) {
            wrong.push(format!("{name} told of these steps, in this order: {steps:?}"));
        }
        wrong.extend(misplaced(name, &serde_json::to_value(&rollout.status)?));
    }
    if let Some(first) = wrong.first() {
        bail!("{} of {count} Rollouts lost a step, the first one: {first}", wrong.len());
    }
    let pauses = told.values().flat_map(|steps| {
        steps.windows(2).filter_map(|pair| match pair {
            [before, pause] if PAUSES.contains(&pause.0) => Some(pause.1 - before.1),
            _ => None,
        })
    });
    Ok(Told { shortest_pause: pauses.min().unwrap_or_default(), after })
}

/// What is wrong with the status of a Rollout whose update is over.
fn misplaced(name: &str, status: &Value) -> Option<String> {
    let index = status.get("currentStepIndex").and_then(Value::as_u64);
    let (stable, current) = (status.get("stableRS"), status.get("currentPodHash"));
    let is_at_end = index == Some(STEPS) && stable.is_some() && stable == current;
    (!is_at_end).then(|| format!("{name} is at step {index:?}, stable {stable:?}, current {current:?}"))
}

/// The steps that each Rollout has told of, in the order in which it did.
async fn completed(events: &Api<Event>) -> Result<BTreeMap<String, Vec<Step>>> {
    // The name of an Event ends with the time and a number that grows.
    let mut told: BTreeMap<String, Vec<(String, Step)>> = BTreeMap::new();
    for event in pages(events, "reason=RolloutStepCompleted").await? {
        let at = event.first_timestamp.map(|time| time.0.as_second()).unwrap_or_default();
        let message = event.message.unwrap_or_default();
        let number =
            message.strip_prefix("Rollout step ").and_then(|rest| rest.split('/').next()?.parse().ok());
        if let Some(number) = number {
            let name = event.involved_object.name.unwrap_or_default();
            let order = event.metadata.name.unwrap_or_default();
            told.entry(name).or_default().push((order, (number, at)));
        }
    }
    let sorted = |mut steps: Vec<(String, Step)>| {
        steps.sort();
        steps.into_iter().map(|(_, step)| step).collect()
    };
    Ok(told.into_iter().map(|(name, steps)| (name, sorted(steps))).collect())
}

/// Everything, page by page.
async fn pages<K>(api: &Api<K>, fields: &str) -> Result<Vec<K>>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let mut parameters = ListParams::default().fields(fields).limit(PAGE);
    let mut found = Vec::new();
    loop {
        let ObjectList { items, metadata, .. } = api.list(&parameters).await?;
        found.extend(items);
        match metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(found),
        }
    }
}
