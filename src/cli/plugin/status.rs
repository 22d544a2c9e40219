//! `status`: where a rollout stands, until it is decided.

use super::arguments::Status;
use super::connection::Connection;
use super::error::PluginError;
use super::{screen, watch};
use crate::units::format_duration;
use crate::view::{Phase, Standing, standing};

/// Shows where a rollout stands; unless told otherwise, each change of it until it is healthy or degraded.
pub(super) async fn status(connection: &Connection, wanted: &Status) -> Result<(), PluginError> {
    let name = wanted.names.one()?;
    let first = standing(&connection.rollout(&name).await?);
    screen::say(&line(&first))?;
    if !wanted.watch || is_decided(&first) {
        return verdict(&first);
    }
    let mut last = first;
    let deciding = follow(connection, &name, &mut last);
    if wanted.timeout.is_zero() {
        return deciding.await;
    }
    match tokio::time::timeout(wanted.timeout, deciding).await {
        Ok(decided) => decided,
        Err(_) => Err(PluginError::Timeout {
            name,
            standing: last.phase.as_str().to_owned(),
            waited: format_duration(wanted.timeout),
        }),
    }
}

/// Tells each change until the rollout is decided.
async fn follow(connection: &Connection, name: &str, last: &mut Standing) -> Result<(), PluginError> {
    let (rollouts, mut signals) = watch::follow_rollout(connection, name);
    loop {
        watch::changed(connection, &mut signals).await?;
        let Some(rollouts) = watch::state(&rollouts) else { continue };
        let Some(rollout) = rollouts.first() else { return Err(PluginError::Deleted(name.to_owned())) };
        let current = standing(rollout);
        if current != *last {
            screen::say(&line(&current))?;
            *last = current;
        }
        if is_decided(last) {
            return verdict(last);
        }
    }
}

fn is_decided(standing: &Standing) -> bool {
    matches!(standing.phase, Phase::Healthy | Phase::Degraded)
}

fn verdict(standing: &Standing) -> Result<(), PluginError> {
    match standing.phase {
        Phase::Degraded => Err(PluginError::Degraded(standing.message.clone())),
        Phase::Healthy | Phase::Progressing | Phase::Paused | Phase::Unknown => Ok(()),
    }
}

fn line(standing: &Standing) -> String {
    let phase = standing.phase.as_str();
    if standing.message.is_empty() { phase.to_owned() } else { format!("{phase} - {}", standing.message) }
}
