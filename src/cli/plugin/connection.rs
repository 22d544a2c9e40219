//! The connection to the API server, and its errors in words.

use std::error::Error;

use kube::config::KubeConfigOptions;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;

use super::arguments::Cluster;
use super::error::PluginError;
use crate::api::Rollout;
use crate::cli::kubeconfig::{self, Choice};

/// A connection as the user, in a namespace.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) namespace: String,
    server: String,
}

impl Connection {
    /// Finds the cluster the way kubectl does. Nothing is sent yet.
    pub(super) async fn open(cluster: &Cluster) -> Result<Self, PluginError> {
        let config = config(cluster).await?;
        let namespace = cluster.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|error| PluginError::Config(innermost(&error)))?;
        Ok(Self { client, namespace, server })
    }

    /// The objects of a kind in the namespace.
    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The rollout with this name.
    pub(super) async fn rollout(&self, name: &str) -> Result<Rollout, PluginError> {
        self.get::<Rollout>(self.api(), name).await
    }

    async fn get<K: Resource + Clone + DeserializeOwned + std::fmt::Debug>(
        &self,
        api: Api<K>,
        name: &str,
    ) -> Result<K, PluginError> {
        api.get(name)
            .await
            .map_err(|error| self.failure(error, &format!("read rollout '{name}'"), Some(name)))
    }

    /// The object of another kind with this name.
    pub(super) async fn find<K>(&self, name: &str) -> Result<K, PluginError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let found = self.api::<K>().get(name).await;
        found.map_err(|error| self.failure(error, &format!("read {} '{name}'", K::kind(&())), None))
    }

    /// An error of a request in words. `doing` says what was attempted; `rollout` names the object that may be missing.
    pub(super) fn failure(&self, error: kube::Error, doing: &str, rollout: Option<&str>) -> PluginError {
        match error {
            kube::Error::Api(status) if status.code == 404 => match rollout {
                // A kind that is not served has no details: the answer does not come from the storage of the kind.
                _ if status.details.as_ref().is_none_or(|details| details.kind.is_empty()) => {
                    PluginError::NoApi { server: self.server.clone(), kind: "rollouts" }
                }
                Some(name) => {
                    PluginError::NotFound { name: name.to_owned(), namespace: self.namespace.clone() }
                }
                None => PluginError::Api { doing: doing.to_owned(), why: status.message.clone() },
            },
            kube::Error::Api(status) => {
                let why =
                    if status.message.is_empty() { status.reason.clone() } else { status.message.clone() };
                PluginError::Api { doing: doing.to_owned(), why }
            }
            kube::Error::SerdeError(error) => PluginError::Api {
                doing: doing.to_owned(),
                why: format!("the answer cannot be read: {error}"),
            },
            kube::Error::Auth(error) => {
                PluginError::Api { doing: "log in".to_owned(), why: innermost(&error) }
            }
            error => PluginError::Unreachable { server: self.server.clone(), why: innermost(&error) },
        }
    }
}

async fn config(cluster: &Cluster) -> Result<Config, PluginError> {
    let options = KubeConfigOptions {
        context: cluster.context.clone(),
        cluster: cluster.cluster.clone(),
        user: cluster.user.clone(),
    };
    let choice = Choice { path: cluster.kubeconfig.clone(), options };
    let mut config =
        kubeconfig::load(&choice).await.map_err(|error| PluginError::Config(error.in_one_line()))?;
    if let Some(user) = &cluster.as_user {
        config.auth_info.impersonate = Some(user.clone());
    }
    if !cluster.as_groups.is_empty() {
        config.auth_info.impersonate_groups = Some(cluster.as_groups.clone());
    }
    Ok(config)
}

/// The cause of all causes: the layers around it only say that a request failed.
pub(super) fn innermost(error: &dyn Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
