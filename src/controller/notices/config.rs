//! Follows the `ConfigMap` of notifications, which need not exist.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client};
use tracing::{debug, info, warn};

use super::super::announce::about;
use super::super::caches::Caches;
use super::super::store::Identity;
use crate::notify::{CONFIG_MAP, Config};

/// The configuration, and the object that holds it.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(super) config: Config,
    /// `None` while there is none.
    pub(super) about: Option<ObjectReference>,
}

impl Loaded {
    fn new(map: &ConfigMap) -> Self {
        let config = Config::parse(map.data.as_ref().unwrap_or(&std::collections::BTreeMap::new()));
        for problem in &config.problems {
            warn!(config_map = CONFIG_MAP, problem, "an entry for notifications is left out");
        }
        Self { config, about: Some(about::<ConfigMap>(&Identity::of(&map.metadata))) }
    }
}

/// Takes every change in. Without the right to read it, there is no notification, and a warning in the log.
pub(crate) async fn follow(client: Client, caches: Arc<Caches>) {
    let api = Api::<ConfigMap>::default_namespaced(client);
    let of_one = watcher::Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
    let mut changes = std::pin::pin!(watch(api, of_one).default_backoff());
    let (mut found, mut is_told) = (None, false);
    while let Some(change) = changes.next().await {
        let loaded = match change {
            Ok(Event::Init) => {
                found = None;
                continue;
            }
            Ok(Event::InitApply(map)) => {
                found = Some(Loaded::new(&map));
                continue;
            }
            Ok(Event::InitDone) => found.take().unwrap_or_default(),
            Ok(Event::Apply(map)) => Loaded::new(&map),
            Ok(Event::Delete(_)) => Loaded::default(),
            Err(error) => {
                if !is_told {
                    warn!(%error, config_map = CONFIG_MAP, "cannot watch the ConfigMap of notifications");
                }
                debug!(%error, "cannot watch the ConfigMap of notifications");
                is_told = true;
                if is_refused(&error) {
                    // Nobody will ever know, and Rollouts do not wait for it.
                    caches.notices.config.send_if_modified(|known| {
                        let is_news = known.is_none();
                        known.get_or_insert_default();
                        is_news
                    });
                }
                continue;
            }
        };
        if loaded.about.is_some() {
            info!(config_map = CONFIG_MAP, "notifications are configured");
        }
        is_told = false;
        caches.notices.config.send_replace(Some(Arc::new(loaded)));
        caches.queue_pending_notices();
    }
}

/// Whether the API server does not let the controller look.
fn is_refused(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if status.code == 403)
}
