//! `get`, `list` and `why`: pictures of rollouts and experiments.

use std::time::Duration;

use kube::Api;
use kube::api::ListParams;

use super::arguments::{Get, Kind, List, Why};
use super::connection::Connection;
use super::error::PluginError;
use super::{now, objects, screen, watch};
use crate::api::{Experiment, Rollout};
use crate::view::{self, Columns, Detail, Paint};

/// Shows the tree of a rollout or an experiment.
pub(super) async fn get(connection: &Connection, get: &Get, paint: Paint) -> Result<(), PluginError> {
    let limit = (get.timeout_seconds > 0).then(|| Duration::from_secs(get.timeout_seconds));
    if get.names.kind() == Kind::Experiment {
        let name = get.names.one_of(Kind::Experiment)?;
        if get.watch {
            return watch::experiment(connection, &name, paint, limit).await;
        }
        let found = objects::read_experiment(connection, &name).await?;
        return screen::show(&view::render_experiment(&found, now(), Detail::Full), paint);
    }
    let name = get.names.one()?;
    if get.watch {
        return watch::tree(connection, &name, paint, limit).await;
    }
    let observed = objects::read(connection, &name).await?;
    screen::show(&view::render(&view::tree(&observed), now(), Detail::Full), paint)
}

/// Shows the table of rollouts or experiments.
pub(super) async fn list(connection: &Connection, list: &List, paint: Paint) -> Result<(), PluginError> {
    if list.check()? == Kind::Experiment {
        return list_experiments(connection, list, paint).await;
    }
    let (api, columns): (Api<Rollout>, Columns) = if list.all_namespaces {
        (Api::all(connection.client.clone()), Columns::WithNamespace)
    } else {
        (connection.api(), Columns::WithoutNamespace)
    };
    let fields = list.name.as_ref().map(|name| format!("metadata.name={name}"));
    if list.watch {
        return watch::table(connection, api, columns, fields.as_deref(), paint).await;
    }
    let params = fields.iter().fold(ListParams::default(), |params, fields| params.fields(fields));
    let listed = api.list(&params).await;
    let rollouts = listed.map_err(|error| connection.failure(error, "list rollouts", None))?.items;
    if rollouts.is_empty() {
        eprintln!("{}", nothing_found(connection, list));
        return Ok(());
    }
    screen::show(&view::list(&rollouts, columns), paint)
}

async fn list_experiments(connection: &Connection, list: &List, paint: Paint) -> Result<(), PluginError> {
    if list.watch {
        return Err(PluginError::Usage("experiments cannot be listed with --watch: use get -w".to_owned()));
    }
    let (api, columns): (Api<Experiment>, Columns) = if list.all_namespaces {
        (Api::all(connection.client.clone()), Columns::WithNamespace)
    } else {
        (connection.api(), Columns::WithoutNamespace)
    };
    let fields = list.name.as_ref().map(|name| format!("metadata.name={name}"));
    let params = fields.iter().fold(ListParams::default(), |params, fields| params.fields(fields));
    let listed = api.list(&params).await;
    let experiments = listed.map_err(|error| connection.failure(error, "list experiments", None))?.items;
    if experiments.is_empty() {
        eprintln!("no experiments found");
        return Ok(());
    }
    screen::show(&view::list_experiments(&experiments, columns, now()), paint)
}

fn nothing_found(connection: &Connection, list: &List) -> String {
    let named = list.name.as_ref().map_or_else(String::new, |name| format!(" named '{name}'"));
    if list.all_namespaces {
        format!("no rollouts{named} found")
    } else {
        format!("no rollouts{named} found in namespace '{}'", connection.namespace)
    }
}

/// Says what rollouts wait for.
pub(super) async fn why(connection: &Connection, why: &Why) -> Result<(), PluginError> {
    for name in why.names.all()? {
        let observed = objects::read(connection, &name).await?;
        screen::say(&view::why(&observed, now()))?;
    }
    Ok(())
}
