//! Follows the `ConfigMap` of the write-back.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::gitops::config::{Config, KEY};

/// The configuration as it is now, or why there is none.
pub(crate) type Configured = Arc<Result<Config, String>>;

/// Keeps the configuration as the `ConfigMap` has it.
pub(super) async fn follow(client: Client, name: String, configured: watch::Sender<Option<Configured>>) {
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let of_one = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events =
        std::pin::pin!(watcher(api, of_one).inspect(tell_watch("the ConfigMap")).default_backoff());
    let missing = || Err(format!("the ConfigMap {name} is missing"));
    let mut listed = None;
    while let Some(event) = events.next().await {
        let now = match event {
            Ok(watcher::Event::Init) => {
                listed = None;
                continue;
            }
            Ok(watcher::Event::InitApply(map)) => {
                listed = Some(read(&map));
                continue;
            }
            Ok(watcher::Event::InitDone) => listed.take().unwrap_or_else(missing),
            Ok(watcher::Event::Apply(map)) => read(&map),
            Ok(watcher::Event::Delete(_)) => missing(),
            Err(_) => continue,
        };
        match &now {
            Ok(config) => info!(config_map = name, repositories = config.repositories.len(), "configured"),
            Err(why) => warn!(config_map = name, why, "nothing can be written back"),
        }
        configured.send_if_modified(|known| {
            let is_news = known.as_ref().is_none_or(|known| **known != now);
            if is_news {
                *known = Some(Arc::new(now));
            }
            is_news
        });
    }
}

fn read(map: &ConfigMap) -> Result<Config, String> {
    let name = map.metadata.name.as_deref().unwrap_or_default();
    let yaml = map.data.as_ref().and_then(|data| data.get(KEY));
    let yaml = yaml.ok_or_else(|| format!("the ConfigMap {name} has no {KEY}"))?;
    Config::parse(yaml).map_err(|why| format!("ConfigMap {name}: {why}"))
}

/// Says once what is in the way of a watch.
pub(super) fn tell_watch<K>(what: &'static str) -> impl FnMut(&Result<watcher::Event<K>, watcher::Error>) {
    let mut is_told = false;
    move |event| match event {
        Ok(_) => is_told = false,
        Err(error) if !is_told => {
            is_told = true;
            warn!(%error, what, "cannot watch, trying again");
        }
        Err(error) => debug!(%error, what, "cannot watch, trying again"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_config_map_without_the_key_says_so() {
        let map = json!({"metadata": {"name": "serin-gitops"}, "data": {"x": ""}});
        let map: ConfigMap = serde_json::from_value(map).unwrap();
        assert_eq!(read(&map).unwrap_err(), "the ConfigMap serin-gitops has no config.yaml");
    }
}
